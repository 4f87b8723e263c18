/*
 * dolphin_peer.h - a process of DolphinScheduler's as far as its database sees
 * it: the statements that its JDBC registry makes, in its order, with its bugs.
 */
#ifndef PELORUS_TESTS_REGISTRY_DOLPHIN_PEER_H
#define PELORUS_TESTS_REGISTRY_DOLPHIN_PEER_H

#include "tests/registry/sql_store.h"

struct dolphin_peer {
    struct sql_store *s;
    uint64_t id;
    int64_t timeout_ms;
    int64_t skew_ms;   /* of its clock */
    int64_t last_beat; /* what its heartbeat will write next */
    uint64_t lock_id;  /* 0: it holds none */
};

/* Insert the heartbeat row. */
void dolphin_start(struct dolphin_peer *p, struct sql_store *s, uint64_t id,
                   int64_t timeout_ms, int64_t skew_ms);
/* Write the time of the heartbeat before this one; whether its row is still
 * there it does not ask. */
void dolphin_beat(struct dolphin_peer *p);

/* Data row and event, as two statements. */
void dolphin_put(struct dolphin_peer *p, const char *key, const char *value);
void dolphin_delete(struct dolphin_peer *p, const char *key);
/* Orderly: data with events, locks, heartbeat. */
void dolphin_stop(struct dolphin_peer *p);

/* Purge by its own clock who did not beat for his timeout: three statements,
 * no event. How many clients. */
uint64_t dolphin_purge(struct dolphin_peer *p);
/* One client, whoever it is. */
void dolphin_purge_client(struct sql_store *s, uint64_t id);
/* Delete the events of the last two hours, meaning to keep them. */
void dolphin_purge_events(struct sql_store *s);

/* INSERT, or it is held. */
bool dolphin_lock(struct dolphin_peer *p, const char *key);
void dolphin_unlock(struct dolphin_peer *p);

#endif
