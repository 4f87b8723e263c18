/*
 * conformance.c - the harness: a world with clients, calls that wait for their
 * answers, and recorders for events, locks and states.
 */
#include "tests/registry/conformance.h"

#include "base/mem.h"

#include <string.h>

static const struct conformance_backend *tested;

int conformance_run(const struct conformance_backend *backend)
{
    int failed = 0;

    tested = backend;
    failed += conformance_dolphin();
    failed += conformance_keys();
    failed += conformance_txn();
    failed += conformance_watch();
    failed += conformance_lock();
    failed += conformance_session(backend->cut != NULL);
    return failed;
}

/* --- the world ----------------------------------------------------------- */

int world_setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->backend = tested;
    w->store = tested->open_store();
    assert_non_null(w->store);
    *state = w;
    return 0;
}

static void on_closed(void *arg)
{
    struct world *w = arg;

    w->closing--;
}

int world_teardown(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->n_clients; i++) {
        w->closing++;
        registry_close(&w->clients[i], on_closed, w);
    }
    world_until(w, w->closing == 0);
    w->backend->close_store(w->store);
    mem_free(w);
    return 0;
}

struct registry *world_open_unconnected(struct world *w)
{
    struct registry *r =
        w->backend->open(w->store, w->backend->session_timeout_ms);

    assert_non_null(r);
    assert_true(w->n_clients < ARRAY_LEN(w->clients));
    w->clients[w->n_clients++] = r;
    return r;
}

struct registry *world_open(struct world *w)
{
    struct registry *r = world_open_unconnected(w);

    world_until(w, registry_session(r) != 0);
    return r;
}

static void forget(struct world *w, const struct registry *r)
{
    size_t i = 0;

    while (i < w->n_clients && w->clients[i] != r)
        i++;
    assert_true(i < w->n_clients);
    w->clients[i] = w->clients[--w->n_clients];
}

void world_close(struct world *w, struct registry **r)
{
    forget(w, *r);
    w->closing++;
    registry_close(r, on_closed, w);
    world_until(w, w->closing == 0);
}

void world_kill(struct world *w, struct registry **r)
{
    forget(w, *r);
    w->backend->kill(w->store, r);
    assert_null(*r);
}

void world_pass(struct world *w, int64_t ms)
{
    int64_t until = w->backend->now(w->store) + ms;
    int64_t now;

    while ((now = w->backend->now(w->store)) < until)
        w->backend->turn(w->store, until - now < 20 ? until - now : 20);
}

/* --- calls --------------------------------------------------------------- */

static void entries_free(struct got *g)
{
    for (size_t i = 0; i < g->n_entries; i++) {
        mem_free(g->entries[i].key);
        mem_free(g->entries[i].value);
    }
    mem_free(g->entries);
    mem_free(g->next);
}

void got_free(struct got *g)
{
    entries_free(g);
    memset(g, 0, sizeof(*g));
}

void got_reply(void *arg, const struct registry_reply *reply)
{
    struct got *g = arg;

    g->answers++;
    assert_int_equal(g->answers, 1);
    g->code = reply->err.code;
    memcpy(g->msg, reply->err.msg, sizeof(g->msg));
    g->failed_op = reply->failed_op;
    g->revision = reply->revision;
    g->next = mem_strdup(reply->next);
    g->n_entries = reply->n_entries;
    g->entries = mem_array(reply->n_entries, sizeof(*g->entries));
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *e = &reply->entries[i];

        g->entries[i] = (struct got_entry){
            .key = mem_strdup(e->key),
            .value =
                e->value == NULL ? NULL : mem_strndup(e->value, e->value_len),
            .value_len = e->value_len,
            .created = e->created,
            .version = e->version,
            .owner = e->owner};
    }
    if (g->code != ERR_OK) /* every refusal says why */
        assert_true(g->msg[0] != '\0');
}

/* Wait for `g`; hand it over to `out` or free it. */
static enum err_code finish(struct world *w, struct got *g, struct got *out)
{
    enum err_code code;

    assert_int_equal(g->answers, 0); /* never before the call returned */
    world_until(w, g->answers > 0);
    code = g->code;
    if (out != NULL) {
        got_free(out);
        *out = *g;
    } else {
        got_free(g);
    }
    return code;
}

enum err_code do_get(struct world *w, struct registry *r, const char *key,
                     struct got *out)
{
    struct got g = {0};

    registry_get(r, key, got_reply, &g);
    return finish(w, &g, out);
}

enum err_code do_exists(struct world *w, struct registry *r, const char *key)
{
    struct got g = {0};

    registry_exists(r, key, got_reply, &g);
    return finish(w, &g, NULL);
}

enum err_code do_children(struct world *w, struct registry *r, const char *key,
                          struct got *out)
{
    struct got g = {0};

    registry_children(r, key, got_reply, &g);
    return finish(w, &g, out);
}

enum err_code do_list(struct world *w, struct registry *r, const char *prefix,
                      const char *from, size_t limit, struct got *out)
{
    struct got g = {0};

    registry_list(r, prefix, from, limit, got_reply, &g);
    return finish(w, &g, out);
}

enum err_code do_txn(struct world *w, struct registry *r,
                     const struct registry_op *ops, size_t n, struct got *out)
{
    struct got g = {0};

    registry_txn(r, ops, n, got_reply, &g);
    return finish(w, &g, out);
}

