/*
 * test_slab.c - pieces of one size: each is its user's alone, zeroed and
 * aligned, and with the last one nothing is held.
 */
#include "base/map/slab.h"
#include "base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define PIECES 5000
#define STEPS  200000

struct held {
    unsigned char *p, mark;
};

static bool all_are(const unsigned char *p, size_t n, unsigned char byte)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != byte)
            return false;
    return true;
}

static void take_and_give(size_t size, uint64_t seed)
{
    static struct held held[PIECES];
    struct slab s = {.size = size};
    uint64_t x = seed;
    size_t most = 0, n = 0;

    memset(held, 0, sizeof(held));
    for (size_t i = 0; i < STEPS; i++) {
        struct held *h = &held[(x = hash_mix(x)) % PIECES];

        if (h->p == NULL) {
            h->p = slab_take(&s);
            h->mark = (unsigned char)(x >> 40 | 1);
            assert_int_equal((uintptr_t)h->p % _Alignof(max_align_t), 0);
            assert_true(all_are(h->p, size, 0));
            memset(h->p, h->mark, size);
            n++;
        } else {
            assert_true(all_are(h->p, size, h->mark));
            slab_give(&s, h->p);
            h->p = NULL;
            n--;
        }
        most = n > most ? n : most;
    }
    assert_true(most > PIECES / 3);
    for (size_t i = 0; i < PIECES; i++) {
        assert_true(held[i].p == NULL ||
                    all_are(held[i].p, size, held[i].mark));
        slab_give(&s, held[i].p);
    }
    assert_null(s.roomy);
}

static void pieces_of_any_size_are_their_users_alone(void **state)
{
    (void)state;
    take_and_give(1, 1);
    take_and_give(8, 2);
    take_and_give(104, 3);
    take_and_give(SLAB_PIECE_MAX, 4);
}

static void a_slab_that_is_empty_holds_nothing(void **state)
{
    struct slab s = {.size = 40};
    void *a = slab_take(&s), *b = slab_take(&s);

    (void)state;
    assert_ptr_not_equal(a, b);
    slab_give(&s, a);
    assert_non_null(s.roomy);
    assert_ptr_equal(slab_take(&s), a); /* used again */
    slab_give(&s, a);
    slab_give(&s, b);
    assert_null(s.roomy);
    slab_give(&s, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_any_size_are_their_users_alone),
        cmocka_unit_test(a_slab_that_is_empty_holds_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
