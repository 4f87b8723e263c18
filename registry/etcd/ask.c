/*
 * ask.c - one question to the store, until it has an answer that means
 * something to whoever asked.
 *
 * All questions go to one endpoint. When it fails one (refused connection,
 * "no leader", no answer in time) the next endpoint is taken, once for all who
 * noticed. What is certainly not applied, and what may be applied twice, is
 * asked again there for retry-max-duration, and at least once per endpoint;
 * what may have been applied is answered ETCD_BROKEN at once. A member that
 * does not take requests at all (it has no leader, say) is left at once; when
 * all members were, that is said, and they are asked in turn, more slowly.
 *
 * The token is part of the way: questions wait for it, and one that is refused
 * for its token is asked again with a new one. A server keeps its tokens in
 * memory, so after its restart all of them are worth nothing.
 *
 * What an endpoint says that is astray (trust.c) is never believed: the
 * others are asked at once, and if none knows better the session ends.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

#define PATH_AUTH          "/v3/auth/authenticate"
#define TOKENS_REFUSED_MAX 2

struct etcd_ask {
    struct etcd *e;
    struct etcd_ask *prev, *next;
    struct etcd_ask **slot;
    const char *path; /* static */
    struct buf body;
    unsigned flags, tries, tokens_refused;
    int64_t try_ms;
    struct etcd_transfer *transfer; /* NULL: waits */
    bool wants_token;
    uint64_t generation, token_generation;
    uint64_t floor;               /* the revision known when it was sent */
    uint64_t modified, newest_at; /* see etcd_result */
    uint64_t no;                  /* of the try, among all that were sent */
    mono_ms began, sent;
    mono_ms due; /* under way: give up the try; waiting: try again */
    etcd_result_f *done;
    void *arg;
};

static void start(struct etcd_ask *a);

const char *etcd_endpoint(const struct etcd *e)
{
    return e->endpoints[e->generation % e->n_endpoints];
}

/* So many failures in a row are all of them: one that is alone may lose a
 * connection. */
static size_t a_round(const struct etcd *e)
{
    return e->n_endpoints < 2 ? 2 : e->n_endpoints;
}

/* What is under way at the old one gets a little more time, in case it was
 * only slow. */
void etcd_rotate(struct etcd *e, uint64_t generation, const char *why)
{
    mono_ms soon = etcd_now(e) + etcd_beat_ms(e);
    struct etcd_ask *a;

    if (generation != e->generation)
        return;
    e->given_up++;
    if (e->n_endpoints > 1) {
        if (e->given_up <= e->n_endpoints) {
            log_info("=etcd", LOG_S("gives_up", etcd_endpoint(e)),
                     LOG_S("reason", why));
        }
        DL_FOREACH(e->asks, a)
        {
            if (a->transfer != NULL && a->due > soon)
                a->due = soon;
        }
    }
    if (e->given_up == a_round(e) && !e->astray) {
        char text[64];

        log_warn("!etcd", LOG_S("reason", etcd_none(e, text, sizeof(text))),
                 LOG_S("last", etcd_endpoint(e)), LOG_S("why", why));
    }
    e->generation++;
}

const char *etcd_none(const struct etcd *e, char *out, size_t size)
{
    (void)snprintf(out, size, "none of %zu member%s writes", e->n_endpoints,
                   e->n_endpoints == 1 ? "" : "s");
    return out;
}

/* --- what a keepalive is worth ------------------------------------------- */

void etcd_renewal_heard(const struct etcd *e, struct etcd_renewal *renewal,
                        const struct etcd_result *result)
{
    renewal->sent = result->sent;
    renewal->term = result->term;
    renewal->after = e->sends;
}

enum etcd_proof etcd_renewal_proof(const struct etcd *e,
                                   const struct etcd_renewal *renewal)
{
    if (renewal->sent == 0 || e->quorum.no <= renewal->after)
        return ETCD_UNPROVEN;
    return e->quorum.term > renewal->term ? ETCD_REFUTED : ETCD_PROVEN;
}

