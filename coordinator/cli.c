/*
 * cli.c - the subcommands for people: one table, one function each.
 *
 * A command turns its words into one request and its answer into a table. All
 * rules are the API's: what it refuses, it explains, and that is printed.
 */
#include "coordinator/cli.h"

#include "base/json.h"
#include "base/mem.h"
#include "coordinator/cli_priv.h"

#include <stdio.h>
#include <string.h>

static const struct cli_column node_columns[] = {
    {"KIND", "kind", false, CLI_TEXT},
    {"ADDRESS", "address", false, CLI_TEXT},
    {"STATE", "state", false, CLI_TEXT},
    {"STATUS", "status", false, CLI_TEXT},
    {"GATE", "gate.state", false, CLI_TEXT},
    {"OWNED", "owned", true, CLI_TEXT},
    {"SLOTS", "slots", true, CLI_TEXT},
    {"POOL", "pool", true, CLI_PERCENT},
    {"CPU", "cpu", true, CLI_PERCENT},
    {"MEMORY", "memory", true, CLI_PERCENT},
    {"WEIGHT", "weight", true, CLI_TEXT},
    {"FLAPS", "flaps", true, CLI_TEXT},
    {"GROUPS", "groups", false, CLI_TEXT},
    {"PROBLEMS", "problems", false, CLI_TEXT},
};

static const struct cli_column work_columns[] = {
    {"ID", "id", false, CLI_TEXT},
    {"KIND", "kind", false, CLI_TEXT},
    {"STATE", "state", false, CLI_TEXT},
    {"OWNER", "owner", false, CLI_TEXT},
    {"EPOCH", "epoch", true, CLI_TEXT},
    {"GROUP", "group", false, CLI_TEXT},
    {"POLICY", "policy", false, CLI_TEXT},
    {"ASSIGNED", "assigned_at", false, CLI_TEXT},
};

static const struct cli_column failover_columns[] = {
    {"ID", "id", false, CLI_TEXT},
    {"KIND", "kind", false, CLI_TEXT},
    {"ADDRESS", "address", false, CLI_TEXT},
    {"STATE", "state", false, CLI_TEXT},
    {"CAUSE", "cause", false, CLI_TEXT},
    {"MOVED", "moved", true, CLI_TEXT},
    {"WAITING", "waiting", true, CLI_TEXT},
    {"HELD", "held", true, CLI_TEXT},
    {"BY", "coordinator", false, CLI_TEXT},
    {"BEGAN", "began", false, CLI_TEXT},
};

static const struct cli_column pick_columns[] = {
    {"ADDRESS", "address", false, CLI_TEXT},
    {"PICK", "pick", false, CLI_TEXT},
    {"SCORE", "score", true, CLI_TEXT},
};

static const struct cli_column plan_columns[] = {
    {"ITEM", "id", false, CLI_TEXT},
    {"ACTION", "action", false, CLI_TEXT},
    {"TARGET", "target", false, CLI_TEXT},
};

static const struct cli_column candidate_columns[] = {
    {"ADDRESS", "address", false, CLI_TEXT},
    {"SCORE", "score", true, CLI_TEXT},
    {"WEIGHT", "weight", true, CLI_TEXT},
    {"CAPACITY", "capacity", true, CLI_TEXT},
    {"POOL", "pool", true, CLI_PERCENT},
    {"CPU", "cpu", true, CLI_PERCENT},
    {"MEMORY", "memory", true, CLI_PERCENT},
    {"DISK", "disk", true, CLI_PERCENT},
    {"WHY NOT", "why_not", false, CLI_TEXT},
};

/* Also of what the API finds malformed; cli_run() says how. */
#define USAGE       CLI_USAGE_EXIT
#define UNREACHABLE 3
#define NOT_FOUND   4

/* --- printing ----------------------------------------------------------------
 */

int cli_show_list(struct cli *c, const char *list,
                  const struct cli_column *columns, size_t n, const char *none)
{
    if (c->json)
        printf("%s\n", buf_text(&c->answer));
    else
        cli_table(cJSON_GetObjectItemCaseSensitive(c->document, list), columns,
                  n, none);
    return 0;
}

/* Every field of one object, a line each; objects and lists of objects as
 * JSON. */
