/*
 * record_item.c - one work item: what it is in JSON, and how it changes owner.
 *
 * The payload stands last and is copied as text in both directions, so the
 * state can be read without it and nothing of it is ever rounded.
 */
#include "work/record_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

void work_item_close(struct work_item *w)
{
    MEM_FREE(w->payload);
    *w = (struct work_item){0};
}

void work_item_copy(struct work_item *to, const struct work_item *from)
{
    assert(to != from);
    mem_free(to->payload);
    *to = *from;
    to->payload = mem_strdup(from->payload);
}

/* --- changing owner ------------------------------------------------------- */

void work_item_leave(struct work_item *w, wall_ms now, bool died,
                     const char *failover)
{
    struct work_past *first = &w->history[0];
    size_t n = failover == NULL ? 0 : strlen(failover);

    if (w->state != WORK_ASSIGNED) {
        return;
    }
    assert(n <= FAILOVER_ID_MAX);
    memmove(&w->history[1], first, sizeof(*first) * (WORK_HISTORY_MAX - 1));
    w->n_history += w->n_history < WORK_HISTORY_MAX;
    *first = (struct work_past){
        .process = w->process, .epoch = w->epoch, .until = now, .died = died};
    memcpy(first->address, w->owner, sizeof(first->address));
    memcpy(first->failover, n > 0 ? failover : "", n + 1);
}

bool work_epoch_left(uint64_t epoch, uint64_t floor)
{
    return epoch < EPOCH_MAX && floor < EPOCH_MAX;
}

static void raise_epoch(struct work_item *w, uint64_t floor)
{
    assert(work_epoch_left(w->epoch, floor));
    w->epoch = (w->epoch > floor ? w->epoch : floor) + 1;
    if (w->n_history > 0 && w->history[0].next == 0) {
        w->history[0].next = w->epoch;
    }
}

void work_item_give_again(struct work_item *w, uint64_t floor)
{
    struct work_past *last = &w->history[0];

    assert(w->state != WORK_DONE && w->state != WORK_DROPPED);
    if (w->n_history > 0 && last->next == w->epoch) {
        last->next = 0; /* still what came right after */
    }
    raise_epoch(w, floor);
}

void work_item_assign(struct work_item *w, const char *address,
                      const struct process *process, uint64_t floor,
                      wall_ms now)
{
    size_t n = strlen(address);

    assert(n > 0 && n <= NODE_ADDRESS_MAX && process->known);
    memcpy(w->owner, address, n + 1);
    w->process = *process;
    w->state = WORK_ASSIGNED;
    raise_epoch(w, floor);
    w->attempts += w->attempts < UINT32_MAX;
    w->assigned_at = now;
    w->cause[0] = '\0';
}

void work_item_unassign(struct work_item *w, enum work_state state,
                        const char *cause, uint64_t floor)
{
    size_t n = strlen(cause);

    assert(state == WORK_WAITING || state == WORK_HELD);
    assert(n < sizeof(w->cause));
    w->owner[0] = '\0';
    w->process = (struct process){0};
    w->state = state;
    raise_epoch(w, floor);
    w->assigned_at = 0;
    memcpy(w->cause, cause, n + 1);
}

/* --- reading -------------------------------------------------------------- */

int work_state_peek(const char *value, size_t len, enum work_state *out)
{
    const char *field;
    char name[16];
    size_t n;

    if (!work_json_field(value, len, "state", &field, &n) || n < 2 ||
        n - 2 >= sizeof(name)) {
        return (int)ERR_INVALID;
    }
    memcpy(name, field + 1, n - 2);
    name[n - 2] = '\0';
    return work_state_parse(name, out);
}

int work_epoch_peek(const char *value, size_t len, uint64_t *out)
{
    const char *field;
    size_t n;

    *out = 0;
    if (!work_json_field(value, len, "epoch", &field, &n)) {
        return (int)ERR_INVALID;
    }
    for (size_t i = 0; i < n; i++) { /* large ones stand in quotes */
        if (field[i] >= '0' && field[i] <= '9' && *out < EPOCH_MAX / 10) {
            *out = *out * 10 + (uint64_t)(field[i] - '0');
        } else if (field[i] != '"') {
            return (int)ERR_INVALID;
        }
    }
    return 0;
}

