/*
 * load.c - parsers of the kernel's texts, and the thin readers around them.
 *
 * A file that is missing or not understood makes its figure unknown, never
 * zero: an agent in a stripped container still registers.
 */
#include "agent/load.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define FILE_MAX       16384
#define KIB            1024
#define HYSTERESIS     0.05
#define USED_NS_PER_US 1000
/* v1 says "no limit" with a number near 2^63, rounded to pages. */
#define V1_NO_LIMIT (UINT64_C(1) << 62)

/* --- parsers ------------------------------------------------------------- */

static bool read_u64(const char **at, uint64_t *out)
{
    char *end;

    while (**at == ' ' || **at == '\t')
        (*at)++;
    if (**at < '0' || **at > '9')
        return false;
    errno = 0;
    *out = strtoull(*at, &end, 10);
    *at = end;
    return errno == 0;
}

bool agent_load_parse_stat(const char *text, struct load_ticks *out)
{
    enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, COLUMNS };
    uint64_t v[COLUMNS] = {0};
    size_t n = 0;

    if (strncmp(text, "cpu ", 4) != 0)
        return false;
    text += 4;
    /* guest time is part of user time already and is left out. */
    while (n < COLUMNS && read_u64(&text, &v[n]))
        n++;
    if (n <= IDLE)
        return false;
    out->busy = v[USER] + v[NICE] + v[SYSTEM] + v[IRQ] + v[SOFTIRQ] + v[STEAL];
    out->total = out->busy + v[IDLE] + v[IOWAIT];
    return true;
}

/* The text behind `name` at the beginning of a line, or NULL. */
static const char *find_line(const char *text, const char *name)
{
    size_t len = strlen(name);

    assert(name[0] != '\0');
    while (text != NULL && *text != '\0') {
        if (strncmp(text, name, len) == 0)
            return text + len;
        text = strchr(text, '\n');
        text = text != NULL ? text + 1 : NULL;
    }
    return NULL;
}

bool agent_load_parse_meminfo(const char *text, uint64_t *total,
                              uint64_t *available)
{
    const char *a = find_line(text, "MemTotal:");
    const char *b = find_line(text, "MemAvailable:");
    uint64_t t, v;

    if (a == NULL || b == NULL || !read_u64(&a, &t) || !read_u64(&b, &v) ||
        t == 0 || v > t || t > UINT64_MAX / KIB)
        return false;
    *total = t * KIB;
    *available = v * KIB;
    return true;
}

bool agent_load_parse_loadavg(const char *text, double *one_minute)
{
    char *end;
    double value = strtod(text, &end);

    if (end == text || !isfinite(value) || value < 0)
        return false;
    *one_minute = value;
    return true;
}

bool agent_load_parse_field(const char *text, const char *name, uint64_t *out)
{
    char prefix[64];
    const char *at;

    assert(strlen(name) < sizeof(prefix) - 1);
    snprintf(prefix, sizeof(prefix), "%s ", name);
    at = find_line(text, prefix);
    return at != NULL && read_u64(&at, out);
}

bool agent_load_parse_number(const char *text, uint64_t *out)
{
    if (strncmp(text, "max", 3) == 0) {
        *out = LOAD_NO_LIMIT;
        return true;
    }
    return read_u64(&text, out);
}

static bool quota_cpus(uint64_t quota, uint64_t period, double *cpus)
{
    if (quota == 0 || period == 0)
        return false;
    *cpus = (double)quota / (double)period;
    return true;
}

bool agent_load_parse_cpu_max(const char *text, double *cpus)
{
    uint64_t quota, period;

    if (strncmp(text, "max", 3) == 0) {
        *cpus = 0;
        return true;
    }
    return read_u64(&text, &quota) && read_u64(&text, &period) &&
           quota_cpus(quota, period, cpus);
}

/* Whether `name` is in "a,b,c". */
static bool in_list(const char *list, size_t len, const char *name)
{
    size_t n = strlen(name);

    if (n == 0)
        return len == 0;
    for (const char *end = list + len; list < end;) {
        const char *comma = memchr(list, ',', (size_t)(end - list));
        size_t item = (size_t)((comma != NULL ? comma : end) - list);

        if (item == n && memcmp(list, name, n) == 0)
            return true;
        list += item + 1;
    }
    return false;
}

/* Lines are "id:controllers:path"; v2 is "0::path". */
bool agent_load_parse_cgroup(const char *text, const char *controller,
                             char *out, size_t size)
{
    assert(size > 0);
    while (text != NULL && *text != '\0') {
        const char *end = strchr(text, '\n');
        const char *list = strchr(text, ':');
        const char *path = list != NULL ? strchr(list + 1, ':') : NULL;
        size_t len;

        end = end != NULL ? end : text + strlen(text);
        if (path != NULL && path < end &&
            in_list(list + 1, (size_t)(path - list - 1), controller)) {
            len = (size_t)(end - path - 1);
            if (len >= size || strstr(path, "/..") != NULL)
                return false;
            memcpy(out, path + 1, len);
            out[len] = '\0';
            return true;
        }
        text = *end == '\n' ? end + 1 : end;
    }
    return false;
}

