/*
 * node_life.c - the second key of a registration: nodes_priv.h says what for.
 */
#include "coordinator/nodes_priv.h"

#include "base/planted.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static char *life_key(struct node_life *life)
{
    snprintf(life->key, sizeof(life->key), REGISTRATIONS_PREFIX "/%s",
             life->name);
    return life->key;
}

void coordinator_node_life_read(struct node_life *life,
                                const struct node_claim *standing)
{
    life->name[0] = '\0';
    if (standing != NULL && strcmp(standing->registration, life->missing) != 0)
        memcpy(life->name, standing->registration, sizeof(life->name));
}

bool coordinator_node_life_put(struct node_life *life, struct coordinator *c,
                               const char *key, struct registry_op *op)
{
    uint64_t first = registry_first_version(c->registry);

    if (first == 0 || planted(PLANTED_ONE_LIFE))
        return false;
    if (life->name[0] != '\0') {
        *op = (struct registry_op){
            .type = REGISTRY_CHECK, .key = life_key(life), .version = first};
        return true;
    }
    snprintf(life->name, sizeof(life->name), "%016" PRIx64, rand_u64(&c->rand));
    *op = (struct registry_op){.type = REGISTRY_PUT,
                               .expect = REGISTRY_ABSENT,
                               .key = life_key(life),
                               .value = key,
                               .value_len = strlen(key)};
    return true;
}

bool coordinator_node_life_delete(struct node_life *life, struct coordinator *c,
                                  struct registry_op *op)
{
    uint64_t first = registry_first_version(c->registry);

    if (first == 0 || life->name[0] == '\0')
        return false;
    *op = (struct registry_op){.type = REGISTRY_DELETE,
                               .expect = REGISTRY_VERSION,
                               .key = life_key(life),
                               .version = first};
    return true;
}

bool coordinator_node_life_refused(struct node_life *life,
                                   const struct registry_reply *reply, size_t n)
{
    if (reply->err.code != ERR_CONFLICT || life->name[0] == '\0' ||
        reply->failed_op != n - 1)
        return false;
    memcpy(life->missing, life->name, sizeof(life->missing));
    return true;
}
