/*
 * dolphin_peer.c - plain SQL that MySQL and PostgreSQL both take.
 */
#include "tests/registry/dolphin_peer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int64_t clock_of(const struct dolphin_peer *p)
{
    return clock_wall_ms() + p->skew_ms;
}

void dolphin_start(struct dolphin_peer *p, struct sql_store *s, uint64_t id,
                   int64_t timeout_ms, int64_t skew_ms)
{
    *p = (struct dolphin_peer){
        .s = s, .id = id, .timeout_ms = timeout_ms, .skew_ms = skew_ms};
    p->last_beat = clock_of(p);
    (void)sql_store_run(
        s,
        "INSERT INTO t_ds_jdbc_registry_client_heartbeat(id, client_name,"
        " last_heartbeat_time, connection_config, create_time)"
        " VALUES(%" PRIu64 ", 'host_%" PRIu64 "', %" PRId64
        ", '{\"sessionTimeout\":%" PRId64 "}', CURRENT_TIMESTAMP)",
        id, id, p->last_beat, timeout_ms);
}

void dolphin_beat(struct dolphin_peer *p)
{
    (void)sql_store_run(p->s,
                        "UPDATE t_ds_jdbc_registry_client_heartbeat SET"
                        " last_heartbeat_time = %" PRId64
                        " WHERE id = %" PRIu64,
                        p->last_beat, p->id);
    p->last_beat = clock_of(p);
}

static void event(struct dolphin_peer *p, const char *type, const char *key,
                  const char *value)
{
    (void)sql_store_run(
        p->s,
        "INSERT INTO t_ds_jdbc_registry_data_change_event(event_type,"
        " jdbc_registry_data, create_time) VALUES('%s', '{\"dataKey\":\"%s\","
        "\"dataValue\":\"%zu\",\"dataType\":\"EPHEMERAL\",\"clientId\":%" PRIu64
        "}', CURRENT_TIMESTAMP)",
        type, key, strlen(value), p->id);
}

void dolphin_put(struct dolphin_peer *p, const char *key, const char *value)
{
    uint64_t n = sql_store_run(p->s,
                               "SELECT count(*) FROM t_ds_jdbc_registry_data"
                               " WHERE data_key = '%s'",
                               key);

    if (n > 0) {
        (void)sql_store_run(p->s,
                            "UPDATE t_ds_jdbc_registry_data SET data_value ="
                            " '%s', last_update_time = CURRENT_TIMESTAMP"
                            " WHERE data_key = '%s'",
                            value, key);
    } else {
        (void)sql_store_run(
            p->s,
            "INSERT INTO t_ds_jdbc_registry_data(data_key, data_value,"
            " data_type, client_id, create_time, last_update_time)"
            " VALUES('%s', '%s', 'EPHEMERAL', %" PRIu64
            ", CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)",
            key, value, p->id);
    }
    event(p, n > 0 ? "UPDATE" : "ADD", key, value);
}

void dolphin_delete(struct dolphin_peer *p, const char *key)
{
    (void)sql_store_run(
        p->s, "DELETE FROM t_ds_jdbc_registry_data WHERE data_key = '%s'", key);
    event(p, "DELETE", key, "");
}

void dolphin_purge_client(struct sql_store *s, uint64_t id)
{
    (void)sql_store_run(s,
                        "DELETE FROM t_ds_jdbc_registry_data WHERE data_type ="
                        " 'EPHEMERAL' AND client_id = %" PRIu64,
                        id);
    (void)sql_store_run(
        s, "DELETE FROM t_ds_jdbc_registry_lock WHERE client_id = %" PRIu64,
        id);
    (void)sql_store_run(s,
                        "DELETE FROM t_ds_jdbc_registry_client_heartbeat"
                        " WHERE id = %" PRIu64,
                        id);
}

void dolphin_stop(struct dolphin_peer *p)
{
    event(p, "DELETE", "/nodes/of/host", "");
    dolphin_purge_client(p->s, p->id);
}

uint64_t dolphin_purge(struct dolphin_peer *p)
{
    uint64_t id, n = 0;

    while ((id = sql_store_run(p->s,
                               "SELECT id FROM"
                               " t_ds_jdbc_registry_client_heartbeat WHERE"
                               " %" PRId64 " - last_heartbeat_time > %" PRId64
                               " AND id <> %" PRIu64 " LIMIT 1",
                               clock_of(p), p->timeout_ms, p->id)) != 0) {
        dolphin_purge_client(p->s, id);
        n++;
    }
    return n;
}

void dolphin_purge_events(struct sql_store *s)
{
    (void)sql_store_run(s, "DELETE FROM t_ds_jdbc_registry_data_change_event"
                           " WHERE create_time > CURRENT_TIMESTAMP -"
                           " INTERVAL '2' HOUR");
}

bool dolphin_lock(struct dolphin_peer *p, const char *key)
{
    uint64_t ignored;
    char sql[512];

    (void)snprintf(sql, sizeof(sql),
                   "INSERT INTO t_ds_jdbc_registry_lock(lock_key, lock_owner,"
                   " client_id, create_time) SELECT '%s', 'host_1_thread',"
                   " %" PRIu64 ", CURRENT_TIMESTAMP",
                   key, p->id);
    assert_int_equal(p->lock_id, 0);
    if (sql_store_run(p->s,
                      "SELECT count(*) FROM t_ds_jdbc_registry_lock"
                      " WHERE lock_key = '%s'",
                      key) > 0 ||
        sql_store_try(p->s, &ignored, sql) != DBMS_OK)
        return false;
    p->lock_id = sql_store_run(p->s,
                               "SELECT id FROM t_ds_jdbc_registry_lock"
                               " WHERE lock_key = '%s' AND client_id ="
                               " %" PRIu64,
                               key, p->id);
    return p->lock_id != 0;
}

void dolphin_unlock(struct dolphin_peer *p)
{
    (void)sql_store_run(
        p->s, "DELETE FROM t_ds_jdbc_registry_lock WHERE id = %" PRIu64,
        p->lock_id);
    p->lock_id = 0;
}
