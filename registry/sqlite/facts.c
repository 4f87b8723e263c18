/*
 * facts.c - what there is to know of the registry's file, and giving its free
 * pages back.
 *
 * A file never becomes smaller by itself: what was deleted leaves free pages,
 * which are used again. VACUUM writes all that is in use into the log and from
 * there over the file, as one transaction of the engine's own: whoever reads
 * goes on, whoever writes waits. So it is fine in use for as long as a writer
 * may wait: a third of the shortest session's timeout.
 *
 * The file is looked at through connections alone: a descriptor of ours would
 * drop the engine's locks when it is closed.
 */
#include "registry/sqlite/sqlite.h"

#include "base/mem.h"
#include "conf/conf.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#define BUSY_MS    2000
#define FREE_MIN   (16.0 * 1024 * 1024) /* not worth a word below */
#define FREE_SHARE 0.5
#define LOG_MAX    (256.0 * 1024 * 1024)
#define DISK_LOW   (1024.0 * 1024 * 1024)
#define DISK_LAST  (64.0 * 1024 * 1024)
/* A slow disk writes each page twice at so many bytes a second. */
#define VACUUM_BYTES_S (40.0 * 1024 * 1024)

/* --- asking -------------------------------------------------------------- */

/* The first column of the first row; NAN: there is none. */
static double ask(sqlite3 *handle, const char *question)
{
    sqlite3_stmt *stmt = NULL;
    double answer = NAN;

    assert(handle != NULL);
    if (sqlite3_prepare_v2(handle, question, -1, &stmt, NULL) == SQLITE_OK &&
        sqlite3_step(stmt) == SQLITE_ROW &&
        sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        answer = sqlite3_column_double(stmt, 0);
    (void)sqlite3_finalize(stmt);
    return answer;
}

struct pages {
    double size, total, free; /* bytes of one; pages */
    double sessions, timeout_ms;
};

/* ERR_IO: it is no registry of ours, or cannot be read. */
static int open_file(const char *path, sqlite3 **handle, struct pages *p,
                     struct err *err)
{
    int rc = sqlite3_open_v2(path, handle,
                             SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (rc == SQLITE_OK) {
        (void)sqlite3_busy_timeout(*handle, BUSY_MS);
        /* One state of the file: what is free is a part of all. */
        (void)sqlite3_exec(*handle, "BEGIN", NULL, NULL, NULL);
        p->sessions = ask(*handle, "SELECT count(*) FROM session");
        p->timeout_ms = ask(*handle, "SELECT min(timeout_ms) FROM session");
        p->size = ask(*handle, "PRAGMA page_size");
        p->total = ask(*handle, "PRAGMA page_count");
        p->free = ask(*handle, "PRAGMA freelist_count");
        rc = sqlite3_errcode(*handle);
        (void)sqlite3_exec(*handle, "ROLLBACK", NULL, NULL, NULL);
        if (isfinite(p->sessions) && isfinite(p->size + p->total + p->free))
            return 0;
    }
    err_set(err, ERR_IO, "%s: %s", path, sqlite3_errstr(rc));
    (void)sqlite3_close(*handle);
    *handle = NULL;
    return ERR_IO;
}

static double file_size(const char *path, const char *suffix)
{
    char *name = mem_printf("%s%s", path, suffix);
    struct stat st;
    double size = stat(name, &st) == 0 ? (double)st.st_size : 0;

    mem_free(name);
    assert(size >= 0);
    return size;
}

/* --- saying -------------------------------------------------------------- */

static void say_pages(struct registry_facts *out, const struct pages *p)
{
    double total = p->total * p->size, unused = p->free * p->size;
    bool wasted = unused >= FREE_MIN && unused >= FREE_SHARE * total;
    char a[FACT_SIZE], b[FACT_SIZE];

    assert(p->free <= p->total);
    out->figures[FIGURE_SIZE] = total;
    out->figures[FIGURE_USED] = out->sample.used = total - unused;
    registry_fact_say(out, wasted ? FACT_WARNING : FACT_OK, "sqlite_free_pages",
                      wasted ? "pelorus registry vacuum -c FILE" : NULL,
                      "%s of the file's %s are free pages, which a file never "
                      "gives back by itself",
                      registry_fact_bytes(unused, a),
                      registry_fact_bytes(total, b));
}

static void say_log(struct registry_facts *out, const char *path)
{
    double size = file_size(path, "-wal");
    bool large = size > LOG_MAX;
    char text[FACT_SIZE];

    out->figures[FIGURE_LOG] = size;
    registry_fact_say(out, large ? FACT_WARNING : FACT_OK, "sqlite_log",
                      large ? "some process reads for very long and holds it: "
                              "which one has the file open (fuser)?"
                            : NULL,
                      "its log (-wal) has %s", registry_fact_bytes(size, text));
}

/* Magic numbers of statfs(2). */
static const char *network_name(const struct statfs *fs)
{
    switch ((unsigned long)fs->f_type) {
    case 0x6969:
        return "NFS";
    case 0xFF534D42:
    case 0xFE534D42:
    case 0x517B:
        return "SMB";
    case 0x01021997:
        return "9p";
    case 0x00C36400:
        return "Ceph";
    default:
        return NULL;
    }
}

static void say_disk(struct registry_facts *out, const char *path)
{
    struct statfs fs;
    char text[FACT_SIZE];
    const char *network;
    double left;

    if (statfs(path, &fs) != 0) {
        registry_fact_say(out, FACT_UNKNOWN, "sqlite_disk", NULL,
                          "not known: its disk: %s", strerror(errno));
        return;
    }
    left = (double)fs.f_bavail * (double)fs.f_bsize;
    network = network_name(&fs);
    out->figures[FIGURE_QUOTA] = out->figures[FIGURE_SIZE] + left;
    registry_fact_say(out,
                      left < DISK_LAST  ? FACT_PROBLEM
                      : left < DISK_LOW ? FACT_WARNING
                                        : FACT_OK,
                      "sqlite_disk",
                      left < DISK_LOW ? "make room: without it nothing is "
                                        "written, and no failover is done"
                                      : NULL,
                      "its disk has %s left", registry_fact_bytes(left, text));
    if (network != NULL)
        registry_fact_say(out, FACT_PROBLEM, "sqlite_network_disk",
                          "put it on a local disk, or use another registry",
                          "the file stands on %s: file locks of network disks "
                          "lie",
                          network);
}

void sqlite_facts(const struct conf_registry *conf,
                  const struct registry_sample *before,
                  struct registry_facts *out)
{
    struct pages pages;
    sqlite3 *handle = NULL;
    struct err err;

    assert(conf->path != NULL);
    (void)snprintf(out->where, sizeof(out->where), "%s", conf->path);
    if (open_file(conf->path, &handle, &pages, &err) != 0) {
        registry_fact_say(out, FACT_UNKNOWN, "sqlite_free_pages", NULL,
                          "not known: %s", err.msg);
        return;
    }
    out->sample.position = (uint64_t)ask(handle, "SELECT revision FROM meta");
    (void)sqlite3_close(handle);
    say_pages(out, &pages);
    say_log(out, conf->path);
    say_disk(out, conf->path);
    registry_facts_rates(out, before);
    /* It grows into its own free pages first; a disk is others', too. */
    out->figures[FIGURE_FULL] = NAN;
}

/* --- vacuum -------------------------------------------------------------- */

/* May it be done now, with those who are there? */
static int bears(const char *path, const struct pages *p, bool live,
                 struct err *err)
{
    double seconds = (p->total - p->free) * p->size / VACUUM_BYTES_S;

    assert(p->sessions >= 0);
    if (live || p->sessions == 0 || seconds * 1000 <= p->timeout_ms / 3)
        return 0;
    return err_set(err, ERR_CONFLICT,
                   "%s: %.0f processes use it, and it may take %.0f s, in "
                   "which none of them can write: their sessions (the "
                   "shortest of %.0f s) would be lost. Stop them first, or say "
                   "--live: whoever loses his session begins another",
                   path, p->sessions, ceil(seconds), p->timeout_ms / 1000);
}

/* VACUUM needs about twice what is in use: the log, and a copy of its own. */
static int has_room(const char *path, const struct pages *p, struct err *err)
{
    double needed = 2 * (p->total - p->free) * p->size;
    char a[FACT_SIZE], b[FACT_SIZE];
    struct statfs fs;
    double left;

    if (statfs(path, &fs) != 0)
        return err_errno(err, errno, "%s", path);
    left = (double)fs.f_bavail * (double)fs.f_bsize;
    if (left >= needed)
        return 0;
    return err_set(err, ERR_UNAVAILABLE,
                   "%s: its disk has %s left, and a vacuum needs %s for a "
                   "while; make room first",
                   path, registry_fact_bytes(left, a),
                   registry_fact_bytes(needed, b));
}

static int run(sqlite3 *handle, const char *path, struct err *err)
{
    static const char *const steps[] = {"PRAGMA synchronous = FULL", "VACUUM",
                                        "PRAGMA wal_checkpoint(TRUNCATE)"};

    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        int rc = sqlite3_exec(handle, steps[i], NULL, NULL, NULL);

        if (rc != SQLITE_OK)
            return err_set(err, rc == SQLITE_BUSY ? ERR_UNAVAILABLE : ERR_IO,
                           "%s: %s: %s", path, steps[i],
                           sqlite3_errmsg(handle));
    }
    return 0;
}

int sqlite_vacuum(const char *path, bool live, char *done, size_t size,
                  struct err *err)
{
    char a[FACT_SIZE], b[FACT_SIZE];
    sqlite3 *handle = NULL;
    struct pages p;
    double before;
    int rc;

    assert(path != NULL);
    assert(size > 0);
    done[0] = '\0';
    rc = open_file(path, &handle, &p, err);
    if (rc != 0)
        return rc;
    before = p.total * p.size;
    rc = bears(path, &p, live, err);
    if (rc == 0)
        rc = has_room(path, &p, err);
    if (rc == 0)
        rc = run(handle, path, err);
    if (rc == 0) {
        double now = ask(handle, "PRAGMA page_count") * p.size;

        (void)snprintf(done, size, "%s: %s before, %s now", path,
                       registry_fact_bytes(before, a),
                       registry_fact_bytes(isfinite(now) ? now : 0, b));
    }
    (void)sqlite3_close(handle);
    return rc;
}
