/*
 * place.c - what others have seen of the registry, and what we have.
 *
 * Who restarts remembers nothing, and would believe a registry that lost its
 * end. But whoever lives says with each heartbeat how far he has seen it
 * (`place`). What lies beyond what we know is mostly news: others are ahead of
 * us. So it is only remembered here until a few txns of our own, committed by
 * whoever decides in the registry, have shown where it really stands.
 *
 * And the other way round: while the registry is in doubt, what we know of its
 * lost future is put down for the person who accepts it.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json.h"

#include <string.h>

#define PROOFS 3
/* ZooKeeper's position is written with a txn once a second at most: the last of
 * three shows one that is younger than the doubt. */
#define PROOF_EVERY_MS 600
#define TESTIFY_MS     1000
#define TESTIMONY_MAX  ((size_t)400 * 1024)

static bool connected(const struct coordinator *c)
{
    return registry_state_is_up(registry_state(c->registry));
}

/* As far as is known. */
static bool beyond(const struct coordinator *c, const struct registry_place *p)
{
    const struct registry_place *known = registry_place(c->registry);

    if (p->incarnation[0] == '\0' || known->incarnation[0] == '\0')
        return false;
    if (strcmp(p->incarnation, known->incarnation) == 0)
        return known->position != 0 && p->position != 0 &&
               registry_place_fell(known, p);
    return strcmp(c->doubt.record.incarnation, known->incarnation) != 0 ||
           !history_follows(&c->doubt.record, p->incarnation);
}

static void settled(struct coordinator *c)
{
    memset(&c->doubt.place, 0, sizeof(c->doubt.place));
    c->doubt.proofs = 0;
}

bool place_heard(struct coordinator *c, const struct registry_place *p,
                 const char *by)
{
    struct place_doubt *d = &c->doubt;

    if (!connected(c) || !beyond(c, p))
        return false;
    if (d->place.incarnation[0] == '\0') {
        d->place = *p;
        d->proofs = 0;
        d->next = c->clock->mono;
        snprintf(d->by, sizeof(d->by), "%s", by);
    }
    return true;
}

void place_registration(struct coordinator *c, const struct registry_event *ev)
{
    const struct registry_entry *e = &ev->entry;
    struct registry_place place;
    const char *text;
    cJSON *tree = NULL;

    if ((ev->type != REGISTRY_ADD && ev->type != REGISTRY_UPDATE) ||
        memmem(e->value, e->value_len, "\"place\"", 7) == NULL ||
        json_parse(e->value, e->value_len, &tree, NULL) != 0)
        return;
    text = json_str(tree, "place");
    if (text != NULL && registry_place_parse(text, &place, NULL) == 0)
        (void)place_heard(c, &place, e->key);
    cJSON_Delete(tree);
}

/* --- where does it really stand? ------------------------------------------ */

static void again(struct coordinator *c)
{
    c->doubt.busy = false;
    c->doubt.next = c->clock->mono + PROOF_EVERY_MS;
}

static void on_proved(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    struct place_doubt *d = &c->doubt;
    char text[HISTORY_PLACE_SIZE];

    again(c);
    if (reply->err.code != ERR_OK || !connected(c))
        return;
    if (!beyond(c, &d->place)) {
        settled(c);
    } else if (++d->proofs == PROOFS) {
        struct registry_place place = d->place;

        settled(c);
        registry_contradicted(c->registry, &place, "%s has seen it at %s",
                              d->by, registry_place_text(&place, text));
    }
}

/* The check is a txn: it shows the present, and moves what we know. */
static void on_record(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    struct place_doubt *d = &c->doubt;
    struct registry_op check = {.type = REGISTRY_CHECK, .key = HISTORY_KEY};
    bool news;

    if (reply->err.code != ERR_OK ||
        history_read(&d->record, reply->entries[0].value,
                     reply->entries[0].value_len, NULL) != 0) {
        again(c);
        return;
    }
    /* Another one by now, or in doubt already: we are about to hear of it. */
    news = strcmp(d->record.incarnation, d->place.incarnation) == 0 &&
           strcmp(d->record.incarnation,
                  registry_place(c->registry)->incarnation) != 0;
    if (news || d->record.went_back.is || !beyond(c, &d->place)) {
        again(c);
        settled(c);
        return;
    }
    check.expect = REGISTRY_VERSION;
    check.version = reply->entries[0].version;
    registry_txn(c->registry, &check, 1, on_proved, c);
}

/* --- what we know of the lost future -------------------------------------- */

static void testify(struct coordinator *c)
{
    uint64_t shown = work_shown(c->work), epoch = view_epoch(c->view);
    uint64_t fence = view_fence(c->view);
    char place[HISTORY_PLACE_SIZE];
    struct buf b;
    bool whole;

    c->doubt.testified = c->clock->mono;
    c->doubt.told = work_shown_changes(c->work);
    buf_init(&b, REGISTRY_VALUE_MAX);
    json_open(&b, NULL, '{');
    json_put_str(&b, "place",
                 registry_place_text(registry_place(c->registry), place));
    json_put_u64(&b, "highest_epoch", shown > epoch ? shown : epoch);
    json_put_u64(&b, "highest_fence",
                 c->doubt.fence > fence ? c->doubt.fence : fence);
    whole = work_testify(c->work, &b);
    whole = view_testify(c->view, &b, TESTIMONY_MAX) && whole;
    json_put_bool(&b, "cut", !whole);
    json_close(&b, '}');
    assert(!b.overflow);
    registry_testify(c->registry, buf_text(&b));
    buf_close(&b);
}

void place_went_back(struct coordinator *c)
{
    settled(c);
    testify(c);
}

void place_tick(struct coordinator *c)
{
    struct place_doubt *d = &c->doubt;
    mono_ms now = c->clock->mono;
    uint64_t fence;

    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_holds_lock(c->engines[k], &fence) &&
            fence > d->fence)
            d->fence = fence;
    if (registry_went_back(c->registry) != NULL) {
        if (work_shown_changes(c->work) != d->told &&
            now - d->testified >= TESTIFY_MS)
            testify(c);
        return;
    }
    if (d->place.incarnation[0] == '\0' || d->busy || now < d->next ||
        !connected(c))
        return;
    d->busy = true;
    registry_get(c->registry, HISTORY_KEY, on_record, c);
}
