/*
 * world.c - who works and what arrives, from a seed.
 *
 * Lengths are bounded Pareto with exponent 1.3: most tasks are short and most
 * of the work is in long ones. A quarter of the workers also runs tasks that
 * others place there; nobody is told of them but by the pool usage in
 * heartbeats.
 *
 * Each kind of random number has a generator of its own, so that a world with
 * one thing changed has the same arrivals.
 */
#include "tests/bench/placement/placement.h"

#include "base/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FOREIGN_EVERY 4U /* workers */
#define AWAY_EVERY    10U
#define AWAY_PERIOD   150.0
#define AWAY_FOR      60.0
#define HANG_PERIOD   150.0
#define HANG_FOR      50.0 /* less than a session lasts: nobody is told */

enum stream { STREAM_SPECS, STREAM_ARRIVALS, STREAM_LENGTHS, STREAM_OTHERS };

static struct rand stream_of(const struct world *w, enum stream stream)
{
    struct rand r;

    rand_seed(&r, hash_str(w->setting.scenario->name,
                           hash_mix(w->seed * 16 + (uint64_t)stream)));
    return r;
}

double world_chance(const struct world *w, uint32_t worker, uint32_t which)
{
    uint64_t of = (uint64_t)worker << 32 | which;

    return (double)(hash_mix(hash_mix(w->seed) ^ hash_mix(of + 1)) >> 11) *
           0x1p-53;
}

static double exponential(struct rand *r, double mean)
{
    assert(mean > 0);
    return -mean * log(1 - rand_double(r));
}

double world_shortest(const struct scenario *s)
{
    double a = WORLD_PARETO, k = 1 / s->ceiling;

    assert(s->ceiling > 1);
    return s->mean * (1 - pow(k, a)) / (1 - pow(k, a - 1)) * (a - 1) / a;
}

static double length(struct rand *r, const struct scenario *s, double least)
{
    double u = rand_double(r);

    if (s->ceiling <= 0)
        return exponential(r, s->mean);
    return least * pow(1 - u * (1 - pow(1 / s->ceiling, WORLD_PARETO)),
                       -1 / WORLD_PARETO);
}

static void specs_init(struct world *w)
{
    static const uint32_t sizes[] = {8, 12, 16, 24, 32, 48, 64};
    const struct variant *v = w->setting.variant;
    struct rand r = stream_of(w, STREAM_SPECS);
    uint32_t largest = 0;

    for (uint32_t i = 0; i < w->n_workers; i++) {
        struct spec *s = &w->specs[i];

        /* Every size equally often, in an order that the seed decides. */
        s->slots = sizes[i % ARRAY_LEN(sizes)];
        s->misweighed = v->wrong_weights ? exp2(2 * rand_double(&r) - 1) : 1;
        s->phase = rand_double(&r);
        s->away_from = -1;
        if (v->churn && i % AWAY_EVERY == 0)
            s->away_from = rand_double(&r) * w->away_every;
    }
    for (uint32_t i = w->n_workers; i > 1; i--) {
        uint32_t j = (uint32_t)rand_below(&r, i);
        uint32_t slots = w->specs[i - 1].slots;

        w->specs[i - 1].slots = w->specs[j].slots;
        w->specs[j].slots = slots;
    }
    for (uint32_t i = 0; i < w->n_workers; i++) {
        struct spec *s = &w->specs[i];

        s->foreign = i % FOREIGN_EVERY == 0
                         ? w->setting.scenario->foreign * (double)s->slots
                         : 0;
        s->fair = (double)s->slots - s->foreign;
        w->slots += s->slots;
        if (s->slots > w->specs[largest].slots)
            largest = i;
    }
    w->specs[largest].hangs = v->hung;
    assert(w->slots > 0);
}

static void task_add(struct world *w, size_t *cap, const struct task *t)
{
    if (w->n_tasks == *cap) {
        *cap = *cap > 0 ? *cap * 2 : 4096;
        w->tasks = mem_regrow(w->tasks, *cap, sizeof(*w->tasks));
    }
    assert(w->n_tasks < *cap);
    assert(w->n_tasks < UINT32_MAX);
    w->tasks[w->n_tasks] = *t;
    w->tasks[w->n_tasks].serial = (uint32_t)w->n_tasks;
    w->n_tasks++;
}

/* Every seed offers the same work: lengths are drawn out or in by the percent
 * or two that chance made it differ. Without that most of the difference
 * between seeds would be that of their loads. */
