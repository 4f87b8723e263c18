/*
 * engine_world.h - a small cluster in virtual time for the engine's tests:
 * one memory registry, coordinators with membership, view and engines, and
 * nodes that register, die and come back. Time passes only in world_run().
 */
#ifndef PELORUS_TESTS_UNIT_ENGINE_WORLD_H
#define PELORUS_TESTS_UNIT_ENGINE_WORLD_H

#include "base/clock.h"
#include "failover/engine/engine.h"
#include "tests/lib/memory/memory.h"

#define WORLD_COORDINATORS 3
#define WORLD_NODES        16
#define WORLD_SESSION_MS   2000

struct world;

struct world_coordinator {
    struct world *world;
    char self[32];
    struct registry *registry;
    struct gates *gates;
    struct membership *membership;
    struct view *view;
    struct engine *engine;
    struct registry_watch *nodes, *ours;
    struct registry_listener *listener;
    bool frozen;
    unsigned picks;
    size_t counted;  /* of these, as given */
    char log[16384]; /* one word per event: "intent:m1" */
};

struct world_node {
    bool used;
    enum node_kind kind;
    char address[64];
    int64_t startup;
    struct registry *registry;
};

struct world {
    struct clock clock;
    struct memory_store *store;
    struct conf_failover conf;
    struct registry *admin; /* a client that belongs to nobody */
    struct world_coordinator c[WORLD_COORDINATORS];
    struct world_node nodes[WORLD_NODES];
    enum node_kind kind; /* of the engines */
    /* called before each millisecond's step: to do something in between */
    void (*between)(struct world *w);
    void *user;
    const char *closed_group; /* nobody takes work of it; NULL none */
    bool takes_all;           /* and that is not seen before it is tried */
    int64_t keep_ms;          /* of finished work; 10 s */
    int64_t forget_ms;        /* 0: a day */
    /* what the test's hook does: it exits with 3 at once, or lasts */
    int hooks;
    char hook_seen[512]; /* "<address> <process>" */
    bool hook_lasts;
    void *hook_call; /* of the one that runs */
    mono_ms hook_until;
    void (*hook_ended)(void *call, int exit_code, const char *tail);
    void (*hook_stopped)(void *arg); /* it is being ended */
    void *hook_stop_arg;
};

/* engine_world_hook.c */
struct engine_hooks world_hooks(struct world *w);

void world_open(struct world *w, size_t coordinators);
void world_open_kind(struct world *w, size_t coordinators, enum node_kind k);
void world_close(struct world *w);
void world_run(struct world *w, int64_t ms);
/* Until `done` says so, at most `ms`; whether it did. */
bool world_until(struct world *w, int64_t ms, bool (*done)(struct world *w));

void world_start(struct world *w, size_t i);
void world_kill(struct world *w, size_t i);

/* A process of `startup` registers at the address (master unless told). */
void node_start(struct world *w, const char *address, int64_t startup);
void node_start_kind(struct world *w, enum node_kind kind, const char *address,
                     int64_t startup);
/* As node_start() under a raw key. */
void node_start_at(struct world *w, enum node_kind kind, const char *address,
                   int64_t startup, const char *key);
void node_kill(struct world *w, const char *address);  /* session runs out */
void node_leave(struct world *w, const char *address); /* key gone at once */

/* Work `prefix-0` .. `prefix-(n-1)` assigned to an owner's process. */
void give(struct world *w, const char *address, int64_t startup,
          const char *prefix, size_t n);
void give_policy(struct world *w, const char *address, int64_t startup,
                 const char *id, enum work_policy policy);
void put_item(struct world *w, const struct work_item *item);
void put_gate(struct world *w, const char *address, const struct gate *gate);
/* A persistent key, as an HTTP node's is. */
void put_key(struct world *w, const char *key, const struct buf *value);
void put_settings(struct world *w, const struct settings *s);

struct process process_of(int64_t startup);
bool find_item(struct world *w, const char *id, struct work_item *out);
bool find_gate(struct world *w, const char *address, struct gate *out);
bool find_record(struct world *w, const char *address,
                 enum failover_phase phase, struct failover_record *out);
/* How many items `prefix-*` are assigned at an address. */
size_t owned_by(struct world *w, const char *address);
size_t in_state(struct world *w, enum work_state state);
size_t records(struct world *w, enum failover_phase phase);
uint64_t epoch_floor(const struct world *w); /* 0: none stands */
/* Marker and record of every item agree. */
void check_agreement(struct world *w);
bool logged(const struct world_coordinator *c, const char *word);
bool engines_idle(struct world *w);

#endif