/* --- ending -------------------------------------------------------------- */

static void ask_free(struct etcd_ask *a)
{
    etcd_transfer_cancel(&a->transfer);
    DL_DELETE(a->e->asks, a);
    *a->slot = NULL;
    buf_close(&a->body);
    mem_free(a);
}

bool etcd_ask_cancel(struct etcd_ask **slot)
{
    struct etcd_ask *a = *slot;
    bool sent;

    if (a == NULL)
        return false;
    sent = a->transfer != NULL && etcd_transfer_sent(a->transfer);
    ask_free(a);
    return sent;
}

static void finish(struct etcd_ask *a, const struct etcd_result *result)
{
    etcd_result_f *done = a->done;
    void *arg = a->arg;

    ask_free(a);
    done(arg, result);
}

/* --- the token ----------------------------------------------------------- */

static void on_token(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;
    const char *token =
        result->verdict == ETCD_OK ? json_str(result->root, "token") : NULL;

    if (token != NULL && token[0] != '\0') {
        e->token = mem_strdup(token);
        e->denied = false;
        return; /* the next tick lets those go on that wait */
    }
    if (result->verdict != ETCD_OK && result->verdict != ETCD_DENIED &&
        result->verdict != ETCD_MALFORMED) {
        /* Nobody has judged the user: whoever waits goes on waiting. */
        log_debug("=etcd", LOG_S("user", e->user),
                  LOG_S("reason", result->why));
        e->denied = false;
        e->authenticate_at = etcd_now(e) + e->retry_ms;
        return;
    }
    if (!e->denied) {
        e->denied = true;
        log_error("!etcd", LOG_S("user", e->user),
                  LOG_S("reason",
                        result->verdict == ETCD_OK ? "no token" : result->why));
    }
    e->authenticate_at = etcd_now(e) + 1000;
}

static void authenticate(struct etcd *e)
{
    struct buf body;

    if (e->authenticating != NULL || etcd_now(e) < e->authenticate_at)
        return;
    buf_init(&body, ETCD_BODY_MAX);
    json_open(&body, NULL, '{');
    json_put_str(&body, "name", e->user);
    json_put_str(&body, "password", e->password == NULL ? "" : e->password);
    json_close(&body, '}');
    etcd_ask(e, &e->authenticating, PATH_AUTH, &body,
             ETCD_ONCE | ETCD_NO_TOKEN | ETCD_REPEATABLE, etcd_call_ms(e),
             on_token, e);
}

void etcd_token_refused(struct etcd *e, uint64_t generation)
{
    if (generation == e->token_generation) {
        MEM_FREE(e->token);
        e->token_generation++;
    }
}

bool etcd_may_stream(struct etcd *e)
{
    if (e->user == NULL || e->token != NULL)
        return true;
    authenticate(e);
    return false;
}

/* --- answers ------------------------------------------------------------- */

/* Nothing was applied, and there is a member that was not asked yet. */
static bool next_at_once(const struct etcd_ask *a, enum etcd_verdict verdict)
{
    return (verdict == ETCD_UNREACHED || verdict == ETCD_NOT_HERE) &&
           a->tries < a->e->n_endpoints && !etcd_over(a->e);
}

static bool may_retry(const struct etcd_ask *a, enum etcd_verdict verdict)
{
    const struct etcd *e = a->e;
    int64_t age = etcd_now(e) - a->began;

    if ((a->flags & ETCD_ONCE) != 0 || etcd_over(e))
        return false;
    if (verdict == ETCD_BROKEN && (a->flags & ETCD_REPEATABLE) == 0)
        return false;
    if (verdict == ETCD_NOT_HERE && age < a->try_ms)
        return true; /* an election: a server that waited would take as long */
    return age < e->retry_for_ms || a->tries < e->n_endpoints;
}

