/*
 * gather.c - how long a group of writes waits for more, before it is begun.
 *
 * A commit costs about the same however many share it. Clients that wait for
 * an answer each write again when the commit that answered them has ended: the
 * first of them would be alone in the next one, and all others wait for it. So
 * a group waits for as many as were answered by the one before it, beside
 * those who came while that was committed; as long as they keep coming (none
 * for a quarter of what a commit took lately is the end), and for no longer
 * than a commit takes. Who writes alone is not kept waiting: if fewer come
 * back, fewer are expected. (PostgreSQL has this as commit_delay and
 * commit_siblings, set by hand.)
 */
#include "registry/sql/backend.h"

#define QUIET_US_MAX 500
#define MOST_US_MAX  2000

size_t sql_gather_wants(const struct sql_gather *g, size_t writes)
{
    size_t expected = g->stayed + g->back;

    return writes > 0 && writes < expected ? expected - writes : 0;
}

void sql_gather_patience(const struct sql_gather *g, uint64_t begun_ns,
                         int64_t *quiet_us, int64_t *most_us)
{
    int64_t commit = (int64_t)(g->commit_ns / 1000), most = commit;

    if (most > MOST_US_MAX)
        most = MOST_US_MAX;
    most -= (int64_t)((clock_mono_ns() - begun_ns) / 1000);
    *most_us = most > 0 ? most : 0;
    *quiet_us = commit / 4 < QUIET_US_MAX ? commit / 4 : QUIET_US_MAX;
}

void sql_gather_add(struct sql_gather *g, bool write)
{
    if (g->left == 0)
        return;
    g->left--;
    g->stayed += write;
}

void sql_gather_begin(struct sql_gather *g)
{
    g->began_ns = clock_mono_ns();
}

void sql_gather_done(struct sql_gather *g, size_t writes, size_t left)
{
    uint64_t took_ns = clock_mono_ns() - g->began_ns;
    size_t came = writes > g->stayed ? writes - g->stayed : 0;

    assert(writes > 0);
    assert(g->began_ns > 0);
    if (came < g->back && (g->back + came) / 2 < writes)
        g->back = (g->back + came) / 2;
    else
        g->back = writes;
    g->left = left;
    g->stayed = 0;
    g->commit_ns = g->commit_ns == 0
                       ? took_ns
                       : g->commit_ns - g->commit_ns / 8 + took_ns / 8;
}
