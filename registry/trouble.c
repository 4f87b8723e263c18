/*
 * trouble.c - see trouble.h. Of what was met two things are kept: the last
 * word of a server, and the last time that nobody was reached. Which of them
 * is present is decided when it is asked, by the connection's state and by
 * time, so that nothing has to be taken back.
 */
#include "registry/trouble.h"

#include "base/log.h"
#include "base/mem.h"
#include "registry/registry_priv.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LASTS_MS  10000 /* without being met again */
#define SOON_MS   2000  /* a start or a short break is no news */
#define AGAIN_MS  60000
#define RARELY_MS 3600000
#define FORGET_MS 600000 /* away for so long: it is news again */

const struct registry_trouble_text registry_trouble_texts[] = {
#define X(id, name, heals, title, advice)                                      \
    [id] = {"registry_" name, name, title, advice, heals},
    TROUBLES(X)
#undef X
};

/* --- what was met -------------------------------------------------------- */

struct incident {
    enum trouble what; /* NONE: nothing was */
    mono_ms since, last;
    uint64_t times;
    char detail[ERR_MSG_MAX];
};

struct registry_troubles {
    struct incident refused; /* by a word of the store */
    bool healed; /* that one, by a sign of life: over as soon as we are up. In
                    between it is still why we are not */
    struct incident unreached; /* nobody answered */
    mono_ms down; /* since when the session is in doubt, as was seen; 0: not */
    enum trouble logged;
    mono_ms logged_since;
    struct log_pace {
        struct trouble_pace pace;
        mono_ms seen;
    } paces[TROUBLE_N];
};

static struct registry_troubles *troubles_of(struct registry *r)
{
    if (r->troubles == NULL)
        r->troubles = mem_zalloc(sizeof(*r->troubles));
    return r->troubles;
}

/* A sign of life may be half a session's timeout away. */
static int64_t lasts_ms(const struct registry *r)
{
    int64_t most = r->session_timeout_ms * 2 / 3;

    assert(r->session_timeout_ms > 0);
    return most > LASTS_MS ? most : LASTS_MS;
}

static bool is_fresh(const struct registry *r, const struct incident *m)
{
    return m->what != TROUBLE_NONE && r->clock->mono - m->last < lasts_ms(r);
}

static bool is_unreached(enum trouble t)
{
    return t == TROUBLE_UNREACHABLE || t == TROUBLE_NO_QUORUM;
}

/* Libraries say it in words of their own or not at all: then it is tried. What
 * they say of a name that was not found or a server that is away is no more
 * than that they could not ask. */
static bool no_descriptors(const char *detail)
{
    int fd;

    if (strstr(detail, "Too many open files") != NULL)
        return true;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE;
    (void)close(fd);
    return false;
}

void registry_record_trouble(struct registry *r, enum trouble what,
                             const char *detail)
{
    struct registry_troubles *t;
    struct incident *m;

    assert(detail != NULL);
    assert(what < TROUBLE_N);
    if (what == TROUBLE_NONE || r->mute || r->closing)
        return;
    if (is_unreached(what) && no_descriptors(detail))
        what = TROUBLE_DESCRIPTORS;
    t = troubles_of(r);
    m = is_unreached(what) ? &t->unreached : &t->refused;
    t->healed = t->healed && m != &t->refused;
    if (m->what != what || !is_fresh(r, m)) {
        m->what = what;
        m->since = r->clock->mono;
        m->times = 0;
    }
    m->last = r->clock->mono;
    m->times++;
    (void)snprintf(m->detail, sizeof(m->detail), "%s", detail);
}

void registry_record_error(struct registry *r, const struct err *err)
{
    if (err->code != ERR_OK)
        registry_record_trouble(r, (enum trouble)err->trouble, err->msg);
}

void registry_troubles_heal(struct registry *r)
{
    if (r->troubles != NULL &&
        registry_trouble_texts[r->troubles->refused.what].heals)
        r->troubles->healed = true;
}

void registry_troubles_free(struct registry *r)
{
    MEM_FREE(r->troubles);
}

/* --- what is present ----------------------------------------------------- */

