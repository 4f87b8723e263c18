/*
 * view_marks.c - the markers of all owners, in one packed map.
 *
 * Every coordinator keeps one for each unfinished item of the cluster. An
 * owner's stand side by side in it, in the order of their ids: the key is the
 * owner's name, a slash, the id. The value: flags, epoch, version and, where it
 * is known, the process, as numbers of as many bytes as they need.
 */
#include "work/view_priv.h"

#include "base/mem.h"
#include "base/pack/pack.h"

#include <string.h>

#define BYTES_MAX (1 + 5 * PACK_VARINT_MAX)

enum { HELD = 1, KNOWN = 2 };

struct name {
    char text[OWNER_NAME_SIZE + WORK_ID_MAX + 1];
    size_t prefix, len;
};

/* `id` NULL: all of the owner's begin so. */
static void make_name(struct name *n, const struct owner *o, const char *id)
{
    size_t id_len = id == NULL ? 0 : strlen(id);

    n->prefix = strlen(o->name);
    assert(n->prefix > 0 && n->prefix < OWNER_NAME_SIZE);
    assert(id_len <= WORK_ID_MAX);
    memcpy(n->text, o->name, n->prefix);
    n->text[n->prefix++] = '/';
    memcpy(n->text + n->prefix, id == NULL ? "" : id, id_len);
    n->len = n->prefix + id_len;
}

static size_t write_mark(uint8_t out[BYTES_MAX], const struct mark *m)
{
    size_t n = 1;

    out[0] = (uint8_t)((m->held ? HELD : 0) | (m->process.known ? KNOWN : 0));
    n += pack_number(out + n, m->epoch);
    n += pack_number(out + n, m->version);
    n += pack_number(out + n, m->process.created);
    n += pack_number(out + n, (uint64_t)m->process.startup_time);
    n += pack_number(out + n, (uint64_t)m->process.process_id);
    assert(n <= BYTES_MAX);
    return n;
}

static void read_mark(struct mark *m, const struct packed_value *v)
{
    struct unpack in = unpack_of(v->data, v->len);
    uint8_t flags = unpack_u8(&in);

    *m = (struct mark){.held = (flags & HELD) != 0, .epoch = unpack_uint(&in)};
    m->version = unpack_uint(&in);
    m->process.created = unpack_uint(&in);
    m->process.startup_time = (int64_t)unpack_uint(&in);
    m->process.process_id = (int64_t)unpack_uint(&in);
    m->process.known = (flags & KNOWN) != 0;
    assert(!in.bad && unpack_left(&in) == 0);
}

bool work_mark_find(const struct view *v, const struct owner *o, const char *id,
                    struct mark *out)
{
    struct packed_value value;
    struct name n;

    make_name(&n, o, id);
    if (!packed_map_find(v->marks, n.text, n.len, &value))
        return false;
    read_mark(out, &value);
    return true;
}

void work_mark_put(struct view *v, struct owner *o, const char *id,
                   const struct mark *m)
{
    uint8_t bytes[BYTES_MAX];
    struct name n;

    assert(id[0] != '\0');
    make_name(&n, o, id);
    o->n_marks +=
        packed_map_put(v->marks, n.text, n.len, bytes, write_mark(bytes, m));
    assert(o->n_marks <= packed_map_count(v->marks));
}

void work_mark_remove(struct view *v, struct owner *o, const char *id)
{
    struct name n;

    make_name(&n, o, id);
    assert(o->n_marks > 0);
    o->n_marks -= packed_map_remove(v->marks, n.text, n.len);
}

/* Still one of this owner's? Then it is read. */
static bool take(struct mark_cursor *c)
{
    if (c->at.key_len <= c->prefix ||
        memcmp(c->at.key, c->name, c->prefix) != 0)
        return false;
    c->id = c->at.key + c->prefix;
    read_mark(&c->mark, &c->at.value);
    return true;
}

bool work_mark_first(const struct view *v, const struct owner *o,
                     const char *after, struct mark_cursor *c)
{
    struct name n;

    make_name(&n, o, after);
    c->prefix = n.prefix;
    memcpy(c->name, n.text, n.prefix);
    if (!packed_map_seek(v->marks, &c->at, n.text, n.len))
        return false;
    /* The first one at `after` is that itself, or behind it. */
    if (after != NULL && c->at.key_len == n.len &&
        memcmp(c->at.key, n.text, n.len) == 0 && !packed_map_next(&c->at))
        return false;
    return take(c);
}

bool work_mark_next(struct mark_cursor *c)
{
    return packed_map_next(&c->at) && take(c);
}
