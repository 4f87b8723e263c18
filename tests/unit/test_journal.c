/*
 * test_journal.c - a journal beside random traffic: what it keeps replays to
 * the same decisions, whatever happens in the middle; and what it costs.
 */
#include "tests/unit/balancer_traffic.h"

#include "balancer/event.h"
#include "balancer/image.h"
#include "balancer/journal/record.h"
#include "balancer/journal/replay.h"
#include "coordinator/journal/journal.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char dir[64], file[128];
};

static struct place place_new(void)
{
    struct place p = {.dir = "/tmp/pelorus-journal-XXXXXX"};

    assert_non_null(mkdtemp(p.dir));
    snprintf(p.file, sizeof(p.file), "%s/j", p.dir);
    return p;
}

static void place_end(const struct place *p)
{
    char name[256];

    for (int i = -2; i < 100; i++) {
        snprintf(name, sizeof(name),
                 i == -2   ? "%s.lock"
                 : i == -1 ? "%s"
                           : "%s.%d",
                 p->file, i);
        (void)unlink(name);
    }
    assert_int_equal(rmdir(p->dir), 0);
}

static struct journal *start(struct balancer *b, const struct place *p,
                             uint64_t size, uint32_t files)
{
    struct journal_config config = {
        .path = p->file, .size = size, .files = files, .seed = 1, .run = 7};
    struct journal *j;
    struct err err = {.msg = ""};

    if (journal_start(&j, b, &config, &err) != 0)
        fail_msg("%s", err.msg);
    return j;
}

static void wait_written(struct journal *j)
{
    for (int i = 0; i < 6000 && journal_figures(j).waiting > 0; i++)
        (void)usleep(10000);
    assert_true(journal_figures(j).waiting == 0);
}

static void *load(const struct place *p, int number, size_t *len)
{
    char name[256];
    struct stat st;
    int fd;
    void *data;

    snprintf(name, sizeof(name), number == 0 ? "%s" : "%s.%d", p->file, number);
    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    assert_int_equal(fstat(fd, &st), 0);
    *len = (size_t)st.st_size;
    data = mem_alloc(*len);
    assert_int_equal(read(fd, data, *len), (ssize_t)*len);
    (void)close(fd);
    return data;
}

/* From FILE.n to FILE; returns how many there are. */
static int apply_all(struct replay *r, const struct place *p, uint64_t *missing)
{
    int n = 0, applied = 0;
    size_t len;
    void *data;

    while ((data = load(p, n, &len)) != NULL) {
        mem_free(data);
        n++;
    }
    for (int i = n - 1; i >= 0; i--) {
        struct replay_file file;
        struct err err = {.msg = ""};

        data = load(p, i, &len);
        if (balancer_replay_apply(r, data, len, &file, &err) != 0)
            fail_msg("file %d: %s", i, err.msg);
        assert_true(file.recorded == file.replayed);
        assert_true(file.ended);
        assert_false(file.torn);
        assert_false(file.basis_differs);
        *missing += file.missing;
        mem_free(data);
        applied++;
    }
    return applied;
}

/* Asked for what was: not one decision may differ. */
static int as_it_was(void *arg, struct replay_settings *s, struct err *err)
{
    (void)err;
    ++*(unsigned *)arg;
    assert_true(s->conf.heartbeat_interval_ms == INTERVAL);
    return 0;
}

static void random_traffic_replays_through_rotations(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 5; seed++) {
        struct place p = place_new();
        struct balancer *b = balancer_of((enum conf_policy)(seed % 5));
        struct journal *j;
        struct traffic t;
        struct replay *r = balancer_replay_new(NULL, NULL, 0);
        unsigned asked = 0;
        struct replay *alike = balancer_replay_new(as_it_was, &asked, 0);
        uint64_t missing = 0;

        traffic_begin(&t, seed);
        for (int i = 0; i < 500; i++)
            traffic_step(&t, b);
        j = start(b, &p, 100000, 50);
        for (int i = 0; i < 25000; i++) {
            traffic_step(&t, b);
            if (i % 4000 == 0) /* so that it writes in the middle, too */
                wait_written(j);
        }
        journal_stop(&j, 60000);
        assert_null(j);
        assert_true(apply_all(r, &p, &missing) > 2);
        assert_int_equal(missing, 0);
        assert_true(balancer_replay_sum(r).requests > 8000);
        assert_int_equal(balancer_replay_sum(r).differ, 0);
        assert_true(apply_all(alike, &p, &missing) > 2);
        assert_true(asked > 10);
        assert_int_equal(balancer_replay_sum(alike).differ, 0);
        balancer_replay_free(&alike);
        balancer_replay_free(&r);
        balancer_free(&b);
        place_end(&p);
    }
}