int work_finished_peek(const char *value, size_t len, wall_ms *out)
{
    char text[CLOCK_RFC3339_SIZE];
    const char *field;
    size_t n;

    if (!work_json_field(value, len, "finished_at", &field, &n) || n < 2 ||
        n - 2 >= sizeof(text)) {
        return (int)ERR_INVALID;
    }
    memcpy(text, field + 1, n - 2);
    text[n - 2] = '\0';
    return clock_parse_rfc3339(text, out) ? 0 : (int)ERR_INVALID;
}

static int read_names(struct work_item *w, const cJSON *o, struct err *err)
{
    char state[16] = "", policy[16] = "reassign", group[256] = "";
    int rc = field_text(o, "id", FIELD_REQUIRED, w->id, sizeof(w->id), err);

    rc = rc != 0 ? rc : work_check_id(w->id, err);
    rc = rc != 0 ? rc : field_owner_kind(o, &w->kind, err);
    rc = rc != 0 ? rc
                 : field_text(o, "group", FIELD_OPTIONAL, group, sizeof(group),
                              err);
    rc = rc != 0 ? rc : node_clean_group(group, w->group, err);
    rc = rc != 0 ? rc
                 : field_text(o, "state", FIELD_REQUIRED, state, sizeof(state),
                              err);
    rc = rc != 0 ? rc
                 : field_text(o, "policy", FIELD_OPTIONAL, policy,
                              sizeof(policy), err);
    if (rc != 0) {
        return rc;
    }
    if (work_state_parse(state, &w->state) != 0) {
        return (int)err_set(err, ERR_INVALID, "`state` \"%s\" is not known",
                            state);
    }
    if (work_policy_parse(policy, &w->policy) != 0) {
        return (int)err_set(err, ERR_INVALID, "`policy` \"%s\" is not known",
                            policy);
    }
    return 0;
}

static int read_owner(struct work_item *w, const cJSON *o, struct err *err)
{
    int rc = field_address(o, "owner", FIELD_OPTIONAL, w->owner, err);

    rc = rc != 0 ? rc : field_process(o, "process", &w->process, err);
    rc = rc != 0
             ? rc
             : field_u64(o, "epoch", FIELD_REQUIRED, EPOCH_MAX, &w->epoch, err);
    if (rc != 0) {
        return rc;
    }
    if (w->epoch == 0) {
        return (int)err_set(err, ERR_INVALID, "`epoch` is 0");
    }
    if (w->state == WORK_ASSIGNED &&
        (w->owner[0] == '\0' || !w->process.known)) {
        return (int)err_set(err, ERR_INVALID,
                            "it is assigned, but `owner` or `process` is "
                            "missing");
    }
    if ((w->state == WORK_WAITING || w->state == WORK_HELD) &&
        w->owner[0] != '\0') {
        return (int)err_set(err, ERR_INVALID, "it is %s, but has an `owner`",
                            work_state_name(w->state));
    }
    return 0;
}

static int read_past(struct work_past *p, const cJSON *o, struct err *err)
{
    int rc;

    if (!cJSON_IsObject(o)) {
        return (int)err_set(err, ERR_INVALID, "not an object");
    }
    rc = field_address(o, "address", FIELD_REQUIRED, p->address, err);
    rc = rc != 0 ? rc : field_process(o, "process", &p->process, err);
    rc = rc != 0
             ? rc
             : field_u64(o, "epoch", FIELD_REQUIRED, EPOCH_MAX, &p->epoch, err);
    p->next = p->epoch + 1;
    rc = rc != 0
             ? rc
             : field_u64(o, "next", FIELD_OPTIONAL, EPOCH_MAX, &p->next, err);
    rc = rc != 0 ? rc : field_time(o, "until", &p->until, err);
    rc = rc != 0 ? rc : field_bool(o, "died", &p->died, err);
    rc = rc != 0 ? rc
                 : field_text(o, "failover", FIELD_OPTIONAL, p->failover,
                              sizeof(p->failover), err);
    return rc;
}

