/*
 * queries.c - requests of clients that the coordinator puts to the registry:
 * settings, and the records of failovers.
 *
 * Settings are changed on the version read, and again when somebody else was
 * faster: two people at once both get what they asked for.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "base/units.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BRAKE_OVERRIDE_MAX_MS (60 * 60 * 1000)

/* --- settings ------------------------------------------------------------ */

struct settings_request {
    struct request base; /* first */
    bool change;
    struct settings_patch patch; /* its texts are those of `words` */
    struct settings words;
    struct settings settings;
};

static void settings_end(struct request *r)
{
    struct settings_request *s = CONTAINER_OF(r, struct settings_request, base);
    struct coordinator_reply reply = {.settings = &s->settings};

    assert(!r->attempt.doubt || s->change);
    if (s->change)
        coordinator_index_add(&reply.wrote, SETTINGS_KEY);
    coordinator_request_end(r, &reply);
}

static void settings_apply(struct settings_request *s)
{
    const struct settings_patch *p = &s->patch;
    struct settings *to = &s->settings;
    wall_ms now = s->base.c->clock->wall;

    assert(s->change);
    if (p->paused >= 0) {
        to->paused = p->paused == 1;
        to->paused_until =
            p->paused == 1 && p->paused_for_ms > 0 ? now + p->paused_for_ms : 0;
    }
    if (p->brake_override_ms >= 0)
        to->brake_override_until =
            p->brake_override_ms > 0 ? now + p->brake_override_ms : 0;
    if (p->policy != NULL)
        memcpy(to->policy, s->words.policy, sizeof(to->policy));
    if (p->shadow != NULL)
        memcpy(to->shadow, s->words.shadow, sizeof(to->shadow));
    memcpy(to->who, s->words.who, sizeof(to->who));
    memcpy(to->reason, s->words.reason, sizeof(to->reason));
}

static void settings_write(struct settings_request *s)
{
    struct buf b;

    assert(s->change);
    settings_apply(s);
    buf_init(&b, 4096);
    work_settings_write(&b, &s->settings);
    coordinator_request_put(&s->base, &b, s->settings.version);
    buf_close(&b);
}

static void settings_read(struct request *r, const struct registry_reply *reply)
{
    struct settings_request *s = CONTAINER_OF(r, struct settings_request, base);
    const struct registry_entry *e = reply->entries;
    struct err err;

    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    assert(!attempt_waits(&r->attempt));
    s->settings = (struct settings){0};
    if (reply->err.code == ERR_OK) {
        if (work_settings_read(&s->settings, e->value, e->value_len, &err) !=
            0) {
            coordinator_request_damaged(r, &err);
            return;
        }
        s->settings.version = e->version;
    }
    work_settings_expire(&s->settings, r->c->clock->wall);
    if (s->change)
        settings_write(s);
    else
        settings_end(r);
}

static const struct request_type settings_type = {.read = settings_read,
                                                  .written = settings_end};

void coordinator_settings_get(struct coordinator *c, coordinator_reply_f *done,
                              void *arg)
{
    struct settings_request *s = mem_zalloc(sizeof(*s));

    coordinator_request_init(c, &s->base, &settings_type, SETTINGS_KEY, done,
                             arg);
    coordinator_request_read(&s->base);
}

static void take_words(struct settings_request *s,
                       const struct settings_patch *patch)
{
    struct settings *w = &s->words;

    (void)snprintf(w->who, sizeof(w->who), "%s", patch->who ? patch->who : "");
    (void)snprintf(w->reason, sizeof(w->reason), "%s",
                   patch->reason ? patch->reason : "");
    if (patch->policy != NULL)
        (void)snprintf(w->policy, sizeof(w->policy), "%s", patch->policy);
    s->patch.policy = patch->policy != NULL ? w->policy : NULL;
    if (patch->shadow != NULL)
        (void)snprintf(w->shadow, sizeof(w->shadow), "%s", patch->shadow);
    s->patch.shadow = patch->shadow != NULL ? w->shadow : NULL;
    assert((s->patch.policy == NULL) == (patch->policy == NULL));
}

