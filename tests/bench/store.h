/*
 * store.h - a registry of any kind for a benchmark: a server of its own, gone
 * with the program, and how a client and a coordinator reach it.
 */
#ifndef PELORUS_TESTS_BENCH_STORE_H
#define PELORUS_TESTS_BENCH_STORE_H

#include "conf/conf.h"

#define STORE_KINDS "sqlite, zookeeper, etcd, mysql or postgresql"

struct store {
    const char *kind;
    struct conf_registry conf; /* for registry_open(); lent */
    const char *yaml;          /* the block `registry:` of the same; lent */
};

/*
 * Start the store of this kind, whose name is lent; `dir` is an existing
 * directory, where the file of sqlite is put. At most one in a program; it is
 * stopped at exit. Ends the process with a message if anything fails.
 */
void store_start(struct store *s, const char *kind, const char *dir);

#endif
