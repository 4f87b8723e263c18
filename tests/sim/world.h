/*
 * world.h - a simulated cluster: real coordinators, simulated nodes, clients
 * and people, over one memory registry in virtual time.
 *
 *   coord.c   coordinators: start, kill, stop, cut, tick
 *   node.c    masters and workers: register, report, restart, flap;
 *             node_http.c: those that speak HTTP
 *   hook.c    the hooks that they run
 *   client.c  requests about work, and people's orders
 *   chaos.c   what goes wrong, and when; then all is healed
 *   back.c    the store loses its tail, and a person accepts it
 *   fork.c    two primaries
 *   live.c    what must be true when it is quiet again
 *   acts.c    then one more fault, whose outcome is certain
 *   run.c     one seed from beginning to end
 */
#ifndef PELORUS_TESTS_SIM_WORLD_H
#define PELORUS_TESTS_SIM_WORLD_H

#include "base/rand.h"
#include "coordinator/coordinator.h"
#include "restore/restore.h"
#include "tests/sim/check.h"

#define COORDS     3
#define MASTERS    5
#define WORKERS    20
#define NODES      (MASTERS + WORKERS)
#define TIMEOUT_MS 6000 /* of every session */
#define REPORT_MS  4000
#define MARGIN_MS  200 /* of a node that speaks HTTP, before its ttl is over */

/* Somebody waits for a coordinator's answer. If it dies none comes: lost(). */
struct sim_call {
    struct coord *k;
    /* It waits in a socket until the coordinator runs again; NULL: not. */
    void (*arrive)(struct sim_call *call);
    void (*lost)(struct sim_call *call);
    bool renewal; /* there is always another one: nobody waits for the last */
    struct sim_call *prev, *next;
};

struct coord {
    struct world *w;
    struct sim_call *calls;
    struct sim_hook *hooks;
    struct engine_hooks run_hooks;
    struct registry *registry;
    struct coordinator *c; /* NULL: it is dead */
    char self[32];
    mono_ms frozen_until, cut_until, restart_at; /* 0: not */
    mono_ms frozen_since;
    uint64_t expired;   /* a session that was ended by force, before its time */
    mono_ms well_since; /* it runs, and is not cut off */
    struct registry_place state; /* its state file */
};

struct sim_node {
    struct world *w;
    int index;
    enum node_kind kind;
    char address[32];
    char keys[2][64];
    int n_keys;
    bool alive;
    bool http;                   /* reports through a coordinator */
    bool compares;               /* as our agent does */
    struct registry_place state; /* its state file */
    struct registry *registry;   /* NULL: it is dead, or speaks HTTP */
    struct registry_listener *listener;
    struct check_id process, former;
    bool stops_on_loss; /* a lost session makes it a new process (our agent);
                           else it goes on as it was (DolphinScheduler) */
    bool takes_over;    /* removes what an earlier session left */
    bool frozen;
    bool late;    /* it comes when an act calls for it, or never */
    bool revived; /* it was stopped and knows nothing of what it missed */
    /* Until then it may still remove its own registration: it, or the process
     * before it, took that of an earlier session away, and does not know when:
     * in doubt, or by calls that were not answered yet. */
    mono_ms removes_until;
    bool removes_in_doubt;
    int removing;
    bool expired; /* its session was ended by force: it does not know yet */
    bool leased;  /* HTTP: an accepted report of this process stands */
    bool eager;   /* HTTP: it renews far more often than it has to */
    char instance[65]; /* HTTP: as it was told last; "" not, or it has left */
    int pending;
    uint64_t report; /* HTTP: number of the last one */
    mono_ms asked;   /* and when it was sent */
    mono_ms next_report, thaw_at, heal_at, restart_at; /* 0: not */
    mono_ms accepted; /* HTTP: when its last accepted report was sent */
};

/* A loss, if there is one in this run. */
struct sim_back {
    struct rand rand; /* of its own: other seeds do not change by it */
    bool planned, all_down;
    mono_ms backup_at, restore_at, accept_at, kill_at;
    mono_ms backed_up, restored; /* 0: not */
    uint64_t lost_from;          /* revision */
    struct memory_backup *backup;
    struct check_copy *copy;
    struct registry *person; /* NULL: nobody is there */
    struct restore *restore;
    bool looked, going, failed, over;
};

/* Two primaries, if there are in this run. */
struct sim_fork {
    struct rand rand; /* of its own, likewise */
    bool planned, ends_new, lost_tail;
    int64_t away_ms; /* of the old one, at least */
    mono_ms promote_at, end_at;
    mono_ms promoted, returned, ended; /* 0: not */
    struct check_copy *copy;           /* of what the old one has */
    mono_ms since[COORDS];             /* each is well, and where it is */
    bool at_old[COORDS];
};

