/*
 * query.c - reading what a client asked for, and saying what is wrong with it.
 */
#include "http/http_priv.h"

#include "base/units.h"
#include "cluster/node_identity.h"

#include <string.h>

const char *http_query(const struct http_request *r, const char *name)
{
    assert(name[0] != '\0');
    return r->asks ? MHD_lookup_connection_value(r->connection,
                                                 MHD_GET_ARGUMENT_KIND, name)
                   : NULL;
}

/* --- only what is known, and each once ----------------------------------- */

#define ARGUMENTS_MAX 64

struct arguments {
    const char *known; /* see struct http_route; NULL: any, as of OPTIONS */
    const char *name[ARGUMENTS_MAX];
    size_t n;
    const char *unknown;     /* the first that is */
    const char *wrong, *why; /* likewise */
};

/* Is it one of the names, with blanks between? `same` compares as strncmp(). */
static bool is_among(const char *names, const char *name,
                     int (*same)(const char *, const char *, size_t))
{
    size_t len = strlen(name);

    while (*names != '\0') {
        size_t n = strcspn(names, " ");

        if (n == len && same(names, name, n) == 0)
            return true;
        names += n + (names[n] == ' ');
    }
    return false;
}

/* Those that say 1 without a value. */
static bool is_flag(const char *name)
{
    return is_among("peek explain stale takeover", name, strncasecmp);
}

/* Nothing behind a name is mostly a variable that was not set: it is not the
 * same as leaving the parameter out. */
static bool lacks_value(const char *name, const char *value)
{
    return value == NULL ? !is_flag(name) : value[0] == '\0';
}

/* As in a body. */
static bool is_utf8(const char *value)
{
    size_t left = strlen(value);

    while (left > 0) {
        size_t n = json_utf8(value, left);

        if (n == 0)
            return false;
        value += n;
        left -= n;
    }
    return true;
}

static enum MHD_Result add_argument(void *arg, enum MHD_ValueKind kind,
                                    const char *name, const char *value)
{
    struct arguments *a = arg;

    (void)kind;
    if (a->unknown == NULL && a->known != NULL &&
        !is_among(a->known, name, strncasecmp))
        a->unknown = name;
    a->wrong = name;
    if (a->n == ARGUMENTS_MAX) {
        a->why = "there are too many before it";
        return MHD_NO;
    }
    for (size_t i = 0; i < a->n; i++)
        if (strcasecmp(a->name[i], name) == 0 &&
            strcasecmp(name, "exclude") != 0) {
            a->why = "given more than once; which one is meant?";
            return MHD_NO;
        }
    if (a->known != NULL && a->unknown == NULL && lacks_value(name, value)) {
        a->why = "it is empty; give it a value, or leave it out";
        return MHD_NO;
    }
    if (value != NULL && !is_utf8(value)) {
        a->why = "it is not UTF-8";
        return MHD_NO;
    }
    a->wrong = NULL;
    a->name[a->n++] = name;
    return MHD_YES;
}

bool http_query_sound(struct http_request *r)
{
    struct arguments a;

    assert(r->action != NULL);
    assert(!r->handed);
    if (!r->asks)
        return true;
    a.known = r->action->query;
    a.n = 0;
    a.unknown = a.wrong = a.why = NULL;
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND,
                              add_argument, &a);
    if (a.wrong != NULL)
        return http_problem(r, PROBLEM_INVALID, "query parameter %.64s: %s",
                            a.wrong, a.why);
    if (a.unknown == NULL)
        return true;
    return http_problem(r, PROBLEM_INVALID,
                        a.known[0] != '\0'
                            ? "query parameter %.64s: there is none of that "
                              "name; there are: %s"
                            : "query parameter %.64s: this takes no parameters",
                        a.unknown, a.known);
}

/* --- what each says ------------------------------------------------------ */

bool http_query_flag(struct http_request *r, const char *name, bool *value)
{
    const char *text = NULL;
    bool there = r->asks && MHD_lookup_connection_value_n(
                                r->connection, MHD_GET_ARGUMENT_KIND, name,
                                strlen(name), &text, NULL) == MHD_YES;

    *value = there && (text == NULL || strcmp(text, "1") == 0);
    if (text == NULL || *value || strcmp(text, "0") == 0)
        return true;
    return http_problem(r, PROBLEM_INVALID,
                        "query parameter %s: 1 or 0, not \"%.32s\"", name,
                        text);
}

/* False. */
static bool bad_query(struct http_request *r, const char *name,
                      const struct err *err)
{
    assert(err->code != ERR_OK);
    return http_problem(r, PROBLEM_INVALID, "query parameter %s: %s", name,
                        err->msg);
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\n\v\f\r")] == '\0';
}

bool http_query_group(struct http_request *r, char clean[NODE_GROUP_MAX + 1])
{
    const char *text = http_query(r, "group");
    struct err err;

    clean[0] = '\0';
    if (text == NULL)
        return true;
    if (is_blank(text))
        return http_problem(r, PROBLEM_INVALID,
                            "query parameter group: it is empty; name one, or "
                            "leave it out");
    return node_clean_group(text, clean, &err) == 0 ||
           bad_query(r, "group", &err);
}

