/* test_node_identity.c - what a registration says for renewals in groups: its
 * generation, the mark, how long it is watched. Who is whom: the tests of the
 * coordinator's nodes. */
#include "cluster/heartbeat.h"
#include "cluster/node_identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define ID    "\"startupTime\":1000,\"processId\":7"
#define OLDER "{" ID ",\"ttl\":30000,\"instance\":\"i1\",\"slots\":4}"

static struct node_claim standing(const char *text)
{
    struct node_claim claim;

    node_claim_read(&claim, text, strlen(text));
    return claim;
}

static struct node_claim judged(const struct node_claim *ask,
                                const struct node_claim *there,
                                enum node_ruling expected)
{
    struct node_claim next;
    const char *why;

    assert_int_equal(node_judge(ask, there, "fresh", false, 5000, &next, &why),
                     expected);
    return next;
}

/* As text and read again, which must be the same for a heartbeat. */
static struct node_claim written(const struct node_claim *claim, int64_t ttl_ms)
{
    struct node_claim again;
    struct heartbeat hb;
    struct buf b;

    buf_init(&b, 4096);
    node_claim_write(&b, ",\"slots\":4", claim, ttl_ms);
    node_claim_read(&again, b.data, b.len);
    heartbeat_read(&hb, b.data, b.len);
    assert_int_equal(hb.n_problems, 0);
    assert_int_equal(hb.ttl_ms, ttl_ms);
    assert_int_equal(hb.generation, again.generation);
    assert_int_equal(hb.doubted, again.doubted);
    assert_int_equal(hb.watched_ms, again.watched_ms > again.ttl_ms
                                        ? again.watched_ms
                                        : again.ttl_ms);
    assert_int_equal(hb.load.slots, 4);
    buf_close(&b);
    return again;
}

static void an_older_record_is_the_first_generation(void **state)
{
    struct node_claim claim = standing(OLDER);

    (void)state;
    assert_int_equal(claim.generation, 1);
    assert_int_equal(claim.ttl_ms, 30000);
    assert_int_equal(claim.watched_ms, 0);
    assert_false(claim.doubted || claim.leased);
    claim = standing("not JSON");
    assert_int_equal(claim.generation, 1);
}

static void the_generation_rises_with_another_process_only(void **state)
{
    struct node_claim there = standing(OLDER);
    struct node_claim same = {.instance = "i1"};
    struct node_claim later = {.has_startup = true};
    struct node_claim none = {.exists = false}, next;

    (void)state;
    later.process.startup_time = 2000;
    next = judged(&same, &there, NODE_RULES_RENEW);
    assert_int_equal(next.generation, 1);
    next = judged(&later, &there, NODE_RULES_REPLACE);
    next = written(&next, 30000);
    assert_int_equal(next.generation, 2);
    memcpy(next.instance, "i2", sizeof("i2"));
    memcpy(same.instance, "i2", sizeof("i2"));
    next = judged(&same, &next, NODE_RULES_RENEW);
    assert_int_equal(written(&next, 30000).generation, 2);
    later.process.startup_time = 3000;
    next = judged(&later, &next, NODE_RULES_REPLACE);
    assert_int_equal(next.generation, 3);
    next = judged(&later, &none, NODE_RULES_NEW); /* another life of the key */
    assert_int_equal(next.generation, 1);
    /* what nobody could name is taken over as well */
    there = standing("{}");
    next = judged(&later, &there, NODE_RULES_REPLACE);
    assert_int_equal(next.generation, 2);
}

static void watched_never_shrinks_while_one_process_stands(void **state)
{
    struct node_claim there =
        standing("{" ID ",\"renewals\":{\"lease\":30000},\"instance\":\"i1\"}");
    struct node_claim alone = standing(OLDER), next;
    struct node_claim same = {.instance = "i1"};
    struct node_claim later = {.has_startup = true};

    (void)state;
    /* nobody goes by more than what stands there: the shorter one counts */
    next = judged(&same, &alone, NODE_RULES_RENEW);
    assert_int_equal(written(&next, 10000).watched_ms, 0);
    /* but for who is renewed in groups */
    next = judged(&same, &there, NODE_RULES_RENEW);
    next = written(&next, 10000); /* it asks for a shorter ttl */
    assert_int_equal(next.ttl_ms, 10000);
    assert_int_equal(next.watched_ms, 30000);
    next = judged(&same, &next, NODE_RULES_RENEW);
    next.watched_ms = 40000;
    next = written(&next, 30000);
    assert_int_equal(next.watched_ms, 40000);
    next = judged(&same, &next, NODE_RULES_RENEW);
    assert_int_equal(written(&next, 60000).watched_ms, 0); /* the ttl is it */
    later.process.startup_time = 2000;
    next = judged(&later, &there, NODE_RULES_REPLACE);
    assert_int_equal(written(&next, 1000).watched_ms, 0);
}

