/*
 * conf_reload.c - a configuration that was read again: key by key against the
 * one in force. The table says which keys a running process takes over.
 */
#include "conf/conf_priv.h"

#include <string.h>

#define TEXT_MAX ((size_t)1 << 20)

static size_t width_of(const struct conf_key *key)
{
    switch (key->type) {
    case CONF_KEY_STRING:
        return sizeof(char *);
    case CONF_KEY_LIST:
        return sizeof(struct conf_list);
    case CONF_KEY_BOOL:
        return sizeof(bool);
    case CONF_KEY_UINT:
        return sizeof(uint32_t);
    case CONF_KEY_NUMBER:
        return sizeof(double);
    case CONF_KEY_DURATION:
        return sizeof(int64_t);
    case CONF_KEY_ENUM:
        return sizeof(int);
    case CONF_KEY_LISTEN:
    case CONF_KEY_GROUPS:
    case CONF_KEY_IGNORED:
    case CONF_KEY_REFUSED:
        break;
    }
    assert(false); /* no single field */
    return 0;
}

static void swap(void *a, void *b, size_t n)
{
    char kept[sizeof(struct conf_list)];

    assert(n <= sizeof(kept));
    memcpy(kept, a, n);
    memcpy(a, b, n);
    memcpy(b, kept, n);
}

/* What is in force afterwards goes away with `fresh`. */
static void take(struct conf *conf, struct conf *fresh,
                 const struct conf_key *key)
{
    if (key->type == CONF_KEY_GROUPS) {
        swap(&conf->groups, &fresh->groups, sizeof(conf->groups));
        swap(&conf->n_groups, &fresh->n_groups, sizeof(conf->n_groups));
    } else {
        swap((char *)conf + key->offset, (char *)fresh + key->offset,
             width_of(key));
    }
}

static void as_text(const struct conf *conf, const struct conf_key *key,
                    struct buf *out)
{
    buf_reset(out);
    if (key->type == CONF_KEY_GROUPS)
        conf_format_groups(conf, out);
    else
        conf_format(conf, key, out);
}

/* A secret looks like any other one. */
static bool secret_changed(const struct conf *conf, const struct conf *fresh,
                           const struct conf_key *key)
{
    const char *a, *b;

    if ((key->flags & CONF_SECRET) == 0)
        return false;
    assert(key->type == CONF_KEY_STRING);
    memcpy(&a, (const char *)conf + key->offset, sizeof(a));
    memcpy(&b, (const char *)fresh + key->offset, sizeof(b));
    return a != NULL && b != NULL && strcmp(a, b) != 0;
}

void conf_reload(struct conf *conf, struct conf *fresh, conf_change_f *each,
                 void *arg)
{
    const struct conf_key *keys;
    struct buf from, to;
    size_t n;

    keys = conf_keys(&n);
    buf_init(&from, TEXT_MAX);
    buf_init(&to, TEXT_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct conf_key *key = &keys[i];
        bool live = (key->flags & CONF_LIVE) != 0;

        if (!conf_key_counts(key) || (key->flags & CONF_ALIAS) != 0)
            continue;
        as_text(conf, key, &from);
        as_text(fresh, key, &to);
        if (strcmp(buf_text(&from), buf_text(&to)) == 0 &&
            !secret_changed(conf, fresh, key))
            continue;
        if (live)
            take(conf, fresh, key);
        each(arg, key->path, buf_text(&from), buf_text(&to), live);
    }
    buf_close(&from);
    buf_close(&to);
    conf_close(fresh);
}
