/*
 * cluster.c - the subcommands about the cluster as a whole: its status, its
 * settings, and a fence.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "work/cause.h"

#include <stdio.h>
#include <string.h>

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

/* `text` with fields of `from` in it: "{a.b}" is one, "{a@}" when that was or
 * will be, and what stands in "[...]" only if the first field in it is a
 * string. */
static void put_text(struct buf *line, const struct cli *c,
                     const struct json *from, const char *text)
{
    char name[64];

    assert(line != NULL);
    for (; *text != '\0'; text++) {
        const char *field;
        size_t n;

        if (*text != '[' && *text != '{') {
            if (*text != ']')
                buf_char(line, *text);
            continue;
        }
        field = strchr(text, '{') + 1;
        n = strcspn(field, "@}");
        assert(n < sizeof(name));
        snprintf(name, sizeof(name), "%.*s", (int)n, field);
        if (*text == '[') {
            if (json_str(from, name) == NULL)
                text += strcspn(text, "]");
        } else if (field[n] == '@') {
            put_when(line, c, from, name);
            text = field + n + 1;
        } else {
            put_field(line, from, name);
            text = field + n;
        }
    }
}

/* A line of the status: put_text() behind its title. */
static void say(const struct cli *c, const char *title, const struct json *from,
                const char *text)
{
    struct buf line;

    buf_init(&line, 64 * 1024);
    begin_line(&line, title, NULL);
    put_text(&line, c, from, text);
    say_line(&line);
    buf_close(&line);
}

static void say_coordinators(const struct cli *c, struct buf *line)
{
    const struct json *each, *all = json_get(c->document, "coordinators");
    const char *self = json_str(c->document, "self");

    assert(line->len == 0);
    begin_line(line, "coordinator", NULL);
    put_text(line, c, c->document, "{self}");
    buf_printf(line, ", of %zu", json_count(all));
    if (json_bool(c->document, "stale", false))
        put_text(line, c, c->document,
                 "; what follows is as of {as_of}{as_of@}");
    say_line(line);
    json_each (each, all) {
        const char *address = json_str(each, "address");
        bool this_one =
            self != NULL && address != NULL && strcmp(self, address) == 0;

        begin_line(line, "", NULL);
        put_text(line, c, each,
                 this_one ? "{address} (this one)" : "{address}");
        put_text(line, c, each, "{started@}[, has the lock of {holds_lock}]");
        say_line(line);
    }
}

static void say_registry(const struct cli *c)
{
    const struct json *registry = json_get(c->document, "registry");
    const struct json *trouble = json_get(registry, "trouble");
    const struct json *back = json_get(registry, "went_back");

    say(c, "registry", registry, "{type}, {state}");
    if (json_is(trouble, JSON_OBJECT))
        say(c, "", trouble, "{name}: {title}{since@}[: {detail}][; {advice}]");
    if (json_is(back, JSON_OBJECT))
        say(c, "", back,
            "went back, seen by {by}{since@}: {why}; put the right store back, "
            "or: pelorus registry accept-restore -c FILE");
}

