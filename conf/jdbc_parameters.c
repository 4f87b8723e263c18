/*
 * jdbc_parameters.c - what stands behind the '?' of a JDBC URL.
 *
 * Three drivers, three tables. A name counts as its driver reads it: pgjdbc and
 * Connector/J tell capitals from small letters, and overlook in silence what
 * they do not know. We overlook it, too, but aloud where it would have
 * mattered: the name in another spelling, and the names without an equivalent.
 * (Longer than 500 lines: the table, and beside it what each row does.)
 */
#include "conf/conf_priv.h"
#include "conf/jdbc_priv.h"

#include "base/compiler.h"
#include "base/mem.h"
#include "base/units.h"

#include <ctype.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define MYSQL      (1u << JDBC_MYSQL)
#define MARIADB    (1u << JDBC_MARIADB)
#define POSTGRESQL (1u << JDBC_POSTGRESQL)
#define ANY        (MYSQL | MARIADB | POSTGRESQL)

/* In url->said: what several parameters decide together. */
enum {
    SAID_MODE = 1,
    SAID_USE = 2,
    SAID_NOT_USE = 4,
    SAID_REQUIRE = 8,
    SAID_VERIFY = 16,
    SAID_TRUST = 32,
    SAID_NO_NAME = 64,
    SAID_SCHEMA = 128,
};

/* A row of the table. */
struct parameter {
    const char *name;
    unsigned kinds;
    int (*set)(struct jdbc_url *url, const struct parameter *p,
               const char *value, struct err *err);
    size_t at; /* a field of struct jdbc_url, or one of the SAID_ above */
};

static void *field_of(struct jdbc_url *url, const struct parameter *p)
{
    return (char *)url + p->at;
}

static void note(struct jdbc_url *url, const char *name, const char *what)
{
    buf_printf(&url->notes, "%s: %s\n", name, what);
}

static int bad(const struct jdbc_url *url, const char *name, const char *what,
               struct err *err)
{
    (void)url;
    return (int)err_set(err, ERR_INVALID, "%s %s", name, what);
}

/* --- who, where ---------------------------------------------------------- */

static int set_text(struct jdbc_url *url, const struct parameter *p,
                    const char *value, struct err *err)
{
    (void)err;
    conf_jdbc_set(field_of(url, p), value);
    return 0;
}

static int set_application(struct jdbc_url *url, const struct parameter *p,
                           const char *value, struct err *err)
{
    (void)p;
    (void)err;
    conf_jdbc_set(&url->application, value[0] == '\0' ? "pelorus" : value);
    return 0;
}

static int set_schema(struct jdbc_url *url, const struct parameter *p,
                      const char *value, struct err *err)
{
    (void)p;
    (void)err;
    conf_jdbc_set(&url->schema, value);
    url->said |= SAID_SCHEMA;
    return 0;
}

static int no_second_place(struct jdbc_url *url, const struct parameter *p,
                           const char *value, struct err *err)
{
    (void)value;
    return bad(url, p->name,
               "names a server a second time; write it before the '/' only",
               err);
}

static int set_target(struct jdbc_url *url, const struct parameter *p,
                      const char *value, struct err *err)
{
    static const char *const fit[] = {"any", "primary", "master",
                                      "preferPrimary"};
    static const char *const other[] = {"secondary", "slave", "preferSecondary",
                                        "preferSlave"};

    for (size_t i = 0; i < ARRAY_LEN(fit); i++)
        if (strcasecmp(fit[i], value) == 0)
            return 0; /* one that writes is looked for in any case */
    for (size_t i = 0; i < ARRAY_LEN(other); i++) {
        if (strcasecmp(other[i], value) == 0) {
            note(url, p->name,
                 "asks for a standby, and a registry is written; the primary "
                 "is taken");
            return 0;
        }
    }
    return bad(url, p->name,
               "is none of any, primary and preferPrimary; write one of them",
               err);
}

/* --- a search path in PostgreSQL's options ------------------------------- */

/* The next word, unescaped (mem_free), or NULL: blanks part them, a backslash
 * keeps one. */
static char *next_word(const char **text)
{
    const char *s = *text + strspn(*text, " \t\n\r\f\v");
    struct buf word;
    char *out;

    if (*s == '\0')
        return NULL;
    buf_init(&word, strlen(s) + 1);
    while (*s != '\0' && !isspace((unsigned char)*s)) {
        s += *s == '\\' && s[1] != '\0';
        buf_char(&word, *s++);
    }
    *text = s;
    out = mem_strdup(buf_text(&word));
    buf_close(&word);
    return out;
}

