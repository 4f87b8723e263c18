/* test_record.c - the records' JSON: exact there and back, strict about damage,
 * tolerant to what is not known. Long, because it is mostly tables. */
#include "base/mem.h"
#include "work/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct work_item full_item(void)
{
    struct work_item w = {.kind = NODE_WORKER,
                          .epoch = (UINT64_C(1) << 62) + 3,
                          .policy = WORK_HOLD,
                          .attempts = 7,
                          .finished_at = 0};
    struct process p = {.created = UINT64_MAX,
                        .startup_time = INT64_C(1732000000000),
                        .process_id = 4711,
                        .known = true};

    memcpy(w.id, "job-1.A_b", 10);
    memcpy(w.group, "gpu", 4);
    w.payload = mem_strdup("{\"n\":12345678901234567890,\"s\":\"\\u00e9\"}");
    for (int i = 0; i < WORK_HISTORY_MAX + 2; i++) {
        char address[32];

        (void)snprintf(address, sizeof(address), "10.0.0.%d:1234", i);
        p.process_id = i;
        work_item_assign(&w, address, &p, 0, 1000 + i);
        work_item_leave(&w, INT64_C(1790000000123) + i, i % 2 == 0, "w-1-x");
    }
    p.process_id = 99;
    work_item_assign(&w, "[::1]:99", &p, 0, INT64_C(1790000009999));
    return w;
}

static void items_equal(const struct work_item *a, const struct work_item *b)
{
    assert_string_equal(a->id, b->id);
    assert_int_equal(a->kind, b->kind);
    assert_string_equal(a->group, b->group);
    assert_int_equal(a->state, b->state);
    assert_string_equal(a->owner, b->owner);
    assert_memory_equal(&a->process.created, &b->process.created, 24);
    assert_int_equal(a->process.known, b->process.known);
    assert_true(a->epoch == b->epoch);
    assert_int_equal(a->policy, b->policy);
    assert_int_equal(a->attempts, b->attempts);
    assert_true(a->assigned_at == b->assigned_at);
    assert_true(a->finished_at == b->finished_at);
    assert_string_equal(a->cause, b->cause);
    assert_int_equal(a->n_history, b->n_history);
    for (size_t i = 0; i < a->n_history; i++) {
        assert_string_equal(a->history[i].address, b->history[i].address);
        assert_true(a->history[i].epoch == b->history[i].epoch);
        assert_true(a->history[i].until == b->history[i].until);
        assert_int_equal(a->history[i].died, b->history[i].died);
        assert_string_equal(a->history[i].failover, b->history[i].failover);
        assert_true(
            process_same(&a->history[i].process, &b->history[i].process));
    }
    if (a->payload == NULL)
        assert_null(b->payload);
    else
        assert_string_equal(a->payload, b->payload);
}

static void there_and_back(const struct work_item *w)
{
    struct work_item back;
    struct work_summary peeked;
    struct err err = {0};
    struct buf b, again;

    buf_init(&b, WORK_RECORD_MAX);
    buf_init(&again, WORK_RECORD_MAX);
    work_item_write(&b, w);
    assert_int_equal(work_item_read(&back, b.data, b.len, &err), 0);
    items_equal(w, &back);
    work_item_write(&again, &back);
    assert_string_equal(buf_text(&b), buf_text(&again));
    assert_int_equal(work_summary_read(&peeked, b.data, b.len), 0);
    assert_int_equal(peeked.state, w->state);
    work_item_close(&back);
    buf_close(&b);
    buf_close(&again);
}

static void items_come_back_exactly(void **state)
{
    struct work_item w = full_item(), copy = {0};

    (void)state;
    assert_int_equal(w.n_history, WORK_HISTORY_MAX);
    assert_string_equal(w.history[0].address, "10.0.0.6:1234");
    there_and_back(&w);
    work_item_copy(&copy, &w);
    items_equal(&w, &copy);
    work_item_leave(&copy, 5, false, NULL);
    work_item_unassign(&copy, WORK_HELD, "poison", 0);
    there_and_back(&copy);
    MEM_FREE(copy.payload);
    copy.state = WORK_DONE;
    copy.epoch = EPOCH_MAX;
    copy.finished_at = INT64_C(1790000009999);
    there_and_back(&copy);
    work_item_close(&copy);
    work_item_close(&w);
}

