/*
 * conf_value.c - one text into one field, and back.
 *
 * All fields are set through here, the defaults too, so that a default that
 * would not be accepted from a file cannot exist. Longer than 500 lines: each
 * type's refusal stands beside the type.
 */
#include "conf/conf_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "conf/jdbc_url.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define EXPAND_DEPTH_MAX 8

/* The closing brace of the "${" whose inside begins at s, or NULL. */
static const char *closing_brace(const char *s)
{
    unsigned depth = 1;

    for (; *s != '\0'; s++)
        if (s[0] == '$' && s[1] == '{')
            depth++;
        else if (*s == '}' && --depth == 0)
            return s;
    return NULL;
}

static bool is_variable(const char *name, size_t len)
{
    if (len == 0 || isdigit((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!isalnum((unsigned char)name[i]) && name[i] != '_')
            return false;
    return true;
}

static int expand(const char *s, unsigned depth, struct buf *out,
                  struct err *err);

/* The inside of one ${...}: "NAME" or "NAME:default". What the environment
 * holds is taken as it is, never expanded again. */
static int expand_one(const char *inside, size_t len, unsigned depth,
                      struct buf *out, struct err *err)
{
    const char *colon = memchr(inside, ':', len), *value;
    size_t name_len = colon == NULL ? len : (size_t)(colon - inside);
    char *name, *otherwise;
    int rc = 0;

    if (!is_variable(inside, name_len)) {
        return (int)err_set(err, ERR_INVALID,
                            "${...} without a variable's name in it; write "
                            "${NAME}, ${NAME:default}, or $${ for a plain ${");
    }
    name = mem_strndup(inside, name_len);
    value = getenv(name);
    if (value != NULL) {
        buf_str(out, value);
    } else if (colon != NULL) {
        otherwise = mem_strndup(colon + 1, len - name_len - 1);
        rc = expand(otherwise, depth + 1, out, err);
        mem_free(otherwise);
    } else {
        rc = (int)err_set(err, ERR_INVALID,
                          "the environment variable %.64s is not set; set it, "
                          "or give a default: ${%.64s:value}; a plain ${%.64s} "
                          "is written $${%.64s}",
                          name, name, name, name);
    }
    mem_free(name);
    return rc;
}

static int expand(const char *s, unsigned depth, struct buf *out,
                  struct err *err)
{
    if (depth > EXPAND_DEPTH_MAX) {
        return (int)err_set(err, ERR_INVALID,
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
            return (int)err_set(err, ERR_INVALID,
                                "${ without its }; close it, or write $${ for "
                                "a plain ${");
        }
        rc = expand_one(s + 2, (size_t)(end - s) - 2, depth, out, err);
        if (rc != 0)
            return rc;
        s = end + 1;
    }
    return 0;
}

int conf_expand(const char *text, char **out, struct err *err)
{
    struct buf b;
    int rc;

    *out = NULL;
    buf_init(&b, CONF_VALUE_MAX);
    rc = expand(text, 0, &b, err);
    if (rc == 0 && b.overflow) {
        rc = (int)err_set(err, ERR_INVALID,
                          "longer than 4096 bytes once ${...} is filled in; "
                          "shorten it");
    }
    if (rc == 0)
        *out = buf_take(&b);
    buf_close(&b);
    return rc;
}

static void *field_at(struct conf *conf, const struct conf_key *key)
{
    return (char *)conf + key->offset;
}

static const void *value_at(const struct conf *conf, const struct conf_key *key)
{
    return (const char *)conf + key->offset;
}

/* Not with a password in it. */
static bool may_be_shown(const struct conf_key *key, const char *text)
{
    return (key->flags & CONF_SECRET) == 0 &&
           key->check != conf_check_jdbc_url && strchr(text, '@') == NULL &&
           strcasestr(text, "pass") == NULL;
}

/* Text that is fit for a string field or a list's item. */
static int check_text(const struct conf_key *key, const char *text,
                      struct err *err)
{
    int rc;

    for (const char *s = text; *s != '\0'; s++) {
        bool line = (key->flags & CONF_LINES) != 0 && strchr("\n\t", *s);

        if (((unsigned char)*s < ' ' && !line) || *s == 0x7f) {
            return (int)err_set(err, ERR_INVALID,
                                "control character in the value; remove it");
        }
    }
    rc = key->check == NULL ? 0 : key->check(text, err);
    if (rc != 0 && may_be_shown(key, text))
        err_wrap(err, "\"%.80s\"", text);
    return rc;
}

static int set_string(struct conf *conf, const struct conf_key *key,
                      const char *text, struct err *err)
{
    char **field = field_at(conf, key);
    bool none = text[0] == '\0';
    int rc;

    if (none && (key->flags & CONF_OPTIONAL) == 0)
        return (int)err_set(err, ERR_INVALID, "empty; give it a value");
    rc = none ? 0 : check_text(key, text, err);
    if (rc == 0) {
        mem_free(*field);
        *field = none ? NULL
                 : key->check == conf_check_connect_string
                     ? conf_plain_servers(text)
                     : mem_strdup(text);
    }
    return rc;
}

static int set_bool(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    static const char *const words[] = {"false", "true", "no",
                                        "yes",   "off",  "on"};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(words[i], text) == 0) {
            *(bool *)field_at(conf, key) = i % 2 == 1;
            return 0;
        }
    }
    return (int)err_set(err, ERR_INVALID,
                        "\"%.40s\" is neither true nor false; write one of "
                        "them",
                        text);
}

