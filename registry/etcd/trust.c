/*
 * trust.c - is it the store that we know?
 *
 * A store that was restored is not always seen by its revision: others lift it
 * again, or it was lifted on purpose (etcdutl --bump-revision). So there are
 * three signs, all of them in what is asked anyway. The first is here, the
 * other two are our session's key (guard.c): an answer through the quorum bears
 * a lower revision than was known when it was asked for, or the id of another
 * cluster. That endpoint is left. If all that answer are so, the store went
 * back.
 *
 * A stream is not asked anything, so it is opened only where an answer that
 * found our session's key came after the stream before it broke.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"

#include <string.h>

static const char foreign[] = "it belongs to another cluster";
static const char behind[] = "its revision is behind what we have seen: a "
                             "member left behind, or a backup restored";

uint64_t etcd_known_revision(const struct etcd *e)
{
    uint64_t known = registry_place(&e->base)->position;

    return e->lowered || known < e->revision ? e->revision : known;
}

void etcd_note_revision(struct etcd *e, uint64_t revision)
{
    if (revision > e->revision)
        e->revision = revision;
    assert(e->revision >= revision);
}

/* --- endpoints that are not that store ----------------------------------- */

/* Every endpoint that answers is: there is no better one. */
static void all_mismatch(struct etcd *e, const struct etcd_header *h,
                         const char *why)
{
    assert(e->mismatch);
    assert(why == foreign || why == behind);
    if (e->all_mismatch == NULL) {
        e->all_mismatch = why; /* the session ends at the next tick */
        registry_report_rollback(&e->base, 0, h->revision, why);
    }
}

const char *etcd_store_mismatch(struct etcd *e, const struct etcd_header *h,
                                uint64_t known, uint64_t generation)
{
    const char *why = e->cluster != 0 && h->cluster != e->cluster ? foreign
                      : h->revision < known                       ? behind
                                                                  : NULL;

    assert(h->cluster != 0);
    assert(generation <= e->generation);
    if (why == NULL) {
        e->cluster = h->cluster;
        return NULL;
    }
    if (!e->mismatch) {
        e->mismatch = true;
        e->mismatch_from = e->given_up;
    }
    etcd_endpoint_failed(e, generation, why);
    assert(e->given_up >= e->mismatch_from);
    if (e->given_up - e->mismatch_from >= e->n_endpoints)
        all_mismatch(e, h, why);
    return why;
}

void etcd_endpoint_confirmed(struct etcd *e, uint64_t no, uint64_t generation,
                             uint64_t revision)
{
    assert(no > 0 && no <= e->sends);
    assert(generation <= e->generation);
    e->confirmed.no = no > e->confirmed.no ? no : e->confirmed.no;
    e->confirmed.generation = generation;
    /* Answers overtake each other: only what is higher is news. */
    if (!e->base.ready || revision > registry_place(&e->base)->position)
        (void)registry_report_position(&e->base, 0, revision);
}

bool etcd_is_confirmed(const struct etcd *e, uint64_t since)
{
    assert(e->confirmed.no <= e->sends);
    assert(e->confirmed.generation <= e->generation);
    return e->confirmed.generation == e->generation && e->confirmed.no > since;
}

void etcd_forget_store(struct etcd *e)
{
    e->cluster = 0;
    e->revision = 0;
    e->lowered = true;
    e->mismatch = false;
    e->all_mismatch = NULL;
    e->canary = 0;
    e->foreign = 0;
    e->session.modified = 0;
    memset(e->persistent, 0, sizeof(e->persistent));
    assert(etcd_known_revision(e) == 0);
}
