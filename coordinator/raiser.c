/*
 * raiser.c - see raiser.h.
 *
 * One call of the registry is under way at a time, and go_on() alone says which
 * is next. Those of the txn that is to be sent, or was, are `going`; whoever is
 * told anything has left both lists before.
 */
#include "coordinator/raiser.h"

#include "base/log.h"
#include "base/mem.h"
#include "cluster/renewals/taken.h"

#include <string.h>
#include <utlist.h>

#define RETRY_MS    100
#define OP_OVERHEAD 128 /* bytes, beside key and value */

struct raise {
    struct raise *next, *prev;
    registry_reply_f *done;
    void *arg;
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    struct registry_op ops[RAISER_OPS_MAX]; /* keys and values in `data` */
    size_t n, bytes;
    uint64_t session; /* in which it was added */
    mono_ms deadline;
    char data[];
};

struct raiser {
    const struct clock *clock;
    struct registry *registry;
    struct taken taken, raised; /* as it stands; as it is to stand */
    uint64_t version;           /* 0: nothing stands there */
    bool known, readable;
    bool expected; /* it is to be read, though nobody waits */
    struct raise *waiting, *going;
    struct raise *late, *old; /* about to be told so */
    unsigned conflicts;       /* of those that are going */
    bool busy;
    bool telling; /* whoever is told may add others, and nothing is sent */
    mono_ms sent, rest, retry;
};

static void go_on(struct raiser *r);

/* What was read in another session may be told of another life of its keys. */
static enum err_code code_of(const struct raiser *r, const struct raise *one)
{
    return one->session != registry_session(r->registry) ? ERR_CONFLICT
           : r->clock->mono >= one->deadline             ? ERR_UNAVAILABLE
                                                         : ERR_OK;
}

/* --- ends ---------------------------------------------------------------- */

static void tell(struct raise *one, const struct registry_reply *reply)
{
    registry_reply_f *done = one->done;
    void *arg = one->arg;

    assert(one->n > 0);
    mem_free(one);
    if (done != NULL)
        done(arg, reply);
}

static void tell_all(struct raise **list, const struct registry_reply *reply)
{
    struct raise *one;

    while ((one = *list) != NULL) {
        DL_DELETE(*list, one);
        tell(one, reply);
    }
}

static void fail(struct raise **list, enum err_code code, const char *why)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    (void)err_set(&reply.err, code, "%s", why);
    tell_all(list, &reply);
}

static void sort_out(struct raiser *r, struct raise **list)
{
    struct raise *one, *next;

    DL_FOREACH_SAFE (*list, one, next) {
        enum err_code code = code_of(r, one);

        if (code == ERR_OK)
            continue;
        DL_DELETE(*list, one);
        if (code == ERR_CONFLICT)
            DL_APPEND(r->old, one);
        else
            DL_APPEND(r->late, one);
    }
}

/* Those who go no more, and of whom nothing is under way. */
static void expire(struct raiser *r)
{
    assert(!r->telling);
    sort_out(r, &r->waiting);
    if (!r->busy)
        sort_out(r, &r->going);
    r->telling = true;
    fail(&r->late, ERR_UNAVAILABLE, "the registry did not answer in time");
    fail(&r->old, ERR_CONFLICT, "read in a session that has ended");
    r->telling = false;
}

/* --- the txn ------------------------------------------------------------- */

/* The one whose op failed, and which of its own that is. */
static struct raise *whose(const struct raiser *r, size_t *op)
{
    struct raise *one;

    assert(*op > 0);
    --*op; /* that of `taken` */
    DL_FOREACH (r->going, one) {
        if (*op < one->n)
            return one;
        *op -= one->n;
    }
    return NULL;
}

static void conflicted(struct raiser *r, const struct registry_reply *reply)
{
    struct registry_reply of = *reply;
    struct raise *one;

    if (reply->failed_op == 0) { /* others took something */
        r->known = false;
        return;
    }
    one = whose(r, &of.failed_op);
    assert(one != NULL);
    DL_DELETE(r->going, one);
    tell(one, &of);
    if (++r->conflicts >= RAISER_CONFLICTS_MAX)
        fail(&r->going, ERR_CONFLICT, "others of the same txn conflicted");
}

