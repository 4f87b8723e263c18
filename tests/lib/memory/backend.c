/*
 * backend.c - the memory registry's client as a backend: its slots.
 *
 * Each turns what it is asked into a message and returns; client.c
 * knows whether the message has a chance.
 */
#include "base/mem.h"
#include "base/planted.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

/* As small as the smallest of the real ones. */
#define MAX_OPS   128
#define MAX_BYTES 1000000

static const struct registry_ops memory_ops;

struct memory_client *memory_client_of(struct registry *r)
{
    assert(r->ops->free == memory_ops.free); /* a test may count submits */
    return CONTAINER_OF(r, struct memory_client, base);
}

static void memory_submit(struct registry *r, struct registry_call *call)
{
    struct memory_client *c = memory_client_of(r);
    struct memory_message *m;

    if (c->dead)
        return; /* freed with the process */
    if (c->offline) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "not connected to the registry");
        return;
    }
    if (call->type == REGISTRY_CALL_GET && c->store->faults.denied != NULL &&
        strcmp(call->key, c->store->faults.denied) == 0) {
        registry_call_fail_later(call, ERR_DENIED, "this key is not for you");
        return;
    }
    ((struct memory_call_priv *)call->priv)->connection = c->connection;
    m = memory_message_new(c, MEMORY_CALL);
    m->session = call->session;
    if (!planted(PLANTED_PLACE_UNCOMPARED) && !r->inside) {
        m->known_line = registry_place(r)->line;
        m->known = registry_place(r)->position;
    }
    m->call = registry_call_ref(call);
    c->gets += call->type == REGISTRY_CALL_GET;
    memory_send_up(m);
}

uint64_t memory_gets(const struct registry *client)
{
    return CONTAINER_OF(client, const struct memory_client, base)->gets;
}

static void memory_watch_begin(struct registry *r, struct registry_watch *w)
{
    struct memory_client *c = memory_client_of(r);

    ((struct memory_watch_priv *)w->priv)->id = ++c->last_watch;
    if (!c->dead && !c->offline && r->ready)
        memory_send_look(c, w);
}

static void memory_watch_end(struct registry *r, struct registry_watch *w)
{
    struct memory_client *c = memory_client_of(r);

    if (!c->dead) {
        struct memory_message *m = memory_message_new(c, MEMORY_UNWATCH);

        m->number = ((const struct memory_watch_priv *)w->priv)->id;
        memory_send_up(m);
    }
    registry_watch_gone(w);
}

static void memory_hold_begin(struct registry *r, struct registry_hold *hold)
{
    struct memory_client *c = memory_client_of(r);

    if (!c->dead && !c->offline) /* else when it reconnects */
        memory_send_hold(c, hold, MEMORY_LOCK);
}

static void memory_hold_end(struct registry *r, struct registry_hold *hold)
{
    struct memory_client *c = memory_client_of(r);

    if (c->dead || hold->session != r->session)
        registry_hold_gone(hold); /* the session's end released it */
    else if (!c->offline)
        memory_send_hold(c, hold, MEMORY_UNLOCK);
}

static void memory_close(struct registry *r)
{
    struct memory_client *c = memory_client_of(r);

    if (r->session == 0) {
        memory_again(c, &c->deadline, c->store->clock->mono);
        memory_unschedule(c->store, &c->beat);
    } else {
        memory_again(c, &c->beat, c->store->clock->mono);
    }
}

static void memory_prove(struct registry *r)
{
    struct memory_client *c = memory_client_of(r);

    memory_again(c, &c->beat, c->store->clock->mono);
}

static void memory_look(struct registry *r)
{
    memory_client_look(memory_client_of(r));
}

static void memory_end(struct registry *r, const char *why)
{
    (void)why;
    memory_client_end(memory_client_of(r));
}

static void memory_free(struct registry *r)
{
    memory_client_unref(memory_client_of(r));
}

struct timer {
    struct memory_event event;
    struct registry_timer *t;
};

static void on_timer(struct memory_event *e)
{
    registry_timer_fire(CONTAINER_OF(e, struct timer, event)->t);
}

static void memory_timer_start(struct registry *r, struct registry_timer *t,
                               int64_t delay_ms)
{
    struct memory_client *c = memory_client_of(r);
    struct timer *timer = mem_zalloc(sizeof(*timer));

    timer->event.fn = on_timer;
    timer->event.process = c;
    timer->t = t;
    t->impl = timer;
    memory_schedule(c->store, &timer->event, c->store->clock->mono + delay_ms);
}

static void memory_timer_stop(struct registry *r, struct registry_timer *t)
{
    struct timer *timer = t->impl;

    memory_unschedule(memory_client_of(r)->store, &timer->event);
    mem_free(timer);
}

static const struct registry_ops memory_ops = {
    .name = "memory",
    .call_size = sizeof(struct memory_call_priv),
    .watch_size = sizeof(struct memory_watch_priv),
    .submit = memory_submit,
    .watch = memory_watch_begin,
    .unwatch = memory_watch_end,
    .lock = memory_hold_begin,
    .unlock = memory_hold_end,
    .prove = memory_prove,
    .look = memory_look,
    .end = memory_end,
    .close = memory_close,
    .free = memory_free,
    .timer_start = memory_timer_start,
    .timer_stop = memory_timer_stop,
};

struct registry *memory_open(struct memory_store *s, int64_t session_timeout_ms)
{
    struct memory_client *c = mem_zalloc(sizeof(*c));

    registry_init(&c->base, &memory_ops, NULL, session_timeout_ms, MAX_OPS,
                  MAX_BYTES);
    c->base.clock = s->clock;
    c->base.first_version = 1;
    c->store = s;
    c->side = s->present;
    c->reaches[0] = c->reaches[1] = true;
    c->refs = 1;
    c->offline = true;
    c->connection = 1;
    DL_APPEND(s->clients, c);
    memory_client_start(c);
    return &c->base;
}
