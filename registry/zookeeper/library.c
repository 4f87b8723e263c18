/*
 * library.c - the functions and constants of ZooKeeper's client library, and
 * the numbers that it gives to requests.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <time.h>

/* So far from the numbers that are no request's we begin to leave some out, and
 * so far behind them we end: the count need not be exact. */
#define NUMBERS_NEAR 4096

struct zk_library libzk;

static struct library library =
    LIBRARY(ZK_LIBRARY, libzk, "libzookeeper_st.so.2", "libzookeeper-st2");

static _Atomic uint32_t number; /* of the next request, of all sessions */

/* It takes a number before it sees that there is no session. */
static void leave_out(uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int rc = libzk.zoo_areconfig(NULL, NULL, NULL, NULL, -1, NULL, NULL);

        assert(rc == ZBADARGUMENTS);
    }
}

void zk_number_taken(void)
{
    uint32_t n = atomic_fetch_add_explicit(&number, 1, memory_order_relaxed);

    if (n != UINT32_MAX - NUMBERS_NEAR) /* one thread's alone */
        return;
    leave_out(UINT32_MAX - n + NUMBERS_NEAR);
    atomic_store(&number, (uint32_t)time(NULL) + NUMBERS_NEAR);
}

void zk_library_close(zhandle_t *zh)
{
    if (libzk.zoo_state(zh) == *libzk.ZOO_CONNECTED_STATE)
        zk_number_taken(); /* to say so */
    (void)libzk.zookeeper_close(zh);
}

int zk_library_load(struct err *err)
{
    int rc = library_load(&library, err);

    if (rc == 0 && atomic_load(&number) == 0) {
        atomic_store(&number, (uint32_t)time(NULL) + 1);
        leave_out(1); /* its first, which is the time of day */
    }
    return rc;
}
