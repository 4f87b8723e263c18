/*
 * affinity.c - which workers a key prefers.
 *
 * Multi-probe consistent hashing (Appleton and O'Reilly, "Multi-probe
 * consistent hashing", 2015): a worker stands at a few points of a ring, a key
 * asks from more, and how much a worker is preferred is the shortest way from
 * one of the key's to one of its own; divided by its share, so that it wins in
 * proportion to that, as the earliest of exponential clocks does (as in
 * Schindelhauer and Schomaker, "Weighted distributed hash tables", 2005). That
 * number depends on the key and on that worker alone. So the order is the same
 * in every coordinator, and a worker that comes, goes or has another share
 * moves its own keys and nobody else's.
 *
 * Points lie in the order of where they are in a table with about as many gaps:
 * each is at the place that its high bits say, or at the next that was free,
 * so that a probe reads a cache line or two (linear probing in order: Amble and
 * Knuth, "Ordered hash tables", 1974). When it becomes too full or too empty
 * another takes its place, and a few points are moved with each worker that
 * comes or goes; those before `moved` are in the new one. What is found does
 * not depend on how far that is.
 *
 * Workers with shares of one order of magnitude (16 times) have a ring of their
 * own: how far to look follows from the largest share.
 *
 * All of it is a function of who is in the group, with which share. So a group
 * has none until a pick asks with a key, and none again when long nobody did:
 * then it is built, in one go.
 *
 * (Longer than 500 lines: a table, how it is built and kept, and the search in
 * it belong together.)
 */
#include "balancer/balancer_priv.h"

#include <math.h>
#include <string.h>

/* Together they decide how evenly keys are spread: by one part in the square
 * root of twice their product. */
#define POINTS 4U
#define PROBES 16U

/* Rings by the exponent of the share, four to each, from EXPONENT_MIN on. */
#define RINGS        9
#define EXPONENT_MIN (-9)
#define EXPONENTS    4

/* A probe looks at one point on average, then at so many: of a group of which
 * hardly anybody takes work no three may be found, or none. */
#define LOOK_MAX 8U
/* Points that are moved with each worker. */
#define MOVES    128U
#define BITS_MIN 4U
#define SPARE    256U /* places behind the last; hardly ever a tenth is used */

struct point {
    uint32_t at;    /* where on the ring */
    uint32_t place; /* + 1; 0: a gap */
};

struct points {
    struct point *list; /* 2^bits + spare */
    uint32_t bits, spare;
};

struct ring {
    struct points now, was; /* was.list NULL: all are in `now` */
    uint64_t moved;         /* points at less than this are in `now` */
    uint32_t next;          /* of `was`: the first that is not */
    uint32_t n;
    double share_max; /* the largest share since it was empty */
};

/* Of each place what a search has to know, so that it need not look at the
 * member and its account. */
struct site {
    double share;
    uint8_t ring; /* 1 + the number of it; 0: nobody is there */
    bool open;    /* member_eligible() */
};

struct affinity {
    struct ring ring[RINGS];
    struct site *sites;
    uint32_t places;
    mono_ms asked; /* the last time */
};

static uint32_t spread(uint64_t hash, uint32_t i)
{
    return (uint32_t)(hash_mix(hash + i * UINT64_C(0x9e3779b97f4a7c15)) >> 32);
}

void balancer_affinity_drop(struct group *g)
{
    struct affinity *f = g->affinity;

    if (f == NULL)
        return;
    for (int i = 0; i < RINGS; i++) {
        mem_free(f->ring[i].now.list);
        mem_free(f->ring[i].was.list);
    }
    mem_free(f->sites);
    MEM_FREE(g->affinity);
}

void balancer_affinity_rest(struct group *g, mono_ms now)
{
    if (g->affinity != NULL && now - g->affinity->asked > AFFINITY_KEEP_MS)
        balancer_affinity_drop(g);
}

