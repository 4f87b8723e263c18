/*
 * loop.h - libuv with the three things we need: a turn that has one time, a
 * bounded mailbox that any thread may post to, and serial workers for calls
 * that block.
 *
 * One thread runs the loop and owns all state behind it. Other threads only
 * loop_post(). Nothing blocks on the loop.
 */
#ifndef PELORUS_BASE_LOOP_H
#define PELORUS_BASE_LOOP_H

#include "base/clock.h"
#include "base/err.h"

#include <stdbool.h>
#include <uv.h>

struct loop;

/* At most `mailbox_max` posts wait at a time. */
int loop_new(struct loop **out, size_t mailbox_max, struct err *err) MUST_CHECK;

/*
 * Loop thread, or before it runs. What was posted is still called, then posts
 * are refused. No other thread may use the loop any more; handles that are
 * still open are a bug. NULL is fine.
 */
void loop_free(struct loop **loop);

/* Run until loop_stop(). */
void loop_run(struct loop *loop);

/* One turn: wait at most until something happens or `timeout` is over. For
 * tests that drive the loop themselves. */
void loop_turn(struct loop *loop, int64_t timeout_ms);

void loop_stop(struct loop *loop); /* loop thread */

uv_loop_t *loop_uv(struct loop *loop);

/*
 * The time of this turn; the pointer stays valid as long as the loop. Posts,
 * completions and timers of this header see it right: a post's is never before
 * it was posted, though the process was stopped in between. A callback of a
 * handle that somebody opened on loop_uv() runs inside libuv's wait and calls
 * loop_enter() first: else it sees the time from before the wait.
 */
const struct clock *loop_clock(const struct loop *loop);
void loop_enter(struct loop *loop);

/*
 * For how long the loop has been busy with what its last wait brought, or has
 * been overdue from a wait, milliseconds; 0 while it waits as it should. A
 * loop that is stuck (in a write that blocks, in a turn without end) shows by
 * this. Whatever keeps this process alive in the eyes of others from another
 * thread asks here first, so that nobody believes in a process that decides
 * nothing any more. After a pause of the whole process it is large until the
 * loop's thread has run. Any thread.
 */
int64_t loop_busy_ms(const struct loop *loop);
/* The same by a time that was read just now. */
int64_t loop_late_ms(const struct loop *loop, mono_ms now);

typedef void loop_f(void *arg);

/*
 * Call fn(arg) on the loop, in the order of posting. Any thread, the loop's
 * too. ERR_FULL: the mailbox is full and nothing was posted (the caller says
 * so to its client). ERR_CANCELLED: the loop is being freed.
 */
int loop_post(struct loop *loop, loop_f *fn, void *arg) MUST_CHECK;

/*
 * The same for a completion that must not be lost: it never fails and takes
 * no room from the mailbox. Use only where the number of outstanding
 * completions is bounded elsewhere. `slot` is the caller's, embedded in the
 * object that completes, and in use until fn runs.
 */
struct loop_slot {
    struct loop_slot *next;
    loop_f *fn;
    void *arg;
};
void loop_complete(struct loop *loop, struct loop_slot *slot, loop_f *fn,
                   void *arg);
/* A chain of them at once, and one wake-up: fn and arg are set, ->next leads on
 * and is NULL in the last. Each is in use until its own fn runs. */
void loop_complete_chain(struct loop *loop, struct loop_slot *first);
/* As loop_complete(), in its place among the others, without waking the loop
 * for it: fn runs when the loop turns for any other reason. For what comes in
 * crowds, the last of which is completed by loop_complete(). */
void loop_complete_quietly(struct loop *loop, struct loop_slot *slot,
                           loop_f *fn, void *arg);

/*
 * Loop thread: fn(arg) once, when all posts and completions that are being
 * called now have been: for what many of them would do each for itself, such as
 * waking a thread. False: none is being called; the caller does it himself.
 * `slot` is in use until fn runs.
 */
bool loop_after_calls(struct loop *loop, struct loop_slot *slot, loop_f *fn,
                      void *arg) MUST_CHECK;

/*
 * A timer on the loop: first after `delay`, then every `repeat` (0: once). The
 * caller owns it until loop_timer_stop(), also after it fired; fn may stop its
 * own timer. Loop thread.
 */
struct loop_timer;
struct loop_timer *loop_timer(struct loop *loop, int64_t delay_ms,
                              int64_t repeat_ms, loop_f *fn, void *arg);
void loop_timer_stop(struct loop_timer **timer);

#endif
