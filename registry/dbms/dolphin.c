/*
 * dolphin.c - DolphinScheduler's own tables, read and never written.
 *
 * Its change events are hints only: they say when to look, never what is
 * there. Its processes delete the newest of them instead of the oldest, write
 * none when one of them died, and commit them out of order; ids go backwards
 * when the table was emptied. So each look compares all of its data, at the
 * latest every `poll_ms`, and what differs from the last look is told: every
 * one of these cases is the same to us, and costs nothing but the hint.
 *
 * A brief look compares hashes that the server makes (marks.c), and reads the
 * rows of which they differ. A whole one reads all: the first, once in
 * WHOLE_MS, because two texts may have one hash, and where a brief one meets
 * what it cannot tell: a client that is new, or states another timeout.
 *
 * The rows of a dead client are not there; who is dead: peers.c. Looks
 * come as often as the shortest timeout that a client states asks for.
 *
 * `created` of a row is its id, its version a hash of it.
 * (A little over 500 lines: a look and what it means are one.)
 */
#include "registry/dbms/dbms_priv.h"

#include "base/rand.h"
#include "base/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HINT_MS     500  /* how often the events are asked for */
#define REST_MS     1000 /* at least between looks that a hint calls for */
#define WHOLE_MS    60000
#define CHANGED_MAX (2 * (size_t)DBMS_IN_MAX) /* of a brief look */

struct dbms_row {
    UT_hash_handle hh, by_id;
    uint64_t id; /* 0: another row has it now */
    uint64_t client, version;
    uint64_t mark;          /* the server's hash of it */
    struct dbms_peer *peer; /* whose it is; NULL: nobody's, or not asked yet */
    bool ephemeral;
    bool alive; /* told as existing */
    bool fresh; /* changed since the last look */
    uint32_t look;
    uint32_t len;
    char key[];
};

bool dbms_is_nodes(const char *prefix)
{
    return strcmp(prefix, DBMS_NODES) == 0 ||
           registry_key_below(prefix, DBMS_NODES) ||
           registry_key_below(DBMS_NODES, prefix);
}

/* No two have one id; 0: it has none any more. */
static void set_id(struct dbms_dolphin *o, struct dbms_row *row, uint64_t id)
{
    struct dbms_row *other = NULL;

    if (row->id == id)
        return;
    if (row->id != 0)
        HASH_DELETE(by_id, o->by_id, row);
    if (id != 0)
        HASH_FIND(by_id, o->by_id, &id, sizeof(id), other);
    if (other != NULL)
        set_id(o, other, 0);
    row->id = id;
    if (id != 0)
        HASH_ADD(by_id, o->by_id, id, sizeof(row->id), row);
}

static void drop_row(struct dbms_dolphin *o, struct dbms_row *row)
{
    set_id(o, row, 0);
    HASH_DEL(o->rows, row);
    mem_free(row);
}

/* --- what is known ------------------------------------------------------ */

bool dbms_data_alive(const struct dbms *d, const struct dbms_data *data)
{
    const struct dbms_dolphin *o = &d->dolphin;

    return !data->ephemeral || !o->followed || !dbms_peer_dead(o, data->client);
}

bool dbms_dolphin_has(const struct dbms *d, const char *key)
{
    struct dbms_row *row;

    if (d->dolphin.rows == NULL)
        return false;
    HASH_FIND_STR(d->dolphin.rows, key, row);
    return row != NULL && row->alive;
}

/* --- a look -------------------------------------------------------------- */

struct look {
    struct dbms *d;
    mono_ms now;
    sql_wanted_f *wanted; /* NULL: tell nothing */
    const void *arg;
    struct sql_rows *rows;
    struct sql_rows values; /* of rows that changed, alive or not */
    bool brief;
    bool vague;        /* it cannot tell all: a whole one must follow */
    uint64_t *changed; /* ids of rows that it has to read */
    size_t n_changed;
    enum dbms_fault fault;
};

/* As a rule rows come in the order of the look before: the one after the last
 * is tried first. */
static struct dbms_row *row_of(struct dbms_dolphin *o, const char *key,
                               size_t len)
{
    struct dbms_row *row = o->next_row;

    assert(key[0] == '/');
    if (row == NULL || row->len != len || memcmp(row->key, key, len) != 0)
        HASH_FIND(hh, o->rows, key, len, row);
    if (row == NULL) {
        row = mem_zalloc(sizeof(*row) + len + 1);
        memcpy(row->key, key, len + 1);
        row->len = (uint32_t)len;
        HASH_ADD_KEYPTR(hh, o->rows, row->key, len, row);
    }
    o->next_row = row->hh.next;
    assert(memcmp(row->key, key, len + 1) == 0);
    return row;
}

