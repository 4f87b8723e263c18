/*
 * placement.h - a simulated cluster that shows how well a balancer places.
 *
 * Discrete events by a simulated clock: workers with slots and a FIFO queue
 * each, heartbeats that grow old, tasks whose lengths differ by a factor of a
 * hundred, work that others place. A policy hears what a coordinator hears
 * (reports, acknowledgements) and answers who takes the next task. All
 * policies see the same arrivals, lengths, delays and heartbeats (common
 * random numbers), so they are compared in pairs.
 *
 * Four layers, one file or more each: the world (world.c, settings.c: who works
 * and what arrives), the run (run.c, heap.c: one policy in one world), the
 * policies (../policies) and what is made of the outcomes (statistics.c,
 * table.c, svg.c).
 *
 * Times are in seconds from the start. Nothing here is shared between threads
 * but constants: one run, one thread.
 * (Longer than 150 lines: the layers meet here.)
 */
#ifndef PELORUS_BENCH_PLACEMENT_H
#define PELORUS_BENCH_PLACEMENT_H

#include "base/compiler.h"
#include "base/rand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKERS_MAX      256U
#define COORDINATORS_MAX 10U
#define NOBODY           UINT32_MAX

/* ---- settings (settings.c) ---------------------------------------------- */

enum load {             /* what a worker's cpu says */
            LOAD_LIGHT, /* .2 + .4 of the share of slots in use: never hot */
            LOAD_CPU,   /* the share of slots in use */
};

enum report_form {                   /* what heartbeats say of the load */
                   REPORT_ALL,       /* as DolphinScheduler's workers */
                   REPORT_SLOTS_CPU, /* no pool usage, memory, disk */
                   REPORT_NO_SLOTS,  /* all but the slots */
};

enum acks { ACKS_NONE, ACKS_ALL };

/* A kind of work and how its workers speak of it. */
struct scenario {
    const char *name, *title;
    double rho;     /* offered load, of all slots */
    double mean;    /* of task lengths, s */
    double burst;   /* mean number of tasks that arrive together */
    double foreign; /* slots that others use, of every fourth worker's */
    double ceiling; /* the longest task, in means of the shortest; 0:
                       exponential lengths */
    enum load load;
    bool says_busy;        /* BUSY while no slot is free */
    bool refuses;          /* who has no free slot takes no task of ours */
    const char *reference; /* the policy that ratios are to */
    double settle;         /* not measured at first, s */
    double measured;       /* s */
    double heartbeat;      /* s; 0: HEARTBEAT_S */
};

/* Something that differs from the plain case. */
struct variant {
    const char *name, *title;
    uint32_t coordinators; /* 0: 1 */
    double acked;          /* share of acknowledgements that arrive; 0: all */
    bool wrong_weights;    /* by a factor between 1/2 and 2 */
    bool hung;  /* the largest worker stops for a third of the time */
    bool churn; /* a tenth of the workers leaves and joins */
    enum report_form form;
};

#define TENTH 10.0

/* One block of the table. */
struct setting {
    const struct scenario *scenario;
    const struct variant *variant;
    enum acks acks;
    uint32_t n_workers;
    bool tenth; /* all times are divided by ten, heartbeats too */
};

/* What differs from the plain case has a name: that of the variant, "tenth" of
 * the plain one in tenths, "tenth-hung" of another. */
#define SETTING_NAME  32U
#define SETTING_TITLE 96U
const char *setting_name(const struct setting *s, char out[SETTING_NAME]);
const char *setting_title(const struct setting *s, char out[SETTING_TITLE]);
/* Sets the variant and `tenth` by such a name. False: there is none. */
bool setting_vary(struct setting *s, const char *name);
bool setting_is_plain(const struct setting *s);

extern const struct scenario placement_scenarios[];
extern const size_t placement_n_scenarios;
extern const struct variant placement_variants[];
extern const size_t placement_n_variants;

/* ---- the world (world.c) ------------------------------------------------ */

