/*
 * backup.h - our keys in a file, from any registry and for any.
 *
 * A text file of one JSON value a line: what it is, a line a key, and at the
 * end how many there are and a checksum over all before, so that one that was
 * cut off is known as such. In it is what lasts: not who is there (ephemerals,
 * nodes that speak HTTP, testimonies), and not the markers, which follow from
 * the items.
 *
 *   {"pelorus-backup":1,"version":…,"registry":…,"namespace":…,"taken":…,
 *    "place":"<incarnation>:<line>:<position>","history":{…}|null}
 *   {"key":"/pelorus/work/a","value":"…"}        or "hex" for what is no text
 *   {"keys":N,"checksum":"<16 hexadecimal digits>"}
 *
 * Consistent: while all items were read nothing else changed (no gate, no
 * failover, no floor), which is read before and after; and what happens to
 * items meanwhile happens to each by itself.
 */
#ifndef PELORUS_RESTORE_BACKUP_H
#define PELORUS_RESTORE_BACKUP_H

#include "base/clock.h"
#include "registry/history.h"
#include "work/record.h"

#include <stdio.h>

struct backup_entry {
    char *key, *value;
    size_t value_len;
};

struct backup_facts {
    char registry[16];
    char namespace_[256];
    char taken[40]; /* RFC 3339 */
    struct registry_place place;
    bool has_history;
    struct history_record history;
};

/* One that was read and found whole. */
struct backup {
    struct backup_facts facts;
    struct backup_entry *entries;
    size_t n, cap;
    uint64_t items, unfinished, unreadable; /* records */
    uint64_t epoch, fence;                  /* the highest in it */
};
/* ERR_IO, ERR_DENIED: the file; ERR_INVALID: what is wrong, at which line. */
int restore_backup_read(struct backup **out, const char *path,
                        struct err *err) MUST_CHECK;
void restore_backup_free(struct backup **b);
/* One more entry, at the end; copies. */
void restore_backup_add(struct backup *b, const char *key, const char *value,
                        size_t value_len);
/* Without entries again. */
void restore_backup_clear(struct backup *b);
/* Is this key, below /pelorus, one that a backup has? */
bool restore_backup_has(const char *key);

/* Writing: into PATH.tmp, which takes the name at the end, when it is on disk.
 * Whoever drops it removes it. */
struct backup_file;
int restore_file_new(struct backup_file **out, const char *path,
                     const struct backup_facts *facts,
                     struct err *err) MUST_CHECK;
int restore_file_add(struct backup_file *f, const char *key, const char *value,
                     size_t value_len, struct err *err) MUST_CHECK;
int restore_file_end(struct backup_file **f, struct err *err) MUST_CHECK;
void restore_file_drop(struct backup_file **f);

/* --- taking one ---------------------------------------------------------- */

struct backup_take;
/* Where it stands in the end; err: why there is no file. May free it. */
typedef void backup_taken_f(void *arg, const struct err *err, size_t keys,
                            size_t items);
/* Copies the facts and the path; `place` and `history` are found out. */
struct backup_take *restore_take_new(struct registry *r,
                                     const struct clock *clock,
                                     const char *path,
                                     const struct backup_facts *facts,
                                     backup_taken_f *done, void *arg);
void restore_take_tick(struct backup_take *t);
void restore_take_free(struct backup_take **t);

#endif
