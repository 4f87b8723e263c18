/*
 * zookeeper_server.c - run java, ask "srvr" until it answers.
 */
#include "tests/registry/zookeeper_server.h"

#include "base/mem.h"
#include "tests/lib/daemon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define JARS       "/usr/share/java/"
#define JAR        JARS "zookeeper.jar" /* names the others in its manifest */
#define CLASS_PATH JAR ":" JARS "slf4j-simple.jar"
#define START_MS   60000

struct zookeeper_server {
    char dir[64], config[96], log[96];
    uint16_t port;
    struct daemon daemon;
};

static int write_config(const struct zookeeper_server *s, struct err *err)
{
    FILE *f = fopen(s->config, "we");

    if (f == NULL)
        return err_errno(err, errno, "%s", s->config);
    (void)fprintf(f,
                  "tickTime=%d\n"
                  "dataDir=%s/data\n"
                  "clientPort=%u\n"
                  "clientPortAddress=127.0.0.1\n"
                  "minSessionTimeout=%d\n"
                  "maxSessionTimeout=%d\n"
                  "maxClientCnxns=0\n"
                  "admin.enableServer=false\n"
                  "4lw.commands.whitelist=*\n"
                  "forceSync=no\n"
                  "preAllocSize=4096\n",
                  ZOOKEEPER_TICK_MS, s->dir, s->port, 4 * ZOOKEEPER_TICK_MS,
                  ZOOKEEPER_TIMEOUT_MAX_MS);
    return fclose(f) == 0 ? 0 : err_errno(err, errno, "%s", s->config);
}

/* The installed one's, or those that the variable ZOOKEEPER_CLASSPATH names. */
static const char *jars(void)
{
    const char *named = getenv("ZOOKEEPER_CLASSPATH");

    return named != NULL && *named != '\0' ? named : CLASS_PATH;
}

int zookeeper_server_restart(struct zookeeper_server *s, struct err *err)
{
    const char *const argv[] = {
        "java",
        "-Xms64m",
        "-Xmx512m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Xshare:auto",
        "-Dznode.container.checkIntervalMs=1000",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        jars(),
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        s->config,
        NULL};

    return daemon_start(&s->daemon, argv, err);
}

static bool is_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 25) == 1 && (p.revents & (POLLERR | POLLNVAL)) == 0;
}

bool zookeeper_server_answers(const struct zookeeper_server *s)
{
    static const char expected[] = "Zookeeper version";
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(s->port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char answer[sizeof(expected) - 1];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    bool ok = false;

    if (fd < 0)
        return false;
    if ((connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
         errno == EINPROGRESS) &&
        is_ready(fd, POLLOUT) && send(fd, "srvr", 4, MSG_NOSIGNAL) == 4 &&
        is_ready(fd, POLLIN) &&
        recv(fd, answer, sizeof(answer), 0) == (ssize_t)sizeof(answer))
        ok = memcmp(answer, expected, sizeof(answer)) == 0;
    (void)close(fd);
    return ok;
}

static bool answers(void *server)
{
    return zookeeper_server_answers(server);
}

int zookeeper_server_heal(struct zookeeper_server *s, struct err *err)
{
    int rc = 0;

    if (s->daemon.pid != 0)
        daemon_cont(&s->daemon);
    else
        rc = zookeeper_server_restart(s, err);
    return rc != 0 ? rc : daemon_await(&s->daemon, answers, s, START_MS, err);
}

static int make_dir(struct zookeeper_server *s, struct err *err)
{
    int rc = daemon_dir(s->dir, sizeof(s->dir), "zookeeper", err);

    (void)snprintf(s->config, sizeof(s->config), "%s/zoo.cfg", s->dir);
    (void)snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    s->daemon = (struct daemon){.name = "zookeeper", .log = s->log};
    return rc;
}

int zookeeper_server_new(struct zookeeper_server **out, struct err *err)
{
    struct zookeeper_server *s = mem_zalloc(sizeof(*s));
    int rc = 0;

    if (strcmp(jars(), CLASS_PATH) == 0 && access(JAR, R_OK) != 0) {
        rc = err_set(err, ERR_NOT_FOUND,
                     JAR " is missing: apt-get install zookeeper");
    }
    rc = rc != 0 ? rc : make_dir(s, err);
    /* Somebody may take the port before the server does. */
    for (int tries = 0; rc == 0 && tries < 5; tries++) {
        s->port = daemon_port();
        rc = write_config(s, err);
        rc = rc != 0 ? rc : zookeeper_server_heal(s, err);
        if (rc != (int)ERR_IO)
            break;
        rc = tries < 4 ? 0 : rc;
    }
    if (rc != 0)
        zookeeper_server_free(&s);
    *out = s;
    return rc;
}

void zookeeper_server_free(struct zookeeper_server **server)
{
    struct zookeeper_server *s = *server;

    if (s == NULL)
        return;
    daemon_kill(&s->daemon);
    daemon_dir_remove(s->dir);
    mem_free(s);
    *server = NULL;
}

uint16_t zookeeper_server_port(const struct zookeeper_server *s)
{
    return s->port;
}

pid_t zookeeper_server_pid(const struct zookeeper_server *s)
{
    return s->daemon.pid;
}

const char *zookeeper_server_dir(const struct zookeeper_server *s)
{
    return s->dir;
}

void zookeeper_server_stop(struct zookeeper_server *s)
{
    daemon_stop(&s->daemon);
}

void zookeeper_server_cont(struct zookeeper_server *s)
{
    daemon_cont(&s->daemon);
}

void zookeeper_server_kill(struct zookeeper_server *s)
{
    daemon_kill(&s->daemon);
}
