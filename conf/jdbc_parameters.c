/*
 * jdbc_parameters.c - what stands behind the '?' of a JDBC URL.
 *
 * Three drivers, three tables. A name counts as its driver reads it: pgjdbc and
 * Connector/J tell capitals from small letters, and overlook in silence what
 * they do not know. We overlook it, too, but aloud where it would have
 * mattered: the name in another spelling, and the names without an equivalent.
 * (Longer than 500 lines: the table, and beside it what each row does.)
 */
#include "conf/jdbc_priv.h"
#include "conf/text.h"

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

struct setting;

/* A row of the table. */
struct parameter {
    const char *name;
    unsigned kinds;
    int (*set)(const struct setting *s);
    union {
        size_t at;        /* a field of struct jdbc_url */
        unsigned said;    /* SAID_... */
        const char *text; /* what is said of it */
    };
};

/* A parameter of the URL, and its row. */
struct setting {
    struct jdbc_url *url;
    const struct parameter *row;
    const char *value;
    struct err *err;
};

static void *field_of(const struct setting *s)
{
    assert(s->row->at < sizeof(*s->url));
    return (char *)s->url + s->row->at;
}

static void note(struct jdbc_url *url, const char *name, const char *what)
{
    assert(name != NULL && what != NULL);
    buf_printf(&url->notes, "%s: %s\n", name, what);
}

/* Notes it; the parameter is not taken. */
static int noted(const struct setting *s, const char *what)
{
    note(s->url, s->row->name, what);
    return 0;
}

static int refused(const struct setting *s, const char *what)
{
    assert(what[0] != '\0');
    return err_set(s->err, ERR_INVALID, "%s %s", s->row->name, what);
}

static int note_always(const struct setting *s)
{
    assert(s->row->text != NULL);
    return noted(s, s->row->text);
}

static int note_if_true(const struct setting *s)
{
    return strcasecmp(s->value, "true") == 0 ? note_always(s) : 0;
}

static int refuse_always(const struct setting *s)
{
    return refused(s, s->row->text);
}

/* --- who, where ---------------------------------------------------------- */

static int set_text(const struct setting *s)
{
    assert(s->value != NULL);
    conf_jdbc_set(field_of(s), s->value);
    return 0;
}

static int set_application(const struct setting *s)
{
    assert(s->url->kind == JDBC_POSTGRESQL);
    conf_jdbc_set(&s->url->application,
                  s->value[0] == '\0' ? "pelorus" : s->value);
    return 0;
}

static int set_schema(const struct setting *s)
{
    assert(s->url->kind == JDBC_POSTGRESQL);
    conf_jdbc_set(&s->url->schema, s->value);
    s->url->said |= SAID_SCHEMA;
    return 0;
}

static int set_target(const struct setting *s)
{
    static const char *const fit[] = {"any", "primary", "master",
                                      "preferPrimary", NULL};
    static const char *const other[] = {"secondary", "slave", "preferSecondary",
                                        "preferSlave", NULL};

    assert(s->url->kind == JDBC_POSTGRESQL);
    if (conf_text_index(s->value, fit, strcasecmp) >= 0)
        return 0; /* one that writes is looked for in any case */
    if (conf_text_index(s->value, other, strcasecmp) >= 0) {
        return noted(s, "asks for a standby, and a registry is written; the "
                        "primary is taken");
    }
    return refused(
        s, "is none of any, primary and preferPrimary; write one of them");
}

/* --- a search path in PostgreSQL's options ------------------------------- */

/* The next word, unescaped (mem_free), or NULL: blanks part them, a backslash
 * keeps one. */
static char *next_word(const char **text)
{
    const char *s = *text + strspn(*text, " \t\n\r\f\v");
    struct buf word;
    char *out;

    assert(s >= *text);
    if (*s == '\0')
        return NULL;
    buf_init(&word, strlen(s) + 1);
    while (*s != '\0' && !isspace((unsigned char)*s)) {
        s += *s == '\\' && s[1] != '\0';
        buf_char(&word, *s++);
    }
    assert(!word.overflow);
    *text = s;
    out = mem_strdup(buf_text(&word));
    buf_close(&word);
    return out;
}

/* The value if it is "search_path=value", whose '_' may be a '-'. */
static const char *search_path(const char *setting)
{
    assert(setting != NULL);
    return strncasecmp(setting, "search_path=", 12) == 0 ||
                   strncasecmp(setting, "search-path=", 12) == 0
               ? setting + 12
               : NULL;
}

/* The search path is set by us in each transaction, behind poolers too; so it
 * is taken out, and the rest goes to the server as it is. */
