/*
 * conf_table.c - the table of keys.
 *
 * A key exists because it has a row here and for no other reason. Keys of
 * DolphinScheduler's blocks stand under their own names: where one means what
 * a key of ours means, its row has the same field and is marked as an alias.
 */
#include "conf/conf_priv.h"
#include "conf/text.h"

#include "base/mem.h"

#include <ctype.h>
#include <string.h>

#define AT(field) offsetof(struct conf, field)
#define SQLITE    CONF_FOR(CONF_SQLITE)
#define ZOOKEEPER CONF_FOR(CONF_ZOOKEEPER)
#define ETCD      CONF_FOR(CONF_ETCD)
#define JDBC      CONF_FOR(CONF_JDBC)

#define SECOND 1e3
#define MINUTE 60e3
#define HOUR   3600e3
#define DAY    86400e3

/* clang-format off */
#define ROW(path, type, field, otherwise, min, max, names, check, registries,  \
            flags)                                                             \
    {path, CONF_KEY_##type, AT(field), otherwise, min, max, names, check,      \
     registries, flags, NULL}
#define STRING(path, field, otherwise, check, registries, flags)               \
    ROW(path, STRING, field, otherwise, 0, 0, NULL, check, registries, flags)
#define DURATION(path, field, otherwise, min, max, registries, flags)          \
    ROW(path, DURATION, field, otherwise, min, max, NULL, NULL, registries, flags)
#define UINT(path, field, otherwise, min, max, registries, flags)              \
    ROW(path, UINT, field, otherwise, min, max, NULL, NULL, registries, flags)
#define SIZE(path, field, otherwise, min, max)                                 \
    ROW(path, SIZE, field, otherwise, min, max, NULL, NULL, CONF_FOR_ALL, 0)
#define NUMBER(path, field, otherwise, min, max, flags)                        \
    ROW(path, NUMBER, field, otherwise, min, max, NULL, NULL, CONF_FOR_ALL, flags)
#define BOOL(path, field, otherwise)                                           \
    ROW(path, BOOL, field, otherwise, 0, 0, NULL, NULL, CONF_FOR_ALL, 0)
#define ENUM(path, field, otherwise, names, flags)                             \
    ROW(path, ENUM, field, otherwise, 0, 0, names, NULL, CONF_FOR_ALL, flags)
#define IGNORED(path, registries)                                              \
    {path, CONF_KEY_IGNORED, 0, NULL, 0, 0, NULL, NULL, registries, 0, NULL}
#define REFUSED(path, registries, advice)                                      \
    {path, CONF_KEY_REFUSED, 0, NULL, 0, 0, NULL, NULL, registries, 0, advice}
/* clang-format on */

static const char *const registry_types[] = {
    [CONF_SQLITE] = "sqlite",       [CONF_MEMORY] = "memory",
    [CONF_ZOOKEEPER] = "zookeeper", [CONF_ETCD] = "etcd",
    [CONF_JDBC] = "jdbc",           NULL};
static const char *const policies[] = {
    [CONF_LEDGER] = "ledger",
    [CONF_RANDOM] = "RANDOM",
    [CONF_ROUND_ROBIN] = "ROUND_ROBIN",
    [CONF_FIXED_WEIGHTED_ROUND_ROBIN] = "FIXED_WEIGHTED_ROUND_ROBIN",
    [CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN] = "DYNAMIC_WEIGHTED_ROUND_ROBIN",
    NULL};
static const char *const busy_rules[] = {
    [CONF_BUSY_EXCLUDE] = "exclude", [CONF_BUSY_LAST] = "last", NULL};
static const char *const renewals[] = {[CONF_RENEWALS_SINGLE] = "single",
                                       [CONF_RENEWALS_GROUPED] = "grouped",
                                       NULL};
