/*
 * options.c - the words after a subcommand.
 *
 * One table of options for all subcommands; each form of a command says by name
 * which it takes, and any other is refused: a --dry-run that is silently
 * ignored does harm.
 */
#include "cli/cli_priv.h"

#include "base/mem.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

enum option_id {
    OPT_URL = 256,
    OPT_JSON,
    OPT_HELP,
    OPT_PEEK,
    OPT_EXPLAIN,
    OPT_STALE,
    OPT_DRY_RUN,
    OPT_FORCE,
    OPT_UNDO,
    OPT_EXCLUDE,
    OPT_KIND, /* from here on with a value that is kept as it is */
    OPT_STATE,
    OPT_STATUS,
    OPT_GROUP,
    OPT_OWNER,
    OPT_COUNT,
    OPT_AFFINITY,
    OPT_ID,
    OPT_POLICY,
    OPT_PAYLOAD,
    OPT_FOR,
    OPT_REASON,
    OPT_LIMIT,
    OPT_WHO,
    OPT_IF_MATCH,
    OPT_INDEX,
    OPT_WAIT,
    OPT_END
};
_Static_assert(OPT_END - OPT_URL <= 32, "cli_words.given has a bit for each");

static const struct option options[] = {
    {"url", required_argument, NULL, OPT_URL},
    {"json", no_argument, NULL, OPT_JSON},
    {"help", no_argument, NULL, OPT_HELP},
    {"peek", no_argument, NULL, OPT_PEEK},
    {"explain", no_argument, NULL, OPT_EXPLAIN},
    {"stale", no_argument, NULL, OPT_STALE},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"force", no_argument, NULL, OPT_FORCE},
    {"undo", no_argument, NULL, OPT_UNDO},
    {"exclude", required_argument, NULL, OPT_EXCLUDE},
    {"kind", required_argument, NULL, OPT_KIND},
    {"state", required_argument, NULL, OPT_STATE},
    {"status", required_argument, NULL, OPT_STATUS},
    {"group", required_argument, NULL, OPT_GROUP},
    {"owner", required_argument, NULL, OPT_OWNER},
    {"count", required_argument, NULL, OPT_COUNT},
    {"affinity", required_argument, NULL, OPT_AFFINITY},
    {"id", required_argument, NULL, OPT_ID},
    {"policy", required_argument, NULL, OPT_POLICY},
    {"payload", required_argument, NULL, OPT_PAYLOAD},
    {"for", required_argument, NULL, OPT_FOR},
    {"reason", required_argument, NULL, OPT_REASON},
    {"limit", required_argument, NULL, OPT_LIMIT},
    {"who", required_argument, NULL, OPT_WHO},
    {"if-match", required_argument, NULL, OPT_IF_MATCH},
    {"index", required_argument, NULL, OPT_INDEX},
    {"wait", required_argument, NULL, OPT_WAIT},
    {NULL, 0, NULL, 0},
};

/* What a usage calls their values. */
static const char *const values[OPT_END - OPT_URL] = {
    [OPT_EXCLUDE - OPT_URL] = "ADDRESS[,ADDRESS...]",
    [OPT_KIND - OPT_URL] = "KIND",
    [OPT_STATE - OPT_URL] = "STATE",
    [OPT_STATUS - OPT_URL] = "STATUS",
    [OPT_GROUP - OPT_URL] = "GROUP",
    [OPT_OWNER - OPT_URL] = "ADDRESS",
    [OPT_COUNT - OPT_URL] = "N",
    [OPT_AFFINITY - OPT_URL] = "KEY",
    [OPT_ID - OPT_URL] = "ID",
    [OPT_POLICY - OPT_URL] = "POLICY",
    [OPT_PAYLOAD - OPT_URL] = "JSON",
    [OPT_FOR - OPT_URL] = "10m",
    [OPT_REASON - OPT_URL] = "TEXT",
    [OPT_LIMIT - OPT_URL] = "N",
    [OPT_WHO - OPT_URL] = "NAME",
    [OPT_IF_MATCH - OPT_URL] = "ETAG",
    [OPT_INDEX - OPT_URL] = "INDEX",
    [OPT_WAIT - OPT_URL] = "30s",
};

static void set_flag(struct cli_words *w, int option)
{
    assert(option >= OPT_PEEK);
    assert(option <= OPT_UNDO);
    w->peek |= option == OPT_PEEK;
    w->explain |= option == OPT_EXPLAIN;
    w->stale |= option == OPT_STALE;
    w->dry_run |= option == OPT_DRY_RUN;
    w->force |= option == OPT_FORCE;
    w->undo |= option == OPT_UNDO;
}

