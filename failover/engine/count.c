/*
 * count.c - counts what a failover moved. Design: the moves stand in
 * the items' histories and nowhere else, so that no batch has to wait for a
 * counter; only a record that changed hands is counted this way, at its end,
 * when nothing of it moves any more: so that a count may go on in a later hold
 * of the lock where it was left.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void on_page(void *arg, const struct registry_reply *reply)
{
    struct engine *e = CONTAINER_OF(arg, struct engine, counter);
    struct counter *c = &e->counter;
    assert(c->done != NULL);
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        c->done(e, reply->err.code);
        return;
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *entry = &reply->entries[i];
        struct work_item w;
        if (work_item_read(&w, entry->value, entry->value_len, NULL) != 0)
            continue;
        failover_plan_recount(&c->counts, &w, c->failover);
        work_item_close(&w);
    }
    MEM_FREE(c->next);
    c->next = mem_strdup(reply->next);
    c->done(e, ERR_OK);
}

void engine_counter_page(struct engine *e, const char *failover,
                         pass_done_f *done)
{
    struct counter *c = &e->counter;
    assert(done != NULL);
    assert(failover[0] != '\0');
    if (c->next == NULL || strcmp(c->failover, failover) != 0) {
        engine_counter_close(c);
        (void)snprintf(c->failover, sizeof(c->failover), "%s", failover);
    }
    c->done = done;
    registry_list(e->c.registry, WORK_PREFIX, c->next, ENGINE_PAGE, on_page, c);
}

void engine_counter_close(struct counter *c)
{
    mem_free(c->next);
    memset(c, 0, sizeof(*c));
}
