/*
 * server.c - the server of the memory registry: sessions, reading,
 * watching.
 *
 * A session lives as long as something is heard of it within its timeout, by
 * the server's clock. Whatever arrives for a session that has ended is refused
 * with ERR_SESSION_LOST and not applied: that is what makes the end of a
 * session a fence.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "base/planted.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>
#include <utlist.h>

struct memory_side *memory_serve(struct memory_store *s,
                                 struct memory_side *side)
{
    struct memory_side *was = s->side;

    s->side = side;
    return was;
}

/* --- sessions ------------------------------------------------------------ */

struct memory_session *memory_session_find(struct memory_store *s, uint64_t id)
{
    struct memory_session *session;

    DL_FOREACH (s->side->sessions, session)
        if (session->id == id)
            return session;
    return NULL;
}

void memory_session_end(struct memory_store *s, struct memory_session *session)
{
    /* Out of the list first: nothing is applied for it from here on. */
    DL_DELETE(s->side->sessions, session);
    memory_unschedule(s, &session->expiry);
    memory_txn_reap(s, session);
    memory_lock_reap(s, session->id);
    if (session->client != NULL && !session->client->dead) {
        struct memory_message *m =
            memory_message_new(session->client, MEMORY_EXPIRED);

        m->session = session->id;
        memory_send_down(m);
    }
    mem_free(session);
}

/* One millisecond after the timeout: the client, which counts from when it
 * sent, knows no later than we do. */
static void on_expiry(struct memory_event *e)
{
    struct memory_session *session =
        CONTAINER_OF(e, struct memory_session, expiry);
    struct memory_store *s = session->store;
    mono_ms ends = session->heard + session->timeout_ms + 1;

    if (s->clock->mono < ends) {
        memory_schedule(s, e, ends);
    } else {
        (void)memory_serve(s, session->side);
        memory_session_end(s, session);
        (void)memory_serve(s, s->present);
    }
}

struct memory_session *memory_session_new(struct memory_store *s, uint64_t id,
                                          struct memory_client *client,
                                          int64_t timeout_ms)
{
    struct memory_session *session = mem_zalloc(sizeof(*session));

    session->id = id;
    session->store = s;
    session->side = s->side;
    session->client = client;
    session->timeout_ms = timeout_ms;
    session->heard = s->clock->mono;
    session->expiry.fn = on_expiry;
    DL_APPEND(s->side->sessions, session);
    memory_schedule(s, &session->expiry, session->heard + timeout_ms + 1);
    return session;
}

static void session_begin(struct memory_store *s, struct memory_message *m)
{
    struct memory_session *session,
        *before = memory_session_find(s, m->session);

    if (before != NULL) {
        before->client = NULL; /* it said itself that this one is over */
        memory_session_end(s, before);
    }
    if (m->client->dead) {
        memory_message_free(m);
        return;
    }
    session = memory_session_new(s, ++s->last_session, m->client,
                                 m->client->base.session_timeout_ms);
    m->kind = MEMORY_WELCOME;
    m->session = session->id;
    m->revision = s->side->revision;
    memory_send_down(m);
}

static void side_forget(struct memory_side *side,
                        const struct memory_client *client)
{
    struct memory_subscription *sub, *next;
    struct memory_session *session;

    DL_FOREACH (side->sessions, session)
        if (session->client == client)
            session->client = NULL;
    DL_FOREACH_SAFE (side->subscriptions, sub, next) {
        if (sub->client == client) {
            DL_DELETE(side->subscriptions, sub);
            mem_free(sub);
        }
    }
}

void memory_server_forget(struct memory_store *s,
                          const struct memory_client *client)
{
    for (size_t i = 0; i < ARRAY_LEN(s->sides); i++)
        side_forget(&s->sides[i], client);
}

void memory_server_close(struct memory_store *s)
{
    s->on_write = s->on_write_beside = NULL;
    for (size_t i = 0; i < ARRAY_LEN(s->sides); i++) {
        (void)memory_serve(s, &s->sides[i]);
        while (s->side->sessions != NULL)
            memory_session_end(s, s->side->sessions);
        assert(s->side->locks == NULL && s->side->subscriptions == NULL);
    }
}

/* --- watching ------------------------------------------------------------ */

static struct memory_subscription *
find_subscription(const struct memory_store *s, const struct memory_message *m)
{
    struct memory_subscription *sub;

    DL_FOREACH (s->side->subscriptions, sub)
        if (sub->client == m->client && sub->watch == m->number)
            return sub;
    return NULL;
}

