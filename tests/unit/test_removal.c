/*
 * test_removal.c - registrations of HTTP nodes that nobody renews: marked, the
 * rings read afresh, deleted; beside a coordinator that renews in groups, and
 * with whatever may come between. It finds the mistakes of PLANTED_IN_GROUPS.
 * Long: all that a removal goes by is made here, and each step is a test.
 */
#include "base/log.h"
#include "base/mem.h"
#include "cluster/renewals/taken.h"
#include "coordinator/removal/forget.h"
#include "coordinator/removal/removal.h"
#include "coordinator/renewals/writer.h"
#include "tests/lib/memory/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TTL   3000
#define TICK  50
#define PEERS "/pelorus/coordinators"
#define ENTRY PEERS "/127.0.0.1:7079"
#define MANY  600

/* One that removes, with all that it goes by. */
struct part {
    struct world *w;
    struct registry *registry;
    struct gates *gates;
    struct membership *m;
    struct rings *rings;
    struct registry_watch *watch;
    struct registry_listener *listener;
    struct raiser *raiser;
    struct removal *removal;
    struct forgetter *forgetter;
    unsigned rank, gaps;
    bool deaf; /* its watch of the rings is behind */
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct registry *hand;
    struct part parts[2];
    /* another one, that renews in groups */
    struct registry *other;
    struct ring_writer *writer;
    struct writer_put put;
    unsigned answers, lefts; /* 200s; not in a group any more */
    mono_ms renewed;         /* the last 200's */
    /* what was written */
    unsigned marks, raises, deletes;
    unsigned unmarked; /* deleted, and neither marked nor unreadable */
    unsigned unnamed;  /* deleted, and not named */
    unsigned robbed;   /* deleted while a 200 of it was in force */
};

static void no_log(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)arg, (void)level, (void)line, (void)n;
}

static void on_ok(void *arg, const struct registry_reply *reply)
{
    *(enum err_code *)arg = reply->err.code;
}

static char *key_of(unsigned i, char out[64])
{
    snprintf(out, 64, "/pelorus/nodes/worker/h:%u", 1000 + i);
    return out;
}

/* --- one that removes ---------------------------------------------------- */

static void on_event(void *arg, const struct membership_event *ev)
{
    struct part *p = arg;

    if (ev->type == MEMBERSHIP_TTL_OVER)
        removal_over(p->removal, ev, p->rank);
}

static bool on_renewal(void *arg, const struct rings_renewal *r)
{
    struct part *p = arg;

    return membership_renewed(p->m, r->renewal, r->seen);
}

static void on_gap(void *arg, uint64_t session, const char *why)
{
    struct part *p = arg;

    (void)session, (void)why;
    p->gaps++;
    membership_gap(p->m);
}

static void on_ring(void *arg, const struct registry_event *ev)
{
    struct part *p = arg;

    if (!p->deaf)
        rings_feed(p->rings, ev, p->w->clock.mono);
}

static void on_state(void *arg, enum registry_state state)
{
    struct part *p = arg;

    membership_connection(p->m, state);
}

static void part_start(struct world *w, unsigned i)
{
    struct part *p = &w->parts[i];
    struct membership_config of = {.clock = &w->clock,
                                   .grace_ms = 1000,
                                   .settle_ms = 500,
                                   .heartbeat_interval_ms = 1000,
                                   .session_timeout_ms = 6000,
                                   .answer_ms = 500};
    struct removal_config config = {.clock = &w->clock};

    *p = (struct part){.w = w, .rank = i};
    p->registry = config.registry = memory_open(w->store, 6000);
    p->gates = of.gates = gates_new(&w->clock, p->registry);
    p->m = config.membership = membership_new(&of, on_event, p);
    p->rings = rings_new(on_renewal, on_gap, p);
    p->raiser = config.raiser = raiser_new(&w->clock, p->registry);
    p->removal = removal_new(&config);
    p->forgetter = forgetter_new(&w->clock, p->registry, PEERS);
    removal_use_rings(p->removal, p->rings);
    forgetter_use_rings(p->forgetter, p->rings);
    p->watch = registry_watch(p->registry, WINDOW_PREFIX, on_ring, p);
    membership_watch(p->m, p->registry);
    p->listener = registry_listen(p->registry, on_state, p);
}

