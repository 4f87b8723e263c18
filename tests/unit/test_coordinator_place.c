/* test_coordinator_place.c - who restarts learns from who lives how far the
 * registry was, and what is put down for the person who accepts it. */
#include "coordinator/coordinator_priv.h"
#include "tests/unit/coordinator_world.h"

#define M1    "10.0.0.1:5678"
#define M2    "10.0.0.2:5678"
#define M3    "10.0.0.3:5678"
#define OTHER "0123456789abcdef0123456789abcdef"

static const struct registry_place *known(const struct world *w, int i)
{
    return registry_place(w->registry[i]);
}

static const struct registry_back *back(const struct world *w, int i)
{
    return registry_went_back(w->registry[i]);
}

/* A heartbeat of somebody who has seen `id` (NULL: ours) that far. */
static char *heartbeat(struct world *w, const char *id, uint64_t position)
{
    return mem_printf("{\"startupTime\":1700000000000,\"processId\":7, "
                      "\"place\" : \"%s:0:%llu\"}",
                      id != NULL ? id : known(w, 0)->incarnation,
                      (unsigned long long)position);
}

static void agent(struct world *w, const char *address, const char *id,
                  uint64_t position)
{
    char *key = mem_printf("/pelorus/nodes/master/%s", address);
    char *value = heartbeat(w, id, position);

    hand_put(w, key, value, true);
    mem_free(key);
    mem_free(value);
}

static struct got put_at(struct world *w, const char *id, uint64_t position)
{
    char *value = heartbeat(w, id, position);
    struct got g = put(w, NODE_MASTER, M3, value, 30000);

    mem_free(value);
    return g;
}

static void an_agent_that_has_seen_more_is_believed(void **state)
{
    struct world *w = *state;
    uint64_t position = memory_revision(w->store) + 1000, revision;
    struct snapshot *s;

    agent(w, M1, NULL, position);
    world_run(w, 3000);
    assert_non_null(back(w, 0));
    assert_true(back(w, 0)->known.position == position);
    assert_non_null(strstr(back(w, 0)->why, M1));
    assert_int_equal(registry_state(w->registry[0]), REGISTRY_WENT_BACK);
    s = coordinator_snapshot(w->c[0]);
    assert_false(s->ready);
    assert_true(s->stale);
    assert_int_equal(s->registry_state, REGISTRY_WENT_BACK);
    assert_non_null(s->went_back);
    assert_string_equal(s->went_back->why, back(w, 0)->why);
    coordinator_snapshot_release(&s);
    /* whoever starts now knows it, and nobody does anything any more */
    world_run(w, 3000);
    revision = memory_revision(w->store);
    world_start(w, 1);
    world_run(w, 5000);
    assert_non_null(back(w, 1));
    assert_string_equal(back(w, 1)->by, "127.0.0.1:7077");
    world_run(w, 20000);
    assert_true(memory_revision(w->store) <= revision + 1); /* its testimony */
}

/* The next coordinator, before its first step: it acts on nothing at first. */
static void who_starts_is_told_before_it_acts(void **state)
{
    struct world *w = *state;
    uint64_t position = memory_revision(w->store) + 1000;

    char *id = mem_strdup(known(w, 0)->incarnation);

    world_end(w, 0);
    agent(w, M1, id, 1); /* what this one knows is old */
    agent(w, M2, id, position);
    world_start(w, 0);
    for (int i = 0; i < 60 && back(w, 0) == NULL; i++) {
        world_run(w, 50);
        assert_false(
            engine_holds_lock(coordinator_engine(w->c[0], NODE_MASTER), NULL) &&
            w->clock.mono > 1000000);
    }
    assert_non_null(back(w, 0));
    assert_non_null(strstr(back(w, 0)->why, M2));
    mem_free(id);
}

static void what_an_agent_has_seen_up_to_now_is_no_evidence(void **state)
{
    struct world *w = *state;

    agent(w, M1, NULL, 1);
    agent(w, M2, NULL, memory_revision(w->store)); /* this write is later */
    for (int i = 0; i < 20; i++) {
        char *value = heartbeat(w, NULL, memory_revision(w->store));

        hand_put(w, "/pelorus/nodes/master/" M1, value, true);
        mem_free(value);
    }
    world_run(w, 5000);
    assert_null(back(w, 0));
}

