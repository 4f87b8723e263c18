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

#include <getopt.h>
#include <stdio.h>
#include <string.h>

/* Every option of every command; each command says which letters it takes. */
struct words {
    const char *kind, *state, *status, *group, *owner, *count, *affinity,
        *exclude, *id, *policy, *payload, *period, *reason, *limit;
    bool peek, explain, dry_run, force, undo;
    int n;        /* positional words */
    char **word;
};

enum option_id {
    OPT_URL = 256, OPT_JSON, OPT_KIND, OPT_STATE, OPT_STATUS, OPT_GROUP,
    OPT_OWNER, OPT_COUNT, OPT_AFFINITY, OPT_EXCLUDE, OPT_ID, OPT_POLICY,
    OPT_PAYLOAD, OPT_FOR, OPT_REASON, OPT_LIMIT, OPT_PEEK, OPT_EXPLAIN,
    OPT_DRY_RUN, OPT_FORCE, OPT_UNDO, OPT_HELP
};

static const struct option options[] = {
    {"url", required_argument, NULL, OPT_URL},
    {"json", no_argument, NULL, OPT_JSON},
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
    {"peek", no_argument, NULL, OPT_PEEK},
    {"explain", no_argument, NULL, OPT_EXPLAIN},
    {"dry-run", no_argument, NULL, OPT_DRY_RUN},
    {"force", no_argument, NULL, OPT_FORCE},
    {"undo", no_argument, NULL, OPT_UNDO},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

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
};

