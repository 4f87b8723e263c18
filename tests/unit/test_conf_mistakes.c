/*
 * test_conf_mistakes.c - what operators type wrong in a configuration, and the
 * words of the answer that take them further: the thing, its place, and what to
 * write instead.
 */
#include "tests/unit/conf_helpers.h"

#define ZK(rest)                                                               \
    "registry: {type: zookeeper, zookeeper: {connect-string: " rest "}}"
#define ETCD(rest) "registry: {type: etcd, endpoints: " rest "}"
#define JDBC(url)  "registry: {type: jdbc, hikari-config: {jdbc-url: '" url "'}}"

struct mistake {
    const char *text;
    const char *words[3]; /* all of them, in one line of the report */
};

static bool holds_all(const char *line, size_t len, const struct mistake *m)
{
    char *copy = mem_strndup(line, len);
    bool all = true;

    for (size_t i = 0; i < ARRAY_LEN(m->words) && m->words[i] != NULL; i++)
        all = all && strstr(copy, m->words[i]) != NULL;
    mem_free(copy);
    return all;
}

static void assert_told(const char *report, const struct mistake *m)
{
    for (const char *line = report; *line != '\0';) {
        size_t len = strcspn(line, "\n");

        if (holds_all(line, len, m))
            return;
        line += len + 1;
    }
    fail_msg("%s\nis answered\n%s", m->text, report);
}

static void what_is_wrong_names_the_way_out(void **state)
{
    static const struct mistake mistakes[] = {
        /* the text */
        {"listen:127.0.0.1:7077\n",
         {"f.yaml:1", "\"listen:", "behind the ':'"}},
        {"listen = h:1\n", {"f.yaml:1", "\"listen = h:1\"", "\"key: value\""}},
        {"listen:\xc2\xa0h:1\n", {"f.yaml:1", "plain blanks"}},
        {"log:\n\xc2\xa0 level: info\n", {"f.yaml:2", "no-break"}},
        {"log:\n\tlevel: info\n", {"f.yaml:2", "a tab", "use blanks"}},
        {"listen: *:7077\n", {"f.yaml:1", "'*' stands in quotes"}},
        {"listen: \"h:1\nlog:\n  level: info\n", {"begins in line 1"}},
        {"listen: h:1\nlisten: h:2\n", {"f.yaml:2: listen", "line 1"}},
        {"log: {level: info}\nlog: {format: text}\n", {"f.yaml:2: log"}},
        /* names and places */
        {"registry: {sqlite: {path: x}}", {"did you mean registry.path?"}},
        {"registry: {url: 'jdbc:mysql://h/d'}",
         {"registry.url", "registry.hikari-config.jdbc-url"}},
        {"spring: {application: {name: x}}", {"remove it", "registry and"}},
        {"failover: {hookTimeout: 5s}", {"failover.hook-timeout?"}},
        {"registry: {zookeeper: {connect-string: 'h:1'}}",
         {"registry.type", "add it"}},
        /* values */
        {"registry: {type: mysql}", {"registry.type: \"mysql\"", "jdbc-url"}},
        {"registry: {type: Postgres}", {"choose jdbc"}},
        {"registry: {type: redis}", {"\"redis\"", "etcd or jdbc"}},
        {"listen: ':7077'", {"\":7077\"", "0.0.0.0 as host"}},
        {"listen: '*:7077'", {"\"*:7077\"", "0.0.0.0 as host"}},
        {"advertise: 'http://c:1/'", {"advertise: \"http://c:1/\"", "like"}},
        {"advertise: 0.0.0.0:7077", {"\"0.0.0.0:7077\"", "others reach it"}},
        {"advertise: '[::]:7077'", {"others reach it"}},
        {"groups: {g: ['a:1', b]}", {"groups.g: \"b\"", "not host:port"}},
        {"groups: {g: ['0.0.0.0:1']}", {"groups.g", "others reach it"}},
        {"failover: {hook-kinds: masters}", {"\"masters\"", "write master"}},
        {"failover: {hook: 'm ${PELORUS_ADDRESS}'}",
         {"failover.hook", "PELORUS_ADDRESS is not set",
          "$${PELORUS_ADDRESS}"}},
        {"failover: {master-lock: lock/x}", {"\"lock/x\"", "/lock/master"}},
        {"registry: {path: ~/p.db}", {"registry.path: \"~/p.db\"", "${HOME}"}},
        {"registry: {path: $HOME/p.db}", {"$NAME is a shell's", "${NAME}"}},
        {"registry: {path: 'jdbc:sqlite:/x'}", {"without a scheme"}},
        {"registry: {path: 'file:/x?mode=ro'}", {"without a scheme"}},
        {"registry: {path: ':memory:'}", {"no file's name"}},
        {"log: {file: ~/x.log}", {"log.file", "${HOME}"}},
        {"log: {file: a}\nregistry: {path: a}",
         {"f.yaml:1: log.file", "registry.path", "another file"}},
        {"state-dir: ~/x", {"state-dir", "${HOME}"}},
        {"log: {level: warning}", {"\"warning\"", "error, warn"}},
        {"balancer: {cpu-max: 80%}", {"\"80%\"", "from 0 to 1"}},
        /* connections */
        {ZK("'h:1', digest: geheim"), {"zookeeper.digest", "user:password"}},
        {ZK("'h:1;i:1'"), {"\"h:1;i:1\"", "host:2181,host:2181"}},
        {ZK("'h:1/a,i:1/a'"), {"\"h:1/a,i:1/a\"", "once, at the end"}},
        {ZK("'http://h:1'"), {"\"http://h:1\"", "host:2181,host:2181"}},
        {ETCD("'h:2379'"), {"\"h:2379\"", "http://host:2379"}},
        {ETCD("'http://h:1/v3'"), {"\"http://h:1/v3\"", "http://host:2379"}},
        {ETCD("'http://h:1', password: geheim"),
         {"registry.password", "without registry.user"}},
        {ETCD("'http://h:1', key-file: a"), {"registry.key-file", "both"}},
        {ETCD("'http://h:1', cert-file: ~/a"), {"cert-file", "${HOME}"}},
        {JDBC("jdbc:mysql://h/d?sslMode=on"), {"sslMode is none of disabled"}},
        {JDBC("jdbc:mysql://h/d?connectTimeout=9s"), {"of milliseconds"}},
        {JDBC("jdbc:oracle:thin:@h:1:x"), {"write jdbc:mysql://"}},
        {"registry: {type: jdbc, key-file: a, hikari-config: {jdbc-url: "
         "'jdbc:mysql://h/d'}}",
         {"registry.key-file", "both or none"}},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        assert_int_equal(parse(mistakes[i].text), ERR_INVALID);
        assert_told(buf_text(&problems), &mistakes[i]);
        assert_null(strstr(buf_text(&problems), "geheim"));
    }
}

