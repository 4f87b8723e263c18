/*
 * balancer_course.h - a balancer that has seen a little of everything, for
 * inputs that change some bytes of what is genuine: what a balancer keeps
 * changes with its code, and a corpus of whole images would be of no use the
 * day after.
 *
 * An input's first byte is the policy and how much happened; then each three
 * are a place (16 bits, as a part of the whole) and what it is exclusive-ored
 * with.
 */
#ifndef PELORUS_TESTS_FUZZ_BALANCER_COURSE_H
#define PELORUS_TESTS_FUZZ_BALANCER_COURSE_H

#include "balancer/balancer.h"
#include "base/rand.h"

#include <stdio.h>

#define COURSE_NOW 1000000

static inline struct balancer *course_begin(uint8_t how)
{
    struct balancer *b;
    struct conf conf;

    conf_defaults(&conf);
    conf.balancer.policy = (enum conf_policy)(how % 5);
    b = balancer_new(&conf.balancer, 1, 1);
    conf_close(&conf);
    return b;
}

static inline void course_report(struct balancer *b, struct rand *r,
                                 mono_ms now)
{
    static const char *const groups[] = {"one", "two"};
    uint32_t i = (uint32_t)rand_below(r, 9);
    struct balancer_worker w = {
        .busy = rand_below(r, 6) == 0,
        .closed = rand_below(r, 9) == 0,
        .weight = (int32_t)(30 * i),
        .slots = i % 3 == 0 ? 0 : (int32_t)i,
        .cpu = rand_double(r),
        .memory = -1,
        .disk = .2,
        .pool = (double)rand_below(r, 8) / 7,
        .reported = now,
        .incarnation = 1,
        .groups = groups,
        .n_groups = i % 3,
    };

    (void)snprintf(w.address, sizeof(w.address), "w%u:1", i);
    balancer_set(b, &w, now);
}

/* `how` / 5 + 1 rounds. */
static inline void course_run(struct balancer *b, uint8_t how)
{
    struct balancer_pick picks[3];
    struct balancer_answer answer = {.picks = picks};
    struct rand r;
    mono_ms now = COURSE_NOW;

    rand_seed(&r, how);
    for (int i = 0; i < how / 5 + 1; i++) {
        struct balancer_request request = {
            .group = i % 3 == 0 ? "one" : NULL,
            .count = 1 + (uint32_t)i % 3,
            .affinity = i % 7 == 0 ? "key" : NULL,
            .now = now,
        };

        course_report(b, &r, now);
        balancer_pick(b, &request, &answer);
        if (answer.code == BALANCER_OK && i % 2 == 0)
            (void)balancer_done(b, picks[0].pick);
        if (answer.code == BALANCER_OK && i % 9 == 0)
            (void)balancer_refused(b, picks[0].pick);
        if (i % 5 == 0)
            balancer_count(b, "w4:1", 2, now);
        if (i % 11 == 0)
            balancer_remove(b, "w5:1");
        if (i % 4 == 0)
            balancer_tick(b, now);
        now += 700;
    }
}

/* Change bytes of `data` as the input says, from its second byte on. */
static inline void course_patch(char *data, size_t len, const uint8_t *input,
                                size_t size)
{
    for (size_t i = 1; len > 0 && i + 2 < size; i += 3) {
        size_t place = (size_t)input[i] << 8 | input[i + 1];
        size_t at = place * len / 65536;

        data[at] = (char)(data[at] ^ input[i + 2]);
    }
}

#endif