static void applied(struct raiser *r, const struct registry_reply *reply)
{
    int64_t rest = 3 * (r->clock->mono - r->sent);

    assert(r->going != NULL);
    r->taken = r->raised;
    r->version = reply->written;
    r->known = r->readable && reply->written != 0;
    r->rest = r->clock->mono +
              (rest < RAISER_REST_MAX_MS ? rest : RAISER_REST_MAX_MS);
    tell_all(&r->going, reply);
}

static void on_txn(void *arg, const struct registry_reply *reply)
{
    struct raiser *r = arg;
    bool refused =
        (reply->err.code == ERR_CONFLICT || reply->err.code == ERR_NOT_FOUND) &&
        reply->failed_op != SIZE_MAX;

    assert(r->busy && !r->telling);
    r->busy = false;
    r->telling = true;
    if (reply->err.code == ERR_OK) {
        applied(r, reply);
    } else if (refused) {
        conflicted(r, reply);
    } else {
        r->known = false;
        tell_all(&r->going, reply);
    }
    r->telling = false;
    expire(r);
    go_on(r);
}

/* What stands is raised by all of them, or, if nobody can read it, checked. */
static void send(struct raiser *r)
{
    size_t n = 1, room = 1;
    struct registry_op *ops;
    struct raise *one;
    struct buf text;

    assert(r->known && r->going != NULL);
    DL_FOREACH (r->going, one)
        room += one->n;
    ops = mem_array(room, sizeof(*ops));
    r->raised = r->taken;
    DL_FOREACH (r->going, one) {
        memcpy(&ops[n], one->ops, one->n * sizeof(*ops));
        n += one->n;
        taken_raise(&r->raised, one->kind, one->address);
    }
    buf_init(&text, TAKEN_BYTES_MAX);
    taken_write(&text, &r->raised);
    assert(!text.overflow && n == room);
    ops[0] = r->readable
                 ? registry_op_put(TAKEN_KEY, &text, r->version)
                 : registry_op_at(REGISTRY_CHECK, TAKEN_KEY, r->version);
    r->busy = true;
    r->sent = r->clock->mono;
    registry_txn(r->registry, ops, n, on_txn, r);
    buf_close(&text);
    mem_free(ops);
}

/* --- who goes ------------------------------------------------------------ */

/* The same address twice would be the same keys twice. */
static bool goes(const struct raiser *r, const struct raise *one)
{
    const struct raise *other;

    DL_FOREACH (r->going, other)
        if (other->kind == one->kind &&
            strcmp(other->address, one->address) == 0)
            return true;
    return false;
}

/* Of those that wait nobody who was forgotten is sent: he has not been. */
static void drop_forgotten(struct raiser *r)
{
    struct raise *one, *next;

    DL_FOREACH_SAFE (r->waiting, one, next)
        if (one->done == NULL) {
            DL_DELETE(r->waiting, one);
            mem_free(one);
        }
}

static void form(struct raiser *r)
{
    size_t bytes = TAKEN_BYTES_MAX + OP_OVERHEAD, n = 1, names = 0;
    struct raise *one, *next;

    assert(r->going == NULL);
    r->conflicts = 0;
    drop_forgotten(r);
    DL_FOREACH_SAFE (r->waiting, one, next) {
        if (names > 0 && (names == RAISER_NAMES_MAX ||
                          n + one->n > registry_max_ops(r->registry) ||
                          bytes + one->bytes > registry_max_bytes(r->registry)))
            break;
        if (goes(r, one) || code_of(r, one) != ERR_OK)
            continue;
        DL_DELETE(r->waiting, one);
        DL_APPEND(r->going, one);
        bytes += one->bytes;
        n += one->n;
        names++;
    }
    assert((r->going != NULL) == (names > 0));
}

/* --- what stands --------------------------------------------------------- */

