/*
 * show.c - what the API answered, for people; with --json as it came.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"

#include <stdio.h>
#include <string.h>

/* A cluster may look empty because nobody in it is understood. */
static void say_ignored(const struct cli *c)
{
    double n = json_num(c->document, "ignored_keys", 0);

    assert(!c->json);
    if (n > 0)
        fprintf(stderr,
                "%.0f keys in the registry are ignored; `problems` of "
                "/v1/cluster and the coordinator's log say why\n",
                n);
}

void cli_show_list(struct cli *c, const struct cli_list *list)
{
    struct cli_paper paper = {.width = cli_terminal(), .now = c->now};

    assert(list->n > 0);
    assert(list->member[0] != '\0');
    if (c->json) {
        printf("%s\n", buf_text(&c->answer));
        return;
    }
    cli_table(json_get(c->document, list->member), list->columns, list->n,
              list->none, &paper);
    say_ignored(c);
}

/* " (3m ago)" behind a time. */
static void put_distance(struct buf *line, const struct json *item, wall_ms now)
{
    wall_ms at;

    if (!json_is(item, JSON_STRING) || !clock_parse_rfc3339(item->string, &at))
        return;
    buf_str(line, at > now ? "  (in " : "  (");
    cli_put_age(line, at > now ? at - now + 999 : now - at);
    buf_str(line, at > now ? ")" : " ago)");
}

/* Objects and lists of objects as JSON. */
static void put_member(struct buf *line, const struct cli *c,
                       const struct json *item)
{
    struct cli_column column = {.title = "", .field = item->key};
    bool raw =
        json_is(item, JSON_OBJECT) || json_is(json_first(item), JSON_OBJECT);

    if (raw || strcmp(item->key, "payload") == 0) {
        buf_add(line, item->text, item->len);
        return;
    }
    cli_text(line, c->document, &column, c->now);
    put_distance(line, item, c->now);
}

int cli_show_object(struct cli *c)
{
    const struct json *item;
    struct buf line;
    int width = 14;

    if (c->json || c->document == NULL) {
        if (c->answer.len > 0)
            printf("%s\n", buf_text(&c->answer));
        return 0;
    }
    buf_init(&line, 1024 * 1024);
    json_each (item, c->document) {
        int n = (int)strlen(item->key);

        width = n > width ? n : width;
    }
    json_each (item, c->document) {
        buf_reset(&line);
        buf_printf(&line, "%-*s ", width, item->key);
        put_member(&line, c, item);
        cli_say(stdout, buf_text(&line));
    }
    buf_close(&line);
    return 0;
}

int cli_show_answer(struct cli *c, const char *method)
{
    int rc;

    assert(c->path.len > 0);
    rc = cli_send(c, method);
    return rc != 0 ? rc : cli_show_object(c);
}
