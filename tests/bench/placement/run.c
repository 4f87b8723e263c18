/*
 * run.c - one policy in one world, event by event.
 *
 * What takes the same time for everybody (the way to the worker, an
 * acknowledgement) stands in line in arrays; ends of tasks, heartbeats and
 * ticks are in a heap. A worker's heartbeat is what it was when it was sent.
 *
 * A worker that hangs does nothing for a while, as if stopped by a signal: its
 * tasks end so much later, tasks sent to it wait. One that leaves finishes
 * what it has.
 */
#include "tests/bench/placement/run_priv.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum what {
    WHAT_END,
    WHAT_SCAN,
    WHAT_REPORT,
    WHAT_TICK,
    WHAT_WAKE,
    WHAT_LEAVE,
    WHAT_JOIN
};

/* ---- workers ------------------------------------------------------------- */

static double hang_begins(const struct run *run, uint32_t worker)
{
    const struct world *w = run->world;

    if (!w->specs[worker].hangs || run->now < w->hang_every - w->hang_for)
        return INFINITY;
    return floor((run->now + w->hang_for) / w->hang_every) * w->hang_every -
           w->hang_for;
}

bool run_works(const struct run *run, uint32_t worker)
{
    double begins;

    if (!run->workers[worker].hangs)
        return true;
    begins = hang_begins(run, worker);
    return run->now < begins || run->now >= begins + run->world->hang_for;
}

static void worker_account(struct run *run, struct worker *k)
{
    double from = fmax(k->accounted, run->world->settle);
    double to = fmin(run->now, run->world->end);

    assert(k->running <= k->slots);
    if (to > from) {
        k->used += (to - from) * k->running;
        k->overloaded += k->waiting > 0 ? to - from : 0;
    }
    k->accounted = run->now;
}

static void task_start(struct run *run, struct worker *k, uint32_t i)
{
    const struct task *t = &run->world->tasks[i];
    struct placed *p = &run->placed[i];

    assert(k->running < k->slots);
    k->running++;
    p->started = run->now;
    heap_put(&run->heap, run->now + t->length, WHAT_END, i);
    if (t->worker == NOBODY && t->arrives >= run->world->settle)
        outcome_add(run, run->now - t->arrives - DISPATCH_S);
}

static void worker_go_on(struct run *run, struct worker *k)
{
    while (k->waiting > 0 && k->running < k->slots) {
        uint32_t i = k->first;

        k->first = run->placed[i].next;
        k->waiting--;
        task_start(run, k, i);
    }
}

/* Others' tasks wait whatever happens; a worker that hangs answers nobody. */
static bool worker_refuses(const struct run *run, uint32_t worker, uint32_t i)
{
    const struct world *w = run->world;

    return w->setting.scenario->refuses && w->tasks[i].worker == NOBODY &&
           run_works(run, worker);
}

void run_receive(struct run *run, uint32_t worker, uint32_t i)
{
    struct worker *k = &run->workers[worker];

    worker_account(run, k);
    run->placed[i].met = k->running + k->waiting;
    if (k->running < k->slots && k->waiting == 0 && run_works(run, worker)) {
        task_start(run, k, i);
        return;
    }
    if (worker_refuses(run, worker, i)) {
        line_add(&run->back, run->now + DISPATCH_S, i);
        return;
    }
    if (k->waiting++ > 0)
        run->placed[k->last].next = i;
    else
        k->first = i;
    k->last = i;
    assert(k->waiting > 0);
}

static void task_end(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];
    struct worker *k = &run->workers[p->worker];

    double begins = hang_begins(run, p->worker);
    if (p->started < begins && begins <= run->now && !p->late) {
        p->late = true;
        heap_put(&run->heap, run->now + run->world->hang_for, WHAT_END, i);
        return;
    }
    worker_account(run, k);
    assert(k->running > 0);
    k->running--;
    k->met[k->n_took % TOOK] = p->met;
    k->took[k->n_took++ % TOOK] =
        (float)(run->now - run->world->tasks[i].arrives);
    worker_go_on(run, k);
    if (run->world->tasks[i].acked)
        line_add(&run->acks, run->now + run->world->ack, i);
    if (run->policy->knows_all)
        run_retry(run);
}

/* ---- heartbeats ---------------------------------------------------------- */

static struct report worker_says(const struct run *run, uint32_t worker)
{
    const struct setting *s = &run->world->setting;
    const struct worker *k = &run->workers[worker];
    double used = (double)k->running / k->slots;
    struct report r = {
        .busy = s->scenario->says_busy && k->running == k->slots,
        .weight = 100 * run->world->specs[worker].misweighed,
        .slots = s->variant->form == REPORT_NO_SLOTS ? 0 : k->slots,
        .cpu = s->scenario->load == LOAD_CPU ? used : .2 + .4 * used,
        .memory = .3 + .3 * used,
        .disk = .3,
        .pool = (double)(k->running + k->waiting) / k->slots,
        .since = k->since,
        .incarnation = k->incarnation,
    };

