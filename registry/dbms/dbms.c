/*
 * dbms.c - the connection: requests, and their failures in our terms.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECONNECT_MS      100
#define LOCK_MS           100
#define RETRIES           3
#define RETRIES_CERTIFIED 80 /* whoever else writes meanwhile is in the way */
#define POLL_MS           100
#define COMPARE_MS        20000 /* on average, from half to one and a half */

/* --- building a request -----------------------------------------------------
 */

void dbms_start(struct dbms *d)
{
    buf_reset(&d->sql);
    d->raised = 0;
    d->stream = d->opens = false;
    d->alone = !d->inside;
    if (d->alone) {
        buf_str(&d->sql, d->begin);
        buf_char(&d->sql, ';');
    }
}

void dbms_start_stream(struct dbms *d)
{
    dbms_start(d);
    d->stream = true;
}

void dbms_start_txn(struct dbms *d)
{
    assert(!d->inside);
    buf_reset(&d->sql);
    d->raised = 0;
    buf_str(&d->sql, d->begin);
    d->stream = d->alone = false;
    d->opens = true;
}

void dbms_hex(struct buf *sql, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = p;
    char chunk[256];

    while (n > 0) {
        size_t part = n < sizeof(chunk) / 2 ? n : sizeof(chunk) / 2;

        for (size_t i = 0; i < part; i++) {
            chunk[2 * i] = digits[bytes[i] >> 4];
            chunk[2 * i + 1] = digits[bytes[i] & 15];
        }
        buf_add(sql, chunk, 2 * part);
        bytes += part;
        n -= part;
    }
}

void dbms_feed_name(struct dbms *d, const char *last, const char *key)
{
    char name[SQL_FULL_KEY_MAX + 4];
    size_t shared = 0, whole;
    int n;

    while (last[shared] != '\0' && last[shared] == key[shared])
        shared++;
    whole = last[0] == '\0' ? 0 : shared + d->prefix_len;
    if (whole == 0 || whole > DBMS_SHARE_MAX) {
        n = snprintf(name, sizeof(name), "00%s%s%c", d->prefix, key,
                     DBMS_BREAK);
    } else {
        n = snprintf(name, sizeof(name), "%02x%s%c", (unsigned)whole,
                     key + shared, DBMS_BREAK);
    }
    assert(n > 0 && (size_t)n < sizeof(name));
    dbms_hex(&d->sql, name, (size_t)n);
}

void dbms_bytes(struct dbms *d, const void *p, size_t n)
{
    const struct dbms_words *w = d->target.driver->words;

    buf_str(&d->sql, w->bytes);
    dbms_hex(&d->sql, p, n);
    buf_str(&d->sql, w->bytes_end);
}

void dbms_text(struct dbms *d, const char *s)
{
    const struct dbms_words *w = d->target.driver->words;

    buf_str(&d->sql, w->text);
    dbms_hex(&d->sql, s, strlen(s));
    buf_str(&d->sql, w->text_end);
}

void dbms_key(struct dbms *d, const char *key)
{
    const struct dbms_words *w = d->target.driver->words;

    assert(key[0] == '/');
    buf_str(&d->sql, w->bytes);
    dbms_hex(&d->sql, d->prefix, d->prefix_len);
    dbms_hex(&d->sql, key, strlen(key));
    buf_str(&d->sql, w->bytes_end);
}

void dbms_in_next(struct dbms *d, size_t n, const char *key)
{
    const struct dbms_words *w = d->target.driver->words;

    if (n == 0) {
        buf_printf(&d->sql, " name %s%s", w->array != NULL ? "= ANY(" : "IN (",
                   w->array != NULL ? w->array : "");
    } else {
        buf_char(&d->sql, ',');
    }
    if (w->array == NULL) {
        dbms_key(d, key);
        return;
    }
    buf_str(&d->sql, w->array_item);
    dbms_hex(&d->sql, d->prefix, d->prefix_len);
    dbms_hex(&d->sql, key, strlen(key));
    buf_char(&d->sql, '"');
}

