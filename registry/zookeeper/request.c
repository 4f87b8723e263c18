/*
 * request.c - requests: queued here, sent, answered on the loop.
 *
 * Only as many are with the client library as the server takes at a time: it
 * has no bound itself, and when a connection breaks it fails everything that
 * it was given, sent or not. So what is still here was certainly not sent, and
 * what can be asked twice is asked again.
 *
 * Completions run on the thread that drives the library: they copy what they
 * are given into the request and hand it to the loop; no call into the library
 * but for its state, no lock but its own and the mailbox's.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include "base/locks.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

/* --- requests ------------------------------------------------------------ */

struct zk_request *zk_request_new(struct zookeeper *z,
                                  enum zk_request_type type, const char *path,
                                  zk_done_f *done, void *arg)
{
    struct zk_request *q = mem_zalloc(sizeof(*q));

    assert(path[0] == '/');
    q->z = z;
    q->type = type;
    q->path = mem_strdup(path);
    q->again = !zk_commits(type);
    q->done = done;
    q->arg = arg;
    return q;
}

void zk_names_close(struct zk_names *names)
{
    mem_free(names->items);
    names->items = NULL;
    names->n = 0;
}

void zk_request_free(struct zk_request *q)
{
    assert(q->done == NULL);
    if (q->z->sync == q)
        q->z->sync = NULL;
    mem_free(q->path);
    mem_free(q->ops);
    mem_free(q->results);
    mem_free(q->text);
    mem_free(q->data);
    zk_names_close(&q->names);
    mem_free(q);
}

/* --- the library's thread ------------------------------------------------ */

static void on_answer(void *arg);

static void hand_over(struct zk_request *q, int rc, const struct Stat *stat)
{
    assert(q->handle != NULL);
    q->rc = rc;
    if (stat != NULL)
        q->stat = *stat;
    if (q->patient && atomic_fetch_sub(&q->handle->n_patient, 1) > 1 &&
        rc == ZOK)
        loop_complete_quietly(q->z->base.loop, &q->slot, on_answer, q);
    else
        loop_complete(q->z->base.loop, &q->slot, on_answer, q);
}

static void answered(struct zk_request *q, int rc, const struct Stat *stat)
{
    hand_over(q, zk_drive_answer(&q->handle->drive, rc, q->patient), stat);
}

static void copy_data(struct zk_request *q, const char *data, size_t len)
{
    assert(q->data == NULL);
    q->data = mem_alloc(len + 1);
    if (len > 0)
        memcpy(q->data, data, len);
    q->data[len] = '\0';
    q->data_len = len;
}

int zk_by_bytes(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

/* Sorted here, since 100,000 names would hold up the loop. */
static void copy_names(struct zk_names *out, const struct String_vector *from)
{
    size_t n = from == NULL ? 0 : (size_t)from->count, bytes = 0;
    char *at;

    assert(out->items == NULL);
    for (size_t i = 0; i < n; i++)
        bytes += strlen(from->data[i]) + 1;
    out->items = mem_alloc(n * sizeof(char *) + bytes);
    out->n = n;
    at = (char *)(out->items + n);
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(from->data[i]) + 1;

        memcpy(at, from->data[i], len);
        out->items[i] = at;
        at += len;
    }
    qsort(out->items, n, sizeof(char *), zk_by_bytes);
}

static void on_data(int rc, const char *value, int len, const struct Stat *stat,
                    const void *data)
{
    struct zk_request *q = (struct zk_request *)data;

    if (rc == ZOK)
        copy_data(q, value, len < 0 ? 0 : (size_t)len);
    answered(q, rc, stat);
}

static void on_stat(int rc, const struct Stat *stat, const void *data)
{
    answered((struct zk_request *)data, rc, stat);
}

static void on_names(int rc, const struct String_vector *names,
                     const struct Stat *stat, const void *data)
{
    struct zk_request *q = (struct zk_request *)data;

    if (rc == ZOK)
        copy_names(&q->names, names);
    answered(q, rc, stat);
}

static void on_text(int rc, const char *text, const void *data)
{
    (void)text;
    answered((struct zk_request *)data, rc, NULL);
}

static void on_created(int rc, const char *path, const struct Stat *stat,
                       const void *data)
{
    struct zk_request *q = (struct zk_request *)data;

    if (rc == ZOK && path != NULL)
        copy_data(q, path, strlen(path));
    answered(q, rc, stat);
}

static void on_void(int rc, const void *data)
{
    answered((struct zk_request *)data, rc, NULL);
}

/* --- sending ------------------------------------------------------------- */

/* The library copies what it is given before it returns. Mutex "handle" is
 * held. */