#define HEARTBEAT_S  10.0
#define TENTH        10.0
#define WORLD_PARETO 1.3 /* exponent of lengths */
/* DolphinScheduler's workers look once a second whether their status changed
 * and write a heartbeat at once if so. */
#define SCAN_S 1.0
/* Ways. That to the worker stays as long as it is when other times are divided:
 * so long an answer over HTTP may take in real time. */
#define DISPATCH_S 0.005 /* from the pick to the worker */
#define ACK_S      0.010 /* from the end to the coordinator */
#define REPORT_MIN 0.005 /* from the worker to the coordinator */
#define REPORT_MAX 0.050
/* A coordinator's tick: so often in an interval, and at least this. */
#define TICKS  20
#define TICK_S 0.25
/* So many that refused a task are told to whoever places it again; then it
 * waits for the next report, like a task that found nobody. */
#define REFUSED_MAX 16U

struct task {
    double arrives, length;
    uint32_t coordinator;
    uint32_t worker; /* NOBODY, or placed there by others */
    uint32_t serial; /* order of those that arrive together */
    bool acked;      /* its end is told */
};

struct spec { /* of one worker */
    uint32_t slots;
    double foreign;    /* slots that others' work takes on average */
    double fair;       /* slots left for us: the perfect weight */
    double misweighed; /* factor on every weight that is told */
    double phase;      /* of its heartbeats, s */
    double away_from;  /* churn: first time it leaves; negative: never */
    bool hangs;
};

struct world {
    struct setting setting;
    uint64_t seed;
    uint32_t n_workers;
    uint32_t n_coordinators;
    struct spec specs[WORKERS_MAX];
    double divide;                      /* what times are divided by */
    double heartbeat, scan, tick;       /* s */
    double report_min, report_max, ack; /* ways, s */
    double settle, end; /* tasks that arrive between them count */
    double hang_every, hang_for;
    double away_every, away_for;
    double slots; /* of all */
    struct task *tasks;
    size_t n_tasks;
};

/* Deterministic for a seed. world_close() frees the tasks. */
void world_init(struct world *w, const struct setting *s, uint64_t seed);
void world_close(struct world *w);
/* The shortest task, s, so that the mean is what the scenario says. */
double world_shortest(const struct scenario *s);
/* A number in [0, 1) that depends on these three alone. */
double world_chance(const struct world *w, uint32_t worker, uint32_t which);

/* ---- policies (../policies) -----------------------------------------------
 */

struct run;

struct report {
    bool busy;
    double weight;                  /* 100 by default */
    uint32_t slots;                 /* 0: not said */
    double cpu, memory, disk, pool; /* negative: not said */
    double since;                   /* when it joined, s */
    uint64_t incarnation;
};

struct policy;

/* One policy at one coordinator. `state` is what open() returned. */
typedef void *policy_open_f(const struct policy *p, const struct run *run,
                            uint32_t coordinator, uint64_t seed);
typedef void policy_close_f(void *state);
/* A heartbeat arrived; the first one is also the worker's coming. */
typedef void policy_report_f(void *state, uint32_t worker,
                             const struct report *r, double now);
typedef void policy_leave_f(void *state, uint32_t worker);
/* Who takes the next task; NOBODY: wait. `id` is given back in done(). */
typedef uint32_t policy_pick_f(void *state, double now, uint64_t *id);
/* A task ended, and the coordinator that placed it was told. */
typedef void policy_done_f(void *state, uint32_t worker, uint64_t id,
                           double now);
typedef void policy_tick_f(void *state,
                           double now); /* as a coordinator's loop */
/* Likewise pick(), without those that refused this task already. Who has none
 * of it is asked again as long as it names one of them, REFUSED_MAX times. */
typedef uint32_t policy_other_f(void *state, double now,
                                const uint32_t *refused, uint32_t n_refused,
                                uint64_t *id);
/* The worker had no free slot and did not take the task. */
typedef void policy_refused_f(void *state, uint32_t worker, uint64_t id,
                              double now);
