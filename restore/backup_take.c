/*
 * backup_take.c - reads our keys and writes them into a file. Design: all but
 * the items is read, then the items into the file, then all but the items once
 * more. If that is as it was, nothing stood between two items but their own
 * changes, which do not depend on each other: the file is a state that the
 * registry may have had. Else it is begun again.
 */
#include "restore/backup.h"

#include "base/mem.h"
#include "base/rand.h"

#include <string.h>

#define OURS        "/pelorus"
#define AGAIN_MS    200
#define PATIENCE_MS 60000

struct backup_take {
    struct registry *registry;
    const struct clock *clock;
    char *path;
    struct backup kept; /* all but the items */
    backup_taken_f *done;
    void *arg;
    mono_ms deadline, retry_at;
    bool deferred;
    struct err trouble;
    struct backup_file *file;
    size_t items;
    /* names below OURS, one after the other */
    bool second; /* time */
    char **names;
    size_t n_names, at;
    char prefix[REGISTRY_KEY_MAX + 1];
    char *next;
    uint64_t digest, before;
};

static void drop_names(struct backup_take *t)
{
    for (size_t i = 0; i < t->n_names; i++)
        mem_free(t->names[i]);
    MEM_FREE(t->names);
    t->n_names = t->at = 0;
}

static void clear(struct backup_take *t)
{
    registry_forget(t->registry, t);
    restore_file_drop(&t->file);
    drop_names(t);
    restore_backup_clear(&t->kept);
    MEM_FREE(t->next);
    assert(t->file == NULL && t->kept.entries == NULL);
    t->items = 0;
    t->kept.facts.has_history = t->second = false;
}

void restore_take_free(struct backup_take **out)
{
    struct backup_take *t = *out;
    if (t == NULL)
        return;
    clear(t);
    mem_free(t->path);
    MEM_FREE(*out);
}

static void finish(struct backup_take *t, const struct err *err)
{
    size_t keys = t->kept.n + t->items, items = t->items;
    struct err why = *err;
    assert(t->done != NULL);
    clear(t);
    t->deferred = false;
    t->deadline = INT64_MAX;
    t->done(t->arg, &why, keys, items);
}

static void retry(struct backup_take *t, const struct err *err)
{
    assert(err->code != ERR_OK);
    assert(!t->deferred);
    if (err->code == ERR_DENIED || err->code == ERR_INVALID ||
        err->code == ERR_IO || err->code == ERR_CANCELLED) {
        finish(t, err);
        return;
    }
    t->trouble = *err;
    clear(t);
    t->deferred = true;
    t->retry_at = t->clock->mono + AGAIN_MS;
}

/* --- all but the items --------------------------------------------------- */

static void next_name(struct backup_take *t);
static void others_read(struct backup_take *t);

static int note(struct backup_take *t, const struct registry_entry *e,
                struct err *err)
{
    bool history = strcmp(e->key, HISTORY_KEY) == 0;
    assert(t->n_names > 0);
    if (e->owner != 0 || (!history && !restore_backup_has(e->key)) ||
        registry_key_below(e->key, WORK_PREFIX))
        return 0;
    t->digest = hash_str(e->key, t->digest);
    t->digest = hash_bytes(&e->version, sizeof(e->version), t->digest);
    t->digest = hash_bytes(&e->created, sizeof(e->created), t->digest);
    if (t->second)
        return 0;
    if (!history) {
        restore_backup_add(&t->kept, e->key, e->value, e->value_len);
        return 0;
    }
    t->kept.facts.has_history = true;
    return registry_history_read(&t->kept.facts.history, e->value, e->value_len,
                                 err);
}

static int note_all(struct backup_take *t, const struct registry_reply *reply,
                    struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < reply->n_entries && rc == 0; i++)
        rc = note(t, &reply->entries[i], err);
    return rc;
}

static bool read_of(struct backup_take *t, const struct registry_reply *reply)
{
    struct err err = reply->err;
    if (err.code == ERR_OK && note_all(t, reply, &err) != 0)
        err.code = ERR_INVALID;
    if (err.code == ERR_OK || err.code == ERR_NOT_FOUND)
        return true;
    retry(t, &err);
    return false;
}

static void on_below(void *arg, const struct registry_reply *reply)
{
    struct backup_take *t = arg;
    assert(t->prefix[0] != '\0');
    if (!read_of(t, reply))
        return;
    MEM_FREE(t->next);
    t->next = mem_strdup(reply->next);
    if (t->next == NULL)
        next_name(t);
    else
        registry_list(t->registry, t->prefix, t->next, REGISTRY_PAGE_MAX,
                      on_below, t);
}