static void on_data(struct look *look, const struct dbms_cell *cells)
{
    struct dbms_dolphin *o = &look->d->dolphin;
    char key[REGISTRY_KEY_MAX + 1];
    struct dbms_data data;
    struct dbms_row *row;

    dbms_data_parse(cells, &data);
    if (data.key_len > REGISTRY_KEY_MAX)
        return;
    memcpy(key, data.key, data.key_len);
    key[data.key_len] = '\0';
    if (strlen(key) != data.key_len || !registry_key_below(key, DBMS_NODES)) {
        return;
    } /* a name that is no key is told like any: its reader says so */
    row = row_of(o, key, data.key_len);
    if (row->look != o->look) /* else it was met by the brief part of it */
        row->fresh = false;
    row->look = o->look;
    row->mark = dbms_i64(&cells[6]);
    look->vague |=
        look->brief && data.ephemeral && !dbms_peer_met(o, data.client);
    if (row->id == data.id && row->client == data.client &&
        row->version == data.version)
        return;
    set_id(o, row, data.id);
    row->client = data.client;
    row->peer = NULL;
    row->version = data.version;
    row->ephemeral = data.ephemeral;
    row->fresh = true;
    dbms_data_push(&look->values, &data);
}

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct look *look = arg;
    struct dbms_dolphin *o = &look->d->dolphin;

    assert(n >= 2 && cells[0].p != NULL);
    (void)n;
    if (cells[0].p[0] == 'D') {
        on_data(look, cells);
    } else if (cells[0].p[0] == 'C') {
        dbms_peer_beat(o, dbms_u64(&cells[1]), dbms_u64(&cells[2]),
                       dbms_config_timeout(look->d, &cells[3]),
                       dbms_i64(&cells[4]), look->now);
    } else {
        o->last_event = dbms_u64(&cells[1]);
    }
}

static void from_first(struct dbms_dolphin *o)
{
    o->next_row = o->rows;
    o->next_peer = o->peers;
}

#define EVENTS  "SELECT 'E', max(id) FROM t_ds_jdbc_registry_data_change_event;"
#define CLIENTS " FROM t_ds_jdbc_registry_client_heartbeat"

static void select_data(struct dbms *d)
{
    buf_printf(&d->sql,
               "SELECT 'D', " DBMS_DATA_COLUMNS
               ", %s FROM t_ds_jdbc_registry_data WHERE ",
               d->dolphin.no_marks ? "0" : d->target.driver->syntax->data_mark);
}

/* Data first: whoever has data had a heartbeat before. */
static int read_whole(struct dbms *d, struct look *look, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    int rc;

    assert(!d->inside);
    from_first(&d->dolphin);
    look->brief = false;
    dbms_start_stream(d);
    buf_str(&d->sql, EVENTS);
    select_data(d);
    dbms_range(d, w->key_of, DBMS_NODES, false);
    buf_printf(&d->sql,
               ";SELECT 'C', id, last_heartbeat_time, connection_config,"
               " %s" CLIENTS,
               d->dolphin.no_marks ? "0" : w->client_mark);
    rc = dbms_run(d, on_row, look, &look->fault, err);
    if (rc == 0)
        d->dolphin.next_whole = look->now + WHOLE_MS;
    return rc;
}

/* --- a brief look -------------------------------------------------------- */

/* A row's id and mark. */
static void on_data_mark(void *arg, const uint64_t *numbers)
{
    struct look *look = arg;
    struct dbms_dolphin *o = &look->d->dolphin;
    struct dbms_row *row = o->next_row;

    if (row == NULL || row->id != numbers[0])
        HASH_FIND(by_id, o->by_id, &numbers[0], sizeof(numbers[0]), row);
    if (row != NULL) {
        row->look = o->look;
        row->fresh = false;
        o->next_row = row->hh.next;
    }
    if (row != NULL && row->mark == numbers[1])
        return;
    if (look->n_changed == CHANGED_MAX)
        look->vague = true;
    else
        look->changed[look->n_changed++] = numbers[0];
}

static void on_client_mark(void *arg, const uint64_t *numbers)
{
    struct look *look = arg;

    if (!dbms_peer_again(&look->d->dolphin, numbers[0], numbers[1], numbers[2],
                         look->now))
        look->vague = true;
}

