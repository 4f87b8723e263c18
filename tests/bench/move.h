/*
 * move.h - the work of one dead master, and its move through the registry.
 *
 * A benchmark moves the same items twice: through the registry, as the engine
 * does it, and through the bare client of the same store. Keys, values and the
 * shape of a batch are made here, so that both halves send the same bytes.
 *
 * A move is three operations in one txn: the record at its version, the old
 * marker deleted at its version, the new marker made. A batch adds a check of
 * the lock and of the gates of its targets.
 */
#ifndef PELORUS_TESTS_BENCH_MOVE_H
#define PELORUS_TESTS_BENCH_MOVE_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct conf_registry;

#define MOVE_PAGE    1000 /* markers listed at a time */
#define MOVE_READS   256  /* records read at a time */
#define MOVE_BATCHES 4    /* txns in flight */
#define MOVE_TARGETS 3    /* who takes the items */
/* Of a batch besides its items: the lock, the targets' gates. */
#define MOVE_CHECKS (1 + MOVE_TARGETS)

#define MOVE_WORK  "/pelorus/work"
#define MOVE_OWNED "/pelorus/owned/master"
#define MOVE_GATES "/pelorus/owners/master"
#define MOVE_LOCK  "/lock/master-failover"
#define MOVE_GATE  "{\"process\":17,\"state\":\"open\"}"

#define MOVE_ITEMS_MAX 100000
#define MOVE_KEY_SIZE  96
#define MOVE_VALUE_MAX 512

struct move_item {
    char record[MOVE_KEY_SIZE], old_marker[MOVE_KEY_SIZE],
        new_marker[MOVE_KEY_SIZE];
    uint64_t record_version, marker_version; /* as whoever moves it read them */
};

/* `n` items, 1..MOVE_ITEMS_MAX; mem_free() them. In the order of their keys. */
struct move_item *move_items(size_t n) MUST_CHECK;

/* Who owns item `i` from now on: target 1..MOVE_TARGETS; 0 is the dead one. */
int move_target(size_t i);

/* The keys of an owner's markers and of its gate. */
const char *move_owned(int owner, char key[MOVE_KEY_SIZE]);
const char *move_gate(int owner, char key[MOVE_KEY_SIZE]);

/* The values of item `i`: as it was owned, and after its move. */
struct move_values {
    char record[MOVE_VALUE_MAX], marker[64];
};
void move_before(size_t i, struct move_values *values);
void move_after(size_t i, struct move_values *values);

struct move_result {
    double read_ms, move_ms, all_ms;
    double cpu_ms; /* of this process and the server's, of all of it */
    size_t batch;  /* items a txn */
    size_t txns;   /* of the move */
    size_t events; /* told by the watches */
};

/*
 * Open the registry, fill it, move everything and close. With `watched` the
 * work and the markers are watched meanwhile, as every coordinator does; all
 * of them have been told before the move begins. Ends the process with a
 * message if anything fails.
 */
void move_through_registry(const struct conf_registry *conf,
                           struct move_item *items, size_t n, bool watched,
                           struct move_result *result);

double move_ms_since(uint64_t start_ns);

/* The time of processors that this process and the server have used, ms; a
 * server's processes are `pid` and its children. pid 0: ours alone. */
void move_cpu_of(int pid);
double move_cpu_ms(void);

/* A store, and the two ways of moving items in it. Each fills it first, and
 * leaves nothing behind. */
struct move_store {
    const char *name;
    double ratio_max; /* ours : bare; 0: 1.5 */
    void *arg;
    void (*ours)(void *arg, struct move_item *items, size_t n, bool watched,
                 struct move_result *result);
    /* As many items a txn as result->batch says. */
    void (*bare)(void *arg, struct move_item *items, size_t n,
                 struct move_result *result);
};

/*
 * Move 10,000 items and 100,000, or just `asked` unless that is 0, in both
 * ways in turn, after a warm-up of both. A number is passed if the median of
 * the pairs' ratios is no more than ratio_max, in time or (where the server's
 * processes are known) in time of processors: others on the same machine
 * disturb the first far more than the second. Then ours once more, not counted,
 * with the watches that every coordinator has, which nothing bare stands
 * beside. Prints each run; how many failed.
 */
size_t move_compare(const struct move_store *store, size_t asked,
                    size_t *passed);

/* The N of "--items N", `preset` without it. Ends the process, saying what is
 * right, if the arguments are something else. */
size_t move_items_asked(int argc, char **argv, size_t preset);

#endif
