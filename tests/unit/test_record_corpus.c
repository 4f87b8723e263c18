/*
 * test_record_corpus.c - what registries hold is read and written as ever.
 *
 * data/records has, a line each, records with what they are written again as,
 * or with why they are refused: see the README.md there.
 */
#include "base/mem.h"
#include "cluster/gate.h"
#include "work/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Read a record and, if that is possible, append it as it is written. */
typedef int again_f(const char *text, size_t len, struct buf *out,
                    struct err *err);

static int item_again(const char *text, size_t len, struct buf *out,
                      struct err *err)
{
    struct work_item w;
    int rc = work_item_read(&w, text, len, err);

    if (rc == 0)
        work_item_write(out, &w);
    work_item_close(&w);
    return rc;
}

static int failover_again(const char *text, size_t len, struct buf *out,
                          struct err *err)
{
    struct failover_record *r = mem_alloc(sizeof(*r));
    int rc = work_failover_read(r, text, len, err);

    if (rc == 0)
        work_failover_write(out, r);
    mem_free(r);
    return rc;
}

static int gate_again(const char *text, size_t len, struct buf *out,
                      struct err *err)
{
    struct gate gate;
    int rc = gate_read(&gate, text, len, err);

    if (rc == 0)
        gate_write(out, &gate);
    return rc;
}

static int settings_again(const char *text, size_t len, struct buf *out,
                          struct err *err)
{
    struct settings s;
    int rc = work_settings_read(&s, text, len, err);

    if (rc == 0)
        work_settings_write(out, &s);
    return rc;
}

static int marker_again(const char *key, const char *text, size_t len,
                        struct buf *out, struct err *err)
{
    struct registry_entry entry = {.key = key, .value = text, .value_len = len};
    struct marker m;
    int rc = work_marker_read(&m, &entry, err);

    if (rc == 0)
        work_marker_write(out, &m);
    return rc;
}

static int owned_again(const char *text, size_t len, struct buf *out,
                       struct err *err)
{
    return marker_again("/pelorus/owned/worker/h:1/a", text, len, out, err);
}

static int waiting_again(const char *text, size_t len, struct buf *out,
                         struct err *err)
{
    return marker_again("/pelorus/owned/worker/-/a", text, len, out, err);
}

/* One line: the record, and after a tab what becomes of it. */
static void check_line(const char *where, again_f *again, char *line)
{
    char *wanted = strchr(line, '\t');
    size_t len = wanted != NULL ? (size_t)(wanted - line) : strlen(line);
    bool refused = wanted != NULL && wanted[1] == '!';
    char *exact = mem_dup(line, len); /* a read beyond its end is seen */
    struct err err = {0};
    struct buf out;
    int rc;

    wanted = wanted == NULL ? line : wanted + 2;
    buf_init(&out, WORK_RECORD_MAX);
    rc = again(exact, len, &out, &err);
    if ((rc != 0) != refused ||
        strcmp(refused ? err.msg : buf_text(&out), wanted) != 0) {
        fail_msg("%s:\n%.*s\nbecomes\n%s%s\nand not\n%s", where, (int)len, line,
                 buf_text(&out), err.msg, wanted);
    }
    assert_false(out.overflow);
    buf_close(&out);
    mem_free(exact);
}

static void check_file(const char *name, again_f *again)
{
    char path[128], where[160], *line = NULL;
    size_t cap = 0, n = 0;
    ssize_t len;
    FILE *f;

    (void)snprintf(path, sizeof(path), "tests/unit/data/records/%s.txt", name);
    f = fopen(path, "r");
    assert_non_null(f);
    while ((len = getline(&line, &cap, f)) > 0) {
        assert_int_equal(line[len - 1], '\n');
        line[len - 1] = '\0';
        (void)snprintf(where, sizeof(where), "%s:%zu", path, ++n);
        check_line(where, again, line);
    }
    free(line);
    (void)fclose(f);
    assert_true(n > 50);
}

static void items_are_read_and_written_as_ever(void **state)
{
    (void)state;
    check_file("items", item_again);
}

static void failovers_are_read_and_written_as_ever(void **state)
{
    (void)state;
    check_file("failovers", failover_again);
}

static void gates_are_read_and_written_as_ever(void **state)
{
    (void)state;
    check_file("gates", gate_again);
}

static void settings_are_read_and_written_as_ever(void **state)
{
    (void)state;
    check_file("settings", settings_again);
}

static void markers_are_read_and_written_as_ever(void **state)
{
    (void)state;
    check_file("owned", owned_again);
    check_file("waiting", waiting_again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_read_and_written_as_ever),
        cmocka_unit_test(failovers_are_read_and_written_as_ever),
        cmocka_unit_test(gates_are_read_and_written_as_ever),
        cmocka_unit_test(settings_are_read_and_written_as_ever),
        cmocka_unit_test(markers_are_read_and_written_as_ever),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
