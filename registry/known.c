/*
 * known.c - the keys that a watch was told of, each in a few bytes.
 *
 * A coordinator watches every work item of the cluster twice (its record and
 * its marker), so what is kept of a key decides how many it can have. The keys
 * stand in a packed map; the value is a byte of flags, `created`, `version` and
 * `revision`. The last two are written as what differs where that is shorter:
 * on most stores they are revisions of the same count.
 *
 * Which keys the full look under way has listed is said by its number, of which
 * six bits are kept; every 63 looks the numbers begin anew, and then all are
 * wiped.
 */
#include "base/map/packed_map.h"
#include "base/pack/pack.h"
#include "registry/registry_priv.h"

#include <string.h>

#define LOOKS     63 /* numbers 1 to 63; 0: listed in none of them */
#define HAS_DELTA 64 /* `version` is told as its distance from `created` */
#define HAS_ORDER 128
#define BYTES_MAX (1 + 3 * PACK_VARINT_MAX)

static uint8_t stamp(const struct registry_watch *w)
{
    return (uint8_t)(w->look % LOOKS + 1);
}

static uint64_t zigzag(uint64_t distance)
{
    return distance << 1 ^ (0 - (distance >> 63));
}

static uint64_t unzigzag(uint64_t z)
{
    return z >> 1 ^ (0 - (z & 1));
}

static size_t write_known(uint8_t out[BYTES_MAX],
                          const struct registry_known *k, uint8_t look)
{
    uint64_t delta = zigzag(k->version - k->created);
    bool is_delta = delta < k->version;
    size_t n = 1;

    assert(look <= LOOKS);
    n += pack_number(out + n, k->created);
    n += pack_number(out + n, is_delta ? delta : k->version);
    if (k->revision != 0)
        n += pack_number(out + n, zigzag(k->revision - k->version));
    out[0] = (uint8_t)(look | (is_delta ? HAS_DELTA : 0) |
                       (k->revision != 0 ? HAS_ORDER : 0));
    assert(n <= BYTES_MAX);
    return n;
}

static uint8_t read_known(const struct packed_value *v,
                          struct registry_known *out)
{
    struct unpack in = unpack_of(v->data, v->len);
    uint8_t flags = unpack_u8(&in);

    *out = (struct registry_known){.created = unpack_uint(&in)};
    out->version = unpack_uint(&in);
    if ((flags & HAS_DELTA) != 0)
        out->version = out->created + unzigzag(out->version);
    if ((flags & HAS_ORDER) != 0)
        out->revision = out->version + unzigzag(unpack_uint(&in));
    assert(!in.bad && unpack_left(&in) == 0);
    return flags & LOOKS;
}

bool registry_known_find(const struct registry_watch *w, const char *key,
                         struct registry_known *out)
{
    struct packed_value v;

    *out = (struct registry_known){0};
    if (!packed_map_find(w->keys, key, strlen(key), &v))
        return false;
    out->listed = read_known(&v, out) == stamp(w);
    return true;
}

void registry_known_put(struct registry_watch *w, const char *key,
                        const struct registry_known *k)
{
    uint8_t bytes[BYTES_MAX];
    size_t n = write_known(bytes, k, k->listed ? stamp(w) : 0);

    (void)packed_map_put(w->keys, key, strlen(key), bytes, n);
}

void registry_known_drop(struct registry_watch *w, const char *key)
{
    bool was = packed_map_remove(w->keys, key, strlen(key));

    assert(was);
    (void)was;
}

bool registry_known_first(const struct registry_watch *w,
                          struct packed_cursor *c, struct registry_known *out)
{
    if (!packed_map_seek(w->keys, c, NULL, 0))
        return false;
    out->listed = read_known(&c->value, out) == stamp(w);
    return true;
}

bool registry_known_next(const struct registry_watch *w,
                         struct packed_cursor *c, struct registry_known *out)
{
    if (!packed_map_next(c))
        return false;
    out->listed = read_known(&c->value, out) == stamp(w);
    return true;
}

void registry_known_begin(struct registry_watch *w)
{
    struct packed_cursor c;
    struct registry_known k;

    w->look++;
    if (w->look % LOOKS != 0)
        return;
    for (bool on = registry_known_first(w, &c, &k); on;
         on = registry_known_next(w, &c, &k)) {
        k.listed = false;
        registry_known_put(w, c.key, &k);
    }
}