static void say_counts(const struct cli *c, struct buf *line, const char *name)
{
    const struct json *kind, *kinds = json_get(c->document, name);
    const char *title = name;

    assert(line->len == 0);
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

static void say_engine(const struct cli *c, struct buf *line,
                       const struct json *e)
{
    const char *brake = json_str(e, "brake");
    const char *trouble = json_str(e, "registry_trouble");
    bool mass = brake != NULL && work_cause_of(brake) == CAUSE_MASS;

    put_text(line, c, e, "{state}[, held: {brake}]");
    put_text(line, c, e,
             mass ? "[; if they are lost indeed: {lift}]"
                  : "[; lifted: {lift}]");
    put_text(line, c, e, "[, waits for the lock of {waits_for}{waits_since@}]");
    if (trouble != NULL && json_num(e, "pending", 0) > 0)
        put_text(line, c, e, ", {pending} failovers wait: {registry_trouble}");
}

static void say_engines(const struct cli *c, struct buf *line)
{
    const struct json *e, *all = json_get(c->document, "failover");
    const char *title = "failover";

    assert(line->len == 0);
    json_each (e, all) {
        if (!json_is(e, JSON_OBJECT))
            continue;
        begin_line(line, title, e->key);
        say_engine(c, line, e);
        say_line(line);
        title = "";
    }
    if (json_bool(all, "paused", false))
        say(c, "", all,
            "paused for all{paused_until@}[, by {who}][: {reason}]; lifted: "
            "pelorus resume");
    if (json_str(all, "brake_override_until") != NULL)
        say(c, "", all,
            "the brake is overridden{brake_override_until@}[, by {who}]"
            "[: {reason}]; ended: pelorus brake --undo");
}

static void say_balancer(const struct cli *c, struct buf *line)
{
    const struct json *b = json_get(c->document, "balancer");
    const struct json *shadow = json_get(b, "shadow");
    const struct json *regret = json_get(b, "regret");
    double agreed = json_num(shadow, "agreed", 0);
    double asked = agreed + json_num(shadow, "differed", 0);

    assert(line->len == 0);
    if (!json_is(b, JSON_OBJECT)) /* of another version */
        return;
    say(c, "balancer", b, "{policy}");
    if (json_is(shadow, JSON_OBJECT)) {
        begin_line(line, "", NULL);
        put_text(line, c, shadow, "shadow {policy}: it would have named the ");
        buf_printf(line, "same worker for %.0f of %.0f picks", agreed, asked);
        say_line(line);
    }
    if (json_num(regret, "judged", 0) > 0)
        say(c, "", regret,
            "{elsewhere} of {judged} picks would have gone elsewhere with the "
            "next reports in hand");
}

static void say_status(const struct cli *c)
{
    const struct json *problems = json_get(c->document, "problems");
    struct buf line;

    assert(!c->json);
    assert(c->document != NULL);
    buf_init(&line, 64 * 1024);
    say_coordinators(c, &line);
    say_registry(c);
    say_counts(c, &line, "nodes");
    if (json_num(problems, "nodes", 0) > 0 || json_num(problems, "keys", 0) > 0)
        say(c, "problems", problems,
            "{nodes} nodes (pelorus nodes), {keys} keys of the registry "
            "(pelorus status --json)");
    say_counts(c, &line, "work");
    say_balancer(c, &line);
    say_engines(c, &line);
    say(c, "connections", json_get(c->document, "http"),
        "{connections} of {max_connections}");
    say(c, "log", json_get(c->document, "log"), "{dropped} lines dropped");
    buf_close(&line);
}

int cli_status(struct cli *c, const struct cli_args *w)
{
    int rc = cli_send(c, c->method);

    assert(w->n == 0);
    if (rc != 0 || c->json || c->document == NULL)
        return rc != 0 ? rc : cli_show_object(c);
    say_status(c);
    return 0;
}

/* --- settings ------------------------------------------------------------ */

int cli_settings(struct cli *c, const struct cli_args *w)
{
    assert(w->n == 0);
    if (w->policy != NULL || w->shadow != NULL) {
        json_open(&c->body, NULL, '{');
        cli_member(c, "policy", w->policy);
        cli_member(c, "shadow", w->shadow);
        cli_order(c, w);
        return cli_show_answer(c, "PATCH");
    }
    if (w->who != NULL || w->reason != NULL) {
        fputs("pelorus: settings: --who and --reason go with --policy and "
              "--shadow\n",
              stderr);
        return CLI_USAGE_EXIT;
    }
    return cli_show_answer(c, c->method);
}

int cli_pause(struct cli *c, const struct cli_args *w)
{
    assert(w->n == 0);
    json_open(&c->body, NULL, '{');
    json_put_bool(&c->body, "paused", true);
    cli_member(c, "paused_for", w->period);
    cli_order(c, w);
    return cli_show_answer(c, c->method);
}

int cli_resume(struct cli *c, const struct cli_args *w)
{
    assert(w->n == 0);
    json_open(&c->body, NULL, '{');
    json_put_bool(&c->body, "paused", false);
    cli_order(c, w);
    return cli_show_answer(c, c->method);
}

int cli_brake(struct cli *c, const struct cli_args *w)
{
    assert(w->n == 0);
    if ((w->period == NULL) == !w->undo) {
        fputs("pelorus: brake: --for 10m, or --undo\n", stderr);
        return CLI_USAGE_EXIT;
    }
    json_open(&c->body, NULL, '{');
    json_put_str(&c->body, "brake_override", w->undo ? "0s" : w->period);
    cli_order(c, w);
    return cli_show_answer(c, c->method);
}