static int read_history(struct work_item *w, const cJSON *o, struct err *err)
{
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(o, "history");
    const cJSON *it;

    if (list == NULL || cJSON_IsNull(list)) {
        return 0;
    }
    if (!cJSON_IsArray(list)) {
        return (int)err_set(err, ERR_INVALID, "`history` is not a list");
    }
    cJSON_ArrayForEach(it, list)
    {
        int rc;

        if (w->n_history == WORK_HISTORY_MAX) {
            break; /* a later version may keep more */
        }
        rc = read_past(&w->history[w->n_history], it, err);
        if (rc != 0) {
            (void)err_wrap(err, "`history`, entry %zu", w->n_history);
            return rc;
        }
        w->n_history++;
    }
    return 0;
}

static int read_payload(struct work_item *w, const char *value, size_t len,
                        struct err *err)
{
    const char *text;
    size_t n;

    if (!work_json_field(value, len, "payload", &text, &n)) {
        return 0;
    }
    return work_payload_read(text, n, &w->payload, err);
}

int work_item_read(struct work_item *out, const char *value, size_t len,
                   struct err *err)
{
    cJSON *o;
    int rc;

    *out = (struct work_item){0};
    rc = field_object(value, len, &o, err);
    if (rc == 0) {
        rc = read_names(out, o, err);
        rc = rc != 0 ? rc : read_owner(out, o, err);
        rc = rc != 0 ? rc : read_history(out, o, err);
        rc = rc != 0 ? rc : field_u32(o, "attempts", &out->attempts, err);
        rc =
            rc != 0 ? rc : field_time(o, "assigned_at", &out->assigned_at, err);
        rc =
            rc != 0 ? rc : field_time(o, "finished_at", &out->finished_at, err);
        rc = rc != 0
                 ? rc
                 : field_words(o, "cause", out->cause, sizeof(out->cause), err);
        rc = rc != 0 ? rc : read_payload(out, value, len, err);
        cJSON_Delete(o);
    }
    if (rc != 0) {
        (void)err_wrap(err, "work item %s",
                       out->id[0] == '\0' ? "(no id)" : out->id);
        work_item_close(out);
    }
    return rc;
}

/* --- writing -------------------------------------------------------------- */

static void write_past(struct buf *out, const struct work_past *p)
{
    json_open(out, NULL, '{');
    json_put_str(out, "address", p->address);
    put_process(out, "process", &p->process);
    json_put_u64(out, "epoch", p->epoch);
    if (p->next > p->epoch + 1) {
        json_put_u64(out, "next", p->next);
    }
    put_time(out, "until", p->until);
    json_put_bool(out, "died", p->died);
    json_put_str(out, "failover", p->failover[0] == '\0' ? NULL : p->failover);
    json_close(out, '}');
}

void work_item_write(struct buf *out, const struct work_item *w)
{
    assert(w->epoch > 0 && w->epoch <= EPOCH_MAX);
    assert(w->n_history <= WORK_HISTORY_MAX);
    json_open(out, NULL, '{');
    json_put_str(out, "id", w->id);
    json_put_str(out, "kind", node_kind_name(w->kind));
    json_put_str(out, "group", w->group);
    json_put_str(out, "state", work_state_name(w->state));
    json_put_str(out, "owner", w->owner[0] == '\0' ? NULL : w->owner);
    put_process(out, "process", &w->process);
    json_put_u64(out, "epoch", w->epoch);
    json_put_str(out, "policy", work_policy_name(w->policy));
    json_put_int(out, "attempts", w->attempts);
    json_open(out, "history", '[');
    for (size_t i = 0; i < w->n_history; i++) {
        write_past(out, &w->history[i]);
    }
    json_close(out, ']');
    put_time(out, "assigned_at", w->assigned_at);
    put_time(out, "finished_at", w->finished_at);
    json_put_str(out, "cause", w->cause[0] == '\0' ? NULL : w->cause);
    json_put_raw(out, "payload", w->payload == NULL ? "null" : w->payload);
    json_close(out, '}');
}
