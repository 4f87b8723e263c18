/*
 * test_zookeeper_storm.c - connections that break all the time, sessions that
 * end: every answer must still be true, every mirror exact.
 */
#include "tests/registry/zookeeper_store.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 20261125

/* --- txns ---------------------------------------------------------------- */

/*
 * Counters in chains: read, then one txn that raises the counter at the
 * version read and leaves a note under the attempt's number; read again,
 * whatever the answer was. So a counter is as high as it has notes, and each
 * note says whether its attempt was applied.
 */
#define COUNTERS     8
#define ATTEMPTS_MAX 20000

enum outcome { ASKED, APPLIED, NOT_APPLIED, IN_DOUBT };

struct chain {
    struct chains *all;
    char key[32];
    size_t attempt;  /* under way */
    bool busy, last; /* something is asked; its last attempt was applied */
    size_t applied, noted;
};

struct chains {
    struct registry *r;
    struct chain chains[COUNTERS];
    enum outcome *outcomes; /* by attempt */
    unsigned char *counter; /* of the attempt */
    size_t n_attempts;
    size_t n[IN_DOUBT + 1]; /* outcomes of each kind */
    bool ending;            /* stop after the next that is applied */
};

static void settle(struct chain *c, enum outcome outcome)
{
    c->all->outcomes[c->attempt] = outcome;
    c->all->n[outcome]++;
    c->applied += outcome == APPLIED;
}

static void on_raised(void *arg, const struct registry_reply *reply)
{
    struct chain *c = arg;

    c->busy = false;
    switch (reply->err.code) {
    case ERR_OK:
        settle(c, APPLIED);
        c->last = c->all->ending;
        break;
    case ERR_UNKNOWN:
        settle(c, IN_DOUBT);
        break;
    case ERR_CONFLICT:
    case ERR_UNAVAILABLE:
    case ERR_SESSION_LOST:
    case ERR_TOO_LARGE:
        settle(c, NOT_APPLIED);
        break;
    case ERR_CANCELLED: /* the end of a test that failed */
        break;
    default:
        fail_msg("%s: %s", err_name(reply->err.code), reply->err.msg);
    }
}

static void on_counter(void *arg, const struct registry_reply *reply)
{
    static char large[REGISTRY_VALUE_MAX + 1];
    struct chain *c = arg;
    struct chains *all = c->all;
    char note[48], value[24];
    struct registry_op ops[2] = {{.type = REGISTRY_PUT,
                                  .expect = REGISTRY_VERSION,
                                  .key = c->key,
                                  .value = value},
                                 {.type = REGISTRY_PUT,
                                  .expect = REGISTRY_ABSENT,
                                  .key = note,
                                  .value = "1",
                                  .value_len = 1}};

    c->busy = false;
    if (reply->err.code != ERR_OK)
        return; /* the next turn reads again */
    assert_true(all->n_attempts < ATTEMPTS_MAX);
    c->attempt = all->n_attempts++;
    all->counter[c->attempt] = (unsigned char)(c - all->chains);
    c->busy = true;
    (void)snprintf(note, sizeof(note), "/notes/%06zu", c->attempt);
    (void)snprintf(value, sizeof(value), "%ld",
                   strtol(reply->entries[0].value, NULL, 10) + 1);
    ops[0].version = reply->entries[0].version;
    ops[0].value_len = strlen(value);
    if (c->attempt % 50 == 49) {
        ops[1].value = large;
        ops[1].value_len = sizeof(large);
    }
    registry_txn(all->r, ops, 2, on_raised, c);
}

/* Everyone who waits for nothing reads. */
static void drive_chains(struct world *w, struct chains *all)
{
    for (size_t i = 0; i < COUNTERS; i++) {
        struct chain *c = &all->chains[i];

        if (!c->busy && !c->last) {
            c->busy = true;
            registry_get(all->r, c->key, on_counter, c);
        }
    }
    w->backend->turn(w->store, 5);
}

static bool all_chains_ended(const struct chains *all)
{
    bool ended = true;

    for (size_t i = 0; i < COUNTERS; i++)
        ended &= all->chains[i].last;
    return ended;
}

