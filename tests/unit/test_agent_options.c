/* test_agent_options.c - the command line of `pelorus agent`. */
#include "agent/agent.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ARGS_MAX 32

/* Splits at blanks; getopt and we may write into it. */
static int parse(const char *line, struct agent_options *o, struct err *err)
{
    static char text[1024];
    static char *argv[ARGS_MAX + 1];
    int argc = 0;

    snprintf(text, sizeof(text), "%s", line);
    for (char *p = text; *p != '\0' && argc < ARGS_MAX;) {
        argv[argc++] = p;
        p += strcspn(p, " ");
        if (*p != '\0')
            *p++ = '\0';
    }
    argv[argc] = NULL;
    err_clear(err);
    return agent_parse(argc, argv, o, err);
}

static void all_options_are_taken(void **state)
{
    struct agent_options o;
    struct err err;

    (void)state;
    assert_int_equal(
        parse("agent --kind worker --address h:1 --group GPU,eu --group x "
              "--weight 200 --slots 16 --url http://c:7077 --ttl 10s "
              "-- python3 -c x.py",
              &o, &err),
        0);
    assert_int_equal(o.kind, NODE_WORKER);
    assert_string_equal(o.address, "h:1");
    assert_int_equal(o.n_groups, 3);
    assert_string_equal(o.groups[0], "gpu");
    assert_string_equal(o.groups[1], "eu");
    assert_string_equal(o.groups[2], "x");
    assert_int_equal(o.weight, 200);
    assert_int_equal(o.slots, 16);
    assert_string_equal(o.url, "http://c:7077");
    assert_int_equal(o.ttl_ms, 10000);
    assert_string_equal(o.command[0], "python3");
    assert_string_equal(o.command[1], "-c");
    assert_string_equal(o.command[2], "x.py");
    assert_null(o.command[3]);
}

static void few_options_are_enough(void **state)
{
    struct agent_options o;
    struct err err;

    (void)state;
    assert_int_equal(parse("agent --kind master --address h:1", &o, &err), 0);
    assert_int_equal(o.weight, 100);
    assert_int_equal(o.slots, 0);
    assert_null(o.url);
    assert_null(o.conf_file);
    assert_null(o.command);
    assert_int_equal(
        parse("agent --kind=master --address=h:1 -c f.yaml", &o, &err), 0);
    assert_string_equal(o.conf_file, "f.yaml");
}

static void the_environment_names_the_coordinator(void **state)
{
    struct agent_options o;
    struct err err;

    (void)state;
    setenv("PELORUS_URL", "http://env:1", 1);
    assert_int_equal(parse("agent --kind master --address h:1", &o, &err), 0);
    assert_string_equal(o.url, "http://env:1");
    assert_int_equal(parse("agent --kind master --address h:1 -c f", &o, &err),
                     0);
    assert_null(o.url);
    unsetenv("PELORUS_URL");
}

static void mistakes_are_named(void **state)
{
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"agent", "--kind is missing"},
        {"agent --kind master", "--address is missing"},
        {"agent --kind boss --address h:1", "master, worker or alert-server"},
        {"agent --kind master --address h", "no port"},
        {"agent --kind master --address", "--address needs a value"},
        {"agent --kind master --address h:1 --wight 3", "no option --wight"},
        {"agent --kind master --address 0.0.0.0:1", "others reach it"},
        {"agent --kind worker --address h:1 --weight 10001", "--weight"},
        {"agent --kind worker --address h:1 --slots many", "--slots"},
        {"agent --kind worker --address h:1 --group a/b", "--group"},
        {"agent --kind master --address h:1 --group a", "for workers"},
        {"agent --kind master --address h:1 -c f --url http://c", "not both"},
        {"agent --kind master --address h:1 --url c:7077", "begins with"},
        {"agent --kind master --address h:1 --ttl 5s", "--url"},
        {"agent --kind master --address h:1 --url http://c --ttl 5", "--ttl"},
        {"agent --kind master --address h:1 --url http://c --ttl 5ms", "1s"},
        {"agent --kind master --address h:1 run", "behind --"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct agent_options o;
        struct err err;

        if (parse(cases[i].line, &o, &err) != ERR_INVALID ||
            strstr(err.msg, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].line, err.msg);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_options_are_taken),
        cmocka_unit_test(few_options_are_enough),
        cmocka_unit_test(the_environment_names_the_coordinator),
        cmocka_unit_test(mistakes_are_named),
    };

    unsetenv("PELORUS_URL");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
