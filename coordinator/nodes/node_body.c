/*
 * node_body.c - is the body of a PUT a heartbeat?
 *
 * Whoever sends it is there to be told, so nothing of it is dropped: what is
 * wrong is refused with the names of all members that are, and what nobody
 * reads is said in the answer. (In a foreign registry one bad field costs that
 * field only, and its node shows it: membership_report.c.)
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/mem.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct wrong {
    struct buf names, texts;
    size_t n;
};

static void add_wrong(struct wrong *w, const char *member, const char *text)
{
    assert(w->n == 0 || w->names.len > 0);
    buf_printf(&w->names, "%s%s", w->n > 0 ? ", " : "", member);
    buf_printf(&w->texts, "%s%s", w->n > 0 ? "; " : "", text);
    w->n++;
}

static bool is_empty_name(const struct json *name)
{
    const char *text = json_string(name);

    return text != NULL && text[strspn(text, " \t\n\v\f\r")] == '\0';
}

/* As of a variable that was not set: not "no group". */
static void check_names(struct wrong *w, const struct json *group,
                        const struct json *groups)
{
    const struct json *each;
    bool empty = false;

    assert(groups == NULL || json_is(groups, JSON_ARRAY));
    if (is_empty_name(group))
        add_wrong(w, "group", "group: its name is empty; leave it out");
    json_each (each, groups)
        empty |= is_empty_name(each);
    if (empty)
        add_wrong(w, "groups", "groups: a name is empty; leave it out");
}

/* Stricter than what DolphinScheduler writes: types as the contract has them.
 */
static void check_types(struct wrong *w, const struct json *body)
{
    static const struct {
        const char *member;
        enum json_type type;
        const char *wanted;
    } types[] = {
        {"groups", JSON_ARRAY, "an array of names"},
        {"group", JSON_STRING, "one name"},
        {"host", JSON_STRING, "a string"},
        {"loadAverage", JSON_NUMBER, "a number"},
        {"jvmCpuUsage", JSON_NUMBER, "a number"},
        {"jvmMemoryUsage", JSON_NUMBER, "a number"},
        {"diskAvailable", JSON_NUMBER, "a number"},
        {"availablePhysicalMemorySize", JSON_NUMBER, "a number"},
        {"maxCpuloadAvg", JSON_NUMBER, "a number"},
        {"reservedMemory", JSON_NUMBER, "a number"},
        {"port", JSON_NUMBER, "a number"},
    };
    const struct json *groups = json_get(body, "groups");
    char text[96];

    assert(json_is(body, JSON_OBJECT));
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        const struct json *item = json_given(body, types[i].member);

        if (item == NULL || json_is(item, types[i].type))
            continue;
        snprintf(text, sizeof(text), "%s: %s is expected", types[i].member,
                 types[i].wanted);
        add_wrong(w, types[i].member, text);
    }
    if (json_count(groups) > HEARTBEAT_GROUPS_MAX)
        add_wrong(w, "groups", "groups: at most 32 names are expected");
    check_names(w, json_get(body, "group"),
                json_is(groups, JSON_ARRAY) ? groups : NULL);
}

/* `ttl` is the query's; a missing identity is the registration's. */
static bool is_told(const struct heartbeat_problem *p, const struct json *body)
{
    if (p->field == NULL || p->reason == HEARTBEAT_NO_IDENTITY)
        return false;
    if (strcmp(p->field, "groups") == 0)
        return json_is(json_get(body, "groups"), JSON_ARRAY);
    if (strcmp(p->field, "group") == 0)
        return json_is(json_get(body, "group"), JSON_STRING);
    return strcmp(p->field, "ttl") != 0;
}

static void check_fields(struct coordinator_node_request *n, struct wrong *w,
                         const struct json *body)
{
    struct heartbeat *hb = mem_zalloc(sizeof(*hb));

    assert(json_is(body, JSON_OBJECT));
    heartbeat_read_object(hb, body);
    for (size_t i = 0; i < hb->n_problems; i++)
        if (is_told(&hb->problems[i], body))
            add_wrong(w, hb->problems[i].field, hb->problems[i].text);
    n->load = hb->load;
    n->busy = hb->status == NODE_BUSY;
    mem_free(hb);
}