/* More than the ring holds, and nobody to empty it in time. */
static void what_finds_no_room_is_left_out_and_said(void **state)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_RANDOM);
    struct journal *j = start(b, &p, 1 << 30, 2);
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = 1, .now = START};
    char strangers[BALANCER_EXCLUDE_MAX][BALANCER_ADDRESS_MAX + 1];
    struct replay *r = balancer_replay_new(NULL, NULL, 0);
    struct journal_figures f;
    uint64_t missing = 0;

    (void)state;
    for (uint32_t i = 0; i < 20; i++) {
        char address[32];

        traffic_address(address, sizeof(address), i);
        set_idle(b, address, 8, START);
    }
    /* 16 KB each: far more than the thread can write while it sleeps once. */
    for (size_t i = 0; i < BALANCER_EXCLUDE_MAX; i++) {
        memset(strangers[i], 'x', BALANCER_ADDRESS_MAX);
        strangers[i][BALANCER_ADDRESS_MAX] = '\0';
        snprintf(strangers[i], 4, "%zu", i);
        strangers[i][strlen(strangers[i])] = 'x';
        request.exclude[i] = strangers[i];
    }
    request.n_exclude = BALANCER_EXCLUDE_MAX;
    for (int i = 0; i < 200000 && journal_figures(j).gaps < 1; i++)
        balancer_pick(b, &request, &answer);
    request.n_exclude = 0;
    f = journal_figures(j);
    assert_true(f.gaps >= 1 && f.dropped > 0);
    for (int i = 0; i < 3000 && !journal_figures(j).complete; i++)
        (void)usleep(20000);
    assert_true(journal_figures(j).complete);
    for (int i = 0; i < 10; i++)
        balancer_pick(b, &request, &answer);
    journal_stop(&j, 60000);
    assert_int_equal(apply_all(r, &p, &missing), 1);
    assert_true(missing >= f.dropped);
    assert_int_equal(balancer_replay_sum(r).differ, 0);
    balancer_replay_free(&r);
    balancer_free(&b);
    place_end(&p);
}

/* Also when the first try to go on fails. */
static void what_is_missing_is_counted_over_all_failures(void **state)
{
    static struct balancer_pick picks[BALANCER_COUNT_MAX];
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_RANDOM);
    struct journal *j = start(b, &p, 1 << 30, 2);
    struct balancer_answer answer = {.picks = picks};
    struct balancer_request request = {.count = 1, .now = START};
    struct replay *r = balancer_replay_new(NULL, NULL, 0);
    struct journal_figures f;
    uint64_t missing = 0;

    (void)state;
    set_idle(b, "w:1", 8, START);
    wait_written(j);
    place_end(&p);
    journal_reopen(j);
    for (int i = 0; i < 6000 && journal_figures(j).errors < 2; i++) {
        balancer_pick(b, &request, &answer);
        (void)usleep(5000);
    }
    assert_true(journal_figures(j).errors >= 2);
    assert_int_equal(mkdir(p.dir, 0700), 0);
    for (int i = 0; i < 6000 && !journal_figures(j).complete; i++) {
        balancer_pick(b, &request, &answer);
        (void)usleep(5000);
    }
    balancer_pick(b, &request, &answer);
    wait_written(j);
    f = journal_figures(j);
    assert_true(f.complete);
    journal_stop(&j, 60000);
    assert_int_equal(apply_all(r, &p, &missing), 1);
    assert_true(f.dropped > 100);
    assert_int_equal(missing, f.dropped);
    balancer_replay_free(&r);
    balancer_free(&b);
    place_end(&p);
}

/* An hour of a cluster of 60: heartbeats every 10 s, ticks, about ten tasks a
 * second of about 20 s, most of whose ends are told. */
