/*
 * drive.c - the thread that turns the client library.
 *
 * The library without threads of its own costs a third less for each request
 * than its other build: nobody is woken to send what the loop could send, nor
 * once more to hand over what was read. The loop gives it requests, and this
 * thread waits for the socket, reads, and keeps the session alive, whatever the
 * loop does; both only under the mutex "handle", a few microseconds at a time
 * (some milliseconds for the names in a directory of 100,000).
 *
 * A request is sent by whoever gives it, as far as the socket takes it. This
 * thread has to be woken for what may be left over. That can only be a request
 * that is large: smaller ones are left over behind others, whose answers wake.
 *
 * Where all that is with the server may wait (reads for watches, a hundred at a
 * time), their answers are left to gather for REST_MS and read together: to be
 * woken for each costs more than to read it. Who asks for something that may
 * not wait ends that.
 *
 * If it cannot be sent at all, for the connection broke, the library (3.8)
 * drops the connection and forgets to answer what was on it: it would be mixed
 * up with what is sent on the next one, part of a packet included. So the next
 * one is broken before anything is sent, which it notices: then all are
 * answered. That it is lost is told at once, whenever there is a next one. If
 * none can be made for want of a descriptor, all are answered by that: no
 * server's word, though some were sent.
 *
 * A ping that cannot be sent it does not take for the end of the connection at
 * all: so it is made to send it once more.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/locks.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWERS_MAX 64 /* read before it looks at the time again */
#define MANY        8  /* answers that are worth a rest */
#define REST_MS     5  /* and for how long they gather */
#define FAILED_MS   10 /* before what the library could not do is tried again */

/* The next connection is there, and nothing was sent. The mutex is held. */
static void break_next(struct zk_drive *d, int fd)
{
    assert(d->broken);
    assert(fd >= 0);
    d->broken = false;
    (void)shutdown(fd, SHUT_RDWR);
    (void)libzk.zookeeper_process(d->zh, *libzk.ZOOKEEPER_READ);
}

int zk_drive_answer(struct zk_drive *d, int rc, bool patient)
{
    assert(d->asked[patient] > 0);
    d->told++;
    d->asked[patient]--;
    return zk_broken(rc) || libzk.zoo_state(d->zh) == *libzk.ZOO_CONNECTED_STATE
               ? rc
               : ZCONNECTIONLOSS;
}

/* Until when to wait for the socket; -1: its session is over. */
static int look(struct zk_drive *d, struct pollfd *socket)
{
    int fd = -1, interest = 0, ms, rc;
    struct timeval left = {0};

    lock_acquire(d->mutex);
    rc = libzk.zookeeper_interest(d->zh, &fd, &interest, &left);
    if (d->broken && rc == ZOK && fd >= 0) {
        break_next(d, fd);
        rc = libzk.zookeeper_interest(d->zh, &fd, &interest, &left);
    }
    if (rc != ZOK) /* it was a ping, or there is no connection to look at */
        (void)libzk.zookeeper_process(d->zh, *libzk.ZOOKEEPER_READ |
                                                 *libzk.ZOOKEEPER_WRITE);
    if (libzk.is_unrecoverable(d->zh) != ZOK)
        ms = -1;
    else
        ms = (int)(left.tv_sec * 1000 + (left.tv_usec + 999) / 1000);
    lock_release(d->mutex);
    socket->fd = rc == ZOK ? fd : -1; /* poll() does not mind that */
    socket->events =
        (short)(((interest & *libzk.ZOOKEEPER_READ) != 0 ? POLLIN : 0) |
                ((interest & *libzk.ZOOKEEPER_WRITE) != 0 ? POLLOUT : 0));
    socket->revents = 0;
    return rc != ZOK && ms >= 0 && ms < FAILED_MS ? FAILED_MS : ms;
}

/* The library takes one packet of the server's at a time. As long as that was
 * somebody's answer the next one is likely to be there, too. */
static void process(struct zk_drive *d, int happened)
{
    int events = 0;
    size_t told;

    if ((happened & (POLLIN | POLLERR)) != 0)
        events |= *libzk.ZOOKEEPER_READ;
    if ((happened & (POLLOUT | POLLHUP | POLLERR)) != 0)
        events |= *libzk.ZOOKEEPER_WRITE;
    for (int i = 0; i < ANSWERS_MAX; i++) {
        lock_acquire(d->mutex);
        told = d->told;
        (void)libzk.zookeeper_process(d->zh, events);
        told = d->told - told;
        lock_release(d->mutex);
        if (told == 0 || (events & *libzk.ZOOKEEPER_READ) == 0)
            return;
        events = *libzk.ZOOKEEPER_READ;
    }
}

/* Answers have begun to come: if nobody waits for them, many at once. */
static void rest(struct zk_drive *d, struct pollfd *woken)
{
    bool may;

    lock_acquire(d->mutex);
    may = d->resting = d->asked[false] == 0 && d->asked[true] >= MANY;
    lock_release(d->mutex);
    if (!may)
        return;
    (void)poll(woken, 1, REST_MS);
    lock_acquire(d->mutex);
    d->resting = false;
    lock_release(d->mutex);
}

static void *drive(void *arg)
{
    struct zk_drive *d = arg;
    struct pollfd fds[2] = {{.fd = d->wake, .events = POLLIN}};
    uint64_t count;

    assert(d->zh != NULL);
    while (!atomic_load(&d->ending)) {
        int ms = look(d, &fds[1]);

        (void)poll(fds, ARRAY_LEN(fds), ms);
        if (fds[0].revents == 0 && fds[1].revents == POLLIN)
            rest(d, &fds[0]);
        if (fds[0].revents != 0)
            (void)!read(d->wake, &count, sizeof(count));
        if (ms >= 0)
            process(d, fds[1].revents);
    }
    return NULL;
}

int zk_drive_start(struct zk_drive *d, zhandle_t *zh, pthread_mutex_t *mutex,
                   zk_lost_f *lost, void *arg)
{
    assert(!d->started);
    assert(zh != NULL);
    d->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (d->wake < 0)
        return -1;
    d->zh = zh;
    d->mutex = mutex;
    d->lost = lost;
    d->arg = arg;
    d->started = true;
    lock_start_thread(&d->thread, drive, d);
    return 0;
}

static void wake(const struct zk_drive *d)
{
    uint64_t one = 1;

    (void)!write(d->wake, &one, sizeof(one));
}

void zk_drive_sent(struct zk_drive *d, bool patient, bool large)
{
    bool broke = libzk.zoo_state(d->zh) == *libzk.ZOO_NOTCONNECTED_STATE;

    assert(d->started);
    if (broke && !d->broken) {
        d->broken = true;
        d->lost(d->zh, d->arg); /* that, too, it did not tell */
    }
    d->asked[patient]++;
    if (large || broke || (d->resting && !patient))
        wake(d);
}

void zk_drive_stop(struct zk_drive *d)
{
    if (!d->started)
        return;
    atomic_store(&d->ending, true);
    wake(d);
    (void)pthread_join(d->thread, NULL);
    (void)close(d->wake);
    d->started = false;
}
