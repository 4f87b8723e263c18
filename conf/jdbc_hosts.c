/*
 * jdbc_hosts.c - the hosts of a JDBC URL.
 *
 * pgjdbc takes host:port with commas between. MySQL's driver takes more, and
 * any of it beside any other: user:password@host:port,
 * address=(host=h)(port=p), (host=h,port=p), and [a, b] for several with the
 * same user.
 *
 * The C libraries see more in a host than a name: a connection string where it
 * has a '=', a plugin in "://", a directory of sockets at a '/' or a '@'. A
 * host is a name or an address here, and anything else is refused.
 */
#include "conf/jdbc_priv.h"

#include "base/mem.h"
#include "base/units.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 3

static uint16_t port_of(const struct jdbc_url *url)
{
    return url->kind == JDBC_POSTGRESQL ? 5432 : 3306;
}

static char *trim(char *text)
{
    size_t len;

    text += strspn(text, " \t");
    len = strlen(text);
    while (len > 0 && strchr(" \t", text[len - 1]) != NULL)
        text[--len] = '\0';
    return text;
}

/* Names, numbers, and what an address of version 6 is made of. */
static int check_name(const struct jdbc_url *url, const char *name,
                      struct err *err)
{
    bool v6 = strchr(name, ':') != NULL;
    char what[128];

    if (name[0] == '\0')
        return conf_jdbc_bad(url, "a host without a name", err);
    for (const char *c = name; *c != '\0'; c++) {
        if (isalnum((unsigned char)*c) || (unsigned char)*c >= 0x80 ||
            strchr("-._", *c) != NULL || (v6 && strchr(":%", *c) != NULL))
            continue;
        (void)snprintf(what, sizeof(what),
                       "host %zu holds a '%c'; a host is a name or an address, "
                       "with a port behind a colon",
                       url->n_hosts + 1,
                       strchr("=()[]{}%;/& ", *c) != NULL ? *c : '?');
        return conf_jdbc_bad(url, what, err);
    }
    return 0;
}

int conf_jdbc_add_host(struct jdbc_url *url, const char *name, uint16_t port,
                       struct err *err)
{
    char what[48];

    if (url->n_hosts == JDBC_HOSTS_MAX) {
        (void)snprintf(what, sizeof(what), "more than %d hosts",
                       JDBC_HOSTS_MAX);
        return conf_jdbc_bad(url, what, err);
    }
    url->hosts[url->n_hosts++] = (struct jdbc_host){
        .name = mem_strdup(name), .port = port == 0 ? port_of(url) : port};
    return 0;
}

static int parse_port(const struct jdbc_url *url, const char *text,
                      uint16_t *port, struct err *err)
{
    uint64_t number = 0;

    if (text[0] == '\0' && url->kind == JDBC_MYSQL) {
        *port = port_of(url);
        return 0;
    }
    if (units_uint(text, 65535, &number, NULL) != 0 || number == 0) {
        return conf_jdbc_bad(url, "a port that is no number from 1 to 65535",
                             err);
    }
    *port = (uint16_t)number;
    return 0;
}

/* [v6], v6 or a name. */
static int take_host(struct jdbc_url *url, char *name, uint16_t port,
                     struct err *err)
{
    size_t len = strlen(name);
    int rc;

    if (len > 1 && name[0] == '[' && name[len - 1] == ']') {
        name[len - 1] = '\0';
        name++;
    }
    rc = check_name(url, name, err);
    return rc == 0 ? conf_jdbc_add_host(url, name, port, err) : rc;
}

/* host, host:port, [v6] or [v6]:port */
static int plain_host(struct jdbc_url *url, char *text, struct err *err)
{
    uint16_t port = port_of(url);
    char *colon =
        strchr(text[0] == '[' ? text + strcspn(text, "]") : text, ':');
    int rc;

    if (colon != NULL) {
        *colon = '\0';
        rc = parse_port(url, colon + 1, &port, err);
        if (rc != 0)
            return rc;
    }
    return take_host(url, trim(text), port, err);
}

/* --- (host=h,port=p) and address=(host=h)(port=p) ------------------------ */

struct parts {
    char *host;
    uint16_t port;
    char *user, *password;
};

static int take_part(struct jdbc_url *url, struct parts *p, const char *name,
                     char *value, struct err *err)
{
    if (strcasecmp(name, "host") == 0) {
        p->host = value;
    } else if (strcasecmp(name, "port") == 0) {
        return parse_port(url, value, &p->port, err);
    } else if (strcasecmp(name, "user") == 0) {
        p->user = value;
    } else if (strcasecmp(name, "password") == 0) {
        p->password = value;
    } else if (strcasecmp(name, "protocol") == 0) {
        if (strcasecmp(value, "tcp") != 0)
            return conf_jdbc_bad(url, "a protocol other than tcp", err);
    } else if (strcasecmp(name, "type") != 0 &&
               strcasecmp(name, "priority") != 0) {
        return conf_jdbc_parameter(url, name, value, err); /* for all of them */
    }
    return 0;
}

/* "name=value" for each; the text is cut at `stop`. */
static int parse_parts(struct jdbc_url *url, char *text, const char *stop,
                       struct parts *p, struct err *err)
{
    int rc = 0;

