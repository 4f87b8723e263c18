/*
 * node_http.c - simulated nodes without a registry client: they report
 * through any coordinator that answers (PUT), and leave the same way.
 *
 * Who obeys the contract stops its work when no report was accepted for its
 * ttl less a margin, counted from when it sent it. It goes on as a new process,
 * or rests until a report is accepted, if it is not told that it is fenced. A
 * report may be sent to a coordinator that is stopped: it waits in the socket,
 * and is read when its sender has long given it up, or is dead.
 */
#include "tests/sim/world.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_MS 2000 /* then the next coordinator is asked */

struct put {
    struct sim_call call;
    struct sim_node *n;
    struct check_id process;
    uint64_t number;
    mono_ms sent;
    char *body;
    char instance[65]; /* that it brings along; "" none */
};

static void put_free(struct put *p)
{
    mem_free(p->body);
    mem_free(p);
}

/* Does its sender still wait for this answer? */
static bool awaited(const struct put *p)
{
    return p->n->alive && p->number == p->n->report &&
           check_same(&p->process, &p->n->process);
}

/* A later one has run at the address of one that is revived: for all that
 * anybody can tell from startupTime, this one is dead. */
bool sim_http_works(const struct sim_node *n)
{
    return n->leased && !n->revived &&
           n->w->clock.mono - n->accepted < n->w->ttl_ms - MARGIN_MS;
}

static void accepted(struct put *p)
{
    struct sim_node *n = p->n;

    n->accepted = p->sent;
    n->leased = true;
    if (sim_http_works(n))
        check_leased(&n->w->check, n->index, &n->process);
}

static void put_replied(void *arg, const struct coordinator_reply *reply)
{
    struct put *p = arg;
    struct sim_node *n = p->n;

    coord_answered(&p->call);
    if (awaited(p)) {
        n->pending = 0;
        if (reply->code == PROBLEM_NONE)
            accepted(p);
        if (reply->code == PROBLEM_NONE && n->eager && reply->instance != NULL)
            snprintf(n->instance, sizeof(n->instance), "%s", reply->instance);
        if (reply->code != PROBLEM_NONE)
            n->next_report = n->w->clock.mono + 300;
        if (reply->code == PROBLEM_FENCED) {
            sim_node_new_process(n);
            trace(&n->w->trace, "%s was told that it is fenced: now %lld",
                  n->address, (long long)n->process.startup);
        }
    }
    put_free(p);
}

static void put_lost(struct sim_call *call)
{
    struct put *p = CONTAINER_OF(call, struct put, call);

    if (awaited(p))
        p->n->pending = 0;
    put_free(p);
}

static struct put *put_new(struct sim_node *n, struct coord *k)
{
    struct put *p = mem_zalloc(sizeof(*p));

    p->n = n;
    p->process = n->process;
    p->number = ++n->report;
    p->sent = n->w->clock.mono;
    memcpy(p->instance, n->instance, sizeof(p->instance));
    p->call.renewal = true;
    coord_call(k, &p->call, put_lost);
    return p;
}

static void put_arrives(struct sim_call *call)
{
    struct put *p = CONTAINER_OF(call, struct put, call);
    struct sim_node *n = p->n;

    if (!awaited(p))
        trace(&n->w->trace, "%s carries out a late PUT of %s %lld",
              call->k->self, n->address, (long long)p->process.startup);
    coordinator_node_put(call->k->c,
                         &(struct node_put){.kind = n->kind,
                                            .address = n->address,
                                            .body = p->body,
                                            .len = strlen(p->body),
                                            .instance = p->instance[0] != '\0'
                                                            ? p->instance
                                                            : NULL,
                                            .ttl_ms = n->w->ttl_ms},
                         put_replied, p);
}

/* Mostly one that runs: a report to one that is stopped comes late. */
static struct coord *choose(struct world *w)
{
    struct coord *k = &w->coords[between(w, 0, COORDS - 1)];

    return !w->healed && k->c != NULL && chance(w, 0.5) ? k : coord_any(w);
}

/* Its lease is over, or the coordinator does not answer. */
void sim_http_step(struct sim_node *n)
{
    struct world *w = n->w;
    mono_ms now = w->clock.mono;

    if (n->stops_on_loss && now - n->accepted > w->ttl_ms - MARGIN_MS) {
        sim_node_new_process(n);
        n->pending = 0;
        trace(&w->trace, "%s stopped its work: now %lld", n->address,
              (long long)n->process.startup);
    }
    if (n->pending > 0 && now - n->asked > PATIENCE_MS)
        n->pending = 0;
}

void sim_http_renew(struct sim_node *n)
{
    struct coord *k = choose(n->w);

    if (k != NULL && n->heal_at == 0)
        sim_http_report(n, k);
}

void sim_http_report(struct sim_node *n, struct coord *k)
{
    struct world *w = n->w;
    char text[400];
    struct put *p;

    (void)sim_node_heartbeat(n, text, sizeof(text));
    n->pending = 1;
    n->asked = w->clock.mono;
    n->next_report = w->clock.mono + w->ttl_ms / (n->eager ? 24 : 3);
    p = put_new(n, k);
    p->body = mem_strdup(text);
    if (coord_runs(k))
        put_arrives(&p->call);
    else
        p->call.arrive = put_arrives;
}

void sim_http_leave(struct sim_node *n)
{
    struct coord *k = coord_any(n->w);

    if (k != NULL)
        coordinator_node_delete(
            k->c, &(struct node_leave){.kind = n->kind, .address = n->address},
            put_replied, put_new(n, k));
    n->instance[0] = '\0';
}
