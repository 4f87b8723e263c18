/*
 * test_heartbeat.c - every form of heartbeat, and everything that is none.
 * The samples in data/heartbeats carry what must be understood from them.
 */
#include "cluster/heartbeat.h"
#include "registry/registry.h"

#include "base/json/json.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SAMPLES "tests/unit/data/heartbeats"

/* --- the samples --------------------------------------------------------- */

static const struct json *sample_load(const char *name)
{
    static char text[64 * 1024];
    char path[512];
    const struct json *json = NULL;
    struct err err;
    size_t len;
    FILE *f;

    snprintf(path, sizeof(path), SAMPLES "/%s", name);
    f = fopen(path, "r");
    assert_non_null(f);
    len = fread(text, 1, sizeof(text), f);
    fclose(f);
    if (json_parse(text, len, &json, &err) != 0)
        fail_msg("%s: %s", name, err.msg);
    return json;
}

static void expect_number(const char *file, const struct json *expect,
                          const char *field, double got)
{
    const struct json *item = json_get(expect, field);

    if (item != NULL && fabs(item->number - got) > 1e-9)
        fail_msg("%s: %s is %g, not %g", file, field, got, item->number);
}

static void expect_text(const char *file, const struct json *expect,
                        const char *field, const char *got)
{
    const char *want = json_str(expect, field);

    if (want != NULL && strcmp(want, got) != 0)
        fail_msg("%s: %s is %s, not %s", file, field, got, want);
}

/* `default` is said of every worker and stands in no heartbeat. */
static void expect_groups(const char *file, const struct json *expect,
                          const struct node_key *key,
                          const struct heartbeat *hb)
{
    const struct json *each;

    json_each (each, json_get(expect, "groups")) {
        bool found = strcmp(each->string, "default") == 0 ||
                     strcmp(each->string, key->group) == 0;

        for (size_t i = 0; i < hb->n_groups; i++)
            found = found || strcmp(each->string, hb->groups[i]) == 0;
        if (!found)
            fail_msg("%s: not in group %s", file, each->string);
    }
}

static void check_sample(const char *file, const struct json *sample)
{
    const struct json *expect = json_get(sample, "expect");
    const char *value = json_str(sample, "value");
    struct node_key key;
    struct heartbeat hb;
    struct err err;
    int rc = node_key_parse(json_str(sample, "key"), &key, &err);

    assert_non_null(expect);
    if (json_bool(expect, "ignored", false)) {
        assert_int_equal(rc, ERR_INVALID);
        return;
    }
    if (rc != 0)
        fail_msg("%s: %s", file, err.msg);
    heartbeat_read(&hb, value, strlen(value));
    expect_text(file, expect, "kind", node_kind_name(key.kind));
    expect_text(file, expect, "address", key.address);
    expect_text(file, expect, "status", node_status_name(hb.status));
    expect_number(file, expect, "cpu", hb.load.cpu);
    expect_number(file, expect, "memory", hb.load.memory);
    expect_number(file, expect, "pool", hb.load.pool);
    expect_number(file, expect, "weight", hb.load.weight);
    expect_number(file, expect, "slots", hb.load.slots);
    expect_groups(file, expect, &key, &hb);
    if (json_bool(expect, "degraded", false) !=
        (hb.problems[0].reason != HEARTBEAT_OK))
        fail_msg("%s: %s", file, hb.problems[0].text);
    assert_int_equal(hb.process.known, strncmp(file, "bad-", 4) != 0 ||
                                           hb.process.startup_time > 0);
}

static void every_sample_is_read_as_it_says(void **state)
{
    DIR *dir = opendir(SAMPLES);
    struct dirent *d;
    size_t n = 0;

    (void)state;
    assert_non_null(dir);
    while ((d = readdir(dir)) != NULL) {
        const struct json *sample;

        if (strstr(d->d_name, ".json") == NULL)
            continue;
        sample = sample_load(d->d_name);
        check_sample(d->d_name, sample);
        json_free(sample);
        n++;
    }
    closedir(dir);
    assert_true(n >= 14);
}

/* --- refusals ------------------------------------------------------------ */

#define ID "\"startupTime\":1732000000000,\"processId\":7"

