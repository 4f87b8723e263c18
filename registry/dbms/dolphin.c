/*
 * dolphin.c - DolphinScheduler's own tables, read and never written.
 *
 * Its change events are hints only: they say when to look, never what is
 * there. Its processes delete the newest of them instead of the oldest, write
 * none when one of them died, and commit them out of order; ids go backwards
 * when the table was emptied. So each look reads all of its data, at the
 * latest every `poll_ms`, and what differs from the last look is told: every
 * one of these cases is the same to us, and costs nothing but the hint.
 *
 * The rows of a dead client are not there; who is dead: peers.c. Looks
 * come as often as the shortest timeout that a client states asks for.
 *
 * `created` of a row is its id, its version a hash of it.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"
#include "base/rand.h"
#include "base/table.h"

#include <stdlib.h>
#include <string.h>

#define HINT_MS 500  /* how often the events are asked for */
#define REST_MS 1000 /* at least between looks that a hint calls for */

struct dbms_row {
    UT_hash_handle hh;
    uint64_t id, client, version;
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

static void drop_row(struct dbms_dolphin *o, struct dbms_row *row)
{
    HASH_DEL(o->rows, row);
    mem_free(row);
}

/* --- rows of data -------------------------------------------------------- */

void dbms_data_parse(const struct dbms_cell *cells, struct dbms_data *out)
{
    *out = (struct dbms_data){.id = dbms_u64(&cells[1]),
                              .key = cells[2].p == NULL ? "" : cells[2].p,
                              .key_len = cells[2].n,
                              .value = cells[3].p == NULL ? "" : cells[3].p,
                              .value_len = cells[3].n,
                              .client = dbms_u64(&cells[5])};
    out->ephemeral = cells[4].n == 9 && memcmp(cells[4].p, "EPHEMERAL", 9) == 0;
    out->version = hash_mix(hash_quick(out->value, out->value_len) ^
                            (out->id * 31 + out->client));
    out->version += out->version == 0;
}

void dbms_data_push(struct sql_rows *rows, const struct dbms_data *data)
{
    struct registry_entry *entry = sql_rows_push(rows, data->key, data->key_len,
                                                 data->value, data->value_len);

    assert(data->version != 0);
    entry->created = data->id;
    entry->version = data->version;
    entry->owner = data->ephemeral ? data->client : 0;
}

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

/* --- clients ------------------------------------------------------------- */

/* {"sessionTimeout":60000}; what we cannot read is our own timeout. */
int64_t dbms_config_timeout(const struct dbms *d, const struct dbms_cell *cell)
{
    static const char name[] = "\"sessionTimeout\"";
    const char *at = cell->p == NULL ? NULL : strstr(cell->p, name);
    long long ms;

    if (at == NULL)
        return d->dolphin.timeout_ms;
    at += strlen(name);
    at += strspn(at, " :\"");
    ms = strtoll(at, NULL, 10);
    return ms > 0 && ms <= 86400000 ? ms : d->dolphin.timeout_ms;
}

/* --- a look -------------------------------------------------------------- */

struct look {
    struct dbms *d;
    mono_ms now;
    sql_wanted_f *wanted; /* NULL: tell nothing */
    const void *arg;
    struct sql_rows *rows;
    struct sql_rows values; /* of rows that changed, alive or not */
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
    row->look = o->look;
    row->fresh = false;
    if (row->id == data.id && row->client == data.client &&
        row->version == data.version)
        return;
    row->id = data.id;
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
                       dbms_config_timeout(look->d, &cells[3]), look->now);
    } else {
        o->last_event = dbms_u64(&cells[1]);
    }
}

/* Data first: whoever has data had a heartbeat before. */
static int read_all(struct dbms *d, struct look *look, struct err *err)
{
    const char *key_of = d->target.driver->syntax->key_of;

    assert(!d->inside);
    d->dolphin.look++;
    d->dolphin.next_row = d->dolphin.rows;
    d->dolphin.next_peer = d->dolphin.peers;
    dbms_start_stream(d);
    buf_str(&d->sql, "SELECT 'E', max(id) FROM"
                     " t_ds_jdbc_registry_data_change_event;"
                     "SELECT 'D', " DBMS_DATA_COLUMNS
                     " FROM t_ds_jdbc_registry_data WHERE ");
    dbms_range(d, key_of, DBMS_NODES, false);
    buf_str(&d->sql, ";SELECT 'C', id, last_heartbeat_time, connection_config"
                     " FROM t_ds_jdbc_registry_client_heartbeat");
    return dbms_run(d, on_row, look, NULL, err);
}

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
    o->followed = o->broken = o->due = false;
    assert(o->rows == NULL);
}