static void a_lease_is_a_ttl_that_older_versions_do_not_see(void **state)
{
    struct node_claim there = standing(OLDER), next;
    struct node_claim same = {.instance = "i1"};
    struct heartbeat hb;
    static const char both[] =
        "{" ID ",\"ttl\":1000,\"renewals\":{\"lease\":2000}}";
    static const char bad[] =
        "{" ID ",\"renewals\":{\"lease\":\"2s\",\"watched\":-1,"
        "\"generation\":0,\"doubted\":1},\"lease\":5}";

    (void)state;
    next = judged(&same, &there, NODE_RULES_RENEW);
    next.leased = true;
    next = written(&next, 30000);
    assert_true(next.leased);
    assert_int_equal(next.ttl_ms, 30000);
    next = judged(&same, &next, NODE_RULES_RENEW);
    assert_false(written(&next, 30000).leased); /* unless it is said again */
    next = standing(both);
    assert_false(next.leased);
    assert_int_equal(next.ttl_ms, 1000);
    heartbeat_read(&hb, both, strlen(both));
    assert_int_equal(hb.ttl_ms, 1000);
    next = standing(bad);
    assert_true(!next.leased && next.ttl_ms == 0 && next.watched_ms == 0);
    assert_true(next.generation == 1 && !next.doubted);
    heartbeat_read(&hb, bad, strlen(bad));
    assert_true(hb.ttl_ms == 0 && hb.watched_ms == 0 && hb.n_problems == 0);
    assert_true(hb.generation == 1 && !hb.doubted);
}

static void a_mark_changes_nothing_else_and_goes_with_the_next_put(void **state)
{
    struct node_claim claim, next, same = {.instance = "i1"};
    char leased[256];
    struct buf b;

    (void)state;
    buf_init(&b, 4096);
    assert_true(node_claim_doubt(&b, OLDER, strlen(OLDER)));
    assert_string_equal(buf_text(&b), "{\"renewals\":{\"doubted\":true}," ID
                                      ",\"ttl\":30000,\"instance\":\"i1\","
                                      "\"slots\":4}");
    claim = standing(buf_text(&b));
    assert_true(claim.doubted);
    assert_int_equal(claim.ttl_ms, 30000);
    assert_string_equal(claim.instance, "i1");
    next = judged(&same, &claim, NODE_RULES_RENEW);
    assert_false(written(&next, 30000).doubted);
    assert_false(node_claim_doubt(&b, b.data, b.len)); /* it is marked */
    next.leased = true;
    buf_reset(&b);
    node_claim_write(&b, ",\"slots\":4", &next, 30000);
    memcpy(leased, buf_text(&b), b.len + 1);
    buf_reset(&b);
    assert_true(node_claim_doubt(&b, leased, strlen(leased)));
    claim = standing(buf_text(&b));
    assert_true(claim.doubted && claim.leased && claim.ttl_ms == 30000);
    assert_non_null(strstr(buf_text(&b), "\"slots\":4}"));
    buf_reset(&b);
    assert_true(node_claim_doubt(&b, " { } ", 5));
    assert_true(standing(buf_text(&b)).doubted);
    buf_reset(&b);
    assert_false(node_claim_doubt(&b, "[1]", 3));
    assert_false(node_claim_doubt(&b, "{", 1));
    assert_false(node_claim_doubt(&b, "", 0));
    assert_int_equal(b.len, 0);
    buf_close(&b);
}

/* A client cannot say it. */
static void only_that_member_of_a_body_is_left_out(void **state)
{
    static const char body[] = "{\"a\":1,\"lease\":2,\"renewals\":"
                               "{\"doubted\":true},\"b\":2}";
    const struct json *o;
    struct buf b;

    (void)state;
    assert_int_equal(json_parse(body, strlen(body), &o, NULL), 0);
    buf_init(&b, 4096);
    node_claim_others(&b, o);
    assert_string_equal(buf_text(&b), ",\"a\":1,\"lease\":2,\"b\":2");
    buf_close(&b);
    json_free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_older_record_is_the_first_generation),
        cmocka_unit_test(the_generation_rises_with_another_process_only),
        cmocka_unit_test(watched_never_shrinks_while_one_process_stands),
        cmocka_unit_test(a_lease_is_a_ttl_that_older_versions_do_not_see),
        cmocka_unit_test(
            a_mark_changes_nothing_else_and_goes_with_the_next_put),
        cmocka_unit_test(only_that_member_of_a_body_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
