/*
 * client.c - the memory registry's backend: what a client process knows
 * and does.
 *
 * It knows only what messages told it, by its own clock: a ping every third of
 * the timeout; SUSPENDED when the last answered one was sent 2/3 of the
 * timeout ago, DISCONNECTED at 1x, as a client of ZooKeeper must do by itself.
 *
 *   offline --WELCOME--> connected --2/3--> suspended --1x, EXPIRED--> offline
 *                            ^------PONG------'
 */
#include "base/mem.h"
#include "base/planted.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

static mono_ms now(const struct memory_client *c)
{
    return c->store->clock->mono;
}

static mono_ms suspended_at(const struct memory_client *c)
{
    return c->heard + (2 * c->base.session_timeout_ms + 2) / 3;
}

void memory_again(struct memory_client *c, struct memory_event *e, mono_ms due)
{
    memory_unschedule(c->store, e);
    memory_schedule(c->store, e, due);
}

/* --- sending ------------------------------------------------------------- */

static void send_plain(struct memory_client *c, enum memory_kind kind)
{
    struct memory_message *m = memory_message_new(c, kind);

    m->sent = now(c);
    memory_send_up(m);
}

static void send_connect(struct memory_client *c)
{
    struct memory_message *m = memory_message_new(c, MEMORY_CONNECT);

    m->number = ++c->attempt;
    m->session = c->last_session;
    m->sent = now(c);
    memory_send_up(m);
}

void memory_send_hold(struct memory_client *c, const struct registry_hold *hold,
                      enum memory_kind kind)
{
    struct memory_message *m = memory_message_new(c, kind);

    m->session = hold->session;
    m->number = hold->id;
    m->try_once = hold->try_once;
    m->key = mem_strdup(hold->key);
    memory_send_up(m);
}

void memory_send_look(struct memory_client *c, const struct registry_watch *w)
{
    struct memory_watch_priv *priv = w->priv;
    struct memory_message *m = memory_message_new(c, MEMORY_LOOK);

    priv->looked = c->base.session;
    m->number = priv->id;
    m->tell = !priv->synced;
    m->key = mem_strdup(w->prefix);
    memory_send_up(m);
}

/* --- a break, and afterwards --------------------------------------------- */

/* What was sent on older connections gets no answer any more. */
static void fail_outstanding(struct memory_client *c)
{
    struct registry_call *call;

    do {
        DL_FOREACH (c->base.calls, call) {
            const struct memory_call_priv *priv = call->priv;

            if (call->refusal == NULL && priv->connection != c->connection) {
                bool write = call->type == REGISTRY_CALL_TXN;

                registry_call_fail(call, write ? ERR_UNKNOWN : ERR_UNAVAILABLE,
                                   "the connection broke before the answer");
                break;
            }
        }
    } while (call != NULL && !c->dead);
}

/* Ask again for everything that may have been lost with a connection. */
static void ask_again(struct memory_client *c)
{
    struct registry_watch *w;
    struct registry_hold *hold;

    DL_FOREACH (c->base.holds, hold)
        if (hold->state == HOLD_WAITING || hold->state == HOLD_HELD)
            memory_send_hold(c, hold, MEMORY_LOCK);
        else if (hold->state == HOLD_LEAVING)
            memory_send_hold(c, hold, MEMORY_UNLOCK);
    DL_FOREACH (c->base.watches, w) {
        struct memory_watch_priv *priv = w->priv;

        if (c->base.ready) {
            priv->synced = false;
            memory_send_look(c, w);
        }
    }
}

/* Another connection is tried at once. */
static void suspend(struct memory_client *c)
{
    c->offline = true;
    c->connection++;
    memory_again(c, &c->beat, now(c));
    fail_outstanding(c);
    if (!c->dead)
        registry_set_state(&c->base, REGISTRY_SUSPENDED);
}

/* The session is over. The connection may be fine, and calls on it will be
 * answered. */
static void disconnect(struct memory_client *c)
{
    struct registry_hold *hold, *next;

    c->offline = true;
    c->last_session = c->base.session;
    DL_FOREACH_SAFE (c->base.holds, hold, next)
        if (hold->state == HOLD_LEAVING)
            registry_hold_gone(hold);
    registry_set_state(&c->base, REGISTRY_DISCONNECTED);
    if (!c->dead && !c->base.closing) {
        memory_unschedule(c->store, &c->deadline);
        memory_again(c, &c->beat, now(c));
    }
}

