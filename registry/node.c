/*
 * node.c - names of nodes: kinds, states, addresses, groups.
 *
 * An address is a name that is compared byte by byte, so it is checked for
 * shape only: nothing is resolved, and nothing is rewritten.
 */
#include "registry/node.h"

#include "base/units.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PORT_MAX 65535

static const char *const kind_names[NODE_KINDS] = {
    [NODE_MASTER] = "master",
    [NODE_WORKER] = "worker",
    [NODE_ALERT_SERVER] = "alert-server",
};

char *process_text(const struct process *p, char out[PROCESS_TEXT_SIZE])
{
    assert(p != NULL);
    if (p->known)
        snprintf(out, PROCESS_TEXT_SIZE, "%" PRId64 "-%" PRId64,
                 p->startup_time, p->process_id);
    else
        snprintf(out, PROCESS_TEXT_SIZE, "?");
    return out;
}

const char *node_kind_name(enum node_kind kind)
{
    assert(kind >= 0 && kind < NODE_KINDS);
    return kind_names[kind];
}

int node_kind_parse(const char *name, enum node_kind *out)
{
    assert(name != NULL && out != NULL);
    for (int k = 0; k < NODE_KINDS; k++)
        if (strcmp(kind_names[k], name) == 0) {
            *out = (enum node_kind)k;
            return 0;
        }
    return ERR_INVALID;
}

const char *node_state_name(enum node_state state)
{
    switch (state) {
    case NODE_UP:
        return "up";
    case NODE_SUSPECT:
        return "suspect";
    case NODE_DOWN:
        return "down";
    case NODE_FENCED:
        return "fenced";
    case NODE_LEFT:
        return "left";
    }
    assert(false);
    return "?";
}

const char *node_status_name(enum node_status status)
{
    assert(status == NODE_NORMAL || status == NODE_BUSY);
    return status == NODE_BUSY ? "BUSY" : "NORMAL";
}

/* --- addresses -------------------------------------------------------------
 */

static bool is_v6(const char *host, size_t len)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr addr;

    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &addr) == 1;
}

/* A host name, an IPv4 address, or an IPv6 address: in brackets, or as
 * DolphinScheduler writes it, without. */
static bool is_host(const char *host, size_t len)
{
    if (len > 2 && host[0] == '[')
        return host[len - 1] == ']' && is_v6(host + 1, len - 2);
    if (memchr(host, ':', len) != NULL)
        return is_v6(host, len);
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                  (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';

        if (!ok)
            return false;
    }
    /* "." and ".." would be path segments of their own if the port were not
     * there; a host has at least one letter or digit anyway. */
    return len > 0 && strspn(host, "-._") < len;
}

int node_check_address(const char *address, struct err *err)
{
    const char *colon = strrchr(address, ':');
    int64_t port;

    if (strlen(address) > NODE_ADDRESS_MAX)
        return (int)err_set(err, ERR_INVALID, "address: longer than %d bytes",
                            NODE_ADDRESS_MAX);
    if (colon == NULL)
        return (int)err_set(err, ERR_INVALID,
                            "address \"%s\": no port; write host:port",
                            address);
    if (units_int(colon + 1, 1, PORT_MAX, &port, NULL) != 0 ||
        colon[1] == '0' || colon[1] == '+')
        return (int)err_set(err, ERR_INVALID,
                            "address \"%s\": the port is not a number from 1 "
                            "to %d",
                            address, PORT_MAX);
    if (!is_host(address, (size_t)(colon - address)))
        return (int)err_set(err, ERR_INVALID,
                            "address \"%s\": the host is not a name, an IPv4 "
                            "address or an IPv6 address in brackets",
                            address);
    return 0;
}

int node_ask_address(const char *address, struct err *err)
{
    const char *colon = strrchr(address, ':');
    size_t len = strlen(address);
    bool bare = address[0] != '[' && colon != NULL &&
                memchr(address, ':', (size_t)(colon - address)) != NULL;

    if (bare && len <= NODE_ADDRESS_MAX &&
        (is_v6(address, len) || is_v6(address, (size_t)(colon - address))))
        return (int)err_set(err, ERR_INVALID,
                            "address \"%s\": an IPv6 host stands in brackets, "
                            "as in [2001:db8::7]:1234",
                            address);
    return node_check_address(address, err);
}

/* --- groups ----------------------------------------------------------------
 */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

int node_clean_group(const char *name, char out[NODE_GROUP_MAX + 1],
                     struct err *err)
{
    size_t len;

    assert(name != NULL && out != NULL);
    while (is_blank(*name))
        name++;
    len = strlen(name);
    while (len > 0 && is_blank(name[len - 1]))
        len--;
    if (len > NODE_GROUP_MAX)
        return (int)err_set(err, ERR_INVALID, "group: longer than %d bytes",
                            NODE_GROUP_MAX);
    if (len == 0) {
        snprintf(out, NODE_GROUP_MAX + 1, "default");
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        char c = name[i];

        c = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
              c == '_' || c == '-'))
            return (int)err_set(err, ERR_INVALID,
                                "group \"%.*s\": only letters, digits, '.', "
                                "'_' and '-'",
                                (int)len, name);
        out[i] = c;
    }
    out[len] = '\0';
    return 0;
}
