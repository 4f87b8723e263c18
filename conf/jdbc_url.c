/*
 * jdbc_url.c - the frame of a JDBC URL: which driver, where the hosts end and
 * the database and the parameters begin, and what of it may be shown.
 */
#include "conf/jdbc_priv.h"

#include "base/compiler.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NOTES_MAX 8192

int conf_jdbc_bad(const struct jdbc_url *url, const char *what, struct err *err)
{
    return (int)err_set(err, ERR_INVALID,
                        "%s; write jdbc:%s://host:%s/database", what,
                        url->kind == JDBC_MARIADB ? "mariadb"
                        : url->kind == JDBC_MYSQL ? "mysql"
                                                  : "postgresql",
                        url->kind == JDBC_POSTGRESQL ? "5432" : "3306");
}

void conf_jdbc_set(char **field, const char *value)
{
    char *copy = mem_strdup(value);

    mem_free(*field);
    *field = copy;
}

static int hex(char c)
{
    return isdigit((unsigned char)c) ? c - '0'
                                     : tolower((unsigned char)c) - 'a' + 10;
}

int conf_jdbc_decode(const struct jdbc_url *url, char *text, struct err *err)
{
    char *out = text;

    if (url->kind == JDBC_MARIADB)
        return 0;
    for (const char *in = text; *in != '\0'; in++) {
        if (*in != '%') {
            *out++ = (char)(*in == '+' ? ' ' : *in);
            continue;
        }
        if (!isxdigit((unsigned char)in[1]) ||
            !isxdigit((unsigned char)in[2]) || (in[1] == '0' && in[2] == '0')) {
            return conf_jdbc_bad(
                url,
                "a % without two hexadecimal digits (%25 is the "
                "sign itself)",
                err);
        }
        *out++ = (char)(hex(in[1]) << 4 | hex(in[2]));
        in += 2;
    }
    *out = '\0';
    return 0;
}

/* --- the driver ---------------------------------------------------------- */

/* "jdbc:mysql:" and what may stand before the slashes: several hosts are asked
 * which one writes, whatever the drivers would do with them. */
static const struct {
    const char *scheme;
    enum jdbc_kind kind;
} schemes[] = {
    {"jdbc:mysql:", JDBC_MYSQL},
    {"jdbc:mysql:loadbalance:", JDBC_MYSQL},
    {"jdbc:mysql:replication:", JDBC_MYSQL},
    {"jdbc:mariadb:", JDBC_MARIADB},
    {"jdbc:mariadb:sequential:", JDBC_MARIADB},
    {"jdbc:mariadb:loadbalance:", JDBC_MARIADB},
    {"jdbc:mariadb:load-balance-read:", JDBC_MARIADB},
    {"jdbc:mariadb:replication:", JDBC_MARIADB},
    {"jdbc:postgresql:", JDBC_POSTGRESQL},
};

/* Moves past the scheme. */
static int parse_scheme(struct jdbc_url *url, const char **text,
                        struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        size_t len = strlen(schemes[i].scheme);

        if (strncasecmp(*text, schemes[i].scheme, len) == 0 &&
            (strncmp(*text + len, "//", 2) == 0 ||
             schemes[i].kind == JDBC_POSTGRESQL)) {
            url->kind = schemes[i].kind;
            *text += len;
            return 0;
        }
    }
    return (int)err_set(
        err, ERR_INVALID,
        strncasecmp(*text, "jdbc:mysql+srv:", 15) == 0
            ? "names a record of DNS (mysql+srv); write its hosts: "
              "jdbc:mysql://host:port,host:port/database"
            : "not a database we know; write jdbc:mysql://host:port/database "
              "or jdbc:postgresql://host:port/database");
}

/* --- the rest ------------------------------------------------------------ */

static int parse_query(struct jdbc_url *url, char *text, struct err *err)
{
    int rc = 0;

    for (char *next; rc == 0 && text != NULL; text = next) {
        char *value;

        next = strchr(text, '&');
        if (next != NULL)
            *next++ = '\0';
        value = strchr(text, '=');
        if (value != NULL) {
            *value++ = '\0';
            rc = conf_jdbc_decode(url, value, err);
        }
        if (rc == 0 && url->kind == JDBC_MYSQL)
            rc = conf_jdbc_decode(url, text, err);
        if (rc == 0 && text[0] != '\0') {
            rc =
                conf_jdbc_parameter(url, text, value == NULL ? "" : value, err);
        }
    }
    if (rc == 0)
        conf_jdbc_parameters_end(url);
    return rc;
}

static int take_database(struct jdbc_url *url, char *text, struct err *err)
{
    int rc;

    if (url->kind == JDBC_POSTGRESQL && strchr(text, '/') != NULL) {
        return conf_jdbc_bad(url, "a '/' in the database's name; write it %2F",
                             err);
    }
    rc = conf_jdbc_decode(url, text, err);
    if (rc == 0 && text[0] != '\0')
        conf_jdbc_set(&url->database, text);
    return rc;
}

