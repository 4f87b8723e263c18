/*
 * wire.c - messages between a client and the server, and their fate.
 *
 * A connection has a number; a break gives the next one. What was sent on an
 * older number is lost on its way down. On its way up it may be lost, arrive,
 * or arrive much later (a request in some buffer): whether it may still be
 * applied is then for the server to decide, by session, version and lock.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

bool memory_chance(struct memory_store *s, double share)
{
    return share > 0.0 && rand_double(&s->rand) < share;
}

struct memory_message *memory_message_new(struct memory_client *c,
                                          enum memory_kind kind)
{
    struct memory_message *m = mem_zalloc(sizeof(*m));

    m->event.is_message = true;
    m->kind = kind;
    m->store = c->store;
    m->client = c;
    c->refs++;
    m->connection = c->connection;
    m->side = c->side;
    m->generation = c->side->generation;
    m->session = c->base.session;
    m->failed_op = SIZE_MAX;
    return m;
}

void memory_message_free(struct memory_message *m)
{
    assert(m->event.where == EVENT_IDLE);
    for (size_t i = 0; i < m->n_nodes; i++)
        memory_node_unref(m->nodes[i]);
    mem_free(m->nodes);
    memory_node_unref(m->more);
    mem_free(m->key);
    if (m->call != NULL)
        registry_call_unref(m->call);
    memory_client_unref(m->client);
    mem_free(m);
}

void memory_message_add(struct memory_message *m, struct memory_node *node)
{
    if (m->n_nodes == m->nodes_cap) {
        m->nodes_cap = m->nodes_cap == 0 ? 1 : 4 * m->nodes_cap;
        m->nodes =
            mem_regrow(m->nodes, m->nodes_cap, sizeof(struct memory_node *));
    }
    m->nodes[m->n_nodes++] = memory_node_ref(node);
}

static mono_ms arrival(struct memory_store *s)
{
    uint64_t max = (uint64_t)s->faults.delay_max_ms;

    return s->clock->mono +
           (max == 0 ? 0 : (mono_ms)rand_below(&s->rand, max + 1));
}

/* After everything that was sent before in this direction. */
static void schedule_fifo(struct memory_message *m, struct memory_fifo *fifo)
{
    struct memory_store *s = m->store;
    mono_ms due = arrival(s);
    uint64_t tie = memory_tie(s);

    if (due <= fifo->due) {
        due = fifo->due;
        tie = tie > fifo->tie ? tie : fifo->tie + 1;
    }
    fifo->due = due;
    fifo->tie = tie;
    memory_schedule_tie(s, &m->event, due, tie);
}

/* A request whose connection broke under way. False: it is gone. */
static bool survives(struct memory_message *m)
{
    struct memory_store *s = m->store;
    uint64_t timeout = (uint64_t)m->client->base.session_timeout_ms;

    if (m->late || m->client->dead || m->connection == m->client->connection)
        return true;
    switch (rand_below(&s->rand, 3)) {
    case 0:
        memory_message_free(m);
        return false;
    case 1:
        if (m->kind == MEMORY_CALL) {
            m->late = true;
            memory_schedule(s, &m->event,
                            s->clock->mono +
                                (mono_ms)rand_below(&s->rand, timeout));
            return false;
        }
        return true;
    default:
        return true;
    }
}

static void arrive_up(struct memory_event *e)
{
    struct memory_message *m = CONTAINER_OF(e, struct memory_message, event);

    struct memory_store *s = m->store;

    if (survives(m)) {
        (void)memory_serve(s, m->side);
        memory_server_receive(s, m);
        (void)memory_serve(s, s->present);
    }
}

static void arrive_down(struct memory_event *e)
{
    struct memory_message *m = CONTAINER_OF(e, struct memory_message, event);
    struct memory_client *c = m->client;

    if (m->connection == c->connection)
        memory_client_receive(c, m);
    memory_message_free(m);
}

/* --- held up ------------------------------------------------------------- */

