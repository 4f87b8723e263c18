/*
 * locks.h - every mutex of the program, in the order in which a thread may
 * hold two of them (none of them today is ever taken while another is held).
 *
 *   name       where                  protects                    held for
 *   mailbox    base/loop.c            posts waiting for the loop  a few loads
 *   worker     base/worker.c          jobs waiting for a worker   a few loads
 *   snapshot   coordinator/snapshot.c the current snapshot        a few loads
 *   balancer   balancer/balancer.c    groups, accounts, pick ids  one request
 *   log        base/log.c             sink, lines not written yet one copy
 *   handle     registry/zookeeper/handle.c  the library's handle  one request
 *   sockets    http/conns.c           connections being watched   a list walk
 */
#ifndef PELORUS_BASE_LOCKS_H
#define PELORUS_BASE_LOCKS_H

#include "base/compiler.h"

#include <pthread.h>

/* Both end the process if the mutex is misused: that is a programmer's error.
 */
static inline void lock_acquire(pthread_mutex_t *m)
{
    int rc = pthread_mutex_lock(m);

    assert(rc == 0);
    (void)rc;
}

static inline void lock_release(pthread_mutex_t *m)
{
    int rc = pthread_mutex_unlock(m);

    assert(rc == 0);
    (void)rc;
}

#endif
