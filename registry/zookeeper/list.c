/*
 * list.c - pages of keys with values, ascending, from a store that
 * only names the children of one node at a time.
 *
 * A walk goes through the tree in the order of whole keys. What stands below
 * "a" sorts as "a/...", and other children of its parent come before ("a-1")
 * or after ("b"): so each level keeps a stack of names whose subtrees are due,
 * the last one first, and compares it with the name that comes next.
 *
 * Values are read ahead in a window, within a level. When a page is full the
 * walk is parked for the next one, with the lists of names that it has: a
 * hundred thousand names are asked for once, not once a page. Pages are no
 * snapshot anyway. A page whose walk is gone begins one of its own behind the
 * last key of the page before, which is what `next` names here.
 */
#include "registry/zookeeper/zookeeper_priv.h"

#include <string.h>
#include <utlist.h>

#define WINDOW  128 /* values read ahead */
#define PARKED  16  /* walks that wait for their next page */
#define PARK_MS 60000

/* A name's value, between its reading and its turn. */
struct ahead {
    enum { NOT_READ, READING, READ } state;
    int rc;
    struct Stat stat;
    char *data;
    size_t data_len;
};

struct level {
    struct level *up;
    char *dir; /* the key whose children these are */
    struct zk_names names;
    size_t at;    /* the name whose turn it is */
    size_t read;  /* the next one to read */
    size_t n_due; /* names whose subtrees are not walked yet: they stand at the
                     beginning of `names`, whose own turns are over */
    struct ahead window[WINDOW]; /* by name, modulo */
};

struct zk_walk {
    struct zk_walk *prev, *next; /* among the parked */
    struct zookeeper *z;
    struct registry_call *call; /* NULL: parked */
    char *prefix;
    char *after; /* tell only keys behind this one; NULL: all */
    char *last;  /* the last key told */
    struct level *top;
    size_t outstanding; /* requests under way */
    uint64_t session;
    mono_ms parked_at;
    struct registry_entry *entries; /* of this page; keys and values are ours */
    size_t n;
};

static void step(struct zk_walk *w);

/* --- levels -------------------------------------------------------------- */

static char *child_key(const struct level *l, size_t i)
{
    assert(i < l->names.n);
    return zk_child_key(l->dir, l->names.items[i]);
}

/* Neither it nor anything below it is behind the key where we begin. */
static bool passed_over(const struct zk_walk *w, const char *key)
{
    size_t n = strlen(key);

    if (strcmp(key, w->after) > 0)
        return false;
    if (strncmp(key, w->after, n) != 0)
        return true;
    return (unsigned char)w->after[n] > '/';
}

static void drop_passed_over(const struct zk_walk *w, struct level *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->names.n; i++) {
        char *key = child_key(l, i);

        if (!passed_over(w, key))
            l->names.items[n++] = l->names.items[i];
        mem_free(key);
    }
    l->names.n = n;
}

/* Takes `names`. */
static void level_push(struct zk_walk *w, const char *dir,
                       struct zk_names *names)
{
    struct level *l = mem_zalloc(sizeof(*l));

    l->up = w->top;
    l->dir = mem_strdup(dir);
    l->names = *names;
    names->items = NULL;
    names->n = 0;
    w->top = l;
    if (w->after != NULL)
        drop_passed_over(w, l);
}

/* What was read ahead is old by the time of the next page. */
static void level_unread(struct level *l)
{
    assert(l->at <= l->read);
    assert(l->read <= l->names.n);
    for (size_t i = l->at; i < l->read; i++) {
        MEM_FREE(l->window[i % WINDOW].data);
        l->window[i % WINDOW].state = NOT_READ;
    }
    l->read = l->at;
}

static void level_pop(struct zk_walk *w)
{
    struct level *l = w->top;

    assert(l != NULL);
    level_unread(l);
    w->top = l->up;
    mem_free(l->dir);
    zk_names_close(&l->names);
    mem_free(l);
}

