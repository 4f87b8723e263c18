/*
 * conf_value.c - one text into one field. (conf_print.c: and back.)
 *
 * All fields are set through here, the defaults too, so that a default that
 * would not be accepted from a file cannot exist.
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

void *conf_field(const struct conf *conf, const struct conf_key *key)
{
    assert(conf_key_counts(key));
    return (char *)conf + key->offset;
}

/* Not with a password in it. */
static bool may_be_shown(const struct conf_key *key, const char *text)
{
    return (key->flags & (CONF_SECRET | CONF_JDBC_URL)) == 0 &&
           strchr(text, '@') == NULL && strcasestr(text, "pass") == NULL;
}

static int check_jdbc_url(const char *text, struct err *err)
{
    struct jdbc_url url;
    int rc = conf_jdbc_url_parse(&url, text, err);

    assert(rc != 0 || url.n_hosts > 0);
    conf_jdbc_url_close(&url);
    return rc;
}

/* Text that is fit for a string field or a list's item. */
static int check_text(const struct conf_key *key, const char *text,
                      struct err *err)
{
    const char *why;

    assert(text[0] != '\0');
    for (const char *s = text; *s != '\0'; s++) {
        bool line = (key->flags & CONF_LINES) != 0 && strchr("\n\t", *s);

        if (((unsigned char)*s < ' ' && !line) || *s == 0x7f) {
            return err_set(err, ERR_INVALID,
                           "control character in the value; remove it");
        }
    }
    if ((key->flags & CONF_JDBC_URL) != 0)
        return check_jdbc_url(text, err);
    why = key->check == NULL ? NULL : key->check(text);
    if (why == NULL)
        return 0;
    return may_be_shown(key, text)
               ? err_set(err, ERR_INVALID, "\"%.80s\": %s", text, why)
               : err_set(err, ERR_INVALID, "%s", why);
}

static int set_string(struct conf *conf, const struct conf_key *key,
                      const char *text, struct err *err)
{
    char **field = conf_field(conf, key);
    bool none = text[0] == '\0';
    int rc;

    assert(key->type == CONF_KEY_STRING);
    if (none && (key->flags & CONF_OPTIONAL) == 0)
        return err_set(err, ERR_INVALID, "empty; give it a value");
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
    static const char *const words[] = {"false", "true", "no", "yes",
                                        "off",   "on",   NULL};
    int at = conf_text_index(text, words, strcasecmp);

    assert(key->type == CONF_KEY_BOOL);
    if (at < 0) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is neither true nor false; write one of them",
                       text);
    }
    *(bool *)conf_field(conf, key) = at % 2 == 1;
    return 0;
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

    assert(key->type == CONF_KEY_NUMBER);
    plain = plain && *end == '\0' && end != text;
    if (!plain || !(value >= key->min && value <= key->max)) {
        return err_set(err, ERR_INVALID,
                       plain
                           ? "%.40s is out of range; choose from %g to %g"
                           : "\"%.40s\" is no number; write one from %g to %g",
                       text, key->min, key->max);
    }
    *(double *)conf_field(conf, key) = value;
    return 0;
}

static int set_uint(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    uint64_t value;

    assert(key->type == CONF_KEY_UINT);
    assert(key->min >= 0);
    assert(key->max <= UINT32_MAX);
    if (units_uint(text, UINT64_MAX, &value, NULL) != 0 ||
        (double)value < key->min || (double)value > key->max) {
        return err_set(
            err, ERR_INVALID,
            is_made_of(text, "0123456789")
                ? "%.40s is out of range; choose from %.0f to %.0f"
                : "\"%.40s\" is no whole number; write one from %.0f to %.0f",
            text, key->min, key->max);
    }
    *(uint32_t *)conf_field(conf, key) = (uint32_t)value;
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

    assert(key->type == CONF_KEY_DURATION);
    rc = bare ? 0 : units_duration(text, &value, err);
    if (rc != 0)
        return rc;
    if ((double)value < key->min || (double)value > key->max) {
        return err_set(err, ERR_INVALID,
                       "%.40s%s is out of range; choose from %s to %s", text,
                       bare ? " (milliseconds)" : "",
                       units_format_duration((int64_t)key->min, low),
                       units_format_duration((int64_t)key->max, high));
    }
    *(int64_t *)conf_field(conf, key) = value;
    return 0;
}