static void retry_later(struct etcd_ask *a)
{
    unsigned doublings = a->tries > 10 ? 10 : a->tries - 1;
    int64_t delay = a->e->retry_ms << doublings;

    if (delay > a->e->retry_max_ms)
        delay = a->e->retry_max_ms;
    a->due = etcd_now(a->e) + delay;
}

/* The try has failed: again, or tell. `a` may be gone afterwards. */
static void failed(struct etcd_ask *a, enum etcd_verdict verdict,
                   const char *why)
{
    struct etcd_result result = {.verdict = verdict, .why = why};
    char none[64 + ETCD_WHY_MAX];
    struct etcd *e = a->e;
    const char *endpoint = e->endpoints[a->generation % e->n_endpoints];

    if (verdict == ETCD_UNREACHED || verdict == ETCD_BROKEN ||
        verdict == ETCD_NOT_HERE) {
        etcd_rotate(e, a->generation, why);
        etcd_met(e, verdict, why, endpoint, e->given_up >= a_round(e));
        if (next_at_once(a, verdict)) {
            start(a);
            return;
        }
        if (may_retry(a, verdict)) {
            retry_later(a);
            return;
        }
        if (e->given_up >= a_round(e)) {
            (void)etcd_none(e, none, sizeof(none));
            (void)snprintf(none + strlen(none), sizeof(none) - strlen(none),
                           ": %s", why);
            result.why = none;
        }
    } else {
        etcd_met(e, verdict, why, endpoint, false);
    }
    if (verdict == ETCD_TOKEN && (a->flags & ETCD_NO_TOKEN) == 0 &&
        e->user != NULL) {
        etcd_token_refused(e, a->token_generation);
        if (++a->tokens_refused <= TOKENS_REFUSED_MAX && !etcd_over(e)) {
            start(a);
            return;
        }
    }
    if (verdict == ETCD_TOKEN) {
        /* Without a user there is nothing to try; with one, every token was
         * too old when it was used: not a word about the user. */
        result.verdict = e->user == NULL ? ETCD_DENIED : ETCD_UNREACHED;
    }
    finish(a, &result);
}

/* `root` is what a unary answer is, or a stream's only message holds. */
static void answered(struct etcd_ask *a, cJSON *root)
{
    struct etcd_header header = etcd_header_read(root);
    struct etcd_result result = {.verdict = ETCD_OK,
                                 .root = root,
                                 .revision = header.revision,
                                 .term = header.term,
                                 .sent = a->sent,
                                 .modified = a->modified,
                                 .newest_at = a->newest_at};
    struct etcd *e = a->e;
    const char *astray;

    if (!cJSON_IsObject(root) || header.cluster == 0) {
        failed(a, ETCD_BROKEN, "the answer is not etcd's");
        return;
    }
    astray =
        etcd_astray(e, &header, (a->flags & ETCD_LINEAR) != 0 ? a->floor : 0,
                    a->generation);
    if (astray != NULL) { /* a write is applied, if only there */
        failed(a,
               (a->flags & ETCD_REPEATABLE) != 0 ? ETCD_NOT_HERE : ETCD_BROKEN,
               astray);
        return;
    }
    etcd_saw_revision(e, header.revision);
    if ((a->flags & ETCD_LINEAR) != 0) {
        e->quorum.no = a->no;
        e->quorum.term = header.term;
        e->given_up = 0;
        e->astray = false;
    }
    if ((a->flags & ETCD_GUARDED) != 0 && json_bool(root, "succeeded", false))
        etcd_trusts(e, a->no, a->generation, header.revision);
    finish(a, &result);
}

