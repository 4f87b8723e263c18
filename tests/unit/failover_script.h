/*
 * failover_script.h - the harness of the step's tests: events go in, and the
 * states and effects that come out are one line of text. Header only, so that
 * each test program stays one file.
 */
#ifndef PELORUS_TESTS_FAILOVER_SCRIPT_H
#define PELORUS_TESTS_FAILOVER_SCRIPT_H

#include "failover/failover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

#define SCRIPT __attribute__((unused)) static

static const char *const outcome_words[] = {
#define OUTCOME_WORD(name, its_word, in_vain) [name] = its_word,
    FAILOVER_OUTCOMES(OUTCOME_WORD)};

static struct failover *f;
static struct failover_effects fx;
static struct failover_seen seen;
static struct failover_record record; /* as it stands in the registry */
static mono_ms now;

SCRIPT int begin(bool hook, bool readmit)
{
    struct failover_config c = {.kind = NODE_MASTER,
                                .hook_ms = hook ? 8000 : 0,
                                .readmit = readmit,
                                .hold_ms_max = 10000,
                                .rank_ms = 500,
                                .retry_ms = 500};
    (void)snprintf(c.self, sizeof(c.self), "c0:1");
    f = failover_new(&c);
    now = 1000;
    memset(&seen, 0, sizeof(seen));
    memset(&record, 0, sizeof(record));
    return 0;
}

SCRIPT int setup(void **state)
{
    (void)state;
    return begin(false, false);
}

SCRIPT int setup_hook(void **state)
{
    (void)state;
    return begin(true, false);
}

SCRIPT int setup_readmit(void **state)
{
    (void)state;
    return begin(false, true);
}

SCRIPT int teardown(void **state)
{
    (void)state;
    failover_free(&f);
    return 0;
}

SCRIPT struct process process_of(int64_t startup)
{
    return (struct process){
        .startup_time = startup, .process_id = 1, .known = true};
}

/* "reading: read" - the state, and what is to be done. */
SCRIPT const char *effects_text(void)
{
    static char text[256];
    static const char *const names[] = {
        [FAILOVER_DO_LOCK] = "lock",       [FAILOVER_DO_UNLOCK] = "unlock",
        [FAILOVER_DO_NEXT] = "next",       [FAILOVER_DO_READ] = "read",
        [FAILOVER_DO_PLAN] = "plan",       [FAILOVER_DO_WRITE] = "write",
        [FAILOVER_DO_HOOK] = "hook",       [FAILOVER_DO_LIST] = "list",
        [FAILOVER_DO_MOVE] = "move",       [FAILOVER_DO_COUNT] = "count",
        [FAILOVER_DO_COLLECT] = "collect", [FAILOVER_DO_ANSWER] = "answer",
        [FAILOVER_DO_TELL] = "tell",       [FAILOVER_DO_SETTLE] = "settle",
    };
    int n = snprintf(text, sizeof(text),
                     "%s:", failover_state_name(failover_state(f)));
    for (size_t i = 0; i < fx.n; i++) {
        const struct failover_effect *e = &fx.list[i];
        n +=
            snprintf(text + n, sizeof(text) - (size_t)n, " %s", names[e->type]);
        const char *word = e->word;
        if (e->type == FAILOVER_DO_SETTLE)
            word = outcome_words[e->outcome];
        if (e->type == FAILOVER_DO_ANSWER)
            word = e->answer != FAILOVER_ACCEPTED
                       ? problem_code(failover_answer_facts(e->answer)->code)
                       : NULL;
        if (word != NULL)
            n += snprintf(text + n, sizeof(text) - (size_t)n, "(%s)", word);
        if (e->type == FAILOVER_DO_WRITE)
            n += snprintf(
                text + n, sizeof(text) - (size_t)n, "(%s%s)",
                e->gate != NULL ? gate_state_name(e->gate->state) : "",
                e->record != NULL ? work_failover_phase_name(e->record->phase)
                                  : "");
    }
    return text;
}

SCRIPT const char *feed(struct failover_event ev)
{
    ev.now = now;
    ev.wall = 1700000000000 + now;
    failover_step(f, &ev, &fx);
    return effects_text();
}

SCRIPT const char *tick(bool wanted)
{
    return feed(
        (struct failover_event){.type = FAILOVER_TICK, .wanted = wanted});
}

SCRIPT const char *locked(void)
{
    return feed((struct failover_event){.type = FAILOVER_LOCKED, .fence = 17});
}

SCRIPT const char *next(const struct failover_task *task)
{
    return feed((struct failover_event){.type = FAILOVER_NEXT, .task = task});
}

SCRIPT const char *read_as_seen(void)
{
    (void)snprintf(seen.new_id, sizeof(seen.new_id), "master-1-a");
    seen.session = 5;
    return feed((struct failover_event){.type = FAILOVER_READ, .seen = &seen});
}

/* The write that the last step asked for, applied. */
SCRIPT const char *written(enum err_code code)
{
    for (size_t i = 0; i < fx.n && code == ERR_OK; i++) {
        const struct failover_effect *e = &fx.list[i];
        if (e->type != FAILOVER_DO_WRITE)
            continue;
        if (e->gate != NULL) {
            seen.gate = *e->gate;
            seen.gate.version++;
        }
        if (e->record != NULL) {
            record = *e->record;
            record.version++;
            seen.record = failover_phase_final(record.phase) ? NULL : &record;
        }
    }
    return feed((struct failover_event){.type = FAILOVER_WRITTEN,
                                        .code = code,
                                        .wanted = seen.n_registered > 0});
}

SCRIPT const char *listed(size_t n, bool more)
{
    return feed(
        (struct failover_event){.type = FAILOVER_LISTED, .n = n, .more = more});
}

SCRIPT const char *moved(uint32_t n)
{
    struct failover_counts c = {.moved = n};
    return feed((struct failover_event){.type = FAILOVER_MOVED, .counts = &c});
}

SCRIPT const char *lost(void)
{
    return feed((struct failover_event){.type = FAILOVER_LOST,
                                        .code = ERR_SESSION_LOST});
}

SCRIPT struct failover_task at(const char *address)
{
    struct failover_task t = {.type = FAILOVER_TASK_ADDRESS};
    (void)snprintf(t.address, sizeof(t.address), "%s", address);
    return t;
}

/* Up to READING of m1, whose gate is open for process 1, which is gone. */
SCRIPT void to_reading(void)
{
    struct failover_task t = at("m1:1");
    assert_string_equal(tick(true), "want-lock: lock");
    assert_string_equal(locked(), "have-lock: next");
    assert_string_equal(next(&t), "reading: read");
    seen.gate.state = GATE_OPEN;
    seen.gate.process = process_of(1);
    seen.gate.version = 3;
    seen.down = true;
}

SCRIPT void to_moving(void)
{
    to_reading();
    (void)read_as_seen();
    (void)written(ERR_OK);
    (void)read_as_seen();
    (void)written(ERR_OK);
}

SCRIPT void stand(int64_t startup)
{
    seen.registered[0] = process_of(startup);
    seen.n_registered = 1;
}

#endif
