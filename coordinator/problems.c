/*
 * problems.c - what stands in the registry and is not used, said once.
 *
 * A key that names nobody would leave a cluster empty without a word, and a
 * field that is refused a worker without its load. Each is in the log when it
 * is seen first, with the reason, and in every snapshot for as long as it
 * stands: keys here, what concerns a node with the node (struct node).
 */
#include "coordinator/coordinator_priv.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

#define LINES_MAX 200 /* a registry full of them must not fill the log */

struct key_problem {
    UT_hash_handle hh;
    char *reason;
    char key[];
};

/* False: enough was said, and that was said, too. */
static bool may_log(struct coordinator *c)
{
    assert(c->problem_lines <= LINES_MAX + 1);
    if (c->problem_lines > LINES_MAX)
        return false;
    if (c->problem_lines++ < LINES_MAX)
        return true;
    log_warn("!problems", LOG_S("reason", "there are too many to be said here"),
             LOG_S("advice", "GET /v1/cluster and /v1/nodes have all of them"));
    return false;
}

static void drop(struct coordinator *c, struct key_problem *p)
{
    assert(p->reason != NULL);
    HASH_DEL(c->problems, p);
    mem_free(p->reason);
    mem_free(p);
}

void coordinator_problems_key(void *arg, const char *key, const char *reason)
{
    struct coordinator *c = arg;
    struct key_problem *p;
    size_t len = strlen(key);

    HASH_FIND(hh, c->problems, key, len, p);
    if (p == NULL ? reason == NULL
                  : reason != NULL && strcmp(p->reason, reason) == 0)
        return;
    c->dirty_soon = true;
    if (reason == NULL) {
        drop(c, p);
        return;
    }
    if (p == NULL) {
        p = mem_zalloc(sizeof(*p) + len + 1);
        memcpy(p->key, key, len + 1);
        HASH_ADD(hh, c->problems, key[0], len, p);
    }
    mem_free(p->reason);
    p->reason = mem_strdup(reason);
    if (may_log(c))
        log_warn("!key", LOG_S("key", key), LOG_S("reason", reason));
}

/* The same field wrong in the same way is no news, whatever its value. */
static uint64_t name_of(const struct heartbeat_problem *p)
{
    const char *what = p->field == NULL               ? ""
                       : strcmp(p->field, "key") == 0 ? p->text
                                                      : p->field;

    return hash_str(what, (uint64_t)p->reason + 1);
}

/* Of one process: another one may have others. */
struct problems_logged {
    struct process process;
    size_t n;
    uint64_t names[16];
};

static bool was_logged(const struct problems_logged *l, uint64_t name)
{
    assert(l->n <= ARRAY_LEN(l->names));
    for (size_t i = 0; i < l->n; i++)
        if (l->names[i] == name)
            return true;
    return l->n == ARRAY_LEN(l->names);
}

void coordinator_problems_node(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x)
{
    struct problems_logged *l = x->logged;

    assert(x == node->user);
    if (l == NULL && node->n_problems == 0)
        return;
    if (l == NULL) {
        l = x->logged = mem_zalloc(sizeof(*l));
        l->process = node->process;
    }
    if (!process_same(&l->process, &node->process) && node->process.known) {
        if (l->process.known)
            l->n = 0;
        l->process = node->process;
    }
    for (size_t i = 0; i < node->n_problems; i++) {
        uint64_t name = name_of(&node->problems[i]);

        if (was_logged(l, name))
            continue;
        l->names[l->n++] = name;
        if (may_log(c))
            log_warn("!heartbeat", LOG_S("kind", node_kind_name(node->kind)),
                     LOG_S("address", node->address),
                     LOG_S("reason", node->problems[i].text));
    }
}

void coordinator_problems_fill(struct coordinator *c, struct snapshot *s)
{
    struct key_problem *p, *tmp;

    assert(s->n_problems == 0);
    s->problem_keys = HASH_COUNT(c->problems);
    if (s->problem_keys == 0)
        return;
    s->problems = coordinator_snapshot_alloc(
        s, SNAPSHOT_PROBLEMS_MAX * sizeof(struct snapshot_problem));
    HASH_ITER (hh, c->problems, p, tmp) {
        if (s->n_problems == SNAPSHOT_PROBLEMS_MAX)
            break;
        s->problems[s->n_problems++] =
            (struct snapshot_problem){coordinator_snapshot_str(s, p->key),
                                      coordinator_snapshot_str(s, p->reason)};
    }
    assert(s->n_problems <= s->problem_keys);
}

void coordinator_problems_end(struct coordinator *c)
{
    struct key_problem *p, *tmp;

    HASH_ITER (hh, c->problems, p, tmp)
        drop(c, p);
    assert(c->problems == NULL);
}
