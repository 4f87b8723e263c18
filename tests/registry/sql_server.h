/*
 * sql_server.h - a real database server as a child process, for tests that
 * stop, kill and restart it.
 *
 * It listens on a free loopback port, which it keeps over restarts, has its
 * data in a directory of its own, and never outlives the program. One is
 * shared by all tests of a program: a fresh database is a fresh store. It
 * writes without fsync: a process that is killed loses nothing by that.
 * Without the server's programs there is an error, never a skip.
 */
#ifndef PELORUS_TESTS_REGISTRY_SQL_SERVER_H
#define PELORUS_TESTS_REGISTRY_SQL_SERVER_H

#include "base/err.h"
#include "tests/lib/daemon.h"

#include <stdbool.h>
#include <stdint.h>

#define SQL_SERVER_ARGS 24

struct sql_server {
    const struct sql_server_kind *kind;
    char dir[64], data[80], log[80];
    uint16_t port;
    struct daemon daemon;
};

/* mysql_server.c, postgresql_server.c */
struct sql_server_kind {
    const char *name;   /* as in jdbc:name:// */
    const char *user;   /* the system's, when we are root; NULL: stay root */
    const char *admin;  /* the database's, without a password */
    const char *system; /* a database that always is there */
    /* A NULL-terminated command each, in the server's buffers: make the data
     * directory; run in the foreground. */
    void (*init)(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS]);
    void (*run)(const struct sql_server *s, const char *argv[SQL_SERVER_ARGS]);
    const char *create, *drop; /* options of CREATE and DROP DATABASE */
    int quit; /* the signal at which it leaves at once, and nothing behind */
};
extern const struct sql_server_kind mysql_server, postgresql_server;

/* Start one and wait until it answers. */
int sql_server_new(struct sql_server **out, const struct sql_server_kind *kind,
                   struct err *err) MUST_CHECK;

/* Kill it and remove its data. NULL is fine. */
void sql_server_free(struct sql_server **server);

/* "jdbc:mysql://127.0.0.1:port/database" */
#define SQL_URL_SIZE 128
void sql_server_url(const struct sql_server *s, uint16_t port,
                    const char *database, char out[SQL_URL_SIZE]);

/* Its heart stops (SIGSTOP), connections stay open; and goes on. */
void sql_server_stop(struct sql_server *s);
void sql_server_cont(struct sql_server *s);

/* SIGKILL to all its processes. Fine if it is dead. */
void sql_server_kill(struct sql_server *s);

/* After a kill: on the same port and data. Does not wait. */
int sql_server_restart(struct sql_server *s, struct err *err) MUST_CHECK;

/* Whatever a test has done to it: it runs and answers when this returns. */
int sql_server_heal(struct sql_server *s, struct err *err) MUST_CHECK;

/* A string for argv that lives as long as the program. */
const char *sql_server_arg(const char *fmt, ...) PRINTF_LIKE(1, 2);

#endif
