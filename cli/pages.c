/*
 * pages.c - the pages of a list put together as one answer.
 *
 * As text: what items hold of other people's is printed as it came.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <string.h>

/* The items of this page behind those of the pages before. */
static void add_items(struct buf *items, const struct json *list)
{
    const struct json *item;

    json_each (item, list) {
        if (items->len > 0)
            buf_char(items, ',');
        buf_add(items, item->text, item->len);
    }
}

/* Several pages as one answer, which is the last one's, without a next. */
static void rewrite(struct cli *c, const struct buf *items)
{
    const struct json *m;
    struct buf whole;

    buf_init(&whole, c->answer.max);
    json_open(&whole, NULL, '{');
    json_each (m, c->document) {
        if (strcmp(m->key, "items") == 0) {
            json_open(&whole, m->key, '[');
            buf_str(&whole, buf_text(items));
            json_close(&whole, ']');
        } else {
            if (whole.len > 1)
                buf_char(&whole, ',');
            buf_add(&whole, m->from, (size_t)(m->text + m->len - m->from));
        }
    }
    json_close(&whole, '}');
    json_free(c->document);
    buf_close(&c->answer);
    c->answer = whole;
    (void)!json_parse(whole.data, whole.len, &c->document, NULL);
}

int cli_get_all(struct cli *c, const struct cli_args *w, const char *limit)
{
    char *base = mem_strdup(buf_text(&c->path)), *next = NULL;
    size_t pages = 0;
    struct buf items;
    int rc = 0;

    assert(c->path.len > 0);
    buf_init(&items, c->answer.max);
    do {
        buf_reset(&c->path);
        buf_str(&c->path, base);
        cli_query(c, "limit", limit != NULL ? limit : "1000");
        cli_query(c, "cursor", next);
        if (pages == 0) { /* what follows belongs to what was waited for */
            cli_query(c, "index", w->index);
            cli_query(c, "wait", w->wait);
        }
        MEM_FREE(next);
        buf_reset(&c->answer);
        rc = cli_send(c, "GET");
        if (rc != 0)
            break;
        pages++;
        add_items(&items, json_get(c->document, "items"));
        next = mem_strdup(json_str(c->document, "next"));
    } while (next != NULL && limit == NULL);
    mem_free(next);
    mem_free(base);
    if (rc == 0 && pages > 1)
        rewrite(c, &items);
    buf_close(&items);
    return rc;
}
