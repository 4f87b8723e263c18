/*
 * queries.c - requests of clients that the coordinator puts to the registry:
 * settings, groups, and the records of failovers.
 *
 * Settings and groups are changed on the version read, and again when somebody
 * else was faster: two people at once both get what they asked for.
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
    struct settings_patch patch;
    char *who, *reason, *policy;
    bool change;
    struct settings settings;
};

static void settings_drop(struct request *r)
{
    struct settings_request *s = CONTAINER_OF(r, struct settings_request, base);

    mem_free(s->who);
    mem_free(s->reason);
    mem_free(s->policy);
    mem_free(s);
}

static void settings_end(struct settings_request *s)
{
    struct coordinator_reply reply = {.settings = &s->settings};

    if (s->change)
        coordinator_index_add(&reply.wrote, SETTINGS_KEY);
    coordinator_request_end(&s->base, &reply);
}

static void settings_apply(struct settings_request *s)
{
    const struct settings_patch *p = &s->patch;
    wall_ms now = s->base.c->clock->wall;

    if (p->paused >= 0) {
        s->settings.paused = p->paused == 1;
        s->settings.paused_until =
            p->paused == 1 && p->paused_for_ms > 0 ? now + p->paused_for_ms : 0;
    }
    if (p->brake_override_ms >= 0)
        s->settings.brake_override_until =
            p->brake_override_ms > 0 ? now + p->brake_override_ms : 0;
    if (s->policy != NULL)
        snprintf(s->settings.policy, sizeof(s->settings.policy), "%s",
                 s->policy);
    snprintf(s->settings.who, sizeof(s->settings.who), "%s",
             s->who ? s->who : "");
    snprintf(s->settings.reason, sizeof(s->settings.reason), "%s",
             s->reason ? s->reason : "");
}

static void settings_read_done(void *arg, const struct registry_reply *reply);

static void settings_begin(struct request *r)
{
    coordinator_request_read(r, SETTINGS_KEY, settings_read_done);
}

static void settings_written(void *arg, const struct registry_reply *reply)
{
    struct settings_request *s = arg;

    if (reply->err.code == ERR_OK)
        settings_end(s);
    else
        coordinator_request_write_failed(&s->base, &reply->err);
}

static void settings_write_back(struct settings_request *s)
{
    struct buf b;

    settings_apply(s);
    buf_init(&b, 4096);
    work_settings_write(&b, &s->settings);
    coordinator_request_put(&s->base, SETTINGS_KEY, &b, s->settings.version,
                            settings_written);
    buf_close(&b);
}

static void settings_read_done(void *arg, const struct registry_reply *reply)
{
    struct settings_request *s = arg;
    struct err err;

    memset(&s->settings, 0, sizeof(s->settings));
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        coordinator_request_read_failed(&s->base, &reply->err);
        return;
    }
    if (reply->err.code == ERR_OK) {
        const struct registry_entry *e = &reply->entries[0];

        if (work_settings_read(&s->settings, e->value, e->value_len, &err) !=
            0) {
            coordinator_request_damaged(&s->base, &err);
            return;
        }
        s->settings.version = e->version;
    }
    work_settings_lapse(&s->settings, s->base.c->clock->wall);
    if (s->change)
        settings_write_back(s);
    else
        settings_end(s);
}

void coordinator_settings_get(struct coordinator *c, coordinator_reply_f *done,
                              void *arg)
{
    struct settings_request *s = mem_zalloc(sizeof(*s));

    coordinator_request_init(c, &s->base, done, arg, settings_drop,
                             settings_begin);
    settings_begin(&s->base);
}

void coordinator_settings_patch(struct coordinator *c,
                                const struct settings_patch *patch,
                                coordinator_reply_f *done, void *arg)
{
    struct settings_request *s = mem_zalloc(sizeof(*s));
    char asked[UNITS_DURATION_SIZE];
    enum conf_policy policy;
    struct err err;

    assert(patch->paused >= -1 && patch->paused <= 1);
    s->patch = *patch;
    s->who = mem_strdup(patch->who);
    s->reason = mem_strdup(patch->reason);
    s->policy = mem_strdup(patch->policy);
    s->change = true;
    coordinator_request_init(c, &s->base, done, arg, settings_drop,
                             settings_begin);
    if (patch->brake_override_ms > BRAKE_OVERRIDE_MAX_MS) {
        err_set(&err, ERR_INVALID, "brake_override: %s is outside 0s to 1h",
                units_format_duration(patch->brake_override_ms, asked));
        coordinator_request_fail(&s->base, &err);
    } else if (patch->policy != NULL && patch->policy[0] != '\0' &&
               conf_policy_parse(patch->policy, &policy, &err) != 0) {
        err_wrap(&err, "policy");
        coordinator_request_fail(&s->base, &err);
    } else {
        settings_begin(&s->base);
    }
}

/* --- groups -------------------------------------------------------------- */

