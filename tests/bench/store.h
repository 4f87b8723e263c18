/*
 * store.h - a registry of any kind for a benchmark: a server of its own, gone
 * with the program, and how a client and a coordinator reach it.
 */
#ifndef PELORUS_TESTS_BENCH_STORE_H
#define PELORUS_TESTS_BENCH_STORE_H

#include "conf/conf.h"

#include <stdint.h>
#include <sys/types.h>

#define STORE_KINDS "sqlite, zookeeper, etcd, mysql or postgresql"

struct store {
    const char *kind;
    struct conf_registry conf; /* for registry_open(); lent */
    const char *yaml;          /* the block `registry:` of the same; lent */
    pid_t pid;                 /* the server's; 0: it is in whoever opens it */
    const char *data;          /* its files: a directory; lent */
    const char *url;           /* of etcd, and JDBC's; lent */
};

/* Before store_start(): a server that keeps its changes in a log only if it is
 * told to (MariaDB's binlog) is told to; its format, or NULL: its own. */
void store_keep_log(const char *format);

/*
 * Start the store of this kind, whose name is lent; `dir` is an existing
 * directory, where the file of sqlite is put. At most one in a program; it is
 * stopped at exit. Ends the process with a message if anything fails.
 */
void store_start(struct store *s, const char *kind, const char *dir);

/*
 * Bytes that it has written since any beginning, where they add up on a disk:
 * MariaDB's binlog, PostgreSQL's WAL, etcd's database, ZooKeeper's transaction
 * log, SQLite's log (all that this program wrote). And the processor time that
 * the server's processes, or this program, have spent, in microseconds. Both
 * end the process with a message if anything fails, as does what follows
 * (store_cost.c).
 */
uint64_t store_written(const struct store *s);
/*
 * How often it has been written since any beginning: etcd's revisions,
 * ZooKeeper's zxid, SQLite's revisions, PostgreSQL's transactions that write,
 * MariaDB's in its binlog (store_keep_log()).
 */
uint64_t store_changes(const struct store *s);
uint64_t store_cpu_us(const struct store *s);

#endif