bool http_query_word(struct http_request *r, const char *name, int last,
                     const char *(*name_of)(int value), int *out)
{
    const char *text = http_query(r, name);
    struct buf names;

    assert(last >= 0);
    *out = -1;
    if (text == NULL)
        return true;
    for (int i = 0; i <= last; i++)
        if (strcasecmp(text, name_of(i)) == 0) {
            *out = i;
            return true;
        }
    buf_init(&names, 256);
    for (int i = 0; i <= last; i++)
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", name_of(i));
    http_problem(r, PROBLEM_INVALID, "query parameter %s: %.64s; there are %s",
                 name, text, buf_text(&names));
    buf_close(&names);
    return false;
}

bool http_query_instance(struct http_request *r, const char **instance)
{
    struct err err;

    *instance = http_query(r, "instance");
    return *instance == NULL || node_check_instance(*instance, &err) == 0 ||
           http_problem(r, PROBLEM_INVALID, "query parameter %s", err.msg);
}

bool http_query_int(struct http_request *r, const char *name, int64_t min,
                    int64_t max, int64_t *value)
{
    const char *text = http_query(r, name);
    struct err err;

    assert(min <= max);
    return text == NULL || units_int(text, min, max, value, &err) == 0 ||
           bad_query(r, name, &err);
}

bool http_query_duration(struct http_request *r, const char *name, int64_t min,
                         int64_t max, int64_t *value)
{
    const char *text = http_query(r, name);
    char low[UNITS_DURATION_SIZE], high[UNITS_DURATION_SIZE];
    struct err err;

    assert(min <= max);
    assert(min >= 0);
    if (text == NULL)
        return true;
    if (units_duration(text, value, &err) != 0)
        return bad_query(r, name, &err);
    return (*value >= min && *value <= max) ||
           http_problem(r, PROBLEM_INVALID,
                        "query parameter %s: %.40s is outside %s to %s", name,
                        text, units_format_duration(min, low),
                        units_format_duration(max, high));
}

bool http_query_epoch(struct http_request *r, uint64_t *epoch)
{
    const char *text = http_query(r, "epoch");
    struct err err;

    if (text == NULL)
        return http_problem(r, PROBLEM_EPOCH_REQUIRED,
                            "add ?epoch= with the epoch under which it was "
                            "given");
    return (units_uint(text, UINT64_MAX, epoch, &err) == 0 && *epoch > 0) ||
           http_problem(r, PROBLEM_INVALID,
                        "query parameter epoch: \"%.40s\" is no number from "
                        "1; give that of the work item",
                        text);
}

bool http_query_kind(struct http_request *r, int *kind)
{
    const char *text = http_query(r, "kind");
    enum node_kind k;

    *kind = -1;
    if (text == NULL)
        return true;
    if (node_kind_parse(text, &k) != 0)
        return http_problem(r, PROBLEM_INVALID,
                            "query parameter kind: %.64s; there are master, "
                            "worker and alert-server",
                            text);
    *kind = (int)k;
    return true;
}

bool http_address(struct http_request *r, enum problem code,
                  const char *address)
{
    char canonical[NODE_ADDRESS_MAX + 1];
    struct snapshot *s;
    bool known = false;
    struct err err;

    assert(code != PROBLEM_NONE);
    assert(address != NULL);
    if (node_ask_address(address, &err) == 0)
        return true;
    if (node_check_address(address, NULL) == 0) {
        s = coordinator_snapshot(r->h->coordinator);
        for (int kind = 0; kind < NODE_KINDS; kind++)
            known |= coordinator_snapshot_node(
                         s, (enum node_kind)kind,
                         node_canonical(address, canonical)) != NULL;
        coordinator_snapshot_release(&s);
    }
    if (!known)
        http_problem(r, code, "%s", err.msg);
    return known;
}

/* --- the parameters of the path ------------------------------------------ */

static bool check_kind(struct http_request *r, char *text)
{
    return node_kind_parse(text, &r->kind) == 0 ||
           http_problem(r, PROBLEM_NOT_FOUND,
                        "no such kind: %s; there are master, worker and "
                        "alert-server",
                        text);
}

static bool check_address(struct http_request *r, char *text)
{
    if (!http_address(r, PROBLEM_INVALID, text))
        return false;
    (void)node_canonical(text, text);
    return true;
}

/* Of a work item or of a failover. */
static bool check_id(struct http_request *r, char *text)
{
    struct err err;

    return work_check_id(text, &err) == 0 ||
           http_problem(r, PROBLEM_INVALID, "%s", err.msg);
}