static int set_size(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    char low[UNITS_SIZE_SIZE], high[UNITS_SIZE_SIZE];
    uint64_t value;
    int rc = units_size(text, &value, err);

    assert(key->type == CONF_KEY_SIZE);
    if (rc != 0)
        return rc;
    if ((double)value < key->min || (double)value > key->max)
        return err_set(err, ERR_INVALID,
                       "%.40s is out of range; choose from %s to %s", text,
                       units_format_size((uint64_t)key->min, low),
                       units_format_size((uint64_t)key->max, high));
    *(uint64_t *)conf_field(conf, key) = value;
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

/* "a, b or c", without what a file may not say. */
static void list_names(const char *const *names, struct buf *out)
{
    for (size_t i = 0; names[i] != NULL; i++) {
        const char *between = names[i + 1] == NULL   ? ""
                              : names[i + 2] == NULL ? " or "
                                                     : ", ";

        if (strcmp(names[i], "memory") != 0)
            buf_printf(out, "%s%s", names[i], between);
    }
    assert(out->len > 0);
}

static int set_enum(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    static const char *const databases[] = {"mysql", "mariadb", "postgresql",
                                            "postgres", NULL};
    struct buf all;
    int rc;

    assert(key->type == CONF_KEY_ENUM);
    for (unsigned i = 0; key->names[i] != NULL; i++) {
        if (same_name(key->names[i], text)) {
            *(unsigned *)conf_field(conf, key) = i;
            return 0;
        }
    }
    if (strcmp(key->path, "registry.type") == 0 &&
        conf_text_index(text, databases, strcasecmp) >= 0) {
        return err_set(err, ERR_INVALID,
                       "\"%.40s\" is a database; choose jdbc, which "
                       "hikari-config.jdbc-url names",
                       text);
    }
    buf_init(&all, 256);
    list_names(key->names, &all);
    rc = err_set(err, ERR_INVALID, "\"%.40s\" is unknown; choose %s", text,
                 buf_text(&all));
    buf_close(&all);
    return rc;
}

int conf_policy_parse(const char *name, enum conf_policy *out, struct err *err)
{
    struct conf scratch = {.balancer.policy = CONF_LEDGER};
    int rc = set_enum(&scratch, conf_key_find("balancer.policy"), name, err);

    assert(scratch.balancer.policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    if (rc == 0)
        *out = scratch.balancer.policy;
    return rc;
}

const char *conf_policy_name(enum conf_policy policy)
{
    assert((unsigned)policy < CONF_POLICIES);
    return conf_key_find("balancer.policy")->names[policy];
}

int conf_shadow_parse(const char *name, bool *on, enum conf_policy *out,
                      struct err *err)
{
    struct conf scratch = {.second.shadow = CONF_SHADOW_OFF};
    int rc = set_enum(&scratch, conf_key_find("balancer.shadow"), name, err);

    if (rc != 0)
        return rc;
    *on = scratch.second.shadow != CONF_SHADOW_OFF;
    if (*on)
        *out = (enum conf_policy)(scratch.second.shadow - CONF_SHADOW_OF);
    assert(!*on || *out < CONF_POLICIES);
    return 0;
}

static int set_listen(struct conf *conf, const struct conf_key *key,
                      const char *text, struct err *err)
{
    uint16_t port;
    char *host;
    int rc = conf_host_port(text, &host, &port, err);

    assert(key->type == CONF_KEY_LISTEN);
    if (rc == 0) {
        mem_free(conf->listen_host);
        conf->listen_host = host;
        conf->listen_port = port;
    }
    return rc;
}

void conf_list_clear(struct conf_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        mem_free(list->items[i]);
    mem_free(list->items);
    *list = (struct conf_list){0};
}

static bool is_in(const struct conf_list *list, const char *item)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], item) == 0)
            return true;
    return false;
}

