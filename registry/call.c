/*
 * call.c - calls: copied, answered exactly once.
 *
 * One allocation holds a call with its operations, keys, values and the
 * backend's bytes. Answering takes it off the registry's list; a backend that
 * still needs the arguments (a request on the wire that may yet be applied)
 * keeps a reference.
 */
#include "base/mem.h"
#include "base/planted.h"
#include "registry/registry_priv.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define PRIV_ALIGN    sizeof(max_align_t)
#define WAITING_MAX   4096 /* calls that a backend has and has not answered */
#define WAITING_BYTES (64u << 20)

/* --- building ------------------------------------------------------------ */

static size_t align_up(size_t n)
{
    return (n + PRIV_ALIGN - 1) / PRIV_ALIGN * PRIV_ALIGN;
}

/* A zeroed call with room for the backend, `n_ops` and `bytes` of text;
 * *text is where the text may go. */
static struct registry_call *call_new(struct registry *r,
                                      enum registry_call_type type,
                                      size_t n_ops, size_t bytes, char **text,
                                      registry_reply_f *done, void *arg)
{
    size_t priv = align_up(sizeof(struct registry_call));
    size_t ops = priv + align_up(r->ops->call_size);
    size_t at = ops + n_ops * sizeof(struct registry_op);
    char *memory = mem_zalloc(at + bytes);
    struct registry_call *call = (struct registry_call *)(void *)memory;

    assert(done != NULL);
    call->r = r;
    call->refs = 1;
    call->type = type;
    call->priv = memory + priv;
    call->ops = (struct registry_op *)(void *)(memory + ops);
    call->n_ops = n_ops;
    call->done = done;
    call->arg = arg;
    call->session = r->session;
    call->inside = r->inside;
    *text = memory + at;
    DL_APPEND(r->calls, call);
    return call;
}

static const char *copy_text(char **at, const char *s, size_t len)
{
    char *copy = *at;

    assert(s != NULL || len == 0);
    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    *at = copy + len + 1;
    return copy;
}

static void refuse(struct registry *r, enum registry_call_type type,
                   const struct err *err, registry_reply_f *done, void *arg)
{
    char *text;
    struct registry_call *call = call_new(r, type, 0, 0, &text, done, arg);

    assert(err->code != ERR_OK);
    registry_call_fail_later(call, err->code, "%s", err->msg);
}

static void submit(struct registry *r, struct registry_call *call)
{
    assert(call->refusal == NULL);
    assert(call->done != NULL);
    if (r->closing) {
        registry_call_fail_later(call, ERR_CANCELLED,
                                 "the registry is being closed");
    } else if (registry_went_back(r) != NULL && !r->inside) {
        registry_call_fail_later(
            call, ERR_WENT_BACK,
            "the registry is not what it was; nothing is "
            "done on it until a person has accepted it (pelorus "
            "registry accept-restore)");
    } else if (r->history != NULL && !r->ready && !r->inside) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session yet");
    } else {
        r->ops->submit(r, call);
    }
}

/* --- answering ----------------------------------------------------------- */

struct registry_call *registry_call_ref(struct registry_call *call)
{
    assert(call->refs > 0);
    call->refs++;
    return call;
}

void registry_call_unref(struct registry_call *call)
{
    assert(call->refs > 0);
    if (--call->refs == 0) {
        mem_free(call->refusal);
        mem_free(call);
    }
}

/* It was asked for before we knew what the store is. Nothing that it says is
 * told to those above, not even that something was done. */
static void not_believed(const struct registry_call *call,
                         struct registry_reply *told)
{
    bool done = told->err.code == ERR_OK && call->type == REGISTRY_CALL_TXN;

    assert(!call->inside);
    err_set(&told->err, done ? ERR_UNKNOWN : ERR_WENT_BACK,
            "the answer is of a store that is not what it was");
    told->n_entries = 0;
    told->entries = NULL;
    told->next = NULL;
}

void registry_call_done(struct registry_call *call,
                        const struct registry_reply *reply)
{
    registry_reply_f *done = call->done;
    struct registry_reply told = *reply;

    assert(call->refs > 0);
    assert(done != NULL); /* once */
    if (told.err.code == ERR_NOT_FOUND && call->type == REGISTRY_CALL_TXN &&
        !call->is_delete)
        told.err.code = ERR_CONFLICT;
    if ((told.err.code == ERR_OK || told.err.code == ERR_CONFLICT ||
         told.err.code == ERR_NOT_FOUND) &&
        !call->inside && registry_went_back(call->r) != NULL &&
        !planted(PLANTED_ANSWER_BELIEVED))
        not_believed(call, &told);
    if (told.err.code != ERR_CONFLICT)
        told.failed_op = SIZE_MAX;
    registry_record_error(call->r, &told.err);
    if (told.revision > call->r->revision)
        call->r->revision = told.revision;
    assert(told.err.code != ERR_CONFLICT || told.failed_op < call->n_ops);
    call->done = NULL;
    DL_DELETE(call->r->calls, call);
    registry_timer_stop(&call->timer);
    if (!call->r->mute)
        done(call->arg, &told);
    registry_call_unref(call);
}