void balancer_affinity_resize(struct group *g)
{
    struct affinity *f = g->affinity;

    if (f == NULL)
        return;
    assert(g->cap >= f->places);
    f->sites = mem_regrow(f->sites, g->cap, sizeof(*f->sites));
    memset(f->sites + f->places, 0, (g->cap - f->places) * sizeof(*f->sites));
    f->places = g->cap;
}

/* ---- a table of points --------------------------------------------------- */

static uint32_t home_of(const struct points *t, uint32_t at)
{
    return at >> (32 - t->bits);
}

static uint32_t points_end(const struct points *t)
{
    return (1U << t->bits) + t->spare;
}

static bool is_behind(const struct point *a, const struct point *b)
{
    return a->at != b->at ? a->at < b->at : a->place < b->place;
}

static void points_make(struct points *t, uint32_t bits)
{
    t->bits = bits;
    t->spare = SPARE;
    t->list = mem_huge(points_end(t) * sizeof(*t->list));
    memset(t->list, 0, points_end(t) * sizeof(*t->list));
}

/* Addresses can be chosen so that more of them stand at the end than there is
 * room for. */
static void points_spare(struct points *t)
{
    uint32_t end = points_end(t);

    t->spare *= 2;
    t->list = mem_regrow(t->list, points_end(t), sizeof(*t->list));
    memset(t->list + end, 0, (points_end(t) - end) * sizeof(*t->list));
}

static void points_add(struct points *t, struct point one)
{
    uint32_t i = home_of(t, one.at), gap, end = points_end(t);

    while (i < end && t->list[i].place != 0 && is_behind(&t->list[i], &one))
        i++;
    for (gap = i; gap < end && t->list[gap].place != 0; gap++)
        ;
    if (gap == end)
        points_spare(t);
    memmove(&t->list[i + 1], &t->list[i], (gap - i) * sizeof(one));
    t->list[i] = one;
}

static void points_remove(const struct points *t, struct point one)
{
    uint32_t i = home_of(t, one.at), end = points_end(t);

    while (t->list[i].at != one.at || t->list[i].place != one.place) {
        i++;
        assert(i < end);
    }
    for (; i + 1 < end && t->list[i + 1].place != 0 &&
           home_of(t, t->list[i + 1].at) <= i;
         i++)
        t->list[i] = t->list[i + 1];
    t->list[i].place = 0;
}

/* ---- a ring -------------------------------------------------------------- */

/* Not moved yet. */
static bool is_in_old(const struct ring *r, uint32_t at)
{
    return r->was.list != NULL && at >= r->moved;
}

static struct points *ring_points(struct ring *r, uint32_t at)
{
    return is_in_old(r, at) ? &r->was : &r->now;
}

/* Move some of the old table's places. Those before `next` are done with, and
 * what belongs to them now goes into the new one: no point is displaced beyond
 * a gap, and those at the same spot go together. */
static void ring_move(struct ring *r, uint32_t some)
{
    const struct points *was = &r->was;

    while (was->list != NULL) {
        const struct point *p = &was->list[r->next];

        if (some-- == 0) {
            if (p->place == 0 || p->at >= r->moved)
                return;
            some = 0;
        }
        r->next++;
        if (p->place != 0) {
            points_add(&r->now, *p);
            r->moved = (uint64_t)p->at + 1;
        } else if (r->moved < (uint64_t)r->next << (32 - was->bits)) {
            r->moved = (uint64_t)r->next << (32 - was->bits);
        }
        if (r->next == points_end(was))
            MEM_FREE(r->was.list);
    }
}

static void ring_begin(struct ring *r, uint32_t bits)
{
    assert(bits >= BITS_MIN && bits < 32);
    ring_move(r, UINT32_MAX); /* it had time enough */
    r->was = r->now;
    r->moved = r->next = 0;
    points_make(&r->now, bits);
}

/* Too many points for a table of 2^bits. */
static bool is_crowded(uint32_t n, uint32_t bits)
{
    return n > (5U << bits) / 8;
}

