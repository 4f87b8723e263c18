/*
 * etcd_call.c - the interface's calls, in order.
 *
 * HTTP/1.1 gives no order between connections, and one connection would take
 * one call at a time. So calls wait in a queue and begin in its order, many at
 * a time; the first that touches what an earlier one under way writes (or
 * writes what an earlier one looks at) waits for it, and those behind it with
 * it. A list waits for all writes. To the caller all is as if calls were done
 * one by one in the order in which they were made.
 */
#include "registry/etcd_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <stdlib.h>
#include <string.h>

#define QUEUE_MAX     4096 /* calls */
#define QUEUE_BYTES   (64u << 20)
#define RUNNING_MAX   16
#define CHILDREN_PAGE 5000
#define NAMES_MAX     (64u << 20)

#define WRITTEN 1u /* in etcd_call.keys */

/* --- order --------------------------------------------------------------- */

static uint64_t key_hash(const char *key, bool written)
{
    return (hash_str(key, 0) & ~(uint64_t)WRITTEN) | (written ? WRITTEN : 0);
}

static void note_keys(struct etcd_call *c)
{
    const struct registry_call *call = c->call;

    if (call->type == REGISTRY_CALL_GET) {
        c->keys = mem_array(1, sizeof(*c->keys));
        c->keys[c->n_keys++] = key_hash(call->key, false);
    } else if (call->type == REGISTRY_CALL_TXN) {
        c->keys = mem_array(call->n_ops, sizeof(*c->keys));
        for (size_t i = 0; i < call->n_ops; i++) {
            bool written = call->ops[i].type == REGISTRY_PUT ||
                           call->ops[i].type == REGISTRY_DELETE;

            c->writes = c->writes || written;
            c->keys[c->n_keys++] = key_hash(call->ops[i].key, written);
        }
    }
}

/* Same key, and one of the two writes it. */
static bool keys_meet(const struct etcd_call *a, const struct etcd_call *b)
{
    for (size_t i = 0; i < a->n_keys; i++) {
        for (size_t k = 0; k < b->n_keys; k++) {
            uint64_t x = a->keys[i], y = b->keys[k];

            if (((x ^ y) & ~(uint64_t)WRITTEN) == 0 &&
                ((x | y) & WRITTEN) != 0) {
                return true;
            }
        }
    }
    return false;
}

static bool must_wait(const struct etcd *e, const struct etcd_call *c)
{
    const struct etcd_call *r;

    for (r = e->running; r != NULL; r = r->next) {
        if (c->keys == NULL ? r->writes : keys_meet(c, r)) {
            return true;
        }
    }
    return false;
}

bool etcd_calls_before(const struct etcd *e, uint64_t seq)
{
    const struct etcd_call *c;

    for (c = e->running; c != NULL; c = c->next) {
        if (c->seq <= seq) {
            return true;
        }
    }
    return e->queue != NULL && e->queue->seq <= seq;
}

/* --- answering ----------------------------------------------------------- */

static void call_close(struct etcd_call *c)
{
    (void)etcd_ask_cancel(&c->ask);
    MEM_FREE(c->keys);
    buf_close(&c->names);
}

static void take_off(struct etcd *e, struct etcd_call *c)
{
    struct etcd_call **at = &e->running;

    while (*at != c) {
        at = &(*at)->next;
    }
    *at = c->next;
    e->n_running--;
    e->queued--;
    e->queued_bytes -= c->call->bytes;
}

void etcd_call_answer(struct etcd_call *c, const struct registry_reply *reply)
{
    struct etcd *e = etcd_of(c->call->r);

    take_off(e, c);
    call_close(c);
    registry_call_done(c->call, reply);
    etcd_pump(e);
}

void etcd_call_refuse(struct etcd_call *c, size_t failed_op)
{
    struct registry_call *call = c->call;

    take_off(etcd_of(call->r), c);
    call_close(c);
    call->limit = failed_op;
    registry_call_fail_later(call, ERR_CONFLICT,
                             "operation %zu: the lock is not ours", failed_op);
}

static enum err_code code_of(const struct etcd_call *c,
                             enum etcd_verdict verdict)
{
    switch (verdict) {
    case ETCD_BROKEN:
        return c->writes ? ERR_UNKNOWN : ERR_UNAVAILABLE;
    case ETCD_TOKEN:
    case ETCD_DENIED:
        return ERR_DENIED;
    case ETCD_NO_LEASE:
        return ERR_SESSION_LOST;
    case ETCD_TOO_LARGE:
        return ERR_TOO_LARGE;
    case ETCD_MALFORMED:
        return ERR_INVALID;
    case ETCD_OK:
    case ETCD_UNREACHED:
    case ETCD_COMPACTED:
    case ETCD_NO_SPACE:
        break;
    }
    return ERR_UNAVAILABLE;
}

