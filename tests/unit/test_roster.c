/*
 * test_roster.c - the roster beside a plain list of who came in which order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/map/roster.h"
#include "base/rand.h"

#define PEOPLE 1500

struct person {
    char name[16];
    struct roster_item item;
};

static struct person people[PEOPLE];
static struct person *order[PEOPLE]; /* those that are there */
static size_t n_order;

static const char *name_of(const struct roster_item *item)
{
    return CONTAINER_OF(item, const struct person, item)->name;
}

static void begin(void)
{
    memset(people, 0, sizeof(people));
    for (size_t i = 0; i < PEOPLE; i++)
        snprintf(people[i].name, sizeof(people[i].name), "p-%zu", i);
    n_order = 0;
}

static void leave(struct roster *r, struct person *p)
{
    size_t at = 0;

    while (order[at] != p)
        at++;
    memmove(&order[at], &order[at + 1], (n_order - at - 1) * sizeof(order[0]));
    n_order--;
    roster_remove(r, &p->item);
    assert_null(roster_find(r, p->name));
}

static void come(struct roster *r, struct person *p)
{
    order[n_order++] = p;
    roster_add(r, &p->item);
    assert_ptr_equal(roster_find(r, p->name), &p->item);
}

static void all_are_there(const struct roster *r)
{
    struct roster_item *it = NULL;

    for (size_t i = 0; i < n_order; i++) {
        it = roster_next(r, it);
        assert_ptr_equal(it, &order[i]->item);
    }
    assert_null(roster_next(r, it));
    for (size_t i = 0; i < PEOPLE; i++)
        assert_ptr_equal(roster_find(r, people[i].name),
                         people[i].item.place > 0 ? &people[i].item : NULL);
    assert_int_equal(r->index.n, n_order);
}

static void roster_keeps_the_order_of_coming(void **state)
{
    struct roster r = {.name = name_of};
    struct rand rand;

    (void)state;
    begin();
    rand_seed(&rand, 7);
    for (int i = 0; i < 60000; i++) {
        /* Whole times of coming, and of going. */
        bool going = i / 7000 % 2 == 1;
        struct person *p = &people[rand_below(&rand, PEOPLE)];

        if (p->item.place > 0 && (going || i % 3 == 0))
            leave(&r, p);
        else if (p->item.place == 0 && (!going || i % 3 == 0))
            come(&r, p);
        if (i % 997 == 0)
            all_are_there(&r);
    }
    all_are_there(&r);
    while (n_order > 0)
        leave(&r, order[rand_below(&rand, n_order)]);
    all_are_there(&r);
    roster_close(&r);
}

/* Also where the rest moves together meanwhile. */
static void roster_goes_on_while_those_passed_go(void **state)
{
    struct roster r = {.name = name_of};
    struct roster_item *it, *next;
    size_t i = 0;

    (void)state;
    begin();
    for (size_t k = 0; k < PEOPLE; k++)
        come(&r, &people[k]);
    for (it = roster_next(&r, NULL); it != NULL; it = next, i++) {
        next = roster_next(&r, it);
        assert_ptr_equal(it, &people[i].item);
        if (i % 10 != 0)
            leave(&r, &people[i]);
    }
    assert_int_equal(i, PEOPLE);
    all_are_there(&r);
    roster_close(&r);
}

static void roster_that_emptied_keeps_little(void **state)
{
    struct roster r = {.name = name_of};

    (void)state;
    begin();
    assert_null(roster_find(&r, "p-1"));
    assert_null(roster_next(&r, NULL));
    for (size_t k = 0; k < PEOPLE; k++)
        come(&r, &people[k]);
    for (size_t k = 0; k + 3 < PEOPLE; k++)
        leave(&r, &people[k]);
    assert_true(r.cap < 200);
    all_are_there(&r);
    roster_close(&r);
    assert_null(roster_find(&r, people[PEOPLE - 1].name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(roster_keeps_the_order_of_coming),
        cmocka_unit_test(roster_goes_on_while_those_passed_go),
        cmocka_unit_test(roster_that_emptied_keeps_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