/* --- files --------------------------------------------------------------- */

/* The file's text, cut at FILE_MAX: what we look for stands at its top. */
static bool slurp(const char *dir, const char *file, char text[FILE_MAX])
{
    char path[640];
    size_t len = 0;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", dir, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    while (len < FILE_MAX - 1 &&
           (n = read(fd, text + len, FILE_MAX - 1 - len)) > 0)
        len += (size_t)n;
    close(fd);
    text[len] = '\0';
    assert(len < FILE_MAX);
    return len > 0;
}

/* One directory of a cgroup hierarchy: mount, path and file. */
struct place {
    char dir[512];
    size_t mount; /* length of the part that we do not leave */
};

/* Where a controller has its files; false: nowhere. In a container our path
 * may be the host's and not exist here: then the mount itself is ours. */
static bool place_find(const struct load_sampler *s, const char *cgroup,
                       const char *controller, const char *mount,
                       struct place *out)
{
    char path[256];

    if (!agent_load_parse_cgroup(cgroup, controller, path, sizeof(path)))
        return false;
    snprintf(out->dir, sizeof(out->dir), "%s%s", s->cgroups, mount);
    out->mount = strlen(out->dir);
    if (access(out->dir, R_OK) != 0)
        return false;
    if (strcmp(path, "/") != 0)
        snprintf(out->dir + out->mount, sizeof(out->dir) - out->mount, "%s",
                 path);
    if (access(out->dir, R_OK) != 0)
        out->dir[out->mount] = '\0';
    assert(out->mount < sizeof(out->dir));
    return true;
}

/* One up; false at the mount. A limit of any ancestor binds us, too. */
static bool place_up(struct place *p)
{
    char *slash = strrchr(p->dir, '/');

    assert(p->mount < sizeof(p->dir));
    if (slash == NULL || strlen(p->dir) <= p->mount)
        return false;
    *slash = '\0';
    return strlen(p->dir) >= p->mount;
}

static bool place_number(const struct place *p, const char *file, uint64_t *out)
{
    char text[FILE_MAX];

    return slurp(p->dir, file, text) && agent_load_parse_number(text, out);
}

/* --- memory -------------------------------------------------------------- */

struct memory_files {
    const char *limit, *used, *cache;
};
static const struct memory_files memory_v2 = {"memory.max", "memory.current",
                                              "inactive_file"};
static const struct memory_files memory_v1 = {
    "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"};

/* The fullest of our cgroup and its ancestors; what the kernel would give
 * back at once is not used. */
static void cgroup_memory(struct place p, const struct memory_files *files,
                          uint64_t host, struct load_reading *out)
{
    char text[FILE_MAX];

    assert(host > 0);
    do {
        uint64_t limit, used, cache = 0;
        double share;

        if (!place_number(&p, files->limit, &limit) || limit == 0 ||
            limit >= V1_NO_LIMIT || limit > host ||
            !place_number(&p, files->used, &used))
            continue;
        if (slurp(p.dir, "memory.stat", text))
            (void)agent_load_parse_field(text, files->cache, &cache);
        share = used > cache ? (double)(used - cache) / (double)limit : 0;
        out->memory = fmax(out->memory, fmin(share, 1));
        if (limit < out->memory_limit)
            out->memory_limit = limit;
    } while (place_up(&p));
}

static void sample_memory(const struct load_sampler *s, const char *cgroup,
                          struct load_reading *out)
{
    char text[FILE_MAX];
    uint64_t total, available;
    struct place p;

    out->memory = LOAD_UNKNOWN;
    out->memory_limit = LOAD_NO_LIMIT;
    if (!slurp(s->proc, "meminfo", text) ||
        !agent_load_parse_meminfo(text, &total, &available))
        return;
    out->memory = (double)(total - available) / (double)total;
    out->memory_limit = total;
    if (place_find(s, cgroup, "memory", "/memory", &p))
        cgroup_memory(p, &memory_v1, total, out);
    else if (place_find(s, cgroup, "", "", &p))
        cgroup_memory(p, &memory_v2, total, out);
    assert(out->memory_limit > 0);
}

/* --- processor ----------------------------------------------------------- */

static bool cpu_limit_v1(const struct place *p, double *cpus)
{
    uint64_t quota, period;

    /* "-1" is no limit and no number either. */
    return place_number(p, "cpu.cfs_quota_us", &quota) &&
           place_number(p, "cpu.cfs_period_us", &period) &&
           quota_cpus(quota, period, cpus);
}

static bool cpu_limit_v2(const struct place *p, double *cpus)
{
    char text[FILE_MAX];

    return slurp(p->dir, "cpu.max", text) &&
           agent_load_parse_cpu_max(text, cpus) && *cpus > 0;
}

