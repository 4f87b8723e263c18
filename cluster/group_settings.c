/*
 * group_settings.c - a group's settings as JSON, both ways.
 *
 * Names, types and ranges are those of the configuration's table; nothing here
 * knows a key by name. A block of the table (dynamic-weights) is an object, and
 * is given or removed as a whole.
 */
#include "cluster/group_settings.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME_MAX_BYTES 64U

/* "dynamic-weights.cpu-usage" is cpu_usage in the block dynamic_weights; a key
 * outside of blocks has block "". */
struct path {
    char block[NAME_MAX_BYTES], name[NAME_MAX_BYTES];
};

static void path_of(size_t key, struct path *out)
{
    const char *text = conf_own_name(key), *dot = strchr(text, '.');
    size_t n = dot == NULL ? 0 : (size_t)(dot - text);

    assert(n < sizeof(out->block));
    (void)snprintf(out->block, sizeof(out->block), "%.*s", (int)n, text);
    (void)snprintf(out->name, sizeof(out->name), "%s",
                   dot == NULL ? text : dot + 1);
    for (char *s = out->block; *s != '\0'; s++)
        *s = *s == '-' ? '_' : *s;
    for (char *s = out->name; *s != '\0'; s++)
        *s = *s == '-' ? '_' : *s;
}

static uint32_t bit(size_t key)
{
    assert(key < CONF_OWN_MAX);
    return UINT32_C(1) << key;
}

static uint32_t all_keys(void)
{
    size_t n = conf_own_keys();

    return n == CONF_OWN_MAX ? UINT32_MAX : bit(n) - 1;
}

/* --- what holds ---------------------------------------------------------- */

void group_settings_merge(struct group_settings *out,
                          const struct conf_balancer *general,
                          const struct conf_own *configured,
                          const struct conf_own *by_api)
{
    const struct conf_own *own[] = {configured, by_api};

    memset(out, 0, sizeof(*out));
    out->values = *general;
    for (size_t i = 0; i < ARRAY_LEN(own); i++) {
        if (own[i] == NULL)
            continue;
        conf_own_apply(own[i], &out->values);
        for (size_t key = 0; key < conf_own_keys(); key++)
            if (conf_own_has(own[i], key))
                out->from[key] =
                    (uint8_t)(i == 0 ? SETTINGS_CONFIGURED : SETTINGS_BY_API);
    }
    static_assert(SETTINGS_GENERAL == 0, "what nobody has of their own");
}

/* --- reading ------------------------------------------------------------- */

struct reading {
    struct group_settings_change *out;
    enum problem problem;
    struct err *err; /* the first one's */
};

static void PRINTF_LIKE(3, 4)
    wrong(struct reading *r, enum problem problem, const char *fmt, ...)
{
    va_list ap;

    assert(problem != PROBLEM_NONE);
    if (r->problem != PROBLEM_NONE)
        return;
    r->problem = problem;
    r->err->code = ERR_INVALID;
    va_start(ap, fmt);
    (void)vsnprintf(r->err->msg, sizeof(r->err->msg), fmt, ap);
    va_end(ap);
}

/* The names that may stand in a block, "a, b, c"; a block in it once. */
static void list_names(const char *block, struct buf *out)
{
    struct path path, before = {.block = ""};

    for (size_t key = 0; key < conf_own_keys(); key++) {
        bool inside, begins;

        path_of(key, &path);
        inside = strcmp(path.block, block) == 0;
        begins = block[0] == '\0' && strcmp(path.block, before.block) != 0;
        before = path;
        if (inside || begins)
            buf_printf(out, "%s%s", out->len == 0 ? "" : ", ",
                       inside ? path.name : path.block);
    }
    assert(out->len > 0);
}

static void unknown(struct reading *r, const char *block, const char *name)
{
    struct buf names;

    buf_init(&names, 1024);
    list_names(block, &names);
    wrong(r, PROBLEM_INVALID_JSON,
          "balancer.%s%s%.64s: no such setting of a group; there are %s", block,
          block[0] == '\0' ? "" : ".", name, buf_text(&names));
    buf_close(&names);
}

static void read_value(struct reading *r, size_t key, const struct json *v)
{
    bool number = conf_own_is_number(key);
    struct path path;
    struct err err;
    int rc;

    path_of(key, &path);
    if (!json_is(v, number ? JSON_NUMBER : JSON_STRING)) {
        wrong(r, PROBLEM_INVALID_JSON, "balancer.%s%s%s: a %s is expected%s",
              path.block, path.block[0] == '\0' ? "" : ".", path.name,
              number ? "number" : "string",
              path.block[0] == '\0' ? ", or null for none of its own" : "");
        return;
    }
    rc = number ? conf_own_set_number(&r->out->own, key, v->number, &err)
                : conf_own_set(&r->out->own, key, v->string, &err);
    if (rc != 0)
        wrong(r, PROBLEM_INVALID_VALUE, "balancer.%s%s%s: %s", path.block,
              path.block[0] == '\0' ? "" : ".", path.name, err.msg);
}

