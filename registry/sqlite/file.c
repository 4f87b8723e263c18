/*
 * file.c - the registry's file: is it there, is it ours, can we use it?
 *
 * The file appears complete or not at all: its tables are made in a temporary
 * file beside it that is renamed into place, under a lock on the directory, so
 * that members which start together meet one registry. An existing file is
 * identified by its first 100 bytes, read through SQLite's own file handle
 * (closing a descriptor of ours would drop the file locks of this process)
 * and before any statement runs: a file of another program is never touched,
 * not even to roll back its journal.
 */
#include "registry/sqlite/sqlite_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define APPLICATION_ID 0x50454C52 /* "PELR" */
#define SCHEMA_VERSION 1
#define HEADER_SIZE    100
#define CREATE_WAIT_MS 5000

/*
 * node.owner is 0 for a persistent key; the partial index costs nothing for
 * those. Directories are not stored: a key exists as one while a key below it
 * does. A lock's ticket orders its queue and is its fencing number: the oldest
 * ticket holds the lock, tickets are never used again, so that each holder's
 * number is above that of the holder before.
 */
static const char schema[] =
    "PRAGMA journal_mode = WAL; BEGIN;"
    "PRAGMA application_id = %d; PRAGMA user_version = %d;"
    "CREATE TABLE meta(id INTEGER PRIMARY KEY CHECK (id = 1),"
    " revision INTEGER NOT NULL, floor INTEGER NOT NULL) STRICT;"
    "INSERT INTO meta(id, revision, floor) VALUES(1, 0, 0);"
    "CREATE TABLE session(id INTEGER PRIMARY KEY AUTOINCREMENT,"
    " beat INTEGER NOT NULL, timeout_ms INTEGER NOT NULL,"
    " host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL) STRICT;"
    "CREATE TABLE node(id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE,"
    " value BLOB NOT NULL, created INTEGER NOT NULL,"
    " version INTEGER NOT NULL, owner INTEGER NOT NULL) STRICT;"
    "CREATE INDEX node_owner ON node(owner) WHERE owner <> 0;"
    "CREATE TABLE lock(ticket INTEGER PRIMARY KEY AUTOINCREMENT,"
    " key TEXT NOT NULL, session INTEGER NOT NULL,"
    " owner TEXT NOT NULL) STRICT;"
    "CREATE INDEX lock_key ON lock(key);"
    "CREATE INDEX lock_session ON lock(session);"
    "CREATE TABLE change(rev INTEGER NOT NULL, key TEXT NOT NULL,"
    " PRIMARY KEY(rev, key)) STRICT, WITHOUT ROWID;"
    "COMMIT;";

/* Of the file, its log and the log's index. */
static const char *const suffixes[] = {"", "-wal", "-shm"};

/* 1: there is something at `path`; 0: nothing, or an empty file. */
static int present(const char *path, bool *out, struct err *err)
{
    struct stat st;

    assert(path[0] != '\0');
    *out = false;
    if (stat(path, &st) != 0)
        return errno == ENOENT ? 0 : err_errno(err, errno, "%s", path);
    if (S_ISDIR(st.st_mode)) {
        return err_set(err, ERR_INVALID,
                       "%s is a directory; registry.path names a file", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return err_set(err, ERR_INVALID,
                       "%s is not a regular file; registry.path names one",
                       path);
    }
    if (faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0) {
        return err_errno(err, errno,
                         "%s cannot be read and written by user %ju; "
                         "change its owner or mode, or registry.path",
                         path, (uintmax_t)geteuid());
    }
    *out = st.st_size > 0;
    return 0;
}

/* The directory must take the -wal and -shm files, even for readers. */
static int open_directory(const char *dir, int *fd, struct err *err)
{
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0 && errno == ENOENT) {
        return err_set(err, ERR_IO,
                       "directory %s does not exist; create it or change "
                       "registry.path",
                       dir);
    }
    if (*fd < 0)
        return err_errno(err, errno, "directory %s", dir);
    if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0) {
        int errnum = errno;

        (void)close(*fd);
        *fd = -1;
        return err_errno(err, errnum,
                         "directory %s cannot be written by user %ju, and "
                         "SQLite keeps two files beside the registry; "
                         "change its owner or mode, or registry.path",
                         dir, (uintmax_t)geteuid());
    }
    return 0;
}

