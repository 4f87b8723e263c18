/*
 * place.c - what others have seen of the registry, and what we have.
 *
 * Who restarts remembers nothing, and would believe a registry that lost its
 * end. But whoever lives says with each heartbeat how far he has seen it
 * (`place`). What lies beyond what we know is mostly news: others are ahead of
 * us. So it is only remembered here until a few txns of our own, committed by
 * whoever decides in the registry, have shown where it really stands.
 *
 * It stops the cluster, so a mistake must not. What lies further away than a
 * registry comes in its life was never seen. And an incarnation that is neither
 * the registry's own nor one before it is a client's mistake, one who speaks to
 * another cluster than it thinks, unless a registration that bears it stands in
 * the registry: whoever made that was vouched for by what stood here then.
 *
 * And the other way round: while the registry is in doubt, what we know of its
 * lost future is put down for the person who accepts it.
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"

#include <string.h>

#define PROOFS          3
#define POSITION_BEYOND (UINT64_C(1) << 40)
#define LINE_BEYOND     (UINT64_C(1) << 20) /* each is a promotion */
/* ZooKeeper's position is written with a txn once a second at most: the last of
 * three shows one that is younger than the doubt. */
#define PROOF_EVERY_MS 600
#define EVIDENCE_MS    1000
#define EVIDENCE_MAX   ((size_t)400 * 1024)

static bool connected(const struct coordinator *c)
{
    return registry_state_is_up(registry_state(c->registry));
}

/* Of another incarnation, which is none before ours, as far as is known. */
static bool foreign(const struct coordinator *c, const struct registry_place *p)
{
    const struct registry_place *known = registry_place(c->registry);
    const struct history_record *record = &c->doubt.record;

    return p->incarnation[0] != '\0' && known->incarnation[0] != '\0' &&
           strcmp(p->incarnation, known->incarnation) != 0 &&
           (strcmp(record->incarnation, known->incarnation) != 0 ||
            !registry_history_follows(record, p->incarnation));
}

/* Further in the same one than we know. */
static bool ahead(const struct coordinator *c, const struct registry_place *p)
{
    const struct registry_place *known = registry_place(c->registry);

    return p->incarnation[0] != '\0' &&
           strcmp(p->incarnation, known->incarnation) == 0 &&
           known->position != 0 && p->position != 0 &&
           registry_place_fell(known, p);
}

static bool beyond(const struct coordinator *c, const struct registry_place *p)
{
    return foreign(c, p) || ahead(c, p);
}

/* Nobody has ever seen it there. */
static bool impossible(const struct coordinator *c,
                       const struct registry_place *p)
{
    const struct registry_place *known = registry_place(c->registry);

    assert(beyond(c, p));
    if (foreign(c, p))
        return strcmp(p->incarnation, c->doubt.mistaken) == 0;
    return ahead(c, p) &&
           ((p->position > known->position &&
             p->position - known->position > POSITION_BEYOND) ||
            (p->line > known->line &&
             (known->line == 0 || p->line - known->line > LINE_BEYOND)));
}

static void doubt_end(struct coordinator *c)
{
    memset(&c->doubt.place, 0, sizeof(c->doubt.place));
    c->doubt.proofs = 0;
    assert(c->doubt.place.incarnation[0] == '\0');
    assert(c->doubt.proofs == 0);
}

static void doubt(struct coordinator *c, const struct registry_place *p,
                  const char *key, bool registered)
{
    struct place_doubt *d = &c->doubt;

    assert(beyond(c, p));
    assert(key[0] == '/');
    if (d->place.incarnation[0] != '\0')
        return; /* one after the other */
    d->place = *p;
    d->proofs = 0;
    d->next = c->clock->mono;
    d->registered = registered;
    snprintf(d->key, sizeof(d->key), "%s", key);
}

enum place_verdict coordinator_place_check(struct coordinator *c,
                                           const struct registry_place *p,
                                           const char *key)
{
    assert(key[0] == '/');
    if (!connected(c) || !beyond(c, p))
        return PLACE_KNOWN;
    if (impossible(c, p))
        return PLACE_IMPOSSIBLE;
    doubt(c, p, key, false);
    return PLACE_IN_DOUBT;
}

void coordinator_place_reported(struct coordinator *c, const char *key,
                                const struct registry_place *place)
{
    assert(key[0] == '/');
    if (place->incarnation[0] == '\0' || !connected(c) || !beyond(c, place))
        return;
    if (foreign(c, place) || !impossible(c, place))
        doubt(c, place, key, true);
    else
        log_warn("!place", LOG_S("key", key),
                 LOG_S("reason", "it says that the registry was seen further "
                                 "than any ever comes: that is not believed"));
}

/* --- where does it really stand? ----------------------------------------- */

static void prove_later(struct coordinator *c)
{
    assert(c->doubt.busy);
    c->doubt.busy = false;
    c->doubt.next = c->clock->mono + PROOF_EVERY_MS;
}

/* Nothing in the registry bears it: it is said once, and answered from now on
 * without asking again. */
