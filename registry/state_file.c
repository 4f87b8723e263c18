/*
 * state_file.c - see state_file.h. Design: a temporary file beside it, synced,
 * then renamed over it, and the directory synced; one write under way at a
 * time, on a worker.
 */
#include "registry/state_file.h"

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/worker.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC "pelorus-place 1 "
#define DOUBT "went_back "
#define TEXT_MAX                                                               \
    (sizeof(MAGIC) + HISTORY_PLACE_SIZE + sizeof(DOUBT) + HISTORY_WHY_SIZE)
#define EVERY_MS 1000

/* What the file holds: where the registry stood, and why that it went back. */
struct state {
    struct registry_place place;
    char why[HISTORY_WHY_SIZE]; /* "": it did not, or its own mark says so */
};

struct state_file {
    char *path, *temporary;
    struct loop *loop;
    struct worker *worker; /* from the first write on */
    struct worker_job job;
    struct state now, sent, written;
    char doubted[HISTORY_WHY_SIZE]; /* by an earlier life */
    mono_ms last;
    bool busy, warned;
    loop_f *closed;
    void *closed_arg;
    /* the worker's while busy */
    char text[TEXT_MAX];
    struct err err;
};

static bool up_to_date(const struct state_file *f)
{
    const struct registry_place *a = &f->now.place, *b = &f->written.place;

    return strcmp(a->incarnation, b->incarnation) == 0 && a->line == b->line &&
           a->position == b->position &&
           strcmp(f->now.why, f->written.why) == 0;
}

/* --- reading ------------------------------------------------------------- */

/* "went_back <why>\n", or nothing. */
static bool read_why(char *text, char *why)
{
    size_t len = strlen(text);

    assert(why[0] == '\0');
    if (len == 0)
        return true;
    if (len < sizeof(DOUBT) || len > sizeof(DOUBT) + HISTORY_WHY_SIZE - 1 ||
        memcmp(text, DOUBT, sizeof(DOUBT) - 1) != 0 ||
        strchr(text, '\n') != text + len - 1)
        return false;
    text[len - 1] = '\0';
    memcpy(why, text + sizeof(DOUBT) - 1, len - sizeof(DOUBT) + 1);
    return true;
}

static bool parse(char *text, struct registry_place *out, char *why)
{
    char *end = strchr(text, '\n');

    if (end == NULL || memcmp(text, MAGIC, sizeof(MAGIC) - 1) != 0)
        return false;
    *end = '\0';
    return registry_place_parse(text + sizeof(MAGIC) - 1, out, NULL) == 0 &&
           out->incarnation[0] != '\0' && read_why(end + 1, why);
}

int registry_state_file_read(const char *path, struct registry_place *out,
                             char *why, struct err *err)
{
    char text[TEXT_MAX + 1];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_MAX);
    int saved = errno;

    assert(path != NULL);
    memset(out, 0, sizeof(*out));
    why[0] = '\0';
    if (fd >= 0)
        (void)close(fd);
    else if (saved == ENOENT)
        return 0;
    if (n < 0)
        return err_errno(err, saved, "state-dir: %s", path);
    text[n] = '\0';
    if (n > (ssize_t)sizeof(MAGIC) && strlen(text) == (size_t)n &&
        parse(text, out, why))
        return 0;
    return err_set(
        err, ERR_INVALID,
        "%s is damaged. It says where the registry stood when this process "
        "last ran. If you are sure that the registry has lost nothing since "
        "(no backup put back, no old primary), delete the file and start "
        "again",
        path);
}

/* --- writing: on the worker ---------------------------------------------- */

static int write_text(int fd, const char *text)
{
    ssize_t n = write(fd, text, strlen(text));

    assert(text[0] != '\0');
    if (n >= 0 && (size_t)n < strlen(text)) {
        errno = ENOSPC;
        return -1;
    }
    return n < 0 ? -1 : fsync(fd);
}

