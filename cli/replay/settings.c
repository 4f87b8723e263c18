/*
 * settings.c - settings in the place of those recorded.
 *
 * They are read as a configuration is: the recorded settings as the lines that
 * `check-config` would print, with those asked for in their place. So keys,
 * ranges and the rules between keys are the same, and so are the words for
 * what is wrong.
 */
#include "cli/replay/replay_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "conf/own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX ((size_t)1 << 20)
#define PREFIX   "balancer."

static int add(struct replay_wanted *w, char *key, const char *value,
               struct err *err)
{
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->sets[i].key, key) == 0) {
            int rc = err_set(err, ERR_INVALID, "%s is given twice", key);

            mem_free(key);
            return rc;
        }
    if (w->n == REPLAY_SETS_MAX) {
        mem_free(key);
        return err_set(err, ERR_INVALID, "more than %u settings",
                       REPLAY_SETS_MAX);
    }
    w->sets[w->n++] = (struct replay_set){key, value};
    return 0;
}

/* "KEY=VALUE" of what is counted beside the decisions. */
static bool decides_nothing(const char *text)
{
    static const char *const keys[] = {"shadow=", "regret="};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strncmp(text, keys[i], strlen(keys[i])) == 0)
            return true;
    return false;
}

int replay_want(struct replay_wanted *w, const char *text, struct err *err)
{
    const char *equals = strchr(text, '=');
    size_t len = equals != NULL ? (size_t)(equals - text) : 0;
    bool full = strncmp(text, PREFIX, strlen(PREFIX)) == 0;
    char *key;

    if (len == 0)
        return err_set(err, ERR_INVALID,
                       "%s: write it as KEY=VALUE, as in cpu-max=0.75", text);
    if (decides_nothing(full ? text + strlen(PREFIX) : text))
        return err_set(err, ERR_INVALID,
                       "--set %.*s: no decision rests on it; --policy decides "
                       "anew by another policy",
                       (int)len, text);
    key = full ? mem_strndup(text, len)
               : mem_printf(PREFIX "%.*s", (int)len, text);
    return add(w, key, equals + 1, err);
}

int replay_want_policy(struct replay_wanted *w, const char *policy,
                       struct err *err)
{
    return add(w, mem_strdup(PREFIX "policy"), policy, err);
}

void replay_wanted_close(struct replay_wanted *w)
{
    for (size_t i = 0; i < w->n; i++)
        mem_free(w->sets[i].key);
    w->n = 0;
}

static bool is_wanted(const struct replay_wanted *w, const char *line)
{
    for (size_t i = 0; i < w->n; i++) {
        size_t len = strlen(w->sets[i].key);

        if (strncmp(line, w->sets[i].key, len) == 0 && line[len] == ':')
            return true;
    }
    return false;
}

/* The balancer's lines of a configuration, but those that are wanted. */
static void put_recorded(const struct replay_wanted *w,
                         const struct conf_balancer *recorded, struct buf *out)
{
    struct conf conf;
    char *text = NULL, *line, *rest;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);

    assert(to != NULL);
    conf_defaults(&conf);
    conf.balancer = *recorded;
    conf_print(&conf, to);
    conf_close(&conf);
    (void)fclose(to);
    for (line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest))
        if (strncmp(line, PREFIX, strlen(PREFIX)) == 0 && !is_wanted(w, line))
            buf_printf(out, "%s\n", line);
    mem_free(text);
}

/* "--set:7: balancer.cpu-max: ..." without file and line, which nobody wrote.
 */
static int say(struct err *err, const struct err *found)
{
    const char *at = strstr(found->msg, PREFIX);

    return err_set(err, ERR_INVALID, "--set %s", at != NULL ? at : found->msg);
}

static int read_settings(const struct replay_wanted *w,
                         const struct conf_balancer *recorded,
                         struct conf *conf, struct err *err)
{
    struct buf text;
    struct err found;
    int rc;

    buf_init(&text, TEXT_MAX);
    put_recorded(w, recorded, &text);
    for (size_t i = 0; i < w->n; i++) {
        json_quote(&text, w->sets[i].key, strlen(w->sets[i].key));
        buf_str(&text, ": ");
        json_quote(&text, w->sets[i].value, strlen(w->sets[i].value));
        buf_char(&text, '\n');
    }
    rc = text.overflow ? err_set(err, ERR_TOO_LARGE, "--set: that is too much")
                       : 0;
    if (rc == 0 &&
        conf_parse(conf, "--set", text.data, text.len, NULL, &found) != 0)
        rc = say(err, &found);
    buf_close(&text);
    return rc;
}

static bool same_value(const struct conf_balancer *a,
                       const struct conf_balancer *b, size_t key)
{
    struct buf one, two;
    bool same;

    buf_init(&one, 256);
    buf_init(&two, 256);
    conf_own_put(a, key, &one);
    conf_own_put(b, key, &two);
    same = strcmp(buf_text(&one), buf_text(&two)) == 0;
    buf_close(&one);
    buf_close(&two);
    return same;
}

/* Where a group had what all had, it has what all have now. */
static void follow_general(struct conf_balancer *own,
                           const struct conf_balancer *was,
                           const struct conf_balancer *now)
{
    struct conf_own change = {.values = *now};

    for (size_t key = 0; key < conf_own_keys(); key++)
        if (same_value(own, was, key))
            change.given |= UINT32_C(1) << key;
    conf_own_apply(&change, own);
}

static struct conf_balancer *own_of(struct replay_settings *s, const char *name)
{
    struct balancer_group_conf *one;

    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->own[i].name, name) == 0)
            return &s->own[i].conf;
    s->own = mem_regrow(s->own, s->n + 1, sizeof(*s->own));
    one = &s->own[s->n++];
    *one = (struct balancer_group_conf){.conf = s->conf};
    (void)snprintf(one->name, sizeof(one->name), "%s", name);
    return &one->conf;
}

int replay_wanted_apply(void *arg, struct replay_settings *s, struct err *err)
{
    const struct replay_wanted *w = arg;
    struct conf conf;
    int rc = read_settings(w, &s->conf, &conf, err);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < s->n; i++)
        follow_general(&s->own[i].conf, &s->conf, &conf.balancer);
    s->conf = conf.balancer;
    for (size_t i = 0; i < conf.n_owns; i++)
        conf_own_apply(&conf.owns[i].own, own_of(s, conf.owns[i].name));
    conf_close(&conf);
    return 0;
}

int replay_wanted_check(struct replay_wanted *w, struct err *err)
{
    struct conf conf, other;
    int rc;

    conf_defaults(&conf);
    rc = read_settings(w, &conf.balancer, &other, err);
    if (rc == 0)
        conf_close(&other);
    conf_close(&conf);
    return rc;
}
