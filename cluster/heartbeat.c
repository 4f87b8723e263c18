/*
 * heartbeat.c - one table of the fields that we read, whoever wrote them.
 *
 * Each field is taken for itself: a bad one is refused with a text that says
 * what stands there and what was expected, and no other depends on it.
 */
#include "cluster/heartbeat.h"

#include "base/json/json.h"
#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define EXACT_MAX      9007199254740991.0 /* 2^53 - 1: beyond, integers blur */
#define POOL_MAX       100.0
#define WEIGHT_MAX     10000
#define WEIGHT_DEFAULT 100
#define SLOTS_MAX      1000000
#define TTL_MAX_MS     (INT64_C(24) * 60 * 60 * 1000)

static const char *const reason_names[HEARTBEAT_REASON_COUNT] = {
#define X(code, name) [code] = name,
    HEARTBEAT_REASONS(X)
#undef X
};

const char *heartbeat_reason_name(enum heartbeat_reason reason)
{
    assert(reason >= 0 && reason < HEARTBEAT_REASON_COUNT);
    return reason_names[reason];
}

/* --- problems ------------------------------------------------------------ */

/* The value that was refused, for people: short, on one line. */
static void show_value(struct buf *b, const struct json *item)
{
    if (json_is(item, JSON_STRING)) {
        buf_printf(b, "\"%.32s%s\"", item->string,
                   strlen(item->string) > 32 ? "..." : "");
    } else if (json_is(item, JSON_NUMBER)) {
        if (isfinite(item->number))
            buf_printf(b, "%.*s%s", item->len > 32 ? 32 : (int)item->len,
                       item->text, item->len > 32 ? "..." : "");
        else
            buf_str(b, "infinite");
    } else {
        buf_str(b, json_is(item, JSON_BOOL)
                       ? (json_true(item) ? "true" : "false")
                   : json_is(item, JSON_ARRAY) ? "an array"
                   : json_is(item, JSON_NULL)  ? "null"
                                               : "an object");
    }
}

/* The first refusal is the one that is counted. `wanted` is a whole clause for
 * people; `item` what stands there instead, or NULL. */
static void refuse(struct heartbeat *hb, enum heartbeat_reason reason,
                   const char *field, const struct json *item,
                   const char *wanted)
{
    struct heartbeat_problem *p;
    struct buf text;

    if (hb->reason == HEARTBEAT_OK) {
        hb->reason = reason;
        hb->field = field;
    }
    for (size_t i = 0; i < hb->n_problems; i++)
        if (hb->problems[i].field == field) /* one per field */
            return;
    if (hb->n_problems == HEARTBEAT_PROBLEMS_MAX)
        return;
    p = &hb->problems[hb->n_problems++];
    p->reason = reason;
    p->field = field;
    buf_init(&text, sizeof(p->text) - 1);
    if (field != NULL)
        buf_printf(&text, "%s: ", field);
    if (item != NULL) {
        show_value(&text, item);
        buf_str(&text, " where ");
    }
    buf_str(&text, wanted);
    if (item != NULL)
        buf_str(&text, " is expected");
    snprintf(p->text, sizeof(p->text), "%s", buf_text(&text));
    buf_close(&text);
}

/* --- numbers ------------------------------------------------------------- */

/* What a number may be, and what that is called. */
struct bounds {
    double min, max;
    const char *wanted;
};

/* False: missing (`*out` stays), or refused. */
static bool read_number(struct heartbeat *hb, const struct json *o,
                        const char *field, const struct bounds *in, double *out)
{
    const struct json *item = json_get(o, field);

    if (item == NULL || json_is(item, JSON_NULL))
        return false;
    /* A JVM writes NaN and Infinity as strings; 1e999 reads as infinite. */
    if (!json_is(item, JSON_NUMBER) || !isfinite(item->number)) {
        refuse(hb, HEARTBEAT_NOT_A_NUMBER, field, item, in->wanted);
        return false;
    }
    if (item->number < in->min || item->number > in->max) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, item, in->wanted);
        return false;
    }
    *out = item->number;
    return true;
}

static bool read_whole(struct heartbeat *hb, const struct json *o,
                       const char *field, const struct bounds *in, int64_t *out)
{
    double number;

    if (!read_number(hb, o, field, in, &number))
        return false;
    if (json_whole(json_get(o, field), out))
        return true;
    refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, json_get(o, field), in->wanted);
    return false;
}

/* --- what a heartbeat holds ---------------------------------------------- */

static const struct bounds of_startup = {
    1, EXACT_MAX, "a whole number from 1 to 2^53 - 1 (milliseconds)"};
static const struct bounds of_id = {-EXACT_MAX, EXACT_MAX,
                                    "a whole number within 2^53 - 1"};
static const struct bounds of_time = {
    0, EXACT_MAX, "a whole number of milliseconds from 0 to 2^53 - 1"};
static const struct bounds of_ratio = {
    -1, 1, "a number from 0 to 1, or -1 for unknown,"};
static const struct bounds of_weight = {0, WEIGHT_MAX,
                                        "a whole number from 0 to 10000"};
