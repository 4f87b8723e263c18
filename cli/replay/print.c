/*
 * print.c - what a replay came to, for people and as JSON.
 */
#include "cli/replay/replay_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OUT_MAX    ((size_t)64 << 20)
#define SHARES_MAX 20U
#define HASH_TEXT  17

/* ---- why ---------------------------------------------------------------- */

/* The candidates of both sides; a side that is not there has none. */
struct sides {
    const struct json *was, *now;
};

static const struct json *parse(const char *text)
{
    const struct json *list = NULL;

    if (text == NULL || json_parse(text, strlen(text), &list, NULL) != 0)
        return NULL;
    return list;
}

static const struct json *candidate(const struct json *list,
                                    const char *address)
{
    const struct json *one;

    json_each (one, list) {
        const char *at = json_str(one, "address");

        if (at != NULL && strcmp(at, address) == 0)
            return one;
    }
    return NULL;
}

static bool same_text(const struct json *a, const struct json *b)
{
    return a->len == b->len && memcmp(a->text, b->text, a->len) == 0;
}

/* Append the terms of a worker that are not as they were: "hot null ->
 * \"cpu\"". */
static void put_changes(const struct sides *s, const char *address,
                        struct buf *out)
{
    const struct json *was = candidate(s->was, address);
    const struct json *now = candidate(s->now, address), *one;
    const char *between = "";

    json_each (one, now) {
        const struct json *old = json_get(was, one->key);

        if (old != NULL && same_text(old, one))
            continue;
        buf_printf(out, "%s%s ", between, one->key);
        if (old != NULL)
            buf_printf(out, "%.*s -> ", (int)old->len, old->text);
        buf_printf(out, "%.*s", (int)one->len, one->text);
        between = ", ";
    }
}

static void put_terms(const struct json *candidate_, struct buf *out)
{
    const struct json *one;
    const char *between = "";

    json_each (one, candidate_) {
        if (strcmp(one->key, "address") == 0)
            continue;
        buf_printf(out, "%s%s %.*s", between, one->key, (int)one->len,
                   one->text);
        between = ", ";
    }
}

/* ---- text --------------------------------------------------------------- */

static void put_hash(uint64_t hash, char out[HASH_TEXT])
{
    (void)snprintf(out, HASH_TEXT, "%016" PRIx64, hash);
}

static void put_hashes(uint64_t recorded, uint64_t replayed, struct buf *out)
{
    char a[HASH_TEXT], b[HASH_TEXT];

    put_hash(recorded, a);
    put_hash(replayed, b);
    if (recorded == replayed)
        buf_printf(out, "%s, the same", a);
    else
        buf_printf(out, "recorded %s, replayed %s", a, b);
}

static mono_ms span(const struct replay_file *f)
{
    return f->first != 0 ? f->last - f->first : 0;
}

/* What is to be known of the step from one file to the next. */
static void print_between(const struct journal_head *before,
                          const struct journal_head *head, struct buf *out)
{
    if (before->run != head->run)
        buf_str(out, "  another run, which begins anew\n");
    else if (head->sequence > before->sequence + 1)
        buf_printf(out,
                   "  %" PRIu64
                   " of its run's files before it not given: it begins anew\n",
                   head->sequence - before->sequence - 1);
}

static void print_file(const struct replay_input *in, struct buf *out)
{
    const struct replay_file *f = &in->file;
    char begun[CLOCK_RFC3339_SIZE];

    buf_printf(out,
               "%s: %" PRIu64 " records, %" PRIu64 " picks, %" PRIu64
               " reports, %" PRIu64 " ends in %.1f s from %s: ",
               in->name, f->records, f->picks, f->reports, f->ends,
               (double)span(f) / 1e3, clock_rfc3339(f->head.wall, begun));
    put_hashes(f->recorded, f->replayed, out);
    buf_char(out, '\n');
    if (f->torn)
        buf_printf(out,
                   "  it is torn or damaged from byte %" PRIu64
                   " on; what stands before it was used\n",
                   f->torn_at);
    else if (!f->ended)
        buf_str(out, "  it has no end: its process was killed, or still "
                     "writes\n");
    if (f->missing > 0)
        buf_printf(out, "  %" PRIu64 " events are missing in it\n", f->missing);
    if (f->other_algorithm)
        buf_printf(out,
                   "  it was written by a balancer that decides otherwise "
                   "(version %s)\n",
                   f->head.version);
    if (f->basis_differs)
        buf_str(out, "  its basis is not where the file before it led to\n");
}