static void finish(struct memory_client *c)
{
    assert(!c->dead && c->base.closing);
    c->offline = true;
    c->connection++;
    fail_outstanding(c);
    if (c->dead)
        return; /* killed in one of these */
    c->dead = true;
    memory_client_stop(c);
    DL_DELETE(c->store->clients, c);
    registry_closed(&c->base);
}

/* --- its events ---------------------------------------------------------- */

static void on_beat(struct memory_event *e)
{
    struct memory_client *c = CONTAINER_OF(e, struct memory_client, beat);
    int64_t timeout = c->base.session_timeout_ms;

    if (memory_client_choose(c)) {
        memory_client_reset(c); /* which asks at once */
        memory_schedule(c->store, e, now(c) + (timeout + 2) / 3);
    } else if (c->base.closing) {
        send_plain(c, MEMORY_CLOSE);
        memory_schedule(c->store, e, now(c) + (timeout + 2) / 3);
    } else if (c->base.session != 0) {
        send_plain(c, MEMORY_PING);
        memory_schedule(c->store, e, now(c) + (timeout + 2) / 3);
    } else {
        if (c->connecting || c->past != NULL) {
            /* nothing came of it: another connection, to another server */
            memory_past_unref(c->past);
            c->past = NULL;
            c->connection++;
            fail_outstanding(c);
        }
        if (!c->dead && !c->base.closing) {
            c->connecting = true;
            send_connect(c);
            memory_again(c, e, now(c) + timeout);
        }
    }
}

static void on_deadline(struct memory_event *e)
{
    struct memory_client *c = CONTAINER_OF(e, struct memory_client, deadline);
    mono_ms lost = c->heard + c->base.session_timeout_ms;

    if (c->base.closing && (c->base.session == 0 || now(c) >= lost)) {
        finish(c);
    } else if (now(c) >= lost) {
        c->connection++;
        c->offline = true;
        fail_outstanding(c);
        if (!c->dead && !c->base.closing)
            disconnect(c);
    } else if (now(c) >= suspended_at(c)) {
        memory_schedule(c->store, e, lost);
        if (!c->offline && !c->base.closing)
            suspend(c);
    } else {
        memory_schedule(c->store, e, suspended_at(c));
    }
}

static void on_resync(struct memory_event *e)
{
    struct memory_client *c = CONTAINER_OF(e, struct memory_client, resync);
    struct registry_watch *w;

    if (!c->offline && c->base.ready)
        DL_FOREACH (c->base.watches, w)
            memory_send_look(c, w);
    if (c->store->faults.resync_ms > 0)
        memory_schedule(c->store, e, now(c) + c->store->faults.resync_ms);
}

/* The network is back: the old connection is found broken, a new one is there.
 */
static void on_reset(struct memory_event *e)
{
    struct memory_client *c = CONTAINER_OF(e, struct memory_client, reset);

    if (memory_client_choose(c))
        c->connection++;
    if (!c->base.closing)
        fail_outstanding(c);
    if (!c->dead && !c->offline && !c->base.closing)
        ask_again(c);
    if (!c->dead && (!c->base.closing || c->base.session != 0))
        memory_again(c, &c->beat, now(c));
}

void memory_client_reset(struct memory_client *c)
{
    c->connection++;
    if (c->reset.where == EVENT_IDLE)
        memory_schedule(c->store, &c->reset, now(c));
}

/* --- receiving ----------------------------------------------------------- */

static void welcome(struct memory_client *c, const struct memory_message *m)
{
    if (m->number != c->attempt || c->base.session != 0 || c->base.closing ||
        now(c) - m->sent >= (2 * c->base.session_timeout_ms) / 3)
        return; /* of an attempt given up: that session runs out */
    c->heard = m->sent;
    registry_record_answer(&c->base, m->sent);
    registry_record_renewal(&c->base, m->sent);
    c->offline = false;
    c->connecting = false;
    memory_again(c, &c->beat, m->sent + (c->base.session_timeout_ms + 2) / 3);
    memory_again(c, &c->deadline, suspended_at(c));
    registry_session_begin(&c->base, m->session, m->side->line, m->revision);
}

