/*
 * heartbeat.c - one table of the fields that we read, whoever wrote them.
 *
 * Each field is taken for itself: a bad one is refused with a text that says
 * what stands there and what was expected, and no other depends on it.
 *
 * A little over 500 lines: it is the rule of each field.
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

/* --- problems ------------------------------------------------------------ */

/* The value that was refused, for people: short, on one line. */
static void show_value(struct buf *b, const struct json *item)
{
    assert(item != NULL);
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

/* `wanted` is a whole clause for people; `item` what stands there instead, or
 * NULL. */
static void refuse(struct heartbeat *hb, enum heartbeat_reason reason,
                   const char *field, const struct json *item,
                   const char *wanted)
{
    struct heartbeat_problem *p;
    struct buf text;

    assert(hb->n_problems <= HEARTBEAT_PROBLEMS_MAX);
    assert(reason != HEARTBEAT_OK);
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

/* Those that are read, and some that are not and stand between them, in the
 * order in which they are written: DolphinScheduler's, then ours. */
enum field {
    PROCESS_ID,
    STARTUP_TIME,
    REPORT_TIME,
    JVM_CPU,
    CPU,
    JVM_MEMORY,
    MEMORY,
    DISK,
    STATUS,
    HOST,
    PORT,
    WEIGHT,
    POOL,
    SLOTS,
    GROUPS,
    TTL,
    PLACE,
    THREADS,
    WAITING_TASKS,
    GROUP,
    RENEWALS,
    FIELDS,
};

static const char *const names[FIELDS] = {
    [PROCESS_ID] = "processId",
    [STARTUP_TIME] = "startupTime",
    [REPORT_TIME] = "reportTime",
    [JVM_CPU] = "jvmCpuUsage",
    [CPU] = "cpuUsage",
    [JVM_MEMORY] = "jvmMemoryUsage",
    [MEMORY] = "memoryUsage",
    [DISK] = "diskUsage",
    [STATUS] = "serverStatus",
    [HOST] = "host",
    [PORT] = "port",
    [WEIGHT] = "workerHostWeight",
    [POOL] = "threadPoolUsage",
    [SLOTS] = "slots",
    [GROUPS] = "groups",
    [TTL] = "ttl",
    [PLACE] = "place",
    [THREADS] = "workerExecThreadCount",
    [WAITING_TASKS] = "workerWaitingTaskCount",
    [GROUP] = "group",
    [RENEWALS] = HEARTBEAT_RENEWALS,
};

/* An object's members: where each is, or NULL. */
struct members {
    const struct json *object;
    const struct json *at[FIELDS];
};

/* As a rule the one behind the last is it. Of two of a name the first counts.
 */
static void find_members(struct members *out, const struct json *object)
{
    const struct json *item;
    size_t next = 0;

    *out = (struct members){.object = object};
    json_each (item, object) {
        size_t f = next;

        do {
            if (item->key[0] == names[f][0] &&
                strcmp(item->key, names[f]) == 0) {
                if (out->at[f] == NULL)
                    out->at[f] = item;
                next = (f + 1) % FIELDS;
                break;
            }
            f = (f + 1) % FIELDS;
        } while (f != next);
    }
}

static const struct json *given(const struct members *o, enum field field)
{
    return json_is(o->at[field], JSON_NULL) ? NULL : o->at[field];
}

/* --- what a heartbeat holds ---------------------------------------------- */

/* A member that is a number: what it may be, what that is called, and which
 * part of the load it is. */
struct member {
    enum field field;
    double min, max;
    const char *wanted;
    unsigned load; /* enum load_field, or 0 */
};

static const struct member startup_time = {
    STARTUP_TIME, 1, EXACT_MAX,
    "a whole number from 1 to 2^53 - 1 (milliseconds)", 0};
static const struct member process_id = {PROCESS_ID, -EXACT_MAX, EXACT_MAX,
                                         "a whole number within 2^53 - 1", 0};
static const struct member report_time = {
    REPORT_TIME, 0, EXACT_MAX,
    "a whole number of milliseconds from 0 to 2^53 - 1", 0};
#define RATIO "a number from 0 to 1, or -1 for unknown,"
static const struct member cpu = {CPU, -1, 1, RATIO, LOAD_CPU};
static const struct member memory = {MEMORY, -1, 1, RATIO, LOAD_MEMORY};
static const struct member disk = {DISK, -1, 1, RATIO, LOAD_DISK};
static const struct member weight = {
    WEIGHT, 0, WEIGHT_MAX, "a whole number from 0 to 10000", LOAD_WEIGHT};
#define COUNT "a whole number from 0 to 1000000"
static const struct member threads = {THREADS, 0, SLOTS_MAX, COUNT, LOAD_SLOTS};
static const struct member slots = {SLOTS, 0, SLOTS_MAX, COUNT, LOAD_SLOTS};
static const struct member waiting_tasks = {WAITING_TASKS, 0, EXACT_MAX,
                                            "a number from 0", LOAD_POOL};
static const struct member pool = {POOL, 0, POOL_MAX, "a number from 0 to 100",
                                   LOAD_POOL};
static const struct member ttl = {
    TTL, 1, TTL_MAX_MS, "a duration up to 24h (\"30s\", or milliseconds)", 0};

static bool refuse_number(struct heartbeat *hb, enum heartbeat_reason reason,
                          const struct member *m, const struct json *item)
{
    assert(item != NULL);
    refuse(hb, reason, names[m->field], item, m->wanted);
    hb->refused |= m->load;
    return false;
}

/* False: missing (`*out` stays), or refused. */
static bool read_number(struct heartbeat *hb, const struct members *o,
                        const struct member *m, double *out)
{
    const struct json *item = given(o, m->field);

    assert(m->min <= m->max);
    if (item == NULL)
        return false;
    /* A JVM writes NaN and Infinity as strings; 1e999 reads as infinite. */
    if (!json_is(item, JSON_NUMBER) || !isfinite(item->number))
        return refuse_number(hb, HEARTBEAT_NOT_A_NUMBER, m, item);
    if (item->number < m->min || item->number > m->max)
        return refuse_number(hb, HEARTBEAT_OUT_OF_RANGE, m, item);
    *out = item->number;
    return true;
}

static bool read_whole(struct heartbeat *hb, const struct members *o,
                       const struct member *m, int64_t *out)
{
    const struct json *item = o->at[m->field];
    double number = 0;

    if (!read_number(hb, o, m, &number))
        return false;
    return json_whole(item, out) ||
           refuse_number(hb, HEARTBEAT_OUT_OF_RANGE, m, item);
}

/* Without a startupTime: one that is written in another way, or none. */
static const char *no_startup(const struct members *o)
{
    const char *meant = NULL;

    assert(given(o, STARTUP_TIME) == NULL);
    for (const struct json *m = json_first(o->object); m != NULL; m = m->next)
        if (m->key != NULL && !heartbeat_knows(m->key, &meant) &&
            meant != NULL && strcmp(meant, "startupTime") == 0)
            return "missing (a member of nearly this name is there); without "
                   "it nobody knows which process this is";
    return "missing; without it nobody knows which process this is";
}

static void read_identity(struct heartbeat *hb, const struct members *o)
{
    struct process *p = &hb->process;
    bool has_id = o->at[PROCESS_ID] != NULL;
    bool started, id;

    assert(!hb->process.known);
    if (given(o, STARTUP_TIME) == NULL)
        refuse(hb, HEARTBEAT_NO_IDENTITY, names[STARTUP_TIME], NULL,
               no_startup(o));
    started = read_whole(hb, o, &startup_time, &p->startup_time);
    id = read_whole(hb, o, &process_id, &p->process_id) || !has_id;
    p->known = started && id;
    if (!p->known)
        *p = (struct process){0};
    (void)read_whole(hb, o, &report_time, &hb->report_time);
    assert(hb->process.known || hb->process.startup_time == 0);
}

static void read_status(struct heartbeat *hb, const struct members *o)
{
    static const struct {
        const char *name;
        double number;
        enum node_status status;
    } known[] = {{"NORMAL", 0, NODE_NORMAL},
                 {"BUSY", 2, NODE_BUSY},
                 {"ABNORMAL", 1, NODE_BUSY}};
    const struct json *item = given(o, STATUS);
    const char *name = json_string(item);

    assert(!hb->has_status);
    if (item == NULL)
        return;
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (name != NULL ? strcmp(name, known[i].name) != 0
                         : !json_is(item, JSON_NUMBER) ||
                               item->number != known[i].number)
            continue;
        hb->has_status = true;
        hb->status = known[i].status;
        return;
    }
    hb->status_refused = true;
    refuse(hb, HEARTBEAT_OUT_OF_RANGE, names[STATUS], item,
           "\"NORMAL\", \"BUSY\", \"ABNORMAL\" or 0, 2, 1");
}

/* A share of something, where -1 and anything negative is "unknown". */
static double read_ratio(struct heartbeat *hb, const struct members *o,
                         const struct member *m)
{
    double ratio = LOAD_UNKNOWN;

    (void)read_number(hb, o, m, &ratio);
    return ratio < 0 ? LOAD_UNKNOWN : ratio;
}

static void read_load(struct heartbeat *hb, const struct members *o)
{
    struct load *load = &hb->load;
    int64_t whole = 0;
    double waiting = 0;
    bool told;

    load->cpu = read_ratio(hb, o, &cpu);
    load->memory = read_ratio(hb, o, &memory);
    load->disk = read_ratio(hb, o, &disk);
    if (read_whole(hb, o, &weight, &whole))
        load->weight = (int32_t)whole;
    told = read_whole(hb, o, &threads, &whole);
    told = read_whole(hb, o, &slots, &whole) || told;
    if (told) {
        load->slots = (int32_t)whole;
        hb->refused &= ~(unsigned)LOAD_SLOTS; /* one of the two will do */
    }
    /* Up to 3.1 a worker tells its queue only: when something waits, all its
     * threads are taken; when nothing waits, nothing is known. */
    if (read_number(hb, o, &waiting_tasks, &waiting) && waiting > 0 &&
        load->slots > 0)
        load->pool = fmin(1.0 + waiting / load->slots, POOL_MAX);
    if (read_number(hb, o, &pool, &load->pool))
        hb->refused &= ~(unsigned)LOAD_POOL;
    assert(load->slots >= 0);
    assert(load->slots <= SLOTS_MAX);
    assert(load->weight >= 0);
    assert(load->weight <= WEIGHT_MAX);
}

static void read_ttl(struct heartbeat *hb, const struct members *o)
{
    const struct json *item = o->at[TTL];
    int64_t ms;

    if (!json_is(item, JSON_STRING))
        (void)read_whole(hb, o, &ttl, &hb->ttl_ms);
    else if (units_duration(item->string, &ms, NULL) != 0 || ms < 1 ||
             ms > TTL_MAX_MS)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, names[TTL], item, ttl.wanted);
    else
        hb->ttl_ms = ms;
    assert(hb->ttl_ms >= 0);
}

