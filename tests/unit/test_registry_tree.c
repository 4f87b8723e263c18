/*
 * test_registry_tree.c - the ordered keys of the memory registry, against a
 * plain table that is searched from end to end.
 */
#include "tests/lib/memory/memory_priv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEYS 2000

static void key_of(size_t i, char out[32])
{
    (void)snprintf(out, 32, "/t/%zu/%zu", i % 40, i);
}

/* Every node in order, and exactly those that `present` says. */
static void check_all(const struct memory_tree *tree, const bool *present,
                      size_t n)
{
    struct memory_pos pos = memory_tree_below(tree, "/");
    const struct memory_node *node;
    const char *last = "";
    size_t seen = 0;

    while ((node = memory_tree_next(tree, &pos)) != NULL) {
        assert_true(strcmp(last, node->text) < 0);
        last = node->text;
        seen++;
    }
    assert_int_equal(seen, n);
    assert_int_equal(tree->n_nodes, n);
    for (size_t i = 0; i < KEYS; i++) {
        char key[32];

        key_of(i, key);
        assert_int_equal(memory_tree_find(tree, key) != NULL, present[i]);
    }
}

static void any_order_of_puts_and_removes_stays_sorted(void **state)
{
    static bool present[KEYS];
    struct memory_tree tree = {0};
    struct rand rand;
    size_t n = 0;

    (void)state;
    rand_seed(&rand, 1);
    for (size_t turn = 0; turn < 20000; turn++) {
        size_t i = rand_below(&rand, KEYS);
        /* It grows in the first half and shrinks in the second. */
        bool put = rand_below(&rand, 10) < (turn < 10000 ? 8 : 2);
        struct memory_node *before = NULL;
        char key[32];

        key_of(i, key);
        if (put) {
            before = memory_tree_put(&tree, memory_node_new(key, "v", 1));
            assert_int_equal(before != NULL, present[i]);
            n += before == NULL;
            present[i] = true;
        } else if (present[i]) {
            before = memory_tree_remove(&tree, key);
            assert_string_equal(before->text, key);
            n--;
            present[i] = false;
        }
        memory_node_unref(before);
        if (turn % 2000 == 0)
            check_all(&tree, present, n);
    }
    check_all(&tree, present, n);
    memory_tree_close(&tree);
}

static void below_begins_behind_the_key_itself(void **state)
{
    static const char *const keys[] = {"/a", "/a-b", "/a/1", "/a0", "/b"};
    struct memory_tree tree = {0};
    struct memory_pos pos;

    (void)state;
    assert_null(memory_tree_find(&tree, "/a"));
    assert_false(memory_tree_has_below(&tree, "/a"));
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        assert_null(memory_tree_put(&tree, memory_node_new(keys[i], "v", 1)));
    pos = memory_tree_below(&tree, "/a");
    assert_string_equal(memory_tree_next(&tree, &pos)->text, "/a/1");
    assert_true(memory_tree_has_below(&tree, "/a"));
    assert_false(memory_tree_has_below(&tree, "/a-b"));
    assert_false(memory_tree_has_below(&tree, "/b"));
    pos = memory_tree_from(&tree, "/c");
    assert_null(memory_tree_next(&tree, &pos));
    memory_tree_close(&tree);
}

static void a_node_lives_as_long_as_somebody_shows_it(void **state)
{
    struct memory_tree tree = {0};
    struct memory_node *shown, *before;

    (void)state;
    assert_null(memory_tree_put(&tree, memory_node_new("/k", "old", 3)));
    shown = memory_node_ref(memory_tree_find(&tree, "/k"));
    before = memory_tree_put(&tree, memory_node_new("/k", "new", 3));
    memory_node_unref(before);
    assert_string_equal(shown->entry.value, "old");
    assert_string_equal(memory_tree_find(&tree, "/k")->entry.value, "new");
    memory_node_unref(shown);
    memory_tree_close(&tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_order_of_puts_and_removes_stays_sorted),
        cmocka_unit_test(below_begins_behind_the_key_itself),
        cmocka_unit_test(a_node_lives_as_long_as_somebody_shows_it),
    };

    return cmocka_run_group_tests_name("registry tree", tests, NULL, NULL);
}
