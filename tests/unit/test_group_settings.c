/*
 * test_group_settings.c - settings of a group's own as the API, the registry
 * and the command line write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "cluster/group_settings.h"

static struct group_settings_change change;
static struct err err;

static enum problem read_text(const char *text)
{
    const struct json *json = NULL;
    enum problem code;

    assert_int_equal(json_parse(text, strlen(text), &json, NULL), 0);
    code = group_settings_read(json, &change, &err);
    json_free(json);
    return code;
}

static void refused(const char *text, enum problem code, const char *why)
{
    assert_int_equal(read_text(text), code);
    assert_string_equal(err.msg, why);
}

static void assert_own(const struct conf_own *own, const char *text)
{
    struct buf b;

    buf_init(&b, 4096);
    buf_char(&b, '{');
    group_settings_put_own(&b, own);
    buf_char(&b, '}');
    assert_string_equal(buf_text(&b), text);
    buf_close(&b);
}

static void what_is_written_is_read(void **state)
{
    static const char text[] =
        "{\"balancer\":{\"cpu_max\":0.95,\"warm_up\":\"10s\","
        "\"dynamic_weights\":{\"cpu_usage\":20,\"memory_usage\":30,"
        "\"task_thread_pool_usage\":50}}}";
    char inner[sizeof(text)];

    (void)state;
    (void)snprintf(inner, sizeof(inner), "%s", text + strlen("{\"balancer\":"));
    inner[strlen(inner) - 1] = '\0';
    assert_int_equal(read_text(inner), PROBLEM_NONE);
    assert_own(&change.own, text);
    assert_int_equal(change.cleared, 0);
    assert_int_equal(change.own.values.warm_up_ms, 10000);
    assert_true(change.own.values.cpu_max == 0.95);
    assert_int_equal(read_text("{}"), PROBLEM_NONE);
    assert_own(&change.own, "{\"balancer\":{}}");
}

static void null_takes_back(void **state)
{
    struct conf_own own = {0};

    (void)state;
    assert_int_equal(
        read_text("{\"cpu_max\":0.5,\"memory_max\":0.6,\"dynamic_weights\":"
                  "{\"cpu_usage\":100,\"memory_usage\":0,"
                  "\"task_thread_pool_usage\":0}}"),
        PROBLEM_NONE);
    group_settings_apply(&change, &own);
    assert_int_equal(
        read_text("{\"cpu_max\":null,\"disk_max\":0.7,\"dynamic_weights\":"
                  "null}"),
        PROBLEM_NONE);
    group_settings_apply(&change, &own);
    assert_own(&own, "{\"balancer\":{\"memory_max\":0.6,\"disk_max\":0.7}}");
    assert_int_equal(read_text("null"), PROBLEM_NONE);
    group_settings_apply(&change, &own);
    assert_own(&own, "{\"balancer\":{}}");
}

static void what_is_wrong_is_named(void **state)
{
    (void)state;
    refused("5", PROBLEM_INVALID_JSON,
            "balancer: an object of settings is expected, or null for none of "
            "its own");
    refused("{\"cpu_max\":\"x\"}", PROBLEM_INVALID_JSON,
            "balancer.cpu_max: a number is expected, or null for none of its "
            "own");
    refused("{\"warm_up\":5}", PROBLEM_INVALID_JSON,
            "balancer.warm_up: a string is expected, or null for none of its "
            "own");
    refused("{\"cpu_max\":1.01}", PROBLEM_INVALID_VALUE,
            "balancer.cpu_max: 1.01 is out of range; choose from 0 to 1");
    refused("{\"cpu_max\":-1e-9}", PROBLEM_INVALID_VALUE,
            "balancer.cpu_max: -1e-09 is out of range; choose from 0 to 1");
    refused("{\"warm_up\":\"2h\"}", PROBLEM_INVALID_VALUE,
            "balancer.warm_up: 2h is out of range; choose from 0s to 1h");
    refused("{\"cpu_max\":0.1,\"cpu_max\":0.2}", PROBLEM_INVALID_JSON,
            "balancer: cpu_max: it stands twice");
    refused("{\"dynamic_weights\":{\"cpu_usage\":50}}", PROBLEM_INVALID_VALUE,
            "balancer.dynamic_weights: only 1 of three; give cpu_usage, "
            "memory_usage and task_thread_pool_usage, or none");
    refused("{\"dynamic_weights\":{\"cpu_usage\":50,\"memory_usage\":50,"
            "\"task_thread_pool_usage\":1}}",
            PROBLEM_INVALID_VALUE,
            "balancer.dynamic_weights: the three weights sum to 101; make "
            "them sum to 100");
    refused("{\"dynamic_weights\":{\"cpu_usage\":null}}", PROBLEM_INVALID_JSON,
            "balancer.dynamic_weights.cpu_usage: a number is expected");
    refused("{\"dynamic_weights\":7}", PROBLEM_INVALID_JSON,
            "balancer.dynamic_weights: an object is expected, or null for none "
            "of its own");
    assert_int_equal(read_text("{\"policy\":\"RANDOM\"}"),
                     PROBLEM_INVALID_JSON);
    assert_non_null(strstr(err.msg, "balancer.policy: no such setting of a "
                                    "group; there are cpu_max, memory_max, "));
    assert_non_null(strstr(err.msg, "dynamic_weights"));
    assert_null(strstr(err.msg, "cpu_usage"));
}

/* As it may stand in the registry, by hand or by a later version. */
static void what_is_right_of_it_counts(void **state)
{
    (void)state;
    assert_int_equal(
        read_text("{\"cpu_max\":7,\"later\":true,\"disk_max\":0.5,"
                  "\"dynamic_weights\":{\"cpu_usage\":50},\"disk_max\":null}"),
        PROBLEM_INVALID_JSON);
    assert_own(&change.own, "{\"balancer\":{\"disk_max\":0.5}}");
}