static const char *name_of(const char *address)
{
    return address[0] != '\0' ? address : "nobody";
}

static void print_why(const struct replay_report *r, const char *address,
                      struct buf *out)
{
    struct sides s = {parse(r->was), parse(r->now)};
    const struct json *side = r->changed ? s.now : s.was;
    struct buf changes;

    if (address[0] != '\0' && candidate(side, address) != NULL) {
        buf_printf(out, "  %s: ", address);
        put_terms(candidate(side, address), out);
        buf_char(out, '\n');
        if (r->changed) {
            buf_init(&changes, OUT_MAX);
            put_changes(&s, address, &changes);
            buf_printf(out, "    not as recorded: %s\n",
                       changes.len > 0 ? buf_text(&changes) : "nothing");
            buf_close(&changes);
        }
    }
    json_free(s.was);
    json_free(s.now);
}

static void print_first(const struct replay_report *r, struct buf *out)
{
    const struct replay_difference *d = &r->sum.first;
    char at[CLOCK_RFC3339_SIZE];

    buf_printf(out,
               "%" PRIu64 " of %" PRIu64 " picks differ (%.2f %%); the first "
               "is request %" PRIu64 " at %s in group %s: %s then, %s now\n",
               r->sum.differ, r->sum.picks,
               100.0 * (double)r->sum.differ / (double)r->sum.picks, d->number,
               clock_rfc3339(d->wall, at), d->group, name_of(d->was),
               name_of(d->then));
    print_why(r, d->was, out);
    print_why(r, d->then, out);
}

static void print_shares(const struct replay_report *r, struct buf *out)
{
    size_t shown = r->n_shares < SHARES_MAX ? r->n_shares : SHARES_MAX;

    buf_printf(out, "%-32s %10s %10s\n", "WORKER", "THEN", "NOW");
    for (size_t i = 0; i < shown; i++)
        buf_printf(out, "%-32s %10" PRIu64 " %10" PRIu64 "\n",
                   r->shares[i].address, r->shares[i].was, r->shares[i].then);
    if (shown < r->n_shares)
        buf_printf(out, "and %zu more (--json has them all)\n",
                   r->n_shares - shown);
}

void replay_print(const struct replay_report *r)
{
    struct buf out;

    buf_init(&out, OUT_MAX);
    for (size_t i = 0; i < r->n; i++) {
        print_file(&r->inputs[i], &out);
        if (i > 0)
            print_between(&r->inputs[i - 1].head, &r->inputs[i].head, &out);
    }
    if (r->n > 1) {
        buf_printf(&out, "all: %" PRIu64 " picks: ", r->sum.picks);
        put_hashes(r->sum.recorded, r->sum.replayed, &out);
        buf_char(&out, '\n');
    }
    if (r->sum.differ > 0) {
        print_first(r, &out);
        print_shares(r, &out);
    }
    fputs(buf_text(&out), stdout);
    buf_close(&out);
}

/* ---- JSON --------------------------------------------------------------- */

static void json_hash(struct buf *out, const char *key, uint64_t hash)
{
    char text[HASH_TEXT];

    put_hash(hash, text);
    json_put_str(out, key, text);
}

static void json_time(struct buf *out, const char *key, wall_ms at)
{
    char text[CLOCK_RFC3339_SIZE];

    json_put_str(out, key, clock_rfc3339(at, text));
}