int cli_show_object(struct cli *c)
{
    const cJSON *item;
    struct buf line;
    int width = 14;

    if (c->json || c->document == NULL) {
        if (c->answer.len > 0)
            printf("%s\n", buf_text(&c->answer));
        return 0;
    }
    buf_init(&line, 1024 * 1024);
    cJSON_ArrayForEach(item, c->document)
    {
        int n = (int)strlen(item->string);

        width = n > width ? n : width;
    }
    cJSON_ArrayForEach(item, c->document)
    {
        struct cli_column column = {"", item->string, false, CLI_TEXT};
        bool raw = cJSON_IsObject(item) ||
                   (cJSON_IsArray(item) && cJSON_IsObject(item->child));
        struct json_span text;

        buf_reset(&line);
        buf_printf(&line, "%-*s ", width, item->string);
        if ((raw || strcmp(item->string, "payload") == 0) &&
            json_field(buf_text(&c->answer), c->answer.len, item->string,
                       &text))
            buf_add(&line, text.s, (size_t)(text.end - text.s));
        else
            cli_text(&line, c->document, &column);
        cli_say(stdout, buf_text(&line));
    }
    buf_close(&line);
    return 0;
}

/* --- commands ------------------------------------------------------------- */

/* A cluster may look empty because nobody in it is understood. */
static void say_ignored(const struct cli *c)
{
    double n = json_num(c->document, "ignored_keys", 0);
    if (!c->json && n > 0)
        fprintf(stderr,
                "%.0f keys in the registry are ignored; `problems` of "
                "/v1/cluster and the coordinator's log say why\n",
                n);
}

static int cmd_nodes(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/nodes");
    if (w->n == 2) {
        cli_segment(c, w->word[0]);
        cli_segment(c, w->word[1]);
        rc = cli_send(c, "GET");
        return rc != 0 ? rc : cli_show_object(c);
    }
    if (w->n != 0)
        return USAGE;
    cli_query(c, "kind", w->kind);
    cli_query(c, "group", w->group);
    cli_query(c, "state", w->state);
    cli_query(c, "status", w->status);
    rc = cli_get_all(c, w->limit);
    if (rc == 0)
        rc = cli_show_list(c, "items", node_columns, ARRAY_LEN(node_columns),
                           "no nodes");
    say_ignored(c);
    return rc;
}

static int cmd_best(struct cli *c, const struct cli_words *w)
{
    const char *address;
    int rc;

    if (w->n > 1)
        return USAGE;
    buf_str(&c->path, "/v1/workers/best");
    cli_query(c, "group", w->n == 1 ? w->word[0] : w->group);
    cli_query(c, "count", w->count);
    cli_query(c, "affinity", w->affinity);
    cli_query(c, "exclude", w->exclude);
    cli_query(c, "peek", w->peek ? "1" : NULL);
    cli_query(c, "explain", w->explain ? "1" : NULL);
    rc = cli_send(c, "GET");
    if (rc != 0)
        return rc;
    if (w->explain)
        return cli_show_list(c, "candidates", candidate_columns,
                             ARRAY_LEN(candidate_columns), "no candidates");
    if (w->count != NULL)
        return cli_show_list(c, "picks", pick_columns, ARRAY_LEN(pick_columns),
                             "no picks");
    address = json_str(c->document, "address");
    if (c->json || address == NULL)
        return cli_show_object(c);
    cli_say(stdout, address);
    return 0;
}

static int work_add(struct cli *c, const struct cli_words *w)
{
    cJSON *payload = NULL;
    struct err err;

    if (w->payload != NULL &&
        json_parse(w->payload, strlen(w->payload), &payload, &err) != 0) {
        fprintf(stderr, "pelorus: --payload: %s\n", err.msg);
        return USAGE;
    }
    cJSON_Delete(payload);
    buf_str(&c->path, "/v1/work");
    json_open(&c->body, NULL, '{');
    if (w->id != NULL)
        json_put_str(&c->body, "id", w->id);
    json_put_str(&c->body, "kind", w->kind != NULL ? w->kind : "master");
    if (w->group != NULL)
        json_put_str(&c->body, "group", w->group);
    if (w->policy != NULL)
        json_put_str(&c->body, "policy", w->policy);
    if (w->payload != NULL)
        json_put_raw(&c->body, "payload", w->payload);
    json_close(&c->body, '}');
    return cli_send(c, "POST");
}

