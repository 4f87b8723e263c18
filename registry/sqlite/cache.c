/*
 * cache.c - the pages that the engine keeps go back to the system once next to
 * nobody reads them.
 *
 * A burst fills the cache up to its limit, and the engine keeps it for good:
 * 4 MiB, of a process that needs 11. So it is looked at from time to time, on
 * the thread that owns the connection. If few transactions came since, it goes;
 * the few that follow read their pages from the system, which has them in
 * memory, too. Whoever works is never in its way: that costs a count.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/mem.h"

#define LOOK_MS 3000
#define FEW     60           /* transactions in that time */
#define MUCH    (768 * 1024) /* bytes that are worth it */

static int64_t cached(const struct sqlite_db *db)
{
    int now = 0, most = 0;

    assert(db->handle != NULL);
    if (sqlite3_db_status(db->handle, SQLITE_DBSTATUS_CACHE_USED, &now, &most,
                          0) != SQLITE_OK)
        return 0;
    assert(now >= 0);
    return now;
}

void sqlite_cache_tick(struct sqlite_db *db)
{
    struct sqlite_cache *c = &db->cache;
    mono_ms now = clock_mono_ms();
    bool few = c->looked > 0 && c->used - c->seen <= FEW;

    assert(!db->writing);
    if (c->looked > 0 && now - c->looked < LOOK_MS)
        return;
    c->looked = now;
    c->seen = c->used;
    if (!few || cached(db) < MUCH)
        return;
    (void)sqlite3_db_release_memory(db->handle);
    mem_give_back(); /* pages lie among what stays */
}
