/*
 * files.h - a journal's files: FILE, which is written, and FILE.1, FILE.2 ...,
 * which were. One process has them, by a lock on FILE.lock. One thread;
 * everything here may block.
 */
#ifndef PELORUS_COORDINATOR_JOURNAL_FILES_H
#define PELORUS_COORDINATOR_JOURNAL_FILES_H

#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct journal_files {
    char *path;
    uint32_t max; /* of them */
    int fd;       /* of the one that is written; -1: none */
    int lock;
    uint64_t size;         /* what of it is whole */
    uint64_t device, node; /* which file it is */
};

/* Take the lock; nothing is written yet. `path` is copied. ERR_CONFLICT:
 * another process has it; ERR_INVALID: what stands there is no journal and
 * would be moved away; ERR_DENIED, ERR_NOT_FOUND, ERR_IO. */
int journal_files_open(struct journal_files *f, const char *path, uint32_t max,
                       struct err *err) MUST_CHECK;
void journal_files_close(struct journal_files *f);

/* A new FILE; what stood there becomes FILE.1, and so on, and the one beyond
 * the last is gone. 0 or an errno. */
int journal_files_begin(struct journal_files *f) MUST_CHECK;
/* All of it or, as far as that can be had, nothing. 0 or an errno. */
int journal_files_write(struct journal_files *f, const struct iovec *parts,
                        int n) MUST_CHECK;
/* Somebody moved or removed FILE. */
bool journal_files_moved(const struct journal_files *f);
/* Could so many bytes be written now? 0 or an errno. */
int journal_files_room(const struct journal_files *f,
                       uint64_t bytes) MUST_CHECK;
/* Remove the FILE that was begun: nothing could be written to it. */
void journal_files_undo(struct journal_files *f);
/* Have all of it on disk and close it. */
void journal_files_end(struct journal_files *f);

#endif
