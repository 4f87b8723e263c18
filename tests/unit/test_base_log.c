/*
 * test_base_log.c - one event is one line, whatever the values hold.
 */
#include "base/json/json.h"
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* The length of "2026-11-22T11:54:47.123Z ". */
#define STAMP 25

static char last[LOG_LINE_MAX + 1];
static size_t last_len;
static unsigned lines;

static void keep(void *arg, enum log_level level, const char *line, size_t len)
{
    (void)level;
    assert_null(arg);
    assert_true(len <= LOG_LINE_MAX);
    assert_int_equal(line[len - 1], '\n');
    assert_null(memchr(line, '\n', len - 1));
    memcpy(last, line, len);
    last[len] = '\0';
    last_len = len;
    lines++;
}

static int setup(void **state)
{
    (void)state;
    log_set_sink(keep, NULL);
    log_configure(LOG_DEBUG, LOG_TEXT);
    lines = 0;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    log_set_sink(NULL, NULL);
    log_configure(LOG_INFO, LOG_TEXT);
    return 0;
}

static void text_lines_read_as_documented(void **state)
{
    (void)state;
    log_info("+node-up", LOG_S("kind", "master"), LOG_S("address", "a:1"),
             LOG_I("epoch", -17), LOG_U("n", 7), LOG_D("load", 0.25),
             LOG_B("ok", true));
    assert_string_equal(last + STAMP, "info  +node-up kind=master address=a:1 "
                                      "epoch=-17 n=7 load=0.25 ok=true\n");
    assert_int_equal(last[STAMP - 2], 'Z');
    log_error("!disk-full");
    assert_string_equal(last + STAMP, "error !disk-full\n");
}

static void json_lines_are_json(void **state)
{
    const struct json *o;

    (void)state;
    log_configure(LOG_DEBUG, LOG_JSON);
    log_warn("-node-down", LOG_S("reason", "a \"b\"\n\x1b[31m\xff"),
             LOG_S("none", NULL), LOG_I("epoch", 17), LOG_B("ok", false));
    assert_int_equal(json_parse(last, last_len, &o, NULL), 0);
    assert_string_equal(json_str(o, "level"), "warn");
    assert_string_equal(json_str(o, "event"), "-node-down");
    assert_string_equal(json_str(o, "reason"), "a \"b\"\n\x1b[31m\xc3\xbf");
    assert_int_equal(json_int(o, "epoch", 0), 17);
    assert_true(json_is(json_get(o, "none"), JSON_NULL));
    json_free(o);
}

static void values_cannot_forge_fields_or_lines(void **state)
{
    (void)state;
    log_warn("x", LOG_S("a", "v ok=true"), LOG_S("b", "1\n2026 error y"),
             LOG_S("c", "q\"\\"), LOG_S("d", ""), LOG_S("e", "k=v"),
             LOG_S("f", "null"), LOG_S("g", NULL), LOG_S("h", "grün"));
    assert_string_equal(last + STAMP,
                        "warn  x a=\"v ok=true\" b=\"1\\n2026 error y\" "
                        "c=\"q\\\"\\\\\" d=\"\" e=\"k=v\" f=\"null\" g=null "
                        "h=\"grün\"\n");
    log_warn("x", LOG_S("esc", "\x1b[2J\r\x7f"), LOG_S("c1", "\xc2\x9b"),
             LOG_S("bidi", "\xe2\x80\xae"), LOG_S("bad", "\xe2\x80"));
    assert_string_equal(last + STAMP,
                        "warn  x esc=\"\\x1b[2J\\x0d\\x7f\" c1=\"\\xc2\\x9b\" "
                        "bidi=\"\\xe2\\x80\\xae\" bad=\"\\xe2\\x80\"\n");
}

static void long_lines_are_cut_and_say_so(void **state)
{
    static char blob[3 * LOG_LINE_MAX];

    (void)state;
    for (int format = LOG_TEXT; format <= LOG_JSON; format++) {
        log_configure(LOG_DEBUG, (enum log_format)format);
        for (int quoted = 0; quoted < 2; quoted++) {
            for (size_t n = LOG_LINE_MAX - 160; n < LOG_LINE_MAX + 8; n++) {
                const struct json *o;

                memset(blob, 'x', n);
                blob[0] = quoted ? ' ' : 'x';
                blob[n / 2] = quoted ? '\n' : 'x';
                blob[n] = '\0';
                log_info("e", LOG_S("blob", blob), LOG_I("i", 123456789),
                         LOG_S("t", "a b"));
                if (n > LOG_LINE_MAX)
                    assert_non_null(strstr(last, "cut"));
                if (format == LOG_JSON) {
                    assert_int_equal(json_parse(last, last_len, &o, NULL), 0);
                    json_free(o);
                }
            }
        }
    }
}

