/*
 * cli.h - the subcommands for people and scripts, which speak to the API.
 *
 * Each prints an aligned table, or with --json what the API answered (the
 * pages of a list as one), and returns its exit code.
 */
#ifndef PELORUS_CLI_CLI_H
#define PELORUS_CLI_CLI_H

#define CLI_EXIT_CODES                                                         \
    "Exit codes: 0 done, 1 refused or failed, 2 not understood, 3 no "         \
    "coordinator\nanswered, 4 there is no such thing.\n"

/* argv[0] is the subcommand's name: one that cli_knows(). */
int cli_run(int argc, char **argv);
int cli_knows(const char *name);

/* One line a subcommand, for `pelorus help`. */
void cli_help(void);

#endif
