/* test_node.c - names of nodes. */
#include "cluster/node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void kinds_have_the_names_of_the_registry(void **state)
{
    enum node_kind kind;

    (void)state;
    for (int k = 0; k < NODE_KINDS; k++) {
        const char *name = node_kind_name((enum node_kind)k);

        assert_int_equal(node_kind_parse(name, &kind), 0);
        assert_int_equal(kind, k);
    }
    assert_string_equal(node_kind_name(NODE_ALERT_SERVER), "alert-server");
    assert_int_equal(node_kind_parse("Master", &kind), ERR_INVALID);
    assert_int_equal(node_kind_parse("", &kind), ERR_INVALID);
}

static void addresses_are_a_host_and_a_port(void **state)
{
    static const char *const good[] = {
        "10.0.0.1:1234", "worker-1.example.org:1", "W_1:65535",
        "[::1]:1234",    "2001:db8::1:2:3:4:1234", "[2001:db8::1]:80",
    };
    static const char *const bad[] = {
        "",     "h",       ":1",     "h:",         "h:0",   "h:65536",
        "h:01", "h:+1",    "h:1x",   "h: 1",       "h:-1",  "a/b:1",
        "..:1", "a b:1",   "[::1:1", "[h]:1",      "h:1:2", "h\n:1",
        "[]:1", "h\x7f:1", ".:1",    "\xc3\xa9:1", "h:1 ",
    };
    char longest[NODE_ADDRESS_MAX + 2];
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (node_check_address(good[i], &err) != 0)
            fail_msg("%s: %s", good[i], err.msg);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (node_check_address(bad[i], &err) != ERR_INVALID)
            fail_msg("\"%s\" was taken", bad[i]);
    memset(longest, 'h', sizeof(longest));
    memcpy(longest + NODE_ADDRESS_MAX - 2, ":1", 3);
    assert_int_equal(node_check_address(longest, &err), 0);
    memcpy(longest + NODE_ADDRESS_MAX - 1, ":1", 3);
    assert_int_equal(node_check_address(longest, &err), ERR_INVALID);
    assert_int_equal(node_check_address("h", &err), ERR_INVALID);
    assert_string_equal(err.msg, "address \"h\": no port; write host:port");
}

static void who_writes_an_address_says_where_its_host_ends(void **state)
{
    static const char *const good[] = {"10.0.0.1:1234", "h:1", "[::1]:5",
                                       "[2001:db8::1:2]:80"};
    static const char *const bad[] = {
        "::1:5", "fe80::1:1234", "2001:db8:1:2:3:4:5:6:1234",
        "::",    "::1",          "1:2:3:4:5:6:7:8"};
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        if (node_ask_address(good[i], &err) != 0)
            fail_msg("%s: %s", good[i], err.msg);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(node_ask_address(bad[i], &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "in brackets, as in"));
    }
    assert_int_equal(node_ask_address("a:b:1", &err), ERR_INVALID);
    assert_int_equal(node_ask_address("", &err), ERR_INVALID);
}

static void an_ipv6_host_has_one_spelling(void **state)
{
    static const char *const cases[][2] = {
        {"[2001:DB8:0:0::7]:1234", "[2001:db8::7]:1234"},
        {"[2001:0db8::0007]:1234", "[2001:db8::7]:1234"},
        {"2001:db8::7:1234", "[2001:db8::7]:1234"},
        {"2001:db8:0:0:0:0:0:7:1234", "[2001:db8::7]:1234"},
        {"[::FFFF:10.0.0.1]:5", "[::ffff:10.0.0.1]:5"},
        {"[::ffff:a00:1]:5", "[::ffff:10.0.0.1]:5"},
        {"[::1]:5", "[::1]:5"},
        {"10.0.0.1:5", "10.0.0.1:5"},
        {"Host-A:5", "Host-A:5"},
        {"none", "none"},
        {"", ""},
        {"[]:5", "[]:5"},
    };
    static const char *const others[] = {"2001:db8::7:1234",
                                         "2001:db8:0:0:0:0:0:7:1234",
                                         "[2001:db8:0:0:0:0:0:7]:1234"};
    char out[NODE_ADDRESS_MAX + 1];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_string_equal(node_canonical(cases[i][0], out), cases[i][1]);
        assert_string_equal(node_canonical(out, out), cases[i][1]);
    }
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_true(node_spelling("[2001:db8::7]:1234", i, out));
        assert_string_equal(out, others[i]);
        assert_string_equal(node_canonical(out, out), "[2001:db8::7]:1234");
    }
    assert_false(node_spelling("[2001:db8::7]:1234", 3, out));
    assert_false(node_spelling("10.0.0.1:5", 0, out));
}

