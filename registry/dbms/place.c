/*
 * place.c - where a server stands, and whether that may be.
 *
 * Every transaction is told the timeline (its `begin`) and most the counter
 * (a row tagged M); who writes hears what its own last commit left in its
 * session's row, too (O). All only grows, so a server that tells less than the
 * session has seen is another one, an old primary, or has lost what it had
 * acknowledged: a backup was put back, or it was promoted without its tail.
 *
 * Such a server is first "not here": another of the URL may be the one. If
 * there is none it went back. So it did, whoever else there is, where its
 * timeline is higher and the counter lower, or where it lacks a commit of
 * ours: that is what everybody else goes by now.
 *
 * Seen is not yet known: MariaDB shows what it has committed before that is on
 * disk, and would lose it if it was killed right then. So what a mere look
 * told counts when a later one tells it again, or a commit of ours came after.
 *
 * Nodes of Galera show old states as long as they lag behind, where a proxy
 * has lost our wsrep_sync_wait. What they tell is compared once more in a
 * transaction that raises the counter and is committed, which a node that lags
 * cannot.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/mem.h"
#include "registry/history.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SURE_MS       50   /* between two looks that tell the same */
#define LOOK_AGAIN_MS 2000 /* for a better server than the best of bad ones */

bool dbms_place_before(const struct dbms_place *a, const struct dbms_place *b)
{
    if (a->position == 0 || b->position == 0)
        return false;
    if (a->generation != b->generation)
        return a->generation < b->generation;
    if (a->line != b->line && a->line != 0 && b->line != 0)
        return a->line < b->line;
    return a->position < b->position;
}

/* --- asking a server that was connected ---------------------------------- */

void dbms_reply_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct dbms_reply *h = arg;
    struct history_record record;

    if (n < 2 || cells[0].n != 1 || cells[1].p == NULL)
        return;
    switch (cells[0].p[0]) {
    case 'W':
        h->read_only = !dbms_is_off(&cells[1]) || !dbms_is_off(&cells[2]);
        h->place.line = n > DBMS_LINE && cells[DBMS_LINE].p != NULL
                            ? strtoull(cells[DBMS_LINE].p, NULL, 16)
                            : 0;
        break;
    case 'M':
        h->place.position = dbms_u64(&cells[1]) - h->raised;
        break;
    case 'O':
        h->marked = true;
        h->mark = dbms_u64(&cells[1]);
        break;
    case 'J':
        if (registry_history_read(&record, cells[1].p, cells[1].n, NULL) == 0)
            h->place.generation = record.generation;
        break;
    default:
        break;
    }
}

void dbms_add_history(const struct dbms_target *t, struct buf *sql)
{
    const struct dbms_syntax *w = t->driver->syntax;

    buf_printf(sql, ";SELECT 'J', value FROM pelorus_registry WHERE name = %s",
               w->bytes);
    dbms_hex(sql, t->prefix, strlen(t->prefix));
    dbms_hex(sql, HISTORY_KEY, strlen(HISTORY_KEY));
    buf_str(sql, w->bytes_end);
}

static enum dbms_fault ask_once(struct dbms_link *link, struct dbms_target *t,
                                struct dbms_reply *h, struct err *err)
{
    static const char rollback[] = "ROLLBACK";
    enum dbms_fault fault;
    struct buf sql;

    assert(link != NULL);
    memset(h, 0, sizeof(*h));
    buf_init(&sql, DBMS_SQL_MAX);
    t->driver->begin(t, &sql);
    buf_str(&sql, ";SELECT 'M', revision FROM pelorus_meta WHERE id = 1");
    dbms_add_history(t, &sql);
    buf_str(&sql, ";COMMIT");
    fault = t->driver->run(link, sql.data, sql.len, dbms_reply_row, h, err);
    buf_close(&sql);
    if (fault != DBMS_OK && fault != DBMS_LOST && fault != DBMS_NOT_HERE &&
        t->driver->run(link, rollback, strlen(rollback), dbms_ignore_row, NULL,
                       NULL) != DBMS_OK)
        fault = DBMS_LOST;
    return fault;
}

/* A server that speaks PostgreSQL's language and keeps no log of that kind
 * refuses the question for the timeline: then it has none. */
enum dbms_fault dbms_place_ask(struct dbms_link *link, struct dbms_target *t,
                               struct err *err)
{
    struct dbms_reply h;
    enum dbms_fault fault;

    assert(link != NULL);
    assert(t->at < t->url.n_hosts);
    t->lineless = false;
    fault = ask_once(link, t, &h, err);
    if (fault == DBMS_REFUSED || fault == DBMS_DENIED) {
        t->lineless = true;
        fault = ask_once(link, t, &h, err);
    }
    t->place = h.place;
    if (fault == DBMS_LOST || fault == DBMS_NOT_HERE || fault == DBMS_WAITED)
        return fault;
    if (h.read_only) {
        err_set(err, ERR_UNAVAILABLE,
                "%s: this server is read only; is it a standby?",
                t->driver->name);
        return DBMS_NOT_HERE;
    }
    return DBMS_OK; /* tables that are missing are told by whoever needs them */
}

bool dbms_begin_anew(struct dbms *d)
{
    bool other = d->begin == NULL || d->lineless != d->target.lineless;
    struct buf sql;

    if (other) {
        d->lineless = d->target.lineless;
        buf_init(&sql, DBMS_SQL_MAX);
        d->target.driver->begin(&d->target, &sql);
        mem_free(d->begin);
        d->begin = buf_take(&sql);
    }
    assert(d->begin != NULL);
    return other;
}

/* --- within a session ---------------------------------------------------- */

