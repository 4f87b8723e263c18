/*
 * zookeeper_contender.c - see zookeeper_contender.h. One step after the other:
 * each waits for its answer in the loop's turns.
 */
#include "tests/registry/zookeeper_contender.h"

#include "base/loop.h"
#include "base/rand.h"
#include "conf/conf.h"
#include "registry/registry.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define KEY         "/lock/master-failover"
#define HOLD_MS_MAX 12

struct contender {
    struct loop *loop;
    struct registry *registry;
    struct registry_lock *lock;
    bool answered, lost;
    enum err_code code;
};

static void on_granted(void *arg, enum err_code code)
{
    struct contender *c = arg;

    c->answered = true;
    c->code = code;
}

static void on_lost(void *arg)
{
    ((struct contender *)arg)->lost = true;
}

static void on_written(void *arg, const struct registry_reply *reply)
{
    struct contender *c = arg;

    c->answered = true;
    c->code = reply->err.code;
}

static void wait_for_answer(struct contender *c)
{
    while (!c->answered)
        loop_turn(c->loop, 100);
}

/* ERR_UNKNOWN is fine: if it was applied, it was under our lock. */
static bool write_history(struct contender *c, const char *name,
                          const char *what)
{
    char key[64];
    const struct registry_op ops[] = {
        {.type = REGISTRY_CHECK_LOCK, .lock = c->lock},
        {.type = REGISTRY_PUT,
         .expect = REGISTRY_ABSENT,
         .key = key,
         .value = name,
         .value_len = strlen(name)}};

    (void)snprintf(key, sizeof(key), "/history/%" PRIu64 "-%s",
                   registry_lock_fence(c->lock), what);
    c->answered = false;
    registry_txn(c->registry, ops, 2, on_written, c);
    wait_for_answer(c);
    return c->code == ERR_OK;
}

static void on_time(void *arg)
{
    *(bool *)arg = true;
}

static void pass(struct contender *c, int64_t ms)
{
    bool over = false;
    struct loop_timer *timer = loop_timer(c->loop, ms, 0, on_time, &over);

    while (!over)
        loop_turn(c->loop, 100);
    loop_timer_stop(&timer);
}

static void take_turn(struct contender *c, const char *name, struct rand *rand)
{
    c->answered = c->lost = false;
    c->lock = registry_lock(c->registry, KEY, name, -1, on_granted, on_lost, c);
    wait_for_answer(c);
    if (c->code == ERR_OK && write_history(c, name, "begin")) {
        pass(c, (int64_t)rand_below(rand, HOLD_MS_MAX));
        if (!c->lost)
            (void)write_history(c, name, "end");
    }
    registry_unlock(&c->lock);
    pass(c, (int64_t)rand_below(rand, HOLD_MS_MAX));
}

void zookeeper_contend(const char *server, const char *name,
                       long session_timeout_ms)
{
    struct contender c = {0};
    struct conf_registry conf = {.type = CONF_ZOOKEEPER,
                                 .namespace_ = (char[]){"dolphinscheduler"},
                                 .connect_string = (char *)(uintptr_t)server,
                                 .session_timeout_ms = session_timeout_ms,
                                 .connect_timeout_ms = 5000};
    struct rand rand;
    struct err err;

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    rand_seed(&rand, hash_str(name, 0));
    if (loop_new(&c.loop, 1024, &err) != 0 ||
        registry_open(&c.registry, c.loop, &conf, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (;;)
        take_turn(&c, name, &rand);
}
