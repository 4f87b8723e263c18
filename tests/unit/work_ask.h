/*
 * work_ask.h - asking for operations in the world of work_fixture.h and
 * waiting for their end, and the audit of what stands in the registry then.
 */
#ifndef PELORUS_TESTS_WORK_ASK_H
#define PELORUS_TESTS_WORK_ASK_H

#include "tests/unit/work_fixture.h"

/* How the last operation ended. */
struct ended {
    bool done;
    char code[32]; /* "" when it succeeded */
    char message[ERR_MSG_MAX];
    bool created;
    bool has_item;
    struct work_item item;
    struct gate gate;
    size_t n; /* of a list */
    char ids[1000][WORK_ID_MAX + 1];
    char next[WORK_ID_MAX + 1];
};

/* --- operations ---------------------------------------------------------- */

FIXTURE struct ended *ended_new(void)
{
    return mem_zalloc(sizeof(struct ended));
}

FIXTURE void ended_free(struct ended *e)
{
    work_item_close(&e->item);
    mem_free(e);
}

FIXTURE void on_reply(void *arg, const struct work_reply *reply)
{
    struct ended *e = arg;

    assert_false(e->done); /* exactly once */
    e->done = true;
    e->created = reply->created;
    (void)snprintf(e->code, sizeof(e->code), "%s", problem_code(reply->code));
    if (reply->code != PROBLEM_NONE) {
        assert_true(reply->err.msg[0] != '\0');
        (void)snprintf(e->message, sizeof(e->message), "%s", reply->err.msg);
    }
    if (reply->item != NULL) {
        e->has_item = true;
        work_item_copy(&e->item, reply->item);
    }
}

FIXTURE void on_gate_reply(void *arg, enum problem code, const struct err *err,
                           const struct gate *gate)
{
    struct ended *e = arg;

    assert_false(e->done);
    e->done = true;
    (void)snprintf(e->code, sizeof(e->code), "%s", problem_code(code));
    (void)snprintf(e->message, sizeof(e->message), "%s", err->msg);
    e->gate = *gate;
}

FIXTURE void on_page_reply(void *arg, const struct work_page *page)
{
    struct ended *e = arg;

    assert_false(e->done);
    e->done = true;
    (void)snprintf(e->code, sizeof(e->code), "%s", problem_code(page->code));
    e->n = page->n;
    for (size_t i = 0; i < page->n; i++)
        memcpy(e->ids[i], page->items[i].id, sizeof(e->ids[i]));
    (void)snprintf(e->next, sizeof(e->next), "%s",
                   page->next == NULL ? "" : page->next);
}

/* Until it ended; 30 s of virtual time are more than any deadline. */
FIXTURE void await(struct world *w, const struct ended *e)
{
    for (int i = 0; i < 3000 && !e->done; i++)
        pass(w, STEP_MS);
    assert_true(e->done);
}

#define RESET(e)                                                               \
    do {                                                                       \
        work_item_close(&(e)->item);                                           \
        *(e) = (struct ended){.done = false};                                  \
    } while (0)

FIXTURE const char *submit(struct side *s, struct ended *e, const char *id,
                           const char *payload)
{
    struct work_submit what = {
        .id = id, .kind = NODE_MASTER, .payload = payload};

    RESET(e);
    work_submit(s->work, &what, on_reply, e);
    assert_false(e->done); /* never before it returned */
    await(s->world, e);
    return e->code;
}

FIXTURE const char *claim(struct side *s, struct ended *e, const char *id,
                          const char *owner)
{
    struct work_submit what = {.id = id, .kind = NODE_MASTER, .owner = owner};

    RESET(e);
    work_claim(s->work, &what, on_reply, e);
    await(s->world, e);
    return e->code;
}

typedef void by_epoch_f(struct work *w, const char *id, uint64_t epoch,
                        work_reply_f *done, void *arg);

FIXTURE const char *at_epoch(struct side *s, struct ended *e, by_epoch_f *fn,
                             const char *id, uint64_t epoch)
{
    RESET(e);
    fn(s->work, id, epoch, on_reply, e);
    assert_false(e->done);
    await(s->world, e);
    return e->code;
}

FIXTURE const char *list(struct side *s, struct ended *e,
                         const struct work_list *what)
{
    RESET(e);
    work_list(s->work, what, on_page_reply, e);
    await(s->world, e);
    return e->code;
}

/* A held item with its marker, as a failover leaves it. */
FIXTURE void put_held(struct world *w, const char *id, uint64_t epoch)
{
    struct work_item item = {.kind = NODE_MASTER, .epoch = epoch - 1};
    struct marker m;
    char key[REGISTRY_KEY_MAX + 1];
    struct buf b;

    (void)snprintf(item.id, sizeof(item.id), "%s", id);
    memcpy(item.group, "default", 8);
    work_item_unassign(&item, WORK_HELD, "policy", 0);
    buf_init(&b, WORK_RECORD_MAX);
    work_item_write(&b, &item);
    assert_int_equal(hand_put(w, work_key(id, key), buf_text(&b)), ERR_OK);
    buf_reset(&b);
    work_marker_of(&m, &item);
    work_marker_write(&b, &m);
    assert_int_equal(
        hand_put(w, work_marker_key(NODE_MASTER, NULL, id, key), buf_text(&b)),
        ERR_OK);
    buf_close(&b);
}

/* --- the truth ----------------------------------------------------------- */

struct audit {
    struct world *w;
    size_t records, markers, live;
};

static inline void audit_record(void *arg, const struct registry_entry *entry)
{
    struct audit *a = arg;
    struct work_item item;
    struct marker m, want;
    struct registry_entry copy;
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *found;
    struct err err = {0};

    assert_int_equal(
        work_item_read(&item, entry->value, entry->value_len, &err), 0);
    a->records++;
    if (item.state != WORK_DONE && item.state != WORK_DROPPED) {
        a->live++;
        work_marker_of(&want, &item);
        found =
            memory_find(a->w->store,
                        work_marker_key(want.kind, want.address, want.id, key));
        assert_non_null(found);
        copy = *found;
        assert_int_equal(work_marker_read(&m, &copy, &err), 0);
        assert_true(m.epoch == want.epoch);
        assert_true(item.state != WORK_ASSIGNED ||
                    process_same(&m.process, &item.process));
    }
    work_item_close(&item);
}

static inline void audit_marker(void *arg, const struct registry_entry *entry)
{
    (void)entry;
    ((struct audit *)arg)->markers++;
}

/* Every record has exactly its marker, and no marker is alone. */
FIXTURE struct audit audit(struct world *w)
{
    struct audit a = {.w = w};

    memory_each(w->store, WORK_PREFIX, audit_record, &a);
    memory_each(w->store, MARKER_PREFIX, audit_marker, &a);
    assert_int_equal(a.markers, a.live);
    return a;
}

#endif
