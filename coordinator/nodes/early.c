/*
 * early.c - who renews again and again long before he has to.
 *
 * He is answered *from memory*, in `single` too, if his registration says that
 * others wait for him for a third of his ttl longer: his second early renewal
 * in a row is written so. Only who brings his instance along: who left begins
 * anew without it, so that nobody is taken for him who has not heard of it
 * (docs/design/renewals.md).
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/planted.h"

#include <string.h>

#define EARLY_MAX   2    /* so many early ones: others are to wait longer */
#define LOAD_STEP   1000 /* .02, of pool 2: about the same (window.h) */
#define LOAD_UNTOLD 65535

static void load_of(const struct coordinator_node_request *n, uint16_t out[4])
{
    struct renewal r = {0};

    renewal_tell(&r, &n->load, NULL);
    memcpy(out, r.load, sizeof(r.load));
}

void coordinator_node_remember(struct node_verified *v,
                               const struct coordinator_node_request *n)
{
    v->renewed = n->began;
    v->busy = n->busy;
    load_of(n, v->load);
}

static bool same_load(const struct node_verified *v,
                      const struct coordinator_node_request *n)
{
    uint16_t now[4];

    load_of(n, now);
    for (size_t i = 0; i < ARRAY_LEN(now); i++)
        if (now[i] != v->load[i] &&
            (now[i] == LOAD_UNTOLD || v->load[i] == LOAD_UNTOLD ||
             now[i] > v->load[i] + LOAD_STEP ||
             v->load[i] > now[i] + LOAD_STEP))
            return false;
    return v->busy == n->busy;
}

int64_t coordinator_node_wide_ms(const struct coordinator_node_request *n)
{
    return n->ttl_ms + n->ttl_ms / 3;
}

bool coordinator_node_all_watch(const struct coordinator *c)
{
    for (const struct peer *p = c->peers; p != NULL; p = p->hh.next)
        if (!p->watches)
            return false;
    return c->peers_synced;
}

static bool may_remember(const struct coordinator_node_request *n,
                         const struct node_verified *v)
{
    return v->confirmed && v->renewed != 0 && n->ask.instance[0] != '\0' &&
           coordinator_node_all_watch(n->base.c);
}

/* Less than a third of its ttl, and so that whoever keeps to what he is told
 * hardly ever meets it, nor his reports grow old. */
bool coordinator_node_from_memory(const struct coordinator_node_request *n,
                                  const struct node_verified *v)
{
    int64_t age = n->base.c->clock->mono - v->renewed;

    assert(n->every_ms <= n->ttl_ms / 3);
    return may_remember(n, v) && age >= 0 && age < n->every_ms * 3 / 4 &&
           (v->watched_ms >= coordinator_node_wide_ms(n) ||
            planted(PLANTED_MEMORY_NARROW)) &&
           same_load(v, n) && coordinator_is_current(n->base.c);
}

bool coordinator_node_is_early(const struct coordinator_node_request *n,
                               mono_ms last)
{
    return last != 0 && n->base.c->clock->mono - last < n->every_ms / 2;
}

bool coordinator_node_wants_wide(const struct coordinator_node_request *n,
                                 struct node_verified *v)
{
    if (!coordinator_node_is_early(n, v->renewed))
        v->early = 0;
    else if (v->early < EARLY_MAX)
        v->early++;
    return v->early == EARLY_MAX &&
           v->watched_ms < coordinator_node_wide_ms(n) && may_remember(n, v);
}
