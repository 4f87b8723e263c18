/*
 * conf_helpers.h - reading a configuration in a test: accepted, or refused
 * with exactly this report. State is static: one configuration per program.
 */
#ifndef PELORUS_TESTS_CONF_HELPERS_H
#define PELORUS_TESTS_CONF_HELPERS_H

#include "base/buf.h"
#include "base/mem.h"
#include "conf/conf.h"
#include "conf/conf_priv.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static struct conf conf;
static struct err err;
static struct buf problems;

static inline int setup(void **state)
{
    (void)state;
    buf_init(&problems, 65536);
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    buf_close(&problems);
    conf_close(&conf); /* also after a failure: must be harmless */
    return 0;
}

static inline int parse(const char *text)
{
    conf_close(&conf);
    buf_reset(&problems);
    return conf_parse(&conf, "f.yaml", text, strlen(text), &problems, &err);
}

static inline void accept(const char *text)
{
    if (parse(text) != 0)
        fail_msg("refused:\n%s\n%s", text, buf_text(&problems));
    assert_int_equal(problems.len, 0);
}

/* Refused with exactly this report. */
static inline void refuse(const char *text, const char *report)
{
    assert_int_equal(parse(text), ERR_INVALID);
    assert_string_equal(buf_text(&problems), report);
    assert_memory_equal(err.msg, report, strlen(err.msg));
}

/* What conf_print() says (mem_free). */
static inline char *printed(const struct conf *c)
{
    char *text = NULL, *copy;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    assert_non_null(out);
    conf_print(c, out);
    assert_int_equal(fclose(out), 0);
    copy = mem_strdup(text);
    free(text);
    return copy;
}

static inline void assert_says(const char *line)
{
    char *text = printed(&conf);

    if (strstr(text, line) == NULL)
        fail_msg("no \"%s\" in\n%s", line, text);
    mem_free(text);
}

static inline void assert_same(const struct conf *a, const struct conf *b)
{
    char *x = printed(a), *y = printed(b);

    assert_string_equal(x, y);
    mem_free(x);
    mem_free(y);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