static void part_tick(struct part *p)
{
    if (p->registry == NULL)
        return;
    registry_prove(p->registry);
    membership_answered(p->m, registry_answered(p->registry));
    membership_tick(p->m);
    rings_tick(p->rings, p->w->clock.mono);
    removal_tick(p->removal);
    forgetter_tick(p->forgetter);
    raiser_tick(p->raiser);
}

static void closed(void *arg)
{
    ++*(int *)arg;
}

static void part_end(struct part *p, bool told)
{
    int n = 0;

    if (p->registry == NULL)
        return;
    removal_free(&p->removal, told);
    forgetter_free(&p->forgetter, told);
    raiser_free(&p->raiser, told);
    if (told) {
        registry_unlisten(&p->listener);
        registry_unwatch(&p->watch);
        membership_unwatch(p->m);
        gates_unwatch(p->gates);
        registry_close(&p->registry, closed, &n);
        while (n == 0)
            memory_run(p->w->store, p->w->clock.mono + 1);
    } else {
        memory_kill(&p->registry);
    }
    membership_free(&p->m);
    gates_free(&p->gates);
    rings_free(&p->rings);
    p->registry = NULL;
}

/* --- the world ----------------------------------------------------------- */

static void run(struct world *w, int64_t ms)
{
    for (mono_ms until = w->clock.mono + ms; w->clock.mono < until;) {
        mono_ms at = w->clock.mono - w->clock.mono % TICK + TICK;

        memory_run(w->store, at < until ? at : until);
        if (w->clock.mono % TICK != 0)
            continue;
        part_tick(&w->parts[0]);
        part_tick(&w->parts[1]);
        if (w->writer != NULL)
            writer_tick(w->writer);
    }
}

static void on_write(void *arg, uint64_t writer,
                     const struct registry_entry *before,
                     const struct registry_entry *after)
{
    struct world *w = arg;
    const char *key = after != NULL ? after->key : before->key;
    const struct registry_entry *e = memory_find(w->store, TAKEN_KEY);
    struct node_key names;
    struct taken t;

    (void)writer;
    w->raises += strcmp(key, TAKEN_KEY) == 0;
    if (!registry_key_below(key, "/pelorus/nodes"))
        return;
    w->marks += after != NULL && strstr(after->value, "doubted") != NULL;
    if (after != NULL)
        return;
    w->deletes++;
    w->unmarked +=
        strstr(before->value, "doubted") == NULL && before->value[0] == '{';
    w->robbed += w->answers > 0 && w->clock.mono - w->renewed < TTL;
    assert_int_equal(node_key_parse(key, &names, NULL), 0);
    w->unnamed += e == NULL ||
                  taken_read(&t, e->value, e->value_len, NULL) != 0 ||
                  !taken_names(&t, 0, names.kind, names.address);
}

static void put(struct world *w, const char *key, const char *value, size_t len)
{
    enum err_code code = ERR_CANCELLED;

    for (int i = 0; i < 100 && code != ERR_OK; i++) {
        registry_put(w->hand, key, value, len, REGISTRY_ANY, 0, false, on_ok,
                     &code);
        run(w, 10);
    }
    assert_int_equal(code, ERR_OK);
}

static void comes(struct world *w, unsigned i)
{
    char key[64], text[128];

    snprintf(text, sizeof(text),
             "{\"startupTime\":%u,\"processId\":1,\"ttl\":%d}", 100 + i, TTL);
    put(w, key_of(i, key), text, strlen(text));
}