static const struct refusal {
    const char *value;
    enum heartbeat_reason reason;
    const char *field; /* NULL: of none */
    bool known;        /* the identity is understood all the same */
} refusals[] = {
    {"", HEARTBEAT_EMPTY, NULL, false},
    {"{", HEARTBEAT_NOT_JSON, NULL, false},
    {"7", HEARTBEAT_NOT_JSON, NULL, false},
    {"[]", HEARTBEAT_NOT_JSON, NULL, false},
    {"null", HEARTBEAT_NOT_JSON, NULL, false},
    {"{" ID ",\"cpuUsage\":NaN}", HEARTBEAT_NOT_JSON, NULL, false},
    {"{" ID "}x", HEARTBEAT_NOT_JSON, NULL, false},
    {"{}", HEARTBEAT_NO_IDENTITY, "startupTime", false},
    {"{\"processId\":7}", HEARTBEAT_NO_IDENTITY, "startupTime", false},
    {"{\"startupTime\":null}", HEARTBEAT_NO_IDENTITY, "startupTime", false},
    {"{\"startupTime\":0}", HEARTBEAT_OUT_OF_RANGE, "startupTime", false},
    {"{\"startupTime\":-5}", HEARTBEAT_OUT_OF_RANGE, "startupTime", false},
    {"{\"startupTime\":1.5}", HEARTBEAT_OUT_OF_RANGE, "startupTime", false},
    {"{\"startupTime\":\"1732000000000\"}", HEARTBEAT_NOT_A_NUMBER,
     "startupTime", false},
    {"{\"startupTime\":99999999999999999999}", HEARTBEAT_OUT_OF_RANGE,
     "startupTime", false},
    {"{\"startupTime\":1e999}", HEARTBEAT_NOT_A_NUMBER, "startupTime", false},
    {"{\"startupTime\":5,\"processId\":9007199254740993000}",
     HEARTBEAT_OUT_OF_RANGE, "processId", false},
    {"{\"startupTime\":9007199254740993}", HEARTBEAT_OUT_OF_RANGE,
     "startupTime", false},
    {"{\"startupTime\":5.00000000000000001}", HEARTBEAT_OUT_OF_RANGE,
     "startupTime", false},
    {"{" ID ",\"slots\":8.00000000000000001}", HEARTBEAT_OUT_OF_RANGE, "slots",
     true},
    {"{" ID ",\"workerHostWeight\":99.99999999999999999}",
     HEARTBEAT_OUT_OF_RANGE, "workerHostWeight", true},
    {"{" ID ",\"cpuUsage\":\"NaN\"}", HEARTBEAT_NOT_A_NUMBER, "cpuUsage", true},
    {"{" ID ",\"memoryUsage\":\"Infinity\"}", HEARTBEAT_NOT_A_NUMBER,
     "memoryUsage", true},
    {"{" ID ",\"diskUsage\":true}", HEARTBEAT_NOT_A_NUMBER, "diskUsage", true},
    {"{" ID ",\"cpuUsage\":-1e400}", HEARTBEAT_NOT_A_NUMBER, "cpuUsage", true},
    {"{" ID ",\"cpuUsage\":1.01}", HEARTBEAT_OUT_OF_RANGE, "cpuUsage", true},
    {"{" ID ",\"cpuUsage\":-1.01}", HEARTBEAT_OUT_OF_RANGE, "cpuUsage", true},
    {"{" ID ",\"threadPoolUsage\":-1}", HEARTBEAT_OUT_OF_RANGE,
     "threadPoolUsage", true},
    {"{" ID ",\"threadPoolUsage\":100.5}", HEARTBEAT_OUT_OF_RANGE,
     "threadPoolUsage", true},
    {"{" ID ",\"workerHostWeight\":10001}", HEARTBEAT_OUT_OF_RANGE,
     "workerHostWeight", true},
    {"{" ID ",\"workerHostWeight\":1.5}", HEARTBEAT_OUT_OF_RANGE,
     "workerHostWeight", true},
    {"{" ID ",\"slots\":-1}", HEARTBEAT_OUT_OF_RANGE, "slots", true},
    {"{" ID ",\"slots\":4294967296}", HEARTBEAT_OUT_OF_RANGE, "slots", true},
    {"{" ID ",\"slots\":8,\"workerExecThreadCount\":\"8\"}",
     HEARTBEAT_NOT_A_NUMBER, "workerExecThreadCount", true},
    {"{" ID ",\"threadPoolUsage\":0,\"workerWaitingTaskCount\":1e16}",
     HEARTBEAT_OUT_OF_RANGE, "workerWaitingTaskCount", true},
    {"{" ID ",\"serverStatus\":3}", HEARTBEAT_OUT_OF_RANGE, "serverStatus",
     true},
    {"{" ID ",\"serverStatus\":\"busy\"}", HEARTBEAT_OUT_OF_RANGE,
     "serverStatus", true},
    {"{" ID ",\"ttl\":\"soon\"}", HEARTBEAT_OUT_OF_RANGE, "ttl", true},
    {"{" ID ",\"ttl\":0}", HEARTBEAT_OUT_OF_RANGE, "ttl", true},
    {"{" ID ",\"groups\":[\"a\",7]}", HEARTBEAT_OUT_OF_RANGE, "groups", true},
    {"{" ID ",\"group\":\"no/slash\"}", HEARTBEAT_OUT_OF_RANGE, "group", true},
};

