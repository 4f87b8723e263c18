/*
 * jdbc.c - DolphinScheduler's registry type `jdbc`: its address is an URL for
 * Java, which names a MySQL or a PostgreSQL server.
 *
 * Of the parameters behind the '?' those are taken that say who we are, how to
 * use TLS, where the files for it are, and PostgreSQL's currentSchema; the
 * others mean something to Java only. They and the database may be written with
 * %xx, as the Java drivers read them.
 *
 * The C libraries see more in a host than a name: a connection string where it
 * has a '=', a plugin in "://", a directory of sockets at a '/' or a '@'. A
 * host is a name or an address here, and anything else is refused. What an URL
 * does not say they would take from the environment; so it is said (the
 * drivers).
 */
#include "registry/dbms.h"
#include "registry/sql_backend.h"

#include "base/log.h"
#include "base/mem.h"
#include "conf/conf.h"

#include <ctype.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* --- the URL -------------------------------------------------------------- */

static int bad_url(const char *what, struct err *err)
{
    return (int)err_set(err, ERR_INVALID,
                        "registry.hikari-config.jdbc-url: %s; write "
                        "jdbc:mysql://host:port/database or "
                        "jdbc:postgresql://host:port/database",
                        what);
}

/* Names, numbers, and what an address of version 6 is made of. */
static int check_host(const char *name, struct err *err)
{
    bool v6 = strchr(name, ':') != NULL;

    for (const char *c = name; *c != '\0'; c++) {
        if (isalnum((unsigned char)*c) || (unsigned char)*c >= 0x80 ||
            strchr("-._", *c) != NULL || (v6 && strchr(":%", *c) != NULL)) {
            continue;
        }
        if (*c == '@') { /* what is before it may be a password */
            return bad_url("names a user before an '@'; give username and "
                           "password as keys of their own",
                           err);
        }
        return (int)err_set(err, ERR_INVALID,
                            "registry.hikari-config.jdbc-url: its host '%s' "
                            "holds a '%c'; a host is a name or an address, "
                            "with a port behind a colon",
                            name, *c);
    }
    return 0;
}

/* host, host:port, [v6] or [v6]:port */
static int parse_host(struct dbms_target *t, const char *text, size_t len,
                      uint16_t port, struct err *err)
{
    char *copy = mem_strndup(text, len), *colon;
    struct dbms_host *host;
    int rc = 0;

    if (t->n_hosts == ARRAY_LEN(t->hosts)) {
        mem_free(copy);
        return bad_url("more than 8 hosts", err);
    }
    host = &t->hosts[t->n_hosts++];
    host->port = port;
    colon = strchr(copy[0] == '[' ? copy + strcspn(copy, "]") : copy, ':');
    if (colon != NULL) {
        rc = conf_host_port(copy, &host->name, &host->port, err);
    } else {
        host->name = copy[0] == '['
                         ? mem_strndup(copy + 1, strcspn(copy + 1, "]"))
                         : mem_strdup(copy);
    }
    mem_free(copy);
    if (rc == 0 && (host->name[0] == '\0' || host->port == 0)) {
        rc = bad_url("a host without a name or a port of 0", err);
    }
    return rc;
}

/* The text between the slashes before it is taken apart. */
static int check_hosts(const char *text, size_t len, struct err *err)
{
    char *copy = mem_strndup(text, len), *at = copy;
    int rc = 0;

    if (strchr(copy, '@') != NULL) {
        rc = check_host("@", err);
    }
    while (rc == 0 && at != NULL) {
        char *host = strsep(&at, ",");

        host += host[0] == '[';
        host[strcspn(host, "]")] = '\0';
        if (strchr(host, ':') == strrchr(host, ':')) {
            host[strcspn(host, ":")] = '\0';
        }
        rc = check_host(host, err);
    }
    mem_free(copy);
    return rc;
}

static int parse_hosts(struct dbms_target *t, const char *text, size_t len,
                       uint16_t port, struct err *err)
{
    int rc = 0;

    while (rc == 0 && len > 0) {
        size_t n = 0;

        while (n < len && text[n] != ',') {
            n++;
        }
        rc = parse_host(t, text, n, port, err);
        n += n < len;
        text += n;
        len -= n;
    }
    return rc == 0 && t->n_hosts == 0 ? bad_url("no host", err) : rc;
}

static void replace(char **field, const char *value)
{
    mem_free(*field);
    *field = mem_strdup(value);
}

