/*
 * conf_print.c - the configuration for people: values in force, and the table.
 *
 * One line a key in its dotted form, which the reader takes as well: what is
 * printed can be kept as a file (without its secrets).
 */
#include "conf/conf_priv.h"

#include "base/json/json.h"

#include <string.h>

#define LINE_MAX_BYTES ((size_t)1 << 20)

void conf_format_groups(const struct conf *conf, struct buf *line)
{
    for (size_t g = 0; g < conf->n_groups; g++) {
        const struct conf_group *group = &conf->groups[g];

        buf_str(line, "\"groups.");
        buf_str(line, group->name);
        buf_str(line, "\": [");
        for (size_t i = 0; i < group->n_addresses; i++) {
            buf_str(line, i == 0 ? "" : ", ");
            json_quote(line, group->addresses[i], strlen(group->addresses[i]));
        }
        buf_str(line, "]\n");
    }
}

/* Nothing was given and there is no default: a comment says that it exists. */
static bool is_unset(const struct conf *conf, const struct conf_key *key)
{
    const char *at = (const char *)conf + key->offset;

    return key->type == CONF_KEY_STRING &&
           *(char *const *)(const void *)at == NULL;
}

void conf_print(const struct conf *conf, FILE *out)
{
    const struct conf_key *keys;
    struct buf line;
    size_t n;

    keys = conf_keys(&n);
    buf_init(&line, LINE_MAX_BYTES);
    for (size_t i = 0; i < n; i++) {
        const struct conf_key *key = &keys[i];

        if (!conf_key_counts(key) || (key->flags & CONF_ALIAS) != 0 ||
            (key->registries & CONF_FOR(conf->registry.type)) == 0)
            continue;
        buf_reset(&line);
        if (key->type == CONF_KEY_GROUPS) {
            conf_format_groups(conf, &line);
        } else if (is_unset(conf, key)) {
            buf_printf(&line, "# %s: not set\n", key->path);
        } else {
            buf_printf(&line, "%s: ", key->path);
            conf_format(conf, key, &line);
            buf_char(&line, '\n');
        }
        (void)fputs(buf_text(&line), out);
    }
    buf_close(&line);
}

void conf_describe(FILE *out)
{
    const struct conf_key *keys;
    size_t n;

    keys = conf_keys(&n);
    for (size_t i = 0; i < n; i++) {
        const struct conf_key *key = &keys[i];

        if (conf_key_counts(key) && (key->flags & CONF_ALIAS) == 0) {
            (void)fprintf(out, "%s (%s)\n    %s\n", key->path,
                          key->otherwise == NULL ? "no default"
                                                 : key->otherwise,
                          key->help);
        }
    }
}

const char *conf_policy_name(enum conf_policy policy)
{
    const struct conf_key *key = conf_key_find("balancer.policy");

    assert((unsigned)policy <= CONF_DYNAMIC_WEIGHTED_ROUND_ROBIN);
    return key->names[policy];
}

int conf_policy_parse(const char *name, enum conf_policy *out, struct err *err)
{
    struct conf scratch = {.balancer.policy = CONF_LEDGER};
    int rc = conf_set(&scratch, conf_key_find("balancer.policy"), name, err);

    if (rc == 0)
        *out = scratch.balancer.policy;
    return rc;
}

const char *conf_registry_type_name(enum conf_registry_type type)
{
    const struct conf_key *key = conf_key_find("registry.type");

    assert((unsigned)type <= CONF_JDBC);
    return key->names[type];
}