static void ring_fit(struct ring *r)
{
    uint32_t bits = r->now.bits;

    if (r->now.list == NULL)
        ring_begin(r, BITS_MIN);
    else if (is_crowded(r->n, bits))
        ring_begin(r, bits + 1);
    else if (bits > BITS_MIN && r->n < 1U << bits >> 4)
        ring_begin(r, bits - 2 > BITS_MIN ? bits - 2 : BITS_MIN);
    ring_move(r, MOVES);
}

/* ---- who stands there ---------------------------------------------------- */

static int ring_number(double share)
{
    int i = (ilogb(share) - EXPONENT_MIN) / EXPONENTS;

    assert(share > 0);
    return i < 0 ? 0 : i < RINGS ? i : RINGS - 1;
}

static void site_leave(struct affinity *f, uint32_t place, uint64_t hash)
{
    if (f->sites[place].ring == 0)
        return;
    struct ring *r = &f->ring[f->sites[place].ring - 1];

    for (uint32_t i = 0; i < POINTS; i++) {
        uint32_t at = spread(hash, i);

        points_remove(ring_points(r, at), (struct point){at, place + 1});
    }
    assert(r->n >= POINTS);
    r->n -= POINTS;
    f->sites[place] = (struct site){.ring = 0};
    ring_fit(r);
}

void balancer_affinity_leave(struct group *g, uint32_t place)
{
    if (g->affinity == NULL)
        return;
    assert(place < g->affinity->places);
    site_leave(g->affinity, place, g->members[place].account->hash);
}

void balancer_affinity_enter(struct group *g, uint32_t place)
{
    const struct account *a = g->members[place].account;
    struct affinity *f = g->affinity;

    if (f == NULL)
        return;
    int number = ring_number(a->share);
    struct ring *r = &f->ring[number];
    bool open = f->sites[place].open;

    assert(place < f->places);
    if (f->sites[place].ring == number + 1) {
        f->sites[place].share = a->share;
        r->share_max = fmax(r->share_max, a->share);
        return;
    }
    site_leave(f, place, a->hash);
    r->share_max = r->n > 0 ? fmax(r->share_max, a->share) : a->share;
    r->n += POINTS;
    ring_fit(r);
    for (uint32_t i = 0; i < POINTS; i++) {
        uint32_t at = spread(a->hash, i);

        points_add(ring_points(r, at), (struct point){at, place + 1});
    }
    f->sites[place] = (struct site){a->share, (uint8_t)(number + 1), open};
}

void balancer_affinity_open(struct group *g, uint32_t place)
{
    if (g->affinity == NULL)
        return;
    assert(place < g->affinity->places);
    g->affinity->sites[place].open = member_eligible(&g->members[place]);
}

/* ---- all at once --------------------------------------------------------- */

/* So many members' lines are asked for before they are needed, first those of
 * the account, then those of the table. */
#define FETCHED 16U

/* Who stands where, and how many in each ring. */
static void build_sites(struct group *g)
{
    struct affinity *f = g->affinity;

    for (uint32_t i = 0; i < g->n; i++) {
        const struct member *m = &g->members[i];

        if (i + FETCHED < g->n && m[FETCHED].account != NULL)
            __builtin_prefetch(&m[FETCHED].account->in);
        if (m->account == NULL)
            continue;
        double share = m->account->share;
        int number = ring_number(share);
        struct ring *r = &f->ring[number];

        f->sites[i] =
            (struct site){share, (uint8_t)(number + 1), member_eligible(m)};
        r->n += POINTS;
        r->share_max = fmax(r->share_max, share);
    }
}

