/*
 * record_field.c - one reader and one writer for the tables of fields.
 *
 * A record in a registry may have been damaged, or written by hand or by a
 * later version: what is there must make sense, what is not known is ignored.
 */
#include "work/record_priv.h"

#include "base/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From here on a reader that takes numbers as doubles may have rounded. */
#define EXACT_END (INT64_C(1) << 53)

/* A name of an enum, with its end. */
#define NAME_SIZE 16

static int read_object(const struct record *r, const struct json *o, void *out,
                       struct err *err);

/* --- texts --------------------------------------------------------------- */

static int read_text(const struct field *f, const struct json *item, char *out,
                     size_t size, struct err *err)
{
    const char *text = json_string(item);
    size_t len = text == NULL ? 0 : strlen(text);

    assert(size > 0);
    if (text == NULL)
        return err_set(err, ERR_INVALID, "`%s` is not a string", f->key);
    if (len >= size && f->type == FIELD_WORDS) {
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    if (len >= size) {
        return err_set(err, ERR_INVALID, "`%s` has %zu bytes, more than %zu",
                       f->key, len, size - 1);
    }
    memcpy(out, text, len);
    out[len] = '\0';
    return 0;
}

static int read_address(const struct field *f, const struct json *item,
                        char *out, struct err *err)
{
    int rc = read_text(f, item, out, f->size, err);

    if (rc == 0 && out[0] != '\0') {
        rc = node_check_address(out, err);
        if (rc != 0)
            err_wrap(err, "`%s`", f->key);
    }
    return rc;
}

/* The kind of a node takes a byte, any other enum that of an unsigned. */
static int read_name(const struct field *f, const struct json *item, void *out,
                     struct err *err)
{
    char name[NAME_SIZE];
    enum node_kind kind = NODE_MASTER;
    int rc = read_text(f, item, name, sizeof(name), err), i;

    assert(f->type != FIELD_NAME || f->names != NULL);
    if (rc != 0)
        return rc;
    if (f->type == FIELD_NAME)
        i = work_record_name(f->names, f->max, name);
    else
        i = node_kind_parse(name, &kind) == 0 ? (int)kind : -1;
    if (i < 0) {
        return err_set(err, ERR_INVALID, "`%s` \"%s\" is not known", f->key,
                       name);
    }
    if (f->type == FIELD_OWNER && kind == NODE_ALERT_SERVER) {
        return err_set(err, ERR_INVALID, "`%s` is \"%s\", not master or worker",
                       f->key, node_kind_name(kind));
    }
    if (f->type == FIELD_NAME)
        *(unsigned *)out = (unsigned)i;
    else
        *(enum node_kind *)out = kind;
    return 0;
}

/* --- numbers ------------------------------------------------------------- */

/* A whole number that any reader of JSON holds exactly. */
static bool exact(const struct json *item, int64_t *out)
{
    return json_whole(item, out) && *out<EXACT_END && * out> - EXACT_END;
}

static int read_uint(const struct field *f, const struct json *item, void *out,
                     struct err *err)
{
    bool narrow = f->size == sizeof(uint32_t);
    uint64_t max = f->max != 0 ? f->max : narrow ? UINT32_MAX : UINT64_MAX;
    uint64_t value = 0;
    int64_t whole;
    bool good = json_is(item, JSON_STRING) &&
                units_uint(item->string, max, &value, NULL) == 0;

    assert(f->size == sizeof(uint32_t) || f->size == sizeof(uint64_t));
    if (exact(item, &whole) && whole >= 0) {
        value = (uint64_t)whole;
        good = value <= max;
    }
    if (!good) {
        return err_set(err, ERR_INVALID,
                       "`%s` is not a whole number up to %" PRIu64, f->key,
                       max);
    }
    if (narrow)
        *(uint32_t *)out = (uint32_t)value;
    else
        *(uint64_t *)out = value;
    return 0;
}

static int read_int(const struct field *f, const struct json *item,
                    int64_t *out, struct err *err)
{
    if (!exact(item, out) &&
        (!json_is(item, JSON_STRING) ||
         units_int(item->string, INT64_MIN, INT64_MAX, out, NULL) != 0))
        return err_set(err, ERR_INVALID, "`%s` is not a whole number", f->key);
    return 0;
}

static int read_exit(const struct field *f, const struct json *item, int *out,
                     struct err *err)
{
    int64_t value = -1;
    int rc = read_int(f, item, &value, err);

    assert(f->size == sizeof(int));
    if (rc == 0 && (value < -1 || value > INT32_MAX))
        rc = err_set(err, ERR_INVALID, "`%s` is out of range", f->key);
    *out = (int)value;
    return rc;
}

static int read_hex(const struct field *f, const struct json *item,
                    uint64_t *out, struct err *err)
{
    char text[17];
    int rc = read_text(f, item, text, sizeof(text), err);

    assert(f->size == sizeof(uint64_t));
    if (rc != 0)
        return rc;
    if (text[0] == '\0' || strspn(text, "0123456789abcdef") != strlen(text))
        return err_set(err, ERR_INVALID, "`%s` is not hexadecimal", f->key);
    *out = strtoull(text, NULL, 16);
    return 0;
}

static int read_bool(const struct field *f, const struct json *item, bool *out,
                     struct err *err)
{
    assert(f->size == sizeof(bool));
    if (!json_is(item, JSON_BOOL))
        return err_set(err, ERR_INVALID, "`%s` is not true or false", f->key);
    *out = json_true(item) != 0;
    return 0;
}

static void put_int(struct buf *b, const char *key, int64_t value)
{
    char text[24];

    if (value > -EXACT_END && value < EXACT_END) {
        json_put_int(b, key, value);
        return;
    }
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    json_put_str(b, key, text);
}

static void put_hex(struct buf *b, const char *key, uint64_t value)
{
    char text[17];

    (void)snprintf(text, sizeof(text), "%016" PRIx64, value);
    json_put_str(b, key, text);
}

static int read_time(const struct field *f, const struct json *item,
                     wall_ms *out, struct err *err)
{
    assert(f->size == sizeof(wall_ms));
    if (!json_is(item, JSON_STRING) ||
        !clock_parse_rfc3339(item->string, out)) {
        return err_set(err, ERR_INVALID,
                       "`%s` is not a time such as "
                       "2026-11-22T11:54:47.123Z",
                       f->key);
    }
    return 0;
}

static void put_time(struct buf *b, const char *key, wall_ms at)
{
    char text[CLOCK_RFC3339_SIZE];

    json_put_str(b, key, at == 0 ? NULL : clock_rfc3339(at, text));
}

/* --- processes and lists ------------------------------------------------- */

#define RECORD process
static const struct field process_fields[] = {
    FIELD("created", UINT, created),
    FIELD("startupTime", INT, startup_time),
    FIELD("processId", INT, process_id),
};
static const struct record process_record = RECORD_OF(process_fields);
#undef RECORD

static int read_process(const struct field *f, const struct json *item,
                        struct process *out, struct err *err)
{
    int rc;

    assert(f->size == sizeof(struct process));
    if (!json_is(item, JSON_OBJECT) ||
        json_given(item, "startupTime") == NULL ||
        json_given(item, "processId") == NULL) {
        return err_set(err, ERR_INVALID,
                       "`%s` is not {created, startupTime, processId}", f->key);
    }
    rc = read_object(&process_record, item, out, err);
    if (rc != 0)
        err_wrap(err, "`%s`", f->key);
    out->known = rc == 0;
    return rc;
}

static void put_process(struct buf *b, const char *key, const struct process *p)
{
    if (!p->known) {
        json_put_null(b, key);
        return;
    }
    json_open(b, key, '{');
    work_record_write(&process_record, b, p);
    json_close(b, '}');
}

static int read_list(const struct field *f, const struct json *list, char *out,
                     size_t *n, struct err *err)
{
    const struct json *it;

    assert(f->of != NULL);
    assert(*n <= f->max);
    if (!json_is(list, JSON_ARRAY))
        return err_set(err, ERR_INVALID, "`%s` is not a list", f->key);
    json_each (it, list) {
        int rc;

        if (*n == f->max)
            break;
        rc = json_is(it, JSON_OBJECT)
                 ? read_object(f->of, it, out + *n * f->of->size, err)
                 : err_set(err, ERR_INVALID, "not an object");
        if (rc != 0) {
            err_wrap(err, "`%s`, entry %zu", f->key, *n);
            return rc;
        }
        (*n)++;
    }
    return 0;
}

static void put_list(struct buf *b, const struct field *f, const char *list,
                     size_t n)
{
    assert(f->of != NULL);
    assert(n <= f->max);
    json_open(b, f->key, '[');
    for (size_t i = 0; i < n; i++) {
        json_open(b, NULL, '{');
        work_record_write(f->of, b, list + i * f->of->size);
        json_close(b, '}');
    }
    json_close(b, ']');
}

/* --- records ------------------------------------------------------------- */

static int read_field(const struct field *f, const struct json *item,
                      char *record, struct err *err)
{
    void *out = record + f->offset;

    switch (f->type) {
    case FIELD_ID: {
        int rc = read_text(f, item, out, f->size, err);

        return rc != 0 ? rc : work_check_id(out, err);
    }
    case FIELD_TEXT:
    case FIELD_WORDS:
        return read_text(f, item, out, f->size, err);
    case FIELD_ADDRESS:
        return read_address(f, item, out, err);
    case FIELD_NAME:
    case FIELD_KIND:
    case FIELD_OWNER:
        return read_name(f, item, out, err);
    case FIELD_UINT:
        return read_uint(f, item, out, err);
    case FIELD_INT:
        return read_int(f, item, out, err);
    case FIELD_HEX:
        return read_hex(f, item, out, err);
    case FIELD_EXIT:
        return read_exit(f, item, out, err);
    case FIELD_BOOL:
        return read_bool(f, item, out, err);
    case FIELD_TIME:
        return read_time(f, item, out, err);
    case FIELD_PROCESS:
        return read_process(f, item, out, err);
    case FIELD_PART:
        return json_is(item, JSON_OBJECT)
                   ? read_object(f->of, item, record, err)
                   : 0;
    case FIELD_LIST:
        return read_list(f, item, out, (size_t *)(void *)(record + f->count),
                         err);
    }
    return (int)ERR_INVALID;
}

static int read_object(const struct record *r, const struct json *o, void *out,
                       struct err *err)
{
    assert(r->n > 0);
    for (const struct field *f = r->fields; f < r->fields + r->n; f++) {
        const struct json *item = json_given(o, f->key);
        int rc = 0;

        if (item != NULL)
            rc = read_field(f, item, out, err);
        else if (f->required)
            rc = err_set(err, ERR_INVALID, "`%s` is missing", f->key);
        if (rc != 0)
            return rc;
    }
    return 0;
}

int work_record_take(const struct record *r, const struct json *o, void *out,
                     struct err *err)
{
    return json_is(o, JSON_OBJECT)
               ? read_object(r, o, out, err)
               : err_set(err, ERR_INVALID, "not a JSON object");
}

int work_record_read(const struct record *r, const char *value, size_t len,
                     void *out, struct err *err)
{
    const struct json *o;
    int rc = json_parse(value, len, &o, err);

    if (rc == 0)
        rc = work_record_take(r, o, out, err);
    json_free(o);
    return rc;
}

/* Of texts, flags and processes. */
static bool is_empty(const struct field *f, const char *at)
{
    return f->type == FIELD_PROCESS ? !((const struct process *)at)->known
                                    : *at == '\0';
}

static void put_field(struct buf *b, const struct field *f, const char *record)
{
    const void *at = record + f->offset;

    switch (f->type) {
    case FIELD_ID:
    case FIELD_TEXT:
    case FIELD_WORDS:
    case FIELD_ADDRESS:
        json_put_str(b, f->key, f->required || !is_empty(f, at) ? at : NULL);
        break;
    case FIELD_NAME:
        assert(*(const unsigned *)at < f->max);
        json_put_str(b, f->key, f->names[*(const unsigned *)at]);
        break;
    case FIELD_KIND:
    case FIELD_OWNER:
        json_put_str(b, f->key, node_kind_name(*(const enum node_kind *)at));
        break;
    case FIELD_UINT:
        json_put_u64(b, f->key,
                     f->size == sizeof(uint32_t) ? *(const uint32_t *)at
                                                 : *(const uint64_t *)at);
        break;
    case FIELD_INT:
        put_int(b, f->key, *(const int64_t *)at);
        break;
    case FIELD_HEX:
        put_hex(b, f->key, *(const uint64_t *)at);
        break;
    case FIELD_EXIT:
        if (*(const int *)at >= 0)
            json_put_int(b, f->key, *(const int *)at);
        else
            json_put_null(b, f->key);
        break;
    case FIELD_BOOL:
        json_put_bool(b, f->key, *(const bool *)at);
        break;
    case FIELD_TIME:
        put_time(b, f->key, *(const wall_ms *)at);
        break;
    case FIELD_PROCESS:
        put_process(b, f->key, at);
        break;
    case FIELD_PART:
        json_open(b, f->key, '{');
        work_record_write(f->of, b, record);
        json_close(b, '}');
        break;
    case FIELD_LIST:
        put_list(b, f, at, *(const size_t *)(const void *)(record + f->count));
        break;
    }
}

void work_record_write(const struct record *r, struct buf *out,
                       const void *from)
{
    for (const struct field *f = r->fields; f < r->fields + r->n; f++)
        if ((f->when == NULL || f->when(from)) &&
            !(f->sparse && is_empty(f, (const char *)from + f->offset)))
            put_field(out, f, from);
}