/* Of two members for one thing the good one counts. */
static void a_bad_member_beside_a_good_one_costs_nothing(void **state)
{
    const char *v = "{" ID ",\"slots\":8,\"workerExecThreadCount\":-1,"
                    "\"threadPoolUsage\":0.5,\"workerWaitingTaskCount\":-1}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_int_equal(hb.refused, 0);
    assert_int_equal(hb.n_problems, 2);
    assert_int_equal(hb.load.slots, 8);
    assert_true(hb.load.pool == 0.5);
}

static void refusals_name_reason_and_field_and_keep_the_identity(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        const struct refusal *r = &refusals[i];
        struct heartbeat hb;

        heartbeat_read(&hb, r->value, strlen(r->value));
        if (hb.problems[0].reason != r->reason || hb.process.known != r->known)
            fail_msg("%s: %s", r->value, hb.problems[0].text);
        if (r->field == NULL)
            assert_null(hb.problems[0].field);
        else
            assert_string_equal(hb.problems[0].field, r->field);
        if (hb.process.known)
            assert_int_equal(hb.process.process_id, 7);
    }
}

static void status_is_taken_from_a_refused_heartbeat(void **state)
{
    const char *v = "{" ID ",\"cpuUsage\":\"NaN\",\"serverStatus\":\"BUSY\","
                    "\"groups\":[\"gpu\"]}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_NOT_A_NUMBER);
    assert_true(hb.has_status);
    assert_int_equal(hb.status, NODE_BUSY);
    assert_int_equal(hb.n_groups, 1);
}

/* What one field says does not depend on what another one says wrong. */
static void a_bad_field_is_dropped_and_no_other(void **state)
{
    static const char *const said[] = {
        "cpuUsage: 25 where a number from 0 to 1, or -1 for unknown, is "
        "expected",
        "slots: \"8\" where a whole number from 0 to 1000000 is expected",
        "serverStatus: \"normal\" where \"NORMAL\", \"BUSY\", \"ABNORMAL\" or "
        "0, 2, 1 is expected",
    };
    const char *v = "{" ID ",\"cpuUsage\":25,\"memoryUsage\":0.25,"
                    "\"slots\":\"8\",\"workerHostWeight\":50,"
                    "\"serverStatus\":\"normal\",\"groups\":[\"gpu\"]}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_true(hb.process.known);
    assert_true(hb.load.memory == 0.25);
    assert_int_equal(hb.load.weight, 50);
    assert_true(hb.load.cpu == LOAD_UNKNOWN);
    assert_int_equal(hb.load.slots, 0);
    assert_int_equal(hb.refused, LOAD_CPU | LOAD_SLOTS);
    assert_false(hb.has_status);
    assert_true(hb.status_refused);
    assert_int_equal(hb.n_groups, 1);
    assert_int_equal(hb.n_problems, 3);
    /* in the order in which they are read */
    assert_string_equal(hb.problems[1].text, said[0]);
    assert_string_equal(hb.problems[2].text, said[1]);
    assert_string_equal(hb.problems[0].text, said[2]);
}

