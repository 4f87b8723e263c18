/*
 * conf_print.c - fields as texts, and the values in force, for people.
 *
 * One line a key in its dotted form, which the reader takes as well: what is
 * printed can be kept as a file (without its secrets).
 */
#include "conf/conf_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "conf/jdbc_url.h"

#include <string.h>

#define LINE_MAX_BYTES ((size_t)1 << 20)

static void format_text(struct buf *out, const struct conf_key *key,
                        const char *text)
{
    char *masked;

    if ((key->flags & CONF_SECRET) != 0) {
        buf_str(out, "\"***\"");
    } else if ((key->flags & CONF_JDBC_URL) != 0) {
        masked = conf_jdbc_url_masked(text);
        json_quote(out, masked, strlen(masked));
        mem_free(masked);
    } else {
        json_quote(out, text, strlen(text));
    }
}

static void format_list(struct buf *out, const struct conf_key *key,
                        const struct conf_list *list)
{
    buf_char(out, '[');
    for (size_t i = 0; i < list->n; i++) {
        buf_str(out, i == 0 ? "" : ", ");
        format_text(out, key, list->items[i]);
    }
    buf_char(out, ']');
}

static void format_groups(struct buf *out, const struct conf_key *key,
                          const struct conf *conf)
{
    assert(conf->n_groups == 0 || conf->groups != NULL);
    for (size_t i = 0; i < conf->n_groups; i++) {
        buf_str(out, "\"groups.");
        buf_str(out, conf->groups[i].name);
        buf_str(out, "\": ");
        format_list(out, key, &conf->groups[i].addresses);
        buf_char(out, '\n');
    }
}

static void format_listen(struct buf *out, const struct conf *conf)
{
    assert(conf->listen_host != NULL);
    buf_printf(out,
               strchr(conf->listen_host, ':') == NULL ? "\"%s:%u\""
                                                      : "\"[%s]:%u\"",
               conf->listen_host, (unsigned)conf->listen_port);
}

/* Of a group's own settings; "balancer.KEY" is "balancer.groups.NAME.KEY". */
static void format_own(struct buf *out, const struct conf_group_own *group)
{
    const struct conf scratch = {.balancer = group->own.values};
    uint32_t bit = 1;

    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        if ((key->flags & CONF_PER_GROUP) == 0)
            continue;
        if ((group->own.given & bit) != 0) {
            buf_printf(out, "\"balancer.groups.%s%s\": ", group->name,
                       strchr(key->path, '.'));
            conf_format(&scratch, key, out);
            buf_char(out, '\n');
        }
        bit <<= 1;
        assert(bit != 0);
    }
}

void conf_format(const struct conf *conf, const struct conf_key *key,
                 struct buf *out)
{
    const void *at = conf_field(conf, key);
    char duration[UNITS_DURATION_SIZE], size[UNITS_SIZE_SIZE];
    const char *text;

    switch (key->type) {
    case CONF_KEY_STRING:
        text = *(char *const *)at;
        format_text(out, key, text == NULL ? "" : text);
        break;
    case CONF_KEY_LIST:
        format_list(out, key, at);
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
    case CONF_KEY_SIZE:
        buf_str(out, units_format_size(*(const uint64_t *)at, size));
        break;
    case CONF_KEY_ENUM:
        buf_str(out, key->names[*(const unsigned *)at]);
        break;
    case CONF_KEY_LISTEN:
        format_listen(out, conf);
        break;
    case CONF_KEY_GROUPS:
        format_groups(out, key, conf);
        break;
    case CONF_KEY_OWN:
        for (size_t i = 0; i < conf->n_owns; i++)
            format_own(out, &conf->owns[i]);
        break;
    case CONF_KEY_IGNORED:
    case CONF_KEY_REFUSED:
        break;
    }
}

static void print_key(const struct conf *conf, const struct conf_key *key,
                      struct buf *line)
{
    assert(conf_key_is_own(key));
    assert(line->len == 0);
    if (key->type == CONF_KEY_GROUPS || key->type == CONF_KEY_OWN) {
        conf_format(conf, key, line);
    } else if (key->type == CONF_KEY_STRING &&
               *(char **)conf_field(conf, key) == NULL) {
        /* Nothing was given and there is no default: say that it exists. */
        buf_printf(line, "# %s: not set\n", key->path);
    } else {
        buf_printf(line, "%s: ", key->path);
        conf_format(conf, key, line);
        buf_char(line, '\n');
    }
}

void conf_print(const struct conf *conf, FILE *out)
{
    struct buf line;

    assert(conf->registry.type <= CONF_JDBC);
    buf_init(&line, LINE_MAX_BYTES);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        if (!conf_key_is_own(key) ||
            (key->registries & CONF_FOR(conf->registry.type)) == 0)
            continue;
        print_key(conf, key, &line);
        (void)fputs(buf_text(&line), out);
        buf_reset(&line);
    }
    buf_close(&line);
}
