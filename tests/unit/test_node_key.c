/*
 * test_node_key.c - which keys are a node's.
 */
#include "cluster/heartbeat.h"
#include "registry/registry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* 130 bytes: twice that is neither an address nor a group. */
#define LONG                                                                   \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"        \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void keys_name_their_node_or_are_refused(void **state)
{
    static const struct {
        const char *key;
        enum node_kind kind;
        const char *address, *group;
        bool ours;
    } good[] = {
        {"/nodes/master/h:1", NODE_MASTER, "h:1", "", false},
        {"/nodes/worker/h:1", NODE_WORKER, "h:1", "", false},
        {"/nodes/worker/GPU/h:1", NODE_WORKER, "h:1", "gpu", false},
        {"/nodes/worker/default/h:1", NODE_WORKER, "h:1", "default", false},
        {"/nodes/worker/a b/h:1", NODE_WORKER, "h:1", "a b", false},
        {"/nodes/worker/a:b/10.0.0.1:1234", NODE_WORKER, "10.0.0.1:1234", "a:b",
         false},
        {"/nodes/worker/a.b:1/h:1", NODE_WORKER, "h:1", "a.b:1", false},
        {"/nodes/worker/\xe7\xbb\x84/[::1]:1", NODE_WORKER, "[::1]:1",
         "\xe7\xbb\x84", false},
        {"/nodes/worker/" LONG "/h:1", NODE_WORKER, "h:1", LONG, false},
        {"/nodes/worker/" LONG LONG "/h:1", NODE_WORKER, "h:1", "", false},
        {"/nodes/worker/\xe7\xbb/h:1", NODE_WORKER, "h:1", "", false},
        {"/nodes/worker/" LONG ".example.org:65535", NODE_WORKER,
         LONG ".example.org:65535", "", false},
        {"/nodes/worker/fe80::1:1234", NODE_WORKER, "[fe80::1]:1234", "",
         false},
        {"/pelorus/nodes/worker/[FE80:0::1]:1234", NODE_WORKER,
         "[fe80::1]:1234", "", true},
        {"/nodes/alert-server/h:1", NODE_ALERT_SERVER, "h:1", "", false},
        {"/pelorus/nodes/worker/h:1", NODE_WORKER, "h:1", "", true},
    };
    static const char *const bad[] = {
        "/nodes",
        "/nodes/master",
        "/nodes/master/",
        "/nodes/worker/x",
        "/nodes/other/h:1",
        "/nodes/master/g/h:1",
        "/nodes/h:1",
        "/nodes/worker/a/b/h:1",
        "/pelorus/nodes/worker/g/h:1",
        "/lock/master",
        "/nodes//h:1",
        "/nodes/worker/h:1/",
        "/nodes/worker//h:1",
        "/nodes/worker/" LONG LONG ":1",
        "/nodes/worker/6d5ad1f5-6ed8-4bd4-9a5f-3f9a0c9f2a77",
    };
    struct node_key key;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (node_key_parse(good[i].key, &key, &err) != 0)
            fail_msg("%s", err.msg);
        assert_int_equal(key.kind, good[i].kind);
        assert_string_equal(key.address, good[i].address);
        assert_string_equal(key.group, good[i].group);
        assert_int_equal(key.ours, good[i].ours);
        /* a group that is left out is said */
        assert_int_equal(
            key.problem[0] != '\0',
            good[i].group[0] == '\0' && good[i].kind == NODE_WORKER &&
                !good[i].ours &&
                strchr(good[i].key + strlen("/nodes/worker/"), '/') != NULL);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (node_key_parse(bad[i], &key, &err) != ERR_INVALID)
            fail_msg("%s was taken", bad[i]);
}

/* Whoever looks for a node looks exactly where others see it. */
static void keys_are_made_as_they_are_read(void **state)
{
    static const char *const groups[] = {
        "gpu", "a:b", "a.b:1", "10.0.0.9:99", "\xe7\xbb\x84", "a b", LONG};
    char key[REGISTRY_KEY_MAX + 1], group[NODE_GROUP_MAX + 1];
    char address[NODE_ADDRESS_MAX + 1];
    struct node_key back;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(groups); i++) {
        assert_true(node_key(NODE_WORKER, "h:1", groups[i], key));
        assert_int_equal(node_key_parse(key, &back, NULL), 0);
        assert_string_equal(back.address, "h:1");
    }
    assert_true(node_key(NODE_MASTER, "h:1", NULL, key));
    assert_string_equal(key, "/nodes/master/h:1");
    assert_string_equal(node_key_ours(NODE_MASTER, "h:1", key),
                        "/pelorus/nodes/master/h:1");
    assert_false(node_key(NODE_MASTER, "h:1", "a/b", key));
    assert_false(node_key(NODE_WORKER, "a:b", NULL, key));
    assert_true(node_key(NODE_WORKER, "h:1", LONG LONG, key));
    memset(group, 'g', NODE_GROUP_MAX);
    group[NODE_GROUP_MAX] = '\0';
    memset(address, 'a', NODE_ADDRESS_MAX);
    memcpy(address + NODE_HOST_MAX, ":65535", 7);
    assert_true(node_key(NODE_WORKER, address, group, key));
    assert_int_equal(node_key_parse(key, &back, NULL), 0);
    assert_string_equal(back.group, group);
    assert_string_equal(back.address, address);
    assert_false(node_key(NODE_WORKER, "h:1", LONG LONG LONG LONG LONG, key));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_name_their_node_or_are_refused),
        cmocka_unit_test(keys_are_made_as_they_are_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
