/*
 * record_json.c - payloads.
 *
 * A payload belongs to the client: it comes back byte for byte as it was sent.
 */
#include "work/record_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* How deep it nests; as many calls are on the stack, JSON_DEPTH_MAX at most. */
static size_t depth_of(const struct json *value)
{
    const struct json *v;
    size_t most = 0;

    json_each (v, value) {
        size_t depth = depth_of(v);

        most = depth > most ? depth : most;
    }
    return most + (value->type >= JSON_ARRAY);
}

int work_payload_take(const struct json *value, char **out, struct err *err)
{
    size_t depth = depth_of(value);

    *out = NULL;
    if (value->len > WORK_PAYLOAD_MAX) {
        return err_set(err, ERR_TOO_LARGE,
                       "payload: more than %zu bytes; store it elsewhere "
                       "and put its address here",
                       WORK_PAYLOAD_MAX);
    }
    if (depth > WORK_PAYLOAD_DEPTH) {
        return err_set(err, ERR_INVALID,
                       "payload: nested %zu deep, more than %d", depth,
                       WORK_PAYLOAD_DEPTH);
    }
    if (!json_is(value, JSON_NULL))
        *out = mem_strndup(value->text, value->len);
    return 0;
}

int work_payload_read(const char *text, size_t len, char **out, struct err *err)
{
    const struct json *value;
    int rc = json_parse(text, len, &value, err);

    *out = NULL;
    if (rc != 0)
        err_wrap(err, "payload");
    else
        rc = work_payload_take(value, out, err);
    json_free(value);
    return rc;
}

/* --- the same value ------------------------------------------------------ */

static size_t key_len(const struct json *member)
{
    const char *end = member->text; /* back over the colon and blanks */

    while (end[-1] != '"')
        end--;
    assert(end > member->from);
    return (size_t)(end - member->from);
}

/* By their keys as sent; of one key, in the order in which they were sent. */
static int by_key(const void *a, const void *b)
{
    const struct json *x = *(const struct json *const *)a;
    const struct json *y = *(const struct json *const *)b;
    size_t nx = key_len(x), ny = key_len(y);
    int d = memcmp(x->from, y->from, nx < ny ? nx : ny);

    if (d != 0)
        return d;
    if (nx != ny)
        return nx < ny ? -1 : 1;
    return x->from < y->from ? -1 : x->from > y->from;
}

/* Without blanks, its members sorted. At most WORK_PAYLOAD_DEPTH calls are on
 * the stack at a time. */
static void canonical(struct buf *out, const struct json *value)
{
    bool object = json_is(value, JSON_OBJECT);
    const struct json *v, **list;
    size_t n = 0;

    if (value->type < JSON_ARRAY) {
        buf_add(out, value->text, value->len);
        return;
    }
    list = mem_array(value->count, sizeof(const struct json *));
    json_each (v, value)
        list[n++] = v;
    assert(n == value->count);
    if (object)
        qsort(list, n, sizeof(const struct json *), by_key);
    buf_char(out, object ? '{' : '[');
    for (size_t i = 0; i < n; i++) {
        if (object) {
            buf_add(out, list[i]->from, key_len(list[i]));
            buf_char(out, ':');
        }
        canonical(out, list[i]);
        buf_char(out, ',');
    }
    buf_char(out, object ? '}' : ']');
    mem_free(list);
}

/* False: it was no payload. */
static bool read_canonical(struct buf *out, const char *text)
{
    const struct json *value;

    buf_init(out, (size_t)WORK_PAYLOAD_MAX * 2);
    if (json_parse(text, strlen(text), &value, NULL) != 0)
        return false;
    canonical(out, value);
    json_free(value);
    return !out->overflow;
}

bool work_payload_same(const char *a, const char *b)
{
    struct buf x, y;
    bool same;

    if (a == NULL || b == NULL)
        return a == b;
    if (strcmp(a, b) == 0)
        return true;
    same = read_canonical(&x, a);
    same = read_canonical(&y, b) && same &&
           strcmp(buf_text(&x), buf_text(&y)) == 0;
    buf_close(&x);
    buf_close(&y);
    return same;
}
