/*
 * test_conf_errors.c - what a configuration is told when it is wrong: where,
 * what, and what to do. The reports are compared word for word, because they
 * are the interface. Run from the root of the source tree.
 * (Longer than 500 lines: the reports stand there in full.)
 */
#include "tests/unit/conf_helpers.h"

static void listen_takes_hosts_and_both_kinds_of_address(void **state)
{
    static const char *const bad[] = {
        "7077",  "host",     ":7077",    "h:",        "h:65536",
        "h:-1",  "::1:7077", "[::1]",    "[::1]7077", "[]:1",
        "a b:1", "h:1x",     "h:000001", "h/x:1"};
    char text[64];

    (void)state;
    accept("listen: \"[::1]:7077\"");
    assert_string_equal(conf.listen_host, "::1");
    assert_int_equal(conf.listen_port, 7077);
    assert_says("listen: \"[::1]:7077\"\n");
    accept("listen: node-1.example.org:0");
    assert_string_equal(conf.listen_host, "node-1.example.org");
    assert_int_equal(conf.listen_port, 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)snprintf(text, sizeof(text), "listen: \"%s\"", bad[i]);
        assert_int_equal(parse(text), ERR_INVALID);
        assert_non_null(strstr(err.msg, "is no host:port; write one like"));
    }
}

static void wrong_values_are_told_where_what_and_how(void **state)
{
    (void)state;
    refuse("registry:\n  session-timeout: 10\n",
           "f.yaml:2: registry.session-timeout: \"10\" is no duration: the "
           "unit is missing; write one like 250ms, 30s, 10m or 2h\n");
    refuse("registry: {session-timeout: 5ms}",
           "f.yaml:1: registry.session-timeout: 5ms is out of range; choose "
           "from 500ms to 1h\n");
    refuse("http: {threads: many}",
           "f.yaml:1: http.threads: \"many\" is no whole number; write one "
           "from 0 to 256\n");
    refuse("http: {threads: 1000}", "f.yaml:1: http.threads: 1000 is out of "
                                    "range; choose from 0 to 256\n");
    refuse("failover: {brake: {share: 1.5}}",
           "f.yaml:1: failover.brake.share: 1.5 is out of range; choose from "
           "0 to 1\n");
    refuse("balancer: {cpu-max: NaN}", "f.yaml:1: balancer.cpu-max: \"NaN\" "
                                       "is no number; write one from 0 to 1\n");
    refuse("failover: {enabled: maybe}",
           "f.yaml:1: failover.enabled: \"maybe\" is neither true nor false; "
           "write one of them\n");
    refuse("log: {level: loud}", "f.yaml:1: log.level: \"loud\" is unknown; "
                                 "choose error, warn, info or debug\n");
    refuse("registry: {type: consul}",
           "f.yaml:1: registry.type: \"consul\" is unknown; choose sqlite, "
           "zookeeper, etcd or jdbc\n");
    refuse(
        "registry: {namespace: a/b}",
        "f.yaml:1: registry.namespace: \"a/b\": a namespace with slashes; on "
        "ZooKeeper the part before the last one is a chroot: "
        "connect-string: host:2181/part, namespace: rest. Elsewhere write a "
        "name without slashes\n");
    refuse("registry: {namespace: 'a b'}",
           "f.yaml:1: registry.namespace: \"a b\": not a name; write up to 64 "
           "bytes "
           "without slashes and blanks, like dolphinscheduler\n");
    refuse("registry: {path: \"\"}",
           "f.yaml:1: registry.path: empty; give it a value\n");
    refuse("registry:\n  path:\n", "f.yaml:2: registry.path: no value; give "
                                   "it one, or remove the line\n");
    refuse("registry: {path: \"a\\x01\"}", "f.yaml:1: registry.path: control "
                                           "character in the value; remove "
                                           "it\n");
    refuse("failover: {master-lock: /lock//x}",
           "f.yaml:1: failover.master-lock: \"/lock//x\": not a registry path; "
           "write one "
           "like /lock/master-failover, without //, . and .. and a slash at "
           "its end\n");
}

