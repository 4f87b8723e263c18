/*
 * test_zookeeper.c - the conformance suite on a real ZooKeeper server, each
 * client behind a proxy of its own. What is ZooKeeper's own is tested in
 * test_zookeeper_tree.c, broken connections in _faults.c and _storm.c.
 */
#include "tests/registry/zookeeper_store.h"

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zktest_nothing_stands_outside_the_namespaces),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = conformance_run(&zookeeper_backend);
    failed += cmocka_run_group_tests_name("zookeeper", tests, NULL, NULL);
    zktest_end();
    return failed;
}
