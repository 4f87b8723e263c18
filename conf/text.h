/*
 * text.h - texts of a configuration before they mean anything (text.c). Inside
 * conf/ only; any thread.
 */
#ifndef PELORUS_CONF_TEXT_H
#define PELORUS_CONF_TEXT_H

#include "base/err.h"

#include <stddef.h>

#define CONF_PATH_MAX  256
#define CONF_VALUE_MAX 4096

/* *out = text with ${NAME} and ${NAME:default} filled in from the environment
 * (mem_free). ERR_INVALID, and NULL: a variable that is not set, a brace that
 * is not closed, or more than CONF_VALUE_MAX bytes. */
int conf_text_expand(const char *text, char **out, struct err *err) MUST_CHECK;

/* A copy of the first `len` bytes without the blanks and tabs around them
 * (mem_free). */
char *conf_text_trimmed(const char *text, size_t len) MUST_CHECK;

/* Where `text` stands in a list that ends with NULL, from 0 on, by strcmp() or
 * strcasecmp(); -1: it does not. */
int conf_text_index(const char *text, const char *const *list,
                    int (*compare)(const char *, const char *));

/* How many letters to change, leave out or add to make one of the other
 * (Levenshtein, 1966). `b` of at most CONF_PATH_MAX bytes. */
size_t conf_text_distance(const char *a, const char *b);

#endif
