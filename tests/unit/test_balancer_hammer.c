/*
 * test_balancer_hammer.c - eight threads do to one balancer whatever threads
 * may do, for HAMMER_SECONDS (10), and then every grant is accounted for.
 *
 * Each thread picks, ends its own and others' picks, now and then twice, asks
 * for reasons, and tells of work given by other means. Any of them may be the
 * loop for a moment (one at a time: `turn`), and reports, joins, leaves,
 * closes, ticks or changes settings. What must hold, whoever ran when:
 *
 *   - no id is given twice, none is missing: they are 1 .. the picks counted;
 *   - each id ends once, also when two threads say so at once: what was given
 *     ended, or was so old that its place was needed, or is ended at the end;
 *   - nobody is picked who had left, or was closed or excluded, before the pick
 *     began and did not come back before it was over;
 *   - what each thread was answered is, by worker, what taps heard was given,
 *     and what the counters say;
 *   - with a twin: all of it in the order in which taps heard it, done again
 *     by one thread (inside the tap), gives the same answers, and at the end
 *     the same state, bit by bit. So nothing was lost or counted twice, and
 *     nothing happened that taps were not told.
 *
 * Longer than 500 lines: what is done, and what must come of it, are one text.
 */
#include "tests/unit/test_balancer.h"

#include "balancer/event.h"
#include "balancer/image.h"
#include "base/locks.h"
#include "base/rand.h"

#include <stdlib.h>

#define THREADS   8
#define WORKERS   96
#define BATCH_MAX 16
#define SHARED    256 /* ids that wait for whichever thread takes them out */
#define OLD       (1U << 19) /* so many later, an id may be forgotten */
#define IDS_MAX   (UINT64_C(1) << 30)
#define SLICE_MS  100 /* how often a thread looks whether it is over */

struct worker {
    /* Moments of `order`: the last at which it was away for certain, and the
     * last before which it was not there yet again. Atomic. */
    uint64_t away, back;
    /* of the loop */
    bool there;
    uint64_t incarnation;
};

struct hammer {
    struct balancer *b, *twin; /* twin: NULL without one */
    pthread_mutex_t turn;      /* to be the loop */
    struct worker workers[WORKERS];
    uint8_t *given, *ended; /* a bit for each id; atomic */
    pick_id shared[SHARED]; /* atomic */
    uint64_t order;         /* atomic: counts what came and went */
    mono_ms now;            /* atomic */
    int over;               /* atomic */
    /* what the tap heard, under the balancer's lock */
    uint64_t heard[WORKERS], heard_ends, heard_empty;
    bool differs;
};

/* What one thread did, and was answered. */
struct part {
    struct hammer *h;
    struct rand rand;
    uint64_t picks[WORKERS];
    uint64_t empty, done, refused, unused, unknown;
    char wrong[256]; /* "": nothing */
};

/* --- what is known of workers and ids ------------------------------------ */

static const char *address_of(unsigned i, char out[BALANCER_ADDRESS_MAX + 1])
{
    snprintf(out, BALANCER_ADDRESS_MAX + 1, "10.0.0.%u:1", i);
    return out;
}

static unsigned worker_of(const char *address)
{
    unsigned i = (unsigned)strtoul(address + strlen("10.0.0."), NULL, 10);

    assert(i < WORKERS);
    return i;
}

static bool mark(uint8_t *bits, pick_id id) /* false: it was */
{
    uint64_t number = id & ((UINT64_C(1) << 40) - 1);
    uint8_t bit = (uint8_t)(1U << number % 8);

    assert(number > 0 && number < IDS_MAX);
    return (__atomic_fetch_or(&bits[number / 8], bit, __ATOMIC_RELAXED) &
            bit) == 0;
}

static uint32_t below(struct part *p, uint32_t n)
{
    return (uint32_t)rand_below(&p->rand, n);
}

#define WRONG(p, ...)                                                          \
    do {                                                                       \
        if ((p)->wrong[0] == '\0')                                             \
            snprintf((p)->wrong, sizeof((p)->wrong), __VA_ARGS__);             \
    } while (0)

/* --- the loop's ---------------------------------------------------------- */

static void report(struct part *p, unsigned i, bool takes)
{
    static const char *const groups[] = {"odd", "rare"};
    struct hammer *h = p->h;
    struct worker *of = &h->workers[i];
    struct balancer_worker w = idle("", (int32_t)(4 + i % 16), h->now);

    address_of(i, w.address);
    w.closed = !takes;
    w.cpu = rand_double(&p->rand) * 0.85;
    w.pool = i % 5 == 0 ? -1 : below(p, 13) / 12.0;
    w.incarnation = of->incarnation;
    w.groups = groups;
    w.n_groups = i % 8 == 0 ? 2 : i % 2;
    if (takes)
        __atomic_store_n(&of->back,
                         __atomic_add_fetch(&h->order, 1, __ATOMIC_ACQ_REL),
                         __ATOMIC_RELEASE);
    balancer_set(h->b, &w, h->now);
    if (!takes)
        __atomic_store_n(&of->away,
                         __atomic_add_fetch(&h->order, 1, __ATOMIC_ACQ_REL),
                         __ATOMIC_RELEASE);
    of->there = true;
}