void dbms_in_end(struct dbms *d)
{
    const struct dbms_words *w = d->target.driver->words;

    buf_printf(&d->sql, "%s)", w->array != NULL ? w->array_bytes_end : "");
}

void dbms_range(struct dbms *d, const char *column, const char *key,
                bool with_prefix)
{
    char bound[SQL_FULL_KEY_MAX];
    size_t at = (size_t)snprintf(bound, sizeof(bound), "%s%s",
                                 with_prefix ? d->prefix : "", key);

    assert(at + 1 < sizeof(bound));
    if (at == 0 || bound[at - 1] != '/') /* "/" is the namespace itself */
        bound[at++] = '/';
    buf_printf(&d->sql, "%s >= ", column);
    dbms_bytes(d, bound, at);
    bound[at - 1] = '/' + 1;
    buf_printf(&d->sql, " AND %s < ", column);
    dbms_bytes(d, bound, at);
}

/* --- reading what came back --------------------------------------------------
 */

uint64_t dbms_u64(const struct dbms_cell *cell)
{
    return cell->p == NULL ? 0 : strtoull(cell->p, NULL, 10);
}

const char *dbms_strip(const struct dbms *d, const struct dbms_cell *cell,
                       size_t *len)
{
    if (cell->p == NULL || cell->n <= d->prefix_len ||
        memcmp(cell->p, d->prefix, d->prefix_len) != 0 ||
        cell->p[d->prefix_len] != '/')
        return NULL;
    *len = cell->n - d->prefix_len;
    return cell->p + d->prefix_len;
}

void dbms_push(const struct dbms *d, struct sql_rows *rows,
               const struct dbms_cell *cells)
{
    struct registry_entry *entry;
    size_t len;
    const char *key = dbms_strip(d, &cells[1], &len);

    if (key == NULL)
        return;
    entry = sql_rows_push(rows, key, len, cells[2].p, cells[2].n);
    entry->created = dbms_u64(&cells[3]);
    entry->version = dbms_u64(&cells[4]);
    entry->owner = dbms_u64(&cells[5]);
}

/* --- the connection ------------------------------------------------------- */

void dbms_disconnect(struct dbms *d)
{
    if (d->link != NULL)
        d->target.driver->close(&d->link);
    d->txn.open = d->inside = false;
}

/* One line when a server is left, and one when another is found. */
static void leave(struct dbms *d, const char *why)
{
    const struct jdbc_host *host = &d->target.url.hosts[d->target.at];

    if (!d->left) {
        d->left = true;
        log_warn("-server", LOG_S("backend", d->target.driver->name),
                 LOG_S("host", host->name), LOG_I("port", host->port),
                 LOG_S("address", d->target.address), LOG_S("reason", why));
    }
    dbms_disconnect(d);
    dbms_connect_next(&d->target);
}

static void linked(struct dbms *d)
{
    const struct dbms_target *t = &d->target;

    d->linked = clock_mono_ms();
    d->certified =
        t->driver->certifies != NULL && t->driver->certifies(d->link);
    d->core.retries = d->certified ? RETRIES_CERTIFIED : RETRIES;
    if (d->left || d->was_at != t->at || d->was_nth != t->nth) {
        log_info("+server", LOG_S("backend", t->driver->name),
                 LOG_S("host", t->url.hosts[t->at].name),
                 LOG_I("port", t->url.hosts[t->at].port),
                 LOG_S("address", t->address));
    }
    d->was_at = t->at;
    d->was_nth = t->nth;
}

/* Servers that can not be reached are not asked by each of a thousand calls
 * that wait. */
