/*
 * test_etcd_wire.c - etcd's gateway as bytes: what is written, and what the
 * server's own answers mean.
 */
#include "base/pack/base64.h"
#include "registry/etcd/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define NS "dolphinscheduler"

static const struct json *parse(const char *text)
{
    const struct json *root = NULL;
    struct err err;

    if (json_parse(text, strlen(text), &root, &err) != 0)
        fail_msg("%s", err.msg);
    return root;
}

static void base64_is_rfc_4648(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {
        "Z",    "Zg",       "Zg=",    "Z===", "====", "Zh==",
        "Zm9=", "Zg==Zg==", "Zm9v\n", "Zm-_", "Z=g="};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        char text[16];
        size_t len = strlen(pairs[i][1]);
        struct buf b;

        buf_init(&b, 64);
        base64_write(&b, pairs[i][0], strlen(pairs[i][0]));
        assert_string_equal(buf_text(&b), pairs[i][1]);
        buf_close(&b);
        memcpy(text, pairs[i][1], len + 1);
        assert_true(etcd_base64_decode(text, &len));
        assert_int_equal(len, strlen(pairs[i][0]));
        assert_string_equal(text, pairs[i][0]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[16];
        size_t len = strlen(bad[i]);

        memcpy(text, bad[i], len + 1);
        assert_false(etcd_base64_decode(text, &len));
    }
}

static void a_byte_is_a_digit_of_base64_or_none_wherever_it_stands(void **state)
{
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnop"
                              "qrstuvwxyz0123456789+/";

    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        const char *digit = byte == 0 ? NULL : strchr(all, (int)byte);

        for (size_t at = 0; at < 8; at++) {
            char text[9] = "AAAAAAAA";
            bool padding = byte == '=' && at == 7;
            size_t len = 8;
            uint64_t bits = 0;

            text[at] = (char)byte;
            assert_int_equal(etcd_base64_decode(text, &len),
                             digit != NULL || padding);
            for (size_t i = 0; digit != NULL && i < len; i++)
                bits = bits << 8 | (unsigned char)text[i];
            if (digit != NULL) {
                assert_int_equal(len, 6);
                assert_true(bits == (uint64_t)(digit - all) << 6 * (7 - at));
            }
        }
    }
}

static void keys_have_their_namespace_and_ranges_their_end(void **state)
{
    struct etcd_key k, end;
    char longest[1000];

    (void)state;
    etcd_key_set(&k, NS, "/nodes/master");
    assert_string_equal(k.s, NS "/nodes/master");
    etcd_key_range(&k, &end, NS, "/nodes/master");
    assert_string_equal(k.s, NS "/nodes/master/");
    assert_string_equal(end.s, NS "/nodes/master0");
    etcd_key_below(&k, NS, "/");
    assert_string_equal(k.s, NS "/");
    etcd_key_past(&k, "ab", 2);
    assert_int_equal(k.len, 3);
    assert_memory_equal(k.s, "ab\0", 3);
    memset(longest, 'k', sizeof(longest));
    etcd_key_past(&k, longest, sizeof(longest));
    assert_true(k.len < sizeof(k.s) && memcmp(k.s, longest, k.len) > 0);
}

