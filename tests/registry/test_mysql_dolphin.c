/*
 * test_mysql_dolphin.c - beside DolphinScheduler, on a real server.
 */
#include "tests/registry/sql_dolphin.h"
#include "tests/registry/sql_store.h"

int main(void)
{
    int failed;

    sql_store_use(&mysql_server);
    failed = sql_dolphin_tests() + sql_lock_tests();
    sql_store_end();
    return failed;
}
