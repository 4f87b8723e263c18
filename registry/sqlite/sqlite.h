/*
 * sqlite.h - the embedded registry: one file, which the processes of one host
 * share.
 */
#ifndef PELORUS_REGISTRY_SQLITE_SQLITE_H
#define PELORUS_REGISTRY_SQLITE_SQLITE_H

#include "registry/backend.h"

registry_open_f sqlite_open;

#endif