static int ensure_link(struct dbms *d, enum dbms_fault *fault, struct err *err)
{
    if (d->link != NULL)
        return 0;
    *fault = DBMS_LOST;
    if (clock_mono_ms() >= d->next_connect) {
        err_clear(&d->down);
        dbms_place_known(d);
        *fault = dbms_connect(&d->link, &d->target, &d->down);
        if (*fault == DBMS_OK) {
            linked(d);
            if (!dbms_begin_anew(d))
                return 0;
            *fault = DBMS_ROLLED_BACK;
            d->core.again = true;
            return (int)err_set(err, ERR_UNAVAILABLE,
                                "another kind of server: once more");
        }
        d->next_connect = clock_mono_ms() + RECONNECT_MS;
    }
    if (err != NULL)
        *err = d->down;
    return (int)d->down.code;
}

/* --- requests ------------------------------------------------------------- */

static enum err_code code_of(enum dbms_fault fault)
{
    switch (fault) {
    case DBMS_OK:
        return ERR_OK;
    case DBMS_DENIED:
        return ERR_DENIED;
    case DBMS_TOO_LARGE:
        return ERR_TOO_LARGE;
    case DBMS_WENT_BACK:
        return ERR_WENT_BACK;
    default:
        return ERR_UNAVAILABLE;
    }
}

/* Between the driver and whoever reads the rows. */
struct hearing {
    dbms_row_f *row;
    void *arg;
    bool begins; /* the row of `begin` is due */
    struct dbms_heard heard;
};

static void on_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    struct hearing *h = arg;

    dbms_hear(&h->heard, cells, n);
    if (h->begins) {
        assert(n >= 3);
        h->begins = false;
    } else if (!h->heard.read_only) {
        h->row(h->arg, cells, n);
    }
}

static void ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

static enum dbms_fault run_now(struct dbms *d, const char *sql)
{
    return d->target.driver->run(d->link, sql, strlen(sql), ignore_row, NULL,
                                 NULL);
}

static enum dbms_fault send(struct dbms *d, dbms_row_f *row, void *arg,
                            struct err *err)
{
    const struct dbms_driver *driver = d->target.driver;
    struct hearing h = {.row = row,
                        .arg = arg,
                        .begins = d->opens || d->alone,
                        .heard = {.raised = d->raised}};
    enum dbms_fault fault;

    if (driver->stream != NULL)
        driver->stream(d->link, d->stream);
    d->inside |= d->opens;
    fault = driver->run(d->link, d->sql.data, d->sql.len, on_row, &h, err);
    if (fault == DBMS_OK && h.heard.read_only) {
        (void)err_set(err, ERR_UNAVAILABLE, "%s: this server is read only",
                      driver->name);
        return DBMS_NOT_HERE;
    }
    return fault == DBMS_OK ? dbms_place_check(d, &h.heard, err) : fault;
}

static void after(struct dbms *d, enum dbms_fault fault, const char *why)
{
    switch (fault) {
    case DBMS_OK:
        break;
    case DBMS_NOT_HERE:
        d->core.again = true;
        leave(d, why);
        break;
    case DBMS_LOST:
        dbms_disconnect(d);
        dbms_connect_next(&d->target);
        break;
    case DBMS_WAITED: /* among Galera's nodes, for one that lags behind */
        if (d->certified)
            leave(d, why);
        break;
    case DBMS_ROLLED_BACK:
        d->core.again = true;
        d->rolled_back++;
        break;
    default:
        break;
    }
    if (fault != DBMS_OK && d->alone && d->link != NULL &&
        run_now(d, "ROLLBACK") != DBMS_OK)
        dbms_disconnect(d);
}

int dbms_run(struct dbms *d, dbms_row_f *row, void *arg,
             enum dbms_fault *fault_out, struct err *err)
{
    enum dbms_fault fault = DBMS_OK;
    struct err unwanted = {0};
    int rc;

