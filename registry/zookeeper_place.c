/*
 * zookeeper_place.c - the names in a lock's queue, as Curator writes and
 * orders them: "_c_<uuid>-lock-<sequence>". Pure.
 *
 * The order is that of the text behind the last "lock-", so that names of
 * other makers, with or without a uuid in front, have their place, too. A name
 * without "lock-" goes by the whole of it.
 */
#include "registry/zookeeper_priv.h"

#include "base/rand.h"

#include <stdio.h>
#include <string.h>

void zk_place_uuid(char out[ZK_UUID_SIZE])
{
    unsigned char b[16];

    rand_secret(b, sizeof(b));
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    (void)snprintf(out, ZK_UUID_SIZE,
                   "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-"
                   "%02x%02x%02x%02x%02x%02x",
                   b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9],
                   b[10], b[11], b[12], b[13], b[14], b[15]);
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

    return strncmp(name, "_c_", 3) == 0 && strncmp(name + 3, uuid, n) == 0 &&
           name[3 + n] == '-';
}

bool zk_place(const struct zk_names *names, const char *uuid,
              struct zk_place *out)
{
    *out = (struct zk_place){NULL, NULL, NULL};
    for (size_t i = 0; i < names->n; i++) {
        const char *name = names->items[i];

        if (out->first == NULL || strcmp(rank(name), rank(out->first)) < 0) {
            out->first = name;
        }
        if (zk_place_is_ours(name, uuid) &&
            (out->ours == NULL || strcmp(rank(name), rank(out->ours)) < 0)) {
            out->ours = name;
        }
    }
    for (size_t i = 0; i < names->n && out->ours != NULL; i++) {
        const char *name = names->items[i];

        if (strcmp(rank(name), rank(out->ours)) < 0 &&
            (out->before == NULL ||
             strcmp(rank(name), rank(out->before)) > 0)) {
            out->before = name;
        }
    }
    return out->ours != NULL;
}