/* The key of that name in that block; conf_own_keys(): none. */
static size_t find(const char *block, const char *name)
{
    struct path path;
    size_t key = 0;

    for (; key < conf_own_keys(); key++) {
        path_of(key, &path);
        if (strcmp(path.block, block) == 0 && strcmp(path.name, name) == 0)
            break;
    }
    return key;
}

/* The keys in a block of that name; 0: there is no such block. */
static uint32_t keys_in(const char *block)
{
    uint32_t keys = 0;
    struct path path;

    for (size_t key = 0; key < conf_own_keys(); key++) {
        path_of(key, &path);
        if (path.block[0] != '\0' && strcmp(path.block, block) == 0)
            keys |= bit(key);
    }
    return keys;
}

static uint32_t keys_in_blocks(void)
{
    uint32_t keys = 0;
    struct path path;

    for (size_t key = 0; key < conf_own_keys(); key++) {
        path_of(key, &path);
        keys |= path.block[0] != '\0' ? bit(key) : 0;
    }
    return keys;
}

static void read_block(struct reading *r, const struct json *block)
{
    const struct json *v;
    struct err err;

    assert(block->key != NULL);
    if (json_is(block, JSON_NULL)) {
        r->out->cleared |= keys_in(block->key);
        return;
    }
    if (!json_is(block, JSON_OBJECT)) {
        wrong(r, PROBLEM_INVALID_JSON,
              "balancer.%s: an object is expected, or null for none of its own",
              block->key);
        return;
    }
    if (json_unique(block, &err) != 0)
        wrong(r, PROBLEM_INVALID_JSON, "balancer.%s: %s", block->key, err.msg);
    json_each (v, block) {
        size_t key = find(block->key, v->key);

        if (key == conf_own_keys())
            unknown(r, block->key, v->key);
        else
            read_value(r, key, v);
    }
    if (json_count(block) == 0)
        wrong(
            r, PROBLEM_INVALID_VALUE,
            "balancer.%s: empty; give its members, or null for none of its own",
            block->key);
}

static void read_member(struct reading *r, const struct json *v)
{
    size_t key = find("", v->key);

    assert(v->key != NULL);
    if (keys_in(v->key) != 0)
        read_block(r, v);
    else if (key == conf_own_keys())
        unknown(r, "", v->key);
    else if (json_is(v, JSON_NULL))
        r->out->cleared |= bit(key);
    else
        read_value(r, key, v);
}

enum problem group_settings_read(const struct json *from,
                                 struct group_settings_change *out,
                                 struct err *err)
{
    struct reading r = {.out = out, .problem = PROBLEM_NONE, .err = err};
    const struct json *v;
    struct err why;

    memset(out, 0, sizeof(*out));
    err_clear(err);
    if (json_is(from, JSON_NULL)) {
        out->cleared = all_keys();
        return PROBLEM_NONE;
    }
    if (!json_is(from, JSON_OBJECT)) {
        wrong(&r, PROBLEM_INVALID_JSON,
              "balancer: an object of settings is expected, or null for none "
              "of its own");
        return r.problem;
    }
    if (json_unique(from, &why) != 0)
        wrong(&r, PROBLEM_INVALID_JSON, "balancer: %s", why.msg);
    json_each (v, from)
        read_member(&r, v);
    if (conf_own_check(&out->own, '_', &why) != 0) {
        wrong(&r, PROBLEM_INVALID_VALUE, "balancer.%s", why.msg);
        out->own.given &= ~keys_in_blocks();
    }
    assert((r.problem == PROBLEM_NONE) == (err->code == ERR_OK));
    return r.problem;
}

/* The key of that name as a person writes it, with '-' or '_', or the first of
 * the block that is called so, which has no value. */
static size_t find_written(const char *name, bool *is_block)
{
    size_t key = 0;

    *is_block = false;
    for (; key < conf_own_keys(); key++) {
        const char *a = conf_own_name(key), *b = name;

        while (*b != '\0' && (*a == *b || (*a == '-' && *b == '_'))) {
            a++;
            b++;
        }
        *is_block = *b == '\0' && *a == '.';
        if (*b == '\0' && (*a == '\0' || *a == '.'))
            break;
    }
    return key;
}

static int unknown_written(const char *name, struct err *err)
{
    struct buf names;

    buf_init(&names, 1024);
    for (size_t key = 0; key < conf_own_keys(); key++)
        buf_printf(&names, "%s%s", key == 0 ? "" : ", ", conf_own_name(key));
    err_set(err, ERR_INVALID, "%s: no such setting of a group; there are %s",
            name, buf_text(&names));
    buf_close(&names);
    return (int)err->code;
}

/* "KEY=VALUE", which is changed. */
static int parse_one(char *text, struct group_settings_change *out,
                     struct err *err)
{
    char *value = strchr(text, '=');
    struct path path;
    struct err why;
    bool block;
    size_t key;

