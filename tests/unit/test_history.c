/*
 * test_history.c - a store that went back is not believed (registry/history.h),
 * over the memory registry, which can be put back to what it was.
 * (Longer than 500 lines: a world of processes, and each way back.)
 */
#include "base/mem.h"
#include "registry/history.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TIMEOUT 4000
#define SOON    2000
#define LOCK    "/lock/master-failover"

/* --- a store, and processes that use it ---------------------------------- */

struct process {
    struct world *w;
    struct registry *r;
    struct registry_listener *listener;
    struct registry_watch *watch;
    enum registry_state told[32];
    size_t n_told;
    size_t adds, updates, removes, syncs;
    struct registry_lock *lock;
    size_t granted, lost;
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct process p[5];
    size_t n;
    enum err_code code;
    bool answered;
    char value[512];
};

static void on_state(void *arg, enum registry_state state)
{
    struct process *p = arg;

    assert_true(p->n_told < ARRAY_LEN(p->told));
    p->told[p->n_told++] = state;
}

static void on_event(void *arg, const struct registry_event *ev)
{
    struct process *p = arg;

    p->adds += ev->type == REGISTRY_ADD;
    p->updates += ev->type == REGISTRY_UPDATE;
    p->removes += ev->type == REGISTRY_REMOVE;
    p->syncs += ev->type == REGISTRY_SYNCED;
}

static void run(struct world *w, int64_t ms)
{
    (void)memory_run(w->store, w->clock.mono + ms);
}

static struct process *
begin_as(struct world *w, const struct registry_place *remembered, bool watch)
{
    struct process *p = &w->p[w->n++];
    char who[16] = "h:1";

    who[2] = (char)('0' + w->n);
    p->w = w;
    p->r = memory_open(w->store, TIMEOUT);
    registry_compare(p->r, who, remembered, watch);
    p->listener = registry_listen(p->r, on_state, p);
    p->watch = registry_watch(p->r, "/a", on_event, p);
    return p;
}

static struct process *begin_at(struct world *w,
                                const struct registry_place *remembered)
{
    return begin_as(w, remembered, true);
}

static struct process *begin(struct world *w)
{
    struct process *p = begin_at(w, NULL);

    run(w, SOON);
    return p;
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    w->clock.mono = 1000;
    w->store = memory_store_new(&w->clock, 7);
    *state = w;
    return 0;
}

static void kill_(struct process *p)
{
    registry_unwatch(&p->watch);
    registry_unlisten(&p->listener);
    memory_kill(&p->r);
}

static void on_closed(void *arg)
{
    (void)arg;
}

static int teardown(void **state)
{
    struct world *w = *state;

    for (size_t i = 0; i < w->n; i++) {
        registry_unlock(&w->p[i].lock);
        registry_unwatch(&w->p[i].watch);
        registry_unlisten(&w->p[i].listener);
        registry_close(&w->p[i].r, on_closed, NULL);
    }
    run(w, 3 * TIMEOUT);
    memory_store_free(&w->store);
    mem_free(w);
    return 0;
}

/* --- calls --------------------------------------------------------------- */

static void on_reply(void *arg, const struct registry_reply *reply)
{
    struct world *w = arg;

    w->answered = true;
    w->code = reply->err.code;
    w->value[0] = '\0';
    if (reply->n_entries == 1) {
        assert_true(reply->entries[0].value_len < sizeof(w->value));
        memcpy(w->value, reply->entries[0].value,
               reply->entries[0].value_len + 1);
    }
}

static enum err_code answer(struct world *w)
{
    for (int i = 0; i < 100 && !w->answered; i++)
        run(w, 50);
    assert_true(w->answered);
    w->answered = false;
    return w->code;
}

static enum err_code put(struct process *p, const char *key, const char *value)
{
    registry_put(p->r, key, value, strlen(value), REGISTRY_ANY, 0, false,
                 on_reply, p->w);
    return answer(p->w);
}

static enum err_code get(struct process *p, const char *key)
{
    registry_get(p->r, key, on_reply, p->w);
    return answer(p->w);
}

static void stands(const struct world *w, struct history_record *out)
{
    const struct registry_entry *e = memory_find(w->store, HISTORY_KEY);
    struct err err;

    assert_non_null(e);
    assert_int_equal(registry_history_read(out, e->value, e->value_len, &err),
                     0);
}

