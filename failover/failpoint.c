/*
 * failpoint.c - see failpoint.h. Design: the specification is matched as text
 * at each point; there are a few points, and no test needs them to be fast.
 */
#include "failover/failpoint.h"

#include "base/units.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "name:stop", "name:kill@5000", separated by commas. */
int failover_failpoint_match(const char *spec, const char *name, uint64_t n)
{
    for (; *spec != '\0'; spec += strcspn(spec, ","), spec += *spec == ',') {
        char at[64], action[8], number[24] = "1";
        uint64_t from;
        int end = 0;
        if (sscanf(spec, "%63[^:,]:%7[a-z]%n@%20[0-9]%n", at, action, &end,
                   number, &end) < 2 ||
            (spec[end] != ',' && spec[end] != '\0') ||
            units_uint(number, UINT64_MAX, &from, NULL) != 0 ||
            strcmp(at, name) != 0 || n < from)
            continue;
        if (strcmp(action, "stop") == 0)
            return SIGSTOP;
        if (strcmp(action, "kill") == 0)
            return SIGKILL;
    }
    return 0;
}

void failover_failpoint(const char *name, uint64_t n)
{
    static char spec[512];
    static bool read_it, fired;
    if (!read_it) {
        const char *env = getenv("PELORUS_FAILPOINT");
        read_it = true;
        if (env != NULL)
            (void)snprintf(spec, sizeof(spec), "%s", env);
    }
    if (spec[0] == '\0' || fired)
        return;
    int signal = failover_failpoint_match(spec, name, n);
    if (signal == 0)
        return;
    fired = true; /* a continued process goes on without stopping again */
    (void)kill(getpid(), signal);
}
