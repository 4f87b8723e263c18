/*
 * log.c - formats an event into one line on the stack and hands it over.
 *
 * A fixed line keeps the logger free of memory and bounded in time; the tail
 * of it is reserved, so that a cut line still ends as a whole one (closed
 * quote, closed brace) and says that it was cut.
 *
 * A daemon never waits for whoever reads its standard error (a pipe to a
 * shipper that hangs, a terminal that is stopped): lines go into a ring and a
 * thread of its own writes them. What finds no room is dropped and counted,
 * and the first line after the gap says how many.
 *
 * A little over 500 lines: a line's text and its way out share the struct.
 */
#include "base/log.h"

#include "base/clock.h"
#include "base/json/json.h"
#include "base/locks.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

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

/* How much is written at a time: whole lines, and few enough that a pipe takes
 * them in one piece. */
#define CHUNK 4096
#define KEPT  (16 * CHUNK) /* of the ring, after a burst */

/* Mutex "log": protects all below, held during one copy (or one write, before
 * log_start()). */
static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static log_sink_f *log_sink;
static void *log_sink_arg;
static struct {
    bool running;
    pthread_t thread;
    uv_cond_t wake, empty;
    bool stopping;
    char text[LOG_BACKLOG_MAX]; /* whole lines, round the end */
    size_t at, len;
    size_t most;   /* as far as it was filled since it was empty */
    bool writing;  /* a chunk is with the thread */
    uint64_t told; /* of the dropped lines, by a line of their own */
} ring;
static _Atomic uint64_t dropped;
static _Atomic uint64_t unwritten; /* lines that the kernel would not take */

void log_set_sink(log_sink_f *sink, void *arg)
{
    lock_acquire(&log_mutex);
    log_sink = sink;
    log_sink_arg = arg;
    lock_release(&log_mutex);
}

int log_to(const char *path, struct err *err)
{
    int fd =
        open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0640);

    int rc = 0;

    assert(path != NULL);
    if (fd < 0 || dup2(fd, STDERR_FILENO) < 0)
        rc = err_errno(err, errno, "%s", path);
    if (fd >= 0)
        (void)close(fd);
    return rc;
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
    assert(l->len <= sizeof(l->text));
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

    for (; *s != '\0'; s++)
        if (*s <= ' ' || *s >= 0x7f || *s == '"' || *s == '=' || *s == '\\')
            return false;
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

    assert(!l->cut);
    assert(mark < sizeof(l->text));
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
        if (l->len == value)
            l->len = mark;
    } else {
        put_number(l, f);
        if (l->cut)
            l->len = mark;
    }
}

/* --- writing ------------------------------------------------------------- */

static void write_all(const char *text, size_t len)
{
    struct pollfd ready = {.fd = STDERR_FILENO, .events = POLLOUT};

    while (len > 0) {
        ssize_t n = write(STDERR_FILENO, text, len);

        if (n > 0) {
            text += n;
            len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            /* our parent made it so; who writes here may wait */
            (void)poll(&ready, 1, -1);
        } else if (n == 0 || errno != EINTR) {
            /* a log that cannot be written stops nobody */
            for (size_t i = 0; i < len; i++)
                if (text[i] == '\n')
                    (void)atomic_fetch_add(&unwritten, 1);
            return;
        }
    }
}

/* Mutex "log" is held, and there is room. */
static void ring_put(const char *text, size_t len)
{
    size_t from = (ring.at + ring.len) % sizeof(ring.text);
    size_t first = sizeof(ring.text) - from;

    assert(ring.len + len <= sizeof(ring.text));
    if (first > len)
        first = len;
    memcpy(ring.text + from, text, first);
    memcpy(ring.text, text + first, len - first);
    ring.len += len;
    if (from + len > ring.most)
        ring.most = from + len;
}

static void format(struct line *l, enum log_level level, const char *event,
                   const struct log_field *fields);

/* The gap, where it is: if there is room for that and for what follows it.
 * Mutex "log" is held. */
static void ring_tell_dropped(size_t follows)
{
    uint64_t n = atomic_load(&dropped);
    struct line l;

    assert(ring.told <= n);
    if (n == ring.told)
        return;
    format(&l, LOG_WARN, "!log",
           (const struct log_field[]){
               LOG_U("dropped", n - ring.told),
               LOG_S("reason", "nobody read standard error"), LOG_END});
    if (ring.len + l.len + follows <= sizeof(ring.text)) {
        ring_put(l.text, l.len);
        ring.told = n;
    }
}

/* Mutex "log" is held. */
static void ring_add(const struct line *l)
{
    assert(ring.running);
    assert(l->len > 0 && l->text[l->len - 1] == '\n');
    ring_tell_dropped(l->len);
    if (ring.told != atomic_load(&dropped) ||
        ring.len + l->len > sizeof(ring.text)) {
        (void)atomic_fetch_add(&dropped, 1);
        return;
    }
    ring_put(l->text, l->len);
    uv_cond_signal(&ring.wake);
}

/* As many whole lines as a chunk takes; one line always fits. Mutex "log" is
 * held. */