/* Only these behind a sign, if there is one; at least one of them. */
static bool is_made_of(const char *text, const char *characters)
{
    text += text[0] == '-';
    return text[0] != '\0' && text[strspn(text, characters)] == '\0';
}

static int set_number(struct conf *conf, const struct conf_key *key,
                      const char *text, struct err *err)
{
    /* No exponents, hexadecimals, NaN: nobody means them here. */
    bool plain = is_made_of(text, "0123456789.");
    char *end = NULL;
    double value = plain ? strtod(text, &end) : 0;

    if (!plain || *end != '\0' || end == text) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is no number; write one from %g to %g",
                            text, key->min, key->max);
    }
    if (!(value >= key->min && value <= key->max)) {
        return (int)err_set(err, ERR_INVALID,
                            "%.40s is out of range; choose from %g to %g", text,
                            key->min, key->max);
    }
    *(double *)field_at(conf, key) = value;
    return 0;
}

static int set_uint(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    uint64_t value;

    if (units_uint(text, UINT64_MAX, &value, NULL) != 0) {
        return (int)err_set(
            err, ERR_INVALID,
            is_made_of(text, "0123456789")
                ? "%.40s is out of range; choose from %.0f to %.0f"
                : "\"%.40s\" is no whole number; write one from %.0f "
                  "to %.0f",
            text, key->min, key->max);
    }
    if ((double)value < key->min || (double)value > key->max) {
        return (int)err_set(err, ERR_INVALID,
                            "%.40s is out of range; choose from %.0f to %.0f",
                            text, key->min, key->max);
    }
    *(uint32_t *)field_at(conf, key) = (uint32_t)value;
    return 0;
}

/* As Java's side takes them. On a registry of our own a number without its unit
 * is a mistake. */
static bool takes_bare_ms(const struct conf *conf, const struct conf_key *key)
{
    return (key->flags & CONF_BARE_MS) != 0 &&
           conf->registry.type != CONF_SQLITE &&
           conf->registry.type != CONF_MEMORY;
}

static int set_duration(struct conf *conf, const struct conf_key *key,
                        const char *text, struct err *err)
{
    char low[UNITS_DURATION_SIZE], high[UNITS_DURATION_SIZE];
    int64_t value;
    int rc;

    bool bare = takes_bare_ms(conf, key) &&
                units_int(text, 0, (int64_t)1 << 40, &value, NULL) == 0;

    rc = bare ? 0 : units_duration(text, &value, err);
    if (rc != 0)
        return rc;
    if ((double)value < key->min || (double)value > key->max) {
        return (int)err_set(err, ERR_INVALID,
                            "%.40s%s is out of range; choose from %s to %s",
                            text, bare ? " (milliseconds)" : "",
                            units_format_duration((int64_t)key->min, low),
                            units_format_duration((int64_t)key->max, high));
    }
    *(int64_t *)field_at(conf, key) = value;
    return 0;
}

/* Case does not matter and '-' is '_', as for Spring. */
static bool same_name(const char *a, const char *b)
{
    for (; *a != '\0' && *b != '\0'; a++, b++) {
        int x = *a == '-' ? '_' : tolower((unsigned char)*a);
        int y = *b == '-' ? '_' : tolower((unsigned char)*b);

        if (x != y)
            return false;
    }
    return *a == *b;
}

static bool is_database(const char *type)
{
    static const char *const names[] = {"mysql", "mariadb", "postgresql",
                                        "postgres"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcasecmp(names[i], type) == 0)
            return true;
    return false;
}

static int set_enum(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    struct buf all;
    int rc;

    for (size_t i = 0; key->names[i] != NULL; i++) {
        if (same_name(key->names[i], text)) {
            *(unsigned *)field_at(conf, key) = (unsigned)i;
            return 0;
        }
    }
    if (strcmp(key->path, "registry.type") == 0 && is_database(text)) {
        return (int)err_set(err, ERR_INVALID,
                            "\"%.40s\" is a database; choose jdbc, which "
                            "hikari-config.jdbc-url names",
                            text);
    }
    buf_init(&all, 256);
    for (size_t i = 0; key->names[i] != NULL; i++) {
        const char *next = key->names[i + 1];

        if (strcmp(key->names[i], "memory") != 0) {
            buf_printf(&all, "%s%s", key->names[i],
                       next == NULL                ? ""
                       : key->names[i + 2] == NULL ? " or "
                                                   : ", ");
        }
    }
    rc = (int)err_set(err, ERR_INVALID, "\"%.40s\" is unknown; choose %s", text,
                      buf_text(&all));
    buf_close(&all);
    return rc;
}