static void a_member_that_nobody_reads_is_known_and_what_it_meant(void **state)
{
    static const struct {
        const char *member, *meant;
    } cases[] = {
        {"startuptime", "startupTime"},
        {"startup_time", "startupTime"},
        {"StartupTime", "startupTime"},
        {"cpuUsge", "cpuUsage"},
        {"slot", "slots"},
        {"Groups", "groups"},
        {"grops", "groups"},
        {"serverStatsu", "serverStatus"},
        {"hostname", NULL},
        {"x", NULL},
        {"", NULL},
    };
    static const char *const known[] = {"startupTime", "slots", "loadAverage",
                                        "group", "place"};
    const char *meant;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (heartbeat_knows(cases[i].member, &meant))
            fail_msg("%s is read", cases[i].member);
        if ((meant == NULL) != (cases[i].meant == NULL) ||
            (meant != NULL && strcmp(meant, cases[i].meant) != 0))
            fail_msg("%s: %s", cases[i].member, meant != NULL ? meant : "?");
    }
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        assert_true(heartbeat_knows(known[i], &meant));
}

static void depth_is_bounded_and_brackets_in_strings_do_not_count(void **state)
{
    char value[4096];
    struct heartbeat hb;
    size_t at;

    (void)state;
    memset(value, '[', 2000);
    heartbeat_read(&hb, value, 2000);
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_NOT_JSON);
    assert_non_null(strstr(hb.problems[0].text, "nested too deeply"));
    assert_non_null(strstr(hb.problems[0].text, "the heartbeat: JSON, byte "));
    memset(value + 2000, ']', 2000);
    heartbeat_read(&hb, value, 4000);
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_NOT_JSON);
    assert_non_null(strstr(hb.problems[0].text, "nested too deeply"));
    at = (size_t)snprintf(value, sizeof(value), "{" ID ",\"x\":\"\\\"");
    memset(value + at, '{', 1000);
    memcpy(value + at + 1000, "\"}", 2);
    heartbeat_read(&hb, value, at + 1002);
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_OK);
}

static void of_a_key_said_twice_the_first_counts(void **state)
{
    const char *v = "{" ID ",\"startupTime\":5,\"cpuUsage\":0.5,"
                    "\"cpuUsage\":0.9}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_int_equal(hb.process.startup_time, 1732000000000);
    assert_true(hb.load.cpu == 0.5);
}

static void missing_numbers_are_unknown_and_not_zero(void **state)
{
    const char *v = "{" ID ",\"memoryUsage\":-1,\"diskUsage\":null}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_OK);
    assert_true(hb.load.cpu == LOAD_UNKNOWN);
    assert_true(hb.load.memory == LOAD_UNKNOWN);
    assert_true(hb.load.disk == LOAD_UNKNOWN);
    assert_true(hb.load.pool == LOAD_UNKNOWN);
    assert_int_equal(hb.load.slots, 0);
    assert_int_equal(hb.load.weight, 100);
    assert_false(hb.has_status);
}

static void a_queue_means_that_all_threads_are_taken(void **state)
{
    const char *v = "{" ID ",\"workerExecThreadCount\":10,"
                    "\"workerWaitingTaskCount\":5}";
    struct heartbeat hb;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_true(hb.load.pool == 1.5);
    v = "{" ID ",\"workerExecThreadCount\":10,\"workerWaitingTaskCount\":0}";
    heartbeat_read(&hb, v, strlen(v));
    assert_true(hb.load.pool == LOAD_UNKNOWN);
    v = "{" ID ",\"workerExecThreadCount\":1,\"workerWaitingTaskCount\":1e9}";
    heartbeat_read(&hb, v, strlen(v));
    assert_true(hb.load.pool == 100);
}

