/*
 * record_failover.c - the evidence of one failover, and the settings, in JSON.
 *
 * Words for people (reasons, the hook's last lines) are cut when they do not
 * fit; identities, numbers and phases that make no sense are errors.
 */
#include "work/record_priv.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const phase_names[] = {
    [FAILOVER_HELD] = "held",     [FAILOVER_QUEUED] = "queued",
    [FAILOVER_INTENT] = "intent", [FAILOVER_MOVING] = "moving",
    [FAILOVER_DONE] = "done",     [FAILOVER_ABORTED] = "aborted",
};

const char *failover_phase_name(enum failover_phase p)
{
    assert((size_t)p < ARRAY_LEN(phase_names));
    return phase_names[p];
}

static int read_phase(struct failover_record *r, const cJSON *o,
                      struct err *err)
{
    char name[16] = "";
    int rc = field_text(o, "state", FIELD_REQUIRED, name, sizeof(name), err);

    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(phase_names); i++) {
        if (strcmp(phase_names[i], name) == 0) {
            r->phase = (enum failover_phase)i;
            return 0;
        }
    }
    return (int)err_set(err, ERR_INVALID, "`state` \"%s\" is not known", name);
}

static int read_id(struct failover_record *r, const cJSON *o, struct err *err)
{
    int rc = field_text(o, "id", FIELD_REQUIRED, r->id, sizeof(r->id), err);

    /* It becomes part of a key. */
    rc = rc != 0 ? rc : work_check_id(r->id, err);
    rc = rc != 0 ? rc : field_node_kind(o, &r->kind, err);
    rc = rc != 0 ? rc
                 : field_address(o, "address", FIELD_REQUIRED, r->address, err);
    rc = rc != 0 ? rc : field_process(o, "process", &r->process, err);
    rc = rc != 0 ? rc : read_phase(r, o, err);
    if (rc == 0 && r->address[0] == '\0') {
        rc = (int)err_set(err, ERR_INVALID, "`address` is empty");
    }
    return rc;
}

static int read_seen(struct failover_record *r, const cJSON *o, struct err *err)
{
    const cJSON *seen = cJSON_GetObjectItemCaseSensitive(o, "seen");
    int rc = 0;

    if (cJSON_IsObject(seen)) {
        rc = field_time(seen, "last_heartbeat", &r->last_heartbeat, err);
        rc = rc != 0 ? rc
                     : field_u64(seen, "gate_version", FIELD_OPTIONAL,
                                 UINT64_MAX, &r->gate_version, err);
        rc = rc != 0 ? rc
                     : field_u64(seen, "registry_revision", FIELD_OPTIONAL,
                                 UINT64_MAX, &r->registry_revision, err);
        rc = rc != 0 ? rc
                     : field_u64(seen, "session", FIELD_OPTIONAL, UINT64_MAX,
                                 &r->session, err);
        rc = rc != 0 ? rc : field_u32(seen, "missing", &r->missing, err);
        rc = rc != 0 ? rc : field_u32(seen, "known", &r->known, err);
    }
    return rc;
}

static int read_targets(struct failover_record *r, const cJSON *o,
                        struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "targets");
    const cJSON *it;

    if (list == NULL || cJSON_IsNull(list)) {
        return 0;
    }
    if (!cJSON_IsArray(list)) {
        return (int)err_set(err, ERR_INVALID, "`targets` is not a list");
    }
    cJSON_ArrayForEach(it, list)
    {
        struct failover_target *t = &r->targets[r->n_targets];
        int rc;

        if (r->n_targets == FAILOVER_TARGETS_MAX) {
            break;
        }
        rc = field_address(it, "address", FIELD_REQUIRED, t->address, err);
        rc = rc != 0 ? rc : field_u32(it, "items", &t->items, err);
        if (rc != 0) {
            (void)err_wrap(err, "`targets`, entry %zu", r->n_targets);
            return rc;
        }
        r->n_targets++;
    }
    return 0;
}

/* Sixteen hexadecimal digits. */
static int read_digest(struct failover_record *r, const cJSON *o,
                       struct err *err)
{
    char text[17] = "0";
    char *end;
    int rc = field_text(o, "digest", FIELD_OPTIONAL, text, sizeof(text), err);

