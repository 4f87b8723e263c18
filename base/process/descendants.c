/*
 * descendants.c - who is below us, by /proc, and their end.
 *
 * A killed process hands its children to us, so sweeps converge even when they
 * miss somebody. Whole groups are killed at once: within a group a fork cannot
 * outrun the signal. Between reading a number and killing it the process may
 * end; numbers are given out in a circle, so that one is not used again within
 * these microseconds.
 */
#include "base/process/descendants.h"

#include "base/clock.h"
#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SWEEP_MS 2

struct entry {
    pid_t pid, parent, group;
    bool dead;  /* a zombie */
    bool below; /* below us, and to be ended */
};

struct table {
    struct entry *list;
    size_t n, cap;
};

void process_descendants_adopt(void)
{
    (void)setsid();
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

/* "pid (name) state ppid pgrp ...": the name may hold anything. */
static bool read_entry(const char *name, struct entry *out)
{
    char path[64], text[512];
    char *end;
    char state;
    long parent, group;
    ssize_t n;
    int fd;

    assert(name[0] >= '1' && name[0] <= '9');
    (void)snprintf(path, sizeof(path), "/proc/%.20s/stat", name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false; /* it has just ended */
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    end = strrchr(text, ')');
    if (end == NULL || strlen(end) < 4)
        return false;
    state = end[2];
    end += 3;
    parent = strtol(end, &end, 10);
    group = strtol(end, &end, 10);
    *out = (struct entry){.pid = (pid_t)strtol(name, NULL, 10),
                          .parent = (pid_t)parent,
                          .group = (pid_t)group,
                          .dead = state == 'Z' || state == 'X'};
    return true;
}

static void read_table(struct table *t)
{
    DIR *dir = opendir("/proc");
    struct dirent *d;

    assert(t->n == 0);
    while (dir != NULL && (d = readdir(dir)) != NULL) {
        if (d->d_name[0] < '1' || d->d_name[0] > '9')
            continue;
        if (t->n == t->cap) {
            t->cap = t->cap == 0 ? 256 : t->cap * 2;
            t->list = mem_regrow(t->list, t->cap, sizeof(*t->list));
        }
        t->n += read_entry(d->d_name, &t->list[t->n]);
        assert(t->n <= t->cap);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static bool is_in(pid_t pid, const pid_t *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (list[i] == pid)
            return true;
    return false;
}

/* Generation by generation, until one adds nobody. */
static void mark(struct table *t, const pid_t *spare, size_t n_spare)
{
    pid_t *below = mem_array(t->n + 1, sizeof(*below));
    size_t n = 0, before;

    below[n++] = getpid();
    do {
        before = n;
        for (size_t i = 0; i < t->n; i++) {
            struct entry *e = &t->list[i];

            if (e->below || is_in(e->pid, spare, n_spare) ||
                !is_in(e->parent, below, n))
                continue;
            e->below = true;
            below[n++] = e->pid;
        }
    } while (n != before);
    assert(n <= t->n + 1); /* everybody at most once, and we */
    mem_free(below);
}

size_t process_descendants_sweep(const pid_t *spare, size_t n_spare,
                                 pid_t corpse)
{
    struct table t = {0};
    pid_t ours = getpgrp(), self = getpid();
    size_t alive = 0;

    assert(n_spare == 0 || spare != NULL);
    read_table(&t);
    mark(&t, spare, n_spare);
    for (size_t i = 0; i < t.n; i++) {
        const struct entry *e = &t.list[i];

        if (!e->below)
            continue;
        if (e->dead) {
            if (e->parent == self && e->pid != corpse)
                (void)waitpid(e->pid, NULL, WNOHANG);
            continue;
        }
        alive++;
        if (e->group != ours && !is_in(e->group, spare, n_spare))
            (void)kill(-e->group, SIGKILL);
        (void)kill(e->pid, SIGKILL);
    }
    mem_free(t.list);
    return alive;
}

bool process_descendants_end(pid_t corpse, int64_t within_ms)
{
    mono_ms until = clock_mono_ms() + within_ms;

    assert(within_ms >= 0);
    while (process_descendants_sweep(NULL, 0, corpse) > 0) {
        if (clock_mono_ms() >= until)
            return false;
        (void)poll(NULL, 0, SWEEP_MS);
    }
    return true;
}
