/*
 * herd.h - many nodes over HTTP that renew through several coordinators in
 * turn, whatever happens to these: for one program, on one thread.
 *
 * Each node renews once in a period, evenly spread, each time through the next
 * coordinator; what is refused with 503, lost with its connection, or not
 * answered within HERD_PATIENCE_MS is sent again through another one. Its lease
 * is over a ttl after it sent the last renewal that was accepted; what is
 * behind is sent late and never left out.
 */
#ifndef PELORUS_TESTS_BENCH_HERD_H
#define PELORUS_TESTS_BENCH_HERD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HERD_PATIENCE_MS 2000
#define HERD_PORTS       2 /* coordinators, at most */

struct herd;

struct herd_config {
    size_t nodes, period_s, ttl_s;
    size_t connections;        /* kept alive, to each coordinator */
    uint16_t port[HERD_PORTS]; /* of 127.0.0.1 */
    size_t n_ports;
};

/* Ends the program with a message if a coordinator does not listen. */
struct herd *herd_new(const struct herd_config *config);
void herd_free(struct herd **h);

/* Nobody listens for a while: connections end, and begin anew. */
void herd_pause(struct herd *h);
void herd_resume(struct herd *h);

/* All register, as fast as they may; those who have, renew. False: not within
 * so many seconds. */
bool herd_join(struct herd *h, size_t seconds);
/* They renew until then, by clock_mono_ns(). */
void herd_run(struct herd *h, uint64_t until);

/* From now on it is counted. */
void herd_count(struct herd *h);

struct herd_counts {
    size_t accepted;       /* renewals */
    size_t again;          /* that were sent again */
    size_t busy;           /* of them: after a 503 */
    size_t refused;        /* answers that are neither 2xx nor 503 */
    size_t lost;           /* leases that were over before they were renewed */
    double p50, p99, most; /* ms, from a renewal's first try to its 200 */
    double answer_p99[HERD_PORTS]; /* ms, of each coordinator: from what was
                                      sent there, first or again, to its 200 */
};
/* Those whose lease is over by now are lost, too. */
struct herd_counts herd_counted(struct herd *h);

#endif
