/*
 * fuzz_json.c - any bytes as JSON: what is taken keeps its text, and that text
 * alone reads as the same value.
 */
#include "base/compiler.h"
#include "base/json/json.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void check(const struct json *v, const char *text, size_t size)
{
    const struct json *item;
    size_t n = 0;

    assert(v->from >= text && v->from <= v->text && v->len > 0);
    assert(v->text + v->len <= text + size);
    json_each (item, v) {
        check(item, v->text, v->len);
        n++;
    }
    assert(n == json_count(v));
    if (json_is(v, JSON_STRING))
        assert(strlen(v->string) <= v->len - 2);
}

static void check_alone(const struct json *v)
{
    char *text = mem_dup(v->text, v->len);
    const struct json *again;
    int64_t whole = 0, same = 0;
    int rc = json_parse(text, v->len, &again, NULL);

    assert(rc == 0);
    assert(again->type == v->type && again->count == v->count);
    assert(json_whole(v, &whole) == json_whole(again, &same));
    assert(whole == same);
    if (json_is(v, JSON_STRING))
        assert(strcmp(v->string, again->string) == 0);
    json_free(again);
    mem_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct json *root, *item;
    struct err err;

    if (json_parse((const char *)data, size, &root, &err) != 0) {
        assert(root == NULL && strstr(err.msg, "JSON, byte ") != NULL);
        return 0;
    }
    check(root, (const char *)data, size);
    check_alone(root);
    json_each (item, root)
        check_alone(item);
    if (json_is(root, JSON_OBJECT))
        (void)!json_unique(root, NULL);
    json_free(root);
    return 0;
}
