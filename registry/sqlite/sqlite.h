/*
 * sqlite.h - the embedded registry: one file, which the processes of one host
 * share.
 */
#ifndef PELORUS_REGISTRY_SQLITE_SQLITE_H
#define PELORUS_REGISTRY_SQLITE_SQLITE_H

#include "registry/backend.h"
#include "registry/facts.h"

registry_open_f sqlite_open;
registry_facts_f sqlite_facts;

/* What registry_vacuum() promises. */
int sqlite_vacuum(const char *path, bool live, char *done, size_t size,
                  struct err *err) MUST_CHECK;

#endif
