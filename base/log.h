/*
 * log.h - one event, one line.
 *
 *     log_info("+node-up", LOG_S("kind", "master"), LOG_S("address", a),
 *              LOG_I("epoch", 17));
 *
 * text:  2026-11-22T11:54:47.123Z info  +node-up kind=master address=...
 * epoch=17 json:
 * {"time":"...","level":"info","event":"+node-up","kind":"master",...}
 *
 * Names are a sign (+ began or appeared, - ended or vanished, ! refused or
 * wrong, = a fact) and a noun. Levels go by who must act: error = somebody now,
 * warn = the cluster changed or something was refused, info = lifecycle,
 * debug = for developers. Secrets are never logged.
 *
 * Any thread: a line is formatted on the caller's stack, then written with one
 * write(2) or, after log_start(), copied for the thread that writes, under the
 * mutex "log" of the table in base/locks.h. A line is at most LOG_LINE_MAX
 * bytes; a longer one is cut and says so (cut=true). Text that came from
 * outside cannot forge a line or a field: values with blanks, quotes or '=' are
 * quoted, control characters and broken UTF-8 are escaped.
 */
#ifndef PELORUS_BASE_LOG_H
#define PELORUS_BASE_LOG_H

#include "base/compiler.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

#define LOG_LINE_MAX 2048

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
enum log_format { LOG_TEXT, LOG_JSON };

struct log_field {
    const char *key; /* NULL ends the list */
    enum { LOG_STR, LOG_INT, LOG_UINT, LOG_NUM, LOG_BOOL } type;
    union {
        const char *s; /* borrowed during the call; NULL prints as null */
        int64_t i;
        uint64_t u;
        double d;
        bool b;
    } v;
};

#define LOG_S(k, val) ((struct log_field){(k), LOG_STR, {.s = (val)}})
#define LOG_I(k, val) ((struct log_field){(k), LOG_INT, {.i = (val)}})
#define LOG_U(k, val) ((struct log_field){(k), LOG_UINT, {.u = (val)}})
#define LOG_D(k, val) ((struct log_field){(k), LOG_NUM, {.d = (val)}})
#define LOG_B(k, val) ((struct log_field){(k), LOG_BOOL, {.b = (val)}})

/* Where lines go: a whole line with its newline. For tests and the simulator.
 * NULL restores standard error. The sink runs under the mutex: it must not log.
 */
typedef void log_sink_f(void *arg, enum log_level level, const char *line,
                        size_t len);
void log_set_sink(log_sink_f *sink, void *arg);

/*
 * For a daemon: from here on nobody waits for standard error. Lines wait in a
 * ring of LOG_BACKLOG_MAX bytes for a thread that writes them; what finds no
 * room is dropped, and a line "!log dropped=N" stands in its place when there
 * is room again. Not before a fork() that goes on without exec.
 */
#define LOG_BACKLOG_MAX (512u * 1024)
void log_start(void);
/* Wait until all is written, at most so long: before _exit(). */
void log_flush(int64_t at_most_ms);
/* The same, and write directly again, unless something is still unwritten:
 * then it stays as it is until the process ends. */
void log_stop(int64_t at_most_ms);
/* Lines dropped since the start, or that could not be written (a full disk).
 * Any thread. */
uint64_t log_dropped(void);

/*
 * From here on lines are added to the end of this file, which is made if need
 * be (mode 0640), and so is whatever else goes to standard error: the file
 * takes its place, for all threads at once. Again when somebody moved the file
 * away. On failure all stays as it was; the message names the file. Any thread.
 */
int log_to(const char *path, struct err *err) MUST_CHECK;

void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);

void log_event(enum log_level level, const char *event,
               const struct log_field *fields);

#define LOG_END ((struct log_field){NULL, LOG_INT, {.i = 0}})

/* LOG_AT(level, event, fields...). The fields are evaluated only if the level
 * is enabled. The end mark is added before the split into event and fields,
 * so that a line without fields is still plain C11. */
#define LOG_AT(level, ...) LOG_AT_(level, __VA_ARGS__, LOG_END)
#define LOG_AT_(level, event, ...)                                             \
    do {                                                                       \
        if (log_enabled(level))                                                \
            log_event(level, event, (const struct log_field[]){__VA_ARGS__});  \
    } while (0)

#define log_error(...) LOG_AT(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  LOG_AT(LOG_WARN, __VA_ARGS__)
#define log_info(...)  LOG_AT(LOG_INFO, __VA_ARGS__)
#define log_debug(...) LOG_AT(LOG_DEBUG, __VA_ARGS__)

#endif
