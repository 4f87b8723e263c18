/*
 * test_balancer_image.c - a balancer restored from an image goes on as the one
 * that it was taken of; and no bytes whatever break the one who reads them.
 *
 * The first test finds a field that an image forgot: at a random point of
 * random traffic, then the same traffic to both.
 */
#include "tests/unit/balancer_traffic.h"

#include "balancer/image.h"

#include <malloc.h>

#define IMAGE_MAX (64U << 20)
#define SEEDS     60

static void take(struct balancer *b, struct buf *out)
{
    buf_reset(out);
    balancer_image(b, out);
    assert_false(out->overflow);
}

static struct balancer *restore(const struct buf *image)
{
    /* exactly its size: reading past it is seen by a sanitizer */
    void *copy = mem_dup(image->data, image->len);
    struct err err = {.msg = ""};
    struct balancer *b = balancer_restore(copy, image->len, &err);

    if (b == NULL)
        fail_msg("%s", err.msg);
    mem_free(copy);
    return b;
}

static void assert_alike(struct balancer *a, struct balancer *b,
                         const char *when, uint64_t seed)
{
    struct buf one, two;

    buf_init(&one, IMAGE_MAX);
    buf_init(&two, IMAGE_MAX);
    take(a, &one);
    take(b, &two);
    if (one.len != two.len || memcmp(one.data, two.data, one.len) != 0)
        fail_msg("seed %llu: the images differ %s (%zu and %zu bytes)",
                 (unsigned long long)seed, when, one.len, two.len);
    buf_close(&one);
    buf_close(&two);
}

static void go_on(uint64_t seed, unsigned *policies)
{
    struct balancer *a = balancer_of((enum conf_policy)(seed % 5)), *b;
    struct traffic t, other;
    struct buf image;
    unsigned before, after = 1500;

    traffic_begin(&t, seed);
    before = 100 + below(&t, 2500);
    for (unsigned i = 0; i < before; i++)
        traffic_step(&t, a);
    buf_init(&image, IMAGE_MAX);
    take(a, &image);
    b = restore(&image);
    assert_alike(a, b, "at once", seed);
    other = t;
    for (unsigned i = 0; i < after; i++) {
        traffic_step(&t, a);
        traffic_step(&other, b);
        if (t.hash != other.hash)
            fail_msg("seed %llu: the answers differ after %u steps",
                     (unsigned long long)seed, i + 1);
        if (i % 100 == 0)
            assert_alike(a, b, "later", seed);
    }
    assert_alike(a, b, "at the end", seed);
    assert_true(t.picked > 100);
    assert_true(t.refused > 10);
    *policies |= 1U << seed % 5;
    buf_close(&image);
    balancer_free(&a);
    balancer_free(&b);
}

static void a_restored_balancer_goes_on_as_the_first(void **state)
{
    unsigned policies = 0;

    (void)state;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        go_on(seed, &policies);
    assert_int_equal(policies, 31);
}

/* A small one of each policy, with everything in it. */
static struct balancer *small(enum conf_policy policy, uint64_t seed)
{
    struct balancer *b = balancer_of(policy);
    struct traffic t;

    traffic_begin(&t, seed);
    for (int i = 0; i < 40; i++) {
        if (i % 4 == 0)
            traffic_report(&t, b);
        traffic_pick(&t, b);
    }
    return b;
}

/* Bytes that are taken are a balancer like any other; those that are not are
 * refused with a reason. */
static bool use(const void *data, size_t len)
{
    void *copy = mem_dup(data, len);
    struct err err = {.msg = ""};
    struct balancer *b = balancer_restore(copy, len, &err);
    struct traffic t;

    mem_free(copy);
    if (b == NULL) {
        assert_int_equal(err.code, ERR_INVALID);
        assert_true(strlen(err.msg) > 10);
        return false;
    }
    traffic_begin(&t, len);
    t.now = START + 20000;
    for (int i = 0; i < 60; i++)
        traffic_step(&t, b);
    balancer_free(&b);
    return true;
}

static void a_cut_image_is_refused(void **state)
{
    struct balancer *b = small(CONF_LEDGER, 1);
    struct buf image;

    (void)state;
    buf_init(&image, IMAGE_MAX);
    take(b, &image);
    assert_true(use(image.data, image.len));
    for (size_t len = 0; len < image.len; len++)
        if (use(image.data, len))
            fail_msg("%zu of %zu bytes were taken", len, image.len);
    buf_char(&image, '\0');
    assert_false(use(image.data, image.len));
    buf_close(&image);
    balancer_free(&b);
}

static void a_flipped_byte_is_refused_or_harmless(void **state)
{
    unsigned refused = 0, taken = 0;

    (void)state;
    for (int policy = CONF_LEDGER; policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN;
         policy++) {
        struct balancer *b = small((enum conf_policy)policy, 2);
        struct buf image;

        buf_init(&image, IMAGE_MAX);
        take(b, &image);
        for (size_t i = 0; i < image.len; i++)
            for (unsigned flip = 0; flip < 2; flip++) {
                char was = image.data[i];

                image.data[i] = (char)(was ^ (flip == 0 ? 0x81 : 1 << i % 8));
                if (use(image.data, image.len))
                    taken++;
                else
                    refused++;
                image.data[i] = was;
            }
        buf_close(&image);
        balancer_free(&b);
    }
    assert_true(refused > taken / 4);
}

static void picks_that_have_not_ended_come_back(void **state)
{
    struct balancer *b = balancer_of(CONF_ROUND_ROBIN), *again;
    struct buf image;
    pick_id first, second;

    (void)state;
    set_idle(b, "a:1", 8, START);
    for (int i = 0; i < 600000; i++) /* once around the ring */
        assert_string_equal(pick(b, START), "a:1");
    first = last_pick.pick;
    buf_init(&image, IMAGE_MAX);
    take(b, &image);
    again = restore(&image);
    assert_true(balancer_done(again, first));
    assert_false(balancer_done(again, first));
    assert_false(balancer_done(again, first - 599999));
    assert_true(balancer_done(again, first - 500000));
    (void)pick(again, START);
    second = last_pick.pick;
    assert_true(second == first + 1);
    buf_close(&image);
    balancer_free(&b);
    balancer_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restored_balancer_goes_on_as_the_first),
        cmocka_unit_test(a_cut_image_is_refused),
        cmocka_unit_test(a_flipped_byte_is_refused_or_harmless),
        cmocka_unit_test(picks_that_have_not_ended_come_back),
    };

    /* Each balancer has 8 MiB that it hardly touches: from the kernel, which
     * need not clear what nobody reads. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
