/*
 * heartbeat_members.c - which members of a heartbeat mean something to anybody,
 * and what one that does not was probably meant to be.
 *
 * In a foreign registry whatever else stands there is its writer's business.
 * Over HTTP it is told: a member that is misspelt is otherwise one that is not
 * there, and a missing startupTime makes another process of a node.
 */
#include "cluster/heartbeat.h"

#include "base/compiler.h"

#include <ctype.h>
#include <string.h>

/* What DolphinScheduler 2.x to 3.3 and our own agent write, and whether it is
 * another one in each heartbeat (heartbeat_changes()). A place is looked at
 * with each PUT (coordinator/place.c). */
static const struct {
    const char *name;
    bool changes;
} members[] = {
    {"startupTime", false},
    {"processId", false},
    {"reportTime", true},
    {"serverStatus", true},
    {"host", false},
    {"port", false},
    {"cpuUsage", true},
    {"memoryUsage", true},
    {"diskUsage", true},
    {"jvmCpuUsage", true},
    {"jvmMemoryUsage", true},
    {"diskAvailable", true},
    {"loadAverage", true},
    {"availablePhysicalMemorySize", true},
    {"maxCpuloadAvg", false},
    {"reservedMemory", false},
    {"workerHostWeight", false},
    {"workerWaitingTaskCount", true},
    {"workerExecThreadCount", false},
    {"threadPoolUsage", true},
    {"slots", false},
    {"group", false},
    {"groups", false},
    {"place", true},
    {"instance", false},
};

/* What others call it. */
static const struct {
    const char *name, *meant;
} others[] = {
    {"cpu", "cpuUsage"},
    {"memory", "memoryUsage"},
    {"disk", "diskUsage"},
    {"weight", "workerHostWeight"},
    {"status", "serverStatus"},
    {"state", "serverStatus"},
    {"pid", "processId"},
    {"started", "startupTime"},
    {"startTime", "startupTime"},
    {"load", "loadAverage"},
    {"workerGroup", "groups"},
    {"workerGroups", "groups"},
    {"slot", "slots"},
    {"threads", "slots"},
};

/* Letters and digits, whatever their case and whatever joins the words. */
static bool same_words(const char *a, const char *b)
{
    for (;;) {
        while (*a == '_' || *a == '-' || *a == ' ')
            a++;
        while (*b == '_' || *b == '-' || *b == ' ')
            b++;
        if (*a == '\0' || *b == '\0')
            return *a == *b;
        if (tolower((unsigned char)*a++) != tolower((unsigned char)*b++))
            return false;
    }
}

/* One letter too many, too few, another one, or two changed places. */
static bool one_slip(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b), from = 0, back = 0;

    if (n > m)
        return one_slip(b, a);
    if (n < 4 || m - n > 1)
        return false;
    while (from < n &&
           tolower((unsigned char)a[from]) == tolower((unsigned char)b[from]))
        from++;
    while (back < n - from && tolower((unsigned char)a[n - 1 - back]) ==
                                  tolower((unsigned char)b[m - 1 - back]))
        back++;
    assert(n <= m);
    assert(from + back <= n);
    if (n == m && n - from - back == 2)
        return a[from] == b[from + 1] && a[from + 1] == b[from];
    return m - from - back <= 1;
}

bool heartbeat_changes(const char *member)
{
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(member, members[i].name) == 0)
            return members[i].changes;
    return false;
}

bool heartbeat_knows(const char *member, const char **meant)
{
    assert(member != NULL);
    *meant = NULL;
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (strcmp(member, members[i].name) == 0)
            return true;
    for (size_t i = 0; i < ARRAY_LEN(members) && *meant == NULL; i++)
        if (same_words(member, members[i].name))
            *meant = members[i].name;
    for (size_t i = 0; i < ARRAY_LEN(members) && *meant == NULL; i++)
        if (one_slip(member, members[i].name))
            *meant = members[i].name;
    for (size_t i = 0; i < ARRAY_LEN(others) && *meant == NULL; i++)
        if (same_words(member, others[i].name))
            *meant = others[i].meant;
    return false;
}