void registry_call_fail(struct registry_call *call, enum err_code code,
                        const char *fmt, ...)
{
    struct registry_reply reply = {.failed_op = SIZE_MAX};
    va_list args;

    assert(code != ERR_OK);
    assert(code != ERR_CONFLICT);
    reply.err.code = code;
    va_start(args, fmt);
    (void)vsnprintf(reply.err.msg, sizeof(reply.err.msg), fmt, args);
    va_end(args);
    registry_call_done(call, &reply);
}

static void call_refused(void *arg)
{
    struct registry_call *call = arg;
    struct registry_reply reply = {.failed_op = SIZE_MAX};

    assert(call->refusal != NULL);
    reply.err = *call->refusal;
    if (reply.err.code == ERR_CONFLICT)
        reply.failed_op = call->limit;
    registry_call_done(call, &reply);
}

void registry_call_fail_later(struct registry_call *call, enum err_code code,
                              const char *fmt, ...)
{
    va_list args;

    assert(call->refusal == NULL);
    assert(code != ERR_OK);
    call->refusal = mem_zalloc(sizeof(*call->refusal));
    call->refusal->code = code;
    va_start(args, fmt);
    (void)vsnprintf(call->refusal->msg, sizeof(call->refusal->msg), fmt, args);
    va_end(args);
    registry_timer_start(call->r, &call->timer, 0, call_refused, call);
}

bool registry_call_refused(struct registry_call *call, size_t n, size_t bytes)
{
    assert(call->refusal == NULL);
    if (call->r->session == 0) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "the registry has no session yet");
    } else if (call->r->state == REGISTRY_SUSPENDED) {
        /* A read could be answered if only writers are kept out. But it is
         * read for deciding, and nothing may be decided now. */
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "suspended: the session could not be renewed "
                                 "for 2/3 of its timeout");
    } else if (n >= WAITING_MAX ||
               (n > 0 && bytes + call->bytes > WAITING_BYTES)) {
        registry_call_fail_later(call, ERR_UNAVAILABLE,
                                 "busy: %zu calls wait for the registry", n);
    } else {
        return false;
    }
    assert(call->refusal != NULL);
    return true;
}

static void forgotten(void *arg, const struct registry_reply *reply)
{
    (void)arg;
    (void)reply;
}

void registry_forget(struct registry *r, const void *arg)
{
    struct registry_call *call;

    assert(arg != NULL);
    DL_FOREACH (r->calls, call) {
        if (call->arg == arg) {
            call->done = forgotten;
            call->arg = NULL;
        }
    }
}

/* --- reading ------------------------------------------------------------- */

static int check_page(const char *prefix, const char *from, size_t limit,
                      struct err *err)
{
    if (limit == 0 || limit > REGISTRY_PAGE_MAX) {
        return err_set(err, ERR_INVALID, "list: limit %zu; 1 to %d", limit,
                       REGISTRY_PAGE_MAX);
    }
    if (from != NULL && (registry_check_key(from, NULL) != 0 ||
                         !registry_key_below(from, prefix))) {
        return err_set(err, ERR_INVALID, "list: \"%.64s\" does not continue %s",
                       from, prefix);
    }
    return 0;
}

/* `from` and `limit` are of a list alone. */
static void submit_read(struct registry *r, enum registry_call_type type,
                        const char *key, const char *from, size_t limit,
                        registry_reply_f *done, void *arg)
{
    bool below = type == REGISTRY_CALL_CHILDREN || type == REGISTRY_CALL_LIST;
    size_t from_len = from == NULL ? 0 : strlen(from);
    struct registry_call *call;
    struct err err;
    char *text;
    int rc;

    assert(done != NULL);
    assert(type != REGISTRY_CALL_TXN);
    rc = below ? registry_check_prefix(key, &err)
               : registry_check_key(key, &err);
    if (rc == 0 && type == REGISTRY_CALL_LIST)
        rc = check_page(key, from, limit, &err);
    if (rc != 0) {
        refuse(r, type, &err, done, arg);
        return;
    }
    call = call_new(r, type, 0, strlen(key) + from_len + 2, &text, done, arg);
    call->key = copy_text(&text, key, strlen(key));
    call->from = from == NULL ? NULL : copy_text(&text, from, from_len);
    call->limit = limit;
    submit(r, call);
}