static void write_file(void *arg)
{
    struct state_file *f = arg;
    int fd = open(f->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -1 : write_text(fd, f->text), saved = errno;

    err_clear(&f->err);
    if (fd >= 0)
        (void)close(fd); /* it is on disk already */
    if (rc == 0 &&
        (rename(f->temporary, f->path) != 0 || file_sync_name(f->path) != 0)) {
        rc = -1;
        saved = errno;
    }
    if (rc != 0)
        err_errno(&f->err, saved, "%s", f->path);
}

/* --- on the loop --------------------------------------------------------- */

static void state_file_free(struct state_file *f)
{
    mem_free(f->path);
    mem_free(f->temporary);
    mem_free(f);
}

static void on_stopped(void *arg)
{
    struct state_file *f = arg;
    loop_f *closed = f->closed;
    void *closed_arg = f->closed_arg;

    assert(!f->busy);
    assert(f->worker == NULL);
    state_file_free(f);
    closed(closed_arg);
}

static void free_later(struct state_file *f)
{
    assert(!f->busy);
    assert(f->closed != NULL);
    if (f->worker != NULL)
        worker_stop(&f->worker, on_stopped, f);
    else
        on_stopped(f);
}

static void begin_write(struct state_file *f);

static void on_written(void *arg)
{
    struct state_file *f = arg;

    assert(f->busy);
    f->busy = false;
    if (f->err.code == ERR_OK) {
        f->written = f->sent;
        if (f->warned)
            log_info("=state-dir", LOG_S("file", f->path));
        f->warned = false;
    } else if (!f->warned) {
        f->warned = true;
        log_warn("!state-dir", LOG_S("reason", f->err.msg),
                 LOG_S("consequence", "after a restart where the registry "
                                      "stood is known from an earlier time"));
    }
    if (f->closed == NULL)
        return;
    if (f->err.code == ERR_OK && !up_to_date(f))
        begin_write(f);
    else
        free_later(f);
}

static void begin_write(struct state_file *f)
{
    char place[HISTORY_PLACE_SIZE];
    int rc;

    assert(!f->busy);
    assert(f->now.place.incarnation[0] != '\0');
    if (f->worker == NULL)
        f->worker = worker_new(f->loop, 1, NULL, NULL, 0);
    f->busy = true;
    f->last = loop_clock(f->loop)->mono;
    f->sent = f->now;
    (void)snprintf(f->text, sizeof(f->text), MAGIC "%s\n%s%s%s",
                   registry_place_text(&f->now.place, place),
                   f->now.why[0] != '\0' ? DOUBT : "", f->now.why,
                   f->now.why[0] != '\0' ? "\n" : "");
    rc = worker_submit(f->worker, &f->job, write_file, on_written, f);
    assert(rc == 0); /* one at a time */
    (void)rc;
}

void registry_state_file_keep(struct state_file *f,
                              const struct registry_place *place,
                              const char *why)
{
    bool anew;

    if (f == NULL || f->closed != NULL)
        return;
    (void)snprintf(f->now.why, sizeof(f->now.why), "%s", why ? why : "");
    for (char *s = f->now.why; *s != '\0'; s++)
        if ((unsigned char)*s < ' ')
            *s = ' ';
    if (place->incarnation[0] == '\0')
        return;
    f->now.place = *place;
    anew = strcmp(place->incarnation, f->written.place.incarnation) != 0 ||
           strcmp(f->now.why, f->written.why) != 0;
    if (!f->busy && !up_to_date(f) &&
        ((anew && !f->warned) ||
         loop_clock(f->loop)->mono - f->last >= EVERY_MS))
        begin_write(f);
}

const char *registry_state_file_doubted(const struct state_file *f)
{
    return f != NULL ? f->doubted : "";
}

void registry_state_file_close(struct state_file **file, loop_f *closed,
                               void *arg)
{
    struct state_file *f = *file;

    *file = NULL;
    if (f == NULL) {
        closed(arg);
        return;
    }
    assert(closed != NULL);
    assert(f->closed == NULL);
    f->closed = closed;
    f->closed_arg = arg;
    if (f->busy)
        return;
    if (f->now.place.incarnation[0] != '\0' && !up_to_date(f))
        begin_write(f);
    else
        free_later(f);
}

/* --- opening ------------------------------------------------------------- */

/* Another kind of registry is another store, another namespace another
 * cluster. */
static char *path_of(const struct conf *conf, const char *role, const char *who)
{
    char *path = mem_printf("%s/%s-%s.%s.%s", conf->state_dir, role, who,
                            conf_registry_type_name(conf->registry.type),
                            conf->registry.namespace_);

    for (char *s = path + strlen(conf->state_dir) + 1; *s != '\0'; s++)
        if (!isalnum((unsigned char)*s) && strchr("._-", *s) == NULL)
            *s = '_';
    return path;
}

static int check_dir(const char *dir, struct err *err)
{
    struct stat st;

    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        return err_errno(
            err, errno,
            "state-dir: %s cannot be made (make it, for this user to write to)",
            dir);
    if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode))
        return err_set(err, ERR_IO, "state-dir: %s is no directory; name one",
                       dir);
    if (access(dir, R_OK | W_OK | X_OK) != 0)
        return err_errno(err, errno,
                         "state-dir: %s cannot be written to by us "
                         "(change its owner or mode)",
                         dir);
    return 0;
}

int registry_state_file_open(struct state_file **out, struct loop *loop,
                             const struct conf *conf, const char *role,
                             const char *who, struct registry_place *remembered,
                             struct err *err)
{
    struct state_file *f;
    struct state was;
    int rc;

    assert(role[0] != '\0');
    assert(who[0] != '\0');
    *out = NULL;
    memset(remembered, 0, sizeof(*remembered));
    if (conf->state_dir == NULL)
        return 0;
    rc = check_dir(conf->state_dir, err);
    if (rc != 0)
        return rc;
    f = mem_zalloc(sizeof(*f));
    f->path = path_of(conf, role, who);
    f->temporary = mem_printf("%s.tmp", f->path);
    f->loop = loop;
    rc = registry_state_file_read(f->path, &was.place, was.why, err);
    if (rc != 0) {
        state_file_free(f);
        return rc;
    }
    f->now = f->written = was;
    memcpy(f->doubted, was.why, sizeof(was.why));
    *remembered = was.place;
    *out = f;
    return 0;
}
