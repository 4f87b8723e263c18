/*
 * commands.c - nodes, picks and failovers from the command line.
 *
 * Each turns its words into one request and the answer into a table. All rules
 * are the API's: what it refuses, it explains, and that is printed.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* --- tables -------------------------------------------------------------- */

static void put_order(struct buf *out, const char *order,
                      const struct json *item)
{
    buf_printf(out, "pelorus %s ", order);
    cli_clean(out, json_str(item, "kind"));
    buf_char(out, ' ');
    cli_clean(out, json_str(item, "address"));
}

/* What opens the gate of this node again. */
static void put_gate_lift(struct buf *out, const struct json *item)
{
    const struct json *gate = json_get(item, "gate");
    const char *state = json_str(gate, "state");
    bool cordoned = json_bool(gate, "cordoned", false);

    if (state == NULL || json_str(item, "kind") == NULL ||
        json_str(item, "address") == NULL)
        state = "";
    if (strcmp(state, "draining") == 0) {
        put_order(out, "undrain", item);
    } else if (strcmp(state, "restarting") == 0) {
        put_order(out, "restart --undo", item);
    } else if (strcmp(state, "fenced") == 0) {
        buf_str(out, "start it anew: with a new startupTime it is let in");
        cordoned = false; /* which cannot be taken back before */
    }
    if (cordoned && out->len > 0)
        buf_str(out, " && ");
    if (cordoned)
        put_order(out, "uncordon", item);
    if (out->len == 0)
        buf_char(out, '-');
}

static const struct cli_column node_columns[] = {
    {.title = "KIND", .field = "kind"},
    {.title = "ADDRESS", .field = "address"},
    {.title = "STATE", .field = "state"},
    {.title = "STATUS", .field = "status", .spare = 6},
    {.title = "REPORT", .field = "report", .spare = 2},
    {.title = "SEEN",
     .field = "last_report",
     .as = CLI_AGE,
     .right = true,
     .spare = 7},
    {.title = "GATE", .field = "gate.state"},
    {.title = "SINCE",
     .field = "gate.since",
     .as = CLI_AGE,
     .right = true,
     .spare = 5},
    {.title = "LEFT", .field = "gate.until", .as = CLI_LEFT, .right = true},
    {.title = "OWNED", .field = "owned", .right = true, .spare = 3},
    {.title = "SLOTS", .field = "slots", .right = true, .spare = 9},
    {.title = "POOL",
     .field = "pool",
     .right = true,
     .as = CLI_PERCENT,
     .spare = 10},
    {.title = "CPU",
     .field = "cpu",
     .right = true,
     .as = CLI_PERCENT,
     .spare = 1},
    {.title = "MEMORY",
     .field = "memory",
     .right = true,
     .as = CLI_PERCENT,
     .spare = 8},
    {.title = "WEIGHT", .field = "weight", .right = true, .spare = 11},
    {.title = "FLAPS", .field = "flaps", .right = true, .spare = 12},
    {.title = "GROUPS", .field = "groups", .spare = 4},
    {.title = "BY", .field = "gate.who", .below = true},
    {.title = "REASON", .field = "gate.reason", .below = true},
    {.title = "PROBLEMS",
     .field = "problems",
     .below = true,
     .as = CLI_SENTENCES},
    {.title = "LIFT", .make = put_gate_lift, .below = true, .as = CLI_COMMAND},
};

static const struct cli_column failover_columns[] = {
    {.title = "ID", .field = "id"},
    {.title = "KIND", .field = "kind", .spare = 3},
    {.title = "ADDRESS", .field = "address"},
    {.title = "STATE", .field = "state"},
    {.title = "CAUSE", .field = "cause"},
    {.title = "AGE", .field = "began", .as = CLI_AGE, .right = true},
    {.title = "MOVED", .field = "moved", .right = true},
    {.title = "WAITING", .field = "waiting", .right = true, .spare = 2},
    {.title = "HELD", .field = "held", .right = true, .spare = 1},
    {.title = "BY", .field = "coordinator", .spare = 4},
    {.title = "WAITS FOR", .field = "waits_for", .below = true},
    {.title = "WHO", .field = "who", .below = true},
    {.title = "REASON", .field = "reason", .below = true},
    {.title = "LIFT", .field = "lift", .below = true, .as = CLI_COMMAND},
};

static const struct cli_column pick_columns[] = {
    {.title = "ADDRESS", .field = "address"},
    {.title = "PICK", .field = "pick"},
    {.title = "SCORE", .field = "score", .right = true},
};

static const struct cli_column plan_columns[] = {
    {.title = "ITEM", .field = "id"},
    {.title = "ACTION", .field = "action"},
    {.title = "TARGET", .field = "target"},
};

static const struct cli_column candidate_columns[] = {
    {.title = "ADDRESS", .field = "address"},
    {.title = "SCORE", .field = "score", .right = true},
    {.title = "WEIGHT", .field = "weight", .right = true, .spare = 6},
    {.title = "CAPACITY", .field = "capacity", .right = true, .spare = 5},
    {.title = "POOL",
     .field = "pool",
     .right = true,
     .spare = 3,
     .as = CLI_PERCENT},
    {.title = "CPU",
     .field = "cpu",
     .right = true,
     .spare = 1,
     .as = CLI_PERCENT},
    {.title = "MEMORY",
     .field = "memory",
     .right = true,
     .spare = 2,
     .as = CLI_PERCENT},
    {.title = "DISK",
     .field = "disk",
     .right = true,
     .spare = 4,
     .as = CLI_PERCENT},
    {.title = "WHY NOT", .field = "why_not"},
};

