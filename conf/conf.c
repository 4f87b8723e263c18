/*
 * conf.c - the way from a file to a checked struct conf.
 *
 * The steps stand in files of their own (conf_priv.h draws the way); here they
 * are put together, and here alone the struct is made and freed.
 */
#include "conf/conf_priv.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void set_defaults(struct conf *conf)
{
    const struct conf_key *keys;
    struct err err;
    size_t n;

    keys = conf_keys(&n);
    for (size_t i = 0; i < n; i++) {
        if (keys[i].otherwise != NULL && (keys[i].flags & CONF_ALIAS) == 0) {
            int rc = conf_set(conf, &keys[i], keys[i].otherwise, &err);

            assert(rc == 0);
            (void)rc;
        }
    }
}

void conf_defaults(struct conf *conf)
{
    memset(conf, 0, sizeof(*conf));
    conf->file = mem_strdup("");
    set_defaults(conf);
    conf->failover.settle_ms = conf->registry.session_timeout_ms;
}

static void close_strings(char **items, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mem_free(items[i]);
    mem_free(items);
}

void conf_close(struct conf *conf)
{
    const struct conf_key *keys;
    size_t n;

    keys = conf_keys(&n);
    for (size_t i = 0; i < n; i++) {
        char *at = (char *)conf + keys[i].offset;

        /* Fields with several rows are freed by the first. */
        if (keys[i].type == CONF_KEY_STRING) {
            MEM_FREE(*(char **)(void *)at);
        } else if (keys[i].type == CONF_KEY_LIST) {
            struct conf_list *list = (void *)at;

            close_strings(list->items, list->n);
            *list = (struct conf_list){0};
        }
    }
    for (size_t i = 0; i < conf->n_groups; i++) {
        mem_free(conf->groups[i].name);
        close_strings(conf->groups[i].addresses, conf->groups[i].n_addresses);
    }
    MEM_FREE(conf->groups);
    conf->n_groups = 0;
    MEM_FREE(conf->listen_host);
    MEM_FREE(conf->file);
}

int conf_parse(struct conf *conf, const char *file, const char *text,
               size_t len, struct buf *problems, struct err *err)
{
    struct conf_report report = {
        .file = file, .problems = problems, .err = err};
    struct conf_reading r = {.conf = conf, .report = &report};
    struct conf_doc doc = {0};
    size_t n;

    (void)conf_keys(&n);
    conf_defaults(conf);
    mem_free(conf->file);
    conf->file = mem_strdup(file);
    if (len > CONF_FILE_MAX) {
        conf_problem(&report, 0, "",
                     "larger than 1MiB; this is no "
                     "configuration");
    } else if (conf_yaml_read(&doc, text, len, &report)) {
        r.lines = mem_zalloc(n * sizeof(*r.lines));
        conf_read(&r, &doc);
        mem_free(r.lines);
    }
    conf_doc_close(&doc);
    if (report.n > 0) {
        conf_close(conf);
        return ERR_INVALID;
    }
    return 0;
}

/* The whole file in `text`, which is CONF_FILE_MAX large and one more. */
static int read_file(const char *file, struct buf *text, struct err *err)
{
    char piece[16384];
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0 && strcmp(file, "-") == 0) {
        return (int)err_set(err, ERR_NOT_FOUND,
                            "-: no such file; what is piped in is /dev/stdin");
    }
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        return (int)err_set(err, ERR_NOT_FOUND,
                            "%s: no such file; name one with -c", file);
    }
    if (fd < 0) {
        return errno == EACCES
                   ? (int)err_set(err, ERR_DENIED,
                                  "%s: user %u may not read it; change its "
                                  "owner or mode, or those of its directories",
                                  file, (unsigned)geteuid())
                   : (int)err_errno(err, errno, "%s", file);
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        rc = (int)err_set(err, ERR_IO, "%s: a directory; name a file", file);
    while (rc == 0) {
        ssize_t n = read(fd, piece, sizeof(piece));

        if (n > 0)
            buf_add(text, piece, (size_t)n);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            rc = (int)err_errno(err, errno, "%s: read", file);
        if (text->overflow) {
            rc = (int)err_set(err, ERR_TOO_LARGE,
                              "%s: larger than 1MiB; this is no configuration",
                              file);
        }
    }
    (void)close(fd);
    return rc;
}

int conf_load(struct conf *conf, const char *file, struct buf *problems,
              struct err *err)
{
    struct err unread;
    struct buf text;
    int rc;

    memset(conf, 0, sizeof(*conf));
    buf_init(&text, CONF_FILE_MAX);
    rc = read_file(file, &text, &unread);
    if (rc == 0) {
        rc = conf_parse(conf, file, buf_text(&text), text.len, problems, err);
    } else {
        err_set(err, unread.code, "%s", unread.msg);
        if (problems != NULL)
            buf_printf(problems, "%s\n", unread.msg);
    }
    buf_close(&text);
    return rc;
}