static void json_file(const struct replay_input *in, struct buf *out)
{
    const struct replay_file *f = &in->file;

    json_open(out, NULL, '{');
    json_put_str(out, "file", in->name);
    json_put_str(out, "version", f->head.version);
    json_time(out, "begun", f->head.wall);
    json_hash(out, "run", f->head.run);
    json_put_u64(out, "sequence", f->head.sequence);
    json_put_u64(out, "records", f->records);
    json_put_u64(out, "requests", f->requests);
    json_put_u64(out, "picks", f->picks);
    json_put_u64(out, "reports", f->reports);
    json_put_u64(out, "ends", f->ends);
    json_put_u64(out, "missing", f->missing);
    json_put_int(out, "span_ms", span(f));
    json_put_bool(out, "ended", f->ended);
    if (f->torn)
        json_put_u64(out, "torn_at", f->torn_at);
    else
        json_put_null(out, "torn_at");
    json_put_bool(out, "same_algorithm", !f->other_algorithm);
    json_put_bool(out, "basis_agrees", !f->basis_differs);
    json_hash(out, "recorded", f->recorded);
    json_hash(out, "replayed", f->replayed);
    json_close(out, '}');
}

static void json_address(struct buf *out, const char *key, const char *address)
{
    if (address[0] != '\0')
        json_put_str(out, key, address);
    else
        json_put_null(out, key);
}

static void json_terms(const struct replay_report *r, const char *address,
                       struct buf *out)
{
    struct sides s = {parse(r->was), parse(r->now)};
    const struct json *was = candidate(s.was, address);
    const struct json *now = candidate(s.now, address);
    struct buf changes;

    json_open(out, NULL, '{');
    json_put_str(out, "address", address);
    if (was != NULL) {
        char *text = mem_strndup(was->text, was->len);

        json_put_raw(out, "then", text);
        mem_free(text);
    }
    if (now != NULL) {
        char *text = mem_strndup(now->text, now->len);

        json_put_raw(out, "now", text);
        mem_free(text);
        buf_init(&changes, OUT_MAX);
        put_changes(&s, address, &changes);
        json_put_str(out, "changed", buf_text(&changes));
        buf_close(&changes);
    }
    json_close(out, '}');
    json_free(s.was);
    json_free(s.now);
}

static void json_first_(const struct replay_report *r, struct buf *out)
{
    const struct replay_difference *d = &r->sum.first;

    if (d->number == 0) {
        json_put_null(out, "first");
        return;
    }
    json_open(out, "first", '{');
    json_put_u64(out, "request", d->number);
    json_put_u64(out, "pick", d->which);
    json_time(out, "time", d->wall);
    json_put_str(out, "group", d->group);
    json_address(out, "then", d->was);
    json_address(out, "now", d->then);
    json_open(out, "candidates", '[');
    if (d->was[0] != '\0')
        json_terms(r, d->was, out);
    if (d->then[0] != '\0')
        json_terms(r, d->then, out);
    json_close(out, ']');
    json_close(out, '}');
}

void replay_print_json(const struct replay_report *r)
{
    struct buf out;

    buf_init(&out, OUT_MAX);
    json_open(&out, NULL, '{');
    json_open(&out, "files", '[');
    for (size_t i = 0; i < r->n; i++)
        json_file(&r->inputs[i], &out);
    json_close(&out, ']');
    json_put_u64(&out, "requests", r->sum.requests);
    json_put_u64(&out, "picks", r->sum.picks);
    json_put_u64(&out, "differ", r->sum.differ);
    json_put_bool(&out, "same", r->sum.differ == 0);
    json_hash(&out, "recorded", r->sum.recorded);
    json_hash(&out, "replayed", r->sum.replayed);
    json_first_(r, &out);
    json_open(&out, "shares", '[');
    for (size_t i = 0; i < r->n_shares; i++) {
        json_open(&out, NULL, '{');
        json_put_str(&out, "address", r->shares[i].address);
        json_put_u64(&out, "then", r->shares[i].was);
        json_put_u64(&out, "now", r->shares[i].then);
        json_close(&out, '}');
    }
    json_close(&out, ']');
    json_close(&out, '}');
    puts(buf_text(&out));
    buf_close(&out);
}
