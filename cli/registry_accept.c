/*
 * registry_accept.c - `registry accept-restore`, and `registry restore
 * BACKUP`: tell what is known, ask, do it (restore/restore.h).
 */
#include "cli/registry_command.h"

#include "cli/cli_priv.h"
#include "restore/backup.h"
#include "restore/restore.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Those who remember say so once they have noticed: asked until nobody new has
 * for a while. */
#define QUIET_MS      1500
#define LOOK_MS       6000
#define LOOK_AGAIN_MS 300
#define ANSWER_MAX    64

struct accept {
    struct visit visit;
    const struct registry_args *args;
    struct restore *restore;
    struct backup *backup; /* NULL: the registry as it is */
    mono_ms began, changed;
    uint64_t shown; /* all that was, as one number */
    struct loop_timer *again;
    uv_poll_t input;
    bool asking;
    char answer[ANSWER_MAX];
    size_t answer_len;
};

static void finish(struct accept *a, const struct err *why)
{
    assert(!a->asking);
    assert(a->visit.begun);
    restore_free(&a->restore);
    loop_timer_stop(&a->again);
    cli_visit_end(&a->visit, why);
}

/* --- telling ------------------------------------------------------------- */

static void tell_line(const char *about, uint64_t n, const char *what)
{
    assert(what[0] != '\0');
    if (n > 0)
        printf("  %s%" PRIu64 " %s\n", about, n, what);
}

static void tell_place(const char *what, const struct registry_place *p)
{
    if (p->incarnation[0] == '\0')
        return;
    printf("  %-12s ", what);
    if (p->position > 0)
        printf("position %" PRIu64 " of ", p->position);
    printf("incarnation %s", p->incarnation);
    if (p->line > 0)
        printf(", timeline %" PRIu64, p->line);
    printf("\n");
}

static void tell_back(struct accept *a, const struct restore_summary *s)
{
    const struct history_record *h = &s->history;
    struct registry_place now = *registry_place(a->visit.registry);

    assert(a->restore != NULL);
    assert(a->visit.registry != NULL);
    if (!s->found)
        printf("it says of itself nothing yet: it is empty, or was never used "
               "by this version\n");
    else if (h->went_back.is && strcmp(h->went_back.by, ACCEPT_MARK) == 0)
        printf("this was begun and has not ended: %s\n", h->went_back.why);
    else if (h->went_back.is)
        printf("it is not what it was: %s (noticed by %s)\n", h->went_back.why,
               h->went_back.by);
    else
        printf("nobody has said that it is not what it was\n");
    if (s->found)
        memcpy(now.incarnation, h->incarnation, sizeof(now.incarnation));
    tell_place("known until", &s->known);
    tell_place("found", &now);
}

static void tell_lost(const struct restore_summary *s)
{
    const char *about = s->cut ? "at least " : "";

    assert(s->n_samples <= ARRAY_LEN(s->samples));
    if (s->witnesses == 0) {
        printf("nobody has shown what was lost\n");
        return;
    }
    printf("by what %zu of those who remember have shown:\n", s->witnesses);
    tell_line(about, s->ahead, "items whose owners hold a later epoch");
    tell_line(about, s->back, "finished ones that came back");
    tell_line(about, s->gone, "new ones that are gone");
    for (size_t i = 0; i < s->n_samples; i++) {
        printf("    ");
        cli_say(stdout, s->samples[i]);
    }
    tell_line("", s->epoch_shown, "is the highest epoch");
    tell_line("", s->fence_shown, "is the highest fencing number");
}

static void tell_backup(const struct accept *a)
{
    const struct backup *b = a->backup;

    assert(a->backup != NULL);
    assert(a->args->file != NULL);
    printf("the backup: %s, taken %s from %s, namespace %s; %zu keys, "
           "%" PRIu64 " items, %" PRIu64 " of them unfinished; the highest "
           "epoch is %" PRIu64 "\n",
           a->args->file, b->facts.taken, b->facts.registry,
           b->facts.namespace_, b->n, b->items, b->unfinished, b->epoch);
    tell_line("", b->unreadable,
              "records in it cannot be read; as they are they "
              "are put back");
    printf("what is in the registry now below /pelorus is replaced by it; each "
           "unfinished item is given again to its own owner at a new epoch\n");
}

static void tell(struct accept *a, const struct restore_summary *s)
{
    char name[512];

    cli_visit_name(a->visit.conf, name, sizeof(name));
    printf("registry: %s\n", name);
    tell_back(a, s);
    tell_lost(s);
    printf("in it: %" PRIu64 " items, %" PRIu64 " of them unfinished; the "
           "highest epoch is %" PRIu64 "\n",
           s->items, s->unfinished, s->epoch_found);
    tell_line("", s->unreadable,
              "records cannot be read and are left as they are");
    if (a->backup != NULL)
        tell_backup(a);
    else
        printf("accepted, each unfinished item is given again to its own owner "
               "at a new epoch, and the cluster goes on from here;\nwhat was "
               "lost stays lost\n");
    (void)fflush(stdout);
}

/* --- doing --------------------------------------------------------------- */

static void on_done(void *arg, const struct err *err,
                    const struct restore_result *result)
{
    struct accept *a = arg;
    struct err why = *err;

    if (result == NULL) {
        if (why.code != ERR_CONFLICT)
            err_wrap(&why, a->backup == NULL
                               ? "nothing was opened; run it again"
                               : "it is not complete; run it again");
        finish(a, &why);
        return;
    }
    printf("done: %zu items given again at epoch %" PRIu64
           "; fencing numbers go on above %" PRIu64 "; incarnation %s\n",
           result->items, result->epoch_floor + 1, result->fence_base,
           result->incarnation);
    finish(a, NULL);
}

