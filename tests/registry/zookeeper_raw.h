/*
 * zookeeper_raw.h - a plain client of the ZooKeeper library beside ours: what
 * other programs do in the tree, and what really stands there.
 *
 * It speaks to the server itself, past every proxy, and its calls block for a
 * round trip: never use it while the server is stopped or dead. A call that
 * fails, fails the test.
 */
#ifndef PELORUS_TESTS_REGISTRY_ZOOKEEPER_RAW_H
#define PELORUS_TESTS_REGISTRY_ZOOKEEPER_RAW_H

#include "tests/lib/zookeeper_mt.h"

#include <stdbool.h>
#include <stdint.h>

#define RAW_PATH 1024

struct raw {
    zhandle_t *zh;
    int wake; /* an eventfd: it is connected */
};

/* Connect to 127.0.0.1:port; with `session`, into that session. False: the
 * server says that this session is over. */
bool raw_open(struct raw *raw, uint16_t port, int timeout_ms,
              const clientid_t *session);
/* Ends the session, if the server can be reached. Fine if closed. */
void raw_close(struct raw *raw);

/* Take part as "user:password", from now on. */
void raw_auth(struct raw *raw, const char *digest);

uint64_t raw_session(const struct raw *raw);

/* value NULL: a node without data. made (RAW_PATH bytes) may be NULL. */
void raw_create(struct raw *raw, const char *path, const char *value, int mode,
                char *made);
/* Every node from the root down to it, without data; those there are fine. */
void raw_create_parents(struct raw *raw, const char *path);
void raw_delete(struct raw *raw, const char *path);
/* Is it there? `stat` may be NULL. */
bool raw_stat(struct raw *raw, const char *path, struct Stat *stat);
/* Below a node that may be missing: then none. deallocate_String_vector() */
void raw_children(struct raw *raw, const char *path, struct String_vector *out);

/* For zookeeper_init2(): says nothing. */
void raw_drop_log(const char *message);

/* fn(arg, path) for `path` and all below it, parents first. */
typedef void raw_node_f(void *arg, const char *path);
void raw_walk(struct raw *raw, const char *path, raw_node_f *fn, void *arg);

#endif
