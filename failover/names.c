/*
 * names.c - see names.h. Design: a table per kind, indexed by the enum that was
 * made of the same lines, so that neither can miss one of the other.
 */
#include "failover/names.h"

#include "base/compiler.h"

static const struct {
    const char *word;
    bool death, person;
} causes[] = {
#define CAUSE(name, word, death, person, loss) [name] = {word, death, person},
    FAILOVER_CAUSES(CAUSE)};

static const struct {
    const char *word;
    bool in_vain;
} outcomes[] = {
#define OUTCOME(name, word, in_vain) [name] = {word, in_vain},
    FAILOVER_OUTCOMES(OUTCOME)};

static const struct {
    enum problem code;
    const char *text;
} answers[] = {
#define ANSWER(name, code, text) [name] = {code, text},
    FAILOVER_ANSWERS(ANSWER)};

const char *failover_cause_name(enum failover_cause c)
{
    assert((size_t)c < ARRAY_LEN(causes));
    return causes[c].word;
}

bool failover_cause_is_death(enum failover_cause c)
{
    assert((size_t)c < ARRAY_LEN(causes));
    return causes[c].death;
}

bool failover_cause_is_a_persons(enum failover_cause c)
{
    assert((size_t)c < ARRAY_LEN(causes));
    return causes[c].person;
}

const char *failover_outcome_name(enum failover_outcome o)
{
    assert((size_t)o < ARRAY_LEN(outcomes));
    return outcomes[o].word;
}

bool failover_outcome_is_in_vain(enum failover_outcome o)
{
    assert((size_t)o < ARRAY_LEN(outcomes));
    return outcomes[o].in_vain;
}

enum problem failover_answer_code(enum failover_answer a)
{
    assert((size_t)a < ARRAY_LEN(answers));
    return answers[a].code;
}

const char *failover_answer_text(enum failover_answer a)
{
    assert((size_t)a < ARRAY_LEN(answers));
    return answers[a].text;
}
