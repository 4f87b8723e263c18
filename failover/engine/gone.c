/*
 * gone.c - processes that were registered before our eyes and are gone.
 *
 * With a gate it remembers for us: whoever it names, or has in its past, is
 * accounted for. Without one (first.c makes it only a little later)
 * nobody does, and membership knows only who was last at an address; so a
 * process is noted here when it goes, until a gate accounts for it or it is
 * back. Where no hook wants it nothing is noted.
 */
#include "failover/engine/engine_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define GONE_MAX  10000 /* addresses; the newest are noted */
#define GONE_EACH 8     /* processes of one address, likewise */

struct gone {
    UT_hash_handle hh;                   /* oldest address first */
    struct process processes[GONE_EACH]; /* oldest first */
    size_t n;
    char address[NODE_ADDRESS_MAX + 1];
};

static void drop(struct engine *e, struct gone *g)
{
    assert(g->n <= GONE_EACH);
    HASH_DEL(e->gone, g);
    mem_free(g);
}

void engine_gone_close(struct engine *e)
{
    while (e->gone != NULL)
        drop(e, e->gone);
}

static void forget(struct gone *g, size_t i)
{
    assert(i < g->n);
    g->n--;
    memmove(&g->processes[i], &g->processes[i + 1],
            (g->n - i) * sizeof(g->processes[0]));
}

void engine_gone(struct engine *e, const char *address,
                 const struct process *process)
{
    struct gone *g;
    if (!e->hooked || !process->known)
        return;
    HASH_FIND_STR(e->gone, address, g);
    if (g == NULL) {
        if (HASH_COUNT(e->gone) == GONE_MAX)
            drop(e, e->gone);
        g = mem_zalloc(sizeof(*g));
        (void)snprintf(g->address, sizeof(g->address), "%s", address);
        HASH_ADD_STR(e->gone, address, g);
    }
    assert(g->n <= GONE_EACH);
    for (size_t i = 0; i < g->n; i++)
        if (process_same(&g->processes[i], process))
            return;
    if (g->n == GONE_EACH)
        forget(g, 0);
    assert(g->n < GONE_EACH);
    g->processes[g->n++] = *process;
    assert(HASH_COUNT(e->gone) <= GONE_MAX);
}

static bool accounted(const struct failover_seen *seen, const struct process *p)
{
    assert(p->known);
    return seen->gate.state != GATE_ABSENT &&
           (process_same(&seen->gate.process, p) || gate_bars(&seen->gate, p));
}

static bool take(struct failover_seen *seen, const struct process *p)
{
    assert(!seen->gone.known);
    if (!p->known || accounted(seen, p) || failover_is_registered(seen, p))
        return false;
    seen->gone = *p;
    return true;
}

/* The oldest that is not dealt with; who is, is noted no more. Who stands is
 * back, or another one under a second key hides that he was never away. */
static bool take_noted(struct engine *e, const char *address,
                       struct failover_seen *seen)
{
    struct gone *g;
    HASH_FIND_STR(e->gone, address, g);
    if (g == NULL)
        return false;
    for (size_t i = 0; i < g->n;) {
        if (take(seen, &g->processes[i]))
            return true;
        if (accounted(seen, &g->processes[i]))
            forget(g, i);
        else
            i++;
    }
    if (g->n == 0)
        drop(e, g);
    return false;
}

void engine_gone_find(struct engine *e, const char *address,
                      struct failover_seen *seen)
{
    const struct node *n = membership_find(e->c.membership, e->c.kind, address);
    assert(seen->n_registered <= FAILOVER_PROCESSES_MAX);
    memset(&seen->gone, 0, sizeof(seen->gone));
    seen->hooked = e->hooked;
    if (seen->record != NULL && take(seen, &seen->record->process))
        return; /* it was held: goes on as begun */
    if (take_noted(e, address, seen))
        return;
    if (n != NULL && !n->registered &&
        (n->state == NODE_DOWN || n->state == NODE_SUSPECT))
        (void)take(seen, &n->process);
}

void engine_gone_look(struct engine *e)
{
    for (const struct gone *g = e->gone; g != NULL; g = g->hh.next)
        engine_look(e, g->address);
}
