/*
 * reload.c - a running process and its configuration file.
 */
#include "coordinator/reload.h"

#include "base/buf.h"

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

bool reload(struct conf *conf)
{
    struct buf problems;
    struct conf fresh;
    struct err err;
    bool any = false;

    if (conf->log_file != NULL && log_to(conf->log_file, &err) != 0)
        log_error("!log.file", LOG_S("reason", err.msg),
                  LOG_S("advice", "lines still go to the file of before"));
    if (conf->file == NULL || conf->file[0] == '\0') {
        log_info("=reload", LOG_S("reason", "no file was given (-c)"));
        return false;
    }
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
