/*
 * conf_check.c - what a value must look like beyond its type, and the rules
 * that hold between values.
 *
 * A rule names the key as the reader wrote it and its line, and says which
 * number to change to what.
 */
#include "conf/conf_priv.h"
#include "conf/limits.h"

#include "base/mem.h"
#include "base/units.h"
#include "conf/jdbc_url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int conf_host_port(const char *text, char **host, uint16_t *port,
                   struct err *err)
{
    bool v6 = text[0] == '[';
    const char *from = v6 ? text + 1 : text;
    size_t len = v6 ? strcspn(from, "]") : strcspn(from, ":");
    const char *rest = from + len;
    uint64_t number;
    bool ok = len > 0 && len <= NODE_HOST_MAX;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)from[i];

        ok = ok && (v6 ? isxdigit(c) || c == ':' || c == '.'
                       : isalnum(c) || c == '.' || c == '-' || c == '_');
    }
    if (v6)
        ok = ok && *rest++ == ']';
    if (!ok || *rest != ':' ||
        units_uint(rest + 1, 65535, &number, NULL) != 0 ||
        strlen(rest + 1) > 5) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.80s\" is no host:port; write one like "
                            "10.0.0.7:1234 or [::1]:1234, port 0 to 65535%s",
                            text,
                            strchr("*:", text[0]) == NULL
                                ? ""
                                : "; 0.0.0.0 as host is every address");
    }
    *host = mem_strndup(from, len);
    *port = (uint16_t)number;
    return 0;
}

static int unless(bool ok, const char *why, struct err *err)
{
    return ok ? 0 : (int)err_set(err, ERR_INVALID, "%s", why);
}

static bool is_address(const char *text)
{
    uint16_t port = 0;
    char *host = NULL;
    int rc = conf_host_port(text, &host, &port, NULL);

    mem_free(host);
    return rc == 0 && port > 0;
}

bool conf_every_address(const char *text)
{
    return strncmp(text, "0.0.0.0:", 8) == 0 || strncmp(text, "[::]:", 5) == 0;
}

int conf_check_address(const char *text, struct err *err)
{
    if (conf_every_address(text)) {
        return unless(false,
                      "every address, and so nobody's; write one at which "
                      "others reach it",
                      err);
    }
    return unless(is_address(text),
                  "not host:port; write one like 10.0.0.7:1234 or [::1]:1234",
                  err);
}

/* What a shell or a driver would have made a file's name of. */
int conf_check_file(const char *text, struct err *err)
{
    static const char *const schemes[] = {
        "jdbc:", "file:", "sqlite:", ":memory:"};

    if (text[0] == '~' && (text[1] == '/' || text[1] == '\0'))
        return unless(false, "~ is a shell's; write ${HOME}", err);
    if (text[0] == '$' && (isalpha((unsigned char)text[1]) || text[1] == '_'))
        return unless(false, "$NAME is a shell's; write ${NAME}", err);
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0) {
            return unless(false, "no file's name; write it without a scheme",
                          err);
        }
    }
    return 0;
}

int conf_check_digest(const char *text, struct err *err)
{
    const char *colon = strchr(text, ':');

    return unless(colon != NULL && colon > text,
                  "no colon in it; write user:password", err);
}

int conf_check_namespace(const char *text, struct err *err)
{
    bool ok =
        strlen(text) <= 64 && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;

    if (strchr(text, '/') != NULL) {
        return unless(false,
                      "a namespace with slashes; on ZooKeeper the part before "
                      "the last one is a chroot: connect-string: "
                      "host:2181/part, namespace: rest. Elsewhere write a name "
                      "without slashes",
                      err);
    }
    for (const char *s = text; *s != '\0'; s++)
        ok = ok && (unsigned char)*s > ' ';
    return unless(
        ok,
        "not a name; write up to 64 bytes without slashes and blanks, "
        "like dolphinscheduler",
        err);
}

