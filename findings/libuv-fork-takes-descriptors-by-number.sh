#!/bin/sh
# libuv 1.44.2 (Debian 12: libuv1 1.44.2-1+deb12u1).
#
# libuv registers a fork handler that, in every child of a process that ever
# made a loop, closes the two ends of its signal pipe by the numbers that it
# remembers and makes a new pipe, whatever stands behind these numbers by then.
# A process that was forked from one with a loop, dropped all descriptors that
# it inherited (as daemons and guards do) and opened files of its own, has
# files at those numbers. When it forks, two of them are pipe ends in its
# child: no call fails, nothing is logged, the child reads and writes elsewhere.
# (Pelorus' guards fork with _Fork(), which runs no handlers.)
#
# Seen:  libuv 1.44.2: 2 of 16 files are another one after fork(), 0 after _Fork()
set -eu
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
for p in libuv1 libuv1-dev; do
    apt-get download -q "$p=1.44.2-1+deb12u1" >/dev/null 2>&1
done
for deb in *.deb; do
    dpkg-deb -x "$deb" root
done
cat >main.c <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define FILES 16

static int count_changed(pid_t (*fork_it)(void), const int *fds)
{
    int status, changed = 0;
    struct stat s;
    pid_t pid = fork_it();

    if (pid == 0) {
        for (int i = 0; i < FILES; i++)
            changed += fstat(fds[i], &s) != 0 || !S_ISCHR(s.st_mode);
        _exit(changed);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

int main(void)
{
    int fds[FILES], status;
    uv_loop_t loop;
    pid_t pid;

    uv_loop_init(&loop);
    pid = fork();
    if (pid == 0) {
        for (int fd = 3; fd < 64; fd++)
            close(fd);
        for (int i = 0; i < FILES; i++)
            fds[i] = open("/dev/null", O_RDONLY);
        printf("libuv %s: %d of %d files are another one after fork(), ",
               uv_version_string(), count_changed(fork, fds), FILES);
        printf("%d after _Fork()\n", count_changed(_Fork, fds));
        fflush(stdout);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    return status;
}
C
lib=$(dirname "$(find root -name 'libuv.so.1')")
cc -Iroot/usr/include -o main main.c "$lib/libuv.so.1" -Wl,-rpath,"$dir/$lib"
./main | tee said
grep -qx 'libuv 1.44.2: 2 of 16 files are another one after fork(), 0 after _Fork()' said