void coordinator_settings_patch(struct coordinator *c,
                                const struct settings_patch *patch,
                                coordinator_reply_f *done, void *arg)
{
    struct settings_request *s = mem_zalloc(sizeof(*s));
    char asked[UNITS_DURATION_SIZE];
    enum conf_policy policy;
    struct err err;
    bool on;

    assert(patch->paused >= -1);
    assert(patch->paused <= 1);
    s->patch = *patch;
    s->change = true;
    take_words(s, patch);
    coordinator_request_init(c, &s->base, &settings_type, SETTINGS_KEY, done,
                             arg);
    if (patch->brake_override_ms > BRAKE_OVERRIDE_MAX_MS)
        coordinator_request_refuse(
            &s->base, PROBLEM_NONE, ERR_INVALID,
            "brake_override: %s is outside 0s to 1h",
            units_format_duration(patch->brake_override_ms, asked));
    else if (patch->policy != NULL && patch->policy[0] != '\0' &&
             conf_policy_parse(patch->policy, &policy, &err) != 0)
        coordinator_request_refuse(&s->base, PROBLEM_NONE, err.code,
                                   "policy: %s", err.msg);
    else if (patch->shadow != NULL && patch->shadow[0] != '\0' &&
             conf_shadow_parse(patch->shadow, &on, &policy, &err) != 0)
        coordinator_request_refuse(&s->base, PROBLEM_NONE, err.code,
                                   "shadow: %s", err.msg);
    else
        coordinator_request_read(&s->base);
}

/* --- failovers ----------------------------------------------------------- */

struct failovers_request {
    struct request base; /* first */
    struct failover_record *records;
    size_t n;
};

static void failovers_drop(struct request *r)
{
    struct failovers_request *f =
        CONTAINER_OF(r, struct failovers_request, base);

    mem_free(f->records);
    mem_free(f);
}

static int newest_first(const void *a, const void *b)
{
    const struct failover_record *x = a, *y = b;

    if (x->began != y->began)
        return x->began > y->began ? -1 : 1;
    return strcmp(y->id, x->id);
}

/* A record that cannot be read is left out; `err` says why of the last one. */
static void failovers_add(struct failovers_request *f,
                          const struct registry_reply *reply, struct err *err)
{
    assert(reply->err.code == ERR_OK);
    f->records = mem_regrow(f->records, f->n + reply->n_entries + 1,
                            sizeof(*f->records));
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *e = &reply->entries[i];

        if (work_failover_read(&f->records[f->n], e->value, e->value_len,
                               err) == 0)
            f->records[f->n++].version = e->version;
    }
}

static void failovers_end(struct failovers_request *f)
{
    struct coordinator_reply answer = {.failovers = f->records,
                                       .n_failovers = f->n};

    assert(f->n == 0 || f->records != NULL);
    coordinator_request_end(&f->base, &answer);
}

static void failovers_listed(void *arg, const struct registry_reply *reply)
{
    struct failovers_request *f = arg;

    assert(f->base.done != NULL);
    assert(!f->base.attempt.doubt);
    if (reply->err.code != ERR_OK) {
        coordinator_request_fail(&f->base, &reply->err);
        return;
    }
    failovers_add(f, reply, NULL);
    if (reply->next != NULL) {
        registry_list(f->base.c->registry, FAILOVER_PREFIX, reply->next,
                      REGISTRY_PAGE_MAX, failovers_listed, f);
        return;
    }
    qsort(f->records, f->n, sizeof(*f->records), newest_first);
    failovers_end(f);
}

static void failover_read(struct request *r, const struct registry_reply *reply)
{
    struct failovers_request *f =
        CONTAINER_OF(r, struct failovers_request, base);
    struct err err;

    assert(reply->err.code == ERR_OK || reply->err.code == ERR_NOT_FOUND);
    assert(f->n == 0);
    if (reply->err.code != ERR_OK) {
        coordinator_request_fail(r, &reply->err);
        return;
    }
    failovers_add(f, reply, &err);
    if (f->n == 0)
        coordinator_request_damaged(r, &err);
    else
        failovers_end(f);
}

static const struct request_type failovers_type = {.drop = failovers_drop,
                                                   .read = failover_read};

void coordinator_failover_list(struct coordinator *c, coordinator_reply_f *done,
                               void *arg)
{
    struct failovers_request *f = mem_zalloc(sizeof(*f));

    coordinator_request_init(c, &f->base, &failovers_type, NULL, done, arg);
    registry_list(c->registry, FAILOVER_PREFIX, NULL, REGISTRY_PAGE_MAX,
                  failovers_listed, f);
}

void coordinator_request_read_failover(struct request *r, const char *id)
{
    assert(r->key[0] == '\0');
    if (work_check_id(id, NULL) == 0 && strlen(id) <= FAILOVER_ID_MAX) {
        (void)work_failover_key(id, r->key);
        coordinator_request_read(r);
    } else {
        coordinator_request_refuse(r, PROBLEM_NOT_FOUND, ERR_NOT_FOUND,
                                   "no failover of this id");
    }
}

void coordinator_failover_get(struct coordinator *c, const char *id,
                              coordinator_reply_f *done, void *arg)
{
    struct failovers_request *f = mem_zalloc(sizeof(*f));

    coordinator_request_init(c, &f->base, &failovers_type, NULL, done, arg);
    coordinator_request_read_failover(&f->base, id);
}