/* Somebody may be making the file; that takes milliseconds. */
static int lock_directory(const char *dir, int fd, struct err *err)
{
    assert(fd >= 0);
    for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; waited += 10) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return err_errno(err, errno, "lock directory %s", dir);
        if (waited >= CREATE_WAIT_MS) {
            return err_set(err, ERR_IO,
                           "directory %s stays locked; is another process "
                           "stopped while it creates the registry?",
                           dir);
        }
        (void)poll(NULL, 0, 10);
    }
    return 0;
}

static void remove_beside(const char *path, const char *suffix)
{
    char *name = mem_printf("%s%s", path, suffix);

    (void)unlink(name);
    mem_free(name);
}

/* Lock on the directory held, nothing at `path`. */
static int create(const char *path, int dir_fd, struct err *err)
{
    char *temp = mem_printf("%s.new-%jd", path, (intmax_t)getpid());
    char *tables = mem_printf(schema, APPLICATION_ID, SCHEMA_VERSION);
    char *problem = NULL;
    sqlite3 *handle = NULL;
    int rc;

    assert(dir_fd >= 0);
    (void)unlink(temp);
    rc = sqlite3_open_v2(
        temp, &handle,
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(handle, tables, NULL, NULL, &problem);
    if (rc != SQLITE_OK) {
        err_set(err, rc == SQLITE_PERM ? ERR_DENIED : ERR_IO, "create %s: %s",
                path, problem != NULL ? problem : sqlite3_errstr(rc));
    }
    sqlite3_free(problem);
    /* The last connection's close moves the WAL into the file. */
    if (sqlite3_close(handle) != SQLITE_OK && rc == SQLITE_OK) {
        rc = SQLITE_IOERR;
        err_set(err, ERR_IO, "create %s: close failed", path);
    }
    if (rc == SQLITE_OK) {
        /* Of a registry that was deleted: they would be replayed into ours. */
        remove_beside(path, "-wal");
        remove_beside(path, "-shm");
        if (rename(temp, path) != 0 || fsync(dir_fd) != 0) {
            err_errno(err, errno, "create %s", path);
            rc = SQLITE_IOERR;
        }
    }
    for (size_t i = 0; rc != SQLITE_OK && i < ARRAY_LEN(suffixes); i++)
        remove_beside(temp, suffixes[i]);
    mem_free(tables);
    mem_free(temp);
    return rc == SQLITE_OK ? 0 : (int)err->code;
}

static int ensure(const char *path, bool create_it, struct err *err)
{
    char *copy = mem_strdup(path);
    const char *dir = dirname(copy);
    bool there = false;
    int fd = -1;
    int rc = open_directory(dir, &fd, err);

    if (rc == 0)
        rc = present(path, &there, err);
    if (rc == 0 && !there && !create_it)
        rc = err_set(err, ERR_IO, "%s: there is no file", path);
    if (rc == 0 && !there) {
        rc = lock_directory(dir, fd, err);
        if (rc == 0)
            rc = present(path, &there, err);
        if (rc == 0 && !there)
            rc = create(path, fd, err);
    }
    if (fd >= 0)
        (void)close(fd); /* and unlock */
    mem_free(copy);
    return rc;
}

static uint32_t big_endian(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           (uint32_t)p[3];
}

/* Offsets: sqlite.org/fileformat2.html, "The Database Header". */
static int identify(sqlite3 *handle, const char *path, struct err *err)
{
    unsigned char head[HEADER_SIZE];
    sqlite3_file *file = NULL;
    uint32_t id, version;

    assert(handle != NULL);
    (void)sqlite3_file_control(handle, "main", SQLITE_FCNTL_FILE_POINTER,
                               &file);
    if (file == NULL || file->pMethods == NULL)
        return err_set(err, ERR_IO, "%s: cannot be opened", path);
    if (file->pMethods->xRead(file, head, sizeof(head), 0) != SQLITE_OK ||
        memcmp(head, "SQLite format 3", 16) != 0) {
        return err_set(err, ERR_INVALID,
                       "%s is not a Pelorus registry (not even an SQLite "
                       "database); it was not touched: choose another "
                       "registry.path, or move the file away",
                       path);
    }
    id = big_endian(head + 68);
    version = big_endian(head + 60);
    if (id != APPLICATION_ID) {
        return err_set(err, ERR_INVALID,
                       "%s is the database of another program "
                       "(application_id 0x%08" PRIx32 "); it was not "
                       "touched: choose another registry.path",
                       path, id);
    }
    if (version != SCHEMA_VERSION) {
        return err_set(err, ERR_INVALID,
                       "%s is a Pelorus registry of schema %" PRIu32
                       ", and this program knows schema %d; it was not "
                       "touched: run the %s program, or choose another "
                       "registry.path",
                       path, version, SCHEMA_VERSION,
                       version > SCHEMA_VERSION ? "newer" : "older");
    }
    return 0;
}

int sqlite_file_open(sqlite3 **out, const char *path, bool create_it,
                     struct err *err)
{
    sqlite3 *handle = NULL;
    struct err local;
    int rc;

    if (err == NULL)
        err = &local;
    *out = NULL;
    rc = ensure(path, create_it, err);
    if (rc != 0)
        return rc;
    rc = sqlite3_open_v2(path, &handle,
                         SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX |
                             SQLITE_OPEN_EXRESCODE,
                         NULL);
    if (rc != SQLITE_OK) {
        rc = err_set(err, ERR_IO, "%s: %s", path,
                     handle != NULL ? sqlite3_errmsg(handle)
                                    : sqlite3_errstr(rc));
    } else {
        rc = identify(handle, path, err);
    }
    if (rc != 0) {
        (void)sqlite3_close(handle);
        return rc;
    }
    *out = handle;
    return 0;
}

/* --- is it still there? -------------------------------------------------- */

static int identity_of(const char *path, const char *suffix, struct stat *st)
{
    char name[PATH_MAX];
    int n = snprintf(name, sizeof(name), "%s%s", path, suffix);

    if (n < 0 || (size_t)n >= sizeof(name))
        return ENAMETOOLONG;
    return stat(name, st) == 0 ? 0 : errno;
}

void sqlite_file_note(struct sqlite_db *db)
{
    struct sqlite_marks marks;

    assert(db->handle != NULL);
    sqlite_marks(db, &marks);
    if (marks.done != marks.begun) { /* after a crash: begin with clear marks */
        (void)sqlite3_wal_checkpoint_v2(db->handle, NULL,
                                        SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        sqlite_marks(db, &marks);
    }
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        struct stat st;

        db->files[i].known = identity_of(db->path, suffixes[i], &st) == 0;
        if (db->files[i].known) {
            db->files[i].device = st.st_dev;
            db->files[i].inode = st.st_ino;
        }
        if (db->files[i].known && i == 0)
            sqlite_disk_note(db, &st, &marks);
    }
}

static bool is_same(const struct sqlite_db *db, size_t i)
{
    struct stat st;

    assert(i < ARRAY_LEN(suffixes));
    return db->files[i].known && identity_of(db->path, suffixes[i], &st) == 0 &&
           st.st_dev == db->files[i].device && st.st_ino == db->files[i].inode;
}

bool sqlite_file_replaced(const struct sqlite_db *db)
{
    assert(db->path != NULL);
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++)
        if (db->files[i].known && !is_same(db, i))
            return true;
    return false;
}

