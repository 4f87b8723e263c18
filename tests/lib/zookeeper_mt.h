/*
 * zookeeper_mt.h - the ZooKeeper client library with threads and calls that
 * block, for tests and yardsticks. The product has the build without them, and
 * both have the same names: so neither may be linked with, or one would call
 * the other's functions.
 */
#ifndef PELORUS_TESTS_LIB_ZOOKEEPER_MT_H
#define PELORUS_TESTS_LIB_ZOOKEEPER_MT_H

#include "base/library/library.h"

#include <zookeeper/zookeeper.h>

#define ZKMT_LIBRARY(X)                                                        \
    X(deallocate_ACL_vector)                                                   \
    X(deallocate_String_vector)                                                \
    X(zerror)                                                                  \
    X(zoo_acreate)                                                             \
    X(zoo_add_auth)                                                            \
    X(zoo_aget)                                                                \
    X(zoo_amulti)                                                              \
    X(zoo_check_op_init)                                                       \
    X(zoo_client_id)                                                           \
    X(zoo_create)                                                              \
    X(zoo_create_op_init)                                                      \
    X(zoo_delete)                                                              \
    X(zoo_delete_op_init)                                                      \
    X(zoo_exists)                                                              \
    X(zoo_get_acl)                                                             \
    X(zoo_get_children)                                                        \
    X(zoo_multi)                                                               \
    X(zoo_set_acl)                                                             \
    X(zoo_set_debug_level)                                                     \
    X(zoo_set_op_init)                                                         \
    X(zoo_set_servers_resolution_delay)                                        \
    X(zoo_state)                                                               \
    X(zookeeper_close)                                                         \
    X(zookeeper_init)                                                          \
    X(zookeeper_init2)                                                         \
    X(ZOO_CONNECTED_STATE)                                                     \
    X(ZOO_CONTAINER)                                                           \
    X(ZOO_EPHEMERAL)                                                           \
    X(ZOO_EPHEMERAL_SEQUENTIAL)                                                \
    X(ZOO_EXPIRED_SESSION_STATE)                                               \
    X(ZOO_OPEN_ACL_UNSAFE)                                                     \
    X(ZOO_PERM_ALL)                                                            \
    X(ZOO_PERSISTENT)                                                          \
    X(ZOO_PERSISTENT_SEQUENTIAL)                                               \
    X(ZOO_READ_ACL_UNSAFE)                                                     \
    X(ZOO_SEQUENCE)                                                            \
    X(ZOO_SESSION_EVENT)

struct zkmt_library {
    ZKMT_LIBRARY(LIBRARY_SLOT)
};

/* Filled before main(); the process ends if the library is not there. */
extern struct zkmt_library zkmt;

#endif
