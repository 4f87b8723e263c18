/*
 * test_postgresql_faults.c - broken connections and killed servers, on a real
 * server.
 */
#include "tests/registry/sql_faults.h"
#include "tests/registry/sql_store.h"

int main(void)
{
    int failed;

    sql_store_use(&postgresql_server);
    failed = sql_fault_tests();
    sql_store_end();
    return failed;
}