static bool is_write(const struct memory_message *m)
{
    return m->kind == MEMORY_CALL && m->call->type == REGISTRY_CALL_TXN;
}

static void hold_up(struct memory_message *m)
{
    struct memory_client *c = m->client;

    c->held =
        mem_regrow(c->held, c->n_held + 1, sizeof(struct memory_message *));
    c->held[c->n_held++] = m;
}

static void let_through(struct memory_client *c)
{
    struct memory_message *m;

    assert(c->n_held > 0);
    m = c->held[0];
    c->n_held--;
    memmove(c->held, c->held + 1, c->n_held * sizeof(struct memory_message *));
    /* nothing but the store decides about it, and who waits no more hears
     * nothing */
    m->late = true;
    memory_schedule(m->store, &m->event, m->store->clock->mono);
}

void memory_let_all_through(struct memory_client *c)
{
    while (c->n_held > 0)
        let_through(c);
    MEM_FREE(c->held);
}

void memory_hold_up(struct registry *client, bool on)
{
    memory_client_of(client)->holds_up = on;
}

size_t memory_held_up(struct registry *client)
{
    return memory_client_of(client)->n_held;
}

void memory_let_through(struct registry *client)
{
    let_through(memory_client_of(client));
}

/* --- sending ------------------------------------------------------------- */

void memory_send_up(struct memory_message *m)
{
    assert(!m->client->dead);
    if (m->client->cut || !memory_client_reaches(m->client)) {
        memory_message_free(m);
        return;
    }
    m->event.fn = arrive_up;
    if (m->client->holds_up && is_write(m))
        hold_up(m);
    else
        schedule_fifo(m, &m->client->up);
}

static bool reachable(const struct memory_message *m)
{
    const struct memory_client *c = m->client;

    return !c->dead && !c->cut && c->side == m->store->side &&
           m->connection == c->connection && (c->past == NULL || m->hearsay);
}

void memory_send_down(struct memory_message *m)
{
    if (!reachable(m)) {
        memory_message_free(m);
        return;
    }
    m->event.fn = arrive_down;
    m->event.process = m->client;
    schedule_fifo(m, &m->client->down);
}

/* Past the others, by up to ten times the longest delay. */
static void send_astray(struct memory_message *m)
{
    struct memory_store *s = m->store;
    uint64_t max = 10 * (uint64_t)s->faults.delay_max_ms;

    if (!reachable(m)) {
        memory_message_free(m);
        return;
    }
    m->event.fn = arrive_down;
    m->event.process = m->client;
    memory_schedule(s, &m->event,
                    arrival(s) + (mono_ms)rand_below(&s->rand, max + 1));
}

static struct memory_message *notice_new(const struct memory_subscription *sub,
                                         const struct memory_change *change)
{
    struct memory_message *m = memory_message_new(sub->client, MEMORY_NOTICE);

    m->number = sub->watch;
    m->gone = change->after == NULL;
    m->revision = m->gone ? m->store->side->revision : change->after->revision;
    memory_message_add(m, m->gone ? change->before : change->after);
    return m;
}

static void notify_one(struct memory_store *s,
                       const struct memory_subscription *sub,
                       const struct memory_change *change)
{
    if (memory_chance(s, s->faults.event_drop_share))
        return;
    if (memory_chance(s, s->faults.event_late_share))
        send_astray(notice_new(sub, change));
    else
        memory_send_down(notice_new(sub, change));
    if (memory_chance(s, s->faults.event_dup_share))
        send_astray(notice_new(sub, change));
}

void memory_notify(struct memory_store *s, const struct memory_change *change)
{
    const char *key =
        change->after != NULL ? change->after->text : change->before->text;
    struct memory_subscription *sub, *next;

    DL_FOREACH_SAFE (s->side->subscriptions, sub, next) {
        if (sub->connection != sub->client->connection) {
            /* The connection that asked for it is no more. */
            DL_DELETE(s->side->subscriptions, sub);
            mem_free(sub);
        } else if (registry_key_below(key, sub->prefix)) {
            notify_one(s, sub, change);
        }
    }
}