/* Takes `text`. */
static void add_warning(struct coordinator_node_request *n, char *text)
{
    assert(n->n_warnings <= NODE_WARNINGS_MAX);
    assert(text != NULL);
    if (n->n_warnings < NODE_WARNINGS_MAX)
        n->warnings[n->n_warnings++] = text;
    else
        mem_free(text);
}

/* Seconds, or parts of a millisecond, in which the time of no running process
 * lies: 1973 and the year 5138. */
static void warn_of_time(struct coordinator_node_request *n,
                         const struct json *body)
{
    double t = json_num(body, "startupTime", 1e12);

    if (t < 1e11 || t >= 1e14)
        add_warning(n, mem_printf("startupTime: %.0f are no milliseconds since "
                                  "1970 (%s?)",
                                  t, t < 1e11 ? "seconds" : "microseconds"));
}

static void warn_of_address(struct coordinator_node_request *n)
{
    assert(n->address[0] != '\0');
    if (conf_every_address(n->address))
        add_warning(n, mem_strdup("address: every address, and so nobody's; "
                                  "register one at which others reach the "
                                  "node"));
}

/* Of a heartbeat that was copied from another node. */
static void warn_of_host(struct coordinator_node_request *n,
                         const struct json *body)
{
    const char *host = json_str(body, "host");
    const char *colon = strrchr(n->address, ':');
    double port = json_num(body, "port", 0);
    size_t len = (size_t)(colon - n->address);

    assert(colon != NULL);
    /* A name and an address may mean the same host. */
    if ((host == NULL || !isdigit((unsigned char)host[0]) ||
         !isdigit((unsigned char)n->address[0]) ||
         (strlen(host) == len && strncasecmp(host, n->address, len) == 0)) &&
        (port <= 0 || port == strtod(colon + 1, NULL)))
        return;
    add_warning(n, mem_printf("host, port: not those of %.260s, which the path "
                              "names and which counts",
                              n->address));
}

static void warn_of_member(struct coordinator_node_request *n,
                           const char *member, const char *meant)
{
    if (strcmp(member, "ttl") == 0)
        add_warning(n, mem_strdup("ttl: not read here; give it in the query, "
                                  "as in ?ttl=30s"));
    else if (meant != NULL)
        add_warning(n, mem_printf("%.64s: nobody reads this member; did you "
                                  "mean %s?",
                                  member, meant));
    else
        add_warning(n, mem_printf("%.64s: nobody reads this member of a "
                                  "heartbeat; those that are read stand in "
                                  "/openapi.yaml",
                                  member));
}

/* A body that is a heartbeat may still not say what its writer meant. */
static void add_warnings(struct coordinator_node_request *n,
                         const struct json *body)
{
    const struct json *m;
    const char *meant;

    warn_of_time(n, body);
    warn_of_address(n);
    warn_of_host(n, body);
    json_each (m, body)
        if (!heartbeat_knows(m->key, &meant))
            warn_of_member(n, m->key, meant);
    assert(n->n_warnings <= NODE_WARNINGS_MAX);
}

int coordinator_node_body_check(struct coordinator_node_request *n,
                                const struct json *body, struct err *err)
{
    struct wrong w = {.n = 0};

    assert(n->n_warnings == 0);
    err_clear(err);
    buf_init(&w.names, 512);
    buf_init(&w.texts, 4096);
    check_fields(n, &w, body);
    check_types(&w, body);
    if (w.n > 1)
        err_set(err, ERR_INVALID, "%s: %s", buf_text(&w.names),
                buf_text(&w.texts));
    else if (w.n == 1)
        err_set(err, ERR_INVALID, "%s", buf_text(&w.texts));
    else
        add_warnings(n, body);
    buf_close(&w.names);
    buf_close(&w.texts);
    return (int)err->code;
}
