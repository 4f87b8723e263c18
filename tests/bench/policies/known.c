/* known.c - see known.h. */
#include "tests/bench/policies/known.h"

#include <string.h>

void known_init(struct known *k, const struct run *run, uint64_t seed)
{
    memset(k, 0, sizeof(*k));
    k->run = run;
    rand_seed(&k->rand, seed);
    assert(k->n_open == 0);
}

static void list_open(struct known *k)
{
    uint32_t n = run_world(k->run)->n_workers;
    double below = 0;

    assert(n <= WORKERS_MAX);
    k->n_open = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (!k->here[i] || k->last[i].busy)
            continue;
        below += known_perfect_weight(k, i);
        k->below[k->n_open] = below;
        k->open[k->n_open++] = i;
    }
    assert(k->n_open <= n);
}

bool known_report(struct known *k, uint32_t worker, const struct report *r,
                  double now)
{
    bool is_new = !k->here[worker];
    bool changed = is_new || k->last[worker].busy != r->busy;

    assert(worker < WORKERS_MAX);
    k->here[worker] = true;
    k->last[worker] = *r;
    k->reported[worker] = now;
    if (changed)
        list_open(k);
    return is_new;
}

void known_leave(struct known *k, uint32_t worker)
{
    assert(worker < WORKERS_MAX);
    k->here[worker] = false;
    list_open(k);
}

double known_usage(const struct known *k, uint32_t worker)
{
    const struct report *r = &k->last[worker];

    assert(k->here[worker]);
    return r->pool >= 0 ? r->pool : r->cpu;
}

double known_perfect_weight(const struct known *k, uint32_t worker)
{
    const struct spec *s = &run_world(k->run)->specs[worker];

    assert(s->fair > 0);
    return s->fair * s->misweighed;
}

uint32_t known_any(struct known *k)
{
    assert(k->n_open > 0);
    return k->open[rand_below(&k->rand, k->n_open)];
}

uint32_t known_any_weighted(struct known *k)
{
    assert(k->n_open > 0);
    double at = rand_double(&k->rand) * k->below[k->n_open - 1];
    uint32_t low = 0, high = k->n_open - 1;

    while (low < high) {
        uint32_t middle = (low + high) / 2;

        if (k->below[middle] <= at)
            low = middle + 1;
        else
            high = middle;
    }
    assert(low < k->n_open);
    return k->open[low];
}
