/*
 * node.c - simulated masters and workers.
 *
 * They register as DolphinScheduler's do (an ephemeral heartbeat below
 * /nodes, a worker perhaps under one key per group) or as our agent does
 * (below /pelorus/nodes), report every few seconds, and know no more than a
 * node knows: their session.
 */
#include "tests/sim/world.h"

#include <string.h>

int sim_node_of(void *world, enum node_kind kind, const char *address)
{
    char letter = kind == NODE_MASTER ? 'm' : 'w';
    char *end;
    long i;

    (void)world;
    if (address[0] != letter)
        return CHECK_NOBODY;
    i = strtol(address + 1, &end, 10);
    if (strcmp(end, ":1") != 0)
        return CHECK_NOBODY;
    return (int)(kind == NODE_MASTER ? i : MASTERS + i);
}

static void add_key(struct sim_node *n, const char *prefix)
{
    char *key = n->keys[n->n_keys++];
    char letter = n->kind == NODE_MASTER ? 'm' : 'w';
    int i = n->kind == NODE_MASTER ? n->index : n->index - MASTERS;

    snprintf(key, sizeof(n->keys[0]), "%s/%c%d:1", prefix, letter, i);
}

static void choose_keys(struct sim_node *n)
{
    bool worker = n->kind == NODE_WORKER;
    int i = n->index % 5;

    n->n_keys = 0;
    n->http = (i == 3 && n->index != 13) || (worker && i == 1);
    /* no draw: the other seeds stay what they are */
    n->eager = n->http && n->w->seed / 3 % 7 >= 1 && n->w->seed / 3 % 7 <= 2;
    if (n->http || i == 3) { /* or an agent */
        add_key(n, worker ? "/pelorus/nodes/worker" : "/pelorus/nodes/master");
    } else if (worker && i == 2) {
        add_key(n, "/nodes/worker/gpu");
    } else if (worker && i == 4) {
        add_key(n, "/nodes/worker/default");
        add_key(n, "/nodes/worker/gpu");
    } else {
        add_key(n, worker ? "/nodes/worker" : "/nodes/master");
    }
}

void sim_node_init(struct world *w, int i)
{
    struct sim_node *n = &w->nodes[i];

    n->w = w;
    n->index = i;
    n->kind = i < MASTERS ? NODE_MASTER : NODE_WORKER;
    snprintf(n->address, sizeof(n->address), "%c%d:1",
             n->kind == NODE_MASTER ? 'm' : 'w',
             n->kind == NODE_MASTER ? i : i - MASTERS);
    choose_keys(n);
    n->compares = !n->http && (n->index % 5 == 3 || n->index % 6 == 0);
    n->stops_on_loss = chance(w, 0.3);
    n->takes_over = chance(w, 0.5);
    w->check.names[i] = n->address;
    w->check.kinds[i] = n->kind;
}

/* A new process: a container's, whose process id is always the same. */
void sim_node_new_process(struct sim_node *n)
{
    struct world *w = n->w;
    int64_t startup = w->clock.wall;

    if (startup <= w->last_startup)
        startup = w->last_startup + 1;
    w->last_startup = startup;
    n->process = (struct check_id){.known = true, .startup = startup, .pid = 1};
    n->revived = n->expired = n->leased = false;
    n->instance[0] = '\0';
    n->accepted = w->clock.mono;
}

static void on_state(void *arg, enum registry_state state)
{
    struct sim_node *n = arg;

    if (state == REGISTRY_DISCONNECTED && n->stops_on_loss) {
        sim_node_new_process(n);
        trace(&n->w->trace, "%s stopped its work: now %lld", n->address,
              (long long)n->process.startup);
    }
    if (state == REGISTRY_CONNECTED)
        n->next_report = n->w->clock.mono;
    if (state != REGISTRY_SUSPENDED)
        n->expired = false;
}

/* By what it knows itself. Who does not stop when its session is lost, and who
 * comes back from a long stop without looking at the clock, breaks the
 * contract: nobody can know when those end. So does who takes his own
 * registration away, by a delete of unknown outcome that comes late. */
