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

    assert(url->n_hosts <= JDBC_HOSTS_MAX);
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

/* One more. [v6], v6 or a name; NULL: this host, port 0: the usual one. Copies
 * it all. */
static int add_host(struct jdbc_url *url, const struct jdbc_host *h,
                    struct err *err)
{
    uint16_t usual = url->kind == JDBC_POSTGRESQL ? 5432 : 3306;
    const char *name = h->name == NULL ? "localhost" : h->name;
    size_t len = strlen(name);
    char what[48];
    int rc;

    assert(url->n_hosts <= JDBC_HOSTS_MAX);
    if (len > 1 && name[0] == '[' && name[len - 1] == ']') {
        h->name[len - 1] = '\0';
        name++;
    }
    rc = check_name(url, name, err);
    if (rc != 0)
        return rc;
    if (url->n_hosts == JDBC_HOSTS_MAX) {
        (void)snprintf(what, sizeof(what), "more than %d hosts",
                       JDBC_HOSTS_MAX);
        return conf_jdbc_bad(url, what, err);
    }
    url->hosts[url->n_hosts++] =
        (struct jdbc_host){.name = mem_strdup(name),
                           .port = h->port == 0 ? usual : h->port,
                           .user = mem_strdup(h->user),
                           .password = mem_strdup(h->password)};
    return 0;
}

/* MySQL's driver takes none for the usual one. */
static int parse_port(const struct jdbc_url *url, const char *text,
                      uint16_t *port, struct err *err)
{
    uint64_t number = 0;
    bool none = text[0] == '\0' && url->kind == JDBC_MYSQL;

    if (!none && (units_uint(text, 65535, &number, NULL) != 0 || number == 0)) {
        return conf_jdbc_bad(url, "a port that is no number from 1 to 65535",
                             err);
    }
    assert(number <= UINT16_MAX);
    *port = (uint16_t)number;
    return 0;
}

/* host, host:port, [v6] or [v6]:port */
static int plain_host(const struct jdbc_url *url, char *text,
                      struct jdbc_host *h, struct err *err)
{
    char *colon =
        strchr(text[0] == '[' ? text + strcspn(text, "]") : text, ':');
    int rc = 0;

    assert(h->name == NULL);
    if (colon != NULL) {
        *colon = '\0';
        rc = parse_port(url, colon + 1, &h->port, err);
    }
    h->name = trim(text);
    return rc;
}

/* --- (host=h,port=p) and address=(host=h)(port=p) ------------------------ */

static int take_part(struct jdbc_url *url, struct jdbc_host *h,
                     const char *name, char *value, struct err *err)
{
    if (strcasecmp(name, "port") == 0)
        return parse_port(url, value, &h->port, err);
    if (strcasecmp(name, "host") == 0)
        h->name = value;
    else if (strcasecmp(name, "user") == 0)
        h->user = value;
    else if (strcasecmp(name, "password") == 0)
        h->password = value;
    else if (strcasecmp(name, "protocol") == 0)
        return strcasecmp(value, "tcp") == 0
                   ? 0
                   : conf_jdbc_bad(url, "a protocol other than tcp", err);
    else if (strcasecmp(name, "type") != 0 && strcasecmp(name, "priority") != 0)
        return conf_jdbc_parameter(url, name, value, err); /* for all of them */
    return 0;
}

/* "name=value" for each; the text is cut at `stop`. */
static int parse_parts(struct jdbc_url *url, char *text, const char *stop,
                       struct jdbc_host *h, struct err *err)
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
                rc = take_part(url, h, trim(name), value, err);
        } else if (trim(name)[0] != '\0') {
            rc = conf_jdbc_bad(url, "a part of an address without a '='", err);
        }
        text = next;
    }
    return rc;
}

static int keyed_host(struct jdbc_url *url, char *text, bool address,
                      struct jdbc_host *h, struct err *err)
{
    size_t len = strlen(text);

    assert(h->name == NULL);
    if (text[0] != '(' || text[len - 1] != ')')
        return conf_jdbc_bad(url, "an address without its parentheses", err);
    if (!address) { /* one pair of them around all */
        text[len - 1] = '\0';
        text++;
    }
    return parse_parts(url, text, address ? ")" : ",", h, err);
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

static int parse_list(struct jdbc_url *url, char *text,
                      const struct jdbc_host *who, unsigned depth,
                      struct err *err);

/* user:password@ in front of an item. */
static int take_user(const struct jdbc_url *url, char **text,
                     struct jdbc_host *h, struct err *err)
{
    char *at = strchr(*text, '@'), *colon;
    int rc;

    assert(h->name == NULL);
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
        h->password = colon + 1;
        rc = conf_jdbc_decode(url, h->password, err);
        if (rc != 0)
            return rc;
    }
    h->user = (*text)[0] == '\0' ? NULL : *text;
    rc = h->user == NULL ? 0 : conf_jdbc_decode(url, h->user, err);
    *text = trim(at + 1);
    return rc;
}

static int parse_item(struct jdbc_url *url, char *text,
                      const struct jdbc_host *who, unsigned depth,
                      struct err *err)
{
    struct jdbc_host h = *who, outer;
    int rc = take_user(url, &text, &h, err);

    assert(h.name == NULL);
    assert(h.port == 0);
    if (rc != 0)
        return rc;
    outer = h;
    if (url->kind != JDBC_POSTGRESQL && strncasecmp(text, "address=", 8) == 0) {
        rc = keyed_host(url, trim(text + 8), true, &h, err);
    } else if (url->kind == JDBC_MYSQL && text[0] == '(') {
        rc = keyed_host(url, text, false, &h, err);
    } else if (url->kind == JDBC_MYSQL && is_list(text)) {
        text[strlen(text) - 1] = '\0';
        return parse_list(url, text + 1, &h, depth + 1, err);
    } else {
        rc = plain_host(url, text, &h, err);
    }
    /* What stands before the '@' comes first. */
    h.user = outer.user != NULL ? outer.user : h.user;
    h.password = outer.password != NULL ? outer.password : h.password;
    return rc == 0 ? add_host(url, &h, err) : rc;
}

static int parse_list(struct jdbc_url *url, char *text,
                      const struct jdbc_host *who, unsigned depth,
                      struct err *err)
{
    int rc = 0;

    assert(who->name == NULL);
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
        assert(rc != 0 || url->n_hosts > 0);
        text = next;
    }
    return rc;
}

int conf_jdbc_hosts(struct jdbc_url *url, char *text, struct err *err)
{
    const struct jdbc_host nobody = {0};

    assert(url->n_hosts == 0);
    if (trim(text)[0] == '\0') /* jdbc:postgresql:///d */
        return add_host(url, &nobody, err);
    return parse_list(url, text, &nobody, 0, err);
}
