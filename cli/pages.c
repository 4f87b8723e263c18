/*
 * pages.c - the pages of a list put together as one answer.
 *
 * As text: what items hold of other people's is printed as it came.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

/* The items of this page behind those of the pages before. */
static cJSON *join(cJSON *all, cJSON *page)
{
    cJSON *items = cJSON_GetObjectItemCaseSensitive(all, "items");
    cJSON *more = cJSON_GetObjectItemCaseSensitive(page, "items"), *item;

    if (all == NULL)
        return page;
    while ((item = cJSON_DetachItemFromArray(more, 0)) != NULL)
        cJSON_AddItemToArray(items, item);
    cJSON_Delete(page);
    return all;
}

/* The items of this page behind those of the pages before. */
static void add_items(struct buf *items, const struct cli *c)
{
    struct json_span list;

    if (!json_field(buf_text(&c->answer), c->answer.len, "items", &list) ||
        !json_take(&list, '['))
        return;
    json_skip_blanks(&list);
    if (list.end - list.s <= 1)
        return; /* only the bracket */
    if (items->len > 0)
        buf_char(items, ',');
    buf_add(items, list.s, (size_t)(list.end - list.s) - 1);
}

/* Several pages as one answer, which is the last one's, without a next. */
static void rewrite(struct cli *c, const struct buf *items)
{
    struct json_member m;
    struct json_span t;
    struct buf whole;

    buf_init(&whole, c->answer.max);
    buf_char(&whole, '{');
    json_members(&t, buf_text(&c->answer), c->answer.len);
    while (json_member(&t, &m)) {
        if (whole.len > 1)
            buf_char(&whole, ',');
        buf_add(&whole, m.key.s, (size_t)(m.key.end - m.key.s));
        buf_char(&whole, ':');
        if (json_member_is(&m, "items")) {
            buf_char(&whole, '[');
            buf_str(&whole, buf_text(items));
            buf_char(&whole, ']');
        } else {
            buf_add(&whole, m.value.s, (size_t)(m.value.end - m.value.s));
        }
    }
    buf_char(&whole, '}');
    buf_close(&c->answer);
    c->answer = whole;
}

int cli_get_all(struct cli *c, const struct cli_words *w)
{
    const char *limit = w->limit;
    char *base = mem_strdup(buf_text(&c->path)), *next = NULL;
    cJSON *all = NULL;
    size_t pages = 0;
    struct buf items;
    int rc;

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
        add_items(&items, c);
        next = mem_strdup(json_str(c->document, "next"));
        all = join(all, c->document);
        c->document = NULL;
    } while (next != NULL && limit == NULL);
    mem_free(next);
    mem_free(base);
    if (rc != 0)
        cJSON_Delete(all);
    else
        c->document = all;
    if (rc == 0 && pages > 1 && c->json)
        rewrite(c, &items);
    buf_close(&items);
    return rc;
}