static void a_txn_is_written_as_the_gateway_reads_it(void **state)
{
    struct etcd_key k;
    struct etcd_range range = {.key = &k, .limit = 5, .keys_only = true};
    struct buf b;

    (void)state;
    etcd_key_set(&k, "n", "/a");
    buf_init(&b, 4096);
    etcd_txn_begin(&b);
    etcd_put_compare(&b, ETCD_MOD, &k, NULL, UINT64_C(9007199254740993));
    etcd_put_compare(&b, ETCD_LEASE, &k, NULL, 0);
    etcd_put_compare(&b, ETCD_SINCE, &k, NULL, 7);
    etcd_txn_then(&b);
    etcd_put_op_put(&b, &k, "v", 1, UINT64_C(2324035617740355845));
    etcd_put_op_delete(&b, &k);
    etcd_txn_otherwise(&b);
    etcd_put_op_range(&b, &range);
    etcd_txn_close(&b);
    assert_string_equal(
        buf_text(&b),
        "{\"compare\":[{\"target\":\"MOD\",\"result\":\"EQUAL\",\"key\":"
        "\"bi9h\",\"mod_revision\":\"9007199254740993\"},{\"target\":\"LEASE\","
        "\"result\":\"EQUAL\",\"key\":\"bi9h\",\"lease\":\"0\"},{\"target\":"
        "\"MOD\",\"result\":\"GREATER\",\"key\":\"bi9h\",\"mod_revision\":"
        "\"6\"}],\"success\":[{"
        "\"request_put\":{\"key\":\"bi9h\",\"value\":\"dg==\",\"lease\":"
        "\"2324035617740355845\"}},{\"request_delete_range\":{\"key\":"
        "\"bi9h\"}}],\"failure\":[{\"request_range\":{\"key\":\"bi9h\","
        "\"limit\":\"5\",\"keys_only\":true}}]}");
    buf_close(&b);
}

static void numbers_beyond_2_53_stay_exact(void **state)
{
    const struct json *root =
        parse("{\"kvs\":[{\"key\":\"" /* NS/a */
              "ZG9scGhpbnNjaGVkdWxlci9h\",\"create_revision\":"
              "\"9007199254740993\",\"mod_revision\":"
              "\"9223372036854775807\",\"version\":\"1\",\"value\":"
              "\"dg==\",\"lease\":\"2324035617740355845\"}]}");
    struct registry_entry entry;
    struct etcd_kv kv;

    (void)state;
    assert_true(etcd_kv_read(json_first(etcd_kvs(root)), &kv));
    assert_true(kv.created == UINT64_C(9007199254740993));
    assert_true(kv.modified == UINT64_C(9223372036854775807));
    assert_true(kv.lease == UINT64_C(2324035617740355845));
    assert_true(etcd_entry(&kv, NS, &entry));
    assert_string_equal(entry.key, "/a");
    assert_string_equal(entry.value, "v");
    assert_true(entry.owner == kv.lease && entry.version == kv.modified);
    json_free(root);
}

static void what_is_zero_is_left_out(void **state)
{
    const struct json *root =
        parse("{\"header\":{\"cluster_id\":\"7\",\"revision\":\"9\"},"
              "\"responses\":[{\"response_range\":{\"header\":{}}},{"
              "\"response_put\":{}}]}");

    (void)state;
    assert_true(etcd_header_read(root).cluster == 7);
    assert_true(etcd_header_read(root).revision == 9);
    assert_false(json_bool(root, "succeeded", false));
    assert_null(etcd_kvs(root));
    for (size_t i = 0; i < 3; i++)
        assert_null(etcd_txn_kvs(root, i));
    json_free(root);
}

static void foreign_keys_are_no_entries(void **state)
{
    static const char *const keys[] = {NS,       NS "x/a", "other/a", NS "/",
                                       NS "//a", NS "/a/", NS "/\x01"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct etcd_kv kv = {.key = keys[i],
                             .key_len = strlen(keys[i]),
                             .value = "",
                             .created = 1,
                             .modified = 1};
        struct registry_entry entry;

        assert_false(etcd_entry(&kv, NS, &entry));
    }
}