enum err_code do_put(struct world *w, struct registry *r, const char *key,
                     const char *value, enum registry_expect expect,
                     uint64_t version)
{
    struct got g = {0};

    registry_put(r, key, value, strlen(value), expect, version, false,
                 got_reply, &g);
    return finish(w, &g, NULL);
}

enum err_code do_put_ephemeral(struct world *w, struct registry *r,
                               const char *key, const char *value,
                               enum registry_expect expect, uint64_t version)
{
    struct got g = {0};

    registry_put(r, key, value, strlen(value), expect, version, true, got_reply,
                 &g);
    return finish(w, &g, NULL);
}

enum err_code do_delete(struct world *w, struct registry *r, const char *key,
                        uint64_t version)
{
    struct got g = {0};

    registry_delete(r, key, version, got_reply, &g);
    return finish(w, &g, NULL);
}

uint64_t version_of(struct world *w, struct registry *r, const char *key,
                    const char *value)
{
    struct got g = {0};
    uint64_t version;

    assert_int_equal(do_get(w, r, key, &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].key, key);
    assert_true(g.entries[0].version != 0);
    assert_true(g.entries[0].created != 0);
    if (value != NULL)
        assert_string_equal(g.entries[0].value, value);
    version = g.entries[0].version;
    got_free(&g);
    return version;
}

void world_round_trip(struct world *w, struct registry *r)
{
    (void)do_exists(w, r, "/round-trip");
}

/* --- watches ------------------------------------------------------------- */

void seen_event(void *arg, const struct registry_event *event)
{
    struct seen *s = arg;
    const struct registry_entry *e = &event->entry;

    assert_non_null(s->watch); /* never before registry_watch() returned */
    if (s->n == s->cap) {
        s->cap = s->cap == 0 ? 16 : 2 * s->cap;
        s->events = mem_regrow(s->events, s->cap, sizeof(*s->events));
    }
    s->events[s->n++] = (struct seen_event){
        .type = event->type,
        .key = mem_strdup(e->key),
        .value = e->value == NULL ? NULL : mem_strndup(e->value, e->value_len),
        .created = e->created,
        .version = e->version,
        .owner = e->owner};
    s->synced += event->type == REGISTRY_SYNCED;
    if (s->unwatch_at > 0 && s->n == (size_t)s->unwatch_at)
        registry_unwatch(&s->watch);
}

void seen_start(struct world *w, struct registry *r, struct seen *s,
                const char *prefix)
{
    s->watch = registry_watch(r, prefix, seen_event, s);
    assert_int_equal(s->n, 0);
    world_until(w, s->synced > 0);
}

void seen_stop(struct seen *s)
{
    registry_unwatch(&s->watch);
    for (size_t i = 0; i < s->n; i++) {
        mem_free(s->events[i].key);
        mem_free(s->events[i].value);
    }
    mem_free(s->events);
    memset(s, 0, sizeof(*s));
}

void seen_expect(struct world *w, const struct seen *s, size_t at,
                 enum registry_event_type type, const char *key,
                 const char *value)
{
    const struct seen_event *e;

    world_until(w, s->n > at);
    e = &s->events[at];
    assert_int_equal(e->type, type);
    if (type == REGISTRY_SYNCED) {
        assert_null(e->key);
        return;
    }
    assert_string_equal(e->key, key);
    assert_true(e->created != 0);
    if (type == REGISTRY_REMOVE) {
        assert_null(e->value);
        assert_int_equal(e->version, 0);
    } else if (value != NULL) {
        assert_string_equal(e->value, value);
    }
}

/* --- locks --------------------------------------------------------------- */

static void on_granted(void *arg, enum err_code code)
{
    struct held *h = arg;

    assert_non_null(h->lock); /* never before registry_lock() returned */
    h->answers++;
    assert_int_equal(h->answers, 1);
    h->code = code;
    h->fence = registry_lock_fence(h->lock);
    assert_int_equal(registry_lock_held(h->lock), code == ERR_OK);
    assert_int_equal(h->fence != 0, code == ERR_OK);
}

static void on_lost(void *arg)
{
    struct held *h = arg;

    assert_int_equal(h->answers, 1); /* only what was granted is lost */
    assert_int_equal(h->code, ERR_OK);
    h->losses++;
    assert_int_equal(h->losses, 1);
    assert_false(registry_lock_held(h->lock));
}

void held_ask(struct registry *r, struct held *h, const char *key,
              const char *owner, int64_t timeout_ms)
{
    memset(h, 0, sizeof(*h));
    h->lock = registry_lock(r, key, owner, timeout_ms, on_granted, on_lost, h);
    assert_int_equal(h->answers, 0);
}

enum err_code held_take(struct world *w, struct registry *r, struct held *h,
                        const char *key, const char *owner, int64_t timeout_ms)
{
    held_ask(r, h, key, owner, timeout_ms);
    world_until(w, h->answers > 0);
    return h->code;
}

void held_release(struct held *h)
{
    registry_unlock(&h->lock);
    assert_null(h->lock);
}

/* --- states -------------------------------------------------------------- */

void told_state(void *arg, enum registry_state state)
{
    struct told *t = arg;

    assert_non_null(t->listener); /* never before registry_listen() returned */
    assert_true(t->n < ARRAY_LEN(t->states));
    t->states[t->n++] = state;
}
