/*
 * gate.c - the gate's JSON, and the three questions asked of it.
 *
 * A gate decides who may own work, so reading one is all or nothing: a field
 * that is there and not understood refuses the whole, and the address takes no
 * work until a person looked.
 */
#include "cluster/gate.h"

#include "base/json/json.h"
#include "base/planted.h"
#include "base/units.h"

#include <stdio.h>
#include <string.h>

static const char *const state_names[] = {
    [GATE_ABSENT] = "absent",         [GATE_OPEN] = "open",
    [GATE_CORDONED] = "cordoned",     [GATE_DRAINING] = "draining",
    [GATE_RESTARTING] = "restarting", [GATE_FENCED] = "fenced",
};

const char *gate_state_name(enum gate_state state)
{
    assert((size_t)state < ARRAY_LEN(state_names));
    return state_names[state];
}

int gate_state_parse(const char *name, enum gate_state *out)
{
    assert(name != NULL);
    for (size_t i = 0; i < ARRAY_LEN(state_names); i++)
        if (strcmp(name, state_names[i]) == 0) {
            *out = (enum gate_state)i;
            return 0;
        }
    return ERR_INVALID;
}

/* --- reading ------------------------------------------------------------- */

static int read_state(const struct json *o, enum gate_state *out,
                      struct err *err)
{
    const char *name = json_str(o, "state");

    /* that it is absent is never written */
    if (name != NULL && gate_state_parse(name, out) == 0 && *out != GATE_ABSENT)
        return 0;
    return err_set(err, ERR_INVALID, "gate: unknown state \"%s\"",
                   name != NULL ? name : "");
}

static int read_process(const struct json *o, const char *what,
                        struct process *out, struct err *err)
{
    assert(!out->known);
    *out = (struct process){0};
    if (o == NULL)
        return 0;
    out->startup_time = json_int(o, "startupTime", -1);
    out->process_id = json_int(o, "processId", INT64_MIN);
    out->created = json_u64(o, "created", 0);
    if (out->startup_time < 0 || out->process_id == INT64_MIN) {
        *out = (struct process){0};
        return err_set(err, ERR_INVALID,
                       "gate: `%s` is not {created, startupTime, "
                       "processId}",
                       what);
    }
    out->known = true;
    return 0;
}

static int read_past(const struct json *o, struct gate *gate, struct err *err)
{
    const struct json *past = json_given(o, "past"), *each;
    int rc = 0;

    assert(gate->n_past == 0);
    if (past != NULL && !json_is(past, JSON_ARRAY))
        return err_set(err, ERR_INVALID, "gate: `past` is not a list");
    json_each (each, past) {
        if (gate->n_past == GATE_PAST_MAX)
            return err_set(err, ERR_INVALID,
                           "gate: `past` has more than %d processes",
                           GATE_PAST_MAX);
        rc = read_process(json_is(each, JSON_NULL) ? NULL : each, "past",
                          &gate->past[gate->n_past], err);
        if (rc != 0)
            return rc;
        gate->n_past += gate->past[gate->n_past].known;
    }
    return 0;
}

/* Words for people; cut, never refused. */
static void read_words(const struct json *o, const char *key, char *out,
                       size_t size)
{
    const char *text = json_str(o, key);
    size_t len = text != NULL ? strlen(text) : 0;

    assert(size > 0);
    if (len >= size)
        for (len = size - 1; len > 0 && (text[len] & 0xc0) == 0x80;)
            len--;
    if (len > 0)
        memcpy(out, text, len);
    out[len] = '\0';
    assert(len < size);
}

static int read_for(const struct json *o, int64_t *out, struct err *err)
{
    const struct json *item = json_given(o, "for");
    int rc;

    if (item == NULL)
        return 0;
    if (!json_is(item, JSON_STRING))
        return err_set(err, ERR_INVALID, "gate: `for` is no duration");
    rc = units_duration(item->string, out, err);
    if (rc != 0)
        err_wrap(err, "gate: `for`");
    return rc;
}

/* Only whether it is the same is looked at, so nothing is refused for it. */
static void read_ordered(const struct json *o, wall_ms *out)
{
    const char *text = json_str(o, "ordered");

    if (text == NULL || !clock_parse_rfc3339(text, out))
        *out = 0;
}

