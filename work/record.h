/*
 * record.h - what stands in the registry about work, and its keys. Pure.
 *
 *   /pelorus/work/<id>                          one item, the single truth
 *   /pelorus/owned/<kind>/<address>/<id>        marker {epoch, process}
 *   /pelorus/owned/<kind>/-/<id>                marker of a waiting/held item
 *   /pelorus/failovers/<id>                     one failover
 *   /pelorus/epoch-floor                        highest epoch ever collected,
 * or that a lost future may have had /pelorus/settings what the API may change
 *
 * One txn writes a record and its marker, so they always agree. `epoch` is the
 * fencing token: at each change of owner, and when the item becomes waiting or
 * held, it rises to one above itself or the floor, whichever is higher. So a
 * floor that was raised is above every epoch that is given from then on.
 *
 * Longer than other headers: two records, the marker and their keys are one
 * format and are read side by side.
 */
#ifndef PELORUS_WORK_RECORD_H
#define PELORUS_WORK_RECORD_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/json/json.h"
#include "cluster/node.h"
#include "registry/registry.h"

#define WORK_ID_MAX      128
#define WORK_PAYLOAD_MAX ((size_t)64 * 1024) /* bytes, as sent */
/* An answer wraps a payload in lists and problems: leave room for those. */
#define WORK_PAYLOAD_DEPTH (JSON_DEPTH_MAX - 4)
#define WORK_HISTORY_MAX   5
/* The address of waiting and held items: nobody has them. */
#define WORK_NOBODY     "-"
#define FAILOVER_ID_MAX 63
/* An owner's address and an id share one marker key. */
_Static_assert(sizeof("/pelorus/owned/worker/") + NODE_ADDRESS_MAX +
                       WORK_ID_MAX <=
                   REGISTRY_KEY_MAX,
               "the longest marker key is a key");
/* The largest stored item: a full payload, five owners, escapes. */
#define WORK_RECORD_MAX (WORK_PAYLOAD_MAX + (size_t)16 * 1024)

enum work_state {
    WORK_ASSIGNED,
    WORK_WAITING, /* no candidate; assigned later, under the lock */
    WORK_HELD,    /* by policy or as poison; a person releases it */
    WORK_DONE,
    WORK_DROPPED,
};
enum work_policy { WORK_REASSIGN, WORK_HOLD, WORK_DROP };

/* One owner that the item was taken from or left. */
struct work_past {
    char address[NODE_ADDRESS_MAX + 1];
    struct process process;
    uint64_t epoch;
    uint64_t next; /* the item's epoch right after; 0: it is not given yet */
    wall_ms until;
    bool died; /* taken by a failover, not handed over */
    char failover[FAILOVER_ID_MAX + 1]; /* "" if none */
};

struct work_item {
    char id[WORK_ID_MAX + 1]; /* [A-Za-z0-9._-]{1,128} */
    enum node_kind kind;      /* of the owner: master or worker */
    char group[NODE_GROUP_MAX + 1];
    enum work_state state;
    char owner[NODE_ADDRESS_MAX + 1]; /* "" while waiting or held; the last
                                         one when done or dropped */
    struct process process;           /* known exactly when assigned */
    uint64_t epoch;                   /* 1 .. 2^63 */
    enum work_policy policy;
    char *payload;                              /* JSON text or NULL; owned */
    uint32_t attempts;                          /* how many owners it has had */
    struct work_past history[WORK_HISTORY_MAX]; /* newest first */
    size_t n_history;
    wall_ms assigned_at; /* of the present owner */
    wall_ms finished_at; /* done or dropped; 0 before */
    char cause[64];      /* held: "policy", "poison"; else "" */
    uint64_t version;    /* as read; not in the JSON */
};

/* Frees what it holds; all zero then. */
void work_item_close(struct work_item *w);
/* `to` is all zero or an item, which is closed; all is copied. */
void work_item_copy(struct work_item *to, const struct work_item *from);
/* The caller closes *out. ERR_INVALID, ERR_TOO_LARGE: it is all zero. */
int work_item_read(struct work_item *out, const char *value, size_t len,
                   struct err *err) MUST_CHECK;
