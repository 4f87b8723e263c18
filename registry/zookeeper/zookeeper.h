/*
 * zookeeper.h - a registry in an ensemble of ZooKeeper.
 */
#ifndef PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_H
#define PELORUS_REGISTRY_ZOOKEEPER_ZOOKEEPER_H

#include "registry/backend.h"

registry_open_f zookeeper_open;

#endif
