/* server.c - coordinators of our own, for one run. */
#include "tests/bench/live/live.h"
#include "tests/bench/live/wire.h"

#include "base/mem.h"
#include "conf/conf.h"
#include "tests/lib/daemon.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_MS 30000

struct servers {
    struct daemon daemons[COORDINATORS_MAX];
    uint32_t n;
    char dir[64], log[96];
    uint16_t ports[COORDINATORS_MAX];
    double used; /* processor time of children before, s */
};

static struct servers *running; /* NULL: none */

/* The program ends in the middle of a run: say what the coordinators said, and
 * leave nothing behind. */
static void clean_up(void)
{
    char line[512];
    FILE *f = running != NULL ? fopen(running->log, "r") : NULL;

    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        fprintf(stderr, "  coordinator: %s", line);
    if (f != NULL)
        fclose(f);
    if (running == NULL)
        return;
    for (uint32_t i = 0; i < running->n; i++)
        daemon_kill(&running->daemons[i]);
    daemon_dir_remove(running->dir);
}

static double children_cpu(void)
{
    struct rusage u;

    if (getrusage(RUSAGE_CHILDREN, &u) != 0)
        return 0;
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1e-6;
}

/* Workers have been up for long in the simulation, so they are not new at the
 * start of it either, unless some join later. */
double servers_warm_up(const struct world *w)
{
    struct conf conf;
    double s;

    conf_defaults(&conf);
    s = (double)conf.balancer.warm_up_ms / 1000 / w->divide;
    conf_close(&conf);
    return w->setting.variant->churn ? s : 0;
}

static void write_conf(const struct servers *s, uint32_t i, const char *path,
                       const struct live_option *option, const struct world *w)
{
    FILE *f = fopen(path, "w");

    if (f == NULL)
        wire_die("%s cannot be written", path);
    fprintf(f,
            "listen: 127.0.0.1:%u\n"
            "registry:\n  type: sqlite\n  path: %s/pelorus.db\n"
            "balancer:\n  heartbeat-interval: %ldms\n  warm-up: %ldms\n%s"
            "log:\n  level: warn\n",
            s->ports[i], s->dir, lround(w->heartbeat * 1000),
            lround(servers_warm_up(w) * 1000), option->more);
    if (fclose(f) != 0)
        wire_die("%s cannot be written", path);
}

static bool listens(void *arg)
{
    const uint16_t *port = arg;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(*port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

/* One after the other: the first makes the registry. */
static void server_start(struct servers *s, const struct live_option *option,
                         const struct world *w)
{
    uint32_t i = s->n;
    char conf[96];
    const char *argv[] = {option->program, "serve", "-c", conf, NULL};
    struct err err;

    assert(i < COORDINATORS_MAX);
    snprintf(conf, sizeof(conf), "%s/conf%u", s->dir, i);
    s->ports[i] = daemon_port();
    write_conf(s, i, conf, option, w);
    s->daemons[i] = (struct daemon){.name = "pelorus", .log = s->log};
    s->n++;
    if (daemon_start(&s->daemons[i], argv, &err) != 0 ||
        daemon_await(&s->daemons[i], listens, &s->ports[i], START_MS, &err) !=
            0)
        wire_die("%s", err.msg);
}

struct servers *servers_start(const struct live_option *option,
                              const struct world *w)
{
    static bool registered;
    struct servers *s = mem_zalloc(sizeof(*s));
    char name[32]; /* so that nobody takes it for one that is left over */
    struct err err;

    assert(running == NULL);
    snprintf(name, sizeof(name), "bench_live_%ld", (long)getpid());
    if (daemon_dir(s->dir, sizeof(s->dir), name, &err) != 0)
        wire_die("%s", err.msg);
    snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    running = s;
    if (!registered)
        registered = atexit(clean_up) == 0;
    s->used = children_cpu();
    while (s->n < w->n_coordinators)
        server_start(s, option, w);
    return s;
}

uint16_t servers_port(const struct servers *s, uint32_t coordinator)
{
    assert(coordinator < s->n);
    return s->ports[coordinator];
}

double servers_end(struct servers **pointer)
{
    struct servers *s = *pointer;
    double used;

    *pointer = running = NULL;
    for (uint32_t i = 0; i < s->n; i++)
        daemon_quit(&s->daemons[i], SIGTERM);
    daemon_dir_remove(s->dir);
    used = children_cpu() - s->used;
    mem_free(s);
    return used;
}