static void work_level(struct world *w, size_t from, double slots)
{
    double work = 0;

    if (w->setting.scenario->ceiling <= 0)
        return;
    for (size_t i = from; i < w->n_tasks; i++)
        work += w->tasks[i].length;
    for (size_t i = from; i < w->n_tasks; i++)
        w->tasks[i].length *= slots * w->end / work;
}

/* Bursts at Poisson times; all tasks of one go through one coordinator. */
static void arrivals_init(struct world *w, size_t *cap, double divide)
{
    const struct scenario *s = w->setting.scenario;
    struct rand arrivals = stream_of(w, STREAM_ARRIVALS);
    struct rand lengths = stream_of(w, STREAM_LENGTHS);
    double foreign = 0, least = s->ceiling > 0 ? world_shortest(s) : 0;
    double acked = w->setting.variant->acked;

    for (uint32_t i = 0; i < w->n_workers; i++)
        foreign += w->specs[i].foreign;
    double gap = s->mean * s->burst / (s->rho * w->slots - foreign) / divide;

    double at = exponential(&arrivals, gap);

    while (at < w->end) {
        uint32_t by = (uint32_t)rand_below(&arrivals, COORDINATORS_MAX);

        do {
            struct task t = {.arrives = at,
                             .length = length(&lengths, s, least) / divide,
                             .coordinator = by % w->n_coordinators,
                             .worker = NOBODY};

            t.acked = w->setting.acks == ACKS_ALL &&
                      (acked <= 0 ||
                       world_chance(w, NOBODY, (uint32_t)w->n_tasks) < acked);
            task_add(w, cap, &t);
        } while (rand_double(&arrivals) >= 1 / s->burst);
        at += exponential(&arrivals, gap);
    }
    work_level(w, 0, s->rho * w->slots - foreign);
}

static void foreign_init(struct world *w, size_t *cap, double divide)
{
    const struct scenario *s = w->setting.scenario;
    struct rand r = stream_of(w, STREAM_OTHERS);
    double least = s->ceiling > 0 ? world_shortest(s) : 0, slots = 0;
    size_t from = w->n_tasks;

    for (uint32_t i = 0; i < w->n_workers; i++) {
        slots += w->specs[i].foreign;
        if (w->specs[i].foreign <= 0)
            continue;
        double gap = s->mean / w->specs[i].foreign / divide;

        double at = exponential(&r, gap);

        while (at < w->end) {
            struct task t = {.arrives = at,
                             .length = length(&r, s, least) / divide,
                             .worker = i};

            task_add(w, cap, &t);
            at += exponential(&r, gap);
        }
    }
    work_level(w, from, slots);
}

static int by_arrival(const void *a, const void *b)
{
    const struct task *x = a, *y = b;

    if (x->arrives != y->arrives)
        return x->arrives < y->arrives ? -1 : 1;
    return x->serial < y->serial ? -1 : x->serial > y->serial;
}

void world_init(struct world *w, const struct setting *s, uint64_t seed)
{
    double divide = s->tenth ? TENTH : 1;
    size_t cap = 0;

    assert(s->n_workers >= 1 && s->n_workers <= WORKERS_MAX);
    memset(w, 0, sizeof(*w));
    w->setting = *s;
    w->seed = seed;
    w->n_workers = s->n_workers;
    w->n_coordinators =
        s->variant->coordinators > 0 ? s->variant->coordinators : 1;
    assert(w->n_coordinators <= COORDINATORS_MAX);
    w->divide = divide;
    w->heartbeat =
        (s->scenario->heartbeat > 0 ? s->scenario->heartbeat : HEARTBEAT_S) /
        divide;
    w->tick = fmin(TICK_S, w->heartbeat / TICKS);
    w->scan = SCAN_S / divide;
    w->report_min = REPORT_MIN / divide;
    w->report_max = REPORT_MAX / divide;
    w->ack = ACK_S / divide;
    w->settle = s->scenario->settle / divide;
    w->end = w->settle + s->scenario->measured / divide;
    w->hang_every = HANG_PERIOD / divide;
    w->hang_for = HANG_FOR / divide;
    w->away_every = AWAY_PERIOD / divide;
    w->away_for = AWAY_FOR / divide;
    specs_init(w);
    arrivals_init(w, &cap, divide);
    foreign_init(w, &cap, divide);
    qsort(w->tasks, w->n_tasks, sizeof(*w->tasks), by_arrival);
    assert(w->n_tasks < UINT32_MAX);
}

void world_close(struct world *w)
{
    MEM_FREE(w->tasks);
    w->n_tasks = 0;
}
