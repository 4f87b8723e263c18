/*
 * library.c - the functions and constants of ZooKeeper's client library.
 */
#include "registry/zookeeper/zookeeper_priv.h"

struct zk_library libzk;

static struct library library =
    LIBRARY(ZK_LIBRARY, libzk, "libzookeeper_st.so.2", "libzookeeper-st2");

int zk_library_load(struct err *err)
{
    return library_load(&library, err);
}