void memory_client_look(struct memory_client *c)
{
    struct registry_watch *w;

    DL_FOREACH (c->base.watches, w) {
        struct memory_watch_priv *priv = w->priv;

        if (priv->looked != c->base.session) {
            priv->synced = false;
            memory_send_look(c, w);
        }
    }
}

void memory_client_end(struct memory_client *c)
{
    disconnect(c);
}

/* A sign of life is only what the server has heard that would end our session.
 */
static void pong(struct memory_client *c, const struct memory_message *m)
{
    if (m->hearsay && !planted(PLANTED_HEARSAY_IS_LIFE))
        return;
    if (m->session != c->base.session || c->base.closing)
        return;
    if (!m->hearsay &&
        !registry_report_position(&c->base, m->side->line, m->revision))
        return;
    if (m->sent > c->heard) {
        c->heard = m->sent;
        registry_record_answer(&c->base, m->sent);
        registry_record_renewal(&c->base, m->sent);
    }
    if (c->offline && now(c) < suspended_at(c)) {
        c->offline = false;
        memory_again(c, &c->deadline, suspended_at(c));
        ask_again(c);
        registry_set_state(&c->base, REGISTRY_RECONNECTED);
    }
}

static void expired(struct memory_client *c, const struct memory_message *m)
{
    if (m->session == 0 || m->session != c->base.session)
        return;
    if (c->base.closing)
        finish(c);
    else
        disconnect(c);
}

void memory_client_receive(struct memory_client *c, struct memory_message *m)
{
    switch (m->kind) {
    case MEMORY_WELCOME:
        welcome(c, m);
        break;
    case MEMORY_PONG:
        pong(c, m);
        break;
    case MEMORY_EXPIRED:
        expired(c, m);
        break;
    case MEMORY_CLOSED:
        finish(c);
        break;
    case MEMORY_ANSWER:
        memory_on_answer(m);
        break;
    case MEMORY_LOOKED:
        memory_on_looked(c, m);
        break;
    case MEMORY_NOTICE:
        memory_on_notice(c, m);
        break;
    case MEMORY_GRANTED:
    case MEMORY_REFUSED:
    case MEMORY_BEHIND:
    case MEMORY_RELEASED:
        memory_on_about_hold(c, m);
        break;
    default:
        assert(m->kind >= MEMORY_WELCOME); /* a request never comes down */
    }
}

/* --- its life ------------------------------------------------------------ */

static void event_init(struct memory_client *c, struct memory_event *e,
                       memory_event_f *fn)
{
    e->fn = fn;
    e->process = c;
}

void memory_client_start(struct memory_client *c)
{
    event_init(c, &c->beat, on_beat);
    event_init(c, &c->deadline, on_deadline);
    event_init(c, &c->resync, on_resync);
    event_init(c, &c->reset, on_reset);
    memory_schedule(c->store, &c->beat, now(c));
    if (c->store->faults.resync_ms > 0) {
        memory_schedule(c->store, &c->resync,
                        now(c) + c->store->faults.resync_ms);
    }
}

void memory_client_stop(struct memory_client *c)
{
    memory_unschedule(c->store, &c->beat);
    memory_unschedule(c->store, &c->deadline);
    memory_unschedule(c->store, &c->resync);
    memory_unschedule(c->store, &c->reset);
    memory_let_all_through(c);
    memory_server_forget(c->store, c);
}

void memory_client_unref(struct memory_client *c)
{
    assert(c->refs > 0);
    if (--c->refs == 0) {
        assert(c->dead && c->piled == NULL);
        memory_past_unref(c->past);
        mem_free(c);
    }
}

void memory_client_free_killed(struct memory_client *c)
{
    struct memory_event *e, *next;

    DL_DELETE(c->store->killed, c);
    registry_abandon(&c->base);
    DL_FOREACH_SAFE (c->piled, e, next) {
        DL_DELETE(c->piled, e);
        e->where = EVENT_IDLE;
        assert(e->is_message); /* timers went with their owners */
        memory_message_free(CONTAINER_OF(e, struct memory_message, event));
    }
    memory_client_unref(c);
}
