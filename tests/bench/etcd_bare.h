/*
 * etcd_bare.h - the bare client's half of the move benchmark on etcd.
 *
 * The JSON gateway used as well as it can be: libcurl alone, a few requests at
 * a time, pages of markers by range, records read a hundred at a time in one
 * txn, and the move in txns with the compares that make it safe (both versions,
 * the new marker's absence, the gates) and nothing else: no lock, session,
 * order, canary or watch. It sends the same keys, values and batches as move.c.
 */
#ifndef PELORUS_TESTS_BENCH_ETCD_BARE_H
#define PELORUS_TESTS_BENCH_ETCD_BARE_H

#include "tests/bench/move.h"

/* Wait until the server at `url` is healthy. */
void etcd_bare_wait(const char *url);

/*
 * Fill keys below `space` of the server at `url`, and move everything in
 * batches of `result->batch` items. `items` is written. The other fields of
 * `result` are set. Ends the process with a message if anything fails.
 */
void etcd_bare_move(const char *url, const char *space, struct move_item *items,
                    size_t n, struct move_result *result);

/* Take away what either half filled below `space`, history too. */
void etcd_bare_clear(const char *url, const char *space);

#endif
