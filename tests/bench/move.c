/*
 * move.c - the registry's half of the move benchmarks. It does what the
 * engine's round does and nothing else: a page of markers, a window of reads
 * of their records, batches as large as the backend takes, several in flight;
 * then the next page. What the engine thinks meanwhile is left out.
 */
#include "tests/bench/move.h"

#include "base/clock.h"
#include "base/loop.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the engine reckons for an operation besides its value. */
#define OP_BYTES (64 + REGISTRY_KEY_MAX)
/* How old a watched value may be, as the coordinator wants it. */
#define FRESH_MS 60000

struct run;

/* A record that is being read. */
struct read {
    struct run *run;
    struct move_item *item;
};

struct run {
    struct loop *loop;
    struct registry *registry;
    struct registry_lock *lock;
    struct move_item *items;
    size_t n_items;
    uint64_t gates[MOVE_TARGETS + 1]; /* their versions */
    size_t n_gates;                   /* read */
    size_t batch;
    /* the page: items[from .. from + listed) */
    size_t from, listed;
    size_t asked, read; /* of its records */
    struct read reads[MOVE_PAGE];
    char *next; /* where the next page begins */
    size_t sent, answered;
    size_t events, synced;
    bool connected, granted, page_done, closed;
};

static void die(const char *what)
{
    (void)fprintf(stderr, "move: %s\n", what);
    exit(1);
}

static void must(const struct registry_reply *reply, const char *what)
{
    if (reply->err.code != ERR_OK) {
        (void)fprintf(stderr, "%s: %s: ", what, err_name(reply->err.code));
        die(reply->err.msg);
    }
}

static void turn(struct run *run)
{
    loop_turn(run->loop, 1000);
}

static void wait_for(struct run *run, const bool *flag)
{
    while (!*flag)
        turn(run);
}

/* --- batches ------------------------------------------------------------- */

static void on_batch(void *arg, const struct registry_reply *reply)
{
    struct run *run = arg;

    must(reply, "txn");
    run->answered++;
}

static void put(struct registry_op *op, const char *key, const char *value,
                uint64_t version)
{
    *op = (struct registry_op){.type = REGISTRY_PUT,
                               .expect = version == 0 ? REGISTRY_ABSENT
                                                      : REGISTRY_VERSION,
                               .key = key,
                               .value = value,
                               .value_len = strlen(value),
                               .version = version};
}

static void send_create(struct run *run, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(2 * n, sizeof(*ops));
    struct move_values *values = mem_array(n, sizeof(*values));

    for (size_t i = 0; i < n; i++) {
        const struct move_item *item = &run->items[from + i];

        move_before(from + i, &values[i]);
        put(&ops[2 * i], item->record, values[i].record, 0);
        put(&ops[2 * i + 1], item->old_marker, values[i].marker, 0);
    }
    registry_txn(run->registry, ops, 2 * n, on_batch, run);
    mem_free(ops);
    mem_free(values);
}

static void send_move(struct run *run, size_t from, size_t n)
{
    struct registry_op *ops = mem_array(3 * n + MOVE_CHECKS, sizeof(*ops));
    struct move_values *values = mem_array(n, sizeof(*values));
    char gates[MOVE_TARGETS][MOVE_KEY_SIZE];
    struct registry_op *op = ops;

    *op++ =
        (struct registry_op){.type = REGISTRY_CHECK_LOCK, .lock = run->lock};
    for (int t = 1; t <= MOVE_TARGETS; t++) {
        *op++ = (struct registry_op){.type = REGISTRY_CHECK,
                                     .expect = REGISTRY_VERSION,
                                     .key = move_gate(t, gates[t - 1]),
                                     .version = run->gates[t]};
    }
    for (size_t i = 0; i < n; i++) {
        const struct move_item *item = &run->items[from + i];

        move_after(from + i, &values[i]);
        put(op++, item->record, values[i].record, item->record_version);
        *op++ = (struct registry_op){.type = REGISTRY_DELETE,
                                     .expect = REGISTRY_VERSION,
                                     .key = item->old_marker,
                                     .version = item->marker_version};
        put(op++, item->new_marker, values[i].marker, 0);
    }
    registry_txn(run->registry, ops, (size_t)(op - ops), on_batch, run);
    mem_free(ops);
    mem_free(values);
}

static void in_batches(struct run *run, size_t from, size_t n,
                       void (*send)(struct run *, size_t, size_t))
{
    size_t end = from + n;

    while (from < end || run->answered < run->sent) {
        while (from < end && run->sent - run->answered < MOVE_BATCHES) {
            size_t part = end - from < run->batch ? end - from : run->batch;

            run->sent++;
            send(run, from, part);
            from += part;
        }
        turn(run);
    }
}

/* As the engine fills a batch: to the backend's operations or bytes. */
static size_t batch_size(const struct registry *r)
{
    struct move_values values;
    size_t ops = (registry_max_ops(r) - MOVE_CHECKS) / 3;
    size_t bytes;

    move_after(MOVE_ITEMS_MAX - 1, &values);
    bytes = (registry_max_bytes(r) - MOVE_CHECKS * OP_BYTES) /
            (strlen(values.record) + strlen(values.marker) + 4 * OP_BYTES);
    return ops < bytes ? ops : bytes;
}

/* --- reading ------------------------------------------------------------- */

static void read_more(struct run *run);

