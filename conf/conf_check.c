/*
 * conf_check.c - what a value must look like beyond its type.
 */
#include "conf/conf_priv.h"
#include "conf/limits.h"

#include "base/mem.h"
#include "base/units.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

int conf_host_port(const char *text, char **host, uint16_t *port,
                   struct err *err)
{
    bool v6 = text[0] == '[';
    const char *from = v6 ? text + 1 : text;
    size_t len = v6 ? strcspn(from, "]") : strcspn(from, ":");
    const char *rest = from + len;
    uint64_t number;
    bool ok = len > 0 && len <= NODE_HOST_MAX;

    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)from[i];

        ok = ok && (v6 ? isxdigit(c) || c == ':' || c == '.'
                       : isalnum(c) || c == '.' || c == '-' || c == '_');
    }
    if (v6)
        ok = ok && *rest++ == ']';
    if (!ok || *rest != ':' ||
        units_uint(rest + 1, 65535, &number, NULL) != 0 ||
        strlen(rest + 1) > 5) {
        return err_set(err, ERR_INVALID,
                       "\"%.80s\" is no host:port; write one like "
                       "10.0.0.7:1234 or [::1]:1234, port 0 to 65535%s",
                       text,
                       strchr("*:", text[0]) == NULL
                           ? ""
                           : "; 0.0.0.0 as host is every address");
    }
    assert(number <= UINT16_MAX);
    *host = mem_strndup(from, len);
    *port = (uint16_t)number;
    return 0;
}

static bool is_address(const char *text)
{
    uint16_t port = 0;
    char *host = NULL;
    int rc = conf_host_port(text, &host, &port, NULL);

    assert((rc == 0) == (host != NULL));
    mem_free(host);
    return rc == 0 && port > 0;
}

bool conf_every_address(const char *text)
{
    assert(text != NULL);
    return strncmp(text, "0.0.0.0:", 8) == 0 || strncmp(text, "[::]:", 5) == 0;
}

const char *conf_check_address(const char *text)
{
    assert(text[0] != '\0');
    if (conf_every_address(text))
        return "every address, and so nobody's; write one at which others "
               "reach it";
    return is_address(text) ? NULL
                            : "not host:port; write one like 10.0.0.7:1234 or "
                              "[::1]:1234";
}

/* What a shell or a driver would have made a file's name of. */
const char *conf_check_file(const char *text)
{
    static const char *const schemes[] = {
        "jdbc:", "file:", "sqlite:", ":memory:"};

    assert(text[0] != '\0');
    if (text[0] == '~' && (text[1] == '/' || text[1] == '\0'))
        return "~ is a shell's; write ${HOME}";
    if (text[0] == '$' && (isalpha((unsigned char)text[1]) || text[1] == '_'))
        return "$NAME is a shell's; write ${NAME}";
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (strncasecmp(text, schemes[i], strlen(schemes[i])) == 0)
            return "no file's name; write it without a scheme";
    return NULL;
}

const char *conf_check_digest(const char *text)
{
    return strcspn(text, ":") > 0 && strchr(text, ':') != NULL
               ? NULL
               : "no colon in it; write user:password";
}

const char *conf_check_namespace(const char *text)
{
    bool ok =
        strlen(text) <= 64 && strcmp(text, ".") != 0 && strcmp(text, "..") != 0;

    assert(text[0] != '\0');
    if (strchr(text, '/') != NULL) {
        return "a namespace with slashes; on ZooKeeper the part before the "
               "last one is a chroot: connect-string: host:2181/part, "
               "namespace: rest. Elsewhere write a name without slashes";
    }
    for (const char *s = text; *s != '\0'; s++)
        ok = ok && (unsigned char)*s > ' ';
    return ok ? NULL
              : "not a name; write up to 64 bytes without slashes and blanks, "
                "like dolphinscheduler";
}