static void mistaken(struct coordinator *c)
{
    struct place_doubt *d = &c->doubt;

    assert(!d->registered);
    assert(foreign(c, &d->place));
    log_warn("!place", LOG_S("key", d->key),
             LOG_S("incarnation", d->place.incarnation),
             LOG_S("reason", "the registry neither is nor was that: its client "
                             "has spoken to another cluster, and is refused "
                             "until it begins anew"));
    memcpy(d->mistaken, d->place.incarnation, sizeof(d->mistaken));
    doubt_end(c);
}

static void on_proved(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    struct place_doubt *d = &c->doubt;
    char text[HISTORY_PLACE_SIZE];

    assert(d->proofs < PROOFS);
    prove_later(c);
    if (reply->err.code != ERR_OK || !connected(c))
        return;
    if (!beyond(c, &d->place)) {
        doubt_end(c);
    } else if (foreign(c, &d->place) && !d->registered) {
        mistaken(c);
    } else if (++d->proofs == PROOFS) {
        struct registry_place place = d->place;

        doubt_end(c);
        registry_report_contradiction(c->registry, &place,
                                      "%s has seen it at %s", d->key,
                                      registry_place_text(&place, text));
    }
}

/* The check is a txn: it shows the present, and moves what we know. */
static void prove(struct coordinator *c, uint64_t registration)
{
    struct place_doubt *d = &c->doubt;
    struct registry_op checks[] = {
        {.type = REGISTRY_CHECK, .key = HISTORY_KEY, .version = d->version},
        {.type = REGISTRY_CHECK, .key = d->key, .version = registration}};

    assert(d->version != 0);
    assert(!d->busy);
    d->busy = true;
    registry_txn(c->registry, checks, registration != 0 ? 2 : 1, on_proved, c);
}

/* Does it still stand, and say so? */
static void on_registration(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    struct place_doubt *d = &c->doubt;
    const struct registry_entry *e = reply->entries;
    struct heartbeat hb = {.readable = false};

    prove_later(c);
    if (d->place.incarnation[0] == '\0')
        return; /* the registry went back meanwhile */
    if (reply->err.code == ERR_OK)
        heartbeat_read(&hb, e->value, e->value_len);
    if (reply->err.code == ERR_NOT_FOUND ||
        (reply->err.code == ERR_OK &&
         strcmp(hb.seen.incarnation, d->place.incarnation) != 0))
        doubt_end(c);
    else if (reply->err.code == ERR_OK)
        prove(c, e->version);
}

static void on_record(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    struct place_doubt *d = &c->doubt;
    bool news;

    assert(d->proofs < PROOFS);
    prove_later(c);
    if (reply->err.code != ERR_OK ||
        registry_history_read(&d->record, reply->entries[0].value,
                              reply->entries[0].value_len, NULL) != 0)
        return;
    /* Another one by now, or in doubt already: we are about to hear of it. */
    news = strcmp(d->record.incarnation, d->place.incarnation) == 0 &&
           strcmp(d->record.incarnation,
                  registry_place(c->registry)->incarnation) != 0;
    if (news || d->record.went_back.is || !beyond(c, &d->place)) {
        doubt_end(c);
        return;
    }
    d->version = reply->entries[0].version;
    if (!foreign(c, &d->place) || !d->registered) {
        prove(c, 0);
        return;
    }
    d->busy = true;
    registry_get(c->registry, d->key, on_registration, c);
}

/* --- what we know of the lost future ------------------------------------- */

static void save_evidence(struct coordinator *c)
{
    uint64_t shown = work_shown(c->work), epoch = work_view_epoch(c->view);
    uint64_t fence = work_view_fence(c->view);
    char place[HISTORY_PLACE_SIZE];
    struct buf b;
    bool whole;

    c->doubt.evidence_at = c->clock->mono;
    c->doubt.evidence_changes = work_shown_changes(c->work);
    buf_init(&b, REGISTRY_VALUE_MAX);
    json_open(&b, NULL, '{');
    json_put_str(&b, "place",
                 registry_place_text(registry_place(c->registry), place));
    json_put_u64(&b, "highest_epoch", shown > epoch ? shown : epoch);
    json_put_u64(&b, "highest_fence",
                 c->doubt.fence > fence ? c->doubt.fence : fence);
    whole = work_put_evidence(c->work, &b);
    whole = work_view_put_evidence(c->view, &b, EVIDENCE_MAX) && whole;
    json_put_bool(&b, "cut", !whole);
    json_close(&b, '}');
    assert(!b.overflow);
    registry_set_evidence(c->registry, buf_text(&b));
    buf_close(&b);
}

void coordinator_place_went_back(struct coordinator *c)
{
    doubt_end(c);
    save_evidence(c);
}

void coordinator_place_tick(struct coordinator *c)
{
    struct place_doubt *d = &c->doubt;
    mono_ms now = c->clock->mono;
    uint64_t fence;

    assert(d->proofs < PROOFS);
    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_holds_lock(c->engines[k], &fence) &&
            fence > d->fence)
            d->fence = fence;
    if (registry_went_back(c->registry) != NULL) {
        if (work_shown_changes(c->work) != d->evidence_changes &&
            now - d->evidence_at >= EVIDENCE_MS)
            save_evidence(c);
        return;
    }
    if (d->place.incarnation[0] == '\0' || d->busy || now < d->next ||
        !connected(c))
        return;
    d->busy = true;
    registry_get(c->registry, HISTORY_KEY, on_record, c);
}
