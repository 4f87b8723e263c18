/*
 * test_registry_close.c - what a store still answers while we close.
 *
 * A backend that does nothing by itself: it keeps the last call, and counts the
 * locks that it is asked for. Time stands still.
 */
#include "base/buf.h"
#include "registry/backend.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

struct slow {
    struct registry base;
    struct registry_call *call; /* not answered yet */
    unsigned locks, freed;
};

static void slow_submit(struct registry *r, struct registry_call *call)
{
    ((struct slow *)(void *)r)->call = call;
}

static void slow_lock(struct registry *r, struct registry_hold *hold)
{
    (void)hold;
    ((struct slow *)(void *)r)->locks++;
}

static void slow_nothing(struct registry *r)
{
    (void)r;
}

static void slow_free(struct registry *r)
{
    ((struct slow *)(void *)r)->freed++;
}

static void slow_timer(struct registry *r, struct registry_timer *t,
                       int64_t delay_ms)
{
    (void)delay_ms;
    t->impl = r;
}

static void slow_timer_stop(struct registry *r, struct registry_timer *t)
{
    (void)r;
    (void)t;
}

static const struct registry_ops slow_ops = {
    .name = "slow",
    .submit = slow_submit,
    .lock = slow_lock,
    .look = slow_nothing,
    .close = slow_nothing,
    .free = slow_free,
    .timer_start = slow_timer,
    .timer_stop = slow_timer_stop,
};

static void on_granted(void *arg, enum err_code code)
{
    *(enum err_code *)arg = code;
}

/* The key says that the store is the right one, when nobody wants it any
 * more: those above are told of no session, and no lock is asked for. */
static void a_verdict_that_comes_while_we_close_begins_nothing(void **state)
{
    struct slow s = {.call = NULL};
    struct registry *r = &s.base, *open = r;
    const struct clock clock = {.mono = 1000};
    struct history_record record = {.generation = 0};
    struct registry_entry entry = {.key = HISTORY_KEY, .created = 1};
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    enum err_code code = ERR_OK;
    struct buf value;

    (void)state;
    registry_init(r, &slow_ops, NULL, 10000, 100, 1 << 20);
    r->clock = &clock;
    registry_compare(r, "h:1", NULL, false);
    (void)registry_lock(r, "/lock/a", "me", -1, on_granted, NULL, &code);
    registry_session_begin(r, 1, 0, 7);
    assert_non_null(s.call);
    registry_close(&open, NULL, NULL);
    registry_history_new_id(record.incarnation);
    buf_init(&value, REGISTRY_VALUE_MAX);
    registry_history_write(&value, &record);
    entry.value = buf_text(&value);
    entry.value_len = value.len;
    entry.version = 1;
    reply.entries = &entry;
    reply.n_entries = 1;
    registry_call_done(s.call, &reply);
    assert_int_equal(s.locks, 0);
    assert_int_equal(registry_session(r), 0);
    registry_closed(r);
    assert_int_equal(code, ERR_CANCELLED);
    assert_int_equal(s.freed, 1);
    buf_close(&value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_verdict_that_comes_while_we_close_begins_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
