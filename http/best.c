/*
 * best.c - GET /v1/workers/best, and what became of a pick.
 *
 * The hot path: a pick and a body formatted straight into a buffer, no loop,
 * no snapshot but for `stale`, no JSON tree.
 */
#include "http/http_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXCLUDE_TEXT_MAX 8192
/* What a refusal says of candidates unasked: it comes when everybody asks
 * again and again, and must cost little. `explain` gets all. */
#define BUSY_MAX ((size_t)32 * 1024)

#define PICK_SIZE 17

static const char *pick_text(pick_id pick, char out[PICK_SIZE])
{
    for (int i = 15; i >= 0; i--, pick >>= 4)
        out[i] = "0123456789abcdef"[pick & 15];
    out[16] = '\0';
    return out;
}

#define SCORE_SIZE 24

/* Four decimals: more say nothing about a worker, and to print a double in
 * full costs more than the pick. NULL: it has no such form. */
static const char *score_text(double score, char out[SCORE_SIZE])
{
    char *p = out + SCORE_SIZE;
    uint64_t left;

    if (!(score >= 0) || score > 1e12)
        return NULL;
    left = (uint64_t)(score * 10000 + 0.5);
    *--p = '\0';
    for (int digit = 0; digit < 6 || left > 0; digit++) {
        *--p = digit == 4 ? '.' : (char)('0' + left % 10);
        left = digit == 4 ? left : left / 10;
    }
    return p;
}

/* Repeated or separated by commas: exclude=a,b&exclude=c. */
struct excluded {
    struct balancer_request *to;
    size_t used;
    bool too_many;
    struct err bad; /* what is wrong with one that is no address */
    char text[EXCLUDE_TEXT_MAX];
};

/* A canonical IPv6 address may be longer than what was written. */
#define ROOM_TO_GROW 64

static const char *add_address(struct excluded *e, const char *value, size_t n)
{
    char address[NODE_ADDRESS_MAX + 1], *to = e->text + e->used;

    assert(n > 0);
    assert(e->used + n < sizeof(e->text));
    memcpy(to, value, n);
    to[n] = '\0';
    if (n <= NODE_ADDRESS_MAX) {
        (void)node_canonical(to, address);
        memcpy(to, address, strlen(address) + 1);
    }
    e->used += strlen(to) + 1;
    return to;
}

static enum MHD_Result add_excluded(void *arg, enum MHD_ValueKind kind,
                                    const char *name, const char *value)
{
    struct excluded *e = arg;

    (void)kind;
    if (value == NULL || strcasecmp(name, "exclude") != 0)
        return MHD_YES;
    while (*value != '\0') {
        size_t n = strcspn(value, ",");

        if (n > 0 && (e->to->n_exclude == BALANCER_EXCLUDE_MAX ||
                      e->used + n + ROOM_TO_GROW > sizeof(e->text))) {
            e->too_many = true;
            return MHD_NO;
        }
        if (n > 0) {
            const char *one = add_address(e, value, n);

            if (node_check_address(one, &e->bad) != 0)
                return MHD_NO;
            e->to->exclude[e->to->n_exclude++] = one;
        }
        value += n + (value[n] == ',');
    }
    return MHD_YES;
}

/* Every candidate with its terms, and why not; as many as `max` bytes hold. */
static void put_candidates(struct http_request *r, struct buf *b,
                           const struct balancer_request *ask, size_t max)
{
    static const char next[] = ",{\"address\":";
    struct buf why;
    size_t len;

    assert(max <= HTTP_ANSWER_MAX);
    buf_init(&why, max);
    balancer_explain(r->h->balancer, ask, &why);
    if (!why.overflow) {
        json_put_raw(b, "candidates", buf_text(&why));
        buf_close(&why);
        return;
    }
    len = 1; /* behind the bracket: cut before the one that did not fit */
    for (const char *p = why.data; (p = strstr(p, next)) != NULL; p++)
        len = (size_t)(p - why.data);
    json_open(b, "candidates", '[');
    buf_add(b, why.data + 1, len - 1);
    json_close(b, ']');
    json_put_bool(b, "more_candidates", true);
    buf_close(&why);
}

static void put_picked(struct buf *b, const struct balancer_pick *p)
{
    char pick[PICK_SIZE], score[SCORE_SIZE];
    const char *text = score_text(p->score, score);

    json_put_str(b, "address", p->address);
    json_put_str(b, "pick", p->pick != 0 ? pick_text(p->pick, pick) : NULL);
    if (text != NULL)
        json_put_raw(b, "score", text);
    else
        json_put_num(b, "score", p->score);
}

