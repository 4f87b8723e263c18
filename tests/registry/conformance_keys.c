/*
 * conformance_keys.c - single keys: reading, writing, deleting, listing, and
 * what is no key or value at all.
 */
#include "tests/registry/conformance.h"

#include "base/mem.h"
#include "cluster/gate.h"
#include "cluster/heartbeat.h"
#include "work/record.h"

#include <stdio.h>
#include <string.h>

static void directories_are_never_reported(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    assert_int_equal(do_put(w, r, "/d/e/f", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/d", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_get(w, r, "/d/e", NULL), ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, r, "/d/e"), ERR_OK);
    assert_int_equal(do_list(w, r, "/", NULL, 100, &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].key, "/d/e/f");
    got_free(&g);
}

static void a_directory_can_become_a_key(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/d/e", "child", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/d", "parent", REGISTRY_ABSENT, 0), ERR_OK);
    version_of(w, r, "/d", "parent");
    version_of(w, r, "/d/e", "child");
}

/* By a delete at the first version. It is made again when it is needed. */
static void an_empty_directory_can_be_deleted(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t first = registry_first_version(r);
    enum err_code code;

    first += first == 0; /* there are none, then */
    assert_int_equal(do_put(w, r, "/d/e/f", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_not_equal(do_delete(w, r, "/d/e", first), ERR_OK);
    assert_int_equal(do_delete(w, r, "/d/e/f", version_of(w, r, "/d/e/f", "1")),
                     ERR_OK);
    code = do_delete(w, r, "/d/e", first);
    assert_true(code == ERR_OK || code == ERR_NOT_FOUND);
    assert_int_equal(do_exists(w, r, "/d/e"), ERR_NOT_FOUND);
    assert_int_equal(do_put(w, r, "/d/e/f", "2", REGISTRY_ABSENT, 0), ERR_OK);
}

static void an_empty_persistent_value_is_invalid(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/empty", "", REGISTRY_ANY, 0), ERR_INVALID);
    assert_int_equal(do_exists(w, r, "/empty"), ERR_NOT_FOUND);
    assert_int_equal(do_put_ephemeral(w, r, "/empty", "", REGISTRY_ANY, 0),
                     ERR_OK);
    version_of(w, r, "/empty", "");
}

static void malformed_keys_are_refused_by_every_call(void **state)
{
    static const char *const bad[] = {
        "",     "a",    "/",     "/a/",     "//a",   "/a//b",  "/.",   "/..",
        "/./a", "/a/.", "/a/..", "/a/../b", "/a\nb", "/a\x7f", "/\x01"};
    struct world *w = *state;
    struct registry *r = world_open(w);

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(do_get(w, r, bad[i], NULL), ERR_INVALID);
        assert_int_equal(do_exists(w, r, bad[i]), ERR_INVALID);
        assert_int_equal(do_put(w, r, bad[i], "1", REGISTRY_ANY, 0),
                         ERR_INVALID);
        assert_int_equal(do_delete(w, r, bad[i], 1), ERR_INVALID);
        if (strcmp(bad[i], "/") != 0) {
            assert_int_equal(do_children(w, r, bad[i], NULL), ERR_INVALID);
            assert_int_equal(do_list(w, r, bad[i], NULL, 10, NULL),
                             ERR_INVALID);
        }
    }
    assert_int_equal(do_put(w, r, "/.../..a/a..", "1", REGISTRY_ANY, 0),
                     ERR_OK);
}

static void keys_have_at_most_600_bytes(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char key[REGISTRY_KEY_MAX + 2];

    memset(key, 'k', sizeof(key));
    key[0] = '/';
    key[100] = '/';
    key[REGISTRY_KEY_MAX + 1] = '\0';
    assert_int_equal(do_put(w, r, key, "1", REGISTRY_ANY, 0), ERR_TOO_LARGE);
    assert_int_equal(do_get(w, r, key, NULL), ERR_TOO_LARGE);
    key[REGISTRY_KEY_MAX] = '\0';
    assert_int_equal(do_put(w, r, key, "1", REGISTRY_ANY, 0), ERR_OK);
    version_of(w, r, key, "1");
}

/* What is told of a key, by every way there is. */
static void is_held(struct world *w, struct registry *r, const char *key,
                    bool ephemeral)
{
    const char *slash = strrchr(key, '/');
    char parent[REGISTRY_KEY_MAX + 1];
    struct seen seen = {0};
    struct got g = {0};
    size_t at;

    assert_true(key[0] == '/' && registry_check_key(key, NULL) == 0);
    (void)snprintf(parent, sizeof(parent), "%.*s", (int)(slash - key), key);
    seen_start(w, r, &seen, parent);
    at = seen.n;
    assert_int_equal(ephemeral
                         ? do_put_ephemeral(w, r, key, "1", REGISTRY_ABSENT, 0)
                         : do_put(w, r, key, "1", REGISTRY_ABSENT, 0),
                     ERR_OK);
    seen_expect(w, &seen, at, REGISTRY_ADD, key, "1");
    seen_stop(&seen);
    assert_int_equal(do_list(w, r, parent, NULL, 10, &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].key, key);
    assert_int_equal(do_children(w, r, parent, &g), ERR_OK);
    assert_string_equal(g.entries[0].key, slash + 1);
    assert_int_equal(do_delete(w, r, key, version_of(w, r, key, "1")), ERR_OK);
    assert_int_equal(do_exists(w, r, key), ERR_NOT_FOUND);
    got_free(&g);
}

/* A group of 255 bytes, an address of 259, a work item's id of 128. */
static void the_longest_names_are_held(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char address[NODE_ADDRESS_MAX + 1], group[NODE_GROUP_MAX + 1] = "";
    char id[129], key[REGISTRY_KEY_MAX + 1];

    memset(address, 'h', NODE_ADDRESS_MAX);
    for (size_t i = 60; i < 253; i += 61)
        address[i] = '.';
    memcpy(address + NODE_ADDRESS_MAX - 6, ":65535", 7);
    assert_int_equal(node_check_address(address, NULL), 0);
    for (size_t i = 0; i < NODE_GROUP_MAX / 3; i++)
        memcpy(group + 3 * i, "\xe7\xbb\x84", 4);
    memset(id, 'w', sizeof(id) - 1);
    id[sizeof(id) - 1] = '\0';
    assert_int_equal(work_check_id(id, NULL), 0);
    assert_true(node_key(NODE_WORKER, address, group, key));
    is_held(w, r, key, true);
    is_held(w, r, node_key_ours(NODE_ALERT_SERVER, address, key), false);
    is_held(w, r, gate_key(NODE_ALERT_SERVER, address, key, sizeof(key)),
            false);
    is_held(w, r, work_key(id, key), false);
    is_held(w, r, work_marker_key(NODE_ALERT_SERVER, address, id, key), false);
}

static void values_have_at_most_512_kib(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    char *value = mem_alloc(REGISTRY_VALUE_MAX + 2);
    struct got g = {0};

    memset(value, 'v', REGISTRY_VALUE_MAX + 1);
    value[REGISTRY_VALUE_MAX + 1] = '\0';
    assert_int_equal(do_put(w, r, "/big", value, REGISTRY_ANY, 0),
                     ERR_TOO_LARGE);
    assert_int_equal(do_exists(w, r, "/big"), ERR_NOT_FOUND);
    value[REGISTRY_VALUE_MAX] = '\0';
    assert_int_equal(do_put(w, r, "/big", value, REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/big", &g), ERR_OK);
    assert_int_equal(g.entries[0].value_len, REGISTRY_VALUE_MAX);
    assert_string_equal(g.entries[0].value, value);
    got_free(&g);
    mem_free(value);
}

static void values_may_hold_any_byte(void **state)
{
    static const char value[] = {'a', '\0', '\xff', '\n', '\'', '%', '\0'};
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got put = {0}, g = {0};

    registry_put(r, "/bytes/it's 100%_", value, sizeof(value), REGISTRY_ABSENT,
                 0, false, got_reply, &put);
    world_until(w, put.answers > 0);
    assert_int_equal(put.code, ERR_OK);
    assert_int_equal(do_get(w, r, "/bytes/it's 100%_", &g), ERR_OK);
    assert_int_equal(g.entries[0].value_len, sizeof(value));
    got_free(&put);
    got_free(&g);
}

static void put_absent_of_an_existing_key_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    registry_put(r, "/k", "2", 1, REGISTRY_ABSENT, 0, false, got_reply, &g);
    world_until(w, g.answers > 0);
    assert_int_equal(g.code, ERR_CONFLICT);
    assert_int_equal(g.failed_op, 0);
    version_of(w, r, "/k", "1");
    got_free(&g);
}

static void put_at_a_version_needs_that_version(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t first, second;

    assert_int_equal(do_put(w, r, "/k", "0", REGISTRY_VERSION, 1),
                     ERR_CONFLICT);
    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    first = version_of(w, r, "/k", "1");
    assert_int_equal(do_put(w, r, "/k", "2", REGISTRY_VERSION, first), ERR_OK);
    second = version_of(w, r, "/k", "2");
    assert_true(first != second);
    assert_int_equal(do_put(w, r, "/k", "3", REGISTRY_VERSION, first),
                     ERR_CONFLICT);
    assert_int_equal(do_put(w, r, "/k", "3", REGISTRY_VERSION, second), ERR_OK);
    assert_int_equal(do_put(w, r, "/k", "4", REGISTRY_VERSION, 0), ERR_INVALID);
    version_of(w, r, "/k", "3");
}

static void the_same_value_again_is_a_new_version(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t first;

    assert_int_equal(do_put(w, r, "/k", "same", REGISTRY_ANY, 0), ERR_OK);
    first = version_of(w, r, "/k", "same");
    assert_int_equal(do_put(w, r, "/k", "same", REGISTRY_ANY, 0), ERR_OK);
    assert_true(version_of(w, r, "/k", "same") != first);
}

static void created_stays_with_a_key_and_is_never_reused(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got first = {0}, g = {0};

    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/k", &first), ERR_OK);
    assert_int_equal(do_put(w, r, "/k", "2", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/k", &g), ERR_OK);
    assert_true(g.entries[0].created == first.entries[0].created);
    assert_int_equal(do_delete(w, r, "/k", g.entries[0].version), ERR_OK);
    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ABSENT, 0), ERR_OK);
    assert_int_equal(do_get(w, r, "/k", &g), ERR_OK);
    assert_true(g.entries[0].created > first.entries[0].created);
    got_free(&first);
    got_free(&g);
}

static void delete_is_exact(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/n/h:123", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/n/h:1234", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/n/h:12", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(
        do_delete(w, r, "/n/h:123", version_of(w, r, "/n/h:123", "1")), ERR_OK);
    assert_int_equal(do_exists(w, r, "/n/h:123"), ERR_NOT_FOUND);
    version_of(w, r, "/n/h:1234", "1");
    version_of(w, r, "/n/h:12", "1");
}

static void delete_needs_the_present_version(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    uint64_t old;

    assert_int_equal(do_put(w, r, "/k", "1", REGISTRY_ANY, 0), ERR_OK);
    old = version_of(w, r, "/k", "1");
    assert_int_equal(do_put(w, r, "/k", "2", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_delete(w, r, "/k", old), ERR_CONFLICT);
    assert_int_equal(do_delete(w, r, "/k", 0), ERR_INVALID);
    version_of(w, r, "/k", "2");
}

static void delete_of_a_key_with_children_is_a_conflict(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);

    assert_int_equal(do_put(w, r, "/p", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/p/c", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/p-not-a-child", "1", REGISTRY_ANY, 0),
                     ERR_OK);
    assert_int_equal(do_delete(w, r, "/p", version_of(w, r, "/p", "1")),
                     ERR_CONFLICT);
    assert_int_equal(do_delete(w, r, "/p/c", version_of(w, r, "/p/c", "1")),
                     ERR_OK);
    assert_int_equal(do_delete(w, r, "/p", version_of(w, r, "/p", "1")),
                     ERR_OK);
}

static void another_client_reads_what_was_written(void **state)
{
    struct world *w = *state;
    struct registry *a = world_open(w), *b = world_open(w);

    assert_int_equal(do_put(w, a, "/k", "a", REGISTRY_ANY, 0), ERR_OK);
    version_of(w, b, "/k", "a");
    assert_int_equal(do_put(w, b, "/k", "b", REGISTRY_ANY, 0), ERR_OK);
    version_of(w, a, "/k", "b");
}

static void list_gives_values_below_a_prefix_in_order(void **state)
{
    static const char *const keys[] = {"/l",    "/l/b",  "/l/a", "/l/a/1",
                                       "/l-/x", "/l0/x", "/lx",  "/l/a-1"};
    static const char *const below[] = {"/l/a", "/l/a-1", "/l/a/1", "/l/b"};
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(do_put(w, r, keys[i], keys[i], REGISTRY_ANY, 0),
                         ERR_OK);
    }
    assert_int_equal(do_list(w, r, "/l", NULL, 100, &g), ERR_OK);
    assert_int_equal(g.n_entries, ARRAY_LEN(below));
    for (size_t i = 0; i < ARRAY_LEN(below); i++) {
        assert_string_equal(g.entries[i].key, below[i]);
        assert_string_equal(g.entries[i].value, below[i]);
        assert_true(g.entries[i].version != 0 && g.entries[i].created != 0);
    }
    assert_null(g.next);
    assert_int_equal(do_list(w, r, "/none", NULL, 100, &g), ERR_OK);
    assert_int_equal(g.n_entries, 0);
    got_free(&g);
}