/* The stored form, which is also the API's. Payload last, byte for byte. */
void work_item_write(struct buf *out, const struct work_item *w);
/* Only this of a stored item, without looking at the rest: for a watch that
 * sees every payload go by. ERR_INVALID: it is damaged. */
struct work_summary {
    enum work_state state;
    uint64_t epoch;
    wall_ms finished_at; /* 0: it is not */
};
int work_summary_read(struct work_summary *out, const char *value,
                      size_t len) MUST_CHECK;
static inline bool work_state_final(enum work_state s)
{
    return s == WORK_DONE || s == WORK_DROPPED;
}

/* The present owner goes into the history (nothing if there is none). */
void work_item_leave(struct work_item *w, wall_ms now, bool died,
                     const char *failover);
/* After work_item_leave(): the next owner, or none (waiting, held). Both raise
 * the epoch to one above itself or the floor, for which there must be an epoch
 * left; `cause` is "policy" or "poison". The floor may have risen since it was
 * read: that is for others, whose items were collected. Where it matters to
 * this one (a registry that went back), the item is written over as well, and
 * what is written upon its old version conflicts. */
void work_item_assign(struct work_item *w, const char *address,
                      const struct process *process, uint64_t floor,
                      wall_ms now);
void work_item_unassign(struct work_item *w, enum work_state state,
                        const char *cause, uint64_t floor);
/* The same owner, or none, once more, above the floor: after a registry went
 * back. No owner has left, so the history does not grow. */
void work_item_give_again(struct work_item *w, uint64_t floor);
/* Is there an epoch above both? */
bool work_epoch_left(uint64_t epoch, uint64_t floor);

/*
 * A client's payload: one JSON value, nested at most WORK_PAYLOAD_DEPTH deep,
 * at most WORK_PAYLOAD_MAX bytes. *out is its text byte for byte, without the
 * blanks around it (mem_free), NULL for `null`. ERR_INVALID, ERR_TOO_LARGE.
 */
int work_payload_read(const char *text, size_t len, char **out,
                      struct err *err) MUST_CHECK;
/* The same value, whatever the order of its keys and the blanks between its
 * tokens; numbers and strings are compared as written. Payloads, or NULL. */
bool work_payload_same(const char *a, const char *b);

/* 1 to WORK_ID_MAX of A-Z a-z 0-9 . _ - and neither "." nor ".."; else
 * ERR_INVALID. */
int work_check_id(const char *id, struct err *err) MUST_CHECK;
/* Static: "assigned". */
const char *work_state_name(enum work_state s);
int work_policy_parse(const char *name, enum work_policy *out) MUST_CHECK;

struct marker {
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1]; /* "-": waiting or held */
    char id[WORK_ID_MAX + 1];
    uint64_t epoch;
    struct process process; /* unknown below "-" */
    bool held; /* below "-": nobody assigns it but a person. A hint that saves
                  reading the item */
    uint64_t version;
};
int work_marker_read(struct marker *out, const struct registry_entry *entry,
                     struct err *err) MUST_CHECK;
/* Only kind, address and id, which its key tells. */
int work_marker_key_parse(const char *key, struct marker *out) MUST_CHECK;
void work_marker_write(struct buf *out, const struct marker *m);

/* The marker that belongs to an item as it stands: what to write, and at which
 * key. Not for finished items, which have none. */
void work_marker_of(struct marker *out, const struct work_item *w);

/* Does this address stand for nobody? */
bool work_is_nobody(const char *address);

/* Keys: each writes into `out` (REGISTRY_KEY_MAX + 1 bytes) and returns it.
 * address NULL: WORK_NOBODY. A key that would be too long comes out empty,
 * which the registry refuses. */
char *work_key(const char *id, char *out);
char *work_marker_key(enum node_kind kind, const char *address, const char *id,
                      char *out);
char *work_marker_prefix(enum node_kind kind, const char *address, char *out);
char *work_failover_key(const char *id, char *out);
#define WORK_PREFIX     "/pelorus/work"
#define MARKER_PREFIX   "/pelorus/owned"
#define FAILOVER_PREFIX "/pelorus/failovers"
#define EPOCH_FLOOR_KEY "/pelorus/epoch-floor"
#define SETTINGS_KEY    "/pelorus/settings"
#define EPOCH_MAX       (UINT64_C(1) << 63)