/* --- the answer that is asked for most, in one piece --------------------- */

/* At most; the rest is names of members. */
#define ONE_MAX                                                                \
    (BALANCER_GROUP_MAX + (1 + BALANCER_ALTERNATES) * BALANCER_ADDRESS_MAX +   \
     PICK_SIZE + SCORE_SIZE + 128)

/* A name of ours; NULL stays NULL. */
#define NAME(to, literal) bytes((to), (literal), sizeof(literal) - 1)
static char *bytes(char *to, const char *text, size_t len)
{
    if (to == NULL)
        return NULL;
    memcpy(to, text, len);
    return to + len;
}

/* What stands in a string; NULL: it needs escapes. */
static char *plain(char *to, const char *text)
{
    return to != NULL ? json_plain(to, text, strlen(text)) : NULL;
}

/* From the group to the alternates, behind the brace: the same as the writers
 * of JSON would write one by one. False: it is for them, and nothing is
 * written. */
static bool put_one(struct buf *b, const char *group,
                    const struct balancer_answer *got)
{
    const struct balancer_pick *one = &got->picks[0];
    char pick[PICK_SIZE], score[SCORE_SIZE];
    const char *text = score_text(one->score, score), *end = score + SCORE_SIZE;
    char *to = buf_room(b, ONE_MAX);

    assert(got->n_alternates <= BALANCER_ALTERNATES);
    if (to == NULL || one->pick == 0 || text == NULL)
        return false;
    to = plain(NAME(to, "\"group\":\""), group);
    to = plain(NAME(to, "\",\"address\":\""), one->address);
    to = bytes(NAME(to, "\",\"pick\":\""), pick_text(one->pick, pick),
               PICK_SIZE - 1);
    to = bytes(NAME(to, "\",\"score\":"), text, (size_t)(end - 1 - text));
    to = NAME(to, ",\"alternates\":[");
    for (size_t i = 0; i < got->n_alternates; i++) {
        to = i > 0 ? NAME(to, ",\"") : NAME(to, "\"");
        to = NAME(plain(to, got->alternates[i]), "\"");
    }
    to = NAME(to, "]");
    if (to == NULL)
        return false;
    buf_wrote(b, to);
    return true;
}

static void put_many(struct buf *b, const char *group,
                     const struct balancer_answer *got, bool many)
{
    json_put_str(b, "group", group);
    if (!many)
        put_picked(b, &got->picks[0]);
    json_open(b, many ? "picks" : "alternates", '[');
    for (size_t i = 0; many && i < got->n_picks; i++) {
        json_open(b, NULL, '{');
        put_picked(b, &got->picks[i]);
        json_close(b, '}');
    }
    for (size_t i = 0; !many && i < got->n_alternates; i++)
        json_put_str(b, NULL, got->alternates[i]);
    json_close(b, ']');
}

/* One with its alternates, or the list of many. */
static void answer_picks(struct http_request *r, const char *group,
                         const struct balancer_request *ask,
                         const struct balancer_answer *got, bool many,
                         bool explain)
{
    struct buf *b = http_object(r, 200);

    assert(got->n_picks <= ask->count);
    assert(many || got->n_picks == 1);
    assert(got->code == BALANCER_OK);
    if (many || !put_one(b, group, got))
        put_many(b, group, got, many);
    if (got->degraded)
        json_put_bool(b, "degraded", true);
    if (explain)
        put_candidates(r, b, ask, HTTP_ANSWER_MAX);
    http_put_as_of_now(r, b);
    json_close(b, '}');
}

/* An empty answer says why, and per worker too. */
static void answer_none(struct http_request *r, const char *group,
                        const struct balancer_request *ask,
                        const struct balancer_answer *got, bool explain)
{
    char detail[192];

    assert(got->code != BALANCER_OK);
    if (got->code == BALANCER_GROUP_NOT_FOUND)
        snprintf(detail, sizeof(detail),
                 "no group %s; GET /v1/groups lists "
                 "them",
                 group);
    else if (got->code == BALANCER_GROUP_EMPTY)
        snprintf(detail, sizeof(detail), "no live worker in group %s", group);
    else if (got->code == BALANCER_NOT_SYNCED)
        snprintf(detail, sizeof(detail),
                 "this coordinator started just now and does not know yet who "
                 "is closed; stale=1 picks from what it knows");
    else if (got->code == BALANCER_REPORTS_OLD)
        snprintf(detail, sizeof(detail),
                 "no worker of group %s that takes work has reported for three "
                 "heartbeat intervals; `candidates` says when",
                 group);
    else
        snprintf(detail, sizeof(detail),
                 "every worker of group %s is busy, closed or excluded; "
                 "`candidates` says why",
                 group);
    r->retry_after_ms = got->retry_after_ms;
    http_problem_open(r, coordinator_pick_problem(got->code), detail);
    if (got->code == BALANCER_ALL_BUSY || got->code == BALANCER_REPORTS_OLD)
        put_candidates(r, &r->out, ask, explain ? HTTP_ANSWER_MAX : BUSY_MAX);
    http_put_as_of_now(r, &r->out);
    json_close(&r->out, '}');
}

