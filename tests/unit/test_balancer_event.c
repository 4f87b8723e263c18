/* A balancer that is given the events of another answers as that did, picks of
 * other threads between the slices of a tick included. */
#include "tests/unit/test_balancer.h"

#include "balancer/event.h"
#include "base/rand.h"

#include <pthread.h>
#include <stdatomic.h>

#define WORKERS 3000U /* a tick has three slices */
#define PICKS   4000

static struct conf conf;

struct follower {
    struct balancer *b;
    unsigned picks, differ, bases, events;
    struct balancer_pick got[8];
};

static void follow(void *arg, const struct balancer_event *e)
{
    struct follower *f = arg;
    struct balancer_answer answer = {.picks = f->got};

    f->events++;
    if (e->kind == BALANCER_EVENT_BASIS) {
        f->bases++;
        return;
    }
    if (e->kind != BALANCER_EVENT_PICK) {
        balancer_apply(f->b, e, NULL);
        return;
    }
    balancer_apply(f->b, e, &answer);
    f->picks++;
    if (answer.code != e->u.pick.answer->code ||
        answer.n_picks != e->u.pick.answer->n_picks) {
        f->differ++;
        return;
    }
    for (size_t i = 0; i < answer.n_picks; i++) {
        const struct balancer_pick *other = &e->u.pick.answer->picks[i];

        f->differ += strcmp(answer.picks[i].address, other->address) != 0 ||
                     answer.picks[i].pick != other->pick ||
                     answer.picks[i].score != other->score;
    }
}

static void report(struct balancer *b, struct rand *r, uint32_t i, mono_ms now)
{
    static const char *const groups[] = {"gpu"};
    struct balancer_worker w = {
        .weight = 100,
        .slots = rand_below(r, 3) > 0 ? (int32_t)(4 + i % 60) : 0,
        .busy = rand_below(r, 20) == 0,
        .cpu = rand_double(r),
        .memory = -1,
        .disk = .1,
        .pool = rand_below(r, 4) > 0 ? rand_double(r) : -1,
        .reported = now,
        .incarnation = 1 + (rand_below(r, 50) == 0),
        .groups = groups,
        .n_groups = i % 3 == 0,
    };

    snprintf(w.address, sizeof(w.address), "10.0.%u.%u:1", i / 250, i % 250);
    balancer_set(b, &w, now);
}

static void configure(struct balancer *b, struct rand *r, mono_ms now)
{
    struct balancer_group_conf own = {.name = "gpu"};

    conf.balancer.cpu_max = .5 + rand_double(r) / 2;
    own.conf = conf.balancer;
    own.conf.cpu_max = rand_double(r);
    balancer_configure(b, &conf.balancer, &own, rand_below(r, 2), now);
}

static void act(struct balancer *b, struct rand *r, mono_ms now)
{
    char address[32];
    uint32_t i = (uint32_t)rand_below(r, WORKERS);

    snprintf(address, sizeof(address), "10.0.%u.%u:1", i / 250, i % 250);
    switch (rand_below(r, 9)) {
    case 0:
        balancer_remove(b, address);
        break;
    case 1:
        balancer_count(b, address, rand_below(r, 2) > 0 ? 2 : -1, now);
        balancer_own(b, address, (uint32_t)rand_below(r, 4), now);
        break;
    case 2:
        balancer_freeze(b, rand_below(r, 2) > 0, now);
        break;
    case 3:
        balancer_set_coordinators(b, 1 + (uint32_t)rand_below(r, 3));
        break;
    case 4:
        configure(b, r, now);
        break;
    case 5:
        balancer_set_policy(b,
                            (enum conf_policy)rand_below(
                                r, 1 + CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN),
                            now);
        break;
    case 6: {
        const char *names[] = {"gpu", "none"};

        balancer_define(b, names, rand_below(r, 3));
        break;
    }
    default:
        report(b, r, i, now);
    }
}

static atomic_long late; /* the time that all threads tell */