static const struct registry_entry *look(struct world *w, unsigned i)
{
    char key[64];

    return memory_find(w->store, key_of(i, key));
}

static bool is_marked(struct world *w, unsigned i)
{
    return look(w, i) != NULL && strstr(look(w, i)->value, "doubted") != NULL;
}

static int setup(void **state)
{
    struct world *w = mem_zalloc(sizeof(*w));

    log_set_sink(no_log, NULL);
    w->clock.mono = 1000;
    w->store = memory_store_new(&w->clock, 5);
    memory_on_write(w->store, on_write, w);
    w->hand = memory_open(w->store, 60000);
    part_start(w, 0);
    run(w, 1000);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    int n = 0, all = 1;

    memory_set_faults(w->store, &(struct memory_faults){0});
    part_end(&w->parts[0], true);
    part_end(&w->parts[1], true);
    writer_free(&w->writer, true);
    if (w->other != NULL) {
        all++;
        registry_close(&w->other, closed, &n);
    }
    registry_close(&w->hand, closed, &n);
    while (n < all)
        memory_run(w->store, w->clock.mono + 1);
    memory_store_free(&w->store);
    log_set_sink(NULL, NULL);
    mem_free(w);
    return 0;
}

/* --- one that renews in groups ------------------------------------------- */

static void on_renewed(void *arg, const struct writer_reply *reply)
{
    struct world *w = arg;

    w->answers += reply->end == WRITER_COMMITTED;
    w->lefts += reply->end == WRITER_LEFT;
    if (reply->end == WRITER_COMMITTED)
        w->renewed = w->clock.mono;
}

/* It has verified the first one. */
static void groups_begin(struct world *w)
{
    static struct renewal_counts counts;
    struct writer_config config = {
        .clock = &w->clock, .entry_key = ENTRY, .counts = &counts};
    enum err_code code = ERR_CANCELLED;
    struct taken t;
    struct buf b;

    taken_init(&t);
    t.grouped = true;
    buf_init(&b, TAKEN_BYTES_MAX);
    taken_write(&b, &t);
    put(w, TAKEN_KEY, b.data, b.len);
    buf_close(&b);
    w->raises = 0;
    w->other = config.registry = memory_open(w->store, 60000);
    run(w, 100);
    registry_put(w->other, ENTRY, "{}", 2, REGISTRY_ANY, 0, true, on_ok, &code);
    run(w, 100);
    assert_int_equal(code, ERR_OK);
    w->writer = writer_new(&config);
    run(w, 100);
    w->put = (struct writer_put){
        .renewal = {.created = look(w, 1)->created, .generation = 1},
        .kind = NODE_WORKER,
        .address = "h:1001",
        .watched_ms = TTL,
        .done = on_renewed,
        .arg = w};
    assert_true(writer_named(w->writer, &w->put.since));
}

static void renew(struct world *w)
{
    w->put.expires = w->clock.mono + TTL;
    if (!writer_add(w->writer, &w->put))
        w->lefts++;
}

/* --- the steps ----------------------------------------------------------- */

static void who_is_not_heard_of_is_marked_and_goes(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    run(w, TTL - 200);
    assert_int_equal(w->marks, 0);
    run(w, 500);
    assert_null(look(w, 1));
    assert_int_equal(w->marks, 1);
    assert_int_equal(w->raises, 1);
    assert_int_equal(w->unmarked + w->unnamed, 0);
    assert_false(removal_busy(w->parts[0].removal));
}

static void who_is_renewed_in_a_group_stays(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    for (int i = 0; i < 12; i++) {
        renew(w);
        run(w, 1000);
    }
    assert_int_equal(w->answers, 12);
    assert_non_null(look(w, 1));
    assert_int_equal(w->marks, 0);
    run(w, TTL + 500);
    assert_null(look(w, 1));
    assert_int_equal(w->robbed, 0);
}