/* What accept-restore does to the key. */
static void accept(struct world *w, struct process *by)
{
    struct history_record h;
    struct buf text;

    stands(w, &h);
    registry_history_after(&h, h.incarnation);
    memmove(h.after[0], h.incarnation, sizeof(h.after[0]));
    h.n_after = 1;
    registry_history_new_id(h.incarnation);
    h.generation++;
    h.fence_base += 1000;
    h.went_back.is = false;
    buf_init(&text, 4096);
    registry_history_write(&text, &h);
    assert_int_equal(put(by, HISTORY_KEY, buf_text(&text)), ERR_OK);
    buf_close(&text);
}

static enum registry_state last(const struct process *p)
{
    assert_true(p->n_told > 0);
    return p->told[p->n_told - 1];
}

/* --- tests --------------------------------------------------------------- */

static void the_first_makes_an_incarnation_and_all_take_it(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);
    struct history_record h;

    assert_int_equal(last(a), REGISTRY_CONNECTED);
    assert_int_equal(last(b), REGISTRY_CONNECTED);
    stands(w, &h);
    assert_string_equal(registry_place(a->r)->incarnation, h.incarnation);
    assert_string_equal(registry_place(b->r)->incarnation, h.incarnation);
    assert_null(registry_went_back(a->r));
}

/* Not even who accepts: what it said is not guessed. */
static void a_damaged_key_is_told_until_it_is_mended(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b;
    char whole[sizeof(w->value)];

    assert_int_equal(get(a, HISTORY_KEY), ERR_OK);
    assert_null(registry_key_trouble(a->r));
    memcpy(whole, w->value, sizeof(whole));
    assert_int_equal(put(a, HISTORY_KEY, "{"), ERR_OK);
    b = begin_at(w, NULL);
    registry_accepting(b->r);
    run(w, SOON);
    assert_int_equal(b->n_told, 0);
    assert_non_null(registry_key_trouble(b->r));
    assert_int_equal(registry_key_trouble(b->r)->code, ERR_INVALID);
    assert_non_null(strstr(registry_key_trouble(b->r)->msg, HISTORY_KEY));
    assert_int_equal(put(a, HISTORY_KEY, whole), ERR_OK);
    run(w, SOON);
    assert_int_equal(last(b), REGISTRY_CONNECTED);
    assert_null(registry_key_trouble(b->r));
}

static void a_store_put_back_is_left_by_all_until_accepted(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);
    struct memory_backup *backup;
    struct history_record h;
    size_t syncs;

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    run(w, TIMEOUT);
    backup = memory_backup(w->store);
    assert_int_equal(put(a, "/a/2", "x"), ERR_OK);
    assert_int_equal(put(b, "/a/3", "x"), ERR_OK);
    run(w, TIMEOUT);
    assert_int_equal(b->adds, 3);
    memory_restore(w->store, backup);
    run(w, SOON);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(last(&w->p[i]), REGISTRY_WENT_BACK);
        assert_int_equal(w->p[i].told[w->p[i].n_told - 2],
                         REGISTRY_DISCONNECTED);
        assert_non_null(registry_went_back(w->p[i].r));
        assert_int_equal(registry_session(w->p[i].r), 0);
        assert_int_equal(put(&w->p[i], "/a/4", "x"), ERR_WENT_BACK);
        assert_int_equal(get(&w->p[i], "/a/1"), ERR_WENT_BACK);
    }
    assert_int_equal(b->removes, 0); /* the old view stays */
    syncs = b->syncs;
    run(w, SOON);
    stands(w, &h);
    assert_true(h.went_back.is);
    assert_true(h.went_back.known.position > h.went_back.now.position);
    /* a person, whose process knows nothing, accepts it */
    {
        struct process *c = begin_at(w, NULL);

        registry_accepting(c->r);
        run(w, SOON);
        assert_int_equal(last(c), REGISTRY_CONNECTED);
        accept(w, c);
    }
    run(w, SOON);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(last(&w->p[i]), REGISTRY_CONNECTED);
        assert_null(registry_went_back(w->p[i].r));
    }
    assert_int_equal(b->removes, 2); /* what was lost */
    assert_true(b->syncs > syncs);
    assert_int_equal(put(a, "/a/5", "x"), ERR_OK);
    run(w, SOON);
    assert_int_equal(b->adds, 4);
    memory_backup_free(&backup);
}

