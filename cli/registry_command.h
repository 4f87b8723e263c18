/*
 * registry_command.h - `pelorus registry ...`: what a person does to a
 * registry itself, without a coordinator. Exit codes: 0 done, 1 refused or
 * failed, 2 usage.
 *
 *   registry_command.c   words and options
 *   registry_visit.c     a session at the registry, as long as it is needed
 *   registry_accept.c    accept-restore, restore: tell, ask, do
 *   registry_backup.c    backup
 *   registry_vacuum.c    vacuum
 */
#ifndef PELORUS_CLI_REGISTRY_COMMAND_H
#define PELORUS_CLI_REGISTRY_COMMAND_H

#include "base/loop.h"
#include "conf/conf.h"
#include "registry/history.h"

/* argv[0] is "registry". */
int cli_registry_command(int argc, char **argv);

/* Read the configuration, NULL: the defaults. What is wrong is told on standard
 * error; 0 or 1. */
int cli_registry_conf(struct conf *conf, const char *file);

struct registry_args {
    const char *file; /* of the backup */
    uint64_t epoch_floor;
    bool yes;  /* do not ask */
    bool live; /* although somebody is there */
};
int cli_registry_accept(struct conf *conf, const struct registry_args *w);
int cli_registry_backup(struct conf *conf, const struct registry_args *w);
/* live: although it may take long. */
int cli_registry_vacuum(struct conf *conf, const struct registry_args *w);

/* One visit: opens the registry, tells `begin` once there is a session (a store
 * that went back is visited, too), and ends when cli_visit_end() was called. */
struct visit {
    const struct conf *conf;
    void (*begin)(struct visit *v);
    void (*tick)(struct visit *v);
    /* instead of standard error: it cannot be had, or was ended so */
    void (*failed)(struct visit *v, const struct err *why);
    /* the session ended; NULL: the calls say so */
    struct loop *loop;
    struct registry *registry;
    struct registry_listener *listener;
    struct loop_timer *ticks, *deadline;
    char who[HISTORY_WHO_SIZE]; /* user at host, process */
    bool begun, ending;
    int code;
};
/* The exit code. */
int cli_visit_run(struct visit *v);
/* For good: `why` NULL it is done, else it is told on standard error. */
void cli_visit_end(struct visit *v, const struct err *why);
/* "sqlite pelorus.db" */
void cli_visit_name(const struct conf *conf, char *out, size_t size);

#endif
