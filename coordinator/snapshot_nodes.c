/*
 * snapshot_nodes.c - the nodes of a snapshot: a B+ tree whose branches are
 * never changed once a snapshot shows them.
 *
 * A change copies the branches from the root to its leaf (path copying, as
 * Driscoll, Sarnak, Sleator and Tarjan describe it, "Making data structures
 * persistent", 1989; LMDB's pages are the same). What was made since the last
 * snapshot is changed in place, so that a thousand changes of one turn copy
 * each branch once. What a copy stands for is retired, not counted: snapshots
 * follow upon each other, so an old branch is in a run of them that ends with
 * the present one, and goes with the last reader of that run.
 *
 * A branch has the marks of all its nodes: their states, their status and, as
 * Bloom has it, their groups. Who looks for what few have enters no other
 * branch.
 *
 * Branches that grow empty go; others are not joined: clusters grow back, and
 * a leaf with one node costs no more than the node.
 */
#include "coordinator/snapshot.h"

#include "base/mem.h"

#include <string.h>

#define FAN 32U

struct snapshot_branch {
    uint64_t made; /* in which build */
    uint16_t level;
    uint16_t n;
    uint32_t marks;   /* all that its nodes have */
    void *child[FAN]; /* level 0: nodes; above: branches, none empty */
};

/* --- marks --------------------------------------------------------------- */

#define MARK_STATE(state)   (1U << (state))
#define MARK_STATUS(status) (1U << (NODE_STATES + (status)))
#define MARK_STATES         (MARK_STATE(NODE_STATES) - 1)
#define MARK_STATUSES       (MARK_STATUS(NODE_BUSY + 1) - 1 - MARK_STATES)
#define MARK_GROUPS_FROM    (NODE_STATES + NODE_BUSY + 1)
#define MARK_GROUPS         (32U - MARK_GROUPS_FROM)

/* All workers are in "default": it is none. */
static uint32_t mark_group(const char *name)
{
    uint32_t hash = 2166136261U; /* FNV-1a */

    if (strcmp(name, "default") == 0)
        return 0;
    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * 16777619U;
    return 1U << (MARK_GROUPS_FROM + (hash ^ hash >> 16) % MARK_GROUPS);
}

static uint32_t marks_of(const struct coordinator_snapshot_node *n)
{
    uint32_t marks = MARK_STATE(n->state) | MARK_STATUS(n->status);

    assert(n->state < NODE_STATES);
    assert(n->status <= NODE_BUSY);
    for (size_t i = 0; i < n->n_groups; i++)
        marks |= mark_group(n->groups[i]);
    return marks;
}

static uint32_t child_marks(const struct snapshot_branch *b, unsigned i)
{
    assert(i < b->n);
    return b->level == 0
               ? ((const struct coordinator_snapshot_node *)b->child[i])->marks
               : ((const struct snapshot_branch *)b->child[i])->marks;
}

static void sum_up(struct snapshot_branch *b)
{
    b->marks = 0;
    for (unsigned i = 0; i < b->n; i++)
        b->marks |= child_marks(b, i);
}

/* --- looking ------------------------------------------------------------- */

static int compare(const struct coordinator_snapshot_node *n,
                   enum node_kind kind, const char *address)
{
    if (n->kind != kind)
        return n->kind < kind ? -1 : 1;
    return strcmp(n->address, address);
}

static const struct coordinator_snapshot_node *
first_of(const struct snapshot_branch *b, unsigned i)
{
    assert(i < b->n);
    for (; b->level > 0; i = 0)
        b = b->child[i];
    return b->child[i];
}

/* How many children begin at this name or before it. */
static unsigned place(const struct snapshot_branch *b, enum node_kind kind,
                      const char *address)
{
    unsigned low = 0, high = b->n;

    while (low < high) {
        unsigned mid = low + (high - low) / 2;

        if (compare(first_of(b, mid), kind, address) <= 0)
            low = mid + 1;
        else
            high = mid;
    }
    assert(low <= b->n);
    return low;
}

static const struct coordinator_snapshot_node *
find(const struct snapshot_branch *b, enum node_kind kind, const char *address)
{
    const struct coordinator_snapshot_node *n;
    unsigned i = 0;

    for (; b != NULL; b = b->child[i - 1]) {
        i = place(b, kind, address);
        if (i == 0)
            return NULL;
        if (b->level == 0)
            break;
    }
    if (b == NULL)
        return NULL;
    n = b->child[i - 1];
    assert(n != NULL);
    return compare(n, kind, address) == 0 ? n : NULL;
}

