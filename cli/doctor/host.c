/*
 * host.c - the configuration, the modes of files that hold secrets, and what
 * this host lets a process have.
 */
#include "cli/doctor/doctor_priv.h"

#include "base/buf.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define OWN_FILES 64 /* beside its connections: cli/main.c */

/* --- the configuration --------------------------------------------------- */

/* Lines "file:line: key: what; what to do", a finding each. */
static void say_lines(struct doctor *d, enum fact_verdict verdict,
                      const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");

        doctor_say(d, verdict, "configuration", d->file, NULL, "%.*s", (int)n,
                   text);
        text += n + (text[n] == '\n');
    }
}

bool doctor_conf(struct doctor *d, struct conf *conf)
{
    struct buf problems, remarks;
    struct err err;

    buf_init(&problems, 64 * 1024);
    if (conf_load(conf, d->file, &problems, &err) != 0) {
        if (problems.len > 0)
            say_lines(d, FACT_PROBLEM, buf_text(&problems));
        else
            doctor_say(d, FACT_PROBLEM, "configuration", d->file, NULL, "%s",
                       err.msg);
        buf_close(&problems);
        return false;
    }
    buf_close(&problems);
    doctor_say(d, FACT_OK, "configuration", d->file, NULL,
               "it is valid; registry %s",
               conf_registry_type_name(conf->registry.type));
    buf_init(&remarks, 64 * 1024);
    conf_remarks(conf, &remarks);
    say_lines(d, FACT_WARNING, buf_text(&remarks));
    buf_close(&remarks);
    return true;
}

/* --- files --------------------------------------------------------------- */

/* Secrets in it are told by their value as it was read: one that came from the
 * environment is not in the file. */
static bool holds_secret(const char *file, const char *const *secrets, size_t n)
{
    FILE *in = fopen(file, "re");
    bool found = false;
    char line[8192];

    while (in != NULL && !found && fgets(line, sizeof(line), in) != NULL)
        for (size_t i = 0; i < n; i++)
            found |= secrets[i] != NULL && secrets[i][0] != '\0' &&
                     line[strspn(line, " ")] != '#' &&
                     strstr(line, secrets[i]) != NULL;
    if (in != NULL)
        (void)fclose(in);
    return found;
}

static void check_mode(struct doctor *d, const char *name, const char *file,
                       mode_t none, const char *advice)
{
    struct stat st;

    if (file == NULL || file[0] == '\0')
        return;
    if (stat(file, &st) != 0) {
        doctor_say(d, FACT_PROBLEM, name, file, "correct its name", "%s",
                   strerror(errno));
        return;
    }
    if ((st.st_mode & none) != 0)
        doctor_say(d, FACT_WARNING, name, file, advice,
                   "its mode is %04o: others may %s it",
                   (unsigned)(st.st_mode & 07777),
                   (st.st_mode & none & 0022) != 0 ? "change" : "read");
    else
        doctor_say(d, FACT_OK, name, file, NULL, "its mode is %04o",
                   (unsigned)(st.st_mode & 07777));
}

static void check_files(struct doctor *d, const struct conf *conf)
{
    const struct conf_registry *r = &conf->registry;
    const char *const secrets[] = {r->password, r->digest};
    bool secret = holds_secret(d->file, secrets, 2);

    check_mode(d, "configuration_mode", d->file, secret ? 0077 : 0022,
               secret ? "a password stands in it: chmod 600, or write "
                        "${NAME} and give it in the environment"
                      : "chmod go-w");
    if (r->type == CONF_ETCD || r->type == CONF_JDBC) {
        check_mode(d, "key_file_mode", r->key_file, 0077, "chmod 600");
        check_mode(d, "authority_file", r->cert_file, 0022, "chmod go-w");
        check_mode(d, "certificate_file", r->key_cert_chain_file, 0022,
                   "chmod go-w");
    }
    if (r->type == CONF_SQLITE && access(r->path, F_OK) == 0)
        check_mode(d, "registry_file_mode", r->path, 0002, "chmod o-w");
    if (conf->state_dir == NULL)
        doctor_say(d, FACT_WARNING, "state_dir", d->file,
                   "set state-dir to a directory on a local disk",
                   "state-dir is not set: a registry that goes back while all "
                   "are stopped is noticed by nobody");
    else if (access(conf->state_dir, F_OK) == 0)
        check_mode(d, "state_dir", conf->state_dir, 0022, "chmod go-w");
    else
        doctor_say(d, FACT_OK, "state_dir", conf->state_dir, NULL,
                   "it will be made at the first start");
}

/* --- limits -------------------------------------------------------------- */

static void check_limits(struct doctor *d, const struct conf *conf)
{
    uint64_t needed = (uint64_t)conf->http.max_connections + OWN_FILES;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        doctor_say(d, FACT_UNKNOWN, "open_files", "", NULL, "not known: %s",
                   strerror(errno));
        return;
    }
    if (limit.rlim_max < needed)
        doctor_say(d, FACT_WARNING, "open_files", "this shell",
                   "raise it (ulimit -Hn, LimitNOFILE= of the service), or "
                   "lower http.max-connections",
                   "a process may open %" PRIu64 " files; "
                   "http.max-connections asks for %" PRIu64,
                   (uint64_t)limit.rlim_max, needed);
    else
        doctor_say(d, FACT_OK, "open_files", "this shell", NULL,
                   "a process may open %" PRIu64 " files",
                   (uint64_t)limit.rlim_max);
}

void doctor_host(struct doctor *d, const struct conf *conf)
{
    assert(d->file != NULL);
    check_files(d, conf);
    check_limits(d, conf);
}