/* Is it the turn of the subtree that is due, before the next name? */
static bool level_due_first(const struct level *l)
{
    const char *name, *next;
    size_t n;
    int order;

    assert(l->at <= l->names.n);
    assert(l->n_due <= l->at);
    if (l->n_due == 0)
        return false;
    if (l->at == l->names.n)
        return true;
    name = l->names.items[l->n_due - 1];
    next = l->names.items[l->at];
    n = strlen(name);
    order = strncmp(name, next, n);
    return order < 0 || (order == 0 && '/' < (unsigned char)next[n]);
}

/* --- the page ------------------------------------------------------------ */

static void page_free(struct registry_entry *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        mem_free((char *)page[i].key);
        mem_free((char *)page[i].value);
    }
    mem_free(page);
}

static void walk_close(struct zk_walk **walk)
{
    struct zk_walk *w = *walk;

    if (w == NULL)
        return;
    *walk = NULL;
    while (w->top != NULL)
        level_pop(w);
    page_free(w->entries, w->n);
    mem_free(w->prefix);
    mem_free(w->after);
    mem_free(w->last);
    mem_free(w);
}

static void release(struct zk_call *c)
{
    assert(c->walk == NULL || c->walk->call != NULL);
    walk_close(&c->walk);
}

static void unpark(struct zk_walk *w)
{
    assert(w->z->n_walks > 0);
    assert(w->call == NULL);
    DL_DELETE(w->z->walks, w);
    w->z->n_walks--;
}

static void drop_oldest(struct zookeeper *z)
{
    struct zk_walk *w = z->walks;

    assert(w != NULL);
    unpark(w);
    walk_close(&w);
}

void zk_walks_close(struct zookeeper *z)
{
    while (z->walks != NULL)
        drop_oldest(z);
}

static void park(struct zk_walk *w)
{
    struct zookeeper *z = w->z;
    mono_ms now = zk_now(z);

    assert(w->call == NULL);
    assert(w->n == 0);
    for (struct level *l = w->top; l != NULL; l = l->up)
        level_unread(l);
    while (z->walks != NULL &&
           (z->n_walks >= PARKED || now - z->walks->parked_at >= PARK_MS))
        drop_oldest(z);
    w->parked_at = now;
    DL_APPEND(z->walks, w);
    z->n_walks++;
    assert(z->n_walks <= PARKED);
}

static struct zk_walk *find_parked(const struct registry_call *call)
{
    const struct zookeeper *z = zk_of(call->r);
    struct zk_walk *w;

    DL_FOREACH (z->walks, w)
        if (w->session == call->session && strcmp(w->prefix, call->key) == 0 &&
            strcmp(w->last, call->from) == 0)
            return w;
    return NULL;
}

/* The page goes out; the walk waits for the next one, or is over. It must be
 * where the next call looks before this one is answered. */
static void finish(struct zk_walk *w)
{
    struct registry_call *call = w->call;
    struct registry_entry *page = w->entries;
    size_t n = w->n;
    struct registry_reply reply = {
        .failed_op = SIZE_MAX, .entries = page, .n_entries = n};
    char *next = NULL;

    assert(call != NULL);
    assert(w->outstanding == 0);
    while (w->top != NULL && w->top->at == w->top->names.n &&
           w->top->n_due == 0)
        level_pop(w);
    for (size_t i = 0; i < n; i++)
        if (page[i].created > reply.revision)
            reply.revision = page[i].created;
    ((struct zk_call *)call->priv)->walk = NULL;
    w->call = NULL;
    w->entries = NULL;
    w->n = 0;
    if (w->top == NULL) {
        walk_close(&w);
    } else {
        MEM_FREE(w->last);
        w->last = mem_strdup(page[n - 1].key);
        next = mem_strdup(w->last);
        park(w);
    }
    reply.next = next;
    zk_call_done(call, &reply);
    mem_free(next);
    page_free(page, n);
}

/* --- reading ------------------------------------------------------------- */

static void on_listed(void *arg, struct zk_request *q)
{
    struct zk_walk *w = arg;

    assert(w->outstanding > 0);
    assert(w->call != NULL);
    w->outstanding--;
    if (q->rc != ZOK && q->rc != ZNONODE) {
        zk_call_refused(w->call, w->prefix, q->rc);
        return;
    }
    if (q->rc == ZOK && q->names.n > 0)
        level_push(w, zk_key(w->z, q->path), &q->names);
    step(w);
}

