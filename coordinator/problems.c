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

static bool was_logged(const struct coordinator_node_extra *x, uint64_t name)
{
    assert(x->n_logged <= ARRAY_LEN(x->logged));
    for (size_t i = 0; i < x->n_logged; i++)
        if (x->logged[i] == name)
            return true;
    return x->n_logged == ARRAY_LEN(x->logged);
}

void coordinator_problems_node(struct coordinator *c, struct node *node,
                               struct coordinator_node_extra *x)
{
    assert(x == node->user);
    if (!process_same(&x->logged_process, &node->process) &&
        node->process.known) {
        if (x->logged_process.known)
            x->n_logged = 0; /* another process, which may have others */
        x->logged_process = node->process;
    }
    for (size_t i = 0; i < node->n_problems; i++) {
        uint64_t name = name_of(&node->problems[i]);

        if (was_logged(x, name))
            continue;
        x->logged[x->n_logged++] = name;
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
