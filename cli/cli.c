/*
 * cli.c - the subcommands for people: which words there are, one table; what
 * is wrong with those that were given; and how it went, as an exit code.
 *
 * A command has forms: `work`, `work add`, `work done ID EPOCH`. Each says its
 * operands and options, from which its usage is printed and its words are
 * checked, so that no option is taken and ignored.
 */
#include "cli/cli.h"

#include "base/mem.h"
#include "cli/cli_priv.h"
#include "cluster/node.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name, *help, *more;
} commands[] = {
    {"status", "the cluster at a glance, and what holds it", ""},
    {"nodes", "who is in the cluster, and how loaded", ""},
    {"best", "the best worker of a group, now",
     "--peek does not count it as an assignment; --stale picks also before a\n"
     "coordinator that has just started knows who is closed.\n"},
    {"work", "list, add, finish, hand over, release work", ""},
    {"failover", "failovers, past and present; start, withdraw", ""},
    {"cordon", "no new work to an address", "It stands until it is lifted.\n"},
    {"uncordon", "new work again", ""},
    {"drain", "no new work, and let the present work move",
     "What is not handed over when its time (10m) ends is moved.\n"},
    {"undrain", "take a drain back", ""},
    {"restart", "keep its work for the next process there", ""},
    {"forget", "remove the gate of an address that nobody needs any more",
     "Where nobody is registered, nothing is owned, no failover is open and "
     "no\n"
     "order stands; work.forget-after does it later. Whoever comes next is a "
     "new\n"
     "life, who was fenced there, too.\n"},
    {"settings", "pause, brake, policy and shadow as they are set",
     "POLICY: ledger, RANDOM, ROUND_ROBIN, FIXED_WEIGHTED_ROUND_ROBIN or\n"
     "DYNAMIC_WEIGHTED_ROUND_ROBIN. --shadow asks it for each pick and obeys "
     "the\n"
     "other one; --shadow off: none. '' is the configured one again. What came "
     "of\n"
     "a shadow: pelorus status.\n"},
    {"pause", "no failover begins, for everybody",
     "Until `pelorus resume`, or for as long as --for says.\n"},
    {"resume", "failovers begin again", ""},
    {"brake", "let failovers go on though so many are lost",
     "--undo: the brake holds again. One of the two is needed.\n"},
    {"groups", "the worker groups; define one, remove one",
     "set: what is not given stays as it is. --balancer: settings of the "
     "group's\n"
     "own, such as cpu-max=0.95,warm-up=10s; KEY= takes one back, none all of\n"
     "them.\n"},
    {"fence", "may whoever has this item at this epoch still work?",
     "Exit code 0: yes, 1: no.\n"},
};

/* Of one command in the order of its usage. Operands: "[X]" may be missing,
 * "X..." is one or more and "[X...]" any number, and they come last. A request
 * takes an operand for each "{}"; "?" at its end: the options that are given
 * are its query. */
