/*
 * backup_file.c - a backup's file. Design: a reader that believes nothing:
 * every line and the whole are checked before anybody gets to see one key.
 */
#include "restore/backup.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT    1
#define OURS      "/pelorus"
#define LINE_MAX_ ((size_t)8 * REGISTRY_VALUE_MAX)

bool restore_backup_has(const char *key)
{
    static const char *const without[] = {HISTORY_PREFIX, MARKER_PREFIX,
                                          OURS "/nodes", OURS "/coordinators",
                                          OURS "/registrations"};
    for (size_t i = 0; i < ARRAY_LEN(without); i++)
        if (strcmp(key, without[i]) == 0 || registry_key_below(key, without[i]))
            return false;
    return registry_key_below(key, OURS);
}

/* --- writing ------------------------------------------------------------- */

struct backup_file {
    FILE *out;
    char *path, *tmp;
    struct buf line;
    uint64_t checksum;
    size_t keys;
};

static int failed(struct backup_file *f, struct err *err)
{
    return err_errno(
        err, errno,
        "%s: it cannot be written (name a file in a directory that is there)",
        f->tmp);
}

static int put_line(struct backup_file *f, bool counts, struct err *err)
{
    assert(!f->line.overflow);
    buf_char(&f->line, '\n');
    if (counts)
        f->checksum = hash_bytes(f->line.data, f->line.len, f->checksum);
    bool whole = fwrite(f->line.data, 1, f->line.len, f->out) == f->line.len;
    buf_reset(&f->line);
    return whole ? 0 : failed(f, err);
}

static int put_header(struct backup_file *f, const struct backup_facts *facts,
                      struct err *err)
{
    char place[HISTORY_PLACE_SIZE];
    struct buf history;
    assert(f->keys == 0);
    buf_init(&history, REGISTRY_VALUE_MAX);
    if (facts->has_history)
        registry_history_write(&history, &facts->history);
    else
        buf_str(&history, "null");
    json_open(&f->line, NULL, '{');
    json_put_int(&f->line, "pelorus-backup", FORMAT);
    json_put_str(&f->line, "version", PELORUS_VERSION);
    json_put_str(&f->line, "registry", facts->registry);
    json_put_str(&f->line, "namespace", facts->namespace_);
    json_put_str(&f->line, "taken", facts->taken);
    json_put_str(&f->line, "place", registry_place_text(&facts->place, place));
    json_put_raw(&f->line, "history", buf_text(&history));
    json_close(&f->line, '}');
    buf_close(&history);
    return put_line(f, true, err);
}

int restore_file_new(struct backup_file **out, const char *path,
                     const struct backup_facts *facts, struct err *err)
{
    struct backup_file *f = mem_zalloc(sizeof(*f));
    f->path = mem_strdup(path);
    f->tmp = mem_printf("%s.tmp", path);
    buf_init(&f->line, LINE_MAX_);
    /* What is in it may be nobody else's business, and what stands there may
     * be somebody's link. */
    (void)unlink(f->tmp);
    int fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd >= 0)
        f->out = fdopen(fd, "w");
    int rc = f->out == NULL ? failed(f, err) : put_header(f, facts, err);
    if (rc != 0)
        restore_file_drop(&f);
    *out = f;
    return rc;
}

/* Text that JSON gives back byte for byte. */
static bool is_text(const char *value, size_t len)
{
    for (size_t i = 0; i < len;) {
        size_t n = json_utf8(value + i, len - i);
        if (n == 0 || value[i] == '\0')
            return false;
        i += n;
    }
    return true;
}

int restore_file_add(struct backup_file *f, const char *key, const char *value,
                     size_t value_len, struct err *err)
{
    assert(f->line.len == 0);
    json_open(&f->line, NULL, '{');
    json_put_str(&f->line, "key", key);
    if (is_text(value, value_len)) {
        buf_str(&f->line, ",\"value\":");
        json_quote(&f->line, value, value_len);
    } else {
        buf_str(&f->line, ",\"hex\":\"");
        for (size_t i = 0; i < value_len; i++)
            buf_printf(&f->line, "%02x", (unsigned char)value[i]);
        buf_char(&f->line, '"');
    }
    json_close(&f->line, '}');
    f->keys++;
    return put_line(f, true, err);
}

