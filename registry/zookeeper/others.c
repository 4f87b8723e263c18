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

#include <string.h>
#include <utlist.h>

#define PASSED_MAX 256
#define TOLD_MAX   64

static struct zookeeper *of(const struct registry_hold *hold)
{
    return (struct zookeeper *)(void *)hold->r;
}

struct zk_told {
    struct zk_told *next;
    const char *what; /* static */
    char key[];
};

/* Once for each lock and kind: who makes one makes many. */
static void tell_once(struct registry_hold *hold, const char *node,
                      const char *what)
{
    struct zookeeper *z = of(hold);
    size_t n = strlen(hold->key) + 1;
    struct zk_told *t;

    LL_FOREACH(z->told, t)
    {
        if (t->what == what && strcmp(t->key, hold->key) == 0)
            return;
    }
    if (z->n_told == TOLD_MAX)
        return;
    t = mem_alloc(sizeof(*t) + n);
    t->what = what;
    memcpy(t->key, hold->key, n);
    LL_PREPEND(z->told, t);
    z->n_told++;
    log_warn("!lock", LOG_S("key", hold->key), LOG_S("node", node),
             LOG_S("reason", what));
}

static const char foreign[] =
    "it is not of Curator's layout: we wait for those before us, but whoever "
    "made it may pass over us, and over Curator's users, when we hold the lock";
static const char nobodys[] =
    "it is no session's, so it is no contender, and we do not wait for it; "
    "Curator's users do, for as long as it stands";

/* A node before ours turned out to be no session's. */
bool zk_others_pass_over(struct registry_hold *hold, const char *path)
{
    struct zk_hold *h = hold->priv;
    const char *name = strrchr(path, '/') + 1;

    if (h->n_passed == PASSED_MAX)
        return false;
    tell_once(hold, path, nobodys);
    h->passed = mem_realloc(h->passed, (h->n_passed + 1) * sizeof(*h->passed));
    h->passed[h->n_passed++] = mem_strdup(name);
    return true;
}

static bool is_passed(const struct zk_hold *h, const char *name)
{
    for (size_t i = 0; i < h->n_passed; i++)
        if (strcmp(h->passed[i], name) == 0)
            return true;
    return false;
}

/* Leave the contenders in the list. */
void zk_others_sift(struct registry_hold *hold, struct zk_names *names)
{
    size_t n = 0;

    for (size_t i = 0; i < names->n; i++) {
        char *name = names->items[i];

        if (!is_passed(hold->priv, name))
            names->items[n++] = name;
        if (zk_place_is_foreign(name))
            tell_once(hold, name, foreign);
    }
    names->n = n;
}

void zk_others_forget(struct zk_hold *h)
{
    while (h->n_passed > 0)
        mem_free(h->passed[--h->n_passed]);
    MEM_FREE(h->passed);
}

void zk_others_close(struct zookeeper *z)
{
    struct zk_told *t;

    while ((t = z->told) != NULL) {
        LL_DELETE(z->told, t);
        mem_free(t);
    }
}
