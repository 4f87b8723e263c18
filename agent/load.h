/*
 * load.h - how busy this host, or the container that we live in, really is.
 *
 * Parsers are pure: text in, numbers out. agent_load_sample() feeds them from
 * /proc and the cgroup file systems (v2, and v1's controllers one by one).
 * Where a cgroup limits us, its share counts as well as the host's, and the
 * worse of the two is told: a container at its memory limit is full on an idle
 * host, and a container of its own is slow on a busy one. Loop thread only.
 */
#ifndef PELORUS_AGENT_LOAD_H
#define PELORUS_AGENT_LOAD_H

#include "base/clock.h"
#include "cluster/heartbeat.h"
#include "conf/conf.h"

#define LOAD_NO_LIMIT UINT64_MAX

/* --- parsers: false when the text is not what the kernel writes ---------- */

/* /proc/stat: all processors since boot, in ticks. */
struct load_ticks {
    uint64_t busy, total;
};
bool agent_load_parse_stat(const char *text, struct load_ticks *out);

/* /proc/meminfo, in bytes. */
bool agent_load_parse_meminfo(const char *text, uint64_t *total,
                              uint64_t *available);

/* /proc/loadavg: the first figure. */
bool agent_load_parse_loadavg(const char *text, double *one_minute);

/* "name value" lines: memory.stat, cpu.stat. */
bool agent_load_parse_field(const char *text, const char *name, uint64_t *out);

/* A file of one number, or "max" (LOAD_NO_LIMIT). */
bool agent_load_parse_number(const char *text, uint64_t *out);

/* cpu.max: how many processors, 0 for no limit. */
bool agent_load_parse_cpu_max(const char *text, double *cpus);

/* /proc/self/cgroup: our path below the mount of a v1 controller, or of v2
 * for "". False: we are in none. */
bool agent_load_parse_cgroup(const char *text, const char *controller,
                             char *out, size_t size);

/* --- sampling ------------------------------------------------------------ */

struct load_sampler {
    const char *proc, *cgroups, *disk; /* "/proc", "/sys/fs/cgroup", a path on
                                          the file system to watch; borrowed */
    struct load_ticks ticks;           /* of the sample before */
    uint64_t used_us;                  /* processor time of our cgroup then */
    uint64_t at_ns;                    /* 0: no sample yet */
};

struct load_reading {
    double cpu, memory, disk; /* 0..1, LOAD_UNKNOWN if it cannot be known; cpu
                                 is that since the sample before */
    double load_average;
    double cpus;           /* that we may use */
    uint64_t memory_limit; /* that we may use */
};

/* The real machine. */
void agent_load_init(struct load_sampler *s);

/* Reads a dozen small files of the kernel's, which never wait for a disk. */
void agent_load_sample(struct load_sampler *s, uint64_t now_ns,
                       struct load_reading *out);

/* Is one of them known to the one alone, or further away than LOAD_STEP? Less
 * changes nobody's choice of a worker. */
#define LOAD_STEP 0.02
bool agent_load_moved(const struct load_reading *from,
                      const struct load_reading *to);

/*
 * BUSY above cpu_max or memory_max, NORMAL again below 5 % less: each must be
 * so in LOAD_STATUS_SAMPLES samples running, so that one spike flips nothing.
 * `count` is the caller's, 0 at first.
 */
#define LOAD_STATUS_SAMPLES 3
enum node_status agent_load_status(enum node_status now, unsigned *count,
                                   const struct load_reading *r, double cpu_max,
                                   double memory_max);

#endif