static int set_options(const struct setting *s)
{
    bool other = false;
    char *word;

    assert(s->url->kind == JDBC_POSTGRESQL);
    for (const char *at = s->value; (word = next_word(&at)) != NULL;) {
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
        else if ((s->url->said & SAID_SCHEMA) == 0)
            conf_jdbc_set(&s->url->schema, path); /* of two the later one */
        mem_free(word);
    }
    if (other)
        conf_jdbc_set(&s->url->options, s->value);
    return 0;
}

/* --- patience ------------------------------------------------------------ */

/* 0 is no limit: then our own holds. */
static int set_patience(const struct setting *s)
{
    bool seconds = s->url->kind == JDBC_POSTGRESQL;
    int64_t n, *ms = field_of(s);

    assert(*ms >= 0);
    if (units_int(s->value, 0, 86400000, &n, NULL) != 0) {
        return refused(
            s, seconds ? "is no whole number of seconds; write one"
                       : "is no whole number of milliseconds; write one");
    }
    n *= seconds ? 1000 : 1;
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

static int set_mode(const struct setting *s)
{
    char all[160] = "is none of";
    size_t len = strlen(all);

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if ((modes[i].kinds & 1u << s->url->kind) == 0)
            continue;
        if (strcasecmp(modes[i].name, s->value) == 0) {
            s->url->tls = modes[i].tls;
            s->url->said |= SAID_MODE;
            return 0;
        }
        len += (size_t)snprintf(all + len, sizeof(all) - len, "%s %s",
                                len > 10 ? "," : "", modes[i].name);
    }
    assert(len < sizeof(all));
    (void)snprintf(all + len, sizeof(all) - len, "; write one of them");
    return refused(s, all);
}

/* pgjdbc takes what is not "true" for false, Connector/J for a mistake. */
static int is_true(const struct setting *s, bool *yes)
{
    enum jdbc_kind kind = s->url->kind;
    const char *value = s->value;

    assert(kind <= JDBC_POSTGRESQL);
    *yes = strcasecmp(value, "true") == 0 ||
           (kind != JDBC_MYSQL && value[0] == '\0') ||
           (kind == JDBC_MYSQL && strcasecmp(value, "yes") == 0) ||
           (kind == JDBC_MARIADB && strcmp(value, "1") == 0);
    return kind != JDBC_MYSQL || *yes || strcasecmp(value, "false") == 0 ||
                   strcasecmp(value, "no") == 0
               ? 0
               : refused(s, "is neither true nor false; write one of them");
}

static int set_said(const struct setting *s)
{
    bool yes;
    int rc = is_true(s, &yes);

    assert(s->row->said != 0);
    if (yes)
        s->url->said |= s->row->said;
    else if (s->row->said == SAID_USE)
        s->url->said |= SAID_NOT_USE;
    return rc;
}

static const char *file_of(const char *value)
{
    return strncmp(value, "file://", 7) == 0 ? value + 7
           : strncmp(value, "file:", 5) == 0 ? value + 5
                                             : value;
}

static int set_ca(const struct setting *s)
{
    if (strncmp(s->value, "classpath:", 10) == 0 ||
        strncmp(s->value, "-----", 5) == 0)
        return noted(s, "is no file; give it as registry.cert-file (PEM)");
    conf_jdbc_set(&s->url->ca, file_of(s->value));
    return 0;
}

static int set_key(const struct setting *s)
{
    const char *dot = strrchr(s->value, '.');

    assert(s->url->kind == JDBC_POSTGRESQL);
    if (dot != NULL &&
        (strcasecmp(dot, ".p12") == 0 || strcasecmp(dot, ".pfx") == 0)) {
        return noted(s, "is a PKCS-12 file; give certificate and key as PEM in "
                        "registry.key-cert-chain-file and registry.key-file");
    }
    conf_jdbc_set(&s->url->key, s->value);
    return 0;
}

static int set_factory(const struct setting *s)
{
    static const char *const known[] = {
        "org.postgresql.ssl.NonValidatingFactory",
        "org.postgresql.ssl.SingleCertValidatingFactory",
        "org.postgresql.ssl.LibPQFactory",
        "org.postgresql.ssl.jdbc4.LibPQFactory", NULL};
    int which = conf_text_index(s->value, known, strcmp);

    assert(s->url->kind == JDBC_POSTGRESQL);
    if (which < 0) {
        return noted(
            s, "is a class of Java's and is not taken; give the authority's "
               "certificate as sslrootcert or registry.cert-file");
    }
    if (which > 0)
        return 0;
    s->url->said |= SAID_TRUST;
    return noted(s, "then nobody looks at the server's certificate");
}

/* --- the tables ---------------------------------------------------------- */

#define SECOND_PLACE                                                           \
    "names a server a second time; write it before the '/' only"
#define KEY_STORE                                                              \
    "is a key store of Java's and is not taken; give PEM files as "            \
    "registry.cert-file, registry.key-cert-chain-file and registry.key-file"
#define NO_EQUIVALENT "has no equivalent here and is not taken"

