/*
 * forget.c - nodes that are gone and dealt with: after a while nobody asks for
 * them any more.
 */
#include "coordinator/coordinator_priv.h"

#define FORGET_TICK_MS  10000
#define FORGET_AFTER_MS (10 * 60 * 1000) /* a node gone and dealt with */

/* Absent for long, owning nothing, and no failover of it under way: nobody
 * asks for it any more. Its gate stays in the registry. */
static bool forgettable(const struct coordinator *c, const struct node *n)
{
    return (n->state == NODE_DOWN || n->state == NODE_FENCED ||
            n->state == NODE_LEFT) &&
           !n->registered &&
           c->clock->mono - n->state_since >= FORGET_AFTER_MS &&
           work_view_marker_count(c->view, n->kind, n->address) == 0 &&
           work_view_failover(c->view, n->kind, n->address) == NULL;
}

void coordinator_forget_tick(struct coordinator *c)
{
    struct node *n, *next;

    if (c->clock->mono - c->forgot < FORGET_TICK_MS)
        return;
    c->forgot = c->clock->mono;
    for (n = membership_next(c->membership, NULL); n != NULL; n = next) {
        next = membership_next(c->membership, n);
        if (forgettable(c, n))
            membership_forget(c->membership, n);
    }
}