static void on_itself(void *arg, const struct registry_reply *reply)
{
    struct backup_take *t = arg;
    assert(t->next == NULL);
    if (read_of(t, reply))
        registry_list(t->registry, t->prefix, NULL, REGISTRY_PAGE_MAX, on_below,
                      t);
}

static void next_name(struct backup_take *t)
{
    assert(t->at <= t->n_names);
    while (t->at < t->n_names) {
        const char *name = t->names[t->at++];
        (void)snprintf(t->prefix, sizeof(t->prefix), OURS "/%s", name);
        if (strcmp(t->prefix, WORK_PREFIX) == 0 ||
            (!restore_backup_has(t->prefix) &&
             strcmp(t->prefix, HISTORY_PREFIX) != 0))
            continue;
        registry_get(t->registry, t->prefix, on_itself, t);
        return;
    }
    others_read(t);
}

static void on_names(void *arg, const struct registry_reply *reply)
{
    struct backup_take *t = arg;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        retry(t, &reply->err);
        return;
    }
    assert(t->names == NULL && t->n_names == 0);
    t->names = mem_array(reply->n_entries + 1, sizeof(*t->names));
    for (size_t i = 0; i < reply->n_entries; i++)
        t->names[t->n_names++] = mem_strdup(reply->entries[i].key);
    next_name(t);
}

static void read_others(struct backup_take *t)
{
    assert(!t->deferred);
    drop_names(t);
    t->digest = 0;
    registry_children(t->registry, OURS, on_names, t);
}

/* --- the items ----------------------------------------------------------- */

static void on_items(void *arg, const struct registry_reply *reply)
{
    struct backup_take *t = arg;
    struct err err = reply->err;
    assert(t->file != NULL && !t->second);
    if (err.code != ERR_OK && err.code != ERR_NOT_FOUND) {
        retry(t, &err);
        return;
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *e = &reply->entries[i];
        if (restore_file_add(t->file, e->key, e->value, e->value_len, &err) !=
            0) {
            finish(t, &err);
            return;
        }
        t->items++;
    }
    if (reply->next != NULL) {
        registry_list(t->registry, WORK_PREFIX, reply->next, REGISTRY_PAGE_MAX,
                      on_items, t);
        return;
    }
    t->second = true;
    read_others(t);
}

static int begin_file(struct backup_take *t, struct err *err)
{
    assert(t->file == NULL);
    t->kept.facts.place = *registry_place(t->registry);
    if (t->kept.facts.has_history)
        memcpy(t->kept.facts.place.incarnation,
               t->kept.facts.history.incarnation, HISTORY_ID_SIZE);
    int rc = restore_file_new(&t->file, t->path, &t->kept.facts, err);
    for (size_t i = 0; i < t->kept.n && rc == 0; i++) {
        const struct backup_entry *e = &t->kept.entries[i];
        rc = restore_file_add(t->file, e->key, e->value, e->value_len, err);
    }
    return rc;
}

static void others_read(struct backup_take *t)
{
    struct err err;
    assert(t->at == t->n_names);
    err_clear(&err);
    if (!t->second) {
        t->before = t->digest;
        if (begin_file(t, &err) != 0) {
            finish(t, &err);
            return;
        }
        registry_list(t->registry, WORK_PREFIX, NULL, REGISTRY_PAGE_MAX,
                      on_items, t);
        return;
    }
    if (t->digest != t->before) {
        err_set(&err, ERR_CONFLICT,
                "gates, failovers or settings change all the time; try "
                "again when the cluster is at rest");
        retry(t, &err);
        return;
    }
    if (restore_file_end(&t->file, &err) == 0)
        err_clear(&err);
    finish(t, &err);
}

/* --- life ---------------------------------------------------------------- */

struct backup_take *restore_take_new(struct registry *r,
                                     const struct clock *clock,
                                     const char *path,
                                     const struct backup_facts *facts,
                                     backup_taken_f *done, void *arg)
{
    struct backup_take *t = mem_zalloc(sizeof(*t));
    assert(r != NULL && done != NULL);
    t->registry = r;
    t->clock = clock;
    t->path = mem_strdup(path);
    t->kept.facts = *facts;
    t->done = done;
    t->arg = arg;
    t->deadline = clock->mono + PATIENCE_MS;
    read_others(t);
    return t;
}

void restore_take_tick(struct backup_take *t)
{
    assert(t->done != NULL);
    if (!t->deferred || t->clock->mono < t->retry_at)
        return;
    if (t->clock->mono >= t->deadline) {
        finish(t, &t->trouble);
        return;
    }
    t->deferred = false;
    read_others(t);
}
