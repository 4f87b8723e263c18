/*
 * node_body.c - is the body of a PUT a heartbeat?
 *
 * Whoever sends it is there to be told, so nothing of it is dropped: what is
 * wrong is refused with the names of all members that are, and what nobody
 * reads is said in the answer. (In a foreign registry one bad field costs that
 * field only, and its node shows it: membership_report.c.)
 */
#include "coordinator/nodes_priv.h"

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
    static const char *const numbers[] = {"loadAverage",
                                          "jvmCpuUsage",
                                          "jvmMemoryUsage",
                                          "diskAvailable",
                                          "availablePhysicalMemorySize",
                                          "maxCpuloadAvg",
                                          "reservedMemory",
                                          "port"};
    const struct json *groups = json_get(body, "groups");
    const struct json *group = json_get(body, "group");
    const struct json *host = json_get(body, "host");
    char text[96];

    if (groups != NULL && !json_is(groups, JSON_NULL) &&
        !json_is(groups, JSON_ARRAY))
        add_wrong(w, "groups", "groups: an array of names is expected");
    if (json_count(groups) > HEARTBEAT_GROUPS_MAX)
        add_wrong(w, "groups", "groups: at most 32 names are expected");
    if (group != NULL && !json_is(group, JSON_NULL) &&
        !json_is(group, JSON_STRING))
        add_wrong(w, "group", "group: one name is expected");
    check_names(w, group, json_is(groups, JSON_ARRAY) ? groups : NULL);
    if (host != NULL && !json_is(host, JSON_NULL) &&
        !json_is(host, JSON_STRING))
        add_wrong(w, "host", "host: a string is expected");
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        const struct json *item = json_get(body, numbers[i]);

        if (item == NULL || json_is(item, JSON_NULL) ||
            json_is(item, JSON_NUMBER))
            continue;
        snprintf(text, sizeof(text), "%s: a number is expected", numbers[i]);
        add_wrong(w, numbers[i], text);
    }
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

static void check_fields(struct wrong *w, const struct json *body)
{
    struct heartbeat *hb = mem_zalloc(sizeof(*hb));

    heartbeat_read_object(hb, body);
    for (size_t i = 0; i < hb->n_problems; i++)
        if (is_told(&hb->problems[i], body))
            add_wrong(w, hb->problems[i].field, hb->problems[i].text);
    mem_free(hb);
}

static void add_warning(struct coordinator_node_request *n, const char *text)
{
    if (n->n_warnings < NODE_WARNINGS_MAX)
        n->warnings[n->n_warnings++] = mem_strdup(text);
}

/* Seconds, or parts of a millisecond, in which the time of no running process
 * lies: 1973 and the year 5138. */
static void warn_of_time(struct coordinator_node_request *n,
                         const struct json *body)
{
    double t = json_num(body, "startupTime", 1e12);
    char text[128];

    if (t >= 1e11 && t < 1e14)
        return;
    snprintf(text, sizeof(text),
             "startupTime: %.0f are no milliseconds since 1970 (%s?)", t,
             t < 1e11 ? "seconds" : "microseconds");
    add_warning(n, text);
}

static void warn_of_address(struct coordinator_node_request *n)
{
    if (conf_every_address(n->address))
        add_warning(n, "address: every address, and so nobody's; register one "
                       "at which others reach the node");
}

/* Of a heartbeat that was copied from another node. */
static void warn_of_host(struct coordinator_node_request *n,
                         const struct json *body)
{
    const char *host = json_str(body, "host");
    const char *colon = strrchr(n->address, ':');
    double port = json_num(body, "port", 0);
    size_t len = (size_t)(colon - n->address);
    char text[400];

    /* A name and an address may mean the same host. */
    if ((host == NULL || !isdigit((unsigned char)host[0]) ||
         !isdigit((unsigned char)n->address[0]) ||
         (strlen(host) == len && strncasecmp(host, n->address, len) == 0)) &&
        (port <= 0 || port == strtod(colon + 1, NULL)))
        return;
    snprintf(text, sizeof(text),
             "host, port: not those of %.260s, which the path names and which "
             "counts",
             n->address);
    add_warning(n, text);
}

static void warn(struct coordinator_node_request *n, const char *member,
                 const char *meant)
{
    char text[256];

    if (strcmp(member, "ttl") == 0)
        snprintf(text, sizeof(text),
                 "ttl: not read here; give it in the query, as in ?ttl=30s");
    else if (meant != NULL)
        snprintf(text, sizeof(text),
                 "%.64s: nobody reads this member; did you mean %s?", member,
                 meant);
    else
        snprintf(text, sizeof(text),
                 "%.64s: nobody reads this member of a heartbeat; those that "
                 "are read stand in /openapi.yaml",
                 member);
    add_warning(n, text);
}

int coordinator_node_body_check(struct coordinator_node_request *n,
                                const struct json *body, struct err *err)
{
    struct wrong w = {.n = 0};
    const char *meant;

    buf_init(&w.names, 512);
    buf_init(&w.texts, 4096);
    check_fields(&w, body);
    check_types(&w, body);
    if (w.n > 1)
        err_set(err, ERR_INVALID, "%s: %s", buf_text(&w.names),
                buf_text(&w.texts));
    else if (w.n == 1)
        err_set(err, ERR_INVALID, "%s", buf_text(&w.texts));
    else
        err_clear(err);
    buf_close(&w.names);
    buf_close(&w.texts);
    if (w.n == 0) {
        warn_of_time(n, body);
        warn_of_address(n);
        warn_of_host(n, body);
    }
    for (const struct json *m = json_first(body); m != NULL && w.n == 0;
         m = m->next)
        if (!heartbeat_knows(m->key, &meant))
            warn(n, m->key, meant);
    return (int)err->code;
}
