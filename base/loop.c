/*
 * loop.c - the turn, the mailbox and the timers on top of libuv.
 *
 * A turn lasts from one wait for events to the next and has one time. libuv
 * calls back from inside its wait, so the first of our callbacks after a wait
 * reads the clock; the prepare handle (last before the wait) says that the
 * time is due again. What was posted comes last and has a later one. Posts and
 * completions share one list and so one order; posts draw their slots from a
 * pool, which is what bounds them.
 */
#include "base/loop.h"

#include "base/locks.h"
#include "base/mem.h"

#include <stdatomic.h>

struct loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_timer_t turn_timer;
    struct clock clock;
    bool clock_due;      /* a wait has been since the clock was read */
    _Atomic mono_ms due; /* when its wait ends at the latest, or has ended */
    bool calling;        /* what was posted */
    struct loop_slot *after_calls;

    /* Mutex "mailbox" protects the rest. */
    pthread_mutex_t mutex;
    struct loop_slot *head, **tail; /* waiting, oldest first */
    size_t waiting;
    struct loop_slot *spare; /* slots of the pool that are free again */
    struct loop_slot *pool;  /* those from `pool_used` on were never touched, */
    size_t pool_size, pool_used; /* and are no memory yet */
    bool closing;
};

struct loop_timer {
    uv_timer_t uv;
    struct loop *loop;
    loop_f *fn;
    void *arg;
};

void loop_enter(struct loop *loop)
{
    if (loop->clock_due) {
        clock_read(&loop->clock);
        loop->clock_due = false;
        atomic_store(&loop->due, loop->clock.mono);
    }
}

int64_t loop_late_ms(const struct loop *loop, mono_ms now)
{
    mono_ms late = now - atomic_load(&loop->due);

    return late > 0 ? late : 0;
}

int64_t loop_busy_ms(const struct loop *loop)
{
    return loop_late_ms(loop, clock_mono_ms());
}

/* Takes mutex "mailbox". The oldest waiting call, or false. Its slot is free
 * again when this returns. */
static bool mailbox_take(struct loop *loop, loop_f **fn, void **arg)
{
    struct loop_slot *slot;

    lock_acquire(&loop->mutex);
    slot = loop->head;
    assert((slot == NULL) == (loop->waiting == 0));
    if (slot != NULL) {
        *fn = slot->fn;
        *arg = slot->arg;
        loop->head = slot->next;
        if (loop->head == NULL)
            loop->tail = &loop->head;
        loop->waiting--;
        if (slot >= loop->pool && slot < loop->pool + loop->pool_size) {
            slot->next = loop->spare;
            loop->spare = slot;
        }
    }
    lock_release(&loop->mutex);
    return slot != NULL;
}

/* Takes mutex "mailbox". */
static size_t mailbox_waiting(struct loop *loop)
{
    size_t n;

    lock_acquire(&loop->mutex);
    n = loop->waiting;
    lock_release(&loop->mutex);
    return n;
}

/* Mutex "mailbox" is held. */
static void mailbox_append(struct loop *loop, struct loop_slot *slot,
                           loop_f *fn, void *arg)
{
    assert(fn != NULL);
    assert(*loop->tail == NULL);
    slot->next = NULL;
    slot->fn = fn;
    slot->arg = arg;
    *loop->tail = slot;
    loop->tail = &slot->next;
    loop->waiting++;
}

static void run_after_calls(struct loop *loop)
{
    struct loop_slot *slot;

    assert(!loop->calling);
    while ((slot = loop->after_calls) != NULL) {
        loop->after_calls = slot->next;
        slot->fn(slot->arg);
    }
}

/* The `n` oldest, no more: calls that post again must not starve the rest. */
static void deliver(struct loop *loop, size_t n)
{
    loop_f *fn;
    void *arg;

    assert(!loop->calling);
    loop->calling = true;
    /* After they were counted: none of them was posted later than the time that
     * it sees, however long what came before it in this turn took. */
    clock_read(&loop->clock);
    while (n-- > 0 && mailbox_take(loop, &fn, &arg))
        fn(arg);
    loop->calling = false;
    run_after_calls(loop);
    if (mailbox_waiting(loop) > 0)
        (void)uv_async_send(&loop->wake);
}

