/*
 * log.c - the client library's own lines in our log.
 *
 * "2026-11-22 11:54:47,123:4711(0x7f..):ZOO_ERROR@function@1234: text": the
 * level and the text are kept. A client that cannot connect says so at every
 * try, many times a second: the same place is logged once in ten seconds.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/log.h"
#include "base/rand.h"

#include <stdatomic.h>
#include <string.h>

#define QUIET_MS 10000
#define PLACES   64 /* by hash; two that share one are logged less often */

static struct {
    _Atomic uint64_t place;
    _Atomic int64_t logged_at;
} places[PLACES];

/* Any of the library's threads. */
static bool logged_lately(const char *place, size_t len)
{
    uint64_t hash = hash_bytes(place, len, 0);
    int64_t now = clock_mono_ms(), before;
    size_t i = hash % PLACES;

    before = atomic_load(&places[i].logged_at);
    if (atomic_load(&places[i].place) == hash && before != 0 &&
        now - before < QUIET_MS)
        return true;
    atomic_store(&places[i].place, hash);
    atomic_store(&places[i].logged_at, now);
    return false;
}

static void on_line(const char *message)
{
    const char *level = strstr(message, ":ZOO_");
    const char *text = level == NULL ? NULL : strstr(level, ": ");

    if (text == NULL)
        log_debug("=zookeeper-client", LOG_S("text", message));
    else if (strncmp(level, ":ZOO_ERROR", 10) != 0 &&
             strncmp(level, ":ZOO_WARN", 9) != 0)
        log_debug("=zookeeper-client", LOG_S("text", text + 2));
    else if (!logged_lately(level, (size_t)(text - level)))
        log_info("!zookeeper-client", LOG_S("text", text + 2));
}

log_callback_fn zk_log_callback(void)
{
    return on_line;
}
