/*
 * http.h - the REST API on libmicrohttpd.
 *
 * Its threads answer reads from the coordinator's snapshot and picks from the
 * balancer; everything else is posted to the coordinator's loop while the
 * connection is suspended. The routes stand in one table (routes.c), each
 * resource in a file of its own; openapi.yaml is the contract.
 */
#ifndef PELORUS_HTTP_HTTP_H
#define PELORUS_HTTP_HTTP_H

#include "base/loop.h"
#include "conf/conf.h"
#include "coordinator/coordinator.h"

struct http;

/* A socket that listens already: clients wait until http_start(). The port is
 * the configured one, or the free one that port 0 found. */
struct http_listener {
    int fd;
    uint16_t port;
};

/* ERR_IO, ERR_DENIED: the address cannot be used, and why. */
int http_listen(const struct conf *conf, struct http_listener *out,
                struct err *err) MUST_CHECK;

struct http_config {
    const struct conf *conf;
    struct loop *loop;
    struct coordinator *coordinator;
    struct http_listener listener; /* taken over, also on failure */
};

/* Serve. ERR_IO: the threads cannot be had. */
int http_start(struct http **out, const struct http_config *config,
               struct err *err) MUST_CHECK;

/*
 * Stop in order: no new connections, requests in flight are answered (long
 * polls at once), then stopped(arg) on the loop, at the latest after
 * `deadline_ms`.
 */
void http_stop(struct http *h, int64_t deadline_ms, void (*stopped)(void *arg),
               void *arg);
void http_free(struct http **h);

#endif
