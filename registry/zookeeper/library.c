/*
 * library.c - the functions and constants of ZooKeeper's client library.
 */
#include "registry/zookeeper/zookeeper_priv.h"

struct zk_library libzk;

int zk_library_load(struct err *err)
{
    static const char *const names[] = {ZK_LIBRARY(LIBRARY_NAME)};
    static struct library library = {.file = "libzookeeper_mt.so.2",
                                     .package = "libzookeeper-mt2",
                                     .names = names,
                                     .n = ARRAY_LEN(names),
                                     .table = &libzk};

    static_assert(sizeof(libzk) == sizeof(names), "one slot for each name");
    return library_load(&library, err);
}
