/*
 * etcd.h - a registry in a cluster of etcd, through its JSON gateway.
 */
#ifndef PELORUS_REGISTRY_ETCD_ETCD_H
#define PELORUS_REGISTRY_ETCD_ETCD_H

#include "registry/backend.h"
#include "registry/facts.h"

registry_open_f etcd_open;
registry_facts_f etcd_facts;

#endif
