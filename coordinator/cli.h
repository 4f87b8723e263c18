/*
 * cli.h - the subcommands for people and scripts, which speak to the API.
 *
 * Each prints an aligned table, or with --json what the API answered (the
 * pages of a list as one), and returns the exit code: 0 done, 1 refused or
 * failed, 2 usage.
 */
#ifndef PELORUS_COORDINATOR_CLI_H
#define PELORUS_COORDINATOR_CLI_H

/* argv[0] is the subcommand's name: one that cli_knows(). */
int cli_run(int argc, char **argv);
int cli_knows(const char *name);

/* One line a subcommand, for `pelorus help`. */
void cli_help(void);

#endif
