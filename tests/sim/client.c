/*
 * client.c - whoever gives work out, finishes it and hands it over, and the
 * people who give orders at gates. Each request goes to a coordinator that
 * runs, and is told to the checker before it is made.
 */
#include "tests/sim/world.h"

#include "base/mem.h"

#include <string.h>

struct request {
    struct sim_call call; /* first */
    struct world *w;
    int item;
    uint64_t epoch;
    const char *what;
    mono_ms asked;
    bool at_old; /* a coordinator that is connected to an old primary */
    char at[32];
    char failover[64]; /* a person's */
};

enum node_kind item_kind(int item)
{
    return item % 3 == 0 ? NODE_MASTER : NODE_WORKER;
}

const char *item_group(int item)
{
    if (item_kind(item) == NODE_WORKER && item % 8 == 5)
        return "gpu";
    return item_kind(item) == NODE_WORKER && item % 8 == 7 ? "api" : "default";
}

static enum work_policy item_policy(int item)
{
    if (item % 11 == 0)
        return WORK_HOLD;
    return item % 11 == 1 ? WORK_DROP : WORK_REASSIGN;
}

static void lost(struct sim_call *call)
{
    mem_free(CONTAINER_OF(call, struct request, call));
}

static bool is_at_old(const struct world *w, const struct coord *k)
{
    return fork_exists(w) && memory_at(k->registry) == MEMORY_OLD;
}

static struct request *request(struct world *w, struct coord *k, int item,
                               const char *what, uint64_t epoch)
{
    struct request *r = mem_zalloc(sizeof(*r));

    r->w = w;
    r->item = item;
    r->what = what;
    r->asked = w->clock.mono;
    r->at_old = is_at_old(w, k);
    r->epoch = epoch;
    snprintf(r->at, sizeof(r->at), "%s", k->self);
    coord_call(k, &r->call, lost);
    return r;
}

static void replied(void *arg, const struct work_reply *reply)
{
    struct request *r = arg;
    struct world *w = r->w;

    trace(&w->trace, "%s %s w-%d e%llu: %s", r->at, r->what, r->item,
          (unsigned long long)r->epoch,
          reply->code != PROBLEM_NONE ? problem_code(reply->code) : "ok");
    if (reply->code == PROBLEM_NONE && reply->item != NULL)
        check_told(&w->check, r->item, reply->item->epoch);
    /* of a server that lost the others one may hear what was */
    if (reply->code == PROBLEM_NONE && r->call.k->cut_until == 0 &&
        r->asked >= r->call.k->well_since)
        check_told_ok(&w->check, r->item, r->asked,
                      r->at_old && is_at_old(w, r->call.k));
    if (reply->code != PROBLEM_NONE && strcmp(r->what, "done") == 0 &&
        reply->code == PROBLEM_TROUBLE_UNREACHABLE)
        check_refused(&w->check, r->item, r->epoch);
    if (reply->code == PROBLEM_DAMAGED)
        check_fail(&w->check, "readable", "w-%d: %s", r->item, reply->err.msg);
    coord_answered(&r->call);
    mem_free(r);
}

static void submit(struct world *w, struct coord *k, int i, bool other)
{
    char id[16], payload[32];
    struct work_submit what = {.id = id,
                               .kind = item_kind(i),
                               .group = item_group(i),
                               .policy = item_policy(i),
                               .payload = payload};

    snprintf(id, sizeof(id), "w-%d", i);
    snprintf(payload, sizeof(payload), "{\"n\":%d}", other ? -1 : i);
    work_submit(coordinator_work(k->c), &what, replied,
                request(w, k, i, "submit", 0));
}

static void claim(struct world *w, struct coord *k, int i)
{
    char id[16];
    int first = item_kind(i) == NODE_MASTER ? 0 : MASTERS;
    int n = item_kind(i) == NODE_MASTER ? MASTERS : WORKERS;
    const struct sim_node *node = &w->nodes[first + between(w, 0, n - 1)];
    struct work_submit what = {.id = id,
                               .kind = item_kind(i),
                               .group = item_group(i),
                               .policy = item_policy(i),
                               .owner = node->address};

    snprintf(id, sizeof(id), "w-%d", i);
    work_claim(coordinator_work(k->c), &what, replied,
               request(w, k, i, "claim", 0));
}

