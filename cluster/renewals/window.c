/* window.c - renewals as bytes, and back with every bound checked. */
#include "cluster/renewals/window.h"

#include "base/mem.h"
#include "base/pack/pack.h"
#include "cluster/node.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT     1
#define STEPS      50000
#define NOT_TOLD   UINT16_MAX
#define LOADS      4
#define LOAD_BITS  0x0fu
#define GENERATION 0x10u
#define BUSY       0x20u
#define KNOWN_BITS (LOAD_BITS | GENERATION | BUSY)
/* The least of a renewal: one byte of created, the flags. */
#define RENEWAL_LEAST 2

_Static_assert((LOAD_CPU | LOAD_MEMORY | LOAD_DISK | LOAD_POOL) == LOAD_BITS,
               "the bits of a load are those of the format");

/* --- a load -------------------------------------------------------------- */

static double *load_field(struct load *load, unsigned i)
{
    double *const fields[LOADS] = {&load->cpu, &load->memory, &load->disk,
                                   &load->pool};

    assert(i < LOADS);
    return fields[i];
}

static double load_full(unsigned i)
{
    return 1u << i == LOAD_POOL ? 100.0 : 1.0;
}

/* Of 50,000 of what is full. */
static uint16_t to_steps(double value, unsigned i)
{
    double steps = round(value / load_full(i) * STEPS);

    if (!(value >= 0))
        return NOT_TOLD;
    return steps < STEPS ? (uint16_t)steps : STEPS;
}

static uint16_t load_steps(const struct load *load, unsigned i)
{
    struct load copy = *load;

    return to_steps(*load_field(&copy, i), i);
}

void renewal_tell(struct renewal *r, const struct load *now,
                  const struct load *before)
{
    r->told = 0;
    for (unsigned i = 0; i < LOADS; i++) {
        uint16_t steps = load_steps(now, i);

        r->load[i] = 0;
        if (before != NULL && load_steps(before, i) == steps)
            continue;
        r->told |= (uint8_t)(1u << i);
        r->load[i] = steps;
    }
    assert((r->told & ~LOAD_BITS) == 0);
}

void renewal_apply(const struct renewal *r, struct load *load)
{
    assert((r->told & ~LOAD_BITS) == 0);
    for (unsigned i = 0; i < LOADS; i++) {
        if ((r->told & 1u << i) == 0)
            continue;
        *load_field(load, i) = r->load[i] == NOT_TOLD
                                   ? LOAD_UNKNOWN
                                   : load_full(i) * r->load[i] / STEPS;
    }
}

void renewal_join(struct renewal *earlier, const struct renewal *later)
{
    assert(earlier->created == later->created);
    assert(earlier->generation == later->generation);
    for (unsigned i = 0; i < LOADS; i++)
        if ((later->told & 1u << i) != 0)
            earlier->load[i] = later->load[i];
    earlier->told |= later->told;
    earlier->busy = later->busy;
}

/* --- writing ------------------------------------------------------------- */

struct window_item {
    struct renewal r;
    uint32_t order; /* of those with one name */
};

void window_init(struct window *w)
{
    *w = (struct window){.items = NULL};
}

void window_close(struct window *w)
{
    mem_free(w->items);
    window_init(w);
}

bool window_add(struct window *w, const struct renewal *r)
{
    assert(r->created > 0 && r->generation > 0);
    assert((r->told & ~LOAD_BITS) == 0);
    if (w->n == WINDOW_MAX)
        return false;
    if (w->n == w->cap) {
        w->cap = w->cap == 0 ? 64 : 2 * w->cap;
        w->items = mem_regrow(w->items, w->cap, sizeof(*w->items));
    }
    w->items[w->n] = (struct window_item){.r = *r, .order = (uint32_t)w->n};
    w->n++;
    return true;
}

static int compare_names(const struct renewal *a, const struct renewal *b)
{
    if (a->created != b->created)
        return a->created < b->created ? -1 : 1;
    return (a->generation > b->generation) - (a->generation < b->generation);
}

static int compare_items(const void *va, const void *vb)
{
    const struct window_item *a = va, *b = vb;
    int names = compare_names(&a->r, &b->r);

    return names != 0 ? names : (a->order > b->order) - (a->order < b->order);
}