    if (s->variant->form == REPORT_SLOTS_CPU)
        r.memory = r.disk = r.pool = -1;
    return r;
}

static void worker_write(struct run *run, uint32_t worker)
{
    const struct world *w = run->world;
    struct worker *k = &run->workers[worker];
    double takes = w->report_min + (w->report_max - w->report_min) *
                                       world_chance(w, worker, k->n_written++);

    k->written = run->now;
    k->on_the_way = worker_says(run, worker);
    heap_put(&run->heap, run->now + takes, WHAT_REPORT, worker);
}

/* A worker that cannot be BUSY need not look every second. */
static void worker_scan(struct run *run, uint32_t worker)
{
    const struct world *w = run->world;
    struct worker *k = &run->workers[worker];
    bool flips = w->setting.scenario->says_busy;

    if (!k->present)
        return;
    if (run_works(run, worker) &&
        (run->now >= k->written + w->heartbeat - 1e-6 ||
         worker_says(run, worker).busy != k->on_the_way.busy))
        worker_write(run, worker);
    heap_put(&run->heap,
             flips || k->hangs ? run->now + w->scan : k->written + w->heartbeat,
             WHAT_SCAN, worker);
}

static void report_arrives(struct run *run, uint32_t worker)
{
    struct worker *k = &run->workers[worker];

    if (!k->present)
        return;
    k->said = k->on_the_way;
    for (uint32_t c = 0; c < run->world->n_coordinators; c++)
        run->policy->report(run->coordinators[c].state, worker, &k->said,
                            run->now);
    run_retry(run);
}

static void worker_leaves(struct run *run, uint32_t worker)
{
    run->workers[worker].present = false;
    for (uint32_t c = 0; c < run->world->n_coordinators; c++)
        run->policy->leave(run->coordinators[c].state, worker);
    heap_put(&run->heap, run->now + run->world->away_for, WHAT_JOIN, worker);
}

static void worker_joins(struct run *run, uint32_t worker)
{
    const struct world *w = run->world;
    struct worker *k = &run->workers[worker];

    k->present = true;
    k->since = run->now;
    k->incarnation++;
    worker_write(run, worker);
    heap_put(&run->heap, run->now + w->scan, WHAT_SCAN, worker);
    heap_put(&run->heap, run->now + w->away_every - w->away_for, WHAT_LEAVE,
             worker);
}

/* ---- coordinators -------------------------------------------------------- */

static void task_told(struct run *run, uint32_t i)
{
    const struct task *t = &run->world->tasks[i];
    const struct placed *p = &run->placed[i];

    run->out->told++;
    if (run->policy->done != NULL)
        run->policy->done(run->coordinators[t->coordinator].state, p->worker,
                          p->id, run->now);
}

static void tick(struct run *run)
{
    for (uint32_t c = 0; c < run->world->n_coordinators; c++)
        if (run->policy->tick != NULL)
            run->policy->tick(run->coordinators[c].state, run->now);
    run_retry(run);
    if (run->left > 0)
        heap_put(&run->heap, run->now + run->world->tick, WHAT_TICK, 0);
}

/* ---- the run ------------------------------------------------------------- */

static void happen(struct run *run, const struct event *e)
{
    switch ((enum what)e->what) {
    case WHAT_END:
        task_end(run, e->of);
        break;
    case WHAT_SCAN:
        worker_scan(run, e->of);
        break;
    case WHAT_REPORT:
        report_arrives(run, e->of);
        break;
    case WHAT_TICK:
        tick(run);
        break;
    case WHAT_WAKE:
        worker_account(run, &run->workers[e->of]);
        worker_go_on(run, &run->workers[e->of]);
        heap_put(&run->heap, run->now + run->world->hang_every, WHAT_WAKE,
                 e->of);
        break;
    case WHAT_LEAVE:
        worker_leaves(run, e->of);
        break;
    case WHAT_JOIN:
        worker_joins(run, e->of);
        break;
    }
}

static inline double sooner(double a, double b)
{
    return a < b ? a : b;
}

static double earliest(const struct run *run)
{
    const struct world *w = run->world;
    double next =
        run->next < w->n_tasks ? w->tasks[run->next].arrives : INFINITY;

    next = sooner(next, heap_next(&run->heap));
    next = sooner(next, line_next(&run->acks));
    next = sooner(next, line_next(&run->back));
    return sooner(next, line_next(&run->coming));
}

/* The earliest of five lines; arrivals last, so that what is known at that
 * moment is known to them. */
