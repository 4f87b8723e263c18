/*
 * groups.c - the subcommand about worker groups: their addresses, and the
 * balancer's settings that hold in them.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "cluster/group_settings.h"

#include <stdio.h>
#include <string.h>

/* Name, value and origin of one setting. */
typedef void setting_f(struct buf *out, const char *name,
                       const struct json *value, const char *from);

/* Over the settings of a group as the API tells them, block by block. */
static void each_setting(const struct json *values, const struct json *from,
                         const char *block, setting_f *f, struct buf *out)
{
    const struct json *v;
    char name[128];

    json_each (v, values) {
        (void)snprintf(name, sizeof(name), "%s%s%s", block,
                       block[0] == '\0' ? "" : ".", v->key);
        if (json_is(v, JSON_OBJECT))
            each_setting(v, json_get(from, v->key), name, f, out);
        else
            f(out, name, v, json_str(from, v->key));
    }
}

static void put_own(struct buf *out, const char *name, const struct json *value,
                    const char *from)
{
    const char *text = json_string(value);

    if (from == NULL || strcmp(from, "general") == 0)
        return;
    buf_printf(out, "%s%s=%.*s", out->len == 0 ? "" : ", ", name,
               text != NULL ? (int)strlen(text) : (int)value->len,
               text != NULL ? text : value->text);
}

static void own_settings(struct buf *out, const struct json *group)
{
    struct buf own;

    buf_init(&own, 4096);
    each_setting(json_get(group, "balancer"), json_get(group, "balancer_from"),
                 "", put_own, &own);
    buf_str(out, own.len > 0 ? buf_text(&own) : "-");
    buf_close(&own);
}

static const struct cli_column columns[] = {
    {.title = "NAME", .field = "name"},
    {.title = "ALIVE", .field = "alive", .below = true},
    {.title = "ADDRESSES", .field = "addresses", .below = true},
    {.title = "SETTINGS", .make = own_settings, .below = true},
};
const struct cli_list cli_group_list = {CLI_COLUMNS(columns), "items",
                                        "no groups", NULL};

#define NAME_WIDTH 48

static void say_setting(struct buf *out, const char *name,
                        const struct json *value, const char *from)
{
    const char *text = json_string(value);

    buf_reset(out);
    buf_printf(out, "balancer.%-*s %.*s", NAME_WIDTH - 9, name,
               text != NULL ? (int)strlen(text) : (int)value->len,
               text != NULL ? text : value->text);
    if (from != NULL)
        buf_printf(out, "  (%s)", from);
    cli_say(stdout, buf_text(out));
}

/* Every field a line, and every setting with where it comes from. */
static void say_group(const struct cli *c)
{
    const struct json *item;
    struct buf line;

    assert(c->document != NULL);
    buf_init(&line, 1024 * 1024);
    json_each (item, c->document) {
        const struct cli_column column = {.title = "", .field = item->key};

        if (strcmp(item->key, "balancer_from") == 0)
            continue;
        if (strcmp(item->key, "balancer") == 0) {
            each_setting(item, json_get(c->document, "balancer_from"), "",
                         say_setting, &line);
            continue;
        }
        buf_reset(&line);
        buf_printf(&line, "%-*s ", NAME_WIDTH, item->key);
        cli_text(&line, c->document, &column, c->now);
        cli_say(stdout, buf_text(&line));
    }
    buf_close(&line);
}

int cli_group(struct cli *c, const struct cli_args *w)
{
    int rc;

    assert(w->n >= 1);
    rc = cli_send(c, c->method);
    if (rc != 0)
        return rc;
    if (c->json || c->document == NULL)
        return cli_show_object(c);
    say_group(c);
    return 0;
}

int cli_group_set(struct cli *c, const struct cli_args *w)
{
    struct group_settings_change change;
    struct err err;

    assert(w->n >= 1);
    if (w->n == 1 && w->balancer == NULL) {
        fputs("pelorus: groups set: ADDRESS is missing, or --balancer "
              "KEY=VALUE\n",
              stderr);
        return CLI_USAGE_EXIT;
    }
    if (w->balancer != NULL &&
        group_settings_parse(w->balancer, &change, &err) != 0) {
        fprintf(stderr, "pelorus: groups set: --balancer %s\n", err.msg);
        return CLI_USAGE_EXIT;
    }
    json_open(&c->body, NULL, '{');
    if (w->n > 1) {
        json_open(&c->body, "addresses", '[');
        for (int i = 1; i < w->n; i++)
            json_put_str(&c->body, NULL, w->operand[i]);
        json_close(&c->body, ']');
    }
    if (w->balancer != NULL)
        group_settings_put_change(&c->body, &change);
    json_close(&c->body, '}');
    return cli_group(c, w);
}