static void groups_are_trimmed_and_lower_case(void **state)
{
    char out[NODE_GROUP_MAX + 1];
    char longest[NODE_GROUP_MAX + 2];
    static const char *const no_names[] = {
        "a/b",  "/",        ".",        "..",   "a\nb",
        "\x7f", "\xc2\x85", "\xe6\xb5", "\xff", "a\xc0\x80"};

    (void)state;
    assert_int_equal(node_clean_group(" \tGPU-1.a_b \n", out, NULL), 0);
    assert_string_equal(out, "gpu-1.a_b");
    assert_int_equal(node_clean_group("", out, NULL), 0);
    assert_string_equal(out, "default");
    assert_int_equal(node_clean_group("   ", out, NULL), 0);
    assert_string_equal(out, "default");
    assert_int_equal(node_clean_group("GPU pool", out, NULL), 0);
    assert_string_equal(out, "gpu pool");
    assert_int_equal(node_clean_group(" \xe6\xb5\x8b\xe8\xaf\x95", out, NULL),
                     0);
    assert_string_equal(out, "\xe6\xb5\x8b\xe8\xaf\x95");
    assert_int_equal(node_clean_group("10.0.0.1:1", out, NULL), 0);
    assert_int_equal(node_clean_group("...", out, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(no_names); i++)
        if (node_clean_group(no_names[i], out, NULL) != ERR_INVALID)
            fail_msg("\"%s\" was taken", no_names[i]);
    memset(longest, 'g', sizeof(longest));
    longest[NODE_GROUP_MAX] = '\0';
    assert_int_equal(node_clean_group(longest, out, NULL), 0);
    assert_string_equal(out, longest);
    longest[NODE_GROUP_MAX] = 'g';
    longest[NODE_GROUP_MAX + 1] = '\0';
    assert_int_equal(node_clean_group(longest, out, NULL), ERR_INVALID);
}

static void an_unknown_process_equals_and_differs_from_none(void **state)
{
    struct process a = {1, 100, 7, true}, again = {2, 100, 7, true};
    struct process other = {1, 101, 7, true}, unknown = {0, 100, 7, false};
    char text[PROCESS_TEXT_SIZE];

    (void)state;
    assert_true(process_same(&a, &again));
    assert_false(process_differs(&a, &again));
    assert_true(process_differs(&a, &other));
    assert_false(process_same(&a, &unknown));
    assert_false(process_differs(&a, &unknown));
    assert_false(process_same(&unknown, &unknown));
    assert_string_equal(process_text(&a, text), "100-7");
    assert_string_equal(process_text(&unknown, text), "?");
    a.startup_time = a.process_id = INT64_MIN;
    assert_string_equal(process_text(&a, text),
                        "-9223372036854775808--9223372036854775808");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_have_the_names_of_the_registry),
        cmocka_unit_test(addresses_are_a_host_and_a_port),
        cmocka_unit_test(who_writes_an_address_says_where_its_host_ends),
        cmocka_unit_test(groups_are_trimmed_and_lower_case),
        cmocka_unit_test(an_ipv6_host_has_one_spelling),
        cmocka_unit_test(an_unknown_process_equals_and_differs_from_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
