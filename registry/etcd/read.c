/*
 * read.c - get, exists, list and children: one range after the other.
 *
 * All reads are linearizable (never `serializable`), and a page begins right
 * behind the last key of the one before. Other clients' keys stand in the
 * namespace, too: what is no key of ours, or a directory, is passed over.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define CHILDREN_PAGE 5000
#define NAMES_MAX     (64u << 20)

/* --- reading ------------------------------------------------------------- */

static void send_txn(struct etcd_call *c, struct buf *body, etcd_result_f *done)
{
    assert(c->request == NULL);
    assert(!c->is_member);
    etcd_send_txn(etcd_of(c->call->r), &c->request, body,
                  ETCD_REPEATABLE | ETCD_GUARDED, done, c);
}

/* False: there is none, and the call is answered. */
static bool is_answer(struct etcd_call *c, const struct etcd_result *result)
{
    struct etcd_result found = *result;

    if (etcd_guard_held(etcd_of(c->call->r), &found))
        return true;
    etcd_call_failed(c, found.verdict, found.why);
    return false;
}

/* The entries of ours among the items of an array; `past`: behind the last key
 * of all. */
static struct registry_entry *entries_of(struct etcd *e, const struct json *kvs,
                                         size_t *n, struct etcd_key *past)
{
    size_t max = json_count(kvs);
    struct registry_entry *entries = mem_array(max, sizeof(*entries));
    struct etcd_kv kv;

    *n = 0;
    for (const struct json *i = json_first(kvs); i != NULL; i = i->next) {
        if (!etcd_kv_read(i, &kv))
            continue;
        if (past != NULL)
            etcd_key_past(past, kv.key, kv.key_len);
        if (etcd_entry(&kv, e->ns, &entries[*n]) &&
            !etcd_is_directory(&entries[*n])) {
            if (entries[*n].owner == 0)
                etcd_know_persistent(e, entries[*n].key, entries[*n].version);
            (*n)++;
        }
    }
    assert(*n <= max);
    return entries;
}

static void not_found(const struct etcd_call *c, struct registry_reply *reply)
{
    err_set(&reply->err, ERR_NOT_FOUND, "%s: no such key", c->call->key);
}

/* --- get ----------------------------------------------------------------- */

static void answer_get(struct etcd_call *c, const struct json *kvs,
                       uint64_t revision)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX, .revision = revision};
    struct registry_entry *entries =
        entries_of(etcd_of(c->call->r), kvs, &reply.n_entries, NULL);

    reply.entries = entries;
    assert(c->call->type == REGISTRY_CALL_GET);
    if (reply.n_entries == 0)
        not_found(c, &reply);
    etcd_call_answer(c, &reply);
    mem_free(entries);
}

/* The answer was too large: two requests of half as many each. */
static void halve(struct etcd_call *c)
{
    struct etcd_call *last = c, *half;
    size_t n = 0;

    for (half = c; half != NULL; half = half->with)
        n++;
    assert(n > 1);
    for (n = n / 2; n > 1; n--)
        last = last->with;
    half = last->with;
    assert(half != NULL && half->is_member);
    last->with = NULL;
    half->is_member = false;
    etcd_of(c->call->r)->n_requests++;
    etcd_read_start(c);
    etcd_read_start(half);
}

/* Answers in the order of asking. Whoever gets one may end all. */
static void on_gets(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg, *next;
    struct etcd *e = etcd_of(c->call->r);
    struct etcd_result found = *result;
    size_t n = 0, answers = etcd_txn_answers(result->root);
    bool held;

    assert(!c->is_member);
    if (result->verdict == ETCD_TOO_LARGE && c->with != NULL) {
        halve(c);
        return;
    }
    held = etcd_guard_held(e, &found);
    for (; c != NULL && !e->base.mute; c = next, n++) {
        next = c->with;
        if (!held)
            etcd_call_failed(c, found.verdict, found.why);
        else if (n < answers)
            answer_get(c, etcd_txn_kvs(result->root, n), result->revision);
        else
            etcd_call_failed(c, ETCD_BROKEN, "an answer is missing");
    }
}

static void start_gets(struct etcd_call *c)
{
    struct etcd_key key;
    struct etcd_range range = {.key = &key};
    struct buf body;

    etcd_guard_begin(etcd_of(c->call->r), &body);
    for (struct etcd_call *i = c; i != NULL; i = i->with) {
        etcd_key_set(&key, etcd_of(c->call->r)->ns, i->call->key);
        etcd_put_op_range(&body, &range);
    }
    etcd_guard_close(etcd_of(c->call->r), &body);
    send_txn(c, &body, on_gets);
}

/* --- exists -------------------------------------------------------------- */

static void on_exists(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX,
                                   .revision = result->revision};

    assert(c->call->type == REGISTRY_CALL_EXISTS);
    if (!is_answer(c, result))
        return;
    if (etcd_txn_kvs(result->root, 0) == NULL &&
        etcd_txn_kvs(result->root, 1) == NULL)
        not_found(c, &reply);
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
    etcd_key_range(&below, &end, e->ns, c->call->key);
    etcd_guard_begin(e, &body);
    etcd_put_op_range(&body, &self);
    etcd_put_op_range(&body, &any);
    etcd_guard_close(e, &body);
    send_txn(c, &body, on_exists);
}

/* --- list ---------------------------------------------------------------- */

