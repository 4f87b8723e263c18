/*
 * engine_world_look.c - looking into the cluster of engine_world.h: straight
 * into the store, past every client, so that no cache can be wrong with us.
 */
#include "tests/unit/engine_world.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
/* cmocka needs the ones above */
#include <cmocka.h>

/* --- looking ------------------------------------------------------------- */

bool find_item(struct world *w, const char *id, struct work_item *out)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e = memory_find(w->store, work_key(id, key));
    if (e == NULL)
        return false;
    assert_int_equal(work_item_read(out, e->value, e->value_len, NULL), 0);
    out->version = e->version;
    MEM_FREE(out->payload);
    return true;
}

bool find_gate(struct world *w, const char *address, struct gate *out)
{
    char key[REGISTRY_KEY_MAX + 1];
    const struct registry_entry *e =
        memory_find(w->store, gate_key(w->kind, address, key, sizeof(key)));
    if (e == NULL)
        return false;
    assert_int_equal(gate_read(out, e->value, e->value_len, NULL), 0);
    out->version = e->version;
    return true;
}

struct search {
    struct world *world;
    const char *address;
    int state;
    size_t n;
    struct failover_record *record;
};

static void each_item(void *arg, const struct registry_entry *e)
{
    struct search *s = arg;
    struct work_item item;
    assert_int_equal(work_item_read(&item, e->value, e->value_len, NULL), 0);
    if ((s->address == NULL || strcmp(item.owner, s->address) == 0) &&
        (int)item.state == s->state)
        s->n++;
    work_item_close(&item);
}

size_t owned_by(struct world *w, const char *address)
{
    struct search s = {.address = address, .state = WORK_ASSIGNED};
    memory_each(w->store, WORK_PREFIX, each_item, &s);
    return s.n;
}

size_t in_state(struct world *w, enum work_state state)
{
    struct search s = {.state = (int)state};
    memory_each(w->store, WORK_PREFIX, each_item, &s);
    return s.n;
}

static void each_record(void *arg, const struct registry_entry *e)
{
    struct search *s = arg;
    struct failover_record r;
    assert_int_equal(work_failover_read(&r, e->value, e->value_len, NULL), 0);
    if ((s->address == NULL || strcmp(r.address, s->address) == 0) &&
        (int)r.phase == s->state) {
        s->n++;
        if (s->record != NULL)
            *s->record = r;
    }
}

bool find_record(struct world *w, const char *address,
                 enum failover_phase phase, struct failover_record *out)
{
    struct search s = {.address = address, .state = (int)phase, .record = out};
    memory_each(w->store, FAILOVER_PREFIX, each_record, &s);
    return s.n > 0;
}

uint64_t epoch_floor(const struct world *w)
{
    const struct registry_entry *e = memory_find(w->store, EPOCH_FLOOR_KEY);
    uint64_t floor = 0;
    if (e != NULL)
        assert_int_equal(
            work_epoch_floor_read(e->value, e->value_len, &floor, NULL), 0);
    return floor;
}

size_t records(struct world *w, enum failover_phase phase)
{
    struct search s = {.state = (int)phase};
    memory_each(w->store, FAILOVER_PREFIX, each_record, &s);
    return s.n;
}

static void each_agrees(void *arg, const struct registry_entry *e)
{
    struct search *s = arg;
    struct work_item item;
    struct marker m, there;
    char key[REGISTRY_KEY_MAX + 1];
    assert_int_equal(work_item_read(&item, e->value, e->value_len, NULL), 0);
    if (item.state != WORK_DONE && item.state != WORK_DROPPED) {
        work_marker_of(&m, &item);
        work_marker_key(item.kind,
                        strcmp(m.address, "-") == 0 ? NULL : m.address, item.id,
                        key);
        const struct registry_entry *found = memory_find(s->world->store, key);
        assert_non_null(found);
        assert_int_equal(work_marker_read(&there, found, NULL), 0);
        assert_int_equal(there.epoch, item.epoch);
        s->n++;
    }
    work_item_close(&item);
}

static void each_marker(void *arg, const struct registry_entry *e)
{
    struct search *s = arg;
    (void)e;
    s->n++;
}

void check_agreement(struct world *w)
{
    struct search items = {.world = w}, markers = {.world = w};
    memory_each(w->store, WORK_PREFIX, each_agrees, &items);
    memory_each(w->store, MARKER_PREFIX, each_marker, &markers);
    assert_int_equal(items.n, markers.n);
}

bool logged(const struct world_coordinator *c, const char *word)
{
    return strstr(c->log, word) != NULL;
}