static void step(struct run *run)
{
    double now = earliest(run);

    assert(now >= run->now);
    if (run->policy->until != NULL)
        run->policy->until(run->coordinators[0].state, now);
    run->now = now;
    if (heap_next(&run->heap) <= now) {
        struct event e = heap_take(&run->heap);

        happen(run, &e);
    } else if (line_next(&run->acks) <= now) {
        task_told(run, line_take(&run->acks));
    } else if (line_next(&run->back) <= now) {
        run_task_returns(run, line_take(&run->back));
    } else if (line_next(&run->coming) <= now) {
        run_task_comes(run, line_take(&run->coming));
    } else {
        run_task_arrives(run, (uint32_t)run->next++);
    }
}

static void workers_begin(struct run *run)
{
    const struct world *w = run->world;

    for (uint32_t i = 0; i < w->n_workers; i++) {
        struct worker *k = &run->workers[i];
        const struct spec *s = &w->specs[i];

        *k = (struct worker){.slots = s->slots,
                             .present = true,
                             .hangs = s->hangs,
                             .since = -RUN_OLD};
        k->on_the_way = k->said = worker_says(run, i);
        for (uint32_t c = 0; c < w->n_coordinators; c++)
            run->policy->report(run->coordinators[c].state, i, &k->said, 0);
        /* as if written a part of an interval ago */
        k->written = (s->phase - 1) * w->heartbeat;
        heap_put(&run->heap,
                 w->setting.scenario->says_busy || s->hangs
                     ? s->phase * w->scan
                     : k->written + w->heartbeat,
                 WHAT_SCAN, i);
        if (s->hangs)
            heap_put(&run->heap, w->hang_every, WHAT_WAKE, i);
        if (s->away_from >= 0)
            heap_put(&run->heap, s->away_from, WHAT_LEAVE, i);
    }
}

static void run_open(struct run *run, const struct world *w,
                     const struct policy *p, struct outcome *out)
{
    memset(run, 0, sizeof(*run));
    memset(out, 0, sizeof(*out));
    run->world = w;
    run->policy = p;
    run->out = out;
    run->placed = mem_array(w->n_tasks, sizeof(*run->placed));
    memset(run->placed, 0, w->n_tasks * sizeof(*run->placed));
    heap_init(&run->heap);
    line_init(&run->acks, w->n_tasks);
    line_init(&run->coming, w->n_tasks);
    line_init(&run->back, w->n_tasks);
    for (size_t i = 0; i < w->n_tasks; i++)
        run->left +=
            w->tasks[i].worker == NOBODY && w->tasks[i].arrives >= w->settle;
    run->waits = mem_array(run->left, sizeof(*run->waits));
    for (uint32_t c = 0; c < w->n_coordinators; c++)
        run->coordinators[c].state =
            p->open(p, run, c, hash_mix(w->seed * COORDINATORS_MAX + c));
}

static void run_close(struct run *run)
{
    for (uint32_t c = 0; c < run->world->n_coordinators; c++)
        run->policy->close(run->coordinators[c].state);
    heap_close(&run->heap);
    mem_free(run->acks.items);
    mem_free(run->coming.items);
    mem_free(run->back.items);
    for (size_t i = 0; i < run->world->n_tasks; i++)
        mem_free(run->placed[i].refused);
    mem_free(run->placed);
    mem_free(run->waits);
}

void run_policy(const struct world *w, const struct policy *p,
                struct outcome *out)
{
    struct run *run = mem_alloc(sizeof(*run));

    run_open(run, w, p, out);
    workers_begin(run);
    heap_put(&run->heap, w->tick, WHAT_TICK, 0);
    while (run->left > 0)
        step(run);
    for (uint32_t i = 0; i < w->n_workers; i++)
        worker_account(run, &run->workers[i]);
    outcome_close(run);
    run_close(run);
    mem_free(run);
}

const struct world *run_world(const struct run *run)
{
    return run->world;
}

void *run_state(const struct run *run, uint32_t coordinator)
{
    assert(coordinator < run->world->n_coordinators);
    return run->coordinators[coordinator].state;
}

uint32_t run_tasks(const struct run *run, uint32_t worker)
{
    const struct worker *k = &run->workers[worker];

    assert(worker < run->world->n_workers);
    return k->running + k->waiting + k->coming;
}

uint32_t run_at_worker(const struct run *run, uint32_t worker)
{
    const struct worker *k = &run->workers[worker];

    assert(worker < run->world->n_workers);
    return k->running + k->waiting;
}

bool run_present(const struct run *run, uint32_t worker)
{
    assert(worker < run->world->n_workers);
    return run->workers[worker].present;
}

bool run_said_busy(const struct run *run, uint32_t worker)
{
    assert(worker < run->world->n_workers);
    return run->workers[worker].said.busy;
}
