/*
 * test_jdbc.c - what a JDBC URL means to us, and what it must not come to mean
 * to the C libraries.
 */
#include "registry/dbms.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TEST(f) cmocka_unit_test(f)

static struct dbms_target t;
static struct err problem;

static int parse(const char *url)
{
    dbms_target_close(&t);
    err_clear(&problem);
    return dbms_target_parse(&t, url, &problem);
}

static void accept(const char *url)
{
    if (parse(url) != 0) {
        fail_msg("%s: %s", url, problem.msg);
    }
}

static void refuse(const char *url, const char *word)
{
    assert_int_equal(parse(url), ERR_INVALID);
    if (strstr(problem.msg, word) == NULL ||
        strstr(problem.msg, "jdbc-url") == NULL) {
        fail_msg("%s: %s", url, problem.msg);
    }
}

static void hosts_are_names_and_addresses(void **state)
{
    (void)state;
    accept("jdbc:mysql://localhost:3307/d");
    assert_string_equal(t.hosts[0].name, "localhost");
    assert_int_equal(t.hosts[0].port, 3307);
    accept("jdbc:postgresql://a.b-c_d,[::1]:5,10.0.0.1/d?x=y");
    assert_int_equal(t.n_hosts, 3);
    assert_string_equal(t.hosts[0].name, "a.b-c_d");
    assert_int_equal(t.hosts[0].port, 5432);
    assert_string_equal(t.hosts[1].name, "::1");
    assert_int_equal(t.hosts[1].port, 5);
    assert_string_equal(t.hosts[2].name, "10.0.0.1");
}

/* A connection string to libmariadb, a directory of sockets or a plugin to
 * either library, another form of address to Connector/J. */
static void a_host_that_is_more_than_a_name_is_refused(void **state)
{
    (void)state;
    refuse("jdbc:mysql://a=b/d", "'a=b' holds a '='");
    refuse("jdbc:mysql://h,host=other:3306/d", "'host=other' holds a '='");
    refuse("jdbc:mysql://address=(host=h)(port=1)/d", "holds a '='");
    refuse("jdbc:mysql://(host=h,port=1)/d", "holds a '('");
    refuse("jdbc:postgresql://host=other dbname=x/d", "holds a '='");
    refuse("jdbc:postgresql://%2Ftmp/d", "holds a '%'");
    refuse("jdbc:postgresql://[=]:1/d", "holds a '='");
    refuse("jdbc:mysql://h;x/d", "holds a ';'");
    refuse("jdbc:mysql://h h/d", "holds a ' '");
    refuse("jdbc:postgresql:///d", "no host");
    refuse("jdbc:postgresql://h,,i/d", "a host without a name");
}

static void a_password_before_a_host_is_refused_and_not_repeated(void **state)
{
    (void)state;
    refuse("jdbc:mysql://u:geheim@h/d", "'@'");
    assert_null(strstr(problem.msg, "geheim"));
    refuse("jdbc:postgresql://u:ge=heim@h/d", "'@'");
    assert_null(strstr(problem.msg, "heim"));
}

/* The libraries get the name as it is; none is a connection string. */
static void a_database_is_any_name(void **state)
{
    (void)state;
    accept("jdbc:postgresql://h/a=b");
    assert_string_equal(t.database, "a=b");
    accept("jdbc:postgresql://h/postgresql%3A%2F%2Fother%2Fx?ssl=false");
    assert_string_equal(t.database, "postgresql://other/x");
    accept("jdbc:mysql://h/a%20b");
    assert_string_equal(t.database, "a b");
    refuse("jdbc:mysql://h/a%2", "a %");
    refuse("jdbc:mysql://h/a%00b", "a %");
}

static void parameters_are_read_as_the_java_drivers_do(void **state)
{
    (void)state;
    accept("jdbc:postgresql://h/d?password=a%26b%3Dc+d&currentSchema=x%2Cy");
    assert_string_equal(t.password, "a&b=c d");
    assert_string_equal(t.schema, "x,y");
    accept("jdbc:mysql://h/d?user=u&password=a+b");
    assert_string_equal(t.user, "u");
    assert_string_equal(t.password, "a+b");
    refuse("jdbc:mysql://h/d?password=%zz", "a %");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hosts_are_names_and_addresses),
        TEST(a_host_that_is_more_than_a_name_is_refused),
        TEST(a_password_before_a_host_is_refused_and_not_repeated),
        TEST(a_database_is_any_name),
        TEST(parameters_are_read_as_the_java_drivers_do),
    };
    int failed = cmocka_run_group_tests_name("jdbc", tests, NULL, NULL);

    dbms_target_close(&t);
    return failed;
}
