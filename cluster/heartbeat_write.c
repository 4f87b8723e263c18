/*
 * heartbeat_write.c - a heartbeat as DolphinScheduler 3.3 writes it, with what
 * is our own: for the agent and for nodes that speak HTTP.
 */
#include "cluster/heartbeat.h"

#include "base/json/json.h"

#include <stdlib.h>
#include <string.h>

/* What stands before the last colon, without the brackets of an IPv6. */
static void put_host(struct buf *b, const char *address)
{
    const char *colon = strrchr(address, ':');
    char host[NODE_ADDRESS_MAX + 1];
    size_t len;

    assert(colon != NULL && strlen(address) <= NODE_ADDRESS_MAX);
    len = (size_t)(colon - address);
    if (address[0] == '[' && len >= 2) {
        address++;
        len -= 2;
    }
    memcpy(host, address, len);
    host[len] = '\0';
    json_put_str(b, "host", host);
    json_put_int(b, "port", strtol(colon + 1, NULL, 10));
}

void heartbeat_write(struct buf *out, enum node_kind kind, const char *address,
                     const struct heartbeat *hb, int64_t report_time)
{
    assert(hb->process.known);
    assert(hb->n_groups <= HEARTBEAT_GROUPS_MAX);
    json_open(out, NULL, '{');
    json_put_int(out, "processId", hb->process.process_id);
    json_put_int(out, "startupTime", hb->process.startup_time);
    json_put_int(out, "reportTime", report_time);
    json_put_num(out, "cpuUsage", hb->load.cpu);
    json_put_num(out, "memoryUsage", hb->load.memory);
    json_put_num(out, "diskUsage", hb->load.disk);
    if (hb->load_average > 0)
        json_put_num(out, "loadAverage", hb->load_average);
    json_put_str(out, "serverStatus", node_status_name(hb->status));
    put_host(out, address);
    if (kind == NODE_WORKER) {
        json_put_int(out, "workerHostWeight", hb->load.weight);
        if (hb->load.pool >= 0)
            json_put_num(out, "threadPoolUsage", hb->load.pool);
        if (hb->load.slots > 0)
            json_put_int(out, "slots", hb->load.slots);
        json_open(out, "groups", '[');
        for (size_t i = 0; i < hb->n_groups; i++)
            json_put_str(out, NULL, hb->groups[i]);
        json_close(out, ']');
    }
    if (hb->ttl_ms > 0)
        json_put_int(out, "ttl", hb->ttl_ms);
    if (hb->place != NULL && hb->place[0] != '\0')
        json_put_str(out, "place", hb->place);
    json_close(out, '}');
}
