/*
 * first.c - a gate for each process that the hook is for, before it is
 * given any work.
 *
 * A gate remembers for coordinators that are not there yet: whoever it names
 * and does not stand any more is failed over by whoever starts next, also if
 * nobody ran when he went. It is written once, when a process is seen
 * registered and no gate is known, without the lock: only where none stands,
 * so that an INTENT, an order, or one who leaves comes before it or sees it.
 * So many at a time, and the next ones once these are answered and our view has
 * had time to tell of them: ten thousand take some minutes. Coordinators that
 * write the same ones conflict harmlessly.
 */
#include "failover/engine/engine_priv.h"

#include "base/log.h"
#include "base/planted.h"

#define FIRST_AT_A_TIME 32
#define FIRST_EVERY_MS  500
#define FIRST_AGAIN_MS  10000 /* after it was refused */

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct engine *e = CONTAINER_OF(arg, struct engine, first);
    enum err_code code = reply->err.code;
    assert(e->first.outstanding > 0);
    e->first.outstanding--;
    /* what is unknown, or stands by now, the view will tell */
    if (code == ERR_OK || code == ERR_CONFLICT || code == ERR_UNKNOWN)
        return;
    e->first.not_before = e->c.clock->mono + FIRST_AGAIN_MS;
    if (e->first.refused != code)
        log_warn("!gate-refused", LOG_S("why", reply->err.msg));
    e->first.refused = code;
}

static void put(struct engine *e, const struct node *n)
{
    const struct gate gate = {.state = GATE_OPEN, .process = n->process};
    enum registry_expect expect =
        planted(PLANTED_FIRST_BLIND) ? REGISTRY_ANY : REGISTRY_ABSENT;
    char key[REGISTRY_KEY_MAX + 1];
    struct buf value;
    assert(n->process.known);
    assert(e->first.outstanding < FIRST_AT_A_TIME);
    buf_init(&value, REGISTRY_VALUE_MAX);
    gate_write(&value, &gate);
    e->first.outstanding++;
    registry_put(
        e->c.registry, gate_key(e->c.kind, n->address, key, sizeof(key)),
        buf_text(&value), value.len, expect, 0, false, on_put, &e->first);
    buf_close(&value);
}

/* Nobody accounts for him yet, and nobody has gone before him who is to be
 * dealt with first. */
static bool lacks_gate(struct engine *e, const struct node *n)
{
    struct failover_seen seen;
    return n->kind == e->c.kind && n->state == NODE_UP && n->registered &&
           n->process.known && !n->unidentified &&
           n->gate->state == GATE_ABSENT &&
           (!engine_remember(e, n->address, &seen) ||
            (seen.gate.state == GATE_ABSENT && seen.record == NULL &&
             !seen.gone.known));
}

void engine_first_tick(struct engine *e)
{
    mono_ms now = e->c.clock->mono;
    struct node *n = NULL;
    if (!e->hooked || !e->c.conf->enabled || e->first.outstanding > 0 ||
        now < e->first.not_before || !work_view_synced(e->c.view) ||
        !membership_synced(e->c.membership))
        return;
    e->first.not_before = now + FIRST_EVERY_MS;
    while (e->first.outstanding < FIRST_AT_A_TIME &&
           (n = membership_next(e->c.membership, n)) != NULL)
        if (lacks_gate(e, n))
            put(e, n);
}