    err = err != NULL ? err : &unwanted;
    assert(d->sql.len > 0);
    if (fault_out != NULL)
        *fault_out = DBMS_LOST;
    if (d->alone)
        buf_str(&d->sql, ";COMMIT");
    if (d->sql.overflow) {
        return (int)err_set(err, ERR_TOO_LARGE,
                            "a request of more than %u bytes", DBMS_SQL_MAX);
    }
    rc = ensure_link(d, &fault, err);
    if (rc == 0) {
        fault = send(d, row, arg, err);
        rc = (int)code_of(fault);
        err->code = (enum err_code)rc;
        /* one that does not write is left: the round says if all are so */
        err->trouble = fault == DBMS_NOT_HERE ? 0 : dbms_trouble(fault, err);
        after(d, fault, err->msg);
    }
    if (fault_out != NULL)
        *fault_out = fault;
    return rc;
}

void dbms_rollback(struct dbms *d)
{
    if (d->link != NULL && d->inside && run_now(d, "ROLLBACK") != DBMS_OK)
        dbms_disconnect(d); /* then the server does it */
    d->inside = false;
}

/* --- opening and closing -------------------------------------------------- */

static void close_(struct sql_core **core)
{
    struct dbms *d = dbms_of(*core);

    dbms_abandon(&d->core);
    dbms_disconnect(d);
    dbms_dolphin_forget(d);
    sql_rows_close(&d->own.rows);
    dbms_target_close(&d->target);
    mem_free(d->begin);
    buf_close(&d->sql);
    mem_free(d);
    *core = NULL;
}

static const struct sql_core_ops ops = {
    .begin = dbms_begin,
    .commit = dbms_end,
    .rollback = dbms_abandon,
    .savepoint = dbms_savepoint,
    .release = dbms_release,
    .revision = dbms_revision,
    .apply = dbms_apply,
    .get = dbms_get,
    .get_many = dbms_get_many,
    .exists = dbms_exists,
    .children = dbms_children,
    .list = dbms_list,
    .session_begin = dbms_session_begin,
    .session_renew = dbms_session_renew,
    .session_close = dbms_session_close,
    .sessions = dbms_sessions,
    .reap = dbms_reap,
    .lock_enqueue = dbms_lock_enqueue,
    .lock_head = dbms_lock_head,
    .lock_leave = dbms_lock_leave,
    .changed = dbms_changed,
    .feed_read = dbms_feed_read,
    .feed_skip = dbms_feed_skip,
    .sums = dbms_sums,
    .close = close_,
};

struct sql_core *dbms_core_new(struct dbms_target *target,
                               const char *namespace_, int64_t timeout_ms,
                               int64_t beat_ms)
{
    struct dbms *d = mem_zalloc(sizeof(*d));
    char host[64] = "";
    uint64_t seed;

    assert(strlen(namespace_) <= SQL_NAMESPACE_MAX);
    d->core.ops = &ops;
    d->core.poll_ms = POLL_MS;
    d->core.compare_ms = COMPARE_MS;
    d->core.beat_ms = beat_ms < timeout_ms / 3 ? beat_ms : timeout_ms / 3;
    d->core.look_ms = timeout_ms / 12 < 1000 ? timeout_ms / 12 + 1 : 1000;
    d->core.lock_ms = LOCK_MS;
    d->core.retries = RETRIES;
    d->target = *target;
    memset(target, 0, sizeof(*target));
    d->prefix_len =
        (size_t)snprintf(d->prefix, sizeof(d->prefix), "/%s", namespace_);
    memcpy(d->target.prefix, d->prefix, sizeof(d->prefix));
    d->target.all = true;
    (void)gethostname(host, sizeof(host) - 1);
    (void)snprintf(d->client, sizeof(d->client), "%s_%ld", host,
                   (long)getpid());
    d->timeout_ms = timeout_ms;
    rand_secret(&seed, sizeof(seed));
    rand_seed(&d->rand, seed);
    buf_init(&d->sql, DBMS_SQL_MAX);
    (void)dbms_begin_anew(d);
    d->dolphin.poll_ms = beat_ms;
    d->dolphin.timeout_ms = timeout_ms;
    return &d->core;
}
