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

/* "name:stop", "name:kill@5000" */
static int match_one(const char *spec, size_t len, const char *name, uint64_t n)
{
    char text[128];
    uint64_t at = 1;
    if (len >= sizeof(text))
        return 0;
    memcpy(text, spec, len);
    text[len] = '\0';
    char *action = strchr(text, ':');
    if (action == NULL)
        return 0;
    *action++ = '\0';
    char *number = strchr(action, '@');
    if (number != NULL) {
        *number++ = '\0';
        if (units_uint(number, UINT64_MAX, &at, NULL) != 0)
            return 0;
    }
    if (strcmp(text, name) != 0 || n < at)
        return 0;
    if (strcmp(action, "stop") == 0)
        return SIGSTOP;
    return strcmp(action, "kill") == 0 ? SIGKILL : 0;
}

int failover_failpoint_match(const char *spec, const char *name, uint64_t n)
{
    while (*spec != '\0') {
        size_t len = strcspn(spec, ",");
        int signal = match_one(spec, len, name, n);
        if (signal != 0)
            return signal;
        spec += len + (spec[len] == ',');
    }
    return 0;
}

void failover_failpoint_at(const char *name, uint64_t n)
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

void failover_failpoint(const char *name)
{
    failover_failpoint_at(name, 1);
}