static const char *const shadows[] = {
    [CONF_SHADOW_OFF] = "off",
    [CONF_SHADOW_OF + CONF_LEDGER] = "ledger",
    [CONF_SHADOW_OF + CONF_RANDOM] = "RANDOM",
    [CONF_SHADOW_OF + CONF_ROUND_ROBIN] = "ROUND_ROBIN",
    [CONF_SHADOW_OF + CONF_FIXED_WEIGHTED_ROUND_ROBIN] =
        "FIXED_WEIGHTED_ROUND_ROBIN",
    [CONF_SHADOW_OF + CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN] =
        "DYNAMIC_WEIGHTED_ROUND_ROBIN",
    NULL};
static const char *const levels[] = {[LOG_ERROR] = "error",
                                     [LOG_WARN] = "warn",
                                     [LOG_INFO] = "info",
                                     [LOG_DEBUG] = "debug",
                                     NULL};
static const char *const formats[] = {
    [LOG_TEXT] = "text", [LOG_JSON] = "json", NULL};

#define BALANCING "worker-load-balancer-configuration-properties"
#define WEIGHTS   BALANCING ".dynamic-weight-config-properties"
#define HIKARI    "registry.hikari-config"
#define ZK        "registry.zookeeper"

/* clang-format off */
const struct conf_key conf_keys[] = {
ROW("listen", LISTEN, listen_host, "127.0.0.1:7077", 0, 0, NULL, NULL,
    CONF_FOR_ALL, 0),
STRING("advertise", advertise, NULL, conf_check_address, CONF_FOR_ALL,
    CONF_OPTIONAL),
STRING("state-dir", state_dir, NULL, conf_check_file, CONF_FOR_ALL,
    CONF_OPTIONAL),

ENUM("registry.type", registry.type, "sqlite", registry_types, 0),
STRING("registry.namespace", registry.namespace_, "dolphinscheduler",
    conf_check_namespace, CONF_FOR_ALL, 0),
DURATION("registry.session-timeout", registry.session_timeout_ms, "10s", 500,
    HOUR, CONF_FOR_ALL, CONF_BARE_MS),
DURATION("registry.connection-timeout", registry.connect_timeout_ms, "10s", 100,
    HOUR, CONF_FOR_ALL, CONF_BARE_MS),
STRING("registry.path", registry.path, "pelorus.db", conf_check_file, SQLITE,
    0),

STRING(ZK ".connect-string", registry.connect_string, NULL,
    conf_check_connect_string, ZOOKEEPER, 0),
STRING(ZK ".namespace", registry.namespace_, "dolphinscheduler",
    conf_check_namespace, ZOOKEEPER, CONF_ALIAS),
DURATION(ZK ".session-timeout", registry.session_timeout_ms, "60s", 500, HOUR,
    ZOOKEEPER, CONF_ALIAS | CONF_BARE_MS),
DURATION(ZK ".connection-timeout", registry.connect_timeout_ms, "15s", 100,
    HOUR, ZOOKEEPER, CONF_ALIAS | CONF_BARE_MS),
DURATION(ZK ".block-until-connected", registry.block_until_connected_ms, "15s",
    100, HOUR, ZOOKEEPER, CONF_BARE_MS),
DURATION(ZK ".retry-policy.base-sleep-time", registry.retry_base_sleep_ms, "1s",
    1, HOUR, ZOOKEEPER, CONF_BARE_MS),
DURATION(ZK ".retry-policy.max-sleep", registry.retry_max_sleep_ms, "3s", 1,
    HOUR, ZOOKEEPER, CONF_BARE_MS),
UINT(ZK ".retry-policy.max-retries", registry.retry_max_retries, "5", 0, 1000,
    ZOOKEEPER, 0),
STRING(ZK ".digest", registry.digest, NULL, conf_check_digest, ZOOKEEPER,
    CONF_OPTIONAL | CONF_SECRET),

ROW("registry.endpoints", LIST, registry.endpoints, NULL, 0, 0, NULL,
    conf_check_endpoint, ETCD, 0),
DURATION("registry.ttl", registry.session_timeout_ms, "30s", SECOND, HOUR, ETCD,
    CONF_ALIAS | CONF_BARE_MS),
DURATION("registry.retry-delay", registry.retry_delay_ms, "60ms", 1, HOUR, ETCD,
    CONF_BARE_MS),
DURATION("registry.retry-max-delay", registry.retry_max_delay_ms, "300ms", 1,
    HOUR, ETCD, CONF_BARE_MS),
DURATION("registry.retry-max-duration", registry.retry_max_duration_ms,
    "1500ms", 1, HOUR, ETCD, CONF_BARE_MS),
STRING("registry.user", registry.user, NULL, NULL, ETCD, CONF_OPTIONAL),
STRING("registry.password", registry.password, NULL, NULL, ETCD,
    CONF_OPTIONAL | CONF_SECRET),
STRING("registry.authority", registry.authority, NULL, NULL, ETCD,
    CONF_OPTIONAL),
STRING("registry.cert-file", registry.cert_file, NULL, conf_check_file,
    ETCD | JDBC, CONF_OPTIONAL),
STRING("registry.key-cert-chain-file", registry.key_cert_chain_file, NULL,
    conf_check_file, ETCD | JDBC, CONF_OPTIONAL),
STRING("registry.key-file", registry.key_file, NULL, conf_check_file,
    ETCD | JDBC, CONF_OPTIONAL),
IGNORED("registry.load-balancer-policy", ETCD),

DURATION("registry.heartbeat-refresh-interval", registry.heartbeat_refresh_ms,
    "3s", 100, HOUR, JDBC, CONF_BARE_MS),
STRING(HIKARI ".jdbc-url", registry.jdbc_url, NULL, NULL, JDBC, CONF_JDBC_URL),
STRING(HIKARI ".username", registry.user, NULL, NULL, JDBC, CONF_OPTIONAL),
STRING(HIKARI ".password", registry.password, NULL, NULL, JDBC,
    CONF_OPTIONAL | CONF_SECRET),
UINT(HIKARI ".maximum-pool-size", registry.pool_size, "5", 1, 100, JDBC, 0),
DURATION(HIKARI ".connection-timeout", registry.connect_timeout_ms, "9s", 100,
    HOUR, JDBC, CONF_ALIAS | CONF_BARE_MS),
STRING(HIKARI ".schema", registry.dbms_jdbc_schema, NULL, NULL, JDBC,
    CONF_OPTIONAL),
REFUSED(HIKARI ".catalog", JDBC, "name the database in jdbc-url"),
REFUSED(HIKARI ".data-source-class-name", JDBC, "write jdbc-url"),
REFUSED(HIKARI ".data-source-j-n-d-i", JDBC, "write jdbc-url"),
REFUSED(HIKARI ".data-source-properties", JDBC,
    "write them behind a '?' in jdbc-url"),
REFUSED(HIKARI ".url", JDBC, "that is jdbc-url"),
REFUSED(HIKARI ".max-pool-size", JDBC, "that is maximum-pool-size"),
IGNORED(HIKARI ".allow-pool-suspension", JDBC),
IGNORED(HIKARI ".auto-commit", JDBC),
IGNORED(HIKARI ".connection-init-sql", JDBC),
IGNORED(HIKARI ".connection-test-query", JDBC),
IGNORED(HIKARI ".driver-class-name", JDBC),
IGNORED(HIKARI ".exception-override-class-name", JDBC),
IGNORED(HIKARI ".idle-timeout", JDBC),
IGNORED(HIKARI ".initialization-fail-timeout", JDBC),
IGNORED(HIKARI ".keepalive-time", JDBC),
IGNORED(HIKARI ".isolate-internal-queries", JDBC),
IGNORED(HIKARI ".leak-detection-threshold", JDBC),
IGNORED(HIKARI ".max-lifetime", JDBC),
IGNORED(HIKARI ".minimum-idle", JDBC),
IGNORED(HIKARI ".pool-name", JDBC),
IGNORED(HIKARI ".read-only", JDBC),
IGNORED(HIKARI ".register-mbeans", JDBC),
IGNORED(HIKARI ".transaction-isolation", JDBC),
IGNORED(HIKARI ".validation-timeout", JDBC),
IGNORED("registry.term-refresh-interval", JDBC),
IGNORED("registry.term-expire-times", JDBC),

ENUM("balancer.policy", balancer.policy, "ledger", policies, CONF_LIVE),
DURATION("balancer.heartbeat-interval", balancer.heartbeat_interval_ms, "10s",
    100, HOUR, CONF_FOR_ALL, 0),
NUMBER("balancer.cpu-max", balancer.cpu_max, "0.8", 0, 1, CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.memory-max", balancer.memory_max, "0.8", 0, 1, CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.disk-max", balancer.disk_max, "0.9", 0, 1, CONF_LIVE | CONF_PER_GROUP),
ENUM("balancer.busy", balancer.busy, "exclude", busy_rules,
    CONF_LIVE | CONF_PER_GROUP),
DURATION("balancer.warm-up", balancer.warm_up_ms, "60s", 0, HOUR, CONF_FOR_ALL,
    CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.warm-up-aggression", balancer.warm_up_aggression, "1", 0.1, 10,
    CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.dynamic-weights.cpu-usage", balancer.cpu_usage_weight, "30", 0,
    100, CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.dynamic-weights.memory-usage", balancer.memory_usage_weight,
    "30", 0, 100, CONF_LIVE | CONF_PER_GROUP),
NUMBER("balancer.dynamic-weights.task-thread-pool-usage",
    balancer.pool_usage_weight, "40", 0, 100, CONF_LIVE | CONF_PER_GROUP),
ENUM("balancer.shadow", second.shadow, "off", shadows, CONF_LIVE),
ROW("balancer.regret", BOOL, second.regret, "true", 0, 0, NULL, NULL,
    CONF_FOR_ALL, CONF_LIVE),
ROW("balancer.groups", OWN, owns, NULL, 0, 0, NULL, NULL, CONF_FOR_ALL,
    CONF_LIVE),
ENUM(BALANCING ".type", balancer.policy, "ledger", policies, CONF_ALIAS),
NUMBER(WEIGHTS ".cpu-usage-weight", balancer.cpu_usage_weight, "30", 0, 100,
    CONF_ALIAS),
NUMBER(WEIGHTS ".memory-usage-weight", balancer.memory_usage_weight, "30", 0,
    100, CONF_ALIAS),
NUMBER(WEIGHTS ".task-thread-pool-usage-weight", balancer.pool_usage_weight,
    "40", 0, 100, CONF_ALIAS),

STRING("journal", journal, NULL, conf_check_file, CONF_FOR_ALL, CONF_OPTIONAL),
SIZE("journal-size", journal_size, "64MB", 64e3, 1e12),
UINT("journal-files", journal_files, "6", 1, 1000, CONF_FOR_ALL, 0),

ROW("groups", GROUPS, groups, NULL, 0, 0, NULL, conf_check_address,
    CONF_FOR_ALL, CONF_LIVE),

BOOL("failover.enabled", failover.enabled, "true"),
DURATION("failover.grace", failover.grace_ms, "1s", 0, HOUR, CONF_FOR_ALL, 0),
DURATION("failover.settle", failover.settle_ms, NULL, 0, HOUR, CONF_FOR_ALL, 0),
DURATION("failover.reconcile-interval", failover.reconcile_interval_ms, "5s",
    100, HOUR, CONF_FOR_ALL, 0),
STRING("failover.master-lock", failover.master_lock, "/lock/master-failover",
    conf_check_lock_path, CONF_FOR_ALL, 0),
STRING("failover.worker-lock", failover.worker_lock, "/lock/worker-failover",
    conf_check_lock_path, CONF_FOR_ALL, 0),
STRING("failover.alert-server-lock", failover.alert_server_lock,
    "/lock/alert-server-failover", conf_check_lock_path, CONF_FOR_ALL, 0),
BOOL("failover.readmit", failover.readmit, "false"),
/* An item remembers its last five owners, and the one who dies now counts. */
UINT("failover.poison-limit", failover.poison_limit, "3", 1, 6, CONF_FOR_ALL,
    CONF_LIVE),
DURATION("failover.poison-window", failover.poison_window_ms, "10m", SECOND,
    7 * DAY, CONF_FOR_ALL, CONF_LIVE),
STRING("failover.hook", failover.hook, NULL, NULL, CONF_FOR_ALL,
    CONF_OPTIONAL | CONF_LINES),
ROW("failover.hook-kinds", LIST, failover.hook_kinds, "master", 0, 0, NULL,
    conf_check_node_kind, CONF_FOR_ALL, CONF_OPTIONAL),
/* No more than the lock is held at a time. */
DURATION("failover.hook-timeout", failover.hook_timeout_ms, "10s", 100,
    10 * SECOND, CONF_FOR_ALL, 0),
DURATION("failover.brake.window", failover.brake_window_ms, "60s", SECOND, HOUR,
    CONF_FOR_ALL, CONF_LIVE),
NUMBER("failover.brake.share", failover.brake_share, "0.3", 0, 1, CONF_LIVE),
UINT("failover.brake.min", failover.brake_min, "3", 1, 100000, CONF_FOR_ALL,
    CONF_LIVE),

DURATION("work.keep", work_keep_ms, "10m", SECOND, 30 * DAY, CONF_FOR_ALL, 0),
DURATION("work.forget-after", forget_after_ms, "24h", SECOND, 365 * DAY,
    CONF_FOR_ALL, 0),
DURATION("work.collect-interval", collect_interval_ms, "10s", 100, DAY,
    CONF_FOR_ALL, 0),

ENUM("renewals", renewals, "grouped", renewals, CONF_LIVE),

UINT("http.threads", http.threads, "0", 0, 256, CONF_FOR_ALL, 0),
UINT("http.max-connections", http.max_connections, "4096", 1, 1000000,
    CONF_FOR_ALL, 0),
UINT("http.max-connections-per-address", http.max_connections_per_address,
    "256", 1, 1000000, CONF_FOR_ALL, 0),
DURATION("http.request-timeout", http.request_timeout_ms, "30s", 100, HOUR,
    CONF_FOR_ALL, 0),

STRING("log.file", log_file, NULL, conf_check_file, CONF_FOR_ALL,
    CONF_OPTIONAL | CONF_LIVE),
ENUM("log.level", log_level, "info", levels, CONF_LIVE),
ENUM("log.format", log_format, "text", formats, CONF_LIVE),
{0}, /* the end */
};
/* clang-format on */