static void on_marks(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct look *look = arg;

    assert(n >= 2 && cells[0].p != NULL);
    if (cells[0].p[0] == 'd')
        look->vague |= !dbms_marks_each(cells, 2, on_data_mark, look);
    else if (cells[0].p[0] == 'c')
        look->vague |= !dbms_marks_each(cells, 3, on_client_mark, look);
    else
        on_row(arg, cells, n);
}

static int read_marks(struct dbms *d, struct look *look, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    dbms_start(d);
    buf_str(&d->sql, EVENTS);
    dbms_add_marks(d, 'd', NULL, w->data_mark);
    buf_str(&d->sql, " FROM t_ds_jdbc_registry_data WHERE ");
    dbms_range(d, w->key_of, DBMS_NODES, false);
    buf_char(&d->sql, ';');
    dbms_add_marks(d, 'c', "last_heartbeat_time", w->client_mark);
    buf_str(&d->sql, CLIENTS);
    return dbms_run(d, on_marks, look, &look->fault, err);
}

static int read_changed(struct dbms *d, struct look *look, struct err *err)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    bool array = w->array != NULL;

    dbms_start(d);
    for (size_t i = 0; i < look->n_changed; i++) {
        bool first = i % DBMS_IN_MAX == 0;
        bool last = (i + 1) % DBMS_IN_MAX == 0 || i + 1 == look->n_changed;

        if (first && i > 0)
            buf_char(&d->sql, ';');
        if (first) {
            select_data(d);
            buf_str(&d->sql, array ? "id = ANY('{" : "id IN (");
        }
        buf_printf(&d->sql, "%" PRIu64 "%s", look->changed[i],
                   !last   ? ","
                   : array ? "}'::bigint[])"
                           : ")");
    }
    return dbms_run(d, on_row, look, &look->fault, err);
}

/* The clients after the data, and before what has changed of it: whose rows
 * came or went meanwhile is met by a whole look or by the next one. */
static int read_brief(struct dbms *d, struct look *look, struct err *err)
{
    uint64_t changed[CHANGED_MAX];
    int rc;

    assert(!d->inside);
    from_first(&d->dolphin);
    look->brief = true;
    look->changed = changed;
    rc = read_marks(d, look, err);
    if (rc == 0 && !look->vague && look->n_changed > 0) {
        d->dolphin.next_row = d->dolphin.rows;
        rc = read_changed(d, look, err);
    }
    look->changed = NULL;
    return rc;
}

static int read_all(struct dbms *d, struct look *look, struct err *err)
{
    struct dbms_dolphin *o = &d->dolphin;
    int rc = 0;

    o->look++;
    look->vague = o->no_marks || look->now >= o->next_whole;
    if (!look->vague)
        rc = read_brief(d, look, err);
    if (rc == 0 && look->vague)
        rc = read_whole(d, look, err);
    if (rc != 0 && look->fault == DBMS_REFUSED && !o->no_marks) {
        o->no_marks = true; /* an older one, say: then without its hashes */
        rc = read_whole(d, look, err);
    }
    return rc;
}

/* --- what it means ------------------------------------------------------- */

/* Who owns data and has no heartbeat is met here. */
static void judge_clients(struct dbms *d, mono_ms now)
{
    struct dbms_dolphin *o = &d->dolphin;
    struct dbms_row *row, *next;

    HASH_ITER (hh, o->rows, row, next)
        if (row->look == o->look && row->ephemeral)
            row->peer = dbms_peer_data(o, row->peer, row->client,
                                       row->fresh && o->followed, now);
    dbms_peers_judge(o, &d->core, now);
}

/* Three looks within the shortest timeout that anybody states, where that is
 * more than we plan by ourselves. */
static int64_t look_ms(const struct dbms *d)
{
    int64_t third = d->core.client_span / 3;

    assert(d->core.client_span > 0);
    if (third > d->dolphin.poll_ms)
        third = d->dolphin.poll_ms;
    return third > REST_MS || third > d->dolphin.poll_ms ? third : REST_MS;
}

static void push_gone(struct look *look, const struct dbms_row *row)
{
    assert(!row->alive);
    assert(look->wanted == NULL || look->rows != NULL);
    if (look->wanted != NULL && look->wanted(look->arg, row->key))
        (void)sql_rows_push(look->rows, row->key, strlen(row->key), NULL, 0);
}

/* Rows that went, died or came to life again without having changed. Those that
 * are there have told their peers so, which stand therefore. */