/* A whole number from `min` to `max`, or 0. */
static int64_t whole_within(const struct json *o, const char *name, int64_t min,
                            int64_t max)
{
    int64_t n;

    return json_whole(json_get(o, name), &n) && n >= min && n <= max ? n : 0;
}

void heartbeat_read_renewals(struct heartbeat_renewals *out,
                             const struct json *o)
{
    const struct json *ours = json_get(o, HEARTBEAT_RENEWALS);
    int64_t generation = whole_within(ours, "generation", 2, UINT32_MAX - 1);

    *out = (struct heartbeat_renewals){
        .ttl_ms = whole_within(o, "ttl", 1, TTL_MAX_MS),
        .watched_ms = whole_within(ours, "watched", 1, TTL_MAX_MS),
        .generation = generation != 0 ? (uint32_t)generation : 1,
        .doubted = json_true(json_get(ours, "doubted")),
    };
    if (json_given(o, "ttl") == NULL)
        out->ttl_ms = out->lease_ms =
            whole_within(ours, "lease", 1, TTL_MAX_MS);
}

static void read_lease(struct heartbeat *hb, const struct members *o)
{
    struct heartbeat_renewals said = {.generation = 1};

    if (o->at[RENEWALS] != NULL)
        heartbeat_read_renewals(&said, o->object);
    if (said.lease_ms > 0)
        hb->ttl_ms = said.lease_ms;
    hb->watched_ms = hb->ttl_ms > 0 && said.watched_ms > hb->ttl_ms
                         ? said.watched_ms
                         : hb->ttl_ms;
    hb->generation = said.generation;
    hb->doubted = said.doubted;
    assert(hb->watched_ms >= hb->ttl_ms && hb->generation > 0);
}