static int set_listen(struct conf *conf, const char *text, struct err *err)
{
    uint16_t port;
    char *host;
    int rc = conf_host_port(text, &host, &port, err);

    if (rc == 0) {
        mem_free(conf->listen_host);
        conf->listen_host = host;
        conf->listen_port = port;
    }
    return rc;
}

int conf_set(struct conf *conf, const struct conf_key *key, const char *text,
             struct err *err)
{
    switch (key->type) {
    case CONF_KEY_STRING:
        return set_string(conf, key, text, err);
    case CONF_KEY_BOOL:
        return set_bool(conf, key, text, err);
    case CONF_KEY_UINT:
        return set_uint(conf, key, text, err);
    case CONF_KEY_NUMBER:
        return set_number(conf, key, text, err);
    case CONF_KEY_DURATION:
        return set_duration(conf, key, text, err);
    case CONF_KEY_ENUM:
        return set_enum(conf, key, text, err);
    case CONF_KEY_LISTEN:
        return set_listen(conf, text, err);
    case CONF_KEY_LIST:
        return conf_list_add(field_at(conf, key), key, text, err);
    case CONF_KEY_GROUPS:
    case CONF_KEY_IGNORED:
    case CONF_KEY_REFUSED:
        break;
    }
    return 0;
}

void conf_list_clear(struct conf *conf, const struct conf_key *key)
{
    struct conf_list *list = field_at(conf, key);

    for (size_t i = 0; i < list->n; i++)
        mem_free(list->items[i]);
    mem_free(list->items);
    *list = (struct conf_list){0};
}

/* "a, b": DolphinScheduler writes lists like this. */
int conf_list_add(struct conf_list *list, const struct conf_key *key,
                  const char *text, struct err *err)
{
    const char *s = text;

    do {
        size_t n = strcspn(s, ",");
        size_t from = strspn(s, " "), to = n;
        char *item;
        int rc;

        while (to > from && s[to - 1] == ' ')
            to--;
        item = mem_strndup(s + from, to > from ? to - from : 0);
        if (key->check == conf_check_endpoint)
            conf_plain_endpoint(item);
        rc = item[0] == '\0'
                 ? (int)err_set(err, ERR_INVALID, "an empty item; remove it")
                 : check_text(key, item, err);
        for (size_t i = 0; rc == 0 && i < list->n; i++) {
            if (strcmp(list->items[i], item) == 0) {
                rc = (int)err_set(err, ERR_INVALID,
                                  "\"%.200s\" stands there twice; remove one",
                                  item);
            }
        }
        if (rc != 0) {
            mem_free(item);
            return rc;
        }
        if ((list->n & (list->n - 1)) == 0) {
            list->items =
                mem_regrow(list->items, list->n == 0 ? 1 : list->n * 2,
                           sizeof(*list->items));
        }
        list->items[list->n++] = item;
        s += n;
    } while (*s++ == ',');
    return 0;
}

static void format_text(struct buf *out, const struct conf_key *key,
                        const char *text)
{
    char *masked;

    if ((key->flags & CONF_SECRET) != 0) {
        buf_str(out, "\"***\"");
    } else if (key->check == conf_check_jdbc_url) {
        masked = conf_jdbc_url_masked(text);
        json_quote(out, masked, strlen(masked));
        mem_free(masked);
    } else {
        json_quote(out, text, strlen(text));
    }
}

void conf_format(const struct conf *conf, const struct conf_key *key,
                 struct buf *out)
{
    const void *at = value_at(conf, key);
    char duration[UNITS_DURATION_SIZE];
    const struct conf_list *list;
    const char *text;

    switch (key->type) {
    case CONF_KEY_STRING:
        text = *(char *const *)at;
        format_text(out, key, text == NULL ? "" : text);
        break;
    case CONF_KEY_LIST:
        list = at;
        buf_char(out, '[');
        for (size_t i = 0; i < list->n; i++) {
            buf_str(out, i == 0 ? "" : ", ");
            format_text(out, key, list->items[i]);
        }
        buf_char(out, ']');
        break;
    case CONF_KEY_BOOL:
        buf_str(out, *(const bool *)at ? "true" : "false");
        break;
    case CONF_KEY_UINT:
        buf_printf(out, "%u", (unsigned)*(const uint32_t *)at);
        break;
    case CONF_KEY_NUMBER:
        json_put_num(out, NULL, *(const double *)at);
        break;
    case CONF_KEY_DURATION:
        buf_str(out, units_format_duration(*(const int64_t *)at, duration));
        break;
    case CONF_KEY_ENUM:
        buf_str(out, key->names[*(const unsigned *)at]);
        break;
    case CONF_KEY_LISTEN:
        buf_printf(out,
                   strchr(conf->listen_host, ':') == NULL ? "\"%s:%u\""
                                                          : "\"[%s]:%u\"",
                   conf->listen_host, (unsigned)conf->listen_port);
        break;
    case CONF_KEY_GROUPS:
    case CONF_KEY_IGNORED:
    case CONF_KEY_REFUSED:
        break;
    }
}
