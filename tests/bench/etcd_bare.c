/*
 * etcd_bare.c - see etcd_bare.h. Requests are slots; a slot that is answered
 * takes the next piece of work.
 */
#include "tests/bench/etcd_bare.h"

#include "base/clock.h"
#include "base/pack/base64.h"
#include "registry/etcd/wire.h"

#include <curl/curl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BODY_MAX  ((size_t)8 << 20)
#define REPLY_MAX ((size_t)64 << 20)
#define READS     100 /* ranges in a txn; the server takes 128 */
#define FILLED    60  /* items in a txn that fills */
#define START_MS  20000

struct slot {
    CURL *easy;
    struct buf body, reply;
    size_t from, n; /* items */
};

struct bare {
    const char *url, *space;
    struct move_item *items;
    CURLM *multi;
    struct curl_slist *headers;
    struct slot slots[MOVE_BATCHES];
    uint64_t gates[MOVE_TARGETS + 1];
};

static void die(const char *what)
{
    (void)fprintf(stderr, "etcd_bare: %s\n", what);
    exit(1);
}

static size_t on_write(char *data, size_t size, size_t n, void *arg)
{
    buf_add(arg, data, size * n);
    return size * n;
}

static void bare_open(struct bare *b, const char *url, const char *space,
                      struct move_item *items)
{
    memset(b, 0, sizeof(*b));
    b->url = url;
    b->space = space;
    b->items = items;
    b->multi = curl_multi_init();
    b->headers = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; i < MOVE_BATCHES; i++) {
        struct slot *s = &b->slots[i];

        s->easy = curl_easy_init();
        buf_init(&s->body, BODY_MAX);
        buf_init(&s->reply, REPLY_MAX);
        (void)curl_easy_setopt(s->easy, CURLOPT_NOPROXY, "*");
        (void)curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, b->headers);
        (void)curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_write);
        (void)curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, &s->reply);
    }
}

static void bare_close(struct bare *b)
{
    for (size_t i = 0; i < MOVE_BATCHES; i++) {
        curl_easy_cleanup(b->slots[i].easy);
        buf_close(&b->slots[i].body);
        buf_close(&b->slots[i].reply);
    }
    curl_slist_free_all(b->headers);
    (void)curl_multi_cleanup(b->multi);
}

static void post(struct bare *b, struct slot *s, const char *path)
{
    char url[96];

    (void)snprintf(url, sizeof(url), "%s%s", b->url, path);
    buf_reset(&s->reply);
    (void)curl_easy_setopt(s->easy, CURLOPT_URL, url);
    (void)curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, buf_text(&s->body));
    (void)curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long)s->body.len);
    (void)curl_multi_add_handle(b->multi, s->easy);
}

/* Wait for one to be answered. */
static struct slot *answered(struct bare *b)
{
    CURLMsg *msg;
    int running, left;
    size_t i = 0;

    while ((msg = curl_multi_info_read(b->multi, &left)) == NULL) {
        (void)curl_multi_perform(b->multi, &running);
        (void)curl_multi_poll(b->multi, NULL, 0, running > 0 ? 100 : 0, NULL);
    }
    if (msg->data.result != CURLE_OK)
        die(curl_easy_strerror(msg->data.result));
    while (b->slots[i].easy != msg->easy_handle)
        i++;
    (void)curl_multi_remove_handle(b->multi, b->slots[i].easy);
    return &b->slots[i];
}

static const struct json *parsed(const struct slot *s)
{
    const struct json *root = NULL;

    if (json_parse(buf_text(&s->reply), s->reply.len, &root, NULL) != 0 ||
        json_get(root, "header") == NULL)
        die(buf_text(&s->reply));
    return root;
}

/* One request, by itself. */
static const struct json *ask(struct bare *b, const char *path)
{
    post(b, &b->slots[0], path);
    return parsed(answered(b));
}

/* --- in batches, several at a time --------------------------------------- */

typedef void body_f(struct bare *b, struct slot *s);
typedef void done_f(struct bare *b, struct slot *s);

