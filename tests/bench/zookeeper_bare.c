/*
 * zookeeper_bare.c - see zookeeper_bare.h. One state per phase: requests are
 * sent until `window` are under way, every completion sends the next one, the
 * last one wakes the main thread. Completions and the first window run on
 * different threads, so all of it is under one mutex.
 */
#ifndef THREADED
#define THREADED 1
#endif
#include "tests/bench/zookeeper_bare.h"

#include "base/clock.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zookeeper/zookeeper.h>

#define SESSION_MS 30000
#define CLEAR_OPS  1000

struct raw {
    zhandle_t *zh;
    struct move_item *items;
    size_t n;
    size_t *order; /* as the server lists the markers */
    size_t batch;
    char lock[MOVE_KEY_SIZE]; /* our node of the lock */
    int gates[MOVE_TARGETS + 1];

    pthread_mutex_t mutex;
    pthread_cond_t finished;
    /* the phase: `send` the part that begins at index, tell how long it is */
    size_t (*send)(struct raw *, size_t);
    size_t window, next, end, under_way;
    size_t requests;
};

/* One request under way. */
struct call {
    struct raw *raw;
    uint64_t *version; /* where a read puts it */
    zoo_op_result_t *results;
    size_t n_ops;
};

static void die(const char *what, int rc)
{
    (void)fprintf(stderr, "zookeeper_bare: %s: %s\n", what, zkmt.zerror(rc));
    exit(1);
}

/* --- a phase ------------------------------------------------------------- */

/* Under the mutex. Reads are sent again when half the window is answered: many
 * requests a wake-up of the library's thread are quicker than one. */
static void pump(struct raw *raw)
{
    if (raw->window > MOVE_BATCHES && raw->under_way > raw->window / 2)
        return;
    while (raw->next < raw->end && raw->under_way < raw->window) {
        raw->under_way++;
        raw->requests++;
        raw->next += raw->send(raw, raw->next);
    }
    if (raw->under_way == 0)
        (void)pthread_cond_signal(&raw->finished);
}

static void run_phase(struct raw *raw, size_t (*send)(struct raw *, size_t),
                      size_t end, size_t window)
{
    (void)pthread_mutex_lock(&raw->mutex);
    raw->send = send;
    raw->next = 0;
    raw->end = end;
    raw->window = window;
    raw->requests = 0;
    pump(raw);
    while (raw->next < raw->end || raw->under_way > 0)
        (void)pthread_cond_wait(&raw->finished, &raw->mutex);
    (void)pthread_mutex_unlock(&raw->mutex);
}

static void completed(struct raw *raw)
{
    (void)pthread_mutex_lock(&raw->mutex);
    raw->under_way--;
    pump(raw);
    (void)pthread_mutex_unlock(&raw->mutex);
}

static struct call *registry_calls_new(struct raw *raw, size_t n_ops)
{
    struct call *call = mem_zalloc(sizeof(*call));

    call->raw = raw;
    call->n_ops = n_ops;
    call->results =
        n_ops == 0 ? NULL : mem_zalloc(n_ops * sizeof(call->results[0]));
    return call;
}

/* --- reading ------------------------------------------------------------- */

static void on_value(int rc, const char *value, int len,
                     const struct Stat *stat, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    struct raw *raw = call->raw;

    (void)value;
    if (rc != ZOK || len <= 0)
        die("get", rc);
    *call->version = (uint64_t)stat->version;
    mem_free(call);
    completed(raw);
}

static size_t read_one(struct raw *raw, const char *key, uint64_t *version)
{
    struct call *call = registry_calls_new(raw, 0);
    int rc;

    call->version = version;
    rc = zkmt.zoo_aget(raw->zh, key, 0, on_value, call);
    if (rc != ZOK)
        die("aget", rc);
    return 1;
}

static size_t read_marker(struct raw *raw, size_t i)
{
    struct move_item *item = &raw->items[raw->order[i]];

    return read_one(raw, item->old_marker, &item->marker_version);
}

static size_t read_record(struct raw *raw, size_t i)
{
    struct move_item *item = &raw->items[raw->order[i]];

    return read_one(raw, item->record, &item->record_version);
}

static void list_markers(struct raw *raw)
{
    struct String_vector names;
    char dir[MOVE_KEY_SIZE];
    int rc = zkmt.zoo_get_children(raw->zh, move_owned(0, dir), 0, &names);

    if (rc != ZOK || (size_t)names.count != raw->n)
        die("children", rc);
    for (size_t i = 0; i < raw->n; i++)
        raw->order[i] = strtoul(names.data[i], NULL, 10);
    zkmt.deallocate_String_vector(&names);
}