/* What is none, is not told: whoever writes over HTTP hears of it before. */
static void read_place(struct heartbeat *hb, const struct members *o)
{
    const char *text = json_string(o->at[PLACE]);

    assert(hb->readable);
    if (text == NULL || registry_place_parse(text, &hb->seen, NULL) != 0)
        hb->seen = (struct registry_place){0};
}

/* --- groups -------------------------------------------------------------- */

bool heartbeat_group_add(char (*groups)[NODE_GROUP_MAX + 1], size_t *n,
                         const char *name)
{
    size_t at = 0;

    assert(*n <= HEARTBEAT_GROUPS_MAX);
    if (name[0] == '\0' || strcmp(name, "default") == 0)
        return true;
    while (at < *n && strcmp(groups[at], name) < 0)
        at++;
    if (at < *n && strcmp(groups[at], name) == 0)
        return true;
    if (*n == HEARTBEAT_GROUPS_MAX)
        return false;
    memmove(groups[at + 1], groups[at], (*n - at) * sizeof(groups[0]));
    snprintf(groups[at], sizeof(groups[at]), "%s", name);
    ++*n;
    return true;
}

static void add_group(struct heartbeat *hb, const struct json *item,
                      const char *field)
{
    char name[NODE_GROUP_MAX + 1] = "";
    struct err err;

    if (!json_is(item, JSON_STRING))
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, item, "a group's name");
    else if (node_clean_group(item->string, name, &err) != 0)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, NULL, err.msg);
    else if (!heartbeat_group_add(hb->groups, &hb->n_groups, name))
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field, NULL,
               "more than 32; the others are ignored");
    assert(hb->n_groups <= HEARTBEAT_GROUPS_MAX);
}

