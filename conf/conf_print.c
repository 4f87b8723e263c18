/*
 * conf_print.c - the values in force, for people.
 *
 * One line a key in its dotted form, which the reader takes as well: what is
 * printed can be kept as a file (without its secrets).
 */
#include "conf/conf_priv.h"

#define LINE_MAX_BYTES ((size_t)1 << 20)

static void print_key(const struct conf *conf, const struct conf_key *key,
                      struct buf *line)
{
    assert(conf_key_is_own(key));
    assert(line->len == 0);
    if (key->type == CONF_KEY_GROUPS) {
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