/* The watch of the rings has not told of it: the fresh read does. */
static void what_the_watch_has_not_told_is_read(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    w->parts[0].deaf = true;
    for (int i = 0; i < 4; i++) {
        renew(w);
        run(w, 600);
    }
    run(w, 1200); /* over for whoever hears nothing */
    assert_int_equal(w->answers, 4);
    assert_int_equal(w->robbed, 0);
    assert_true(is_marked(w, 1));
    run(w, TTL + 500); /* it began again then; and needs no other mark */
    assert_null(look(w, 1));
    assert_int_equal(w->marks, 1);
    assert_int_equal(w->robbed, 0);
}

/* Its next write lies before the registry. */
static void hold_up(struct world *w)
{
    struct part *p = &w->parts[0];

    memory_hold_up(p->registry, true);
    for (int i = 0; i < 2000 && memory_held_up(p->registry) == 0; i += TICK)
        run(w, TICK);
    assert_int_equal(memory_held_up(p->registry), 1);
}

/* That one is applied, the next one lies there. */
static void let_one_through(struct world *w)
{
    memory_let_through(w->parts[0].registry);
    run(w, 100);
}

static void go_on(struct world *w)
{
    struct part *p = &w->parts[0];

    memory_hold_up(p->registry, false);
    while (memory_held_up(p->registry) > 0)
        memory_let_through(p->registry);
    run(w, 200);
}

/* Between mark and delete nobody renews it in a group. */
static void who_is_marked_is_renewed_by_a_write_of_its_own_only(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    run(w, TTL - 800);
    hold_up(w);
    let_one_through(w);
    assert_int_equal(w->deletes, 0);
    assert_int_equal(memory_held_up(w->parts[0].registry), 1); /* the delete */
    renew(w);
    run(w, 500);
    assert_int_equal(w->answers, 0);
    assert_int_equal(w->lefts, 1);
    go_on(w);
    assert_null(look(w, 1));
    assert_int_equal(w->robbed, 0);
}

static void who_is_renewed_before_the_mark_stays(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    run(w, TTL - 800);
    hold_up(w); /* the mark */
    w->parts[0].deaf = true;
    renew(w);
    run(w, 200);
    assert_int_equal(w->answers, 1);
    go_on(w);
    assert_true(is_marked(w, 1));
    assert_int_equal(w->deletes, 0);
    run(w, TTL + 500);
    assert_null(look(w, 1));
    assert_int_equal(w->robbed, 0);
}

static void a_write_of_its_own_after_the_mark_keeps_it(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    run(w, TTL - 800);
    hold_up(w);
    let_one_through(w);
    assert_true(is_marked(w, 1));
    comes(w, 1);
    go_on(w);
    run(w, TTL - 800);
    assert_non_null(look(w, 1));
    assert_int_equal(w->deletes, 0);
    run(w, 1200);
    assert_null(look(w, 1));
    assert_int_equal(w->marks, 2);
}

/* For whatever reason: here it was not sure of what it knows. */
static void a_window_that_begins_again_ends_it(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    run(w, TTL - 800);
    hold_up(w); /* the mark */
    membership_gap(w->parts[0].m);
    go_on(w);
    run(w, TTL - 400);
    assert_true(is_marked(w, 1));
    run(w, 800);
    assert_null(look(w, 1));
    assert_int_equal(w->marks, 1);
}

static void while_nobody_reads_the_rings_nothing_goes(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    removal_use_rings(w->parts[0].removal, NULL);
    renew(w);
    run(w, TTL + 2000);
    assert_int_equal(w->answers, 1);
    assert_true(is_marked(w, 1));
    removal_use_rings(w->parts[0].removal, w->parts[0].rings);
    run(w, 1000);
    assert_null(look(w, 1));
}

static void without_any_ring_nobody_need_read_them(void **state)
{
    struct world *w = *state;

    removal_use_rings(w->parts[0].removal, NULL);
    comes(w, 1);
    run(w, TTL + 500);
    assert_null(look(w, 1));
}

