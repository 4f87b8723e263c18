/*
 * endpoint.c - which member is asked, what is wrong there, and is it the store
 * that we know?
 *
 * All requests go to one endpoint. When it fails one (refused connection, "no
 * leader", no answer in time) the next endpoint is taken, once for all who
 * noticed: the generation counts these steps.
 *
 * What members refuse has a name in the registry's troubles (reply.c). One
 * that hangs up on every request may speak TLS: its port says nothing of it to
 * a client without, so it is asked once with it. What it answers is shown, and
 * decides nothing.
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
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define ASK_EVERY_MS 10000
#define HTTP         "http://"

const char *etcd_endpoint(const struct etcd *e)
{
    assert(e->n_endpoints > 0);
    return e->endpoints[e->generation % e->n_endpoints];
}

/* So many failures in a row are all of them. */
static size_t failures_of_all(const struct etcd *e)
{
    return e->n_endpoints < 2 ? 2 : e->n_endpoints;
}

bool etcd_all_failed(const struct etcd *e)
{
    return e->given_up >= failures_of_all(e);
}

void etcd_endpoint_failed(struct etcd *e, uint64_t generation, const char *why)
{
    assert(generation <= e->generation);
    assert(why != NULL);
    if (generation != e->generation)
        return;
    e->given_up++;
    if (e->n_endpoints > 1 && e->given_up <= e->n_endpoints) {
        log_info("=etcd", LOG_S("gives_up", etcd_endpoint(e)),
                 LOG_S("reason", why));
    }
    if (e->given_up == failures_of_all(e) && !e->mismatch) {
        log_warn("!etcd", LOG_S("reason", e->none_writes),
                 LOG_S("last", etcd_endpoint(e)), LOG_S("why", why));
    }
    e->generation++;
    assert(e->given_up > 0);
}

/* --- does it speak TLS? -------------------------------------------------- */

static void on_answer(void *arg, const struct etcd_answer *answer)
{
    struct etcd *e = arg;
    const char *why = answer->status != 0 ? "" : answer->problem;

    assert(e->trouble.asking != NULL);
    assert(e->trouble.endpoint != NULL);
    e->trouble.asking = NULL;
    e->trouble.tls =
        answer->status != 0 || strstr(why, "certificate") != NULL ||
        strstr(why, "alert") != NULL || strstr(why, "verif") != NULL;
    e->trouble.next = etcd_now(e) + ASK_EVERY_MS;
}

/* Does the port of this one, which just hung up on us, speak TLS? It is asked,
 * and the answer is for the next time. */
static bool hides_tls(struct etcd *e, const char *endpoint, const char *why)
{
    static char text[] = "{}";
    static const struct buf body = {.data = text, .len = 2};
    struct etcd_post post = {.path = "/version",
                             .body = &body,
                             .connect_ms = e->connect_ms,
                             .max_reply = ETCD_REPLY_MAX,
                             .done = on_answer,
                             .arg = e};
    const char *host = endpoint + strlen(HTTP);

    if (strstr(why, "Empty reply") == NULL ||
        strncmp(endpoint, HTTP, strlen(HTTP)) != 0)
        return false;
    if (e->trouble.asking == NULL && etcd_now(e) >= e->trouble.next &&
        !etcd_is_closing(e)) {
        assert(e->http != NULL);
        mem_free(e->trouble.endpoint);
        e->trouble.endpoint = mem_printf("https://%s", host);
        e->trouble.tls = false;
        post.endpoint = e->trouble.endpoint;
        e->trouble.asking = etcd_http_post(e->http, &post);
    }
    return e->trouble.tls &&
           strcmp(e->trouble.endpoint + strlen("https://"), host) == 0;
}

void etcd_report_trouble(struct etcd *e, enum etcd_verdict verdict,
                         const char *why, const char *endpoint, bool all)
{
    enum trouble what = etcd_trouble(verdict, why, e->user != NULL);
    bool of_one = verdict == ETCD_UNREACHED || verdict == ETCD_BROKEN ||
                  verdict == ETCD_NOT_HERE;
    char detail[ERR_MSG_MAX];

    assert(verdict != ETCD_OK);
    assert(endpoint != NULL);
    if (of_one && e->base.session != 0 && !all)
        return;
    if (what == TROUBLE_UNREACHABLE && hides_tls(e, endpoint, why)) {
        what = TROUBLE_TLS_REQUIRED;
        why = "the port speaks TLS; write https:// in the endpoint";
    }
    (void)snprintf(detail, sizeof(detail), "%s: %.*s", endpoint,
                   (int)strcspn(why, "\n"), why);
    registry_record_trouble(&e->base, what, detail);
}

void etcd_trouble_close(struct etcd *e)
{
    (void)etcd_transfer_cancel(&e->trouble.asking);
    MEM_FREE(e->trouble.endpoint);
    assert(e->trouble.asking == NULL);
}

/* --- is it the store that we know? --------------------------------------- */

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