void registry_get(struct registry *r, const char *key, registry_reply_f *done,
                  void *arg)
{
    submit_read(r, REGISTRY_CALL_GET, key, NULL, 0, done, arg);
}

void registry_exists(struct registry *r, const char *key,
                     registry_reply_f *done, void *arg)
{
    submit_read(r, REGISTRY_CALL_EXISTS, key, NULL, 0, done, arg);
}

void registry_children(struct registry *r, const char *key,
                       registry_reply_f *done, void *arg)
{
    submit_read(r, REGISTRY_CALL_CHILDREN, key, NULL, 0, done, arg);
}

void registry_list(struct registry *r, const char *prefix, const char *from,
                   size_t limit, registry_reply_f *done, void *arg)
{
    submit_read(r, REGISTRY_CALL_LIST, prefix, from, limit, done, arg);
}

/* --- writing ------------------------------------------------------------- */

/* Copy the operations; the index of a check-lock that is refused already, or
 * SIZE_MAX. */
static size_t copy_ops(struct registry_call *call,
                       const struct registry_op *ops, size_t n, char *text)
{
    char *memory = (char *)call->priv + align_up(call->r->ops->call_size);
    struct registry_op *copy = (struct registry_op *)(void *)memory;
    size_t lost = SIZE_MAX;

    assert(copy == call->ops);
    assert(n == call->n_ops);
    for (size_t i = 0; i < n; i++) {
        copy[i] = ops[i];
        if (ops[i].type == REGISTRY_CHECK_LOCK &&
            !registry_lock_check(ops[i].lock, &copy[i]) && lost == SIZE_MAX)
            lost = i;
        copy[i].key = copy_text(&text, copy[i].key, strlen(copy[i].key));
        copy[i].value = NULL;
        if (ops[i].type == REGISTRY_PUT)
            copy[i].value = copy_text(&text, ops[i].value, ops[i].value_len);
    }
    return lost;
}

/* `single`: of registry_put() or registry_delete(). */
static void submit_ops(struct registry *r, const struct registry_op *ops,
                       size_t n, bool single, registry_reply_f *done, void *arg)
{
    struct registry_call *call;
    size_t bytes, text_len, lost;
    struct err err;
    char *text;

    assert(done != NULL);
    if (registry_check_txn(r, ops, n, single, &bytes, &err) != 0) {
        refuse(r, REGISTRY_CALL_TXN, &err, done, arg);
        return;
    }
    text_len = bytes + 2 * n; /* a NUL behind each key and value */
    for (size_t i = 0; i < n; i++)
        if (ops[i].type == REGISTRY_CHECK_LOCK)
            text_len += REGISTRY_KEY_MAX;
    call = call_new(r, REGISTRY_CALL_TXN, n, text_len, &text, done, arg);
    call->bytes = bytes;
    call->is_delete = single && ops[0].type == REGISTRY_DELETE;
    lost = copy_ops(call, ops, n, text);
    if (lost != SIZE_MAX && !r->closing) {
        call->limit = lost;
        registry_call_fail_later(call, ERR_CONFLICT,
                                 "operation %zu: the lock is not ours", lost);
        return;
    }
    submit(r, call);
}

void registry_txn(struct registry *r, const struct registry_op *ops, size_t n,
                  registry_reply_f *done, void *arg)
{
    submit_ops(r, ops, n, false, done, arg);
}

void registry_put(struct registry *r, const char *key, const char *value,
                  size_t value_len, enum registry_expect expect,
                  uint64_t version, bool ephemeral, registry_reply_f *done,
                  void *arg)
{
    struct registry_op op = {.type = REGISTRY_PUT,
                             .expect = expect,
                             .ephemeral = ephemeral,
                             .key = key,
                             .value = value,
                             .value_len = value_len,
                             .version = version};

    submit_ops(r, &op, 1, true, done, arg);
}

void registry_delete(struct registry *r, const char *key, uint64_t version,
                     registry_reply_f *done, void *arg)
{
    struct registry_op op = {.type = REGISTRY_DELETE,
                             .expect = REGISTRY_VERSION,
                             .key = key,
                             .version = version};

    submit_ops(r, &op, 1, true, done, arg);
}