static void subscribe(struct memory_store *s, const struct memory_message *m)
{
    struct memory_subscription *sub = find_subscription(s, m);
    size_t len = strlen(m->key);

    if (m->client->dead)
        return;
    if (sub == NULL) {
        sub = mem_zalloc(sizeof(*sub) + len + 1);
        sub->client = m->client;
        sub->watch = m->number;
        memcpy(sub->prefix, m->key, len + 1);
        DL_APPEND(s->side->subscriptions, sub);
    }
    sub->connection = m->connection;
}

/* All that stands below a prefix. */
static void look(const struct memory_tree *tree, uint64_t revision,
                 struct memory_message *m)
{
    struct memory_pos pos = memory_tree_below(tree, m->key);
    struct memory_node *node;

    while ((node = memory_tree_next(tree, &pos)) != NULL &&
           registry_key_below(node->text, m->key))
        memory_message_add(m, node);
    m->revision = revision;
    m->kind = MEMORY_LOOKED;
    memory_send_down(m);
}

static void unsubscribe(struct memory_store *s, struct memory_message *m)
{
    struct memory_subscription *sub = find_subscription(s, m);

    if (sub != NULL) {
        DL_DELETE(s->side->subscriptions, sub);
        mem_free(sub);
    }
    memory_message_free(m);
}

/* --- reading ------------------------------------------------------------- */

static void set_not_found(struct memory_message *m)
{
    m->code = ERR_NOT_FOUND;
    m->text = "no such key";
}

/* The distinct names between `key` and the next slash. */
static void read_children(const struct memory_tree *tree,
                          struct memory_message *m)
{
    const char *key = m->call->key;
    size_t skip = strcmp(key, "/") == 0 ? 1 : strlen(key) + 1;
    struct memory_pos pos = memory_tree_below(tree, key);
    const char *last = "";
    size_t last_len = 0;
    struct memory_node *node;
    struct buf names;

    buf_init(&names, tree->n_nodes * (REGISTRY_KEY_MAX + 1));
    while ((node = memory_tree_next(tree, &pos)) != NULL &&
           registry_key_below(node->text, key)) {
        const char *name = node->text + skip;
        size_t len = (size_t)(strchrnul(name, '/') - name);

        if (len != last_len || memcmp(name, last, len) != 0) {
            buf_add(&names, name, len);
            buf_char(&names, '\0');
            m->number++;
        }
        last = name;
        last_len = len;
    }
    m->key = names.len > 0 ? buf_take(&names) : NULL;
    buf_close(&names);
}

static void read_list(const struct memory_tree *tree, struct memory_message *m)
{
    const struct registry_call *call = m->call;
    struct memory_pos pos = call->from != NULL
                                ? memory_tree_from(tree, call->from)
                                : memory_tree_below(tree, call->key);
    struct memory_node *node;

    while ((node = memory_tree_next(tree, &pos)) != NULL &&
           registry_key_below(node->text, call->key)) {
        if (m->n_nodes == call->limit) {
            m->more = memory_node_ref(node);
            break;
        }
        memory_message_add(m, node);
    }
}

static void serve_read(const struct memory_tree *tree, uint64_t revision,
                       struct memory_message *m)
{
    const struct registry_call *call = m->call;
    struct memory_node *node;

    m->revision = revision;
    switch (call->type) {
    case REGISTRY_CALL_GET:
        node = memory_tree_find(tree, call->key);
        if (node != NULL)
            memory_message_add(m, node);
        else
            set_not_found(m);
        break;
    case REGISTRY_CALL_EXISTS:
        if (memory_tree_find(tree, call->key) == NULL &&
            !memory_tree_has_below(tree, call->key))
            set_not_found(m);
        break;
    case REGISTRY_CALL_CHILDREN:
        read_children(tree, m);
        break;
    case REGISTRY_CALL_LIST:
        read_list(tree, m);
        break;
    case REGISTRY_CALL_TXN:
        assert(call->type != REGISTRY_CALL_TXN);
    }
}

/* --- requests ------------------------------------------------------------ */

/* The reply is lost: say so now; the request itself may be lost, too, or be
 * applied, now or later. True: go on and apply it, nobody hears of it. */
