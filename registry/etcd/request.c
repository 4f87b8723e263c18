/*
 * request.c - one request to the store, until it has an answer that means
 * something to the caller.
 *
 * All requests go to one endpoint (endpoint.c). When it fails one, what is
 * certainly not applied, and what may be applied twice, is sent again to the
 * next for retry-max-duration, and at least once per endpoint; what may have
 * been applied is answered ETCD_BROKEN at once. A member that does not take
 * requests at all (it has no leader, say) is left at once; when all members
 * were, that is said, and they are asked in turn, more slowly.
 *
 * Requests wait for the token, and one that is refused for its token is sent
 * again with a new one. A server keeps its tokens in memory, so after its
 * restart all of them are worth nothing.
 *
 * An answer of a store that is not the one we know (trust.c) is never
 * believed: the others are asked at once, and if none knows better the session
 * ends.
 */
#include "registry/etcd/etcd_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <utlist.h>

#define TOKENS_REFUSED_MAX 2

struct etcd_request {
    struct etcd *e;
    struct etcd_request *prev, *next;
    struct etcd_request **slot;
    const char *path; /* static */
    struct buf body;
    unsigned flags, tries, tokens_refused;
    int64_t try_ms;
    struct etcd_transfer *transfer; /* NULL: waits */
    bool wants_token;
    uint64_t generation, token_generation;
    uint64_t known; /* the revision known when it was sent */
    uint64_t no;    /* of the try, among all that were sent */
    mono_ms began;
    struct etcd_result result; /* as far as it is known */
    mono_ms due; /* under way: give up the try; waiting: try again */
    etcd_result_f *done;
    void *arg;
};

static void start(struct etcd_request *a);

/* --- ending -------------------------------------------------------------- */

static void request_free(struct etcd_request *a)
{
    assert(*a->slot == a);
    assert(a->e->requests != NULL);
    (void)etcd_transfer_cancel(&a->transfer);
    DL_DELETE(a->e->requests, a);
    *a->slot = NULL;
    buf_close(&a->body);
    mem_free(a);
}

bool etcd_request_cancel(struct etcd_request **slot)
{
    struct etcd_request *a = *slot;
    bool sent;

    if (a == NULL)
        return false;
    sent = etcd_transfer_cancel(&a->transfer);
    request_free(a);
    return sent;
}

static void finish(struct etcd_request *a)
{
    struct etcd_result result = a->result;
    etcd_result_f *done = a->done;
    void *arg = a->arg;

    assert(a->transfer == NULL);
    assert((result.verdict == ETCD_OK) == (result.root != NULL));
    assert((result.verdict == ETCD_OK) == (result.why == NULL));
    request_free(a);
    done(arg, &result);
}

static void give_up(struct etcd_request *a, enum etcd_verdict verdict,
                    const char *why)
{
    assert(verdict != ETCD_OK);
    a->result.verdict = verdict;
    a->result.why = why;
    finish(a);
}

/* --- the token ----------------------------------------------------------- */

static void on_token(void *arg, const struct etcd_result *result)
{
    struct etcd *e = arg;
    const char *token =
        result->verdict == ETCD_OK ? json_str(result->root, "token") : NULL;
    const char *why = result->verdict == ETCD_OK ? "no token" : result->why;
    bool judged = result->verdict == ETCD_OK || /* somebody has, the user */
                  result->verdict == ETCD_DENIED ||
                  result->verdict == ETCD_MALFORMED;

    assert(e->user != NULL);
    assert(e->token == NULL);
    if (token != NULL && token[0] != '\0') {
        e->token = mem_strdup(token);
        e->denied = false;
        return; /* the next tick lets those go on that wait */
    }
    e->authenticate_at = etcd_now(e) + (judged ? 1000 : e->retry_ms);
    if (!judged) /* whoever waits goes on waiting */
        log_debug("=etcd", LOG_S("user", e->user), LOG_S("reason", why));
    else if (!e->denied)
        log_error("!etcd", LOG_S("user", e->user), LOG_S("reason", why));
    e->denied = judged;
}

static void authenticate(struct etcd *e)
{
    struct buf body;

    assert(e->user != NULL);
    assert(e->token == NULL);
    if (e->authenticating != NULL || etcd_now(e) < e->authenticate_at)
        return;
    buf_init(&body, ETCD_BODY_MAX);
    json_open(&body, NULL, '{');
    json_put_str(&body, "name", e->user);
    json_put_str(&body, "password", e->password == NULL ? "" : e->password);
    json_close(&body, '}');
    etcd_send(e, &e->authenticating, "/v3/auth/authenticate", &body,
              ETCD_ONCE | ETCD_NO_TOKEN | ETCD_REPEATABLE, on_token, e);
}

void etcd_token_refused(struct etcd *e, uint64_t generation)
{
    assert(generation <= e->token_generation);
    if (generation == e->token_generation) {
        MEM_FREE(e->token);
        e->token_generation++;
        assert(e->token == NULL);
    }
}