struct group_request {
    struct request base; /* first */
    char key[REGISTRY_KEY_MAX + 1];
    struct buf text; /* put: what it shall be; empty: delete it */
    bool created;
};

static void group_drop(struct request *r)
{
    struct group_request *g = CONTAINER_OF(r, struct group_request, base);

    buf_close(&g->text);
    mem_free(g);
}

static void group_end(struct group_request *g)
{
    struct coordinator_reply reply = {.created = g->created};

    coordinator_index_add(&reply.wrote, g->key);
    coordinator_request_end(&g->base, &reply);
}

static void group_written(void *arg, const struct registry_reply *reply)
{
    struct group_request *g = arg;

    if (reply->err.code == ERR_OK)
        group_end(g);
    else
        coordinator_request_write_failed(&g->base, &reply->err);
}

/* Does it stand as it was asked for, by a write of unknown outcome? */
static bool group_settled(const struct group_request *g,
                          const struct registry_entry *e)
{
    if (!g->base.attempt.doubt)
        return false;
    if (e == NULL || g->text.len == 0)
        return e == NULL && g->text.len == 0;
    return e->value_len == g->text.len &&
           memcmp(e->value, g->text.data, g->text.len) == 0;
}

static void group_read(void *arg, const struct registry_reply *reply)
{
    struct group_request *g = arg;
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? &reply->entries[0] : NULL;

    if (e == NULL && reply->err.code != ERR_NOT_FOUND) {
        coordinator_request_read_failed(&g->base, &reply->err);
    } else if (group_settled(g, e)) {
        group_end(g);
    } else if (g->text.len > 0) {
        g->created = e == NULL;
        coordinator_request_put(&g->base, g->key, &g->text,
                                e == NULL ? 0 : e->version, group_written);
    } else if (e == NULL) {
        coordinator_request_fail(&g->base, &reply->err);
    } else if (!coordinator_request_is_overtaken(&g->base)) {
        registry_delete(g->base.c->registry, g->key, e->version, group_written,
                        g);
    }
}

static void group_begin(struct request *r)
{
    coordinator_request_read(
        r, CONTAINER_OF(r, struct group_request, base)->key, group_read);
}

/* NULL, and the request answered, if the name is none. */
static struct group_request *group_request(struct coordinator *c,
                                           const char *name,
                                           coordinator_reply_f *done, void *arg)
{
    struct group_request *g = mem_zalloc(sizeof(*g));
    char clean[NODE_GROUP_MAX + 1];
    struct err err;

    coordinator_request_init(c, &g->base, done, arg, group_drop, group_begin);
    buf_init(&g->text, REGISTRY_VALUE_MAX);
    if (node_clean_group(name, clean, &err) != 0) {
        coordinator_request_fail(&g->base, &err);
        return NULL;
    }
    if (strcmp(clean, "default") == 0) {
        err_set(&err, ERR_INVALID,
                "group default holds every worker and cannot be defined");
        coordinator_request_fail(&g->base, &err);
        return NULL;
    }
    snprintf(g->key, sizeof(g->key), GROUPS_PREFIX "/%s", clean);
    return g;
}