bool sim_node_works(void *world, int node, const struct check_id *process)
{
    const struct sim_node *n = &((struct world *)world)->nodes[node];

    if (!n->alive || n->frozen || !check_same(process, &n->process))
        return false;
    if (n->http)
        return sim_http_works(n);
    return n->stops_on_loss && !n->expired && !n->revived &&
           n->w->clock.mono >= n->removes_until &&
           registry_session(n->registry) != 0;
}

void sim_node_start(struct sim_node *n)
{
    struct check_id former = n->former;

    assert(!n->alive && n->registry == NULL);
    n->former = n->process;
    sim_node_new_process(n);
    /* The one before this one was not dead, only stopped: it is back. */
    if (former.known && !n->w->healed && chance(n->w, 0.15))
        n->process = former, n->revived = true;
    n->alive = true;
    if (!n->http) {
        n->registry = memory_open(n->w->store, TIMEOUT_MS);
        if (n->compares)
            registry_compare(n->registry, n->address,
                             back_remembers(n->w) ? &n->state : NULL, false);
        fork_seat(n->w, n->address, n->registry, n->compares);
        n->listener = registry_listen(n->registry, on_state, n);
    }
    n->pending = 0;
    n->frozen = false;
    n->removing = 0;
    n->removes_in_doubt = n->w->clock.mono < n->removes_until;
    n->next_report = n->thaw_at = n->heal_at = n->restart_at = 0;
    trace(&n->w->trace, "START %s as %lld", n->address,
          (long long)n->process.startup);
}

void sim_node_kill(struct sim_node *n, int64_t dead_ms)
{
    if (!n->alive)
        return;
    trace(&n->w->trace, "KILL %s for %lld ms", n->address, (long long)dead_ms);
    n->alive = false;
    if (n->registry != NULL)
        memory_kill(&n->registry);
    n->listener = NULL;
    n->restart_at = n->w->clock.mono + dead_ms;
}

static void closed(void *arg)
{
    (void)arg;
}

/* In order: its keys are gone at once. */
void sim_node_leave(struct sim_node *n, int64_t away_ms)
{
    if (!n->alive || n->frozen || n->heal_at != 0)
        return;
    trace(&n->w->trace, "LEAVE %s for %lld ms", n->address, (long long)away_ms);
    n->alive = false;
    if (n->http) {
        sim_http_leave(n);
    } else {
        registry_unlisten(&n->listener);
        registry_forget(n->registry, n);
        registry_close(&n->registry, closed, NULL);
    }
    n->restart_at = n->w->clock.mono + away_ms;
}

void sim_node_freeze(struct sim_node *n, int64_t ms)
{
    if (!n->alive || n->frozen)
        return;
    trace(&n->w->trace, "FREEZE %s for %lld ms", n->address, (long long)ms);
    if (!n->http)
        memory_freeze(n->registry);
    n->frozen = true;
    n->thaw_at = n->w->clock.mono + ms;
}

static void thaw(struct sim_node *n)
{
    trace(&n->w->trace, "THAW %s", n->address);
    if (!n->http)
        memory_thaw(n->registry);
    n->frozen = false;
    n->thaw_at = 0;
}

void sim_node_cut(struct sim_node *n, int64_t ms)
{
    if (!n->alive || n->heal_at != 0)
        return;
    trace(&n->w->trace, "CUT %s for %lld ms", n->address, (long long)ms);
    if (!n->http)
        memory_cut(n->registry);
    n->heal_at = n->w->clock.mono + ms;
}

void sim_node_strand(struct sim_node *n, int64_t ms)
{
    if (!n->alive || n->heal_at != 0 || n->http)
        return;
    trace(&n->w->trace, "STRAND %s for %lld ms", n->address, (long long)ms);
    memory_strand(n->registry);
    n->heal_at = n->w->clock.mono + ms;
}

static void uncut(struct sim_node *n)
{
    trace(&n->w->trace, "UNCUT %s", n->address);
    if (!n->http)
        memory_heal(n->registry);
    n->heal_at = 0;
}

/* The registry ends its session. */
void sim_node_expire(struct sim_node *n)
{
    if (n->registry == NULL)
        return;
    trace(&n->w->trace, "EXPIRE %s", n->address);
    n->expired = true;
    memory_expire(n->registry);
}

