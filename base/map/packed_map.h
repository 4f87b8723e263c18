/*
 * packed_map.h - a sorted map from byte strings to byte strings, in little more
 * memory than what its keys do not have in common.
 *
 * For many small entries whose keys share long beginnings, such as a
 * registry's keys: 100,000 of 60 bytes with a value of 8 take about 2 MB. Keys
 * stand in order in blocks of at most 32. Each is written as how many bytes it
 * shares with the one before it, and the rest (front coding: Witten, Moffat
 * and Bell, Managing Gigabytes, 2nd ed. 1999, section 4.1); only the first of
 * a block stands whole. An array of the blocks is the index.
 *
 * Order: by the bytes, unsigned; what begins another comes before it (strcmp's
 * for strings). Find: O(log n) comparisons and one block. Put and remove: the
 * same and the bytes of one block moved; the index, n/32 pointers, moves when
 * a block splits or goes, which one in 16 changes can cause. In order: O(1)
 * amortised for each.
 *
 * Keys and values are copied in. What is lent of a value lives until the map's
 * next change. Memory that runs out ends the process (mem.h). No locks: one
 * thread at a time.
 */
#ifndef PELORUS_BASE_MAP_PACKED_MAP_H
#define PELORUS_BASE_MAP_PACKED_MAP_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes; a longer one is a programmer's error. Both may be empty. */
#define PACKED_KEY_MAX   1024
#define PACKED_VALUE_MAX 1024

struct packed_map;

struct packed_map *packed_map_new(void) MUST_CHECK;
void packed_map_free(struct packed_map **m); /* NULL is fine */

size_t packed_map_count(const struct packed_map *m);
/* What it holds on the heap, without the allocator's own. O(n/32). */
size_t packed_map_bytes(const struct packed_map *m);

struct packed_value {
    const uint8_t *data; /* lent */
    size_t len;
};

/* False: there is no such key. */
bool packed_map_find(const struct packed_map *m, const void *key, size_t len,
                     struct packed_value *out) MUST_CHECK;

/* Set it, whether or not it is there; true: it was not. `value` may be lent by
 * this map. */
bool packed_map_put(struct packed_map *m, const void *key, size_t len,
                    const void *value, size_t value_len);

/* False: it was not there. */
bool packed_map_remove(struct packed_map *m, const void *key, size_t len);

/*
 * In order. The cursor holds a copy of the key, so the map may be changed
 * meanwhile, also at the key it stands on: next goes to the first one behind
 * that key, whatever is there now. Nothing has to be closed.
 */
struct packed_cursor {
    const struct packed_map *map;
    char key[PACKED_KEY_MAX + 1]; /* NUL behind it */
    size_t key_len;
    struct packed_value value; /* lent until the map's next change */
    /* of packed_map.c */
    uint64_t changes;
    size_t block, at;
};

/* To the first key at or behind this one; key NULL: the first of all. False:
 * there is none, and the cursor is not to be used. */
bool packed_map_seek(const struct packed_map *m, struct packed_cursor *c,
                     const void *key, size_t len) MUST_CHECK;
/* To the next. False: that was the last. */
bool packed_map_next(struct packed_cursor *c) MUST_CHECK;

#endif