    while (rc == 0 && *text != '\0') {
        size_t len = strcspn(text, stop);
        char *next = text + len + (text[len] != '\0');
        char *name = text + strspn(text, "( \t"), *value;

        text[len] = '\0';
        value = strchr(name, '=');
        if (value != NULL) {
            *value++ = '\0';
            value = trim(value);
            rc = conf_jdbc_decode(url, value, err);
            if (rc == 0)
                rc = take_part(url, p, trim(name), value, err);
        } else if (trim(name)[0] != '\0') {
            rc = conf_jdbc_bad(url, "a part of an address without a '='", err);
        }
        text = next;
    }
    return rc;
}

static int keyed_host(struct jdbc_url *url, char *text, bool address,
                      struct parts *p, struct err *err)
{
    size_t len = strlen(text);
    int rc;

    if (text[0] != '(' || text[len - 1] != ')')
        return conf_jdbc_bad(url, "an address without its parentheses", err);
    if (!address) { /* one pair of them around all */
        text[len - 1] = '\0';
        text++;
    }
    rc = parse_parts(url, text, address ? ")" : ",", p, err);
    if (rc != 0)
        return rc;
    if (p->host == NULL)
        return conf_jdbc_add_host(url, "localhost", p->port, err);
    return take_host(url, p->host, p->port, err);
}

/* --- lists --------------------------------------------------------------- */

/* Ends the first item at a comma that stands in no brackets; the next one, or
 * NULL. */
static char *cut_item(char *text)
{
    unsigned depth = 0;

    for (; *text != '\0'; text++) {
        if (*text == '(' || *text == '[') {
            depth++;
        } else if (depth > 0 && (*text == ')' || *text == ']')) {
            depth--;
        } else if (depth == 0 && *text == ',') {
            *text = '\0';
            return text + 1;
        }
    }
    return NULL;
}

static bool is_list(const char *text)
{
    size_t inside = strlen(text);

    return inside > 2 && text[0] == '[' && text[inside - 1] == ']' &&
           strspn(text + 1, "0123456789abcdefABCDEF:.") != inside - 2 &&
           strchr(text, '%') == NULL;
}

static int parse_list(struct jdbc_url *url, char *text, const struct parts *who,
                      unsigned depth, struct err *err);

/* user:password@ in front of an item. */
static int take_user(const struct jdbc_url *url, char **text, struct parts *p,
                     struct err *err)
{
    char *at = strchr(*text, '@'), *colon;
    int rc;

    if (at == NULL)
        return 0;
    if (url->kind != JDBC_MYSQL) {
        return conf_jdbc_bad(url,
                             "names a user before an '@'; give username and "
                             "password as keys of their own",
                             err);
    }
    if (strchr(at + 1, '@') != NULL) {
        return conf_jdbc_bad(
            url,
            "two '@' before a host; write %40 for one in a user or a password",
            err);
    }
    *at = '\0';
    colon = strchr(*text, ':');
    if (colon != NULL) {
        *colon = '\0';
        p->password = colon + 1;
        rc = conf_jdbc_decode(url, p->password, err);
        if (rc != 0)
            return rc;
    }
    p->user = (*text)[0] == '\0' ? NULL : *text;
    rc = p->user == NULL ? 0 : conf_jdbc_decode(url, p->user, err);
    *text = trim(at + 1);
    return rc;
}

static int parse_item(struct jdbc_url *url, char *text, const struct parts *who,
                      unsigned depth, struct err *err)
{
    struct parts p = *who, outer;
    size_t n = url->n_hosts;
    int rc = take_user(url, &text, &p, err);

    if (rc != 0)
        return rc;
    outer = p;
    if (url->kind != JDBC_POSTGRESQL && strncasecmp(text, "address=", 8) == 0) {
        rc = keyed_host(url, trim(text + 8), true, &p, err);
    } else if (url->kind == JDBC_MYSQL && text[0] == '(') {
        rc = keyed_host(url, text, false, &p, err);
    } else if (url->kind == JDBC_MYSQL && is_list(text)) {
        text[strlen(text) - 1] = '\0';
        return parse_list(url, text + 1, &p, depth + 1, err);
    } else {
        rc = plain_host(url, text, err);
    }
    if (rc == 0) {
        struct jdbc_host *h = &url->hosts[n];
        /* What stands before the '@' comes first. */
        const char *user = outer.user != NULL ? outer.user : p.user;
        const char *password =
            outer.password != NULL ? outer.password : p.password;

        assert(url->n_hosts == n + 1);
        h->user = user == NULL ? NULL : mem_strdup(user);
        h->password = password == NULL ? NULL : mem_strdup(password);
    }
    return rc;
}

static int parse_list(struct jdbc_url *url, char *text, const struct parts *who,
                      unsigned depth, struct err *err)
{
    int rc = 0;

    if (depth > DEPTH_MAX)
        return conf_jdbc_bad(url, "lists of hosts in each other", err);
    while (rc == 0 && text != NULL) {
        char *next = cut_item(text);

        text = trim(text);
        /* pgjdbc does not mind a comma behind the last. */
        if (text[0] == '\0' && next == NULL && url->n_hosts > 0 &&
            url->kind == JDBC_POSTGRESQL)
            break;
        rc = parse_item(url, text, who, depth, err);
        text = next;
    }
    return rc;
}

int conf_jdbc_hosts(struct jdbc_url *url, char *text, struct err *err)
{
    const struct parts nobody = {0};

    if (trim(text)[0] == '\0') /* jdbc:postgresql:///d */
        return conf_jdbc_add_host(url, "localhost", 0, err);
    return parse_list(url, text, &nobody, 0, err);
}
