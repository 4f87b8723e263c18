/*
 * http.h - libcurl's multi interface on our loop: POSTs that are answered
 * later, and streams that are answered for ever. Knows nothing of etcd but how
 * its requests look as HTTP. Loop thread.
 */
#ifndef PELORUS_REGISTRY_ETCD_HTTP_H
#define PELORUS_REGISTRY_ETCD_HTTP_H

#include "base/buf.h"
#include "base/loop.h"

struct conf_registry;
struct curl_slist;
struct etcd_http;
struct etcd_transfer;

/* What a member is reached with: the name in Host: and in its certificate, and
 * the names of PEM files; NULL: not given. */
struct etcd_reach {
    char *authority, *ca_file, *cert_file, *key_file;
};
/* Borrowed from `conf`. */
struct etcd_reach etcd_reach_of(const struct conf_registry *conf);

/* `easy`, a CURL, is to ask this endpoint ("http://host:port") for this path:
 * its URL, whom it connects to and trusts, and that no proxy of the environment
 * is used. `reach` is copied. The result stays until `easy` is cleaned up, and
 * then goes by curl_slist_free_all(); it may be NULL. Any thread. */
struct curl_slist *etcd_http_aim(void *easy, const struct etcd_reach *reach,
                                 const char *endpoint, const char *path);

/* Copies what it needs of `conf`: what members are reached with. */
int etcd_http_new(struct etcd_http **out, struct loop *loop,
                  const struct conf_registry *conf, struct err *err) MUST_CHECK;

/* No transfer may be left. closed(arg) comes in a later turn. */
void etcd_http_close(struct etcd_http **http, loop_f *closed, void *arg);

#define ETCD_TLS "TLS: " /* so begins a problem with it */

struct etcd_answer {
    long status; /* 0: no whole answer; `problem` says why */
    bool sent;   /* the server may have the request */
    const char *body;
    size_t len;
    const char *problem;
    bool too_large; /* it had more than max_reply bytes */
};

typedef void etcd_answer_f(void *arg, const struct etcd_answer *answer);
/* A piece of a stream, borrowed. May cancel the transfer. */
typedef void etcd_piece_f(void *arg, const char *data, size_t len);

struct etcd_post {
    const char *endpoint;   /* "http://host:port" */
    const char *path;       /* "/v3/kv/range" */
    const char *token;      /* NULL: none */
    const struct buf *body; /* borrowed until the answer */
    bool repeatable;        /* may be sent again on a fresh connection */
    int64_t connect_ms;
    size_t max_reply;
    etcd_answer_f *done; /* once, then the transfer is gone */
    etcd_piece_f *piece; /* a stream: a 200's body comes here */
    void *arg;
};

/* Never calls back before it returned. No deadline but for connecting: the
 * caller cancels. */
struct etcd_transfer *etcd_http_post(struct etcd_http *http,
                                     const struct etcd_post *post);

/* No callback any more. True: the server may have got it. NULL is fine. */
bool etcd_transfer_cancel(struct etcd_transfer **t);

/* A stream: somebody waits for what it brings. */
void etcd_transfer_hurry(struct etcd_transfer *t);

/* For tests: its connection stays open, and nothing more comes from it. */
void etcd_transfer_pause(struct etcd_transfer *t);

/* --- a socket that libcurl waits for (socket.c) -------------------------- */

/*
 * On a stream that brings much in small pieces each would wake the process for
 * itself, which costs more than what it brings. Such a socket rests for
 * SOCKET_REST_MS after it was read, so that one wake-up takes what came
 * meanwhile; the first piece after a silence is never kept waiting, nor one
 * that somebody waits for (etcd_socket_hurry()).
 */
#define SOCKET_REST_MS 50

struct etcd_socket;

/* `events` of libuv: UV_READABLE, UV_WRITABLE; status below 0: an error. How
 * many bytes were read. May close the socket. */
typedef size_t etcd_socket_f(void *arg, uv_os_sock_t fd, int status,
                             int events);

/* `rests`: it is a stream's. NULL: libuv has no room for it. */
struct etcd_socket *etcd_socket_new(struct loop *loop, uv_os_sock_t fd,
                                    bool rests, etcd_socket_f *fn, void *arg);

/* From now on wait for these. False: it cannot. */
bool etcd_socket_wait(struct etcd_socket *s, bool rests, int events);

/* What it brings is waited for: it rests no longer, nor before it is crowded
 * again. */
void etcd_socket_hurry(struct etcd_socket *s);

/* No callback any more but closed(arg) in a later turn, then it is gone. */
void etcd_socket_close(struct etcd_socket **s, loop_f *closed, void *arg);

#endif