static const struct form {
    const char *command, *verb, *operands, *takes, *request;
    cli_run_f *run;              /* NULL: send it, and show what is answered, */
    const struct cli_list *list; /* which is such a list; NULL: an object */
} forms[] = {
    {"status", NULL, "", "", "GET /v1/cluster", cli_status, NULL},
    {"nodes", NULL, "", "kind group state status limit index wait",
     "GET /v1/nodes?", NULL, &cli_node_list},
    {"nodes", NULL, "KIND ADDRESS", "index wait", "GET /v1/nodes/{}/{}?", NULL,
     NULL},
    {"best", NULL, "[GROUP]", "group count affinity exclude peek explain stale",
     "GET /v1/workers/best?", cli_best, NULL},
    {"work", NULL, "", "kind owner state limit index wait", "GET /v1/work?",
     NULL, &cli_work_list},
    {"work", "add", "", "kind id group policy payload", "POST /v1/work",
     cli_work_add, NULL},
    {"work", "get", "ID", "", "GET /v1/work/{}", NULL, NULL},
    {"work", "done", "ID EPOCH", "", "DELETE /v1/work/{}", cli_work_at, NULL},
    {"work", "handover", "ID EPOCH", "", "POST /v1/work/{}/handover",
     cli_work_at, NULL},
    {"work", "release", "ID [EPOCH]", "", "POST /v1/work/{}/release",
     cli_work_at, NULL},
    {"failover", NULL, "", "limit", "GET /v1/failovers", NULL,
     &cli_failover_list},
    {"failover", "show", "ID", "", "GET /v1/failovers/{}", NULL, NULL},
    {"failover", "start", "KIND ADDRESS", "dry-run force if-match reason who",
     "POST /v1/failovers", cli_failover_start, NULL},
    {"failover", "withdraw", "ID", "", "DELETE /v1/failovers/{}", NULL, NULL},
    {"cordon", NULL, "KIND ADDRESS", "reason who undo",
     "PUT /v1/nodes/{}/{}/cordon?", cli_gate, NULL},
    {"uncordon", NULL, "KIND ADDRESS", "reason who",
     "DELETE /v1/nodes/{}/{}/cordon?", cli_gate, NULL},
    {"drain", NULL, "KIND ADDRESS", "for reason who undo",
     "PUT /v1/nodes/{}/{}/drain?", cli_gate, NULL},
    {"undrain", NULL, "KIND ADDRESS", "reason who",
     "DELETE /v1/nodes/{}/{}/drain?", cli_gate, NULL},
    {"restart", NULL, "KIND ADDRESS", "for reason who undo",
     "PUT /v1/nodes/{}/{}/restart?", cli_gate, NULL},
    {"forget", NULL, "KIND ADDRESS", "reason who",
     "DELETE /v1/nodes/{}/{}/gate?", cli_forget, NULL},
    {"settings", NULL, "", "policy shadow reason who", "GET /v1/settings",
     cli_settings, NULL},
    {"pause", NULL, "", "for reason who", "PATCH /v1/settings", cli_pause,
     NULL},
    {"resume", NULL, "", "reason who", "PATCH /v1/settings", cli_resume, NULL},
    {"brake", NULL, "", "for undo reason who", "PATCH /v1/settings", cli_brake,
     NULL},
    {"groups", NULL, "", "limit", "GET /v1/groups", NULL, &cli_group_list},
    {"groups", "show", "NAME", "", "GET /v1/groups/{}", cli_group, NULL},
    {"groups", "set", "NAME [ADDRESS...]", "balancer", "PUT /v1/groups/{}",
     cli_group_set, NULL},
    {"groups", "remove", "NAME", "", "DELETE /v1/groups/{}", NULL, NULL},
    {"fence", NULL, "ID EPOCH", "", "GET /v1/work/{}", cli_fence, NULL},
};

static const struct command *find(const char *name)
{
    assert(name != NULL);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int cli_knows(const char *name)
{
    return find(name) != NULL;
}

/* --- help ---------------------------------------------------------------- */

void cli_help(void)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-13s %s\n", commands[i].name, commands[i].help);
}

/* An option stays with its value. */
static void put_options(struct buf *line, const char *options, size_t indent,
                        size_t width)
{
    size_t at = line->len;

    while (*options != '\0') {
        const char *next = strstr(options + 1, " [");
        size_t n = next != NULL ? (size_t)(next - options) : strlen(options);

        if (at + n > width) {
            buf_printf(line, "\n%*s", (int)indent - 1, "");
            at = indent - 1;
        }
        buf_add(line, options, n);
        at += n;
        options += n;
    }
}

