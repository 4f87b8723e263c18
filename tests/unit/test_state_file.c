/* test_state_file.c - where the registry stood, kept in a file. */
#include "registry/state_file.h"

#include "base/log.h"
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define A "0123456789abcdef0123456789abcdef"
#define B "fedcba9876543210fedcba9876543210"

struct fixture {
    struct loop *loop;
    struct conf conf;
    char dir[64], path[160];
    unsigned warnings;
    bool closed;
};

static void sink(void *arg, enum log_level level, const char *line, size_t n)
{
    (void)line;
    (void)n;
    ((struct fixture *)arg)->warnings += level == LOG_WARN;
}

static int fixture_open(void **state)
{
    struct fixture *x = mem_zalloc(sizeof(*x));

    assert_int_equal(loop_new(&x->loop, 16, NULL), 0);
    conf_defaults(&x->conf);
    (void)snprintf(x->dir, sizeof(x->dir), "/tmp/pelorus-state-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    (void)snprintf(x->path, sizeof(x->path), "%s/coordinator-h_1.sqlite.%s",
                   x->dir, x->conf.registry.namespace_);
    x->conf.state_dir = mem_strdup(x->dir);
    log_set_sink(sink, x);
    *state = x;
    return 0;
}

static int fixture_close(void **state)
{
    struct fixture *x = *state;
    char *remove = mem_printf("rm -rf '%s'", x->dir);

    log_set_sink(NULL, NULL);
    assert_int_equal(system(remove), 0);
    mem_free(remove);
    loop_free(&x->loop);
    conf_close(&x->conf);
    mem_free(x);
    return 0;
}

static int begin(struct fixture *x, struct state_file **f,
                 struct registry_place *remembered, struct err *err)
{
    err_clear(err);
    return registry_state_file_open(f, x->loop, &x->conf, "coordinator", "h:1",
                                    remembered, err);
}

static void is_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static void finish(struct fixture *x, struct state_file **f)
{
    x->closed = false;
    registry_state_file_close(f, is_closed, x);
    while (!x->closed)
        loop_turn(x->loop, 100);
}

static struct registry_place place(const char *id, uint64_t position)
{
    struct registry_place p = {.line = 2, .position = position};

    memcpy(p.incarnation, id, sizeof(p.incarnation));
    return p;
}

static void write_text(const char *path, const char *text, size_t len)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fwrite(text, 1, len, file) == len);
    assert_int_equal(fclose(file), 0);
}

static void the_last_place_is_there_at_the_next_start(void **state)
{
    struct fixture *x = *state;
    struct registry_place found, p;
    struct state_file *f;
    struct err err;

    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(found.incarnation, "");
    p = (struct registry_place){.position = 3}; /* no session yet */
    registry_state_file_keep(f, &p, NULL);
    finish(x, &f);
    assert_int_equal(access(x->path, F_OK), -1);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    for (uint64_t i = 1; i <= 50; i++) {
        p = place(A, i);
        registry_state_file_keep(f, &p, NULL);
        loop_turn(x->loop, 0);
    }
    finish(x, &f);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(found.incarnation, A);
    assert_true(found.line == 2 && found.position == 50);
    p = place(B, 7); /* it was accepted: lower, and another one */
    registry_state_file_keep(f, &p, NULL);
    finish(x, &f);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(found.incarnation, B);
    assert_true(found.position == 7);
    finish(x, &f);
    assert_int_equal(x->warnings, 0);
}

static void a_doubt_is_there_at_the_next_start_until_it_is_over(void **state)
{
    struct fixture *x = *state;
    struct registry_place found, p = place(A, 7);
    struct state_file *f;
    char why[2 * HISTORY_WHY_SIZE];
    struct err err;

    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(registry_state_file_doubted(f), "");
    registry_state_file_keep(f, &p, "work w:\nepoch 7");
    finish(x, &f);
    for (int i = 0; i < 2; i++) { /* whoever does not say otherwise keeps it */
        assert_int_equal(begin(x, &f, &found, &err), 0);
        assert_true(found.position == 7);
        assert_string_equal(registry_state_file_doubted(f), "work w: epoch 7");
        finish(x, &f);
    }
    assert_int_equal(begin(x, &f, &found, &err), 0);
    memset(why, 'x', sizeof(why) - 1);
    why[sizeof(why) - 1] = '\0';
    registry_state_file_keep(f, &p, why);
    finish(x, &f);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_int_equal(strlen(registry_state_file_doubted(f)),
                     HISTORY_WHY_SIZE - 1);
    registry_state_file_keep(f, &p, NULL);
    finish(x, &f);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(registry_state_file_doubted(f), "");
    finish(x, &f);
    assert_string_equal(registry_state_file_doubted(NULL), "");
    assert_int_equal(x->warnings, 0);
}

/* An agent may stand at one address in two clusters of one store. */
static void each_namespace_has_its_own(void **state)
{
    struct fixture *x = *state;
    struct registry_place found, p = place(A, 7);
    struct state_file *f;
    struct err err;

    assert_int_equal(begin(x, &f, &found, &err), 0);
    registry_state_file_keep(f, &p, NULL);
    finish(x, &f);
    mem_free(x->conf.registry.namespace_);
    x->conf.registry.namespace_ = mem_strdup("other");
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_string_equal(found.incarnation, "");
    finish(x, &f);
}

