/*
 * sql_server.c - fork, exec, connect until it answers.
 *
 * The port is taken from below the kernel's own range: a port of that range
 * could be given to somebody's outgoing connection while the server is down,
 * and a connect to it could even meet itself.
 */
#include "tests/registry/sql_server.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "registry/dbms.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_FIRST 12000
#define PORT_COUNT 18000
#define START_MS   90000
#define QUIT_MS    10000

const char *sql_server_arg(const char *fmt, ...)
{
    static char texts[64][128];
    static size_t next;
    char *text = texts[next++ % ARRAY_LEN(texts)];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(texts[0]), fmt, args);
    va_end(args);
    return text;
}

static bool port_is_free(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
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

/* --- its processes
 * -------------------------------------------------------------- */

/* In the child: only what is allowed after a fork with threads. A change of
 * user forgets whom to die with, so that comes after it. */
static void become(const struct sql_server *s, const char *const *argv,
                   pid_t parent)
{
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    int null = open("/dev/null", O_RDONLY);

    (void)setpgid(0, 0);
    if (geteuid() == 0 && s->uid != 0 &&
        (setgroups(0, NULL) != 0 || setgid(s->gid) != 0 ||
         setuid(s->uid) != 0)) {
        _exit(126);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || log < 0 || null < 0) {
        _exit(126);
    }
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    /* Sockets of the clients under test must not stay open in here. */
    (void)close_range(3, ~0U, 0);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static int start(const struct sql_server *s, const char *const *argv,
                 pid_t *pid, struct err *err)
{
    pid_t parent = getpid();

    (void)fflush(NULL);
    *pid = fork();
    if (*pid == 0) {
        become(s, argv, parent);
    }
    if (*pid < 0) {
        *pid = 0;
        return (int)err_errno(err, errno, "fork");
    }
    return 0;
}

/* The last line of its log, for a message. */
static void last_words(const struct sql_server *s, char out[200])
{
    FILE *f = fopen(s->log, "re");

    out[0] = '\0';
    while (f != NULL && fgets(out, 200, f) != NULL) {
        out[strcspn(out, "\n")] = '\0';
    }
    if (f != NULL) {
        (void)fclose(f);
    }
}

static int died(const struct sql_server *s, int status, struct err *err)
{
    char words[200];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
        return (int)err_set(err, ERR_IO,
                            "%s: its programs are missing; run make deps",
                            s->kind->name);
    }
    last_words(s, words);
    return (int)err_set(err, ERR_IO, "%s ended with status %d: %s",
                        s->kind->name, status, words);
}

static int make_data(const struct sql_server *s, struct err *err)
{
    const char *argv[SQL_SERVER_ARGS] = {NULL};
    int status = 0, rc;
    pid_t pid;

    s->kind->init(s, argv);
    rc = start(s, argv, &pid, err);
    if (rc != 0) {
        return rc;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status == 0 ? 0 : died(s, status, err);
}

void sql_server_stop(struct sql_server *s)
{
    if (s->pid != 0) {
        (void)kill(-s->pid, SIGSTOP);
    }
}

void sql_server_cont(struct sql_server *s)
{
    if (s->pid != 0) {
        (void)kill(-s->pid, SIGCONT);
    }
}

void sql_server_kill(struct sql_server *s)
{
    if (s->pid == 0) {
        return;
    }
    (void)kill(-s->pid, SIGKILL);
    (void)kill(s->pid, SIGKILL);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    s->pid = 0;
}

int sql_server_restart(struct sql_server *s, struct err *err)
{
    const char *argv[SQL_SERVER_ARGS] = {NULL};

    assert(s->pid == 0);
    s->kind->run(s, argv);
    return start(s, argv, &s->pid, err);
}

/* --- does it answer?
 * -------------------------------------------------------------- */

void sql_server_url(const struct sql_server *s, uint16_t port,
                    const char *database, char out[SQL_URL_SIZE])
{
    (void)snprintf(out, SQL_URL_SIZE, "jdbc:%s://127.0.0.1:%u/%s",
                   s->kind->name, port, database);
}

static bool answers(const struct sql_server *s)
{
    struct dbms_link *link = NULL;
    struct dbms_target t;
    char url[SQL_URL_SIZE];
    struct err err;
    bool ok;

    sql_server_url(s, s->port, s->kind->system, url);
    if (dbms_target_parse(&t, url, &err) != 0) {
        return false;
    }
    t.user = mem_strdup(s->kind->admin);
    t.connect_ms = t.call_ms = t.idle_ms = 5000;
    ok = t.driver->connect(&link, &t, &err) == DBMS_OK;
    if (ok) {
        t.driver->close(&link);
    }
    dbms_target_close(&t);
    return ok;
}

static int wait_until_it_answers(struct sql_server *s, struct err *err)
{
    mono_ms until = clock_mono_ms() + START_MS;
    char words[200];
    int status;

    while (!answers(s)) {
        if (waitpid(s->pid, &status, WNOHANG) == s->pid) {
            s->pid = 0;
            return died(s, status, err);
        }
        if (clock_mono_ms() >= until) {
            last_words(s, words);
            return (int)err_set(err, ERR_TIMEOUT, "%s does not answer: %s",
                                s->kind->name, words);
        }
        (void)poll(NULL, 0, 20);
    }
    return 0;
}

/* PostgreSQL does not start while one of the processes of the one before still
 * stands: then once more. */
int sql_server_heal(struct sql_server *s, struct err *err)
{
    int rc = 0;

    for (int tries = 0; tries < 20; tries++) {
        rc = s->pid == 0 ? sql_server_restart(s, err) : 0;
        sql_server_cont(s);
        if (rc == 0) {
            rc = wait_until_it_answers(s, err);
        }
        if (rc == 0 || s->pid != 0) {
            break;
        }
        (void)poll(NULL, 0, 100);
    }
    return rc;
}

/* --- making and removing
 * ------------------------------------------------------------ */

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

static void quit(struct sql_server *s)
{
    mono_ms until = clock_mono_ms() + QUIT_MS;

    sql_server_cont(s);
    if (s->pid != 0) {
        (void)kill(s->pid, s->kind->quit);
    }
    while (s->pid != 0 && clock_mono_ms() < until) {
        if (waitpid(s->pid, NULL, WNOHANG) == s->pid) {
            s->pid = 0;
        } else {
            (void)poll(NULL, 0, 5);
        }
    }
}

void sql_server_free(struct sql_server **server)
{
    struct sql_server *s = *server;

    if (s == NULL) {
        return;
    }
    *server = NULL;
    quit(s);
    sql_server_kill(s);
    (void)nftw(s->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    mem_free(s);
}

/* Memory is the cheapest disk. */
static int make_dir(struct sql_server *s, struct err *err)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    (void)snprintf(s->dir, sizeof(s->dir), "%s/test_%s_XXXXXX", base,
                   s->kind->name);
    if (mkdtemp(s->dir) == NULL) {
        return (int)err_errno(err, errno, "%s", s->dir);
    }
    (void)snprintf(s->data, sizeof(s->data), "%s/data", s->dir);
    (void)snprintf(s->log, sizeof(s->log), "%s/log", s->dir);
    if (s->uid != 0 && geteuid() == 0 && chown(s->dir, s->uid, s->gid) != 0) {
        return (int)err_errno(err, errno, "%s", s->dir);
    }
    return 0;
}

int sql_server_new(struct sql_server **out, const struct sql_server_kind *kind,
                   struct err *err)
{
    struct sql_server *s = mem_zalloc(sizeof(*s));
    const struct passwd *user;
    int rc;

    s->kind = kind;
    if (geteuid() == 0 && kind->user != NULL) {
        user = getpwnam(kind->user);
        user = user != NULL ? user : getpwnam("nobody");
        if (user != NULL) {
            s->uid = user->pw_uid;
            s->gid = user->pw_gid;
        }
    }
    rc = make_dir(s, err);
    if (rc == 0) {
        rc = make_data(s, err);
    }
    if (rc == 0) {
        s->port = free_port();
        rc = sql_server_heal(s, err);
    }
    if (rc != 0) {
        sql_server_free(&s);
        return rc;
    }
    *out = s;
    return 0;
}
