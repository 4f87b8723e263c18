/*
 * test_balancer_tree.c - the tree behind the ledger and the weighted policies
 * beside a list that is sorted anew each time: of any size, with keys that are
 * all different, few, or all the same.
 */
#include "tests/unit/test_balancer.h"

#include "balancer/tree_priv.h"
#include "base/rand.h"

#include <stdlib.h>

#define SLOTS_MAX 5000U

struct slot {
    uint64_t key;
    uint32_t slot;
};

static int by_key(const void *a, const void *b)
{
    const struct slot *x = a, *y = b;

    if (x->key != y->key)
        return x->key < y->key ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}

static struct slot sorted[SLOTS_MAX];
static uint64_t keys[SLOTS_MAX];

/* As many as were asked for, or all; the smallest ones, in order. And every
 * slot has its key. */
static void assert_front(struct tree *t, uint32_t n, uint32_t want)
{
    const struct tree_front *f = balancer_tree_front(t, want);
    uint32_t some = 0;

    for (uint32_t i = 0; i < n; i++)
        if (keys[i] != TREE_NONE)
            sorted[some++] = (struct slot){keys[i], i};
    qsort(sorted, some, sizeof(*sorted), by_key);
    assert_true(f->n >= (some < want ? some : want));
    assert_true(f->n <= some);
    for (uint32_t i = 0; i < f->n; i++) {
        assert_int_equal(f->slot[f->at + i], sorted[i].slot);
        assert_true(f->key[f->at + i] == sorted[i].key);
    }
    for (uint32_t i = 0; i < n; i++) /* in the front or not */
        assert_true(balancer_tree_key(t, i) == keys[i]);
}

static uint64_t draw(struct rand *r, uint64_t different)
{
    if (rand_below(r, 40) == 0)
        return TREE_NONE;
    if (rand_below(r, 10) == 0)
        return rand_below(r, different) | UINT64_C(1) << 63; /* as hot ones */
    return rand_below(r, different) << rand_below(r, 3) * 8;
}

/* One change of a kind that the policies make. */
static void change(struct tree *t, uint32_t n, struct rand *r,
                   uint64_t different)
{
    uint32_t slot = (uint32_t)rand_below(r, n), to;
    const struct tree_front *f;

    switch (rand_below(r, 20)) {
    case 0: /* a slice of a tick */
        to = slot + 1 + (uint32_t)rand_below(r, n - slot);
        for (uint32_t i = slot; i < to; i++)
            tree_put(t, i, keys[i] = draw(r, different));
        balancer_tree_repair(t, slot, to);
        return;
    case 1: /* one is judged anew */
        tree_put(t, slot, keys[slot] = draw(r, different));
        balancer_tree_repair(t, slot, slot + 1);
        return;
    case 2:
        balancer_tree_set(t, slot, keys[slot] = draw(r, different));
        return;
    default: /* the first one is picked */
        f = balancer_tree_front(t, 1);
        if (f->n == 0)
            return;
        slot = f->slot[f->at];
        if (keys[slot] < UINT64_MAX - different)
            keys[slot] += 1 + rand_below(r, different / 4 + 1);
        balancer_tree_set(t, slot, keys[slot]);
    }
}

static void the_front_is_the_smallest_in_order(void **state)
{
    static const uint32_t sizes[] = {1, 7, 8, 9, 31, 33, 64, 100, 700, 5000};
    static const uint64_t different[] = {1, 3, 1000, UINT64_C(1) << 40};
    struct rand r;

    (void)state;
    rand_seed(&r, 1);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (size_t j = 0; j < ARRAY_LEN(different); j++) {
            struct tree t = {.n_levels = 0};
            uint32_t n = sizes[i];

            balancer_tree_resize(&t, n);
            for (uint32_t s = 0; s < n; s++)
                keys[s] = TREE_NONE;
            assert_front(&t, n, 1);
            for (uint32_t s = 0; s < n; s++)
                balancer_tree_set(&t, s, keys[s] = draw(&r, different[j]));
            for (uint32_t step = 0; step < 400000 / (n + 400); step++) {
                change(&t, n, &r, different[j]);
                if (rand_below(&r, 3) == 0)
                    assert_front(&t, n,
                                 1 + (uint32_t)rand_below(&r, TREE_FRONT_WALK));
            }
            balancer_tree_close(&t);
        }
}

static void a_tree_that_grows_keeps_its_keys(void **state)
{
    struct tree t = {.n_levels = 0};
    struct rand r;

    (void)state;
    rand_seed(&r, 2);
    for (uint32_t n = 1; n <= SLOTS_MAX; n++) {
        if (n == 1 || (n & (n - 1)) == 0)
            balancer_tree_resize(&t, n < SLOTS_MAX / 2 ? n * 2 : SLOTS_MAX);
        balancer_tree_set(&t, n - 1, keys[n - 1] = draw(&r, 1000));
        if (n % 50 == 1)
            assert_front(&t, n, TREE_FRONT_WALK);
    }
    balancer_tree_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_front_is_the_smallest_in_order),
        cmocka_unit_test(a_tree_that_grows_keeps_its_keys),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
