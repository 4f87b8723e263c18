/* test_node.c - names of nodes. */
#include "registry/node.h"

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

static void groups_are_trimmed_and_lower_case(void **state)
{
    char out[NODE_GROUP_MAX + 1];
    char longest[NODE_GROUP_MAX + 2];

    (void)state;
    assert_int_equal(node_clean_group(" \tGPU-1.a_b \n", out, NULL), 0);
    assert_string_equal(out, "gpu-1.a_b");
    assert_int_equal(node_clean_group("", out, NULL), 0);
    assert_string_equal(out, "default");
    assert_int_equal(node_clean_group("   ", out, NULL), 0);
    assert_string_equal(out, "default");
    assert_int_equal(node_clean_group("a b", out, NULL), ERR_INVALID);
    assert_int_equal(node_clean_group("a/b", out, NULL), ERR_INVALID);
    assert_int_equal(node_clean_group("\xc3\xa9", out, NULL), ERR_INVALID);
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
        cmocka_unit_test(an_unknown_process_equals_and_differs_from_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
