/*
 * log.c - formats an event into one line on the stack and writes it at once.
 *
 * A fixed line keeps the logger free of memory and bounded in time; the tail
 * of it is reserved, so that a cut line still ends as a whole one (closed
 * quote, closed brace) and says that it was cut.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/locks.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Room for a closing quote, the "cut" field, a brace and the newline. */
#define TAIL 32

struct line {
    char text[LOG_LINE_MAX];
    size_t len;
    bool json;
    bool cut;
};

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

static atomic_int log_level = LOG_INFO;
static atomic_int log_format = LOG_TEXT;

/* Mutex "log": protects the two below, held during one write. */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static log_sink_f *log_sink;
static void *log_sink_arg;

void log_set_sink(log_sink_f *sink, void *arg)
{
    lock_acquire(&log_mutex);
    log_sink = sink;
    log_sink_arg = arg;
    lock_release(&log_mutex);
}

void log_configure(enum log_level level, enum log_format format)
{
    assert(level >= LOG_ERROR && level <= LOG_DEBUG);
    assert(format == LOG_TEXT || format == LOG_JSON);
    atomic_store(&log_level, (int)level);
    atomic_store(&log_format, (int)format);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

/* All of it or nothing. */
static void put(struct line *l, const char *s, size_t n)
{
    if (l->cut || l->len + n > sizeof(l->text) - TAIL) {
        l->cut = true;
        return;
    }
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

static void put_str(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* From the reserve: always fits, because it is called a bounded number of
 * times after the last put(). */
static void put_tail(struct line *l, const char *s)
{
    size_t n = strlen(s);

    assert(n <= sizeof(l->text) - l->len);
    memcpy(l->text + l->len, s, n);
    l->len += n;
}

/*
 * The length of the character at s if it may be shown as it is. 0: broken
 * UTF-8, a control character (C1 as well, which some terminals obey), a line
 * separator or a character that reorders the text around it.
 */
static size_t printable(const char *text)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t n = json_utf8(text, strnlen(text, 4));

    switch (n) {
    case 1:
        return s[0] >= 0x20 && s[0] != 0x7f;
    case 2: /* U+0080 to U+009F */
        return s[0] == 0xc2 && s[1] < 0xa0 ? 0 : n;
    case 3: /* U+2028 to U+202E, U+2066 to U+2069 */
        return s[0] == 0xe2 &&
                       ((s[1] == 0x80 && s[2] >= 0xa8 && s[2] <= 0xae) ||
                        (s[1] == 0x81 && s[2] >= 0xa6 && s[2] <= 0xa9))
                   ? 0
                   : n;
    default:
        return n;
    }
}

static void put_escaped(struct line *l, const char *value)
{
    const char *s = value;
    char hex[8];
    size_t n;

    while (*s != '\0' && !l->cut) {
        n = printable(s);
        if (n == 1 && (*s == '"' || *s == '\\')) {
            hex[0] = '\\';
            hex[1] = *s;
            put(l, hex, 2);
        } else if (n > 0) {
            put(l, s, n);
        } else if (*s == '\n') {
            put(l, "\\n", 2);
        } else if (*s == '\t') {
            put(l, "\\t", 2);
        } else {
            /* In JSON a byte is shown as the character of its number. */
            (void)snprintf(hex, sizeof(hex), l->json ? "\\u%04x" : "\\x%02x",
                           (unsigned)(unsigned char)*s);
            put_str(l, hex);
        }
        s += n > 0 ? n : 1;
    }
}

static bool is_plain(const char *value)
{
    const unsigned char *s = (const unsigned char *)value;

    for (; *s != '\0'; s++) {
        if (*s <= ' ' || *s >= 0x7f || *s == '"' || *s == '=' || *s == '\\') {
            return false;
        }
    }
    return s != (const unsigned char *)value;
}

static void put_value_str(struct line *l, const char *value)
{
    /* "null" as a text must not look like the absence of one. */
    if (value == NULL) {
        put_str(l, "null");
    } else if (!l->json && is_plain(value) && strcmp(value, "null") != 0) {
        size_t n = strlen(value);
        size_t limit = sizeof(l->text) - TAIL;
        size_t room = l->len < limit ? limit - l->len : 0;

        put(l, value, n < room ? n : room);
        l->cut = l->cut || n > room;
    } else {
        put(l, "\"", 1);
        if (!l->cut) {
            put_escaped(l, value);
            put_tail(l, "\"");
        }
    }
}

static void put_number(struct line *l, const struct log_field *f)
{
    char text[40];

    switch (f->type) {
    case LOG_INT:
        (void)snprintf(text, sizeof(text), "%" PRId64, f->v.i);
        break;
    case LOG_UINT:
        (void)snprintf(text, sizeof(text), "%" PRIu64, f->v.u);
        break;
    case LOG_BOOL:
        (void)snprintf(text, sizeof(text), "%s", f->v.b ? "true" : "false");
        break;
    case LOG_NUM:
    case LOG_STR:
        assert(f->type == LOG_NUM);
        (void)snprintf(text, sizeof(text),
                       isfinite(f->v.d) || !l->json ? "%.6g" : "null", f->v.d);
        break;
    }
    put_str(l, text);
}

static void put_field(struct line *l, const struct log_field *f)
{
    size_t mark = l->len;

    put_str(l, l->json ? ",\"" : " ");
    put_str(l, f->key);
    put_str(l, l->json ? "\":" : "=");
    if (l->cut) {
        l->len = mark;
        return;
    }
    if (f->type == LOG_STR) {
        size_t value = l->len;

        put_value_str(l, f->v.s);
        if (l->len == value) {
            l->len = mark;
        }
    } else {
        put_number(l, f);
        if (l->cut) {
            l->len = mark;
        }
    }
}

static void emit(enum log_level level, const struct line *l)
{
    size_t done = 0;

    lock_acquire(&log_mutex);
    if (log_sink != NULL) {
        log_sink(log_sink_arg, level, l->text, l->len);
    } else {
        while (done < l->len) {
            ssize_t n = write(STDERR_FILENO, l->text + done, l->len - done);

            if (n > 0) {
                done += (size_t)n;
            } else if (n == 0 || errno != EINTR) {
                break; /* a log that cannot be written stops nobody */
            }
        }
    }
    lock_release(&log_mutex);
}

void log_event(enum log_level level, const char *event,
               const struct log_field *fields)
{
    char now[CLOCK_RFC3339_SIZE];
    char head[CLOCK_RFC3339_SIZE + 64];
    struct line l;

    assert(level >= LOG_ERROR && level <= LOG_DEBUG);
    assert(event != NULL && event[0] != '\0');
    l.len = 0;
    l.cut = false;
    l.json = atomic_load(&log_format) == LOG_JSON;
    (void)snprintf(head, sizeof(head),
                   l.json ? "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\""
                          : "%s %-5s ",
                   clock_rfc3339(clock_wall_ms(), now), level_names[level]);
    put_str(&l, head);
    put_escaped(&l, event);
    if (l.json) {
        put_tail(&l, "\"");
    }
    for (; fields != NULL && fields->key != NULL && !l.cut; fields++) {
        put_field(&l, fields);
    }
    if (l.cut) {
        put_tail(&l, l.json ? ",\"cut\":true" : " cut=true");
    }
    put_tail(&l, l.json ? "}\n" : "\n");
    emit(level, &l);
}
