/* test_record_failover.c - the JSON of failovers and settings: exact there and
 * back, strict about damage. */
#include "base/mem.h"
#include "work/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void failovers_come_back_exactly(void **state)
{
    struct failover_record *r = mem_zalloc(sizeof(*r)), *back;
    struct err err = {0};
    struct buf b, again;

    (void)state;
    *r = (struct failover_record){
        .id = "master-1790000000000-ab",
        .kind = NODE_MASTER,
        .address = "h:1",
        .process = {.startup_time = 5, .process_id = 6, .known = true},
        .phase = FAILOVER_MOVING,
        .cause = "down",
        .who = "ann",
        .reason = "said \"so\"\n",
        .last_heartbeat = INT64_C(1790000000001),
        .gate_version = UINT64_MAX,
        .registry_revision = 7,
        .session = UINT64_C(1) << 60,
        .coordinator = "c:1",
        .fence = UINT64_C(1) << 61,
        .resumed = 1,
        .moved = 10,
        .held = 1,
        .dropped = 2,
        .waiting = 3,
        .n_targets = FAILOVER_TARGETS_MAX,
        .digest = UINT64_C(0xfedcba9876543210),
        .began = INT64_C(1790000000002),
        .fenced_at = INT64_C(1790000000003),
        .hook_exit = 3,
        .hook_tail = "no such file"};
    for (uint32_t i = 0; i < FAILOVER_TARGETS_MAX; i++) {
        (void)snprintf(r->targets[i].address, sizeof(r->targets[i].address),
                       "t:%u", i + 1);
        r->targets[i].items = i;
    }
    back = mem_zalloc(sizeof(*back));
    buf_init(&b, 65536);
    buf_init(&again, 65536);
    work_failover_write(&b, r);
    assert_int_equal(work_failover_read(back, b.data, b.len, &err), 0);
    work_failover_write(&again, back);
    assert_string_equal(buf_text(&b), buf_text(&again));
    assert_true(back->digest == r->digest);
    assert_true(back->gate_version == r->gate_version);
    assert_string_equal(back->reason, r->reason);
    assert_int_equal(back->hook_exit, 3);
    assert_int_equal(back->n_targets, FAILOVER_TARGETS_MAX);
    for (size_t n = 0; n < b.len; n += 7) {
        assert_int_equal(work_failover_read(back, b.data, n, NULL),
                         ERR_INVALID);
    }
    buf_close(&b);
    buf_close(&again);
    mem_free(r);
    mem_free(back);
}

/* The hook may print anything; its tail must not make the record unreadable. */
static void words_are_cut_at_a_character(void **state)
{
    struct failover_record *r = mem_zalloc(sizeof(*r));
    struct buf b;

    (void)state;
    memcpy(r->id, "f", 2);
    memcpy(r->address, "h:1", 4);
    r->hook_exit = -1;
    memset(r->hook_tail, 0xff, sizeof(r->hook_tail) - 1);
    buf_init(&b, 65536);
    work_failover_write(&b, r);
    assert_int_equal(work_failover_read(r, b.data, b.len, NULL), 0);
    assert_int_equal(r->hook_exit, -1);
    assert_int_equal(strlen(r->hook_tail), 510); /* 170 x U+FFFD */
    buf_close(&b);
    mem_free(r);
}

static void damaged_failovers_and_settings_are_refused(void **state)
{
    static const char *const failovers[] = {
        "{}",
        "{\"id\":\"x/y\",\"kind\":\"master\",\"address\":\"h:1\","
        "\"state\":\"done\"}",
        "{\"id\":\"x\",\"kind\":\"master\",\"address\":\"\",\"state\":"
        "\"done\"}",
        "{\"id\":\"x\",\"kind\":\"master\",\"address\":\"h:1\","
        "\"state\":\"finished\"}",
        "{\"id\":\"x\",\"kind\":\"master\",\"address\":\"h:1\","
        "\"state\":\"done\",\"digest\":\"zz\"}",
        "{\"id\":\"x\",\"kind\":\"master\",\"address\":\"h:1\","
        "\"state\":\"done\",\"targets\":[{}]}",
        "{\"id\":\"x\",\"kind\":\"master\",\"address\":\"h:1\","
        "\"state\":\"done\",\"moved\":-1}",
    };
    static const char *const settings[] = {
        "7", "{\"paused\":1}", "{\"paused_until\":\"soon\"}",
        "{\"policy\":\"0123456789012345678901234567890123456789\"}"};
    struct failover_record *r = mem_zalloc(sizeof(*r));
    struct settings s;
    struct err err = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(failovers); i++) {
        assert_int_equal(
            work_failover_read(r, failovers[i], strlen(failovers[i]), &err),
            ERR_INVALID);
        assert_non_null(strstr(err.msg, "failover"));
    }
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        assert_int_equal(
            work_settings_read(&s, settings[i], strlen(settings[i]), &err),
            ERR_INVALID);
        assert_non_null(strstr(err.msg, SETTINGS_KEY));
    }
    mem_free(r);
}

static void settings_come_back_exactly(void **state)
{
    struct settings s = {.paused = true,
                         .paused_until = INT64_C(4102444799999),
                         .brake_override_until = 1,
                         .who = "bob",
                         .reason = "tests",
                         .policy = "RANDOM"};
    struct settings back;
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    work_settings_write(&b, &s);
    assert_int_equal(work_settings_read(&back, b.data, b.len, NULL), 0);
    assert_true(back.paused);
    assert_true(back.paused_until == s.paused_until);
    assert_true(back.brake_override_until == 1);
    assert_string_equal(back.who, "bob");
    assert_string_equal(back.policy, "RANDOM");
    assert_int_equal(work_settings_read(&back, "{}", 2, NULL), 0);
    assert_false(back.paused);
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failovers_come_back_exactly),
        cmocka_unit_test(words_are_cut_at_a_character),
        cmocka_unit_test(damaged_failovers_and_settings_are_refused),
        cmocka_unit_test(settings_come_back_exactly),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