static int check_item(const struct conf_list *list, const struct conf_key *key,
                      const char *item, struct err *err)
{
    if (item[0] == '\0')
        return err_set(err, ERR_INVALID, "an empty item; remove it");
    if (is_in(list, item)) {
        return err_set(err, ERR_INVALID,
                       "\"%.200s\" stands there twice; remove one", item);
    }
    return check_text(key, item, err);
}

/* DolphinScheduler writes lists like this. */
int conf_list_add(struct conf_list *list, const struct conf_key *key,
                  const char *text, struct err *err)
{
    assert(key->type == CONF_KEY_LIST || key->type == CONF_KEY_GROUPS);
    for (const char *s = text;; s++) {
        size_t n = strcspn(s, ",");
        char *item = conf_text_trimmed(s, n);
        int rc;

        if (key->check == conf_check_endpoint)
            conf_plain_endpoint(item);
        rc = check_item(list, key, item, err);
        if (rc != 0) {
            mem_free(item);
            return rc;
        }
        /* Grows by doubling: powers of two are full. */
        if ((list->n & (list->n - 1)) == 0) {
            list->items =
                mem_regrow(list->items, list->n == 0 ? 1 : list->n * 2,
                           sizeof(*list->items));
        }
        list->items[list->n++] = item;
        s += n;
        if (*s == '\0')
            return 0;
    }
}

static int set_list(struct conf *conf, const struct conf_key *key,
                    const char *text, struct err *err)
{
    assert(key->type == CONF_KEY_LIST);
    return conf_list_add(conf_field(conf, key), key, text, err);
}

/* A type's field, and what sets it; NULL: nothing does so from one text. */
static const struct {
    size_t size;
    int (*set)(struct conf *conf, const struct conf_key *key, const char *text,
               struct err *err);
} types[] = {
    [CONF_KEY_STRING] = {sizeof(char *), set_string},
    [CONF_KEY_LIST] = {sizeof(struct conf_list), set_list},
    [CONF_KEY_BOOL] = {sizeof(bool), set_bool},
    [CONF_KEY_UINT] = {sizeof(uint32_t), set_uint},
    [CONF_KEY_NUMBER] = {sizeof(double), set_number},
    [CONF_KEY_DURATION] = {sizeof(int64_t), set_duration},
    [CONF_KEY_SIZE] = {sizeof(uint64_t), set_size},
    [CONF_KEY_ENUM] = {sizeof(unsigned), set_enum},
    [CONF_KEY_LISTEN] = {sizeof(char *), set_listen},
    [CONF_KEY_GROUPS] = {sizeof(struct conf_list), NULL}, /* and n_groups */
    [CONF_KEY_OWN] = {sizeof(struct conf_list), NULL},    /* and n_owns */
};

static_assert(offsetof(struct conf, n_groups) - offsetof(struct conf, groups) ==
                  offsetof(struct conf_list, n),
              "both are one field to whoever copies it");
static_assert(offsetof(struct conf, n_owns) - offsetof(struct conf, owns) ==
                  offsetof(struct conf_list, n),
              "likewise");

size_t conf_field_size(const struct conf_key *key)
{
    assert(conf_key_counts(key));
    assert(types[key->type].size > 0);
    return types[key->type].size;
}

int conf_set(struct conf *conf, const struct conf_key *key, const char *text,
             struct err *err)
{
    assert(conf_key_counts(key) && types[key->type].set != NULL);
    return types[key->type].set(conf, key, text, err);
}

void conf_set_defaults(struct conf *conf)
{
    size_t type = conf_key_find("registry.type")->offset;

    assert(conf->n_groups == 0);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        const char *text = conf_key_default(key, conf->registry.type);
        int rc;

        if (!conf_key_is_own(key) || text == NULL || key->offset == type)
            continue;
        if (key->type == CONF_KEY_LIST)
            conf_list_clear(conf_field(conf, key));
        rc = conf_set(conf, key, text, NULL);
        assert(rc == 0);
        (void)rc;
    }
    conf->failover.settle_ms = conf->registry.session_timeout_ms;
}
