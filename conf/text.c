/*
 * text.c - what is done with a text before it means anything: ${...} filled in,
 * blanks taken off, looked for in a list, compared with one it may be meant
 * for. The lowest layer of this folder.
 */
#include "conf/text.h"

#include "base/buf.h"
#include "base/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define EXPAND_DEPTH_MAX 8

/* The closing brace of the "${" whose inside begins at s, or NULL. */
static const char *closing_brace(const char *s)
{
    unsigned depth = 1;

    assert(s[-1] == '{');
    for (; *s != '\0'; s++)
        if (s[0] == '$' && s[1] == '{')
            depth++;
        else if (*s == '}' && --depth == 0)
            return s;
    return NULL;
}

static int expand(const char *s, unsigned depth, struct buf *out,
                  struct err *err);

/* The inside of one ${...}: "NAME" or "NAME:default". What the environment
 * holds is taken as it is, never expanded again. */
static int expand_one(const char *inside, size_t len, unsigned depth,
                      struct buf *out, struct err *err)
{
    size_t n = strspn(inside, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrst"
                              "uvwxyz0123456789_");
    char *name, *otherwise;
    const char *value;
    int rc = 0;

    assert(n <= len);
    if (n == 0 || isdigit((unsigned char)inside[0]) ||
        (n < len && inside[n] != ':')) {
        return err_set(err, ERR_INVALID,
                       "${...} without a variable's name in it; write ${NAME}, "
                       "${NAME:default}, or $${ for a plain ${");
    }
    name = mem_strndup(inside, n);
    value = getenv(name);
    if (value != NULL) {
        buf_str(out, value);
    } else if (n < len) {
        otherwise = mem_strndup(inside + n + 1, len - n - 1);
        rc = expand(otherwise, depth + 1, out, err);
        mem_free(otherwise);
    } else {
        rc = err_set(
            err, ERR_INVALID,
            "the environment variable %.64s is not set; set it, or give a "
            "default: ${%.64s:value}; a plain ${%.64s} is written $${%.64s}",
            name, name, name, name);
    }
    mem_free(name);
    return rc;
}

static int expand(const char *s, unsigned depth, struct buf *out,
                  struct err *err)
{
    if (depth > EXPAND_DEPTH_MAX) {
        return err_set(err, ERR_INVALID,
                       "${...} nested too deeply; write it out");
    }
    while (*s != '\0') {
        const char *end;
        int rc;

        if (strncmp(s, "$${", 3) == 0) {
            buf_str(out, "${");
            s += 3;
            continue;
        }
        if (strncmp(s, "${", 2) != 0) {
            buf_char(out, *s++);
            continue;
        }
        end = closing_brace(s + 2);
        if (end == NULL) {
            return err_set(
                err, ERR_INVALID,
                "${ without its }; close it, or write $${ for a plain ${");
        }
        rc = expand_one(s + 2, (size_t)(end - s) - 2, depth, out, err);
        if (rc != 0)
            return rc;
        s = end + 1;
    }
    return 0;
}

int conf_text_expand(const char *text, char **out, struct err *err)
{
    struct buf b;
    int rc;

    *out = NULL;
    buf_init(&b, CONF_VALUE_MAX);
    rc = expand(text, 0, &b, err);
    if (rc == 0 && b.overflow) {
        rc = err_set(
            err, ERR_INVALID,
            "longer than 4096 bytes once ${...} is filled in; shorten it");
    }
    if (rc == 0)
        *out = buf_take(&b);
    assert((rc == 0) == (*out != NULL));
    buf_close(&b);
    return rc;
}

char *conf_text_trimmed(const char *text, size_t len)
{
    assert(text != NULL);
    for (; len > 0 && isblank((unsigned char)*text); len--)
        text++;
    while (len > 0 && isblank((unsigned char)text[len - 1]))
        len--;
    return mem_strndup(text, len);
}

int conf_text_index(const char *text, const char *const *list,
                    int (*compare)(const char *, const char *))
{
    assert(text != NULL);
    for (int i = 0; list[i] != NULL; i++)
        if (compare(list[i], text) == 0)
            return i;
    return -1;
}

/* One row at a time. */
size_t conf_text_distance(const char *a, const char *b)
{
    size_t row[CONF_PATH_MAX + 1];
    size_t n = strlen(b);

    assert(n <= CONF_PATH_MAX);
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];

        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);

            diagonal = row[j + 1];
            best = best < row[j] + 1 ? best : row[j] + 1;
            best = best < diagonal + 1 ? best : diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}