int conf_check_node_kind(const char *text, struct err *err)
{
    static const char *const kinds[] = {"master", "worker", "alert-server"};
    bool ok = false;

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        ok = ok || strcmp(kinds[i], text) == 0;
    return unless(ok, "no kind of node; write master, worker or alert-server",
                  err);
}

static bool is_path(const char *text)
{
    const char *s = text;
    bool ok = text[0] == '/' && strlen(text) <= 256;

    while (ok && *s == '/') {
        size_t n = strcspn(++s, "/");

        ok = n > 0 && !(n == 1 && s[0] == '.') &&
             !(n == 2 && s[0] == '.' && s[1] == '.');
        s += n;
    }
    return ok;
}

int conf_check_lock_path(const char *text, struct err *err)
{
    return unless(is_path(text),
                  "not a registry path; write one like /lock/master-failover, "
                  "without //, . and .. and a slash at its end",
                  err);
}

int conf_check_endpoint(const char *text, struct err *err)
{
    const char *rest = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : NULL;

    if (rest != NULL && strchr(rest, '@') != NULL) {
        return unless(false,
                      "a password in an address ends up in logs; give "
                      "registry.user and registry.password",
                      err);
    }
    return unless(rest != NULL && is_address(rest),
                  "not an etcd address; write http://host:2379 or "
                  "https://host:2379, with its port",
                  err);
}

int conf_check_jdbc_url(const char *text, struct err *err)
{
    struct jdbc_url url;
    int rc = conf_jdbc_url_parse(&url, text, err);

    conf_jdbc_url_close(&url);
    return rc;
}

/* As ZooKeeper's own parser reads a list: no blanks, no empty items. What is
 * behind the first slash stays as it is. */
char *conf_plain_servers(const char *text)
{
    size_t hosts = strcspn(text, "/");
    struct buf out;
    char *plain;

    buf_init(&out, strlen(text) + 1);
    for (size_t at = 0; at < hosts;) {
        size_t n = strcspn(text + at, ",/"), from = at, to = at + n;

        while (from < to && strchr(" \t", text[from]) != NULL)
            from++;
        while (to > from && strchr(" \t", text[to - 1]) != NULL)
            to--;
        if (to > from) {
            buf_str(&out, out.len > 0 ? "," : "");
            buf_add(&out, text + from, to - from);
        }
        at += n + 1;
    }
    if (strcmp(text + hosts, "/") != 0) /* no chroot at all */
        buf_str(&out, text + hosts);
    plain = mem_strdup(buf_text(&out));
    buf_close(&out);
    return plain;
}

void conf_plain_endpoint(char *text)
{
    size_t scheme = strcspn(text, ":"), len = strlen(text);

    for (size_t i = 0; i < scheme; i++)
        text[i] = (char)tolower((unsigned char)text[i]);
    if (len > 0 && text[len - 1] == '/' && len > scheme + 3)
        text[len - 1] = '\0';
}

static bool are_servers(const char *text)
{
    size_t hosts = strcspn(text, "/");
    /* ZooKeeper would take "a/x,b/x" for the chroot "/x,b/x" on a alone. */
    bool ok = hosts > 0 &&
              (text[hosts] == '\0' ||
               (is_path(text + hosts) && strchr(text + hosts, ',') == NULL));

    for (size_t at = 0; ok && at < hosts;) {
        size_t n = strcspn(text + at, ",/");
        char *one = mem_strndup(text + at, n);

        /* The port may be left out: ZooKeeper's own is 2181. */
        ok = n > 0 && strpbrk(one, " \t") == NULL &&
             (strchr(one, ':') == NULL || is_address(one));
        mem_free(one);
        at += n + 1;
    }
    return ok;
}

int conf_check_connect_string(const char *text, struct err *err)
{
    char *plain = conf_plain_servers(text);
    bool ok = are_servers(plain);
    size_t len = strlen(plain);
    bool slash = strchr(plain, '/') != NULL && plain[len - 1] == '/';

    mem_free(plain);
    return unless(ok,
                  slash ? "a '/' at its end; leave it out"
                        : "not a list of servers; write host:2181,host:2181, "
                          "and a chroot once, at the end: host:2181/path",
                  err);
}