bool etcd_has_token(struct etcd *e)
{
    if (e->user == NULL || e->token != NULL)
        return true;
    authenticate(e);
    return false;
}

/* --- answers ------------------------------------------------------------- */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Nothing was applied, and there is a member that was not asked yet. */
static bool next_at_once(const struct etcd_request *a,
                         enum etcd_verdict verdict)
{
    assert(verdict != ETCD_OK);
    return (verdict == ETCD_UNREACHED || verdict == ETCD_NOT_HERE) &&
           a->tries < a->e->n_endpoints && !etcd_is_closing(a->e);
}

static bool may_retry(const struct etcd_request *a, enum etcd_verdict verdict)
{
    const struct etcd *e = a->e;
    int64_t age = etcd_now(e) - a->began;

    assert(age >= 0);
    assert(a->tries > 0);
    if ((a->flags & ETCD_ONCE) != 0 || etcd_is_closing(e))
        return false;
    if (verdict == ETCD_BROKEN && (a->flags & ETCD_REPEATABLE) == 0)
        return false;
    if (verdict == ETCD_NOT_HERE && age < a->try_ms)
        return true; /* an election: a server that waited would take as long */
    return age < e->retry_for_ms || a->tries < e->n_endpoints;
}

static void retry_later(struct etcd_request *a)
{
    int64_t delay = a->e->retry_ms << (a->tries > 10 ? 10 : a->tries - 1);

    assert(a->tries > 0);
    assert(a->transfer == NULL);
    a->due = etcd_now(a->e) + least(delay, a->e->retry_max_ms);
    assert(a->due >= etcd_now(a->e));
}

/* The try has failed: again, or tell. `a` may be gone afterwards. */
static void failed(struct etcd_request *a, enum etcd_verdict verdict,
                   const char *why)
{
    char none[64 + ETCD_WHY_MAX];
    struct etcd *e = a->e;
    const char *endpoint = e->endpoints[a->generation % e->n_endpoints];

    assert(a->transfer == NULL && a->tries > 0);
    assert(verdict != ETCD_OK && why != NULL);
    assert(a->generation <= e->generation);
    if (verdict == ETCD_UNREACHED || verdict == ETCD_BROKEN ||
        verdict == ETCD_NOT_HERE) {
        etcd_endpoint_failed(e, a->generation, why);
        etcd_report_trouble(e, verdict, why, endpoint, etcd_all_failed(e));
        if (next_at_once(a, verdict)) {
            start(a);
            return;
        }
        if (may_retry(a, verdict)) {
            retry_later(a);
            return;
        }
        if (etcd_all_failed(e)) {
            (void)snprintf(none, sizeof(none), "%s: %s", e->none_writes, why);
            why = none;
        }
    } else {
        etcd_report_trouble(e, verdict, why, endpoint, false);
    }
    if (verdict == ETCD_TOKEN && (a->flags & ETCD_NO_TOKEN) == 0 &&
        e->user != NULL) {
        etcd_token_refused(e, a->token_generation);
        if (++a->tokens_refused <= TOKENS_REFUSED_MAX && !etcd_is_closing(e)) {
            start(a);
            return;
        }
    }
    if (verdict == ETCD_TOKEN) {
        /* Without a user there is nothing to try; with one, every token was
         * too old when it was used: not a word about the user. */
        verdict = e->user == NULL ? ETCD_DENIED : ETCD_UNREACHED;
    }
    give_up(a, verdict, why);
}

/* `root` is what a unary answer is, or a stream's only message holds. */
static void answered(struct etcd_request *a, const struct json *root)
{
    struct etcd_header header = etcd_header_read(root);
    bool linear = (a->flags & ETCD_LINEAR) != 0;
    bool repeatable = (a->flags & ETCD_REPEATABLE) != 0;
    struct etcd *e = a->e;
    const char *mismatch;

    assert(a->transfer == NULL);
    assert(a->no > 0 && a->no <= e->sends);
    if (!json_is(root, JSON_OBJECT) || header.cluster == 0) {
        failed(a, ETCD_BROKEN, "the answer is not etcd's");
        return;
    }
    mismatch =
        etcd_store_mismatch(e, &header, linear ? a->known : 0, a->generation);
    if (mismatch != NULL) { /* a write is applied, if only there */
        failed(a, repeatable ? ETCD_NOT_HERE : ETCD_BROKEN, mismatch);
        return;
    }
    etcd_note_revision(e, header.revision);
    if (linear) {
        e->quorum.no = a->no;
        e->quorum.term = header.term;
        e->given_up = 0;
        e->mismatch = false;
    }
    if ((a->flags & ETCD_GUARDED) != 0 && etcd_succeeded(root))
        etcd_endpoint_confirmed(e, a->no, a->generation, header.revision);
    a->result.root = root;
    a->result.revision = header.revision;
    a->result.term = header.term;
    finish(a);
}