/* %xx in place; PostgreSQL's driver reads '+' as a blank. */
static int decode(char *text, bool plus, struct err *err)
{
    char *out = text;

    for (const char *in = text; *in != '\0'; in++) {
        char digits[3] = "";
        unsigned long value;

        if (*in != '%') {
            *out++ = plus && *in == '+' ? ' ' : *in;
            continue;
        }
        if (isxdigit((unsigned char)in[1]) && isxdigit((unsigned char)in[2])) {
            memcpy(digits, in + 1, 2);
        }
        value = strtoul(digits, NULL, 16);
        if (value == 0) {
            return bad_url("a % without two hexadecimal digits; write %25 for "
                           "the sign itself",
                           err);
        }
        *out++ = (char)value;
        in += 2;
    }
    *out = '\0';
    return 0;
}

static bool is_true(const char *value)
{
    return value[0] == '\0' || strcasecmp(value, "true") == 0;
}

static int parse_tls(struct dbms_target *t, const char *value, struct err *err)
{
    static const struct {
        const char *name;
        enum dbms_tls tls;
    } modes[] = {
        {"disable", DBMS_TLS_OFF},      {"disabled", DBMS_TLS_OFF},
        {"allow", DBMS_TLS_PREFER},     {"prefer", DBMS_TLS_PREFER},
        {"preferred", DBMS_TLS_PREFER}, {"require", DBMS_TLS_ON},
        {"required", DBMS_TLS_ON},      {"trust", DBMS_TLS_ON},
        {"verify-ca", DBMS_TLS_CA},     {"verify_ca", DBMS_TLS_CA},
        {"verify-full", DBMS_TLS_HOST}, {"verify_identity", DBMS_TLS_HOST},
    };

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcasecmp(modes[i].name, value) == 0) {
            t->tls = modes[i].tls;
            return 0;
        }
    }
    return bad_url("sslMode is none of disable, prefer, require, verify-ca "
                   "and verify-full",
                   err);
}

static int parse_parameter(struct dbms_target *t, const char *name,
                           const char *value, struct err *err)
{
    if (strcasecmp(name, "sslmode") == 0) {
        return parse_tls(t, value, err);
    }
    if (strcasecmp(name, "useSSL") == 0 || strcasecmp(name, "ssl") == 0) {
        t->tls = is_true(value) ? DBMS_TLS_ON : DBMS_TLS_OFF;
    } else if (strcasecmp(name, "verifyServerCertificate") == 0) {
        t->tls = is_true(value) ? DBMS_TLS_CA : t->tls;
    } else if (strcasecmp(name, "sslrootcert") == 0 ||
               strcasecmp(name, "serverSslCert") == 0) {
        replace(&t->ca, value);
    } else if (strcasecmp(name, "sslcert") == 0) {
        replace(&t->cert, value);
    } else if (strcasecmp(name, "sslkey") == 0) {
        replace(&t->key, value);
    } else if (strcasecmp(name, "currentSchema") == 0) {
        replace(&t->schema, value);
    } else if (strcasecmp(name, "user") == 0) {
        replace(&t->user, value);
    } else if (strcasecmp(name, "password") == 0) {
        replace(&t->password, value);
    } else {
        log_debug("=ignored", LOG_S("jdbc-url", name));
    }
    return 0;
}

static int parse_parameters(struct dbms_target *t, const char *text,
                            struct err *err)
{
    int rc = 0;

    while (rc == 0 && *text != '\0') {
        size_t len = strcspn(text, "&;");
        char *name = mem_strndup(text, len);
        char *value = strchr(name, '=');

        if (value != NULL) {
            *value++ = '\0';
            rc = decode(value, t->driver == &dbms_postgresql, err);
        }
        if (rc == 0) {
            rc = parse_parameter(t, name, value == NULL ? "" : value, err);
        }
        mem_free(name);
        text += len;
        text += *text != '\0';
    }
    return rc;
}

int dbms_target_parse(struct dbms_target *t, const char *url, struct err *err)
{
    static const struct {
        const char *scheme;
        const struct dbms_driver *driver;
        uint16_t port;
    } schemes[] = {
        {"jdbc:mysql://", &dbms_mysql, 3306},
        {"jdbc:mariadb://", &dbms_mysql, 3306},
        {"jdbc:postgresql://", &dbms_postgresql, 5432},
    };
    uint16_t port = 0;
    size_t hosts, database;
    int rc;

    memset(t, 0, sizeof(*t));
    t->tls = DBMS_TLS_PREFER;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i].scheme);

        if (strncmp(url, schemes[i].scheme, len) == 0) {
            t->driver = schemes[i].driver;
            port = schemes[i].port;
            url += len;
            break;
        }
    }
    hosts = strcspn(url, "/?");
    if (t->driver == NULL || url[hosts] != '/') {
        return bad_url("no database that we know", err);
    }
    rc = check_hosts(url, hosts, err);
    if (rc == 0) {
        rc = parse_hosts(t, url, hosts, port, err);
    }
    url += hosts + 1;
    database = strcspn(url, "?");
    t->database = mem_strndup(url, database);
    if (rc == 0) {
        rc = decode(t->database, t->driver == &dbms_postgresql, err);
    }
    if (rc == 0 && database == 0) {
        rc = bad_url("names no database", err);
    }
    if (rc == 0 && url[database] == '?') {
        rc = parse_parameters(t, url + database + 1, err);
    }
    return rc;
}