#define AT(field) offsetof(struct jdbc_url, field)

static const struct parameter parameters[] = {
    {"user", ANY, set_text, .at = AT(user)},
    {"password", ANY, set_text, .at = AT(password)},
    {"dbname", MYSQL, set_text, .at = AT(database)},
    {"host", MYSQL | POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"port", MYSQL | POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"dbname", POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"PGHOST", POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"PGPORT", POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"PGDBNAME", POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"service", POSTGRESQL, refuse_always, .text = SECOND_PLACE},
    {"currentSchema", POSTGRESQL, set_schema, .at = 0},
    {"options", POSTGRESQL, set_options, .at = 0},
    {"ApplicationName", POSTGRESQL, set_application, .at = 0},
    {"targetServerType", POSTGRESQL, set_target, .at = 0},
    {"connectTimeout", ANY, set_patience, .at = AT(connect_ms)},
    {"loginTimeout", POSTGRESQL, set_patience, .at = AT(connect_ms)},
    {"socketTimeout", ANY, set_patience, .at = AT(call_ms)},

    {"sslmode", POSTGRESQL | MARIADB, set_mode, .at = 0},
    {"sslMode", MYSQL, set_mode, .at = 0},
    {"ssl", POSTGRESQL, set_said, .said = SAID_USE},
    {"useSSL", MYSQL | MARIADB, set_said, .said = SAID_USE},
    {"requireSSL", MYSQL, set_said, .said = SAID_REQUIRE},
    {"verifyServerCertificate", MYSQL, set_said, .said = SAID_VERIFY},
    {"trustServerCertificate", MARIADB, set_said, .said = SAID_TRUST},
    {"disableSslHostnameVerification", MARIADB, set_said, .said = SAID_NO_NAME},
    {"sslrootcert", POSTGRESQL, set_ca, .at = 0},
    {"sslfactoryarg", POSTGRESQL, set_ca, .at = 0},
    {"serverSslCert", MARIADB, set_ca, .at = 0},
    {"sslcert", POSTGRESQL, set_text, .at = AT(cert)},
    {"sslkey", POSTGRESQL, set_key, .at = 0},
    {"sslpassword", POSTGRESQL, set_text, .at = AT(key_password)},
    {"sslfactory", POSTGRESQL, set_factory, .at = 0},
    {"trustCertificateKeyStoreUrl", MYSQL, note_always, .text = KEY_STORE},
    {"clientCertificateKeyStoreUrl", MYSQL, note_always, .text = KEY_STORE},
    {"keyStore", MARIADB, note_always, .text = KEY_STORE},
    {"trustStore", MARIADB, note_always, .text = KEY_STORE},

    {"readOnly", POSTGRESQL, note_if_true,
     .text = "is not taken: a registry is written"},
    {"createDatabaseIfNotExist", MYSQL | MARIADB, note_if_true,
     .text = "is not taken: make the database yourself"},
    {"authenticationPluginClassName", POSTGRESQL, note_always,
     .text = NO_EQUIVALENT},
    {"authenticationPlugins", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"channelBinding", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"credentialType", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"defaultAuthenticationPlugin", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"enabledSslCipherSuites", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"enabledSslProtocolSuites", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"enabledTLSProtocols", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"gssEncMode", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"gsslib", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"initSql", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"jaasApplicationName", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"kerberosServerName", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"localSocket", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"localSocketAddress", ANY, note_always, .text = NO_EQUIVALENT},
    {"password1", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"password2", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"password3", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"pipe", MARIADB, note_always, .text = NO_EQUIVALENT},
    {"propertiesTransform", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"serverRSAPublicKeyFile", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"sessionVariables", MYSQL | MARIADB, note_always, .text = NO_EQUIVALENT},
    {"socketFactory", ANY, note_always, .text = NO_EQUIVALENT},
    {"socksProxyHost", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"sslfactory", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"sslhostnameverifier", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"sslContextProvider", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"sslpasswordcallback", POSTGRESQL, note_always, .text = NO_EQUIVALENT},
    {"tlsCiphersuites", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"tlsVersions", MYSQL, note_always, .text = NO_EQUIVALENT},
    {"useConfigs", MYSQL, note_always, .text = NO_EQUIVALENT},
};

/* Connector/J reads these few, MariaDB's driver all, in any case. */
static bool any_case(const struct jdbc_url *url, const char *name)
{
    static const char *const few[] = {"user", "password", "dbname",
                                      "host", "port",     NULL};

    assert(name != NULL);
    return url->kind == JDBC_MARIADB ||
           (url->kind == JDBC_MYSQL && conf_text_index(name, few, strcmp) >= 0);
}

/* A slip of the pen? Drivers have more parameters than the table, and one that
 * only goes on where another ends is such a one. */