const size_t conf_n_keys = ARRAY_LEN(conf_keys) - 1;

const struct conf_key *conf_key_find(const char *path)
{
    assert(path != NULL);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++)
        if (strcmp(key->path, path) == 0)
            return key;
    return NULL;
}

bool conf_key_is_own(const struct conf_key *key)
{
    assert(key >= conf_keys && key < conf_keys + conf_n_keys);
    return conf_key_counts(key) && (key->flags & CONF_ALIAS) == 0;
}

/* One name of a path as Spring compares it: letters and digits alone count, and
 * not their case. */
static bool same_name(const char *a, const char *b)
{
    for (;; a++, b++) {
        while (*a != '\0' && *a != '.' && !isalnum((unsigned char)*a))
            a++;
        while (*b != '\0' && *b != '.' && !isalnum((unsigned char)*b))
            b++;
        if (*a == '\0' || *a == '.' || *b == '\0' || *b == '.')
            return (*a == '\0' || *a == '.') && (*b == '\0' || *b == '.');
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
            return false;
    }
}

static bool is_relaxed(const char *path)
{
    return strncmp(path, "registry", 8) == 0 ||
           strncmp(path, BALANCING, strlen(BALANCING)) == 0;
}

/* How the table spells the name at `name`, behind what `known` has of it. */
static const char *spelled(const char *known, const char *name)
{
    size_t len = strlen(known);

    assert(len == 0 || known[len - 1] == '.');
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++)
        if (is_relaxed(key->path) && strncmp(key->path, known, len) == 0 &&
            same_name(key->path + len, name))
            return key->path + len;
    return NULL;
}

