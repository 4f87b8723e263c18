/*
 * record_field.c - reading and writing single fields of the records.
 *
 * A record in a registry may have been damaged, or written by hand or by a
 * later version: what is there must make sense, what is not known is ignored.
 */
#include "work/record_priv.h"

#include "base/units.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* From here on a double may be another number, rounded. */
#define EXACT_END (INT64_C(1) << 53)

static const cJSON *find(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

static int missing(const char *key, enum field_need need, struct err *err)
{
    return need == FIELD_OPTIONAL
               ? 0
               : (int)err_set(err, ERR_INVALID, "`%s` is missing", key);
}

int field_object(const char *value, size_t len, cJSON **out, struct err *err)
{
    int rc = json_parse(value, len, out, err);

    if (rc == 0 && !cJSON_IsObject(*out)) {
        cJSON_Delete(*out);
        *out = NULL;
        rc = (int)err_set(err, ERR_INVALID, "not a JSON object");
    }
    return rc;
}

int field_text(const cJSON *o, const char *key, enum field_need need, char *out,
               size_t size, struct err *err)
{
    const cJSON *item = find(o, key);
    size_t len;

    assert(size > 1);
    if (item == NULL) {
        return missing(key, need, err);
    }
    if (!cJSON_IsString(item)) {
        return (int)err_set(err, ERR_INVALID, "`%s` is not a string", key);
    }
    len = strlen(item->valuestring);
    if (len >= size) {
        return (int)err_set(err, ERR_INVALID,
                            "`%s` has %zu bytes, more than %zu", key, len,
                            size - 1);
    }
    memcpy(out, item->valuestring, len + 1);
    return 0;
}

int field_words(const cJSON *o, const char *key, char *out, size_t size,
                struct err *err)
{
    const cJSON *item = find(o, key);
    size_t len;

    assert(size > 1);
    if (item == NULL) {
        return 0;
    }
    if (!cJSON_IsString(item)) {
        return (int)err_set(err, ERR_INVALID, "`%s` is not a string", key);
    }
    len = strlen(item->valuestring);
    if (len >= size) {
        len = size - 1;
        while (len > 0 &&
               ((unsigned char)item->valuestring[len] & 0xc0) == 0x80) {
            len--;
        }
    }
    memcpy(out, item->valuestring, len);
    out[len] = '\0';
    return 0;
}

int field_u64(const cJSON *o, const char *key, enum field_need need,
              uint64_t max, uint64_t *out, struct err *err)
{
    const cJSON *item = find(o, key);

    if (item == NULL) {
        return missing(key, need, err);
    }
    if (cJSON_IsString(item) &&
        units_uint(item->valuestring, max, out, NULL) == 0) {
        return 0;
    }
    if (cJSON_IsNumber(item) && item->valuedouble >= 0 &&
        item->valuedouble < (double)EXACT_END &&
        trunc(item->valuedouble) == item->valuedouble &&
        (uint64_t)item->valuedouble <= max) {
        *out = (uint64_t)item->valuedouble;
        return 0;
    }
    return (int)err_set(err, ERR_INVALID,
                        "`%s` is not a whole number up to %" PRIu64, key, max);
}

int field_u32(const cJSON *o, const char *key, uint32_t *out, struct err *err)
{
    uint64_t wide = *out;
    int rc = field_u64(o, key, FIELD_OPTIONAL, UINT32_MAX, &wide, err);

    *out = (uint32_t)wide;
    return rc;
}

int field_i64(const cJSON *o, const char *key, int64_t *out, struct err *err)
{
    const cJSON *item = find(o, key);

    if (item == NULL) {
        return 0;
    }
    if (cJSON_IsString(item) &&
        units_int(item->valuestring, INT64_MIN, INT64_MAX, out, NULL) == 0) {
        return 0;
    }
    if (cJSON_IsNumber(item) && fabs(item->valuedouble) < (double)EXACT_END &&
        trunc(item->valuedouble) == item->valuedouble) {
        *out = (int64_t)item->valuedouble;
        return 0;
    }
    return (int)err_set(err, ERR_INVALID, "`%s` is not a whole number", key);
}

int field_bool(const cJSON *o, const char *key, bool *out, struct err *err)
{
    const cJSON *item = find(o, key);

    if (item == NULL) {
        return 0;
    }
    if (!cJSON_IsBool(item)) {
        return (int)err_set(err, ERR_INVALID, "`%s` is not true or false", key);
    }
    *out = cJSON_IsTrue(item) != 0;
    return 0;
}

/* --- times ---------------------------------------------------------------- */

int field_time(const cJSON *o, const char *key, wall_ms *out, struct err *err)
{
    const cJSON *item = find(o, key);

    if (item == NULL) {
        *out = 0;
        return 0;
    }
    if (!cJSON_IsString(item) || !clock_parse_rfc3339(item->valuestring, out)) {
        return (int)err_set(err, ERR_INVALID,
                            "`%s` is not a time such as "
                            "2026-11-22T11:54:47.123Z",
                            key);
    }
    return 0;
}

void put_time(struct buf *b, const char *key, wall_ms at)
{
    char text[CLOCK_RFC3339_SIZE];

    json_put_str(b, key, at == 0 ? NULL : clock_rfc3339(at, text));
}

/* --- processes and addresses ---------------------------------------------- */

int field_process(const cJSON *o, const char *key, struct process *out,
                  struct err *err)
{
    const cJSON *item = find(o, key);
    int rc = 0;

    *out = (struct process){0};
    if (item == NULL) {
        return 0;
    }
    if (!cJSON_IsObject(item) || find(item, "startupTime") == NULL ||
        find(item, "processId") == NULL) {
        return (int)err_set(err, ERR_INVALID,
                            "`%s` is not {created, startupTime, processId}",
                            key);
    }
    rc = field_u64(item, "created", FIELD_OPTIONAL, UINT64_MAX, &out->created,
                   err);
    rc = rc != 0 ? rc : field_i64(item, "startupTime", &out->startup_time, err);
    rc = rc != 0 ? rc : field_i64(item, "processId", &out->process_id, err);
    if (rc != 0) {
        *out = (struct process){0};
        (void)err_wrap(err, "`%s`", key);
        return rc;
    }
    out->known = true;
    return 0;
}

static void put_i64(struct buf *b, const char *key, int64_t value)
{
    char text[24];

    if (value > -EXACT_END && value < EXACT_END) {
        json_put_int(b, key, value);
        return;
    }
    (void)snprintf(text, sizeof(text), "%" PRId64, value);
    json_put_str(b, key, text);
}

void put_process(struct buf *b, const char *key, const struct process *p)
{
    if (!p->known) {
        json_put_null(b, key);
        return;
    }
    json_open(b, key, '{');
    json_put_u64(b, "created", p->created);
    put_i64(b, "startupTime", p->startup_time);
    put_i64(b, "processId", p->process_id);
    json_close(b, '}');
}

int field_node_kind(const cJSON *o, enum node_kind *out, struct err *err)
{
    char name[16] = "";
    int rc = field_text(o, "kind", FIELD_REQUIRED, name, sizeof(name), err);

    if (rc == 0 && node_kind_parse(name, out) != 0) {
        rc = (int)err_set(err, ERR_INVALID, "`kind` \"%s\" is not known", name);
    }
    return rc;
}

int field_owner_kind(const cJSON *o, enum node_kind *out, struct err *err)
{
    int rc = field_node_kind(o, out, err);

    if (rc == 0 && *out == NODE_ALERT_SERVER) {
        rc = (int)err_set(err, ERR_INVALID,
                          "`kind` is \"%s\", not master or worker",
                          node_kind_name(*out));
    }
    return rc;
}

int field_address(const cJSON *o, const char *key, enum field_need need,
                  char out[NODE_ADDRESS_MAX + 1], struct err *err)
{
    int rc;

    out[0] = '\0';
    rc = field_text(o, key, need, out, NODE_ADDRESS_MAX + 1, err);
    if (rc != 0 || out[0] == '\0') {
        return rc;
    }
    rc = node_check_address(out, err);
    if (rc != 0) {
        (void)err_wrap(err, "`%s`", key);
    }
    return rc;
}
