/*
 * test_conf.c - what a configuration may say, and that conf/pelorus.yaml, the
 * defaults and the table of keys are one thing. Run from the root of the
 * source tree.
 */
#include "tests/unit/conf_helpers.h"

#include "conf/own.h"

static void an_empty_file_is_the_defaults(void **state)
{
    static const char *const texts[] = {
        "",    "# nothing\n", "---\n",
        "~\n", "{}",          "registry:\nfailover: {}\ngroups:\n"};
    struct conf defaults;

    (void)state;
    conf_defaults(&defaults);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        accept(texts[i]);
        assert_same(&conf, &defaults);
        conf_close(&conf);
    }
    assert_string_equal(defaults.listen_host, "127.0.0.1");
    assert_int_equal(defaults.listen_port, 7077);
    assert_int_equal(defaults.failover.settle_ms, 10000);
    assert_int_equal(defaults.balancer.policy, CONF_LEDGER);
    assert_null(defaults.advertise);
    conf_close(&defaults);
}

static void the_block_of_the_design_document_is_accepted(void **state)
{
    (void)state;
    accept("listen: 127.0.0.1:7077\n"
           "registry: {type: sqlite, namespace: dolphinscheduler, path: "
           "pelorus.db, session-timeout: 10s}\n"
           "balancer: {policy: ledger, heartbeat-interval: 10s}\n"
           "groups: {gpu: [\"10.0.0.7:1234\"]}\n"
           "failover: {enabled: true, grace: 1s, reconcile-interval: 5s, "
           "master-lock: /lock/master-failover, worker-lock: "
           "/lock/worker-failover, brake: {window: 60s, share: 0.3, min: 3}}\n"
           "work: {keep: 10m}\n"
           "http: {threads: 0, max-connections: 4096, "
           "max-connections-per-address: 256}\n"
           "log: {level: info, format: text}\n");
    assert_int_equal(conf.n_groups, 1);
    assert_string_equal(conf.groups[0].name, "gpu");
    assert_int_equal(conf.groups[0].addresses.n, 1);
    assert_string_equal(conf.groups[0].addresses.items[0], "10.0.0.7:1234");
}

/* ---- conf/pelorus.yaml ---- */

static void the_file_that_we_ship_is_the_defaults(void **state)
{
    struct conf defaults;

    (void)state;
    conf_defaults(&defaults);
    if (conf_load(&conf, "conf/pelorus.yaml", &problems, &err) != 0)
        fail_msg("%s", buf_text(&problems));
    assert_same(&conf, &defaults);
    conf_close(&defaults);
}

/* The value of each key in the shipped file, commented out or not. */
struct shipped {
    char path[CONF_PATH_MAX];
    char value[256];
};

/* Reads one line "key: value" into *s; `path` holds the blocks around it. */
static bool read_shipped(char *line, char path[CONF_PATH_MAX],
                         size_t ends[CONF_DEPTH_MAX], struct shipped *s)
{
    size_t blanks, depth, base;
    char *colon;

    line += line[0] == '#';
    blanks = strspn(line, " ");
    colon = strchr(line, ':');
    line[strcspn(line, "\n")] = '\0';
    if (colon == NULL || (colon[1] != '\0' && colon[1] != ' ') ||
        strcspn(line + blanks, ": #\"") != (size_t)(colon - line) - blanks)
        return false;
    depth = blanks / 2;
    assert_true(blanks % 2 == 0 && depth + 1 < CONF_DEPTH_MAX);
    base = depth == 0 ? 0 : ends[depth - 1];
    (void)snprintf(path + base, CONF_PATH_MAX - base, "%s%.*s",
                   depth == 0 ? "" : ".",
                   (int)((size_t)(colon - line) - blanks), line + blanks);
    ends[depth] = strlen(path);
    (void)snprintf(s->path, sizeof(s->path), "%s", path);
    (void)snprintf(s->value, sizeof(s->value), "%s",
                   colon[1] == '\0' ? "" : colon + 2);
    return true;
}

