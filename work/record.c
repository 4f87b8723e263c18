/*
 * record.c - names, keys, markers and the epoch floor.
 *
 * Keys are built here and nowhere else. One that would be too long comes out
 * empty instead of cut: a cut key could be somebody else's.
 */
#include "work/record_priv.h"

#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *const work_state_names[] = {
    [WORK_ASSIGNED] = "assigned", [WORK_WAITING] = "waiting",
    [WORK_HELD] = "held",         [WORK_DONE] = "done",
    [WORK_DROPPED] = "dropped",
};

const char *const work_policy_names[] = {
    [WORK_REASSIGN] = "reassign",
    [WORK_HOLD] = "hold",
    [WORK_DROP] = "drop",
};

int work_record_name(const char *const *names, size_t n, const char *name)
{
    assert(names != NULL && n > 0);
    for (size_t i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

const char *work_state_name(enum work_state s)
{
    assert((size_t)s < ARRAY_LEN(work_state_names));
    return work_state_names[s];
}

int work_policy_parse(const char *name, enum work_policy *out)
{
    int i =
        work_record_name(work_policy_names, ARRAY_LEN(work_policy_names), name);

    if (i < 0)
        return (int)ERR_INVALID;
    *out = (enum work_policy)i;
    return 0;
}

int work_check_id(const char *id, struct err *err)
{
    size_t len = strlen(id);
    size_t good = strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                             "abcdefghijklmnopqrstuvwxyz0123456789._-");

    if (len == 0 || len > WORK_ID_MAX) {
        return err_set(err, ERR_INVALID,
                       "a work id has 1 to %d characters, not %zu", WORK_ID_MAX,
                       len);
    }
    if (good < len) {
        return err_set(err, ERR_INVALID,
                       "work id: character %zu is none of "
                       "A-Z a-z 0-9 . _ -",
                       good + 1);
    }
    /* The registry has no such keys. */
    if (strcmp(id, ".") == 0 || strcmp(id, "..") == 0)
        return err_set(err, ERR_INVALID, "\"%s\" cannot be a work id", id);
    return 0;
}

/* --- keys ---------------------------------------------------------------- */

static char *make_key(char *out, const char *fmt, ...) PRINTF_LIKE(2, 3);
static char *make_key(char *out, const char *fmt, ...)
{
    va_list ap;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(out, REGISTRY_KEY_MAX + 1, fmt, ap);
    va_end(ap);
    assert(n > 0);
    if (n > REGISTRY_KEY_MAX)
        out[0] = '\0';
    return out;
}

char *work_key(const char *id, char *out)
{
    return make_key(out, WORK_PREFIX "/%s", id);
}

bool work_is_nobody(const char *address)
{
    return strcmp(address, WORK_NOBODY) == 0;
}

char *work_marker_key(enum node_kind kind, const char *address, const char *id,
                      char *out)
{
    return make_key(out, MARKER_PREFIX "/%s/%s/%s", node_kind_name(kind),
                    address == NULL ? WORK_NOBODY : address, id);
}

char *work_marker_prefix(enum node_kind kind, const char *address, char *out)
{
    return make_key(out, MARKER_PREFIX "/%s/%s", node_kind_name(kind),
                    address == NULL ? WORK_NOBODY : address);
}

char *work_failover_key(const char *id, char *out)
{
    return make_key(out, FAILOVER_PREFIX "/%s", id);
}

/* --- markers ------------------------------------------------------------- */

#define RECORD marker
static const struct field marker_fields[] = {
    FIELD("epoch", UINT, epoch, .required = true, .max = EPOCH_MAX),
    FIELD("process", PROCESS, process, .sparse = true),
    FIELD("held", BOOL, held, .sparse = true),
};
static const struct record marker_record = RECORD_OF(marker_fields);
#undef RECORD

/* The next part of a key, up to its slash or end, into `out`. */
static bool key_part(const char **key, char *out, size_t size)
{
    size_t n = strcspn(*key, "/");

    if (n == 0 || n >= size)
        return false;
    memcpy(out, *key, n);
    out[n] = '\0';
    *key += n;
    return true;
}

int work_marker_key_parse(const char *key, struct marker *out)
{
    char kind[16];
    size_t n = strlen(MARKER_PREFIX "/");

    *out = (struct marker){0};
    if (strncmp(key, MARKER_PREFIX "/", n) != 0)
        return (int)ERR_INVALID;
    key += n;
    if (!key_part(&key, kind, sizeof(kind)) || *key++ != '/' ||
        node_kind_parse(kind, &out->kind) != 0 ||
        out->kind == NODE_ALERT_SERVER ||
        !key_part(&key, out->address, sizeof(out->address)) || *key++ != '/' ||
        !key_part(&key, out->id, sizeof(out->id)) || *key != '\0' ||
        work_check_id(out->id, NULL) != 0)
        return (int)ERR_INVALID;
    return work_is_nobody(out->address)
               ? 0
               : node_check_address(out->address, NULL);
}

int work_marker_read(struct marker *out, const struct registry_entry *entry,
                     struct err *err)
{
    int rc;

    if (work_marker_key_parse(entry->key, out) != 0) {
        return err_set(err, ERR_INVALID, "%s: not the key of a marker",
                       entry->key);
    }
    out->version = entry->version;
    rc = work_record_read(&marker_record, entry->value, entry->value_len, out,
                          err);
    if (rc == 0 && out->epoch == 0)
        rc = err_set(err, ERR_INVALID, "`epoch` is 0");
    if (rc == 0 && !out->process.known && !work_is_nobody(out->address))
        rc = err_set(err, ERR_INVALID, "`process` is missing");
    if (rc != 0)
        err_wrap(err, "marker %s", entry->key);
    return rc;
}

void work_marker_write(struct buf *out, const struct marker *m)
{
    assert(m->epoch > 0);
    json_open(out, NULL, '{');
    work_record_write(&marker_record, out, m);
    json_close(out, '}');
}

void work_marker_of(struct marker *out, const struct work_item *w)
{
    assert(w->state == WORK_ASSIGNED || w->state == WORK_WAITING ||
           w->state == WORK_HELD);
    *out = (struct marker){
        .kind = w->kind, .epoch = w->epoch, .held = w->state == WORK_HELD};
    memcpy(out->id, w->id, sizeof(out->id));
    if (w->state == WORK_ASSIGNED) {
        memcpy(out->address, w->owner, sizeof(out->address));
        out->process = w->process;
    } else {
        memcpy(out->address, WORK_NOBODY, sizeof(WORK_NOBODY));
    }
}

/* --- the floor ----------------------------------------------------------- */

int work_epoch_floor_read(const char *value, size_t len, uint64_t *out,
                          struct err *err)
{
    char text[24];

    if (len < sizeof(text)) {
        memcpy(text, value, len);
        text[len] = '\0';
        if (strlen(text) == len && units_uint(text, EPOCH_MAX, out, NULL) == 0)
            return 0;
    }
    return err_set(err, ERR_INVALID,
                   EPOCH_FLOOR_KEY ": not a number up to %" PRIu64, EPOCH_MAX);
}

void work_epoch_floor_write(struct buf *out, uint64_t floor)
{
    assert(floor <= EPOCH_MAX);
    buf_printf(out, "%" PRIu64, floor);
}