static void what_nobody_can_read_is_named_and_goes(void **state)
{
    struct world *w = *state;
    char key[64];

    put(w, key_of(1, key), "?", 1);
    run(w, 6000 + 500); /* a session's timeout */
    assert_null(look(w, 1));
    assert_int_equal(w->marks, 0);
    assert_int_equal(w->raises, 1);
    assert_int_equal(w->unnamed, 0);
}

/* There is no room for a mark. */
static void what_is_as_long_as_a_value_may_be_is_named_and_goes(void **state)
{
    struct world *w = *state;
    char key[64], *text = mem_alloc(REGISTRY_VALUE_MAX + 1);
    int n = snprintf(text, 128,
                     "{\"startupTime\":101,\"processId\":1,\"ttl\":%d", TTL);

    memset(text + n, ' ', REGISTRY_VALUE_MAX - (size_t)n);
    text[REGISTRY_VALUE_MAX - 1] = '}';
    put(w, key_of(1, key), text, REGISTRY_VALUE_MAX);
    mem_free(text);
    run(w, 6000 + 500);
    assert_null(look(w, 1));
    assert_int_equal(w->raises, 1);
    assert_int_equal(w->unnamed, 0);
}

/* --- several ------------------------------------------------------------- */

static void many_come(struct world *w, unsigned many)
{
    char key[64], text[128];

    for (unsigned i = 0; i < many; i++) {
        static enum err_code code;

        snprintf(text, sizeof(text),
                 "{\"startupTime\":%u,\"processId\":1,\"ttl\":%d}", 100 + i,
                 TTL);
        registry_put(w->hand, key_of(i, key), text, strlen(text), REGISTRY_ANY,
                     0, false, on_ok, &code);
    }
}

/* More of them than a txn takes are not over any more when they are to go. */
static void many_that_live_after_all_end_no_pass_but_theirs(void **state)
{
    struct world *w = *state;

    many_come(w, REMOVAL_PASS_MAX);
    run(w, TTL - 200);
    hold_up(w); /* the marks */
    membership_gap(w->parts[0].m);
    go_on(w);
    run(w, 1500);
    assert_int_equal(w->deletes, 0);
    run(w, TTL + 3000);
    assert_int_equal(w->deletes, REMOVAL_PASS_MAX);
}

static void many_go_together(void **state)
{
    struct world *w = *state;

    many_come(w, MANY);
    run(w, TTL + 2000);
    assert_int_equal(w->deletes, MANY);
    assert_int_equal(w->marks, MANY);
    assert_true(w->raises <= MANY / 100);
    assert_int_equal(w->unmarked, 0);
}

static void of_two_one_does_it(void **state)
{
    struct world *w = *state;

    part_start(w, 1);
    run(w, 1000);
    for (unsigned i = 0; i < 20; i++)
        comes(w, i);
    run(w, TTL + 2000);
    assert_int_equal(w->deletes, 20);
    assert_int_equal(w->marks, 20);
}

static void the_second_does_it_where_the_first_is_gone(void **state)
{
    struct world *w = *state;

    part_start(w, 1);
    run(w, 1000);
    comes(w, 1);
    run(w, 1000);
    part_end(&w->parts[0], false);
    run(w, TTL - 1000 + REMOVAL_RANK_MS + 300);
    assert_null(look(w, 1));
}

/* --- what may come between ----------------------------------------------- */

/* Killed at any time: the next one goes on from what stands, and what was
 * marked is not marked again. */
