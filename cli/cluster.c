/*
 * cluster.c - the subcommands about the cluster as a whole: its status, its
 * settings, its groups, and a fence.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"

#include <stdio.h>
#include <string.h>

static const struct cli_column group_columns[] = {
    {.title = "NAME", .field = "name"},
    {.title = "ALIVE", .field = "alive", .below = true},
    {.title = "ADDRESSES", .field = "addresses", .below = true},
};

/* --- status -------------------------------------------------------------- */

/* "a.b" of the answer, or "-". */
static void put_field(struct buf *line, const struct json *from,
                      const char *field)
{
    const struct cli_column column = {.title = "", .field = field};

    assert(field[0] != '\0');
    cli_text(line, from, &column, 0);
}

/* What is not zero, by name: "up 3, down 1". */
static void put_numbers(struct buf *line, const struct json *counts)
{
    const struct json *n;
    bool any = false;

    json_each (n, counts) {
        if (!json_is(n, JSON_NUMBER) || n->number == 0)
            continue;
        buf_printf(line, "%s%s %.0f", any ? ", " : "", n->key, n->number);
        any = true;
    }
    if (!any)
        buf_str(line, "none");
}

#define TITLE_WIDTH 13

static void say_line(struct buf *line)
{
    size_t width = cli_terminal();
    struct buf clean, wrapped;

    assert(line->len > 0);
    buf_init(&clean, 64 * 1024);
    buf_init(&wrapped, 128 * 1024);
    cli_clean(&clean, buf_text(line));
    cli_wrap(&wrapped, buf_text(&clean), TITLE_WIDTH, width);
    printf("%s\n", buf_text(&wrapped));
    buf_close(&wrapped);
    buf_close(&clean);
    buf_reset(line);
}

static void begin_line(struct buf *line, const char *title, const char *of)
{
    assert(line->len == 0);
    assert(title != NULL);
    buf_printf(line, "%-*s", TITLE_WIDTH, title);
    if (of != NULL)
        buf_printf(line, "%s: ", of);
}

/* ", since 3m" or ", for 3m more"; nothing for what is null. */
static void put_when(struct buf *line, const struct cli *c,
                     const struct json *from, const char *name)
{
    const char *text = json_str(from, name);
    wall_ms at;

    if (text == NULL || !clock_parse_rfc3339(text, &at))
        return;
    buf_str(line, at > c->now ? ", for " : ", since ");
    cli_put_age(line, at > c->now ? at - c->now + 999 : c->now - at);
    if (at > c->now)
        buf_str(line, " more");
}

static void say_coordinators(const struct cli *c, struct buf *line)
{
    const struct json *each, *all = json_get(c->document, "coordinators");
    const char *self = json_str(c->document, "self");

    begin_line(line, "coordinator", NULL);
    put_field(line, c->document, "self");
    buf_printf(line, ", of %zu", json_count(all));
    if (json_bool(c->document, "stale", false)) {
        buf_str(line, "; what follows is as of ");
        put_field(line, c->document, "as_of");
        put_when(line, c, c->document, "as_of");
    }
    say_line(line);
    json_each (each, all) {
        const char *address = json_str(each, "address");
        const char *locks = json_str(each, "holds_lock");

        begin_line(line, "", NULL);
        put_field(line, each, "address");
        if (self != NULL && address != NULL && strcmp(self, address) == 0)
            buf_str(line, " (this one)");
        put_when(line, c, each, "started");
        if (locks != NULL)
            buf_printf(line, ", has the lock of %s", locks);
        say_line(line);
    }
}

static void say_trouble(const struct cli *c, struct buf *line,
                        const struct json *trouble)
{
    if (!json_is(trouble, JSON_OBJECT))
        return;
    begin_line(line, "", NULL);
    put_field(line, trouble, "name");
    buf_str(line, ": ");
    put_field(line, trouble, "title");
    put_when(line, c, trouble, "since");
    if (json_str(trouble, "detail") != NULL) {
        buf_str(line, ": ");
        put_field(line, trouble, "detail");
    }
    if (json_str(trouble, "advice") != NULL) {
        buf_str(line, "; ");
        put_field(line, trouble, "advice");
    }
    say_line(line);
}

