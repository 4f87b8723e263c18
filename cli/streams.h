/*
 * streams.h - standard input, output and error: at the start, so that nothing
 * else takes their numbers, and at the end, so that nothing is lost in silence.
 */
#ifndef PELORUS_CLI_STREAMS_H
#define PELORUS_CLI_STREAMS_H

/* Before anything is opened. */
void cli_streams_occupy(void);

/* How to exit: `rc`, or 1 where it is 0 and standard output did not take all,
 * which is said. */
int cli_streams_finish(int rc);

#endif