static void done(struct world *w, struct coord *k, int i, uint64_t epoch)
{
    char id[16];

    if (epoch == 0)
        return;
    snprintf(id, sizeof(id), "w-%d", i);
    check_asks_done(&w->check, i, epoch);
    work_done(coordinator_work(k->c), id, epoch, replied,
              request(w, k, i, "done", epoch));
}

static void handover(struct world *w, struct coord *k, int i, uint64_t epoch)
{
    char id[16];

    snprintf(id, sizeof(id), "w-%d", i);
    check_asks_handover(&w->check, i, epoch);
    work_handover(coordinator_work(k->c), id, epoch, replied,
                  request(w, k, i, "handover", epoch));
}

static void release(struct world *w, struct coord *k, int i, uint64_t epoch)
{
    char id[16];

    snprintf(id, sizeof(id), "w-%d", i);
    check_asks_release(&w->check, i, epoch);
    work_release(coordinator_work(k->c), id, epoch, replied,
                 request(w, k, i, "release", epoch));
}

static void of_assigned(struct world *w, struct coord *k, int i, uint64_t epoch)
{
    double what = rand_double(&w->rand);
    char id[16];

    snprintf(id, sizeof(id), "w-%d", i);
    if (what < 0.30)
        done(w, k, i, epoch);
    else if (what < 0.45) /* somebody who missed that it moved */
        done(w, k, i, epoch - (uint64_t)between(w, 1, 2));
    else if (what < 0.75)
        handover(w, k, i, epoch);
    else if (what < 0.85)
        submit(w, k, i, chance(w, 0.2));
    else if (what < 0.95)
        work_fence_check(coordinator_work(k->c), id, epoch, replied,
                         request(w, k, i, "fence-check", epoch));
    else
        claim(w, k, i);
}

void client_fill(struct world *w, int i)
{
    struct coord *k = coord_any(w);

    if (k == NULL || w->check.items[i].now.state != ITEM_NONE)
        return;
    if (chance(w, 0.2))
        claim(w, k, i);
    else
        submit(w, k, i, false);
}

void client_done(struct world *w, int item)
{
    struct coord *k = coord_any(w);

    if (k != NULL)
        done(w, k, item, w->check.items[item].now.epoch);
}

void client_step(struct world *w)
{
    int i = (int)between(w, 0, CHECK_ITEMS - 1);
    const struct check_record *item = &w->check.items[i].now;
    struct coord *k = coord_any(w);

    if (k == NULL)
        return;
    if (w->back.restored != 0 && chance(w, 0.2)) {
        /* whoever had it remembers */
        done(w, k, i, w->check.items[i].top);
        return;
    }
    switch (item->state) {
    case ITEM_NONE:
        client_fill(w, i);
        break;
    case ITEM_ASSIGNED:
        of_assigned(w, k, i, item->epoch);
        break;
    case ITEM_WAITING:
        handover(w, k, i, item->epoch - 1); /* said again */
        break;
    case ITEM_HELD:
        release(w, k, i, item->epoch);
        break;
    case ITEM_DONE:
    case ITEM_DROPPED:
        if (chance(w, 0.5))
            done(w, k, i, item->epoch);
        else
            submit(w, k, i, false);
        break;
    }
}

/* --- people -------------------------------------------------------------- */

static void gate_replied(void *arg, enum problem code, const struct err *err,
                         const struct gate *gate)
{
    struct request *r = arg;

    (void)err;
    (void)gate;
    trace(&r->w->trace, "%s %s %s: %s", r->at, r->what,
          r->w->nodes[r->item].address,
          code != PROBLEM_NONE ? problem_code(code) : "ok");
    coord_answered(&r->call);
    mem_free(r);
}

