/*
 * test_memory.c - the memory registry in virtual time: the conformance suite,
 * without faults and with late, lost and repeated messages, and then its
 * faults themselves.
 */
#include "tests/registry/conformance.h"

#include "base/mem.h"
#include "tests/lib/memory/memory.h"
#include "tests/registry/memory_faults.h"

#define TIMEOUT_MS 1500

struct bench {
    struct memory_store *store;
    struct clock clock;
};

static const struct memory_faults *faults;

static void *open_store(void)
{
    struct bench *b = mem_zalloc(sizeof(*b));

    b->clock.mono = 1000000;
    b->store = memory_store_new(&b->clock, 42);
    if (faults != NULL)
        memory_set_faults(b->store, faults);
    return b;
}

static void close_store(void *arg)
{
    struct bench *b = arg;

    memory_store_free(&b->store);
    mem_free(b);
}

static struct registry *open_client(void *arg, int64_t session_timeout_ms)
{
    return memory_open(((struct bench *)arg)->store, session_timeout_ms);
}

/* To the next thing that happens; virtual time costs nothing. */
static void turn(void *arg, int64_t max_ms)
{
    struct bench *b = arg;
    mono_ms until = b->clock.mono + max_ms;
    mono_ms next = memory_next(b->store);

    if (next >= 0 && next < until)
        until = next;
    (void)memory_run(b->store, until);
}

static int64_t now(void *arg)
{
    return ((struct bench *)arg)->clock.mono;
}

static void expire(void *arg, struct registry *client)
{
    (void)arg;
    memory_expire(client);
}

static void kill_client(void *arg, struct registry **client)
{
    (void)arg;
    memory_kill(client);
}

static void cut(void *arg, struct registry *client, bool is_cut)
{
    (void)arg;
    if (is_cut)
        memory_cut(client);
    else
        memory_heal(client);
}

int main(void)
{
    static const struct conformance_backend backend = {
        .name = "memory",
        .session_timeout_ms = TIMEOUT_MS,
        .open_store = open_store,
        .close_store = close_store,
        .open = open_client,
        .turn = turn,
        .now = now,
        .expire = expire,
        .kill = kill_client,
        .cut = cut,
    };
    /* What a network may do to everybody without breaking a promise. */
    static const struct memory_faults weather = {
        .delay_max_ms = 20,
        .event_late_share = 0.3,
        .event_dup_share = 0.3,
    };
    int failed = conformance_run(&backend);

    faults = &weather;
    failed += conformance_run(&backend);
    return failed + memory_faults_run() + memory_worlds_run();
}