    if (rc != 0) {
        return rc;
    }
    if (text[0] == '\0' || strspn(text, "0123456789abcdef") != strlen(text)) {
        return (int)err_set(err, ERR_INVALID, "`digest` is not hexadecimal");
    }
    r->digest = strtoull(text, &end, 16);
    assert(*end == '\0');
    return 0;
}

static int read_counts(struct failover_record *r, const cJSON *o,
                       struct err *err)
{
    int64_t hook_exit = -1;
    int rc = field_u64(o, "fence", FIELD_OPTIONAL, UINT64_MAX, &r->fence, err);

    rc = rc != 0 ? rc : field_u32(o, "resumed", &r->resumed, err);
    rc = rc != 0 ? rc : field_u32(o, "moved", &r->moved, err);
    rc = rc != 0 ? rc : field_u32(o, "held", &r->held, err);
    rc = rc != 0 ? rc : field_u32(o, "dropped", &r->dropped, err);
    rc = rc != 0 ? rc : field_u32(o, "waiting", &r->waiting, err);
    rc = rc != 0 ? rc : field_time(o, "began", &r->began, err);
    rc = rc != 0 ? rc : field_time(o, "fenced_at", &r->fenced_at, err);
    rc = rc != 0 ? rc : field_time(o, "finished", &r->finished, err);
    rc = rc != 0 ? rc : field_i64(o, "hook_exit", &hook_exit, err);
    if (rc == 0 && (hook_exit < -1 || hook_exit > INT32_MAX)) {
        rc = (int)err_set(err, ERR_INVALID, "`hook_exit` is out of range");
    }
    r->hook_exit = (int)hook_exit;
    return rc;
}

static int read_words(struct failover_record *r, const cJSON *o,
                      struct err *err)
{
    int rc = field_words(o, "cause", r->cause, sizeof(r->cause), err);

    rc = rc != 0 ? rc : field_words(o, "then", r->then, sizeof(r->then), err);
    rc = rc != 0 ? rc : field_words(o, "why", r->why, sizeof(r->why), err);
    rc = rc != 0 ? rc
                 : field_words(o, "if_match", r->if_match, sizeof(r->if_match),
                               err);
    rc = rc != 0 ? rc : field_words(o, "who", r->who, sizeof(r->who), err);
    rc = rc != 0 ? rc
                 : field_words(o, "reason", r->reason, sizeof(r->reason), err);
    rc = rc != 0 ? rc
                 : field_words(o, "coordinator", r->coordinator,
                               sizeof(r->coordinator), err);
    rc = rc != 0 ? rc
                 : field_words(o, "hook_tail", r->hook_tail,
                               sizeof(r->hook_tail), err);
    return rc;
}

int failover_record_read(struct failover_record *out, const char *value,
                         size_t len, struct err *err)
{
    cJSON *o;
    int rc;

    *out = (struct failover_record){.hook_exit = -1};
    rc = field_object(value, len, &o, err);
    if (rc == 0) {
        rc = read_id(out, o, err);
        rc = rc != 0 ? rc : read_words(out, o, err);
        rc = rc != 0 ? rc : read_seen(out, o, err);
        rc = rc != 0 ? rc : read_counts(out, o, err);
        rc = rc != 0 ? rc : read_targets(out, o, err);
        rc = rc != 0 ? rc : read_digest(out, o, err);
        cJSON_Delete(o);
    }
    if (rc != 0) {
        (void)err_wrap(err, "failover %s",
                       out->id[0] == '\0' ? "(no id)" : out->id);
    }
    return rc;
}

/* --- writing -------------------------------------------------------------- */

static void put_words(struct buf *out, const char *key, const char *words)
{
    json_put_str(out, key, words[0] == '\0' ? NULL : words);
}

static void write_seen(struct buf *out, const struct failover_record *r)
{
    json_open(out, "seen", '{');
    put_time(out, "last_heartbeat", r->last_heartbeat);
    json_put_u64(out, "gate_version", r->gate_version);
    json_put_u64(out, "registry_revision", r->registry_revision);
    json_put_u64(out, "session", r->session);
    if (r->known > 0) {
        json_put_int(out, "missing", r->missing);
        json_put_int(out, "known", r->known);
    }
    json_close(out, '}');
}

