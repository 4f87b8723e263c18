/*
 * jdbc_text.c - texts of a JDBC URL: refused, decoded, replaced, and what of
 * the whole may be shown. The lowest of the four files that read one.
 */
#include "conf/jdbc_priv.h"

#include "base/compiler.h"
#include "base/mem.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

int conf_jdbc_bad(const struct jdbc_url *url, const char *what, struct err *err)
{
    assert(url->kind <= JDBC_POSTGRESQL);
    return err_set(err, ERR_INVALID, "%s; write jdbc:%s://host:%s/database",
                   what,
                   url->kind == JDBC_MARIADB ? "mariadb"
                   : url->kind == JDBC_MYSQL ? "mysql"
                                             : "postgresql",
                   url->kind == JDBC_POSTGRESQL ? "5432" : "3306");
}

void conf_jdbc_set(char **field, const char *value)
{
    char *copy = mem_strdup(value);

    assert(copy != NULL);
    mem_free(*field);
    *field = copy;
}

static int hex(char c)
{
    assert(isxdigit((unsigned char)c));
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
                "a % without two hexadecimal digits (%25 is the sign itself)",
                err);
        }
        *out++ = (char)(hex(in[1]) << 4 | hex(in[2]));
        in += 2;
    }
    assert(out <= text + strlen(text));
    *out = '\0';
    return 0;
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

    assert(from <= end);
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
    assert(at <= end);
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
    assert(!out.overflow);
    masked = mem_strdup(buf_text(&out));
    buf_close(&out);
    return masked;
}