static size_t ring_take(char chunk[CHUNK])
{
    size_t len = ring.len < CHUNK ? ring.len : CHUNK;

    assert(ring.at < sizeof(ring.text));
    for (size_t i = 0; i < len; i++)
        chunk[i] = ring.text[(ring.at + i) % sizeof(ring.text)];
    while (len > 0 && chunk[len - 1] != '\n')
        len--;
    ring.at = (ring.at + len) % sizeof(ring.text);
    assert(len > 0 || ring.len == 0);
    ring.len -= len;
    return len;
}

/* Empty: the next line begins it anew, and what a burst filled goes back to the
 * system. Mutex "log" is held. */
static void ring_rest(void)
{
    assert(ring.len == 0);
    ring.at = 0;
    if (ring.most > KEPT)
        mem_discard(ring.text + KEPT, sizeof(ring.text) - KEPT);
    ring.most = 0;
}

static void *write_lines(void *arg)
{
    char chunk[CHUNK];
    size_t len;

    (void)arg;
    lock_acquire(&log_mutex);
    while (ring.len > 0 || !ring.stopping) {
        if (ring.len == 0) {
            uv_cond_wait(&ring.wake, &log_mutex);
            continue;
        }
        len = ring_take(chunk);
        ring.writing = true;
        lock_release(&log_mutex);
        write_all(chunk, len);
        lock_acquire(&log_mutex);
        ring.writing = false;
        if (ring.len == 0) {
            ring_tell_dropped(0); /* there may be no next line for long */
            uv_cond_broadcast(&ring.empty);
            if (ring.len == 0)
                ring_rest();
        }
    }
    lock_release(&log_mutex);
    return NULL;
}

void log_start(void)
{
    int rc;

    assert(!ring.running);
    rc = uv_cond_init(&ring.wake);
    assert(rc == 0);
    rc = uv_cond_init(&ring.empty);
    assert(rc == 0);
    ring.stopping = false;
    lock_start_thread(&ring.thread, write_lines, NULL);
    lock_acquire(&log_mutex);
    ring.running = true;
    lock_release(&log_mutex);
}

/* Mutex "log" is held. */
static bool ring_drain(int64_t at_most_ms)
{
    uint64_t now = uv_hrtime(), until = now + (uint64_t)at_most_ms * 1000000;

    assert(at_most_ms >= 0);
    assert(ring.running);
    while ((ring.len > 0 || ring.writing) && now < until) {
        (void)uv_cond_timedwait(&ring.empty, &log_mutex, until - now);
        now = uv_hrtime();
    }
    return ring.len == 0 && !ring.writing;
}

void log_flush(int64_t at_most_ms)
{
    lock_acquire(&log_mutex);
    if (ring.running)
        (void)ring_drain(at_most_ms);
    lock_release(&log_mutex);
}

void log_stop(int64_t at_most_ms)
{
    bool drained;
    int rc;

    lock_acquire(&log_mutex);
    drained = ring.running && ring_drain(at_most_ms);
    if (drained) {
        ring.stopping = true;
        ring.running = false;
        uv_cond_signal(&ring.wake);
    }
    lock_release(&log_mutex);
    if (!drained)
        return; /* the thread hangs in a write, and ends with the process */
    rc = pthread_join(ring.thread, NULL);
    assert(rc == 0);
    uv_cond_destroy(&ring.wake);
    uv_cond_destroy(&ring.empty);
}

uint64_t log_dropped(void)
{
    return atomic_load(&dropped) + atomic_load(&unwritten);
}

static void emit(enum log_level level, const struct line *l)
{
    lock_acquire(&log_mutex);
    if (log_sink != NULL)
        log_sink(log_sink_arg, level, l->text, l->len);
    else if (ring.running)
        ring_add(l);
    else
        write_all(l->text, l->len);
    lock_release(&log_mutex);
}

static void format(struct line *out, enum log_level level, const char *event,
                   const struct log_field *fields)
{
    char now[CLOCK_RFC3339_SIZE];
    char head[CLOCK_RFC3339_SIZE + 64];

    assert(level >= LOG_ERROR && level <= LOG_DEBUG);
    assert(event != NULL && event[0] != '\0');
    assert(level_names[level] != NULL);
    out->len = 0;
    out->cut = false;
    out->json = atomic_load(&log_format) == LOG_JSON;
    (void)snprintf(head, sizeof(head),
                   out->json ? "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\""
                             : "%s %-5s ",
                   clock_rfc3339(clock_wall_ms(), now), level_names[level]);
    put_str(out, head);
    put_escaped(out, event);
    if (out->json)
        put_tail(out, "\"");
    for (; fields != NULL && fields->key != NULL && !out->cut; fields++)
        put_field(out, fields);
    if (out->cut)
        put_tail(out, out->json ? ",\"cut\":true" : " cut=true");
    put_tail(out, out->json ? "}\n" : "\n");
}

void log_event(enum log_level level, const char *event,
               const struct log_field *fields)
{
    struct line l;

    format(&l, level, event, fields);
    assert(l.len > 0 && l.len <= sizeof(l.text));
    emit(level, &l);
}
