/*
 * test_balancer_storm.c - anything at any time, from a seed: every call of the
 * balancer in a random order, with numbers that no worker should say, clocks
 * that jump and settings at both ends of what is allowed, under every policy,
 * while a shadow and the regret hear of it.
 *
 * Three things hold whatever happens: no assertion fails, scores and
 * explanations can be read, and a second balancer, which was made from an image
 * of the first one in the middle and hears of its events since, gives the same
 * answers to the bit.
 */
#include "tests/unit/test_balancer.h"

#include "balancer/event.h"
#include "balancer/image.h"
#include "balancer/second/second.h"
#include "base/rand.h"

#define SEEDS     60
#define STEPS     400
#define N_WORKERS 12U
#define N_PICKS   64U

static const enum conf_policy policies[] = {
    CONF_LEDGER,
    CONF_RANDOM,
    CONF_ROUND_ROBIN,
    CONF_FIXED_WEIGHTED_ROUND_ROBIN,
    CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN,
};
static const char *const groups[] = {"g1", "g2", "g3"};

static struct storm {
    uint64_t seed;
    unsigned step, compared;
    struct rand rand;
    struct conf_balancer conf;
    struct balancer *b, *twin;
    struct second *second;
    mono_ms now, told; /* what it is, and what is told */
    pick_id picks[N_PICKS];
    char names[N_WORKERS][8];
} s;

static uint64_t below(uint64_t n)
{
    return rand_below(&s.rand, n);
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

static double wild(void)
{
    static const double numbers[] = {NAN, INFINITY, -INFINITY, -1,     0,
                                     1,   2,        1e300,     -1e300, 1e-300,
                                     100, 0.5,      1e-200,    5e-324};

    return one_in(3) ? numbers[below(ARRAY_LEN(numbers))]
                     : (double)below(1000) / 1000;
}

static int32_t wild_int(void)
{
    static const int32_t numbers[] = {
        0, 1, -1, 8, 100, 10000, 10001, 1000000, INT32_MAX, INT32_MIN};

    return numbers[below(ARRAY_LEN(numbers))];
}

static const char *somebody(void)
{
    return s.names[below(N_WORKERS)];
}

static const char *some_group(void)
{
    return one_in(3) ? groups[below(ARRAY_LEN(groups))] : NULL;
}

/* --- the twin ------------------------------------------------------------ */

static bool same_answers(const struct balancer_answer *a,
                         const struct balancer_answer *b)
{
    bool same = a->code == b->code && a->n_picks == b->n_picks &&
                a->degraded == b->degraded &&
                a->n_alternates == b->n_alternates &&
                a->retry_after_ms == b->retry_after_ms;

    for (size_t i = 0; same && i < a->n_picks; i++)
        same = strcmp(a->picks[i].address, b->picks[i].address) == 0 &&
               a->picks[i].pick == b->picks[i].pick &&
               a->picks[i].score == b->picks[i].score;
    for (size_t i = 0; same && i < a->n_alternates; i++)
        same = strcmp(a->alternates[i], b->alternates[i]) == 0;
    return same;
}

static void make_twin(const struct balancer *b)
{
    struct err err = {0};
    struct buf image;

    buf_init(&image, 64 << 20);
    balancer_image_locked(b, &image);
    s.twin = balancer_restore(image.data, image.len, &err);
    if (s.twin == NULL)
        fail_msg("seed %u, step %u: %s", (unsigned)s.seed, s.step, err.msg);
    buf_close(&image);
}

static void on_event(void *arg, const struct balancer_event *event)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct balancer_answer answer = {.picks = picks};
    bool pick = event->kind == BALANCER_EVENT_PICK;

    (void)arg;
    if (event->kind == BALANCER_EVENT_BASIS) {
        make_twin(event->u.basis);
        return;
    }
    balancer_apply(s.twin, event, pick ? &answer : NULL);
    if (pick && !same_answers(event->u.pick.answer, &answer))
        fail_msg("seed %u, step %u: the twin answers otherwise",
                 (unsigned)s.seed, s.step);
    s.compared += pick;
}

