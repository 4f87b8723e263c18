/*
 * engine_count.c - counts what a failover moved. Design: the moves stand in
 * the items' histories and nowhere else, so that no batch has to wait for a
 * counter; only a record that changed hands is counted this way, at its end.
 */
#include "failover/engine_priv.h"

#include <stdio.h>
#include <string.h>

static void list(struct counter *c, const char *from);

static void on_page(void *part, size_t index,
                    const struct registry_reply *reply)
{
    struct counter *c = part;
    (void)index;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        c->done(c->arg, reply->err.code);
        return;
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *entry = &reply->entries[i];
        struct work_item w;
        if (work_item_read(&w, entry->value, entry->value_len, NULL) != 0)
            continue;
        plan_recount(&c->counts, &w, c->failover);
        work_item_close(&w);
    }
    if (reply->next != NULL)
        list(c, reply->next);
    else
        c->done(c->arg, ERR_OK);
}

static void list(struct counter *c, const char *from)
{
    registry_list(c->e->c.registry, WORK_PREFIX, from, ENGINE_PAGE, call_done,
                  call_new(&c->e->calls, on_page, c, 0));
}

void counter_start(struct counter *c, struct engine *e, const char *failover,
                   round_done_f *done, void *arg)
{
    memset(c, 0, sizeof(*c));
    c->e = e;
    c->done = done;
    c->arg = arg;
    (void)snprintf(c->failover, sizeof(c->failover), "%s", failover);
    list(c, NULL);
}