struct world {
    uint64_t seed;
    struct rand rand;
    struct clock clock;
    struct conf conf;
    struct memory_store *store;
    struct trace trace;
    struct check check;
    struct sim_result *result;
    struct coord coords[COORDS];
    struct sim_node nodes[NODES];
    uint64_t sessions[CHECK_SESSIONS]; /* of coordinators, ever */
    size_t n_sessions;
    int64_t last_startup;
    int64_t ttl_ms;     /* of nodes that speak HTTP */
    mono_ms overridden; /* the brake, until at most then */
    size_t in_flight;   /* requests */
    double fault_rate;  /* per step */
    double request_rate;
    double meddling; /* people who cordon while work moves */
    bool healed;
    struct sim_back back;
    struct sim_fork fork;
};

static inline bool chance(struct world *w, double share)
{
    return rand_double(&w->rand) < share;
}

static inline int64_t between(struct world *w, int64_t low, int64_t high)
{
    return low + (int64_t)rand_below(&w->rand, (uint64_t)(high - low) + 1);
}

/* coord.c */
void coord_init(struct world *w, int i);
void coord_start(struct coord *k);
void coord_kill(struct coord *k);
void coord_freeze(struct coord *k, int64_t ms);
void coord_stick(struct coord *k, int64_t ms);
void coord_expire(struct coord *k);
void coord_cut(struct coord *k, int64_t ms);
void coord_strand(struct coord *k, int64_t ms);
void coord_step(struct coord *k);
void coord_heal(struct coord *k);
bool coord_runs(const struct coord *k);
/* Whoever is stuck or stopped does not keep a lock. */
void coord_check_locks(struct world *w);
/* One that runs, or NULL. */
struct coord *coord_any(struct world *w);
void coord_call(struct coord *k, struct sim_call *call,
                void (*lost)(struct sim_call *call));
void coord_answered(struct sim_call *call);
void coord_note_sessions(struct world *w);
bool coord_is_session(void *world, uint64_t session);

/* hook.c */
struct engine_hooks sim_hooks(struct coord *k);
void sim_hooks_step(struct coord *k);
void sim_hooks_die(struct coord *k);

/* node.c */
void sim_node_init(struct world *w, int i);
void sim_node_start(struct sim_node *n);
void sim_node_kill(struct sim_node *n, int64_t dead_ms);
void sim_node_freeze(struct sim_node *n, int64_t ms);
void sim_node_cut(struct sim_node *n, int64_t ms);
void sim_node_strand(struct sim_node *n, int64_t ms);
bool sim_node_works(void *world, int node, const struct check_id *process);
void sim_node_leave(struct sim_node *n, int64_t away_ms);
void sim_node_step(struct sim_node *n);
void sim_node_heal(struct sim_node *n);
void sim_node_expire(struct sim_node *n);
int sim_node_of(void *world, enum node_kind kind, const char *address);
/* node_http.c */
void sim_http_step(struct sim_node *n);
void sim_http_report(struct sim_node *n, struct coord *k); /* through it */
void sim_http_renew(struct sim_node *n);
bool sim_http_works(const struct sim_node *n);
void sim_http_leave(struct sim_node *n);

/* within node*.c */
void sim_node_new_process(struct sim_node *n);
size_t sim_node_heartbeat(struct sim_node *n, char *out, size_t size);

/* client.c */
void client_step(struct world *w);
void client_fill(struct world *w, int item); /* submits it if it is new */
void client_done(struct world *w, int item); /* by its owner */
void person_step(struct world *w);
void person_cordon(struct world *w, enum node_kind kind);
void person_unpause(struct world *w);
void person_pause(struct world *w, bool paused);
void person_withdraw(struct world *w);
void person_force(struct world *w, const struct sim_node *n);
void person_order(struct world *w, const struct gate_order *order);
enum node_kind item_kind(int item);
const char *item_group(int item);

/* acts.c */
void acts_play(struct world *w);

/* chaos.c */
void chaos_begin(struct world *w);
void chaos_step(struct world *w);
void chaos_heal(struct world *w);

/* back.c */
void back_plan(struct world *w);
void back_step(struct world *w);
bool back_is_over(const struct world *w, char *why, size_t size);
void back_end(struct world *w);
/* Not before those who remember can have written the mark: until it stands,
 * whoever begins without memory has no way to know. */
bool back_may_begin(const struct world *w);
/* Whoever begins again has its state file. */
bool back_remembers(struct world *w);
/* Now the store is what it was when this copy was made. */
void back_lost(struct world *w, const struct check_copy *copy);

/* fork.c; after back_plan() */
void fork_plan(struct world *w);
/* True: there are two. */
bool fork_step(struct world *w);
bool fork_exists(const struct world *w);
/* A process begins: which of them does it reach? */
void fork_seat(struct world *w, const char *who, struct registry *r,
               bool compares);
bool fork_is_over(const struct world *w, char *why, size_t size);
void fork_end(struct world *w);

/* run.c. `w` is zeroed. */
void world_open(struct world *w, uint64_t seed, bool verbose,
                struct sim_result *result);
void world_step(struct world *w);
void world_come_up(struct world *w); /* and is given work */
void world_close(struct world *w);

/* live.c: false, and what is not yet as it should be. */
bool live_check(struct world *w, char *why, size_t size);

#endif
