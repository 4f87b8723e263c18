/*
 * descendants.h - ends all that a process has started, however it tried to
 * get away: a group or session of its own, a daemon's double fork.
 *
 * For a process that lives for this alone (a guard). It adopts the orphans
 * below it, so that whoever loses its parent stays a descendant, and leads a
 * session of its own, so that every process group below it holds nobody else.
 *
 * Not covered: processes that we may not signal (another user's, after sudo or
 * a setuid program) and those that are not below us at all: started by a
 * daemon that was merely asked (systemd-run, at, a container's engine).
 */
#ifndef PELORUS_BASE_PROCESS_DESCENDANTS_H
#define PELORUS_BASE_PROCESS_DESCENDANTS_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* First of all: a session of our own (if we do not lead one), and orphans are
 * ours from now on. Single-threaded. */
void process_descendants_adopt(void);

/*
 * One sweep: SIGKILL for everybody below us, but not for `spare` (our children)
 * nor for whoever is below one of those; and our dead are reaped, but `corpse`
 * (0: none), whose status somebody still wants. Returns how many were alive:
 * again until it is 0, for a fork may have slipped through.
 */
size_t process_descendants_sweep(const pid_t *spare, size_t n_spare,
                                 pid_t corpse);

/* Sweep until nobody is left; false: after `within_ms` somebody still is. */
bool process_descendants_end(pid_t corpse, int64_t within_ms) MUST_CHECK;

#endif
