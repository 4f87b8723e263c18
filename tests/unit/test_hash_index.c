/*
 * test_hash_index.c - the index beside a plain list of what is in it, with
 * hashes that are well mixed and with such as all fall upon one another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/map/hash_index.h"
#include "base/rand.h"

#define NUMBERS 2000

static bool there[NUMBERS];

static bool found(const struct hash_index *x, uint64_t hash, uint32_t number)
{
    struct hash_index_walk w = hash_index_walk(x, hash);
    uint32_t at;
    bool is = false;

    while (hash_index_next(&w, &at)) {
        assert_false(is && at == number); /* not twice */
        is |= at == number;
    }
    return is;
}

/* `hashes`: how many different ones there are. */
static void any_calls(uint64_t seed, uint64_t hashes)
{
    struct hash_index x = {0};
    struct rand r;
    uint32_t n = 0;

    rand_seed(&r, seed);
    memset(there, 0, sizeof(there));
    for (int i = 0; i < 30000; i++) {
        uint32_t number = (uint32_t)rand_below(&r, NUMBERS);
        uint64_t hash = hash_mix(number % hashes);

        assert_int_equal(found(&x, hash, number), there[number]);
        if (there[number])
            hash_index_remove(&x, hash, number);
        else
            hash_index_put(&x, hash, number);
        there[number] = !there[number];
        n = there[number] ? n + 1 : n - 1;
        assert_int_equal(x.n, n);
    }
    for (uint32_t i = 0; i < NUMBERS; i++)
        assert_int_equal(found(&x, hash_mix(i % hashes), i), there[i]);
    hash_index_close(&x);
    assert_int_equal(x.n, 0);
}

static void index_finds_what_is_in_it(void **state)
{
    (void)state;
    any_calls(1, NUMBERS);
    any_calls(2, NUMBERS);
}

static void index_tells_those_of_one_hash_apart(void **state)
{
    (void)state;
    any_calls(3, 100);
    any_calls(4, 7);
}

static void index_of_none_finds_none(void **state)
{
    struct hash_index x = {0};

    (void)state;
    assert_false(found(&x, 1, 1));
    hash_index_put(&x, 1, HASH_INDEX_MAX);
    assert_true(found(&x, 1, HASH_INDEX_MAX));
    assert_false(found(&x, 2, HASH_INDEX_MAX));
    hash_index_remove(&x, 1, HASH_INDEX_MAX);
    assert_false(found(&x, 1, HASH_INDEX_MAX));
    hash_index_close(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(index_finds_what_is_in_it),
        cmocka_unit_test(index_tells_those_of_one_hash_apart),
        cmocka_unit_test(index_of_none_finds_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
