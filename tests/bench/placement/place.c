/*
 * place.c - a task on its way: who takes it is asked, it is sent there, and
 * asked again if it was refused.
 *
 * A policy that answers at once knows what it said before the next question. A
 * policy in another process is asked at the same moment, and its answer is
 * needed when the task would be at the worker: as long as it takes less than
 * that way, nothing depends on how long it takes.
 */
#include "tests/bench/placement/run_priv.h"

#include "base/mem.h"

#define RETRY_MAX 64U /* tasks */

static bool has_refused(const struct placed *p, uint32_t worker)
{
    for (uint32_t i = 0; i < p->n_refused; i++)
        if (p->refused[i] == worker)
            return true;
    return false;
}

/* A pick of which nothing came. To whoever does not know refusals it is a task
 * that has ended. */
static void give_back(struct run *run, uint32_t i, bool refused)
{
    const struct policy *policy = run->policy;
    const struct placed *p = &run->placed[i];
    void *state = run->coordinators[run->world->tasks[i].coordinator].state;

    if (refused && policy->refused != NULL)
        policy->refused(state, p->worker, p->id, run->now);
    else if (policy->done != NULL)
        policy->done(state, p->worker, p->id, run->now);
}

static uint32_t choose(struct run *run, uint32_t i)
{
    const struct policy *policy = run->policy;
    struct placed *p = &run->placed[i];
    void *state = run->coordinators[run->world->tasks[i].coordinator].state;

    if (p->n_refused == 0)
        return policy->pick(state, run->now, &p->id);
    if (policy->other != NULL)
        return policy->other(state, run->now, p->refused, p->n_refused, &p->id);
    for (uint32_t tries = 0; tries < REFUSED_MAX; tries++) {
        p->worker = policy->pick(state, run->now, &p->id);
        if (p->worker == NOBODY || !has_refused(p, p->worker))
            return p->worker;
        give_back(run, i, false);
    }
    return NOBODY;
}

static void ask(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];

    run->policy->ask(run->coordinators[run->world->tasks[i].coordinator].state,
                     i, run->now, p->refused, p->n_refused);
    p->asked = true;
}

static uint32_t answer(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];

    assert(p->asked);
    p->asked = false;
    p->worker = run->policy->answer(
        run->coordinators[run->world->tasks[i].coordinator].state, i, &p->id);
    return p->worker;
}

/* False: nobody takes it. Of a policy that answers later that is not known yet.
 */
static bool place(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];

    if (run->policy->ask != NULL) {
        ask(run, i);
        line_add(&run->coming, run->now + DISPATCH_S, i);
        return true;
    }
    p->worker = choose(run, i);
    if (p->worker == NOBODY)
        return false;
    assert(p->worker < run->world->n_workers);
    assert(run->workers[p->worker].present);
    run->workers[p->worker].coming++;
    line_add(&run->coming, run->now + DISPATCH_S, i);
    return true;
}

static uint32_t waiting_take(struct run *run, struct waiting *q)
{
    uint32_t i = q->first;

    assert(q->n > 0);
    q->first = run->placed[i].next;
    q->n--;
    return i;
}

/* Of a policy that answers later the oldest asks first, the others when it has
 * an answer: all of them would ask in vain again and again. */
static void retry_later(struct run *run, struct waiting *q)
{
    if (q->n == 0 || q->asks)
        return;
    uint32_t i = waiting_take(run, q);

    q->asks = run->placed[i].first = true;
    (void)place(run, i);
}

/* Tasks that found nobody, the oldest first. Where workers refuse not all of
 * them ask at the same moment: each that is refused would ask again. */
void run_retry(struct run *run)
{
    bool some = run->world->setting.scenario->refuses;

    for (uint32_t c = 0; c < run->world->n_coordinators; c++) {
        struct waiting *q = &run->coordinators[c].waiting;
        uint32_t most = some ? RETRY_MAX : UINT32_MAX;

        if (run->policy->ask != NULL) {
            retry_later(run, q);
            continue;
        }
        while (q->n > 0 && most-- > 0 && place(run, q->first))
            (void)waiting_take(run, q);
    }
}

static void postpone(struct run *run, uint32_t i)
{
    struct waiting *q =
        &run->coordinators[run->world->tasks[i].coordinator].waiting;

    run->out->postponed++;
    run->placed[i].n_refused = 0;
    if (run->placed[i].first) { /* still the oldest */
        run->placed[i].next = q->first;
        q->first = i;
        q->last = q->n++ > 0 ? q->last : i;
        return;
    }
    if (q->n++ > 0)
        run->placed[q->last].next = i;
    else
        q->first = i;
    q->last = i;
}

/* The answer to the oldest one that waited: false, nobody yet. */
static void retry_answered(struct run *run, uint32_t i, bool somebody)
{
    struct waiting *q =
        &run->coordinators[run->world->tasks[i].coordinator].waiting;

    if (!run->placed[i].first)
        return;
    run->placed[i].first = q->asks = false;
    for (uint32_t n = 0; somebody && n < RETRY_MAX && q->n > 0; n++)
        (void)place(run, waiting_take(run, q));
}

void run_task_arrives(struct run *run, uint32_t i)
{
    const struct task *t = &run->world->tasks[i];

    if (t->worker != NOBODY) {
        run->placed[i].worker = t->worker;
        run_receive(run, t->worker, i);
        return;
    }
    if (run->coordinators[t->coordinator].waiting.n > 0 || !place(run, i))
        postpone(run, i);
}

void run_task_comes(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];

    if (!p->asked) {
        assert(run->workers[p->worker].coming > 0);
        run->workers[p->worker].coming--;
    } else if (answer(run, i) == NOBODY) {
        postpone(run, i);
        retry_answered(run, i, false);
        return;
    }
    retry_answered(run, i, true);
    run_receive(run, p->worker, i);
}

/* Whoever asked hears that it was refused, and asks again. */
void run_task_returns(struct run *run, uint32_t i)
{
    struct placed *p = &run->placed[i];

    run->out->refused++;
    give_back(run, i, true);
    if (p->refused == NULL)
        p->refused = mem_array(REFUSED_MAX, sizeof(*p->refused));
    p->refused[p->n_refused++] = p->worker;
    if (p->n_refused == REFUSED_MAX || !place(run, i))
        postpone(run, i);
}