/* A payload comes back byte for byte without its blanks. */
static void payloads_keep_their_digits(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"1", "1"},
        {" [ 1 , 2.50 , 1e400 ] ", "[ 1 , 2.50 , 1e400 ]"},
        {"{ \"a b\" : \" c \\\" d \" }", "{ \"a b\" : \" c \\\" d \" }"},
        {"{\"n\":9007199254740993,\"x\":1.10,\"a\":1,\"a\":2}",
         "{\"n\":9007199254740993,\"x\":1.10,\"a\":1,\"a\":2}"},
        {"\"\\u00e9\\/\"", "\"\\u00e9\\/\""},
        {"18446744073709551617", "18446744073709551617"},
        {"\"\"", "\"\""},
        {"\n{}\n", "{}"},
        {"null", NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char *out;

        assert_int_equal(
            work_payload_read(rows[i].in, strlen(rows[i].in), &out, NULL), 0);
        if (rows[i].out == NULL)
            assert_null(out);
        else
            assert_string_equal(out, rows[i].out);
        mem_free(out);
    }
}

static void payloads_have_limits(void **state)
{
    char *big = mem_alloc(WORK_PAYLOAD_MAX + 4096);
    char deep[2 * JSON_DEPTH_MAX + 1];
    struct err err = {0};
    char *out;

    (void)state;
    /* blanks around it do not count */
    memset(big, ' ', WORK_PAYLOAD_MAX + 4096);
    big[4000] = '7';
    assert_int_equal(
        work_payload_read(big, WORK_PAYLOAD_MAX + 4096, &out, &err), 0);
    assert_string_equal(out, "7");
    mem_free(out);
    memset(big, '7', WORK_PAYLOAD_MAX + 1);
    assert_int_equal(work_payload_read(big, WORK_PAYLOAD_MAX, &out, &err), 0);
    mem_free(out);
    assert_int_equal(work_payload_read(big, WORK_PAYLOAD_MAX + 1, &out, &err),
                     ERR_TOO_LARGE);
    mem_free(big);
    for (int depth = WORK_PAYLOAD_DEPTH; depth <= JSON_DEPTH_MAX; depth++) {
        memset(deep, '[', (size_t)depth);
        memset(deep + depth, ']', (size_t)depth);
        assert_int_equal(work_payload_read(deep, 2 * (size_t)depth, &out, &err),
                         depth == WORK_PAYLOAD_DEPTH ? ERR_OK : ERR_INVALID);
        mem_free(out);
    }
    assert_int_equal(work_payload_read("{\"a\":}", 6, &out, &err), ERR_INVALID);
}

static void payloads_are_the_same_in_any_order_of_keys(void **state)
{
    static const struct {
        const char *a, *b;
        bool same;
    } rows[] = {
        {"{\"a\":1,\"b\":2}", "{\"b\":2,\"a\":1}", true},
        {"{\"a\":{\"x\":[],\"y\":{}}}", "{\"a\":{\"y\":{},\"x\":[]}}", true},
        {"{ \"a\" : 1,\n\"b\":[ ] }", "{\"b\":[],\"a\":1}", true},
        {"1.10", "1.1", false},
        {"\" a\"", "\"a\"", false},
        {"[1,2]", "[2,1]", false},
        {"{\"a\":9007199254740993}", "{\"a\":9007199254740992}", false},
        {"{\"a\":1,\"a\":2}", "{\"a\":2,\"a\":1}", false},
        {"{\"ab\":1,\"a\":2}", "{\"a\":2,\"ab\":1}", true},
        {"\"a\"", "\"b\"", false},
        {"1", "10", false},
        {NULL, NULL, true},
        {NULL, "1", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_int_equal(work_payload_same(rows[i].a, rows[i].b), rows[i].same);
        assert_int_equal(work_payload_same(rows[i].b, rows[i].a), rows[i].same);
    }
}

#define P "\"process\":{\"created\":3,\"startupTime\":1,\"processId\":2}"
#define GOOD                                                                   \
    "\"id\":\"a\",\"kind\":\"master\",\"state\":\"assigned\","                 \
    "\"owner\":\"h:1\"," P ",\"epoch\":1"

static const struct {
    const char *json, *says; /* NULL: it is fine */
} damaged[] = {
    {"{" GOOD "}", NULL},
    {"{" GOOD ",\"later\":{\"x\":1},\"history\":null,\"group\":null}", NULL},
    {"{" GOOD ",\"group\":\" GPU \"}", NULL},
    {"", "JSON"},
    {"nonsense", "JSON"},
    {"[]", "not a JSON object"},
    {"{}", "`id` is missing"},
    {"{\"id\":7}", "`id` is not a string"},
    {"{\"id\":\"a/b\"}", "character 2"},
    {"{\"id\":\"a\",\"kind\":\"alert-server\"}", "`kind`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"gone\"}", "`state`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"assigned\"}",
     "`epoch` is missing"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"assigned\","
     "\"epoch\":1}",
     "`owner` or `process`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"assigned\","
     "\"owner\":\"h:1\",\"epoch\":1}",
     "`owner` or `process`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"owner\":\"h:1\",\"epoch\":1}",
     "has an `owner`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\",\"epoch\":0}",
     "`epoch` is 0"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"epoch\":-1}",
     "`epoch`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"epoch\":1.5}",
     "`epoch`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"epoch\":\"9223372036854775809\"}",
     "`epoch`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"epoch\":1e300}",
     "`epoch`"},
    {"{\"id\":\"a\",\"kind\":\"master\",\"state\":\"waiting\","
     "\"epoch\":9007199254740994}",
     "`epoch`"},
    {"{" GOOD ",\"owner\":\"h:1\",\"policy\":\"sell\"}", "`policy`"},
    {"{" GOOD ",\"attempts\":4294967296}", "`attempts`"},
    {"{" GOOD ",\"assigned_at\":\"yesterday\"}", "`assigned_at`"},
    {"{" GOOD ",\"assigned_at\":\"2026-13-01T00:00:00Z\"}", "`assigned_at`"},
    {"{" GOOD ",\"history\":{}}", "`history`"},
    {"{" GOOD ",\"history\":[1]}", "`history`, entry 0"},
    {"{" GOOD ",\"history\":[{\"address\":\"h:1\",\"epoch\":1},{}]}",
     "`history`, entry 1"},
    {"{" GOOD ",\"history\":[{\"address\":\"h:1\",\"epoch\":1,"
     "\"died\":\"no\"}]}",
     "`died`"},
    {"{" GOOD ",\"group\":\"a/b\"}", "group"},
};

static void damaged_items_say_what_is_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(damaged); i++) {
        struct work_item w;
        struct err err = {0};
        int rc =
            work_item_read(&w, damaged[i].json, strlen(damaged[i].json), &err);

        if (damaged[i].says == NULL) {
            assert_string_equal(err.msg, "");
            assert_int_equal(rc, 0);
        } else {
            assert_int_equal(rc, ERR_INVALID);
            assert_non_null(strstr(err.msg, "work item"));
            if (strstr(err.msg, damaged[i].says) == NULL)
                fail_msg("row %zu: %s", i, err.msg);
        }
        work_item_close(&w);
    }
}

