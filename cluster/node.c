/*
 * node.c - names of nodes: kinds, states, addresses, groups.
 *
 * An address is a name that is compared byte by byte, so it is checked for
 * shape only: nothing is resolved, and nothing is rewritten.
 */
#include "cluster/node.h"

#include "base/json/json.h"
#include "base/units.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PORT_MAX 65535
#define NAME_CHARS                                                             \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._"

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
    assert(kind < NODE_KINDS);
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
    static const char *const names[NODE_STATES] = {
        [NODE_UP] = "up",     [NODE_SUSPECT] = "suspect",
        [NODE_DOWN] = "down", [NODE_FENCED] = "fenced",
        [NODE_LEFT] = "left",
    };

    assert(state < NODE_STATES);
    return names[state];
}

const char *node_status_name(enum node_status status)
{
    assert(status == NODE_NORMAL || status == NODE_BUSY);
    return status == NODE_BUSY ? "BUSY" : "NORMAL";
}

/* --- addresses ----------------------------------------------------------- */

/* With or without brackets. */
static bool read_v6(const char *host, size_t len, struct in6_addr *out)
{
    char text[INET6_ADDRSTRLEN];

    if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
        host++;
        len -= 2;
    }
    if (len >= sizeof(text))
        return false;
    memcpy(text, host, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, out) == 1;
}

/* A host name, an IPv4 address, or an IPv6 address: in brackets, or as
 * DolphinScheduler writes it, without. */
static bool is_host(const char *host, size_t len)
{
    struct in6_addr addr;

    if (memchr(host, ':', len) != NULL)
        return read_v6(host, len, &addr);
    /* "." and ".." would be path segments of their own if the port were not
     * there; a host has at least one letter or digit anyway. */
    return len > 0 && strspn(host, NAME_CHARS) >= len &&
           strspn(host, "-._") < len;
}

int node_check_address(const char *address, struct err *err)
{
    const char *colon = strrchr(address, ':');
    int64_t port;

    assert(address != NULL);
    if (strlen(address) > NODE_ADDRESS_MAX)
        return err_set(err, ERR_INVALID, "address: longer than %d bytes",
                       NODE_ADDRESS_MAX);
    if (colon == NULL)
        return err_set(err, ERR_INVALID,
                       "address \"%s\": no port; write host:port", address);
    if (units_int(colon + 1, 1, PORT_MAX, &port, NULL) != 0 ||
        colon[1] == '0' || colon[1] == '+')
        return err_set(err, ERR_INVALID,
                       "address \"%s\": the port is not a number from 1 "
                       "to %d",
                       address, PORT_MAX);
    if (!is_host(address, (size_t)(colon - address)))
        return err_set(err, ERR_INVALID,
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
    struct in6_addr addr;

    assert(address != NULL);
    if (bare && len <= NODE_ADDRESS_MAX &&
        (read_v6(address, len, &addr) ||
         read_v6(address, (size_t)(colon - address), &addr)))
        return err_set(err, ERR_INVALID,
                       "address \"%s\": an IPv6 host stands in brackets, "
                       "as in [2001:db8::7]:1234",
                       address);
    return node_check_address(address, err);
}

char *node_canonical(const char *address, char out[NODE_ADDRESS_MAX + 1])
{
    char text[INET6_ADDRSTRLEN], port[8];
    const char *colon = strrchr(address, ':');
    struct in6_addr addr;

    if (colon != NULL && strlen(colon + 1) < sizeof(port) &&
        read_v6(address, (size_t)(colon - address), &addr) &&
        inet_ntop(AF_INET6, &addr, text, sizeof(text)) != NULL) {
        snprintf(port, sizeof(port), "%s", colon + 1); /* `out` may be it */
        snprintf(out, NODE_ADDRESS_MAX + 1, "[%s]:%s", text, port);
    } else if (out != address) {
        snprintf(out, NODE_ADDRESS_MAX + 1, "%s", address);
    }
    return out;
}

/* Java writes all eight groups of digits, and so DolphinScheduler does. */
static void all_groups(const struct in6_addr *addr, char out[48])
{
    size_t at = 0;

    for (size_t i = 0; i < 16; i += 2)
        at += (size_t)snprintf(out + at, 48 - at, "%s%x", i > 0 ? ":" : "",
                               (unsigned)addr->s6_addr[i] << 8 |
                                   addr->s6_addr[i + 1]);
    assert(at < 48);
}

bool node_spelling(const char *address, size_t i,
                   char out[NODE_ADDRESS_MAX + 1])
{
    const char *end = strrchr(address, ']');
    struct in6_addr addr;
    char all[48];

    if (address[0] != '[' || end == NULL || i > 2 ||
        !read_v6(address, (size_t)(end + 1 - address), &addr))
        return false;
    all_groups(&addr, all);
    if (i == 0)
        snprintf(out, NODE_ADDRESS_MAX + 1, "%.*s%s", (int)(end - address - 1),
                 address + 1, end + 1);
    else
        snprintf(out, NODE_ADDRESS_MAX + 1, i == 2 ? "[%s]%s" : "%s%s", all,
                 end + 1);
    return true;
}

/* --- groups -------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Why it cannot be a part of a key, or NULL. */
static const char *no_part(const char *name, size_t len)
{
    if (len > 0 && len <= 2 && strspn(name, ".") == len)
        return "\".\" and \"..\" are no names";
    for (size_t i = 0, n; i < len; i += n) {
        unsigned char c = (unsigned char)name[i];

        n = json_utf8(name + i, len - i);
        if (n == 0)
            return "it is not UTF-8";
        if (c == '/')
            return "a name has no slash";
        if (c < 0x20 || c == 0x7f ||
            (c == 0xc2 && n == 2 && (unsigned char)name[i + 1] < 0xa0))
            return "it has a control character";
    }
    return NULL;
}

int node_clean_group(const char *name, char out[NODE_GROUP_MAX + 1],
                     struct err *err)
{
    const char *why;
    size_t len;

    assert(name != NULL && out != NULL);
    while (is_blank(*name))
        name++;
    len = strlen(name);
    while (len > 0 && is_blank(name[len - 1]))
        len--;
    if (len > NODE_GROUP_MAX)
        return err_set(err, ERR_INVALID,
                       "group \"%.32s...\": longer than %d bytes", name,
                       NODE_GROUP_MAX);
    why = no_part(name, len);
    if (why != NULL)
        return err_set(err, ERR_INVALID, "group \"%.*s\": %s", (int)len, name,
                       why);
    if (len == 0) {
        snprintf(out, NODE_GROUP_MAX + 1, "default");
        return 0;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a')
                                                  : name[i];
    out[len] = '\0';
    return 0;
}
