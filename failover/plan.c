/*
 * plan.c - policy, poison, heirs and the arithmetic of a plan. Design: an
 * item's fate depends on the item, the gate and the rules, never on the order
 * in which items are looked at; only the choice of a target sees the others.
 */
#include "failover/plan.h"

#include "base/planted.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *failover_plan_action_name(enum plan_action a)
{
    static const char *const names[] = {
        [PLAN_MOVE] = "move",
        [PLAN_HEIR] = "heir",
        [PLAN_HOLD] = "hold",
        [PLAN_DROP] = "drop",
    };
    assert((size_t)a < ARRAY_LEN(names));
    return names[a];
}

bool failover_plan_movable(const struct gate *gate, const struct process *p)
{
    assert(gate->n_past <= GATE_PAST_MAX);
    if (planted(PLANTED_MOVE_ALL))
        return gate->state != GATE_ABSENT;
    if (process_same(p, &gate->process)) /* its own past does not count */
        return p->known && gate->state == GATE_FENCED;
    return p->known && gate_bars(gate, p);
}

/* How many owners in a row died within the window, the present one among them
 * if `died`. */
static uint32_t deaths(const struct work_item *w,
                       const struct plan_rules *rules)
{
    uint32_t n = rules->died ? 1 : 0;
    if (n == 0)
        return 0;
    for (size_t i = 0; i < w->n_history; i++) {
        const struct work_past *past = &w->history[i];
        if (!past->died || rules->wall - past->until > rules->poison_window_ms)
            break;
        n++;
    }
    return n;
}

/* A restart's work stays where it is: not a loss, so no policy applies. A
 * cordon keeps new work away and lets the node keep its own. */
static bool inherits(const struct work_item *w, const struct gate *gate)
{
    return gate->heir_of.known && process_same(&gate->heir_of, &w->process) &&
           (gate->state == GATE_OPEN || gate->state == GATE_CORDONED);
}

enum plan_action failover_plan_action(const struct work_item *w,
                                      const struct plan_rules *rules,
                                      const char **cause)
{
    *cause = "";
    if (w->state == WORK_WAITING)
        return PLAN_MOVE;
    assert(w->state == WORK_ASSIGNED);
    if (inherits(w, rules->gate))
        return PLAN_HEIR;
    if (w->policy == WORK_DROP)
        return PLAN_DROP;
    if (w->policy == WORK_HOLD) {
        *cause = "policy";
        return PLAN_HOLD;
    }
    if (rules->poison_limit > 0 && deaths(w, rules) >= rules->poison_limit) {
        *cause = "poison";
        return PLAN_HOLD;
    }
    return PLAN_MOVE;
}

void failover_plan_apply(struct work_item *w, const struct plan_rules *rules,
                         enum plan_action action, const char *word,
                         const struct process *process)
{
    uint64_t before = w->epoch;
    assert(w->state == WORK_ASSIGNED || w->state == WORK_WAITING);
    work_item_leave(w, rules->wall, rules->died, rules->failover);
    if (action == PLAN_DROP) {
        w->state = WORK_DROPPED;
        w->finished_at = rules->wall;
    } else if (action == PLAN_HOLD) {
        work_item_unassign(w, WORK_HELD, word, rules->floor);
    } else if (word == NULL) {
        work_item_unassign(w, WORK_WAITING, "", rules->floor);
    } else {
        work_item_assign(w, word, process, rules->floor, rules->wall);
        if (planted(PLANTED_EPOCH_KEEPS))
            w->epoch = before;
        else
            assert(w->epoch > before);
    }
}

uint64_t failover_plan_digest(const char *id, uint64_t epoch,
                              const char *target)
{
    return hash_str(target, hash_bytes(&epoch, sizeof(epoch), hash_str(id, 0)));
}

static void count_target(struct failover_counts *c, const char *address)
{
    for (size_t i = 0; i < c->n_targets; i++) {
        if (strcmp(c->targets[i].address, address) == 0) {
            c->targets[i].items++;
            return;
        }
    }
    if (c->n_targets == FAILOVER_TARGETS_MAX)
        return; /* counted in `moved` only */
    struct failover_target *t = &c->targets[c->n_targets++];
    memcpy(t->address, address, strlen(address) + 1);
    t->items = 1;
}

void failover_plan_count(struct failover_counts *c,
                         const struct work_item *after, enum plan_action action)
{
    const char *target = "";
    switch (after->state) {
    case WORK_ASSIGNED:
        c->moved++;
        target = after->owner;
        count_target(c, target);
        break;
    case WORK_WAITING:
        c->waiting++;
        break;
    case WORK_HELD:
        c->held++;
        break;
    default:
        assert(action == PLAN_DROP);
        c->dropped++;
        break;
    }
    c->digest += failover_plan_digest(after->id, after->epoch, target);
}

void failover_plan_recount(struct failover_counts *c, const struct work_item *w,
                           const char *failover)
{
    for (size_t i = 0; i < w->n_history; i++) {
        const struct work_past *past = &w->history[i];
        if (strcmp(past->failover, failover) != 0)
            continue;
        uint64_t after = i > 0 ? w->history[i - 1].epoch : w->epoch;
        const char *owner = i > 0 ? w->history[i - 1].address : w->owner;
        const char *target = "";
        if (after == past->epoch) {
            c->dropped++; /* the only end that keeps the epoch */
        } else if (i == 0 && w->state == WORK_HELD) {
            c->held++;
        } else if (after != past->next || owner[0] == '\0') {
            c->waiting++; /* it had no owner in between */
        } else {
            c->moved++;
            target = owner;
            count_target(c, target);
        }
        c->digest += failover_plan_digest(
            w->id, after == past->epoch ? after : past->next, target);
        return;
    }
}

/* Less is better: owned work per weight, and a full machine counts up to
 * double. */
static double burden(const struct plan_candidate *c)
{
    double load = c->load > 0 ? c->load : 0;
    return ((double)c->owned + 1.0) * (1.0 + load) / (double)c->weight;
}

size_t failover_plan_pick(struct plan_candidate *c, size_t n)
{
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        if (c[i].weight == 0)
            continue;
        if (best == SIZE_MAX || burden(&c[i]) < burden(&c[best]))
            best = i;
    }
    if (best != SIZE_MAX)
        c[best].owned++;
    return best;
}

void failover_plan_etag(char out[PLAN_ETAG_SIZE], const struct gate *gate,
                        uint64_t items_digest, size_t n)
{
    uint64_t h = hash_bytes(&gate->version, sizeof(gate->version), n);
    (void)snprintf(out, PLAN_ETAG_SIZE, "\"%016" PRIx64 "%016" PRIx64 "\"", h,
                   items_digest);
}
