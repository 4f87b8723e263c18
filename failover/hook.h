/*
 * hook.h - runs `failover.hook` for systems whose work lives elsewhere.
 *
 * The command line goes to /bin/sh in a process group of its own, with
 * PELORUS_KIND, PELORUS_ADDRESS, PELORUS_PROCESS and PELORUS_FENCE in its
 * environment: a system that keeps the highest fence it has seen can refuse a
 * hook that comes too late. At its timeout the whole group is killed. A hook
 * must bear to be run again: a coordinator that dies before the result is in
 * the record leaves it to the next one.
 */
#ifndef PELORUS_FAILOVER_HOOK_H
#define PELORUS_FAILOVER_HOOK_H

#include "base/loop.h"
#include "failover/record.h"

struct hooks;

/* What a hook that did not exit by itself is reported as. */
#define HOOK_NOT_STARTED 127
#define HOOK_TIMED_OUT   124
#define HOOK_SIGNAL_BASE 128 /* + the signal's number, as a shell says it */

struct hooks *hooks_new(struct loop *loop);
/* Kills what runs; its ended() is not called any more. The loop must turn
 * until `closed` is called. */
void hooks_free(struct hooks **h, void (*closed)(void *arg), void *arg);

/* For struct engine_config: `arg` is the struct hooks. ended() is called once,
 * from a later turn of the loop; `tail` is the end of what it printed. */
void hooks_run(void *arg, const char *command, const struct failover_record *r,
               int64_t timeout_ms,
               void (*ended)(void *e, int exit_code, const char *tail),
               void *e);

#endif
