/*
 * roster.h - things with a name each, found by it, and gone through in the
 * order in which they came.
 *
 * What uthash.h does in 56 bytes a thing and its buckets takes 4 here, 8 of an
 * array in that order, and the slots of hash_index.h. To find, add or remove
 * one is O(1); now and then, when most of the array's places are of things
 * that went, the rest moves together, which is O(1) for each that went. Not for
 * two threads at once.
 *
 * What is in it has a `struct roster_item` in it and belongs to its owner (see
 * CONTAINER_OF): the roster only points there.
 */
#ifndef PELORUS_BASE_MAP_ROSTER_H
#define PELORUS_BASE_MAP_ROSTER_H

#include "base/map/hash_index.h"

/* All zero before it is added; not to be moved or freed while it is there. */
struct roster_item {
    uint32_t place; /* counted from 1; 0: in none */
};

/* The name of one, the same as long as it is there. */
typedef const char *roster_name_f(const struct roster_item *item);

/* `name` set and the rest zero is an empty one. */
struct roster {
    roster_name_f *name;
    struct roster_item **all; /* NULL: one that went */
    uint32_t n, cap;          /* places, theirs among them */
    struct hash_index index;  /* of places less one; .n: how many are there */
};

/* NULL: there is none of that name. */
struct roster_item *roster_find(const struct roster *r,
                                const char *name) MUST_CHECK;

/* Put it behind all others; none of its name is there. */
void roster_add(struct roster *r, struct roster_item *item);

/* It is there. */
void roster_remove(struct roster *r, struct roster_item *item);

/* The one that came next (NULL: the first); NULL: that was the last. Others may
 * come and go meanwhile. */
struct roster_item *roster_next(const struct roster *r,
                                const struct roster_item *item);

/* Empty again. Those that are still there are not told. */
void roster_close(struct roster *r);

#endif
