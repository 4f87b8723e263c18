/*
 * brake.c - counts who is missing and since when. Design: a hash table of the
 * missing only, swept as a whole, so that an address that is no longer known
 * leaves by itself.
 */
#include "failover/brake.h"

#include "base/mem.h"

#include <string.h>
#include <uthash.h>

struct brake_missing {
    mono_ms since;
    uint64_t sweep; /* last seen missing in */
    bool back;      /* seen alive since */
    UT_hash_handle hh;
    char address[]; /* the key */
};

struct brake {
    struct brake_config config;
    struct brake_missing *missing;
    uint64_t sweep;
    mono_ms now;
    size_t n_known, n_missing, n_recent;
    size_t last_known, last_missing;
    bool standing, down;
};

struct brake *brake_new(const struct brake_config *config)
{
    assert(config->share >= 0 && config->share <= 1);
    struct brake *b = mem_zalloc(sizeof(*b));
    b->config = *config;
    return b;
}

static void forget(struct brake *b, struct brake_missing *m)
{
    HASH_DEL(b->missing, m);
    mem_free(m);
}

void brake_free(struct brake **b)
{
    if (*b == NULL)
        return;
    struct brake_missing *m, *next;
    HASH_ITER(hh, (*b)->missing, m, next)
    {
        forget(*b, m);
    }
    MEM_FREE(*b);
}

void brake_begin(struct brake *b, mono_ms now, bool standing)
{
    b->sweep++;
    b->now = now;
    b->standing = standing;
    b->n_known = b->n_missing = b->n_recent = 0;
}

void brake_see(struct brake *b, const char *address, bool missing)
{
    size_t len = strlen(address);
    struct brake_missing *m;
    b->n_known++;
    HASH_FIND(hh, b->missing, address, len, m);
    if (!missing) {
        if (m != NULL)
            m->back = true; /* brake_end() forgets it */
        return;
    }
    if (m == NULL) {
        m = mem_zalloc(sizeof(*m) + len + 1);
        memcpy(m->address, address, len + 1);
        m->since = b->now;
        HASH_ADD_KEYPTR(hh, b->missing, m->address, len, m);
    }
    if (m->sweep == b->sweep) {
        b->n_known--; /* told twice */
        return;
    }
    m->sweep = b->sweep;
    b->n_missing++;
    if (b->now - m->since <= b->config.window_ms)
        b->n_recent++;
}

static bool beyond_share(const struct brake *b, size_t n)
{
    return (double)n > b->config.share * (double)b->n_known;
}

void brake_settled(struct brake *b, const char *address)
{
    struct brake_missing *m;
    HASH_FIND(hh, b->missing, address, strlen(address), m);
    if (m != NULL)
        forget(b, m);
}

/* Who was missing and is not told of any more: alive again, or not known any
 * more. While the brake is down the latter is no comfort, and counts. */
static void sweep_out(struct brake *b)
{
    struct brake_missing *m, *next;
    HASH_ITER(hh, b->missing, m, next)
    {
        if (m->sweep == b->sweep)
            continue;
        if (!b->down || m->back) {
            forget(b, m);
        } else {
            b->n_known++;
            b->n_missing++;
        }
    }
}

bool brake_end(struct brake *b)
{
    sweep_out(b);
    assert(b->n_missing <= b->n_known);
    bool all = b->n_known > 1 && b->n_missing == b->n_known;
    /* It falls on what went missing lately, and rises on the share of all that
     * is missing now: who started later knows fewer of the missing, so `min`
     * would lift it. One alone is never a mass. */
    if (b->down || b->standing)
        b->down = b->n_missing > 1 && beyond_share(b, b->n_missing);
    else
        b->down = b->n_recent >= b->config.min && beyond_share(b, b->n_recent);
    b->down = b->down || all;
    b->last_known = b->n_known;
    b->last_missing = b->n_missing;
    return b->down;
}

bool brake_down(const struct brake *b)
{
    return b->down;
}

size_t brake_missing(const struct brake *b)
{
    return b->last_missing;
}

size_t brake_known(const struct brake *b)
{
    return b->last_known;
}