static void order_gate(struct world *w, struct coord *k)
{
    static const char *const words[] = {"cordon",   "drain",   "restart",
                                        "uncordon", "undrain", "unrestart"};
    struct sim_node *n = &w->nodes[between(w, 0, NODES - 1)];
    int what = (int)between(w, 0, 5);
    struct gate_order order = {.what = (enum gate_order_what)(what % 3),
                               .undo = what >= 3,
                               .kind = n->kind,
                               .address = n->address,
                               .who = "ann"};

    if (order.what == GATE_ORDER_RESTART && !order.undo)
        order.for_ms = between(w, 2000, 8000);
    if (order.what == GATE_ORDER_DRAIN && !order.undo)
        order.for_ms = between(w, 2000, 20000);
    if (order.what == GATE_ORDER_DRAIN && order.undo)
        check_asks_undrain(&w->check, n->index);
    trace(&w->trace, "ORDER %s %s", words[what], n->address);
    work_gate_order(coordinator_work(k->c), &order, gate_replied,
                    request(w, k, n->index, words[what], 0));
    if (order.what == GATE_ORDER_RESTART && !order.undo && chance(w, 0.7))
        sim_node_kill(n, between(w, 200, 4000));
    /* people drain a host to stop its process */
    if (order.what == GATE_ORDER_DRAIN && !order.undo && chance(w, 0.3))
        sim_node_kill(n, between(w, 200, 4000));
    else if (order.what == GATE_ORDER_DRAIN && !order.undo && chance(w, 0.3))
        sim_node_leave(n, between(w, 200, 4000));
}

/* Cordon some node of this kind, or take that back. */
void person_cordon(struct world *w, enum node_kind kind)
{
    int first = kind == NODE_MASTER ? 0 : MASTERS;
    int n = kind == NODE_MASTER ? MASTERS : WORKERS;
    struct sim_node *node = &w->nodes[first + between(w, 0, n - 1)];
    struct gate_order order = {.what = GATE_ORDER_CORDON,
                               .undo = chance(w, 0.6),
                               .kind = kind,
                               .address = node->address,
                               .who = "ann"};
    struct coord *k = coord_any(w);

    if (k != NULL)
        work_gate_order(
            coordinator_work(k->c), &order, gate_replied,
            request(w, k, node->index, order.undo ? "uncordon" : "cordon", 0));
}

static void failover_replied(void *arg, const struct engine_reply *reply)
{
    struct request *r = arg;

    trace(&r->w->trace, "%s order %s: %s", r->at, r->w->nodes[r->item].address,
          reply->code != PROBLEM_NONE ? problem_code(reply->code) : "ok");
    coord_answered(&r->call);
    mem_free(r);
}

/* At any coordinator that runs. */
void person_order(struct world *w, const struct gate_order *order)
{
    struct coord *k = coord_any(w);
    int node = sim_node_of(w, order->kind, order->address);

    if (k != NULL)
        work_gate_order(coordinator_work(k->c), order, gate_replied,
                        request(w, k, node, "gate order", 0));
}

void person_force(struct world *w, const struct sim_node *n)
{
    struct engine_order order = {
        .address = n->address, .force = true, .who = "bob"};
    struct coord *k = coord_any(w);

    if (k != NULL)
        engine_order(coordinator_engine(k->c, n->kind), &order,
                     failover_replied, request(w, k, n->index, "order", 0));
}

static void order_failover(struct world *w, struct coord *k)
{
    const struct sim_node *n = &w->nodes[between(w, 0, NODES - 1)];
    struct engine_order order = {.address = n->address,
                                 .dry_run = chance(w, 0.2),
                                 .force = chance(w, 0.4),
                                 .who = "bob",
                                 .reason = "test"};

    trace(&w->trace, "ORDER failover %s%s%s", n->address,
          order.force ? " by force" : "", order.dry_run ? ", dry run" : "");
    engine_order(coordinator_engine(k->c, n->kind), &order, failover_replied,
                 request(w, k, n->index, "order", 0));
}

