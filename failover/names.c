/*
 * names.c - see names.h. Design: a table per kind, indexed by the enum that was
 * made of the same lines, so that neither can miss one of the other.
 */
#include "failover/names.h"

#include "base/compiler.h"

#include <string.h>

static const struct failover_cause_facts causes[] = {
#define CAUSE(name, ...) [name] = {__VA_ARGS__},
    FAILOVER_CAUSES(CAUSE)};

static const bool in_vain[] = {
#define OUTCOME(name, word, in_vain) [name] = in_vain,
    FAILOVER_OUTCOMES(OUTCOME)};

static const struct failover_answer_facts answers[] = {
#define ANSWER(name, ...) [name] = {__VA_ARGS__},
    FAILOVER_ANSWERS(ANSWER)};

const struct failover_cause_facts *failover_cause_facts(enum failover_cause c)
{
    assert((size_t)c < ARRAY_LEN(causes));
    return &causes[c];
}

const struct failover_answer_facts *
failover_answer_facts(enum failover_answer a)
{
    assert((size_t)a < ARRAY_LEN(answers));
    return &answers[a];
}

bool failover_outcome_is_in_vain(enum failover_outcome o)
{
    assert((size_t)o < ARRAY_LEN(in_vain));
    return in_vain[o];
}

enum failover_cause failover_cause_of(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(causes); i++)
        if (strcmp(causes[i].word, word) == 0)
            return (enum failover_cause)i;
    return CAUSE_NONE;
}
