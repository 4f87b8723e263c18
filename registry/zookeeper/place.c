/*
 * place.c - the names in a lock's queue, as Curator writes them:
 * "_c_<uuid>-lock-<sequence>". Pure.
 *
 * The order is that of the sequence numbers at the end, which one counter of
 * the directory gives to whatever is made in it: so makers of other layouts
 * have their place, too, whom Curator passes over: kazoo's
 * "<uuid>__lock__<sequence>", Curator's own latches, leases and read/write
 * locks. The counter is an int and goes on below zero after 2147483647; the
 * order goes with it. For two names of Curator's that is its own order: that
 * of the text behind the last "lock-". A name without a number goes by this
 * text, or the whole of it.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void zk_place_uuid(char out[ZK_UUID_SIZE])
{
    uint64_t b[2];

    rand_secret(b, sizeof(b)); /* RFC 9562: version 4, variant 8 to b */
    (void)snprintf(out, ZK_UUID_SIZE, "%08x-%04x-4%03x-%04x-%012" PRIx64,
                   (unsigned)(b[0] >> 32), (unsigned)(b[0] >> 16 & 0xffff),
                   (unsigned)(b[0] & 0xfff),
                   (unsigned)(b[1] >> 48 & 0x3fff) | 0x8000,
                   b[1] & 0xffffffffffff);
}

static const char *rank(const char *name)
{
    const char *at = name, *found = name;

    while ((at = strstr(at, "lock-")) != NULL) {
        at += strlen("lock-");
        found = at;
    }
    return found;
}

bool zk_place_is_ours(const char *name, const char *uuid)
{
    size_t n = strlen(uuid);

    assert(n == ZK_UUID_SIZE - 1);
    return strncmp(name, "_c_", 3) == 0 && strncmp(name + 3, uuid, n) == 0 &&
           name[3 + n] == '-';
}

static bool all_digits(const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (s[i] < '0' || s[i] > '9')
            return false;
    return true;
}

/* "%010d": ten digits; below zero a sign and nine digits, or ten. A sign before
 * ten digits belongs to the name, unless no int is without it. */
bool zk_place_number(const char *name, int32_t *out)
{
    size_t n = strlen(name);
    const char *ten = n < 10 ? NULL : name + n - 10;
    long long value;

    if (ten != NULL && all_digits(ten, 10)) {
        value = strtoll(ten, NULL, 10);
        if (value > INT32_MAX && ten > name && ten[-1] == '-')
            value = -value;
    } else if (ten != NULL && ten[0] == '-' && all_digits(ten + 1, 9)) {
        value = strtoll(ten, NULL, 10);
    } else {
        return false;
    }
    if (out != NULL)
        *out = (int32_t)value;
    return value >= INT32_MIN && value <= INT32_MAX;
}

bool zk_place_is_foreign(const char *name)
{
    const char *text = rank(name);

    return zk_place_number(name, NULL) &&
           (text == name || strlen(text) > 11 || strlen(text) < 10);
}

/* Was `a` made before `b`, as far as names tell? */
static bool precedes(const char *a, const char *b)
{
    int32_t x, y;

    if (zk_place_number(a, &x) && zk_place_number(b, &y))
        return (int32_t)((uint32_t)x - (uint32_t)y) < 0;
    return strcmp(rank(a), rank(b)) < 0;
}

/* Of those before ours the last one with a number, or the last without. */
static const char *later(const char *a, const char *b)
{
    bool numbered = zk_place_number(b, NULL);

    if (a == NULL || zk_place_number(a, NULL) != numbered)
        return a == NULL || numbered ? b : a;
    return precedes(a, b) ? b : a;
}

bool zk_place(const struct zk_names *names, const char *uuid,
              struct zk_place *out)
{
    *out = (struct zk_place){NULL, NULL, NULL};
    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->items[i];

        if (zk_place_is_ours(name, uuid) &&
            (out->ours == NULL || precedes(name, out->ours)))
            out->ours = name;
    }
    out->first = out->ours;
    for (size_t i = 0; i < names->n && out->ours != NULL; i++) {
        const char *name = names->items[i];

        if (precedes(name, out->ours)) {
            out->before = later(out->before, name);
            out->first = precedes(name, out->first) ? name : out->first;
        }
    }
    assert((out->ours == NULL) == (out->first == NULL));
    assert(out->ours != NULL || out->before == NULL);
    return out->ours != NULL;
}
