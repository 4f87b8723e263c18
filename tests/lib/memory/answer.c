/*
 * answer.c - the memory registry's client: what answers and
 * notifications mean to whoever asked.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <utlist.h>

static void answer_names(struct memory_message *m, struct registry_reply *reply,
                         struct registry_entry *entries)
{
    const char *name = m->key;

    reply->n_entries = (size_t)m->number;
    for (size_t i = 0; i < reply->n_entries; i++) {
        entries[i].key = name;
        name += strlen(name) + 1;
    }
}

void memory_on_answer(struct memory_message *m)
{
    struct registry_call *call = m->call;
    struct registry_reply reply = {.failed_op = m->failed_op,
                                   .revision = m->revision,
                                   .n_entries = m->n_nodes};
    struct registry_entry *entries;

    assert(call->done != NULL); /* given up only when the connection breaks */
    if (!m->hearsay &&
        !registry_report_position(call->r, m->side->line, m->revision)) {
        bool write = call->type == REGISTRY_CALL_TXN;

        registry_call_fail(call, write ? ERR_UNKNOWN : ERR_UNAVAILABLE,
                           "the answer is of a store that went back");
        return;
    }
    entries =
        mem_zalloc((m->n_nodes + (size_t)m->number + 1) * sizeof(*entries));
    reply.entries = entries;
    if (m->code != ERR_OK)
        err_set(&reply.err, m->code, "%s", m->text);
    for (size_t i = 0; i < m->n_nodes; i++)
        entries[i] = m->nodes[i]->entry;
    if (call->type == REGISTRY_CALL_CHILDREN)
        answer_names(m, &reply, entries);
    reply.next = m->more != NULL ? m->more->text : NULL;
    registry_call_done(call, &reply);
    mem_free(entries);
}

static struct registry_watch *find_watch(struct memory_client *c, uint64_t id)
{
    struct registry_watch *w;

    DL_FOREACH (c->base.watches, w)
        if (((const struct memory_watch_priv *)w->priv)->id == id)
            return w;
    return NULL;
}

void memory_on_looked(struct memory_client *c, const struct memory_message *m)
{
    struct registry_watch *w = find_watch(c, m->number);

    if (w == NULL || !c->base.ready ||
        (!m->hearsay &&
         !registry_report_position(&c->base, m->side->line, m->revision)))
        return;
    if (m->tell)
        ((struct memory_watch_priv *)w->priv)->synced = true;
    registry_diff_begin(w);
    for (size_t i = 0; i < m->n_nodes && w->fn != NULL; i++)
        registry_diff_seen(w, &m->nodes[i]->entry, m->nodes[i]->revision, true);
    registry_diff_end(w, m->revision, m->tell);
}

void memory_on_notice(struct memory_client *c, const struct memory_message *m)
{
    struct registry_watch *w = find_watch(c, m->number);

    /* its revision is the key's: only the line tells where the store stands */
    if (w == NULL || !c->base.ready ||
        m->side->line < registry_place(&c->base)->line)
        return;
    if (m->gone)
        registry_diff_gone(w, m->nodes[0]->text, m->revision);
    else
        registry_diff_seen(w, &m->nodes[0]->entry, m->revision, false);
}

void memory_on_about_hold(struct memory_client *c,
                          const struct memory_message *m)
{
    struct registry_hold *hold;

    DL_FOREACH (c->base.holds, hold)
        if (hold->id == m->number)
            break;
    if (hold == NULL || hold->session != m->session ||
        hold->session != c->base.session)
        return;
    if (m->kind == MEMORY_GRANTED) {
        registry_hold_granted(hold, m->fence);
    } else if (m->kind == MEMORY_REFUSED) {
        if (hold->try_once)
            registry_hold_refused(hold, ERR_TIMEOUT);
    } else if (m->kind == MEMORY_BEHIND) {
        char name[32];

        (void)snprintf(name, sizeof(name), "session %" PRIu64, m->revision);
        registry_hold_waits(hold, name);
    } else if (hold->state == HOLD_LEAVING && !c->base.closing) {
        registry_hold_gone(hold);
    }
}
