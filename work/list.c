/*
 * list.c - lists of work, a page at a time.
 *
 * What an owner has, and what waits or is held, is found by its markers and
 * read with many gets in flight; everything else walks the records. The cursor
 * is the last id looked at, so it stays right while items come and go.
 */
#include "work/work_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define WINDOW    64  /* gets in flight */
#define SCAN_PAGE 256 /* records read at a time */
#define READS_MAX 40  /* windows or pages for one answer */
#define LIMIT_MAX 1000

struct list_slot { /* one get of a window */
    struct work_op *op;
    struct work_item item;
    bool found;
};

struct list {
    struct work_list what; /* its strings are the two below */
    char owner[NODE_ADDRESS_MAX + 1];
    char cursor[WORK_ID_MAX + 1]; /* the last id looked at; "" at first */
    struct work_item *items;
    size_t n;
    unsigned reads;
    bool marked; /* by markers: unfinished items only */
    bool more;   /* there is something behind the cursor */
    struct list_slot slots[WINDOW];
    size_t n_slots;
};

void work_list_free(struct list *l)
{
    if (l == NULL)
        return;
    for (size_t i = 0; i < l->n; i++)
        work_item_close(&l->items[i]);
    for (size_t i = 0; i < l->n_slots; i++)
        work_item_close(&l->slots[i].item);
    mem_free(l->items);
    mem_free(l);
}

void work_list_page(const struct list *l, struct work_page *page)
{
    assert(l->n <= l->what.limit);
    page->items = l->items;
    page->n = l->n;
    page->next = l->more ? l->cursor : NULL;
}

static bool matches(const struct list *l, const struct work_item *item)
{
    return !(l->marked && work_state_final(item->state)) &&
           (l->what.kind < 0 || (int)item->kind == l->what.kind) &&
           (l->what.state < 0 || (int)item->state == l->what.state) &&
           (l->what.owner == NULL || strcmp(item->owner, l->owner) == 0);
}

/* Takes the item over. */
static void keep(struct list *l, struct work_item *item)
{
    assert(l->n < l->what.limit);
    l->items[l->n++] = *item;
    *item = (struct work_item){0};
}

/* --- by markers ---------------------------------------------------------- */

static const char *marker_address(const struct list *l)
{
    return l->what.owner == NULL ? WORK_NOBODY : l->owner;
}

/* The next id behind the cursor among the kinds asked for. */
static bool next_id(const struct work_op *op, char out[WORK_ID_MAX + 1])
{
    const struct list *l = op->list;
    const char *after = l->cursor[0] == '\0' ? NULL : l->cursor;

    assert(op->w->config.view != NULL);
    out[0] = '\0';
    for (int kind = NODE_MASTER; kind <= NODE_WORKER; kind++) {
        const struct marker *m;

        if (l->what.kind >= 0 && l->what.kind != kind)
            continue;
        m = work_view_marker_next(op->w->config.view, (enum node_kind)kind,
                                  marker_address(l), after);
        if (m != NULL && (out[0] == '\0' || strcmp(m->id, out) < 0))
            memcpy(out, m->id, sizeof(m->id));
    }
    return out[0] != '\0';
}

static void window(struct work_op *op);

static void window_landed(struct work_op *op)
{
    struct list *l = op->list;
    struct err err = op->trouble;
    char id[WORK_ID_MAX + 1];

    assert(op->pending == 0);
    assert(l->n_slots <= WINDOW);
    for (size_t i = 0; i < l->n_slots; i++) {
        if (l->slots[i].found && matches(l, &l->slots[i].item))
            keep(l, &l->slots[i].item);
        work_item_close(&l->slots[i].item);
    }
    l->n_slots = 0;
    l->reads++;
    l->more = next_id(op, id);
    if (err.code != ERR_OK)
        work_op_failed(op, &err);
    else if (l->more && l->n < l->what.limit && l->reads < READS_MAX)
        window(op);
    else
        work_op_reply(op, PROBLEM_NONE, NULL);
}

static void on_item(void *arg, const struct registry_reply *reply)
{
    struct list_slot *slot = arg;
    struct work_op *op = slot->op;
    struct err err = {0};

    if (!work_op_landed(op))
        return;
    if (reply->err.code == ERR_OK) {
        const struct registry_entry *e = &reply->entries[0];

        slot->found =
            work_item_read(&slot->item, e->value, e->value_len, &err) == 0;
        slot->item.version = e->version;
        if (!slot->found) {
            log_warn("!work-record", LOG_S("key", e->key),
                     LOG_S("why", err.msg));
        }
    } else if (reply->err.code != ERR_NOT_FOUND) {
        op->trouble = reply->err;
    }
    if (op->pending == 0)
        window_landed(op);
}

/* No marker: told like any other answer, when the registry answers. */
static void on_nothing(void *arg, const struct registry_reply *reply)
{
    struct work_op *op = arg;

    if (!work_op_landed(op))
        return;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND)
        op->trouble = reply->err;
    window_landed(op);
}