/* --- reporting ----------------------------------------------------------- */

static void removed(void *arg, const struct registry_reply *reply)
{
    struct sim_node *n = arg;

    n->removing--;
    if (reply->err.code == ERR_UNKNOWN || reply->err.code == ERR_SESSION_LOST)
        n->removes_in_doubt = true;
    else if (n->removing == 0 && !n->removes_in_doubt)
        n->removes_until = 0;
    n->next_report = n->w->clock.mono;
}

/* What an earlier session left under our key. */
static void found(void *arg, const struct registry_reply *reply)
{
    struct sim_node *n = arg;

    if (reply->err.code == ERR_OK &&
        reply->entries[0].owner != registry_session(n->registry)) {
        n->removing++;
        n->removes_until = n->w->clock.mono + 2 * TIMEOUT_MS;
        registry_delete(n->registry, reply->entries[0].key,
                        reply->entries[0].version, removed, n);
    }
}

static void reported(void *arg, const struct registry_reply *reply)
{
    struct sim_node *n = arg;

    n->pending--;
    if (reply->err.code == ERR_OK)
        return;
    n->next_report = n->w->clock.mono + 500;
    if (reply->err.code == ERR_CONFLICT && n->takes_over)
        for (int i = 0; i < n->n_keys; i++)
            registry_get(n->registry, n->keys[i], found, n);
}

size_t sim_node_heartbeat(struct sim_node *n, char *out, size_t size)
{
    struct world *w = n->w;
    double cpu = 0.1 + 0.3 * rand_double(&w->rand);
    double memory = 0.1 + 0.3 * rand_double(&w->rand);
    int len;

    if (n->eager) /* the same as before, mostly */
        cpu = memory = cpu < 0.13 ? 0.3 : 0.2;
    len =
        snprintf(out, size,
                 "{\"startupTime\":%lld,\"reportTime\":%lld,\"cpuUsage\":%.2f,"
                 "\"memoryUsage\":%.2f,\"diskUsage\":0.3,\"processId\":%lld,"
                 "\"serverStatus\":\"NORMAL\",\"host\":\"h\",\"port\":1,"
                 "\"workerHostWeight\":100,\"threadPoolUsage\":0.2}",
                 (long long)n->process.startup, (long long)w->clock.wall, cpu,
                 memory, (long long)n->process.pid);
    assert(len > 0 && (size_t)len < size);
    return (size_t)len;
}

static void report(struct sim_node *n)
{
    struct world *w = n->w;
    enum registry_state state = registry_state(n->registry);
    char text[400];
    size_t len;

    if (state != REGISTRY_CONNECTED && state != REGISTRY_RECONNECTED)
        return;
    len = sim_node_heartbeat(n, text, sizeof(text));
    if (!w->healed && chance(w, 0.01))
        len = (size_t)between(w, 0, 20); /* cut short: it cannot be read */
    for (int i = 0; i < n->n_keys; i++) {
        n->pending++;
        registry_put(n->registry, n->keys[i], text, len, REGISTRY_ANY, 0, true,
                     reported, n);
    }
    n->next_report = w->clock.mono + REPORT_MS + between(w, 0, 500);
}

void sim_node_step(struct sim_node *n)
{
    mono_ms now = n->w->clock.mono;

    if (!n->alive) {
        if (n->restart_at != 0 && now >= n->restart_at)
            sim_node_start(n);
        return;
    }
    if (n->heal_at != 0 && now >= n->heal_at)
        uncut(n);
    if (n->frozen && now >= n->thaw_at)
        thaw(n);
    if (n->http && !n->frozen)
        sim_http_step(n);
    if (n->compares && !n->frozen)
        n->state = *registry_place(n->registry);
    if (n->frozen || n->pending > 0 || now < n->next_report)
        return;
    if (n->http)
        sim_http_renew(n);
    else
        report(n);
}

void sim_node_heal(struct sim_node *n)
{
    if (n->alive && n->heal_at != 0)
        uncut(n);
    if (n->alive && n->frozen)
        thaw(n);
}
