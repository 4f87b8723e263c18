/*
 * record_failover.c - the evidence of one failover, and the settings, in JSON.
 *
 * Words for people (reasons, the hook's last lines) are cut when they do not
 * fit; identities, numbers and phases that make no sense are errors.
 */
#include "work/cause.h"
#include "work/record_priv.h"

#include <string.h>

static const char *const phase_names[] = {
    [FAILOVER_HELD] = "held",     [FAILOVER_QUEUED] = "queued",
    [FAILOVER_INTENT] = "intent", [FAILOVER_MOVING] = "moving",
    [FAILOVER_DONE] = "done",     [FAILOVER_ABORTED] = "aborted",
};

const char *work_failover_phase_name(enum failover_phase p)
{
    assert((size_t)p < ARRAY_LEN(phase_names));
    return phase_names[p];
}

/* --- the words ----------------------------------------------------------- */

static const struct work_cause causes[] = {
#define CAUSE(name, ...) [name] = {__VA_ARGS__},
    FAILOVER_CAUSES(CAUSE)};

static const char *const why_words[] = {
#define WHY(name, word) [name] = (word),
    FAILOVER_WHYS(WHY)};

const struct work_cause *work_cause(enum failover_cause c)
{
    assert((size_t)c < ARRAY_LEN(causes));
    return &causes[c];
}

enum failover_cause work_cause_of(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(causes); i++)
        if (strcmp(causes[i].word, word) == 0)
            return (enum failover_cause)i;
    return CAUSE_NONE;
}

void work_failover_abort(struct failover_record *r, enum failover_why why,
                         wall_ms now)
{
    assert((size_t)why < ARRAY_LEN(why_words));
    assert(!failover_phase_final(r->phase));
    r->phase = FAILOVER_ABORTED;
    r->finished = now;
    memcpy(r->why, why_words[why], strlen(why_words[why]) + 1);
}

bool work_failover_aborted(const struct failover_record *r,
                           enum failover_why why)
{
    return r->phase == FAILOVER_ABORTED && strcmp(r->why, why_words[why]) == 0;
}

/* --- the fields ---------------------------------------------------------- */

/* Only who is held as one of many. */
static bool mass_is_known(const void *record)
{
    return ((const struct failover_record *)record)->known > 0;
}

#define RECORD failover_target
static const struct field target_fields[] = {
    FIELD("address", ADDRESS, address, .required = true),
    FIELD("items", UINT, items),
};
static const struct record target_record = RECORD_OF(target_fields);
#undef RECORD

#define RECORD failover_record
static const struct field seen_fields[] = {
    FIELD("last_heartbeat", TIME, last_heartbeat),
    FIELD("gate_version", UINT, gate_version),
    FIELD("registry_revision", UINT, registry_revision),
    FIELD("session", UINT, session),
    FIELD("missing", UINT, missing, .when = mass_is_known),
    FIELD("known", UINT, known, .when = mass_is_known),
};
static const struct record seen_record = RECORD_OF(seen_fields);

static const struct field failover_fields[] = {
    FIELD("id", ID, id, .required = true),
    FIELD("kind", KIND, kind, .required = true),
    FIELD("address", ADDRESS, address, .required = true),
    FIELD("process", PROCESS, process),
    FIELD("state", NAME, phase, .required = true, NAMES(phase_names)),
    FIELD("cause", WORDS, cause),
    FIELD("then", WORDS, then, .sparse = true),
    FIELD("why", WORDS, why, .sparse = true),
    FIELD("if_match", WORDS, if_match, .sparse = true),
    FIELD("who", WORDS, who),
    FIELD("reason", WORDS, reason),
    {.key = "seen", .type = FIELD_PART, .of = &seen_record},
    FIELD("coordinator", WORDS, coordinator),
    FIELD("fence", UINT, fence),
    FIELD("resumed", UINT, resumed),
    FIELD("moved", UINT, moved),
    FIELD("held", UINT, held),
    FIELD("dropped", UINT, dropped),
    FIELD("waiting", UINT, waiting),
    FIELD("targets", LIST, targets, .of = &target_record,
          .max = FAILOVER_TARGETS_MAX,
          .count = offsetof(struct RECORD, n_targets)),
    FIELD("digest", HEX, digest),
    FIELD("began", TIME, began),
    FIELD("fenced_at", TIME, fenced_at),
    FIELD("finished", TIME, finished),
    FIELD("hook_exit", EXIT, hook_exit),
    FIELD("hook_tail", WORDS, hook_tail),
};
static const struct record failover_table = RECORD_OF(failover_fields);
#undef RECORD

#define RECORD settings
static const struct field settings_fields[] = {
    FIELD("paused", BOOL, paused),
    FIELD("paused_until", TIME, paused_until),
    FIELD("brake_override_until", TIME, brake_override_until),
    FIELD("who", WORDS, who),
    FIELD("reason", WORDS, reason),
    FIELD("policy", TEXT, policy),
    FIELD("shadow", TEXT, shadow, .sparse = true),
};
static const struct record settings_record = RECORD_OF(settings_fields);
#undef RECORD

int work_failover_read(struct failover_record *out, const char *value,
                       size_t len, struct err *err)
{
    int rc;

    *out = (struct failover_record){.hook_exit = -1};
    rc = work_record_read(&failover_table, value, len, out, err);
    if (rc == 0 && out->address[0] == '\0')
        rc = err_set(err, ERR_INVALID, "`address` is empty");
    if (rc != 0)
        err_wrap(err, "failover %s", out->id[0] == '\0' ? "(no id)" : out->id);
    return rc;
}

void work_failover_open(struct buf *out, const struct failover_record *r)
{
    assert(r->id[0] != '\0' && r->address[0] != '\0');
    assert(r->n_targets <= FAILOVER_TARGETS_MAX);
    json_open(out, NULL, '{');
    work_record_write(&failover_table, out, r);
}

void work_failover_write(struct buf *out, const struct failover_record *r)
{
    work_failover_open(out, r);
    json_close(out, '}');
}

/* --- settings ------------------------------------------------------------ */

bool work_settings_paused(const struct settings *s, wall_ms wall)
{
    return s->paused && (s->paused_until == 0 || wall < s->paused_until);
}

bool work_settings_overridden(const struct settings *s, wall_ms wall)
{
    return wall < s->brake_override_until;
}

void work_settings_expire(struct settings *s, wall_ms wall)
{
    if (!work_settings_paused(s, wall)) {
        s->paused = false;
        s->paused_until = 0;
    }
    if (!work_settings_overridden(s, wall))
        s->brake_override_until = 0;
}

int work_settings_read(struct settings *out, const char *value, size_t len,
                       struct err *err)
{
    int rc;

    *out = (struct settings){0};
    rc = work_record_read(&settings_record, value, len, out, err);
    if (rc != 0)
        err_wrap(err, SETTINGS_KEY);
    return rc;
}

void work_settings_write(struct buf *out, const struct settings *s)
{
    json_open(out, NULL, '{');
    work_record_write(&settings_record, out, s);
    json_close(out, '}');
}
