/*
 * measure.c - every policy on every seed of a setting.
 *
 * A thread takes one seed at a time: it makes that world once and runs all
 * policies in it.
 */
#include "tests/bench/placement/measure.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

struct work {
    struct block *block;
    const struct block *done; /* NULL, or one that differs in acks only */
    atomic_size_t next;       /* seed */
};

/* An outcome that is there already. NULL: none. */
static const struct outcome *known_outcome(const struct block *done,
                                           const struct policy *p, size_t seed)
{
    if (done == NULL || p->hears_acks || p->needs_acks)
        return NULL;
    for (size_t i = 0; i < done->n_policies; i++)
        if (done->policies[i] == p)
            return &done->outcomes[i * done->n_seeds + seed];
    return NULL;
}

static void *work_thread(void *arg)
{
    struct work *work = arg;
    struct block *b = work->block;
    struct world *w = mem_alloc(sizeof(*w));
    size_t seed;

    while ((seed = atomic_fetch_add(&work->next, 1)) < b->n_seeds) {
        world_init(w, &b->setting, seed + 1);
        for (size_t i = 0; i < b->n_policies; i++) {
            struct outcome *out = &b->outcomes[i * b->n_seeds + seed];
            const struct outcome *known =
                known_outcome(work->done, b->policies[i], seed);

            if (known != NULL)
                *out = *known;
            else
                run_policy(w, b->policies[i], out);
        }
        world_close(w);
    }
    mem_free(w);
    return NULL;
}

void measure_block(const struct plan *plan, struct block *b,
                   const struct block *before)
{
    struct work work = {.block = b};
    pthread_t *threads = mem_array(plan->jobs, sizeof(*threads));

    assert(plan->jobs >= 1);
    if (before != NULL && before->setting.scenario == b->setting.scenario &&
        before->setting.variant == b->setting.variant &&
        before->setting.tenth == b->setting.tenth)
        work.done = before;
    atomic_init(&work.next, 0);
    for (uint32_t i = 0; i < plan->jobs; i++) {
        int rc = pthread_create(&threads[i], NULL, work_thread, &work);

        assert(rc == 0);
        (void)rc;
    }
    for (uint32_t i = 0; i < plan->jobs; i++)
        pthread_join(threads[i], NULL);
    mem_free(threads);
}

static bool wanted(const struct plan *plan, const struct setting *s,
                   const struct policy *p)
{
    bool reference = strcmp(p->name, s->scenario->reference) == 0;

    if (p->of_busy && !s->scenario->says_busy)
        return false;
    if (p->repeats && s->scenario->refuses)
        return false;
    if (p->plain_only && !setting_is_plain(s))
        return false;
    if (p->needs_acks && (s->acks == ACKS_NONE || s->variant->acked > 0))
        return false;
    if (plan->n_policies == 0 || reference || strcmp(p->name, "oracle") == 0)
        return true;
    for (size_t i = 0; i < plan->n_policies; i++)
        if (plan->policies[i] == p)
            return true;
    return false;
}

static void block_init(const struct plan *plan, const struct setting *s,
                       struct block *b)
{
    *b = (struct block){.setting = *s, .n_seeds = plan->n_seeds};
    b->policies = mem_array(placement_n_policies, sizeof(*b->policies));
    for (size_t i = 0; i < placement_n_policies; i++)
        if (wanted(plan, s, placement_policies[i]))
            b->policies[b->n_policies++] = placement_policies[i];
    assert(b->n_policies > 0);
    b->outcomes = mem_array(b->n_policies * b->n_seeds, sizeof(*b->outcomes));
}

/* Without a filter the variants are those of the first scenario. */
static bool setting_wanted(const struct plan *plan, size_t scenario,
                           const struct setting *s)
{
    const char *name = placement_scenarios[scenario].name;
    char variant[SETTING_NAME];

    if (s->acks == ACKS_ALL ? !plan->acks : !plan->heartbeats)
        return false;
    if (s->acks == ACKS_NONE && s->variant->acked > 0)
        return false;
    if (plan->scenario != NULL && strcmp(plan->scenario, name) != 0)
        return false;
    if (plan->variant != NULL)
        return (plan->scenario != NULL || scenario == 0) &&
               strcmp(plan->variant, setting_name(s, variant)) == 0;
    return setting_is_plain(s) ||
           (scenario == 0 && plan->scenario == NULL &&
            (!s->tenth || s->variant == placement_variants));
}

static struct scenario scenario_of(const struct plan *plan, size_t i)
{
    struct scenario s = placement_scenarios[i];

    assert(i < placement_n_scenarios);
    s.heartbeat = plan->heartbeat > 0 ? plan->heartbeat : s.heartbeat;
    s.mean = plan->mean > 0 ? plan->mean : s.mean;
    s.rho = plan->rho > 0 ? plan->rho : s.rho;
    s.settle = plan->settle > 0 ? plan->settle : s.settle;
    s.measured = plan->measured > 0 ? plan->measured : s.measured;
    return s;
}

bool measure_begin(const struct plan *plan, struct results *out)
{
    *out = (struct results){.n_blocks = 0};
    out->blocks = mem_array(4 * placement_n_scenarios * placement_n_variants,
                            sizeof(*out->blocks));
    out->scenarios = mem_array(placement_n_scenarios, sizeof(*out->scenarios));
    for (size_t i = 0; i < placement_n_scenarios; i++)
        out->scenarios[i] = scenario_of(plan, i);
    /* every scenario as it is, then what differs */
    for (size_t j = 0; j < 2 * placement_n_variants; j++)
        for (size_t i = 0; i < placement_n_scenarios; i++)
            for (int acks = ACKS_ALL; acks >= ACKS_NONE; acks--) {
                struct setting s = {
                    .scenario = &out->scenarios[i],
                    .variant = &placement_variants[j % placement_n_variants],
                    .acks = (enum acks)acks,
                    .n_workers = plan->n_workers,
                    .tenth = j >= placement_n_variants};

                if (setting_wanted(plan, i, &s))
                    block_init(plan, &s, &out->blocks[out->n_blocks++]);
            }
    return out->n_blocks > 0;
}

void measure_end(struct results *results)
{
    for (size_t i = 0; i < results->n_blocks; i++) {
        mem_free(results->blocks[i].policies);
        mem_free(results->blocks[i].outcomes);
    }
    MEM_FREE(results->blocks);
    MEM_FREE(results->scenarios);
    results->n_blocks = 0;
}