int restore_file_end(struct backup_file **file, struct err *err)
{
    struct backup_file *f = *file;
    char sum[17];
    assert(f->line.len == 0);
    (void)snprintf(sum, sizeof(sum), "%016" PRIx64, f->checksum);
    json_open(&f->line, NULL, '{');
    json_put_u64(&f->line, "keys", f->keys);
    json_put_str(&f->line, "checksum", sum);
    json_close(&f->line, '}');
    int rc = put_line(f, false, err);
    if (rc == 0 && (fflush(f->out) != 0 || fsync(fileno(f->out)) != 0))
        rc = failed(f, err);
    if (rc == 0 && rename(f->tmp, f->path) != 0)
        rc = err_errno(err, errno, "%s: it cannot be given its name", f->tmp);
    if (rc == 0) {
        (void)file_sync_name(f->path); /* some file systems cannot */
        MEM_FREE(f->tmp);              /* not to be removed any more */
    }
    restore_file_drop(file);
    return rc;
}

void restore_file_drop(struct backup_file **file)
{
    struct backup_file *f = *file;
    if (f == NULL)
        return;
    if (f->out != NULL) {
        (void)fclose(f->out);
        if (f->tmp != NULL)
            (void)unlink(f->tmp);
    }
    buf_close(&f->line);
    mem_free(f->path);
    mem_free(f->tmp);
    MEM_FREE(*file);
}

/* --- reading ------------------------------------------------------------- */

struct reader {
    struct backup *b;
    const char *path;
    size_t line;
    uint64_t checksum;
    bool ended;
};

static int wrong(const struct reader *r, struct err *err, const char *what)
{
    return err_set(err, ERR_INVALID, "%s:%zu: %s", r->path, r->line, what);
}

static void take_text(const struct json *o, const char *name, char *out,
                      size_t size)
{
    const char *text = json_str(o, name);
    (void)snprintf(out, size, "%s", text != NULL ? text : "");
}

static int read_header(struct reader *r, const struct json *o, struct err *err)
{
    struct backup_facts *f = &r->b->facts;
    const struct json *history = json_get(o, "history");
    const char *place = json_str(o, "place");
    int64_t format = json_int(o, "pelorus-backup", 0);
    int rc = 0;
    assert(r->line == 1);
    if (format == 0)
        return wrong(r, err, "this is no backup of pelorus");
    if (format != FORMAT)
        return wrong(
            r, err, "a backup of a later version; use that one to put it back");
    take_text(o, "registry", f->registry, sizeof(f->registry));
    take_text(o, "namespace", f->namespace_, sizeof(f->namespace_));
    take_text(o, "taken", f->taken, sizeof(f->taken));
    if (place == NULL || registry_place_parse(place, &f->place, NULL) != 0)
        return wrong(r, err, "no `place` that can be read");
    if (json_is(history, JSON_OBJECT)) {
        rc = registry_history_read(&f->history, history->text, history->len,
                                   err);
        f->has_history = rc == 0;
    }
    return rc == 0 ? 0 : wrong(r, err, "a `history` that cannot be read");
}

/* In place; false: it is none. */
static bool from_hex(char *text, size_t *len)
{
    size_t n = strlen(text) / 2;
    if (strlen(text) != 2 * n ||
        strspn(text, "0123456789abcdef") != strlen(text))
        return false;
    for (size_t i = 0; i < n; i++) {
        const char byte[3] = {text[2 * i], text[2 * i + 1], '\0'};
        text[i] = (char)strtoul(byte, NULL, 16);
    }
    *len = n;
    return true;
}

void restore_backup_add(struct backup *b, const char *key, const char *value,
                        size_t value_len)
{
    if (b->n == b->cap) {
        b->cap = b->cap == 0 ? 256 : b->cap * 2;
        b->entries = mem_regrow(b->entries, b->cap, sizeof(*b->entries));
    }
    assert(b->n < b->cap);
    b->entries[b->n++] =
        (struct backup_entry){.key = mem_strdup(key),
                              .value = mem_dup(value, value_len),
                              .value_len = value_len};
}

static int count(struct reader *r, const struct backup_entry *e,
                 struct err *err)
{
    struct backup *b = r->b;
    struct failover_record record;
    struct work_item w;
    uint64_t floor;
    assert(r->b->n > 0);
    if (strcmp(e->key, EPOCH_FLOOR_KEY) == 0) {
        if (work_epoch_floor_read(e->value, e->value_len, &floor, err) != 0)
            return wrong(r, err, "the floor of the epochs cannot be read");
        keep_highest(&b->epoch, floor);
    } else if (registry_key_below(e->key, FAILOVER_PREFIX)) {
        if (work_failover_read(&record, e->value, e->value_len, NULL) == 0)
            keep_highest(&b->fence, record.fence);
    } else if (registry_key_below(e->key, WORK_PREFIX)) {
        b->items++;
        if (work_item_read(&w, e->value, e->value_len, NULL) != 0) {
            b->unreadable++;
            return 0;
        }
        bool same = strcmp(w.id, e->key + sizeof(WORK_PREFIX)) == 0;
        keep_highest(&b->epoch, w.epoch);
        b->unfinished += !work_state_final(w.state);
        work_item_close(&w);
        if (!same)
            return wrong(r, err, "the item's id is not the key's");
    }
    return 0;
}