/* `only`: one form, NULL all of the command. */
static void say_usage(FILE *to, const char *command, const struct form *only)
{
    enum { WIDTH = 79, INDENT = 15 };
    const char *title = "usage:";

    assert(only == NULL || strcmp(only->command, command) == 0);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct form *f = &forms[i];
        struct buf line, options;

        if (strcmp(f->command, command) != 0 || (only != NULL && only != f))
            continue;
        buf_init(&line, 4096);
        buf_init(&options, 4096);
        cli_put_options(&options, f->takes);
        buf_printf(&line, "%-6s pelorus %s%s%s%s%s", title, command,
                   f->verb != NULL ? " " : "", f->verb != NULL ? f->verb : "",
                   f->operands[0] != '\0' ? " " : "", f->operands);
        put_options(&line, buf_text(&options), INDENT, WIDTH);
        fprintf(to, "%s\n", buf_text(&line));
        buf_close(&options);
        buf_close(&line);
        title = "";
    }
    fputs("       each with [--url URL[,URL...]] [--json]\n", to);
}

static void say_help(const struct command *command)
{
    printf("pelorus %s: %s\n", command->name, command->help);
    say_usage(stdout, command->name, NULL);
    printf("%s" CLI_EXIT_CODES, command->more);
}

/* --- which form ---------------------------------------------------------- */

/* How many operands it must and may have. */
static void count_operands(const struct form *f, int *least, int *most)
{
    assert(f->operands != NULL);
    *least = *most = 0;
    for (const char *p = f->operands; *p != '\0'; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        size_t end = n - (*p == '['); /* without the ']' */

        *least += *p != '[';
        *most = end > 3 && memcmp(p + end - 3, "...", 3) == 0 ? INT16_MAX
                                                              : *most + 1;
        p += n;
    }
}

static bool fits(const struct form *f, int n)
{
    int least, most;

    assert(n >= 0);
    count_operands(f, &least, &most);
    return n >= least && n <= most;
}

/* The one that is meant: by its verb, or by how many words there are. NULL:
 * there is no such verb. */
static const struct form *choose(const char *command, const struct cli_args *w)
{
    const struct form *best = NULL;
    bool verbs = false;

    assert(w->n >= 0);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        const struct form *f = &forms[i];

        if (strcmp(f->command, command) != 0)
            continue;
        verbs |= f->verb != NULL;
        if (f->verb != NULL && w->n > 0 && strcmp(f->verb, w->operand[0]) == 0)
            return f;
        if (f->verb == NULL && (best == NULL || !fits(best, w->n)))
            best = f; /* the last one has most operands */
    }
    return verbs && w->n > 0 ? NULL : best;
}

/* --- what is wrong ------------------------------------------------------- */

/* That what was meant for an operand is another command. */
static const char *hint_of(const char *word)
{
    return find(word) != NULL ? "; one command at a time" : "";
}

static void say_no_verb(const char *command, const char *word)
{
    const char *between = "";

    fprintf(stderr, "pelorus: %s: there is no `%s %s`, but ", command, command,
            word);
    for (size_t i = 0; i < ARRAY_LEN(forms); i++)
        if (strcmp(forms[i].command, command) == 0 && forms[i].verb != NULL) {
            fprintf(stderr, "%s%s", between, forms[i].verb);
            between = ", ";
        }
    fprintf(stderr, "%s\n", hint_of(word));
}

static void say_name(const struct form *f)
{
    assert(f->command != NULL);
    fprintf(stderr, "pelorus: %s%s%s: ", f->command, f->verb != NULL ? " " : "",
            f->verb != NULL ? f->verb : "");
}

/* The name of operand `at`. */
static void say_missing(const struct form *f, int at, const char *hint)
{
    const char *p = f->operands;

    assert(at >= 0);
    for (; at > 0; at--) {
        p += strcspn(p, " ");
        p += strspn(p, " ");
    }
    say_name(f);
    fprintf(stderr, "%.*s is missing%s\n", (int)strcspn(p, " ."), p, hint);
}

