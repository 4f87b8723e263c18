/*
 * hook.h - runs `failover.hook` for systems whose work lives elsewhere.
 *
 * The command line goes to /bin/sh with PELORUS_KIND, PELORUS_ADDRESS,
 * PELORUS_PROCESS and PELORUS_FENCE in its environment: a system that keeps
 * the highest fence it has seen can refuse a hook that comes too late.
 *
 * A hook runs under the failover lock and not an instant longer. It has a guard
 * (base/process/guard.h), a process that ends it, with all that it started, in
 * whatever session, when its time is over, when it is not wanted any more, when
 * we are gone, and when the lock can no longer be proven: the deadline is 2/3
 * of the session's timeout after the last request that the registry answered
 * was sent, a third before anybody else can have the lock. The guard knows the
 * deadline by itself, so it also holds while we are stopped. What a hook leaves
 * running when it exits is ended, too. A hook must bear to be run again: one
 * that was ended for its lock, or whose coordinator died before the result was
 * in the record, is run by the next holder.
 *
 * Our threads make it unsafe to fork later, so the guards come from a small
 * process that is forked first of all.
 */
#ifndef PELORUS_FAILOVER_ENGINE_HOOK_H
#define PELORUS_FAILOVER_ENGINE_HOOK_H

#include "base/loop.h"
#include "work/record.h"

struct hooks;

/* What a hook that did not exit by itself is reported as. */
#define HOOK_NOT_STARTED 127
#define HOOK_TIMED_OUT   124
#define HOOK_SIGNAL_BASE 128  /* + the signal's number, as a shell says it */
#define HOOK_UNPROVEN    (-1) /* ended for its lock: it counts as not run */

/* Forks: while we are single-threaded. Copies `command`. ERR_IO and others:
 * no process could be made. */
int engine_hooks_new(struct hooks **out, struct loop *loop, const char *command,
                     struct err *err) MUST_CHECK;

/* Ends what runs, and starts nothing more; then ended(arg), from a later turn.
 * No hook's ended() comes any more. Once; the locks are to be kept until
 * then. */
void engine_hooks_end(struct hooks *h, void (*ended)(void *arg), void *arg);
/* After ended(). The helper is gone when this returns. */
void engine_hooks_free(struct hooks **h);

/*
 * The helper's whole life, in a process of its own. Each packet on `line`
 * carries two descriptors: a line for a new guard that runs `command`, and
 * where its output goes. It ends with the last guard when `line` is closed.
 */
void engine_hook_helper(int line, const char *command) NORETURN;

/* --- for struct engine_config: `hooks` is the struct hooks --------------- */

/* ended() is called once, from a later turn of the loop; `tail` is the end of
 * what it printed. `until`: as engine_hooks_until(). */
typedef void hook_ended_f(void *arg, int exit_code, const char *tail);
void engine_hooks_run(void *hooks, const struct failover_record *r,
                      int64_t timeout_ms, mono_ms until, hook_ended_f *ended,
                      void *arg);
/* The lock of the hook that was run with `arg` is proven until then. */
void engine_hooks_until(void *hooks, const void *arg, mono_ms until);
/* That hook is not wanted any more: it is ended, and its ended() does not come.
 * stopped(stop_arg), if not NULL, comes from a later turn, when nothing of it
 * runs. */
void engine_hooks_stop(void *hooks, const void *arg, void (*stopped)(void *arg),
                       void *stop_arg);

#endif