static bool lose_reply(struct memory_store *s, struct memory_message *m)
{
    struct memory_message *said = memory_message_new(m->client, MEMORY_ANSWER);

    said->connection = m->connection;
    said->call = registry_call_ref(m->call);
    /* whoever lags and knows of no such write proves nothing */
    said->code = planted(PLANTED_LAGGING_MARK) ? ERR_UNAVAILABLE : ERR_UNKNOWN;
    said->text = "the connection broke before the answer";
    memory_send_down(said);
    m->connection = 0; /* no answer to this one */
    switch (rand_below(&s->rand, 6)) {
    case 0: {
        uint64_t timeout = (uint64_t)m->client->base.session_timeout_ms;

        m->late = true;
        memory_schedule(s, &m->event,
                        s->clock->mono +
                            (mono_ms)rand_below(&s->rand, timeout));
        return false;
    }
    case 1:
    case 2:
        return true;
    default:
        memory_message_free(m);
        return false;
    }
}

static bool is_behind(const struct memory_store *s,
                      const struct memory_message *m)
{
    struct registry_place now = {.line = s->side->line,
                                 .position = s->side->revision};
    struct registry_place known = {.line = m->known_line, .position = m->known};

    return registry_place_fell(&now, &known);
}

static void receive_call(struct memory_store *s, struct memory_message *m,
                         struct memory_session *session)
{
    if (session == NULL) {
        m->code = ERR_SESSION_LOST;
        m->text = "the session has ended";
    } else if (m->call->type == REGISTRY_CALL_TXN && is_behind(s, m)) {
        /* As the real ones compare within the txn, or before the first. */
        m->code = ERR_UNAVAILABLE;
        m->text = "the store stands lower than it did";
        m->revision = s->side->revision;
    } else if (!m->late && memory_chance(s, s->faults.unavailable_share)) {
        m->code = ERR_UNAVAILABLE;
        m->text = "the registry is busy";
    } else if (s->faults.read_only && m->call->type == REGISTRY_CALL_TXN) {
        m->code = ERR_DENIED;
        m->text = "the registry is read-only";
    } else if (!m->late && m->call->type == REGISTRY_CALL_TXN &&
               memory_chance(s, s->faults.unknown_share) && !lose_reply(s, m)) {
        return;
    } else if (m->call->type == REGISTRY_CALL_TXN) {
        memory_txn_apply(s, m, session);
    } else {
        serve_read(&s->side->tree, s->side->revision, m);
    }
    m->kind = MEMORY_ANSWER;
    memory_send_down(m);
}

static void receive_without_session(struct memory_message *m)
{
    m->kind = m->kind == MEMORY_CLOSE ? MEMORY_CLOSED : MEMORY_EXPIRED;
    memory_send_down(m);
}

/* By a server that has lost the others: what it can answer by itself. */
static void receive_stranded(struct memory_store *s, struct memory_message *m)
{
    const struct memory_past *past = m->client->past;

    m->hearsay = true;
    if (m->kind == MEMORY_PING) {
        m->kind = MEMORY_PONG;
        memory_send_down(m);
    } else if (m->kind == MEMORY_LOOK) {
        look(&past->tree, past->revision, m);
    } else if (m->kind == MEMORY_CALL && m->call->type != REGISTRY_CALL_TXN) {
        serve_read(&past->tree, past->revision, m);
        m->kind = MEMORY_ANSWER;
        memory_send_down(m);
    } else if (m->kind == MEMORY_UNWATCH) {
        unsubscribe(s, m);
    } else {
        memory_message_free(m); /* no answer, ever */
    }
}

void memory_server_receive(struct memory_store *s, struct memory_message *m)
{
    struct memory_session *session = memory_session_find(s, m->session);

    if (s->side->down || m->generation != s->side->generation) {
        memory_message_free(m); /* sent to the store that was */
        return;
    }
    if (m->client->past != NULL && !m->late) {
        receive_stranded(s, m);
        return;
    }
    if (session != NULL)
        session->heard = s->clock->mono;
    if (m->kind == MEMORY_CONNECT) {
        session_begin(s, m);
    } else if (m->kind == MEMORY_UNWATCH) {
        unsubscribe(s, m);
    } else if (m->kind == MEMORY_CALL) {
        receive_call(s, m, session);
    } else if (session == NULL) {
        receive_without_session(m);
    } else if (m->kind == MEMORY_LOOK) {
        subscribe(s, m);
        look(&s->side->tree, s->side->revision, m);
    } else if (m->kind == MEMORY_LOCK) {
        memory_lock_request(s, m, session);
    } else if (m->kind == MEMORY_UNLOCK) {
        memory_lock_release(s, m, session);
    } else if (m->kind == MEMORY_PING) {
        m->kind = MEMORY_PONG;
        m->revision = s->side->revision;
        memory_send_down(m);
    } else {
        assert(m->kind == MEMORY_CLOSE);
        session->client = NULL; /* the answer says it */
        memory_session_end(s, session);
        m->kind = MEMORY_CLOSED;
        memory_send_down(m);
    }
}
