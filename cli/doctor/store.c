/*
 * store.c - the registry, by the configuration alone: its facts, read twice so
 * that there are rates; and between the two a session there, as a coordinator
 * would have one: what its own entries say of others, of a pause, of a store
 * that went back.
 */
#include "cli/doctor/doctor_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "cli/registry_command.h"
#include "registry/registry.h"
#include "work/record.h"

#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define RATE_MS      5000
#define SLOW_MS      500
#define COORDINATORS "/pelorus/coordinators"
#define MANY         1000

struct session {
    struct visit visit; /* first */
    struct doctor *d;
    char name[512];
    mono_ms began, asked;
    size_t others;
};

/* --- what stands in it --------------------------------------------------- */

static void say_coordinator(struct session *s, const struct registry_entry *e)
{
    const struct json *json = NULL;
    const char *version = NULL;
    bool same;

    if (json_parse(e->value, e->value_len, &json, NULL) == 0)
        version = json_str(json, "version");
    same = version != NULL && strcmp(version, PELORUS_VERSION) == 0;
    doctor_say(s->d, same ? FACT_OK : FACT_WARNING, "coordinator",
               e->key + strlen(COORDINATORS) + 1,
               same ? NULL : "bring all coordinators to one version",
               "it runs, version %s%s", version != NULL ? version : "unknown",
               same ? "" : "; this one is " PELORUS_VERSION);
    json_free(json);
}

static void on_history(void *arg, const struct registry_reply *reply)
{
    struct session *s = arg;
    struct history_record h;

    if (reply->err.code == ERR_NOT_FOUND)
        doctor_say(s->d, FACT_OK, "registry_history", s->name, NULL,
                   "no coordinator has used it yet");
    else if (reply->err.code != ERR_OK)
        doctor_say(s->d, FACT_UNKNOWN, "registry_history", s->name, NULL,
                   "not known: %s", reply->err.msg);
    else if (registry_history_read(&h, reply->entries[0].value,
                                   reply->entries[0].value_len, NULL) != 0)
        doctor_say(s->d, FACT_PROBLEM, "registry_history", s->name,
                   "docs/going-back.md", "%s cannot be read", HISTORY_KEY);
    else if (h.went_back.is)
        doctor_say(s->d, FACT_PROBLEM, "registry_history", s->name,
                   "put the right store back, or: pelorus registry "
                   "accept-restore -c FILE",
                   "it went back, seen by %s: %s", h.went_back.by,
                   h.went_back.why);
    else
        doctor_say(s->d, FACT_OK, "registry_history", s->name, NULL,
                   "it is what it was; incarnation %.8s", h.incarnation);
    cli_visit_end(&s->visit, NULL);
}

static void on_settings(void *arg, const struct registry_reply *reply)
{
    struct session *s = arg;
    wall_ms now = clock_wall_ms();
    struct settings set;

    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        doctor_say(s->d, FACT_UNKNOWN, "pause", s->name, NULL, "not known: %s",
                   reply->err.msg);
    } else if (reply->n_entries == 1 &&
               work_settings_read(&set, reply->entries[0].value,
                                  reply->entries[0].value_len, NULL) != 0) {
        doctor_say(s->d, FACT_PROBLEM, "pause", s->name,
                   "correct it with pelorus settings", "%s cannot be read",
                   SETTINGS_KEY);
    } else if (reply->n_entries == 1 && work_settings_paused(&set, now)) {
        doctor_say(s->d, FACT_WARNING, "pause", s->name, "pelorus resume",
                   "failovers are paused for all, by %s", set.who);
    } else if (reply->n_entries == 1 && work_settings_overridden(&set, now)) {
        doctor_say(s->d, FACT_WARNING, "pause", s->name, "pelorus brake --undo",
                   "the brake is overridden, by %s", set.who);
    } else {
        doctor_say(s->d, FACT_OK, "pause", s->name, NULL,
                   "failovers are not paused");
    }
    registry_get(s->visit.registry, HISTORY_KEY, on_history, s);
}

static void on_coordinators(void *arg, const struct registry_reply *reply)
{
    struct session *s = arg;
    mono_ms took = clock_mono_ms() - s->asked;

    for (size_t i = 0; i < reply->n_entries; i++)
        say_coordinator(s, &reply->entries[i]);
    if (reply->err.code != ERR_OK)
        doctor_say(s->d, FACT_PROBLEM, "coordinator", s->name, NULL, "%s",
                   reply->err.msg);
    else if (reply->n_entries == 0)
        doctor_say(s->d, FACT_OK, "coordinator", s->name, NULL,
                   "none runs on this registry now");
    doctor_say(s->d, took > SLOW_MS ? FACT_WARNING : FACT_OK,
               "registry_answers", s->name,
               took > SLOW_MS ? "is it overloaded, or far away?" : NULL,
               "a read takes %" PRId64 " ms", took);
    registry_get(s->visit.registry, SETTINGS_KEY, on_settings, s);
}

static void begin(struct visit *v)
{
    struct session *s = (struct session *)v;

    doctor_say(s->d, FACT_OK, "registry", s->name, NULL,
               "it gives us a session, after %" PRId64 " ms; its timeout is "
               "%.1f s",
               clock_mono_ms() - s->began,
               (double)registry_session_timeout(v->registry) / 1000);
    s->asked = clock_mono_ms();
    registry_list(v->registry, COORDINATORS, NULL, MANY, on_coordinators, s);
}

static void failed(struct visit *v, const struct err *why)
{
    struct session *s = (struct session *)v;

    doctor_say(s->d, FACT_PROBLEM, "registry", s->name, NULL, "%s", why->msg);
}

/* --- its facts ----------------------------------------------------------- */

static void say_facts(struct doctor *d, const struct registry_facts *facts)
{
    for (size_t i = 0; i < facts->n; i++) {
        const struct registry_fact *f = &facts->facts[i];

        doctor_say(d, f->verdict, f->name, facts->where, f->advice, "%s",
                   f->text);
    }
}

/* SQLite would make the file. */
static bool is_there(struct doctor *d, const struct conf *conf)
{
    const struct conf_registry *r = &conf->registry;

    if (r->type != CONF_SQLITE || access(r->path, F_OK) == 0)
        return true;
    doctor_say(d, FACT_OK, "registry", r->path, NULL,
               "the file is not there yet; the first start makes it");
    return false;
}

void doctor_store(struct doctor *d, struct conf *conf)
{
    struct session s = {
        .visit = {.conf = conf, .begin = begin, .failed = failed}, .d = d};
    struct registry_facts *facts = mem_zalloc(2 * sizeof(*facts));
    bool again = conf->registry.type != CONF_SQLITE; /* rates matter */
    mono_ms left;

    if (is_there(d, conf)) {
        conf->log_level = LOG_ERROR;
        cli_visit_name(conf, s.name, sizeof(s.name));
        registry_facts_read(&conf->registry, NULL, &facts[0]);
        s.began = clock_mono_ms();
        (void)cli_visit_run(&s.visit);
        left = facts[0].sample.at + RATE_MS - clock_mono_ms();
        again = again && facts[0].sample.position > 0;
        if (again && left > 0)
            (void)poll(NULL, 0, (int)left);
        if (again)
            registry_facts_read(&conf->registry, &facts[0].sample, &facts[1]);
        say_facts(d, facts[1].n > 0 ? &facts[1] : &facts[0]);
    }
    mem_free(facts);
}
