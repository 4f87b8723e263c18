/*
 * etcd_server.h - real etcd servers for tests: one or three members on free
 * loopback ports, each with a directory of its own, gone with the test
 * program, whatever happens to it. With TLS they take only clients with a
 * certificate, and users have passwords. The variable ETCD names the server's
 * binary, where it is not to be the installed one.
 */
#ifndef PELORUS_TESTS_REGISTRY_ETCD_SERVER_H
#define PELORUS_TESTS_REGISTRY_ETCD_SERVER_H

#include "base/json/json.h"
#include "conf/conf.h"
#include "tests/lib/daemon.h"

#include <stdbool.h>
#include <stdint.h>

#define ETCD_SERVERS_MAX 3

struct etcd_server {
    struct daemon daemon;
    uint16_t port, peer_port;
    char name[8];
};

struct etcd_servers {
    char dir[48], log[56];
    bool tls;
    size_t n;
    struct etcd_server member[ETCD_SERVERS_MAX];
};

/* The user that exists with TLS. */
#define ETCD_USER     "pelorus"
#define ETCD_PASSWORD "a \"secret\""

/* Start `n` members and wait until they answer; fails the test if they do
 * not. With `tls` certificates are made first, and authentication enabled. */
void etcd_servers_start(struct etcd_servers *s, size_t n, bool tls);
/* Kill them and remove everything. */
void etcd_servers_stop(struct etcd_servers *s);

/* Whatever a test has done to them: all run and answer when this returns. */
void etcd_servers_heal(struct etcd_servers *s);

/* One member: SIGKILL and reap; start it again on what it had, without waiting.
 * Its heart stops (SIGSTOP), and goes on. */
void etcd_server_kill(struct etcd_servers *s, size_t i);
void etcd_server_restart(struct etcd_servers *s, size_t i);
void etcd_server_stop(struct etcd_servers *s, size_t i);
void etcd_server_cont(struct etcd_servers *s, size_t i);
/* Until it answers that it is healthy. */
void etcd_server_wait(struct etcd_servers *s, size_t i);

/* http(s)://127.0.0.1:port, static per member. */
const char *etcd_server_url(const struct etcd_servers *s, uint16_t port);

/* A blocking POST, as another program would make it; NULL if it is not
 * answered with 200. The caller's (json_free). */
const struct json *etcd_server_post(const struct etcd_servers *s, size_t i,
                                    const char *path, const char *body);

/* What a configuration needs to reach it with TLS, or nothing. */
void etcd_server_conf(const struct etcd_servers *s, struct conf_registry *conf);

#endif
