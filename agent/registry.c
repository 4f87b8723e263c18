/*
 * registry.c - the agent as a client of the registry: its key is
 * ephemeral, and the session is the lease.
 *
 * Each report is followed by a look at our gate, and only if it does not bar
 * us is the registration a lease. In this order: INTENT shuts the gate and then
 * looks at the registrations, so either it finds us registered, and takes
 * itself back, or we find the gate shut. One that stands already is found as
 * well: so the gate is looked at once in each heartbeat-interval, but a report
 * is written only if the load has moved, or before the last one is late
 * (due()). While the session is in order the command may run for another third
 * of the timeout from each turn on, and never for longer than the session
 * stands by the word of who ends it.
 */
#include "agent/agent_priv.h"
#include "registry/state_file.h"

#include "base/json/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/gates.h"
#include "cluster/heartbeat.h"
#include "registry/history.h"
#include "registry/registry.h"
#include "registry/trouble.h"

#include <stdio.h>
#include <string.h>

#define RETRY_MS    500
#define MARGIN_MS   100
#define TEXT_MAX    8192
#define LEAVE_TRIES 4

struct registry_link {
    struct agent_link base; /* first */
    struct registry *registry;
    struct state_file *state;
    struct registry_listener *listener;
    char key[REGISTRY_KEY_MAX + 1];
    mono_ms retry_at;
    uint64_t session, put_session;       /* registered in; the put under way */
    struct process process, put_process; /* likewise: who */
    uint64_t leaving_version;            /* of our key */
    unsigned leave_tries;
    struct load_reading
        put_load; /* as the put under way, or the last one, says */
    enum node_status put_status;
    mono_ms put_at, gate_at; /* when they were sent; 0: it must be put */
    enum err_code told;      /* the last refusal said, once each */
};

static bool connected(const struct registry_link *l)
{
    return registry_state_is_up(registry_state(l->registry));
}

static void renew(struct registry_link *l)
{
    mono_ms third =
        l->base.agent->clock->mono + registry_session_timeout(l->registry) / 3;
    mono_ms until = registry_session_until(l->registry);

    assert(l->registry != NULL);
    if (l->session == 0 || l->session != registry_session(l->registry) ||
        !connected(l) || !process_same(&l->process, &l->base.agent->process))
        return;
    agent_lease(l->base.agent, INT64_MAX,
                (third < until ? third : until) - MARGIN_MS);
}

static void refused(struct registry_link *l, const struct err *err)
{
    assert(err->code != ERR_OK);
    assert(!l->base.busy);
    l->base.wanted = true;
    l->put_at = 0;
    l->retry_at = l->base.agent->clock->mono + RETRY_MS;
    if (l->told != err->code)
        log_warn("!registration", LOG_S("key", l->key),
                 LOG_S("code", err_name(err->code)),
                 LOG_S("reason", err->code == ERR_CONFLICT
                                     ? "another session holds the key; waiting "
                                       "until it ends"
                                     : err->msg));
    l->told = err->code;
}

/* Nobody has fenced the process that is registered since: it holds a lease. */
static void registered(struct registry_link *l)
{
    assert(l->put_process.known);
    l->told = ERR_OK;
    l->session = l->put_session;
    l->process = l->put_process;
    renew(l);
}

static void leave(struct registry_link *l);

static void on_gate(void *arg, const struct registry_reply *reply)
{
    struct registry_link *l = arg;
    struct gate gate;
    struct err err;

    assert(l->base.busy);
    l->base.busy = false;
    if (l->base.agent->closing)
        leave(l);
    else if (gates_take(&gate, reply, &err) != 0)
        refused(l, &err);
    else if (!gate_bars(&gate, &l->put_process))
        registered(l);
    else if (process_same(&l->put_process, &l->base.agent->process))
        agent_fenced(l->base.agent);
}

static void look_at_gate(struct registry_link *l)
{
    const struct agent_options *o = l->base.agent->options;

    assert(l->base.busy);
    l->gate_at = l->base.agent->clock->mono;
    gates_get(l->registry, o->kind, o->address, on_gate, l);
}

static void on_put(void *arg, const struct registry_reply *reply)
{
    struct registry_link *l = arg;

    assert(l->base.busy);
    l->base.busy = !l->base.agent->closing && reply->err.code == ERR_OK;
    if (l->base.busy)
        look_at_gate(l);
    else if (l->base.agent->closing)
        leave(l);
    else
        refused(l, &reply->err);
}

/* How old the last report may grow while the load stays: half of the session's
 * timeout, and less than after which it counts as late. */