static void the_later_source_counts(void **state)
{
    const struct conf_balancer general = {.heartbeat_interval_ms = 1,
                                          .cpu_max = 0.1,
                                          .memory_max = 0.2,
                                          .disk_max = 0.3};
    struct conf_own configured = {0}, by_api = {0};
    struct group_settings s;
    struct buf b;

    (void)state;
    assert_int_equal(read_text("{\"cpu_max\":0.4,\"memory_max\":0.5}"), 0);
    group_settings_apply(&change, &configured);
    assert_int_equal(read_text("{\"cpu_max\":0.6}"), 0);
    group_settings_apply(&change, &by_api);
    group_settings_merge(&s, &general, &configured, &by_api);
    assert_true(s.values.cpu_max == 0.6);
    assert_true(s.values.memory_max == 0.5);
    assert_true(s.values.disk_max == 0.3);
    buf_init(&b, 4096);
    buf_char(&b, '{');
    group_settings_put(&b, &s);
    assert_non_null(strstr(
        buf_text(&b), "\"balancer_from\":{\"cpu_max\":\"api\",\"memory_max\":"
                      "\"configuration\",\"disk_max\":\"general\","));
    buf_close(&b);
    group_settings_merge(&s, &general, NULL, NULL);
    assert_memory_equal(&s.values, &general, sizeof(general));
}

static void sends(const char *written, const char *body)
{
    struct buf b;

    if (group_settings_parse(written, &change, &err) != 0)
        fail_msg("%s: %s", written, err.msg);
    buf_init(&b, 4096);
    buf_char(&b, '{');
    group_settings_put_change(&b, &change);
    buf_char(&b, '}');
    assert_string_equal(buf_text(&b), body);
    buf_close(&b);
}

static void a_person_writes_it_shorter(void **state)
{
    (void)state;
    sends("cpu-max=0.95,warm_up=10s",
          "{\"balancer\":{\"cpu_max\":0.95,\"warm_up\":\"10s\"}}");
    sends("cpu-max=", "{\"balancer\":{\"cpu_max\":null}}");
    sends("dynamic-weights=", "{\"balancer\":{\"dynamic_weights\":null}}");
    sends("memory-max=0.5,dynamic-weights.cpu-usage=,cpu-max=",
          "{\"balancer\":{\"cpu_max\":null,\"memory_max\":0.5,"
          "\"dynamic_weights\":null}}");
    sends("none", "{\"balancer\":null}");
    assert_int_equal(group_settings_parse("cpu-max", &change, &err),
                     ERR_INVALID);
    assert_int_equal(group_settings_parse("", &change, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "\"\": KEY=VALUE is expected"));
    assert_int_equal(group_settings_parse("=1", &change, &err), ERR_INVALID);
    assert_int_equal(
        group_settings_parse("cpu-max=0.5,cpu_max=0.6", &change, &err),
        ERR_INVALID);
    assert_string_equal(err.msg, "cpu_max is given twice");
    /* else it would be its first member */
    assert_int_equal(
        group_settings_parse("dynamic-weights=50,dynamic-weights.memory-usage="
                             "30,dynamic-weights.task-thread-pool-usage=20",
                             &change, &err),
        ERR_INVALID);
    assert_string_equal(err.msg, "dynamic-weights: not one value but several; "
                                 "give each of them, as in "
                                 "dynamic-weights.cpu-usage=50");
    assert_int_equal(group_settings_parse("cpu=1", &change, &err), ERR_INVALID);
    assert_non_null(strstr(err.msg, "cpu: no such setting of a group; there "
                                    "are cpu-max, "));
    assert_int_equal(group_settings_parse("cpu-max=,cpu-max=1", &change, &err),
                     ERR_INVALID);
    assert_int_equal(group_settings_parse("warm-up=5", &change, &err),
                     ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(null_takes_back),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(what_is_right_of_it_counts),
        cmocka_unit_test(the_later_source_counts),
        cmocka_unit_test(a_person_writes_it_shorter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