static void without_a_directory_nothing_is_kept(void **state)
{
    struct fixture *x = *state;
    struct registry_place found = place(A, 1);
    struct state_file *f;
    struct err err;

    mem_free(x->conf.state_dir);
    x->conf.state_dir = NULL;
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_null(f);
    assert_string_equal(found.incarnation, "");
    found = place(A, 1);
    registry_state_file_keep(f, &found, NULL);
    finish(x, &f);
}

static void a_damaged_file_says_what_to_do(void **state)
{
    struct fixture *x = *state;
    struct registry_place found;
    struct state_file *f;
    struct err err;
    static const struct {
        const char *text;
        size_t len;
    } bad[] = {
#define BAD(t) {t, sizeof(t) - 1}
        BAD(""),
        BAD("\n"),
        BAD("pelorus-place 1 "),
        BAD("pelorus-place 1 " A ":2:50"),
        BAD("pelorus-place 1 " A ":2:\n"),
        BAD("pelorus-place 1 " A ":2:5x\n"),
        BAD("pelorus-place 1 :2:50\n"),
        BAD("pelorus-place 2 " A ":2:50\n"),
        BAD("pelorus-place 1 " A ":2:50\n\n"),
        BAD("pelorus-place 1 " A ":2:50\0\n"),
        BAD("pelorus-place 1 " A ":2:50\nwent_back why"),
        BAD("pelorus-place 1 " A ":2:50\nwent_back why\n\n"),
        BAD("pelorus-place 1 " A ":2:50\nwent_back\n"),
        BAD("pelorus-place 1 " A ":2:50\nand much that nobody has written, of "
            "which the first two hundred bytes would be more than enough "
            "......................................................\n"),
    };

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_text(x->path, bad[i].text, bad[i].len);
        assert_int_equal(begin(x, &f, &found, &err), ERR_INVALID);
        assert_null(f);
        assert_non_null(strstr(err.msg, x->path));
        assert_non_null(strstr(err.msg, "delete the file"));
    }
    write_text(x->path, "pelorus-place 1 " A ":2:50\n",
               strlen("pelorus-place 1 " A ":2:50\n"));
    assert_int_equal(begin(x, &f, &found, &err), 0);
    finish(x, &f);
}

static void a_directory_that_is_none_is_refused(void **state)
{
    struct fixture *x = *state;
    struct registry_place found;
    struct state_file *f;
    struct err err;

    write_text(x->path, "x", 1);
    mem_free(x->conf.state_dir);
    x->conf.state_dir = mem_strdup(x->path);
    assert_int_equal(begin(x, &f, &found, &err), ERR_IO);
    assert_non_null(strstr(err.msg, "no directory"));
    mem_free(x->conf.state_dir);
    x->conf.state_dir = mem_printf("%s/not/there", x->dir);
    assert_int_not_equal(begin(x, &f, &found, &err), 0);
    assert_non_null(strstr(err.msg, "cannot be made"));
    mem_free(x->conf.state_dir);
    x->conf.state_dir = mem_printf("%s/new", x->dir);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    finish(x, &f);
}

static void turn_for(struct fixture *x, int64_t ms)
{
    mono_ms until = clock_mono_ms() + ms;

    while (clock_mono_ms() < until)
        loop_turn(x->loop, 20);
}

/* The place where it would be written first is a directory: no room. */
static void what_cannot_be_written_is_said_once(void **state)
{
    struct fixture *x = *state;
    char *temporary = mem_printf("%s.tmp", x->path);
    struct registry_place found, p;
    struct state_file *f;
    struct err err;

    assert_int_equal(mkdir(temporary, 0700), 0);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    for (uint64_t i = 1; i < 60; i++) {
        p = place(A, i);
        registry_state_file_keep(f, &p, NULL);
        turn_for(x, 40);
    }
    assert_int_equal(x->warnings, 1);
    assert_int_equal(rmdir(temporary), 0);
    for (uint64_t i = 60; access(x->path, F_OK) != 0; i++) {
        p = place(A, i);
        registry_state_file_keep(f, &p, NULL);
        turn_for(x, 40);
    }
    finish(x, &f);
    assert_int_equal(begin(x, &f, &found, &err), 0);
    assert_true(found.position >= 60);
    finish(x, &f);
    assert_int_equal(x->warnings, 1);
    mem_free(temporary);
}

int main(void)
{
#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, fixture_open, fixture_close)
    const struct CMUnitTest tests[] = {
        TEST(the_last_place_is_there_at_the_next_start),
        TEST(a_doubt_is_there_at_the_next_start_until_it_is_over),
        TEST(each_namespace_has_its_own),
        TEST(without_a_directory_nothing_is_kept),
        TEST(a_damaged_file_says_what_to_do),
        TEST(a_directory_that_is_none_is_refused),
        TEST(what_cannot_be_written_is_said_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
