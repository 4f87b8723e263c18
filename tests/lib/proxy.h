/*
 * proxy.h - a TCP proxy that breaks connections on command, between a client
 * under test and a real server.
 *
 * It listens on a free loopback port and forwards to another. What is cut is
 * held, as a network holds what it will send again: bytes, ends of streams and
 * connects that could not pass go on in order when the cut is healed. What is
 * held is bounded, then the sender's own buffers fill. It knows no protocol.
 * Loop thread only.
 */
#ifndef PELORUS_TESTS_LIB_PROXY_H
#define PELORUS_TESTS_LIB_PROXY_H

#include "base/loop.h"

struct proxy;

/* The ways that bytes go. */
#define PROXY_TO_SERVER 1U
#define PROXY_TO_CLIENT 2U
#define PROXY_BOTH      3U

/* Forward to 127.0.0.1:server_port. ERR_IO: no port to listen on. */
int proxy_open(struct proxy **out, struct loop *loop, uint16_t server_port,
               struct err *err) MUST_CHECK;

/* Reset all connections, free all, then closed(arg), never at once. NULL is
 * fine: then closed() is not called. */
void proxy_close(struct proxy **proxy, loop_f *closed, void *arg);

uint16_t proxy_port(const struct proxy *p);

/* These ways are a black hole from now on, the others pass; 0 heals. A connect
 * while PROXY_TO_SERVER is cut is accepted and hears nothing. */
void proxy_cut(struct proxy *p, unsigned ways);

/* Close all connections now, with a reset to both ends. How many there were. */
size_t proxy_reset(struct proxy *p);

/* Reset connections as soon as they are accepted; those open stay. */
void proxy_refuse(struct proxy *p, bool refuse);

/* Everything that is read from now on arrives this much later. */
void proxy_delay(struct proxy *p, int64_t ms);

size_t proxy_open_links(const struct proxy *p); /* connections now */
uint64_t proxy_accepted(const struct proxy *p); /* so far, refused ones too */

#endif