static void on_record(void *arg, const struct registry_reply *reply)
{
    struct read *read = arg;
    struct run *run = read->run;

    must(reply, "get");
    read->item->record_version = reply->entries[0].version;
    run->read++;
    read_more(run);
}

static void read_more(struct run *run)
{
    while (run->asked < run->listed && run->asked - run->read < MOVE_READS) {
        struct read *read = &run->reads[run->asked];

        read->run = run;
        read->item = &run->items[run->from + run->asked++];
        registry_get(run->registry, read->item->record, on_record, read);
    }
    run->page_done = run->read == run->listed;
}

static void on_page(void *arg, const struct registry_reply *reply)
{
    struct run *run = arg;

    must(reply, "list");
    mem_free(run->next);
    run->next = mem_strdup(reply->next);
    run->listed = reply->n_entries;
    run->asked = run->read = 0;
    if (run->from + run->listed > run->n_items)
        die("more markers were listed than there are");
    for (size_t i = 0; i < run->listed; i++) {
        struct move_item *item = &run->items[run->from + i];

        if (strcmp(reply->entries[i].key, item->old_marker) != 0)
            die("a marker is missing from the list");
        item->marker_version = reply->entries[i].version;
    }
    read_more(run);
}

static void move_all(struct run *run, struct move_result *result)
{
    char prefix[MOVE_KEY_SIZE];
    uint64_t start = clock_mono_ns();

    result->cpu_ms = -move_cpu_ms();
    do {
        uint64_t page = clock_mono_ns();

        run->page_done = false;
        registry_list(run->registry, move_owned(0, prefix), run->next,
                      MOVE_PAGE, on_page, run);
        wait_for(run, &run->page_done);
        result->read_ms += move_ms_since(page);
        in_batches(run, run->from, run->listed, send_move);
        run->from += run->listed;
    } while (run->next != NULL);
    result->all_ms = move_ms_since(start);
    result->move_ms = result->all_ms - result->read_ms;
    result->cpu_ms += move_cpu_ms();
    if (run->from != run->n_items)
        die("not all items were listed");
}

/* --- before and after ---------------------------------------------------- */

static void on_state(void *arg, enum registry_state state)
{
    ((struct run *)arg)->connected = state == REGISTRY_CONNECTED;
}

static void on_granted(void *arg, enum err_code code)
{
    if (code != ERR_OK)
        die("no lock");
    ((struct run *)arg)->granted = true;
}

static void on_lost(void *arg)
{
    (void)arg;
    die("the lock was lost");
}

static void on_closed(void *arg)
{
    ((struct run *)arg)->closed = true;
}

static void on_event(void *arg, const struct registry_event *event)
{
    struct run *run = arg;

    run->events += event->type != REGISTRY_SYNCED;
    run->synced += event->type == REGISTRY_SYNCED;
}

static void on_gate(void *arg, const struct registry_reply *reply)
{
    struct run *run = arg;

    must(reply, "get");
    run->gates[++run->n_gates] = reply->entries[0].version;
}

static void fill(struct run *run)
{
    char key[MOVE_KEY_SIZE];

    for (int t = 1; t <= MOVE_TARGETS; t++) {
        run->sent++;
        registry_put(run->registry, move_gate(t, key), MOVE_GATE,
                     strlen(MOVE_GATE), REGISTRY_ABSENT, 0, false, on_batch,
                     run);
        while (run->answered < run->sent)
            turn(run);
        registry_get(run->registry, key, on_gate, run);
        while (run->n_gates < (size_t)t)
            turn(run);
    }
    in_batches(run, 0, run->n_items, send_create);
}

static void watch(struct run *run, struct registry_watch *watches[2])
{
    static const char *const prefixes[2] = {MOVE_WORK, MOVE_OWNED};

    for (size_t i = 0; i < 2; i++) {
        watches[i] = registry_watch(run->registry, prefixes[i], on_event, run);
        registry_watch_freshness(watches[i], FRESH_MS);
    }
    while (run->synced < 2)
        turn(run);
}

void move_through_registry(const struct conf_registry *conf,
                           struct move_item *items, size_t n, bool watched,
                           struct move_result *result)
{
    struct run *run = mem_zalloc(sizeof(*run));
    struct registry_watch *watches[2] = {NULL, NULL};
    struct registry_listener *listener;
    struct err err;

    *result = (struct move_result){0};
    run->items = items;
    run->n_items = n;
    if (loop_new(&run->loop, 64, &err) != 0 ||
        registry_open(&run->registry, run->loop, conf, &err) != 0)
        die(err.msg);
    listener = registry_listen(run->registry, on_state, run);
    wait_for(run, &run->connected);
    result->batch = run->batch = batch_size(run->registry);
    fill(run);
    run->lock = registry_lock(run->registry, MOVE_LOCK, "bench", -1, on_granted,
                              on_lost, run);
    wait_for(run, &run->granted);
    if (watched)
        watch(run, watches);
    run->events = 0;
    result->txns = run->sent;
    move_all(run, result);
    result->txns = run->sent - result->txns;
    result->events = run->events;
    for (size_t i = 0; i < 2; i++)
        registry_unwatch(&watches[i]);
    registry_unlock(&run->lock);
    registry_unlisten(&listener);
    registry_close(&run->registry, on_closed, run);
    wait_for(run, &run->closed);
    loop_free(&run->loop);
    mem_free(run->next);
    mem_free(run);
}