static void pick_once(struct balancer *b, struct rand *r)
{
    struct balancer_pick picks[8];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {
        .group = rand_below(r, 3) == 0 ? "gpu" : NULL,
        .count = 1 + (uint32_t)rand_below(r, 8),
        .peek = rand_below(r, 5) == 0,
        .affinity = rand_below(r, 50) == 0 ? "key" : NULL,
        .now = atomic_load(&late),
    };

    if (rand_below(r, 10) == 0)
        request.exclude[request.n_exclude++] = "10.0.0.7:1";
    balancer_pick(b, &request, &answer);
    for (size_t i = 0; i < answer.n_picks; i++)
        switch (rand_below(r, 4)) {
        case 0:
            (void)balancer_done(b, picks[i].pick);
            break;
        case 1:
            if (rand_below(r, 8) == 0)
                (void)balancer_refused(b, picks[i].pick);
            break;
        case 2:
            (void)balancer_unused(b, picks[i].pick);
            break;
        default:
            break;
        }
}

struct picker {
    struct balancer *b;
    uint64_t seed;
};

static void *pick_many(void *arg)
{
    const struct picker *p = arg;
    struct rand r;

    rand_seed(&r, p->seed);
    for (int i = 0; i < PICKS; i++)
        pick_once(p->b, &r);
    return NULL;
}

static void events_in_order_give_the_same_answers(void **state)
{
    struct follower f = {0};
    struct balancer *b;
    struct picker pickers[2];
    pthread_t threads[2];
    struct rand r;
    mono_ms now = 1000000;

    (void)state;
    conf_defaults(&conf);
    b = balancer_new(&conf.balancer, 7, 9);
    f.b = balancer_new(&conf.balancer, 7, 9);
    balancer_tap(b, follow, &f);
    rand_seed(&r, 3);
    for (uint32_t i = 0; i < WORKERS; i++)
        report(b, &r, i, now);
    atomic_store(&late, now);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pickers[i] = (struct picker){b, 11 + i};
        assert_int_equal(
            pthread_create(&threads[i], NULL, pick_many, &pickers[i]), 0);
    }
    for (int i = 0; i < 1500; i++) {
        now += 20;
        atomic_store(&late, now);
        act(b, &r, now);
        if (i % 12 == 0)
            balancer_tick(b, now);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(f.bases, 1);
    assert_true(f.picks == 2 * PICKS);
    assert_int_equal(f.differ, 0);

    balancer_tap_basis(b, follow, &f);
    assert_int_equal(f.bases, 2);
    balancer_untap(b, follow, &f);
    pick_once(b, &r);
    assert_int_equal(f.picks, 2 * PICKS);
    balancer_free(&b);
    balancer_free(&f.b);
    conf_close(&conf);
}

/* Whoever looks changes nothing of what others are answered. */
static void explaining_is_no_more_than_a_renewal(void **state)
{
    struct follower f = {0};
    struct balancer *b;
    struct rand r;
    mono_ms now = 1000000;
    struct balancer_request request = {.count = 1, .now = now};

    (void)state;
    conf_defaults(&conf);
    b = balancer_new(&conf.balancer, 7, 9);
    f.b = balancer_new(&conf.balancer, 7, 9);
    balancer_tap(b, follow, &f);
    rand_seed(&r, 5);
    for (uint32_t i = 0; i < 300; i++)
        report(b, &r, i, now);
    for (int i = 0; i < 400; i++) {
        struct buf out;

        now += 100;
        atomic_store(&late, now);
        request.now = now;
        buf_init(&out, 1 << 20);
        balancer_explain(b, &request, &out);
        buf_close(&out);
        pick_once(b, &r);
        report(b, &r, (uint32_t)rand_below(&r, 300), now);
    }
    assert_true(f.picks == 400);
    assert_int_equal(f.differ, 0);
    balancer_untap(b, follow, &f);
    balancer_free(&b);
    balancer_free(&f.b);
    conf_close(&conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_in_order_give_the_same_answers),
        cmocka_unit_test(explaining_is_no_more_than_a_renewal),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