static void read_groups(struct heartbeat *hb, const struct members *o,
                        enum field which)
{
    const struct json *item = given(o, which), *each;
    const char *field = names[which];

    assert(hb->readable);
    if (item != NULL && !json_is(item, JSON_ARRAY))
        add_group(hb, item, field);
    json_each (each, json_is(item, JSON_ARRAY) ? item : NULL)
        add_group(hb, each, field);
}

/* --- reading ------------------------------------------------------------- */

const struct load heartbeat_no_load = {
    .cpu = LOAD_UNKNOWN,
    .memory = LOAD_UNKNOWN,
    .disk = LOAD_UNKNOWN,
    .pool = LOAD_UNKNOWN,
    .weight = WEIGHT_DEFAULT,
};

static void begin(struct heartbeat *out)
{
    memset(out, 0, offsetof(struct heartbeat, groups)); /* the rest is long */
    out->problems[0] = (struct heartbeat_problem){.reason = HEARTBEAT_OK};
    out->load = heartbeat_no_load;
    out->generation = 1;
}

void heartbeat_read_object(struct heartbeat *out, const struct json *o)
{
    struct members m;

    assert(json_is(o, JSON_OBJECT));
    begin(out);
    out->readable = true;
    find_members(&m, o);
    read_identity(out, &m);
    read_status(out, &m);
    read_load(out, &m);
    read_ttl(out, &m);
    read_lease(out, &m);
    read_place(out, &m);
    read_groups(out, &m, GROUP);
    read_groups(out, &m, GROUPS);
}

void heartbeat_read(struct heartbeat *out, const char *value, size_t len)
{
    const struct json *o = NULL;
    struct err err;

    assert(out != NULL && (value != NULL || len == 0));
    begin(out);
    if (len == 0) {
        refuse(out, HEARTBEAT_EMPTY, NULL, NULL, "the heartbeat is empty");
    } else if (json_parse(value, len, &o, &err) != 0) {
        err_wrap(&err, "the heartbeat");
        refuse(out, HEARTBEAT_NOT_JSON, NULL, NULL, err.msg);
    } else if (json_is(o, JSON_OBJECT)) {
        heartbeat_read_object(out, o);
    } else {
        refuse(out, HEARTBEAT_NOT_JSON, NULL, NULL,
               "the heartbeat is not a JSON object");
    }
    json_free(o);
    assert(out->readable || out->n_problems == 1);
}
