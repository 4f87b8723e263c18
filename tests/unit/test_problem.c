/*
 * test_problem.c - what a request can be refused with: one table, and
 * http/openapi.yaml says the same of each code.
 */
#include "cluster/problem.h"

#include "failover/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

extern const char http_openapi_document[];

static const char *retry_word(enum problem p)
{
    static const char *const words[] = {
        [PROBLEM_RETRY_NEVER] = "never",
        [PROBLEM_RETRY_SOON] = "soon",
        [PROBLEM_RETRY_PERSON] = "person",
    };

    return words[problem_retry(p)];
}

static void a_code_is_one_problem_and_found_by_its_name(void **state)
{
    (void)state;
    for (enum problem p = PROBLEM_NONE + 1; p < PROBLEM_N; p++) {
        assert_int_equal(problem_of_code(problem_code(p)), p);
        assert_true(strlen(problem_title(p)) > 0);
        assert_in_range(problem_status(p), 400, 504);
        /* 503 says: certainly nothing was done, ask again or another */
        assert_int_equal(problem_status(p) == 503,
                         problem_retry(p) != PROBLEM_RETRY_NEVER);
    }
    assert_string_equal(problem_code(PROBLEM_NONE), "");
    assert_int_equal(problem_of_code(NULL), PROBLEM_NONE);
    assert_int_equal(problem_of_code(""), PROBLEM_NONE);
    assert_int_equal(problem_of_code("registry_none"), PROBLEM_NONE);
    assert_int_equal(problem_of_code("of_a_later_release"), PROBLEM_NONE);
}

static void a_trouble_of_the_registry_is_a_problem_of_its_name(void **state)
{
    (void)state;
    for (enum trouble t = TROUBLE_NONE + 1; t < TROUBLE_N; t++) {
        enum problem p = problem_of_trouble(t);

        assert_string_equal(problem_code(p), registry_trouble_texts[t].code);
        assert_string_equal(problem_title(p), registry_trouble_texts[t].title);
        assert_int_equal(problem_status(p), 503);
    }
    assert_int_equal(problem_of_trouble(TROUBLE_NONE), PROBLEM_NONE);
}

static void whatever_a_registry_call_says_is_a_problem(void **state)
{
    (void)state;
    for (int code = ERR_OK; code <= ERR_IO; code++)
        assert_int_equal(problem_of_err((enum err_code)code) == PROBLEM_NONE,
                         code == ERR_OK);
    for (int a = FAILOVER_ACCEPTED; a <= FAILOVER_CANCELLED; a++)
        assert_int_equal(failover_answer_facts((enum failover_answer)a)->code ==
                             PROBLEM_NONE,
                         a == FAILOVER_ACCEPTED);
}

/* Each code stands in the document, on a line made of the table's row, and the
 * document has no other. */
static void the_contract_says_the_same_of_each_code(void **state)
{
    const char *rows = strstr(http_openapi_document, "      x-codes:\n");
    char row[320];
    size_t n = 0;

    (void)state;
    assert_non_null(rows);
    for (enum problem p = PROBLEM_NONE + 1; p < PROBLEM_N; p++) {
        (void)snprintf(row, sizeof(row),
                       "\n        %s: {status: %u, retry: %s, title: \"%s\"}\n",
                       problem_code(p), problem_status(p), retry_word(p),
                       problem_title(p));
        if (strstr(rows, row) == NULL)
            fail_msg("openapi.yaml lacks this row, or says otherwise:%s", row);
    }
    for (const char *at = rows; (at = strstr(at, ": {status: ")) != NULL; at++)
        n++;
    assert_int_equal(n, PROBLEM_N - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_code_is_one_problem_and_found_by_its_name),
        cmocka_unit_test(a_trouble_of_the_registry_is_a_problem_of_its_name),
        cmocka_unit_test(whatever_a_registry_call_says_is_a_problem),
        cmocka_unit_test(the_contract_says_the_same_of_each_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
