/*
 * run_priv.h - the state of a run, for run.c and outcome.c.
 */
#ifndef PELORUS_BENCH_RUN_PRIV_H
#define PELORUS_BENCH_RUN_PRIV_H

#include "tests/bench/placement/heap.h"
#include "tests/bench/placement/placement.h"

#define RUN_OLD 3600.0 /* s that workers have been up at the start */

/* Tasks for which something happens in the order in which it was begun. */
struct line {
    struct {
        double at;
        uint32_t of;
    } * items;
    size_t first, n, cap;
};

void line_init(struct line *l, size_t cap);
void line_add(struct line *l, double at, uint32_t of);
uint32_t line_take(struct line *l);

static inline double line_next(const struct line *l)
{
    return l->first < l->n ? l->items[l->first].at : __builtin_inf();
}

struct placed { /* a task, as this policy placed it */
    double started;
    uint64_t id;
    uint32_t worker;
    uint32_t next; /* in the queue that it is in */
    uint32_t met;  /* tasks at the worker when it came */
    bool late;     /* its end was put off already */
    bool asked;    /* for a worker that is not known yet */
    bool first;    /* of those that waited: the others wait for its answer */
    uint8_t n_refused;
    uint32_t *refused; /* NULL: nobody did */
};

/* What tasks took that ended here, for policies that ask the worker. */
#define TOOK 16U

struct worker {
    uint32_t slots, running, coming;
    uint32_t waiting, first, last; /* tasks */
    bool present, hangs;
    double since;
    uint64_t incarnation;
    double written; /* last heartbeat */
    uint32_t n_written;
    struct report on_the_way, said;
    double accounted;   /* up to when: */
    double used;        /* slot seconds */
    float took[TOOK];   /* s, of the last tasks */
    uint32_t met[TOOK]; /* how many were there when it came */
    uint32_t n_took;
    double overloaded; /* s */
};

struct waiting {
    uint32_t n, first, last; /* tasks */
    bool asks;               /* one of them does, see run_retry() */
};

struct run {
    const struct world *world;
    const struct policy *policy;
    struct outcome *out;
    double now;
    struct worker workers[WORKERS_MAX];
    struct placed *placed; /* per task */
    struct heap heap;
    struct line acks, coming, back;
    size_t next;   /* task to arrive */
    size_t left;   /* measured tasks that have not started */
    double *waits; /* the positive ones */
    size_t n_waits;
    struct {
        void *state;
        struct waiting waiting;
    } coordinators[COORDINATORS_MAX];
};

/* run.c: the task is at the worker. */
void run_receive(struct run *run, uint32_t worker, uint32_t i);

/* place.c: tasks that found nobody are tried again; one arrives, comes to its
 * worker, or comes back from it. */
void run_retry(struct run *run);
void run_task_arrives(struct run *run, uint32_t i);
void run_task_comes(struct run *run, uint32_t i);
void run_task_returns(struct run *run, uint32_t i);

/* outcome.c */
void outcome_add(struct run *run, double wait);
void outcome_close(struct run *run);

#endif