/* --- batches ------------------------------------------------------------- */

static void on_multi(int rc, const void *data)
{
    struct call *call = (struct call *)(uintptr_t)data;
    struct raw *raw = call->raw;

    if (rc != ZOK)
        die("multi", rc);
    mem_free(call->results);
    mem_free(call);
    completed(raw);
}

static void send_multi(struct raw *raw, const zoo_op_t *ops, size_t n)
{
    struct call *call = registry_calls_new(raw, n);
    int rc =
        zkmt.zoo_amulti(raw->zh, (int)n, ops, call->results, on_multi, call);

    if (rc != ZOK)
        die("amulti", rc);
}

static void create(zoo_op_t *op, const char *key, const char *value)
{
    zkmt.zoo_create_op_init(op, key, value, (int)strlen(value),
                            zkmt.ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0);
}

static size_t part_of(const struct raw *raw, size_t from)
{
    return raw->n - from < raw->batch ? raw->n - from : raw->batch;
}

static size_t send_create(struct raw *raw, size_t from)
{
    size_t n = part_of(raw, from);
    zoo_op_t *ops = mem_array(2 * n, sizeof(*ops));
    struct move_values *values = mem_array(n, sizeof(*values));

    for (size_t i = 0; i < n; i++) {
        const struct move_item *item = &raw->items[from + i];

        move_before(from + i, &values[i]);
        create(&ops[2 * i], item->record, values[i].record);
        create(&ops[2 * i + 1], item->old_marker, values[i].marker);
    }
    send_multi(raw, ops, 2 * n);
    mem_free(ops);
    mem_free(values);
    return n;
}

static size_t send_move(struct raw *raw, size_t from)
{
    size_t n = part_of(raw, from);
    zoo_op_t *ops = mem_array(3 * n + MOVE_CHECKS, sizeof(*ops));
    struct move_values *values = mem_array(n, sizeof(*values));
    char gates[MOVE_TARGETS][MOVE_KEY_SIZE];
    zoo_op_t *op = ops;

    zkmt.zoo_check_op_init(op++, raw->lock, 0);
    for (int t = 1; t <= MOVE_TARGETS; t++)
        zkmt.zoo_check_op_init(op++, move_gate(t, gates[t - 1]), raw->gates[t]);
    for (size_t i = 0; i < n; i++) {
        const struct move_item *item = &raw->items[from + i];

        move_after(from + i, &values[i]);
        zkmt.zoo_set_op_init(op++, item->record, values[i].record,
                             (int)strlen(values[i].record),
                             (int)item->record_version, NULL);
        zkmt.zoo_delete_op_init(op++, item->old_marker,
                                (int)item->marker_version);
        create(op++, item->new_marker, values[i].marker);
    }
    send_multi(raw, ops, (size_t)(op - ops));
    mem_free(ops);
    mem_free(values);
    return n;
}

/* --- before and after ---------------------------------------------------- */

static void on_session(zhandle_t *zh, int type, int state, const char *path,
                       void *context)
{
    (void)zh;
    (void)path;
    (void)context;
    if (type == *zkmt.ZOO_SESSION_EVENT &&
        state == *zkmt.ZOO_EXPIRED_SESSION_STATE)
        die("session", ZSESSIONEXPIRED);
}

zhandle_t *zookeeper_bare_open(const char *hosts, const char *space)
{
    char *where = mem_printf("%s%s%s", hosts, space == NULL ? "" : "/",
                             space == NULL ? "" : space);
    zhandle_t *zh;
    int rc;

    zkmt.zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zh = zkmt.zookeeper_init(where, on_session, SESSION_MS, NULL, NULL, 0);
    if (zh == NULL)
        die(where, ZSYSTEMERROR);
    mem_free(where);
    /* else the library asks for its servers' names before every request */
    (void)zkmt.zoo_set_servers_resolution_delay(zh, -1);
    /* waits for the connection */
    rc = zkmt.zoo_exists(zh, "/zookeeper", 0, NULL);
    if (rc != ZOK && rc != ZNONODE)
        die("connecting", rc);
    return zh;
}

/* A directory and those above it. */
static void make_dir(zhandle_t *zh, const char *key)
{
    char path[2 * MOVE_KEY_SIZE];
    size_t len = strlen(key);

    for (size_t i = 1; i <= len; i++) {
        int rc;

        if (key[i] != '/' && key[i] != '\0')
            continue;
        (void)snprintf(path, sizeof(path), "%.*s", (int)i, key);
        rc = zkmt.zoo_create(zh, path, NULL, -1, zkmt.ZOO_OPEN_ACL_UNSAFE, 0,
                             NULL, 0);
        if (rc != ZOK && rc != ZNODEEXISTS)
            die(path, rc);
    }
}

