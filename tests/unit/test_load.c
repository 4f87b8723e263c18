/*
 * test_load.c - the kernel's texts, trees of files as containers show them,
 * and the machine that the test runs on.
 */
#include "agent/load.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define GIB (UINT64_C(1) << 30)

/* --- texts --------------------------------------------------------------- */

static void stat_counts_waiting_for_disks_as_idle(void **state)
{
    struct load_ticks t;

    (void)state;
    assert_true(agent_load_parse_stat("cpu  100 5 50 800 40 1 2 3 60 0\n"
                                      "cpu0 1 2 3 4\nintr 5\n",
                                      &t));
    assert_int_equal(t.busy, 161); /* guest time is in user time already */
    assert_int_equal(t.total, 1001);
    assert_true(agent_load_parse_stat("cpu  1 2 3 4\n", &t)); /* old kernels */
    assert_int_equal(t.total, 10);
    assert_false(agent_load_parse_stat("cpu  1 2 3\n", &t));
    assert_false(agent_load_parse_stat("cpu0 1 2 3 4\n", &t));
    assert_false(agent_load_parse_stat("", &t));
    assert_false(agent_load_parse_stat("cpu  x 2 3 4\n", &t));
}

static void meminfo_takes_what_is_available(void **state)
{
    uint64_t total, available;

    (void)state;
    assert_true(agent_load_parse_meminfo("MemTotal:       16384000 kB\n"
                                         "MemFree:          200000 kB\n"
                                         "MemAvailable:    8192000 kB\n",
                                         &total, &available));
    assert_int_equal(total, 16384000 * UINT64_C(1024));
    assert_int_equal(available, 8192000 * UINT64_C(1024));
    assert_false(
        agent_load_parse_meminfo("MemTotal: 5 kB\n", &total, &available));
    assert_false(agent_load_parse_meminfo(
        "MemTotal: 0 kB\nMemAvailable: 0 kB\n", &total, &available));
    assert_false(agent_load_parse_meminfo(
        "MemTotal: 5 kB\nMemAvailable: 6 kB\n", &total, &available));
    assert_false(agent_load_parse_meminfo(
        "MemTotal: 99999999999999999999 kB\nMemAvailable: 6 kB\n", &total,
        &available));
}

static void small_files_are_read_or_refused(void **state)
{
    double number;
    uint64_t whole;

    (void)state;
    assert_true(
        agent_load_parse_loadavg("1.25 0.50 0.10 2/345 6789\n", &number));
    assert_true(number == 1.25);
    assert_false(agent_load_parse_loadavg("", &number));
    assert_false(agent_load_parse_loadavg("nan 1 1\n", &number));
    assert_true(agent_load_parse_number("12345\n", &whole));
    assert_int_equal(whole, 12345);
    assert_true(agent_load_parse_number("max\n", &whole));
    assert_true(whole == LOAD_NO_LIMIT);
    assert_false(agent_load_parse_number("-1\n", &whole));
    assert_true(agent_load_parse_cpu_max("150000 100000\n", &number));
    assert_true(number == 1.5);
    assert_true(agent_load_parse_cpu_max("max 100000\n", &number));
    assert_true(number == 0);
    assert_false(agent_load_parse_cpu_max("100000 0\n", &number));
    assert_false(agent_load_parse_cpu_max("100000\n", &number));
    assert_true(agent_load_parse_field("anon 1\ninactive_file 77\nfile 3\n",
                                       "inactive_file", &whole));
    assert_int_equal(whole, 77);
    assert_true(agent_load_parse_field("a 1\nfile 3\n", "file", &whole));
    assert_int_equal(whole, 3); /* not the end of another name */
    assert_false(agent_load_parse_field("inactive_file 77\n", "file", &whole));
}

static void cgroup_paths_are_found_by_controller(void **state)
{
    static const char v1[] = "12:memory:/docker/abc\n"
                             "4:cpu,cpuacct:/docker/cpu\n"
                             "1:name=systemd:/x\n0::/system.slice/p.service\n";
    char path[64];

    (void)state;
    assert_true(agent_load_parse_cgroup(v1, "memory", path, sizeof(path)));
    assert_string_equal(path, "/docker/abc");
    assert_true(agent_load_parse_cgroup(v1, "cpuacct", path, sizeof(path)));
    assert_string_equal(path, "/docker/cpu");
    assert_true(agent_load_parse_cgroup(v1, "", path, sizeof(path)));
    assert_string_equal(path, "/system.slice/p.service");
    assert_false(agent_load_parse_cgroup(v1, "cpuset", path, sizeof(path)));
    assert_false(
        agent_load_parse_cgroup("0::/../../x\n", "", path, sizeof(path)));
    assert_false(agent_load_parse_cgroup("", "", path, sizeof(path)));
    assert_false(agent_load_parse_cgroup(v1, "", path, 5));
}

/* --- trees --------------------------------------------------------------- */