/* The points of the members from .. to-1, at most FETCHED. */
static void build_points(struct group *g, uint32_t from, uint32_t to)
{
    struct affinity *f = g->affinity;
    struct point made[FETCHED * POINTS];
    struct points *of[FETCHED * POINTS];
    uint32_t n = 0;

    assert(to - from <= FETCHED);
    for (uint32_t place = from; place < to; place++) {
        if (f->sites[place].ring == 0)
            continue;
        for (uint32_t i = 0; i < POINTS; i++, n++) {
            uint32_t at = spread(g->members[place].account->hash, i);

            of[n] = &f->ring[f->sites[place].ring - 1].now;
            made[n] = (struct point){at, place + 1};
            __builtin_prefetch(&of[n]->list[home_of(of[n], at)], 1);
        }
    }
    for (uint32_t i = 0; i < n; i++)
        points_add(of[i], made[i]);
}

/* The same as if all had entered, one after the other. */
static void affinity_build(struct group *g)
{
    assert(g->affinity == NULL);
    g->affinity = mem_zalloc(sizeof(*g->affinity));
    balancer_affinity_resize(g);
    build_sites(g);
    for (int i = 0; i < RINGS; i++) {
        struct ring *r = &g->affinity->ring[i];
        uint32_t bits = BITS_MIN;

        while (is_crowded(r->n, bits))
            bits++;
        if (r->n > 0)
            points_make(&r->now, bits);
    }
    for (uint32_t i = 0; i < g->n; i += FETCHED)
        build_points(g, i, i + FETCHED < g->n ? i + FETCHED : g->n);
}

/* ---- the first three ----------------------------------------------------- */

struct ranked {
    double far; /* the way there by its share */
    uint32_t place;
};

#define NEAR_MAX 64U

/* One key. */
struct search {
    const struct group *g;
    const struct affinity *f;
    const struct ring *ring; /* where it looks now */
    uint64_t limit;          /* no farther, anyway */
    uint64_t reach; /* nor than this: those there are not among the first */
    struct ranked top[AFFINITY_TOP];
    uint32_t n;
};

/* Two at the same distance are in the order of their hashes. */
static bool is_nearer(const struct search *s, const struct ranked *a,
                      const struct ranked *b)
{
    const struct account *x, *y;

    if (a->far != b->far || a->place == b->place)
        return a->far < b->far;
    x = s->g->members[a->place].account;
    y = s->g->members[b->place].account;
    return x->hash != y->hash ? x->hash < y->hash : a->place < b->place;
}

static void search_reach(struct search *s)
{
    double far;

    s->reach = s->limit;
    if (s->n < AFFINITY_TOP)
        return;
    far = s->top[AFFINITY_TOP - 1].far * s->ring->share_max;
    if (far < (double)s->limit)
        s->reach = (uint64_t)far;
}

static void search_add(struct search *s, struct ranked one)
{
    uint32_t i = 0;

    while (i < s->n && s->top[i].place != one.place)
        i++;
    if (i == s->n && s->n < AFFINITY_TOP) {
        s->n++;
    } else {
        if (i == s->n)
            i--; /* instead of the last one */
        if (!is_nearer(s, &one, &s->top[i]))
            return;
    }
    for (; i > 0 && is_nearer(s, &one, &s->top[i - 1]); i--)
        s->top[i] = s->top[i - 1];
    s->top[i] = one;
    search_reach(s);
    assert(s->n <= AFFINITY_TOP);
}

/* Points from `lo` to `hi` in one table, met as they come, or set down. */
struct near {
    uint32_t way[NEAR_MAX], place[NEAR_MAX], n;
};

static void search_meet(struct search *s, uint32_t place, uint32_t way)
{
    const struct site *site = &s->f->sites[place];

    if (site->open && way <= s->reach)
        search_add(s, (struct ranked){((double)way + 1) / site->share, place});
}