/* The value if it is "search_path=value", whose '_' may be a '-'. */
static const char *search_path(const char *setting)
{
    static const char name[] = "search_path=";

    for (size_t i = 0; name[i] != '\0'; i++) {
        char c = setting[i] == '-' ? '_' : (char)tolower(setting[i]);

        if (c != name[i])
            return NULL;
    }
    return setting + strlen(name);
}

/* The search path is set by us in each transaction, behind poolers too; so it
 * is taken out, and the rest goes to the server as it is. */
static int set_options(struct jdbc_url *url, const struct parameter *p,
                       const char *value, struct err *err)
{
    bool other = false;
    char *word;

    (void)p;
    (void)err;
    for (const char *at = value; (word = next_word(&at)) != NULL;) {
        const char *setting = word, *path;

        if (strcmp(word, "-c") == 0) {
            mem_free(word);
            word = next_word(&at);
            if (word == NULL)
                break;
            setting = word;
        } else if (strncmp(word, "-c", 2) == 0 || strncmp(word, "--", 2) == 0) {
            setting = word + 2;
        }
        path = search_path(setting);
        if (path == NULL)
            other = true;
        else if ((url->said & SAID_SCHEMA) == 0)
            conf_jdbc_set(&url->schema, path); /* of two the later one */
        mem_free(word);
    }
    if (other)
        conf_jdbc_set(&url->options, value);
    return 0;
}

/* --- patience ------------------------------------------------------------ */

/* 0 is no limit: then our own holds. */
static int set_patience(struct jdbc_url *url, const struct parameter *p,
                        const char *value, struct err *err)
{
    int64_t n, *ms = field_of(url, p);

    if (units_int(value, 0, 86400000, &n, NULL) != 0) {
        return bad(url, p->name,
                   url->kind == JDBC_POSTGRESQL
                       ? "is no whole number of seconds; write one"
                       : "is no whole number of milliseconds; write one",
                   err);
    }
    n *= url->kind == JDBC_POSTGRESQL ? 1000 : 1;
    if (n > 0 && (*ms == 0 || n < *ms))
        *ms = n;
    return 0;
}

/* --- TLS ----------------------------------------------------------------- */

static const struct mode {
    const char *name;
    enum jdbc_tls tls;
    unsigned kinds;
} modes[] = {
    {"disable", JDBC_TLS_OFF, POSTGRESQL | MARIADB},
    {"disabled", JDBC_TLS_OFF, MYSQL | MARIADB},
    {"allow", JDBC_TLS_PREFER, POSTGRESQL},
    {"prefer", JDBC_TLS_PREFER, POSTGRESQL},
    {"preferred", JDBC_TLS_PREFER, MYSQL},
    {"require", JDBC_TLS_ON, POSTGRESQL},
    {"required", JDBC_TLS_ON, MYSQL | MARIADB},
    {"trust", JDBC_TLS_ON, MARIADB},
    {"verify-ca", JDBC_TLS_CA, POSTGRESQL | MARIADB},
    {"verify_ca", JDBC_TLS_CA, MYSQL | MARIADB},
    {"verify-full", JDBC_TLS_HOST, POSTGRESQL | MARIADB},
    {"verify_full", JDBC_TLS_HOST, MARIADB},
    {"verify_identity", JDBC_TLS_HOST, MYSQL | MARIADB},
};

static int set_mode(struct jdbc_url *url, const struct parameter *p,
                    const char *value, struct err *err)
{
    char all[160] = "is none of";
    size_t len = strlen(all);

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if ((modes[i].kinds & 1u << url->kind) == 0)
            continue;
        if (strcasecmp(modes[i].name, value) == 0) {
            url->tls = modes[i].tls;
            url->said |= SAID_MODE;
            return 0;
        }
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s %s",
                                len > 10 ? "," : "", modes[i].name);
    }
    (void)snprintf(all + len, sizeof(all) - len, "; write one of them");
    return bad(url, p->name, all, err);
}

/* pgjdbc takes what is not "true" for false, Connector/J for a mistake. */
static int is_true(struct jdbc_url *url, const char *name, const char *value,
                   bool *yes, struct err *err)
{
    *yes = strcasecmp(value, "true") == 0 ||
           (url->kind != JDBC_MYSQL && value[0] == '\0') ||
           (url->kind == JDBC_MYSQL && strcasecmp(value, "yes") == 0) ||
           (url->kind == JDBC_MARIADB && strcmp(value, "1") == 0);
    if (url->kind == JDBC_MYSQL && !*yes && strcasecmp(value, "false") != 0 &&
        strcasecmp(value, "no") != 0) {
        return bad(url, name, "is neither true nor false; write one of them",
                   err);
    }
    return 0;
}

