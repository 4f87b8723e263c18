/* server.c - a coordinator of our own, for one run. */
#include "tests/bench/live/live.h"
#include "tests/bench/live/wire.h"

#include "base/mem.h"
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

struct server {
    struct daemon daemon;
    char dir[64], log[96], conf[96];
    uint16_t port;
    double used; /* processor time of children before, s */
};

static struct server *running; /* NULL: none */

/* The program ends in the middle of a run: say what the coordinator said, and
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
    daemon_kill(&running->daemon);
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

/* Workers have been up for long in the simulation: no warm-up. */
static void write_conf(const struct server *s, const struct live_option *option,
                       double heartbeat)
{
    FILE *f = fopen(s->conf, "w");

    if (f == NULL)
        wire_die("%s cannot be written", s->conf);
    fprintf(f,
            "listen: 127.0.0.1:%u\n"
            "registry:\n  type: sqlite\n  path: %s/pelorus.db\n"
            "balancer:\n  heartbeat-interval: %ldms\n  warm-up: 0s\n%s"
            "log:\n  level: warn\n",
            s->port, s->dir, lround(heartbeat * 1000), option->more);
    if (fclose(f) != 0)
        wire_die("%s cannot be written", s->conf);
}

static bool listens(void *arg)
{
    const struct server *s = arg;
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(s->port),
                             .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0;

    if (fd >= 0)
        close(fd);
    return ok;
}

struct server *server_start(const struct live_option *option, double heartbeat)
{
    static bool registered;
    struct server *s = mem_zalloc(sizeof(*s));
    struct err err;

    assert(running == NULL);
    if (daemon_dir(s->dir, sizeof(s->dir), "bench_live", &err) != 0)
        wire_die("%s", err.msg);
    snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    snprintf(s->conf, sizeof(s->conf), "%s/conf", s->dir);
    running = s;
    if (!registered)
        registered = atexit(clean_up) == 0;
    s->port = daemon_port();
    s->used = children_cpu();
    write_conf(s, option, heartbeat);
    s->daemon = (struct daemon){.name = "pelorus", .log = s->log};
    const char *argv[] = {option->program, "serve", "-c", s->conf, NULL};

    if (daemon_start(&s->daemon, argv, &err) != 0 ||
        daemon_await(&s->daemon, listens, s, START_MS, &err) != 0)
        wire_die("%s", err.msg);
    return s;
}

uint16_t server_port(const struct server *s)
{
    assert(s->port > 0);
    return s->port;
}

double server_end(struct server **pointer)
{
    struct server *s = *pointer;
    double used;

    *pointer = running = NULL;
    daemon_quit(&s->daemon, SIGTERM);
    daemon_dir_remove(s->dir);
    used = children_cpu() - s->used;
    mem_free(s);
    return used;
}
