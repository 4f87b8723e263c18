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

void conf_defaults(struct conf *conf)
{
    static_assert(CONF_SQLITE == 0, "the type before a file names one");

    memset(conf, 0, sizeof(*conf));
    conf->file = mem_strdup("");
    conf_set_defaults(conf);
}

void conf_close(struct conf *conf)
{
    /* Fields with several rows are freed by the first. */
    for (const struct conf_key *key = conf_keys; key->path != NULL; key++)
        if (key->type == CONF_KEY_STRING)
            MEM_FREE(*(char **)conf_field(conf, key));
        else if (key->type == CONF_KEY_LIST)
            conf_list_clear(conf_field(conf, key));
    assert(conf->n_groups == 0 || conf->groups != NULL);
    for (size_t i = 0; i < conf->n_groups; i++) {
        mem_free(conf->groups[i].name);
        conf_list_clear(&conf->groups[i].addresses);
    }
    MEM_FREE(conf->groups);
    conf->n_groups = 0;
    for (size_t i = 0; i < conf->n_owns; i++)
        mem_free(conf->owns[i].name);
    MEM_FREE(conf->owns);
    conf->n_owns = 0;
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

    assert(file != NULL);
    conf_defaults(conf);
    mem_free(conf->file);
    conf->file = mem_strdup(file);
    if (len > CONF_FILE_MAX) {
        conf_problem(&report, 0, "",
                     "larger than 1MiB; this is no configuration");
    } else if (conf_yaml_read(&doc, text, len, &report)) {
        r.lines = mem_zalloc(conf_n_keys * sizeof(*r.lines));
        conf_read(&r, &doc);
        mem_free(r.lines);
    }
    conf_doc_close(&doc);
    assert(doc.n == 0);
    if (report.n > 0) {
        conf_close(conf);
        return ERR_INVALID;
    }
    return 0;
}

static int why_unopened(const char *file, int why, struct err *err)
{
    assert(why != 0);
    if (strcmp(file, "-") == 0) {
        return err_set(err, ERR_NOT_FOUND,
                       "-: no such file; what is piped in is /dev/stdin");
    }
    if (why == ENOENT || why == ENOTDIR) {
        return err_set(err, ERR_NOT_FOUND, "%s: no such file; name one with -c",
                       file);
    }
    if (why == EACCES) {
        return err_set(err, ERR_DENIED,
                       "%s: user %u may not read it; change its owner or mode, "
                       "or those of its directories",
                       file, (unsigned)geteuid());
    }
    return err_errno(err, why, "%s", file);
}

/* The whole file in `text`, which takes CONF_FILE_MAX bytes. */
static int read_file(const char *file, struct buf *text, struct err *err)
{
    char piece[16384];
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    int rc = 0;

    assert(text->len == 0 && text->max == CONF_FILE_MAX);
    if (fd < 0)
        return why_unopened(file, errno, err);
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
        rc = err_set(err, ERR_IO, "%s: a directory; name a file", file);
    while (rc == 0) {
        ssize_t n = read(fd, piece, sizeof(piece));

        if (n > 0)
            buf_add(text, piece, (size_t)n);
        else if (n == 0)
            break;
        else if (errno != EINTR)
            rc = err_errno(err, errno, "%s: read", file);
        if (text->overflow) {
            rc =
                err_set(err, ERR_TOO_LARGE,
                        "%s: larger than 1MiB; this is no configuration", file);
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
