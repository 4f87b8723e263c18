/*
 * dry_run.c - what would move from an address, and where to. Design: made
 * without the lock and without telling the balancer, with the reads and the
 * rules of the real run; its ETag is compared under the lock again.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

void engine_dry_run_free(struct dry_run **s)
{
    if (*s == NULL)
        return;
    struct dry_run *old = *s;
    engine_reader_forget(&old->reader);
    engine_pass_reset(&old->pass);
    DL_DELETE(old->e->dry_runs, old);
    mem_free(old->candidates);
    mem_free(old->items);
    mem_free(old);
    *s = NULL;
}

static void add_candidate(struct dry_run *s, const struct node *n)
{
    size_t i = s->n_candidates++;
    assert(n->process.known);
    s->candidates =
        mem_regrow(s->candidates, s->n_candidates, sizeof(*s->candidates));
    int32_t weight = n->load.weight;
    s->candidates[i] = (struct plan_candidate){
        .load = n->load.cpu > 0 ? n->load.cpu : 0,
        .weight = weight >= 0 ? (uint32_t)weight : 100,
        .owned = work_view_marker_count(s->e->c.view, n->kind, n->address),
    };
    (void)snprintf(s->candidates[i].address, sizeof(s->candidates[i].address),
                   "%s", n->address);
}

/* Who could take work now. A dry run shows the spread over all of them; which
 * groups a worker serves is the balancer's to say when it is real. */
static void find_candidates(struct dry_run *s, const char *but)
{
    struct engine *e = s->e;
    struct node *n = NULL;
    while ((n = membership_next(e->c.membership, n)) != NULL)
        if (n->kind == e->c.kind && n->state == NODE_UP && n->process.known &&
            n->status == NODE_NORMAL && strcmp(n->address, but) != 0 &&
            gate_takes(n->gate, &n->process))
            add_candidate(s, n);
}

static void tell_item(struct dry_run *s, const struct work_item *w,
                      enum plan_action action)
{
    size_t at = SIZE_MAX;
    assert(s->n_items <= ENGINE_PLAN_MAX);
    assert(s->n_items <= s->cap);
    s->n_all++;
    if (action == PLAN_MOVE)
        at = failover_plan_pick(s->candidates, s->n_candidates);
    if (s->n_items == ENGINE_PLAN_MAX)
        return;
    if (s->n_items == s->cap) {
        s->cap = s->cap == 0 ? 64 : s->cap * 2;
        s->items = mem_regrow(s->items, s->cap, sizeof(*s->items));
    }
    struct engine_plan_item *it = &s->items[s->n_items++];
    memset(it, 0, sizeof(*it));
    memcpy(it->id, w->id, sizeof(it->id));
    it->action =
        failover_plan_action_name(action == PLAN_HEIR ? PLAN_MOVE : action);
    if (action == PLAN_HEIR)
        memcpy(it->target, w->owner, sizeof(it->target));
    else if (at != SIZE_MAX)
        memcpy(it->target, s->candidates[at].address, sizeof(it->target));
    else if (action == PLAN_MOVE)
        it->action = "wait";
}

static void dry_run_done(struct dry_run *s)
{
    assert(s->done != NULL);
    failover_plan_etag(s->etag, &s->reader.seen.gate, s->digest, s->n_all);
    s->done(s->arg, s); /* may free it */
}

static void on_listed(void *arg, enum err_code code)
{
    struct dry_run *s = arg;
    struct move_pass *r = &s->pass;
    struct plan_rules rules;
    assert(r->e == s->e);
    if (code != ERR_OK) {
        s->err = r->err;
        dry_run_done(s);
        return;
    }
    engine_pass_rules(r, &rules);
    for (size_t i = 0; i < r->n_items; i++) {
        const struct work_item *w = &r->items[i].work;
        const char *cause;
        if (r->items[i].state != ITEM_READ)
            continue;
        enum plan_action action = failover_plan_action(w, &rules, &cause);
        s->digest += failover_plan_digest(w->id, w->epoch,
                                          failover_plan_action_name(action));
        tell_item(s, w, action);
    }
    if (r->next != NULL)
        engine_pass_list(r, false, on_listed, s);
    else
        dry_run_done(s);
}

static void on_read(void *arg, enum err_code code)
{
    struct dry_run *s = arg;
    const struct failover_seen *seen = &s->reader.seen;
    assert(s->pass.n_items == 0);
    if (code != ERR_OK) {
        s->err = s->reader.err;
        dry_run_done(s);
        return;
    }
    s->pass.gate = seen->gate;
    failover_fence(&s->pass.gate, &seen->gate.process, failover_fresh(seen),
                   seen->over);
    s->pass.cause = CAUSE_ORDER;
    find_candidates(s, s->reader.address);
    engine_pass_list(&s->pass, true, on_listed, s);
}

struct dry_run *engine_dry_run_start(struct engine *e, const char *address,
                                     dry_run_done_f *done, void *arg)
{
    struct dry_run *s = mem_zalloc(sizeof(*s));
    assert(done != NULL);
    assert(address[0] != '\0');
    s->e = e;
    s->done = done;
    s->arg = arg;
    s->pass.e = e;
    (void)snprintf(s->pass.address, sizeof(s->pass.address), "%s", address);
    DL_APPEND(e->dry_runs, s);
    engine_reader_start(&s->reader, e, address, on_read, s);
    return s;
}