static void scan_table(struct search *s, const struct points *t, uint32_t from,
                       uint32_t lo, uint32_t hi, struct near *near)
{
    uint32_t last = home_of(t, hi), end = points_end(t);

    assert(lo <= hi);
    for (uint32_t i = home_of(t, lo); i < end; i++) {
        struct point p = t->list[i];

        if (p.place == 0) {
            if (i >= last)
                return;
            continue;
        }
        if (p.at > hi || (p.at >= lo && p.at - from > s->reach))
            return;
        if (p.at < lo)
            continue;
        if (near == NULL) {
            search_meet(s, p.place - 1, p.at - from);
            continue;
        }
        if (near->n == NEAR_MAX)
            return;
        near->way[near->n] = p.at - from;
        near->place[near->n++] = p.place - 1;
        __builtin_prefetch(&s->f->sites[p.place - 1]);
    }
}

/* Either table holds a part of what lies between. */
static void scan(struct search *s, uint32_t from, uint32_t lo, uint32_t hi,
                 struct near *near)
{
    const struct ring *r = s->ring;

    if (r->was.list == NULL || hi < r->moved) {
        scan_table(s, &r->now, from, lo, hi, near);
    } else if (lo >= r->moved) {
        scan_table(s, &r->was, from, lo, hi, near);
    } else {
        scan_table(s, &r->now, from, lo, (uint32_t)(r->moved - 1), near);
        scan_table(s, &r->was, from, (uint32_t)r->moved, hi, near);
    }
}

/* As far as it reaches, about the ring. */
static void search_from(struct search *s, uint32_t from, struct near *near)
{
    uint64_t to = from + s->reach;

    if (to <= UINT32_MAX) {
        scan(s, from, from, (uint32_t)to, near);
        return;
    }
    scan(s, from, from, UINT32_MAX, near);
    if (s->reach > UINT32_MAX - from)
        scan(s, from, 0, (uint32_t)(from + s->reach), near);
}

/* Within a short way, where three are found in most cases: what no cache holds
 * is asked for at once, the points, then who stands there. False: there were
 * too many to look at. */
static bool search_near(struct search *s, const uint32_t *from, uint64_t limit)
{
    struct near near;

    near.n = 0;
    s->limit = limit;
    search_reach(s);
    for (uint32_t i = 0; i < PROBES; i++) {
        const struct points *t =
            is_in_old(s->ring, from[i]) ? &s->ring->was : &s->ring->now;

        __builtin_prefetch(&t->list[home_of(t, from[i])]);
        __builtin_prefetch(&t->list[home_of(t, from[i]) + 8]);
    }
    for (uint32_t i = 0; i < PROBES; i++)
        search_from(s, from[i], &near);
    for (uint32_t i = 0; i < near.n; i++)
        search_meet(s, near.place[i], near.way[i]);
    return near.n < NEAR_MAX;
}

static void search_ring(struct search *s, const struct ring *r,
                        const uint32_t *from)
{
    uint64_t apart = (UINT64_C(1) << 32) / r->n;

    assert(r->n > 0);
    s->ring = r;
    bool all = search_near(s, from, apart);

    s->limit = apart * LOOK_MAX < UINT32_MAX ? apart * LOOK_MAX : UINT32_MAX;
    search_reach(s);
    if (all && s->reach <= apart)
        return;
    for (uint32_t i = 0; i < PROBES; i++)
        search_from(s, from[i], NULL);
}

uint32_t balancer_affinity_top(struct group *g, const char *key, uint32_t *out,
                               mono_ms now)
{
    if (g->affinity == NULL)
        affinity_build(g);
    g->affinity->asked = now;
    struct search s = {.g = g, .f = g->affinity};
    uint64_t seed = hash_str(key, 1); /* not as an address */
    uint32_t from[PROBES];

    assert(out != NULL);
    for (uint32_t i = 0; i < PROBES; i++)
        from[i] = spread(seed, i);
    for (int i = 0; i < RINGS; i++)
        if (s.f->ring[i].n > 0)
            search_ring(&s, &s.f->ring[i], from);
    for (uint32_t i = 0; i < s.n; i++)
        out[i] = s.top[i].place;
    return s.n;
}
