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

    if (c->json)
        printf("%s\n", buf_text(&c->answer));
    else
        cli_table(cJSON_GetObjectItemCaseSensitive(c->document, list), columns,
                  n, none, &paper);
    return 0;
}

/* " (3m ago)" behind a time. */
static void put_distance(struct buf *line, const cJSON *item, wall_ms now)
{
    wall_ms at;

    if (!cJSON_IsString(item) || !clock_parse_rfc3339(item->valuestring, &at))
        return;
    buf_str(line, at > now ? "  (in " : "  (");
    cli_put_age(line, at > now ? at - now + 999 : now - at);
    buf_str(line, at > now ? ")" : " ago)");
}

/* Objects and lists of objects as JSON. */
static void put_member(struct buf *line, const struct cli *c, const cJSON *item)
{
    struct cli_column column = {.title = "", .field = item->string};
    bool raw = cJSON_IsObject(item) ||
               (cJSON_IsArray(item) && cJSON_IsObject(item->child));
    struct json_span text;

    if ((raw || strcmp(item->string, "payload") == 0) &&
        json_field(buf_text(&c->answer), c->answer.len, item->string, &text)) {
        buf_add(line, text.s, (size_t)(text.end - text.s));
        return;
    }
    cli_text(line, c->document, &column, c->now);
    put_distance(line, item, c->now);
}

int cli_show_object(struct cli *c)
{
    const cJSON *item;
    struct buf line;
    int width = 14;

    if (c->json || c->document == NULL) {
        if (c->answer.len > 0)
            printf("%s\n", buf_text(&c->answer));
        return 0;
    }
    buf_init(&line, 1024 * 1024);
    cJSON_ArrayForEach(item, c->document)
    {
        int n = (int)strlen(item->string);

        width = n > width ? n : width;
    }
    cJSON_ArrayForEach(item, c->document)
    {
        buf_reset(&line);
        buf_printf(&line, "%-*s ", width, item->string);
        put_member(&line, c, item);
        cli_say(stdout, buf_text(&line));
    }
    buf_close(&line);
    return 0;
}