const struct coordinator_snapshot_node *
coordinator_snapshot_node(const struct snapshot *s, enum node_kind kind,
                          const char *address)
{
    return find(s->nodes, kind, address);
}

const struct coordinator_snapshot_node *
coordinator_snapshot_nodes_find(const struct snapshot_nodes *t,
                                enum node_kind kind, const char *address)
{
    return find(t->root, kind, address);
}

static void push(struct snapshot_walk *w, const struct snapshot_branch *b,
                 unsigned at)
{
    assert(w->depth < SNAPSHOT_LEVELS);
    assert(at <= b->n);
    w->branch[w->depth] = b;
    w->at[w->depth++] = at;
}

void coordinator_snapshot_walk(struct snapshot_walk *w,
                               const struct snapshot *s, enum node_kind kind,
                               const char *address)
{
    const struct snapshot_branch *b = s->nodes;

    w->depth = 0;
    w->looked = 0;
    w->most = SIZE_MAX;
    w->cut = NULL;
    coordinator_snapshot_only(w, 0, 0, NULL);
    while (b != NULL) {
        unsigned i = place(b, kind, address);

        if (b->level == 0) {
            if (i > 0 && compare(b->child[i - 1], kind, address) == 0)
                i--;
            push(w, b, i);
            return;
        }
        i = i > 0 ? i - 1 : 0;
        push(w, b, i + 1);
        b = b->child[i];
    }
}

void coordinator_snapshot_only(struct snapshot_walk *w, unsigned states,
                               unsigned statuses, const char *group)
{
    assert(states < 1U << NODE_STATES);
    assert(statuses < 1U << (NODE_BUSY + 1));
    w->state = states != 0 ? states * MARK_STATE(0) : MARK_STATES;
    w->status = statuses != 0 ? statuses * MARK_STATUS(0) : MARK_STATUSES;
    w->group = group != NULL && group[0] != '\0' ? mark_group(group) : 0;
}

static bool has_marks(const struct snapshot_walk *w, uint32_t marks)
{
    assert(w->state != 0);
    return (marks & w->state) != 0 && (marks & w->status) != 0 &&
           (marks & w->group) == w->group;
}

const struct coordinator_snapshot_node *
coordinator_snapshot_next(struct snapshot_walk *w)
{
    while (w->depth > 0) {
        const struct snapshot_branch *b = w->branch[w->depth - 1];
        unsigned i = w->at[w->depth - 1];

        if (i == b->n) {
            w->depth--;
            continue;
        }
        w->at[w->depth - 1]++;
        w->looked++;
        if (!has_marks(w, child_marks(b, i))) {
            if (w->looked < w->most)
                continue;
            w->cut = first_of(b, i);
            return NULL;
        }
        if (b->level == 0)
            return b->child[i];
        push(w, b->child[i], 0);
    }
    return NULL;
}

/* --- building ------------------------------------------------------------ */

static struct snapshot_branch *branch_new(struct snapshot_nodes *t,
                                          unsigned level)
{
    struct snapshot_branch *b = mem_zalloc(sizeof(*b));

    assert(level < SNAPSHOT_LEVELS);
    b->made = t->build;
    b->level = (uint16_t)level;
    t->made++;
    return b;
}

/* One that may be changed. */
static struct snapshot_branch *own(struct snapshot_nodes *t,
                                   struct snapshot_branch *b)
{
    struct snapshot_branch *copy;

    assert(b->made <= t->build);
    if (b->made == t->build)
        return b;
    copy = branch_new(t, b->level);
    copy->n = b->n;
    copy->marks = b->marks;
    memcpy(copy->child, b->child, b->n * sizeof(b->child[0]));
    coordinator_snapshot_retire(t->slot, b);
    return copy;
}

/* Put a child there; returns what stands behind the branch now, as it was full,
 * or NULL. Nodes that come in order leave full branches behind. */