static bool is_misspelt(const char *name, const char *known)
{
    size_t n = strlen(name), m = strlen(known), both = n < m ? n : m;
    size_t off = n < CONF_PATH_MAX ? conf_text_distance(known, name) : n;

    bool goes_on = n > m && strncasecmp(name, known, m) == 0;

    return off > 0 && !goes_on && both >= 6 && off <= (both >= 10 ? 3 : 2);
}

/* Of what the driver does not know, and overlooks: nobody else says so. */
static void note_unknown(struct jdbc_url *url, const char *name)
{
    const struct parameter *end = parameters + ARRAY_LEN(parameters), *p;
    char what[160];

    if (name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
                          "yz0123456789._-")] != '\0') {
        note(url, name,
             "no parameter's name, and overlooked; behind one '?' stand "
             "name=value, with a plain '&' between them");
        return;
    }
    for (p = parameters; p < end; p++) {
        if ((p->kinds & 1u << url->kind) != 0 && is_misspelt(name, p->name)) {
            (void)snprintf(what, sizeof(what),
                           "unknown, and overlooked; did you mean %s?",
                           p->name);
            note(url, name, what);
            return;
        }
    }
    for (p = parameters; p < end && strcmp(p->name, name) != 0; p++)
        continue;
    if (p < end) {
        (void)snprintf(what, sizeof(what),
                       "is another driver's parameter, and overlooked%s",
                       strcasestr(name, "ssl") == NULL ? ""
                       : url->kind == JDBC_POSTGRESQL  ? "; write sslmode"
                                                       : "; write sslMode");
        note(url, name, what);
    }
}

int conf_jdbc_parameter(struct jdbc_url *url, const char *name,
                        const char *value, struct err *err)
{
    const char *spelled = NULL;
    char what[128];

    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const struct parameter *p = &parameters[i];

        if ((p->kinds & 1u << url->kind) == 0 || strcasecmp(p->name, name) != 0)
            continue;
        if (strcmp(p->name, name) == 0 || any_case(url, p->name))
            return p->set(&(struct setting){url, p, value, err});
        spelled = p->name;
    }
    if (spelled == NULL) {
        note_unknown(url, name);
        return 0;
    }
    (void)snprintf(what, sizeof(what),
                   "the driver does not know it in this spelling and overlooks "
                   "it, and so is done here; write %s",
                   spelled);
    note(url, name, what);
    return 0;
}

/* --- together ------------------------------------------------------------ */

static enum jdbc_tls postgresql_tls(const struct jdbc_url *url)
{
    enum jdbc_tls tls = url->tls;

    assert(url->kind == JDBC_POSTGRESQL);
    if ((url->said & SAID_MODE) == 0 && (url->said & SAID_USE) != 0)
        tls = JDBC_TLS_HOST;
    return (url->said & SAID_TRUST) != 0 && tls >= JDBC_TLS_CA ? JDBC_TLS_ON
                                                               : tls;
}

static enum jdbc_tls mysql_tls(const struct jdbc_url *url)
{
    assert(url->kind == JDBC_MYSQL);
    return (url->said & SAID_MODE) != 0      ? url->tls
           : (url->said & SAID_NOT_USE) != 0 ? JDBC_TLS_OFF
           : (url->said & SAID_VERIFY) != 0  ? JDBC_TLS_CA
           : (url->said & SAID_REQUIRE) != 0 ? JDBC_TLS_ON
                                             : JDBC_TLS_PREFER;
}

static enum jdbc_tls mariadb_tls(const struct jdbc_url *url)
{
    assert(url->kind == JDBC_MARIADB);
    return (url->said & SAID_MODE) != 0 ? url->tls
           : (url->said & SAID_USE) == 0
               ? (url->said & SAID_NOT_USE) != 0 ? JDBC_TLS_OFF : url->tls
           : (url->said & SAID_TRUST) != 0   ? JDBC_TLS_ON
           : (url->said & SAID_NO_NAME) != 0 ? JDBC_TLS_CA
                                             : JDBC_TLS_HOST;
}

void conf_jdbc_parameters_end(struct jdbc_url *url)
{
    static enum jdbc_tls (*const tls_of[])(const struct jdbc_url *url) = {
        [JDBC_POSTGRESQL] = postgresql_tls,
        [JDBC_MYSQL] = mysql_tls,
        [JDBC_MARIADB] = mariadb_tls,
    };

    assert(url->n_hosts > 0);
    assert(url->kind < ARRAY_LEN(tls_of));
    url->tls = tls_of[url->kind](url);
    assert(url->tls <= JDBC_TLS_HOST);
    if (url->kind != JDBC_POSTGRESQL && url->tls == JDBC_TLS_CA) {
        note(url, "sslMode",
             "libmariadb compares the server's name as well, as if it were "
             "VERIFY_IDENTITY");
    }
}
