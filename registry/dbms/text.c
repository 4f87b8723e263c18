/*
 * text.c - the pieces of a request as text, and the cells of an answer: the
 * bottom of this folder, which calls nothing else of it.
 */
#include "registry/dbms/dbms_priv.h"

#include "base/pack/base64.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- building a request -------------------------------------------------- */

void dbms_hex(struct buf *sql, const void *p, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = p;
    char chunk[256];

    assert(p != NULL || n == 0);
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

void dbms_feed_name(const struct dbms *d, struct buf *names, const char *last,
                    const char *key)
{
    char name[SQL_FULL_KEY_MAX + 4];
    size_t shared = 0, whole;
    int n;

    assert(key[0] == '/');
    assert(last[0] == '\0' || last[0] == '/');
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
    buf_add(names, name, (size_t)n);
}

/* Printable, without what may end a literal or a statement in any mode of a
 * server, or is more than a byte in any character set. */
static bool is_plain(const void *p, size_t n)
{
    const unsigned char *bytes = p;

    for (size_t i = 0; i < n; i++)
        if ((bytes[i] < ' ' && bytes[i] != '\n') || bytes[i] > '~' ||
            bytes[i] == '\'' || bytes[i] == '\\' || bytes[i] == ';')
            return false;
    return true;
}

/* `n` bytes behind the namespace, or without it, as `begin` ... `end`. */
static void add_literal(struct dbms *d, const char *begin, bool with_prefix,
                        const void *p, size_t n, const char *end)
{
    buf_str(&d->sql, begin);
    if (with_prefix)
        dbms_hex(&d->sql, d->prefix, d->prefix_len);
    dbms_hex(&d->sql, p, n);
    buf_str(&d->sql, end);
}

void dbms_bytes(struct dbms *d, const void *p, size_t n)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(p != NULL || n == 0);
    if (w->plain == NULL || n == 0) {
        add_literal(d, w->bytes, false, p, n, w->bytes_end);
    } else if (is_plain(p, n)) {
        buf_str(&d->sql, w->plain);
        buf_add(&d->sql, p, n);
        buf_str(&d->sql, w->plain_end);
    } else {
        buf_str(&d->sql, w->base64);
        base64_write(&d->sql, p, n);
        buf_str(&d->sql, w->base64_end);
    }
}

void dbms_feed_row(struct dbms *d, uint64_t revision, size_t part,
                   const struct buf *names)
{
    assert(!names->overflow);
    buf_printf(&d->sql,
               "INSERT INTO pelorus_change(rev,part,names)VALUES(%" PRIu64
               ",%zu,",
               revision, part);
    dbms_bytes(d, names->data, names->len);
    buf_char(&d->sql, ')');
}

void dbms_text(struct dbms *d, const char *s)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(s != NULL);
    add_literal(d, w->text, false, s, strlen(s), w->text_end);
}

void dbms_key(struct dbms *d, const char *key)
{
    const struct dbms_syntax *w = d->target.driver->syntax;
    char name[SQL_FULL_KEY_MAX];
    size_t len = strlen(key);

    assert(key[0] == '/');
    assert(d->prefix_len + len <= sizeof(name));
    if (w->plain == NULL) {
        add_literal(d, w->bytes, true, key, len, w->bytes_end);
        return;
    }
    memcpy(name, d->prefix, d->prefix_len);
    memcpy(name + d->prefix_len, key, len);
    dbms_bytes(d, name, d->prefix_len + len);
}

void dbms_in_next(struct dbms *d, size_t n, const char *key)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(key[0] == '/');
    assert(n < DBMS_IN_MAX);
    if (n > 0)
        buf_char(&d->sql, ',');
    else
        buf_printf(&d->sql, " name %s%s", w->array != NULL ? "= ANY(" : "IN (",
                   w->array != NULL ? w->array : "");
    if (w->array == NULL)
        dbms_key(d, key);
    else
        add_literal(d, w->array_item, true, key, strlen(key), "\"");
}

void dbms_in_end(struct dbms *d)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(d->sql.len > 0);
    buf_printf(&d->sql, "%s)", w->array != NULL ? w->array_bytes_end : "");
}

void dbms_range(struct dbms *d, const char *column, const char *key,
                bool with_prefix)
{
    char bound[SQL_FULL_KEY_MAX];
    size_t at = (size_t)snprintf(bound, sizeof(bound), "%s%s",
                                 with_prefix ? d->prefix : "", key);

    assert(key != NULL);
    assert(at + 1 < sizeof(bound));
    if (at == 0 || bound[at - 1] != '/') /* "/" is the namespace itself */
        bound[at++] = '/';
    buf_printf(&d->sql, "%s >= ", column);
    dbms_bytes(d, bound, at);
    bound[at - 1] = '/' + 1;
    buf_printf(&d->sql, " AND %s < ", column);
    dbms_bytes(d, bound, at);
}

/* --- reading what came back ---------------------------------------------- */

void dbms_ignore_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)arg;
    (void)cells;
    (void)n;
}

void dbms_any_row(void *arg, const struct dbms_cell *cells, unsigned n)
{
    (void)cells;
    (void)n;
    *(bool *)arg = true;
}

bool dbms_is_off(const struct dbms_cell *cell)
{
    static const char *const words[] = {"0", "off", "OFF"};

    for (size_t i = 0; cell->p != NULL && i < ARRAY_LEN(words); i++)
        if (strlen(words[i]) == cell->n &&
            memcmp(words[i], cell->p, cell->n) == 0)
            return true;
    return false;
}

uint64_t dbms_u64(const struct dbms_cell *cell)
{
    return cell->p == NULL ? 0 : strtoull(cell->p, NULL, 10);
}

uint64_t dbms_i64(const struct dbms_cell *cell)
{
    return cell->p == NULL ? 0 : (uint64_t)strtoll(cell->p, NULL, 10);
}

const char *dbms_strip(const struct dbms *d, const struct dbms_cell *cell,
                       size_t *len)
{
    assert(d->prefix_len > 0);
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

/* --- of DolphinScheduler's tables --------------------------------------- */

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