/* Two renewals in a row may fail without harm. */
static int check_interval(const char *interval_name, int64_t interval_ms,
                          int64_t timeout_ms, struct err *err)
{
    char interval[UNITS_DURATION_SIZE], timeout[UNITS_DURATION_SIZE];
    char least[UNITS_DURATION_SIZE];

    if (interval_ms <= timeout_ms / 3)
        return 0;
    return (int)err_set(err, ERR_INVALID,
                        "%s is below 3 x %s (%s); raise it to %s or more, or "
                        "shorten the interval",
                        units_format_duration(timeout_ms, timeout),
                        interval_name,
                        units_format_duration(interval_ms, interval),
                        units_format_duration(interval_ms * 3, least));
}

int conf_check_interval(const char *interval_name, int64_t interval_ms,
                        const char *timeout_name, int64_t timeout_ms,
                        struct err *err)
{
    int rc = check_interval(interval_name, interval_ms, timeout_ms, err);

    if (rc != 0)
        err_wrap(err, "%s", timeout_name);
    return rc;
}

/* The row by which a field was set, else its row of its own. */
static size_t row_of(const struct conf_reading *r, size_t offset)
{
    const struct conf_key *keys;
    size_t n, own;

    keys = conf_keys(&n);
    own = n;
    for (size_t i = 0; i < n; i++) {
        if (keys[i].offset != offset || !conf_key_counts(&keys[i]))
            continue;
        if (r->lines[i] != 0)
            return i;
        own = own == n && (keys[i].flags & CONF_ALIAS) == 0 ? i : own;
    }
    assert(own < n);
    return own;
}

static const char *name_of(const struct conf_reading *r, size_t offset)
{
    size_t n;

    return conf_keys(&n)[row_of(r, offset)].path;
}

static unsigned line_of(const struct conf_reading *r, size_t offset)
{
    return r->lines[row_of(r, offset)];
}

#define AT(field) offsetof(struct conf, field)

static void require(struct conf_reading *r, bool given, size_t offset,
                    const char *example)
{
    size_t n;
    unsigned line = r->lines[conf_key_find("registry.type") - conf_keys(&n)];

    if (!given) {
        conf_problem(r->report, line, name_of(r, offset),
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

    if ((reg->key_file == NULL) != (reg->key_cert_chain_file == NULL)) {
        conf_problem(r->report, line_of(r, given), name_of(r, given),
                     "of registry.key-file and registry.key-cert-chain-"
                     "file only this one is given; give both or none");
    }
}

static void check_registry(struct conf_reading *r)
{
    struct conf_registry *reg = &r->conf->registry;
    size_t session = AT(registry.session_timeout_ms);
    struct err err;

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
        if (check_interval("registry.heartbeat-refresh-interval",
                           reg->heartbeat_refresh_ms, reg->session_timeout_ms,
                           &err) != 0) {
            conf_problem(r->report, line_of(r, session), name_of(r, session),
                         "%s", err.msg);
        }
        break;
    case CONF_SQLITE:
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

void conf_check_rules(struct conf_reading *r)
{
    const struct conf_balancer *b = &r->conf->balancer;
    int64_t session = r->conf->registry.session_timeout_ms;
    char keep[UNITS_DURATION_SIZE], timeout[UNITS_DURATION_SIZE];
    char least[UNITS_DURATION_SIZE];
    double sum =
        b->cpu_usage_weight + b->memory_usage_weight + b->pool_usage_weight;
    size_t at;

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
    if (sum < 99.999 || sum > 100.001) {
        at = AT(balancer.cpu_usage_weight);
        conf_problem(r->report, line_of(r, at), name_of(r, at),
                     "the three weights sum to %g; make them sum to 100", sum);
    }
}

/* As etcd's client decides about TLS: by https://, or by all three files. */
static void remark_plain_etcd(const struct conf *conf, struct buf *out)
{
    const struct conf_registry *reg = &conf->registry;
    bool all = reg->cert_file != NULL && reg->key_file != NULL;

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