void etcd_call_failed(struct etcd_call *c, const struct etcd_result *result)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    (void)err_set(&reply.err, code_of(c, result->verdict), "etcd: %s",
                  result->why);
    etcd_call_answer(c, &reply);
}

static void abort_one(struct etcd_call *c, enum err_code unsent,
                      const char *why)
{
    bool sent = etcd_ask_cancel(&c->ask);
    struct registry_call *call = c->call;
    bool writes = c->writes;

    call_close(c);
    if (call->type != REGISTRY_CALL_TXN && unsent == ERR_SESSION_LOST) {
        unsent = ERR_UNAVAILABLE; /* reading needs no session */
    }
    if (sent && writes) {
        registry_call_fail(call, ERR_UNKNOWN, "sent, and then %s", why);
    } else {
        registry_call_fail(call, unsent, "%s", why);
    }
}

/* Those under way first, then the queue: in the order they were made, as far
 * as that can be known. What callers ask meanwhile is refused or queued
 * behind. */
void etcd_calls_abort(struct etcd *e, enum err_code unsent, const char *why)
{
    struct etcd_call *running = e->running, *queue = e->queue, *c;

    e->running = e->queue = NULL;
    e->queue_tail = &e->queue;
    e->n_running = e->queued = e->queued_bytes = 0;
    while ((c = running) != NULL) {
        running = c->next;
        abort_one(c, unsent, why);
    }
    while ((c = queue) != NULL) {
        queue = c->next;
        abort_one(c, unsent, why);
    }
}

void etcd_calls_drop(struct etcd *e)
{
    struct etcd_call *c;

    for (c = e->running; c != NULL; c = c->next) {
        call_close(c);
    }
    for (c = e->queue; c != NULL; c = c->next) {
        call_close(c);
    }
    e->running = e->queue = NULL;
}

/* --- reading ------------------------------------------------------------- */

static void ask(struct etcd_call *c, const char *path, struct buf *body,
                etcd_result_f *done)
{
    struct etcd *e = etcd_of(c->call->r);

    etcd_ask(e, &c->ask, path, body, ETCD_REPEATABLE | ETCD_LINEAR,
             etcd_call_ms(e), done, c);
}

static void ask_range(struct etcd_call *c, const struct etcd_range *range,
                      etcd_result_f *done)
{
    struct buf body;

    buf_init(&body, ETCD_BODY_MAX);
    etcd_put_range(&body, range);
    ask(c, "/v3/kv/range", &body, done);
}

static bool is_directory(const struct registry_entry *entry)
{
    return entry->owner == 0 && entry->value_len == 0;
}

/* The entries of ours among the items of an array; `past`: behind the last key
 * of all. */
static struct registry_entry *entries_of(const struct etcd *e, cJSON *kvs,
                                         size_t *n, struct etcd_key *past)
{
    size_t max = (size_t)cJSON_GetArraySize(kvs);
    struct registry_entry *entries = mem_array(max, sizeof(*entries));
    struct etcd_kv kv;

    *n = 0;
    for (cJSON *i = kvs == NULL ? NULL : kvs->child; i != NULL; i = i->next) {
        if (!etcd_kv_read(i, &kv)) {
            continue;
        }
        if (past != NULL) {
            etcd_key_past(past, kv.key, kv.key_len);
        }
        if (etcd_entry(&kv, e->ns, &entries[*n]) &&
            !is_directory(&entries[*n])) {
            (*n)++;
        }
    }
    return entries;
}

/* A page whose keys we cannot read would be asked for again for ever. */
static bool no_progress(struct etcd_call *c, const struct etcd_key *before)
{
    struct etcd_result result = {.verdict = ETCD_BROKEN,
                                 .why = "a page without a readable key"};

    if (c->at.len != before->len ||
        memcmp(c->at.s, before->s, before->len) != 0) {
        return false;
    }
    etcd_call_failed(c, &result);
    return true;
}

static void on_get(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX,
                                   .revision = result->revision};
    struct registry_entry *entries;

    if (result->verdict != ETCD_OK) {
        etcd_call_failed(c, result);
        return;
    }
    entries = entries_of(etcd_of(c->call->r), etcd_kvs(result->root),
                         &reply.n_entries, NULL);
    reply.entries = entries;
    if (reply.n_entries == 0) {
        (void)err_set(&reply.err, ERR_NOT_FOUND, "%s: no such key",
                      c->call->key);
    }
    etcd_call_answer(c, &reply);
    mem_free(entries);
}

