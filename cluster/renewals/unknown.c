/* unknown.c - see unknown.h. */
#include "cluster/renewals/unknown.h"

#include "base/map/packed_map.h"

#include <string.h>

#define KEY_LEN  12
#define SWEEP_MS 1000

struct kept {
    mono_ms seen;
    struct renewal renewal;
};

/* In the order of names. */
static void make_key(uint8_t key[KEY_LEN], uint64_t created,
                     uint32_t generation)
{
    for (unsigned i = 0; i < 8; i++)
        key[i] = (uint8_t)(created >> (56 - 8 * i));
    for (unsigned i = 0; i < 4; i++)
        key[8 + i] = (uint8_t)(generation >> (24 - 8 * i));
}

static struct kept kept_of(const struct packed_value *value)
{
    struct kept k;

    assert(value->len == sizeof(k));
    memcpy(&k, value->data, sizeof(k));
    return k;
}

void unknown_init(struct unknown *u)
{
    *u = (struct unknown){.map = packed_map_new()};
}

void unknown_close(struct unknown *u)
{
    packed_map_free(&u->map);
}

void unknown_keep(struct unknown *u, const struct rings_renewal *r)
{
    struct packed_value value;
    uint8_t key[KEY_LEN];
    struct kept k;

    make_key(key, r->renewal->created, r->renewal->generation);
    if (packed_map_find(u->map, key, sizeof(key), &value)) {
        k = kept_of(&value);
        renewal_join(&k.renewal, r->renewal);
    } else {
        if (packed_map_count(u->map) >= RINGS_UNKNOWN_MAX)
            return;
        memset(&k, 0, sizeof(k));
        k.renewal = *r->renewal;
    }
    k.seen = r->seen;
    (void)packed_map_put(u->map, key, sizeof(key), &k, sizeof(k));
    if (u->sweep == 0)
        u->sweep = r->seen + RINGS_UNKNOWN_MS;
    assert(packed_map_count(u->map) <= RINGS_UNKNOWN_MAX);
}

void unknown_tell(struct unknown *u, uint64_t created, rings_renewal_f *fn,
                  void *arg)
{
    struct packed_cursor c;
    uint8_t key[KEY_LEN];

    make_key(key, created, 0);
    while (packed_map_seek(u->map, &c, key, sizeof(key))) {
        struct kept k = kept_of(&c.value);

        if (k.renewal.created != created)
            break;
        (void)packed_map_remove(u->map, c.key, c.key_len);
        (void)fn(arg, &(struct rings_renewal){.renewal = &k.renewal,
                                              .seen = k.seen});
    }
}

void unknown_tick(struct unknown *u, mono_ms now)
{
    mono_ms first = INT64_MAX;
    struct packed_cursor c;
    bool more;

    if (u->sweep == 0 || now < u->sweep)
        return;
    for (more = packed_map_seek(u->map, &c, NULL, 0); more;
         more = packed_map_next(&c)) {
        struct kept k = kept_of(&c.value);

        if (now - k.seen >= RINGS_UNKNOWN_MS)
            (void)packed_map_remove(u->map, c.key, c.key_len);
        else if (k.seen < first)
            first = k.seen;
    }
    u->sweep = 0;
    if (first == INT64_MAX)
        return;
    u->sweep = first + RINGS_UNKNOWN_MS;
    if (u->sweep < now + SWEEP_MS)
        u->sweep = now + SWEEP_MS;
}
