/*
 * conf_rules.c - the rules that hold between values, and what is accepted and
 * will not be done.
 *
 * A rule names the key as the reader wrote it and its line, and says which
 * number to change to what.
 */
#include "conf/conf_priv.h"

#include "base/mem.h"
#include "base/units.h"
#include "conf/jdbc_url.h"
#include "conf/own.h"

#include <string.h>

/* The row by which a field was set, else its row of its own. */
static const struct conf_key *row_of(const struct conf_reading *r,
                                     size_t offset)
{
    const struct conf_key *own = NULL;

    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        if (key->offset != offset || !conf_key_counts(key))
            continue;
        if (r->lines[key - conf_keys] != 0)
            return key;
        if (own == NULL && conf_key_is_own(key))
            own = key;
    }
    assert(own != NULL);
    return own;
}

static const char *name_of(const struct conf_reading *r, size_t offset)
{
    return row_of(r, offset)->path;
}

static unsigned line_of(const struct conf_reading *r, size_t offset)
{
    return r->lines[row_of(r, offset) - conf_keys];
}

#define AT(field) offsetof(struct conf, field)

static void require(struct conf_reading *r, bool given, size_t offset,
                    const char *example)
{
    assert(example[0] != '\0');
    if (!given) {
        conf_problem(r->report, line_of(r, AT(registry.type)),
                     name_of(r, offset),
                     "missing, and registry.type is %s; add %s",
                     conf_registry_type_name(r->conf->registry.type), example);
    }
}

/* Of a certificate and its key both or none. */
static void check_key_pair(struct conf_reading *r)
{
    const struct conf_registry *reg = &r->conf->registry;
    size_t given = reg->key_file == NULL ? AT(registry.key_cert_chain_file)
                                         : AT(registry.key_file);

    assert(reg->type == CONF_ETCD || reg->type == CONF_JDBC);
    if ((reg->key_file == NULL) != (reg->key_cert_chain_file == NULL)) {
        conf_problem(r->report, line_of(r, given), name_of(r, given),
                     "of registry.key-file and registry.key-cert-chain-file "
                     "only this one is given; give both or none");
    }
}

/* Two renewals in a row may fail without harm. */
static void check_interval(struct conf_reading *r)
{
    int64_t interval_ms = r->conf->registry.heartbeat_refresh_ms;
    int64_t timeout_ms = r->conf->registry.session_timeout_ms;
    size_t at = AT(registry.session_timeout_ms);
    char interval[UNITS_DURATION_SIZE], timeout[UNITS_DURATION_SIZE];
    char least[UNITS_DURATION_SIZE];

    assert(interval_ms > 0 && timeout_ms > 0);
    if (interval_ms > timeout_ms / 3) {
        conf_problem(r->report, line_of(r, at), name_of(r, at),
                     "%s is below 3 x registry.heartbeat-refresh-interval "
                     "(%s); raise it to %s or more, or shorten the interval",
                     units_format_duration(timeout_ms, timeout),
                     units_format_duration(interval_ms, interval),
                     units_format_duration(interval_ms * 3, least));
    }
}

static void check_registry(struct conf_reading *r)
{
    struct conf_registry *reg = &r->conf->registry;

    assert(r->report->n == 0);
    switch (reg->type) {
    case CONF_ZOOKEEPER:
        require(r, reg->connect_string != NULL, AT(registry.connect_string),
                "connect-string: host:2181 in the block registry.zookeeper");
        break;
    case CONF_ETCD:
        require(r, reg->endpoints.n > 0, AT(registry.endpoints),
                "endpoints: http://host:2379");
        check_key_pair(r);
        if (reg->password != NULL && reg->user == NULL) {
            conf_problem(r->report, line_of(r, AT(registry.password)),
                         "registry.password",
                         "a password without registry.user; give both or none");
        }
        break;
    case CONF_JDBC:
        check_key_pair(r);
        require(r, reg->jdbc_url != NULL, AT(registry.jdbc_url),
                "jdbc-url: jdbc:mysql://host:port/database in the block "
                "registry.hikari-config (without it DolphinScheduler takes the "
                "url, username and password of spring.datasource)");
        check_interval(r);
        break;
    case CONF_SQLITE:
        if (r->conf->journal != NULL &&
            strcmp(r->conf->journal, reg->path) == 0)
            conf_problem(r->report, line_of(r, AT(journal)), "journal",
                         "this is registry.path; name another file");
        if (r->conf->log_file != NULL &&
            strcmp(r->conf->log_file, reg->path) == 0) {
            conf_problem(r->report, line_of(r, AT(log_file)), "log.file",
                         "is registry.path, too, and lines would be written "
                         "into the registry; name another file");
        }
        break;
    case CONF_MEMORY:
        break;
    }
}