static void start_get(struct etcd_call *c)
{
    struct etcd_range range = {.key = &c->at};

    etcd_key_set(&c->at, etcd_of(c->call->r)->ns, c->call->key);
    ask_range(c, &range, on_get);
}

static void on_exists(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX,
                                   .revision = result->revision};

    if (result->verdict != ETCD_OK) {
        etcd_call_failed(c, result);
        return;
    }
    if (etcd_txn_kvs(result->root, 0) == NULL &&
        etcd_txn_kvs(result->root, 1) == NULL) {
        (void)err_set(&reply.err, ERR_NOT_FOUND, "%s: no such key",
                      c->call->key);
    }
    etcd_call_answer(c, &reply);
}

static void start_exists(struct etcd_call *c)
{
    const struct etcd *e = etcd_of(c->call->r);
    struct etcd_key key, below, end;
    struct etcd_range self = {.key = &key, .keys_only = true};
    struct etcd_range any = {
        .key = &below, .end = &end, .limit = 1, .keys_only = true};
    struct buf body;

    etcd_key_set(&key, e->ns, c->call->key);
    etcd_key_below(&below, e->ns, c->call->key);
    etcd_key_end(&end, &below);
    buf_init(&body, ETCD_BODY_MAX);
    etcd_txn_begin(&body);
    etcd_txn_then(&body);
    etcd_put_op_range(&body, &self);
    etcd_put_op_range(&body, &any);
    etcd_txn_close(&body);
    ask(c, "/v3/kv/txn", &body, on_exists);
}

/* --- list ---------------------------------------------------------------- */

static void list_page(struct etcd_call *c);

static void on_page(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX,
                                   .revision = result->revision};
    struct registry_entry *entries;
    struct etcd_key before = c->at;
    bool more;

    if (result->verdict == ETCD_TOO_LARGE && c->limit > 1) {
        c->limit /= 2;
        list_page(c);
        return;
    }
    if (result->verdict != ETCD_OK) {
        etcd_call_failed(c, result);
        return;
    }
    more = json_bool(result->root, "more", false);
    entries = entries_of(etcd_of(c->call->r), etcd_kvs(result->root),
                         &reply.n_entries, &c->at);
    if (reply.n_entries == 0 && more) { /* nothing of ours among them */
        if (!no_progress(c, &before)) {
            list_page(c);
        }
    } else {
        reply.entries = entries;
        reply.next = more ? entries[reply.n_entries - 1].key : NULL;
        etcd_call_answer(c, &reply);
    }
    mem_free(entries);
}

static void list_page(struct etcd_call *c)
{
    struct etcd_key below, end;
    struct etcd_range range = {.key = &c->at, .end = &end, .limit = c->limit};

    etcd_key_below(&below, etcd_of(c->call->r)->ns, c->call->key);
    etcd_key_end(&end, &below);
    ask_range(c, &range, on_page);
}

static void start_list(struct etcd_call *c)
{
    const struct etcd *e = etcd_of(c->call->r);

    c->limit = c->call->limit;
    if (c->call->from == NULL) {
        etcd_key_below(&c->at, e->ns, c->call->key);
    } else { /* the last key of the page before */
        struct etcd_key from;

        etcd_key_set(&from, e->ns, c->call->from);
        etcd_key_past(&c->at, from.s, from.len);
    }
    list_page(c);
}

/* --- children ------------------------------------------------------------ */

static void children_page(struct etcd_call *c);

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All names are there; a directory's may be there twice, around names that
 * sort between it and what is below it ("a", "a-1", "a/x"). */
static void children_done(struct etcd_call *c, uint64_t revision)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX, .revision = revision};
    const char *end = c->names.data + c->names.len;
    struct registry_entry *entries;
    struct buf names = c->names;
    const char **sorted;
    size_t n = 0;

    for (const char *s = names.data; s < end; s += strlen(s) + 1) {
        n++;
    }
    sorted = mem_array(n, sizeof(*sorted));
    entries = mem_array(n, sizeof(*entries));
    n = 0;
    for (const char *s = names.data; s < end; s += strlen(s) + 1) {
        sorted[n++] = s;
    }
    qsort(sorted, n, sizeof(*sorted), by_text);
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || strcmp(sorted[i - 1], sorted[i]) != 0) {
            entries[reply.n_entries++] =
                (struct registry_entry){.key = sorted[i]};
        }
    }
    buf_init(&c->names, NAMES_MAX);
    reply.entries = entries;
    etcd_call_answer(c, &reply);
    mem_free(sorted);
    mem_free(entries);
    buf_close(&names);
}