static void unknown_keys_are_told_the_nearest(void **state)
{
    (void)state;
    refuse("registry:\n  session-timout: 10s\n",
           "f.yaml:2: registry.session-timout: unknown key; did you mean "
           "registry.session-timeout?\n");
    refuse("registri: {type: sqlite}", "f.yaml:1: registri.type: unknown key; "
                                       "did you mean registry.type?\n");
    refuse("failover: {settleTime: 10s}",
           "f.yaml:1: failover.settleTime: unknown key; did you mean "
           "failover.settle?\n");
    refuse("heartbeat-interval: 10s",
           "f.yaml:1: heartbeat-interval: unknown key; did you mean "
           "balancer.heartbeat-interval?\n");
    refuse("spring:\n  profiles:\n    active: x\n",
           "f.yaml:3: spring.profiles.active: unknown key; remove it, or see "
           "conf/pelorus.yaml for those there are (of DolphinScheduler's files "
           "only the blocks registry and "
           "worker-load-balancer-configuration-properties are taken)\n");
    refuse("spring: {}",
           "f.yaml:1: spring: unknown key; remove it, or see "
           "conf/pelorus.yaml for those there are (of DolphinScheduler's files "
           "only the blocks registry and "
           "worker-load-balancer-configuration-properties are taken)\n");
    refuse("<<: {listen: 'h:1'}",
           "f.yaml:1: <<.listen: unknown key; did you mean listen?\n");
}

static void blocks_and_values_are_not_mixed_up(void **state)
{
    (void)state;
    refuse("registry: sqlite",
           "f.yaml:1: registry: a block of keys, not one value; write its "
           "keys below it, indented\n");
    refuse("listen: {host: h, port: 1}",
           "f.yaml:1: listen: takes one value, not a block; write listen: "
           "VALUE\n");
    refuse("listen: ['h:1']", "f.yaml:1: listen: takes one value, not a list; "
                              "write listen: VALUE\n");
    refuse("groups: gpu", "f.yaml:1: groups: one value or list; write a block "
                          "of names, each with a list of addresses\n");
    refuse("groups: {gpu: {a: b}}",
           "f.yaml:1: groups.gpu: a group is a list of addresses, not a "
           "block; write [\"host:port\", ...]\n");
}

static void groups_are_checked(void **state)
{
    (void)state;
    accept("groups:\n  gpu: \"a:1, b:2\"\n  empty: []\n  none:\n");
    assert_int_equal(conf.n_groups, 3);
    assert_int_equal(conf.groups[0].addresses.n, 2);
    assert_string_equal(conf.groups[0].addresses.items[1], "b:2");
    refuse("groups:\n  gpu:\n    - a:1\n    - a\n    - a:1\n  default: "
           "[b:1]\n  'a b': []\n",
           "f.yaml:4: groups.gpu: \"a\": not host:port; write one like "
           "10.0.0.7:1234 or [::1]:1234\n"
           "f.yaml:5: groups.gpu: \"a:1\" stands there twice; remove one\n"
           "f.yaml:6: groups.default: default is the group of all workers and "
           "needs no list; choose another name\n"
           "f.yaml:7: groups.a b: not a group's name; write one without "
           "blanks, slashes and quotes\n");
}