static void levels_below_the_threshold_cost_nothing(void **state)
{
    int evaluated = 0;

    (void)state;
    log_configure(LOG_WARN, LOG_TEXT);
    assert_true(log_enabled(LOG_ERROR));
    assert_false(log_enabled(LOG_INFO));
    log_info("x", LOG_I("n", ++evaluated));
    assert_int_equal(evaluated, 0);
    assert_int_equal(lines, 0);
    log_warn("x", LOG_I("n", ++evaluated));
    assert_int_equal(evaluated, 1);
    assert_int_equal(lines, 1);
}

static void *log_a_lot(void *arg)
{
    for (int i = 0; i < 500; i++)
        log_info("tick", LOG_I("i", i), LOG_S("who", arg));
    return NULL;
}

static void threads_write_whole_lines(void **state)
{
    pthread_t threads[4];
    char name[4][2] = {"a", "b", "c", "d"};

    (void)state;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_a_lot, name[i]),
                         0);
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(lines, 2000);
}

static void lines_go_to_standard_error_by_default(void **state)
{
    char text[256];
    ssize_t n;
    int fds[2], saved;

    (void)state;
    log_set_sink(NULL, NULL);
    assert_int_equal(pipe(fds), 0);
    saved = dup(STDERR_FILENO);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    log_info("=hello");
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    n = read(fds[0], text, sizeof(text) - 1);
    assert_true(n > STAMP);
    text[n] = '\0';
    assert_string_equal(text + STAMP, "info  =hello\n");
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(saved);
}

/* Reads whole lines until `wanted` of them stood there beside those that tell
 * of gaps; returns how many lines these told of. */
static uint64_t read_lines(int fd, unsigned wanted)
{
    static char text[1 << 20];
    const char *line = text, *end;
    uint64_t told = 0;
    size_t len = 0;
    unsigned n = 0;

    while (n < wanted || line < text + len) {
        end = memchr(line, '\n', (size_t)(text + len - line));
        if (end == NULL) {
            ssize_t got = read(fd, text + len, sizeof(text) - len);

            assert_true(got > 0);
            len += (size_t)got;
        } else if (strncmp(line + STAMP, "warn  !log dropped=", 19) == 0) {
            told += strtoull(line + STAMP + 19, NULL, 10);
            line = end + 1;
        } else {
            n++;
            line = end + 1;
        }
    }
    assert_int_equal(n, wanted);
    return told;
}

/* So that not a byte more goes in. */
static size_t fill_pipe(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    size_t n = 0;

    assert_int_equal(fcntl(fd, F_SETFL, flags | O_NONBLOCK), 0);
    while (write(fd, "-", 1) == 1)
        n++;
    assert_int_equal(fcntl(fd, F_SETFL, flags), 0);
    return n;
}

static void empty_pipe(int fd, size_t filled)
{
    char c;

    while (filled-- > 0) {
        assert_int_equal(read(fd, &c, 1), 1);
        assert_int_equal(c, '-');
    }
}

static void nobody_waits_for_a_reader(void **state)
{
    const unsigned written = 6000; /* of 200 bytes: more than may wait */
    uint64_t dropped, told;
    char pad[160];
    size_t filled;
    int fds[2], saved;

    (void)state;
    memset(pad, 'x', sizeof(pad) - 1);
    pad[sizeof(pad) - 1] = '\0';
    log_set_sink(NULL, NULL);
    assert_int_equal(pipe(fds), 0);
    saved = dup(STDERR_FILENO);
    assert_true(dup2(fds[1], STDERR_FILENO) >= 0);
    filled = fill_pipe(fds[1]);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
    log_start();
    for (unsigned i = 0; i < written; i++)
        log_info("tick", LOG_U("i", i), LOG_S("pad", pad));
    dropped = log_dropped();
    assert_true(dropped > 0 && dropped < written);
    log_flush(1); /* gives up, since nobody reads */
    empty_pipe(fds[0], filled);
    told = read_lines(fds[0], written - (unsigned)dropped);
    log_info("=again");
    log_stop(10000);
    assert_int_equal(told + read_lines(fds[0], 1), dropped);
    assert_int_equal(log_dropped(), dropped);
    log_info("=directly");
    assert_int_equal(read_lines(fds[0], 1), 0);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    (void)close(saved);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(text_lines_read_as_documented),
        TEST(json_lines_are_json),
        TEST(values_cannot_forge_fields_or_lines),
        TEST(long_lines_are_cut_and_say_so),
        TEST(levels_below_the_threshold_cost_nothing),
        TEST(threads_write_whole_lines),
        TEST(lines_go_to_standard_error_by_default),
        TEST(nobody_waits_for_a_reader),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
