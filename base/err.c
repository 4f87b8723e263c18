/*
 * err.c - error values: a code that programs act on and a message for people.
 *
 * The message lives inside the value, so that failing never allocates; one
 * that does not fit is cut at the end, where the least important part stands.
 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
} codes[] = {
#define X(code, name, text) [code] = {name, text},
    ERR_CODES(X)
#undef X
};

const char *err_name(enum err_code code)
{
    assert((size_t)code < ARRAY_LEN(codes));
    return codes[code].name;
}

const char *err_text(enum err_code code)
{
    assert((size_t)code < ARRAY_LEN(codes));
    return codes[code].text;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    char msg[ERR_MSG_MAX];
    va_list ap;

    assert((size_t)code < ARRAY_LEN(codes));
    if (err == NULL)
        return (int)code;
    /* Formatted aside first: the arguments may point into err->msg. */
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof(msg), fmt, ap);
    va_end(ap);
    err->code = code;
    err->trouble = 0;
    memcpy(err->msg, msg, sizeof(msg));
    return (int)code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char what[ERR_MSG_MAX / 2];
    size_t used, len;
    va_list ap;

    if (err == NULL)
        return ERR_UNKNOWN;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    /* A long outer text is cut first: the cause stands inside. */
    used = strlen(what);
    assert(used < sizeof(what));
    len = strnlen(err->msg, sizeof(err->msg) - used - 3);
    memmove(err->msg + used + 2, err->msg, len);
    assert(used + 2 + len < sizeof(err->msg));
    err->msg[used + 2 + len] = '\0';
    memcpy(err->msg, what, used);
    err->msg[used] = ':';
    err->msg[used + 1] = ' ';
    return (int)err->code;
}

void err_add(struct err *err, const char *fmt, ...)
{
    char more[ERR_MSG_MAX];
    size_t len;
    va_list ap;

    if (err == NULL)
        return;
    va_start(ap, fmt);
    (void)vsnprintf(more, sizeof(more), fmt, ap);
    va_end(ap);
    len = strlen(err->msg);
    assert(len < sizeof(err->msg));
    (void)snprintf(err->msg + len, sizeof(err->msg) - len, "%s", more);
}

int err_errno(struct err *err, int errnum, const char *fmt, ...)
{
    enum err_code code =
        errnum == EACCES || errnum == EPERM ? ERR_DENIED : ERR_IO;
    char what[ERR_MSG_MAX / 2];
    char reason[128];
    va_list ap;

    if (err == NULL)
        return (int)code;
    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    /* The GNU strerror_r: the text may or may not be in the buffer. */
    return err_set(err, code, "%s: %s", what,
                   strerror_r(errnum, reason, sizeof(reason)));
}

void err_clear(struct err *err)
{
    if (err != NULL) {
        err->code = ERR_OK;
        err->trouble = 0;
        err->msg[0] = '\0';
    }
}