void dbms_target_close(struct dbms_target *t)
{
    for (size_t i = 0; i < t->n_hosts; i++) {
        mem_free(t->hosts[i].name);
    }
    mem_free(t->database);
    mem_free(t->schema);
    mem_free(t->user);
    mem_free(t->password);
    mem_free(t->ca);
    mem_free(t->cert);
    mem_free(t->key);
    memset(t, 0, sizeof(*t));
}

/* --- opening -------------------------------------------------------------- */

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static void fill(char **field, const char *value)
{
    if (*field == NULL) {
        *field = mem_strdup(value);
    }
}

/* Both libraries would ask the environment first, each another variable. */
static void fill_user(char **field)
{
    const struct passwd *us = getpwuid(geteuid());

    if (us != NULL) {
        fill(field, us->pw_name);
    }
}

/* The URL's own words come first. */
static int target_of(struct dbms_target *t, const struct conf_registry *conf,
                     struct err *err)
{
    int64_t timeout = conf->session_timeout_ms;
    int rc = dbms_target_parse(t, conf->jdbc_url, err);

    if (rc != 0) {
        dbms_target_close(t);
        return rc;
    }
    assert(t->driver != NULL && t->n_hosts > 0);
    fill(&t->user, conf->user);
    fill_user(&t->user);
    fill(&t->password, conf->password);
    fill(&t->ca, conf->cert_file);
    fill(&t->cert, conf->key_cert_chain_file);
    fill(&t->key, conf->key_file);
    t->call_ms = clamp(timeout / 2, 2000, 15000);
    t->connect_ms = clamp(conf->connect_timeout_ms, 100, t->call_ms);
    t->idle_ms = clamp(timeout / 2, 1000, 30000);
    (void)snprintf(t->prefix, sizeof(t->prefix), "/%s", conf->namespace_);
    return 0;
}

int jdbc_open(struct registry **out, struct loop *loop,
              const struct conf_registry *conf, struct err *err)
{
    /* A page of a thousand items, three operations each, moves in one txn. */
    static const struct sql_kind mysql = {
        .name = "mysql", .max_ops = 3072, .max_bytes = 16u << 20};
    static const struct sql_kind postgresql = {
        .name = "postgresql", .max_ops = 3072, .max_bytes = 16u << 20};
    int64_t timeout = conf->session_timeout_ms;
    struct dbms_target target, second;
    struct sql_waker *waker = NULL;
    bool is_mysql;
    int rc;

    assert(conf->jdbc_url != NULL && conf->namespace_ != NULL);
    assert(timeout > 0);
    rc = target_of(&target, conf, err);
    if (rc != 0) {
        return rc;
    }
    is_mysql = target.driver == &dbms_mysql;
    if (target.driver->wait != NULL && conf->pool_size > 1 &&
        target_of(&second, conf, NULL) == 0) {
        waker = dbms_waker_new(&second);
    }
    *out = sql_new(is_mysql ? &mysql : &postgresql, loop,
                   dbms_core_new(&target, conf->namespace_, timeout,
                                 conf->heartbeat_refresh_ms),
                   waker, timeout);
    return 0;
}

/* --- the schema ----------------------------------------------------------- */

int registry_schema(const struct conf_registry *conf, bool apply,
                    const char **text, struct err *err)
{
    struct dbms_target target;
    int rc;

    if (conf->type != CONF_JDBC) {
        return (int)err_set(err, ERR_INVALID,
                            "registry.type: %s needs no schema",
                            conf_registry_type_name(conf->type));
    }
    rc = target_of(&target, conf, err);
    if (rc != 0) {
        return rc;
    }
    assert(target.driver != NULL);
    *text = target.driver->words->schema;
    if (apply) {
        target.all = true;
        rc = dbms_schema_apply(&target, err);
    }
    dbms_target_close(&target);
    return rc;
}