static void leave(struct hammer *h, unsigned i)
{
    char address[BALANCER_ADDRESS_MAX + 1];

    balancer_remove(h->b, address_of(i, address));
    __atomic_store_n(&h->workers[i].away,
                     __atomic_add_fetch(&h->order, 1, __ATOMIC_ACQ_REL),
                     __ATOMIC_RELEASE);
    h->workers[i].there = false;
    h->workers[i].incarnation++;
}

static void configure(struct part *p)
{
    static const char *const names[] = {"odd", "rare", "nobody"};
    struct conf_balancer conf = test_conf;

    conf.policy = CONF_LEDGER; /* which is not taken from here */
    conf.cpu_max = 0.8 + below(p, 2) / 10.0;
    balancer_configure(p->h->b, &conf, NULL, 0, p->h->now);
    balancer_define(p->h->b, names, 1 + below(p, 3));
    balancer_set_coordinators(p->h->b, 1 + below(p, 3));
}

/* A turn of the loop: time passes, and something happened. */
static void loop_turn_of(struct part *p)
{
    struct hammer *h = p->h;
    unsigned i = below(p, WORKERS), what = below(p, 64);

    lock_acquire(&h->turn);
    __atomic_store_n(&h->now, h->now + below(p, 20), __ATOMIC_RELEASE);
    if (what < 4)
        leave(h, i);
    else if (what < 8)
        balancer_tick(h->b, h->now);
    else if (what == 8)
        configure(p);
    else
        report(p, i, what > 10); /* also who was not there: it joins */
    lock_release(&h->turn);
}

/* --- anybody's ----------------------------------------------------------- */

static void end_of(struct part *p, pick_id id)
{
    static bool (*const ways[])(struct balancer *, pick_id) = {
        balancer_done, balancer_refused, balancer_unused};
    unsigned how = below(p, 8);
    uint64_t *counts[] = {&p->done, &p->refused, &p->unused, &p->unknown};

    how = how < 3 ? how : 0;
    if (!ways[how](p->h->b, id))
        how = 3; /* said twice, or too old: the account tells */
    else if (!mark(p->h->ended, id))
        WRONG(p, "pick %llx ended twice", (unsigned long long)id);
    ++*counts[how];
}

/* Into the shared ones; what was there is ended, now and then by two. */
static void hand_over(struct part *p, pick_id id)
{
    pick_id *place = &p->h->shared[below(p, SHARED)];
    bool twice = below(p, 32) == 0;
    pick_id was = twice ? __atomic_load_n(place, __ATOMIC_ACQUIRE)
                        : __atomic_exchange_n(place, id, __ATOMIC_ACQ_REL);

    /* Said here, and by whoever takes it out: one of them is right. */
    if (was != 0)
        end_of(p, was);
    if (twice)
        end_of(p, id);
}

static void judge(struct part *p, const char *address, uint64_t began,
                  const struct balancer_request *request)
{
    unsigned i = worker_of(address);
    const struct worker *of = &p->h->workers[i];
    uint64_t away = __atomic_load_n(&of->away, __ATOMIC_ACQUIRE);
    uint64_t back = __atomic_load_n(&of->back, __ATOMIC_ACQUIRE);

    if (away != 0 && away <= began && back < away)
        WRONG(p, "%s was picked, and had left", address);
    for (size_t n = 0; n < request->n_exclude; n++)
        if (strcmp(request->exclude[n], address) == 0)
            WRONG(p, "%s was picked, and is excluded", address);
}

static void ask_for(struct part *p)
{
    static const char *const groups[] = {NULL, NULL, "odd", "rare"};
    struct hammer *h = p->h;
    struct balancer_pick picks[BATCH_MAX];
    struct balancer_answer answer = {.picks = picks};
    char excluded[2][BALANCER_ADDRESS_MAX + 1];
    struct balancer_request request = {
        .group = groups[below(p, 4)],
        .count = below(p, 4) == 0 ? 1 + below(p, BATCH_MAX) : 1,
        .peek = below(p, 16) == 0,
        .affinity = below(p, 8) == 0 ? "key" : NULL,
        .n_exclude = below(p, 8) == 0 ? 2 : 0,
        .now = __atomic_load_n(&h->now, __ATOMIC_ACQUIRE),
    };
    uint64_t began = __atomic_load_n(&h->order, __ATOMIC_ACQUIRE);

    for (size_t i = 0; i < request.n_exclude; i++)
        request.exclude[i] = address_of(below(p, WORKERS), excluded[i]);
    balancer_pick(h->b, &request, &answer);
    p->empty += answer.code != BALANCER_OK;
    for (size_t i = 0; i < answer.n_picks; i++) {
        judge(p, picks[i].address, began, &request);
        if (request.peek)
            continue;
        p->picks[worker_of(picks[i].address)]++;
        if (!mark(h->given, picks[i].pick))
            WRONG(p, "pick %llx given twice",
                  (unsigned long long)picks[i].pick);
        hand_over(p, picks[i].pick);
    }
    for (size_t i = 0; i < answer.n_alternates; i++)
        judge(p, answer.alternates[i], began, &request);
}