struct tree {
    char root[64], proc[96], cgroups[96];
    struct load_sampler sampler;
};

static void put(const struct tree *t, const char *path, const char *text)
{
    char full[512];
    FILE *f;

    snprintf(full, sizeof(full), "%s/%s", t->root, path);
    for (char *p = full + strlen(t->root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(full, 0700);
        *p = '/';
    }
    f = fopen(full, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int set_up(void **state)
{
    static struct tree t;

    memset(&t, 0, sizeof(t));
    snprintf(t.root, sizeof(t.root), "/tmp/pelorus-load-XXXXXX");
    assert_non_null(mkdtemp(t.root));
    snprintf(t.proc, sizeof(t.proc), "%s/proc", t.root);
    snprintf(t.cgroups, sizeof(t.cgroups), "%s/cg", t.root);
    agent_load_init(&t.sampler);
    t.sampler.proc = t.proc;
    t.sampler.cgroups = t.cgroups;
    put(&t, "proc/stat", "cpu  100 0 0 900 0 0 0 0\n");
    put(&t, "proc/meminfo",
        "MemTotal: 16777216 kB\n"
        "MemAvailable: 12582912 kB\n"); /* 16 and 12 GiB */
    put(&t, "proc/loadavg", "0.75 0.1 0.1 1/2 3\n");
    *state = &t;
    return 0;
}

static int tear_down(void **state)
{
    struct tree *t = *state;
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", t->root);
    return system(command);
}

static void without_a_limit_the_host_counts(void **state)
{
    struct tree *t = *state;
    struct load_reading r;

    put(t, "proc/self/cgroup", "0::/\n");
    put(t, "cg/cgroup.procs", "1\n");
    agent_load_sample(&t->sampler, 1000000000, &r);
    assert_true(r.cpu == LOAD_UNKNOWN); /* nothing to compare with yet */
    assert_true(r.memory == 0.25);
    assert_true(r.load_average == 0.75);
    assert_int_equal(r.memory_limit, 16 * GIB);
    put(t, "proc/stat", "cpu  175 0 0 925 0 0 0 0\n");
    agent_load_sample(&t->sampler, 2000000000, &r);
    assert_true(r.cpu == 0.75);
}

static void a_limit_of_v2_counts_when_it_is_tighter(void **state)
{
    struct tree *t = *state;
    struct load_reading r;

    put(t, "proc/self/cgroup", "0::/a/b\n");
    put(t, "cg/a/b/memory.max", "max\n");
    put(t, "cg/a/b/memory.current", "1\n");
    put(t, "cg/a/memory.max", "4294967296\n"); /* 4 GiB, of the parent */
    put(t, "cg/a/memory.current", "4294967296\n");
    put(t, "cg/a/memory.stat", "anon 1\ninactive_file 1073741824\n");
    put(t, "cg/a/b/cpu.max", "200000 100000\n");
    put(t, "cg/a/b/cpu.stat", "usage_usec 5000000\nuser_usec 1\n");
    agent_load_sample(&t->sampler, 1000000000, &r);
    assert_true(r.memory == 0.75);
    assert_int_equal(r.memory_limit, 4 * GIB);
    assert_true(r.cpus == 2);
    put(t, "cg/a/b/cpu.stat", "usage_usec 6500000\n"); /* 1.5 s in 1 s of 2 */
    put(t, "proc/stat", "cpu  110 0 0 990 0 0 0 0\n"); /* the host: a tenth */
    agent_load_sample(&t->sampler, 2000000000, &r);
    assert_true(fabs(r.cpu - 0.75) < 1e-9);
}

static void a_limit_of_v1_counts_likewise(void **state)
{
    struct tree *t = *state;
    struct load_reading r;

    put(t, "proc/self/cgroup", "3:memory:/p\n2:cpu:/p\n1:cpuacct:/p\n");
    put(t, "cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(t, "cg/memory/p/memory.limit_in_bytes", "1073741824\n");
    put(t, "cg/memory/p/memory.usage_in_bytes", "1073741824\n");
    put(t, "cg/memory/p/memory.stat", "total_inactive_file 107374182\n");
    put(t, "cg/cpu/p/cpu.cfs_quota_us", "50000\n");
    put(t, "cg/cpu/p/cpu.cfs_period_us", "100000\n");
    put(t, "cg/cpu/cpu.cfs_quota_us", "-1\n");
    put(t, "cg/cpu/cpu.cfs_period_us", "100000\n");
    put(t, "cg/cpuacct/p/cpuacct.usage", "1000000000\n");
    agent_load_sample(&t->sampler, 1000000000, &r);
    assert_true(fabs(r.memory - 0.9) < 1e-6);
    assert_true(r.cpus == 0.5);
    put(t, "cg/cpuacct/p/cpuacct.usage", "1400000000\n");
    agent_load_sample(&t->sampler, 2000000000, &r);
    assert_true(fabs(r.cpu - 0.8) < 1e-9);
}

static void a_path_of_the_host_falls_back_to_the_mount(void **state)
{
    struct tree *t = *state;
    struct load_reading r;

    put(t, "proc/self/cgroup", "0::/docker/0123\n");
    put(t, "cg/memory.max", "1073741824\n");
    put(t, "cg/memory.current", "536870912\n");
    agent_load_sample(&t->sampler, 1000000000, &r);
    assert_true(r.memory == 0.5);
}

static void nothing_to_read_is_unknown(void **state)
{
    struct tree *t = *state;
    struct load_reading r;

    t->sampler.proc = t->sampler.cgroups = t->sampler.disk = "/nonexistent";
    agent_load_sample(&t->sampler, 1, &r);
    agent_load_sample(&t->sampler, 2, &r);
    assert_true(r.cpu == LOAD_UNKNOWN);
    assert_true(r.memory == LOAD_UNKNOWN);
    assert_true(r.disk == LOAD_UNKNOWN);
    assert_true(r.load_average == LOAD_UNKNOWN);
    assert_true(r.cpus >= 1);
}

static void this_machine_has_a_load(void **state)
{
    struct load_sampler s;
    struct load_reading r;
    volatile unsigned work = 0;
    uint64_t began = clock_mono_ns(), now = began;

    (void)state;
    agent_load_init(&s);
    agent_load_sample(&s, now, &r);
    assert_true(r.memory > 0 && r.memory < 1);
    assert_true(r.disk >= 0 && r.disk <= 1);
    assert_true(r.load_average >= 0);
    assert_true(r.memory_limit > 0 && r.memory_limit < LOAD_NO_LIMIT);
    while ((now = clock_mono_ns()) - began < 300000000)
        work++;
    agent_load_sample(&s, now, &r);
    assert_true(r.cpu > 0 && r.cpu <= 1);
}

/* --- status -------------------------------------------------------------- */

static void a_load_has_moved_when_one_of_its_figures_has(void **state)
{
    const struct load_reading from = {.cpu = .5, .memory = .5, .disk = .5};
    struct load_reading to = from;

    (void)state;
    assert_false(agent_load_moved(&from, &to));
    to.cpu = .515;
    to.memory = .485;
    to.load_average = 7;
    assert_false(agent_load_moved(&from, &to));
    to.disk = .53;
    assert_true(agent_load_moved(&from, &to));
    assert_true(agent_load_moved(&to, &from));
    to.disk = LOAD_UNKNOWN;
    assert_true(agent_load_moved(&from, &to));
    assert_true(agent_load_moved(&to, &from));
    assert_false(agent_load_moved(&to, &to));
}

static void status_flips_after_three_samples_and_back_below(void **state)
{
    struct load_reading hot = {.cpu = 0.81, .memory = 0.2};
    struct load_reading warm = {.cpu = 0.77, .memory = 0.2};
    struct load_reading cool = {.cpu = 0.74, .memory = LOAD_UNKNOWN};
    struct load_reading full = {.cpu = LOAD_UNKNOWN, .memory = 0.95};
    enum node_status s = NODE_NORMAL;
    unsigned count = 0;

    (void)state;
    s = agent_load_status(s, &count, &hot, 0.8, 0.9);
    s = agent_load_status(s, &count, &hot, 0.8, 0.9);
    s = agent_load_status(s, &count, &warm, 0.8, 0.9); /* begins again */
    s = agent_load_status(s, &count, &hot, 0.8, 0.9);
    s = agent_load_status(s, &count, &hot, 0.8, 0.9);
    assert_int_equal(s, NODE_NORMAL);
    s = agent_load_status(s, &count, &full, 0.8, 0.9);
    assert_int_equal(s, NODE_BUSY);
    for (int i = 0; i < 10; i++)
        s = agent_load_status(s, &count, &warm, 0.8, 0.9);
    assert_int_equal(s, NODE_BUSY); /* not cool enough */
    for (int i = 0; i < 3; i++)
        s = agent_load_status(s, &count, &cool, 0.8, 0.9);
    assert_int_equal(s, NODE_NORMAL);
}

#define TREE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_counts_waiting_for_disks_as_idle),
        cmocka_unit_test(meminfo_takes_what_is_available),
        cmocka_unit_test(small_files_are_read_or_refused),
        cmocka_unit_test(cgroup_paths_are_found_by_controller),
        TREE(without_a_limit_the_host_counts),
        TREE(a_limit_of_v2_counts_when_it_is_tighter),
        TREE(a_limit_of_v1_counts_likewise),
        TREE(a_path_of_the_host_falls_back_to_the_mount),
        TREE(nothing_to_read_is_unknown),
        cmocka_unit_test(this_machine_has_a_load),
        cmocka_unit_test(a_load_has_moved_when_one_of_its_figures_has),
        cmocka_unit_test(status_flips_after_three_samples_and_back_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