/* False: nothing of ours is among them, and there are more. */
static bool answer_list(struct etcd_call *c, const struct json *kvs, bool more,
                        uint64_t revision)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX, .revision = revision};
    struct registry_entry *entries =
        entries_of(etcd_of(c->call->r), kvs, &reply.n_entries, &c->at);
    bool done = reply.n_entries > 0 || !more;

    assert(c->call->type == REGISTRY_CALL_LIST);
    if (done) {
        reply.entries = entries;
        reply.next = more ? entries[reply.n_entries - 1].key : NULL;
        etcd_call_answer(c, &reply);
    }
    mem_free(entries);
    return done;
}

/* --- children ------------------------------------------------------------ */

static int by_key(const void *a, const void *b)
{
    const struct registry_entry *x = a, *y = b;

    return strcmp(x->key, y->key);
}

/* All names are there; a directory's may be there twice, around names that
 * sort between it and what is below it ("a", "a-1", "a/x"). */
static void children_done(struct etcd_call *c, uint64_t revision)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX, .revision = revision};
    const char *end = c->names.data + c->names.len;
    struct registry_entry *entries;
    struct buf names = c->names;
    size_t n = 0, kept = 0;

    assert(!names.overflow);
    entries = mem_array(c->n_names, sizeof(*entries));
    for (const char *s = names.data; s < end; s += strlen(s) + 1)
        entries[n++] = (struct registry_entry){.key = s};
    qsort(entries, n, sizeof(*entries), by_key);
    for (size_t i = 0; i < n; i++)
        if (kept == 0 || strcmp(entries[kept - 1].key, entries[i].key) != 0)
            entries[kept++] = entries[i];
    assert(n == c->n_names);
    assert(kept <= n);
    buf_init(&c->names, NAMES_MAX);
    reply.entries = entries;
    reply.n_entries = kept;
    etcd_call_answer(c, &reply);
    mem_free(entries);
    buf_close(&names);
}

/* Where to go on: past what is below the last name, or past the last key. */
static void children_add(struct etcd_call *c, const struct json *kvs)
{
    const struct etcd *e = etcd_of(c->call->r);
    struct etcd_key below, last = {.len = 0};
    struct etcd_kv kv;

    etcd_key_below(&below, e->ns, c->call->key);
    for (const struct json *i = json_first(kvs); i != NULL; i = i->next) {
        const char *name, *slash;
        size_t len;

        if (!etcd_kv_read(i, &kv))
            continue;
        etcd_key_past(&c->at, kv.key, kv.key_len);
        if (kv.key_len <= below.len || kv.key_len >= ETCD_KEY_MAX - 1 ||
            memchr(kv.key, '\0', kv.key_len) != NULL)
            continue;
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
            c->n_names++;
        }
    }
}

/* False: there are more. */
static bool answer_children(struct etcd_call *c, const struct json *kvs,
                            bool more, uint64_t revision)
{
    assert(c->call->type == REGISTRY_CALL_CHILDREN);
    children_add(c, kvs);
    if (c->names.overflow)
        etcd_call_failed(c, ETCD_TOO_LARGE, "too many children");
    else if (!more)
        children_done(c, revision);
    else
        return false;
    return true;
}

/* --- pages of both ------------------------------------------------------- */

static void send_page(struct etcd_call *c);

static void on_page(void *arg, const struct etcd_result *result)
{
    struct etcd_call *c = arg;
    bool lists = c->call->type == REGISTRY_CALL_LIST;
    struct etcd_key before = c->at;

    assert(c->limit > 0);
    if (result->verdict == ETCD_TOO_LARGE && c->limit > 1) {
        c->limit /= 2;
        send_page(c);
    } else if (is_answer(c, result) &&
               !(lists ? answer_list : answer_children)(
                   c, etcd_txn_kvs(result->root, 0),
                   etcd_txn_more(result->root, 0), result->revision)) {
        if (etcd_key_equal(&c->at, &before)) /* we would ask so for ever */
            etcd_call_failed(c, ETCD_BROKEN, "a page without a readable key");
        else
            send_page(c);
    }
}

/* The next keys below the call's, from c->at on. */
static void send_page(struct etcd_call *c)
{
    struct etcd_key below, end;
    struct etcd_range range = {.key = &c->at,
                               .end = &end,
                               .limit = c->limit,
                               .keys_only =
                                   c->call->type == REGISTRY_CALL_CHILDREN};
    struct buf body;

    assert(c->at.len > 0);
    assert(c->limit > 0);
    etcd_key_range(&below, &end, etcd_of(c->call->r)->ns, c->call->key);
    etcd_put_guarded(etcd_of(c->call->r), &body, &range);
    send_txn(c, &body, on_page);
}

static void start_pages(struct etcd_call *c)
{
    const struct etcd *e = etcd_of(c->call->r);
    struct etcd_key from;

    c->limit =
        c->call->type == REGISTRY_CALL_LIST ? c->call->limit : CHILDREN_PAGE;
    buf_init(&c->names, NAMES_MAX);
    etcd_key_below(&c->at, e->ns, c->call->key);
    if (c->call->from != NULL) { /* the last key of the page before */
        etcd_key_set(&from, e->ns, c->call->from);
        etcd_key_past(&c->at, from.s, from.len);
    }
    send_page(c);
}

void etcd_read_start(struct etcd_call *c)
{
    assert(c->request == NULL);
    assert(!c->is_member);
    assert(c->call->type != REGISTRY_CALL_TXN); /* txn.c */
    if (c->call->type == REGISTRY_CALL_GET)
        start_gets(c);
    else if (c->call->type == REGISTRY_CALL_EXISTS)
        start_exists(c);
    else
        start_pages(c);
}