static void judge_rows(struct dbms *d, struct look *look, bool *revived)
{
    struct dbms_dolphin *o = &d->dolphin;
    struct dbms_row *row, *next;

    *revived = false;
    HASH_ITER (hh, o->rows, row, next) {
        bool there = row->look == o->look, was_alive = row->alive;

        row->alive = there && !(row->ephemeral && dbms_peer_is_dead(row->peer));
        if (was_alive && !row->alive)
            push_gone(look, row);
        *revived |= row->alive && !was_alive && !row->fresh;
        if (!there)
            drop_row(o, row);
    }
}

/* Hand over what changed and is alive; the rows of `values` are moved. */
static void push_values(struct dbms_dolphin *o, struct look *look)
{
    assert(look->wanted == NULL || look->rows != NULL);
    for (size_t i = 0; i < look->values.n; i++) {
        const struct registry_entry *e = &look->values.entries[i];
        struct dbms_row *row;

        HASH_FIND_STR(o->rows, e->key, row);
        if (row == NULL || !row->alive || look->wanted == NULL ||
            !look->wanted(look->arg, e->key))
            continue;
        sql_rows_copy(look->rows, e);
    }
}

static int look_at(struct dbms *d, struct look *look, struct err *err)
{
    struct dbms_dolphin *o = &d->dolphin;
    bool revived;
    int rc = read_all(d, look, err);

    if (rc != 0) { /* some rows are noted as seen, and nobody was told */
        sql_rows_close(&look->values);
        o->broken = true;
        return rc;
    }
    judge_clients(d, look->now);
    judge_rows(d, look, &revived);
    push_values(o, look);
    sql_rows_close(&look->values);
    o->last_look = look->now;
    o->next_look = look->now + look_ms(d);
    o->unproved = d->core.wanted == look->now;
    o->next_hint = look->now + HINT_MS;
    o->due = false;
    /* Seldom: a dead client went on. A list tells what its rows hold. */
    o->broken |= revived;
    return 0;
}

int dbms_dolphin_follow(struct dbms *d, struct err *err)
{
    struct dbms_dolphin *o = &d->dolphin;
    struct look look = {.d = d, .now = clock_mono_ms()};
    int rc;

    assert(!d->inside);
    if (o->followed)
        return 0;
    o->last_look = look.now;
    rc = look_at(d, &look, err);
    o->followed = rc == 0;
    o->broken = false;
    return rc;
}

int dbms_dolphin_read(struct dbms *d, mono_ms now, sql_wanted_f *wanted,
                      const void *arg, struct sql_rows *rows, bool *missed,
                      struct err *err)
{
    struct dbms_dolphin *o = &d->dolphin;
    struct look look = {
        .d = d, .now = now, .wanted = wanted, .arg = arg, .rows = rows};
    int rc = 0;

    assert(wanted != NULL);
    assert(rows != NULL);
    if (o->followed && o->due)
        rc = look_at(d, &look, err);
    if (rc == 0 && o->broken) {
        o->broken = false;
        *missed = true;
    }
    return rc;
}

static void on_event(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct dbms_dolphin *o = arg;
    uint64_t last = dbms_u64(&cells[1]);

    assert(n == 2);
    (void)n;
    o->due |= last != o->last_event; /* down, too: emptied, or begun anew */
}

int dbms_dolphin_due(struct dbms *d, mono_ms now, bool *due, struct err *err)
{
    struct dbms_dolphin *o = &d->dolphin;
    int rc = 0;

    assert(!d->inside);
    if (!o->followed) {
        *due = false;
        return 0;
    }
    if (now >= o->next_look || (o->unproved && d->core.proved > o->last_look)) {
        o->due = true; /* in time, or whoever seemed dead can be told so */
    } else if (!o->due && now >= o->next_hint &&
               now - o->last_look >= REST_MS) {
        o->next_hint = now + HINT_MS;
        dbms_start(d);
        buf_str(&d->sql, "SELECT 'E', max(id) FROM"
                         " t_ds_jdbc_registry_data_change_event");
        rc = dbms_run(d, on_event, o, NULL, err);
    }
    *due = o->due || o->broken;
    return rc;
}

void dbms_dolphin_forget(struct dbms *d)
{
    struct dbms_dolphin *o = &d->dolphin;
    struct dbms_row *row, *next;

    HASH_ITER (hh, o->rows, row, next)
        drop_row(o, row);
    dbms_peers_forget(o);
    o->followed = o->broken = o->due = o->no_marks = false;
    o->next_whole = 0;
    assert(o->rows == NULL && o->by_id == NULL);
}