static void whoever_is_killed_between_leaves_it_to_the_next(void **state)
{
    struct world *w = *state;
    unsigned found[3] = {0}; /* gone, marked, neither */

    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 8});
    for (unsigned i = 0; i < 60; i++) {
        mono_ms began;

        if (w->parts[0].registry == NULL)
            part_start(w, 0);
        if (w->parts[1].registry == NULL)
            part_start(w, 1);
        run(w, 2000);
        comes(w, i);
        w->marks = w->deletes = 0;
        began = w->clock.mono;
        run(w, TTL - 100);
        for (unsigned n = 0; n < 2 * i; n++) {
            memory_run(w->store, w->clock.mono + 2);
            if (w->clock.mono % TICK == 0)
                part_tick(&w->parts[0]);
        }
        found[look(w, i) == NULL ? 0 : is_marked(w, i) ? 1 : 2]++;
        part_end(&w->parts[0], false);
        run(w, began + TTL + REMOVAL_RANK_MS + 1500 - w->clock.mono);
        assert_null(look(w, i));
        assert_true(w->marks <= 2);
        assert_int_equal(w->deletes, 1);
        assert_int_equal(w->unmarked + w->unnamed, 0);
    }
    assert_true(found[0] > 0 && found[1] > 0 && found[2] > 0);
}

static void nothing_is_lost_by_answers_that_get_lost(void **state)
{
    struct world *w = *state;

    part_start(w, 1);
    run(w, 1000);
    memory_set_faults(w->store,
                      &(struct memory_faults){.delay_max_ms = 10,
                                              .unknown_share = 0.3,
                                              .unavailable_share = 0.1,
                                              .event_late_share = 0.3});
    for (unsigned i = 0; i < 60; i++)
        comes(w, i);
    run(w, TTL + 15000);
    for (unsigned i = 0; i < 60; i++)
        assert_null(look(w, i));
    assert_int_equal(w->unmarked + w->unnamed, 0);
}

/* A group that renews through all of that, on a registry that loses answers:
 * whatever has its 200 stands. */
static void nobody_is_robbed_of_a_renewal(void **state)
{
    struct world *w = *state;
    unsigned rounds = 0;

    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 10});
    comes(w, 1);
    groups_begin(w);
    w->parts[0].deaf = true;
    for (unsigned i = 0; i < 200; i++) {
        run(w, 37 * (i % 97) + 1);
        if (look(w, 1) == NULL) { /* another life, which it verifies */
            comes(w, 1);
            w->put.renewal.created = look(w, 1)->created;
            rounds++;
        } else if (is_marked(w, 1)) {
            comes(w, 1);
        }
        run(w, 300);
        assert_true(writer_named(w->writer, &w->put.since));
        if (look(w, 1) == NULL || is_marked(w, 1))
            continue;
        run(w, i % 7);
        renew(w);
        run(w, 250);
        assert_int_equal(w->robbed, 0);
    }
    assert_true(rounds > 3);
    assert_true(w->answers > 50);
}

static void who_waits_at_the_end_is_let_go(void **state)
{
    struct world *w = *state;

    for (unsigned i = 0; i < 5; i++)
        comes(w, i);
    memory_set_faults(w->store, &(struct memory_faults){.delay_max_ms = 40});
    for (unsigned i = 0; i < 40; i++) {
        run(w, TTL - 100 + 7 * i);
        part_end(&w->parts[0], i % 2 == 0);
        part_start(w, 0);
    }
}

/* --- what is forgotten ---------------------------------------------------- */

static void count(void *arg, const struct registry_entry *entry)
{
    (void)entry;
    ++*(unsigned *)arg;
}

static unsigned slots(struct world *w)
{
    unsigned n = 0;

    memory_each(w->store, WINDOW_PREFIX, count, &n);
    return n;
}

/* So many windows, and whoever wrote them is gone. */
static void a_ring_ends(struct world *w, unsigned windows, int64_t watched)
{
    int n = 0;

    w->put.watched_ms = watched;
    for (unsigned i = 0; i < windows; i++) {
        renew(w);
        run(w, 250);
    }
    assert_int_equal(slots(w), windows < WINDOW_SLOTS ? windows : WINDOW_SLOTS);
    writer_free(&w->writer, true);
    registry_close(&w->other, closed, &n);
    run(w, 1000);
    assert_int_equal(n, 1);
    w->other = NULL;
}

