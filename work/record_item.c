/*
 * record_item.c - one work item: what it is in JSON, and how it changes owner.
 *
 * The payload is copied as text in both directions: nothing of it is ever
 * rounded.
 */
#include "work/record_priv.h"

#include "base/mem.h"

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

/* --- changing owner ------------------------------------------------------ */

void work_item_leave(struct work_item *w, wall_ms now, bool died,
                     const char *failover)
{
    struct work_past *first = &w->history[0];
    size_t n = failover == NULL ? 0 : strlen(failover);

    if (w->state != WORK_ASSIGNED)
        return;
    assert(n <= FAILOVER_ID_MAX);
    memmove(&w->history[1], first, sizeof(*first) * (WORK_HISTORY_MAX - 1));
    w->n_history += w->n_history < WORK_HISTORY_MAX;
    *first = (struct work_past){
        .process = w->process, .epoch = w->epoch, .until = now, .died = died};
    memcpy(first->address, w->owner, sizeof(first->address));
    memcpy(first->failover, n > 0 ? failover : "", n + 1);
    assert(w->n_history > 0 && w->n_history <= WORK_HISTORY_MAX);
}

bool work_epoch_left(uint64_t epoch, uint64_t floor)
{
    return epoch < EPOCH_MAX && floor < EPOCH_MAX;
}

static void raise_epoch(struct work_item *w, uint64_t floor)
{
    assert(work_epoch_left(w->epoch, floor));
    w->epoch = (w->epoch > floor ? w->epoch : floor) + 1;
    if (w->n_history > 0 && w->history[0].next == 0)
        w->history[0].next = w->epoch;
    assert(w->epoch > floor);
}

void work_item_give_again(struct work_item *w, uint64_t floor)
{
    struct work_past *last = &w->history[0];

    assert(!work_state_final(w->state));
    if (w->n_history > 0 && last->next == w->epoch)
        last->next = 0; /* still what came right after */
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
    assert(w->epoch > floor);
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
    assert(w->epoch > floor);
}

/* --- the fields ---------------------------------------------------------- */

/* Without it, it is the epoch after this one. */
static bool next_is_told(const void *record)
{
    const struct work_past *p = record;

    return p->next > p->epoch + 1;
}

#define RECORD work_past
static const struct field past_fields[] = {
    FIELD("address", ADDRESS, address, .required = true),
    FIELD("process", PROCESS, process),
    FIELD("epoch", UINT, epoch, .required = true, .max = EPOCH_MAX),
    FIELD("next", UINT, next, .max = EPOCH_MAX, .when = next_is_told),
    FIELD("until", TIME, until),
    FIELD("died", BOOL, died),
    FIELD("failover", TEXT, failover),
};
static const struct record past_record = RECORD_OF(past_fields);
#undef RECORD

/* Behind these stands the payload. */
#define RECORD work_item
static const struct field item_fields[] = {
    FIELD("id", ID, id, .required = true),
    FIELD("kind", OWNER, kind, .required = true),
    FIELD("group", TEXT, group),
    FIELD("state", NAME, state, .required = true, NAMES(work_state_names)),
    FIELD("owner", ADDRESS, owner),
    FIELD("process", PROCESS, process),
    FIELD("epoch", UINT, epoch, .required = true, .max = EPOCH_MAX),
    FIELD("policy", NAME, policy, NAMES(work_policy_names)),
    FIELD("attempts", UINT, attempts),
    FIELD("history", LIST, history, .of = &past_record, .max = WORK_HISTORY_MAX,
          .count = offsetof(struct RECORD, n_history)),
    FIELD("assigned_at", TIME, assigned_at),
    FIELD("finished_at", TIME, finished_at),
    FIELD("cause", WORDS, cause),
};
static const struct record item_record = RECORD_OF(item_fields);
#undef RECORD

#define RECORD work_summary
static const struct field summary_fields[] = {
    FIELD("state", NAME, state, .required = true, NAMES(work_state_names)),
    FIELD("epoch", UINT, epoch, .required = true, .max = EPOCH_MAX),
    FIELD("finished_at", TIME, finished_at),
};
static const struct record summary_record = RECORD_OF(summary_fields);
#undef RECORD

int work_summary_read(struct work_summary *out, const char *value, size_t len)
{
    *out = (struct work_summary){0};
    return work_record_read(&summary_record, value, len, out, NULL);
}

/* What one field alone cannot tell. */
static int check_item(struct work_item *w, struct err *err)
{
    if (w->epoch == 0)
        return err_set(err, ERR_INVALID, "`epoch` is 0");
    if (w->state == WORK_ASSIGNED &&
        (w->owner[0] == '\0' || !w->process.known)) {
        return err_set(err, ERR_INVALID,
                       "it is assigned, but `owner` or `process` is "
                       "missing");
    }
    if ((w->state == WORK_WAITING || w->state == WORK_HELD) &&
        w->owner[0] != '\0') {
        return err_set(err, ERR_INVALID, "it is %s, but has an `owner`",
                       work_state_name(w->state));
    }
    for (size_t i = 0; i < w->n_history; i++)
        if (w->history[i].next == 0)
            w->history[i].next = w->history[i].epoch + 1;
    return node_clean_group(w->group, w->group, err);
}

int work_item_read(struct work_item *out, const char *value, size_t len,
                   struct err *err)
{
    const struct json *o;
    int rc = json_parse(value, len, &o, err);

    *out = (struct work_item){0};
    if (rc == 0)
        rc = work_record_take(&item_record, o, out, err);
    rc = rc != 0 ? rc : check_item(out, err);
    if (rc == 0 && json_get(o, "payload") != NULL)
        rc = work_payload_take(json_get(o, "payload"), &out->payload, err);
    json_free(o);
    if (rc != 0) {
        err_wrap(err, "work item %s", out->id[0] == '\0' ? "(no id)" : out->id);
        work_item_close(out);
    }
    return rc;
}

void work_item_write(struct buf *out, const struct work_item *w)
{
    assert(w->epoch > 0 && w->epoch <= EPOCH_MAX);
    assert(w->n_history <= WORK_HISTORY_MAX);
    json_open(out, NULL, '{');
    work_record_write(&item_record, out, w);
    json_put_raw(out, "payload", w->payload == NULL ? "null" : w->payload);
    json_close(out, '}');
}