static int set_use(struct jdbc_url *url, const struct parameter *p,
                   const char *value, struct err *err)
{
    bool yes;
    int rc = is_true(url, p->name, value, &yes, err);

    url->said |= yes ? SAID_USE : SAID_NOT_USE;
    return rc;
}

static int set_said(struct jdbc_url *url, const struct parameter *p,
                    const char *value, struct err *err)
{
    bool yes;
    int rc = is_true(url, p->name, value, &yes, err);

    url->said |= yes ? (unsigned)p->at : 0;
    return rc;
}

static const char *file_of(const char *value)
{
    return strncmp(value, "file://", 7) == 0 ? value + 7
           : strncmp(value, "file:", 5) == 0 ? value + 5
                                             : value;
}

static int set_ca(struct jdbc_url *url, const struct parameter *p,
                  const char *value, struct err *err)
{
    (void)err;
    if (strncmp(value, "classpath:", 10) == 0 ||
        strncmp(value, "-----", 5) == 0) {
        note(url, p->name, "is no file; give it as registry.cert-file (PEM)");
        return 0;
    }
    conf_jdbc_set(&url->ca, file_of(value));
    return 0;
}

static int set_key(struct jdbc_url *url, const struct parameter *p,
                   const char *value, struct err *err)
{
    const char *dot = strrchr(value, '.');

    (void)err;
    if (dot != NULL &&
        (strcasecmp(dot, ".p12") == 0 || strcasecmp(dot, ".pfx") == 0)) {
        note(url, p->name,
             "is a PKCS-12 file; give certificate and key as PEM in "
             "registry.key-cert-chain-file and registry.key-file");
        return 0;
    }
    conf_jdbc_set(&url->key, value);
    return 0;
}

static int set_factory(struct jdbc_url *url, const struct parameter *p,
                       const char *value, struct err *err)
{
    (void)err;
    if (strcmp(value, "org.postgresql.ssl.NonValidatingFactory") == 0) {
        url->said |= SAID_TRUST;
        note(url, p->name, "then nobody looks at the server's certificate");
    } else if (strcmp(value,
                      "org.postgresql.ssl.SingleCertValidatingFactory") != 0 &&
               strcmp(value, "org.postgresql.ssl.LibPQFactory") != 0 &&
               strcmp(value, "org.postgresql.ssl.jdbc4.LibPQFactory") != 0) {
        note(url, p->name,
             "is a class of Java's and is not taken; give the authority's "
             "certificate as sslrootcert or registry.cert-file");
    }
    return 0;
}

static int key_store(struct jdbc_url *url, const struct parameter *p,
                     const char *value, struct err *err)
{
    (void)value;
    (void)err;
    note(url, p->name,
         "is a key store of Java's and is not taken; give PEM files as "
         "registry.cert-file, registry.key-cert-chain-file and "
         "registry.key-file");
    return 0;
}

/* --- the tables ---------------------------------------------------------- */

static int has_no_equivalent(struct jdbc_url *url, const struct parameter *p,
                             const char *value, struct err *err)
{
    (void)value;
    (void)err;
    note(url, p->name, "has no equivalent here and is not taken");
    return 0;
}

static int writes(struct jdbc_url *url, const struct parameter *p,
                  const char *value, struct err *err)
{
    (void)err;
    if (strcasecmp(value, "true") == 0)
        note(url, p->name, "is not taken: a registry is written");
    return 0;
}

static int creates(struct jdbc_url *url, const struct parameter *p,
                   const char *value, struct err *err)
{
    (void)err;
    if (strcasecmp(value, "true") == 0)
        note(url, p->name, "is not taken: make the database yourself");
    return 0;
}

#define AT(field) offsetof(struct jdbc_url, field)

