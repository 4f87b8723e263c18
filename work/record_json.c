/*
 * record_json.c - payloads, as text.
 *
 * A payload belongs to the client: it comes back byte for byte as it was sent.
 * A tree of doubles would round 2^53+1, so everything here works on text that
 * json_parse() has already found to be JSON.
 */
#include "work/record_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

bool work_json_field(const char *object, size_t len, const char *key,
                     const char **value, size_t *value_len)
{
    struct json_span found;

    if (!json_field(object, len, key, &found))
        return false;
    *value = found.s;
    *value_len = (size_t)(found.end - found.s);
    return true;
}

/* Without blanks between the tokens. */
static void compact(struct buf *out, const char *text, size_t len)
{
    struct json_span t = {.s = text, .end = text + len};

    for (json_skip_blanks(&t); t.s < t.end; json_skip_blanks(&t)) {
        const char *from = t.s;

        if (*t.s == '"') {
            bool whole = json_skip_string(&t);

            assert(whole);
        } else {
            t.s++;
        }
        buf_add(out, from, (size_t)(t.s - from));
    }
}

/* How deep it nests. */
static size_t depth_of(const char *text, size_t len)
{
    struct json_span t = {.s = text, .end = text + len};
    size_t now = 0, most = 0;

    while (t.s < t.end) {
        if (*t.s == '"') {
            bool whole = json_skip_string(&t);

            assert(whole);
            continue;
        }
        if (*t.s == '{' || *t.s == '[') {
            now++;
            most = now > most ? now : most;
        } else if (*t.s == '}' || *t.s == ']') {
            now--;
        }
        t.s++;
    }
    assert(now == 0);
    return most;
}

int work_payload_read(const char *text, size_t len, char **out, struct err *err)
{
    struct json_span t = {.s = text, .end = text + len};
    const char *from;
    cJSON *tree;
    size_t n, depth;
    int rc = json_parse(text, len, &tree, err);

    *out = NULL;
    if (rc != 0) {
        (void)err_wrap(err, "payload");
        return rc;
    }
    cJSON_Delete(tree);
    json_skip_blanks(&t);
    from = t.s;
    (void)json_skip_value(&t);
    n = (size_t)(t.s - from);
    if (n > WORK_PAYLOAD_MAX) {
        return (int)err_set(err, ERR_TOO_LARGE,
                            "payload: more than %zu bytes; store it elsewhere "
                            "and put its address here",
                            WORK_PAYLOAD_MAX);
    }
    depth = depth_of(from, n);
    if (depth > WORK_PAYLOAD_DEPTH) {
        return (int)err_set(err, ERR_INVALID,
                            "payload: nested %zu deep, more than %d", depth,
                            WORK_PAYLOAD_DEPTH);
    }
    if (n != 4 || memcmp(from, "null", 4) != 0)
        *out = mem_strndup(from, n);
    return 0;
}

/* --- the same value ------------------------------------------------------- */

struct member {
    struct json_span key;
    struct json_span value;
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    size_t nx = (size_t)(x->key.end - x->key.s);
    size_t ny = (size_t)(y->key.end - y->key.s);
    int d = memcmp(x->key.s, y->key.s, nx < ny ? nx : ny);

    if (d != 0)
        return d;
    if (nx != ny)
        return nx < ny ? -1 : 1;
    return x->key.s < y->key.s ? -1 : x->key.s > y->key.s;
}

static void sorted(struct buf *out, struct json_span t);

/* The members of the object at t, sorted. At most WORK_PAYLOAD_DEPTH calls are
 * on the stack at a time. */
static void sorted_object(struct buf *out, struct json_span t)
{
    struct member *list = NULL;
    size_t n = 0, cap = 0;

    (void)json_take(&t, '{');
    while (t.s < t.end && *t.s == '"') {
        struct member m = {.key = t};

        (void)json_skip_string(&t);
        m.key.end = t.s;
        (void)json_take(&t, ':');
        m.value = t;
        (void)json_skip_value(&t);
        m.value.end = t.s;
        (void)json_take(&t, ',');
        if (n == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            list = mem_regrow(list, cap, sizeof(*list));
        }
        list[n++] = m;
    }
    if (n > 1)
        qsort(list, n, sizeof(*list), by_key);
    buf_char(out, '{');
    for (size_t i = 0; i < n; i++) {
        buf_add(out, list[i].key.s, (size_t)(list[i].key.end - list[i].key.s));
        buf_char(out, ':');
        sorted(out, list[i].value);
        buf_char(out, ',');
    }
    buf_char(out, '}');
    mem_free(list);
}

static void sorted(struct buf *out, struct json_span t)
{
    if (*t.s == '{') {
        sorted_object(out, t);
    } else if (*t.s == '[') {
        (void)json_take(&t, '[');
        buf_char(out, '[');
        while (t.s < t.end && *t.s != ']') {
            struct json_span value = t;

            (void)json_skip_value(&t);
            value.end = t.s;
            sorted(out, value);
            buf_char(out, ',');
            (void)json_take(&t, ',');
        }
        buf_char(out, ']');
    } else {
        buf_add(out, t.s, (size_t)(t.end - t.s));
    }
}

/* Its members sorted, without blanks. */
static void canonical(struct buf *out, const char *text)
{
    struct buf plain;

    buf_init(&plain, WORK_PAYLOAD_MAX);
    compact(&plain, text, strlen(text));
    buf_init(out, (size_t)WORK_PAYLOAD_MAX * 2);
    sorted(out, (struct json_span){.s = buf_text(&plain),
                                   .end = buf_text(&plain) + plain.len});
    assert(!plain.overflow);
    buf_close(&plain);
}

bool work_payload_same(const char *a, const char *b)
{
    struct buf x, y;
    bool same;

    if (a == NULL || b == NULL)
        return a == b;
    if (strcmp(a, b) == 0)
        return true;
    canonical(&x, a);
    canonical(&y, b);
    same =
        !x.overflow && !y.overflow && strcmp(buf_text(&x), buf_text(&y)) == 0;
    buf_close(&x);
    buf_close(&y);
    return same;
}
