/*
 * zookeeper_bare.h - the bare client's half of the move benchmark on ZooKeeper.
 *
 * libzookeeper_mt used as well as it can be: everything asynchronous, the next
 * request sent from the completion of the last, no queue and no thread of our
 * own between. It sends the same keys, values and batches as move.c.
 */
#ifndef PELORUS_TESTS_BENCH_ZOOKEEPER_BARE_H
#define PELORUS_TESTS_BENCH_ZOOKEEPER_BARE_H

#include "tests/bench/move.h"
#include "tests/lib/zookeeper_mt.h"

/* Connected, below `/<space>`; NULL: below the root. Ends the process with a
 * message if that fails or the session ends. zookeeper_close() it. */
zhandle_t *zookeeper_bare_open(const char *hosts, const char *space);

/*
 * Fill a tree below `/<space>` of the server at `hosts`, and move everything
 * in batches of `result->batch` items. `items` is written. The other fields of
 * `result` are set. Ends the process with a message if anything fails.
 */
void zookeeper_bare_move(const char *hosts, const char *space,
                         struct move_item *items, size_t n,
                         struct move_result *result);

/* Take away what either half filled below `/<space>`, so that the next run
 * meets the server as this one did. */
void zookeeper_bare_clear(const char *hosts, const char *space);

#endif
