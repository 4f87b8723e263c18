/*
 * sql_bare.h - the other half of the move benchmark on MySQL and PostgreSQL:
 * batched statements on a table of the same shape, written by hand.
 */
#ifndef PELORUS_TESTS_BENCH_SQL_BARE_H
#define PELORUS_TESTS_BENCH_SQL_BARE_H

#include "registry/dbms/dbms_priv.h"
#include "tests/bench/move.h"

/*
 * Fill a table and move everything in transactions of `result->batch` items:
 * the lock's row in share mode, the gates, then three statements of many rows.
 * Reads come as large. The other fields of `result` are set. Ends the process
 * with a message if anything fails.
 */
void sql_bare_move(const struct dbms_target *target, struct move_item *items,
                   size_t n, struct move_result *result);

#endif