/* items[from .. from + n) in batches; how many there were. */
static size_t in_batches(struct bare *b, size_t from, size_t n, size_t batch,
                         body_f *body, done_f *done)
{
    struct slot *spare[MOVE_BATCHES], *s;
    size_t n_spare = 0, next = from, batches = 0;

    for (size_t i = 0; i < MOVE_BATCHES; i++)
        spare[n_spare++] = &b->slots[i];
    while (next < from + n || n_spare < MOVE_BATCHES) {
        if (next < from + n && n_spare > 0) {
            s = spare[--n_spare];
            s->from = next;
            s->n = from + n - next < batch ? from + n - next : batch;
            buf_reset(&s->body);
            body(b, s);
            post(b, s, "/v3/kv/txn");
            next += s->n;
            batches++;
        } else {
            s = answered(b);
            done(b, s);
            spare[n_spare++] = s;
        }
    }
    return batches;
}

static void check_done(struct bare *b, struct slot *s)
{
    (void)b;
    if (strstr(buf_text(&s->reply), "\"succeeded\":true") == NULL)
        die(buf_text(&s->reply));
}

static void put(struct bare *b, struct slot *s, const char *key,
                const char *value)
{
    struct etcd_key k;

    etcd_key_set(&k, b->space, key);
    etcd_put_op_put(&s->body, &k, value, strlen(value), 0);
}

static void compare(struct bare *b, struct slot *s, enum etcd_target target,
                    const char *key, uint64_t value)
{
    struct etcd_key k;

    etcd_key_set(&k, b->space, key);
    etcd_put_compare(&s->body, target, &k, NULL, value);
}

static void fill_body(struct bare *b, struct slot *s)
{
    struct move_values values;

    etcd_txn_begin(&s->body);
    etcd_txn_then(&s->body);
    for (size_t i = s->from; i < s->from + s->n; i++) {
        move_before(i, &values);
        put(b, s, b->items[i].record, values.record);
        put(b, s, b->items[i].old_marker, values.marker);
    }
    etcd_txn_close(&s->body);
}

static void read_body(struct bare *b, struct slot *s)
{
    struct etcd_key k;
    struct etcd_range range = {.key = &k};

    etcd_txn_begin(&s->body);
    etcd_txn_then(&s->body);
    for (size_t i = s->from; i < s->from + s->n; i++) {
        etcd_key_set(&k, b->space, b->items[i].record);
        etcd_put_op_range(&s->body, &range);
    }
    etcd_txn_close(&s->body);
}

static void read_done(struct bare *b, struct slot *s)
{
    const struct json *root = parsed(s);
    const struct json *r = json_get(root, "responses");
    struct etcd_kv kv;

    r = json_first(r);
    for (size_t i = s->from; i < s->from + s->n; i++, r = r->next) {
        const struct json *kvs =
            r == NULL ? NULL : etcd_kvs(json_get(r, "response_range"));

        if (!etcd_kv_read(json_first(kvs), &kv))
            die("a record is missing");
        b->items[i].record_version = kv.modified;
    }
    json_free(root);
}

static void move_body(struct bare *b, struct slot *s)
{
    struct move_values values;
    char gate[MOVE_KEY_SIZE];

    etcd_txn_begin(&s->body);
    for (int t = 1; t <= MOVE_TARGETS; t++)
        compare(b, s, ETCD_MOD, move_gate(t, gate), b->gates[t]);
    for (size_t i = s->from; i < s->from + s->n; i++) {
        const struct move_item *item = &b->items[i];

        compare(b, s, ETCD_MOD, item->record, item->record_version);
        compare(b, s, ETCD_MOD, item->old_marker, item->marker_version);
        compare(b, s, ETCD_CREATE, item->new_marker, 0);
    }
    etcd_txn_then(&s->body);
    for (size_t i = s->from; i < s->from + s->n; i++) {
        struct etcd_key old;

        move_after(i, &values);
        put(b, s, b->items[i].record, values.record);
        etcd_key_set(&old, b->space, b->items[i].old_marker);
        etcd_put_op_delete(&s->body, &old);
        put(b, s, b->items[i].new_marker, values.marker);
    }
    etcd_txn_close(&s->body);
}

/* --- the move ------------------------------------------------------------ */

