/*
 * streams.c - standard input, output and error: streams.h.
 */
#include "cli/streams.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Whoever started us may have closed some of them. A socket, a file or the
 * loop's own descriptor at their number would be written to by whatever says
 * something, and is what libuv ends us for when it closes it. What is put
 * there fails like a closed one, at each use. */
void cli_streams_occupy(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 &&
            open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
            _exit(1);
}

/* What was said has arrived, or it is said that it has not; whoever closed his
 * end of a pipe wants no more of it. */
int cli_streams_finish(int rc)
{
    bool lost = ferror(stdout) != 0; /* what was flushed before */
    int why = fflush(stdout) != 0 ? errno : 0;

    if (why == 0 && !lost)
        return rc;
    if (why == 0 && write(STDOUT_FILENO, "\n", 1) < 0)
        why = errno; /* as it was then */
    if (why != EPIPE)
        fprintf(stderr, "pelorus: standard output: %s\n",
                why != 0 ? strerror(why) : "not all could be written");
    return rc != 0 ? rc : 1;
}
