/*
 * zookeeper.h - a registry in an ensemble of ZooKeeper.
 */
#ifndef PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_H
#define PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_H

#include "registry/backend.h"
#include "registry/facts.h"

registry_open_f zookeeper_open;
registry_facts_f zookeeper_facts;

#endif