static void who_was_not_looking_is_told_by_the_mark(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b, *c;
    struct memory_backup *backup = memory_backup(w->store);

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    memory_restore(w->store, backup);
    run(w, SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    kill_(a);
    b = begin(w);
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
    assert_int_equal(put(b, "/a/1", "x"), ERR_WENT_BACK);
    assert_string_equal(registry_went_back(b->r)->by, "h:1");
    c = begin_at(w, NULL);
    registry_accepting(c->r);
    run(w, SOON);
    accept(w, c);
    run(w, SOON);
    assert_int_equal(last(b), REGISTRY_CONNECTED); /* who knew no other */
    memory_backup_free(&backup);
}

static void who_remembers_from_an_earlier_life_knows(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b;
    struct memory_backup *backup = memory_backup(w->store);
    struct registry_place place;

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    place = *registry_place(a->r);
    kill_(a);
    memory_restore(w->store, backup);
    b = begin_at(w, &place);
    run(w, SOON);
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
    assert_int_equal(b->n_told, 1);
    memory_backup_free(&backup);
}

static void another_store_is_none_of_ours(void **state)
{
    struct world *w = *state;
    struct registry_place elsewhere = {.position = 1};
    struct process *a, *b;

    registry_history_new_id(elsewhere.incarnation);
    a = begin_at(w, &elsewhere); /* an empty one */
    run(w, SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    b = begin(w); /* who remembers nothing finds the mark */
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
}

static void evidence_is_enough(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);
    struct history_record h;

    registry_report_contradiction(a->r, NULL, "work w shows epoch %d", 7);
    run(w, SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    stands(w, &h);
    assert_true(h.went_back.is);
    assert_string_equal(h.went_back.why, "work w shows epoch 7");
    assert_int_equal(last(b), REGISTRY_WENT_BACK); /* its watch told it */
}

/* An agent watches nothing. */
static void who_does_not_watch_is_told_by_the_mark_too(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin_as(w, NULL, false);

    run(w, 20000);
    assert_int_equal(last(b), REGISTRY_CONNECTED);
    registry_report_contradiction(a->r, NULL, "work w shows epoch %d", 7);
    run(w, SOON);
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
    assert_string_equal(registry_went_back(b->r)->by, "h:1");
    assert_int_equal(b->n_told, 3);
}

static void delete_key(struct process *p)
{
    const struct registry_entry *e = memory_find(p->w->store, HISTORY_KEY);

    assert_non_null(e);
    registry_delete(p->r, HISTORY_KEY, e->version, on_reply, p->w);
    assert_int_equal(answer(p->w), ERR_OK);
}

/* Whoever finds none next would begin again at fencing numbers that were had,
 * if nobody who lives wrote it again. */
static void a_key_that_was_deleted_is_written_again_as_it_was(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);
    struct history_record was, is;

    kill_(b);
    accept(w, a);
    run(w, TIMEOUT + SOON);
    assert_int_equal(last(a), REGISTRY_CONNECTED);
    stands(w, &was);
    assert_true(was.fence_base > 0);
    for (int watches = 0; watches < 2; watches++) {
        struct process *c = begin_as(w, NULL, watches == 1);

        run(w, SOON);
        if (watches == 0)
            kill_(a);
        delete_key(c);
        run(w, 2 * SOON);
        assert_int_equal(last(c), REGISTRY_WENT_BACK);
        stands(w, &is);
        assert_true(is.went_back.is);
        assert_string_equal(is.incarnation, was.incarnation);
        assert_int_equal(is.generation, was.generation);
        assert_int_equal(is.n_after, was.n_after);
        assert_true(is.fence_base == was.fence_base);
        kill_(c);
        if (watches == 0) {
            struct process *d = begin_at(w, NULL);

            registry_accepting(d->r);
            run(w, SOON);
            accept(w, d);
            kill_(d);
            stands(w, &was);
        }
    }
}

/* Somebody who remembers nothing was faster. */
static void another_key_made_in_its_place_keeps_the_base(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b;
    struct history_record h;

    accept(w, a);
    run(w, TIMEOUT + SOON);
    b = begin_at(w, NULL);
    registry_accepting(b->r);
    run(w, SOON);
    assert_int_equal(put(b, HISTORY_KEY,
                         "{\"incarnation\":"
                         "\"00000000000000000000000000000009\"}"),
                     ERR_OK);
    run(w, SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    stands(w, &h);
    assert_true(h.went_back.is);
    assert_true(h.fence_base == 1000);
}

static void what_is_known_is_testified(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w);
    const struct registry_entry *e;

    registry_set_evidence(a->r, "{\"highest_epoch\":3}");
    run(w, SOON);
    assert_null(memory_find(w->store, HISTORY_SEEN_PREFIX "/h:1"));
    registry_report_contradiction(a->r, NULL, "a reason");
    run(w, 2 * SOON);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/h:1");
    assert_non_null(e);
    assert_string_equal(e->value, "{\"highest_epoch\":3}");
    registry_set_evidence(a->r, "{\"highest_epoch\":4}");
    run(w, 2 * SOON);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/h:1");
    assert_string_equal(e->value, "{\"highest_epoch\":4}");
}

static const char *testimony(const struct world *w, const char *key)
{
    const struct registry_entry *e = memory_find(w->store, key);

    return e != NULL ? e->value : "";
}

/* Whoever begins anew knows nothing of what it knew before. */
static void an_earlier_life_s_testimony_stands(void **state)
{
    struct world *w = *state;
    char key[64], said[32];

    for (unsigned life = 1; life <= 10; life++) {
        struct process *p = begin(w);

        w->n = 0; /* the same process again */
        if (life == 1)
            registry_report_contradiction(p->r, NULL, "a reason");
        (void)snprintf(said, sizeof(said), "{\"life\":%u}", life);
        registry_set_evidence(p->r, said);
        run(w, 2 * SOON);
        if (life == 2) {
            registry_set_evidence(p->r, "{\"life\":\"2 again\"}");
            run(w, 2 * SOON);
        }
        kill_(p);
        run(w, 2 * TIMEOUT);
    }
    assert_string_equal(testimony(w, HISTORY_SEEN_PREFIX "/h:1"),
                        "{\"life\":1}");
    assert_string_equal(testimony(w, HISTORY_SEEN_PREFIX "/h:1.2"),
                        "{\"life\":\"2 again\"}");
    for (unsigned life = 3; life <= 7; life++) {
        (void)snprintf(key, sizeof(key), HISTORY_SEEN_PREFIX "/h:1.%u", life);
        (void)snprintf(said, sizeof(said), "{\"life\":%u}", life);
        assert_string_equal(testimony(w, key), said);
    }
    assert_string_equal(testimony(w, HISTORY_SEEN_PREFIX "/h:1.8"),
                        "{\"life\":10}");
    assert_string_equal(testimony(w, HISTORY_SEEN_PREFIX "/h:1.9"), "");
}

/* Put back twice: what stood in the first is not in the second. */
static void each_store_is_testified_to(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w);
    struct memory_backup *backup = memory_backup(w->store);

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    registry_set_evidence(a->r, "{\"highest_epoch\":3}");
    for (int i = 0; i < 2; i++) {
        memory_restore(w->store, backup);
        run(w, TIMEOUT + 2 * SOON);
        assert_int_equal(last(a), REGISTRY_WENT_BACK);
        assert_string_equal(testimony(w, HISTORY_SEEN_PREFIX "/h:1"),
                            "{\"highest_epoch\":3}");
    }
    memory_backup_free(&backup);
}

