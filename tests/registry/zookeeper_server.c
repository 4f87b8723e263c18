/*
 * zookeeper_server.c - fork, exec java, ask "srvr" until it answers.
 *
 * The port is taken from below the kernel's own range: a port of that range
 * could be given to somebody's outgoing connection while the server is down,
 * and a connect to it could even meet itself.
 */
#include "tests/registry/zookeeper_server.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define JARS       "/usr/share/java/"
#define JAR        JARS "zookeeper.jar" /* names the others in its manifest */
#define CLASS_PATH JAR ":" JARS "slf4j-simple.jar"
#define PORT_FIRST 12000
#define PORT_COUNT 18000
#define START_MS   60000
#define NO_JAVA    127 /* exit code of a child that could not exec */

struct zookeeper_server {
    char dir[64], config[96], log[96];
    uint16_t port;
    pid_t pid; /* 0: dead */
};

static int port_socket(uint16_t port, struct sockaddr_in *address)
{
    *address = (struct sockaddr_in){.sin_family = AF_INET,
                                    .sin_port = htons(port),
                                    .sin_addr = {htonl(INADDR_LOOPBACK)}};
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static bool port_is_free(uint16_t port)
{
    struct sockaddr_in address;
    int fd = port_socket(port, &address);
    bool ok =
        fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

static uint16_t free_port(void)
{
    uint64_t random;
    uint16_t port = 0;

    for (int i = 0; i < 1000; i++) {
        rand_secret(&random, sizeof(random));
        port = (uint16_t)(PORT_FIRST + random % PORT_COUNT);
        if (port_is_free(port)) {
            break;
        }
    }
    return port;
}

static int write_config(const struct zookeeper_server *s, struct err *err)
{
    FILE *f = fopen(s->config, "we");

    if (f == NULL) {
        return (int)err_errno(err, errno, "%s", s->config);
    }
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
    return fclose(f) == 0 ? 0 : (int)err_errno(err, errno, "%s", s->config);
}

/* In the child: only what is allowed after a fork with threads. */
static void become_server(const struct zookeeper_server *s, pid_t parent)
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
        CLASS_PATH,
        "org.apache.zookeeper.server.quorum.QuorumPeerMain",
        s->config,
        NULL};
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    int null = open("/dev/null", O_RDONLY);

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || log < 0 || null < 0) {
        _exit(1);
    }
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    /* Sockets of the clients under test must not stay open in here. */
    (void)close_range(3, ~0U, 0);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(NO_JAVA);
}

int zookeeper_server_restart(struct zookeeper_server *s, struct err *err)
{
    pid_t parent = getpid();

    assert(s->pid == 0);
    (void)fflush(NULL);
    s->pid = fork();
    if (s->pid == 0) {
        become_server(s, parent);
    }
    if (s->pid < 0) {
        s->pid = 0;
        return (int)err_errno(err, errno, "fork");
    }
    return 0;
}

static bool is_ready(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};

    return poll(&p, 1, 25) == 1 && (p.revents & (POLLERR | POLLNVAL)) == 0;
}

bool zookeeper_server_answers(const struct zookeeper_server *s)
{
    static const char expected[] = "Zookeeper version";
    struct sockaddr_in address;
    char answer[sizeof(expected) - 1];
    int fd = port_socket(s->port, &address);
    bool ok = false;

    if (fd < 0) {
        return false;
    }
    if ((connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 ||
         errno == EINPROGRESS) &&
        is_ready(fd, POLLOUT) && send(fd, "srvr", 4, MSG_NOSIGNAL) == 4 &&
        is_ready(fd, POLLIN) &&
        recv(fd, answer, sizeof(answer), 0) == (ssize_t)sizeof(answer)) {
        ok = memcmp(answer, expected, sizeof(answer)) == 0;
    }
    (void)close(fd);
    return ok;
}