bool sqlite_file_left(const struct sqlite_db *db)
{
    struct stat st;

    assert(db->path != NULL);
    return identity_of(db->path, "", &st) == 0 && !is_same(db, 0) &&
           !is_same(db, 1) && !is_same(db, 2);
}

/* The log counts like the file: who makes a new one does not see ours. (SQLite
 * itself removes both when the last connection is closed, and ours is open.) */
int sqlite_file_check(struct sqlite_db *db, struct err *err)
{
    struct sqlite_marks marks;
    int rc = sqlite_usable(db, err);

    assert(db->handle != NULL);
    sqlite_marks(db, &marks);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(suffixes); i++) {
        const struct sqlite_identity *was = &db->files[i];
        struct stat st;
        int errnum = identity_of(db->path, suffixes[i], &st);

        if (!was->known || (errnum == 0 && st.st_dev == was->device &&
                            st.st_ino == was->inode)) {
            if (was->known && i == 0)
                rc = sqlite_disk_check(db, &st, &marks, err);
            continue;
        }
        if (errnum != 0 && errnum != ENOENT && errnum != ENOTDIR) {
            err_set(err, ERR_UNAVAILABLE, "%s%s: %s", db->path, suffixes[i],
                    strerror(errnum));
            err_set_trouble(err, errnum == EACCES ? TROUBLE_FORBIDDEN
                                 : errnum == EMFILE || errnum == ENFILE
                                     ? TROUBLE_DESCRIPTORS
                                     : TROUBLE_REFUSED);
            return ERR_UNAVAILABLE;
        }
        err_set(err, ERR_SESSION_LOST,
                "%s%s was removed or replaced while in use, and what we "
                "write nobody else sees; put it back, or a backup "
                "without -wal and -shm beside it",
                db->path, suffixes[i]);
        err_set_trouble(err, TROUBLE_REPLACED);
        return ERR_SESSION_LOST;
    }
    return rc;
}
