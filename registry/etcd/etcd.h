/*
 * etcd.h - a registry in a cluster of etcd, through its JSON gateway.
 */
#ifndef PELORUS_REGISTRY_ETCD_ETCD_H
#define PELORUS_REGISTRY_ETCD_ETCD_H

#include "registry/backend.h"
#include "registry/facts.h"

registry_open_f etcd_open;
registry_facts_f etcd_facts;

/* The address as it is spoken to; the caller's. To jetcd the scheme of an address
 * means nothing: it speaks TLS if it is given a context for it, which
 * DolphinScheduler does with all three files. */
char *etcd_endpoint_of(const struct conf_registry *conf, size_t i);

#endif