static void list_takes_pages_of_1_to_1000(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    assert_int_equal(do_put(w, r, "/l/1", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_put(w, r, "/l/2", "1", REGISTRY_ANY, 0), ERR_OK);
    assert_int_equal(do_list(w, r, "/l", NULL, 0, NULL), ERR_INVALID);
    assert_int_equal(do_list(w, r, "/l", NULL, REGISTRY_PAGE_MAX + 1, NULL),
                     ERR_INVALID);
    assert_int_equal(do_list(w, r, "/l", "/elsewhere", 1, NULL), ERR_INVALID);
    assert_int_equal(do_list(w, r, "/l", NULL, 1, &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_non_null(g.next);
    assert_int_equal(do_list(w, r, "/l", g.next, 1, &g), ERR_OK);
    assert_int_equal(g.n_entries, 1);
    assert_string_equal(g.entries[0].key, "/l/2");
    assert_null(g.next);
    got_free(&g);
}

/* Below "a" comes before "b" and behind "a-1": the order is that of whole keys,
 * byte by byte, whatever the size of the pages. */
static void pages_of_every_size_give_a_tree_in_order(void **state)
{
    static const char *const keys[] = {"/t/a",     "/t/a--",   "/t/a--/y/z",
                                       "/t/a-1",   "/t/a-1/x", "/t/a/b",
                                       "/t/a/b/c", "/t/a0",    "/t/a\xc3\xa9",
                                       "/t/b/c/d", "/t/b/e",   "/t/\xc3\xa9/1"};
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};

    for (size_t i = ARRAY_LEN(keys); i > 0; i--) {
        assert_int_equal(
            do_put(w, r, keys[i - 1], keys[i - 1], REGISTRY_ABSENT, 0), ERR_OK);
    }
    for (size_t limit = 1; limit <= ARRAY_LEN(keys) + 1; limit++) {
        size_t n = 0;

        do {
            char *from = mem_strdup(g.next);

            assert_int_equal(do_list(w, r, "/t", from, limit, &g), ERR_OK);
            assert_true(g.n_entries <= limit);
            for (size_t i = 0; i < g.n_entries; i++, n++) {
                assert_string_equal(g.entries[i].key, keys[n]);
                assert_string_equal(g.entries[i].value, keys[n]);
            }
            mem_free(from);
        } while (g.next != NULL);
        assert_int_equal(n, ARRAY_LEN(keys));
    }
    /* A page may begin at a key that somebody else's page ended at. */
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        assert_int_equal(do_list(w, r, "/t", keys[i], 100, &g), ERR_OK);
        assert_true(g.n_entries == ARRAY_LEN(keys) - i ||
                    g.n_entries == ARRAY_LEN(keys) - i - 1);
    }
    got_free(&g);
}

void world_fill(struct world *w, struct registry *r, const char *prefix,
                size_t n)
{
    size_t max = registry_max_ops(r) < 100 ? registry_max_ops(r) : 100;
    struct registry_op *ops = mem_array(max, sizeof(*ops));
    char(*keys)[64] = mem_array(max, sizeof(*keys));

    for (size_t i = 0; i < n;) {
        size_t m = 0;

        for (; m < max && i < n; m++, i++) {
            (void)snprintf(keys[m], sizeof(keys[m]), "%s/%06zu", prefix, i);
            ops[m] = (struct registry_op){.type = REGISTRY_PUT,
                                          .expect = REGISTRY_ABSENT,
                                          .key = keys[m],
                                          .value = keys[m],
                                          .value_len = strlen(keys[m])};
        }
        assert_int_equal(do_txn(w, r, ops, m, NULL), ERR_OK);
    }
    mem_free(ops);
    mem_free(keys);
}

static void ten_thousand_keys_are_listed_in_pages(void **state)
{
    struct world *w = *state;
    struct registry *r = world_open(w);
    struct got g = {0};
    size_t n = 0;

    world_fill(w, r, "/many", 10000);
    do {
        char *from = mem_strdup(g.next);

        assert_int_equal(do_list(w, r, "/many", from, 997, &g), ERR_OK);
        for (size_t i = 0; i < g.n_entries; i++, n++) {
            char key[64];

            (void)snprintf(key, sizeof(key), "/many/%06zu", n);
            assert_string_equal(g.entries[i].key, key);
            assert_string_equal(g.entries[i].value, key);
        }
        mem_free(from);
    } while (g.next != NULL);
    assert_int_equal(n, 10000);
    assert_int_equal(do_children(w, r, "/many", &g), ERR_OK);
    assert_int_equal(g.n_entries, 10000);
    got_free(&g);
}

int conformance_keys(void)
{
    const struct CMUnitTest tests[] = {
        CONFORMANCE_TEST(directories_are_never_reported),
        CONFORMANCE_TEST(a_directory_can_become_a_key),
        CONFORMANCE_TEST(an_empty_directory_can_be_deleted),
        CONFORMANCE_TEST(an_empty_persistent_value_is_invalid),
        CONFORMANCE_TEST(malformed_keys_are_refused_by_every_call),
        CONFORMANCE_TEST(keys_have_at_most_600_bytes),
        CONFORMANCE_TEST(the_longest_names_are_held),
        CONFORMANCE_TEST(values_have_at_most_512_kib),
        CONFORMANCE_TEST(values_may_hold_any_byte),
        CONFORMANCE_TEST(put_absent_of_an_existing_key_is_a_conflict),
        CONFORMANCE_TEST(put_at_a_version_needs_that_version),
        CONFORMANCE_TEST(the_same_value_again_is_a_new_version),
        CONFORMANCE_TEST(created_stays_with_a_key_and_is_never_reused),
        CONFORMANCE_TEST(delete_is_exact),
        CONFORMANCE_TEST(delete_needs_the_present_version),
        CONFORMANCE_TEST(delete_of_a_key_with_children_is_a_conflict),
        CONFORMANCE_TEST(another_client_reads_what_was_written),
        CONFORMANCE_TEST(list_gives_values_below_a_prefix_in_order),
        CONFORMANCE_TEST(list_takes_pages_of_1_to_1000),
        CONFORMANCE_TEST(pages_of_every_size_give_a_tree_in_order),
        CONFORMANCE_TEST(ten_thousand_keys_are_listed_in_pages),
    };

    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
