/*
 * zookeeper_contender.h - a process that takes the lock again and again, to be
 * killed: `test_zookeeper_contenders contend HOST:PORT NAME
 * TIMEOUT-MS`.
 */
#ifndef PELORUS_TESTS_REGISTRY_ZOOKEEPER_CONTENDER_H
#define PELORUS_TESTS_REGISTRY_ZOOKEEPER_CONTENDER_H

/*
 * In the namespace "dolphinscheduler", until it is killed or its parent ends:
 * take /lock/master-failover, write /history/<fence>-begin, hold the lock for
 * some milliseconds, write /history/<fence>-end, let go. Each value is NAME,
 * each write a txn that checks the lock, so that the history is in the order
 * of the registry itself and holds only what the holder wrote.
 */
_Noreturn void zookeeper_contend(const char *server, const char *name,
                                 long session_timeout_ms);

#endif
