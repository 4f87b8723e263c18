/*
 * gates.h - the keeper of the gates: the one place that watches
 * "/pelorus/owners", reads what stands there and remembers it.
 *
 * Membership, the owners of work and the coordinator ask here, or are told of
 * changes; nobody else keeps a gate. What is known is a hint: whoever decides
 * who may own work reads the gate afresh and checks its version in the txn.
 * A gate that nobody can read changes nothing here; it is logged. Loop thread
 * only.
 */
#ifndef PELORUS_CLUSTER_GATES_H
#define PELORUS_CLUSTER_GATES_H

#include "base/clock.h"
#include "cluster/gate.h"
#include "registry/registry.h"

struct gates;

/* A gate and whose it is. Stays where it is as long as its key stands, and its
 * content follows the registry. */
struct gate_known {
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    struct gate gate;
    mono_ms order_seen; /* when we saw its present drain or lease first (or its
                           present version, where that has no such order): the
                           time of the order counts from here */
    mono_ms seen;       /* when we saw it as it stands first */
};

/* `known` has changed; it is borrowed. GATE_ABSENT: its key is gone, and so is
 * `known` after this: what pointed at its gate points at gates_find() now.
 * Comes from the registry's events and answers; may ask, but must not begin or
 * end listening. */
typedef void gates_changed_f(void *arg, const struct gate_known *known);

/* Watches from now on, events come later; `registry` NULL: nothing is watched,
 * and gates_learn() tells what is known. Both are borrowed for life. */
struct gates *gates_new(const struct clock *clock, struct registry *registry);
/* The same, but that it watches from gates_watch() on. */
struct gates *gates_new_idle(const struct clock *clock,
                             struct registry *registry);
void gates_watch(struct gates *g);
/* Nobody is called any more. The gates stay for those who still look at them.
 * Not needed when the registry is gone without a word. */
void gates_unwatch(struct gates *g);
void gates_free(struct gates **g);

/* At most GATES_LISTENERS_MAX, for life; told in the order of these calls. */
#define GATES_LISTENERS_MAX 4
void gates_listen(struct gates *g, gates_changed_f *changed, void *arg);

/* Never NULL: GATE_ABSENT where none is known. That one is nobody's, and does
 * not follow; every other stays valid until its key is gone, of which the
 * listeners are told. */
const struct gate *gates_find(const struct gates *g, enum node_kind kind,
                              const char *address);
/* When we saw its order first; 0: no gate is known. */
mono_ms gates_order_seen(const struct gates *g, enum node_kind kind,
                         const char *address);
/* Since when it stands as it does, by our own eyes; now: none is known. And it
 * does so from now on. */
mono_ms gates_since(const struct gates *g, enum node_kind kind,
                    const char *address);
void gates_keep(struct gates *g, enum node_kind kind, const char *address);
/* Is the time of the drain or lease in `read`, which was read afresh, over? Our
 * time begins when we see the order, so not before it is known here. */
bool gates_order_is_over(const struct gates *g, enum node_kind kind,
                         const char *address, const struct gate *read);

/* All that stood was told, in the present session. */
bool gates_synced(const struct gates *g);

/* Read one now: on some registries a watch tells of a change late. What is read
 * is taken as an event, unless one came meanwhile. It is a hint that comes
 * earlier: at most 64 are under way, others are left to the watch. */
void gates_refresh(struct gates *g, enum node_kind kind, const char *address);

/* So it stands, `gate->version` with it; GATE_ABSENT: it is gone. Copies. */
void gates_learn(struct gates *g, enum node_kind kind, const char *address,
                 const struct gate *gate);

/* For whoever decides: read one afresh, done(arg, reply) once; and what the
 * answer says: GATE_ABSENT for ERR_NOT_FOUND, and 0. ERR_INVALID: nobody can
 * read it; any other code is the reply's. `out` has its version, also of one
 * that nobody can read. */
void gates_get(struct registry *registry, enum node_kind kind,
               const char *address, registry_reply_f *done, void *arg);
int gates_take(struct gate *out, const struct registry_reply *reply,
               struct err *err) MUST_CHECK;

#endif