static void on_answer(void *arg, const struct etcd_answer *answer)
{
    struct etcd_request *a = arg;
    char why[ETCD_WHY_MAX];
    const struct json *root = NULL;
    struct err err;

    assert(a->transfer != NULL);
    a->transfer = NULL;
    if (answer->too_large) {
        failed(a, ETCD_TOO_LARGE, "the answer is too large");
    } else if (answer->status == 0) {
        failed(a, answer->sent ? ETCD_BROKEN : ETCD_UNREACHED, answer->problem);
    } else if (answer->status != 200) {
        failed(a, etcd_refusal(answer->status, answer->body, answer->len, why),
               why);
    } else if (json_parse(answer->body, answer->len, &root, &err) != 0) {
        failed(a, ETCD_BROKEN, err.msg);
    } else if (json_get(root, "error") != NULL) {
        failed(a, etcd_refusal(200, answer->body, answer->len, why), why);
    } else {
        const struct json *inner = json_get(root, "result");

        answered(a, inner != NULL ? inner : root);
    }
    json_free(root);
}

/* --- sending ------------------------------------------------------------- */

static void start(struct etcd_request *a)
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

    assert(a->transfer == NULL);
    assert(e->http != NULL);
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
    a->known = etcd_known_revision(e);
    a->no = ++e->sends;
    a->result.sent = etcd_now(e);
    a->transfer = etcd_http_post(e->http, &post);
    assert(a->transfer != NULL);
    assert(a->result.sent > 0);
}

void etcd_send(struct etcd *e, struct etcd_request **slot, const char *path,
               struct buf *body, unsigned flags, etcd_result_f *done, void *arg)
{
    struct etcd_request *a = mem_zalloc(sizeof(*a));

    assert(*slot == NULL);
    assert(done != NULL);
    assert(!e->base.mute);
    assert((flags & ETCD_GUARDED) == 0 || (flags & ETCD_LINEAR) != 0);
    *slot = a;
    a->e = e;
    a->slot = slot;
    a->path = path;
    a->body = *body;
    *body = (struct buf){.max = body->max};
    a->flags = flags;
    a->try_ms = (flags & ETCD_QUICK) != 0 ? etcd_beat_ms(e) : etcd_call_ms(e);
    a->done = done;
    a->arg = arg;
    a->began = etcd_now(e);
    a->result.modified = e->session.modified;
    a->result.newest_at = e->session.newest_at;
    DL_APPEND(e->requests, a);
    start(a);
}

void etcd_send_txn(struct etcd *e, struct etcd_request **slot, struct buf *body,
                   unsigned flags, etcd_result_f *done, void *arg)
{
    etcd_txn_close(body);
    etcd_send(e, slot, "/v3/kv/txn", body, flags | ETCD_LINEAR, done, arg);
}

/* --- time ---------------------------------------------------------------- */

int64_t etcd_beat_ms(const struct etcd *e)
{
    assert(e->base.session_timeout_ms > 0);
    return etcd_clamp(e->base.session_timeout_ms / 6, 100, 5000);
}

int64_t etcd_call_ms(const struct etcd *e)
{
    assert(e->base.session_timeout_ms > 0);
    return etcd_clamp(e->base.session_timeout_ms / 3, 5000, 10000);
}

/* One that is due, or waits for a token that is there. True: the list may have
 * changed. What is under way at an endpoint that was given up gets a little
 * more time, in case it was only slow. */
static bool tick(struct etcd_request *a)
{
    struct etcd *e = a->e;

    assert(*a->slot == a);
    assert(a->transfer == NULL || !a->wants_token);
    if (a->transfer != NULL && a->generation != e->generation &&
        e->n_endpoints > 1)
        a->due = least(a->due, etcd_now(e) + etcd_beat_ms(e));
    if (a->transfer == NULL && a->wants_token && e->token != NULL) {
        start(a);
        return true;
    }
    if (etcd_now(e) < a->due)
        return false;
    if (a->transfer != NULL) {
        failed(a,
               etcd_transfer_cancel(&a->transfer) ? ETCD_BROKEN
                                                  : ETCD_UNREACHED,
               "no answer in time");
    } else if (a->wants_token) {
        give_up(a, e->denied ? ETCD_DENIED : ETCD_UNREACHED,
                e->denied ? "the user is refused" : "no token in time");
    } else {
        start(a);
    }
    return true;
}

/* Callbacks change the list: every walk begins anew. It ends because each of
 * them moves its `due` or is gone. */
void etcd_requests_tick(struct etcd *e)
{
    struct etcd_request *a;

    assert(e->http != NULL);
    if (e->user != NULL && e->token == NULL && !e->base.mute)
        authenticate(e);
    do {
        DL_FOREACH (e->requests, a)
            if (tick(a))
                break;
    } while (a != NULL && e->http != NULL);
}

void etcd_requests_close(struct etcd *e)
{
    while (e->requests != NULL)
        request_free(e->requests);
    assert(e->authenticating == NULL);
}
