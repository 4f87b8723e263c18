/*
 * test_mysql.c - the MySQL registry on a real MariaDB server: the conformance
 * suite, and a server that goes back.
 */
#include "tests/registry/sql_compare.h"
#include "tests/registry/sql_place.h"
#include "tests/registry/sql_store.h"
#include "tests/registry/sql_text.h"

int main(void)
{
    int failed;

    sql_store_use(&mysql_server);
    failed = sql_place_tests();
    failed += sql_compare_tests();
    failed += sql_text_tests();
    failed += conformance_run(&sql_store_backend);
    sql_store_end();
    return failed;
}