static int give_locked(struct zk_handle *h, struct zk_request *q)
{
    assert(q->handle == h);
    if (h->zh == NULL)
        return ZINVALIDSTATE;
    if (q->type == ZK_MULTI && libzk.is_unrecoverable(h->zh) != ZOK)
        return ZINVALIDSTATE; /* it would look only after it has begun, and not
                               * end well then: its own thread hears of the end
                               * long before we do */
    zk_number_taken();
    switch (q->type) {
    case ZK_GET:
        return libzk.zoo_aget(h->zh, q->path, q->watch, on_data, q);
    case ZK_EXISTS:
        return libzk.zoo_aexists(h->zh, q->path, q->watch, on_stat, q);
    case ZK_CHILDREN:
        return libzk.zoo_aget_children2(h->zh, q->path, q->watch, on_names, q);
    case ZK_SYNC:
        return libzk.zoo_async(h->zh, q->path, on_text, q);
    case ZK_CREATE:
        return libzk.zoo_acreate2(h->zh, q->path, q->value,
                                  q->value == NULL ? -1 : (int)q->value_len,
                                  q->z->acl, q->mode, on_created, q);
    case ZK_DELETE:
        return libzk.zoo_adelete(h->zh, q->path, -1, on_void, q);
    case ZK_MULTI:
        return libzk.zoo_amulti(h->zh, q->n_ops, q->ops, q->results, on_void,
                                q);
    }
    return ZUNIMPLEMENTED;
}

/* Takes mutex "handle". */
static int give(struct zk_handle *h, struct zk_request *q)
{
    int rc;

    lock_acquire(&h->z->mutex);
    rc = give_locked(h, q);
    if (h->zh != NULL)
        zk_drive_sent(&h->drive, q->patient, zk_commits(q->type));
    if (h->zh != NULL && rc != ZOK) /* no answer will come */
        rc = zk_drive_answer(&h->drive, rc, q->patient);
    lock_release(&h->z->mutex);
    return rc;
}

bool zk_send_now(struct zookeeper *z, struct zk_request *q)
{
    struct zk_handle *h = z->handle;
    int rc;

    assert(h != NULL);
    assert(!q->sent);
    q->handle = h;
    q->sent_at = zk_now(z);
    if (q->patient)
        atomic_fetch_add(&h->n_patient, 1);
    rc = give(h, q);
    if (rc == ZINVALIDSTATE && q->patient)
        atomic_fetch_sub(&h->n_patient, 1);
    if (rc == ZINVALIDSTATE)
        return false;
    /* Its answer, which may be on its way, is for a later turn. */
    q->sent = true;
    z->sync = z->sync == q ? NULL : z->sync;
    DL_APPEND(h->in_flight, q);
    z->n_in_flight++;
    z->n_background_in_flight += q->background;
    z->committed_at = zk_commits(q->type) ? q->sent_at : z->committed_at;
    if (rc != ZOK)
        hand_over(q, rc, NULL);
    return true;
}

size_t zk_watch_window(const struct zookeeper *z)
{
    assert(z->n_background_in_flight <= z->n_in_flight);
    return z->n_in_flight - z->n_background_in_flight >= ZK_BUSY
               ? ZK_WATCH_FEW
               : ZK_WATCH_READS;
}

void zk_pump(struct zookeeper *z)
{
    assert(!z->connected || z->handle != NULL);
    while (z->connected && zk_position_is_known(&z->position) &&
           z->n_in_flight < ZK_WINDOW) {
        struct zk_request **from =
            z->queue != NULL ? &z->queue : &z->background;
        struct zk_request *q = *from;

        if (q == NULL ||
            (q->background && z->n_background_in_flight >= zk_watch_window(z)))
            return;
        DL_DELETE(*from, q);
        if (!zk_send_now(z, q)) {
            DL_PREPEND(*from, q);
            z->connected = false; /* the event that says so is on its way */
            return;
        }
    }
}

void zk_send(struct zk_request *q)
{
    struct zookeeper *z = q->z;

    assert(!q->sent);
    assert(q->number == 0);
    assert(z->handle != NULL);
    q->number = ++z->last_number;
    if (q->call != NULL)
        ((struct zk_call *)q->call->priv)->asked++;
    if (q->background)
        DL_APPEND(z->background, q);
    else
        DL_APPEND(z->queue, q);
    zk_pump(z);
}

void zk_catch_up(struct zookeeper *z)
{
    struct zk_request *q;

    assert(z->sync == NULL || !z->sync->sent);
    if (z->sync == NULL) {
        q = zk_request_new(z, ZK_SYNC, "/", NULL, NULL);
        z->sync = q;
        zk_send(q);
    }
}

