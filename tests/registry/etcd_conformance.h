/* etcd_conformance.h - the conformance suite's hooks for etcd. */
#ifndef PELORUS_TESTS_REGISTRY_ETCD_CONFORMANCE_H
#define PELORUS_TESTS_REGISTRY_ETCD_CONFORMANCE_H

#include <stdbool.h>

/* On a server started for it; the number of failed tests. */
int etcd_conformance(bool tls);

#endif
