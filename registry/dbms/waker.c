/*
 * waker.c - a second connection that only listens for hints that others
 * have committed (PostgreSQL's NOTIFY). Hints are lost while it is broken, and
 * nobody minds: the worker polls as well. Behind a pooler there are none. So
 * it takes no connection that somebody needs: where the server has none left
 * beside it, or the worker found none, it gives its own up for a while, and
 * where nobody here would act on a hint (an agent) it has none.
 */
#include "registry/dbms/dbms_priv.h"
#include "registry/sql/backend.h"

#include "base/mem.h"

#include <poll.h>

#define RECONNECT_MS 1000
#define CROWDED_MS   60000 /* to stay away */
#define LOOK_MS      10000 /* between looks whether there is room */

struct waker {
    struct sql_waker base; /* first */
    struct dbms_target target;
    struct dbms_link *link;
    mono_ms next_connect, next_look;
};

static void give_way(struct waker *w, mono_ms until)
{
    if (w->link != NULL)
        w->target.driver->close(&w->link);
    w->next_connect = until;
    assert(w->link == NULL);
}

static void look(struct waker *w)
{
    mono_ms now = clock_mono_ms();

    assert(w->target.driver != NULL);
    if (!atomic_load(&w->base.wanted)) {
        give_way(w, w->next_connect);
    } else if (atomic_exchange(&w->base.crowded, false)) {
        give_way(w, now + CROWDED_MS);
    } else if (w->link == NULL && now >= w->next_connect) {
        w->next_connect = now + RECONNECT_MS;
        w->next_look = 0;
        (void)dbms_connect(&w->link, &w->target, NULL);
    }
    if (w->link != NULL && now >= w->next_look) {
        w->next_look = now + LOOK_MS;
        if (!w->target.driver->has_room(w->link))
            give_way(w, now + CROWDED_MS);
    }
}

static bool wait_(struct sql_waker *base, int64_t ms)
{
    struct waker *w = (struct waker *)(void *)base;
    const struct dbms_driver *driver = w->target.driver;
    bool hinted = false;

    assert(ms > 0);
    look(w);
    if (w->link == NULL) {
        (void)poll(NULL, 0, (int)ms);
    } else if (driver->wait(w->link, ms, &hinted) != DBMS_OK) {
        driver->close(&w->link);
        dbms_connect_next(&w->target);
    }
    return hinted;
}

static void close_(struct sql_waker **base)
{
    struct waker *w = (struct waker *)(void *)*base;

    if (w->link != NULL)
        w->target.driver->close(&w->link);
    dbms_target_close(&w->target);
    mem_free(w);
    *base = NULL;
}

struct sql_waker *dbms_waker_new(struct dbms_target *target)
{
    struct waker *w = mem_zalloc(sizeof(*w));

    assert(target->driver->wait != NULL && target->driver->has_room != NULL);
    w->base.wait = wait_;
    w->base.close = close_;
    w->target = *target;
    *target = (struct dbms_target){.driver = NULL};
    return &w->base;
}