/* --- what happens -------------------------------------------------------- */

static void report(void)
{
    struct balancer_worker w = {
        .busy = one_in(8),
        .dead = one_in(15),
        .closed = one_in(15),
        .degraded = one_in(15),
        .weight = one_in(2) ? 100 : wild_int(),
        .slots = one_in(2) ? 8 : wild_int(),
        .cpu = wild(),
        .memory = one_in(2) ? 0.1 : wild(),
        .disk = one_in(2) ? 0.1 : wild(),
        .pool = wild(),
        .reported = s.told - (one_in(5) ? (mono_ms)below(50000) : 0),
        .lease_ms = one_in(3) ? (int64_t)below(100000) : 0,
        .since = s.told - (mono_ms)below(100000) + 10000,
        .incarnation = one_in(10) ? below(3) : 1,
        .groups = groups,
        .n_groups = below(ARRAY_LEN(groups) + 1),
    };

    (void)snprintf(w.address, sizeof(w.address), "%s", somebody());
    balancer_set(s.b, &w, s.told);
}

static void request(void)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request r = {
        .group = some_group(),
        .count = 1 + (one_in(4) ? (uint32_t)below(BALANCER_COUNT_MAX) : 0),
        .peek = one_in(4),
        .stale = one_in(2),
        .affinity = one_in(4) ? somebody() : NULL,
        .n_exclude = one_in(3) ? below(N_WORKERS) : 0,
        .now = s.told,
    };

    for (size_t i = 0; i < r.n_exclude; i++)
        r.exclude[i] = somebody();
    balancer_pick(s.b, &r, &answer);
    for (size_t i = 0; i < answer.n_picks; i++) {
        if (!isfinite(picks[i].score) || picks[i].score < 0)
            fail_msg("seed %u, step %u: a score of %g", (unsigned)s.seed,
                     s.step, picks[i].score);
        s.picks[below(N_PICKS)] = picks[i].pick;
    }
}

static void given_by_others(void)
{
    if (one_in(2))
        balancer_own(s.b, somebody(),
                     one_in(4) ? UINT32_MAX : (uint32_t)below(20), s.told);
    else
        balancer_count(s.b, somebody(),
                       one_in(2) ? (int)below(5) - 2 : wild_int(), s.told);
}

static void end_of_one(void)
{
    pick_id pick = s.picks[below(N_PICKS)];

    if (one_in(6))
        (void)balancer_refused(s.b, pick);
    else if (one_in(5))
        (void)balancer_unused(s.b, pick);
    else
        (void)balancer_done(s.b, pick);
}

static void settings(void)
{
    struct balancer_group_conf own[] = {{"g1", s.conf}, {"g2", s.conf}};

    own[0].conf.cpu_max = 0.01;
    own[1].conf.busy =
        s.conf.busy == CONF_BUSY_EXCLUDE ? CONF_BUSY_LAST : CONF_BUSY_EXCLUDE;
    own[1].conf.warm_up_ms = 1;
    balancer_configure(s.b, &s.conf, own, below(ARRAY_LEN(own) + 1), s.told);
}

static void beside_it(void)
{
    second_shadow(s.second, !one_in(3), policies[below(ARRAY_LEN(policies))]);
    second_regret(s.second, !one_in(3), s.conf.heartbeat_interval_ms);
}

static void rarely(void)
{
    switch (below(6)) {
    case 0:
        balancer_set_policy(s.b, policies[below(ARRAY_LEN(policies))], s.told);
        break;
    case 1:
        balancer_define(s.b, groups, below(ARRAY_LEN(groups) + 1));
        break;
    case 2:
        balancer_set_coordinators(s.b, one_in(4) ? UINT32_MAX
                                                 : 1 + (uint32_t)below(3));
        break;
    case 3:
        balancer_hold(s.b, one_in(2));
        break;
    case 4:
        beside_it();
        break;
    default:
        settings();
    }
}