static void on_wake(uv_async_t *handle)
{
    loop_enter(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *loop = handle->data;
    int wait_ms = uv_backend_timeout(&loop->uv); /* negative: for ever */

    assert(!loop->closing);
    loop->clock_due = true;
    atomic_store(&loop->due,
                 wait_ms < 0 ? INT64_MAX : clock_mono_ms() + wait_ms);
}

/* Once a turn, whatever woke it: so what came quietly waits for no more than
 * any event. */
static void on_check(uv_check_t *handle)
{
    struct loop *loop = handle->data;
    size_t n;

    loop_enter(loop);
    n = mailbox_waiting(loop);
    if (n > 0)
        deliver(loop, n);
}

static void on_turn_timer(uv_timer_t *handle)
{
    loop_enter(handle->data);
}

int loop_new(struct loop **out, size_t mailbox_max, struct err *err)
{
    struct loop *loop = mem_zalloc(sizeof(*loop));
    int rc;

    assert(mailbox_max > 0);
    rc = uv_loop_init(&loop->uv);
    if (rc != 0) {
        mem_free(loop);
        return err_set(err, ERR_IO, "event loop: %s", uv_strerror(rc));
    }
    rc = uv_async_init(&loop->uv, &loop->wake, on_wake);
    if (rc != 0) {
        (void)uv_loop_close(&loop->uv);
        mem_free(loop);
        return err_set(err, ERR_IO, "event loop: wake-up descriptor: %s",
                       uv_strerror(rc));
    }
    /* These four cannot fail: they touch memory only. */
    (void)uv_prepare_init(&loop->uv, &loop->prepare);
    (void)uv_check_init(&loop->uv, &loop->check);
    (void)uv_timer_init(&loop->uv, &loop->turn_timer);
    (void)uv_prepare_start(&loop->prepare, on_prepare);
    (void)uv_check_start(&loop->check, on_check);
    loop->uv.data = loop;
    loop->wake.data = loop;
    loop->prepare.data = loop;
    loop->check.data = loop;
    loop->turn_timer.data = loop;

    rc = pthread_mutex_init(&loop->mutex, NULL);
    assert(rc == 0);
    loop->tail = &loop->head;
    loop->pool = mem_array(mailbox_max, sizeof(*loop->pool));
    loop->pool_size = mailbox_max;
    clock_read(&loop->clock);
    atomic_store(&loop->due, INT64_MAX);
    *out = loop;
    return 0;
}

static void assert_closing(uv_handle_t *handle, void *arg)
{
    (void)arg;
    assert(uv_is_closing(handle));
}

void loop_free(struct loop **loop_ptr)
{
    struct loop *loop = *loop_ptr;
    loop_f *fn;
    void *arg;
    int rc;

    if (loop == NULL)
        return;
    lock_acquire(&loop->mutex);
    assert(!loop->closing);
    loop->closing = true;
    lock_release(&loop->mutex);
    /* What was accepted is still called: a completion may free its object. */
    clock_read(&loop->clock);
    while (mailbox_take(loop, &fn, &arg))
        fn(arg);
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->prepare, NULL);
    uv_close((uv_handle_t *)&loop->check, NULL);
    uv_close((uv_handle_t *)&loop->turn_timer, NULL);
    uv_walk(&loop->uv, assert_closing, NULL);
    while (uv_run(&loop->uv, UV_RUN_DEFAULT) != 0) {
        /* A loop_stop() that nobody saw yet ends the first run at once. */
    }
    rc = uv_loop_close(&loop->uv);
    assert(rc == 0);
    assert(loop->head == NULL && loop->after_calls == NULL);
    assert(loop->waiting == 0);
    rc = pthread_mutex_destroy(&loop->mutex);
    assert(rc == 0);
    mem_free(loop->pool);
    mem_free(loop);
    *loop_ptr = NULL;
}

void loop_run(struct loop *loop)
{
    clock_read(&loop->clock);
    (void)uv_run(&loop->uv, UV_RUN_DEFAULT);
}

void loop_turn(struct loop *loop, int64_t timeout_ms)
{
    assert(timeout_ms >= 0);
    clock_read(&loop->clock);
    if (timeout_ms == 0) {
        (void)uv_run(&loop->uv, UV_RUN_NOWAIT);
        return;
    }
    uv_update_time(&loop->uv);
    /* Again and again: libuv calls timers that are due before it waits, too,
     * and would then wait without this one. */
    (void)uv_timer_start(&loop->turn_timer, on_turn_timer, (uint64_t)timeout_ms,
                         (uint64_t)timeout_ms);
    (void)uv_run(&loop->uv, UV_RUN_ONCE);
    (void)uv_timer_stop(&loop->turn_timer);
}

