/*
 * tcp_priv.h - what the kernel knows of a connection. (Private to this folder.)
 *
 * Apart from http_priv.h, for the C library's declarations of the same are
 * older than the kernel's and exclude them. Of a socket that is not TCP nothing
 * is known: false. Any thread.
 */
#ifndef PELORUS_HTTP_TCP_PRIV_H
#define PELORUS_HTTP_TCP_PRIV_H

#include <stdbool.h>
#include <stdint.h>

struct http_tcp {
    uint64_t received;  /* bytes, since it was opened */
    int64_t silence_ms; /* since the last of them */
};

bool http_tcp(int fd, struct http_tcp *out);

#endif
