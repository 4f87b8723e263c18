/*
 * jdbc_url.h - what a JDBC URL means to the driver that it was written for.
 *
 * The drivers read URLs each in a way of its own: pgjdbc (PostgreSQL),
 * Connector/J (MySQL) and MariaDB Connector/J. A block that works there must
 * mean the same here, and what cannot be had here is said: `notes` holds a line
 * for each parameter that matters and is not taken. No message quotes a value
 * or a host, since what stands there may be a password in the wrong place.
 */
#ifndef PELORUS_CONF_JDBC_URL_H
#define PELORUS_CONF_JDBC_URL_H

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define JDBC_HOSTS_MAX 8

enum jdbc_kind {
    JDBC_MYSQL,   /* Connector/J */
    JDBC_MARIADB, /* MariaDB Connector/J */
    JDBC_POSTGRESQL,
};

enum jdbc_tls {
    JDBC_TLS_OFF,
    JDBC_TLS_PREFER, /* if the server has it */
    JDBC_TLS_ON,     /* whoever it is */
    JDBC_TLS_CA,     /* with a certificate of our authority's */
    JDBC_TLS_HOST,   /* and of its name */
};

struct jdbc_host {
    char *name; /* a name or an address, without brackets */
    uint16_t port;
    char *user, *password; /* for this one alone, or NULL */
};

/* What was not said is NULL or 0. */
struct jdbc_url {
    enum jdbc_kind kind;
    struct jdbc_host hosts[JDBC_HOSTS_MAX]; /* at least one */
    size_t n_hosts;
    char *database; /* NULL: PostgreSQL's, by the user's name */
    char *schema;   /* PostgreSQL's search path, as the server reads it */
    char *options;  /* PostgreSQL: what else stands in `options` */
    char *user, *password;
    char *application; /* PostgreSQL: application_name */
    enum jdbc_tls tls;
    char *ca, *cert, *key, *key_password; /* files; the key's */
    int64_t connect_ms, call_ms; /* at most; a driver that is not told waits */
    unsigned said;               /* see jdbc_parameters.c */
    struct buf notes;            /* lines: "NAME: what; what to do" */
};

/* ERR_INVALID: what is wrong with it. `url` is to be closed in any case. */
int conf_jdbc_url_parse(struct jdbc_url *url, const char *text,
                        struct err *err) MUST_CHECK;
void conf_jdbc_url_close(struct jdbc_url *url);

/* Replace a text of the URL's. */
void conf_jdbc_set(char **field, const char *value);

/* The text with *** for all that may be secret (mem_free). */
char *conf_jdbc_url_masked(const char *text);

#endif