static void go(struct accept *a)
{
    assert(a->restore != NULL);
    assert(!a->asking);
    restore_go(a->restore, on_done, a);
}

/* --- asking -------------------------------------------------------------- */

static void refuse(struct accept *a, enum err_code code, const char *why)
{
    struct err err;

    assert(code != ERR_OK);
    err_set(&err, code, "%s", why);
    finish(a, &err);
}

static void on_input(uv_poll_t *handle, int status, int events)
{
    struct accept *a = handle->data;
    ssize_t n;

    assert(a->asking);
    assert(a->answer_len < ANSWER_MAX);
    (void)events;
    loop_enter(a->visit.loop);
    n = read(STDIN_FILENO, a->answer + a->answer_len,
             ANSWER_MAX - 1 - a->answer_len);
    if (n < 0 && (errno == EINTR || errno == EAGAIN) && status == 0)
        return;
    a->answer_len += n > 0 ? (size_t)n : 0;
    a->answer[a->answer_len] = '\0';
    if (n > 0 && strchr(a->answer, '\n') == NULL &&
        a->answer_len < ANSWER_MAX - 1)
        return;
    uv_close((uv_handle_t *)handle, NULL);
    a->asking = false;
    if (strcasecmp(a->answer, "y\n") == 0 ||
        strcasecmp(a->answer, "yes\n") == 0)
        go(a);
    else
        refuse(a, ERR_CANCELLED, "nothing was changed");
}

/* On a terminal only: what comes through a pipe was not meant as an answer to
 * what was just told. */
static void ask(struct accept *a)
{
    assert(!a->asking);
    assert(!a->args->yes);
    if (!isatty(STDIN_FILENO)) {
        refuse(a, ERR_INVALID,
               "standard input is no terminal, so nobody can be asked; with "
               "--yes it is done without");
        return;
    }
    printf(a->args->file == NULL ? "Go on with the registry as it is? [y/N] "
                                 : "Put the backup into it? [y/N] ");
    (void)fflush(stdout);
    if (uv_poll_init(loop_uv(a->visit.loop), &a->input, STDIN_FILENO) != 0) {
        refuse(a, ERR_CANCELLED, "nothing was changed");
        return;
    }
    a->asking = true;
    a->input.data = a;
    uv_poll_start(&a->input, UV_READABLE, on_input);
}

/* --- looking ------------------------------------------------------------- */

static void look(void *arg);

static bool all_have_shown(struct accept *a, const struct restore_summary *s)
{
    mono_ms now = loop_clock(a->visit.loop)->mono;
    uint64_t shown = s->witnesses + s->history.went_back.is + s->epoch_shown +
                     s->fence_shown + s->ahead + s->back + s->gone;

    assert(a->changed >= a->began);
    if (shown != a->shown) { /* each of them only grows */
        a->shown = shown;
        a->changed = now;
    }
    return now - a->changed >= QUIET_MS || now - a->began >= LOOK_MS;
}

static void refuse_live(struct accept *a, const struct restore_summary *s)
{
    struct err err;

    assert(s->live > 0);
    assert(!a->args->live);
    err_set(&err, ERR_CONFLICT,
            "%zu sessions stand in the registry (%s%s): stop the "
            "coordinators and agents and wait for their session timeout, "
            "or say --live: then they are stopped by the registry until "
            "it is done",
            s->live, s->names[0], s->live > 1 ? " ..." : "");
    finish(a, &err);
}

static void on_known(void *arg, const struct err *err,
                     const struct restore_summary *s)
{
    struct accept *a = arg;

    assert(a->visit.begun);
    if (s == NULL) {
        finish(a, err);
        return;
    }
    if (!all_have_shown(a, s)) {
        a->again = loop_timer(a->visit.loop, LOOK_AGAIN_MS, 0, look, a);
        return;
    }
    tell(a, s);
    if (a->backup != NULL && s->live > 0 && !a->args->live)
        refuse_live(a, s);
    else if (a->args->yes)
        go(a);
    else
        ask(a);
}

static void look(void *arg)
{
    struct accept *a = arg;

    assert(a->restore != NULL);
    loop_timer_stop(&a->again);
    restore_look(a->restore, on_known, a);
}

static void begin(struct visit *v)
{
    struct accept *a = (struct accept *)v;
    const struct conf_failover *failover = &v->conf->failover;
    struct restore_config config = {
        .registry = v->registry,
        .clock = loop_clock(v->loop),
        .locks = {failover->master_lock, failover->worker_lock,
                  failover->alert_server_lock},
        .n_locks = 3,
        .who = v->who,
        .epoch_floor = a->args->epoch_floor,
        .backup = a->backup,
    };

    assert(a->restore == NULL);
    assert(v->begun);
    a->restore = restore_new(&config);
    a->began = a->changed = loop_clock(v->loop)->mono;
    look(a);
}

static void tick(struct visit *v)
{
    struct accept *a = (struct accept *)v;

    assert(v->begun);
    if (a->restore != NULL)
        restore_tick(a->restore);
}

int cli_registry_accept(struct conf *conf, const struct registry_args *w)
{
    struct accept a = {.visit = {.conf = conf, .begin = begin, .tick = tick},
                       .args = w};
    struct err err;
    int rc;

    assert(!w->live || w->file != NULL);
    if (w->file != NULL && restore_backup_read(&a.backup, w->file, &err) != 0) {
        fprintf(stderr, "pelorus: %s\n", err.msg);
        return 1;
    }
    rc = cli_visit_run(&a.visit);
    restore_backup_free(&a.backup);
    return rc;
}