/* What stands under /notes agrees with every answer. */
static void check_notes(struct world *w, struct registry *r, struct chains *all)
{
    bool *noted = mem_zalloc(all->n_attempts);
    struct got g = {0};

    do {
        char *from = mem_strdup(g.next);

        assert_int_equal(do_list(w, r, "/notes", from, 1000, &g), ERR_OK);
        mem_free(from);
        for (size_t i = 0; i < g.n_entries; i++) {
            size_t n = strtoul(g.entries[i].key + strlen("/notes/"), NULL, 10);

            assert_true(n < all->n_attempts && !noted[n]);
            noted[n] = true;
            all->chains[all->counter[n]].noted++;
        }
    } while (g.next != NULL);
    for (size_t i = 0; i < all->n_attempts; i++) {
        assert_true(all->outcomes[i] != ASKED);
        if (all->outcomes[i] != IN_DOUBT &&
            noted[i] != (all->outcomes[i] == APPLIED)) {
            fail_msg("attempt %zu was %s and is %s", i,
                     all->outcomes[i] == APPLIED ? "ok" : "refused",
                     noted[i] ? "there" : "not there");
        }
    }
    for (size_t i = 0; i < COUNTERS; i++) {
        struct chain *c = &all->chains[i];

        assert_int_equal(do_get(w, r, c->key, &g), ERR_OK);
        assert_int_equal(strtoul(g.entries[0].value, NULL, 10), c->noted);
        assert_true(c->noted >= c->applied);
    }
    got_free(&g);
    mem_free(noted);
}

static void every_outcome_is_true_through_fifty_resets(void **state)
{
    enum { RESETS = 50 };
    struct world *w = *state;
    struct chains *all = mem_zalloc(sizeof(*all));
    struct registry *other = world_open(w);
    struct proxy *proxy;
    struct rand rand;
    size_t broken = 0;

    rand_seed(&rand, SEED);
    all->r = world_open(w);
    all->outcomes = mem_zalloc(ATTEMPTS_MAX * sizeof(*all->outcomes));
    all->counter = mem_zalloc(ATTEMPTS_MAX);
    proxy = zktest_proxy(w, all->r);
    for (size_t i = 0; i < COUNTERS; i++) {
        struct chain *c = &all->chains[i];

        c->all = all;
        (void)snprintf(c->key, sizeof(c->key), "/counters/%zu", i);
        assert_int_equal(do_put(w, other, c->key, "0", REGISTRY_ABSENT, 0),
                         ERR_OK);
    }
    proxy_delay(proxy, 2);
    for (size_t i = 0; i < RESETS; i++) {
        size_t enough = all->n[APPLIED] + 1 + rand_below(&rand, 24);
        int64_t until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;

        while ((all->n[APPLIED] < enough || proxy_open_links(proxy) == 0) &&
               clock_mono_ms() < until)
            drive_chains(w, all);
        assert_true(all->n[APPLIED] >= enough);
        broken += proxy_reset(proxy);
    }
    assert_true(broken >= RESETS);
    all->ending = true;
    {
        int64_t until = clock_mono_ms() + CONFORMANCE_PATIENCE_MS;

        while (!all_chains_ended(all) && clock_mono_ms() < until)
            drive_chains(w, all);
        assert_true(all_chains_ended(all));
    }
    check_notes(w, other, all);
    assert_true(all->n[IN_DOUBT] > 0); /* or the resets hit nothing */
    mem_free(all->outcomes);
    mem_free(all->counter);
    mem_free(all);
}

/* --- watches ------------------------------------------------------------- */

#define KEYS 500

struct mirror {
    struct {
        uint64_t created, version;
        char value[16]; /* "": it is not there */
    } keys[KEYS];
    size_t events, synced;
};

static void mirror_key(size_t n, char key[32])
{
    (void)snprintf(key, 32, "/w/%zu/%03zu", n % 10, n);
}

static size_t mirror_index(const char *key)
{
    return strtoul(strrchr(key, '/') + 1, NULL, 10);
}

/* Each event must be the next thing that can have happened. */
static void on_event(void *arg, const struct registry_event *event)
{
    const struct registry_entry *e = &event->entry;
    struct mirror *m = arg;
    bool there;
    size_t n;

    m->events++;
    if (event->type == REGISTRY_SYNCED) {
        m->synced++;
        return;
    }
    n = mirror_index(e->key);
    assert_true(n < KEYS);
    there = m->keys[n].value[0] != '\0';
    assert_int_equal(there, event->type != REGISTRY_ADD);
    if (event->type == REGISTRY_ADD) {
        assert_true(e->created > m->keys[n].created);
        m->keys[n].created = e->created;
    } else {
        assert_true(e->created == m->keys[n].created);
    }
    if (event->type == REGISTRY_UPDATE)
        assert_true(e->version > m->keys[n].version);
    m->keys[n].version = e->version;
    (void)snprintf(m->keys[n].value, sizeof(m->keys[n].value), "%s",
                   event->type == REGISTRY_REMOVE ? "" : e->value);
}

