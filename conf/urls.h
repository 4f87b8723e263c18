/*
 * urls.h - the coordinators that a client may ask:
 * "http://a:7077,http://b:7077", tried in turn. One list for the agent and the
 * command line.
 */
#ifndef PELORUS_CONF_URLS_H
#define PELORUS_CONF_URLS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define URLS_MAX 16

struct urls {
    char *list[URLS_MAX]; /* without blanks and without a slash at the end */
    size_t n;             /* 1..URLS_MAX */
    size_t at;            /* the one in use */
};

/* ERR_INVALID: the message names the part that is no URL. ERR_IO: there is no
 * libcurl, which this loads. conf_urls_close() is fine after a failure, too.
 * Main thread. */
int conf_urls_parse(struct urls *out, const char *text,
                    struct err *err) MUST_CHECK;
void conf_urls_close(struct urls *u);

const char *conf_urls_current(const struct urls *u);
/* The next one's turn; false: all had theirs since `first` (an `at`). */
bool conf_urls_next(struct urls *u, size_t first);

#endif