static void every_key_stands_in_the_file_that_we_ship(void **state)
{
    static struct shipped all[200];
    size_t ends[CONF_DEPTH_MAX] = {0}, n = 0;
    char line[512], path[CONF_PATH_MAX] = "";
    FILE *file = fopen("conf/pelorus.yaml", "re");

    (void)state;
    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        assert_true(strlen(line) <= 81);
        if (line[0] == '#' && line[1] == ' ' && line[2] != ' ')
            continue; /* an explanation */
        if (line[strspn(line, " ")] == '#' && line[0] == ' ')
            continue; /* an indented one */
        assert_true(n < ARRAY_LEN(all));
        n += read_shipped(line, path, ends, &all[n]);
    }
    (void)fclose(file);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        size_t i = 0;

        if (!conf_key_is_own(key))
            continue;
        while (i < n && strcmp(all[i].path, key->path) != 0)
            i++;
        if (i == n)
            fail_msg("%s is not in conf/pelorus.yaml", key->path);
        if (key->otherwise != NULL)
            assert_string_equal(all[i].value, key->otherwise);
    }
    for (size_t i = 0; i < n; i++) {
        assert_true(conf_key_find(all[i].path) != NULL ||
                    all[i].value[0] == '\0' ||
                    strncmp(all[i].path, "groups.", 7) == 0 ||
                    strncmp(all[i].path, "balancer.groups.", 16) == 0);
    }
}

/* ---- settings of a group's own ---- */

static void a_group_has_what_it_is_given_and_the_rest_of_all(void **state)
{
    struct conf_balancer gpu;

    (void)state;
    accept("balancer:\n  cpu-max: 0.7\n  memory-max: 0.6\n  groups:\n"
           "    gpu: {cpu-max: 0.95, warm-up: 10s}\n"
           "    plain:\n    none: {}\n");
    assert_int_equal(conf.n_owns, 1);
    gpu = conf.balancer;
    conf_own_apply(conf_own_of(&conf, "gpu"), &gpu);
    assert_true(gpu.cpu_max == 0.95);
    assert_true(gpu.memory_max == 0.6);
    assert_int_equal(gpu.warm_up_ms, 10000);
    assert_true(conf.balancer.cpu_max == 0.7);
    assert_null(conf_own_of(&conf, "plain"));
    assert_says("\"balancer.groups.gpu.cpu-max\": 0.95\n");
    assert_says("\"balancer.groups.gpu.warm-up\": 10s\n");
}

static void a_groups_name_may_have_dots(void **state)
{
    (void)state;
    accept("balancer.groups.eu.west.dynamic-weights.cpu-usage: 100\n"
           "balancer.groups.eu.west.dynamic-weights.memory-usage: 0\n"
           "balancer.groups.eu.west.dynamic-weights.task-thread-pool-usage: 0\n"
           "balancer.groups.cpu-max.cpu-max: 0.5\n");
    assert_int_equal(conf.n_owns, 2);
    assert_string_equal(conf.owns[0].name, "eu.west");
    assert_true(conf.owns[0].own.values.cpu_usage_weight == 100);
    assert_string_equal(conf.owns[1].name, "cpu-max");
    assert_true(conf.owns[1].own.values.cpu_max == 0.5);
}

static void names_of_groups_are_those_of_the_api(void **state)
{
    (void)state;
    accept("groups: {GPU: ['h:1'], Ümlaut: []}\n"
           "balancer: {groups: {GPU: {cpu-max: 0.95}}}\n");
    assert_string_equal(conf.groups[0].name, "gpu");
    assert_string_equal(conf.groups[1].name, "Ümlaut"); /* ASCII alone */
    assert_non_null(conf_own_of(&conf, "gpu"));
}

/* The table says which: each can be set for a group, and read back. */
static void every_key_that_is_per_group_can_be_set(void **state)
{
    size_t n = 0;

    (void)state;
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        struct conf_own own = {0};
        struct conf_balancer to;
        struct buf json;

        if ((key->flags & CONF_PER_GROUP) == 0)
            continue;
        assert_string_equal(conf_own_name(n), key->path + 9);
        assert_int_equal(conf_own_set(&own, n, key->otherwise, &err), 0);
        assert_int_equal(own.given, 1u << n);
        memset(&to, 0, sizeof(to));
        to.heartbeat_interval_ms = 1;
        conf_own_apply(&own, &to);
        buf_init(&json, 64);
        conf_own_put(&to, n, &json);
        assert_true(json.len > 0);
        assert_int_equal(buf_text(&json)[0] == '"', !conf_own_is_number(n));
        if (conf_own_is_number(n))
            assert_string_equal(buf_text(&json), key->otherwise);
        buf_close(&json);
        n++;
    }
    assert_int_equal(n, conf_own_keys());
    assert_true(n >= 7);
}

static void no_key_stands_in_the_table_twice(void **state)
{
    (void)state;
    for (size_t i = 0; i < conf_n_keys; i++)
        assert_ptr_equal(conf_key_find(conf_keys[i].path), &conf_keys[i]);
    assert_null(conf_keys[conf_n_keys].path);
}