static void a_place_that_is_none_is_ignored_or_refused(void **state)
{
    struct world *w = *state;

    hand_put(w, "/pelorus/nodes/master/" M1,
             "{\"startupTime\":1,\"processId\":7,\"place\":\"x:1:2\"}", true);
    hand_put(w, "/pelorus/nodes/master/" M2,
             "{\"startupTime\":1,\"processId\":7,\"place\":[\"", true);
    world_run(w, 2000);
    assert_null(back(w, 0));
    assert_string_equal(
        put(w, NODE_WORKER, M1, "{\"place\":\"x:1:2\"}", 30000).code,
        "invalid");
    assert_string_equal(put(w, NODE_WORKER, M1, "{\"place\":7}", 30000).code,
                        "invalid");
    assert_string_equal(put(w, NODE_WORKER, M1, "{\"place\":null}", 30000).code,
                        "");
}

/* Another incarnation: it comes after ours, before ours, or is a stranger. */
static void of_another_incarnation_only_a_stranger_is_evidence(void **state)
{
    struct world *w = *state;
    struct history_record record;
    const struct registry_entry *e = memory_find(w->store, HISTORY_KEY);
    struct registry_place before = *known(w, 0);
    struct buf b;

    assert_int_equal(
        registry_history_read(&record, e->value, e->value_len, NULL), 0);
    registry_history_new_id(record.incarnation);
    registry_history_after(&record, before.incarnation);
    record.generation++;
    buf_init(&b, REGISTRY_VALUE_MAX);
    registry_history_write(&b, &record);
    hand_put(w, HISTORY_KEY, buf_text(&b), false); /* it was accepted */
    buf_close(&b);
    agent(w, M1, record.incarnation, 1);
    world_run(w, 5000);
    assert_string_equal(known(w, 0)->incarnation, record.incarnation);
    agent(w, M2, before.incarnation, before.position + 1000000);
    assert_string_equal(put_at(w, before.incarnation, 1000000).code, "");
    world_run(w, 3000);
    assert_null(back(w, 0));
    agent(w, M2, OTHER, 1);
    world_run(w, 3000);
    assert_non_null(back(w, 0));
    assert_string_equal(back(w, 0)->known.incarnation, OTHER);
}

/* Whose place is of another cluster has spoken to that one, and who names a
 * place that no registry comes to is mistaken: the others go on. */
static void a_client_s_mistake_stops_nobody(void **state)
{
    struct world *w = *state;
    uint64_t position = known(w, 0)->position;
    struct got g = put_at(w, OTHER, 1);
    char *line;

    assert_string_equal(g.code, "invalid_value");
    assert_non_null(strstr(g.err.msg, "place"));
    assert_null(memory_find(w->store, "/pelorus/nodes/master/" M3));
    g = put_at(w, OTHER, UINT64_MAX); /* known by now */
    assert_string_equal(g.code, "invalid_value");
    position += (UINT64_C(1) << 40) + 1000;
    assert_string_equal(put_at(w, NULL, position).code, "invalid_value");
    assert_string_equal(put_at(w, NULL, UINT64_MAX).code, "invalid_value");
    line = mem_printf("{\"startupTime\":1,\"place\":\"%s:3:%llu\"}",
                      known(w, 0)->incarnation,
                      (unsigned long long)known(w, 0)->position + 10);
    assert_string_equal(put(w, NODE_MASTER, M3, line, 30000).code,
                        "invalid_value"); /* it has no timelines */
    mem_free(line);
    assert_string_equal(
        put(w, NODE_MASTER, M3, "{\"startupTime\":1}", 30000).code, "");
    world_run(w, 5000);
    assert_null(back(w, 0));
    assert_int_equal(registry_state(w->registry[0]), REGISTRY_CONNECTED);
}