void coordinator_group_put(struct coordinator *c, const char *name,
                           const char *const *addresses, size_t n,
                           coordinator_reply_f *done, void *arg)
{
    struct group_request *g = group_request(c, name, done, arg);
    char canonical[NODE_ADDRESS_MAX + 1];
    struct err err;

    if (g == NULL)
        return;
    err_clear(&err);
    if (n > GROUP_ADDRESSES_MAX)
        err_set(&err, ERR_TOO_LARGE, "%zu addresses; a group takes %d", n,
                GROUP_ADDRESSES_MAX);
    for (size_t i = 0; i < n && err.code == ERR_OK; i++)
        (void)!node_check_address(addresses[i], &err);
    json_open(&g->text, NULL, '{');
    json_open(&g->text, "addresses", '[');
    for (size_t i = 0; i < n && err.code == ERR_OK; i++)
        json_put_str(&g->text, NULL, node_canonical(addresses[i], canonical));
    json_close(&g->text, ']');
    json_close(&g->text, '}');
    if (g->text.overflow && err.code == ERR_OK)
        err_set(&err, ERR_TOO_LARGE, "the addresses need more than %d bytes",
                REGISTRY_VALUE_MAX);
    if (err.code != ERR_OK)
        coordinator_request_fail(&g->base, &err);
    else
        group_begin(&g->base);
}

void coordinator_group_delete(struct coordinator *c, const char *name,
                              coordinator_reply_f *done, void *arg)
{
    struct group_request *g = group_request(c, name, done, arg);

    if (g != NULL)
        group_begin(&g->base);
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
    f->records = mem_regrow(f->records, f->n + reply->n_entries + 1,
                            sizeof(*f->records));
    for (size_t i = 0; i < reply->n_entries; i++) {
        const struct registry_entry *e = &reply->entries[i];

        if (work_failover_read(&f->records[f->n], e->value, e->value_len,
                               err) == 0)
            f->records[f->n++].version = e->version;
    }
}

static void failovers_listed(void *arg, const struct registry_reply *reply)
{
    struct failovers_request *f = arg;
    struct coordinator_reply answer = {0};

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
    answer.failovers = f->records;
    answer.n_failovers = f->n;
    coordinator_request_end(&f->base, &answer);
}

static void failover_got(void *arg, const struct registry_reply *reply)
{
    struct failovers_request *f = arg;
    struct coordinator_reply answer = {0};
    struct err err;

    if (reply->err.code != ERR_OK) {
        coordinator_request_fail(&f->base, &reply->err);
        return;
    }
    failovers_add(f, reply, &err);
    if (f->n == 0) {
        coordinator_request_damaged(&f->base, &err);
        return;
    }
    answer.failovers = f->records;
    answer.n_failovers = f->n;
    coordinator_request_end(&f->base, &answer);
}

void coordinator_failover_list(struct coordinator *c, coordinator_reply_f *done,
                               void *arg)
{
    struct failovers_request *f = mem_zalloc(sizeof(*f));

    coordinator_request_init(c, &f->base, done, arg, failovers_drop, NULL);
    registry_list(c->registry, FAILOVER_PREFIX, NULL, REGISTRY_PAGE_MAX,
                  failovers_listed, f);
}

void coordinator_failover_get(struct coordinator *c, const char *id,
                              coordinator_reply_f *done, void *arg)
{
    struct failovers_request *f = mem_zalloc(sizeof(*f));
    char key[REGISTRY_KEY_MAX + 1];
    struct err err;

    coordinator_request_init(c, &f->base, done, arg, failovers_drop, NULL);
    if (strlen(id) > FAILOVER_ID_MAX || strchr(id, '/') != NULL ||
        id[0] == '\0') {
        err_set(&err, ERR_NOT_FOUND, "no failover of this id");
        coordinator_request_fail(&f->base, &err);
        return;
    }
    registry_get(c->registry, work_failover_key(id, key), failover_got, f);
}