static void write_done(struct buf *out, const struct failover_record *r)
{
    char digest[17];

    json_put_int(out, "moved", r->moved);
    json_put_int(out, "held", r->held);
    json_put_int(out, "dropped", r->dropped);
    json_put_int(out, "waiting", r->waiting);
    json_open(out, "targets", '[');
    for (size_t i = 0; i < r->n_targets; i++) {
        json_open(out, NULL, '{');
        json_put_str(out, "address", r->targets[i].address);
        json_put_int(out, "items", r->targets[i].items);
        json_close(out, '}');
    }
    json_close(out, ']');
    (void)snprintf(digest, sizeof(digest), "%016" PRIx64, r->digest);
    json_put_str(out, "digest", digest);
    put_time(out, "began", r->began);
    put_time(out, "fenced_at", r->fenced_at);
    put_time(out, "finished", r->finished);
    if (r->hook_exit >= 0) {
        json_put_int(out, "hook_exit", r->hook_exit);
    } else {
        json_put_null(out, "hook_exit");
    }
    put_words(out, "hook_tail", r->hook_tail);
}

void failover_record_open(struct buf *out, const struct failover_record *r)
{
    assert(r->id[0] != '\0' && r->address[0] != '\0');
    assert(r->n_targets <= FAILOVER_TARGETS_MAX);
    json_open(out, NULL, '{');
    json_put_str(out, "id", r->id);
    json_put_str(out, "kind", node_kind_name(r->kind));
    json_put_str(out, "address", r->address);
    put_process(out, "process", &r->process);
    json_put_str(out, "state", failover_phase_name(r->phase));
    put_words(out, "cause", r->cause);
    if (r->then[0] != '\0') {
        put_words(out, "then", r->then);
    }
    if (r->why[0] != '\0') {
        put_words(out, "why", r->why);
    }
    if (r->if_match[0] != '\0') {
        put_words(out, "if_match", r->if_match);
    }
    put_words(out, "who", r->who);
    put_words(out, "reason", r->reason);
    write_seen(out, r);
    put_words(out, "coordinator", r->coordinator);
    json_put_u64(out, "fence", r->fence);
    json_put_int(out, "resumed", r->resumed);
    write_done(out, r);
}

void failover_record_write(struct buf *out, const struct failover_record *r)
{
    failover_record_open(out, r);
    json_close(out, '}');
}

/* --- settings ------------------------------------------------------------- */

bool settings_paused(const struct settings *s, wall_ms wall)
{
    return s->paused && (s->paused_until == 0 || wall < s->paused_until);
}

bool settings_overridden(const struct settings *s, wall_ms wall)
{
    return wall < s->brake_override_until;
}

void settings_lapse(struct settings *s, wall_ms wall)
{
    if (!settings_paused(s, wall)) {
        s->paused = false;
        s->paused_until = 0;
    }
    if (!settings_overridden(s, wall)) {
        s->brake_override_until = 0;
    }
}

int settings_read(struct settings *out, const char *value, size_t len,
                  struct err *err)
{
    cJSON *o;
    int rc;

    *out = (struct settings){0};
    rc = field_object(value, len, &o, err);
    if (rc == 0) {
        rc = field_bool(o, "paused", &out->paused, err);
        rc = rc != 0 ? rc
                     : field_time(o, "paused_until", &out->paused_until, err);
        rc = rc != 0 ? rc
                     : field_time(o, "brake_override_until",
                                  &out->brake_override_until, err);
        rc = rc != 0 ? rc
                     : field_words(o, "who", out->who, sizeof(out->who), err);
        rc = rc != 0 ? rc
                     : field_words(o, "reason", out->reason,
                                   sizeof(out->reason), err);
        rc = rc != 0 ? rc
                     : field_text(o, "policy", FIELD_OPTIONAL, out->policy,
                                  sizeof(out->policy), err);
        cJSON_Delete(o);
    }
    if (rc != 0) {
        (void)err_wrap(err, SETTINGS_KEY);
    }
    return rc;
}

void settings_write(struct buf *out, const struct settings *s)
{
    json_open(out, NULL, '{');
    json_put_bool(out, "paused", s->paused);
    put_time(out, "paused_until", s->paused_until);
    put_time(out, "brake_override_until", s->brake_override_until);
    put_words(out, "who", s->who);
    put_words(out, "reason", s->reason);
    put_words(out, "policy", s->policy);
    json_close(out, '}');
}