/* In order, each name once. */
static void settle(struct window *w)
{
    size_t n = 0;

    qsort(w->items, w->n, sizeof(*w->items), compare_items);
    for (size_t i = 0; i < w->n; i++) {
        struct renewal *last = n > 0 ? &w->items[n - 1].r : NULL;

        if (last != NULL && compare_names(last, &w->items[i].r) == 0)
            renewal_join(last, &w->items[i].r);
        else
            w->items[n++] = w->items[i];
    }
    w->n = n;
    for (size_t i = 0; i < n; i++)
        w->items[i].order = (uint32_t)i; /* what is added now comes later */
}

static void renewal_write(struct buf *out, const struct renewal *r,
                          uint64_t before)
{
    unsigned flags = r->told | (r->busy ? BUSY : 0);

    assert(r->created >= before);
    if (r->generation != 1)
        flags |= GENERATION;
    pack_uint(out, r->created - before);
    pack_u8(out, (uint8_t)flags);
    if (r->generation != 1)
        pack_uint(out, r->generation);
    for (unsigned i = 0; i < LOADS; i++) {
        if ((r->told & 1u << i) == 0)
            continue;
        pack_u8(out, (uint8_t)(r->load[i] & 0xff));
        pack_u8(out, (uint8_t)(r->load[i] >> 8));
    }
}

void window_write(struct buf *out, struct window *w, uint64_t seq,
                  int64_t watched_ms)
{
    uint64_t before = 0;

    assert(seq > 0 && w->n > 0);
    assert(watched_ms > 0 && watched_ms <= WINDOW_WATCHED_MAX);
    settle(w);
    pack_u8(out, FORMAT);
    pack_uint(out, seq);
    pack_uint(out, (uint64_t)watched_ms);
    pack_uint(out, w->n);
    for (size_t i = 0; i < w->n; i++) {
        renewal_write(out, &w->items[i].r, before);
        before = w->items[i].r.created;
    }
    assert(!out->overflow);
}

/* --- reading ------------------------------------------------------------- */

/* In its shortest form; else it is bad. */
static uint64_t number(struct unpack *in, uint64_t max)
{
    const uint8_t *from = in->at;
    uint8_t bytes[PACK_VARINT_MAX];
    uint64_t v = unpack_uint_max(in, max);

    if (!in->bad && (size_t)(in->at - from) != pack_number(bytes, v))
        in->bad = true;
    return in->bad ? 0 : v;
}

/* One renewal behind the one at *r (all zero: the first). What is wrong with
 * it, or NULL. */
static const char *renewal_read(struct unpack *in, struct renewal *r)
{
    uint64_t step = number(in, UINT64_MAX - r->created);
    uint32_t generation = r->generation;
    unsigned flags = unpack_u8(in);

    if (in->bad)
        return "no created and flags";
    if ((flags & ~KNOWN_BITS) != 0)
        return "flags that are not known";
    r->created += step;
    r->generation = 1;
    if ((flags & GENERATION) != 0)
        r->generation = (uint32_t)number(in, UINT32_MAX);
    if (in->bad || ((flags & GENERATION) != 0 && r->generation < 2))
        return "a generation is expected, from 2";
    if (step == 0 && r->generation <= generation)
        return "not behind the one before it";
    if (r->created == 0)
        return "created is 0";
    r->busy = (flags & BUSY) != 0;
    r->told = (uint8_t)(flags & LOAD_BITS);
    for (unsigned i = 0; i < LOADS; i++) {
        r->load[i] = 0;
        if ((flags & 1u << i) == 0)
            continue;
        r->load[i] = unpack_u8(in);
        r->load[i] = (uint16_t)(r->load[i] | unpack_u8(in) << 8);
        if (r->load[i] > STEPS && r->load[i] != NOT_TOLD)
            return "a load above 50000";
    }
    return in->bad ? "its load is cut short" : NULL;
}

static int head_read(struct window_read *w, struct unpack *in, unsigned slot,
                     struct err *err)
{
    unsigned format = unpack_u8(in);

