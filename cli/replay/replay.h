/*
 * replay.h - `pelorus replay FILE...`: what a journal's decisions rested on,
 * decided again, without a coordinator.
 */
#ifndef PELORUS_CLI_REPLAY_REPLAY_H
#define PELORUS_CLI_REPLAY_REPLAY_H

/* argv[0] is "replay". 0: the same decisions, 1: others, 2: not understood, or
 * the files cannot be used. */
int cli_replay(int argc, char **argv);

#endif
