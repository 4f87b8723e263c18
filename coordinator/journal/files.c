/*
 * files.c - see files.h.
 *
 * The lock is on a file of its own, which is never moved or removed: between
 * the renames of a rotation FILE is not there for a moment.
 */
#include "coordinator/journal/files.h"

#include "balancer/journal/format.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODE      0640
#define PARTS_MAX 4

static int fail(struct err *err, const char *path)
{
    int e = errno;
    enum err_code code = e == EACCES || e == EPERM || e == EROFS ? ERR_DENIED
                         : e == ENOENT || e == ENOTDIR           ? ERR_NOT_FOUND
                                                                 : ERR_IO;

    return err_set(err, code, "%s: %s", path, strerror(e));
}

/* What stands at FILE will be moved: it is a journal, or empty, or not there.
 */
static int check_present(const char *path, struct err *err)
{
    char begin[JOURNAL_MAGIC_LEN];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t n;
    int rc = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : fail(err, path);
    n = read(fd, begin, sizeof(begin));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) ||
        (n != 0 && (n != (ssize_t)sizeof(begin) ||
                    memcmp(begin, JOURNAL_MAGIC, sizeof(begin)) != 0)))
        rc = err_set(err, ERR_INVALID,
                     "%s: it is there and no journal; move it away, or name "
                     "another file",
                     path);
    (void)close(fd);
    return rc;
}

static int take_lock(struct journal_files *f, struct err *err)
{
    char *name = mem_printf("%s.lock", f->path);
    int rc = 0;

    f->lock = open(name, O_RDWR | O_CREAT | O_CLOEXEC, MODE);
    if (f->lock < 0)
        rc = fail(err, name);
    else if (flock(f->lock, LOCK_EX | LOCK_NB) != 0)
        rc = errno == EWOULDBLOCK
                 ? err_set(err, ERR_CONFLICT,
                           "%s: another process writes it; give each its own",
                           f->path)
                 : fail(err, name);
    mem_free(name);
    return rc;
}

int journal_files_open(struct journal_files *f, const char *path, uint32_t max,
                       struct err *err)
{
    int rc;

    assert(max >= 1);
    *f = (struct journal_files){
        .path = mem_strdup(path), .max = max, .fd = -1, .lock = -1};
    rc = take_lock(f, err);
    if (rc == 0)
        rc = check_present(path, err);
    if (rc != 0)
        journal_files_close(f);
    return rc;
}

void journal_files_end(struct journal_files *f)
{
    if (f->fd < 0)
        return;
    (void)!ftruncate(f->fd, (off_t)f->size); /* what was reserved */
    (void)fdatasync(f->fd);
    (void)close(f->fd);
    f->fd = -1;
}

void journal_files_undo(struct journal_files *f)
{
    assert(f->fd >= 0);
    (void)close(f->fd);
    f->fd = -1;
    (void)unlink(f->path);
}

void journal_files_close(struct journal_files *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    if (f->lock >= 0)
        (void)close(f->lock);
    f->fd = f->lock = -1;
    MEM_FREE(f->path);
}

/* FILE.4 becomes FILE.5, ..., FILE becomes FILE.1; with one file it goes. */
static int rotate(const struct journal_files *f)
{
    int rc = 0;

    if (access(f->path, F_OK) != 0 && errno == ENOENT)
        return 0; /* moved away: the others stay */
    for (uint32_t i = f->max - 1; i > 0 && rc == 0; i--) {
        char *from =
            i == 1 ? mem_strdup(f->path) : mem_printf("%s.%u", f->path, i - 1);
        char *to = mem_printf("%s.%u", f->path, i);

        if (rename(from, to) != 0 && errno != ENOENT)
            rc = errno;
        mem_free(from);
        mem_free(to);
    }
    if (f->max == 1 && unlink(f->path) != 0 && errno != ENOENT)
        rc = errno;
    return rc;
}

int journal_files_begin(struct journal_files *f)
{
    struct stat st;
    int rc = rotate(f);

    assert(f->fd < 0);
    if (rc != 0)
        return rc;
    f->fd = open(f->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, MODE);
    f->size = 0;
    if (f->fd < 0)
        return errno;
    if (fstat(f->fd, &st) == 0) {
        f->device = st.st_dev;
        f->node = st.st_ino;
    }
    return 0;
}

static int write_all(int fd, struct iovec *part, int n)
{
    while (n > 0) {
        ssize_t done = writev(fd, part, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno;
        if (done == 0)
            return EIO;
        while (n > 0 && (size_t)done >= part->iov_len) {
            done -= (ssize_t)part->iov_len;
            part++;
            n--;
        }
        if (n > 0) {
            part->iov_base = (char *)part->iov_base + done;
            part->iov_len -= (size_t)done;
        }
    }
    return 0;
}

int journal_files_write(struct journal_files *f, const struct iovec *parts,
                        int n)
{
    struct iovec left[PARTS_MAX];
    uint64_t total = 0;
    int rc;

    assert(n >= 1 && n <= PARTS_MAX);
    assert(f->fd >= 0);
    for (int i = 0; i < n; i++) {
        left[i] = parts[i];
        total += parts[i].iov_len;
    }
    rc = write_all(f->fd, left, n);
    if (rc == 0) {
        f->size += total;
        return 0;
    }
    /* If that fails, too, the rest is torn, and who reads it knows. */
    if (ftruncate(f->fd, (off_t)f->size) == 0)
        (void)lseek(f->fd, (off_t)f->size, SEEK_SET);
    return rc;
}

bool journal_files_moved(const struct journal_files *f)
{
    struct stat st;

    return f->fd >= 0 && (stat(f->path, &st) != 0 || st.st_dev != f->device ||
                          st.st_ino != f->node);
}

int journal_files_room(const struct journal_files *f, uint64_t bytes)
{
    if (f->fd < 0)
        return 0; /* it shows */
    if (fallocate(f->fd, FALLOC_FL_KEEP_SIZE, (off_t)f->size, (off_t)bytes) ==
        0)
        return 0;
    return errno == EOPNOTSUPP || errno == ENOSYS ? 0 : errno;
}