static void say_registry(const struct cli *c, struct buf *line)
{
    const struct json *registry = json_get(c->document, "registry");
    const struct json *back = json_get(registry, "went_back");

    begin_line(line, "registry", NULL);
    put_field(line, registry, "type");
    buf_str(line, ", ");
    put_field(line, registry, "state");
    say_line(line);
    say_trouble(c, line, json_get(registry, "trouble"));
    if (!json_is(back, JSON_OBJECT))
        return;
    begin_line(line, "", NULL);
    buf_str(line, "went back, seen by ");
    put_field(line, back, "by");
    put_when(line, c, back, "since");
    buf_str(line, ": ");
    put_field(line, back, "why");
    buf_str(line, "; put the right store back, or: pelorus registry "
                  "accept-restore -c FILE");
    say_line(line);
}

static void say_counts(const struct cli *c, struct buf *line, const char *name)
{
    const struct json *kind, *kinds = json_get(c->document, name);
    const char *title = name;

    json_each (kind, kinds) {
        if (!json_is(kind, JSON_OBJECT))
            continue;
        begin_line(line, title, kind->key);
        put_numbers(line, kind);
        say_line(line);
        title = "";
    }
    if (title[0] != '\0' && json_count(kinds) > 0) {
        begin_line(line, title, NULL);
        put_numbers(line, kinds);
        say_line(line);
    }
}

/* What stands in the registry and is not used. */
static void say_problems(const struct cli *c, struct buf *line)
{
    const struct json *all = json_get(c->document, "problems");
    double nodes = json_num(all, "nodes", 0), keys = json_num(all, "keys", 0);

    if (nodes <= 0 && keys <= 0)
        return;
    begin_line(line, "problems", NULL);
    buf_printf(line,
               "%.0f nodes (pelorus nodes), %.0f keys of the registry (pelorus "
               "status --json)",
               nodes, keys);
    say_line(line);
}

static void say_engine(const struct cli *c, struct buf *line,
                       const struct json *e)
{
    const char *brake = json_str(e, "brake"), *lift = json_str(e, "lift");
    const char *waits = json_str(e, "waits_for");
    const char *trouble = json_str(e, "registry_trouble");

    put_field(line, e, "state");
    if (brake != NULL)
        buf_printf(line, ", held: %s", brake);
    if (lift != NULL)
        buf_printf(line, "; %s%s",
                   strcmp(brake != NULL ? brake : "", "mass") == 0
                       ? "if they are lost indeed: "
                       : "lifted: ",
                   lift);
    if (waits != NULL) {
        buf_printf(line, ", waits for the lock of %s", waits);
        put_when(line, c, e, "waits_since");
    }
    if (trouble != NULL && json_num(e, "pending", 0) > 0)
        buf_printf(line, ", %.0f failovers wait: %s", json_num(e, "pending", 0),
                   trouble);
}

static void put_orderer(struct buf *line, const struct json *from)
{
    if (json_str(from, "who") != NULL) {
        buf_str(line, ", by ");
        put_field(line, from, "who");
    }
    if (json_str(from, "reason") != NULL) {
        buf_str(line, ": ");
        put_field(line, from, "reason");
    }
}

static void say_engines(const struct cli *c, struct buf *line)
{
    const struct json *e, *all = json_get(c->document, "failover");
    const char *title = "failover";

    json_each (e, all) {
        if (!json_is(e, JSON_OBJECT))
            continue;
        begin_line(line, title, e->key);
        say_engine(c, line, e);
        say_line(line);
        title = "";
    }
    if (json_bool(all, "paused", false)) {
        begin_line(line, "", NULL);
        buf_str(line, "paused for all");
        put_when(line, c, all, "paused_until");
        put_orderer(line, all);
        buf_str(line, "; lifted: pelorus resume");
        say_line(line);
    }
    if (json_str(all, "brake_override_until") != NULL) {
        begin_line(line, "", NULL);
        buf_str(line, "the brake is overridden");
        put_when(line, c, all, "brake_override_until");
        put_orderer(line, all);
        buf_str(line, "; ended: pelorus brake --undo");
        say_line(line);
    }
}

