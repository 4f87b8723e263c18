/*
 * bench_etcd_move.c - how long do 10,000 and 100,000 items of one dead master
 * take to move on etcd, and how far is that from the bare gateway?
 *
 * Both halves run on one server that is started here, on keys of their own that
 * are taken away again (move_compare()). --items N moves only as many. The last
 * line is that of a suite: each number of items is a test.
 */
#include "tests/bench/etcd_bare.h"
#include "tests/bench/move.h"
#include "tests/bench/store.h"

#include "base/log.h"

#include <stdio.h>

static struct store server;

/* --- the two halves ------------------------------------------------------ */

static const char *url(void)
{
    return server.conf.endpoints.items[0];
}

static void ours(void *arg, struct move_item *items, size_t n, bool watched,
                 struct move_result *result)
{
    (void)arg;
    move_through_registry(&server.conf, items, n, watched, result);
    etcd_bare_clear(url(), server.conf.namespace_);
}

static void bare(void *arg, struct move_item *items, size_t n,
                 struct move_result *result)
{
    (void)arg;
    etcd_bare_move(url(), "bare", items, n, result);
    etcd_bare_clear(url(), "bare");
}

int main(int argc, char **argv)
{
    static const struct move_store store = {
        .name = "etcd", .ours = ours, .bare = bare};
    size_t asked = move_items_asked(argc, argv, 0), passed = 0, failed;

    log_configure(LOG_WARN, LOG_TEXT);
    store_start(&server, "etcd", "");
    failed = move_compare(&store, asked, &passed);
    (void)printf("%zu passed, %zu failed, 0 skipped\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
