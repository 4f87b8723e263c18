/*
 * heartbeat.c - one table of the fields that we read, whoever wrote them.
 *
 * Numbers are taken one by one: the first bad one refuses the load as a whole,
 * because a balancer must not mix this second's processor with another
 * minute's memory. Identity, status and groups do not depend on it.
 */
#include "registry/heartbeat.h"

#include "base/json.h"
#include "base/units.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXACT_MAX      9007199254740991.0 /* 2^53 - 1: beyond, integers blur */
#define DIGITS_EXACT   15
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

/* The first refusal is the one that is told. */
static void refuse(struct heartbeat *hb, enum heartbeat_reason reason,
                   const char *field)
{
    if (hb->reason == HEARTBEAT_OK) {
        hb->reason = reason;
        hb->field = field;
    }
}

/* --- numbers ---------------------------------------------------------------
 */

/* False: missing (`*out` stays), or refused. */
static bool read_number(struct heartbeat *hb, const cJSON *o, const char *field,
                        double min, double max, double *out)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, field);

    if (item == NULL || cJSON_IsNull(item))
        return false;
    /* A JVM writes NaN and Infinity as strings; 1e999 reads as infinite. */
    if (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)) {
        refuse(hb, HEARTBEAT_NOT_A_NUMBER, field);
        return false;
    }
    if (item->valuedouble < min || item->valuedouble > max) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field);
        return false;
    }
    *out = item->valuedouble;
    return true;
}

static bool read_whole(struct heartbeat *hb, const cJSON *o, const char *field,
                       double min, double max, int64_t *out)
{
    double number;

    if (!read_number(hb, o, field, min, max, &number))
        return false;
    if (trunc(number) != number) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field);
        return false;
    }
    *out = (int64_t)number;
    return true;
}

/* A share of something, where -1 and anything negative is "unknown". */
static double read_ratio(struct heartbeat *hb, const cJSON *o,
                         const char *field)
{
    double ratio;

    if (!read_number(hb, o, field, -1.0, 1.0, &ratio) || ratio < 0)
        return LOAD_UNKNOWN;
    return ratio;
}

/* --- what a heartbeat holds --------------------------------------------------
 */

static void read_identity(struct heartbeat *hb, const cJSON *o)
{
    struct process *p = &hb->process;
    bool has_id = cJSON_HasObjectItem(o, "processId");

    if (!read_whole(hb, o, "startupTime", 1, EXACT_MAX, &p->startup_time))
        refuse(hb, HEARTBEAT_NO_IDENTITY, "startupTime");
    else if (read_whole(hb, o, "processId", -EXACT_MAX, EXACT_MAX,
                        &p->process_id) ||
             !has_id)
        p->known = true;
    if (!p->known)
        *p = (struct process){0};
    (void)read_whole(hb, o, "reportTime", 0, EXACT_MAX, &hb->report_time);
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

static void read_status(struct heartbeat *hb, const cJSON *o)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, "serverStatus");

    if (item == NULL || cJSON_IsNull(item))
        return;
    if (cJSON_IsNumber(item))
        hb->has_status = status_by_number(item->valuedouble, &hb->status);
    else if (cJSON_IsString(item))
        hb->has_status = status_by_name(item->valuestring, &hb->status);
    if (!hb->has_status)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, "serverStatus");
}

static void read_load(struct heartbeat *hb, const cJSON *o)
{
    struct load *load = &hb->load;
    int64_t whole;
    double waiting;

    load->cpu = read_ratio(hb, o, "cpuUsage");
    load->memory = read_ratio(hb, o, "memoryUsage");
    load->disk = read_ratio(hb, o, "diskUsage");
    if (read_whole(hb, o, "workerHostWeight", 0, WEIGHT_MAX, &whole))
        load->weight = (int32_t)whole;
    if (read_whole(hb, o, "slots", 0, SLOTS_MAX, &whole) ||
        read_whole(hb, o, "workerExecThreadCount", 0, SLOTS_MAX, &whole))
        load->slots = (int32_t)whole;
    if (read_number(hb, o, "threadPoolUsage", 0, POOL_MAX, &load->pool))
        return;
    /* Up to 3.1 a worker tells its queue only: when something waits, all its
     * threads are taken; when nothing waits, nothing is known. */
    if (read_number(hb, o, "workerWaitingTaskCount", 0, EXACT_MAX, &waiting) &&
        waiting > 0 && load->slots > 0)
        load->pool = fmin(1.0 + waiting / load->slots, POOL_MAX);
}

static void read_ttl(struct heartbeat *hb, const cJSON *o)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, "ttl");
    int64_t ms;

    if (!cJSON_IsString(item)) {
        (void)read_whole(hb, o, "ttl", 1, TTL_MAX_MS, &hb->ttl_ms);
        return;
    }
    if (units_duration(item->valuestring, &ms, NULL) != 0 || ms < 1 ||
        ms > TTL_MAX_MS)
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, "ttl");
    else
        hb->ttl_ms = ms;
}

/* --- groups ----------------------------------------------------------------
 */