static struct snapshot_branch *insert(struct snapshot_nodes *t,
                                      struct snapshot_branch *b, unsigned i,
                                      void *child)
{
    struct snapshot_branch *right = NULL;

    assert(i <= b->n);
    assert(b->made == t->build);
    if (b->n == FAN) {
        unsigned keep = i == FAN ? FAN : FAN / 2;

        right = branch_new(t, b->level);
        right->n = (uint16_t)(FAN - keep);
        memcpy(right->child, b->child + keep, right->n * sizeof(void *));
        b->n = (uint16_t)keep;
        sum_up(b);
        sum_up(right);
        if (i > keep || keep == FAN) {
            b = right;
            i -= keep;
        }
    }
    memmove(b->child + i + 1, b->child + i, (b->n - i) * sizeof(void *));
    b->child[i] = child;
    b->n++;
    b->marks |= child_marks(b, i);
    return right;
}

/* Recursive: once for each level. */
static struct snapshot_branch *put(struct snapshot_nodes *t,
                                   struct snapshot_branch **at,
                                   struct coordinator_snapshot_node *node)
{
    struct snapshot_branch *b = *at = own(t, *at), *below, *right;
    unsigned i = place(b, node->kind, node->address);
    uint32_t marks;

    assert(b->n > 0);
    if (b->level == 0) {
        if (i == 0 ||
            compare(b->child[i - 1], node->kind, node->address) != 0) {
            t->n++;
            coordinator_census_change(t, NULL, node);
            return insert(t, b, i, node);
        }
        marks = child_marks(b, i - 1);
        coordinator_census_change(t, b->child[i - 1], node);
        coordinator_snapshot_retire(t->slot, b->child[i - 1]);
        b->child[i - 1] = node;
        if (marks != node->marks)
            sum_up(b);
        return NULL;
    }
    i = i > 0 ? i - 1 : 0;
    below = b->child[i];
    marks = below->marks;
    right = put(t, &below, node);
    b->child[i] = below;
    if (marks != below->marks)
        sum_up(b);
    return right != NULL ? insert(t, b, i + 1, right) : NULL;
}

void coordinator_snapshot_nodes_put(struct snapshot_nodes *t,
                                    struct coordinator_snapshot_node *node)
{
    struct snapshot_branch *right, *root;

    node->marks = marks_of(node);
    if (t->root == NULL) {
        t->root = branch_new(t, 0);
        t->n = 1;
        coordinator_census_change(t, NULL, node);
        (void)insert(t, t->root, 0, node);
        return;
    }
    right = put(t, &t->root, node);
    if (right == NULL)
        return;
    root = branch_new(t, right->level + 1);
    (void)insert(t, root, 0, t->root);
    (void)insert(t, root, 1, right);
    t->root = root;
    assert(t->n > FAN);
}

/* Recursive: once for each level. */
static void drop(struct snapshot_nodes *t, struct snapshot_branch **at,
                 const struct coordinator_snapshot_node *node)
{
    struct snapshot_branch *b = *at = own(t, *at), *below;
    unsigned i = place(b, node->kind, node->address);

    assert(i > 0);
    i--;
    if (b->level == 0) {
        assert(b->child[i] == node);
        coordinator_census_change(t, node, NULL);
        coordinator_snapshot_retire(t->slot, b->child[i]);
    } else {
        below = b->child[i];
        drop(t, &below, node);
        b->child[i] = below;
        if (below->n > 0) {
            sum_up(b);
            return;
        }
        mem_free(below); /* made since the last snapshot */
    }
    b->n--;
    memmove(b->child + i, b->child + i + 1, (b->n - i) * sizeof(void *));
    sum_up(b);
}

void coordinator_snapshot_nodes_remove(
    struct snapshot_nodes *t, const struct coordinator_snapshot_node *node)
{
    struct snapshot_branch *b;

    assert(t->n > 0);
    drop(t, &t->root, node);
    t->n--;
    while ((b = t->root) != NULL &&
           (b->n == 0 || (b->level > 0 && b->n == 1))) {
        t->root = b->n == 0 ? NULL : b->child[0];
        if (b->made == t->build)
            mem_free(b);
        else
            coordinator_snapshot_retire(t->slot, b);
    }
    assert((t->n == 0) == (t->root == NULL));
}

void coordinator_snapshot_nodes_show(struct snapshot_nodes *t,
                                     struct snapshot *s)
{
    assert(s->nodes == NULL);
    s->nodes = t->root;
    s->n_nodes = t->n;
    coordinator_census_show(t, s);
    t->build++;
}
