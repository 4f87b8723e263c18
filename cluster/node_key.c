/*
 * node_key.c - which keys are a node's, read and made by one rule: the makers
 * ask the reader, so that nobody looks under a key that others ignore, or
 * ignores one under which others see a node.
 */
#include "cluster/heartbeat.h"

#include "registry/registry.h"

#include <stdio.h>
#include <string.h>

#define THEIRS "/nodes/"
#define OURS   "/pelorus/nodes/"

/* The part up to the next slash or the end, and behind it. */
struct part {
    const char *s;
    size_t len;
};

static struct part next_part(const char **key)
{
    struct part p = {.s = *key, .len = strcspn(*key, "/")};

    *key += p.len;
    if ((*key)[0] == '/' && (*key)[1] != '\0')
        (*key)++;
    return p;
}

static bool copy(const struct part *p, char *out, size_t size)
{
    assert(size > 0);
    if (p->len == 0 || p->len >= size)
        return false;
    memcpy(out, p->s, p->len);
    out[p->len] = '\0';
    return true;
}

/* A name that we cannot speak of must not hide a live worker: it is in no
 * group then, and alive. */
static void take_group(const struct part *p, struct node_key *out)
{
    char name[REGISTRY_KEY_MAX + 1];
    struct err err;

    assert(out->group[0] == '\0');
    if (!copy(p, name, sizeof(name)))
        err_set(&err, ERR_INVALID, "group: longer than a key");
    else if (node_clean_group(name, out->group, &err) == 0)
        return;
    out->group[0] = '\0';
    snprintf(out->problem, sizeof(out->problem),
             "%.150s; it is in no such group here", err.msg);
}

static int take_address(const struct part *p, struct node_key *out,
                        const char *key, struct err *err)
{
    int rc;

    if (p->len > NODE_ADDRESS_MAX)
        return err_set(err, ERR_INVALID,
                       "key %.300s: an address has at most %d bytes, this "
                       "one %zu",
                       key, NODE_ADDRESS_MAX, p->len);
    if (!copy(p, out->address, sizeof(out->address)))
        return err_set(err, ERR_INVALID,
                       "key %.300s: no host:port stands at its end", key);
    rc = node_check_address(out->address, err);
    if (rc != 0)
        err_wrap(err, "key %s", key);
    else
        (void)node_canonical(out->address, out->address);
    return rc;
}

bool node_key_begins(const char *key, enum node_kind *kind, bool *ours,
                     const char **rest)
{
    struct part part;
    char name[16];

    *rest = NULL;
    *ours = strncmp(key, OURS, strlen(OURS)) == 0;
    if (!*ours && strncmp(key, THEIRS, strlen(THEIRS)) != 0)
        return false;
    *rest = key + (*ours ? strlen(OURS) : strlen(THEIRS));
    part = next_part(rest);
    return copy(&part, name, sizeof(name)) && node_kind_parse(name, kind) == 0;
}

int node_key_parse(const char *key, struct node_key *out, struct err *err)
{
    struct part part;
    const char *s;

    assert(key != NULL && out != NULL);
    memset(out, 0, sizeof(*out));
    if (!node_key_begins(key, &out->kind, &out->ours, &s)) {
        if (s == NULL)
            return err_set(err, ERR_INVALID, "key %s: not a node's", key);
        return err_set(err, ERR_INVALID,
                       "key %.300s: a node is of the kind master, worker or "
                       "alert-server",
                       key);
    }
    part = next_part(&s);
    if (*s != '\0' && part.len > 0 && !out->ours && out->kind == NODE_WORKER) {
        take_group(&part, out);
        part = next_part(&s);
    }
    if (*s != '\0')
        return err_set(err, ERR_INVALID,
                       "key %.300s: too many parts; a node's key ends with "
                       "kind and host:port, and a worker's may have its "
                       "group between them",
                       key);
    return take_address(&part, out, key, err);
}

bool node_key(enum node_kind kind, const char *address, const char *group,
              char *key)
{
    char canonical[NODE_ADDRESS_MAX + 1];
    struct node_key back;
    int n;

    if (group == NULL)
        n = snprintf(key, REGISTRY_KEY_MAX + 1, THEIRS "%s/%s",
                     node_kind_name(kind), address);
    else
        n = snprintf(key, REGISTRY_KEY_MAX + 1, NODE_GROUPS "/%s/%s", group,
                     address);
    return n > 0 && n <= REGISTRY_KEY_MAX &&
           node_key_parse(key, &back, NULL) == 0 && back.kind == kind &&
           strcmp(back.address, node_canonical(address, canonical)) == 0;
}

char *node_key_ours(enum node_kind kind, const char *address, char *key)
{
    char canonical[NODE_ADDRESS_MAX + 1];
    int n = snprintf(key, REGISTRY_KEY_MAX + 1, OURS "%s/%s",
                     node_kind_name(kind), node_canonical(address, canonical));

    assert(n > 0 && n <= REGISTRY_KEY_MAX);
    (void)n;
    return key;
}
