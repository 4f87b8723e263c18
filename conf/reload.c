/*
 * reload.c - a running process and its configuration file.
 */
#include "conf/reload.h"

#include "base/buf.h"
#include "base/mem.h"

#include <string.h>

#define PROBLEMS_MAX ((size_t)64 * 1024)

static void on_change(void *arg, const char *key, const char *from,
                      const char *to, bool taken)
{
    bool *any = arg;

    if (taken) {
        *any = true;
        log_info("=reload", LOG_S("key", key), LOG_S("from", from),
                 LOG_S("to", to));
    } else {
        log_warn("!reload", LOG_S("key", key), LOG_S("from", from),
                 LOG_S("to", to),
                 LOG_S("reason", "it takes a restart to change this"));
    }
}

static void tell_problems(struct buf *problems, const struct err *err)
{
    char *rest = (char *)buf_text(problems), *line;

    if (problems->len == 0)
        log_error("!reload", LOG_S("reason", err->msg));
    while ((line = strsep(&rest, "\n")) != NULL)
        if (line[0] != '\0')
            log_error("!reload", LOG_S("reason", line));
}

static void open_log(const char *file)
{
    struct err err;

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

    buf_init(&problems, PROBLEMS_MAX);
    if (conf_load(&fresh, conf->file, &problems, &err) == 0) {
        conf_reload(conf, &fresh, on_change, &any);
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
