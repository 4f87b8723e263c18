/*
 * registry_backup.c - `registry backup BACKUP`.
 */
#include "cli/registry_command.h"

#include "restore/backup.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct backing {
    struct visit visit;
    const struct registry_args *args;
    struct backup_take *take;
};

static void on_taken(void *arg, const struct err *err, size_t keys,
                     size_t items)
{
    struct backing *b = arg;

    assert(b->visit.begun);
    restore_take_free(&b->take);
    if (err->code == ERR_OK)
        printf("%s: %zu keys, %zu of them items, at position %" PRIu64 "\n",
               b->args->file, keys, items,
               registry_place(b->visit.registry)->position);
    cli_visit_end(&b->visit, err->code == ERR_OK ? NULL : err);
}

static void begin(struct visit *v)
{
    struct backing *b = (struct backing *)v;
    struct backup_facts facts = {0};

    assert(b->take == NULL);
    assert(v->begun);
    (void)snprintf(facts.registry, sizeof(facts.registry), "%s",
                   conf_registry_type_name(v->conf->registry.type));
    (void)snprintf(facts.namespace_, sizeof(facts.namespace_), "%s",
                   v->conf->registry.namespace_);
    (void)clock_rfc3339(loop_clock(v->loop)->wall, facts.taken);
    b->take = restore_take_new(v->registry, loop_clock(v->loop), b->args->file,
                               &facts, on_taken, b);
}

static void tick(struct visit *v)
{
    struct backing *b = (struct backing *)v;

    assert(v->begun);
    if (b->take != NULL)
        restore_take_tick(b->take);
}

int cli_registry_backup(struct conf *conf, const struct registry_args *w)
{
    struct backing b = {.visit = {.conf = conf, .begin = begin, .tick = tick},
                        .args = w};

    assert(w->file != NULL);
    return cli_visit_run(&b.visit);
}