/* Every prefix and every changed byte of a record is read or refused. */
static void cut_and_changed_records_never_crash(void **state)
{
    struct work_item w = full_item(), back;
    struct buf b;
    char *text;

    (void)state;
    buf_init(&b, WORK_RECORD_MAX);
    work_item_write(&b, &w);
    for (size_t n = 0; n < b.len; n++) {
        text = mem_dup(b.data, n); /* exactly n: a read beyond is seen */
        assert_int_equal(work_item_read(&back, text, n, NULL), ERR_INVALID);
        mem_free(text);
    }
    for (size_t i = 0; i < b.len; i++) {
        static const char with[] = {'\0', '"', '{', '}', '9', '\\', '\xff'};

        text = mem_dup(b.data, b.len);
        for (size_t k = 0; k < sizeof(with); k++) {
            struct work_summary peeked;

            text[i] = with[k];
            if (work_item_read(&back, text, b.len, NULL) == 0)
                work_item_close(&back);
            (void)!work_summary_read(&peeked, text, b.len);
        }
        mem_free(text);
    }
    buf_close(&b);
    work_item_close(&w);
}

static void ids_are_checked(void **state)
{
    char longest[WORK_ID_MAX + 2];

    (void)state;
    memset(longest, 'x', sizeof(longest));
    longest[WORK_ID_MAX] = '\0';
    assert_int_equal(work_check_id(longest, NULL), 0);
    longest[WORK_ID_MAX] = 'x';
    longest[WORK_ID_MAX + 1] = '\0';
    assert_int_equal(work_check_id(longest, NULL), ERR_INVALID);
    assert_int_equal(work_check_id("A-z_0.9", NULL), 0);
    assert_int_equal(work_check_id("", NULL), ERR_INVALID);
    assert_int_equal(work_check_id("..", NULL), ERR_INVALID);
    assert_int_equal(work_check_id("a b", NULL), ERR_INVALID);
    assert_int_equal(work_check_id("\xc3\xa9", NULL), ERR_INVALID);
}

/* --- markers and keys ---------------------------------------------------- */

