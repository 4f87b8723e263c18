/*
 * show.c - what the API answered, for people; with --json as it came.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"

#include <stdio.h>
#include <string.h>

int cli_show_list(struct cli *c, const char *list,
                  const struct cli_column *columns, size_t n, const char *none)
{
    struct cli_paper paper = {.width = cli_terminal(), .now = c->now};

    assert(n > 0);
    assert(list[0] != '\0');
    if (c->json)
        printf("%s\n", buf_text(&c->answer));
    else
        cli_table(json_get(c->document, list), columns, n, none, &paper);
    return 0;
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