static void window(struct work_op *op)
{
    struct list *l = op->list;
    size_t room = l->what.limit - l->n;
    char key[REGISTRY_KEY_MAX + 1];
    char id[WORK_ID_MAX + 1];

    assert(op->pending == 0 && room > 0);
    l->n_slots = 0;
    while (l->n_slots < WINDOW && l->n_slots < room && next_id(op, id)) {
        l->slots[l->n_slots] = (struct list_slot){.op = op};
        memcpy(l->cursor, id, sizeof(id));
        op->pending++;
        registry_get(op->w->config.registry, work_key(id, key), on_item,
                     &l->slots[l->n_slots++]);
    }
    if (l->n_slots == 0) {
        op->pending++;
        registry_exists(op->w->config.registry, EPOCH_FLOOR_KEY, on_nothing,
                        op);
    }
}

/* --- by records ---------------------------------------------------------- */

static void scan(struct work_op *op, const char *from);

/* One record of a page; false: the answer is full. */
static bool scan_one(struct list *l, const struct registry_entry *e)
{
    const char *id = e->key + strlen(WORK_PREFIX "/");
    struct work_item item;
    struct work_summary summary;
    struct err err = {0};

    assert(l->n <= l->what.limit);
    if (work_check_id(id, NULL) != 0 || strcmp(id, l->cursor) <= 0)
        return true;
    if (l->n == l->what.limit) {
        l->more = true;
        return false;
    }
    (void)snprintf(l->cursor, sizeof(l->cursor), "%s", id);
    if (l->what.state >= 0 &&
        work_summary_read(&summary, e->value, e->value_len) == 0 &&
        (int)summary.state != l->what.state)
        return true;
    if (work_item_read(&item, e->value, e->value_len, &err) != 0) {
        log_warn("!work-record", LOG_S("key", e->key), LOG_S("why", err.msg));
        return true;
    }
    item.version = e->version;
    if (matches(l, &item))
        keep(l, &item);
    else
        work_item_close(&item);
    return true;
}

static void on_page(void *arg, const struct registry_reply *reply)
{
    struct work_op *op = arg;
    struct list *l = op->list;

    if (!work_op_landed(op))
        return;
    if (reply->err.code != ERR_OK) {
        work_op_failed(op, &reply->err);
        return;
    }
    for (size_t i = 0; i < reply->n_entries; i++) {
        if (!scan_one(l, &reply->entries[i])) {
            work_op_reply(op, PROBLEM_NONE, NULL);
            return;
        }
    }
    l->more = reply->next != NULL;
    if (l->more && ++l->reads < READS_MAX)
        scan(op, reply->next);
    else
        work_op_reply(op, PROBLEM_NONE, NULL);
}

static void scan(struct work_op *op, const char *from)
{
    assert(op->pending == 0);
    assert(op->list->reads < READS_MAX);
    op->pending++;
    registry_list(op->w->config.registry, WORK_PREFIX, from, SCAN_PAGE, on_page,
                  op);
}

/* --- beginning ----------------------------------------------------------- */

static void list_run(struct work_op *op)
{
    struct list *l = op->list;
    char key[REGISTRY_KEY_MAX + 1];
    int state = l->what.state;

    assert(op->type == OP_LIST);
    assert(op->list->items != NULL);
    l->marked = l->what.owner != NULL
                    ? state < 0 || state == WORK_ASSIGNED
                    : state == WORK_WAITING || state == WORK_HELD;
    if (l->marked && op->w->config.view != NULL)
        window(op);
    else
        scan(op, l->cursor[0] == '\0' ? NULL : work_key(l->cursor, key));
}

static int take(struct list *l, const struct work_list *what, struct err *err)
{
    int rc = 0;

    assert(l->items == NULL);
    if (what->limit < 1 || what->limit > LIMIT_MAX) {
        rc = err_set(err, ERR_INVALID, "limit: 1 to %d, not %zu", LIMIT_MAX,
                     what->limit);
    }
    if (rc == 0 && what->owner != NULL)
        rc = node_check_address(what->owner, err);
    if (rc == 0 && what->after != NULL)
        rc = work_check_id(what->after, err);
    if (rc != 0)
        return rc;
    l->what = *what;
    if (what->owner != NULL) {
        (void)node_canonical(what->owner, l->owner);
        l->what.owner = l->owner;
    }
    if (what->after != NULL) {
        memcpy(l->cursor, what->after, strlen(what->after) + 1);
        l->what.after = NULL; /* the cursor stands for it */
    }
    l->items = mem_array(what->limit, sizeof(*l->items));
    return 0;
}

void work_list(struct work *w, const struct work_list *what, work_page_f *done,
               void *arg)
{
    static const struct op_verb verb = {.then = list_run};
    struct work_op *op = work_op_new(w, &verb);
    int rc;

    assert(done != NULL);
    op->type = OP_LIST;
    op->page_done = done;
    op->arg = arg;
    op->list = mem_zalloc(sizeof(*op->list));
    rc = take(op->list, what, &op->trouble);
    work_op_start(op, rc == 0 ? PROBLEM_NONE : PROBLEM_INVALID);
}