static void hour(struct balancer *b)
{
    enum { UNDER_WAY = 512 };
    static struct {
        pick_id pick;
        mono_ms until;
    } tasks[UNDER_WAY];
    struct rand r;
    mono_ms now = START;

    rand_seed(&r, 60);
    memset(tasks, 0, sizeof(tasks));
    for (int i = 0; i < 14400; i++) {
        now += 250;
        for (uint32_t w = (uint32_t)i % 40; w < 60; w += 40) {
            struct balancer_worker one = idle("", 8 + (int32_t)w % 24, now);

            snprintf(one.address, sizeof(one.address), "10.1.0.%u:1234", w);
            one.cpu = rand_double(&r) * .95;
            one.pool = (double)rand_below(&r, 9) / 8;
            one.busy = rand_below(&r, 40) == 0;
            balancer_set(b, &one, now);
        }
        for (uint64_t n = rand_below(&r, 6); n > 0; n--) {
            uint64_t at = rand_below(&r, UNDER_WAY);

            (void)pick(b, now + (mono_ms)rand_below(&r, 250));
            tasks[at].pick = last.code == BALANCER_OK ? last_pick.pick : 0;
            tasks[at].until = now + (mono_ms)rand_below(&r, 40000);
        }
        for (size_t t = 0; t < UNDER_WAY; t++)
            if (tasks[t].pick != 0 && tasks[t].until <= now) {
                (void)balancer_done(b, tasks[t].pick);
                tasks[t].pick = 0;
            }
        balancer_tick(b, now);
    }
}

static int warmer(void *arg, struct replay_settings *s, struct err *err)
{
    (void)arg;
    (void)err;
    s->conf.cpu_max = 0.8;
    return 0;
}

static void a_recorded_hour_replays_to_the_same_hash(void **state)
{
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct journal *j = start(b, &p, 64 << 20, 6);
    struct replay *same = balancer_replay_new(NULL, NULL, 0);
    struct replay *other = balancer_replay_new(warmer, NULL, 0);
    struct replay_file file;
    struct replay_sum sum;
    uint64_t missing = 0;
    size_t len;
    void *data;

    (void)state;
    hour(b);
    journal_stop(&j, 60000);
    assert_int_equal(apply_all(same, &p, &missing), 1);
    assert_int_equal(missing, 0);
    sum = balancer_replay_sum(same);
    assert_true(sum.requests > 30000);
    assert_true(sum.recorded == sum.replayed);
    assert_int_equal(sum.first.number, 0);

    data = load(&p, 0, &len);
    print_message("an hour: %llu picks, %zu bytes\n",
                  (unsigned long long)sum.picks, len);
    assert_int_equal(balancer_replay_apply(other, data, len, &file, NULL), 0);
    assert_in_range(file.last - file.first, 3599000, 3600000);
    sum = balancer_replay_sum(other);
    assert_true(sum.recorded != sum.replayed);
    assert_true(sum.first.number > 0);
    assert_true(sum.differ > 100 && sum.differ < sum.picks);
    mem_free(data);
    balancer_replay_free(&same);
    balancer_replay_free(&other);
    balancer_free(&b);
    place_end(&p);
}

static int colder(void *arg, struct replay_settings *s, struct err *err)
{
    (void)arg;
    (void)err;
    s->conf.cpu_max = 0.3;
    for (size_t i = 0; i < s->n; i++)
        s->own[i].conf.cpu_max = 0.3;
    return 0;
}

/* One decision that differs does not make all later ones: where the settings
 * are the same again, so are the decisions. */