static bool mirror_equals(const struct mirror *m, const struct got *g)
{
    size_t there = 0, same = 0;

    for (size_t i = 0; i < KEYS; i++)
        there += m->keys[i].value[0] != '\0';
    for (size_t i = 0; i < g->n_entries; i++) {
        size_t n = mirror_index(g->entries[i].key);

        same += m->keys[n].created == g->entries[i].created &&
                m->keys[n].version == g->entries[i].version &&
                strcmp(m->keys[n].value, g->entries[i].value) == 0;
    }
    return there == g->n_entries && same == there;
}

static void change_one(struct world *w, struct registry *r, struct rand *rand)
{
    size_t n = rand_below(rand, KEYS);
    char key[32], value[16];
    struct got g = {0};
    bool there, remove = rand_below(rand, 3) == 0;
    bool ephemeral = n % 4 == 0;

    mirror_key(n, key);
    (void)snprintf(value, sizeof(value), "%" PRIu64, rand_below(rand, 1000000));
    there = do_get(w, r, key, &g) == ERR_OK;
    if (there && remove) {
        assert_int_equal(do_delete(w, r, key, g.entries[0].version), ERR_OK);
        there = rand_below(rand, 2) == 0; /* and at once made again */
    }
    if (!there || !remove) {
        assert_int_equal((ephemeral ? do_put_ephemeral : do_put)(
                             w, r, key, value, REGISTRY_ANY, 0),
                         ERR_OK);
    }
    got_free(&g);
}

static void a_mirror_is_exact_through_resets_and_lost_sessions(void **state)
{
    enum { CHANGES = 3000, EXPIRIES = 4 };
    struct world *w = *state;
    struct registry *r = world_open(w), *other = world_open(w);
    struct mirror *m = mem_zalloc(sizeof(*m));
    struct proxy *proxy = zktest_proxy(w, r);
    struct registry_watch *watch;
    struct got truth = {0};
    struct story story;
    struct rand rand;
    size_t events, synced = 0;

    rand_seed(&rand, SEED);
    for (size_t i = 0; i < KEYS; i++)
        change_one(w, other, &rand);
    watch = registry_watch(r, "/w", on_event, m);
    story_begin(w, r, &story);
    for (size_t i = 1; i <= CHANGES; i++) {
        change_one(w, other, &rand);
        if (i % (CHANGES / EXPIRIES) == 0) {
            proxy_cut(proxy, 0);
            world_until(w, registry_session(r) != 0);
            synced = m->synced;
            w->backend->expire(w->store, r);
        } else if (i % 50 == 0) {
            (void)proxy_reset(proxy);
        } else if (i % 130 == 0) {
            proxy_cut(proxy, (unsigned)(i % 3) + 1);
        } else if (i % 130 == 60) {
            proxy_cut(proxy, 0);
        }
    }
    proxy_cut(proxy, 0);
    assert_int_equal(do_list(w, other, "/w", NULL, 1000, &truth), ERR_OK);
    assert_true(truth.n_entries > KEYS / 4);
    world_until(w, mirror_equals(m, &truth));
    world_until(w, m->synced > synced); /* in the last session */
    assert_true(story_count(&story, REGISTRY_CONNECTED) >= EXPIRIES);
    events = m->events;
    world_pass(w, 1500); /* nothing that is late comes after it */
    assert_int_equal(m->events, events);
    story_end(&story);
    registry_unwatch(&watch);
    got_free(&truth);
    mem_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ZKTEST(every_outcome_is_true_through_fifty_resets),
        ZKTEST(a_mirror_is_exact_through_resets_and_lost_sessions),
    };
    int failed;

    if (zktest_begin() != 0)
        return 1;
    failed = cmocka_run_group_tests_name("zookeeper_storm", tests, NULL, NULL);
    zktest_end();
    return failed;
}
