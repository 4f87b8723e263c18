/*
 * wire.h - keep-alive connections of one client to servers on this host,
 * with many requests under way on each.
 *
 * Requests are gathered until they are flushed, so that those of one moment
 * are one packet; answers come in the order of the requests of their
 * connection (RFC 9112, 9.3.2). One thread. What a correct server never does
 * (it hangs up, sends no length) ends the program with a message, unless it is
 * forgiven.
 */
#ifndef PELORUS_BENCH_WIRE_H
#define PELORUS_BENCH_WIRE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wires;

struct wire_answer {
    int kind;            /* as it was sent, and what follows */
    uint32_t of;         /* the caller's */
    uint64_t sent, came; /* ns, clock_mono_ns() */
    int status;          /* 0: lost with its connection */
    const char *body;    /* ends with NUL; valid within the call only */
    size_t len;
};

typedef void wire_answer_f(void *arg, const struct wire_answer *answer);

/* n connections to 127.0.0.1, each to its port. The caller's `answer` is called
 * from wires_wait(). wires_close() does not wait for answers. */
struct wires *wires_open(const uint16_t *ports, size_t n, wire_answer_f *answer,
                         void *arg);
void wires_close(struct wires **ws);

/* From now on what is lost with a connection is told as such; the next request
 * there connects anew. (What is no answer still ends the program.) */
void wires_forgive(struct wires *ws);
/* Close the connections with a request that was sent before then, ns. */
void wires_drop(struct wires *ws, uint64_t sent_before);
/* Nothing is under way there. */
bool wire_is_idle(const struct wires *ws, size_t connection);

/* A whole request; copied. */
void wire_send(struct wires *ws, size_t connection, int kind, uint32_t of,
               const char *text, size_t len);
/* Requests that are not answered. */
size_t wires_open_requests(const struct wires *ws);
void wires_flush(struct wires *ws);
/* Flush, and read what comes; returns after the first that came, or at
 * `until`. */
void wires_wait(struct wires *ws, uint64_t until);

/* Say it and end the program. */
_Noreturn void wire_die(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));

/* The instance that an accepted registration's answer names; ends the program
 * if it names none. */
void wire_instance(const char *body, char *out, size_t size);

#endif