static void make_dirs(struct raw *raw)
{
    char key[MOVE_KEY_SIZE];
    int rc;

    make_dir(raw->zh, MOVE_WORK);
    make_dir(raw->zh, MOVE_GATES);
    make_dir(raw->zh, MOVE_LOCK);
    for (int t = 0; t <= MOVE_TARGETS; t++) {
        make_dir(raw->zh, move_owned(t, key));
        rc = zkmt.zoo_create(raw->zh, move_gate(t, key), MOVE_GATE,
                             (int)strlen(MOVE_GATE), zkmt.ZOO_OPEN_ACL_UNSAFE,
                             0, NULL, 0);
        if (rc != ZOK)
            die(key, rc);
    }
    rc = zkmt.zoo_create(
        raw->zh, MOVE_LOCK "/_c_00000000-0000-4000-8000-000000000000-lock-",
        "10.0.0.9", 8, zkmt.ZOO_OPEN_ACL_UNSAFE,
        *zkmt.ZOO_EPHEMERAL | *zkmt.ZOO_SEQUENCE, raw->lock, sizeof(raw->lock));
    if (rc != ZOK)
        die("lock", rc);
}

void zookeeper_bare_move(const char *hosts, const char *space,
                         struct move_item *items, size_t n,
                         struct move_result *result)
{
    struct raw raw = {.items = items, .n = n, .batch = result->batch};
    char root[MOVE_KEY_SIZE];
    zhandle_t *above = zookeeper_bare_open(hosts, NULL);
    uint64_t start;

    (void)snprintf(root, sizeof(root), "/%s", space);
    make_dir(above, root);
    (void)zkmt.zookeeper_close(above);
    raw.zh = zookeeper_bare_open(hosts, space);
    raw.order = mem_array(n, sizeof(*raw.order));
    (void)pthread_mutex_init(&raw.mutex, NULL);
    (void)pthread_cond_init(&raw.finished, NULL);
    make_dirs(&raw);
    run_phase(&raw, send_create, n, MOVE_BATCHES);
    start = clock_mono_ns();
    list_markers(&raw);
    run_phase(&raw, read_marker, n, MOVE_READS);
    run_phase(&raw, read_record, n, MOVE_READS);
    result->read_ms = move_ms_since(start);
    run_phase(&raw, send_move, n, MOVE_BATCHES);
    result->all_ms = move_ms_since(start);
    result->move_ms = result->all_ms - result->read_ms;
    result->txns = raw.requests;
    result->events = 0;
    (void)zkmt.zookeeper_close(raw.zh);
    (void)pthread_mutex_destroy(&raw.mutex);
    (void)pthread_cond_destroy(&raw.finished);
    mem_free(raw.order);
}

/* --- clearing ------------------------------------------------------------ */

static void drop_children(zhandle_t *zh, const char *dir)
{
    zoo_op_t *ops = mem_array(CLEAR_OPS, sizeof(*ops));
    zoo_op_result_t *results = mem_array(CLEAR_OPS, sizeof(*results));
    char(*paths)[2 * MOVE_KEY_SIZE] = mem_array(CLEAR_OPS, sizeof(*paths));
    struct String_vector names = {0};
    int rc = zkmt.zoo_get_children(zh, dir, 0, &names);
    int n = 0;

    if (rc != ZOK && rc != ZNONODE)
        die(dir, rc);
    for (int i = 0; i < names.count; i++) {
        (void)snprintf(paths[n], sizeof(paths[n]), "%s/%s", dir, names.data[i]);
        zkmt.zoo_delete_op_init(&ops[n], paths[n], -1);
        if (++n == CLEAR_OPS || i + 1 == names.count) {
            rc = zkmt.zoo_multi(zh, n, ops, results);
            if (rc != ZOK)
                die(dir, rc);
            n = 0;
        }
    }
    zkmt.deallocate_String_vector(&names);
    mem_free(ops);
    mem_free(results);
    mem_free(paths);
}

void zookeeper_bare_clear(const char *hosts, const char *space)
{
    zhandle_t *zh = zookeeper_bare_open(hosts, space);
    char dir[MOVE_KEY_SIZE];

    drop_children(zh, MOVE_WORK);
    drop_children(zh, MOVE_GATES);
    for (int t = 0; t <= MOVE_TARGETS; t++)
        drop_children(zh, move_owned(t, dir));
    (void)zkmt.zookeeper_close(zh);
}
