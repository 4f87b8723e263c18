/*
 * reload.c - a running process and its configuration file: read again, key by
 * key against the one in force. The table says which keys are taken over.
 */
#include "conf/reload.h"

#include "base/mem.h"
#include "conf/conf_priv.h"

#include <string.h>

#define PROBLEMS_MAX ((size_t)64 * 1024)
#define TEXT_MAX     ((size_t)1 << 20)

/* What is in force afterwards goes away with `fresh`. */
static void take(struct conf *conf, struct conf *fresh,
                 const struct conf_key *key)
{
    char kept[sizeof(struct conf_list)];
    void *a = conf_field(conf, key), *b = conf_field(fresh, key);
    size_t n = conf_field_size(key);

    assert((key->flags & CONF_LIVE) != 0);
    assert(n <= sizeof(kept));
    memcpy(kept, a, n);
    memcpy(a, b, n);
    memcpy(b, kept, n);
}

/* A secret looks like any other one. */
static bool secret_changed(const struct conf *conf, const struct conf *fresh,
                           const struct conf_key *key)
{
    const char *a, *b;

    if ((key->flags & CONF_SECRET) == 0)
        return false;
    assert(key->type == CONF_KEY_STRING);
    a = *(char **)conf_field(conf, key);
    b = *(char **)conf_field(fresh, key);
    return a != NULL && b != NULL && strcmp(a, b) != 0;
}

static void log_change(const char *key, const char *from, const char *to,
                       bool taken)
{
    assert(key != NULL);
    if (taken) {
        log_info("=reload", LOG_S("key", key), LOG_S("from", from),
                 LOG_S("to", to));
    } else {
        log_warn("!reload", LOG_S("key", key), LOG_S("from", from),
                 LOG_S("to", to),
                 LOG_S("reason", "it takes a restart to change this"));
    }
}

/* One of conf_format()'s lines: "KEY": VALUE. */
struct line {
    const char *key, *value;
    size_t key_len, value_len;
};

/* The first line of `*text`, which moves behind it; false: there is none, or
 * not all of it had room. */
static bool next_line(const char **text, struct line *out)
{
    const char *from = *text, *colon = strstr(from, "\": ");
    const char *end = strchr(from, '\n');

    if (colon == NULL || end == NULL)
        return false;
    assert(from[0] == '"');
    assert(colon < end);
    *out = (struct line){.key = from + 1,
                         .key_len = (size_t)(colon - from - 1),
                         .value = colon + 3,
                         .value_len = (size_t)(end - colon - 3)};
    *text = end + 1;
    return true;
}

static bool find_line(const char *text, const struct line *like,
                      struct line *out)
{
    while (next_line(&text, out))
        if (out->key_len == like->key_len &&
            memcmp(out->key, like->key, like->key_len) == 0)
            return true;
    *out = (struct line){.value = ""};
    return false;
}

/* A line of the log for each of `lines` that `others` have otherwise or not;
 * of the new ones only those that are not there at all. */
static void log_lines(const char *lines, const char *others, bool new,
                      bool taken)
{
    struct line one, other;

    while (next_line(&lines, &one)) {
        bool found = find_line(others, &one, &other);
        char *key, *here, *there;

        if (found &&
            (new || (one.value_len == other.value_len &&
                     memcmp(one.value, other.value, one.value_len) == 0)))
            continue;
        key = mem_strndup(one.key, one.key_len);
        here = mem_strndup(one.value, one.value_len);
        there = mem_strndup(other.value, other.value_len);
        log_change(key, new ? there : here, new ? here : there, taken);
        mem_free(key);
        mem_free(here);
        mem_free(there);
    }
}

/* What may change goes over into `conf`, all else stays; a line tells of each
 * key that differs. Closes `fresh`. True: something was taken. */
static bool take_over(struct conf *conf, struct conf *fresh)
{
    struct buf from, to;
    bool any = false;

    assert(conf != fresh);
    buf_init(&from, TEXT_MAX);
    buf_init(&to, TEXT_MAX);
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++) {
        bool live = (key->flags & CONF_LIVE) != 0;

        if (!conf_key_is_own(key))
            continue;
        buf_reset(&from);
        buf_reset(&to);
        conf_format(conf, key, &from);
        conf_format(fresh, key, &to);
        if (strcmp(buf_text(&from), buf_text(&to)) == 0 &&
            !secret_changed(conf, fresh, key))
            continue;
        if (live)
            take(conf, fresh, key);
        any = any || live;
        if (key->type == CONF_KEY_GROUPS || key->type == CONF_KEY_OWN) {
            log_lines(buf_text(&from), buf_text(&to), false, live);
            log_lines(buf_text(&to), buf_text(&from), true, live);
        } else {
            log_change(key->path, buf_text(&from), buf_text(&to), live);
        }
    }
    buf_close(&from);
    buf_close(&to);
    conf_close(fresh);
    return any;
}

static void tell_problems(struct buf *problems, const struct err *err)
{
    char *rest = (char *)buf_text(problems), *line;

    assert(err->code != ERR_OK);
    if (problems->len == 0)
        log_error("!reload", LOG_S("reason", err->msg));
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] != '\0')
            log_error("!reload", LOG_S("reason", line));
}

static void open_log(const char *file)
{
    struct err err;

    assert(file != NULL);
    if (log_to(file, &err) != 0)
        log_error("!log.file", LOG_S("reason", err.msg),
                  LOG_S("advice", "lines go where they went before"));
}

/* What the file says now; false: nothing of it was taken over. */
static bool read_again(struct conf *conf)
{
    struct buf problems;
    struct conf fresh;
    struct err err;
    bool any = false;

    assert(conf->file[0] != '\0');
    buf_init(&problems, PROBLEMS_MAX);
    if (conf_load(&fresh, conf->file, &problems, &err) == 0) {
        any = take_over(conf, &fresh);
        log_configure(conf->log_level, conf->log_format);
        log_info("=reload", LOG_S("file", conf->file), LOG_B("changed", any));
    } else {
        tell_problems(&problems, &err);
    }
    buf_close(&problems);
    return any;
}

/* It has another name now, or none. */
static void log_renamed(const char *was, const char *is)
{
    if (is == NULL && was != NULL)
        log_warn("!log.file", LOG_S("reason", "standard error is gone: lines "
                                              "go to the file of before until "
                                              "a restart"));
    else if (is != NULL && (was == NULL || strcmp(is, was) != 0))
        open_log(is);
}

bool conf_reload_file(struct conf *conf)
{
    char *was = conf->log_file != NULL ? mem_strdup(conf->log_file) : NULL;
    bool any = false;

    if (was != NULL) /* first: what follows stands in the new one */
        open_log(was);
    if (conf->file != NULL && conf->file[0] != '\0')
        any = read_again(conf);
    else
        log_info("=reload", LOG_S("reason", "no file was given (-c)"));
    log_renamed(was, conf->log_file);
    mem_free(was);
    return any;
}
