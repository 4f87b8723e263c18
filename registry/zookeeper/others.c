/*
 * others.c - what else stands in a lock's directory.
 *
 * Contenders of other layouts are waited for by their number, and said once:
 * they may not wait for us. A node that is no session's is no contender: it
 * would block the lock for ever. That it is none is seen when it is looked at,
 * as the one before ours, and remembered for as long as our own node stands.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"
#include "base/rand.h"

#include <string.h>

#define IGNORED_MAX 256

static const char foreign[] =
    "it is not of Curator's layout: we wait for those before us, but whoever "
    "made it may pass over us, and over Curator's users, when we hold the lock";
static const char nobodys[] =
    "it is no session's, so it is no contender, and we do not wait for it; "
    "Curator's users do, for as long as it stands";

/* Once for each lock and kind: who makes one makes many. */
static void warn_once(struct registry_hold *hold, const char *node,
                      const char *what)
{
    struct zookeeper *z = zk_of(hold->r);
    uint64_t hash = hash_str(hold->key, what == foreign);

    assert(what == foreign || what == nobodys);
    assert(z->n_warned <= ZK_WARNED_MAX);
    for (size_t i = 0; i < z->n_warned; i++)
        if (z->warned[i] == hash)
            return;
    if (z->n_warned == ZK_WARNED_MAX)
        return;
    z->warned[z->n_warned++] = hash;
    log_warn("!lock", LOG_S("key", hold->key), LOG_S("node", node),
             LOG_S("reason", what));
}

bool zk_others_ignore(struct registry_hold *hold, const char *path)
{
    struct zk_hold *h = hold->priv;
    const char *name = strrchr(path, '/') + 1;

    assert(h->n_ignored <= IGNORED_MAX);
    if (h->n_ignored == IGNORED_MAX)
        return false;
    warn_once(hold, path, nobodys);
    h->ignored =
        mem_realloc(h->ignored, (h->n_ignored + 1) * sizeof(*h->ignored));
    h->ignored[h->n_ignored++] = mem_strdup(name);
    return true;
}

static bool is_ignored(const struct zk_hold *h, const char *name)
{
    assert(h->n_ignored <= IGNORED_MAX);
    for (size_t i = 0; i < h->n_ignored; i++)
        if (strcmp(h->ignored[i], name) == 0)
            return true;
    return false;
}

void zk_others_filter(struct registry_hold *hold, struct zk_names *names)
{
    size_t n = 0;

    for (size_t i = 0; i < names->n; i++) {
        char *name = names->items[i];

        if (!is_ignored(hold->priv, name))
            names->items[n++] = name;
        if (zk_place_is_foreign(name))
            warn_once(hold, name, foreign);
    }
    assert(n <= names->n);
    names->n = n;
}

void zk_others_forget(struct zk_hold *h)
{
    while (h->n_ignored > 0)
        mem_free(h->ignored[--h->n_ignored]);
    MEM_FREE(h->ignored);
}