static void on_granted(void *arg, enum err_code code)
{
    struct process *p = arg;

    p->granted += code == ERR_OK;
}

static void on_lost(void *arg)
{
    struct process *p = arg;

    p->lost++;
}

static void a_lock_is_lost_and_its_numbers_go_on_above(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *c;
    struct memory_backup *backup = memory_backup(w->store);
    struct registry_op op = {.type = REGISTRY_CHECK_LOCK};
    uint64_t fence;

    a->lock = registry_lock(a->r, LOCK, "h:1", -1, on_granted, on_lost, a);
    run(w, SOON);
    assert_int_equal(a->granted, 1);
    fence = registry_lock_fence(a->lock);
    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    memory_restore(w->store, backup);
    run(w, SOON);
    assert_int_equal(a->lost, 1);
    registry_unlock(&a->lock);
    c = begin_at(w, NULL);
    registry_accepting(c->r);
    run(w, SOON);
    accept(w, c);
    run(w, SOON);
    a->lock = registry_lock(a->r, LOCK, "h:1", -1, on_granted, on_lost, a);
    run(w, SOON);
    assert_int_equal(a->granted, 2);
    assert_true(registry_lock_fence(a->lock) > fence + 900);
    op.lock = a->lock; /* the store checks its own number */
    registry_txn(a->r, &op, 1, on_reply, w);
    assert_int_equal(answer(w), ERR_OK);
    memory_backup_free(&backup);
}