    if (in->bad || format != FORMAT)
        return err_set(err, ERR_INVALID,
                       "byte 0: format %u, and %d is known here; an empty "
                       "value has none",
                       format, FORMAT);
    w->seq = number(in, UINT64_MAX);
    if (in->bad || w->seq == 0)
        return err_set(err, ERR_INVALID, "byte 1: no number of a window");
    if (window_slot(w->seq) != slot)
        return err_set(err, ERR_INVALID,
                       "byte 1: window %ju belongs into slot %u, not %u",
                       (uintmax_t)w->seq, window_slot(w->seq), slot);
    w->watched_ms = (int64_t)number(in, WINDOW_WATCHED_MAX);
    if (in->bad || w->watched_ms == 0)
        return err_set(err, ERR_INVALID,
                       "window %ju: no watched time of 1 to %jd ms",
                       (uintmax_t)w->seq, (intmax_t)WINDOW_WATCHED_MAX);
    w->count = (uint32_t)number(in, WINDOW_MAX);
    if (in->bad || w->count == 0 || w->count > unpack_left(in) / RENEWAL_LEAST)
        return err_set(err, ERR_INVALID,
                       "window %ju: no count of 1 to %d renewals that are "
                       "there",
                       (uintmax_t)w->seq, WINDOW_MAX);
    return 0;
}

int window_open(struct window_read *w, unsigned slot, const void *value,
                size_t len, struct err *err)
{
    struct unpack in = unpack_of(value, len);
    struct renewal r = {0};
    int rc;

    assert(slot < WINDOW_SLOTS);
    memset(w, 0, sizeof(*w));
    rc = head_read(w, &in, slot, err);
    if (rc != 0)
        return rc;
    w->at = in.at;
    w->end = in.end;
    for (uint32_t i = 0; i < w->count; i++) {
        size_t at = (size_t)(in.at - (const uint8_t *)value);
        const char *wrong = renewal_read(&in, &r);

        if (wrong != NULL)
            return err_set(err, ERR_INVALID,
                           "window %ju: renewal %" PRIu32 " at byte %zu: %s",
                           (uintmax_t)w->seq, i, at, wrong);
    }
    if (unpack_left(&in) > 0)
        return err_set(err, ERR_INVALID,
                       "window %ju: %zu bytes behind its %" PRIu32 " renewals",
                       (uintmax_t)w->seq, unpack_left(&in), w->count);
    return 0;
}

bool window_next(struct window_read *w, struct renewal *out)
{
    struct unpack in = {w->at, w->end, false};
    struct renewal r = {.created = w->created, .generation = w->generation};
    const char *wrong;

    if (w->next == w->count)
        return false;
    wrong = renewal_read(&in, &r);
    assert(wrong == NULL); /* window_open() looked at it */
    w->at = in.at;
    w->created = r.created;
    w->generation = r.generation;
    w->next++;
    *out = r;
    return true;
}

/* --- keys ---------------------------------------------------------------- */

char *window_key(uint64_t session, unsigned slot, char out[WINDOW_KEY_SIZE])
{
    int n;

    assert(session != 0 && slot <= WINDOW_SLOTS);
    if (slot == WINDOW_SLOTS)
        n = snprintf(out, WINDOW_KEY_SIZE, WINDOW_PREFIX "/%jx",
                     (uintmax_t)session);
    else
        n = snprintf(out, WINDOW_KEY_SIZE, WINDOW_PREFIX "/%jx/%02x",
                     (uintmax_t)session, slot);
    assert(n > 0 && n < WINDOW_KEY_SIZE);
    return out;
}

/* As window_key() writes it, and nothing else: up to `end`. */
static bool hex(const char *text, const char *end, uint64_t *out)
{
    *out = 0;
    if (text == end || end - text > 16)
        return false;
    for (; text < end; text++) {
        const char *digits = "0123456789abcdef", *d = strchr(digits, *text);

        if (*text == '\0' || d == NULL)
            return false;
        *out = *out << 4 | (uint64_t)(d - digits);
    }
    return true;
}

static bool session_parse(const char *text, const char *end, uint64_t *session)
{
    return text[0] != '0' && hex(text, end, session);
}

bool window_ring_parse(const char *name, uint64_t *session)
{
    return session_parse(name, name + strlen(name), session);
}

bool window_key_parse(const char *key, uint64_t *session, unsigned *slot)
{
    size_t prefix = strlen(WINDOW_PREFIX "/");
    const char *slash;
    uint64_t n;

    if (strncmp(key, WINDOW_PREFIX "/", prefix) != 0)
        return false;
    key += prefix;
    slash = strchr(key, '/');
    if (slash == NULL || strlen(slash) != 3 ||
        !session_parse(key, slash, session) || !hex(slash + 1, slash + 3, &n) ||
        n >= WINDOW_SLOTS)
        return false;
    *slot = (unsigned)n;
    return true;
}
