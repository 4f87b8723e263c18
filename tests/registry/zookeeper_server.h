/*
 * zookeeper_server.h - a real ZooKeeper server as a child process, for tests
 * that stop, kill and restart it.
 *
 * It listens on a free loopback port, which it keeps over restarts, has its
 * data in a directory of its own, and never outlives the program. It removes
 * empty containers, such as the parents of locks, every second. It is shared
 * by all tests of a program: a fresh namespace is a fresh store. Without java
 * or ZooKeeper's jar there is an error, never a skip.
 */
#ifndef PELORUS_TESTS_REGISTRY_ZOOKEEPER_SERVER_H
#define PELORUS_TESTS_REGISTRY_ZOOKEEPER_SERVER_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct zookeeper_server;

/* It expires sessions at multiples of this. */
#define ZOOKEEPER_TICK_MS 100
/* No session of a longer timeout than this. */
#define ZOOKEEPER_TIMEOUT_MAX_MS 60000

/* Start one and wait until it answers. */
int zookeeper_server_new(struct zookeeper_server **out,
                         struct err *err) MUST_CHECK;

/* Kill it and remove its data. NULL is fine. */
void zookeeper_server_free(struct zookeeper_server **server);

uint16_t zookeeper_server_port(const struct zookeeper_server *s);
pid_t zookeeper_server_pid(const struct zookeeper_server *s);
const char *zookeeper_server_dir(const struct zookeeper_server *s); /* lent */

/* Its heart stops (SIGSTOP), connections stay open; and goes on. */
void zookeeper_server_stop(struct zookeeper_server *s);
void zookeeper_server_cont(struct zookeeper_server *s);

/* SIGKILL; the kernel resets its connections. Fine if it is dead. */
void zookeeper_server_kill(struct zookeeper_server *s);

/* After a kill: on the same port and data. Does not wait. */
int zookeeper_server_restart(struct zookeeper_server *s,
                             struct err *err) MUST_CHECK;

/* Whatever a test has done to it: it runs and answers when this returns. */
int zookeeper_server_heal(struct zookeeper_server *s,
                          struct err *err) MUST_CHECK;

/* Does it answer now? Blocks 50 ms at most. */
bool zookeeper_server_answers(const struct zookeeper_server *s);

#endif