static int read_key(struct reader *r, const struct json *o, struct err *err)
{
    const char *key = json_str(o, "key"), *value = json_str(o, "value"),
               *hex = json_str(o, "hex");
    if (key == NULL || (value == NULL) == (hex == NULL))
        return wrong(r, err, "neither a key with its value nor the end");
    if (registry_check_key(key, err) != 0 || !restore_backup_has(key))
        return wrong(r, err, "a key that a backup does not have");
    restore_backup_add(r->b, key, value != NULL ? value : hex,
                       strlen(value != NULL ? value : hex) + 1);
    struct backup_entry *e = &r->b->entries[r->b->n - 1];
    e->value_len--; /* without its end */
    if (value == NULL && !from_hex(e->value, &e->value_len))
        return wrong(r, err, "`hex` is no hexadecimal text");
    if (e->value_len == 0 || e->value_len > REGISTRY_VALUE_MAX)
        return wrong(r, err, "a value that no registry takes");
    return count(r, e, err);
}

static int read_end(struct reader *r, const struct json *o, struct err *err)
{
    char sum[17];
    assert(!r->ended);
    (void)snprintf(sum, sizeof(sum), "%016" PRIx64, r->checksum);
    r->ended = true;
    if (json_u64(o, "keys", UINT64_MAX) != r->b->n)
        return wrong(r, err, "keys are missing");
    if (strcmp(json_str(o, "checksum"), sum) != 0)
        return wrong(r, err, "the checksum is another: the file was changed");
    return 0;
}

static int read_line(struct reader *r, const char *line, size_t len,
                     struct err *err)
{
    const struct json *o = NULL;
    int rc;
    if (r->ended)
        return wrong(r, err, "something stands behind the end");
    if (len == 0 || line[len - 1] != '\n')
        return wrong(r, err, "the file was cut off here");
    if (json_parse(line, len - 1, &o, err) != 0 || !json_is(o, JSON_OBJECT)) {
        json_free(o);
        return wrong(
            r, err,
            "no JSON object; is this what `pelorus registry backup` wrote?");
    }
    if (r->line == 1)
        rc = read_header(r, o, err);
    else if (json_str(o, "checksum") != NULL)
        rc = read_end(r, o, err);
    else
        rc = read_key(r, o, err);
    r->checksum = hash_bytes(line, len, r->checksum);
    json_free(o);
    return rc;
}

static int by_key(const void *a, const void *b)
{
    const struct backup_entry *x = a, *y = b;
    return strcmp(x->key, y->key);
}

/* Sorted, and each key once. */
static int order(struct backup *b, const char *path, struct err *err)
{
    if (b->n > 0)
        qsort(b->entries, b->n, sizeof(*b->entries), by_key);
    for (size_t i = 1; i < b->n; i++) {
        if (strcmp(b->entries[i - 1].key, b->entries[i].key) == 0)
            return err_set(err, ERR_INVALID, "%s: %s stands in it twice", path,
                           b->entries[i].key);
    }
    return 0;
}

static int read_all(struct reader *r, FILE *in, struct err *err)
{
    char *line = NULL;
    size_t size = 0;
    ssize_t len;
    int rc = 0;
    while (rc == 0 && (len = getline(&line, &size, in)) > 0) {
        r->line++;
        rc = read_line(r, line, (size_t)len, err);
    }
    free(line);
    if (rc == 0 && ferror(in))
        rc = err_errno(err, errno, "%s", r->path);
    if (rc == 0 && !r->ended)
        rc = wrong(r, err,
                   r->line == 0 ? "the file is empty"
                                : "the file was cut off here");
    return rc;
}

int restore_backup_read(struct backup **out, const char *path, struct err *err)
{
    struct reader r = {.path = path};
    FILE *in = fopen(path, "re");
    int rc;
    *out = NULL;
    if (in == NULL)
        return err_errno(err, errno, "%s", path);
    r.b = mem_zalloc(sizeof(*r.b));
    rc = read_all(&r, in, err);
    (void)fclose(in);
    if (rc == 0)
        rc = order(r.b, path, err);
    if (rc != 0)
        restore_backup_free(&r.b);
    *out = r.b;
    return rc;
}

void restore_backup_clear(struct backup *b)
{
    for (size_t i = 0; i < b->n; i++) {
        mem_free(b->entries[i].key);
        mem_free(b->entries[i].value);
    }
    MEM_FREE(b->entries);
    b->n = b->cap = 0;
}

void restore_backup_free(struct backup **b)
{
    if (*b == NULL)
        return;
    restore_backup_clear(*b);
    MEM_FREE(*b);
}
