/*
 * test_library.c - libraries that are loaded when they are first needed.
 */
#include "base/library/curl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define FUNCTIONS(X) X(curl_free) X(curl_getdate)

static void what_is_there_is_found(void **state)
{
    static const char *const names[] = {FUNCTIONS(LIBRARY_NAME)};
    struct {
        FUNCTIONS(LIBRARY_SLOT)
    } table = {0};
    struct library l = {.file = "libcurl.so.4",
                        .package = "libcurl4",
                        .names = names,
                        .n = ARRAY_LEN(names),
                        .table = &table};
    struct err err;

    (void)state;
    assert_int_equal(library_load(&l, &err), 0);
    assert_true(l.loaded);
    assert_int_equal(table.curl_getdate("Thu, 01 Jan 1970 00:00:17 GMT", NULL),
                     17);
    table.curl_free(NULL);
    table.curl_free = NULL;
    assert_int_equal(library_load(&l, &err), 0); /* not again */
    assert_null(table.curl_free);
}

static void a_library_that_is_missing_is_named(void **state)
{
    static const char *const names[] = {"f"};
    void *table[1] = {NULL};
    struct library l = {.file = "libpelorus-none.so.7",
                        .package = "none7",
                        .names = names,
                        .n = 1,
                        .table = table};
    struct err err;

    (void)state;
    assert_int_equal(library_load(&l, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "libpelorus-none.so.7 cannot be loaded"));
    assert_non_null(strstr(err.msg, "apt-get install none7"));
    assert_false(l.loaded);
}

static void a_function_that_is_missing_is_named(void **state)
{
    static const char *const names[] = {"curl_free", "curl_none"};
    void *table[2] = {NULL, NULL};
    struct library l = {.file = "libcurl.so.4",
                        .package = "libcurl4",
                        .names = names,
                        .n = 2,
                        .table = table};
    struct err err;

    (void)state;
    assert_int_equal(library_load(&l, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "curl_none"));
    assert_false(l.loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_there_is_found),
        cmocka_unit_test(a_library_that_is_missing_is_named),
        cmocka_unit_test(a_function_that_is_missing_is_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