static int read_flag(const struct json *o, const char *key, bool *out,
                     struct err *err)
{
    const struct json *item = json_get(o, key);

    if (item != NULL && !json_is(item, JSON_BOOL))
        return err_set(err, ERR_INVALID, "gate: `%s` is no boolean", key);
    *out = json_true(item);
    return 0;
}

static int read_object(struct gate *out, const struct json *o, struct err *err)
{
    const struct {
        const char *key;
        struct process *to;
    } processes[] = {{"process", &out->process},
                     {"heir_of", &out->heir_of},
                     {"drain_of", &out->drain_of}};
    int rc = read_flag(o, "cordoned", &out->cordoned, err);

    assert(json_is(o, JSON_OBJECT));
    if (rc == 0)
        rc = read_flag(o, "left", &out->left, err);
    if (rc == 0)
        rc = read_state(o, &out->state, err);
    for (size_t i = 0; i < ARRAY_LEN(processes) && rc == 0; i++)
        rc = read_process(json_given(o, processes[i].key), processes[i].key,
                          processes[i].to, err);
    if (rc == 0)
        rc = read_past(o, out, err);
    if (rc == 0)
        rc = read_for(o, &out->for_ms, err);
    if (out->state == GATE_DRAINING && !out->drain_of.known)
        out->drain_of = out->process;
    out->order = json_u64(o, "order", 0);
    read_ordered(o, &out->ordered);
    read_words(o, "who", out->who, sizeof(out->who));
    read_words(o, "reason", out->reason, sizeof(out->reason));
    read_words(o, "failover", out->failover, sizeof(out->failover));
    return rc;
}

int gate_read(struct gate *out, const char *value, size_t len, struct err *err)
{
    const struct json *o = NULL;
    int rc;

    assert(out != NULL);
    memset(out, 0, sizeof(*out));
    rc = json_parse(value, len, &o, err);
    if (rc != 0)
        err_wrap(err, "gate");
    else if (json_is(o, JSON_OBJECT))
        rc = read_object(out, o, err);
    else
        rc = err_set(err, ERR_INVALID, "gate: not an object");
    json_free(o);
    if (rc != 0)
        memset(out, 0, sizeof(*out));
    assert(rc != 0 || out->state != GATE_ABSENT);
    return rc;
}

/* --- writing ------------------------------------------------------------- */

static void put_process(struct buf *b, const char *key, const struct process *p)
{
    if (!p->known)
        return;
    json_open(b, key, '{');
    json_put_u64(b, "created", p->created);
    json_put_int(b, "startupTime", p->startup_time);
    json_put_int(b, "processId", p->process_id);
    json_close(b, '}');
}

void gate_write(struct buf *out, const struct gate *gate)
{
    char duration[UNITS_DURATION_SIZE], time[CLOCK_RFC3339_SIZE];

    assert(gate->state != GATE_ABSENT);
    assert(gate->n_past <= GATE_PAST_MAX);
    json_open(out, NULL, '{');
    json_put_str(out, "state", gate_state_name(gate->state));
    put_process(out, "process", &gate->process);
    if (gate->cordoned)
        json_put_bool(out, "cordoned", true);
    if (gate->left)
        json_put_bool(out, "left", true);
    put_process(out, "heir_of", &gate->heir_of);
    if (gate->state != GATE_DRAINING ||
        !process_same(&gate->drain_of, &gate->process))
        put_process(out, "drain_of", &gate->drain_of);
    json_open(out, "past", '[');
    for (size_t i = 0; i < gate->n_past; i++)
        put_process(out, NULL, &gate->past[i]);
    json_close(out, ']');
    if (gate->who[0] != '\0')
        json_put_str(out, "who", gate->who);
    if (gate->reason[0] != '\0')
        json_put_str(out, "reason", gate->reason);
    if (gate->ordered > 0)
        json_put_str(out, "ordered", clock_rfc3339(gate->ordered, time));
    if (gate->for_ms > 0)
        json_put_str(out, "for", units_format_duration(gate->for_ms, duration));
    if (gate->order > 0)
        json_put_u64(out, "order", gate->order);
    if (gate->failover[0] != '\0')
        json_put_str(out, "failover", gate->failover);
    json_close(out, '}');
}