/* It starts, and says what it overlooks. */
static void what_is_overlooked_is_remarked(void **state)
{
    static const struct mistake mistakes[] = {
        {JDBC("jdbc:mysql://h/d?sslMod=REQUIRED"), {"sslMod:", "sslMode?"}},
        {JDBC("jdbc:postgresql://h/d?curentSchema=x"), {"currentSchema?"}},
        {JDBC("jdbc:mysql://h/d?connectionTimeout=9"), {"connectTimeout?"}},
        {JDBC("jdbc:postgresql://h/d?useSSL=true"),
         {"useSSL:", "another driver's", "write sslmode"}},
        {JDBC("jdbc:mysql://h/d?useSSL=true&amp;user=x"), {"amp;user", "'&'"}},
        {JDBC("jdbc:mysql://h/d??useSSL=true"), {"?useSSL", "one '?'"}},
        {"registry: {type: jdbc, hikari-config: {password: ENC(abc), jdbc-url: "
         "'jdbc:mysql://h/d'}}",
         {"ENC(...)", "${VARIABLE}"}},
        {ETCD("'http://h:1', cert-file: ca.pem"), {"cert-file", "https://"}},
    };
    static const char *const silent[] = {
        JDBC("jdbc:mysql://h/d?useUnicode=true&characterEncoding=UTF-8&"
             "serverTimezone=UTC&allowPublicKeyRetrieval=true&useSSL=false&"
             "rewriteBatchedStatements=true&zeroDateTimeBehavior=convertToNull&"
             "autoReconnect=true&allowMultiQueries=true&maxAllowedPacket=1"),
        JDBC("jdbc:postgresql://h/d?readOnlyMode=ignore&socketFactoryArg=x&"
             "tcpKeepAlive=true&prepareThreshold=0&reWriteBatchedInserts=true&"
             "stringtype=unspecified&sslResponseTimeout=1&sslNegotiation=x&"
             "cancelSignalTimeout=1&hostRecheckSeconds=1&loadBalanceHosts=x"),
        JDBC("jdbc:mariadb://h/d?keyStoreType=x&trustStoreType=x&keyPassword=x&"
             "useServerPrepStmts=false&maxQuerySizeToLog=1&useCompression=x"),
    };
    struct buf out;

    (void)state;
    buf_init(&out, 8192);
    for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
        accept(mistakes[i].text);
        buf_reset(&out);
        conf_remarks(&conf, &out);
        assert_told(buf_text(&out), &mistakes[i]);
    }
    /* Drivers have more parameters than we know. */
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        accept(silent[i]);
        buf_reset(&out);
        conf_remarks(&conf, &out);
        assert_string_equal(buf_text(&out), "");
    }
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_wrong_names_the_way_out),
        TEST(what_is_overlooked_is_remarked),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