static bool check_group(struct http_request *r, char *text)
{
    char clean[NODE_GROUP_MAX + 1];
    struct err err;

    if (is_blank(text))
        return http_problem(r, PROBLEM_INVALID,
                            "the name of the group is empty");
    if (node_clean_group(text, clean, &err) != 0)
        return http_problem(r, PROBLEM_INVALID, "%s", err.msg);
    memcpy(text, clean, sizeof(clean));
    return true;
}

bool http_params(struct http_request *r)
{
    static const struct {
        const char *name;
        bool (*check)(struct http_request *r, char *text);
    } known[] = {{"{kind}", check_kind},
                 {"{address}", check_address},
                 {"{id}", check_id},
                 {"{group}", check_group}};
    const char *p = r->n_params > 0 ? strchr(r->route->path, '{') : NULL;

    assert(r->action != NULL);
    assert(r->route != NULL || r->n_params == 0);
    for (unsigned i = 0; p != NULL; p = strchr(p + 1, '{'), i++) {
        assert(i < HTTP_PARAMS_MAX);
        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            if (strncmp(p, known[k].name, strlen(known[k].name)) == 0 &&
                !known[k].check(r, r->param[i]))
                return false;
    }
    return true;
}

/* --- bodies -------------------------------------------------------------- */

/* With parameters (charset) or without. */
static bool is_json(const char *type)
{
    static const char json[] = "application/json";
    const size_t n = sizeof(json) - 1;

    return strncasecmp(type, json, n) == 0 &&
           (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

bool http_body_none(struct http_request *r)
{
    const char *query = r->action->query;

    assert(r->action->members == NULL);
    if (r->body.len == 0 ||
        (r->body.len == 2 && memcmp(r->body.data, "{}", 2) == 0))
        return true;
    return http_problem(r, PROBLEM_INVALID,
                        query == NULL || query[0] == '\0'
                            ? "this takes no body; leave it out"
                            : "this takes no body; what it may be told stands "
                              "in the query: %s",
                        query);
}

bool http_body(struct http_request *r, bool may_be_empty)
{
    const char *type = MHD_lookup_connection_value(
        r->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    struct err err;

    assert(r->json == NULL);
    assert(r->action->members != NULL);
    if (r->body.len == 0 && may_be_empty)
        return json_parse("{}", 2, &r->json, NULL) == 0;
    if (r->body.len > 0 && (type == NULL || !is_json(type)))
        return http_problem(r, PROBLEM_UNSUPPORTED_MEDIA_TYPE,
                            "Content-Type is %.64s; send application/json",
                            type != NULL ? type : "not given");
    if (r->body.len > 0 &&
        json_parse(r->body.data, r->body.len, &r->json, &err) != 0)
        return http_problem(r, PROBLEM_INVALID_JSON, "%s", err.msg);
    if (!json_is(r->json, JSON_OBJECT))
        return http_problem(r, PROBLEM_INVALID_JSON,
                            "a JSON object is expected as body");
    return json_unique(r->json, &err) == 0 ||
           http_problem(r, PROBLEM_INVALID_JSON, "%s", err.msg);
}

bool http_member_epoch(struct http_request *r, uint64_t *epoch)
{
    const char *text = json_str(r->json, "epoch");
    int64_t whole;

    assert(r->json != NULL);
    *epoch = 0;
    if (text != NULL) {
        if (units_uint(text, UINT64_MAX, epoch, NULL) == 0 && *epoch > 0)
            return true;
    } else if (json_whole(json_get(r->json, "epoch"), &whole) && whole > 0) {
        *epoch = (uint64_t)whole;
        return true;
    }
    return http_problem(r, PROBLEM_INVALID_JSON,
                        "epoch: a whole number from 1; beyond 2^53 as a "
                        "string, too");
}

bool http_member(struct http_request *r, const char *name, const char **value)
{
    const struct json *item = json_get(r->json, name);

    assert(r->json != NULL);
    *value = NULL;
    if (item == NULL)
        return true;
    if (!json_is(item, JSON_STRING))
        return http_problem(
            r, PROBLEM_INVALID_JSON, "%s: must be a string%s", name,
            json_is(item, JSON_NULL) ? "; leave it out if there is none" : "");
    *value = item->string;
    return true;
}

bool http_member_bool(struct http_request *r, const char *name, bool *value)
{
    const struct json *item = json_get(r->json, name);

    *value = json_true(item);
    return item == NULL || json_is(item, JSON_BOOL) ||
           http_problem(r, PROBLEM_INVALID_JSON, "%s: true or false", name);
}

bool http_members(struct http_request *r, const char *known)
{
    const struct json *item;
    struct buf names;

    assert(r->json != NULL);
    json_each (item, r->json) {
        if (is_among(known, item->key, strncmp))
            continue;
        buf_init(&names, 256);
        for (const char *p = known; *p != '\0'; p++)
            if (*p == ' ')
                buf_str(&names, ", ");
            else
                buf_char(&names, *p);
        http_problem(r, PROBLEM_INVALID_JSON,
                     "%.64s: no such member; there are %s", item->key,
                     buf_text(&names));
        buf_close(&names);
        return false;
    }
    return true;
}