void loop_stop(struct loop *loop)
{
    uv_stop(&loop->uv);
}

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

const struct clock *loop_clock(const struct loop *loop)
{
    return &loop->clock;
}

/* Mutex "mailbox" is held. NULL: all of them wait. */
static struct loop_slot *slot_take(struct loop *loop)
{
    struct loop_slot *slot = loop->spare;

    assert(loop->pool_used <= loop->pool_size);
    if (slot != NULL)
        loop->spare = slot->next;
    else if (loop->pool_used < loop->pool_size)
        slot = &loop->pool[loop->pool_used++];
    return slot;
}

/*
 * Who wakes the loop does so with the mutex "mailbox" held: once it is
 * released, what was posted may be the last thing before the loop is freed.
 */
int loop_post(struct loop *loop, loop_f *fn, void *arg)
{
    enum err_code code = ERR_OK;
    struct loop_slot *slot;

    lock_acquire(&loop->mutex);
    if (loop->closing) {
        code = ERR_CANCELLED;
    } else if ((slot = slot_take(loop)) == NULL) {
        code = ERR_FULL;
    } else {
        mailbox_append(loop, slot, fn, arg);
        (void)uv_async_send(&loop->wake);
    }
    lock_release(&loop->mutex);
    return (int)code;
}

void loop_complete(struct loop *loop, struct loop_slot *slot, loop_f *fn,
                   void *arg)
{
    lock_acquire(&loop->mutex);
    mailbox_append(loop, slot, fn, arg);
    assert(loop->waiting > 0);
    (void)uv_async_send(&loop->wake);
    lock_release(&loop->mutex);
}

void loop_complete_chain(struct loop *loop, struct loop_slot *first)
{
    struct loop_slot *next;

    assert(first != NULL);
    lock_acquire(&loop->mutex);
    for (; first != NULL; first = next) {
        next = first->next;
        mailbox_append(loop, first, first->fn, first->arg);
    }
    assert(loop->waiting > 0);
    (void)uv_async_send(&loop->wake);
    lock_release(&loop->mutex);
}

void loop_complete_quietly(struct loop *loop, struct loop_slot *slot,
                           loop_f *fn, void *arg)
{
    lock_acquire(&loop->mutex);
    mailbox_append(loop, slot, fn, arg);
    assert(loop->waiting > 0);
    lock_release(&loop->mutex);
}

bool loop_after_calls(struct loop *loop, struct loop_slot *slot, loop_f *fn,
                      void *arg)
{
    assert(fn != NULL);
    if (!loop->calling)
        return false;
    *slot = (struct loop_slot){.next = loop->after_calls, .fn = fn, .arg = arg};
    loop->after_calls = slot;
    return true;
}

static void on_timer(uv_timer_t *handle)
{
    struct loop_timer *timer = handle->data;

    assert(!uv_is_closing((uv_handle_t *)handle));
    loop_enter(timer->loop);
    timer->fn(timer->arg);
}

struct loop_timer *loop_timer(struct loop *loop, int64_t delay_ms,
                              int64_t repeat_ms, loop_f *fn, void *arg)
{
    struct loop_timer *timer = mem_zalloc(sizeof(*timer));

    assert(delay_ms >= 0);
    assert(repeat_ms >= 0);
    assert(fn != NULL);
    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
    (void)uv_timer_init(&loop->uv, &timer->uv);
    timer->uv.data = timer;
    /* libuv counts from its cached time, which a long turn leaves behind. */
    uv_update_time(&loop->uv);
    (void)uv_timer_start(&timer->uv, on_timer, (uint64_t)delay_ms,
                         (uint64_t)repeat_ms);
    return timer;
}

static void on_timer_closed(uv_handle_t *handle)
{
    mem_free(handle->data);
}

void loop_timer_stop(struct loop_timer **timer_ptr)
{
    struct loop_timer *timer = *timer_ptr;

    if (timer == NULL)
        return;
    assert(timer->uv.data == timer);
    *timer_ptr = NULL;
    uv_close((uv_handle_t *)&timer->uv, on_timer_closed);
}