static void settings_of_a_group_are_checked(void **state)
{
    (void)state;
    refuse(
        "balancer:\n  groups:\n    gpu:\n      cpu-max: 1.5\n"
        "      warm-up: 10\n      memory-max:\n      disk-max: [0.1]\n"
        "    default: {cpu-max: 0.5}\n    'a b': {cpu-max: 0.5}\n",
        "f.yaml:4: balancer.groups.gpu.cpu-max: 1.5 is out of range; choose "
        "from 0 to 1\n"
        "f.yaml:5: balancer.groups.gpu.warm-up: \"10\" is no duration: the "
        "unit is missing; write one like 250ms, 30s, 10m or 2h\n"
        "f.yaml:6: balancer.groups.gpu.memory-max: no value; give it one, or "
        "remove the line\n"
        "f.yaml:7: balancer.groups.gpu.disk-max: takes one value, not a "
        "list; write balancer.groups.gpu.disk-max: VALUE\n"
        "f.yaml:8: balancer.groups.default.cpu-max: default, the group of "
        "all workers, goes by the settings of balancer itself; set them "
        "there\n"
        "f.yaml:9: balancer.groups.a b.cpu-max: not a group's name; write "
        "one without blanks, slashes and quotes\n");
    refuse("balancer: {groups: {gpu: {cpu-mx: 0.5}}}",
           "f.yaml:1: balancer.groups.gpu.cpu-mx: unknown key; did you mean "
           "cpu-max?\n");
    assert_int_equal(parse("balancer: {groups: {gpu: {policy: RANDOM}}}"),
                     ERR_INVALID);
    assert_non_null(
        strstr(buf_text(&problems),
               "f.yaml:1: balancer.groups.gpu.policy: holds for all groups; "
               "set balancer.policy, and of a group cpu-max, memory-max, "));
    assert_int_equal(parse("balancer: {groups: {gpu: {colour: red}}}"),
                     ERR_INVALID);
    assert_non_null(strstr(buf_text(&problems),
                           "f.yaml:1: balancer.groups.gpu.colour: unknown key "
                           "(balancer.colour is none, too); a group may have "
                           "of its own cpu-max, memory-max, "));
    assert_int_equal(parse("balancer: {groups: {gpu: 0.5}}"), ERR_INVALID);
    assert_non_null(strstr(buf_text(&problems),
                           "f.yaml:1: balancer.groups.gpu: a block of "
                           "settings, not one value; write its keys below it, "
                           "indented: cpu-max, "));
    refuse("balancer: {groups: gpu}",
           "f.yaml:1: balancer.groups: one value or list; write a block of "
           "names, each with a block of settings\n");
}

static void weights_of_a_group_are_all_or_none(void **state)
{
    (void)state;
    refuse("balancer:\n  groups:\n    gpu:\n      dynamic-weights:\n"
           "        cpu-usage: 50\n",
           "f.yaml:5: balancer.groups.gpu: dynamic-weights: only 1 of three; "
           "give cpu-usage, memory-usage and task-thread-pool-usage, or "
           "none\n");
    refuse("balancer: {groups: {gpu: {dynamic-weights: {cpu-usage: 50, "
           "memory-usage: 30, task-thread-pool-usage: 30}}}}",
           "f.yaml:1: balancer.groups.gpu: dynamic-weights: the three weights "
           "sum to 110; make them sum to 100\n");
}

static void one_group_in_two_spellings_is_given_twice(void **state)
{
    (void)state;
    refuse("groups:\n  GPU: []\n  gpu: []\n",
           "f.yaml:3: groups.gpu: given already in line 2; keep one of them\n");
    refuse("groups: {Default: []}\n",
           "f.yaml:1: groups.default: default is the group of all workers and "
           "needs no list; choose another name\n");
    refuse("balancer.groups.GPU.cpu-max: 0.5\nbalancer.groups.gpu.cpu-max: "
           "0.6\n",
           "f.yaml:2: balancer.groups.gpu.cpu-max: given already in line 1; "
           "keep one of them\n");
}