static void exclude(struct cli_words *w, const char *value)
{
    char *all = w->exclude == NULL ? mem_strdup(value)
                                   : mem_printf("%s,%s", w->exclude, value);

    assert(value != NULL);
    mem_free(w->exclude);
    w->exclude = all;
}

static void set_word(struct cli_words *w, int option, const char *value)
{
    const char **const to[OPT_END - OPT_KIND] = {
        [0] = &w->kind,
        [OPT_STATE - OPT_KIND] = &w->state,
        [OPT_STATUS - OPT_KIND] = &w->status,
        [OPT_GROUP - OPT_KIND] = &w->group,
        [OPT_OWNER - OPT_KIND] = &w->owner,
        [OPT_COUNT - OPT_KIND] = &w->count,
        [OPT_AFFINITY - OPT_KIND] = &w->affinity,
        [OPT_ID - OPT_KIND] = &w->id,
        [OPT_POLICY - OPT_KIND] = &w->policy,
        [OPT_PAYLOAD - OPT_KIND] = &w->payload,
        [OPT_FOR - OPT_KIND] = &w->period,
        [OPT_REASON - OPT_KIND] = &w->reason,
        [OPT_LIMIT - OPT_KIND] = &w->limit,
        [OPT_WHO - OPT_KIND] = &w->who,
        [OPT_IF_MATCH - OPT_KIND] = &w->etag,
        [OPT_INDEX - OPT_KIND] = &w->index,
        [OPT_WAIT - OPT_KIND] = &w->wait,
    };

    assert(option > OPT_HELP);
    assert(option < OPT_END);
    if (option >= OPT_KIND)
        *to[option - OPT_KIND] = value;
    else if (option == OPT_EXCLUDE)
        exclude(w, value);
    else
        set_flag(w, option);
}

void cli_words_close(struct cli_words *w)
{
    MEM_FREE(w->exclude);
}

/* Is `name` one of the words in `takes`? */
static bool takes_option(const char *takes, const char *name)
{
    size_t n = strlen(name);

    assert(name[0] != '\0');
    for (const char *p = takes; *p != '\0'; p += strspn(p, " ")) {
        size_t len = strcspn(p, " ");

        if (len == n && memcmp(p, name, n) == 0)
            return true;
        p += len;
    }
    return false;
}

const char *cli_misplaced(const struct cli_words *w, const char *takes)
{
    assert(takes != NULL);
    for (const struct option *o = options; o->name != NULL; o++)
        if (o->val > OPT_HELP && (w->given >> (o->val - OPT_URL) & 1) != 0 &&
            !takes_option(takes, o->name))
            return o->name;
    return NULL;
}

void cli_put_options(struct buf *out, const char *takes)
{
    assert(takes != NULL);
    for (const struct option *o = options; o->name != NULL; o++) {
        const char *value = values[o->val - OPT_URL];

        if (takes_option(takes, o->name))
            buf_printf(out, " [--%s%s%s]", o->name, value != NULL ? " " : "",
                       value != NULL ? value : "");
    }
}

static void say_wrong(char **argv, int option)
{
    const char *word = argv[optind - 1];

    assert(optind > 0);
    if (option == ':')
        fprintf(stderr, "pelorus: %s: %s needs a value\n", argv[0], word);
    else if (optopt >= OPT_URL)
        fprintf(stderr, "pelorus: %s: %.*s takes no value\n", argv[0],
                (int)strcspn(word, "="), word);
    else if (optopt != 0)
        fprintf(stderr, "pelorus: %s: there is no option -%c\n", argv[0],
                optopt);
    else
        fprintf(stderr, "pelorus: %s: there is no option %s\n", argv[0], word);
}

enum cli_parsed cli_parse(int argc, char **argv, struct cli *c,
                          struct cli_words *w)
{
    int option;

    assert(argc > 0);
    memset(w, 0, sizeof(*w));
    optind = 0; /* begin anew: called more than once in tests */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option == OPT_HELP || option == 'h')
            return CLI_HELP;
        if (option < OPT_URL) {
            say_wrong(argv, option);
            return CLI_USAGE;
        }
        w->given |= UINT32_C(1) << (option - OPT_URL);
        if (option == OPT_URL)
            c->url = optarg;
        else if (option == OPT_JSON)
            c->json = true;
        else
            set_word(w, option, optarg);
    }
    w->n = argc - optind;
    w->word = argv + optind;
    return CLI_GO;
}
