/*
 * forget.c - see forget.h. One look at a time, and of it one call; what fails
 * waits for the next look.
 */
#include "coordinator/removal/forget.h"

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/removal/afresh.h"

#include <stdio.h>

#define PAGE 1000

/* A ring, by its directory's name. */
struct named {
    uint64_t session;
    bool lives; /* an entry stands in its session */
};

struct forgetter {
    const struct clock *clock;
    struct registry *registry;
    const char *entries;
    struct rings *rings, *later; /* of this look; of the next one */
    struct afresh afresh;
    struct named *all;
    size_t n, at; /* of them; the one that is looked at */
    bool busy;
    mono_ms next;
};

static void go_on(struct forgetter *f);

static void look_ends(struct forgetter *f)
{
    MEM_FREE(f->all);
    f->n = f->at = 0;
    f->busy = false;
    f->next = f->clock->mono + FORGETTER_EVERY_MS;
}

static bool failed(struct forgetter *f, const struct registry_reply *reply)
{
    bool is = reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND;

    assert(f->busy);
    if (is || f->rings == NULL)
        look_ends(f);
    return !f->busy;
}

/* --- a directory --------------------------------------------------------- */

static void on_next(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;

    (void)reply; /* what was not deleted is found again */
    f->at++;
    go_on(f);
}

/* A directory that was given a value is a key like others. */
static void on_became_key(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;

    if (failed(f, reply))
        return;
    if (reply->err.code == ERR_OK)
        registry_delete(f->registry, reply->entries[0].key,
                        reply->entries[0].version, on_next, f);
    else
        on_next(f, reply);
}

static char *directory(const struct forgetter *f, char out[WINDOW_KEY_SIZE])
{
    return window_key(f->all[f->at].session, WINDOW_SLOTS, out);
}

static void on_value(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;
    char key[WINDOW_KEY_SIZE];

    (void)reply; /* it may have had one, of a look that did not end */
    if (f->rings == NULL)
        look_ends(f);
    else
        registry_get(f->registry, directory(f, key), on_became_key, f);
}

static void drop_directory(struct forgetter *f)
{
    char key[WINDOW_KEY_SIZE];

    registry_put(f->registry, directory(f, key), "-", 1, REGISTRY_ABSENT, 0,
                 false, on_value, f);
}

/* --- a ring -------------------------------------------------------------- */

/* Those that stand, as many as a txn takes (etcd: fewer than a ring has): what
 * is left is found by the next look. */
static size_t slots(const struct forgetter *f, uint64_t session,
                    struct registry_op ops[WINDOW_SLOTS],
                    char keys[WINDOW_SLOTS][WINDOW_KEY_SIZE])
{
    size_t max = registry_max_ops(f->registry), n = 0;

    for (unsigned i = 0; i < WINDOW_SLOTS && n < max; i++) {
        uint64_t version = rings_version(f->rings, session, i);

        if (version != 0) {
            ops[n] = registry_op_at(REGISTRY_DELETE,
                                    window_key(session, i, keys[n]), version);
            n++;
        }
    }
    return n;
}

static void on_deleted(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;

    if (reply->err.code == ERR_OK)
        log_info("-renewals", LOG_U("session", f->all[f->at].session));
    f->at++;
    go_on(f);
}

/* Of the one that is looked at. False: nothing is to be done. */
static bool forget(struct forgetter *f)
{
    char keys[WINDOW_SLOTS][WINDOW_KEY_SIZE];
    struct registry_op ops[WINDOW_SLOTS];
    uint64_t session = f->all[f->at].session;
    size_t n;

    if (f->all[f->at].lives)
        return false;
    n = slots(f, session, ops, keys);
    if (n == 0)
        drop_directory(f);
    else if (rings_due(f->rings, session, f->clock->mono - FORGETTER_AFTER_MS))
        registry_txn(f->registry, ops, n, on_deleted, f);
    else
        return false;
    return true;
}

static void go_on(struct forgetter *f)
{
    assert(f->busy);
    if (f->rings == NULL) {
        look_ends(f);
        return;
    }
    for (; f->at < f->n; f->at++)
        if (forget(f))
            return;
    look_ends(f);
}

/* --- a look -------------------------------------------------------------- */

static void on_afresh(void *arg, bool whole)
{
    struct forgetter *f = arg;

    if (whole)
        go_on(f);
    else
        look_ends(f);
}

/* All entries are known: whoever has none has ended. */
static void end_rings(struct forgetter *f)
{
    bool any = false;

    for (size_t i = 0; i < f->n; i++) {
        if (f->all[i].lives)
            continue;
        rings_ended(f->rings, f->all[i].session);
        any = true;
    }
    if (any)
        afresh_begin(&f->afresh, f->registry, f->clock, f->rings, on_afresh, f);
    else
        look_ends(f);
}

static void on_entries(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;

    if (failed(f, reply))
        return;
    for (size_t i = 0; i < reply->n_entries; i++)
        for (size_t k = 0; k < f->n; k++)
            f->all[k].lives |= f->all[k].session == reply->entries[i].owner;
    if (reply->next != NULL)
        registry_list(f->registry, f->entries, reply->next, PAGE, on_entries,
                      f);
    else
        end_rings(f);
}

/* A ring was written before its name is read, and its entry before the ring:
 * so an entry that is not there now is gone. */
static void on_names(void *arg, const struct registry_reply *reply)
{
    struct forgetter *f = arg;
    uint64_t own = registry_session(f->registry);
    bool others = false;

    if (failed(f, reply))
        return;
    f->all = mem_array(reply->n_entries + 1, sizeof(*f->all));
    for (size_t i = 0; i < reply->n_entries; i++) {
        struct named *one = &f->all[f->n];

        *one = (struct named){.session = 0};
        if (!window_ring_parse(reply->entries[i].key, &one->session))
            continue;
        one->lives = one->session == own;
        others |= !one->lives;
        f->n++;
    }
    if (others)
        registry_list(f->registry, f->entries, NULL, PAGE, on_entries, f);
    else
        look_ends(f);
}

/* --- from outside -------------------------------------------------------- */

struct forgetter *forgetter_new(const struct clock *clock,
                                struct registry *registry, const char *entries)
{
    struct forgetter *f = mem_zalloc(sizeof(*f));

    assert(clock != NULL && registry != NULL && entries[0] == '/');
    f->clock = clock;
    f->registry = registry;
    f->entries = entries;
    f->next = clock->mono + FORGETTER_EVERY_MS;
    return f;
}

void forgetter_free(struct forgetter **forgetter, bool told)
{
    struct forgetter *f = *forgetter;

    if (f == NULL)
        return;
    afresh_end(&f->afresh, told);
    if (told)
        registry_forget(f->registry, f);
    mem_free(f->all);
    MEM_FREE(*forgetter);
}

void forgetter_use_rings(struct forgetter *f, struct rings *rings)
{
    if (afresh_goes_on(&f->afresh))
        afresh_lose(&f->afresh);
    f->rings = NULL; /* a look that goes on ends: it knows of the others */
    f->later = rings;
}

void forgetter_tick(struct forgetter *f)
{
    if (!f->busy)
        f->rings = f->later;
    if (f->busy || f->rings == NULL || !rings_synced(f->rings) ||
        f->clock->mono < f->next ||
        !registry_state_is_up(registry_state(f->registry)))
        return;
    f->busy = true;
    registry_children(f->registry, WINDOW_PREFIX, on_names, f);
}