static void withdrawn(void *arg, const struct coordinator_reply *reply)
{
    struct request *r = arg;

    trace(&r->w->trace, "%s withdraw %s: %s", r->at, r->failover,
          reply->code != PROBLEM_NONE ? problem_code(reply->code) : "ok");
    if (reply->code == PROBLEM_NONE)
        check_withdrawn(&r->w->check, r->failover);
    coord_answered(&r->call);
    mem_free(r);
}

/* Some failover that has not begun is taken back; most of those that wait were
 * ordered by nobody. */
void person_withdraw(struct world *w)
{
    struct check_failover *f, *next, *one = NULL;
    struct coord *k = coord_any(w);
    struct request *r;
    uint64_t n = 0;

    HASH_ITER (hh, w->check.failovers, f, next)
        if ((f->now.phase == PHASE_QUEUED || f->now.phase == PHASE_HELD) &&
            rand_below(&w->rand, ++n) == 0)
            one = f;
    if (one == NULL || k == NULL)
        return;
    r = request(w, k, one->now.node, "withdraw", 0);
    snprintf(r->failover, sizeof(r->failover), "%s", one->id);
    check_asks_withdraw(&w->check, r->failover);
    coordinator_failover_withdraw(k->c, r->failover, withdrawn, r);
}

static void asked(void *arg, const struct coordinator_reply *reply)
{
    struct request *r = arg;

    trace(&r->w->trace, "%s %s: %s", r->at, r->what,
          reply->code != PROBLEM_NONE ? problem_code(reply->code) : "ok");
    coord_answered(&r->call);
    mem_free(r);
}

static void patch_settings(struct world *w, struct coord *k)
{
    struct settings_patch patch = {
        .paused = -1, .brake_override_ms = -1, .who = "eve"};

    if (chance(w, 0.5)) {
        patch.paused = chance(w, 0.5);
        patch.paused_for_ms = patch.paused ? between(w, 0, 1) * 6000 : 0;
    } else {
        patch.brake_override_ms = between(w, 0, 1) * 10000;
        w->overridden = w->clock.mono + 2 * 10000; /* it may come late */
    }
    trace(&w->trace, "ORDER paused=%d override=%lld", patch.paused,
          (long long)patch.brake_override_ms);
    coordinator_settings_patch(k->c, &patch, asked,
                               request(w, k, 0, "settings", 0));
}

void person_pause(struct world *w, bool paused)
{
    struct settings_patch patch = {
        .paused = paused, .brake_override_ms = -1, .who = "eve"};
    struct coord *k = coord_any(w);

    if (k != NULL)
        coordinator_settings_patch(k->c, &patch, asked,
                                   request(w, k, 0, "pause", 0));
}

/* A pause that was asked for before may still be written late. */
void person_unpause(struct world *w)
{
    const struct registry_entry *e = memory_find(w->store, "/pelorus/settings");

    if (w->in_flight == 0 && e != NULL &&
        strstr(e->value, "\"paused\":true") != NULL)
        person_pause(w, false);
}

static void change_group(struct world *w, struct coord *k)
{
    const char *addresses[6];
    size_t n = (size_t)between(w, 1, 6);

    for (size_t i = 0; i < n; i++)
        addresses[i] = w->nodes[MASTERS + between(w, 0, WORKERS - 1)].address;
    if (chance(w, 0.2))
        coordinator_group_delete(k->c, "api", asked,
                                 request(w, k, 0, "group-delete", 0));
    else
        coordinator_group_put(
            k->c, "api", &(struct group_put){.addresses = addresses, .n = n},
            asked, request(w, k, 0, "group-put", 0));
}

void person_step(struct world *w)
{
    struct coord *k = coord_any(w);
    double what = rand_double(&w->rand);

    if (k == NULL)
        return;
    if (what < 0.6)
        order_gate(w, k);
    else if (what < 0.75)
        order_failover(w, k);
    else if (what < 0.85)
        patch_settings(w, k);
    else
        change_group(w, k);
}