/* A policy in another process answers later: ask() instead of pick(), and
 * answer() when the task would be at the worker (DISPATCH_S later), which
 * waits for it if need be. */
typedef void policy_ask_f(void *state, uint32_t task, double now,
                          const uint32_t *refused, uint32_t n_refused);
typedef uint32_t policy_answer_f(void *state, uint32_t task, uint64_t *id);
/* And the run is in real time: returns when it is that late. */
typedef void policy_until_f(void *state, double at);

struct policy {
    const char *name, *title;
    const void *option; /* the policy's own */
    bool needs_acks;    /* without them it is not run */
    bool plain_only;    /* not run in variants */
    bool of_busy;       /* only run where workers say BUSY */
    bool hears_acks;    /* without them it differs; else it is run once */
    bool repeats;       /* asked again at once it names the same worker: not
                           run where workers refuse */
    bool knows_all;     /* also when a slot becomes free */
    policy_open_f *open;
    policy_close_f *close;
    policy_report_f *report;
    policy_leave_f *leave;
    policy_pick_f *pick; /* NULL with ask */
    policy_done_f *done; /* optional, as is all that follows */
    policy_tick_f *tick;
    policy_other_f *other;
    policy_refused_f *refused;
    policy_ask_f *ask; /* with answer and until, or none of the three */
    policy_answer_f *answer;
    policy_until_f *until;
};

extern const struct policy *const placement_policies[];
extern const size_t placement_n_policies;
const struct policy *placement_policy(const char *name);

/* ---- a run (run.c) ------------------------------------------------------- */

enum metric {
    METRIC_MEAN, /* of queue waits, s */
    METRIC_P50,
    METRIC_P99,
    METRIC_P999,
    METRIC_LATE,     /* share that waited more than 1 s */
    METRIC_MAX_USE,  /* of the most used worker; all of its slots: 1 */
    METRIC_MEAN_USE, /* of all slots */
    METRIC_OVERLOAD, /* share of worker time with a queue */
    METRICS
};

struct outcome {
    double of[METRICS];
    uint64_t measured;  /* tasks */
    uint64_t postponed; /* picks that found nobody */
    uint64_t refused;   /* by a worker without a free slot */
    uint64_t told;      /* ends of which the policy heard */
};

/* Place every task of the world by this policy. */
void run_policy(const struct world *w, const struct policy *p,
                struct outcome *out);

/* What an omniscient policy may ask. */
const struct world *run_world(const struct run *run);
/* What open() returned at that coordinator; NULL: it was not called yet. */
void *run_state(const struct run *run, uint32_t coordinator);
/* Tasks that run, wait or are on the way there. */
uint32_t run_tasks(const struct run *run, uint32_t worker);
bool run_present(const struct run *run, uint32_t worker);
/* Without those on the way. */
uint32_t run_at_worker(const struct run *run, uint32_t worker);
/* What tasks lately took there that came when there were about as many as
 * now: the median, s. */
double run_latency(const struct run *run, uint32_t worker);
/* It is not stopped at the moment. */
bool run_works(const struct run *run, uint32_t worker);
/* What its last report that arrived said. */
bool run_said_busy(const struct run *run, uint32_t worker);

/* ---- statistics (statistics.c) ------------------------------------------- */

struct estimate {
    double value, half; /* the 95 % interval is value -+ half */
};

/* Of the mean of n values, by Student's t. */
struct estimate estimate_mean(const double *x, size_t n);
/* Of sum(x)/sum(y) for pairs: the ratio estimator (Cochran, Sampling
 * Techniques, 1977, 6.3). Value negative: the divisor is zero. */
struct estimate estimate_ratio(const double *x, const double *y, size_t n);
/* Mean wait in a queue of c servers over the mean service, for Poisson
 * arrivals and exponential service (Erlang, 1917). */
double erlang_c_wait(uint32_t servers, double rho);

#endif
