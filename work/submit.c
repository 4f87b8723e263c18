/*
 * submit.c - new work: given by the balancer, or claimed by its owner.
 *
 * An id is used once. Whoever asks again with the same body gets the item as
 * it stands, finished or not, so that a client may repeat a request whose
 * answer it never saw. The first epoch lies above the floor, whose version the
 * txn checks: a late `done` can never meet a later namesake.
 */
#include "work/work_priv.h"

#include <string.h>

/*
 * 48 bits of the time in milliseconds and 80 of chance, in base 32 with digits
 * that stand in ASCII's order: new keys stand beside each other in the index of
 * a database, so that a commit writes few of its pages. (As UUID version 7,
 * RFC 9562, section 5.7; ULID is of the same parts.)
 */
static void make_id(struct work *w, char out[WORK_ID_MAX + 1])
{
    static const char digits[] = "234567abcdefghijklmnopqrstuvwxyz";
    uint64_t low = rand_u64(&w->rand), high = rand_u64(&w->rand) & 0xffff;
    size_t n = 26;

    high |= (uint64_t)w->config.clock->wall << 16;
    out[n] = '\0';
    while (n-- > 0) {
        out[n] = digits[low & 31];
        low = low >> 5 | high << 59;
        high >>= 5;
    }
    assert(strlen(out) <= WORK_ID_MAX);
}

static bool same_body(const struct work_item *a, const struct work_item *b)
{
    return a->kind == b->kind && a->policy == b->policy &&
           strcmp(a->group, b->group) == 0 &&
           work_payload_same(a->payload, b->payload);
}

/* The item stands already: ours from before an unknown outcome, or older. */
static void reply_existing(struct work_op *op)
{
    bool ours = op->attempt.doubt && op->item.epoch == op->next_item.epoch &&
                op->item.attempts == op->next_item.attempts;

    assert(op->found);
    if (ours && strcmp(op->item.owner, op->target.address) == 0)
        work_op_used(op);
    op->created = ours;
    op->made = 0;
    work_op_reply(op, PROBLEM_NONE, &op->item);
}

static void reply_taken(struct work_op *op, enum problem code, const char *why)
{
    assert(op->found);
    err_set(&op->trouble, ERR_CONFLICT, "work %s %s", op->want.id, why);
    work_op_reply(op, code, &op->item);
}

/* An item of this id stands. */
static void reply_found(struct work_op *op)
{
    assert(op->found);
    if (same_body(&op->item, &op->want))
        reply_existing(op);
    else
        reply_taken(op, PROBLEM_ID_CONFLICT,
                    "exists with another kind, group, policy or payload");
}

static void create_won(struct work_op *op)
{
    assert(op->next_item.state == WORK_ASSIGNED);
    work_op_used(op);
    op->created = true;
    work_op_reply(op, PROBLEM_NONE, &op->next_item);
}

static void create(struct work_op *op)
{
    struct work_item *item = &op->next_item;
    struct op_txn t;

    assert(!op->found);
    work_item_copy(item, &op->want);
    work_item_assign(item, op->target.address, &op->process, op->floor,
                     op->w->config.clock->wall);
    assert(item->epoch == op->floor + 1);
    work_txn_init(&t);
    work_txn_target_gate(&t, op);
    work_txn_floor(&t, op);
    work_txn_put_item(&t, item, 0);
    work_txn_put_marker(&t, item, 0);
    work_op_send(op, &t, create_won);
}

/* --- submit -------------------------------------------------------------- */

static void submit_nobody(struct work_op *op)
{
    assert(op->target.code != PROBLEM_NONE);
    assert(!op->target.counted);
    err_set(&op->trouble, ERR_UNAVAILABLE,
            "work %s: no %s of group %s takes it: %s", op->want.id,
            node_kind_name(op->want.kind), op->want.group,
            problem_code(op->target.code));
    work_op_reply_unless_doubt(op, op->target.code);
}

static void submit_read(struct work_op *op)
{
    assert(op->pending == 0);
    work_known_floor(op);
    if (op->found)
        reply_found(op);
    else if (work_op_epoch_left(op, 0))
        work_op_choose(op, create, submit_nobody);
}

static void read_first(struct work_op *op)
{
    assert(op->pending == 0);
    op->target = (struct work_target){.code = PROBLEM_NONE};
    work_op_gather(op, op->verb->reads, op->verb->then);
}

/* Most ids are new: the txn finds out, for it makes the record. Nothing is
 * refused upon what is only believed. */
static void submit_ahead(struct work_op *op)
{
    assert(op->floor_version != 0);
    assert(!op->found);
    if (work_epoch_left(0, op->floor))
        work_op_choose(op, create, read_first);
    else
        read_first(op);
}

/* --- claim --------------------------------------------------------------- */

static void claim_not_up(struct work_op *op)
{
    assert(op->want.owner[0] != '\0');
    err_set(&op->trouble, ERR_CONFLICT, "work %s: %s %s is not up and open",
            op->want.id, node_kind_name(op->want.kind), op->want.owner);
    work_op_reply_unless_doubt(op, PROBLEM_OWNER_NOT_UP);
}

static void claim_gate(struct work_op *op)
{
    assert(op->process.known);
    work_known_gate(op);
    if (gate_takes(&op->gate, &op->process))
        create(op);
    else
        claim_not_up(op);
}

