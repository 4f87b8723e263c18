/*
 * record.h - events as bytes: what a journal's blocks consist of.
 *
 * A record is what happened and, of a pick, what was answered. It says a worker
 * by its slot (balancer.h), which is the same in every balancer that was given
 * the same events, a time and a pick by how far they are from those of the
 * record before. So a pick takes about a dozen bytes. Pure; one thread.
 */
#ifndef PELORUS_BALANCER_JOURNAL_RECORD_H
#define PELORUS_BALANCER_JOURNAL_RECORD_H

#include "balancer/event.h"
#include "base/pack/pack.h"

/* More than any record takes: a pick of 1,000 with 64 exclusions. */
#define RECORD_MAX ((size_t)4 << 20)

/* What the records so far amount to; all zero behind an image. The same for who
 * writes and who reads. */
struct record_state {
    mono_ms now;
    pick_id next;
};

/* Append it (not BASIS); `out->overflow` if there is no room. */
void balancer_record_put(struct record_state *s, const struct balancer_event *e,
                         struct buf *out);

/* One record read. `event` points into it, and into the bytes that were read.
 */
struct record {
    struct balancer_event event;
    struct balancer_worker worker;
    struct conf_balancer conf;
    struct balancer_group_conf *own;
    struct balancer_request request;
    struct balancer_answer answer;
    struct balancer_pick picks[BALANCER_COUNT_MAX]; /* without addresses */
    const char **names;                             /* of groups */
    size_t n_names, cap_names;
};

struct record *balancer_record_new(void);
void balancer_record_free(struct record **r);
/* The next one; it is good until the next call. ERR_INVALID: no record, or
 * none that a balancer of ours could have made. */
int balancer_record_get(struct record_state *s, struct unpack *in,
                        struct record *r, struct err *err) MUST_CHECK;

#endif