static void repetitions_are_refused_in_every_spelling(void **state)
{
    (void)state;
    refuse("log:\n  level: info\n  level: warn\n",
           "f.yaml:3: log.level: given already in line 2; keep one of them\n");
    refuse("log: {level: info}\nlog.level: warn\n",
           "f.yaml:2: log.level: given already in line 1; keep one of them\n");
    refuse("registry:\n  type: zookeeper\n  session-timeout: 9s\n"
           "  zookeeper:\n    connect-string: a:1\n    session-timeout: 8s\n",
           "f.yaml:6: registry.zookeeper.session-timeout: means the same as "
           "registry.session-timeout in line 3; keep one of them\n");
    refuse("balancer: {policy: ledger}\n"
           "worker-load-balancer-configuration-properties: {type: RANDOM}\n",
           "f.yaml:2: worker-load-balancer-configuration-properties.type: "
           "means the same as balancer.policy in line 1; keep one of them\n");
}

static void the_environment_fills_in_values(void **state)
{
    (void)state;
    assert_int_equal(setenv("PELORUS_T_A", "alpha", 1), 0);
    assert_int_equal(setenv("PELORUS_T_B", "${PELORUS_T_A}: [x", 1), 0);
    assert_int_equal(setenv("PELORUS_T_EMPTY", "", 1), 0);
    assert_int_equal(unsetenv("PELORUS_T_NO"), 0);
    accept("registry: {path: \"/x/${PELORUS_T_A}.${PELORUS_T_NO:db}\"}");
    assert_string_equal(conf.registry.path, "/x/alpha.db");
    /* What the environment says is a value: never YAML, never expanded. */
    accept("registry: {path: \"${PELORUS_T_B}\"}");
    assert_string_equal(conf.registry.path, "${PELORUS_T_A}: [x");
    accept("registry: {path: \"${PELORUS_T_NO:${PELORUS_T_A}}\"}\n"
           "advertise: \"${PELORUS_T_EMPTY}\"\n"
           "failover: {hook: \"$${X} $Y }\", grace: \"${PELORUS_T_NO:2}s\"}");
    assert_string_equal(conf.registry.path, "alpha");
    assert_null(conf.advertise);
    assert_string_equal(conf.failover.hook, "${X} $Y }");
    assert_int_equal(conf.failover.grace_ms, 2000);
    accept("groups: {g: ['${PELORUS_T_A}:1', 'h:${PELORUS_T_NO:2}']}");
    assert_string_equal(conf.groups[0].addresses.items[0], "alpha:1");
    refuse("log:\n  level: ${PELORUS_T_NO}\n",
           "f.yaml:2: log.level: the environment variable PELORUS_T_NO is not "
           "set; set it, or give a default: ${PELORUS_T_NO:value}; a plain "
           "${PELORUS_T_NO} is written $${PELORUS_T_NO}\n");
    refuse("registry: {path: \"${PELORUS_T_A\"}",
           "f.yaml:1: registry.path: ${ without its }; close it, or write $${ "
           "for a plain ${\n");
    refuse("registry: {path: \"${a b}\"}",
           "f.yaml:1: registry.path: ${...} without a variable's name in it; "
           "write ${NAME}, ${NAME:default}, or $${ for a plain ${\n");
}