static void what_is_printed_can_be_read_again(void **state)
{
    struct conf first;
    char *text;

    (void)state;
    accept(
        "listen: \"[::1]:7078\"\nregistry: {path: \"a \\\"b\\\".db\"}\n"
        "groups: {gpu: [\"h1:1\", \"h2:2\"], ümlaut: []}\n"
        "failover: {hook: \"echo 'x: y' # \\n\", grace: 1500ms, "
        "settle: 0s}\nadvertise: h:1\nbalancer: {cpu-max: 0.35, groups: "
        "{a.b: {cpu-max: 0.5, warm-up: 90s}, c: {dynamic-weights: "
        "{cpu-usage: 20, memory-usage: 30, task-thread-pool-usage: 50}}}}\n");
    first = conf;
    memset(&conf, 0, sizeof(conf));
    text = printed(&first);
    accept(text);
    assert_same(&conf, &first);
    mem_free(text);
    conf_close(&first);
}

/* ---- DolphinScheduler's blocks ---- */

static void the_zookeeper_block_is_taken_as_pasted(void **state)
{
    (void)state;
    accept("registry:\n"
           "  type: zookeeper\n"
           "  zookeeper: {namespace: ds2, connect-string: "
           "\"localhost:2181\", session-timeout: 60s, connection-timeout: "
           "15s,\n"
           "    block-until-connected: 15s, retry-policy: {base-sleep-time: "
           "1s, max-sleep: 3s, max-retries: 5}, digest: ~}\n");
    assert_int_equal(conf.registry.type, CONF_ZOOKEEPER);
    assert_string_equal(conf.registry.namespace_, "ds2");
    assert_string_equal(conf.registry.connect_string, "localhost:2181");
    assert_int_equal(conf.registry.session_timeout_ms, 60000);
    assert_int_equal(conf.registry.connect_timeout_ms, 15000);
    assert_int_equal(conf.registry.block_until_connected_ms, 15000);
    assert_int_equal(conf.registry.retry_base_sleep_ms, 1000);
    assert_int_equal(conf.registry.retry_max_sleep_ms, 3000);
    assert_int_equal(conf.registry.retry_max_retries, 5);
    assert_null(conf.registry.digest);
    assert_int_equal(conf.failover.settle_ms, 60000);
}

static void the_example_for_zookeeper_is_sound(void **state)
{
    (void)state;
    assert_int_equal(conf_load(&conf, "conf/zookeeper.yaml", NULL, &err), 0);
    assert_int_equal(conf.registry.type, CONF_ZOOKEEPER);
    assert_string_equal(conf.registry.connect_string, "localhost:2181");
    assert_int_equal(conf.registry.session_timeout_ms, 60000);
}

static void the_etcd_block_is_taken_as_pasted(void **state)
{
    (void)state;
    accept("registry: {type: etcd, endpoints: \"http://etcd0:2379, "
           "http://etcd1:2379\", namespace: dolphinscheduler, "
           "connection-timeout: 9s, retry-delay: 60ms, retry-max-delay: "
           "300ms,\n  retry-max-duration: 1500ms, cert-file: ca.crt, "
           "key-cert-chain-file: client.crt, key-file: client.pem, user: "
           "\"\", password: \"\", authority: \"\", load-balancer-policy: "
           "\"\", ttl: 30s}\n");
    assert_int_equal(conf.registry.endpoints.n, 2);
    assert_string_equal(conf.registry.endpoints.items[0], "http://etcd0:2379");
    assert_string_equal(conf.registry.endpoints.items[1], "http://etcd1:2379");
    assert_int_equal(conf.registry.session_timeout_ms, 30000);
    assert_int_equal(conf.registry.retry_max_duration_ms, 1500);
    assert_string_equal(conf.registry.key_file, "client.pem");
    assert_null(conf.registry.user);
    assert_null(conf.registry.password);
}

static void the_example_for_etcd_is_sound(void **state)
{
    (void)state;
    assert_int_equal(conf_load(&conf, "conf/etcd.yaml", NULL, &err), 0);
    assert_int_equal(conf.registry.type, CONF_ETCD);
    assert_int_equal(conf.registry.endpoints.n, 1);
    assert_int_equal(conf.registry.session_timeout_ms, 30000);
}

