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

#include "base/buf.h"
#include "base/loop.h"
#include "conf/conf.h"
#include "coordinator/coordinator.h"

struct http;

/* Sockets that listen already, one for each address of the configured name:
 * clients wait until http_start(). The port is the configured one, or the free
 * one that port 0 found. */
#define HTTP_LISTEN_MAX 8
struct http_listener {
    int fds[HTTP_LISTEN_MAX];
    size_t n;
    uint16_t port;
};

/* ERR_IO, ERR_DENIED: an address cannot be used, which and why. Addresses that
 * this host does not have are left out, and logged, if it has another. */
int http_listen(const struct conf *conf, struct http_listener *out,
                struct err *err) MUST_CHECK;
/* For check-config: what http_listen() would say here and now, in lines. */
void http_listen_remarks(const struct conf *conf, struct buf *out);

struct http_config {
    const struct conf *conf;
    struct loop *loop;
    struct coordinator *coordinator;
    const struct journal *journal; /* for its figures; NULL: none is kept */
    struct facts *facts;           /* of the store; NULL: none are read */
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