static const struct parameter parameters[] = {
    {"user", ANY, set_text, AT(user)},
    {"password", ANY, set_text, AT(password)},
    {"dbname", MYSQL, set_text, AT(database)},
    {"host", MYSQL | POSTGRESQL, no_second_place, 0},
    {"port", MYSQL | POSTGRESQL, no_second_place, 0},
    {"dbname", POSTGRESQL, no_second_place, 0},
    {"PGHOST", POSTGRESQL, no_second_place, 0},
    {"PGPORT", POSTGRESQL, no_second_place, 0},
    {"PGDBNAME", POSTGRESQL, no_second_place, 0},
    {"service", POSTGRESQL, no_second_place, 0},
    {"currentSchema", POSTGRESQL, set_schema, 0},
    {"options", POSTGRESQL, set_options, 0},
    {"ApplicationName", POSTGRESQL, set_application, 0},
    {"targetServerType", POSTGRESQL, set_target, 0},
    {"connectTimeout", ANY, set_patience, AT(connect_ms)},
    {"loginTimeout", POSTGRESQL, set_patience, AT(connect_ms)},
    {"socketTimeout", ANY, set_patience, AT(call_ms)},

    {"sslmode", POSTGRESQL | MARIADB, set_mode, 0},
    {"sslMode", MYSQL, set_mode, 0},
    {"ssl", POSTGRESQL, set_use, 0},
    {"useSSL", MYSQL | MARIADB, set_use, 0},
    {"requireSSL", MYSQL, set_said, SAID_REQUIRE},
    {"verifyServerCertificate", MYSQL, set_said, SAID_VERIFY},
    {"trustServerCertificate", MARIADB, set_said, SAID_TRUST},
    {"disableSslHostnameVerification", MARIADB, set_said, SAID_NO_NAME},
    {"sslrootcert", POSTGRESQL, set_ca, 0},
    {"sslfactoryarg", POSTGRESQL, set_ca, 0},
    {"serverSslCert", MARIADB, set_ca, 0},
    {"sslcert", POSTGRESQL, set_text, AT(cert)},
    {"sslkey", POSTGRESQL, set_key, 0},
    {"sslpassword", POSTGRESQL, set_text, AT(key_password)},
    {"sslfactory", POSTGRESQL, set_factory, 0},
    {"trustCertificateKeyStoreUrl", MYSQL, key_store, 0},
    {"clientCertificateKeyStoreUrl", MYSQL, key_store, 0},
    {"keyStore", MARIADB, key_store, 0},
    {"trustStore", MARIADB, key_store, 0},

    {"readOnly", POSTGRESQL, writes, 0},
    {"createDatabaseIfNotExist", MYSQL | MARIADB, creates, 0},
    {"authenticationPluginClassName", POSTGRESQL, has_no_equivalent, 0},
    {"authenticationPlugins", MYSQL, has_no_equivalent, 0},
    {"channelBinding", POSTGRESQL, has_no_equivalent, 0},
    {"credentialType", MARIADB, has_no_equivalent, 0},
    {"defaultAuthenticationPlugin", MYSQL, has_no_equivalent, 0},
    {"enabledSslCipherSuites", MARIADB, has_no_equivalent, 0},
    {"enabledSslProtocolSuites", MARIADB, has_no_equivalent, 0},
    {"enabledTLSProtocols", MYSQL, has_no_equivalent, 0},
    {"gssEncMode", POSTGRESQL, has_no_equivalent, 0},
    {"gsslib", POSTGRESQL, has_no_equivalent, 0},
    {"initSql", MARIADB, has_no_equivalent, 0},
    {"jaasApplicationName", POSTGRESQL, has_no_equivalent, 0},
    {"kerberosServerName", POSTGRESQL, has_no_equivalent, 0},
    {"localSocket", MARIADB, has_no_equivalent, 0},
    {"localSocketAddress", ANY, has_no_equivalent, 0},
    {"password1", MYSQL, has_no_equivalent, 0},
    {"password2", MYSQL, has_no_equivalent, 0},
    {"password3", MYSQL, has_no_equivalent, 0},
    {"pipe", MARIADB, has_no_equivalent, 0},
    {"propertiesTransform", MYSQL, has_no_equivalent, 0},
    {"serverRSAPublicKeyFile", MYSQL, has_no_equivalent, 0},
    {"sessionVariables", MYSQL | MARIADB, has_no_equivalent, 0},
    {"socketFactory", ANY, has_no_equivalent, 0},
    {"socksProxyHost", MYSQL, has_no_equivalent, 0},
    {"sslfactory", MYSQL, has_no_equivalent, 0},
    {"sslhostnameverifier", POSTGRESQL, has_no_equivalent, 0},
    {"sslContextProvider", MYSQL, has_no_equivalent, 0},
    {"sslpasswordcallback", POSTGRESQL, has_no_equivalent, 0},
    {"tlsCiphersuites", MYSQL, has_no_equivalent, 0},
    {"tlsVersions", MYSQL, has_no_equivalent, 0},
    {"useConfigs", MYSQL, has_no_equivalent, 0},
};

/* Connector/J reads these few, MariaDB's driver all, in any case. */
static bool any_case(const struct jdbc_url *url, const char *name)
{
    static const char *const few[] = {"user", "password", "dbname", "host",
                                      "port"};

    for (size_t i = 0; url->kind == JDBC_MYSQL && i < ARRAY_LEN(few); i++)
        if (strcmp(few[i], name) == 0)
            return true;
    return url->kind == JDBC_MARIADB;
}