static void pick_into(struct http_request *r, struct balancer_request *ask,
                      struct balancer_pick *picks, bool many, bool explain)
{
    const char *group = ask->group != NULL ? ask->group : "default";
    struct balancer_answer got;

    got.picks = picks;
    assert(ask->count >= 1);
    assert(many || ask->count == 1);
    balancer_pick(r->h->balancer, ask, &got);
    if (got.code != BALANCER_OK)
        answer_none(r, group, ask, &got, explain);
    else
        answer_picks(r, group, ask, &got, many, explain);
}

static bool read_excluded(struct http_request *r, struct excluded *e,
                          struct balancer_request *ask)
{
    assert(ask->n_exclude == 0);
    e->to = ask;
    e->used = 0;
    e->too_many = false;
    err_clear(&e->bad);
    MHD_get_connection_values(r->connection, MHD_GET_ARGUMENT_KIND,
                              add_excluded, e);
    if (e->too_many)
        http_problem(r, PROBLEM_INVALID,
                     "query parameter exclude: at most %d addresses",
                     BALANCER_EXCLUDE_MAX);
    else if (e->bad.code != ERR_OK)
        http_problem(r, PROBLEM_INVALID, "query parameter exclude: %s",
                     e->bad.msg);
    return !e->too_many && e->bad.code == ERR_OK;
}

void http_best_get(struct http_request *r)
{
    struct balancer_request ask; /* large, too: its list stays as it is */
    struct excluded excluded;    /* large: filled in only if it is asked for */
    char group[NODE_GROUP_MAX + 1];
    struct balancer_pick one, *many;
    bool peek, explain;
    int64_t count = 0;

    assert(r->method == HTTP_GET);
    ask.count = 1;
    ask.n_exclude = 0;
    ask.now = r->handed ? clock_mono_ms() : r->now;
    if (!r->asks) { /* as most are */
        ask.group = ask.affinity = NULL;
        ask.stale = false;
        ask.peek = r->head;
        pick_into(r, &ask, &one, false, false);
        return;
    }
    if (!http_query_int(r, "count", 1, BALANCER_COUNT_MAX, &count) ||
        !http_query_group(r, group) || !http_query_flag(r, "peek", &peek) ||
        !http_query_flag(r, "explain", &explain) ||
        !http_query_flag(r, "stale", &ask.stale) ||
        (http_query(r, "exclude") != NULL &&
         !read_excluded(r, &excluded, &ask)))
        return;
    ask.group = group[0] != '\0' ? group : NULL;
    ask.affinity = http_query(r, "affinity");
    ask.peek = r->head || peek;
    if (count == 0) {
        pick_into(r, &ask, &one, false, explain);
        return;
    }
    ask.count = (uint32_t)count;
    many = mem_array((size_t)count, sizeof(*many));
    pick_into(r, &ask, many, true, explain);
    mem_free(many);
}

/* As put_pick() wrote it: sixteen hexadecimal digits. */
static bool read_pick(const char *text, pick_id *pick)
{
    size_t n = strspn(text, "0123456789abcdef");

    *pick = strtoull(text, NULL, 16);
    return n == 16 && text[n] == '\0' && *pick != 0;
}

/* 204 always: a pick that nobody remembers is counted, not complained about. */
static void pick_ended(struct http_request *r,
                       bool (*tell)(struct balancer *b, pick_id pick))
{
    pick_id pick;

    assert(r->method == HTTP_POST);
    if (!read_pick(r->param[0], &pick)) {
        http_problem(r, PROBLEM_INVALID,
                     "a pick is what workers/best said in `pick`");
        return;
    }
    (void)tell(r->h->balancer, pick);
    http_no_content(r);
}

void http_pick_done(struct http_request *r)
{
    pick_ended(r, balancer_done);
}

void http_pick_refused(struct http_request *r)
{
    pick_ended(r, balancer_refused);
}
