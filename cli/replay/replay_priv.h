/*
 * replay_priv.h - the parts of `pelorus replay`: command.c reads words and
 * files, settings.c what is to be other than it was, print.c says what came of
 * it. (Private to this folder.)
 */
#ifndef PELORUS_CLI_REPLAY_REPLAY_PRIV_H
#define PELORUS_CLI_REPLAY_REPLAY_PRIV_H

#include "balancer/journal/replay.h"

#define REPLAY_SETS_MAX 64U

/* One --set: "balancer.cpu-max", "0.75". */
struct replay_set {
    char *key; /* as a configuration has it; memory */
    const char *value;
};

struct replay_wanted {
    struct replay_set sets[REPLAY_SETS_MAX];
    size_t n;
};

/* KEY=VALUE; KEY may leave out "balancer.". ERR_INVALID. */
int replay_want(struct replay_wanted *w, const char *text,
                struct err *err) MUST_CHECK;
int replay_want_policy(struct replay_wanted *w, const char *policy,
                       struct err *err) MUST_CHECK;
/* Would a configuration take them? Says why not as it would. */
int replay_wanted_check(struct replay_wanted *w, struct err *err) MUST_CHECK;
void replay_wanted_close(struct replay_wanted *w);
/* A replay_change_f; `arg` is the struct replay_wanted. */
int replay_wanted_apply(void *arg, struct replay_settings *settings,
                        struct err *err) MUST_CHECK;

/* One file given. */
struct replay_input {
    const char *name;
    const void *data;
    size_t len;
    struct journal_head head;
    wall_ms run_begun;       /* the earliest file of its run that is given */
    struct replay_file file; /* what it came to */
};

/* All that is to be told. */
struct replay_report {
    const struct replay_input *inputs;
    size_t n;
    struct replay_sum sum;
    const struct replay_share *shares;
    size_t n_shares;
    bool changed;          /* other settings were asked for */
    const char *was, *now; /* balancer_explain() before the first difference,
                              as recorded and as asked for; NULL: none */
};
void replay_print(const struct replay_report *report);
void replay_print_json(const struct replay_report *report);

#endif