static int work_one(struct cli *c, const struct cli_words *w)
{
    const char *verb = w->word[0];
    const char *epoch = w->n > 2 ? w->word[2] : NULL;

    buf_str(&c->path, "/v1/work");
    cli_segment(c, w->word[1]);
    if (strcmp(verb, "get") == 0)
        return epoch == NULL ? cli_send(c, "GET") : USAGE;
    if (strcmp(verb, "release") == 0) {
        buf_str(&c->path, "/release");
        cli_query(c, "epoch", epoch);
        return cli_send(c, "POST");
    }
    if (epoch == NULL)
        return USAGE;
    if (strcmp(verb, "handover") == 0)
        buf_str(&c->path, "/handover");
    cli_query(c, "epoch", epoch);
    return cli_send(c, strcmp(verb, "done") == 0 ? "DELETE" : "POST");
}

static bool is_one_of(const char *word, const char *const *list)
{
    for (; *list != NULL; list++)
        if (strcmp(word, *list) == 0)
            return true;
    return false;
}

static int cmd_work(struct cli *c, const struct cli_words *w)
{
    static const char *const verbs[] = {"get", "done", "handover", "release",
                                        NULL};
    int rc;

    if (w->n == 1 && strcmp(w->word[0], "add") == 0) {
        rc = work_add(c, w);
        return rc != 0 ? rc : cli_show_object(c);
    }
    if (w->n >= 2 && w->n <= 3 && is_one_of(w->word[0], verbs)) {
        rc = work_one(c, w);
        return rc != 0 ? rc : cli_show_object(c);
    }
    if (w->n != 0)
        return USAGE;
    buf_str(&c->path, "/v1/work");
    cli_query(c, "kind", w->kind);
    cli_query(c, "owner", w->owner);
    cli_query(c, "state", w->state);
    rc = cli_get_all(c, w->limit);
    return rc != 0 ? rc
                   : cli_show_list(c, "items", work_columns,
                                   ARRAY_LEN(work_columns), "no work");
}

static int failover_start(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/failovers");
    json_open(&c->body, NULL, '{');
    json_put_str(&c->body, "kind", w->word[1]);
    json_put_str(&c->body, "address", w->word[2]);
    json_put_bool(&c->body, "dry_run", w->dry_run);
    json_put_bool(&c->body, "force", w->force);
    json_put_str(&c->body, "who", cli_who(c, w->who));
    if (w->reason != NULL)
        json_put_str(&c->body, "reason", w->reason);
    json_close(&c->body, '}');
    rc = cli_send(c, "POST");
    if (rc != 0)
        return rc;
    return w->dry_run
               ? cli_show_list(c, "plan", plan_columns, ARRAY_LEN(plan_columns),
                               "nothing would move")
               : cli_show_object(c);
}

static int cmd_failover(struct cli *c, const struct cli_words *w)
{
    int rc;

    if (w->n == 3 && strcmp(w->word[0], "start") == 0)
        return failover_start(c, w);
    buf_str(&c->path, "/v1/failovers");
    if (w->n == 2 && (strcmp(w->word[0], "show") == 0 ||
                      strcmp(w->word[0], "withdraw") == 0)) {
        cli_segment(c, w->word[1]);
        rc = cli_send(c, w->word[0][0] == 's' ? "GET" : "DELETE");
        return rc != 0 ? rc : cli_show_object(c);
    }
    if (w->n != 0)
        return USAGE;
    rc = cli_get_all(c, w->limit != NULL ? w->limit : "100");
    return rc != 0 ? rc
                   : cli_show_list(c, "items", failover_columns,
                                   ARRAY_LEN(failover_columns), "no failovers");
}

static int gate(struct cli *c, const struct cli_words *w, const char *what,
                bool undo)
{
    int rc;

    if (w->n != 2)
        return USAGE;
    buf_str(&c->path, "/v1/nodes");
    cli_segment(c, w->word[0]);
    cli_segment(c, w->word[1]);
    cli_segment(c, what);
    cli_query(c, "for", w->period);
    cli_query(c, "reason", w->reason);
    cli_query(c, "who", cli_who(c, w->who));
    rc = cli_send(c, undo ? "DELETE" : "PUT");
    return rc != 0 ? rc : cli_show_object(c);
}

static int cmd_cordon(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "cordon", w->undo);
}

static int cmd_drain(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "drain", w->undo);
}

static int cmd_restart(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "restart", w->undo);
}

static int cmd_uncordon(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "cordon", true);
}

static int cmd_undrain(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "drain", true);
}