static void add_group(struct heartbeat *hb, const cJSON *item,
                      const char *field)
{
    char name[NODE_GROUP_MAX + 1] = "";
    size_t at = 0;

    if (!cJSON_IsString(item) ||
        node_clean_group(item->valuestring, name, NULL) != 0) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field);
        return;
    }
    if (strcmp(name, "default") == 0)
        return;
    while (at < hb->n_groups && strcmp(hb->groups[at], name) < 0)
        at++;
    if (at < hb->n_groups && strcmp(hb->groups[at], name) == 0)
        return;
    if (hb->n_groups == HEARTBEAT_GROUPS_MAX) {
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, field);
        return;
    }
    memmove(hb->groups[at + 1], hb->groups[at],
            (hb->n_groups - at) * sizeof(hb->groups[0]));
    memcpy(hb->groups[at], name, sizeof(name));
    hb->n_groups++;
}

static void read_groups(struct heartbeat *hb, const cJSON *o, const char *field)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(o, field), *each;

    if (item == NULL || cJSON_IsNull(item))
        return;
    if (!cJSON_IsArray(item)) {
        add_group(hb, item, field);
        return;
    }
    cJSON_ArrayForEach(each, item)
    {
        add_group(hb, each, field);
    }
}

/* --- reading ----------------------------------------------------------------
 */

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

/* More digits than a double holds for certain: it may have been rounded. */
static bool has_long_number(const char *s, size_t len)
{
    size_t digits = 0;

    for (size_t i = 0; i < len; i++) {
        if (s[i] >= '0' && s[i] <= '9') {
            if (++digits > DIGITS_EXACT)
                return true;
        } else if (s[i] != '.') {
            digits = 0;
        }
    }
    return false;
}

/* A whole number that only became one by being read as a double is refused as
 * any other that is none. */
static void check_whole(struct heartbeat *hb, const char *value, size_t len)
{
    static const char *const fields[] = {
        "startupTime", "processId", "reportTime",           "workerHostWeight",
        "slots",       "ttl",       "workerExecThreadCount"};
    struct json_span number;
    int64_t whole;

    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        if (!json_field(value, len, fields[i], &number) ||
            (*number.s != '-' && (*number.s < '0' || *number.s > '9')) ||
            json_whole(number, &whole))
            continue;
        refuse(hb, HEARTBEAT_OUT_OF_RANGE, fields[i]);
        if (i < 2) /* the identity */
            hb->process = (struct process){0};
    }
}

void heartbeat_read(struct heartbeat *out, const char *value, size_t len)
{
    cJSON *o = NULL;

    assert(out != NULL && (value != NULL || len == 0));
    memset(out, 0, sizeof(*out));
    out->load = (struct load){
        LOAD_UNKNOWN,  LOAD_UNKNOWN, LOAD_UNKNOWN, LOAD_UNKNOWN, 0,
        WEIGHT_DEFAULT};
    if (len == 0) {
        refuse(out, HEARTBEAT_EMPTY, NULL);
        return;
    }
    if (json_parse(value, len, &o, NULL) != 0 || !cJSON_IsObject(o)) {
        refuse(out,
               too_deep(value, len) ? HEARTBEAT_TOO_DEEP : HEARTBEAT_NOT_JSON,
               NULL);
        cJSON_Delete(o);
        return;
    }
    out->readable = true;
    read_identity(out, o);
    read_status(out, o);
    read_load(out, o);
    read_ttl(out, o);
    read_groups(out, o, "group");
    read_groups(out, o, "groups");
    cJSON_Delete(o);
    if (has_long_number(value, len))
        check_whole(out, value, len);
}

/* --- writing ----------------------------------------------------------------
 */

/* What stands before the last colon, without the brackets of an IPv6. */
static void put_host(struct buf *b, const char *address)
{
    const char *colon = strrchr(address, ':');
    char host[NODE_ADDRESS_MAX + 1];
    size_t len;

    assert(colon != NULL && strlen(address) <= NODE_ADDRESS_MAX);
    len = (size_t)(colon - address);
    if (address[0] == '[' && len >= 2) {
        address++;
        len -= 2;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    json_put_str(b, "host", host);
    json_put_int(b, "port", strtol(colon + 1, NULL, 10));
}

void heartbeat_write(struct buf *out, enum node_kind kind, const char *address,
                     const struct heartbeat *hb, int64_t report_time)
{
    assert(hb->process.known);
    assert(hb->n_groups <= HEARTBEAT_GROUPS_MAX);
    json_open(out, NULL, '{');
    json_put_int(out, "processId", hb->process.process_id);
    json_put_int(out, "startupTime", hb->process.startup_time);
    json_put_int(out, "reportTime", report_time);
    json_put_num(out, "cpuUsage", hb->load.cpu);
    json_put_num(out, "memoryUsage", hb->load.memory);
    json_put_num(out, "diskUsage", hb->load.disk);
    if (hb->load_average > 0)
        json_put_num(out, "loadAverage", hb->load_average);
    json_put_str(out, "serverStatus", node_status_name(hb->status));
    put_host(out, address);
    if (kind == NODE_WORKER) {
        json_put_int(out, "workerHostWeight", hb->load.weight);
        if (hb->load.pool >= 0)
            json_put_num(out, "threadPoolUsage", hb->load.pool);
        if (hb->load.slots > 0)
            json_put_int(out, "slots", hb->load.slots);
        json_open(out, "groups", '[');
        for (size_t i = 0; i < hb->n_groups; i++)
            json_put_str(out, NULL, hb->groups[i]);
        json_close(out, ']');
    }
    if (hb->ttl_ms > 0)
        json_put_int(out, "ttl", hb->ttl_ms);
    if (hb->place != NULL && hb->place[0] != '\0')
        json_put_str(out, "place", hb->place);
    json_close(out, '}');
}