char *conf_key_canonical(const char *path)
{
    char known[CONF_PATH_MAX + 1] = "";
    size_t len = 0;

    for (const char *name = path;;) {
        size_t n = strcspn(name, ".");
        const char *ours = spelled(known, name);
        size_t m = ours == NULL ? 0 : strcspn(ours, ".");

        if (ours == NULL || len + m + 2 + strlen(name) > CONF_PATH_MAX)
            return mem_printf("%s%s", known, name);
        memcpy(known + len, ours, m);
        len += m;
        assert(len < CONF_PATH_MAX);
        known[len] = '\0';
        if (name[n] == '\0')
            return mem_strdup(known);
        known[len++] = '.';
        known[len] = '\0';
        name += n + 1;
    }
}

/* DolphinScheduler's own defaults hold for its registries, in both spellings.
 */
const char *conf_key_default(const struct conf_key *key,
                             enum conf_registry_type type)
{
    static const struct {
        enum conf_registry_type type;
        size_t offset;
        const char *text;
    } by_type[] = {
        {CONF_ZOOKEEPER, AT(registry.session_timeout_ms), "60s"},
        {CONF_ZOOKEEPER, AT(registry.connect_timeout_ms), "15s"},
        {CONF_ETCD, AT(registry.session_timeout_ms), "30s"},
        {CONF_ETCD, AT(registry.connect_timeout_ms), "9s"},
        {CONF_JDBC, AT(registry.session_timeout_ms), "60s"},
        {CONF_JDBC, AT(registry.connect_timeout_ms), "9s"},
    };