static void timing_rules_are_kept(void **state)
{
    (void)state;
    /* No liveness hangs on the heartbeat's interval. */
    accept("registry: {session-timeout: 10s}\nbalancer: {heartbeat-interval: "
           "10s}");
    refuse("registry:\n  type: jdbc\n  session-timeout: 5s\n"
           "  hikari-config: {jdbc-url: 'jdbc:postgresql://h/d'}\n",
           "f.yaml:3: registry.session-timeout: 5s is below 3 x "
           "registry.heartbeat-refresh-interval (3s); raise it to 9s or more, "
           "or shorten the interval\n");
    refuse("registry: {session-timeout: 30s}\nwork: {keep: 1m}\n",
           "f.yaml:2: work.keep: 1m is not more than twice "
           "registry.session-timeout (30s); raise it above 1m\n");
    refuse("failover: {brake: {window: 90s}}\nwork: {forget-after: 90s}\n",
           "f.yaml:2: work.forget-after: 90s is not longer than "
           "failover.brake.window (90s); raise it above that\n");
    accept("failover: {brake: {window: 90s}}\nwork: {forget-after: 91s}\n");
    refuse("balancer:\n  dynamic-weights: {cpu-usage: 50}\n",
           "f.yaml:2: balancer.dynamic-weights.cpu-usage: the three weights "
           "sum to 120; make them sum to 100\n");
    accept("registry:\n  type: jdbc\n  session-timeout: 9s\n"
           "  hikari-config: {jdbc-url: 'jdbc:postgresql://h/d'}\n");
    refuse("registry:\n  type: jdbc\n  session-timeout: 8999ms\n"
           "  hikari-config: {jdbc-url: 'jdbc:postgresql://h/d'}\n",
           "f.yaml:3: registry.session-timeout: 8999ms is below 3 x "
           "registry.heartbeat-refresh-interval (3s); raise it to 9s or more, "
           "or shorten the interval\n");
}

static void settle_is_the_session_timeout_unless_given(void **state)
{
    (void)state;
    accept("registry: {session-timeout: 7s}");
    assert_int_equal(conf.failover.settle_ms, 7000);
    accept("registry: {session-timeout: 7s}\nfailover: {settle: 0s}");
    assert_int_equal(conf.failover.settle_ms, 0);
}

static void all_problems_are_told_at_once(void **state)
{
    (void)state;
    refuse("listen: x\nlog: {level: loud, colour: red}\nwork: {keep: 3}\n",
           "f.yaml:1: listen: \"x\" is no host:port; write one like "
           "10.0.0.7:1234 or [::1]:1234, port 0 to 65535\n"
           "f.yaml:2: log.level: \"loud\" is unknown; choose error, warn, "
           "info or debug\n"
           "f.yaml:2: log.colour: unknown key; in log stand file, level and "
           "format\n"
           "f.yaml:3: work.keep: \"3\" is no duration: the unit is missing; "
           "write one like 250ms, 30s, 10m or 2h\n");
}

/* Said as it is: not "no number" of one that is too large. */
static void a_wrong_number_is_told_what_is_wrong_with_it(void **state)
{
    static const struct {
        const char *text, *what;
    } bad[] = {
        {"99999999999999999999s", "longer than 10 years"},
        {"4000d", "below 10 years"},
        {"60 s", "a blank in it"},
        {"6 0s", "a blank in it"},
        {" 60s", "a blank in it"},
        {"60s ", "a blank in it"},
        {"-5s", "it is negative"},
        {"1.s", "no digits behind the point"},
        {"1,5s", "its unit is unknown"},
        {"30sec", "its unit is unknown"},
        {"sixty", "no number"},
        {"60", "the unit is missing"},
    };
    char text[96];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)snprintf(text, sizeof(text), "work: {keep: \"%s\"}", bad[i].text);
        assert_int_equal(parse(text), ERR_INVALID);
        if (strstr(err.msg, bad[i].what) == NULL ||
            strstr(err.msg, "write one like") == NULL)
            fail_msg("%s: %s", bad[i].text, err.msg);
    }
    refuse("http: {threads: 99999999999999999999}",
           "f.yaml:1: http.threads: 99999999999999999999 is out of range; "
           "choose from 0 to 256\n");
    refuse("http: {threads: -1}", "f.yaml:1: http.threads: -1 is out of range; "
                                  "choose from 0 to 256\n");
    refuse("balancer: {cpu-max: -0.1}",
           "f.yaml:1: balancer.cpu-max: -0.1 is out of range; choose from 0 to "
           "1\n");
}

