/*
 * locks.h - every mutex of the program, in the order in which a thread may
 * hold two of them (`balancer` is taken while `journal` is held, `second` while
 * `balancer` is, `mailbox` and `log` while `handle` is, and no others), and how
 * a thread begins.
 *
 *   name       where                  protects                    held for
 *   handle     registry/zookeeper/handle.c  the library's handle  one request
 *   mailbox    base/loop.c            posts waiting for the loop  a few loads
 *   worker     base/worker.c          jobs waiting for a worker   a few loads
 *   snapshot   coordinator/snapshot.c the current snapshot        a few loads
 *   journal    coordinator/journal/journal.c  whether it ends     an image
 *   facts      coordinator/facts/facts.c  what was read last   one copy
 *   balancer   balancer/balancer.c    groups, accounts, pick ids  one request
 *   second     balancer/second/second.c  what it hears, figures   one event
 *   log        base/log.c             sink, lines not written yet one copy
 *   sockets    http/conns.c           connections being watched   a list walk
 */
#ifndef PELORUS_BASE_LOCKS_H
#define PELORUS_BASE_LOCKS_H

#include "base/compiler.h"

#include <pthread.h>
#include <signal.h>

/* For those that are held for less than it takes to put a thread to sleep and
 * wake it: who finds one taken looks again for about a microsecond first. Ends
 * the process, as the others do, where that cannot be. */
static inline void lock_init(pthread_mutex_t *m)
{
    pthread_mutexattr_t how;
    int rc = pthread_mutexattr_init(&how);

    assert(rc == 0);
    rc = pthread_mutexattr_settype(&how, PTHREAD_MUTEX_ADAPTIVE_NP);
    assert(rc == 0);
    rc = pthread_mutex_init(m, &how);
    assert(rc == 0);
    (void)rc;
    (void)pthread_mutexattr_destroy(&how);
}

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

/* Starts a thread that takes no signals, so that none breaks its calls. Ends
 * the process if there can be none: as with memory, nothing goes on without. */
static inline void lock_start_thread(pthread_t *thread, void *(*main)(void *),
                                     void *arg)
{
    sigset_t all, before;
    int rc;

    /* The new thread inherits the mask. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(thread, NULL, main, arg);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    assert(rc == 0);
}

#endif