    if (value == NULL || value == text)
        return err_set(err, ERR_INVALID,
                       "\"%s\": KEY=VALUE is expected, KEY= for none of its "
                       "own, or the word none",
                       text);
    *value++ = '\0';
    key = find_written(text, &block);
    if (key == conf_own_keys())
        return unknown_written(text, err);
    path_of(key, &path);
    if (*value == '\0') {
        out->cleared |= path.block[0] != '\0' ? keys_in(path.block) : bit(key);
        return 0;
    }
    if (block)
        return err_set(err, ERR_INVALID,
                       "%s: not one value but several; give each of them, as "
                       "in %s=%s",
                       text, conf_own_name(key), value);
    if (conf_own_has(&out->own, key))
        return err_set(err, ERR_INVALID, "%s is given twice", text);
    return conf_own_set(&out->own, key, value, &why) == 0
               ? 0
               : err_set(err, ERR_INVALID, "%s: %s", text, why.msg);
}

int group_settings_parse(const char *text, struct group_settings_change *out,
                         struct err *err)
{
    char *all = mem_strdup(text), *rest = all, *one;
    int rc = 0;

    memset(out, 0, sizeof(*out));
    if (strcmp(text, "none") == 0) {
        out->cleared = all_keys();
        rest = NULL;
    }
    while (rc == 0 && (one = strsep(&rest, ",")) != NULL)
        rc = parse_one(one, out, err);
    mem_free(all);
    if (rc == 0 && (out->cleared & out->own.given) != 0)
        rc = err_set(err, ERR_INVALID, "a key is given and taken back");
    return rc == 0 ? conf_own_check(&out->own, '-', err) : rc;
}

void group_settings_apply(const struct group_settings_change *change,
                          struct conf_own *to)
{
    assert((change->own.given & ~all_keys()) == 0);
    to->given &= ~change->cleared;
    conf_own_apply(&change->own, &to->values);
    to->given |= change->own.given;
}

/* --- writing ------------------------------------------------------------- */

typedef void put_f(const void *arg, size_t key, struct buf *out);

/* Append a member `name`: those of `keys`, each as `put` writes it. */
static void put_tree(struct buf *b, const char *name, uint32_t keys, put_f *put,
                     const void *arg)
{
    char block[NAME_MAX_BYTES] = "";
    struct path path;
    struct buf value;

    json_open(b, name, '{');
    buf_init(&value, 256);
    for (size_t key = 0; key < conf_own_keys(); key++) {
        if ((keys & bit(key)) == 0)
            continue;
        path_of(key, &path);
        if (strcmp(path.block, block) != 0) {
            if (block[0] != '\0')
                json_close(b, '}');
            if (path.block[0] != '\0')
                json_open(b, path.block, '{');
            memcpy(block, path.block, sizeof(block));
        }
        buf_reset(&value);
        put(arg, key, &value);
        json_put_raw(b, path.name, buf_text(&value));
    }
    if (block[0] != '\0')
        json_close(b, '}');
    buf_close(&value);
    json_close(b, '}');
}

static void put_value(const void *arg, size_t key, struct buf *out)
{
    conf_own_put(arg, key, out);
}

/* What is taken back: null. */
static void put_changed(const void *arg, size_t key, struct buf *out)
{
    const struct group_settings_change *change = arg;

    if (conf_own_has(&change->own, key))
        conf_own_put(&change->own.values, key, out);
    else
        buf_str(out, "null");
}

static void put_from(const void *arg, size_t key, struct buf *out)
{
    static const char *const names[] = {
        [SETTINGS_GENERAL] = "\"general\"",
        [SETTINGS_CONFIGURED] = "\"configuration\"",
        [SETTINGS_BY_API] = "\"api\"",
    };
    const struct group_settings *settings = arg;

    assert(settings->from[key] < ARRAY_LEN(names));
    buf_str(out, names[settings->from[key]]);
}

void group_settings_put_change(struct buf *b,
                               const struct group_settings_change *change)
{
    uint32_t in_blocks = keys_in_blocks() & change->cleared, done = 0;

    assert((change->cleared & change->own.given) == 0);
    if (change->cleared == all_keys()) {
        json_put_null(b, "balancer");
        return;
    }
    put_tree(b, "balancer", change->own.given | (change->cleared & ~in_blocks),
             put_changed, change);
    b->len--; /* open again: blocks go as a whole */
    for (size_t key = 0; key < conf_own_keys(); key++) {
        struct path path;

        path_of(key, &path);
        if ((in_blocks & ~done & bit(key)) == 0)
            continue;
        done |= keys_in(path.block);
        json_put_null(b, path.block);
    }
    json_close(b, '}');
}

void group_settings_put_own(struct buf *b, const struct conf_own *own)
{
    put_tree(b, "balancer", own->given, put_value, &own->values);
}

void group_settings_put(struct buf *b, const struct group_settings *settings)
{
    put_tree(b, "balancer", all_keys(), put_value, &settings->values);
    put_tree(b, "balancer_from", all_keys(), put_from, settings);
}