static void a_ring_whose_coordinator_lives_stays(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    renew(w);
    run(w, 10 * FORGETTER_AFTER_MS);
    assert_int_equal(slots(w), 1);
    assert_int_equal(w->parts[0].gaps, 0);
}

static void a_dead_ring_is_forgotten_and_nobody_takes_it_for_a_gap(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    a_ring_ends(w, 70, TTL);
    run(w, 17000);
    part_start(w, 1); /* it looks at other times */
    run(w, FORGETTER_AFTER_MS - 17000);
    assert_int_equal(slots(w), WINDOW_SLOTS);
    run(w, TTL + 2 * FORGETTER_EVERY_MS);
    assert_int_equal(slots(w), 0);
    assert_int_equal(w->parts[0].gaps + w->parts[1].gaps, 0);
    comes(w, 2); /* and all goes on */
    run(w, TTL + 1000);
    assert_null(look(w, 2));
}

static void
it_is_not_forgotten_while_a_lease_from_it_may_be_in_force(void **state)
{
    struct world *w = *state;

    comes(w, 1);
    groups_begin(w);
    a_ring_ends(w, 3, 600000);
    run(w, 600000 + FORGETTER_AFTER_MS - 1000);
    assert_int_equal(slots(w), 3);
    run(w, 2 * FORGETTER_EVERY_MS);
    assert_int_equal(slots(w), 0);
}

/* What is asked is answered late, or not at all. */
static void it_is_forgotten_through_faults_as_well(void **state)
{
    struct world *w = *state;

    part_start(w, 1);
    comes(w, 1);
    groups_begin(w);
    a_ring_ends(w, 5, TTL);
    memory_set_faults(w->store,
                      &(struct memory_faults){.delay_max_ms = 30,
                                              .unknown_share = 0.3,
                                              .unavailable_share = 0.2});
    run(w, FORGETTER_AFTER_MS + 10 * FORGETTER_EVERY_MS);
    assert_int_equal(slots(w), 0);
}

/* On ZooKeeper the ring's directory stays. */
static void an_empty_directory_goes(void **state)
{
    struct world *w = *state;

    put(w, WINDOW_PREFIX "/abc", "-", 1); /* of a look that did not end */
    assert_int_equal(slots(w), 1);
    run(w, 2 * FORGETTER_EVERY_MS);
    assert_int_equal(slots(w), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(who_is_not_heard_of_is_marked_and_goes),
        TEST(who_is_renewed_in_a_group_stays),
        TEST(what_the_watch_has_not_told_is_read),
        TEST(who_is_marked_is_renewed_by_a_write_of_its_own_only),
        TEST(who_is_renewed_before_the_mark_stays),
        TEST(a_write_of_its_own_after_the_mark_keeps_it),
        TEST(a_window_that_begins_again_ends_it),
        TEST(while_nobody_reads_the_rings_nothing_goes),
        TEST(without_any_ring_nobody_need_read_them),
        TEST(what_nobody_can_read_is_named_and_goes),
        TEST(what_is_as_long_as_a_value_may_be_is_named_and_goes),
        TEST(many_go_together),
        TEST(many_that_live_after_all_end_no_pass_but_theirs),
        TEST(of_two_one_does_it),
        TEST(the_second_does_it_where_the_first_is_gone),
        TEST(whoever_is_killed_between_leaves_it_to_the_next),
        TEST(nothing_is_lost_by_answers_that_get_lost),
        TEST(nobody_is_robbed_of_a_renewal),
        TEST(who_waits_at_the_end_is_let_go),
        TEST(a_ring_whose_coordinator_lives_stays),
        TEST(a_dead_ring_is_forgotten_and_nobody_takes_it_for_a_gap),
        TEST(it_is_not_forgotten_while_a_lease_from_it_may_be_in_force),
        TEST(it_is_forgotten_through_faults_as_well),
        TEST(an_empty_directory_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