/* And between those that a group has of its own. */
static void check_owns(struct conf_reading *r)
{
    char *block;
    struct err err;

    for (size_t i = 0; i < r->conf->n_owns; i++) {
        const struct conf_group_own *group = &r->conf->owns[i];

        if (conf_own_check(&group->own, '-', &err) == 0)
            continue;
        block = mem_printf("balancer.groups.%s", group->name);
        conf_problem(r->report, group->line, block, "%s", err.msg);
        mem_free(block);
    }
}

void conf_check_rules(struct conf_reading *r)
{
    const struct conf_balancer *b = &r->conf->balancer;
    int64_t session = r->conf->registry.session_timeout_ms;
    char keep[UNITS_DURATION_SIZE], timeout[UNITS_DURATION_SIZE];
    char least[UNITS_DURATION_SIZE];
    double sum =
        b->cpu_usage_weight + b->memory_usage_weight + b->pool_usage_weight;
    size_t at;

    assert(session > 0);
    check_registry(r);
    if (r->conf->work_keep_ms <= 2 * session) {
        at = AT(work_keep_ms);
        conf_problem(r->report, line_of(r, at), name_of(r, at),
                     "%s is not more than twice %s (%s); raise it above %s",
                     units_format_duration(r->conf->work_keep_ms, keep),
                     name_of(r, AT(registry.session_timeout_ms)),
                     units_format_duration(session, timeout),
                     units_format_duration(2 * session, least));
    }
    /* who is forgotten is not missing, and the brake counts who was */
    if (r->conf->forget_after_ms <= r->conf->failover.brake_window_ms) {
        at = AT(forget_after_ms);
        conf_problem(
            r->report, line_of(r, at), name_of(r, at),
            "%s is not longer than %s (%s); raise it above that",
            units_format_duration(r->conf->forget_after_ms, keep),
            name_of(r, AT(failover.brake_window_ms)),
            units_format_duration(r->conf->failover.brake_window_ms, least));
    }
    if (sum < 99.999 || sum > 100.001) {
        at = AT(balancer.cpu_usage_weight);
        conf_problem(r->report, line_of(r, at), name_of(r, at),
                     "the three weights sum to %g; make them sum to 100", sum);
    }
    check_owns(r);
}

/* As etcd's client decides about TLS: by https://, or by all three files. */
static void remark_plain_etcd(const struct conf *conf, struct buf *out)
{
    const struct conf_registry *reg = &conf->registry;
    bool all = reg->cert_file != NULL && reg->key_file != NULL;

    assert(reg->type == CONF_ETCD);
    assert(reg->endpoints.n > 0);
    if (reg->cert_file == NULL || all)
        return;
    for (size_t i = 0; i < reg->endpoints.n; i++) {
        if (strncmp(reg->endpoints.items[i], "http://", 7) == 0) {
            buf_printf(out,
                       "%s: registry.cert-file: not used for %s; TLS begins "
                       "with https://\n",
                       conf->file, reg->endpoints.items[i]);
        }
    }
}

void conf_remarks(const struct conf *conf, struct buf *out)
{
    const struct conf_registry *reg = &conf->registry;
    struct jdbc_url url;

    assert(conf->file != NULL);
    if (reg->password != NULL && strncmp(reg->password, "ENC(", 4) == 0) {
        buf_printf(out,
                   "%s: registry password: ENC(...) is not decrypted here; "
                   "write ${VARIABLE} and set it to the password itself\n",
                   conf->file);
    }
    if (reg->type == CONF_ETCD)
        remark_plain_etcd(conf, out);
    if (reg->type != CONF_JDBC || reg->jdbc_url == NULL)
        return;
    if (conf_jdbc_url_parse(&url, reg->jdbc_url, NULL) == 0) {
        const char *at = buf_text(&url.notes);

        while (*at != '\0') {
            int len = (int)strcspn(at, "\n");

            buf_printf(out, "%s: registry.hikari-config.jdbc-url: %.*s\n",
                       conf->file, len, at);
            at += len + 1;
        }
    }
    conf_jdbc_url_close(&url);
}