/* A slip of the pen? Drivers have more parameters than the table, and one that
 * only goes on where another ends is such a one. */
static bool is_misspelt(const char *name, const char *known)
{
    size_t n = strlen(name), m = strlen(known), both = n < m ? n : m;
    size_t off = n < CONF_PATH_MAX ? conf_distance(known, name) : n;

    bool goes_on = n > m && strncasecmp(name, known, m) == 0;

    return off > 0 && !goes_on && both >= 6 && off <= (both >= 10 ? 3 : 2);
}

/* What the driver does not know, it overlooks, and nobody hears of it. */
static void note_unknown(struct jdbc_url *url, const char *name)
{
    char what[160];

    if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                          "yz0123456789._-")] != '\0') {
        note(url, name,
             "no parameter's name, and overlooked; behind one '?' stand "
             "name=value, with a plain '&' between them");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *p = &parameters[i];
        bool ours = (p->kinds & 1u << url->kind) != 0;

        if (ours && is_misspelt(name, p->name)) {
            (void)snprintf(what, sizeof(what),
                           "unknown, and overlooked; did you mean %s?",
                           p->name);
            note(url, name, what);
            return;
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *p = &parameters[i];

        if (strcmp(p->name, name) == 0) {
            (void)snprintf(what, sizeof(what),
                           "is another driver's parameter, and overlooked%s",
                           strcasestr(name, "ssl") == NULL ? ""
                           : url->kind == JDBC_POSTGRESQL  ? "; write sslmode"
                                                           : "; write sslMode");
            note(url, name, what);
            return;
        }
    }
}

int conf_jdbc_parameter(struct jdbc_url *url, const char *name,
                        const char *value, struct err *err)
{
    const char *spelled = NULL;
    char what[128];

    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const char *known = parameters[i].name;

        if ((parameters[i].kinds & 1u << url->kind) == 0 ||
            strcasecmp(known, name) != 0)
            continue;
        if (strcmp(known, name) == 0 || any_case(url, known))
            return parameters[i].set(url, &parameters[i], value, err);
        spelled = known;
    }
    if (spelled != NULL) {
        (void)snprintf(what, sizeof(what),
                       "the driver does not know it in this spelling and "
                       "overlooks it, and so is done here; write %s",
                       spelled);
        note(url, name, what);
    } else {
        note_unknown(url, name);
    }
    return 0;
}

/* --- together ------------------------------------------------------------ */

static void postgresql_tls(struct jdbc_url *url)
{
    if ((url->said & SAID_MODE) == 0 && (url->said & SAID_USE) != 0)
        url->tls = JDBC_TLS_HOST;
    if ((url->said & SAID_TRUST) != 0 && url->tls >= JDBC_TLS_CA)
        url->tls = JDBC_TLS_ON;
}

static void mysql_tls(struct jdbc_url *url)
{
    if ((url->said & SAID_MODE) == 0) {
        url->tls = (url->said & SAID_NOT_USE) != 0   ? JDBC_TLS_OFF
                   : (url->said & SAID_VERIFY) != 0  ? JDBC_TLS_CA
                   : (url->said & SAID_REQUIRE) != 0 ? JDBC_TLS_ON
                                                     : JDBC_TLS_PREFER;
    }
}

static void mariadb_tls(struct jdbc_url *url)
{
    if ((url->said & SAID_MODE) == 0 && (url->said & SAID_USE) != 0) {
        url->tls = (url->said & SAID_TRUST) != 0     ? JDBC_TLS_ON
                   : (url->said & SAID_NO_NAME) != 0 ? JDBC_TLS_CA
                                                     : JDBC_TLS_HOST;
    } else if ((url->said & (SAID_MODE | SAID_NOT_USE)) == SAID_NOT_USE) {
        url->tls = JDBC_TLS_OFF;
    }
}

void conf_jdbc_parameters_end(struct jdbc_url *url)
{
    switch (url->kind) {
    case JDBC_POSTGRESQL:
        postgresql_tls(url);
        break;
    case JDBC_MYSQL:
        mysql_tls(url);
        break;
    case JDBC_MARIADB:
        mariadb_tls(url);
        break;
    }
    if (url->kind != JDBC_POSTGRESQL && url->tls == JDBC_TLS_CA) {
        note(url, "sslMode",
             "libmariadb compares the server's name as well, as if it were "
             "VERIFY_IDENTITY");
    }
}