static void ask_why(struct part *p)
{
    struct balancer_request request = {
        .count = 1, .now = __atomic_load_n(&p->h->now, __ATOMIC_ACQUIRE)};
    struct buf out;

    buf_init(&out, 1 << 20);
    balancer_explain(p->h->b, &request, &out);
    buf_close(&out);
}

static void tell_other_work(struct part *p)
{
    char address[BALANCER_ADDRESS_MAX + 1];
    mono_ms now = __atomic_load_n(&p->h->now, __ATOMIC_ACQUIRE);

    address_of(below(p, WORKERS), address);
    if (below(p, 2) == 0)
        balancer_own(p->h->b, address, below(p, 4), now);
    else
        balancer_count(p->h->b, address, below(p, 2) == 0 ? 1 : -1, now);
}

static void *hammer_on(void *arg)
{
    struct part *p = arg;

    while (!__atomic_load_n(&p->h->over, __ATOMIC_RELAXED)) {
        unsigned what = below(p, 64);

        if (what < 6)
            loop_turn_of(p);
        else if (what == 6)
            tell_other_work(p);
        else if (what == 7 && below(p, 16) == 0)
            ask_why(p);
        else
            ask_for(p);
    }
    return NULL;
}

/* --- what taps hear ------------------------------------------------------ */

/* By the twin, as the first one answered. */
static void again(struct hammer *h, const struct balancer_event *e)
{
    struct balancer_pick picks[BATCH_MAX];
    struct balancer_answer answer = {.picks = picks};
    const struct balancer_answer *was;

    balancer_apply(h->twin, e, e->kind == BALANCER_EVENT_PICK ? &answer : NULL);
    if (e->kind != BALANCER_EVENT_PICK)
        return;
    was = e->u.pick.answer;
    h->differs |= answer.code != was->code || answer.n_picks != was->n_picks ||
                  answer.n_alternates != was->n_alternates;
    for (size_t i = 0; !h->differs && i < was->n_picks; i++)
        h->differs = picks[i].pick != was->picks[i].pick ||
                     picks[i].slot != was->picks[i].slot ||
                     strcmp(picks[i].address, was->picks[i].address) != 0;
    for (size_t i = 0; !h->differs && i < was->n_alternates; i++)
        h->differs = strcmp(answer.alternates[i], was->alternates[i]) != 0;
}

static void hear(void *arg, const struct balancer_event *e)
{
    struct hammer *h = arg;

    if (e->kind == BALANCER_EVENT_BASIS)
        return;
    if (e->kind == BALANCER_EVENT_PICK) {
        const struct balancer_answer *a = e->u.pick.answer;

        h->heard_empty += a->code != BALANCER_OK;
        for (size_t i = 0; i < a->n_picks && !e->u.pick.request->peek; i++)
            h->heard[worker_of(a->picks[i].address)]++;
    }
    h->heard_ends += e->kind == BALANCER_EVENT_END;
    if (h->twin != NULL)
        again(h, e);
}

/* --- the account --------------------------------------------------------- */

/* Those whose end nobody was believed, although it was told: their places were
 * needed for younger ones. */
static uint64_t too_old(struct hammer *h, uint64_t picks)
{
    pick_id base = (pick_id)balancer_pick_instance_of(INSTANCE) << 40;
    uint64_t n = 0;

    for (uint64_t number = 1; number <= picks; number++) {
        uint8_t bit = (uint8_t)(1U << number % 8);

        assert_true(h->given[number / 8] & bit); /* somebody was told it */
        if (h->ended[number / 8] & bit)
            continue;
        n++;
        assert_true(picks - number >= OLD);
        assert_false(balancer_done(h->b, base | number));
    }
    return n;
}