static int64_t report_age_max(const struct registry_link *l, int64_t interval)
{
    int64_t late = NODE_REPORT_LATE * interval - interval / 4;
    int64_t half = registry_session_timeout(l->registry) / 2;

    assert(interval > 0);
    return half < late ? half : late;
}

/* Is the report that is wanted to be written now, or does what stands there
 * say the same? */
static bool due(const struct registry_link *l)
{
    const struct agent *a = l->base.agent;
    int64_t interval = a->conf.balancer.heartbeat_interval_ms;
    int64_t age = a->clock->mono - l->put_at;

    assert(age >= 0);
    if (l->put_at == 0 || l->session == 0 ||
        l->session != registry_session(l->registry) ||
        !process_same(&l->process, &a->process) || a->status != l->put_status)
        return true;
    return age >= interval && (age >= report_age_max(l, interval) ||
                               agent_load_moved(&l->put_load, &a->reading));
}

/* Sends the report that is wanted. */
static void pump(struct registry_link *l)
{
    const struct agent *a = l->base.agent;
    char place[HISTORY_PLACE_SIZE];
    struct buf text;

    assert(l->registry != NULL);
    if (!l->base.wanted || l->base.busy || !connected(l) ||
        a->clock->mono < l->retry_at)
        return;
    if (!due(l)) {
        l->base.busy = a->clock->mono - l->gate_at >=
                       a->conf.balancer.heartbeat_interval_ms;
        if (l->base.busy)
            look_at_gate(l);
        return;
    }
    l->base.wanted = false;
    (void)registry_place_token(registry_place(l->registry), place);
    buf_init(&text, TEXT_MAX);
    if (agent_heartbeat(l->base.agent, place, &text)) {
        l->base.busy = true;
        l->put_session = registry_session(l->registry);
        l->put_process = a->process;
        l->put_load = a->reading;
        l->put_status = a->status;
        l->put_at = a->clock->mono;
        registry_put(l->registry, l->key, text.data, text.len, REGISTRY_ANY, 0,
                     true, on_put, l);
    }
    buf_close(&text);
}

/* For whoever accepts the registry: how far it was seen. */
static void testify(struct registry_link *l)
{
    char place[HISTORY_PLACE_SIZE];
    struct buf b;

    assert(l->registry != NULL);
    buf_init(&b, TEXT_MAX);
    json_open(&b, NULL, '{');
    json_put_str(&b, "place",
                 registry_place_text(registry_place(l->registry), place));
    json_close(&b, '}');
    registry_set_evidence(l->registry, buf_text(&b));
    buf_close(&b);
}

static void on_state(void *arg, enum registry_state state)
{
    struct registry_link *l = arg;
    struct agent *a = l->base.agent;

    assert(!l->base.agent->closing);
    LOG_AT(state == REGISTRY_CONNECTED ? LOG_INFO : LOG_WARN, "=registry",
           LOG_S("backend", registry_backend_name(l->registry)),
           LOG_S("state", registry_state_name(state)));
    switch (state) {
    case REGISTRY_CONNECTED:
    case REGISTRY_RECONNECTED:
        l->base.wanted = true;
        l->put_at = 0;
        l->retry_at = 0;
        pump(l);
        break;
    case REGISTRY_SUSPENDED:
        agent_doubt(a, registry_session_timeout(l->registry) / 6,
                    "no answer from the registry for two thirds of the "
                    "session's timeout");
        break;
    case REGISTRY_DISCONNECTED:
        l->session = 0;
        agent_doubt(a, 0, "the session is lost");
        break;
    case REGISTRY_WENT_BACK:
        testify(l);
        agent_doubt(a, 0, "the registry is not what it was");
        break;
    }
}

/* --- the link ------------------------------------------------------------ */

static void nothing(void *arg)
{
    (void)arg;
}

static int link_open(struct agent *a, struct agent_link **out, struct err *err)
{
    char who[HISTORY_WHO_SIZE];
    struct registry_place remembered;
    struct state_file *state;
    struct registry_link *l;
    struct registry *registry;
    int rc;

    (void)snprintf(who, sizeof(who), "%s/%s", node_kind_name(a->options->kind),
                   a->options->address);
    rc = registry_state_file_open(&state, a->loop, &a->conf, "agent", who,
                                  &remembered, err);
    if (rc != 0)
        return rc;
    rc = registry_open(&registry, a->loop, &a->conf.registry, err);
    if (rc != 0) {
        registry_state_file_close(&state, nothing, NULL);
        return rc;
    }
    registry_compare(registry, who, &remembered, false);
    if (registry_state_file_doubted(state)[0] != '\0')
        registry_report_contradiction(registry, NULL, "%s",
                                      registry_state_file_doubted(state));
    l = mem_zalloc(sizeof(*l));
    l->state = state;
    l->base.agent = a;
    l->registry = registry;
    node_key_ours(a->options->kind, a->options->address, l->key);
    l->listener = registry_listen(registry, on_state, l);
    *out = &l->base;
    return 0;
}

