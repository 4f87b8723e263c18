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

#define AT(member) offsetof(struct cli_args, member)
#define FIRST      256 /* what getopt says of the first of them */

static const struct known {
    const char *name;
    const char *value; /* as a usage calls it; NULL: a flag */
    size_t at;         /* of its bool, or of its const char * */
} known[] = {
    {"url", "URL[,URL...]", AT(url)},
    {"json", NULL, AT(json)},
    {"help", NULL, AT(help)},
    {"peek", NULL, AT(peek)},
    {"explain", NULL, AT(explain)},
    {"stale", NULL, AT(stale)},
    {"dry-run", NULL, AT(dry_run)},
    {"force", NULL, AT(force)},
    {"undo", NULL, AT(undo)},
    {"exclude", "ADDRESS[,ADDRESS...]", AT(exclude)},
    {"kind", "KIND", AT(kind)},
    {"state", "STATE", AT(state)},
    {"status", "STATUS", AT(status)},
    {"group", "GROUP", AT(group)},
    {"owner", "ADDRESS", AT(owner)},
    {"count", "N", AT(count)},
    {"affinity", "KEY", AT(affinity)},
    {"balancer", "KEY=VALUE[,KEY=VALUE...]", AT(balancer)},
    {"id", "ID", AT(id)},
    {"policy", "POLICY", AT(policy)},
    {"shadow", "POLICY", AT(shadow)},
    {"payload", "JSON", AT(payload)},
    {"for", "10m", AT(period)},
    {"reason", "TEXT", AT(reason)},
    {"limit", "N", AT(limit)},
    {"who", "NAME", AT(who)},
    {"if-match", "ETAG", AT(etag)},
    {"index", "INDEX", AT(index)},
    {"wait", "30s", AT(wait)},
};
enum { KNOWN = ARRAY_LEN(known), EVERYWHERE = 3 /* every form takes them */ };

/* NULL: it was not given. */
static const char *value_of(const struct cli_args *w, const struct known *o)
{
    const void *at = (const char *)w + o->at;

    assert(o->at < sizeof(*w));
    if (o->value != NULL)
        return *(const char *const *)at;
    return *(const bool *)at ? "1" : NULL;
}

static void append(const char **list, char **memory, const char *value)
{
    char *all = mem_printf("%s,%s", *list, value);

    mem_free(*memory);
    *list = *memory = all;
}

/* Of an option that is repeated the last one counts, but for a list. */
static void set(struct cli_args *w, const struct known *o, const char *value)
{
    void *at = (char *)w + o->at;

    assert((o->value != NULL) == (value != NULL));
    if (o->value == NULL)
        *(bool *)at = true;
    else if (o->at == AT(exclude) && w->exclude != NULL)
        append(&w->exclude, &w->excluded, value);
    else if (o->at == AT(balancer) && w->balancer != NULL)
        append(&w->balancer, &w->balancers, value);
    else
        *(const char **)at = value;
}

void cli_args_close(struct cli_args *w)
{
    assert(w->excluded == NULL || w->exclude == w->excluded);
    assert(w->balancers == NULL || w->balancer == w->balancers);
    MEM_FREE(w->excluded);
    MEM_FREE(w->balancers);
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

const char *cli_misplaced(const struct cli_args *w, const char *takes)
{
    assert(takes != NULL);
    for (size_t i = EVERYWHERE; i < KNOWN; i++)
        if (value_of(w, &known[i]) != NULL &&
            !takes_option(takes, known[i].name))
            return known[i].name;
    return NULL;
}

void cli_put_options(struct buf *out, const char *takes)
{
    assert(takes != NULL);
    for (size_t i = EVERYWHERE; i < KNOWN; i++) {
        const char *value = known[i].value;

        if (takes_option(takes, known[i].name))
            buf_printf(out, " [--%s%s%s]", known[i].name,
                       value != NULL ? " " : "", value != NULL ? value : "");
    }
}

void cli_query_options(struct cli *c, const struct cli_args *w,
                       const char *takes, const char *but)
{
    assert(c->path.len > 0);
    for (size_t i = EVERYWHERE; i < KNOWN; i++)
        if (takes_option(takes, known[i].name) &&
            !takes_option(but, known[i].name))
            cli_query(c, known[i].name, value_of(w, &known[i]));
}

static void say_wrong(char **argv, int option)
{
    const char *word = argv[optind - 1];

    assert(optind > 0);
    if (option == ':')
        fprintf(stderr, "pelorus: %s: %s needs a value\n", argv[0], word);
    else if (optopt >= FIRST)
        fprintf(stderr, "pelorus: %s: %.*s takes no value\n", argv[0],
                (int)strcspn(word, "="), word);
    else if (optopt != 0)
        fprintf(stderr, "pelorus: %s: there is no option -%c\n", argv[0],
                optopt);
    else
        fprintf(stderr, "pelorus: %s: there is no option %s\n", argv[0], word);
}

enum cli_parsed cli_parse(int argc, char **argv, struct cli *c,
                          struct cli_args *w)
{
    struct option options[KNOWN + 1] = {{NULL, 0, NULL, 0}};
    int option;

    assert(argc > 0);
    for (int i = 0; i < KNOWN; i++) {
        bool flag = known[i].value == NULL;

        options[i] = (struct option){known[i].name,
                                     flag ? no_argument : required_argument,
                                     NULL, FIRST + i};
    }
    memset(w, 0, sizeof(*w));
    optind = 0; /* begin anew: called more than once in tests */
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
        if (option >= FIRST)
            set(w, &known[option - FIRST], optarg);
        if (option == 'h' || w->help)
            return CLI_HELP;
        if (option < FIRST) {
            say_wrong(argv, option);
            return CLI_USAGE;
        }
    }
    c->url = w->url != NULL ? w->url : c->url;
    c->json = w->json;
    w->n = argc - optind;
    w->operand = argv + optind;
    return CLI_GO;
}