/* The next page of markers, items[from ..); how many. */
static size_t read_markers(struct bare *b, size_t from, struct etcd_key *at)
{
    char owned[MOVE_KEY_SIZE];
    struct etcd_key below, end;
    struct etcd_range range = {.key = at, .end = &end, .limit = MOVE_PAGE};
    struct etcd_kv kv;
    const struct json *root, *kvs;
    size_t n = 0;

    etcd_key_range(&below, &end, b->space, move_owned(0, owned));
    if (at->len == 0)
        *at = below;
    buf_close(&b->slots[0].body);
    etcd_txn_begin(&b->slots[0].body);
    etcd_txn_then(&b->slots[0].body);
    etcd_put_op_range(&b->slots[0].body, &range);
    etcd_txn_close(&b->slots[0].body);
    root = ask(b, "/v3/kv/txn");
    kvs = etcd_txn_kvs(root, 0);
    for (const struct json *i = json_first(kvs); i != NULL; i = i->next) {
        if (!etcd_kv_read(i, &kv))
            die("an unreadable marker");
        b->items[from + n++].marker_version = kv.modified;
        etcd_key_past(at, kv.key, kv.key_len);
    }
    json_free(root);
    return n;
}

static void make_gates(struct bare *b)
{
    char gate[MOVE_KEY_SIZE];

    for (int t = 1; t <= MOVE_TARGETS; t++) {
        struct slot *s = &b->slots[0];
        const struct json *root;

        buf_reset(&s->body);
        etcd_txn_begin(&s->body);
        etcd_txn_then(&s->body);
        put(b, s, move_gate(t, gate), MOVE_GATE);
        etcd_txn_close(&s->body);
        root = ask(b, "/v3/kv/txn");
        b->gates[t] = etcd_header_read(root).revision;
        json_free(root);
    }
}

void etcd_bare_move(const char *url, const char *space, struct move_item *items,
                    size_t n, struct move_result *result)
{
    struct etcd_key at = {.len = 0};
    uint64_t began, page;
    struct bare b;

    bare_open(&b, url, space, items);
    make_gates(&b);
    (void)in_batches(&b, 0, n, FILLED, fill_body, check_done);
    result->read_ms = result->move_ms = 0;
    result->txns = 0;
    began = clock_mono_ns();
    for (size_t from = 0, m; from < n; from += m) {
        page = clock_mono_ns();
        m = read_markers(&b, from, &at);
        if (m == 0)
            die("markers are missing");
        (void)in_batches(&b, from, m, READS, read_body, read_done);
        result->read_ms += move_ms_since(page);
        page = clock_mono_ns();
        result->txns +=
            in_batches(&b, from, m, result->batch, move_body, check_done);
        result->move_ms += move_ms_since(page);
    }
    result->all_ms = move_ms_since(began);
    bare_close(&b);
}

void etcd_bare_clear(const char *url, const char *space)
{
    struct etcd_key from, to;
    struct bare b;
    const struct json *root;
    struct buf *body;

    bare_open(&b, url, space, NULL);
    body = &b.slots[0].body;
    etcd_key_range(&from, &to, space, "/");
    buf_str(body, "{\"key\":\"");
    base64_write(body, from.s, from.len);
    buf_str(body, "\",\"range_end\":\"");
    base64_write(body, to.s, to.len);
    buf_str(body, "\"}");
    root = ask(&b, "/v3/kv/deleterange");
    buf_reset(body);
    buf_printf(body, "{\"revision\":\"%" PRIu64 "\",\"physical\":true}",
               etcd_header_read(root).revision);
    json_free(root);
    root = ask(&b, "/v3/kv/compaction");
    json_free(root);
    bare_close(&b);
}

void etcd_bare_wait(const char *url)
{
    int64_t until = clock_mono_ms() + START_MS;
    struct bare b;
    bool healthy = false;

    bare_open(&b, url, "", NULL);
    while (!healthy) {
        CURL *c = b.slots[0].easy;
        struct buf *reply = &b.slots[0].reply;
        char health[64];

        (void)snprintf(health, sizeof(health), "%s/health", url);
        buf_reset(reply);
        (void)curl_easy_setopt(c, CURLOPT_URL, health);
        healthy = curl_easy_perform(c) == CURLE_OK &&
                  strstr(buf_text(reply), "\"true\"") != NULL;
        if (!healthy && clock_mono_ms() >= until)
            die("the server does not start");
        if (!healthy)
            (void)poll(NULL, 0, 20);
    }
    bare_close(&b);
}
