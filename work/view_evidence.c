/*
 * view_evidence.c - what the view knows of every item, for the person who
 * accepts a registry that went back: while that is in doubt nothing is told to
 * the view, so it still has the future that was lost.
 */
#include "work/view_priv.h"

#include <stdio.h>

#define ROW_MAX (WORK_ID_MAX + NODE_ADDRESS_MAX + 64)

uint64_t work_view_epoch(const struct view *v)
{
    return v->epoch;
}

uint64_t work_view_fence(const struct view *v)
{
    return v->fence;
}

static bool room(const struct buf *out, size_t max, bool *cut)
{
    *cut = *cut || out->len + ROW_MAX > max;
    return !*cut;
}

static void items_of(const struct view *v, const struct owner *o,
                     struct buf *out, size_t max, bool *cut)
{
    struct mark_cursor c;
    char owner[NODE_ADDRESS_MAX + 16];

    (void)snprintf(owner, sizeof(owner), "%s/%s", node_kind_name(o->pub.kind),
                   o->pub.address);
    for (bool on = work_mark_first(v, o, NULL, &c); on && room(out, max, cut);
         on = work_mark_next(&c)) {
        json_open(out, NULL, '[');
        json_put_str(out, NULL, c.id);
        json_put_u64(out, NULL, c.mark.epoch);
        json_put_str(out, NULL, owner);
        json_close(out, ']');
    }
}

bool work_view_put_evidence(const struct view *v, struct buf *out, size_t max)
{
    bool cut = false;

    json_open(out, "items", '[');
    for (const struct owner *o = v->owners; o != NULL; o = o->hh.next)
        items_of(v, o, out, max, &cut);
    for (size_t kind = 0; kind < NODE_KINDS; kind++)
        items_of(v, &v->nobody[kind], out, max, &cut);
    json_close(out, ']');
    json_open(out, "finished", '[');
    for (const struct view_finished *f = v->finished;
         f != NULL && room(out, max, &cut); f = f->hh.next) {
        if (f->epoch != 0) {
            json_open(out, NULL, '[');
            json_put_str(out, NULL, f->id);
            json_put_u64(out, NULL, f->epoch);
            json_close(out, ']');
        }
    }
    json_close(out, ']');
    return !cut;
}