static void on_taken(void *arg, const struct registry_reply *reply)
{
    struct raiser *r = arg;
    const struct registry_entry *e = reply->entries;
    struct err err;

    assert(r->busy && !r->known);
    r->busy = false;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        r->retry = r->clock->mono + RETRY_MS;
        r->expected = false;
        return;
    }
    taken_init(&r->taken);
    r->known = r->readable = true;
    r->version = 0;
    if (reply->err.code == ERR_OK) {
        r->version = e->version;
        if (taken_read(&r->taken, e->value, e->value_len, &err) != 0) {
            log_warn("!taken", LOG_S("key", TAKEN_KEY), LOG_S("why", err.msg));
            taken_init(&r->taken);
            r->readable = false;
        }
    }
    go_on(r);
}

static void go_on(struct raiser *r)
{
    bool wanted = r->waiting != NULL || r->going != NULL;

    if (r->busy || r->telling || r->clock->mono < r->retry)
        return;
    if (!r->known && (wanted || r->expected)) {
        r->busy = true;
        r->expected = false;
        registry_get(r->registry, TAKEN_KEY, on_taken, r);
        return;
    }
    if (!wanted || (r->going == NULL && r->clock->mono < r->rest))
        return;
    if (r->going == NULL)
        form(r);
    if (r->going != NULL)
        send(r);
}

/* --- from outside -------------------------------------------------------- */

struct raiser *raiser_new(const struct clock *clock, struct registry *registry)
{
    struct raiser *r = mem_zalloc(sizeof(*r));

    assert(clock != NULL && registry != NULL);
    r->clock = clock;
    r->registry = registry;
    return r;
}

static void drop_all(struct raise **list)
{
    struct raise *one, *next;

    DL_FOREACH_SAFE (*list, one, next)
        mem_free(one);
    *list = NULL;
}

void raiser_free(struct raiser **raiser, bool told)
{
    struct raiser *r = *raiser;

    if (r == NULL)
        return;
    if (told) {
        registry_forget(r->registry, r);
        r->telling = true;
        fail(&r->going, r->busy ? ERR_UNKNOWN : ERR_CANCELLED,
             "the coordinator is leaving");
        fail(&r->waiting, ERR_CANCELLED, "the coordinator is leaving");
    }
    drop_all(&r->going);
    drop_all(&r->waiting);
    MEM_FREE(*raiser);
}

void raiser_expect(struct raiser *r)
{
    if (r->busy || r->waiting != NULL || r->going != NULL)
        return;
    r->known = false;
    r->expected = true;
    go_on(r);
}

static char *keep(char *at, const char **text, size_t len)
{
    if (*text == NULL)
        return at;
    memcpy(at, *text, len);
    at[len] = '\0';
    *text = at;
    return at + len + 1;
}

void raiser_add(struct raiser *r, enum node_kind kind, const char *address,
                const struct registry_op *ops, size_t n, registry_reply_f *done,
                void *arg)
{
    size_t bytes = 0;
    struct raise *one;
    char *at;

    assert(n > 0 && n <= RAISER_OPS_MAX);
    assert(strlen(address) <= NODE_ADDRESS_MAX);
    for (size_t i = 0; i < n; i++)
        bytes += strlen(ops[i].key) + ops[i].value_len + OP_OVERHEAD;
    one = mem_zalloc(sizeof(*one) + bytes);
    one->kind = kind;
    memcpy(one->address, address, strlen(address) + 1);
    one->n = n;
    one->bytes = bytes;
    memcpy(one->ops, ops, n * sizeof(*ops));
    at = one->data;
    for (size_t i = 0; i < n; i++) {
        at = keep(at, &one->ops[i].key, strlen(ops[i].key));
        at = keep(at, &one->ops[i].value, ops[i].value_len);
    }
    one->done = done;
    one->arg = arg;
    one->session = registry_session(r->registry);
    one->deadline = r->clock->mono + RAISER_MS;
    DL_APPEND(r->waiting, one);
    go_on(r);
}

void raiser_forget(struct raiser *r, const void *arg)
{
    struct raise *lists[] = {r->waiting, r->going, r->late, r->old}, *one;

    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        DL_FOREACH (lists[i], one)
            if (one->arg == arg)
                one->done = NULL;
}

void raiser_tick(struct raiser *r)
{
    expire(r);
    go_on(r);
}