/* --- answers, on the loop ------------------------------------------------ */

/* Back to its place in the order of asking. */
static void queue_again(struct zk_request *q)
{
    struct zk_request **list = q->background ? &q->z->background : &q->z->queue;
    struct zk_request *after = NULL, *e;

    assert(q->done != NULL);
    assert(q->again);
    q->sent = false;
    DL_FOREACH (*list, e) {
        if (e->number > q->number)
            break;
        after = e;
    }
    DL_APPEND_ELEM(*list, after, q); /* NULL: to the front */
}

static void one_less_asked(const struct registry_call *call)
{
    struct zk_call *c = call->priv;

    assert(c->asked > 0);
    c->asked--;
}

static void answer(struct zk_request *q)
{
    zk_done_f *done = q->done;

    q->done = NULL;
    if (q->call != NULL)
        one_less_asked(q->call);
    if (done != NULL)
        done(q->arg, q);
    zk_request_free(q);
}

static void on_answer(void *arg)
{
    struct zk_request *q = arg;
    struct zookeeper *z = q->z;
    struct zk_handle *h = q->handle;
    bool current = h == z->handle && !z->ending;

    assert(q->sent);
    assert(h != NULL);
    if (h == z->handle) {
        assert(z->n_in_flight > 0);
        z->n_in_flight--;
        z->n_background_in_flight -= q->background;
    }
    if (current && !zk_broken(q->rc))
        zk_report_trouble(z, q);
    if (current && !zk_broken(q->rc)) {
        bool believed = z->events->answered(z, q);

        current = h == z->handle; /* else it was answered with the session */
        assert(current || q->done == NULL);
        q->rc = believed ? q->rc : ZCONNECTIONLOSS;
    }
    DL_DELETE(h->in_flight, q);
    /* What was throttled waits at the server for long before it is refused:
     * that paces it. */
    if (current && q->again && q->done != NULL &&
        (zk_broken(q->rc) || q->rc == ZTHROTTLEDOP) && !zk_stopping(z) &&
        (q->call == NULL || z->base.state != REGISTRY_SUSPENDED))
        queue_again(q);
    else
        answer(q);
    zk_pump(z);
}

/* --- letting go ---------------------------------------------------------- */

static void forget_in(struct zk_request **list, const void *owner)
{
    struct zk_request *q, *next;

    assert(owner != NULL);
    DL_FOREACH_SAFE (*list, q, next) {
        if (q->call != owner && q->arg != owner)
            continue;
        q->done = NULL;
        q->call = NULL;
        if (!q->sent) {
            DL_DELETE(*list, q);
            zk_request_free(q);
        }
    }
}

void zk_forget(struct zookeeper *z, const void *owner)
{
    forget_in(&z->queue, owner);
    forget_in(&z->background, owner);
    if (z->handle != NULL)
        forget_in(&z->handle->in_flight, owner);
}

static void expire_queue(struct zk_request **list)
{
    struct zk_request *q;

    while ((q = *list) != NULL) {
        assert(!q->sent);
        DL_DELETE(*list, q);
        q->rc = ZSESSIONEXPIRED;
        answer(q);
    }
}

/* What is in flight may still be written to by the library's thread: who
 * asked gets an answer of its own. */
static void expire_in_flight(struct zk_handle *h)
{
    struct zk_request *q, *next;

    DL_FOREACH_SAFE (h->in_flight, q, next) {
        struct zk_request lost = {.z = q->z,
                                  .type = q->type,
                                  .path = q->path,
                                  .tag = q->tag,
                                  .sent = true,
                                  .call = q->call,
                                  .rc = ZSESSIONEXPIRED};
        zk_done_f *done = q->done;

        q->done = NULL;
        q->call = NULL;
        if (lost.call != NULL)
            one_less_asked(lost.call);
        if (done != NULL)
            done(q->arg, &lost);
    }
}

void zk_requests_expire(struct zookeeper *z)
{
    assert(z->handle != NULL);
    assert(z->ending);
    expire_in_flight(z->handle);
    expire_queue(&z->queue);
    expire_queue(&z->background);
    z->n_in_flight = 0;
    z->n_background_in_flight = 0;
    assert(z->queue == NULL);
    assert(z->background == NULL);
}

void zk_requests_free(struct zk_handle *h)
{
    struct zk_request *q;

    assert(h->z->handle != h);
    while ((q = h->in_flight) != NULL) {
        assert(q->done == NULL);
        DL_DELETE(h->in_flight, q);
        zk_request_free(q);
    }
}