static void refusals_mean_what_they_say(void **state)
{
    static const struct {
        long status;
        const char *body;
        enum etcd_verdict verdict;
    } cases[] = {
        {404,
         "{\"error\":\"etcdserver: requested lease not found\",\"code\":5}",
         ETCD_NO_LEASE},
        {500, "{\"error\":\"requested lease not found\",\"code\":2}",
         ETCD_NO_LEASE},
        {400, "{\"error\":\"etcdserver: user name is empty\",\"code\":3}",
         ETCD_TOKEN},
        {401, "{\"error\":\"etcdserver: invalid auth token\",\"code\":16}",
         ETCD_TOKEN},
        {400,
         "{\"error\":\"etcdserver: revision of auth store is old\",\"code\":3}",
         ETCD_TOKEN},
        {403, "{\"error\":\"etcdserver: permission denied\",\"code\":7}",
         ETCD_DENIED},
        {400,
         "{\"error\":\"etcdserver: mvcc: required revision has been compacted\""
         ",\"code\":11}",
         ETCD_COMPACTED},
        {429, "{\"error\":\"etcdserver: mvcc: database space exceeded\"}",
         ETCD_NO_SPACE},
        {400, "{\"error\":\"etcdserver: request is too large\",\"code\":3}",
         ETCD_TOO_LARGE},
        {400,
         "{\"error\":\"etcdserver: duplicate key given in txn "
         "request\",\"code\""
         ":3}",
         ETCD_MALFORMED},
        {503, "{\"error\":\"etcdserver: request timed out\",\"code\":14}",
         ETCD_BROKEN},
        {503,
         "{\"error\":{\"grpc_code\":14,\"http_code\":503,\"message\":"
         "\"etcdserver: request timed out\",\"http_status\":\"x\"}}",
         ETCD_BROKEN},
        {503, "{\"code\":14,\"message\":\"etcdserver: leader changed\"}",
         ETCD_BROKEN},
        {502, "<html>a proxy</html>", ETCD_BROKEN},
        /* 3.6 and newer: no "error", in a stream no "grpc_code" */
        {404,
         "{\"code\":5,\"message\":\"etcdserver: requested lease not found\"}",
         ETCD_NO_LEASE},
        {403, "{\"code\":7,\"message\":\"etcdserver: permission denied\"}",
         ETCD_DENIED},
        {200, "{\"error\":{\"code\":3,\"message\":\"etcdserver: some word\"}}",
         ETCD_MALFORMED},
        {200, "{\"error\":{\"code\":7,\"message\":\"nothing for you\"}}",
         ETCD_DENIED},
        {200, "{\"error\":{\"code\":16,\"message\":\"who are you\"}}",
         ETCD_TOKEN},
        {200,
         "{\"error\":{\"grpc_code\":7,\"http_code\":403,\"message\":\"no\"}}",
         ETCD_DENIED},
        /* Nothing was applied, and another one may be able to. */
        {503, "{\"error\":\"etcdserver: no leader\",\"code\":14}",
         ETCD_NOT_HERE},
        {200, "{\"error\":{\"code\":14,\"message\":\"etcdserver: no leader\"}}",
         ETCD_NOT_HERE},
        {503,
         "{\"error\":\"etcdserver: rpc not supported for "
         "learner\",\"code\":14}",
         ETCD_NOT_HERE},
        {404, "Not Found\n", ETCD_NOT_HERE},
        {404, "{\"code\":5, \"message\":\"Not Found\", \"details\":[]}",
         ETCD_NOT_HERE},
        {501, "{\"code\":12,\"message\":\"Method Not Allowed\"}",
         ETCD_NOT_HERE},
        {421, "", ETCD_NOT_HERE},
    };
    char why[ETCD_WHY_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(etcd_refusal(cases[i].status, cases[i].body,
                                      strlen(cases[i].body), why),
                         cases[i].verdict);
        assert_true(why[0] != '\0');
    }
}

static void message(const char *text, struct etcd_message *m)
{
    const struct json *root = parse(text);

    assert_true(etcd_message_read(root, m));
    m->events = NULL;
    json_free(root);
}

