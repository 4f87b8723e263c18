/* memory_bench.c - see memory_bench.h. */
#include "tests/registry/memory_bench.h"

#include <string.h>

void bench_run(struct bench *w, int64_t ms)
{
    (void)memory_run(w->store, w->clock.mono + ms);
}

void bench_open(struct bench *w, uint64_t seed)
{
    memset(w, 0, sizeof(*w));
    w->clock.mono = 5000;
    w->store = memory_store_new(&w->clock, seed);
    w->a = memory_open(w->store, BENCH_TIMEOUT_MS);
    w->b = memory_open(w->store, BENCH_TIMEOUT_MS);
    bench_run(w, 0);
    assert_true(registry_session(w->a) != 0 && registry_session(w->b) != 0);
}

static void on_closed(void *arg)
{
    ++*(int *)arg;
}

static void close_client(struct bench *w, struct registry **r)
{
    int closed = 0;
    bool open = *r != NULL;

    if (open) {
        registry_close(r, on_closed, &closed);
        bench_run(w, 2 * BENCH_TIMEOUT_MS);
        assert_int_equal(closed, 1);
    }
}

void bench_close(struct bench *w)
{
    close_client(w, &w->a);
    close_client(w, &w->b);
    memory_store_free(&w->store);
}

void bench_put(struct registry *r, const char *key, const char *value,
               struct got *g)
{
    memset(g, 0, sizeof(*g));
    registry_put(r, key, value, strlen(value), REGISTRY_ANY, 0, false,
                 got_reply, g);
}