/* `text` is behind the scheme, and ours to cut. */
static int parse(struct jdbc_url *url, char *text, struct err *err)
{
    char *query = text + strcspn(text, "?"), *database = text, *fragment;
    char here[] = "localhost";
    int rc;

    query = *query == '?' ? query : NULL;
    if (url->kind == JDBC_MYSQL && (fragment = strchr(text, '#')) != NULL) {
        *fragment = '\0'; /* its driver drops it */
        query = query > fragment ? NULL : query;
    }
    if (query != NULL)
        *query++ = '\0';
    if (strncmp(text, "//", 2) == 0) {
        text += 2;
        database = strchr(text, '/');
        if (database != NULL)
            *database++ = '\0';
        else if (url->kind == JDBC_POSTGRESQL && text[0] != '\0')
            return conf_jdbc_bad(url, "no '/' behind the hosts", err);
    } else if (text[0] == '/') { /* jdbc:postgresql:/ */
        return conf_jdbc_bad(url, "one '/' where two belong", err);
    } else {
        text = here; /* jdbc:postgresql:database */
    }
    rc = conf_jdbc_hosts(url, text, err);
    if (rc == 0 && database != NULL)
        rc = take_database(url, database, err);
    if (rc == 0)
        rc = parse_query(url, query, err);
    if (rc == 0 && url->database == NULL && url->kind != JDBC_POSTGRESQL)
        rc = conf_jdbc_bad(url, "names no database", err);
    return rc;
}

int conf_jdbc_url_parse(struct jdbc_url *url, const char *text, struct err *err)
{
    char *copy;
    int rc;

    memset(url, 0, sizeof(*url));
    url->tls = JDBC_TLS_PREFER;
    buf_init(&url->notes, NOTES_MAX);
    rc = parse_scheme(url, &text, err);
    if (rc != 0)
        return rc;
    copy = mem_strdup(text);
    rc = parse(url, copy, err);
    mem_free(copy);
    return rc;
}

void conf_jdbc_url_close(struct jdbc_url *url)
{
    for (size_t i = 0; i < url->n_hosts; i++) {
        mem_free(url->hosts[i].name);
        mem_free(url->hosts[i].user);
        mem_free(url->hosts[i].password);
    }
    mem_free(url->database);
    mem_free(url->schema);
    mem_free(url->options);
    mem_free(url->user);
    mem_free(url->password);
    mem_free(url->application);
    mem_free(url->ca);
    mem_free(url->cert);
    mem_free(url->key);
    mem_free(url->key_password);
    buf_close(&url->notes);
    memset(url, 0, sizeof(*url));
}

/* --- what may be shown --------------------------------------------------- */

/* Names are not hidden in %xx: whose value is one of these is no secret. */
static bool is_open(const char *name, size_t len)
{
    static const char *const secrets[] = {"pass", "secret", "token",
                                          "pwd",  "%",      "key"};
    char *copy = mem_strndup(name, len);
    bool open = true;

    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        open = open && strcasestr(copy, secrets[i]) == NULL;
    open = open || strcasecmp(copy, "sslkey") == 0;
    mem_free(copy);
    return open;
}

/* "name=value" up to `end`, wherever it stands. */
static const char *mask_value(struct buf *out, const char *from,
                              const char *end)
{
    const char *equals = memchr(from, '=', (size_t)(end - from));

    if (equals == NULL || is_open(from, (size_t)(equals - from))) {
        buf_add(out, from, (size_t)(end - from));
    } else {
        buf_add(out, from, (size_t)(equals - from) + 1);
        buf_str(out, "***");
    }
    return end;
}

/* Hosts and their users, up to `end`. */
static const char *mask_parts(struct buf *out, const char *at, const char *end)
{
    while (at < end) {
        const char *stop = at + strcspn(at, "(),");

        at = mask_value(out, at, stop > end ? end : stop);
        if (at < end)
            buf_char(out, *at++);
    }
    return at;
}

char *conf_jdbc_url_masked(const char *text)
{
    const char *slashes = strstr(text, "//");
    const char *hosts = slashes == NULL ? text : slashes + 2;
    const char *query = strchr(hosts, '?'), *at = hosts;
    const char *end = query == NULL ? hosts + strlen(hosts) : query;
    const char *user;
    struct buf out;
    char *masked;

    buf_init(&out, strlen(text) * 4 + 16);
    buf_add(&out, text, (size_t)(hosts - text));
    /* user:password@, for each of several */
    while ((user = memchr(at, '@', (size_t)(end - at))) != NULL) {
        const char *from = user;

        while (from > at && strchr(",[", from[-1]) == NULL)
            from--;
        (void)mask_parts(&out, at, from);
        buf_str(&out, "***@");
        at = user + 1;
    }
    at = mask_parts(&out, at, end);
    while (*at != '\0') { /* '?' or '&', and a parameter */
        const char *stop = at + 1 + strcspn(at + 1, "&");

        buf_char(&out, *at);
        at = mask_value(&out, at + 1, stop);
    }
    masked = mem_strdup(buf_text(&out));
    buf_close(&out);
    return masked;
}