    assert(key >= conf_keys && key < conf_keys + conf_n_keys);
    assert(type <= CONF_JDBC);
    for (size_t i = 0; i < ARRAY_LEN(by_type); i++)
        if (by_type[i].type == type && by_type[i].offset == key->offset)
            return by_type[i].text;
    return key->otherwise;
}

/* The right name in the wrong place. */
static const char *elsewhere(const char *leaf)
{
    assert(strchr(leaf, '.') == NULL);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        const char *own = strrchr(key->path, '.');

        if (own != NULL && conf_key_counts(key) && strcmp(own + 1, leaf) == 0)
            return key->path;
    }
    return NULL;
}

const char *conf_key_nearest(const char *path)
{
    const char *leaf = strrchr(path, '.'), *nearest = NULL, *other;
    size_t least = strlen(path) / 3 + 1;

    assert(conf_key_find(path) == NULL);
    if (leaf != NULL && strcmp(leaf, ".url") == 0) /* spring.datasource's */
        return HIKARI ".jdbc-url";
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        size_t d = conf_text_distance(key->path, path);

        if (conf_key_counts(key) &&
            (d < least || (nearest == NULL && d == least))) {
            least = d;
            nearest = key->path;
        }
    }
    if (nearest != NULL && least <= 3)
        return nearest;
    /* It is a better guess than a far one. */
    other = elsewhere(leaf == NULL ? path : leaf + 1);
    return other != NULL ? other : nearest;
}

const char *conf_registry_type_name(enum conf_registry_type type)
{
    assert(type < ARRAY_LEN(registry_types) - 1);
    assert(registry_types[type] != NULL);
    return registry_types[type];
}
