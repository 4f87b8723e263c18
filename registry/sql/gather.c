/*
 * gather.c - how long a group of writes waits for more, before it is begun.
 *
 * A commit costs about the same however many share it. Clients that wait for
 * an answer each write again when the commit that answered them has ended: the
 * first of them would be alone in the next one, and all others wait for it. So
 * a group that is smaller than those before it waits for a quarter of what a
 * commit took lately, GATHER_NS_MAX at most. Who writes alone is not kept
 * waiting: if nobody comes, fewer are expected. (PostgreSQL has this as
 * commit_delay and commit_siblings, set by hand.)
 */
#include "registry/sql/backend.h"

#define GATHER_NS_MAX 500000

int64_t sql_gather_us(const struct sql_gather *g, size_t writes,
                      uint64_t begun_ns)
{
    uint64_t patience = g->commit_ns / 4, waited = clock_mono_ns() - begun_ns;

    if (patience > GATHER_NS_MAX)
        patience = GATHER_NS_MAX;
    if (writes == 0 || writes >= g->expected || waited >= patience)
        return 0;
    return (int64_t)((patience - waited + 999) / 1000);
}

void sql_gather_begin(struct sql_gather *g)
{
    g->began_ns = clock_mono_ns();
}

void sql_gather_done(struct sql_gather *g, size_t writes)
{
    uint64_t took_ns = clock_mono_ns() - g->began_ns;

    assert(writes > 0);
    assert(g->began_ns > 0);
    g->expected = writes > g->expected ? writes : (g->expected + writes) / 2;
    g->commit_ns = g->commit_ns == 0
                       ? took_ns
                       : g->commit_ns - g->commit_ns / 8 + took_ns / 8;
}
