/*
 * check_read.c - reads what stands in the registry, for the checker.
 *
 * On purpose without the product's readers: a mistake in those must not hide
 * itself.
 */
#include "tests/sim/check.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static const char *text(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    return cJSON_IsString(item) ? item->valuestring : "";
}

/* Numbers beyond 2^53 stand as strings. */
static uint64_t number(const cJSON *o, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, key);

    if (cJSON_IsString(item))
        return strtoull(item->valuestring, NULL, 10);
    return cJSON_IsNumber(item) ? (uint64_t)item->valuedouble : 0;
}

static void put(char *out, size_t size, const char *from)
{
    snprintf(out, size, "%s", from);
}

static struct check_id process_of(const cJSON *o)
{
    struct check_id id = {0};

    if (cJSON_IsObject(o)) {
        id.known = true;
        id.startup = (int64_t)number(o, "startupTime");
        id.pid = (int64_t)number(o, "processId");
    }
    return id;
}

static struct check_id process_at(const cJSON *o, const char *key)
{
    return process_of(cJSON_GetObjectItemCaseSensitive(o, key));
}

static int one_of(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0)
            return (int)i;
    return -1;
}

static const char *const states[] = {"none", "assigned", "waiting",
                                     "held", "done",     "dropped"};
static const char *const gates[] = {
    "absent", "open", "cordoned", "draining", "restarting", "fenced", "left"};
static const char *const phases[] = {"none",   "held", "queued", "intent",
                                     "moving", "done", "aborted"};

const char *check_state_name(enum check_state s)
{
    return states[s];
}

const char *check_gate_name(enum check_gate_state s)
{
    return gates[s];
}

const char *check_phase_name(enum check_phase p)
{
    return phases[p];
}

static cJSON *parse(const struct registry_entry *e)
{
    return cJSON_ParseWithLength(e->value, e->value_len);
}

static enum node_kind kind_of(const char *name)
{
    return strcmp(name, "master") == 0 ? NODE_MASTER : NODE_WORKER;
}

bool check_read_item(struct check *c, struct check_record *out,
                     const struct registry_entry *e)
{
    cJSON *o = parse(e);
    const cJSON *last =
        cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(o, "history"), 0);
    int state = one_of(text(o, "state"), states, ARRAY_LEN(states));
    const char *owner = text(o, "owner");

    memset(out, 0, sizeof(*out));
    out->kind = kind_of(text(o, "kind"));
    out->owner =
        owner[0] != '\0' ? c->node_of(c->arg, out->kind, owner) : CHECK_NOBODY;
    out->process = process_at(o, "process");
    out->epoch = number(o, "epoch");
    put(out->cause, sizeof(out->cause), text(o, "cause"));
    put(out->policy, sizeof(out->policy), text(o, "policy"));
    put(out->group, sizeof(out->group), text(o, "group"));
    if (last != NULL) {
        out->last_died =
            cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(last, "died"));
        out->last_failover = text(last, "failover")[0] != '\0';
        out->last_epoch = number(last, "epoch");
    }
    cJSON_Delete(o);
    if (state <= 0)
        return false;
    out->state = (enum check_state)state;
    return out->epoch > 0;
}

/* "1500ms", "8s" */
static int64_t duration(const char *of)
{
    char *unit;
    int64_t n = strtoll(of, &unit, 10);

    return strcmp(unit, "ms") == 0  ? n
           : strcmp(unit, "s") == 0 ? n * 1000
                                    : n * 60000;
}

bool check_read_gate(struct check_gate_record *out,
                     const struct registry_entry *e)
{
    cJSON *o = parse(e);
    int state = one_of(text(o, "state"), gates, ARRAY_LEN(gates));
    const cJSON *each;
    bool left;

    memset(out, 0, sizeof(*out));
    out->process = process_at(o, "process");
    out->heir = process_at(o, "heir_of");
    out->cordoned =
        cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "cordoned"));
    out->drain_of = process_at(o, "drain_of");
    if (state == GATE_IS_DRAINING && !out->drain_of.known)
        out->drain_of = out->process;
    out->order = number(o, "order");
    out->for_ms = duration(text(o, "for"));
    left = cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(o, "left"));
    cJSON_ArrayForEach(each, cJSON_GetObjectItemCaseSensitive(o, "past"))
    {
        if (out->n_past < CHECK_PAST)
            out->past[out->n_past++] = process_of(each);
    }
    cJSON_Delete(o);
    out->version = e->version;
    if (state <= 0)
        return false;
    out->state = left && state != GATE_IS_FENCED && state != GATE_IS_RESTARTING
                     ? GATE_IS_LEFT
                     : (enum check_gate_state)state;
    return out->process.known;
}

bool check_read_failover(struct check *c, struct check_failover *out,
                         const struct registry_entry *e)
{
    cJSON *o = parse(e);
    int phase = one_of(text(o, "state"), phases, ARRAY_LEN(phases));

    put(out->id, sizeof(out->id), text(o, "id"));
    out->kind = kind_of(text(o, "kind"));
    out->now.node = c->node_of(c->arg, out->kind, text(o, "address"));
    out->now.process = process_at(o, "process");
    out->now.fence = number(o, "fence");
    put(out->now.cause, sizeof(out->now.cause), text(o, "cause"));
    cJSON_Delete(o);
    if (phase <= 0)
        return false;
    out->now.phase = (enum check_phase)phase;
    return out->now.node >= 0 && out->id[0] != '\0';
}

bool check_read_marker(struct check_marker *out, const struct registry_entry *e)
{
    cJSON *o = parse(e);

    out->epoch = number(o, "epoch");
    out->process = process_at(o, "process");
    cJSON_Delete(o);
    return out->epoch > 0;
}

bool check_read_history(struct check_history *out,
                        const struct registry_entry *e)
{
    cJSON *o = parse(e);

    memset(out, 0, sizeof(*out));
    put(out->incarnation, sizeof(out->incarnation), text(o, "incarnation"));
    out->fence_base = number(o, "fence_base");
    out->marked =
        cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(o, "went_back"));
    cJSON_Delete(o);
    return out->incarnation[0] != '\0';
}

void check_read_heartbeat(struct check_id *out, const struct registry_entry *e)
{
    cJSON *o = parse(e);

    *out = (struct check_id){0};
    if (number(o, "startupTime") != 0)
        *out = process_of(o);
    cJSON_Delete(o);
}
