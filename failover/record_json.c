/*
 * record_json.c - payloads, as text.
 *
 * A payload belongs to the client: it comes back with the digits and escapes
 * it was sent with. A tree of doubles would round 2^53+1, so everything here
 * works on text that json_parse() has already found to be JSON.
 */
#include "failover/record_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* Text between two pointers. */
struct span {
    const char *s, *end;
};

static void skip_blanks(struct span *t)
{
    while (t->s < t->end &&
           (*t->s == ' ' || *t->s == '\t' || *t->s == '\r' || *t->s == '\n')) {
        t->s++;
    }
}

static bool take(struct span *t, char c)
{
    skip_blanks(t);
    if (t->s >= t->end || *t->s != c) {
        return false;
    }
    t->s++;
    return true;
}

/* Over a string with both quotes. */
static bool skip_string(struct span *t)
{
    if (!take(t, '"')) {
        return false;
    }
    while (t->s < t->end && *t->s != '"') {
        t->s += *t->s == '\\' && t->end - t->s > 1 ? 2 : 1;
    }
    if (t->s >= t->end) {
        return false;
    }
    t->s++;
    return true;
}

static bool skip_value(struct span *t)
{
    size_t depth = 0;

    skip_blanks(t);
    do {
        if (t->s >= t->end) {
            return false;
        }
        if (*t->s == '"') {
            if (!skip_string(t)) {
                return false;
            }
        } else if (*t->s == '{' || *t->s == '[') {
            depth++;
            t->s++;
        } else if (*t->s == '}' || *t->s == ']') {
            if (depth == 0) {
                return false;
            }
            depth--;
            t->s++;
        } else if (depth > 0) {
            t->s++;
        } else {
            const char *from = t->s;

            while (t->s < t->end && strchr(",]} \t\r\n", *t->s) == NULL) {
                t->s++;
            }
            return t->s > from;
        }
    } while (depth > 0);
    return true;
}

bool work_json_field(const char *object, size_t len, const char *key,
                     const char **value, size_t *value_len)
{
    struct span t = {.s = object, .end = object + len};
    size_t key_len = strlen(key);

    if (!take(&t, '{')) {
        return false;
    }
    do {
        const char *from, *start;
        bool ours;

        skip_blanks(&t);
        from = t.s;
        if (!skip_string(&t)) {
            return false;
        }
        ours = (size_t)(t.s - from) == key_len + 2 &&
               memcmp(from + 1, key, key_len) == 0;
        if (!take(&t, ':')) {
            return false;
        }
        skip_blanks(&t);
        start = t.s;
        if (!skip_value(&t)) {
            return false;
        }
        if (ours) {
            *value = start;
            *value_len = (size_t)(t.s - start);
            return true;
        }
    } while (take(&t, ','));
    return false;
}

/* Without blanks between the tokens; *depth: how deep it nests. */
static void compact(struct buf *out, const char *text, size_t len,
                    size_t *depth)
{
    struct span t = {.s = text, .end = text + len};
    size_t now = 0;

    *depth = 0;
    for (skip_blanks(&t); t.s < t.end; skip_blanks(&t)) {
        const char *from = t.s;

        if (*t.s == '"') {
            bool whole = skip_string(&t);

            assert(whole);
        } else {
            if (*t.s == '{' || *t.s == '[') {
                now++;
                *depth = now > *depth ? now : *depth;
            } else if (*t.s == '}' || *t.s == ']') {
                now--;
            }
            t.s++;
        }
        buf_add(out, from, (size_t)(t.s - from));
    }
    assert(now == 0);
}

int work_payload_read(const char *text, size_t len, char **out, struct err *err)
{
    struct buf b;
    cJSON *tree;
    size_t depth;
    int rc = json_parse(text, len, &tree, err);

    *out = NULL;
    if (rc != 0) {
        (void)err_wrap(err, "payload");
        return rc;
    }
    cJSON_Delete(tree);
    buf_init(&b, WORK_PAYLOAD_MAX);
    compact(&b, text, len, &depth);
    if (b.overflow) {
        rc = (int)err_set(err, ERR_TOO_LARGE,
                          "payload: more than %zu bytes; store it elsewhere "
                          "and put its address here",
                          WORK_PAYLOAD_MAX);
    } else if (depth > WORK_PAYLOAD_DEPTH) {
        rc = (int)err_set(err, ERR_INVALID,
                          "payload: nested %zu deep, more than %d", depth,
                          WORK_PAYLOAD_DEPTH);
    } else if (strcmp(buf_text(&b), "null") != 0) {
        *out = buf_take(&b);
    }
    buf_close(&b);
    return rc;
}

/* --- the same value ------------------------------------------------------- */

struct member {
    struct span key;
    struct span value;
};

static int by_key(const void *a, const void *b)
{
    const struct member *x = a, *y = b;
    size_t nx = (size_t)(x->key.end - x->key.s);
    size_t ny = (size_t)(y->key.end - y->key.s);
    int d = memcmp(x->key.s, y->key.s, nx < ny ? nx : ny);

    if (d != 0) {
        return d;
    }
    if (nx != ny) {
        return nx < ny ? -1 : 1;
    }
    return x->key.s < y->key.s ? -1 : x->key.s > y->key.s;
}

static void sorted(struct buf *out, struct span t);

/* The members of the object at t, sorted. At most WORK_PAYLOAD_DEPTH calls are
 * on the stack at a time. */
static void sorted_object(struct buf *out, struct span t)
{
    struct member *list = NULL;
    size_t n = 0, cap = 0;

    (void)take(&t, '{');
    while (t.s < t.end && *t.s == '"') {
        struct member m = {.key = t};

        (void)skip_string(&t);
        m.key.end = t.s;
        (void)take(&t, ':');
        m.value = t;
        (void)skip_value(&t);
        m.value.end = t.s;
        (void)take(&t, ',');
        if (n == cap) {
            cap = cap == 0 ? 8 : cap * 2;
            list = mem_regrow(list, cap, sizeof(*list));
        }
        list[n++] = m;
    }
    if (n > 1) {
        qsort(list, n, sizeof(*list), by_key);
    }
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

static void sorted(struct buf *out, struct span t)
{
    if (*t.s == '{') {
        sorted_object(out, t);
    } else if (*t.s == '[') {
        (void)take(&t, '[');
        buf_char(out, '[');
        while (t.s < t.end && *t.s != ']') {
            struct span value = t;

            (void)skip_value(&t);
            value.end = t.s;
            sorted(out, value);
            buf_char(out, ',');
            (void)take(&t, ',');
        }
        buf_char(out, ']');
    } else {
        buf_add(out, t.s, (size_t)(t.end - t.s));
    }
}

bool work_payload_same(const char *a, const char *b)
{
    struct buf x, y;
    bool same;

    if (a == NULL || b == NULL) {
        return a == b;
    }
    if (strcmp(a, b) == 0) {
        return true;
    }
    if (strlen(a) != strlen(b)) {
        return false; /* both compact: another order has the same length */
    }
    buf_init(&x, (size_t)WORK_PAYLOAD_MAX * 2);
    buf_init(&y, (size_t)WORK_PAYLOAD_MAX * 2);
    sorted(&x, (struct span){.s = a, .end = a + strlen(a)});
    sorted(&y, (struct span){.s = b, .end = b + strlen(b)});
    same =
        !x.overflow && !y.overflow && strcmp(buf_text(&x), buf_text(&y)) == 0;
    buf_close(&x);
    buf_close(&y);
    return same;
}