static void abnormal_counts_as_busy(void **state)
{
    static const struct {
        const char *value;
        enum node_status status;
    } cases[] = {
        {"{" ID ",\"serverStatus\":0}", NODE_NORMAL},
        {"{" ID ",\"serverStatus\":1}", NODE_BUSY},
        {"{" ID ",\"serverStatus\":2}", NODE_BUSY},
        {"{" ID ",\"serverStatus\":\"NORMAL\"}", NODE_NORMAL},
        {"{" ID ",\"serverStatus\":\"ABNORMAL\"}", NODE_BUSY},
        {"{" ID ",\"serverStatus\":\"BUSY\"}", NODE_BUSY},
        {"{" ID "}", NODE_NORMAL},
    };
    struct heartbeat hb;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        heartbeat_read(&hb, cases[i].value, strlen(cases[i].value));
        assert_int_equal(hb.problems[0].reason, HEARTBEAT_OK);
        assert_int_equal(hb.status, cases[i].status);
    }
}

static void groups_are_clean_sorted_and_bounded(void **state)
{
    const char *v = "{" ID ",\"group\":\" GPU \",\"groups\":[\"eu\",\"gpu\","
                    "\"default\",\"\",\"a\"]}";
    struct heartbeat hb;
    struct buf b;

    (void)state;
    heartbeat_read(&hb, v, strlen(v));
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_OK);
    assert_int_equal(hb.n_groups, 3);
    assert_string_equal(hb.groups[0], "a");
    assert_string_equal(hb.groups[1], "eu");
    assert_string_equal(hb.groups[2], "gpu");
    buf_init(&b, 4096);
    buf_str(&b, "{" ID ",\"groups\":[\"x\"");
    for (int i = 0; i < 40; i++)
        buf_printf(&b, ",\"g%02d\"", i);
    buf_str(&b, "]}");
    heartbeat_read(&hb, b.data, b.len);
    assert_int_equal(hb.n_groups, HEARTBEAT_GROUPS_MAX);
    assert_int_equal(hb.problems[0].reason, HEARTBEAT_OUT_OF_RANGE);
    buf_close(&b);
}

/* --- writing ------------------------------------------------------------- */

static void what_is_written_is_read_again(void **state)
{
    struct heartbeat hb = {
        .process = {0, 1732000000000, 42, true},
        .status = NODE_BUSY,
        .load = {0.25, 0.5, LOAD_UNKNOWN, 0.75, 16, 200},
        .groups = {"eu", "gpu"},
        .n_groups = 2,
        .ttl_ms = 30000,
    };
    struct heartbeat again;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    heartbeat_write(&b, NODE_WORKER, "[::1]:1234", &hb, 1732000010000);
    assert_non_null(strstr(buf_text(&b), "\"host\":\"::1\",\"port\":1234"));
    heartbeat_read(&again, b.data, b.len);
    assert_int_equal(again.n_problems, 0);
    assert_true(process_same(&again.process, &hb.process));
    assert_int_equal(again.status, NODE_BUSY);
    assert_memory_equal(&again.load, &hb.load, sizeof(hb.load));
    assert_int_equal(again.n_groups, hb.n_groups);
    for (size_t i = 0; i < hb.n_groups; i++)
        assert_string_equal(again.groups[i], hb.groups[i]);
    assert_int_equal(again.ttl_ms, 30000);
    assert_int_equal(again.report_time, 1732000010000);
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_read_as_it_says),
        cmocka_unit_test(refusals_name_reason_and_field_and_keep_the_identity),
        cmocka_unit_test(a_bad_member_beside_a_good_one_costs_nothing),
        cmocka_unit_test(status_is_taken_from_a_refused_heartbeat),
        cmocka_unit_test(a_bad_field_is_dropped_and_no_other),
        cmocka_unit_test(a_member_that_nobody_reads_is_known_and_what_it_meant),
        cmocka_unit_test(depth_is_bounded_and_brackets_in_strings_do_not_count),
        cmocka_unit_test(of_a_key_said_twice_the_first_counts),
        cmocka_unit_test(missing_numbers_are_unknown_and_not_zero),
        cmocka_unit_test(a_queue_means_that_all_threads_are_taken),
        cmocka_unit_test(abnormal_counts_as_busy),
        cmocka_unit_test(groups_are_clean_sorted_and_bounded),
        cmocka_unit_test(what_is_written_is_read_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
