/*
 * brake.c - counts who is missing and since when. Design: a hash table of the
 * missing only, swept as a whole, so that an address that is no longer told of
 * leaves by itself; all that is decided is decided from one sweep's counts.
 */
#include "failover/brake.h"

#include "base/planted.h"
#include "base/table.h"

#include <stdio.h>
#include <string.h>

struct brake_missing {
    mono_ms since;
    uint64_t sweep; /* last seen missing in */
    UT_hash_handle hh;
    char address[NODE_ADDRESS_MAX + 1];
};

struct counts {
    size_t known;
    size_t settled;  /* alive for `settle` */
    size_t doubtful; /* neither alive nor missing */
    size_t missing;
    size_t recent; /* of these: within their window */
};

struct brake {
    struct brake_config config;
    struct brake_missing *missing;
    uint64_t sweep;
    mono_ms now;
    struct counts n; /* of the sweep under way */
    struct brake_verdict last;
    size_t recorded; /* so many, by a record that says `mass` */
    size_t most; /* that were missing since it is down, as far as is known */
};

struct brake *failover_brake_new(const struct brake_config *config)
{
    struct brake *b = mem_zalloc(sizeof(*b));
    failover_brake_configure(b, config);
    return b;
}

void failover_brake_configure(struct brake *b,
                              const struct brake_config *config)
{
    assert(config->share >= 0 && config->share <= 1);
    b->config = *config;
}

static void forget(struct brake *b, struct brake_missing *m)
{
    HASH_DEL(b->missing, m);
    mem_free(m);
}

void failover_brake_free(struct brake **b)
{
    if (*b == NULL)
        return;
    struct brake_missing *m, *next;
    HASH_ITER (hh, (*b)->missing, m, next)
        forget(*b, m);
    MEM_FREE(*b);
}

void failover_brake_begin(struct brake *b, mono_ms now, size_t recorded)
{
    b->sweep++;
    b->now = now;
    b->recorded = recorded;
    b->n = (struct counts){0};
}

static void see_missing(struct brake *b, const char *address, bool fenced,
                        int64_t lease_ms, mono_ms fenced_at)
{
    int64_t span =
        lease_ms > b->config.window_ms ? lease_ms : b->config.window_ms;
    mono_ms since = fenced ? fenced_at : b->now;
    struct brake_missing *m;
    assert(span >= 0);
    HASH_FIND_STR(b->missing, address, m);
    if (m == NULL && since < 0)
        return;
    if (m == NULL) {
        m = mem_zalloc(sizeof(*m));
        m->since = since;
        (void)snprintf(m->address, sizeof(m->address), "%s", address);
        HASH_ADD_STR(b->missing, address, m);
    }
    if (m->sweep == b->sweep)
        return; /* told twice */
    bool recent = b->now - m->since <= span;
    if (fenced && !recent)
        return; /* dealt with: the sweep's end forgets it */
    m->sweep = b->sweep;
    b->n.known++;
    b->n.missing++;
    b->n.recent += recent;
}

void failover_brake_count(struct brake *b, enum brake_sight sight, size_t n)
{
    assert(sight == BRAKE_SETTLED || sight == BRAKE_NEW ||
           sight == BRAKE_DOUBTFUL);
    b->n.known += n;
    if (sight == BRAKE_SETTLED)
        b->n.settled += n;
    if (sight == BRAKE_DOUBTFUL)
        b->n.doubtful += n;
}

void failover_brake_see(struct brake *b, const char *address,
                        enum brake_sight sight, int64_t lease_ms,
                        mono_ms fenced_at)
{
    switch (sight) {
    case BRAKE_SETTLED:
    case BRAKE_NEW:
    case BRAKE_DOUBTFUL:
        failover_brake_count(b, sight, 1);
        return;
    case BRAKE_MISSING:
    case BRAKE_FENCED:
        if (sight == BRAKE_FENCED && planted(PLANTED_FENCED_IS_SETTLED))
            return;
        see_missing(b, address, sight == BRAKE_FENCED, lease_ms, fenced_at);
        return;
    }
}

static bool beyond_share(const struct brake *b, size_t n)
{
    return (double)n > b->config.share * (double)b->n.known;
}

static bool is_mass(const struct brake *b, size_t n)
{
    return n >= b->config.min && beyond_share(b, n);
}

static bool is_all(const struct brake *b, size_t n)
{
    return n > 1 && n == b->n.known;
}

/* Whoever started later may know fewer of the missing: `min` is asked of those
 * that made it fall, and one alone is never a mass. */
static bool stays_down(const struct brake *b)
{
    size_t n = b->n.missing;
    bool again = b->most >= b->config.min && beyond_share(b, n);
    return n > 1 && (again || b->n.settled == 0);
}

bool failover_brake_end(struct brake *b)
{
    struct brake_missing *m, *next;
    const struct counts *n = &b->n;
    bool down = b->last.down;
    HASH_ITER (hh, b->missing, m, next)
        if (m->sweep != b->sweep)
            forget(b, m);
    assert(n->missing + n->doubtful + n->settled <= n->known);
    assert(n->recent <= n->missing);
    if (!down)
        b->most = 0;
    if (b->recorded > b->most)
        b->most = b->recorded;
    if (down || b->recorded > 0)
        down = stays_down(b);
    else
        down = is_mass(b, n->recent) || is_all(b, n->missing);
    if (down && n->missing > b->most)
        b->most = n->missing;
    b->last = (struct brake_verdict){
        .down = down,
        .in_doubt = !down && n->doubtful > 0 &&
                    (is_mass(b, n->recent + n->doubtful) ||
                     is_all(b, n->missing + n->doubtful)),
        .missing = n->missing,
        .known = n->known,
    };
    return down;
}

const struct brake_verdict *failover_brake(const struct brake *b)
{
    return &b->last;
}