static void what_java_takes_and_we_cannot_names_the_way_out(void **state)
{
    (void)state;
    assert_int_equal(parse("registry: {type: zookeeper, zookeeper: "
                           "{connect-string: 'h:1', namespace: a/b}}"),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "chroot: connect-string: host:2181/part"));
    assert_int_equal(parse("registry: {type: zookeeper, zookeeper: "
                           "{connect-string: 'h:1/ds/'}}"),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "leave it out"));
    assert_int_equal(parse("registry: {type: jdbc, session-timeout: 60s}"),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "spring.datasource"));
    refuse("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:mysql://h/d', catalog: e}}",
           "f.yaml:1: registry.hikari-config.catalog: cannot be taken; name "
           "the database in jdbc-url\n");
    refuse("registry: {type: jdbc, hikariConfig: {jdbcUrl: 'jdbc:mysql://h/d',"
           " dataSourceProperties: {useSSL: false}}}",
           "f.yaml:1: registry.hikari-config.data-source-properties: cannot be "
           "taken; write them behind a '?' in jdbc-url\n");
    refuse("registry: {type: zookeeper, zookeeper: {connectString: 'h:1',\n"
           "  connect-string: 'i:1'}}",
           "f.yaml:2: registry.zookeeper.connect-string: given already in line "
           "1; keep one of them\n");
    refuse("registry: {type: zookeeper, zookeeper: {connectString: 'h:1', "
           "sessionTimeout: 30}}",
           "f.yaml:1: registry.zookeeper.session-timeout: 30 (milliseconds) is "
           "out of range; choose from 500ms to 1h\n");
    refuse("registry: {sessionTimeout: 30000}",
           "f.yaml:1: registry.session-timeout: \"30000\" is no duration: the "
           "unit is missing; write one like 250ms, 30s, 10m or 2h\n");
}

static void what_is_accepted_and_not_done_is_remarked(void **state)
{
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    accept("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:postgresql://h/d?sslMode=require&gssEncMode=require'}}");
    conf_remarks(&conf, &out);
    assert_string_equal(
        buf_text(&out),
        "f.yaml: registry.hikari-config.jdbc-url: sslMode: the driver does not "
        "know it in this spelling and overlooks it, and so is done here; write "
        "sslmode\n"
        "f.yaml: registry.hikari-config.jdbc-url: gssEncMode: has no "
        "equivalent "
        "here and is not taken\n");
    buf_reset(&out);
    conf_close(&conf);
    accept("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:mysql://h/d?useSSL=false'}}");
    conf_remarks(&conf, &out);
    assert_string_equal(buf_text(&out), "");
    buf_close(&out);
}

static void secrets_are_never_shown(void **state)
{
    char *text;

    (void)state;
    accept("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:mysql://h/d?user=u&password=geheim&x=1', password: "
           "geheim}}");
    text = printed(&conf);
    assert_null(strstr(text, "geheim"));
    assert_non_null(strstr(text, "registry.hikari-config.password: \"***\""));
    assert_non_null(strstr(text, "password=***&x=1"));
    mem_free(text);
    conf_close(&conf);
    accept("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:mysql://u:geheim@h/d?Password=geheim;x=1'}}");
    text = printed(&conf);
    assert_null(strstr(text, "geheim"));
    mem_free(text);
    conf_close(&conf);
    refuse("registry: {type: jdbc, hikari-config: {jdbc-url: "
           "'jdbc:mysql://h,a=b:1/d'}}\n",
           "f.yaml:1: registry.hikari-config.jdbc-url: host 2 holds a '='; a "
           "host is a name or an address, with a port behind a colon; write "
           "jdbc:mysql://host:3306/database\n");
    assert_int_equal(parse("registry: {type: jdbc, hikari-config: {jdbc-url: "
                           "'jdbc:postgresql://u:geheim@h/d'}}"),
                     ERR_INVALID);
    assert_null(strstr(buf_text(&problems), "geheim"));
    accept("registry: {type: zookeeper, zookeeper: {connect-string: 'a:1', "
           "digest: 'u:geheim'}}");
    text = printed(&conf);
    assert_null(strstr(text, "geheim"));
    mem_free(text);
    conf_close(&conf);
    assert_int_equal(parse("registry: {type: jdbc, hikari-config: {jdbc-url: "
                           "'mysql://u:geheim@h', password: \"geheim\\n\"}}"),
                     ERR_INVALID);
    assert_null(strstr(buf_text(&problems), "geheim"));
    assert_int_equal(parse("registry: {type: etcd, endpoints: "
                           "'http://u:geheim@h:1'}"),
                     ERR_INVALID);
    assert_null(strstr(buf_text(&problems), "geheim"));
}

