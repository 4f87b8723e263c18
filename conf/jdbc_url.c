/*
 * jdbc_url.c - the frame of a JDBC URL: which driver, where the hosts end and
 * the database and the parameters begin.
 */
#include "conf/jdbc_priv.h"

#include "base/compiler.h"
#include "base/mem.h"

#include <string.h>
#include <strings.h>

#define NOTES_MAX 8192

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
    return err_set(
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

    assert(url->n_hosts > 0);
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

    assert(url->n_hosts == 0);
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
    assert(rc != 0 || url->n_hosts > 0);
    mem_free(copy);
    return rc;
}

void conf_jdbc_url_close(struct jdbc_url *url)
{
    char **const texts[] = {
        &url->database, &url->schema,      &url->options, &url->user,
        &url->password, &url->application, &url->ca,      &url->cert,
        &url->key,      &url->key_password};

    assert(url->n_hosts <= JDBC_HOSTS_MAX);
    for (size_t i = 0; i < url->n_hosts; i++) {
        mem_free(url->hosts[i].name);
        mem_free(url->hosts[i].user);
        mem_free(url->hosts[i].password);
    }
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        mem_free(*texts[i]);
    buf_close(&url->notes);
    memset(url, 0, sizeof(*url));
}