static const char *default_detail(const struct registry *r)
{
    return r->state == REGISTRY_SUSPENDED
               ? "no answer for two thirds of the session's timeout"
           : r->answered != 0 ? "the session is lost, and there is no other yet"
                              : "there was no session yet";
}

bool registry_trouble(const struct registry *r, struct registry_trouble *out)
{
    const struct registry_back *back = registry_went_back(r);
    const struct registry_troubles *t = r->troubles;
    bool up = registry_state_is_up(r->state);
    const struct incident *met = NULL;

    if (t != NULL && is_fresh(r, &t->refused) && !(t->healed && up))
        met = &t->refused;
    if (!up && t != NULL && is_fresh(r, &t->unreached) &&
        (met == NULL || met->last < t->unreached.last))
        met = &t->unreached;
    if (back != NULL) {
        *out = (struct registry_trouble){.what = TROUBLE_WENT_BACK,
                                         .since = back->since,
                                         .times = 1,
                                         .detail = back->why};
        return true;
    }
    if (met != NULL) {
        *out = (struct registry_trouble){met->what, met->since, met->times,
                                         met->detail};
        return true;
    }
    *out = (struct registry_trouble){
        .what = TROUBLE_UNREACHABLE,
        .since = t != NULL && t->down != 0 ? t->down : r->clock->mono,
        .times = 1,
        .detail = default_detail(r)};
    assert(out->what != TROUBLE_NONE);
    return !up;
}

/* --- the log ------------------------------------------------------------- */

bool registry_trouble_pace_due(struct trouble_pace *p, mono_ms now)
{
    assert(p->gap >= 0);
    if (p->gap != 0 && now - p->at < p->gap)
        return false;
    p->at = now;
    p->gap = p->gap == 0 ? AGAIN_MS : p->gap * 4;
    if (p->gap > RARELY_MS)
        p->gap = RARELY_MS;
    assert(p->gap <= RARELY_MS);
    return true;
}

/* Is it time to say it (again)? */
static bool is_due(struct log_pace *s, mono_ms now)
{
    mono_ms away = now - s->seen;

    if (away >= FORGET_MS && away >= s->pace.gap)
        s->pace = (struct trouble_pace){0};
    s->seen = now;
    return registry_trouble_pace_due(&s->pace, now);
}

static void log_present(const struct registry *r,
                        const struct registry_trouble *now)
{
    assert(now->what != TROUBLE_NONE);
    assert(now->what < TROUBLE_N);
    log_event(now->what == TROUBLE_THROTTLED ? LOG_WARN : LOG_ERROR, "!store",
              (const struct log_field[]){
                  LOG_S("backend", r->ops->name),
                  LOG_S("trouble", registry_trouble_texts[now->what].name),
                  LOG_S("state", registry_state_name(r->state)),
                  LOG_I("lasts_ms", r->clock->mono - now->since),
                  LOG_U("times", now->times), LOG_S("reason", now->detail),
                  LOG_S("advice", registry_trouble_texts[now->what].advice),
                  LOG_END});
}

static void log_over(const struct registry *r, struct registry_troubles *t)
{
    assert(t->logged != TROUBLE_NONE);
    assert(t->logged < TROUBLE_N);
    log_info("+store", LOG_S("backend", r->ops->name),
             LOG_S("trouble", registry_trouble_texts[t->logged].name),
             LOG_I("lasted_ms", r->clock->mono - t->logged_since));
    t->logged = TROUBLE_NONE;
}

void registry_trouble_tick(struct registry *r)
{
    mono_ms now = r->clock->mono;
    struct registry_troubles *t = troubles_of(r);
    struct registry_trouble present;

    if (registry_state_is_up(r->state)) {
        t->down = 0;
        if (t->healed)
            t->refused.what = TROUBLE_NONE;
        t->healed = false;
    } else if (t->down == 0) {
        t->down = now > 0 ? now : 1;
    }
    if (!registry_trouble(r, &present)) {
        if (t->logged != TROUBLE_NONE)
            log_over(r, t);
        return;
    }
    if (is_unreached(present.what) && now - t->down < SOON_MS)
        return;
    if (t->logged == TROUBLE_NONE)
        t->logged_since = present.since;
    t->logged = present.what;
    if (is_due(&t->paces[present.what], now))
        log_present(r, &present);
}