static void whoever_accepted_it_while_we_were_away_is_believed(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w), *c;
    struct memory_backup *backup = memory_backup(w->store);

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    run(w, TIMEOUT);
    memory_cut(a->r);
    memory_restore(w->store, backup);
    run(w, SOON);
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
    c = begin_at(w, NULL);
    registry_accepting(c->r);
    run(w, SOON);
    accept(w, c);
    run(w, 2 * TIMEOUT);
    memory_heal(a->r);
    run(w, 2 * TIMEOUT);
    assert_int_equal(last(a), REGISTRY_CONNECTED);
    assert_string_equal(registry_place(a->r)->incarnation,
                        registry_place(b->r)->incarnation);
    assert_int_equal(a->removes, 1);
    memory_backup_free(&backup);
}

static void the_right_store_put_back_is_taken_again(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);
    struct memory_backup *old = memory_backup(w->store), *right;

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    run(w, TIMEOUT);
    right = memory_backup(w->store);
    memory_restore(w->store, old);
    run(w, 2 * SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    memory_restore(w->store, right);
    run(w, 2 * TIMEOUT);
    assert_int_equal(last(a), REGISTRY_CONNECTED);
    assert_int_equal(last(b), REGISTRY_CONNECTED);
    assert_int_equal(b->adds, 1);
    assert_int_equal(b->removes, 0);
    memory_backup_free(&old);
    memory_backup_free(&right);
}

/* As etcd is by --bump-revision: its position says nothing then. */
static void a_store_that_was_lifted_is_not_the_right_one(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w);
    struct memory_backup *old = memory_backup(w->store);
    struct registry_place known;

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    run(w, TIMEOUT);
    memory_restore(w->store, old);
    run(w, 2 * SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    known = registry_went_back(a->r)->known;
    memory_restore(w->store, old); /* once more: and the mark is gone */
    memory_lift(w->store, known.position + (UINT64_C(1) << 30));
    run(w, 2 * TIMEOUT);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    memory_backup_free(&old);
}

/* The mark cannot be written: nothing is believed, and nobody is flooded. */
static void a_store_that_takes_no_mark_is_asked_now_and_then(void **state)
{
    struct world *w = *state;
    const struct memory_faults read_only = {.delay_max_ms = 2,
                                            .read_only = true};
    const struct memory_faults none = {0};
    struct process *a = begin(w);
    struct memory_backup *old = memory_backup(w->store);
    struct history_record h;

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    run(w, TIMEOUT);
    memory_restore(w->store, old);
    memory_set_faults(w->store, &read_only);
    run(w, SOON);
    assert_int_equal(last(a), REGISTRY_WENT_BACK);
    assert_true(memory_run(w->store, w->clock.mono + 10000) < 200);
    stands(w, &h);
    assert_false(h.went_back.is);
    memory_set_faults(w->store, &none);
    run(w, SOON);
    stands(w, &h);
    assert_true(h.went_back.is);
    memory_backup_free(&old);
}

/* Nothing but what was shown says it, and the store cannot be made to. */
static void evidence_outlives_a_process_that_could_not_mark(void **state)
{
    struct world *w = *state;
    const struct memory_faults read_only = {.delay_max_ms = 2,
                                            .read_only = true};
    struct process *a = begin(w), *b;
    struct history_record h;

    assert_null(registry_unmarked(a->r));
    memory_set_faults(w->store, &read_only);
    registry_report_contradiction(a->r, NULL, "work w shows epoch 7");
    run(w, SOON);
    assert_string_equal(registry_unmarked(a->r), "work w shows epoch 7");
    kill_(a);
    b = begin_at(w, NULL); /* as one that kept it does */
    registry_report_contradiction(b->r, NULL, "work w shows epoch 7");
    run(w, SOON);
    assert_int_equal(b->n_told, 1);
    assert_int_equal(last(b), REGISTRY_WENT_BACK);
    assert_int_equal(put(b, "/a/1", "x"), ERR_WENT_BACK);
    memory_set_faults(w->store, &(const struct memory_faults){0});
    run(w, SOON);
    stands(w, &h);
    assert_true(h.went_back.is);
    assert_string_equal(h.went_back.why, "work w shows epoch 7");
    assert_null(registry_unmarked(b->r));
}

