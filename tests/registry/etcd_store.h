/*
 * etcd_store.h - a store of a running etcd for one test: a fresh namespace, a
 * loop, and each client behind a proxy of its own, so that it alone can be cut
 * off.
 */
#ifndef PELORUS_TESTS_REGISTRY_ETCD_STORE_H
#define PELORUS_TESTS_REGISTRY_ETCD_STORE_H

#include "base/loop.h"
#include "registry/registry.h"
#include "tests/lib/proxy.h"
#include "tests/registry/etcd_server.h"

#define ETCD_CLIENTS_MAX 8

struct etcd_store {
    struct etcd_servers *servers;
    struct loop *loop;
    char ns[40];
    const char *authority; /* of clients to come, or NULL */
    int dying;
    struct etcd_store_client {
        struct registry *registry;
        struct proxy *proxy[ETCD_SERVERS_MAX];
    } client[ETCD_CLIENTS_MAX];
    size_t n_clients;
};

/* NULL: it cannot be. */
struct etcd_store *etcd_store_new(struct etcd_servers *servers);
void etcd_store_free(struct etcd_store **store);

/* A client that reaches every member through its proxies. */
struct registry *etcd_store_open(struct etcd_store *s, int64_t timeout_ms);
/* Its proxy to member `i`. */
struct proxy *etcd_store_proxy(struct etcd_store *s, const struct registry *r,
                               size_t i);

/* End its session behind its back. */
void etcd_store_expire(struct etcd_store *s, struct registry *r);
void etcd_store_kill(struct etcd_store *s, struct registry **r);

/* Let `ms` pass. */
void etcd_store_pass(struct etcd_store *s, int64_t ms);

/* Keys as they stand in etcd: `key` is one of ours. Written and deleted as
 * another program would. */
void etcd_store_put(struct etcd_store *s, const char *key, const char *value);
void etcd_store_delete(struct etcd_store *s, const char *key);
/* Compact up to now. */
void etcd_store_compact(struct etcd_store *s);
/* How many keys are below `key` of ours ("/": all). */
size_t etcd_store_count(struct etcd_store *s, const char *key);

#endif