static void say_status(const struct cli *c)
{
    struct buf line;

    buf_init(&line, 64 * 1024);
    say_coordinators(c, &line);
    say_registry(c, &line);
    say_counts(c, &line, "nodes");
    say_problems(c, &line);
    say_counts(c, &line, "work");
    say_engines(c, &line);
    begin_line(&line, "connections", NULL);
    put_field(&line, c->document, "http.connections");
    buf_str(&line, " of ");
    put_field(&line, c->document, "http.max_connections");
    say_line(&line);
    begin_line(&line, "log", NULL);
    put_field(&line, c->document, "log.dropped");
    buf_str(&line, " lines dropped");
    say_line(&line);
    buf_close(&line);
}

int cli_status(struct cli *c, const struct cli_words *w)
{
    int rc;

    (void)w;
    buf_str(&c->path, "/v1/cluster");
    rc = cli_send(c, "GET");
    if (rc != 0 || c->json || c->document == NULL)
        return rc != 0 ? rc : cli_show_object(c);
    say_status(c);
    return 0;
}

/* --- settings ------------------------------------------------------------ */

/* Send what the body holds and who says so, and show what is set then. */
static int patch(struct cli *c, const struct cli_words *w)
{
    int rc;

    json_put_str(&c->body, "who", cli_who(c, w->who));
    if (w->reason != NULL)
        json_put_str(&c->body, "reason", w->reason);
    json_close(&c->body, '}');
    rc = cli_send(c, "PATCH");
    return rc != 0 ? rc : cli_show_object(c);
}

static void begin_patch(struct cli *c)
{
    buf_str(&c->path, "/v1/settings");
    json_open(&c->body, NULL, '{');
}

int cli_settings(struct cli *c, const struct cli_words *w)
{
    int rc;

    if (w->policy != NULL) {
        begin_patch(c);
        json_put_str(&c->body, "policy", w->policy);
        return patch(c, w);
    }
    if (w->who != NULL || w->reason != NULL) {
        fputs("pelorus: settings: --who and --reason go with --policy\n",
              stderr);
        return CLI_USAGE_EXIT;
    }
    buf_str(&c->path, "/v1/settings");
    rc = cli_send(c, "GET");
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_pause(struct cli *c, const struct cli_words *w)
{
    begin_patch(c);
    json_put_bool(&c->body, "paused", true);
    if (w->period != NULL)
        json_put_str(&c->body, "paused_for", w->period);
    return patch(c, w);
}

int cli_resume(struct cli *c, const struct cli_words *w)
{
    begin_patch(c);
    json_put_bool(&c->body, "paused", false);
    return patch(c, w);
}

int cli_brake(struct cli *c, const struct cli_words *w)
{
    if ((w->period == NULL) == !w->undo) {
        fputs("pelorus: brake: --for 10m, or --undo\n", stderr);
        return CLI_USAGE_EXIT;
    }
    begin_patch(c);
    json_put_str(&c->body, "brake_override", w->undo ? "0s" : w->period);
    return patch(c, w);
}

/* --- groups -------------------------------------------------------------- */

int cli_groups(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/groups");
    rc = cli_get_all(c, w);
    return rc != 0 ? rc
                   : cli_show_list(c, "items", group_columns,
                                   ARRAY_LEN(group_columns), "no groups");
}

static int one_group(struct cli *c, const struct cli_words *w,
                     const char *method)
{
    int rc;

    buf_str(&c->path, "/v1/groups");
    cli_segment(c, w->word[0]);
    rc = cli_send(c, method);
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_group_show(struct cli *c, const struct cli_words *w)
{
    return one_group(c, w, "GET");
}

int cli_group_remove(struct cli *c, const struct cli_words *w)
{
    return one_group(c, w, "DELETE");
}

int cli_group_set(struct cli *c, const struct cli_words *w)
{
    json_open(&c->body, NULL, '{');
    json_open(&c->body, "addresses", '[');
    for (int i = 1; i < w->n; i++)
        json_put_str(&c->body, NULL, w->word[i]);
    json_close(&c->body, ']');
    json_close(&c->body, '}');
    return one_group(c, w, "PUT");
}