const char *conf_check_node_kind(const char *text)
{
    static const char *const kinds[] = {"master", "worker", "alert-server",
                                        NULL};

    return conf_text_index(text, kinds, strcmp) >= 0
               ? NULL
               : "no kind of node; write master, worker or alert-server";
}

static bool is_path(const char *text)
{
    const char *s = text;
    bool ok = text[0] == '/' && strlen(text) <= 256;

    while (ok && *s == '/') {
        size_t n = strcspn(++s, "/");

        ok = n > 0 && !(n == 1 && s[0] == '.') &&
             !(n == 2 && s[0] == '.' && s[1] == '.');
        s += n;
    }
    return ok;
}

const char *conf_check_lock_path(const char *text)
{
    assert(text[0] != '\0');
    return is_path(text) ? NULL
                         : "not a registry path; write one like "
                           "/lock/master-failover, without //, . and .. and a "
                           "slash at its end";
}

const char *conf_check_endpoint(const char *text)
{
    const char *rest = strncmp(text, "http://", 7) == 0    ? text + 7
                       : strncmp(text, "https://", 8) == 0 ? text + 8
                                                           : "";

    assert(text[0] != '\0');
    if (strchr(rest, '@') != NULL)
        return "a password in an address ends up in logs; give registry.user "
               "and registry.password";
    return is_address(rest) ? NULL
                            : "not an etcd address; write http://host:2379 or "
                              "https://host:2379, with its port";
}

/* As ZooKeeper's own parser reads a list: no blanks, no empty items. What is
 * behind the first slash stays as it is. */
char *conf_plain_servers(const char *text)
{
    size_t hosts = strcspn(text, "/");
    struct buf out;
    char *plain;

    buf_init(&out, strlen(text) + 1);
    for (size_t at = 0; at < hosts;) {
        size_t n = strcspn(text + at, ",/");
        char *item = conf_text_trimmed(text + at, n);

        if (item[0] != '\0')
            buf_printf(&out, "%s%s", out.len > 0 ? "," : "", item);
        mem_free(item);
        at += n + 1;
    }
    assert(!out.overflow);
    if (strcmp(text + hosts, "/") != 0) /* no chroot at all */
        buf_str(&out, text + hosts);
    plain = mem_strdup(buf_text(&out));
    buf_close(&out);
    return plain;
}

void conf_plain_endpoint(char *text)
{
    size_t scheme = strcspn(text, ":"), len = strlen(text);

    assert(scheme <= len);
    for (size_t i = 0; i < scheme; i++)
        text[i] = (char)tolower((unsigned char)text[i]);
    if (len > 0 && text[len - 1] == '/' && len > scheme + 3)
        text[len - 1] = '\0';
}

static bool are_servers(const char *text)
{
    size_t hosts = strcspn(text, "/");
    /* ZooKeeper would take "a/x,b/x" for the chroot "/x,b/x" on a alone. */
    bool ok = hosts > 0 &&
              (text[hosts] == '\0' ||
               (is_path(text + hosts) && strchr(text + hosts, ',') == NULL));

    for (size_t at = 0; ok && at < hosts;) {
        size_t n = strcspn(text + at, ",/");
        char *one = mem_strndup(text + at, n);

        assert(at + n <= hosts);
        /* The port may be left out: ZooKeeper's own is 2181. */
        ok = n > 0 && strpbrk(one, " \t") == NULL &&
             (strchr(one, ':') == NULL || is_address(one));
        mem_free(one);
        at += n + 1;
    }
    return ok;
}

const char *conf_check_connect_string(const char *text)
{
    char *plain = conf_plain_servers(text);
    bool ok = are_servers(plain);
    bool slash = strchr(plain, '/') != NULL && plain[strlen(plain) - 1] == '/';

    assert(!ok || !slash);
    mem_free(plain);
    return ok      ? NULL
           : slash ? "a '/' at its end; leave it out"
                   : "not a list of servers; write host:2181,host:2181, and a "
                     "chroot once, at the end: host:2181/path";
}