static void account_ids(struct hammer *h, const struct part *sum)
{
    struct balancer_stats stats = balancer_stats(h->b);
    uint64_t old = too_old(h, stats.picks), next = stats.picks + 1;

    assert_int_equal(h->given[next / 8] >> next % 8, 0);
    assert_int_equal(sum->done + sum->refused + sum->unused + old, stats.picks);
    assert_int_equal(sum->done, stats.done);
    assert_int_equal(sum->refused, stats.refused);
    assert_int_equal(sum->unknown, stats.unknown_picks);
    assert_int_equal(sum->empty, stats.empty);
    assert_true(sum->done > 0 && sum->refused > 0 && sum->unused > 0);
    print_message("%llu picks, %llu requests in vain, %llu too old to end\n",
                  (unsigned long long)stats.picks,
                  (unsigned long long)stats.empty, (unsigned long long)old);
}

static void account(struct hammer *h, struct part parts[THREADS], bool tapped)
{
    struct part sum = {.h = h};
    uint64_t all = 0;

    for (unsigned i = 0; i < SHARED; i++)
        if (h->shared[i] != 0)
            end_of(&parts[0], h->shared[i]);
    for (unsigned t = 0; t < THREADS; t++) {
        assert_string_equal(parts[t].wrong, "");
        for (unsigned i = 0; i < WORKERS; i++)
            sum.picks[i] += parts[t].picks[i];
        sum.empty += parts[t].empty;
        sum.done += parts[t].done;
        sum.refused += parts[t].refused;
        sum.unused += parts[t].unused;
        sum.unknown += parts[t].unknown;
    }
    for (unsigned i = 0; i < WORKERS; i++) {
        all += sum.picks[i];
        if (tapped)
            assert_int_equal(sum.picks[i], h->heard[i]);
    }
    assert_int_equal(all, balancer_stats(h->b).picks);
    if (tapped) {
        assert_int_equal(h->heard_empty, sum.empty);
        assert_int_equal(h->heard_ends,
                         sum.done + sum.refused + sum.unused + sum.unknown);
    }
    account_ids(h, &sum);
}

static void account_twin(struct hammer *h)
{
    struct buf ours, theirs;

    assert_false(h->differs);
    buf_init(&ours, 256 << 20);
    buf_init(&theirs, 256 << 20);
    balancer_image(h->b, &ours);
    balancer_image(h->twin, &theirs);
    assert_false(ours.overflow);
    assert_int_equal(ours.len, theirs.len);
    assert_memory_equal(ours.data, theirs.data, ours.len);
    buf_close(&ours);
    buf_close(&theirs);
}

/* --- runs ---------------------------------------------------------------- */

static double seconds_asked(void)
{
    const char *text = getenv("HAMMER_SECONDS");
    double seconds = text != NULL ? strtod(text, NULL) : 10;

    return seconds > 0 ? seconds : 10;
}

static void wait_ms(int64_t ms)
{
    const struct timespec slice = {.tv_nsec = SLICE_MS * 1000000L};
    mono_ms until = clock_mono_ms() + ms;

    do
        nanosleep(&slice, NULL);
    while (clock_mono_ms() < until);
}

static void run(enum conf_policy policy, bool tapped, bool twin, double share)
{
    struct hammer *h = mem_zalloc(sizeof(*h));
    struct part *parts = mem_zalloc(THREADS * sizeof(*parts));
    pthread_t threads[THREADS];

    h->b = balancer_of(policy);
    h->twin = twin ? balancer_of(policy) : NULL;
    h->now = START;
    h->given = mem_zalloc(IDS_MAX / 8);
    h->ended = mem_zalloc(IDS_MAX / 8);
    assert_int_equal(pthread_mutex_init(&h->turn, NULL), 0);
    if (tapped)
        balancer_tap(h->b, hear, h);
    for (unsigned i = 0; i < THREADS; i++) {
        parts[i].h = h;
        rand_seed(&parts[i].rand, 1 + i);
        assert_int_equal(
            pthread_create(&threads[i], NULL, hammer_on, &parts[i]), 0);
    }
    wait_ms((int64_t)(seconds_asked() * 1000 * share));
    __atomic_store_n(&h->over, 1, __ATOMIC_RELAXED);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    account(h, parts, tapped);
    if (twin)
        account_twin(h);
    balancer_free(&h->b);
    balancer_free(&h->twin);
    (void)pthread_mutex_destroy(&h->turn);
    mem_free(h->given);
    mem_free(h->ended);
    mem_free(parts);
    mem_free(h);
}

static void every_grant_is_accounted_for(void **state)
{
    (void)state;
    run(CONF_LEDGER, false, false, 0.35);
}

static void all_of_it_in_one_order_gives_the_same(void **state)
{
    (void)state;
    run(CONF_LEDGER, true, true, 0.35);
}

static void other_policies_lose_nothing(void **state)
{
    (void)state;
    for (int policy = CONF_LEDGER + 1;
         policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN; policy++)
        run((enum conf_policy)policy, true, true,
            0.3 / (CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN - CONF_LEDGER));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_grant_is_accounted_for),
        cmocka_unit_test(all_of_it_in_one_order_gives_the_same),
        cmocka_unit_test(other_policies_lose_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