static void broken_yaml_is_refused_with_its_line(void **state)
{
    static const struct {
        const char *text;
        const char *start;
    } bad[] = {
        {"log:\n\tlevel: info\n", "f.yaml:2: a tab indents this line"},
        {"log:\n  level: info\n \tx: y\n", "f.yaml:3: a tab indents"},
        {"a: b: c\n", "f.yaml:1: not YAML: mapping values are not allowed"},
        {"log: {level: info\n", "f.yaml:2: not YAML: did not find expected"},
        {"log: \"x\n\n", "f.yaml:3: not YAML: found unexpected end"},
        {"log: @x\n", "f.yaml:1: not YAML: found character that cannot"},
        {"# \xff\n", "f.yaml:1: not UTF-8 text"},
        {"\n\nlog: \x01\n", "f.yaml:3: not UTF-8 text"},
        {"a: &x 1\n", "f.yaml:1: a: anchors (&), aliases (*)"},
        {"a: *x\n", "f.yaml:1: a: anchors (&), aliases (*)"},
        {"a: !!str 1\n", "f.yaml:1: a: anchors (&), aliases (*)"},
        {"log: {level: info}\n---\nlog: {}\n", "f.yaml:2: a second document"},
        {"- a\n", "f.yaml:1: a list where a key belongs"},
        {"just text\n", "f.yaml:1: a lone value"},
        {"[a]: b\n", "f.yaml:1: a list where a key belongs"},
        {"{a: b}: c\n", "f.yaml:1: a block where a key belongs"},
        {"groups: {g: [[a]]}\n", "f.yaml:1: groups.g: a list in a list"},
        {"groups: {g: [{a: b}]}\n", "f.yaml:1: groups.g: a block in a list"},
        {"'': x\n", "f.yaml:1: an empty key"},
        {"\"a\\0b\": x\n", "f.yaml:1: NUL character"},
        {"listen: \"a\\0b\"\n", "f.yaml:1: listen: NUL character"},
        {"\"a\\nb\": x\n", "f.yaml:1: a?b: control character in a key"},
        {"a: {b: {c: {d: {e: {f: {g: {h: {i: j}}}}}}}}\n",
         "f.yaml:1: a.b.c.d.e.f.g.h: nested too deeply"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(parse(bad[i].text), ERR_INVALID);
        if (strncmp(err.msg, bad[i].start, strlen(bad[i].start)) != 0)
            fail_msg("%s\n%s", bad[i].text, err.msg);
    }
}

/* Laughs and floods end soon: time and problems are bounded. */
static void hostile_files_are_refused_quickly(void **state)
{
    struct buf b;

    (void)state;
    buf_init(&b, 2 * CONF_FILE_MAX);
    for (size_t i = 0; i < CONF_FILE_MAX; i++)
        buf_char(&b, '[');
    assert_int_equal(conf_parse(&conf, "f", b.data, b.len, &problems, &err),
                     ERR_INVALID);
    buf_char(&b, '[');
    assert_int_equal(conf_parse(&conf, "f", b.data, b.len, &problems, &err),
                     ERR_INVALID);
    assert_string_equal(err.msg, "f: larger than 1MiB; this is no "
                                 "configuration");
    buf_reset(&b);
    buf_str(&b, "registry:\n");
    for (unsigned i = 0; i < 9000; i++)
        buf_printf(&b, "  k%u: v\n", i);
    buf_reset(&problems);
    assert_int_equal(conf_parse(&conf, "f", b.data, b.len, &problems, &err),
                     ERR_INVALID);
    for (unsigned i = 0; i < 9000; i++)
        buf_printf(&b, "  k%u: v\n", i);
    buf_reset(&problems);
    assert_int_equal(conf_parse(&conf, "f", b.data, b.len, &problems, &err),
                     ERR_INVALID);
    assert_non_null(strstr(err.msg, "more than 10000 values"));
    buf_close(&b);
}

static void every_cut_of_the_shipped_file_is_survived(void **state)
{
    struct buf text;
    char piece[4096];
    size_t n;
    FILE *file = fopen("conf/pelorus.yaml", "re");

    (void)state;
    assert_non_null(file);
    buf_init(&text, CONF_FILE_MAX);
    while ((n = fread(piece, 1, sizeof(piece), file)) > 0)
        buf_add(&text, piece, n);
    (void)fclose(file);
    for (size_t cut = 0; cut < text.len; cut += 7) {
        char *copy = mem_dup(text.data, cut);

        buf_reset(&problems);
        if (conf_parse(&conf, "f", copy, cut, &problems, &err) == 0)
            conf_close(&conf);
        else
            assert_true(problems.len > 0);
        mem_free(copy);
    }
    buf_close(&text);
}

static void files_that_cannot_be_read_are_named(void **state)
{
    char name[] = "/tmp/test_conf.XXXXXX", path[64];
    int fd = mkstemp(name);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(conf_load(&conf, "/nonexistent/x", &problems, &err),
                     ERR_NOT_FOUND);
    assert_string_equal(err.msg,
                        "/nonexistent/x: no such file; name one with -c");
    assert_int_equal(conf_load(&conf, "/tmp", &problems, &err), ERR_IO);
    assert_string_equal(err.msg, "/tmp: a directory; name a file");
    assert_int_equal(ftruncate(fd, (off_t)CONF_FILE_MAX + 1), 0);
    assert_int_equal(conf_load(&conf, name, NULL, &err), ERR_TOO_LARGE);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, "log: 1\n", 7, 0), 7);
    assert_int_equal(conf_load(&conf, name, NULL, &err), ERR_INVALID);
    (void)snprintf(path, sizeof(path), "%s:1: log: ", name);
    assert_memory_equal(err.msg, path, strlen(path));
    if (geteuid() != 0) {
        assert_int_equal(fchmod(fd, 0), 0);
        assert_int_equal(conf_load(&conf, name, NULL, &err), ERR_DENIED);
    }
    (void)close(fd);
    (void)unlink(name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(listen_takes_hosts_and_both_kinds_of_address),
        TEST(wrong_values_are_told_where_what_and_how),
        TEST(unknown_keys_are_told_the_nearest),
        TEST(blocks_and_values_are_not_mixed_up),
        TEST(groups_are_checked),
        TEST(settings_of_a_group_are_checked),
        TEST(weights_of_a_group_are_all_or_none),
        TEST(one_group_in_two_spellings_is_given_twice),
        TEST(repetitions_are_refused_in_every_spelling),
        TEST(the_environment_fills_in_values),
        TEST(timing_rules_are_kept),
        TEST(settle_is_the_session_timeout_unless_given),
        TEST(all_problems_are_told_at_once),
        TEST(a_wrong_number_is_told_what_is_wrong_with_it),
        TEST(what_java_takes_and_we_cannot_names_the_way_out),
        TEST(what_is_accepted_and_not_done_is_remarked),
        TEST(secrets_are_never_shown),
        TEST(broken_yaml_is_refused_with_its_line),
        TEST(hostile_files_are_refused_quickly),
        TEST(every_cut_of_the_shipped_file_is_survived),
        TEST(files_that_cannot_be_read_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
