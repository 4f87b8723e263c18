/*
 * etcd_conformance.h - the conformance suite's hooks for etcd, and its world
 * for the tests that break one.
 */
#ifndef PELORUS_TESTS_REGISTRY_ETCD_CONFORMANCE_H
#define PELORUS_TESTS_REGISTRY_ETCD_CONFORMANCE_H

#include "tests/registry/conformance.h"
#include "tests/registry/etcd_store.h"

/* On a server started for it; the number of failed tests. */
int etcd_conformance(bool tls);

/* A world on servers that run; ended with world_teardown(). */
struct world *etcd_world(struct etcd_servers *on);

/* A client that is connected; closed with the world. Its proxy. */
struct registry *etcd_client(struct world *w, int64_t timeout_ms);
struct proxy *etcd_proxy(struct world *w, const struct registry *r);

/* Do the events add up to this value of a key (NULL: there is none)? Fails if
 * one of them tells what was known. */
bool etcd_told(const struct seen *s, const char *key, const char *value);

#endif
