/*
 * registry_vacuum.c - `registry vacuum`: give free pages of the embedded
 * registry's file back to the disk. No session: the engine's own locks do.
 */
#include "cli/registry_command.h"

#include "registry/registry.h"

#include <stdio.h>

int cli_registry_vacuum(struct conf *conf, const struct registry_args *w)
{
    char done[512];
    struct err err;

    assert(conf != NULL);
    if (registry_vacuum(&conf->registry, w->live, done, sizeof(done), &err) !=
        0) {
        fprintf(stderr, "pelorus: %s\n", err.msg);
        return 1;
    }
    puts(done);
    return 0;
}