static void rise(struct dbms_place *to, const struct dbms_place *at)
{
    to->line = at->line > to->line ? at->line : to->line;
    to->position = at->position > to->position ? at->position : to->position;
}

static bool fell(const struct dbms *d, const struct dbms_place *at)
{
    return (at->position != 0 && at->position < d->seen.position) ||
           (at->line != 0 && at->line < d->seen.line);
}

static bool lacks_ours(const struct dbms *d, const struct dbms_reply *h)
{
    return h->marked && d->marked != 0 && h->mark != d->marked;
}

void dbms_place_sure(struct dbms *d, uint64_t position)
{
    const struct dbms_place at = {.line = d->unsure.line, .position = position};

    rise(&d->seen, &at);
    d->core.line = d->seen.line;
    d->core.position = d->seen.position;
    assert(d->seen.position >= position);
    assert(d->core.position == d->seen.position);
}

/* A look told it. */
static void note_place(struct dbms *d, const struct dbms_place *at)
{
    mono_ms now = clock_mono_ms();

    if (at->line != 0) /* within a transaction it is not told again */
        d->unsure.line = at->line;
    if (at->position == 0)
        return;
    if (at->position < d->unsure.position ||
        d->unsure.position <= d->seen.position) {
        d->unsure.position = 0; /* it was not on disk, or is known by now */
    } else if (d->unsure.position != 0 && now - d->unsure_at >= SURE_MS) {
        dbms_place_sure(d, d->unsure.position);
        d->unsure.position = 0;
    }
    if (d->unsure.position == 0 && at->position > d->seen.position) {
        d->unsure.position = at->position;
        d->unsure_at = now;
    }
    assert(d->unsure.position == 0 || d->unsure.position > d->seen.position);
}

/* Whoever lags behind cannot commit this. 1: it is so; 0: it is not; -1: that
 * is not known. */
static int certify(struct dbms *d)
{
    const struct dbms_driver *driver = d->target.driver;
    struct dbms_reply h = {.raised = 1};
    struct buf sql;
    enum dbms_fault fault;

    dbms_rollback(d);
    buf_init(&sql, DBMS_SQL_MAX);
    buf_printf(&sql,
               "%s;UPDATE pelorus_meta SET revision = revision + 1 WHERE id = 1"
               ";SELECT 'M', revision FROM pelorus_meta WHERE id = 1;"
               "SELECT 'O', mark FROM pelorus_session WHERE id = %" PRIu64
               ";COMMIT",
               d->begin, d->session);
    fault = d->link == NULL ? DBMS_LOST
                            : driver->run(d->link, sql.data, sql.len,
                                          dbms_reply_row, &h, NULL);
    buf_close(&sql);
    if (fault != DBMS_OK || h.read_only) {
        dbms_disconnect(d);
        return -1;
    }
    return fell(d, &h.place) || lacks_ours(d, &h);
}

static enum dbms_fault back(struct dbms *d, const struct dbms_reply *h,
                            struct err *err)
{
    int sure = d->certified ? certify(d) : 1;

    assert(fell(d, &h->place) || lacks_ours(d, h));
    if (sure <= 0) {
        err_set(err, ERR_UNAVAILABLE, "%s: this node lags behind the others",
                d->target.driver->name);
        return sure < 0 ? DBMS_LOST : DBMS_ROLLED_BACK;
    }
    d->core.line = h->place.line;
    d->core.position = h->place.position;
    err_set(err, ERR_WENT_BACK,
            lacks_ours(d, h)
                ? "a commit of ours is gone that this server, or the one "
                  "before it, had carried out (revision %" PRIu64
                  ", timeline %" PRIu64 "; known %" PRIu64 ", %" PRIu64 ")"
                : "its position fell (revision %" PRIu64 ", timeline %" PRIu64
                  "; known %" PRIu64 ", %" PRIu64 ")",
            h->place.position, h->place.line, d->seen.position, d->seen.line);
    return DBMS_WENT_BACK;
}

enum dbms_fault dbms_place_check(struct dbms *d, const struct dbms_reply *h,
                                 struct err *err)
{
    if (lacks_ours(d, h))
        return back(d, h, err);
    if (!fell(d, &h->place)) {
        note_place(d, &h->place);
        if (h->place.generation > d->generation)
            d->generation = h->place.generation;
        return DBMS_OK;
    }
    if (!d->target.behind && !(h->place.line > d->seen.line)) {
        err_set(err, ERR_UNAVAILABLE,
                "%s: this server is behind what was seen (revision "
                "%" PRIu64 ", timeline %" PRIu64 "; known %" PRIu64 ", %" PRIu64
                "); is it an old primary?",
                d->target.driver->name, h->place.position, h->place.line,
                d->seen.position, d->seen.line);
        return DBMS_NOT_HERE;
    }
    return back(d, h, err);
}

void dbms_place_forget(struct dbms *d)
{
    d->seen = d->unsure = (struct dbms_place){.line = 0};
    d->marked = d->session = 0;
    sql_rows_close(&d->own.rows); /* what we have written may be gone */
    d->own.base = d->own.last = 0;
}

void dbms_place_look_again(struct dbms *d)
{
    if (d->target.behind && d->target.url.n_hosts > 1 && !d->inside &&
        clock_mono_ms() - d->linked >= LOOK_AGAIN_MS)
        dbms_disconnect(d);
}

void dbms_place_known(struct dbms *d)
{
    struct dbms_place *known = &d->target.known;

    known->position = atomic_load(&d->core.known_position);
    known->line = atomic_load(&d->core.known_line);
    if (dbms_place_before(known, &d->seen) || known->position == 0)
        *known = d->seen;
    known->generation = d->generation;
}
