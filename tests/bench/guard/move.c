/*
 * move.c - 1,000 items of a master that dies, moved to two others: the whole
 * failover, from the key that is gone to the record that is done, and what the
 * view sees of it.
 */
#include "tests/bench/guard/guard.h"

#include "base/compiler.h"
#include "tests/unit/engine_world.h"

#include <stdlib.h>

#define ITEMS    1000U
#define MOVED_MS 8000

static void die(void *arg)
{
    struct world *w = arg;

    node_kill(w, "m1:1");
    world_run(w, MOVED_MS);
}

size_t guard_move(void)
{
    static struct world w;

    world_open(&w, 1);
    node_start(&w, "m1:1", 1001);
    node_start(&w, "m2:1", 1002);
    node_start(&w, "m3:1", 1003);
    world_run(&w, 1000);
    give(&w, "m1:1", 1001, "item", ITEMS);
    guard_measured(die, &w);
    if (records(&w, FAILOVER_DONE) != 1 || owned_by(&w, "m1:1") != 0 ||
        owned_by(&w, "m2:1") + owned_by(&w, "m3:1") != ITEMS)
        abort();
    world_close(&w);
    return ITEMS;
}
