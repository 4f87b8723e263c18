/*
 * cli_options.c - the words after a subcommand.
 *
 * One table of options for all subcommands; each says by name which it takes,
 * and any other is refused: a --dry-run that is silently ignored does harm.
 */
#include "coordinator/cli_priv.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum option_id {
    OPT_URL = 256,
    OPT_JSON,
    OPT_HELP,
    OPT_PEEK,
    OPT_EXPLAIN,
    OPT_DRY_RUN,
    OPT_FORCE,
    OPT_UNDO,
    OPT_KIND, /* from here on with a value */
    OPT_STATE,
    OPT_STATUS,
    OPT_GROUP,
    OPT_OWNER,
    OPT_COUNT,
    OPT_AFFINITY,
    OPT_EXCLUDE,
    OPT_ID,
    OPT_POLICY,
    OPT_PAYLOAD,
    OPT_FOR,
    OPT_REASON,
    OPT_LIMIT,
    OPT_WHO
};

static const struct option options[] = {
    {"url", required_argument, NULL, OPT_URL},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"peek", no_argument, NULL, OPT_PEEK},
    {"explain", no_argument, NULL, OPT_EXPLAIN},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"force", no_argument, NULL, OPT_FORCE},
    {"undo", no_argument, NULL, OPT_UNDO},
    {"kind", required_argument, NULL, OPT_KIND},
    {"state", required_argument, NULL, OPT_STATE},
    {"status", required_argument, NULL, OPT_STATUS},
    {"group", required_argument, NULL, OPT_GROUP},
    {"owner", required_argument, NULL, OPT_OWNER},
    {"count", required_argument, NULL, OPT_COUNT},
    {"affinity", required_argument, NULL, OPT_AFFINITY},
    {"exclude", required_argument, NULL, OPT_EXCLUDE},
    {"id", required_argument, NULL, OPT_ID},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"payload", required_argument, NULL, OPT_PAYLOAD},
    {"for", required_argument, NULL, OPT_FOR},
    {"reason", required_argument, NULL, OPT_REASON},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"who", required_argument, NULL, OPT_WHO},
    {NULL, 0, NULL, 0},
};

static void set_flag(struct cli_words *w, int option)
{
    w->peek |= option == OPT_PEEK;
    w->explain |= option == OPT_EXPLAIN;
    w->dry_run |= option == OPT_DRY_RUN;
    w->force |= option == OPT_FORCE;
    w->undo |= option == OPT_UNDO;
}

static void set_word(struct cli_words *w, int option, const char *value)
{
    const char **const to[] = {
        [0] = &w->kind,
        [OPT_STATE - OPT_KIND] = &w->state,
        [OPT_STATUS - OPT_KIND] = &w->status,
        [OPT_GROUP - OPT_KIND] = &w->group,
        [OPT_OWNER - OPT_KIND] = &w->owner,
        [OPT_COUNT - OPT_KIND] = &w->count,
        [OPT_AFFINITY - OPT_KIND] = &w->affinity,
        [OPT_EXCLUDE - OPT_KIND] = &w->exclude,
        [OPT_ID - OPT_KIND] = &w->id,
        [OPT_POLICY - OPT_KIND] = &w->policy,
        [OPT_PAYLOAD - OPT_KIND] = &w->payload,
        [OPT_FOR - OPT_KIND] = &w->period,
        [OPT_REASON - OPT_KIND] = &w->reason,
        [OPT_LIMIT - OPT_KIND] = &w->limit,
        [OPT_WHO - OPT_KIND] = &w->who,
    };

    if (option >= OPT_KIND)
        *to[option - OPT_KIND] = value;
    else
        set_flag(w, option);
}

/* Is `name` one of the words in `takes`? */
static bool takes_option(const char *takes, const char *name)
{
    size_t n = strlen(name);

    for (const char *p = takes; *p != '\0'; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");

        if (len == n && memcmp(p, name, n) == 0)
            return true;
        p += len;
    }
    return false;
}

enum cli_parsed cli_parse(int argc, char **argv, const char *takes,
                          struct cli *c, struct cli_words *w)
{
    int option, at = 0;

    memset(w, 0, sizeof(*w));
    optind = 1;
    while ((option = getopt_long(argc, argv, "", options, &at)) != -1) {
        if (option == OPT_HELP)
            return CLI_HELP;
        if (option == '?')
            return CLI_USAGE; /* getopt said what is wrong */
        if (option == OPT_URL) {
            c->url = optarg;
        } else if (option == OPT_JSON) {
            c->json = true;
        } else if (takes_option(takes, options[at].name)) {
            set_word(w, option, optarg);
        } else {
            fprintf(stderr, "pelorus: %s takes no --%s\n", argv[0],
                    options[at].name);
            return CLI_USAGE;
        }
    }
    w->n = argc - optind;
    w->word = argv + optind;
    return CLI_GO;
}