static void messages_of_a_watch_are_told_apart(void **state)
{
    struct etcd_message m;

    (void)state;
    message("{\"result\":{\"header\":{\"revision\":\"4\"},\"created\":true}}",
            &m);
    assert_int_equal(m.type, ETCD_MESSAGE_CREATED);
    message("{\"result\":{\"header\":{\"revision\":\"4\"},\"canceled\":true,"
            "\"compact_revision\":\"3\"}}",
            &m);
    assert_int_equal(m.type, ETCD_MESSAGE_CANCELED);
    assert_true(m.compacted == 3 && m.verdict == ETCD_COMPACTED);
    message("{\"result\":{\"watch_id\":\"-1\",\"created\":true,\"canceled\":"
            "true,\"cancel_reason\":\"rpc error: code = Unauthenticated desc = "
            "etcdserver: invalid auth token\"}}",
            &m);
    assert_int_equal(m.type, ETCD_MESSAGE_CANCELED);
    assert_int_equal(m.verdict, ETCD_TOKEN);
    message("{\"result\":{\"header\":{\"revision\":\"8\"}}}", &m);
    assert_int_equal(m.type, ETCD_MESSAGE_PROGRESS);
    message("{\"result\":{\"header\":{\"revision\":\"8\"},\"fragment\":true,"
            "\"events\":[{\"kv\":{}}]}}",
            &m);
    assert_int_equal(m.type, ETCD_MESSAGE_EVENTS);
    assert_true(m.fragment);
    message("{\"error\":{\"grpc_code\":14,\"message\":\"no leader\"}}", &m);
    assert_int_equal(m.type, ETCD_MESSAGE_ERROR);
    message("{\"error\":{\"code\":16,\"message\":\"what token\"}}", &m);
    assert_int_equal(m.type, ETCD_MESSAGE_ERROR);
    assert_int_equal(m.verdict, ETCD_TOKEN);
}

static void an_event_without_a_type_is_a_put(void **state)
{
    const struct json *root = parse(
        "[{\"kv\":{\"key\":\"YQ==\",\"create_revision\":\"2\",\"mod_revision\":"
        "\"3\"}},{\"type\":\"DELETE\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\""
        ":\"4\"}},{\"type\":\"OTHER\",\"kv\":{\"key\":\"YQ==\",\"mod_revision\""
        ":\"5\"}},{\"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"5\"}}]");
    struct etcd_kv kv;
    bool gone;

    (void)state;
    assert_true(etcd_event_read(json_first(root), &gone, &kv));
    assert_true(!gone && kv.created == 2 && kv.modified == 3);
    assert_true(etcd_event_read(json_first(root)->next, &gone, &kv));
    assert_true(gone && kv.modified == 4);
    assert_false(etcd_event_read(json_first(root)->next->next, &gone, &kv));
    assert_false(
        etcd_event_read(json_first(root)->next->next->next, &gone, &kv));
    json_free(root);
}

static void a_stream_falls_into_messages(void **state)
{
    struct etcd_stream s;
    const char *text;
    size_t len;

    (void)state;
    etcd_stream_init(&s, 16);
    assert_true(etcd_stream_feed(&s, "ab", 2));
    assert_false(etcd_stream_next(&s, false, &text, &len));
    assert_true(etcd_stream_feed(&s, "c\n\r\n\nde\nf", 9));
    assert_true(etcd_stream_next(&s, false, &text, &len));
    assert_true(len == 3 && memcmp(text, "abc", 3) == 0);
    assert_true(etcd_stream_next(&s, false, &text, &len));
    assert_true(len == 2 && memcmp(text, "de", 2) == 0);
    assert_false(etcd_stream_next(&s, false, &text, &len));
    assert_true(etcd_stream_next(&s, true, &text, &len)); /* the last */
    assert_true(len == 1 && text[0] == 'f');
    assert_false(etcd_stream_next(&s, true, &text, &len));
    assert_false(etcd_stream_feed(&s, "0123456789abcdefg", 17));
    etcd_stream_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_is_rfc_4648),
        cmocka_unit_test(
            a_byte_is_a_digit_of_base64_or_none_wherever_it_stands),
        cmocka_unit_test(keys_have_their_namespace_and_ranges_their_end),
        cmocka_unit_test(a_txn_is_written_as_the_gateway_reads_it),
        cmocka_unit_test(numbers_beyond_2_53_stay_exact),
        cmocka_unit_test(what_is_zero_is_left_out),
        cmocka_unit_test(foreign_keys_are_no_entries),
        cmocka_unit_test(refusals_mean_what_they_say),
        cmocka_unit_test(messages_of_a_watch_are_told_apart),
        cmocka_unit_test(an_event_without_a_type_is_a_put),
        cmocka_unit_test(a_stream_falls_into_messages),
    };

    return cmocka_run_group_tests_name("etcd wire", tests, NULL, NULL);
}