/* Of epochs, and of fencing numbers: the higher one stays. */
static inline void keep_highest(uint64_t *highest, uint64_t n)
{
    if (n > *highest)
        *highest = n;
}

/* The floor is a decimal number. */
int work_epoch_floor_read(const char *value, size_t len, uint64_t *out,
                          struct err *err) MUST_CHECK;
void work_epoch_floor_write(struct buf *out, uint64_t floor);

enum failover_phase {                  /* what a record says */
                      FAILOVER_HELD,   /* by the brake or a pause; nothing was
                                          fenced */
                      FAILOVER_QUEUED, /* a person's order that waits for the
                                          lock; written without it, for it
                                          decides nothing */
                      FAILOVER_INTENT, /* fenced; nothing moves yet */
                      FAILOVER_MOVING,
                      FAILOVER_DONE,
                      FAILOVER_ABORTED, /* the process was registered without a
                                           break */
};

struct failover_target {
    char address[NODE_ADDRESS_MAX + 1];
    uint32_t items;
};
#define FAILOVER_TARGETS_MAX 64

struct failover_record {
    char id[FAILOVER_ID_MAX + 1]; /* "<kind>-<ms>-<random>": sorts by time */
    enum node_kind kind;
    char address[NODE_ADDRESS_MAX + 1];
    struct process process; /* the one that lost its work */
    enum failover_phase phase;
    char cause[32];    /* a word of FAILOVER_CAUSES (work/cause.h) */
    char then[32];     /* held: "order" or "forced" if a person ordered
                          it, so that it goes on as such; queued, too;
                          else "" */
    char why[32];      /* aborted without INTENT: one of FAILOVER_WHYS; else
                          "" */
    char if_match[40]; /* queued: the plan that was approved, else "" */
    char who[64];      /* a person's, else "" */
    char reason[256];
    /* what was seen */
    wall_ms last_heartbeat;
    uint64_t gate_version, registry_revision, session;
    uint32_t missing, known; /* held as mass: how many were, and of how many */
    /* who did it */
    char coordinator[NODE_ADDRESS_MAX + 1];
    uint64_t fence;
    uint32_t resumed; /* how often another holder took it over */
    /* what was done */
    uint32_t moved, held, dropped, waiting;
    struct failover_target targets[FAILOVER_TARGETS_MAX];
    size_t n_targets; /* beyond the maximum: counted in `moved` only */
    uint64_t digest;  /* order-independent, over (id, epoch, target) */
    wall_ms began, fenced_at, finished;
    int hook_exit; /* -1: no hook ran */
    char hook_tail[512];
    uint64_t version;
};
int work_failover_read(struct failover_record *out, const char *value,
                       size_t len, struct err *err) MUST_CHECK;
void work_failover_write(struct buf *out, const struct failover_record *r);
/* The same without the closing brace: for an answer that says more. */
void work_failover_open(struct buf *out, const struct failover_record *r);
const char *work_failover_phase_name(enum failover_phase p);
static inline bool failover_phase_final(enum failover_phase p)
{
    return p == FAILOVER_DONE || p == FAILOVER_ABORTED;
}

struct settings {
    bool paused;                  /* no failover begins */
    wall_ms paused_until;         /* 0: until resumed */
    wall_ms brake_override_until; /* `mass` does not hold until then */
    char who[64], reason[256];
    char policy[40]; /* balancer policy, "" = the configured one */
    char shadow[40]; /* beside it, "off": none, "" = the configured one */
    uint64_t version;
};
/* Do they bind at this moment? An order whose time is over is none. */
bool work_settings_paused(const struct settings *s, wall_ms wall);
bool work_settings_overridden(const struct settings *s, wall_ms wall);
/* What is over is taken away. */
void work_settings_expire(struct settings *s, wall_ms wall);
/* Absent settings are all zero. */
int work_settings_read(struct settings *out, const char *value, size_t len,
                       struct err *err) MUST_CHECK;
void work_settings_write(struct buf *out, const struct settings *s);

#endif
