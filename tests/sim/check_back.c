/*
 * check_back.c - the rules about a store that lost its tail.
 *
 * The ledger: who had which item at which epoch, ever, in this future or in one
 * that was lost. Nobody else has it at that epoch. From the loss to a person's
 * word nobody but that person writes anything about work; and then each
 * unfinished item is where the store had it, above every epoch that was had.
 */
#include "tests/sim/check.h"

#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

/* --- the ledger ---------------------------------------------------------- */

void check_ledger(struct check *c, int item, int owner,
                  const struct check_id *process, uint64_t epoch)
{
    struct check_item *it = &c->items[item];

    for (size_t i = 0; i < it->n_had; i++) {
        const struct check_had *had = &it->had[i];

        if (had->epoch != epoch)
            continue;
        if (had->owner != owner || !check_same(&had->process, process))
            check_fail(c, "an-epoch-has-one-owner",
                       "w-%d: epoch %" PRIu64 " was had by %s %" PRId64
                       ", and now by %s %" PRId64,
                       item, epoch, c->names[had->owner], had->process.startup,
                       c->names[owner], process->startup);
        return;
    }
    it->had = mem_regrow(it->had, it->n_had + 1, sizeof(*it->had));
    it->had[it->n_had++] = (struct check_had){epoch, owner, *process};
    /* what a person gives again nobody has before the store is open */
    if (epoch > c->back.highest && !check_by_person(c))
        c->back.highest = epoch;
}

/* --- a copy of the picture ----------------------------------------------- */

struct check_copy {
    struct check c;
};

static struct check_process *copy_processes(const struct check_process *from)
{
    struct check_process *first = NULL, **end = &first;

    for (; from != NULL; from = from->next) {
        *end = mem_alloc(sizeof(**end));
        **end = *from;
        (*end)->next = NULL;
        end = &(*end)->next;
    }
    return first;
}

static void copy_lists(struct check *to, const struct check *from)
{
    const struct check_failover *f;
    const struct check_registration *r;

    for (int i = 0; i < CHECK_NODES; i++)
        to->nodes[i].processes = copy_processes(from->nodes[i].processes);
    to->failovers = NULL;
    for (f = from->failovers; f != NULL; f = f->hh.next) {
        struct check_failover *copy = mem_zalloc(sizeof(*copy));

        *copy = *f;
        memset(&copy->hh, 0, sizeof(copy->hh));
        HASH_ADD_STR(to->failovers, id, copy);
    }
    to->registrations = NULL;
    for (r = from->registrations; r != NULL; r = r->hh.next) {
        struct check_registration *copy = mem_zalloc(sizeof(*copy));

        *copy = *r;
        memset(&copy->hh, 0, sizeof(copy->hh));
        HASH_ADD_STR(to->registrations, key, copy);
    }
}

struct check_copy *check_copy(struct check *c)
{
    struct check_copy *copy = mem_zalloc(sizeof(*copy));

    check_flush(c);
    copy->c = *c;
    copy_lists(&copy->c, c);
    return copy;
}

void check_copy_free(struct check_copy **copy)
{
    if (*copy != NULL) {
        check_lists_free(&(*copy)->c);
        mem_free(*copy);
        *copy = NULL;
    }
}

/* What was asked and what was had stays so, whatever the store has lost. */
static void restore_items(struct check *c, const struct check *from)
{
    for (int i = 0; i < CHECK_ITEMS; i++) {
        struct check_item *it = &c->items[i];
        const struct check_item *was = &from->items[i];

        it->now = it->restored = was->now;
        memcpy(it->markers, was->markers, sizeof(it->markers));
        it->n_markers = was->n_markers;
    }
}

static void restore_failovers(struct check *c, struct check *lost)
{
    struct check_failover *f, *next, *before;

    HASH_ITER (hh, c->failovers, f, next) {
        HASH_FIND_STR(lost->failovers, f->id, before);
        f->withdraw_asked |= before != NULL && before->withdraw_asked;
    }
}

void check_restored(struct check *c, const struct check_copy *copy)
{
    const struct check *from = &copy->c;
    struct check lost = *c;

    check_flush(c);
    restore_items(c, from);
    for (int i = 0; i < CHECK_NODES; i++) {
        c->nodes[i] = from->nodes[i];
        c->nodes[i].undrain_asked = lost.nodes[i].undrain_asked;
    }
    copy_lists(c, from);
    restore_failovers(c, &lost);
    check_lists_free(&lost);
    check_registrations_gone(c); /* they ended in the copy since */
    c->floor = from->floor;
    memcpy(c->nobody, from->nobody, sizeof(c->nobody));
    memcpy(c->back.incarnation, from->back.incarnation,
           sizeof(c->back.incarnation));
    c->back.fence_base = from->back.fence_base;
    c->back.doubt = c->back.ever = true;
    c->back.since = c->trace->clock->mono;
}

/* --- in doubt ------------------------------------------------------------ */

static bool is_person(const struct check *c, uint64_t session)
{
    for (size_t i = 0; i < CHECK_PERSONS && i < c->back.n_persons; i++)
        if (c->back.persons[i] == session)
            return true;
    return false;
}

void check_person(struct check *c, uint64_t session)
{
    if (session != 0 && !is_person(c, session))
        c->back.persons[c->back.n_persons++ % CHECK_PERSONS] = session;
}