static void keep_place(struct registry_link *l)
{
    registry_state_file_keep(l->state, registry_place(l->registry),
                             registry_unmarked(l->registry));
}

static void link_tick(struct agent_link *link)
{
    struct registry_link *l = CONTAINER_OF(link, struct registry_link, base);

    assert(!link->agent->closing);
    registry_trouble_tick(l->registry);
    renew(l);
    pump(l);
    keep_place(l);
}

static void on_state_closed(void *arg)
{
    struct registry_link *l = arg;
    struct agent *a = l->base.agent;

    assert(l->registry == NULL);
    mem_free(l);
    agent_link_closed(a);
}

static void on_closed(void *arg)
{
    struct registry_link *l = arg;

    assert(l->registry == NULL);
    registry_state_file_close(&l->state, on_state_closed, l);
}

/* --- leaving ------------------------------------------------------------- */

/* Closing takes away whatever is still registered, said or not. */
static void leave_end(struct registry_link *l)
{
    assert(l->base.agent->closing);
    assert(!l->base.busy);
    keep_place(l);
    registry_close(&l->registry, on_closed, l);
}

static void leave_read(struct registry_link *l);

static void on_left(void *arg, const struct registry_reply *reply)
{
    struct registry_link *l = arg;

    assert(l->base.agent->closing);
    if (reply->err.code == ERR_CONFLICT && ++l->leave_tries < LEAVE_TRIES)
        leave_read(l);
    else
        leave_end(l);
}

/* In order: the gate says so in the txn that takes the key away. */
static void leave_write(struct registry_link *l, const struct gate *gate)
{
    const struct agent_options *o = l->base.agent->options;
    char key[REGISTRY_KEY_MAX + 1];
    struct registry_op ops[2];
    struct buf text;

    assert(gate->left && l->leaving_version != 0);
    buf_init(&text, REGISTRY_VALUE_MAX);
    gate_write(&text, gate);
    ops[0] = registry_op_put(gate_key(o->kind, o->address, key, sizeof(key)),
                             &text, gate->version);
    ops[1] = registry_op_at(REGISTRY_DELETE, l->key, l->leaving_version);
    registry_txn(l->registry, ops, 2, on_left, l);
    buf_close(&text);
}

static void on_leave_gate(void *arg, const struct registry_reply *reply)
{
    struct registry_link *l = arg;
    struct gate gate;

    assert(l->leaving_version != 0);
    if (gates_take(&gate, reply, NULL) == 0 && connected(l) &&
        gate_leave(&gate, &l->process))
        leave_write(l, &gate);
    else
        leave_end(l);
}

static void on_leave_key(void *arg, const struct registry_reply *reply)
{
    struct registry_link *l = arg;

    assert(l->base.agent->closing);
    if (reply->err.code != ERR_OK ||
        reply->entries[0].owner != registry_session(l->registry)) {
        leave_end(l); /* it is not ours */
        return;
    }
    l->leaving_version = reply->entries[0].version;
    l->process.created = reply->entries[0].created;
    gates_get(l->registry, l->base.agent->options->kind,
              l->base.agent->options->address, on_leave_gate, l);
}

static void leave_read(struct registry_link *l)
{
    assert(l->leave_tries < LEAVE_TRIES);
    registry_get(l->registry, l->key, on_leave_key, l);
}

/* Whatever is registered by now, confirmed or not. */
static void leave(struct registry_link *l)
{
    assert(l->base.agent->closing);
    assert(!l->base.busy);
    l->process = l->put_process;
    if (l->put_session != 0 &&
        l->put_session == registry_session(l->registry) && connected(l))
        leave_read(l);
    else
        leave_end(l);
}

static void link_close(struct agent_link *link)
{
    struct registry_link *l = CONTAINER_OF(link, struct registry_link, base);

    assert(link->agent->closing);
    registry_unlisten(&l->listener);
    if (!l->base.busy) /* else what is under way comes first */
        leave(l);
}

const struct agent_link_ops agent_link_registry = {
    .name = "registry",
    .open = link_open,
    .tick = link_tick,
    .close = link_close,
};