/* The one at the address now may be another process than the one that sent it:
 * its lease is over. */
static bool claim_is_late(const struct work_op *op)
{
    const struct node *node = membership_find(op->w->config.membership,
                                              op->want.kind, op->want.owner);
    int64_t lease = node != NULL && node->ttl_ms > 0
                        ? node->ttl_ms
                        : registry_session_timeout(op->w->config.registry);

    assert(op->want.owner[0] != '\0');
    return op->startup_time == 0 && op->age_ms >= lease;
}

/* Who claims, as it is up now; NULL: it is not, or is another process. */
static const struct process *claimant(const struct work_op *op)
{
    const struct process *p =
        work_op_process(op, op->want.kind, op->want.owner);

    assert(op->want.owner[0] != '\0');
    return p == NULL || op->startup_time == 0 ||
                   op->startup_time == p->startup_time
               ? p
               : NULL;
}

static void claim_for(struct work_op *op, const struct process *p)
{
    op->process = *p;
    op->target = (struct work_target){.code = PROBLEM_NONE};
    memcpy(op->target.address, op->want.owner, sizeof(op->want.owner));
}

/* As submit_ahead(); a claim has the one gate. */
static void claim_ahead(struct work_op *op)
{
    const struct process *p = claimant(op);

    assert(op->floor_version != 0);
    assert(!op->found);
    if (p != NULL && !claim_is_late(op) && work_epoch_left(0, op->floor)) {
        claim_for(op, p);
        if (work_take_known_gate(op)) {
            create(op);
            return;
        }
    }
    read_first(op);
}

static void claim_read(struct work_op *op)
{
    const struct process *p = claimant(op);

    assert(op->pending == 0);
    work_known_floor(op);
    if (p == NULL) {
        claim_not_up(op);
        return;
    }
    if (claim_is_late(op)) {
        err_set(&op->trouble, ERR_TIMEOUT,
                "work %s: the claim waited for longer than a lease; "
                "send it again",
                op->want.id);
        work_op_reply_unless_doubt(op, PROBLEM_TOO_LATE);
        return;
    }
    claim_for(op, p);
    if (op->found) {
        /* The last owner of a finished item is still named in it. */
        if (op->item.kind != op->want.kind ||
            strcmp(op->item.owner, op->want.owner) != 0 ||
            !process_same(&op->item.process, p))
            reply_taken(op, PROBLEM_OWNED_ELSEWHERE, "has another owner");
        else
            reply_found(op);
    } else if (work_op_epoch_left(op, 0)) {
        work_op_gather(op, READ(READ_GATE), claim_gate);
    }
}

/* --- beginning ----------------------------------------------------------- */

/* Copies what is asked for; what is wrong about it, or 0. */
static int take(struct work_op *op, const struct work_submit *what,
                struct err *err)
{
    struct work_item *want = &op->want;
    int rc = 0;

    assert(op->pending == 0);
    assert(op->want.payload == NULL);
    if (what->id == NULL) {
        make_id(op->w, want->id);
    } else {
        rc = work_check_id(what->id, err);
        if (rc == 0)
            memcpy(want->id, what->id, strlen(what->id) + 1);
    }
    want->kind = what->kind;
    want->policy = what->policy;
    if (rc == 0 && what->kind != NODE_MASTER && what->kind != NODE_WORKER) {
        rc = err_set(err, ERR_INVALID,
                     "kind: only masters and workers own work");
    }
    if (rc == 0 && (unsigned)what->policy > WORK_DROP)
        rc = err_set(err, ERR_INVALID, "policy: unknown");
    rc = rc != 0 ? rc
                 : node_clean_group(what->group == NULL ? "" : what->group,
                                    want->group, err);
    if (rc == 0 && what->payload != NULL) {
        rc = work_payload_read(what->payload, strlen(what->payload),
                               &want->payload, err);
    }
    if (rc == 0 && what->owner != NULL)
        rc = node_check_address(what->owner, err);
    if (rc == 0 && what->owner != NULL)
        (void)node_canonical(what->owner, want->owner);
    return rc;
}

static void begin(struct work *w, const struct op_verb *verb,
                  const struct work_submit *what, work_reply_f *done, void *arg)
{
    struct work_op *op = work_op_new(w, verb);
    int rc;

    assert(done != NULL);
    op->done = done;
    op->arg = arg;
    op->startup_time = what->startup_time;
    op->age_ms = what->age_ms;
    rc = take(op, what, &op->trouble);
    assert(rc == 0 || rc == (int)ERR_TOO_LARGE || rc == (int)ERR_INVALID);
    work_op_start(op, problem_of_err((enum err_code)rc));
}

void work_submit(struct work *w, const struct work_submit *what,
                 work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {.reads = READ(READ_RECORD) |
                                                 READ(READ_FLOOR),
                                        .then = submit_read,
                                        .ahead = submit_ahead};

    assert(what->owner == NULL);
    begin(w, &verb, what, done, arg);
}

void work_claim(struct work *w, const struct work_submit *what,
                work_reply_f *done, void *arg)
{
    static const struct op_verb verb = {.reads = READ(READ_RECORD) |
                                                 READ(READ_FLOOR),
                                        .then = claim_read,
                                        .ahead = claim_ahead};

    assert(what->owner != NULL && what->id != NULL);
    begin(w, &verb, what, done, arg);
}