static void explain(struct balancer *b, struct buf *out)
{
    struct balancer_request r = {.group = some_group(), .now = s.told};
    const struct json *list = NULL;

    buf_init(out, 1 << 20);
    balancer_explain(b, &r, out);
    if (out->len > 0)
        assert_int_equal(json_parse(out->data, out->len, &list, NULL), 0);
    json_free(list);
}

/* Every term of everybody. */
static void compare_terms(void)
{
    struct rand before = s.rand;
    struct buf mine, others;

    balancer_untap(s.b, on_event, NULL);
    explain(s.b, &mine);
    s.rand = before; /* the same group */
    explain(s.twin, &others);
    if (mine.len != others.len || memcmp(mine.data, others.data, mine.len) != 0)
        fail_msg("seed %u, step %u: %s\nand the twin: %s", (unsigned)s.seed,
                 s.step, buf_text(&mine), buf_text(&others));
    buf_close(&mine);
    buf_close(&others);
    balancer_free(&s.twin);
}

static void step(void)
{
    struct buf text;

    if (one_in(4))
        s.now += (mono_ms)below(one_in(100) ? 500000000 : 30000);
    s.now += (mono_ms)below(300);
    s.told = one_in(10) ? s.now - (mono_ms)below(100000) : s.now;
    switch (below(12)) {
    case 0:
        balancer_remove(s.b, somebody());
        break;
    case 1:
        end_of_one();
        break;
    case 2:
        given_by_others();
        break;
    case 3:
        balancer_freeze(s.b, one_in(2), s.told);
        break;
    case 4:
        balancer_tick(s.b, s.told);
        (void)second_turn(s.second, s.now);
        break;
    case 5:
        rarely();
        break;
    case 6:
        explain(s.b, &text);
        buf_close(&text);
        break;
    case 7:
    case 8:
    case 9:
        report();
        break;
    default:
        request();
    }
}

/* The least, the most, or one between. */
static double of(double least, double most, double between)
{
    return one_in(3) ? least : one_in(2) ? most : between;
}

static void choose_settings(void)
{
    struct conf_balancer *c = &s.conf;

    c->busy = one_in(2) ? CONF_BUSY_EXCLUDE : CONF_BUSY_LAST;
    if (one_in(2))
        c->heartbeat_interval_ms = (int64_t)of(100, 3600000, 1000);
    c->warm_up_ms = (int64_t)of(0, 3600000, 60000);
    c->warm_up_aggression = of(0.1, 10, 1);
    c->cpu_max = of(0, 1, 0.8);
    c->memory_max = of(0, 1, 0.8);
    c->cpu_usage_weight = of(0, 100, 30);
    c->memory_usage_weight = of(0, 100, 30);
    c->pool_usage_weight = of(0, 100, 40);
}

static void begin(uint64_t seed)
{
    s = (struct storm){.seed = seed, .conf = test_conf};
    rand_seed(&s.rand, seed);
    for (unsigned i = 0; i < N_WORKERS; i++)
        (void)snprintf(s.names[i], sizeof(s.names[i]), "w%u:1", i);
    s.conf.policy = policies[seed % ARRAY_LEN(policies)];
    choose_settings();
    s.now = one_in(3) ? INT64_C(1) << (30 + below(12)) : START;
    s.b = balancer_new(&s.conf, seed, 1 + below(1000));
    s.second = second_new(s.b);
    beside_it();
}

static void nothing_that_happens_breaks_it(void **state)
{
    unsigned compared = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        unsigned middle = (unsigned)below(STEPS * 3 / 4);

        for (s.step = 0; s.step < STEPS; s.step++) {
            if (s.step == middle)
                balancer_tap(s.b, on_event, NULL);
            if (s.step > middle && one_in(20)) { /* and another twin */
                compare_terms();
                balancer_tap(s.b, on_event, NULL);
            }
            step();
        }
        compare_terms();
        compared += s.compared;
        second_free(&s.second);
        balancer_free(&s.b);
    }
    assert_true(compared > SEEDS * 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_that_happens_breaks_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