/* Of the tightest limit: how many processors, and the time used below it. */
static bool cgroup_cpu(const struct load_sampler *s, const char *cgroup,
                       double *cpus, uint64_t *used_us)
{
    char text[FILE_MAX];
    struct place p, tightest;
    bool v1 = place_find(s, cgroup, "cpu", "/cpu", &p);
    bool found = false;

    if (!v1 && !place_find(s, cgroup, "", "", &p))
        return false;
    do {
        double limit = 0;

        if ((v1 ? cpu_limit_v1 : cpu_limit_v2)(&p, &limit) &&
            (!found || limit < *cpus)) {
            *cpus = limit;
            tightest = p;
            found = true;
        }
    } while (place_up(&p));
    if (!found)
        return false;
    if (!v1)
        return slurp(tightest.dir, "cpu.stat", text) &&
               agent_load_parse_field(text, "usage_usec", used_us);
    if (!place_find(s, cgroup, "cpuacct", "/cpuacct", &p) ||
        !place_number(&p, "cpuacct.usage", used_us))
        return false;
    *used_us /= USED_NS_PER_US;
    return true;
}

static void sample_cpu(struct load_sampler *s, const char *cgroup,
                       uint64_t now_ns, struct load_reading *out)
{
    char text[FILE_MAX];
    struct load_ticks ticks;
    uint64_t used_us = 0;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    bool limited;

    out->cpu = LOAD_UNKNOWN;
    out->cpus = online > 0 ? (double)online : 1;
    limited = cgroup_cpu(s, cgroup, &out->cpus, &used_us);
    if (slurp(s->proc, "stat", text) && agent_load_parse_stat(text, &ticks)) {
        if (s->at_ns != 0 && ticks.total > s->ticks.total &&
            ticks.busy >= s->ticks.busy)
            out->cpu = fmin((double)(ticks.busy - s->ticks.busy) /
                                (double)(ticks.total - s->ticks.total),
                            1);
        s->ticks = ticks;
    }
    if (limited && s->at_ns != 0 && now_ns > s->at_ns &&
        used_us >= s->used_us && s->used_us != 0) {
        double us = (double)(now_ns - s->at_ns) / USED_NS_PER_US;
        double share = (double)(used_us - s->used_us) / (us * out->cpus);

        out->cpu = fmax(out->cpu, fmin(share, 1));
    }
    s->used_us = used_us;
    s->at_ns = now_ns;
    assert(out->cpus > 0);
}

/* --- all of it ----------------------------------------------------------- */

static double sample_disk(const char *path)
{
    struct statvfs fs;
    uint64_t used;

    if (statvfs(path, &fs) != 0 || fs.f_blocks == 0)
        return LOAD_UNKNOWN;
    used = fs.f_blocks - fs.f_bfree;
    if (used + fs.f_bavail == 0)
        return 1;
    return (double)used / (double)(used + fs.f_bavail);
}

void agent_load_init(struct load_sampler *s)
{
    memset(s, 0, sizeof(*s));
    s->proc = "/proc";
    s->cgroups = "/sys/fs/cgroup";
    s->disk = ".";
}

void agent_load_sample(struct load_sampler *s, uint64_t now_ns,
                       struct load_reading *out)
{
    char text[FILE_MAX], cgroup[FILE_MAX];

    assert(now_ns > 0);
    memset(out, 0, sizeof(*out));
    if (!slurp(s->proc, "self/cgroup", cgroup))
        cgroup[0] = '\0';
    sample_memory(s, cgroup, out);
    sample_cpu(s, cgroup, now_ns, out);
    out->disk = sample_disk(s->disk);
    if (!slurp(s->proc, "loadavg", text) ||
        !agent_load_parse_loadavg(text, &out->load_average))
        out->load_average = LOAD_UNKNOWN;
}

static bool moved(double from, double to)
{
    assert(from <= 1 && to <= 1);
    if (from < 0 || to < 0)
        return (from < 0) != (to < 0);
    return fabs(to - from) > LOAD_STEP;
}

bool agent_load_moved(const struct load_reading *from,
                      const struct load_reading *to)
{
    return moved(from->cpu, to->cpu) || moved(from->memory, to->memory) ||
           moved(from->disk, to->disk);
}

enum node_status agent_load_status(enum node_status now, unsigned *count,
                                   const struct load_reading *r, double cpu_max,
                                   double memory_max)
{
    double slack = now == NODE_BUSY ? HYSTERESIS : 0;
    bool hot = r->cpu > cpu_max - slack || r->memory > memory_max - slack;

    assert(*count < LOAD_STATUS_SAMPLES);
    if (hot == (now == NODE_BUSY)) {
        *count = 0;
        return now;
    }
    if (++*count < LOAD_STATUS_SAMPLES)
        return now;
    *count = 0;
    return hot ? NODE_BUSY : NODE_NORMAL;
}