static void markers_come_back_exactly(void **state)
{
    struct work_item w = full_item();
    struct marker m, back;
    char key[REGISTRY_KEY_MAX + 1];
    struct registry_entry e = {.key = key, .version = 12};
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    for (int held = 0; held < 3; held++) {
        if (held == 1) {
            work_item_leave(&w, 1, true, NULL);
            work_item_unassign(&w, WORK_HELD, "policy", 0);
        } else if (held == 2) {
            w.state = WORK_WAITING;
        }
        work_marker_of(&m, &w);
        buf_reset(&b);
        work_marker_write(&b, &m);
        work_marker_key(m.kind, m.address, m.id, key);
        e.value = buf_text(&b);
        e.value_len = b.len;
        assert_int_equal(work_marker_read(&back, &e, NULL), 0);
        assert_string_equal(back.address, held ? "-" : "[::1]:99");
        assert_string_equal(back.id, w.id);
        assert_int_equal(back.kind, NODE_WORKER);
        assert_true(back.epoch == w.epoch);
        assert_int_equal(back.held, held == 1);
        assert_int_equal(back.process.known, held == 0);
        assert_true(back.version == 12);
    }
    buf_close(&b);
    work_item_close(&w);
}

static void keys_of_markers_are_taken_apart_exactly(void **state)
{
    static const struct {
        const char *key;
        bool good;
    } rows[] = {
        {"/pelorus/owned/master/h:1/a", true},
        {"/pelorus/owned/worker/-/a", true},
        {"/pelorus/owned/worker/[::1]:5/a.b", true},
        {"/pelorus/owned/alert-server/h:1/a", false},
        {"/pelorus/owned/master/h:1", false},
        {"/pelorus/owned/master/h:1/a/b", false},
        {"/pelorus/owned/master//a", false},
        {"/pelorus/owned/master/h:1/", false},
        {"/pelorus/owned/master/h:1/a b", false},
        {"/pelorus/owned/master/h/a", false},
        {"/pelorus/owners/master/h:1/a", false},
    };
    struct marker m;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct registry_entry e = {
            .key = rows[i].key, .value = "{\"epoch\":1," P "}", .version = 1};
        struct err err = {0};

        e.value_len = strlen(e.value);
        assert_int_equal(work_marker_key_parse(rows[i].key, &m) == 0,
                         rows[i].good);
        assert_int_equal(work_marker_read(&m, &e, &err) == 0, rows[i].good);
        assert_true(rows[i].good || strstr(err.msg, rows[i].key) != NULL);
    }
}

static void the_longest_marker_key_is_a_key(void **state)
{
    char id[WORK_ID_MAX + 1], address[NODE_ADDRESS_MAX + 1];
    char key[REGISTRY_KEY_MAX + 1];

    (void)state;
    memset(id, 'i', WORK_ID_MAX);
    id[WORK_ID_MAX] = '\0';
    memset(address, 'a', sizeof(address));
    address[NODE_ADDRESS_MAX] = '\0';
    assert_int_equal(strlen(work_marker_key(NODE_WORKER, address, id, key)),
                     strlen("/pelorus/owned/worker//") + NODE_ADDRESS_MAX +
                         WORK_ID_MAX);
    assert_true(strlen(key) <= REGISTRY_KEY_MAX);
    assert_string_equal(work_key("x", key), "/pelorus/work/x");
    assert_string_equal(work_marker_prefix(NODE_MASTER, NULL, key),
                        "/pelorus/owned/master/-");
    assert_string_equal(work_failover_key("f", key), "/pelorus/failovers/f");
}

static void the_floor_is_a_plain_number(void **state)
{
    static const char *const bad[] = {"",   "x",   "-1",
                                      "1 ", "1.0", "9223372036854775809"};
    uint64_t floor;
    struct buf b;

    (void)state;
    buf_init(&b, 64);
    work_epoch_floor_write(&b, EPOCH_MAX);
    assert_int_equal(work_epoch_floor_read(b.data, b.len, &floor, NULL), 0);
    assert_true(floor == EPOCH_MAX);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(
            work_epoch_floor_read(bad[i], strlen(bad[i]), &floor, NULL),
            ERR_INVALID);
    }
    buf_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_back_exactly),
        cmocka_unit_test(payloads_keep_their_digits),
        cmocka_unit_test(payloads_have_limits),
        cmocka_unit_test(payloads_are_the_same_in_any_order_of_keys),
        cmocka_unit_test(damaged_items_say_what_is_wrong),
        cmocka_unit_test(cut_and_changed_records_never_crash),
        cmocka_unit_test(ids_are_checked),
        cmocka_unit_test(markers_come_back_exactly),
        cmocka_unit_test(keys_of_markers_are_taken_apart_exactly),
        cmocka_unit_test(the_longest_marker_key_is_a_key),
        cmocka_unit_test(the_floor_is_a_plain_number),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