static const struct command {
    const char *name;
    int (*run)(struct cli *c, const struct cli_words *w);
    const char *help, *takes, *usage;
} commands[] = {
    {"status", cli_status, "the cluster at a glance, and what holds it", "",
     "status"},
    {"nodes", cmd_nodes, "who is in the cluster, and how loaded",
     "kind group state status limit",
     "nodes [--kind K] [--group G] [--state S] [--status S] [--limit N]\n"
     "       nodes KIND ADDRESS"},
    {"best", cmd_best, "the best worker of a group, now",
     "group count affinity exclude peek explain",
     "best [GROUP] [--count N] [--affinity KEY] [--exclude A,B] [--peek] "
     "[--explain]"},
    {"work", cmd_work, "list, add, finish, hand over, release work",
     "kind owner state limit id group policy payload",
     "work [--kind K] [--owner A] [--state S] [--limit N]\n"
     "       work add [--kind K] [--id ID] [--group G] [--policy P] "
     "[--payload JSON]\n"
     "       work get ID\n"
     "       work done ID EPOCH\n"
     "       work handover ID EPOCH\n"
     "       work release ID [EPOCH]"},
    {"failover", cmd_failover, "failovers, past and present; start, withdraw",
     "dry-run force reason limit who",
     "failover [--limit N]\n"
     "       failover show ID\n"
     "       failover start KIND ADDRESS [--dry-run] [--force] "
     "[--reason TEXT] [--who NAME]\n"
     "       failover withdraw ID"},
    {"cordon", cmd_cordon, "no new work to an address", "reason who undo",
     "cordon KIND ADDRESS [--reason TEXT] [--who NAME] [--undo]"},
    {"uncordon", cmd_uncordon, "new work again", "reason who",
     "uncordon KIND ADDRESS [--reason TEXT] [--who NAME]"},
    {"drain", cmd_drain, "no new work, and let the present work move",
     "for reason who undo",
     "drain KIND ADDRESS [--for 10m] [--reason TEXT] [--who NAME] [--undo]"},
    {"undrain", cmd_undrain, "take a drain back", "reason who",
     "undrain KIND ADDRESS [--reason TEXT] [--who NAME]"},
    {"restart", cmd_restart, "keep its work for the next process there",
     "for reason who undo",
     "restart KIND ADDRESS [--for 10m] [--reason TEXT] [--who NAME] "
     "[--undo]"},
    {"settings", cli_settings, "pause, brake and policy as they are set",
     "policy who reason",
     "settings [--policy POLICY] [--who NAME] [--reason TEXT]"},
    {"pause", cli_pause, "no failover begins, for everybody", "for who reason",
     "pause [--for 10m] [--who NAME] [--reason TEXT]"},
    {"resume", cli_resume, "failovers begin again", "who reason",
     "resume [--who NAME] [--reason TEXT]"},
    {"brake", cli_brake, "let failovers go on though so many are lost",
     "for undo who reason",
     "brake --for 10m [--who NAME] [--reason TEXT]\n"
     "       brake --undo"},
    {"groups", cli_groups, "the worker groups; define one, remove one", "limit",
     "groups [--limit N]\n"
     "       groups show NAME\n"
     "       groups set NAME ADDRESS...\n"
     "       groups remove NAME"},
    {"fence", cli_fence, "may whoever has this item at this epoch still work?",
     "", "fence ID EPOCH   (exit code 0: yes, 1: no)"},
};

static const struct command *find(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int cli_knows(const char *name)
{
    return find(name) != NULL;
}

void cli_help(void)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        printf("  %-13s %s\n", commands[i].name, commands[i].help);
}

static void say_usage(FILE *to, const struct command *command)
{
    fprintf(to, "usage: %s\n       each with [--url URL[,URL...]] [--json]\n",
            command->usage);
}

int cli_run(int argc, char **argv)
{
    const struct command *command = find(argv[0]);
    struct cli_words w;
    struct cli c;
    int rc = USAGE;

    assert(command != NULL);
    cli_init(&c);
    switch (cli_parse(argc, argv, command->takes, &c, &w)) {
    case CLI_GO:
        rc = cli_check_url(&c) ? command->run(&c, &w) : USAGE;
        break;
    case CLI_HELP:
        printf("pelorus %s: %s\n", command->name, command->help);
        say_usage(stdout, command);
        rc = 0;
        break;
    case CLI_USAGE:
        break;
    }
    if (rc == USAGE)
        say_usage(stderr, command);
    if (rc == 1 && c.status == 0)
        rc = UNREACHABLE;
    if (rc == 1 && c.status == 404)
        rc = NOT_FOUND;
    cli_close(&c);
    if (fflush(stdout) != 0 && rc == 0) {
        perror("pelorus: standard output");
        rc = 1;
    }
    return rc;
}
