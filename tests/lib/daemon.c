/*
 * daemon.c - fork, exec, a group of processes that dies with us.
 */
#include "tests/lib/daemon.h"

#include "base/clock.h"
#include "base/rand.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT_FIRST 12000
#define PORT_COUNT 18000
#define ROOM_BYTES (1ULL << 30)
#define WORDS_SIZE 200
#define QUIT_MS    10000
#define NO_PROGRAM 127 /* exit code of a child that could not exec */

/* --- a port, a directory ------------------------------------------------- */

static bool port_is_free(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok =
        fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

uint16_t daemon_port(void)
{
    uint64_t random;
    uint16_t port = 0;

    for (int i = 0; i < 1000; i++) {
        rand_secret(&random, sizeof(random));
        port = (uint16_t)(PORT_FIRST + random % PORT_COUNT);
        if (port_is_free(port))
            break;
    }
    return port;
}

int daemon_dir(char *out, size_t size, const char *name, struct err *err)
{
    struct statvfs memory;
    bool room = statvfs("/dev/shm", &memory) == 0 &&
                memory.f_bavail >= ROOM_BYTES / memory.f_frsize;
    int rc = 0;

    (void)snprintf(out, size, "%s/test_%s_XXXXXX", room ? "/dev/shm" : "/tmp",
                   name);
    if (mkdtemp(out) == NULL) {
        rc = err_errno(err, errno, "%s", out);
        out[0] = '\0';
    }
    return rc;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    (void)remove(path);
    return 0;
}

void daemon_dir_remove(const char *dir)
{
    if (dir[0] != '\0')
        (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- its processes ------------------------------------------------------- */

/* In the child: only what is allowed after a fork with threads. A change of
 * user forgets whom to die with, so that comes after it. */
static void become(const struct daemon *d, const char *const *argv,
                   pid_t parent)
{
    int log = open(d->log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    int null = open("/dev/null", O_RDONLY);

    (void)setpgid(0, 0);
    if (geteuid() == 0 && d->uid != 0 &&
        (setgroups(0, NULL) != 0 || setgid(d->gid) != 0 || setuid(d->uid) != 0))
        _exit(126);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || log < 0 || null < 0)
        _exit(126);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    /* Sockets of the clients under test must not stay open in here. */
    (void)close_range(3, ~0U, 0);
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(NO_PROGRAM);
}

int daemon_start(struct daemon *d, const char *const *argv, struct err *err)
{
    pid_t parent = getpid();

    assert(d->pid == 0);
    (void)fflush(NULL);
    d->pid = fork();
    if (d->pid == 0)
        become(d, argv, parent);
    if (d->pid < 0) {
        d->pid = 0;
        return err_errno(err, errno, "fork");
    }
    (void)setpgid(d->pid, d->pid); /* whoever of the two comes first */
    return 0;
}

/* Wait until it has changed as `options` say; its status. */
static int await(struct daemon *d, int options)
{
    int status = 0;

    while (waitpid(d->pid, &status, options) < 0 && errno == EINTR) {
    }
    if (!WIFSTOPPED(status))
        d->pid = 0;
    return status;
}

static void last_words(const struct daemon *d, char out[WORDS_SIZE])
{
    FILE *f = fopen(d->log, "re");

    out[0] = '\0';
    while (f != NULL && fgets(out, WORDS_SIZE, f) != NULL)
        out[strcspn(out, "\n")] = '\0';
    if (f != NULL)
        (void)fclose(f);
}

static int ended(const struct daemon *d, int status, struct err *err)
{
    char words[WORDS_SIZE];

    if (WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM) {
        return err_set(err, ERR_NOT_FOUND,
                       "%s: its program is missing; run make deps", d->name);
    }
    last_words(d, words);
    return err_set(err, ERR_IO, "%s ended with status %d: %s", d->name, status,
                   words);
}

int daemon_wait(struct daemon *d, struct err *err)
{
    int status = await(d, 0);

    return status == 0 ? 0 : ended(d, status, err);
}

int daemon_await(struct daemon *d, bool (*answers)(void *arg), void *arg,
                 int64_t ms, struct err *err)
{
    mono_ms until = clock_mono_ms() + ms;
    char words[WORDS_SIZE];
    int status;

    while (!answers(arg)) {
        if (waitpid(d->pid, &status, WNOHANG) == d->pid) {
            d->pid = 0;
            return ended(d, status, err);
        }
        if (clock_mono_ms() >= until) {
            last_words(d, words);
            return err_set(err, ERR_TIMEOUT, "%s does not answer: %s", d->name,
                           words);
        }
        (void)poll(NULL, 0, 10);
    }
    return 0;
}

void daemon_stop(struct daemon *d)
{
    if (d->pid != 0) {
        (void)kill(-d->pid, SIGSTOP);
        (void)await(d, WUNTRACED);
    }
}

void daemon_cont(struct daemon *d)
{
    if (d->pid != 0)
        (void)kill(-d->pid, SIGCONT);
}

void daemon_kill(struct daemon *d)
{
    if (d->pid != 0) {
        (void)kill(-d->pid, SIGKILL);
        (void)await(d, 0);
    }
}

void daemon_quit(struct daemon *d, int signal)
{
    mono_ms until = clock_mono_ms() + QUIT_MS;

    daemon_cont(d);
    if (d->pid != 0)
        (void)kill(d->pid, signal);
    while (d->pid != 0 && clock_mono_ms() < until)
        if (waitpid(d->pid, NULL, WNOHANG) == d->pid)
            d->pid = 0;
        else
            (void)poll(NULL, 0, 5);
    daemon_kill(d);
}