/* --- nodes and picks ----------------------------------------------------- */

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

int cli_nodes(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/nodes");
    cli_query(c, "kind", w->kind);
    cli_query(c, "group", w->group);
    cli_query(c, "state", w->state);
    cli_query(c, "status", w->status);
    rc = cli_get_all(c, w);
    if (rc == 0)
        rc = cli_show_list(c, "items", node_columns, ARRAY_LEN(node_columns),
                           "no nodes");
    say_ignored(c);
    return rc;
}

int cli_node(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/nodes");
    cli_segment(c, w->word[0]);
    cli_segment(c, w->word[1]);
    cli_query(c, "index", w->index);
    cli_query(c, "wait", w->wait);
    rc = cli_send(c, "GET");
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_best(struct cli *c, const struct cli_words *w)
{
    const char *address;
    int rc;

    if (w->n == 1 && w->group != NULL) {
        fprintf(stderr, "pelorus: best: the group is given twice\n");
        return CLI_USAGE_EXIT;
    }
    buf_str(&c->path, "/v1/workers/best");
    cli_query(c, "group", w->n == 1 ? w->word[0] : w->group);
    cli_query(c, "count", w->count);
    cli_query(c, "affinity", w->affinity);
    cli_query(c, "exclude", w->exclude);
    cli_query(c, "peek", w->peek ? "1" : NULL);
    cli_query(c, "explain", w->explain ? "1" : NULL);
    cli_query(c, "stale", w->stale ? "1" : NULL);
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

/* --- failovers ----------------------------------------------------------- */

int cli_failovers(struct cli *c, const struct cli_words *w)
{
    static const struct cli_words newest = {.limit = "100"};
    int rc;

    buf_str(&c->path, "/v1/failovers");
    rc = cli_get_all(c, w->limit != NULL ? w : &newest);
    return rc != 0 ? rc
                   : cli_show_list(c, "items", failover_columns,
                                   ARRAY_LEN(failover_columns), "no failovers");
}

static int one_failover(struct cli *c, const struct cli_words *w,
                        const char *method)
{
    int rc;

    buf_str(&c->path, "/v1/failovers");
    cli_segment(c, w->word[0]);
    rc = cli_send(c, method);
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_failover_show(struct cli *c, const struct cli_words *w)
{
    return one_failover(c, w, "GET");
}

int cli_failover_withdraw(struct cli *c, const struct cli_words *w)
{
    return one_failover(c, w, "DELETE");
}

/* The plan, and how exactly this is carried out, or nothing. */
static int show_plan(struct cli *c, const struct cli_words *w)
{
    const char *etag = json_str(c->document, "etag");
    struct buf line;

    (void)cli_show_list(c, "plan", plan_columns, ARRAY_LEN(plan_columns),
                        "nothing would move");
    if (c->json || etag == NULL)
        return 0;
    buf_init(&line, 4096);
    buf_printf(&line,
               "to do this and nothing else: pelorus failover start "
               "%s %s%s --if-match '%s'",
               w->word[0], w->word[1], w->force ? " --force" : "", etag);
    cli_say(stdout, buf_text(&line));
    buf_close(&line);
    return 0;
}

int cli_failover_start(struct cli *c, const struct cli_words *w)
{
    int rc;

    buf_str(&c->path, "/v1/failovers");
    json_open(&c->body, NULL, '{');
    json_put_str(&c->body, "kind", w->word[0]);
    json_put_str(&c->body, "address", w->word[1]);
    json_put_bool(&c->body, "dry_run", w->dry_run);
    json_put_bool(&c->body, "force", w->force);
    json_put_str(&c->body, "who", cli_who(c, w->who));
    if (w->reason != NULL)
        json_put_str(&c->body, "reason", w->reason);
    json_close(&c->body, '}');
    c->etag = w->etag;
    rc = cli_send(c, "POST");
    if (rc != 0)
        return rc;
    return w->dry_run ? show_plan(c, w) : cli_show_object(c);
}

/* --- gates --------------------------------------------------------------- */

static int gate(struct cli *c, const struct cli_words *w, const char *what,
                bool undo)
{
    const char *state;
    int rc;

    if (undo && w->period != NULL) {
        fprintf(stderr,
                "pelorus: %s: --for and --undo: what is taken back has "
                "no time\n",
                what);
        return CLI_USAGE_EXIT;
    }
    buf_str(&c->path, "/v1/nodes");
    cli_segment(c, w->word[0]);
    cli_segment(c, w->word[1]);
    cli_segment(c, what);
    cli_query(c, "for", w->period);
    cli_query(c, "reason", w->reason);
    cli_query(c, "who", cli_who(c, w->who));
    rc = cli_send(c, undo ? "DELETE" : "PUT");
    if (rc != 0)
        return rc;
    state = json_str(c->document, "state");
    if (undo && state != NULL && strcmp(state, "absent") == 0) {
        fprintf(stderr,
                "pelorus: %s %s: nobody is known at this address, and nothing "
                "was taken back; `pelorus nodes` lists them\n",
                w->word[0], w->word[1]);
        return CLI_NOT_FOUND;
    }
    return cli_show_object(c);
}

int cli_cordon(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "cordon", w->undo);
}

int cli_drain(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "drain", w->undo);
}

int cli_restart(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "restart", w->undo);
}

int cli_uncordon(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "cordon", true);
}

int cli_undrain(struct cli *c, const struct cli_words *w)
{
    return gate(c, w, "drain", true);
}
