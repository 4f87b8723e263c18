/*
 * names.c - see names.h. Design: a table per kind, indexed by the enum that was
 * made of the same lines, so that neither can miss one of the other.
 */
#include "failover/names.h"

#include "base/compiler.h"

static const bool in_vain[] = {
#define OUTCOME(name, word, in_vain) [name] = in_vain,
    FAILOVER_OUTCOMES(OUTCOME)};

static const struct failover_answer_facts answers[] = {
#define ANSWER(name, ...) [name] = {__VA_ARGS__},
    FAILOVER_ANSWERS(ANSWER)};

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