static void the_jdbc_block_is_taken_as_pasted(void **state)
{
    (void)state;
    accept("registry: {type: jdbc, heartbeat-refresh-interval: 3s, "
           "session-timeout: 60s, hikari-config: {jdbc-url: "
           "\"jdbc:mysql://127.0.0.1:3306/dolphinscheduler\",\n  username: "
           "root, password: root, maximum-pool-size: 5, connection-timeout: "
           "9000, idle-timeout: 600000}}\n");
    assert_int_equal(conf.registry.heartbeat_refresh_ms, 3000);
    assert_string_equal(conf.registry.jdbc_url,
                        "jdbc:mysql://127.0.0.1:3306/dolphinscheduler");
    assert_string_equal(conf.registry.user, "root");
    assert_string_equal(conf.registry.password, "root");
    assert_int_equal(conf.registry.connect_timeout_ms, 9000);
    assert_int_equal(conf.registry.pool_size, 5);
}

static void the_load_balancer_block_is_taken_as_pasted(void **state)
{
    (void)state;
    accept("worker-load-balancer-configuration-properties: {type: "
           "DYNAMIC_WEIGHTED_ROUND_ROBIN, dynamic-weight-config-properties: "
           "{cpu-usage-weight: 20, memory-usage-weight: 30, "
           "task-thread-pool-usage-weight: 50}}\n");
    assert_int_equal(conf.balancer.policy, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    assert_says("balancer.dynamic-weights.cpu-usage: 20\n");
    assert_says("balancer.dynamic-weights.task-thread-pool-usage: 50\n");
}

static void the_defaults_follow_the_type_of_registry(void **state)
{
    (void)state;
    accept("registry: {type: zookeeper, zookeeper: {connect-string: "
           "'a:2181,b:2181/ds'}}");
    assert_int_equal(conf.registry.session_timeout_ms, 60000);
    assert_int_equal(conf.registry.connect_timeout_ms, 15000);
    accept("registry: {type: etcd, endpoints: ['https://[::1]:2379']}");
    assert_int_equal(conf.registry.session_timeout_ms, 30000);
    accept("registry: {type: sqlite}");
}

static void
keys_of_another_registry_are_left_aside_if_a_type_is_given(void **state)
{
    (void)state;
    accept("registry: {type: sqlite, endpoints: 'http://e:1', zookeeper: "
           "{session-timeout: 60s, connect-string: 'a:1'}}");
    assert_int_equal(conf.registry.session_timeout_ms, 10000);
    assert_null(conf.registry.connect_string);
    refuse("registry:\n  endpoints: http://e:1\n",
           "f.yaml:2: registry.endpoints: belongs to another registry than "
           "sqlite, and registry.type is not given; add it\n");
}

static void what_a_registry_needs_is_asked_for(void **state)
{
    (void)state;
    refuse("registry:\n  type: zookeeper\n",
           "f.yaml:2: registry.zookeeper.connect-string: missing, and "
           "registry.type is zookeeper; add connect-string: host:2181 in the "
           "block registry.zookeeper\n");
    refuse("registry:\n  type: etcd\n  key-file: x\n",
           "f.yaml:2: registry.endpoints: missing, and registry.type is etcd; "
           "add endpoints: http://host:2379\n"
           "f.yaml:3: registry.key-file: of registry.key-file and "
           "registry.key-cert-chain-file only this one is given; give both or "
           "none\n");
    refuse("registry:\n  type: memory\n",
           "f.yaml:2: registry.type: memory is for simulations and forgets "
           "everything; use sqlite\n");
}

static void policies_have_their_names(void **state)
{
    enum conf_policy policy = CONF_RANDOM;

    (void)state;
    assert_int_equal(
        conf_policy_parse("dynamic-weighted-round-robin", &policy, NULL), 0);
    assert_int_equal(policy, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    assert_int_equal(conf_policy_parse("best", &policy, NULL), ERR_INVALID);
    assert_int_equal(policy, CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    assert_string_equal(conf_registry_type_name(CONF_JDBC), "jdbc");
}

/* As Spring Boot 2.7.3, Curator 5.3.0, ZooKeeper's ConnectStringParser, jetcd
 * 0.5.11 and HikariCP 4.0.3 take them; each was asked. */
static void dolphinscheduler_s_block_is_read_as_java_reads_it(void **state)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"registry: {type: zookeeper, zookeeper: {connectString: 'a:1',"
         " sessionTimeout: 30000, retryPolicy: {maxRetries: 3,"
         " baseSleepTime: 60}}}",
         "registry.session-timeout: 30s\n"},
        {"registry: {type: ZooKeeper, zookeeper: {CONNECT_STRING: 'a:1',"
         " retry_policy: {max_retries: 3, Base-Sleep-Time: 60}}}",
         "registry.zookeeper.retry-policy.base-sleep-time: 60ms\n"},
        {"Registry: {Type: zookeeper, ZooKeeper: {connectstring: 'a:1',"
         " SESSIONTIMEOUT: 30S, namespace: n}}",
         "registry.namespace: \"n\"\n"},
        {"registry.type: zookeeper\nregistry.zookeeper.connectString: a:1\n"
         "registry.zookeeper.session-timeout: +30s\n",
         "registry.session-timeout: 30s\n"},
        {"registry: {type: zookeeper, zookeeper.connect-string: 'a:1'}",
         "registry.zookeeper.connect-string: \"a:1\"\n"},
        {"registry: {type: zookeeper, zookeeper: {connect-string:"
         " ' a:1 , b:2 ,,c, '}}",
         "registry.zookeeper.connect-string: \"a:1,b:2,c\"\n"},
        {"registry: {type: zookeeper, zookeeper: {connect-string:"
         " 'a:1, b:2/ds/x'}}",
         "registry.zookeeper.connect-string: \"a:1,b:2/ds/x\"\n"},
        {"registry: {type: zookeeper, zookeeper: {connect-string: 'a:1/'}}",
         "registry.zookeeper.connect-string: \"a:1\"\n"},
        {"registry: {type: zookeeper, zookeeper: {connect-string:"
         " '[::1]:1, localhost'}}",
         "registry.zookeeper.connect-string: \"[::1]:1,localhost\"\n"},
        {"registry: {type: etcd, endpoints: 'http://a:1 , HTTP://b:2/',"
         " ttl: 30000, connectionTimeout: 9000, retryDelay: 60}",
         "registry.endpoints: [\"http://a:1\", \"http://b:2\"]\n"},
        {"registry: {type: etcd, endpoints: 'http://a:1', ttl: 31000}",
         "registry.session-timeout: 31s\n"},
        {"registry: {type: etcd, endpoints: 'http://a:1', certFile: c,"
         " keyCertChainFile: d, keyFile: e}",
         "registry.key-cert-chain-file: \"d\"\n"},
        {"registry: {type: jdbc, heartbeatRefreshInterval: 3000,"
         " sessionTimeout: 61000, hikariConfig: {jdbcUrl: 'jdbc:mysql://h/d',"
         " userName: u, passWord: p, maximumPoolSize: 7,"
         " connectionTimeout: 9000, idleTimeout: 600000, poolName: x,"
         " registerMbeans: true, driverClassName: y, keepaliveTime: 3}}",
         "registry.hikari-config.maximum-pool-size: 7\n"},
        {"registry: {type: jdbc, hikari-config: {jdbc-url:"
         " 'jdbc:postgresql://h/d', schema: 'A b'}}",
         "registry.hikari-config.schema: \"A b\"\n"},
        {"workerLoadBalancerConfigurationProperties: {type: RANDOM,"
         " dynamicWeightConfigProperties: {cpuUsageWeight: 30}}",
         "balancer.policy: RANDOM\n"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        accept(rows[i].text);
        assert_says(rows[i].says);
        conf_close(&conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_empty_file_is_the_defaults),
        TEST(the_block_of_the_design_document_is_accepted),
        TEST(the_file_that_we_ship_is_the_defaults),
        TEST(every_key_stands_in_the_file_that_we_ship),
        TEST(a_group_has_what_it_is_given_and_the_rest_of_all),
        TEST(a_groups_name_may_have_dots),
        TEST(names_of_groups_are_those_of_the_api),
        TEST(every_key_that_is_per_group_can_be_set),
        TEST(no_key_stands_in_the_table_twice),
        TEST(what_is_printed_can_be_read_again),
        TEST(the_zookeeper_block_is_taken_as_pasted),
        TEST(the_example_for_zookeeper_is_sound),
        TEST(the_etcd_block_is_taken_as_pasted),
        TEST(the_example_for_etcd_is_sound),
        TEST(the_jdbc_block_is_taken_as_pasted),
        TEST(the_load_balancer_block_is_taken_as_pasted),
        TEST(the_defaults_follow_the_type_of_registry),
        TEST(policies_have_their_names),
        TEST(keys_of_another_registry_are_left_aside_if_a_type_is_given),
        TEST(what_a_registry_needs_is_asked_for),
        TEST(dolphinscheduler_s_block_is_read_as_java_reads_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
