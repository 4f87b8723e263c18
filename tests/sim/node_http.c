/*
 * node_http.c - simulated workers without a registry client: they report
 * through any coordinator that answers (PUT), and leave the same way.
 *
 * Who obeys the contract stops its work when no report was accepted for its
 * ttl less a margin, and goes on as a new process; who does not is told so
 * (`fenced`) once its work was moved.
 */
#include "tests/sim/world.h"

#include "base/mem.h"

#include <string.h>

#define MARGIN_MS 1500

struct put {
    struct sim_call call;
    struct sim_node *n;
    int64_t startup;
    mono_ms sent;
};

static void put_replied(void *arg, const struct coordinator_reply *reply)
{
    struct put *p = arg;
    struct sim_node *n = p->n;
    bool fenced = reply->code != NULL && strcmp(reply->code, "fenced") == 0;

    coord_answered(&p->call);
    if (n->alive && p->startup == n->process.startup) {
        n->pending = 0;
        if (reply->code == NULL)
            n->accepted = p->sent;
        else
            n->next_report = n->w->clock.mono + 300;
        if (fenced) {
            sim_node_new_process(n);
            trace(&n->w->trace, "%s was told that it is fenced: now %lld",
                  n->address, (long long)n->process.startup);
        }
    }
    mem_free(p);
}

static void put_lost(struct sim_call *call)
{
    struct put *p = CONTAINER_OF(call, struct put, call);

    if (p->n->alive && p->startup == p->n->process.startup)
        p->n->pending = 0;
    mem_free(p);
}

static struct put *put_new(struct sim_node *n, struct coord *k)
{
    struct put *p = mem_zalloc(sizeof(*p));

    p->n = n;
    p->startup = n->process.startup;
    p->sent = n->w->clock.mono;
    coord_call(k, &p->call, put_lost);
    return p;
}

void sim_http_report(struct sim_node *n)
{
    struct world *w = n->w;
    struct coord *k = coord_any(w);
    mono_ms now = w->clock.mono;
    char text[400];
    size_t len;

    if (n->stops_on_loss && now - n->accepted > TTL_MS - MARGIN_MS) {
        sim_node_new_process(n);
        n->accepted = now;
        trace(&w->trace, "%s stopped its work: now %lld", n->address,
              (long long)n->process.startup);
    }
    if (k == NULL || n->heal_at != 0)
        return;
    len = sim_node_heartbeat(n, text, sizeof(text));
    n->pending = 1;
    n->next_report = now + TTL_MS / 3;
    coordinator_node_put(k->c, n->kind, n->address, text, len, TTL_MS,
                         put_replied, put_new(n, k));
}

void sim_http_leave(struct sim_node *n)
{
    struct coord *k = coord_any(n->w);

    if (k != NULL)
        coordinator_node_delete(k->c, n->kind, n->address, 0, put_replied,
                                put_new(n, k));
}