static void a_registration_proves_no_more_than_it_can(void **state)
{
    struct world *w = *state;
    char *value = heartbeat(w, OTHER, 1);

    hand_put(w, "/nodes/master/" M1, value, true); /* none of ours */
    mem_free(value);
    agent(w, M2, NULL, known(w, 0)->position + (UINT64_C(1) << 41));
    world_run(w, 5000);
    assert_null(back(w, 0));
    agent(w, M2, OTHER, 1);
    hand_delete(w, "/pelorus/nodes/master/" M2); /* it does not stand */
    world_run(w, 5000);
    assert_null(back(w, 0));
    agent(w, M2, OTHER, 1);
    world_run(w, 5000);
    assert_non_null(back(w, 0));
}

/* What is in doubt is still being read when somebody else shows it. */
static void a_registry_may_go_back_while_a_doubt_is_looked_into(void **state)
{
    struct world *w = *state;
    const struct place_doubt *d = &w->c[0]->doubt;
    struct registry_place place = *known(w, 0);

    agent(w, M1, OTHER, 1);
    while (!d->busy || d->version == 0 || d->place.incarnation[0] == '\0')
        world_run(w, 1);
    place.position += 1000;
    registry_report_contradiction(w->registry[0], &place, "shown by a test");
    world_run(w, 5000);
    assert_non_null(back(w, 0));
    assert_string_equal(d->place.incarnation, "");
    assert_int_equal(registry_state(w->registry[0]), REGISTRY_WENT_BACK);
}

static void a_put_gives_the_place_and_brings_it_back(void **state)
{
    struct world *w = *state;
    struct registry_place place;
    struct got g = put(w, NODE_MASTER, M3, "{\"startupTime\":1}", 30000);

    assert_string_equal(g.code, "");
    assert_int_equal(registry_place_parse(g.place, &place, NULL), 0);
    assert_string_equal(place.incarnation, known(w, 0)->incarnation);
    assert_true(place.position > 0);
    assert_string_equal(put_at(w, NULL, place.position).code, "");
    assert_string_equal(put_at(w, NULL, place.position + 500).code,
                        "registry_went_back");
    assert_non_null(back(w, 0));
    assert_non_null(strstr(back(w, 0)->why, M3));
    assert_string_equal(put_at(w, NULL, 1).code, "registry_went_back");
}

/* Others are ahead of a coordinator whose server is cut off. */
static void a_coordinator_that_lags_raises_no_alarm(void **state)
{
    struct world *w = *state;
    struct got g = {0};
    char *value;

    world_start(w, 1);
    world_run(w, 2000);
    memory_strand(w->registry[0]);
    for (int i = 0; i < 10; i++)
        hand_put(w, "/pelorus/elsewhere", "x", false);
    value = heartbeat(w, NULL, memory_revision(w->store));
    coordinator_node_put(w->c[0],
                         &(struct node_put){.kind = NODE_MASTER,
                                            .address = M1,
                                            .body = value,
                                            .len = strlen(value),
                                            .ttl_ms = 30000},
                         got, &g);
    world_run(w, 2500);
    memory_heal(w->registry[0]);
    answered(w, &g);
    mem_free(value);
    assert_string_not_equal(g.code, "registry_went_back");
    world_run(w, 5000);
    assert_null(back(w, 0));
    assert_null(back(w, 1));
}

/* --- testimony ----------------------------------------------------------- */

static void replied(void *arg, const struct work_reply *reply)
{
    snprintf(arg, 32, "%s",
             reply->code != PROBLEM_NONE ? problem_code(reply->code) : "ok");
}

static void ask(struct world *w, const char *id, uint64_t epoch, char *code)
{
    code[0] = '\0';
    work_done(coordinator_work(w->c[0]), id, epoch, replied, code);
    for (int i = 0; i < 100 && code[0] == '\0'; i++)
        world_run(w, 50);
}

static void claim(struct world *w, const char *id)
{
    struct work_submit what = {.id = id, .kind = NODE_MASTER, .owner = M1};
    char code[32] = "";

    work_claim(coordinator_work(w->c[0]), &what, replied, code);
    for (int i = 0; i < 100 && code[0] == '\0'; i++)
        world_run(w, 50);
    assert_string_equal(code, "ok");
}