/* --- questions ----------------------------------------------------------- */

static size_t find_past(const struct gate *gate, const struct process *p)
{
    size_t i = 0;

    assert(gate->n_past <= GATE_PAST_MAX);
    while (i < gate->n_past && !process_same(&gate->past[i], p))
        i++;
    return i;
}

bool gate_takes(const struct gate *gate, const struct process *p)
{
    if (!p->known)
        return false;
    if (gate->state == GATE_ABSENT)
        return true;
    if (gate->left && !planted(PLANTED_LEFT_TAKES))
        return false;
    return gate->state == GATE_OPEN && !gate->cordoned &&
           process_same(&gate->process, p);
}

bool gate_leave(struct gate *gate, const struct process *p)
{
    if (!p->known || gate->state == GATE_FENCED ||
        gate->state == GATE_RESTARTING)
        return false;
    if (gate->state != GATE_ABSENT && !process_same(&gate->process, p))
        return false;
    if (gate->state == GATE_ABSENT)
        gate->state = GATE_OPEN;
    gate->process = *p;
    gate->heir_of = (struct process){0}; /* whoever is gone inherits nothing */
    gate->left = true;
    assert(gate->state != GATE_ABSENT);
    return true;
}

bool gate_returned(const struct gate *gate, const struct process *p)
{
    return gate->left && process_same(&gate->process, p) &&
           p->created > gate->process.created;
}

bool gate_is_closed(const struct gate *gate)
{
    return gate->state == GATE_FENCED ||
           (gate->left && gate->state != GATE_ABSENT &&
            gate->state != GATE_RESTARTING);
}

bool gate_is_bound(const struct gate *gate)
{
    return gate->cordoned || gate->state == GATE_CORDONED ||
           gate->state == GATE_DRAINING || gate->state == GATE_RESTARTING ||
           gate->drain_of.known || gate->heir_of.known;
}

bool gate_is_same(const struct gate *a, const struct gate *b)
{
    return a->version == b->version && a->created == b->created;
}

bool gate_bars(const struct gate *gate, const struct process *p)
{
    if (gate->state == GATE_FENCED && process_same(&gate->process, p))
        return true;
    return find_past(gate, p) < gate->n_past;
}

void gate_unretire(struct gate *gate, const struct process *p)
{
    size_t at = find_past(gate, p);

    if (at == gate->n_past)
        return;
    gate->n_past--;
    memmove(&gate->past[at], &gate->past[at + 1],
            (gate->n_past - at) * sizeof(gate->past[0]));
    assert(gate->n_past < GATE_PAST_MAX);
}

void gate_retire(struct gate *gate, const struct process *p)
{
    if (!p->known)
        return;
    gate_unretire(gate, p);
    if (gate->n_past == GATE_PAST_MAX)
        gate->n_past--;
    memmove(&gate->past[1], &gate->past[0],
            gate->n_past * sizeof(gate->past[0]));
    gate->past[0] = *p;
    gate->n_past++;
    assert(gate->n_past <= GATE_PAST_MAX);
    assert(process_same(&gate->past[0], p));
}

/* --- keys ---------------------------------------------------------------- */

char *gate_key(enum node_kind kind, const char *address, char *out, size_t n)
{
    int len =
        snprintf(out, n, GATE_PREFIX "/%s/%s", node_kind_name(kind), address);

    assert(len > 0 && (size_t)len < n);
    (void)len;
    return out;
}

int gate_key_parse(const char *key, enum node_kind *kind,
                   char address[NODE_ADDRESS_MAX + 1])
{
    char name[16];
    int at = 0;

    if (sscanf(key, GATE_PREFIX "/%15[^/]/%n", name, &at) != 1 || at == 0 ||
        node_kind_parse(name, kind) != 0 ||
        node_check_address(key + at, NULL) != 0)
        return ERR_INVALID;
    snprintf(address, NODE_ADDRESS_MAX + 1, "%s", key + at);
    return 0;
}