static const struct cli_column work_columns[] = {
    {"ID", "id", false, CLI_TEXT},       {"KIND", "kind", false, CLI_TEXT},
    {"STATE", "state", false, CLI_TEXT}, {"OWNER", "owner", false, CLI_TEXT},
    {"EPOCH", "epoch", true, CLI_TEXT},  {"GROUP", "group", false, CLI_TEXT},
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

static int usage(const char *text)
{
    fprintf(stderr, "pelorus: usage: pelorus %s\n", text);
    return 2;
}

/* --- printing ---------------------------------------------------------------- */

static int show_list(struct cli *c, const char *list,
                     const struct cli_column *columns, size_t n,
                     const char *none)
{
    if (c->json)
        printf("%s\n", buf_text(&c->answer));
    else
        cli_table(cJSON_GetObjectItemCaseSensitive(c->document, list), columns,
                  n, none);
    return 0;
}

/* Every field of one object, a line each. */
static int show_object(struct cli *c)
{
    const cJSON *item;
    struct buf line;

    if (c->json || c->document == NULL) {
        if (c->answer.len > 0)
            printf("%s\n", buf_text(&c->answer));
        return 0;
    }
    buf_init(&line, 128 * 1024);
    cJSON_ArrayForEach(item, c->document)
    {
        struct cli_column column = {"", item->string, false, CLI_TEXT};
        char *text = cJSON_IsObject(item) ? cJSON_PrintUnformatted(item) : NULL;

        buf_reset(&line);
        cli_text(&line, c->document, &column);
        printf("%-14s %s\n", item->string,
               text != NULL ? text : buf_text(&line));
        cJSON_free(text);
    }
    buf_close(&line);
    return 0;
}

/* Follow `next` until the end, one page at a time, into one list. */
static int get_all(struct cli *c, const char *limit)
{
    cJSON *all = NULL;
    char *base = mem_strdup(buf_text(&c->path));
    char *next = NULL;
    int rc;

    do {
        buf_reset(&c->path);
        buf_str(&c->path, base);
        cli_query(c, "limit", limit != NULL ? limit : "1000");
        cli_query(c, "cursor", next);
        MEM_FREE(next);
        buf_reset(&c->answer);
        cJSON_Delete(c->document);
        c->document = NULL;
        rc = cli_send(c, "GET");
        if (rc != 0)
            break;
        next = mem_strdup(json_str(c->document, "next"));
        if (all == NULL) {
            all = c->document;
        } else {
            cJSON *items = cJSON_GetObjectItemCaseSensitive(all, "items");
            cJSON *more =
                cJSON_GetObjectItemCaseSensitive(c->document, "items");
            cJSON *item;

            while ((item = cJSON_DetachItemFromArray(more, 0)) != NULL)
                cJSON_AddItemToArray(items, item);
            cJSON_Delete(c->document);
        }
        c->document = NULL;
    } while (next != NULL && limit == NULL && !c->json);
    c->document = all;
    mem_free(next);
    mem_free(base);
    return rc;
}

/* --- commands ------------------------------------------------------------------ */

static int cmd_nodes(struct cli *c, const struct words *w)
{
    int rc;

    buf_str(&c->path, "/v1/nodes");
    if (w->n == 2) {
        cli_segment(c, w->word[0]);
        cli_segment(c, w->word[1]);
        rc = cli_send(c, "GET");
        return rc != 0 ? rc : show_object(c);
    }
    if (w->n != 0)
        return usage("nodes [KIND ADDRESS] [--kind K] [--group G] [--state S]");
    cli_query(c, "kind", w->kind);
    cli_query(c, "group", w->group);
    cli_query(c, "state", w->state);
    cli_query(c, "status", w->status);
    rc = get_all(c, w->limit);
    return rc != 0 ? rc
                   : show_list(c, "items", node_columns,
                               ARRAY_LEN(node_columns), "no nodes");
}

static int cmd_best(struct cli *c, const struct words *w)
{
    int rc;

    if (w->n > 1)
        return usage("best [GROUP] [--count N] [--affinity KEY] [--exclude A] "
                     "[--peek] [--explain]");
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
    if (c->json || w->explain)
        return show_object(c);
    if (w->count != NULL)
        return show_list(c, "picks", pick_columns, ARRAY_LEN(pick_columns),
                         "no picks");
    printf("%s\n", json_str(c->document, "address"));
    return 0;
}

static int work_add(struct cli *c, const struct words *w)
{
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

static int work_one(struct cli *c, const struct words *w)
{
    const char *verb = w->word[0];
    const char *epoch = w->n > 2 ? w->word[2] : NULL;

    buf_str(&c->path, "/v1/work");
    cli_segment(c, w->word[1]);
    if (strcmp(verb, "get") == 0)
        return cli_send(c, "GET");
    if (strcmp(verb, "release") == 0) {
        buf_str(&c->path, "/release");
        cli_query(c, "epoch", epoch);
        return cli_send(c, "POST");
    }
    if (epoch == NULL)
        return usage("work done|handover ID EPOCH");
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

static int cmd_work(struct cli *c, const struct words *w)
{
    static const char *const verbs[] = {"get", "done", "handover", "release",
                                        NULL};
    int rc;

    if (w->n == 1 && strcmp(w->word[0], "add") == 0) {
        rc = work_add(c, w);
        return rc != 0 ? rc : show_object(c);
    }
    if (w->n >= 2 && w->n <= 3 && is_one_of(w->word[0], verbs)) {
        rc = work_one(c, w);
        return rc != 0 ? rc : show_object(c);
    }
    if (w->n != 0)
        return usage("work [--owner A] [--kind K] [--state S] | work add "
                     "[--kind K] [--id ID] [--group G] [--policy P] "
                     "[--payload JSON] | work get ID | work done ID EPOCH | "
                     "work handover ID EPOCH | work release ID EPOCH");
    buf_str(&c->path, "/v1/work");
    cli_query(c, "kind", w->kind);
    cli_query(c, "owner", w->owner);
    cli_query(c, "state", w->state);
    rc = get_all(c, w->limit);
    return rc != 0 ? rc
                   : show_list(c, "items", work_columns,
                               ARRAY_LEN(work_columns), "no work");
}

static int failover_start(struct cli *c, const struct words *w)
{
    int rc;

    buf_str(&c->path, "/v1/failovers");
    json_open(&c->body, NULL, '{');
    json_put_str(&c->body, "kind", w->word[1]);
    json_put_str(&c->body, "address", w->word[2]);
    json_put_bool(&c->body, "dry_run", w->dry_run);
    json_put_bool(&c->body, "force", w->force);
    if (w->reason != NULL)
        json_put_str(&c->body, "reason", w->reason);
    json_close(&c->body, '}');
    rc = cli_send(c, "POST");
    if (rc != 0)
        return rc;
    return w->dry_run ? show_list(c, "plan", plan_columns,
                                  ARRAY_LEN(plan_columns), "nothing would move")
                      : show_object(c);
}

static int cmd_failover(struct cli *c, const struct words *w)
{
    int rc;

    if (w->n == 3 && strcmp(w->word[0], "start") == 0)
        return failover_start(c, w);
    buf_str(&c->path, "/v1/failovers");
    if (w->n == 2 && strcmp(w->word[0], "show") == 0) {
        cli_segment(c, w->word[1]);
        rc = cli_send(c, "GET");
        return rc != 0 ? rc : show_object(c);
    }
    if (w->n != 0)
        return usage("failover | failover show ID | failover start KIND "
                     "ADDRESS [--dry-run] [--force] [--reason TEXT]");
    rc = get_all(c, w->limit != NULL ? w->limit : "100");
    return rc != 0 ? rc
                   : show_list(c, "items", failover_columns,
                               ARRAY_LEN(failover_columns), "no failovers");
}

static int gate(struct cli *c, const struct words *w, const char *what)
{
    int rc;

    if (w->n != 2) {
        fprintf(stderr,
                "pelorus: usage: pelorus %s KIND ADDRESS [--for 10m] "
                "[--reason TEXT] [--undo]\n",
                what);
        return 2;
    }
    buf_str(&c->path, "/v1/nodes");
    cli_segment(c, w->word[0]);
    cli_segment(c, w->word[1]);
    cli_segment(c, what);
    cli_query(c, "for", w->period);
    cli_query(c, "reason", w->reason);
    rc = cli_send(c, w->undo ? "DELETE" : "PUT");
    return rc != 0 ? rc : show_object(c);
}

static int cmd_cordon(struct cli *c, const struct words *w)
{
    return gate(c, w, "cordon");
}

static int cmd_drain(struct cli *c, const struct words *w)
{
    return gate(c, w, "drain");
}

static int cmd_restart(struct cli *c, const struct words *w)
{
    return gate(c, w, "restart");
}

static const struct command {
    const char *name;
    int (*run)(struct cli *c, const struct words *w);
    const char *help;
} commands[] = {
    {"nodes", cmd_nodes, "who is in the cluster, and how loaded"},
    {"best", cmd_best, "the best worker of a group, now"},
    {"work", cmd_work, "list, add, finish, hand over, release work"},
    {"failover", cmd_failover, "past and present failovers; start one"},
    {"cordon", cmd_cordon, "no new work to an address"},
    {"drain", cmd_drain, "no new work, and let the present work move"},
    {"restart", cmd_restart, "keep its work for the next process there"},
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

static void set_flag(struct words *w, int option)
{
    w->peek |= option == OPT_PEEK;
    w->explain |= option == OPT_EXPLAIN;
    w->dry_run |= option == OPT_DRY_RUN;
    w->force |= option == OPT_FORCE;
    w->undo |= option == OPT_UNDO;
}

static void set_word(struct words *w, int option, const char *value)
{
    const char **const to[] = {
        [OPT_KIND - OPT_KIND] = &w->kind,
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
    };

    if (option >= OPT_KIND && option <= OPT_LIMIT)
        *to[option - OPT_KIND] = value;
    else
        set_flag(w, option);
}

int cli_run(int argc, char **argv)
{
    const struct command *command = find(argv[0]);
    struct words w = {0};
    struct cli c;
    int option, rc;

    assert(command != NULL);
    cli_init(&c);
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?' || option == OPT_HELP) {
            cli_close(&c);
            printf("pelorus %s: %s\n", command->name, command->help);
            return option == OPT_HELP ? 0 : 2;
        }
        if (option == OPT_URL)
            c.url = optarg;
        else if (option == OPT_JSON)
            c.json = true;
        else
            set_word(&w, option, optarg);
    }
    w.n = argc - optind;
    w.word = argv + optind;
    rc = command->run(&c, &w);
    cli_close(&c);
    return rc;
}