static const struct bounds of_slots = {0, SLOTS_MAX,
                                       "a whole number from 0 to 1000000"};
static const struct bounds of_pool = {0, POOL_MAX, "a number from 0 to 100"};
static const struct bounds of_count = {0, EXACT_MAX, "a number from 0"};
static const struct bounds of_ttl = {
    1, TTL_MAX_MS, "a duration up to 24h (\"30s\", or milliseconds)"};

/* Without a startupTime: one that is written in another way, or none. */
static const char *no_startup(const struct json *o)
{
    const char *meant = NULL;

    for (const struct json *m = json_first(o); m != NULL; m = m->next)
        if (m->key != NULL && !heartbeat_knows(m->key, &meant) &&
            meant != NULL && strcmp(meant, "startupTime") == 0)
            return "missing (a member of nearly this name is there); without "
                   "it nobody knows which process this is";
    return "missing; without it nobody knows which process this is";
}

static void read_identity(struct heartbeat *hb, const struct json *o)
{
    struct process *p = &hb->process;
    const struct json *startup = json_get(o, "startupTime");
    bool has_id = json_get(o, "processId") != NULL;
    bool started, id;

    if (startup == NULL || json_is(startup, JSON_NULL))
        refuse(hb, HEARTBEAT_NO_IDENTITY, "startupTime", NULL, no_startup(o));
    started = read_whole(hb, o, "startupTime", &of_startup, &p->startup_time);
    id = read_whole(hb, o, "processId", &of_id, &p->process_id) || !has_id;
    p->known = started && id;
    if (!p->known)
        *p = (struct process){0};
    (void)read_whole(hb, o, "reportTime", &of_time, &hb->report_time);
}

static bool status_by_number(double number, enum node_status *out)
{
    if (number != 0 && number != 1 && number != 2)
        return false;
    *out = number == 0 ? NODE_NORMAL : NODE_BUSY; /* 1: abnormal */
    return true;
}

static bool status_by_name(const char *name, enum node_status *out)
{
    if (strcmp(name, "NORMAL") == 0)
        *out = NODE_NORMAL;
    else if (strcmp(name, "BUSY") == 0 || strcmp(name, "ABNORMAL") == 0)
        *out = NODE_BUSY;
    else
        return false;
    return true;
}

static void read_status(struct heartbeat *hb, const struct json *o)
{
    const struct json *item = json_get(o, "serverStatus");

    if (item == NULL || json_is(item, JSON_NULL))
        return;
    if (json_is(item, JSON_NUMBER))
        hb->has_status = status_by_number(item->number, &hb->status);
    else if (json_is(item, JSON_STRING))
        hb->has_status = status_by_name(item->string, &hb->status);
    hb->status_refused = !hb->has_status;
    if (hb->status_refused)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, "serverStatus", item,
               "\"NORMAL\", \"BUSY\", \"ABNORMAL\" or 0, 2, 1");
}

/* A member of the load: false: not told, or refused, which is marked. */
static bool read_load_number(struct heartbeat *hb, const struct json *o,
                             const char *field, const struct bounds *in,
                             enum load_field bit, double *out)
{
    const struct json *item = json_get(o, field);

    if (read_number(hb, o, field, in, out))
        return true;
    if (item != NULL && !json_is(item, JSON_NULL))
        hb->refused |= bit;
    return false;
}

static bool read_load_whole(struct heartbeat *hb, const struct json *o,
                            const char *field, const struct bounds *in,
                            enum load_field bit, int32_t *out)
{
    const struct json *item = json_get(o, field);
    int64_t whole;

    if (read_whole(hb, o, field, in, &whole)) {
        *out = (int32_t)whole;
        return true;
    }
    if (item != NULL && !json_is(item, JSON_NULL))
        hb->refused |= bit;
    return false;
}

/* A share of something, where -1 and anything negative is "unknown". */
static double read_ratio(struct heartbeat *hb, const struct json *o,
                         const char *field, enum load_field bit)
{
    double ratio;

    if (!read_load_number(hb, o, field, &of_ratio, bit, &ratio) || ratio < 0)
        return LOAD_UNKNOWN;
    return ratio;
}

static void read_load(struct heartbeat *hb, const struct json *o)
{
    struct load *load = &hb->load;
    int32_t slots = -1;
    double waiting;

    load->cpu = read_ratio(hb, o, "cpuUsage", LOAD_CPU);
    load->memory = read_ratio(hb, o, "memoryUsage", LOAD_MEMORY);
    load->disk = read_ratio(hb, o, "diskUsage", LOAD_DISK);
    (void)read_load_whole(hb, o, "workerHostWeight", &of_weight, LOAD_WEIGHT,
                          &load->weight);
    if (read_load_whole(hb, o, "workerExecThreadCount", &of_slots, LOAD_SLOTS,
                        &slots))
        load->slots = slots;
    if (read_load_whole(hb, o, "slots", &of_slots, LOAD_SLOTS, &slots))
        load->slots = slots;
    if (slots >= 0)
        hb->refused &= ~(unsigned)LOAD_SLOTS; /* one of the two will do */
    /* Up to 3.1 a worker tells its queue only: when something waits, all its
     * threads are taken; when nothing waits, nothing is known. */
    if (read_load_number(hb, o, "workerWaitingTaskCount", &of_count, LOAD_POOL,
                         &waiting) &&
        waiting > 0 && load->slots > 0)
        load->pool = fmin(1.0 + waiting / load->slots, POOL_MAX);
    if (read_load_number(hb, o, "threadPoolUsage", &of_pool, LOAD_POOL,
                         &load->pool))
        hb->refused &= ~(unsigned)LOAD_POOL;
}

