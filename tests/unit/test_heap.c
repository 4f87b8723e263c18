/*
 * test_heap.c - the heap beside a plain list of who is due when: the same
 * operations, the same answers, and after each of them it is in order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/map/heap.h"
#include "base/rand.h"

#define ITEMS 300

struct waiter {
    char before[3]; /* so that the item is not where it begins */
    struct heap_item item;
    int64_t due; /* as the list has it; INT64_MAX: does not wait */
};

static struct waiter waiters[ITEMS];

static void begin(struct heap *h)
{
    *h = (struct heap){0};
    memset(waiters, 0, sizeof(waiters));
    for (size_t i = 0; i < ITEMS; i++)
        waiters[i].due = INT64_MAX;
}

static struct waiter *waiter_of(struct heap_item *item)
{
    return CONTAINER_OF(item, struct waiter, item);
}

static void assert_same(const struct heap *h)
{
    int64_t first = INT64_MAX;
    size_t n = 0;

    for (size_t i = 0; i < ITEMS; i++) {
        const struct waiter *w = &waiters[i];

        assert_int_equal(heap_has(&w->item), w->due != INT64_MAX);
        if (w->due == INT64_MAX)
            continue;
        assert_int_equal(heap_due_of(h, &w->item), w->due);
        first = w->due < first ? w->due : first;
        n++;
    }
    assert_int_equal(h->n, n);
    assert_int_equal(heap_due(h), first);
    if (n == 0)
        assert_null(heap_first(h));
    else
        assert_int_equal(waiter_of(heap_first(h))->due, first);
    for (size_t i = 1; i < h->n; i++)
        assert_true(h->slots[(i - 1) / 2].due <= h->slots[i].due);
}

static void heap_gives_them_by_their_time(void **state)
{
    struct rand r;
    struct heap h;
    int64_t last = INT64_MIN;

    (void)state;
    begin(&h);
    rand_seed(&r, 1);
    for (size_t i = 0; i < ITEMS; i++) {
        waiters[i].due = (int64_t)rand_below(&r, 100) - 50;
        heap_set(&h, &waiters[i].item, waiters[i].due);
        assert_same(&h);
    }
    for (size_t i = 0; i < ITEMS; i++) {
        struct waiter *w = waiter_of(heap_first(&h));

        assert_true(w->due >= last);
        last = w->due;
        w->due = INT64_MAX;
        heap_remove(&h, &w->item);
        assert_same(&h);
    }
    heap_close(&h);
}

static void heap_is_in_order_after_any_calls(void **state)
{
    struct rand r;
    struct heap h;

    (void)state;
    begin(&h);
    rand_seed(&r, 2);
    for (int i = 0; i < 20000; i++) {
        struct waiter *w = &waiters[rand_below(&r, ITEMS)];

        if (rand_below(&r, 3) == 0) {
            w->due = INT64_MAX;
            heap_remove(&h, &w->item);
        } else {
            w->due = (int64_t)rand_below(&r, 1000);
            heap_set(&h, &w->item, w->due);
        }
        if (i % 16 == 0)
            assert_same(&h);
    }
    assert_same(&h);
    heap_close(&h);
    assert_null(heap_first(&h));
}

static void heap_orders_what_was_changed_in_place(void **state)
{
    struct rand r;
    struct heap h;

    (void)state;
    begin(&h);
    rand_seed(&r, 3);
    for (size_t i = 0; i < ITEMS; i++)
        heap_set(&h, &waiters[i].item, waiters[i].due = (int64_t)i);
    for (size_t i = 0; i < h.n; i++) {
        h.slots[i].due = (int64_t)rand_below(&r, 1000);
        waiter_of(h.slots[i].item)->due = h.slots[i].due;
    }
    heap_order(&h);
    assert_same(&h);
    heap_close(&h);
}

static void heap_of_none_is_due_never(void **state)
{
    struct heap h = {0};
    struct heap_item item = {0};

    (void)state;
    assert_null(heap_first(&h));
    assert_int_equal(heap_due(&h), INT64_MAX);
    heap_remove(&h, &item);
    heap_order(&h);
    assert_int_equal(h.n, 0);
    heap_close(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heap_gives_them_by_their_time),
        cmocka_unit_test(heap_is_in_order_after_any_calls),
        cmocka_unit_test(heap_orders_what_was_changed_in_place),
        cmocka_unit_test(heap_of_none_is_due_never),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
