/*
 * check_told.c - what clients asked for and what they were told: an answer is
 * held to what the registry knows by then.
 */
#include "tests/sim/check.h"

#include "base/mem.h"

#include <inttypes.h>

static void ask(struct check_asked *a, uint64_t epoch)
{
    a->epochs = mem_regrow(a->epochs, a->n + 1, sizeof(*a->epochs));
    a->epochs[a->n++] = epoch;
}

void check_asks_done(struct check *c, int item, uint64_t epoch)
{
    ask(&c->items[item].done, epoch);
}

void check_asks_handover(struct check *c, int item, uint64_t epoch)
{
    ask(&c->items[item].handover, epoch);
}

void check_asks_release(struct check *c, int item, uint64_t epoch)
{
    ask(&c->items[item].release, epoch);
}

void check_asks_undrain(struct check *c, int node)
{
    c->nodes[node].undrain_asked = true;
}

void check_asks_withdraw(struct check *c, const char *id)
{
    struct check_failover *f;

    HASH_FIND_STR(c->failovers, id, f);
    if (f != NULL)
        f->withdraw_asked = true;
}

void check_withdrawn(struct check *c, const char *id)
{
    const struct check_failover *f;

    check_flush(c);
    if (c->back.doubt)
        return; /* so it was, in what is lost */
    HASH_FIND_STR(c->failovers, id, f);
    if (f != NULL && f->now.phase != PHASE_ABORTED &&
        f->now.phase != PHASE_NONE)
        check_fail(c, "withdrawn-is-not-done",
                   "a person was told that %s is withdrawn, and it is %s", id,
                   check_phase_name(f->now.phase));
}

void check_told(struct check *c, int item, uint64_t epoch)
{
    const struct check_item *i = &c->items[item];

    check_flush(c);
    if (epoch > i->top)
        check_fail(c, "none-lost",
                   "w-%d: a client was told of epoch %" PRIu64
                   ", the registry knows only %" PRIu64,
                   item, epoch, i->top);
}

void check_told_ok(struct check *c, int item, mono_ms asked, bool beside)
{
    if (beside)
        check_fail(c, "nobody-acts-beside",
                   "w-%d: a client was told that all is well, by an old "
                   "primary",
                   item);
    if (c->back.doubt && asked >= c->back.since)
        check_fail(c, "nobody-acts-in-doubt",
                   "w-%d: a client was told that all is well, in a store that "
                   "had lost its tail",
                   item);
}

void check_refused(struct check *c, int item, uint64_t epoch)
{
    const struct check_item *i = &c->items[item];
    size_t asked = 0;

    check_flush(c);
    for (size_t k = 0; k < i->done.n; k++)
        asked += i->done.epochs[k] == epoch;
    if (asked == 1 && i->now.state == ITEM_DONE && i->now.epoch == epoch)
        check_fail(c, "refused-is-not-done",
                   "w-%d: a client was told that its done of epoch %" PRIu64
                   " was not carried out, and it was",
                   item, epoch);
}

void check_leased(struct check *c, int node, const struct check_id *process)
{
    const struct check_process *p = check_process(c, node, process);

    check_flush(c);
    if (p->moving && !p->ordered && !c->back.doubt)
        check_fail(c, "two-owners",
                   "%s %" PRId64 " was given a lease while its work is taken",
                   c->names[node], process->startup);
}