static void on_answer(void *arg, const struct etcd_answer *answer)
{
    struct etcd_ask *a = arg;
    char why[ETCD_WHY_MAX];
    cJSON *root = NULL;
    struct err err;

    a->transfer = NULL;
    if (answer->too_large) {
        failed(a, ETCD_TOO_LARGE, "the answer is too large");
    } else if (answer->status == 0) {
        failed(a, answer->sent ? ETCD_BROKEN : ETCD_UNREACHED, answer->problem);
    } else if (answer->status != 200) {
        enum etcd_verdict verdict =
            etcd_refusal(answer->status, answer->body, answer->len, why);

        failed(a, verdict, why);
    } else if (json_parse(answer->body, answer->len, &root, &err) != 0) {
        failed(a, ETCD_BROKEN, err.msg);
    } else if (cJSON_HasObjectItem(root, "error")) {
        failed(a, etcd_refusal(200, answer->body, answer->len, why), why);
    } else {
        cJSON *inner = cJSON_GetObjectItemCaseSensitive(root, "result");

        answered(a, inner != NULL ? inner : root);
    }
    cJSON_Delete(root);
}

/* --- asking -------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static void start(struct etcd_ask *a)
{
    struct etcd *e = a->e;
    struct etcd_post post = {.endpoint = etcd_endpoint(e),
                             .path = a->path,
                             .body = &a->body,
                             .repeatable = (a->flags & ETCD_REPEATABLE) != 0,
                             .connect_ms = least(e->connect_ms, a->try_ms),
                             .max_reply = ETCD_REPLY_MAX,
                             .done = on_answer,
                             .arg = a};

    a->wants_token =
        e->user != NULL && (a->flags & ETCD_NO_TOKEN) == 0 && e->token == NULL;
    a->due = etcd_now(e) + a->try_ms;
    if (a->wants_token) {
        authenticate(e);
        return;
    }
    if ((a->flags & ETCD_NO_TOKEN) == 0)
        post.token = e->token;
    a->tries++;
    a->generation = e->generation;
    a->token_generation = e->token_generation;
    a->floor = etcd_floor(e);
    a->no = ++e->sends;
    a->sent = etcd_now(e);
    a->transfer = etcd_http_post(e->http, &post);
}

void etcd_ask(struct etcd *e, struct etcd_ask **slot, const char *path,
              struct buf *body, unsigned flags, int64_t try_ms,
              etcd_result_f *done, void *arg)
{
    struct etcd_ask *a = mem_zalloc(sizeof(*a));

    assert(*slot == NULL && done != NULL);
    *slot = a;
    a->e = e;
    a->slot = slot;
    a->path = path;
    a->body = *body;
    *body = (struct buf){.max = body->max};
    a->flags = flags;
    a->try_ms = try_ms;
    a->done = done;
    a->arg = arg;
    a->began = etcd_now(e);
    a->modified = e->session.modified;
    a->newest_at = e->session.newest_at;
    DL_APPEND(e->asks, a);
    start(a);
}

/* One that is due, or waits for a token that is there. */
static bool tick(struct etcd_ask *a)
{
    struct etcd *e = a->e;
    bool sent;

    if (a->transfer == NULL && a->wants_token && e->token != NULL) {
        start(a);
        return true;
    }
    if (etcd_now(e) < a->due)
        return false;
    if (a->transfer != NULL) {
        sent = etcd_transfer_sent(a->transfer);
        etcd_transfer_cancel(&a->transfer);
        failed(a, sent ? ETCD_BROKEN : ETCD_UNREACHED, "no answer in time");
    } else if (a->wants_token) {
        struct etcd_result result = {
            .verdict = e->denied ? ETCD_DENIED : ETCD_UNREACHED,
            .why = e->denied ? "the user is refused" : "no token in time"};

        finish(a, &result);
    } else {
        start(a);
    }
    return true;
}

/* Callbacks change the list: every walk begins anew. It ends because each of
 * them moves its `due` or is gone. */
void etcd_asks_tick(struct etcd *e)
{
    struct etcd_ask *a;

    if (e->user != NULL && e->token == NULL && !e->base.mute)
        authenticate(e);
    do {
        DL_FOREACH(e->asks, a)
        {
            if (tick(a))
                break;
        }
    } while (a != NULL && e->http != NULL);
}

void etcd_asks_close(struct etcd *e)
{
    while (e->asks != NULL)
        ask_free(e->asks);
    etcd_trouble_close(e);
}
