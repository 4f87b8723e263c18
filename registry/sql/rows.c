/*
 * rows.c - rows copied out of a store, to be handed to the loop.
 */
#include "registry/sql/core.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

void sql_rows_close(struct sql_rows *rows)
{
    assert(rows->n <= rows->cap);
    for (size_t i = 0; i < rows->n; i++)
        mem_free((char *)rows->entries[i].key); /* the value stands behind it */
    mem_free(rows->entries);
    mem_free(rows->next);
    memset(rows, 0, sizeof(*rows));
}

struct registry_entry *sql_rows_push(struct sql_rows *rows, const char *key,
                                     size_t key_len, const void *value,
                                     size_t value_len)
{
    char *block = mem_alloc(key_len + value_len + 2);
    struct registry_entry *entry;

    assert(rows->n <= rows->cap);
    assert(value != NULL || value_len == 0);
    if (rows->n == rows->cap) {
        rows->cap = rows->cap == 0 ? 16 : rows->cap * 2;
        rows->entries =
            mem_regrow(rows->entries, rows->cap, sizeof(*rows->entries));
    }
    memcpy(block, key, key_len);
    block[key_len] = '\0';
    if (value_len > 0)
        memcpy(block + key_len + 1, value, value_len);
    block[key_len + 1 + value_len] = '\0';
    entry = &rows->entries[rows->n++];
    *entry = (struct registry_entry){
        .key = block, .value = block + key_len + 1, .value_len = value_len};
    rows->bytes += key_len + value_len;
    return entry;
}

int sql_rows_compare(const void *a, const void *b)
{
    const struct registry_entry *x = a, *y = b;

    return strcmp(x->key, y->key);
}

bool sql_rows_full(struct sql_rows *rows, size_t limit, const char *key,
                   size_t len)
{
    assert(rows->n <= limit);
    if (rows->next == NULL &&
        (rows->n == limit || rows->bytes >= SQL_PAGE_BYTES))
        rows->next = mem_strndup(key, len);
    return rows->next != NULL;
}

void sql_rows_sort(struct sql_rows *rows)
{
    size_t kept = 0;

    if (rows->n == 0)
        return;
    qsort(rows->entries, rows->n, sizeof(*rows->entries), sql_rows_compare);
    for (size_t i = 1; i < rows->n; i++)
        if (strcmp(rows->entries[i].key, rows->entries[kept].key) == 0)
            mem_free((char *)rows->entries[i].key);
        else
            rows->entries[++kept] = rows->entries[i];
    rows->n = kept + 1;
}

const struct registry_entry *sql_rows_find(const struct sql_rows *rows,
                                           const char *key)
{
    const struct registry_entry wanted = {.key = key};

    assert(key != NULL);
    return rows->n == 0 ? NULL
                        : bsearch(&wanted, rows->entries, rows->n,
                                  sizeof(*rows->entries), sql_rows_compare);
}

void sql_rows_copy(struct sql_rows *rows, const struct registry_entry *entry)
{
    struct registry_entry *copy = sql_rows_push(
        rows, entry->key, strlen(entry->key), entry->value, entry->value_len);

    copy->created = entry->created;
    copy->version = entry->version;
    copy->owner = entry->owner;
}