/* It is put back once more while somebody is about to accept it: what was read
 * is worth nothing, and the next session begins from there. */
static void who_accepts_begins_anew_when_it_falls_again(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *c;
    struct memory_backup *old = memory_backup(w->store);

    assert_int_equal(put(a, "/a/1", "x"), ERR_OK);
    kill_(a);
    c = begin_at(w, NULL);
    registry_accepting(c->r);
    run(w, SOON);
    assert_int_equal(put(c, "/a/2", "x"), ERR_OK);
    memory_restore(w->store, old);
    run(w, 2 * TIMEOUT);
    assert_null(registry_went_back(c->r));
    assert_int_equal(last(c), REGISTRY_CONNECTED);
    assert_int_equal(c->n_told, 3); /* one session was lost between */
    assert_int_equal(put(c, "/a/3", "x"), ERR_OK);
    memory_backup_free(&old);
}

static void breaks_and_new_sessions_are_no_alarm(void **state)
{
    struct world *w = *state;
    struct process *a = begin(w), *b = begin(w);

    for (int i = 0; i < 20; i++) {
        memory_cut(a->r);
        run(w, i % 2 == 0 ? TIMEOUT / 8 : 2 * TIMEOUT);
        assert_int_equal(put(b, "/a/1", "x"), ERR_OK);
        memory_heal(a->r);
        memory_expire(b->r);
        run(w, 2 * TIMEOUT);
        assert_null(registry_went_back(a->r));
        assert_null(registry_went_back(b->r));
        assert_int_not_equal(registry_session(a->r), 0);
        a->n_told = b->n_told = 0;
    }
}

static void without_comparing_nothing_differs(void **state)
{
    struct world *w = *state;
    struct process *p = &w->p[w->n++];

    p->w = w;
    p->r = memory_open(w->store, TIMEOUT);
    p->listener = registry_listen(p->r, on_state, p);
    p->watch = registry_watch(p->r, "/a", on_event, p);
    run(w, SOON);
    assert_int_equal(last(p), REGISTRY_CONNECTED);
    assert_null(memory_find(w->store, HISTORY_KEY));
    assert_int_equal(memory_revision(w->store), 0);
}

/* --- the key ------------------------------------------------------------- */

static void the_record_is_read_as_it_was_written(void **state)
{
    struct history_record h = {.generation = 3, .fence_base = 1u << 31}, back;
    struct buf text;
    struct err err;

    (void)state;
    registry_history_new_id(h.incarnation);
    for (int i = 0; i < HISTORY_AFTER_MAX + 4; i++) {
        char id[HISTORY_ID_SIZE];

        registry_history_new_id(id);
        registry_history_after(&h, id);
        assert_true(registry_history_follows(&h, id));
    }
    assert_int_equal(h.n_after, HISTORY_AFTER_MAX);
    h.went_back.is = true;
    h.went_back.known = (struct registry_place){.line = 2, .position = 9};
    memcpy(h.went_back.by, "h:1", 4);
    h.accepted.is = true;
    h.accepted.epoch_floor = UINT64_C(1) << 60;
    buf_init(&text, 65536);
    registry_history_write(&text, &h);
    assert_int_equal(registry_history_read(&back, text.data, text.len, &err),
                     0);
    assert_memory_equal(&back, &h, sizeof(h));
    buf_close(&text);
    assert_int_equal(registry_history_read(&back, "{}", 2, &err), ERR_INVALID);
    assert_int_equal(registry_history_read(&back, "[]", 2, &err), ERR_INVALID);
}