/* Where to go on: past what is below the last name, or past the last key. */
static void children_add(struct etcd_call *c, cJSON *kvs)
{
    const struct etcd *e = etcd_of(c->call->r);
    struct etcd_key below, last = {.len = 0};
    struct etcd_kv kv;

    etcd_key_below(&below, e->ns, c->call->key);
    for (cJSON *i = kvs == NULL ? NULL : kvs->child; i != NULL; i = i->next) {
        const char *name, *slash;
        size_t len;

        if (!etcd_kv_read(i, &kv)) {
            continue;
        }
        etcd_key_past(&c->at, kv.key, kv.key_len);
        if (kv.key_len <= below.len || kv.key_len >= ETCD_KEY_MAX - 1 ||
            memchr(kv.key, '\0', kv.key_len) != NULL) {
            continue;
        }
        name = kv.key + below.len;
        slash = strchr(name, '/');
        len = slash == NULL ? strlen(name) : (size_t)(slash - name);
        if (slash != NULL) {
            etcd_key_past(&c->at, kv.key, below.len + len);
            c->at.s[c->at.len - 1] = '/' + 1;
        }
        if (len > 0 && (last.len != len || memcmp(last.s, name, len) != 0)) {
            memcpy(last.s, name, len);
            last.len = len;
            buf_add(&c->names, name, len);
            buf_add(&c->names, "", 1);
        }
    }
}

static void on_children(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    struct etcd_result large = {.verdict = ETCD_TOO_LARGE,
                                .why = "too many children"};
    struct etcd_key before = c->at;

    if (result->verdict != ETCD_OK) {
        etcd_call_failed(c, result);
        return;
    }
    children_add(c, etcd_kvs(result->root));
    if (c->names.overflow) {
        etcd_call_failed(c, &large);
    } else if (json_bool(result->root, "more", false)) {
        if (!no_progress(c, &before)) {
            children_page(c);
        }
    } else {
        children_done(c, result->revision);
    }
}

static void children_page(struct etcd_call *c)
{
    struct etcd_key below, end;
    struct etcd_range range = {
        .key = &c->at, .end = &end, .limit = CHILDREN_PAGE, .keys_only = true};

    etcd_key_below(&below, etcd_of(c->call->r)->ns, c->call->key);
    etcd_key_end(&end, &below);
    ask_range(c, &range, on_children);
}

static void start_children(struct etcd_call *c)
{
    etcd_key_below(&c->at, etcd_of(c->call->r)->ns, c->call->key);
    buf_init(&c->names, NAMES_MAX);
    children_page(c);
}

/* --- the queue ----------------------------------------------------------- */

static void start(struct etcd_call *c)
{
    switch (c->call->type) {
    case REGISTRY_CALL_GET:
        start_get(c);
        break;
    case REGISTRY_CALL_EXISTS:
        start_exists(c);
        break;
    case REGISTRY_CALL_LIST:
        start_list(c);
        break;
    case REGISTRY_CALL_CHILDREN:
        start_children(c);
        break;
    case REGISTRY_CALL_TXN:
        etcd_txn_start(c);
        break;
    }
}

void etcd_pump(struct etcd *e)
{
    struct etcd_call *c;

    while ((c = e->queue) != NULL && e->n_running < RUNNING_MAX &&
           e->session.state == ETCD_SESSION_LIVE && !etcd_over(e) &&
           !must_wait(e, c)) {
        e->queue = c->next;
        if (e->queue == NULL) {
            e->queue_tail = &e->queue;
        }
        c->next = e->running;
        e->running = c;
        e->n_running++;
        start(c);
    }
}

void etcd_submit(struct registry *r, struct registry_call *call)
{
    struct etcd *e = etcd_of(r);
    struct etcd_call *c = call->priv;

    if (r->session == 0) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session yet");
        return;
    }
    if (r->state == REGISTRY_SUSPENDED) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "suspended: no answer from the registry for "
                                 "2/3 of the session's timeout");
        return;
    }
    if (e->queued >= QUEUE_MAX ||
        (e->queued > 0 && e->queued_bytes + call->bytes > QUEUE_BYTES)) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "busy: %zu calls wait for the registry",
                                 e->queued);
        return;
    }
    c->call = call;
    c->seq = ++e->last_seq;
    note_keys(c);
    e->queued++;
    e->queued_bytes += call->bytes;
    c->next = NULL;
    *e->queue_tail = c;
    e->queue_tail = &c->next;
    etcd_pump(e);
}