/* The last line of its log, for a message. */
static void last_words(const struct zookeeper_server *s, char out[160])
{
    FILE *f = fopen(s->log, "re");

    out[0] = '\0';
    while (f != NULL && fgets(out, 160, f) != NULL) {
        out[strcspn(out, "\n")] = '\0';
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

static int wait_until_it_answers(struct zookeeper_server *s, struct err *err)
{
    mono_ms until = clock_mono_ms() + START_MS;
    char words[160];
    int status;

    while (!zookeeper_server_answers(s)) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            if (WIFEXITED(status) && WEXITSTATUS(status) == NO_JAVA) {
                return (int)err_set(err, ERR_NOT_FOUND,
                                    "java is missing: apt-get install "
                                    "default-jre-headless");
            }
            last_words(s, words);
            return (int)err_set(err, ERR_IO, "zookeeper ended: %s", words);
        }
        if (clock_mono_ms() >= until) {
            last_words(s, words);
            return (int)err_set(err, ERR_TIMEOUT,
                                "zookeeper does not answer: %s", words);
        }
        (void)poll(NULL, 0, 10);
    }
    return 0;
}

int zookeeper_server_heal(struct zookeeper_server *s, struct err *err)
{
    int rc = 0;

    if (s->pid > 0) {
        zookeeper_server_cont(s);
    } else {
        rc = zookeeper_server_restart(s, err);
    }
    return rc != 0 ? rc : wait_until_it_answers(s, err);
}

static int make_dir(struct zookeeper_server *s, struct err *err)
{
    static const char *const places[] = {"/dev/shm", "/tmp"};

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        (void)snprintf(s->dir, sizeof(s->dir), "%s/test_zookeeper_XXXXXX",
                       places[i]);
        if (mkdtemp(s->dir) != NULL) {
            (void)snprintf(s->config, sizeof(s->config), "%s/zoo.cfg", s->dir);
            (void)snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
            return 0;
        }
    }
    return (int)err_errno(err, errno, "%s", s->dir);
}

int zookeeper_server_new(struct zookeeper_server **out, struct err *err)
{
    struct zookeeper_server *s = mem_zalloc(sizeof(*s));
    int rc = 0;

    if (access(JAR, R_OK) != 0) {
        rc = (int)err_set(err, ERR_NOT_FOUND,
                          JAR " is missing: apt-get install zookeeper");
    }
    rc = rc != 0 ? rc : make_dir(s, err);
    /* Somebody may take the port before the server does. */
    for (int tries = 0; rc == 0 && tries < 5; tries++) {
        s->port = free_port();
        rc = write_config(s, err);
        rc = rc != 0 ? rc : zookeeper_server_restart(s, err);
        rc = rc != 0 ? rc : wait_until_it_answers(s, err);
        if (rc != (int)ERR_IO) {
            break;
        }
        rc = tries < 4 ? 0 : rc;
    }
    if (rc != 0) {
        zookeeper_server_free(&s);
    }
    *out = s;
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void zookeeper_server_free(struct zookeeper_server **server)
{
    struct zookeeper_server *s = *server;

    if (s == NULL) {
        return;
    }
    zookeeper_server_kill(s);
    if (s->dir[0] != '\0') {
        (void)nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    mem_free(s);
    *server = NULL;
}

uint16_t zookeeper_server_port(const struct zookeeper_server *s)
{
    return s->port;
}

/* Wait until the child has changed as `options` say. */
static void await(const struct zookeeper_server *s, int options)
{
    while (waitpid(s->pid, NULL, options) < 0 && errno == EINTR) {
    }
}

void zookeeper_server_stop(struct zookeeper_server *s)
{
    assert(s->pid > 0);
    (void)kill(s->pid, SIGSTOP);
    await(s, WUNTRACED);
}

void zookeeper_server_cont(struct zookeeper_server *s)
{
    assert(s->pid > 0);
    (void)kill(s->pid, SIGCONT);
}

void zookeeper_server_kill(struct zookeeper_server *s)
{
    if (s->pid > 0) {
        (void)kill(s->pid, SIGKILL);
        await(s, 0);
        s->pid = 0;
    }
}