static void ask(struct zk_walk *w, enum zk_request_type type, const char *key,
                size_t tag, zk_done_f *done)
{
    struct zk_request *q = zk_request_for(w->z, type, key, done, w);

    assert(w->call != NULL);
    q->call = w->call;
    q->tag = tag;
    w->outstanding++;
    zk_send(q);
}

/* Only the top level has reads under way. */
static void on_value(void *arg, struct zk_request *q)
{
    struct zk_walk *w = arg;
    struct ahead *a = &w->top->window[q->tag % WINDOW];

    assert(w->outstanding > 0);
    w->outstanding--;
    assert(a->state == READING);
    assert(q->tag >= w->top->at);
    if (q->rc != ZOK && q->rc != ZNONODE) {
        zk_call_refused(w->call, zk_key(w->z, q->path), q->rc);
        return;
    }
    a->state = READ;
    a->rc = q->rc;
    a->stat = q->stat;
    a->data = q->data;
    a->data_len = q->data_len;
    q->data = NULL;
    step(w);
}

/* Never more than may still go into this page. */
static void read_ahead(struct zk_walk *w)
{
    struct level *l = w->top;
    size_t room = w->call->limit - w->n;
    size_t most = l->at + (room < WINDOW ? room : WINDOW);

    assert(w->n < w->call->limit);
    for (; l->read < l->names.n && l->read < most; l->read++) {
        struct ahead *a = &l->window[l->read % WINDOW];
        char *key = child_key(l, l->read);

        assert(a->state == NOT_READ);
        a->state = READING;
        ask(w, ZK_GET, key, l->read, on_value);
        mem_free(key);
    }
}

/* The name whose turn it is, if it has been read. */
static bool take(struct zk_walk *w)
{
    struct level *l = w->top;
    struct ahead *a = &l->window[l->at % WINDOW];
    char *key;

    assert(l->at < l->names.n);
    assert(w->n < w->call->limit);
    if (l->at == l->read || a->state == READING)
        return false;
    if (a->state == READ && a->rc == ZOK) {
        key = child_key(l, l->at);
        if (zk_is_directory(&a->stat) ||
            (w->after != NULL && strcmp(key, w->after) <= 0)) {
            mem_free(key);
        } else {
            w->entries[w->n++] = zk_entry(key, &a->stat, a->data, a->data_len);
            a->data = NULL;
        }
        if (a->stat.numChildren > 0)
            l->names.items[l->n_due++] = l->names.items[l->at];
    }
    MEM_FREE(a->data);
    a->state = NOT_READ;
    l->at++;
    return true;
}

static void descend(struct zk_walk *w)
{
    struct level *l = w->top;
    char *key = child_key(l, --l->n_due);

    assert(l->n_due < l->at);
    assert(w->outstanding == 0);
    ask(w, ZK_CHILDREN, key, 0, on_listed);
    mem_free(key);
}

/* As far as it goes without an answer. */
static void step(struct zk_walk *w)
{
    assert(w->call != NULL);
    while (w->n < w->call->limit && w->top != NULL) {
        if (level_due_first(w->top)) {
            if (w->outstanding == 0)
                descend(w);
            return;
        }
        if (w->top->at == w->top->names.n) {
            level_pop(w);
            continue;
        }
        read_ahead(w);
        if (!take(w))
            return;
    }
    if (w->outstanding == 0)
        finish(w);
}

void zk_list(struct registry_call *call)
{
    struct zookeeper *z = zk_of(call->r);
    struct zk_walk *w = call->from == NULL ? NULL : find_parked(call);
    struct zk_call *c = call->priv;
    bool fresh = w == NULL;

    assert(c->walk == NULL);
    if (fresh) {
        w = mem_zalloc(sizeof(*w));
        w->z = z;
        w->prefix = mem_strdup(call->key);
        w->after = mem_strdup(call->from);
        w->session = call->session;
    } else {
        unpark(w);
    }
    w->call = call;
    w->entries = mem_array(call->limit, sizeof(*w->entries));
    c->walk = w;
    c->release = release;
    if (fresh)
        ask(w, ZK_CHILDREN, w->prefix, 0, on_listed);
    else
        step(w);
}
