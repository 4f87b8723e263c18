/* taken.c - see taken.h. */
#include "cluster/renewals/taken.h"

#include "base/pack/pack.h"
#include "base/rand.h"

#include <inttypes.h>
#include <string.h>

#define FORMAT 1
#define HEAD   10 /* bytes before the first hash */
/* So many will never be named: whoever counts on may add. */
#define NAMED_MAX (UINT64_MAX / 2)

/* The same on every host and in every version: it stands in the registry. */
static uint64_t hash_of(enum node_kind kind, const char *address)
{
    char canonical[NODE_ADDRESS_MAX + 1];

    assert(strlen(address) <= NODE_ADDRESS_MAX);
    return hash_str(node_canonical(address, canonical),
                    hash_str(node_kind_name(kind), 0));
}

static size_t kept(const struct taken *t)
{
    return t->named < TAKEN_NAMES ? (size_t)t->named : TAKEN_NAMES;
}

/* Where the kth name stands, counted back from 0, the newest. */
static size_t place(const struct taken *t, size_t k)
{
    assert(k < kept(t));
    return (size_t)((t->named - 1 - k) % TAKEN_NAMES);
}

void taken_init(struct taken *t)
{
    memset(t, 0, sizeof(*t));
}

int taken_read(struct taken *out, const void *value, size_t len,
               struct err *err)
{
    struct unpack in = unpack_of(value, len);
    unsigned format = unpack_u8(&in), mode = unpack_u8(&in);

    taken_init(out);
    if (in.bad || format != FORMAT)
        return err_set(err, ERR_INVALID,
                       TAKEN_KEY ": byte 0: format %u, and %d is known here; "
                                 "a value has at least %d bytes, this one %zu",
                       format, FORMAT, HEAD, len);
    if (mode > 1)
        return err_set(err, ERR_INVALID,
                       TAKEN_KEY ": byte 1: mode %u: 0 single or 1 grouped is "
                                 "expected",
                       mode);
    out->grouped = mode == 1;
    out->named = unpack_u64(&in);
    if (in.bad || out->named > NAMED_MAX || unpack_left(&in) != 8 * kept(out)) {
        taken_init(out);
        return err_set(err, ERR_INVALID,
                       TAKEN_KEY ": byte 2: a number of names, and the last "
                                 "%d or all of them are expected; %zu bytes "
                                 "are there",
                       TAKEN_NAMES, len);
    }
    for (size_t k = 0; k < kept(out); k++)
        out->names[place(out, k)] = unpack_u64(&in);
    assert(!in.bad);
    return 0;
}

void taken_write(struct buf *out, const struct taken *t)
{
    pack_u8(out, FORMAT);
    pack_u8(out, t->grouped ? 1 : 0);
    pack_u64(out, t->named);
    for (size_t k = 0; k < kept(t); k++)
        pack_u64(out, t->names[place(t, k)]);
    assert(!out->overflow);
}

void taken_begin_groups(struct taken *t)
{
    assert(!t->grouped);
    assert(t->named <= UINT64_MAX - TAKEN_NAMES - 1);
    t->grouped = true;
    t->named += TAKEN_NAMES + 1;
    memset(t->names, 0, sizeof(t->names));
}

void taken_raise(struct taken *t, enum node_kind kind, const char *address)
{
    assert(t->named < UINT64_MAX);
    t->names[t->named % TAKEN_NAMES] = hash_of(kind, address);
    t->named++;
}

bool taken_knows(const struct taken *t, uint64_t since)
{
    return since <= t->named && t->named - since <= TAKEN_NAMES;
}

bool taken_names(const struct taken *t, uint64_t since, enum node_kind kind,
                 const char *address)
{
    uint64_t hash = hash_of(kind, address);

    if (!taken_knows(t, since))
        return true;
    for (size_t k = 0; k < t->named - since; k++)
        if (t->names[place(t, k)] == hash)
            return true;
    return false;
}
