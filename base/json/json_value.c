/*
 * json_value.c - what stands in a tree of json.c.
 */
#include "base/json/json.h"

#include "base/mem.h"
#include "base/units.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 2^53: from here on a client's own JSON may have rounded it. */
#define JSON_INT_END INT64_C(9007199254740992)

bool json_is(const struct json *v, enum json_type type)
{
    return v != NULL && v->type == type;
}

const struct json *json_get(const struct json *object, const char *key)
{
    assert(key != NULL);
    if (!json_is(object, JSON_OBJECT))
        return NULL;
    for (const struct json *m = object->child; m != NULL; m = m->next)
        if (m->key[0] == key[0] && strcmp(m->key, key) == 0)
            return m;
    return NULL;
}

const struct json *json_given(const struct json *object, const char *key)
{
    const struct json *m = json_get(object, key);

    assert(m == NULL || strcmp(m->key, key) == 0);
    return json_is(m, JSON_NULL) ? NULL : m;
}

const struct json *json_first(const struct json *list)
{
    return json_is(list, JSON_ARRAY) || json_is(list, JSON_OBJECT) ? list->child
                                                                   : NULL;
}

size_t json_count(const struct json *list)
{
    assert(list == NULL || list->count == 0 || list->child != NULL);
    return list == NULL ? 0 : list->count;
}

const char *json_string(const struct json *v)
{
    return json_is(v, JSON_STRING) ? v->string : NULL;
}

bool json_true(const struct json *v)
{
    return json_is(v, JSON_BOOL) && v->truth;
}

bool json_whole(const struct json *v, int64_t *out)
{
    if (!json_is(v, JSON_NUMBER) || !v->is_whole)
        return false;
    assert(fabs(v->number) <= 0x1p63);
    *out = v->whole;
    return true;
}

const char *json_str(const struct json *object, const char *key)
{
    return json_string(json_get(object, key));
}

double json_num(const struct json *object, const char *key, double otherwise)
{
    const struct json *v = json_get(object, key);

    return json_is(v, JSON_NUMBER) ? v->number : otherwise;
}

int64_t json_int(const struct json *object, const char *key, int64_t otherwise)
{
    int64_t n;

    return json_whole(json_get(object, key), &n) && n > -JSON_INT_END &&
                   n < JSON_INT_END
               ? n
               : otherwise;
}

uint64_t json_u64(const struct json *object, const char *key,
                  uint64_t otherwise)
{
    const char *text = json_str(object, key);
    int64_t number = json_int(object, key, -1);
    uint64_t value;

    assert(number > -JSON_INT_END);
    assert(number < JSON_INT_END);
    if (text != NULL && units_uint(text, UINT64_MAX, &value, NULL) == 0)
        return value;
    return number >= 0 ? (uint64_t)number : otherwise;
}

bool json_bool(const struct json *object, const char *key, bool otherwise)
{
    const struct json *v = json_get(object, key);

    return json_is(v, JSON_BOOL) ? v->truth : otherwise;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int json_unique(const struct json *object, struct err *err)
{
    const char **names;
    size_t n = 0;
    int rc = 0;

    assert(json_is(object, JSON_OBJECT));
    names = mem_array(object->count + 1, sizeof(*names));
    for (const struct json *m = object->child; m != NULL; m = m->next)
        names[n++] = m->key;
    assert(n == object->count);
    qsort(names, n, sizeof(*names), by_name);
    for (size_t i = 1; i < n && rc == 0; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            rc = err_set(err, ERR_INVALID, "%.64s: it stands twice", names[i]);
    mem_free(names);
    return rc;
}