static void a_place_is_read_as_it_was_written(void **state)
{
    static const char *const bad[] = {
        "", ":", "::", ":1:", ":1:2:3", ":1:-2", "abc:1:2", ":1:2 ", " :1:2"};
    struct registry_place p = {.line = 1, .position = UINT64_MAX}, back;
    char text[HISTORY_PLACE_SIZE];

    (void)state;
    assert_int_equal(
        registry_place_parse(registry_place_text(&p, text), &back, NULL), 0);
    assert_memory_equal(&p, &back, sizeof(p));
    registry_history_new_id(p.incarnation);
    assert_int_equal(
        registry_place_parse(registry_place_text(&p, text), &back, NULL), 0);
    assert_memory_equal(&p, &back, sizeof(p));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(registry_place_parse(bad[i], &back, NULL),
                         ERR_INVALID);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

/* A version that was given twice is another value. */
static void what_has_the_same_version_is_told_again(void **state)
{
    struct world *w = *state;
    struct process *p = begin(w);
    struct process *other = begin(w);
    struct memory_backup *backup;
    size_t before;

    assert_int_equal(put(p, "/a/x", "1"), ERR_OK);
    backup = memory_backup(w->store);
    assert_int_equal(put(p, "/a/x", "lost"), ERR_OK);
    run(w, SOON);
    memory_restore(w->store, backup);
    memory_backup_free(&backup);
    run(w, SOON);
    kill_(other);
    other = &w->p[w->n++];
    other->w = w;
    other->r = memory_open(w->store, TIMEOUT); /* it accepts */
    registry_compare(other->r, "ann", NULL, false);
    registry_accepting(other->r);
    run(w, SOON);
    assert_int_equal(put(other, "/a/x", "else"), ERR_OK);
    before = p->updates + p->adds;
    accept(w, other);
    run(w, 2 * TIMEOUT);
    assert_int_equal(last(p), REGISTRY_CONNECTED);
    assert_int_equal(p->updates + p->adds, before + 1);
}

/* --- what was on its way ------------------------------------------------- */

static void what_was_asked_before_is_not_believed_after(void **state)
{
    struct world *w = *state;
    struct process *p = begin(w);

    assert_int_equal(put(p, "/a/x", "1"), ERR_OK);
    registry_get(p->r, "/a/x", on_reply, w);
    registry_report_contradiction(p->r, NULL, "a client shows it");
    assert_int_equal(answer(w), ERR_WENT_BACK);
    assert_string_equal(w->value, "");
}

static void what_was_written_before_is_not_told_after(void **state)
{
    struct world *w = *state;
    struct process *p = begin(w);

    registry_put(p->r, "/a/x", "1", 1, REGISTRY_ANY, 0, false, on_reply, w);
    registry_report_contradiction(p->r, NULL, "a client shows it");
    assert_int_equal(answer(w), ERR_UNKNOWN);
    assert_non_null(memory_find(w->store, "/a/x"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_makes_an_incarnation_and_all_take_it),
        TEST(a_damaged_key_is_told_until_it_is_mended),
        TEST(a_store_put_back_is_left_by_all_until_accepted),
        TEST(who_was_not_looking_is_told_by_the_mark),
        TEST(who_remembers_from_an_earlier_life_knows),
        TEST(another_store_is_none_of_ours),
        TEST(evidence_is_enough),
        TEST(who_does_not_watch_is_told_by_the_mark_too),
        TEST(a_key_that_was_deleted_is_written_again_as_it_was),
        TEST(another_key_made_in_its_place_keeps_the_base),
        TEST(what_is_known_is_testified),
        TEST(an_earlier_life_s_testimony_stands),
        TEST(each_store_is_testified_to),
        TEST(a_lock_is_lost_and_its_numbers_go_on_above),
        TEST(whoever_accepted_it_while_we_were_away_is_believed),
        TEST(the_right_store_put_back_is_taken_again),
        TEST(a_store_that_was_lifted_is_not_the_right_one),
        TEST(a_store_that_takes_no_mark_is_asked_now_and_then),
        TEST(evidence_outlives_a_process_that_could_not_mark),
        TEST(who_accepts_begins_anew_when_it_falls_again),
        TEST(breaks_and_new_sessions_are_no_alarm),
        TEST(without_comparing_nothing_differs),
        TEST(what_has_the_same_version_is_told_again),
        TEST(what_was_asked_before_is_not_believed_after),
        TEST(what_was_written_before_is_not_told_after),
        cmocka_unit_test(the_record_is_read_as_it_was_written),
        cmocka_unit_test(a_place_is_read_as_it_was_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