/* A word where a kind stands. */
static bool check_kind(const struct form *f, const struct cli_args *w)
{
    enum node_kind kind;

    assert(w->n >= 0);
    if (strncmp(f->operands, "KIND", 4) != 0 || w->n == 0 ||
        node_kind_parse(w->operand[0], &kind) == 0)
        return true;
    say_name(f);
    fprintf(stderr, "`%s` is no kind (master, worker or alert-server)%s\n",
            w->operand[0], hint_of(w->operand[0]));
    return false;
}

/* An operand that is empty is a variable that was not set. */
static bool check_operands(const struct form *f, const struct cli_args *w)
{
    int least, most;

    assert(w->n >= 0);
    count_operands(f, &least, &most);
    for (int i = 0; i < w->n && i < most; i++)
        if (w->operand[i][0] == '\0') {
            say_name(f);
            fprintf(stderr, "word %d is empty\n", i + 1);
            return false;
        }
    if (!check_kind(f, w))
        return false;
    if (w->n < least) {
        say_missing(f, w->n, w->n > 0 ? hint_of(w->operand[w->n - 1]) : "");
        return false;
    }
    if (w->n <= most)
        return true;
    say_name(f);
    fprintf(stderr, "`%s` is a word too many%s\n", w->operand[most],
            hint_of(w->operand[most]));
    return false;
}

/* --- what is done -------------------------------------------------------- */

/* Method and path of the form's request, for those operands and options. */
static void prepare(struct cli *c, const struct form *f,
                    const struct cli_args *w)
{
    const char *p = strchr(f->request, ' ');
    int operand = 0;

    assert(p != NULL);
    assert(c->path.len == 0);
    snprintf(c->method, sizeof(c->method), "%.*s", (int)(p - f->request),
             f->request);
    while (*++p != '\0')
        if (*p == '{') {
            assert(operand < w->n);
            cli_segment(c, w->operand[operand++]);
            p++;
        } else if (*p == '?') { /* a list asks for its pages itself */
            cli_query_options(c, w, f->takes,
                              f->list != NULL ? "limit index wait" : "undo");
        } else {
            buf_char(&c->path, *p);
        }
}

static int carry_out(struct cli *c, const struct form *f,
                     const struct cli_args *w)
{
    int rc;

    prepare(c, f, w);
    if (f->run != NULL)
        return f->run(c, w);
    if (f->list == NULL)
        return cli_show_answer(c, c->method);
    rc = cli_get_all(c, w, w->limit != NULL ? w->limit : f->list->limit);
    if (rc == 0)
        cli_show_list(c, f->list);
    return rc;
}

static int run(const struct command *command, struct cli *c, struct cli_args *w)
{
    const struct form *f = choose(command->name, w);
    const char *option;

    assert(w->n >= 0);
    if (f == NULL) {
        say_no_verb(command->name, w->operand[0]);
        say_usage(stderr, command->name, NULL);
        return CLI_USAGE_EXIT;
    }
    if (f->verb != NULL) {
        w->operand++;
        w->n--;
    }
    option = cli_misplaced(w, f->takes);
    if (option != NULL) {
        say_name(f);
        fprintf(stderr, "takes no --%s\n", option);
    } else if (check_operands(f, w) && cli_check_url(c)) {
        int rc = carry_out(c, f, w);

        if (rc != CLI_USAGE_EXIT)
            return rc;
    }
    say_usage(stderr, command->name, f);
    return CLI_USAGE_EXIT;
}

int cli_run(int argc, char **argv)
{
    const struct command *command = find(argv[0]);
    struct cli_args w;
    struct cli c;
    int rc = CLI_USAGE_EXIT;

    assert(argc > 0);
    assert(command != NULL);
    cli_init(&c);
    c.command = command->name;
    switch (cli_parse(argc, argv, &c, &w)) {
    case CLI_GO:
        rc = run(command, &c, &w);
        break;
    case CLI_HELP:
        say_help(command);
        rc = 0;
        break;
    case CLI_USAGE:
        say_usage(stderr, command->name, NULL);
        break;
    }
    cli_args_close(&w);
    cli_close(&c);
    return rc;
}