bool check_by_person(const struct check *c)
{
    return c->back.doubt && is_person(c, c->txn.writer);
}

void check_doubt(struct check *c, const char *key, uint64_t writer)
{
    if (c->back.doubt && !is_person(c, writer))
        check_fail(c, "nobody-acts-in-doubt",
                   "%s was written by %" PRIu64 " %" PRId64
                   " ms after the store lost its tail",
                   key, writer, c->trace->clock->mono - c->back.since);
}

/* At an old primary beside the one that is believed: sessions of before end,
 * and those who know say what they know. Nobody else writes. */
void check_beside(void *arg, uint64_t writer,
                  const struct registry_entry *before,
                  const struct registry_entry *after)
{
    struct check *c = arg;
    const char *key = after != NULL ? after->key : before->key;
    struct check_history is;
    bool is_history = strcmp(key, "/pelorus/history/incarnation") == 0;

    if (check_failed(c))
        return;
    trace(c->trace, "  beside: %s%s by %" PRIu64, after == NULL ? "- " : "",
          key, writer);
    if (is_history && after != NULL && check_read_history(&is, after))
        c->beside.marked |= is.marked;
    else if (strncmp(key, "/pelorus/history/seen/", 22) != 0 &&
             (after != NULL || before->owner != writer))
        check_fail(c, "nobody-acts-beside",
                   "%s was written by %" PRIu64 " at an old primary", key,
                   writer);
}

/* A person gives it again to whom the store says. */
void check_given_again(struct check *c, int i)
{
    const struct check_item *it = &c->items[i];
    const struct check_record *was = &it->before, *is = &it->now;

    if (!check_holds(c, NODE_MASTER) || !check_holds(c, NODE_WORKER))
        check_fail(c, "under-the-lock",
                   "w-%d was given again without both locks", i);
    if (is->state != was->state || is->owner != was->owner ||
        (is->state == ITEM_ASSIGNED &&
         !check_same(&is->process, &was->process)) ||
        is->state == ITEM_DONE || is->state == ITEM_DROPPED)
        check_fail(c, "accepted-as-it-is", "w-%d went from %s to %s", i,
                   check_state_name(was->state), check_state_name(is->state));
    if (is->epoch != c->floor + 1 || is->epoch <= c->back.highest)
        check_fail(c, "epochs-grow",
                   "w-%d was given again at %" PRIu64 ", the floor is %" PRIu64
                   ", somebody had %" PRIu64,
                   i, is->epoch, c->floor, c->back.highest);
}

/* --- the word ------------------------------------------------------------ */

static void check_item_accepted(struct check *c, int i)
{
    const struct check_record *was = &c->items[i].restored;
    const struct check_record *is = &c->items[i].now;
    bool open = is->state == ITEM_ASSIGNED || is->state == ITEM_WAITING ||
                is->state == ITEM_HELD;

    if (is->state != was->state || is->owner != was->owner ||
        (is->state == ITEM_ASSIGNED &&
         !check_same(&is->process, &was->process)))
        check_fail(c, "accepted-as-it-is",
                   "w-%d was %s in what is accepted, and is %s", i,
                   check_state_name(was->state), check_state_name(is->state));
    if (open && is->epoch <= c->back.highest)
        check_fail(c, "above-all-that-was-had",
                   "the store is open, w-%d stands at %" PRIu64
                   ", somebody had %" PRIu64,
                   i, is->epoch, c->back.highest);
}

static void accepted(struct check *c, const struct check_history *is)
{
    bool doubt = c->back.doubt;

    trace(c->trace, "  a new incarnation by %" PRIu64, c->txn.writer);
    if (!doubt || !is_person(c, c->txn.writer) ||
        !check_holds(c, NODE_MASTER) || !check_holds(c, NODE_WORKER)) {
        check_fail(c, "accepted-by-a-person",
                   "%" PRIu64 " wrote another incarnation", c->txn.writer);
        return;
    }
    for (int i = 0; i < CHECK_ITEMS; i++)
        check_item_accepted(c, i);
    if (c->floor < c->back.highest)
        check_fail(c, "above-all-that-was-had",
                   "the store is open with the floor %" PRIu64
                   ", somebody had %" PRIu64,
                   c->floor, c->back.highest);
    for (int k = 0; k < 2; k++)
        if (is->fence_base < c->fence[k])
            check_fail(c, "fences-grow",
                       "fencing numbers begin above %" PRIu64
                       ", somebody had %" PRIu64,
                       is->fence_base, c->fence[k]);
    c->back.doubt = false;
}

void check_history_change(struct check *c, const struct registry_entry *after)
{
    struct check_history is;

    if (after == NULL || !check_read_history(&is, after)) {
        check_fail(c, "readable", "the history was removed or damaged");
        return;
    }
    if (is.marked && !c->back.doubt)
        check_fail(c, "no-false-alarm", "%" PRIu64 " marked the store",
                   c->txn.writer);
    if (c->back.incarnation[0] != '\0' &&
        strcmp(c->back.incarnation, is.incarnation) != 0)
        accepted(c, &is);
    memcpy(c->back.incarnation, is.incarnation, sizeof(is.incarnation));
    c->back.fence_base = is.fence_base;
}