static void what_was_known_is_put_down_for_a_person(void **state)
{
    struct world *w = *state;
    const struct registry_entry *e;
    char code[32];

    agent(w, M1, NULL, 1);
    world_run(w, 1000);
    claim(w, "a");
    claim(w, "b");
    ask(w, "b", 1, code);
    assert_string_equal(code, "ok");
    world_run(w, 1000);
    ask(w, "a", 42, code);
    assert_string_equal(code, "registry_went_back");
    world_run(w, 5000);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/127.0.0.1:7077");
    assert_non_null(e);
    assert_non_null(strstr(e->value, "\"highest_epoch\":42"));
    assert_non_null(strstr(e->value, "\"place\":\""));
    assert_non_null(strstr(e->value, "\"highest_fence\":0"));
    assert_non_null(
        strstr(e->value, "\"items\":[[\"a\",1,\"master/" M1 "\"]]"));
    assert_non_null(strstr(e->value, "\"finished\":[[\"b\",1]],\"cut\":false"));
    ask(w, "a", 43, code); /* and what is shown meanwhile */
    assert_string_equal(code, "registry_went_back");
    world_run(w, 10000);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/127.0.0.1:7077");
    assert_non_null(strstr(e->value, "\"highest_epoch\":43"));
}

/* Whoever begins in a store that went back remembers nothing: its clients do.
 */
static void what_clients_show_is_put_down_too(void **state)
{
    struct world *w = *state;
    const struct registry_entry *e;
    char code[32], id[8];

    agent(w, M1, NULL, 1);
    world_run(w, 1000);
    claim(w, "a");
    ask(w, "a", 42, code);
    assert_string_equal(code, "registry_went_back");
    world_run(w, 3000);
    world_end(w, 0);
    world_start(w, 0);
    world_run(w, 5000);
    ask(w, "a", 43, code); /* they say that they have finished it */
    assert_string_equal(code, "registry_went_back");
    code[0] = '\0';
    work_fence_check(coordinator_work(w->c[0]), "b", 7, replied, code);
    world_run(w, 100);
    assert_string_equal(code, "registry_went_back");
    ask(w, "c", UINT64_C(1) << 60, code); /* nobody was ever told that */
    world_run(w, 5000);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/127.0.0.1:7077");
    assert_non_null(strstr(e->value, "\"highest_epoch\":42"));
    assert_non_null(strstr(e->value, "\"shown_finished\":[[\"a\",42]]"));
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/127.0.0.1:7077.2");
    assert_non_null(e);
    assert_non_null(strstr(e->value, "\"highest_epoch\":43"));
    assert_non_null(strstr(e->value, "\"shown\":[[\"b\",7]],"
                                     "\"shown_finished\":[[\"a\",43]]"));
    assert_non_null(strstr(e->value, "\"cut\":false"));
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof(id), "i-%d", i);
        work_fence_check(coordinator_work(w->c[0]), id, 9, replied, code);
        world_run(w, 50);
    }
    world_run(w, 5000);
    e = memory_find(w->store, HISTORY_SEEN_PREFIX "/127.0.0.1:7077.2");
    assert_non_null(strstr(e->value, "[\"i-253\",9]"));
    assert_null(strstr(e->value, "i-254"));
    assert_non_null(strstr(e->value, "\"cut\":true"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(an_agent_that_has_seen_more_is_believed),
        WORLD_TEST(who_starts_is_told_before_it_acts),
        WORLD_TEST(what_an_agent_has_seen_up_to_now_is_no_evidence),
        WORLD_TEST(a_place_that_is_none_is_ignored_or_refused),
        WORLD_TEST(of_another_incarnation_only_a_stranger_is_evidence),
        WORLD_TEST(a_registry_may_go_back_while_a_doubt_is_looked_into),
        WORLD_TEST(a_client_s_mistake_stops_nobody),
        WORLD_TEST(a_registration_proves_no_more_than_it_can),
        WORLD_TEST(a_put_gives_the_place_and_brings_it_back),
        WORLD_TEST(a_coordinator_that_lags_raises_no_alarm),
        WORLD_TEST(what_was_known_is_put_down_for_a_person),
        WORLD_TEST(what_clients_show_is_put_down_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