static void read_ttl(struct heartbeat *hb, const struct json *o)
{
    const struct json *item = json_get(o, "ttl");
    int64_t ms;

    if (!json_is(item, JSON_STRING)) {
        (void)read_whole(hb, o, "ttl", &of_ttl, &hb->ttl_ms);
        return;
    }
    if (units_duration(item->string, &ms, NULL) != 0 || ms < 1 ||
        ms > TTL_MAX_MS)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, "ttl", item, of_ttl.wanted);
    else
        hb->ttl_ms = ms;
}

/* What is none, is not told: whoever writes over HTTP hears of it before. */
static void read_place(struct heartbeat *hb, const struct json *o)
{
    const char *text = json_str(o, "place");

    if (text == NULL || registry_place_parse(text, &hb->seen, NULL) != 0)
        hb->seen = (struct registry_place){0};
}

/* --- groups -------------------------------------------------------------- */

static void add_group(struct heartbeat *hb, const struct json *item,
                      const char *field)
{
    char name[NODE_GROUP_MAX + 1] = "";
    struct err err;
    size_t at = 0;

    if (!json_is(item, JSON_STRING)) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, item, "a group's name");
        return;
    }
    if (node_clean_group(item->string, name, &err) != 0) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, NULL, err.msg);
        return;
    }
    if (strcmp(name, "default") == 0)
        return;
    while (at < hb->n_groups && strcmp(hb->groups[at], name) < 0)
        at++;
    if (at < hb->n_groups && strcmp(hb->groups[at], name) == 0)
        return;
    if (hb->n_groups == HEARTBEAT_GROUPS_MAX) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, NULL,
               "more than 32; the others are ignored");
        return;
    }
    memmove(hb->groups[at + 1], hb->groups[at],
            (hb->n_groups - at) * sizeof(hb->groups[0]));
    memcpy(hb->groups[at], name, sizeof(name));
    hb->n_groups++;
}

static void read_groups(struct heartbeat *hb, const struct json *o,
                        const char *field)
{
    const struct json *item = json_get(o, field), *each;

    if (item == NULL || json_is(item, JSON_NULL))
        return;
    if (!json_is(item, JSON_ARRAY)) {
        add_group(hb, item, field);
        return;
    }
    json_each (each, item)
        add_group(hb, each, field);
}

/* --- reading ------------------------------------------------------------- */

/* Whether brackets outside of strings stand deeper than we read. */
static bool too_deep(const char *s, size_t len)
{
    size_t depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        if (quoted && s[i] == '\\')
            i++;
        else if (s[i] == '"')
            quoted = !quoted;
        else if (!quoted && (s[i] == '[' || s[i] == '{')) {
            if (++depth > JSON_DEPTH_MAX)
                return true;
        } else if (!quoted && (s[i] == ']' || s[i] == '}') && depth > 0)
            depth--;
    }
    return false;
}

static void begin(struct heartbeat *out)
{
    memset(out, 0, sizeof(*out));
    out->load = (struct load){
        LOAD_UNKNOWN,  LOAD_UNKNOWN, LOAD_UNKNOWN, LOAD_UNKNOWN, 0,
        WEIGHT_DEFAULT};
}

void heartbeat_read_object(struct heartbeat *out, const struct json *o)
{
    assert(json_is(o, JSON_OBJECT));
    begin(out);
    out->readable = true;
    read_identity(out, o);
    read_status(out, o);
    read_load(out, o);
    read_ttl(out, o);
    read_place(out, o);
    read_groups(out, o, "group");
    read_groups(out, o, "groups");
}

void heartbeat_read(struct heartbeat *out, const char *value, size_t len)
{
    const struct json *o = NULL;

    assert(out != NULL && (value != NULL || len == 0));
    if (len > 0 && json_parse(value, len, &o, NULL) == 0 &&
        json_is(o, JSON_OBJECT)) {
        heartbeat_read_object(out, o);
        json_free(o);
        return;
    }
    json_free(o);
    begin(out);
    if (len == 0)
        refuse(out, HEARTBEAT_EMPTY, NULL, NULL, "the heartbeat is empty");
    else if (too_deep(value, len))
        refuse(out, HEARTBEAT_TOO_DEEP, NULL, NULL,
               "the heartbeat is nested too deeply to be read");
    else
        refuse(out, HEARTBEAT_NOT_JSON, NULL, NULL,
               "the heartbeat is not a JSON object");
}