static void another_threshold_differs_first_where_it_matters(void **state)
{
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct balancer_worker hot = idle("hot:1", 8, START);
    struct journal *j;
    struct replay *r = balancer_replay_new(colder, NULL, 0);
    struct replay_difference first;
    struct buf why;
    uint64_t missing = 0;
    size_t len, n;
    struct replay_share *shares;
    struct replay_file file;
    void *data;

    (void)state;
    set_idle(b, "cold:1", 8, START);
    j = start(b, &p, 1 << 20, 2);
    for (int i = 0; i < 5; i++)
        assert_string_equal(pick(b, START), "cold:1");
    hot.cpu = 0.5; /* below 0.9, above 0.3 */
    set(b, hot, START);
    for (int i = 0; i < 5; i++)
        assert_string_equal(pick(b, START + 1), "hot:1");
    journal_stop(&j, 60000);

    data = load(&p, 0, &len);
    assert_int_equal(balancer_replay_apply(r, data, len, &file, NULL), 0);
    first = balancer_replay_sum(r).first;
    assert_int_equal(first.number, 6);
    assert_string_equal(first.was, "hot:1");
    assert_string_equal(first.then, "cold:1");
    assert_int_equal(first.now, START + 1);
    assert_true(file.recorded != file.replayed);
    shares = balancer_replay_shares(r, &n);
    assert_int_equal(n, 2);
    assert_string_equal(shares[0].address, "cold:1");
    assert_int_equal(shares[0].was, 5);
    assert_int_equal(shares[1].was, 5);
    assert_int_equal(shares[0].then + shares[1].then, 10);
    mem_free(shares);
    balancer_replay_free(&r);

    /* Up to there, and why. */
    r = balancer_replay_new(colder, NULL, first.number);
    assert_int_equal(balancer_replay_apply(r, data, len, &file, NULL), 0);
    assert_true(balancer_replay_stopped(r));
    buf_init(&why, 1 << 20);
    balancer_replay_explain(r, &why);
    assert_non_null(strstr(buf_text(&why), "\"hot\":\"cpu\""));
    buf_close(&why);
    balancer_replay_free(&r);
    mem_free(data);

    r = balancer_replay_new(NULL, NULL, 0);
    assert_int_equal(apply_all(r, &p, &missing), 1);
    balancer_replay_free(&r);
    balancer_free(&b);
    place_end(&p);
}

static void every_cut_and_every_flip_is_noticed(void **state)
{
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct traffic t;
    struct journal *j;
    size_t len;
    char *data;

    (void)state;
    traffic_begin(&t, 3);
    for (int i = 0; i < 60; i++)
        traffic_step(&t, b);
    j = start(b, &p, 1 << 20, 2);
    for (int i = 0; i < 200; i++)
        traffic_step(&t, b);
    journal_stop(&j, 60000);
    data = load(&p, 0, &len);
    for (size_t i = 0; i < 2 * len; i++) {
        size_t at = i % len;
        size_t n = i < len ? at : len;
        struct replay *r;
        struct replay_file file;
        struct err err = {.msg = ""};
        void *copy = mem_dup(data, n);

        if (i % 61 != 0 && n > 120) { /* all of the head, a part of the rest */
            mem_free(copy);
            continue;
        }
        if (i >= len)
            ((char *)copy)[at] ^= 0x20;
        r = balancer_replay_new(NULL, NULL, 0);
        if (balancer_replay_apply(r, copy, n, &file, &err) == 0) {
            assert_true(file.torn || !file.ended);
            assert_int_equal(balancer_replay_sum(r).differ, 0);
        } else {
            assert_true(err.msg[0] != '\0');
        }
        balancer_replay_free(&r);
        mem_free(copy);
    }
    mem_free(data);
    balancer_free(&b);
    place_end(&p);
}

static void two_journals_do_not_share_a_file(void **state)
{
    struct place p = place_new();
    struct balancer *b = balancer_of(CONF_LEDGER);
    struct journal *j = start(b, &p, 1 << 20, 2), *other;
    struct journal_config config = {
        .path = p.file, .size = 1 << 20, .files = 2, .run = 8};
    struct err err;

    (void)state;
    assert_int_equal(journal_start(&other, b, &config, &err), ERR_CONFLICT);
    assert_non_null(strstr(err.msg, "another process writes it"));
    assert_null(other);
    journal_stop(&j, 60000);
    assert_int_equal(journal_start(&other, b, &config, &err), 0);
    journal_stop(&other, 60000);
    config.path = "/nowhere/at/all";
    assert_int_equal(journal_start(&other, b, &config, &err), ERR_NOT_FOUND);
    journal_stop(&other, 60000); /* NULL is fine */
    balancer_free(&b);
    place_end(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_traffic_replays_through_rotations),
        cmocka_unit_test(a_recorded_hour_replays_to_the_same_hash),
        cmocka_unit_test(what_finds_no_room_is_left_out_and_said),
        cmocka_unit_test(what_is_missing_is_counted_over_all_failures),
        cmocka_unit_test(another_threshold_differs_first_where_it_matters),
        cmocka_unit_test(every_cut_and_every_flip_is_noticed),
        cmocka_unit_test(two_journals_do_not_share_a_file),
    };

    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
