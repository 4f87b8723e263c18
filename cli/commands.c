/*
 * commands.c - nodes, picks, failovers and gates from the command line.
 *
 * Each turns its words into one request and the answer into a table. All rules
 * are the API's: what it refuses, it explains, and that is printed.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "cluster/gate.h"

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
    const char *text = json_str(gate, "state");
    bool named =
        json_str(item, "kind") != NULL && json_str(item, "address") != NULL;
    bool cordoned = named && json_bool(gate, "cordoned", false);
    enum gate_state state = GATE_ABSENT;

    assert(out->len == 0);
    if (named && text != NULL)
        (void)!gate_state_parse(text, &state);
    if (state == GATE_DRAINING) {
        put_order(out, "undrain", item);
    } else if (state == GATE_RESTARTING) {
        put_order(out, "restart --undo", item);
    } else if (state == GATE_FENCED) {
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
    {.title = "SEEN", .field = "last_report", .as = CLI_AGE, .spare = 7},
    {.title = "GATE", .field = "gate.state"},
    {.title = "SINCE", .field = "gate.since", .as = CLI_AGE, .spare = 5},
    {.title = "LEFT", .field = "gate.until", .as = CLI_LEFT},
    {.title = "OWNED", .field = "owned", .as = CLI_NUMBER, .spare = 3},
    {.title = "SLOTS", .field = "slots", .as = CLI_NUMBER, .spare = 9},
    {.title = "POOL", .field = "pool", .as = CLI_PERCENT, .spare = 10},
    {.title = "CPU", .field = "cpu", .as = CLI_PERCENT, .spare = 1},
    {.title = "MEMORY", .field = "memory", .as = CLI_PERCENT, .spare = 8},
    {.title = "WEIGHT", .field = "weight", .as = CLI_NUMBER, .spare = 11},
    {.title = "FLAPS", .field = "flaps", .as = CLI_NUMBER, .spare = 12},
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
    {.title = "AGE", .field = "began", .as = CLI_AGE},
    {.title = "MOVED", .field = "moved", .as = CLI_NUMBER},
    {.title = "WAITING", .field = "waiting", .as = CLI_NUMBER, .spare = 2},
    {.title = "HELD", .field = "held", .as = CLI_NUMBER, .spare = 1},
    {.title = "BY", .field = "coordinator", .spare = 4},
    {.title = "WAITS FOR", .field = "waits_for", .below = true},
    {.title = "WHO", .field = "who", .below = true},
    {.title = "REASON", .field = "reason", .below = true},
    {.title = "LIFT", .field = "lift", .below = true, .as = CLI_COMMAND},
};

static const struct cli_column pick_columns[] = {
    {.title = "ADDRESS", .field = "address"},
    {.title = "PICK", .field = "pick"},
    {.title = "SCORE", .field = "score", .as = CLI_NUMBER},
};

static const struct cli_column plan_columns[] = {
    {.title = "ITEM", .field = "id"},
    {.title = "ACTION", .field = "action"},
    {.title = "TARGET", .field = "target"},
};

/* Three decimals; what no policy but the ledger has may be missing. */
static void put_rounded(struct buf *out, const struct json *item,
                        const char *field)
{
    const struct json *value = json_get(item, field);

    if (json_is(value, JSON_NUMBER))
        buf_printf(out, "%.3f", value->number);
    else
        buf_char(out, '-');
}

static void put_score(struct buf *out, const struct json *item)
{
    put_rounded(out, item, "score");
}

static void put_est(struct buf *out, const struct json *item)
{
    put_rounded(out, item, "est");
}

/* Why it comes after the others. */
static void put_behind(struct buf *out, const struct json *item)
{
    const char *hot = json_str(item, "hot");

    buf_str(out, hot != NULL                      ? hot
                 : json_bool(item, "full", false) ? "full"
                                                  : "-");
}

static const struct cli_column candidate_columns[] = {
    {.title = "ADDRESS", .field = "address"},
    {.title = "SCORE", .make = put_score, .as = CLI_NUMBER},
    {.title = "TASKS", .make = put_est, .as = CLI_NUMBER, .spare = 8},
    {.title = "HOT", .make = put_behind, .spare = 7},
    {.title = "WEIGHT", .field = "weight", .as = CLI_NUMBER, .spare = 6},
    {.title = "CAPACITY", .field = "capacity", .as = CLI_NUMBER, .spare = 5},
    {.title = "POOL", .field = "pool", .as = CLI_PERCENT, .spare = 3},
    {.title = "CPU", .field = "cpu", .as = CLI_PERCENT, .spare = 1},
    {.title = "MEMORY", .field = "memory", .as = CLI_PERCENT, .spare = 2},
    {.title = "DISK", .field = "disk", .as = CLI_PERCENT, .spare = 4},
    {.title = "WHY NOT", .field = "why_not"},
};

const struct cli_list cli_node_list = {CLI_COLUMNS(node_columns), "items",
                                       "no nodes", NULL};
const struct cli_list cli_failover_list = {CLI_COLUMNS(failover_columns),
                                           "items", "no failovers", "100"};
static const struct cli_list picks = {CLI_COLUMNS(pick_columns), "picks",
                                      "no picks", NULL};
static const struct cli_list plan = {CLI_COLUMNS(plan_columns), "plan",
                                     "nothing would move", NULL};
static const struct cli_list candidates = {CLI_COLUMNS(candidate_columns),
                                           "candidates", "no candidates", NULL};

/* --- picks --------------------------------------------------------------- */

/* Who it was, before the candidates: "picked a, b". */
static void say_picked(const struct cli *c, bool peek)
{
    const struct json *many = json_get(c->document, "picks"), *one;
    const char *address = json_str(c->document, "address");
    const char *title = peek ? "would pick" : "picked", *between = " ";
    struct buf line, wrapped;

    assert(!c->json);
    buf_init(&line, 1024 * 1024);
    buf_init(&wrapped, 2 * 1024 * 1024);
    buf_str(&line, title);
    if (address != NULL) {
        buf_char(&line, ' ');
        cli_clean(&line, address);
    }
    json_each (one, many) {
        const char *next = json_str(one, "address");

        buf_str(&line, between);
        cli_clean(&line, next != NULL ? next : "-");
        between = ", ";
    }
    cli_wrap(&wrapped, buf_text(&line), strlen(title) + 1, cli_terminal());
    puts(buf_text(&wrapped));
    buf_close(&wrapped);
    buf_close(&line);
}

int cli_best(struct cli *c, const struct cli_args *w)
{
    const char *address;
    int rc;

    assert(w->n <= 1);
    if (w->n == 1 && w->group != NULL) {
        fprintf(stderr, "pelorus: best: the group is given twice\n");
        return CLI_USAGE_EXIT;
    }
    cli_query(c, "group", w->n == 1 ? w->operand[0] : NULL);
    rc = cli_send(c, c->method);
    if (w->explain && !c->json && json_get(c->document, "candidates") != NULL) {
        if (rc == 0)
            say_picked(c, w->peek);
        cli_show_list(c, &candidates);
        return rc;
    }
    if (rc != 0)
        return rc;
    address = json_str(c->document, "address");
    if (w->count != NULL)
        cli_show_list(c, &picks);
    else if (c->json || address == NULL)
        return cli_show_object(c);
    else
        cli_say(stdout, address);
    return 0;
}

/* --- failovers ----------------------------------------------------------- */

/* The plan, and how exactly this is carried out, or nothing. */
static int show_plan(struct cli *c, const struct cli_args *w)
{
    const char *etag = json_str(c->document, "etag");
    struct buf line;

    assert(w->dry_run);
    cli_show_list(c, &plan);
    if (c->json || etag == NULL)
        return 0;
    buf_init(&line, 4096);
    buf_printf(&line,
               "to do this and nothing else: pelorus failover start "
               "%s %s%s --if-match '%s'",
               w->operand[0], w->operand[1], w->force ? " --force" : "", etag);
    cli_say(stdout, buf_text(&line));
    buf_close(&line);
    return 0;
}

int cli_failover_start(struct cli *c, const struct cli_args *w)
{
    int rc;

    assert(w->n == 2);
    json_open(&c->body, NULL, '{');
    json_put_str(&c->body, "kind", w->operand[0]);
    json_put_str(&c->body, "address", w->operand[1]);
    json_put_bool(&c->body, "dry_run", w->dry_run);
    json_put_bool(&c->body, "force", w->force);
    c->etag = w->etag;
    cli_order(c, w);
    if (!w->dry_run)
        return cli_show_answer(c, c->method);
    rc = cli_send(c, c->method);
    return rc != 0 ? rc : show_plan(c, w);
}

/* --- gates --------------------------------------------------------------- */

/* A cordon, a drain or a restart, or that it is taken back. */
int cli_gate(struct cli *c, const struct cli_args *w)
{
    bool undo = w->undo || strcmp(c->method, "DELETE") == 0;
    const char *text;
    enum gate_state state;
    int rc;

    assert(w->n == 2);
    if (undo && w->period != NULL) {
        fprintf(stderr,
                "pelorus: %s: --for and --undo: what is taken back has "
                "no time\n",
                c->command);
        return CLI_USAGE_EXIT;
    }
    if (w->who == NULL)
        cli_query(c, "who", cli_who(c, NULL));
    rc = cli_send(c, undo ? "DELETE" : "PUT");
    if (rc != 0)
        return rc;
    text = json_str(c->document, "state");
    if (undo && text != NULL && gate_state_parse(text, &state) == 0 &&
        state == GATE_ABSENT) {
        fprintf(stderr,
                "pelorus: %s %s: nobody is known at this address, and nothing "
                "was taken back; `pelorus nodes` lists them\n",
                w->operand[0], w->operand[1]);
        return CLI_NOT_FOUND;
    }
    return cli_show_object(c);
}

/* The gate of an address that nobody needs. */
int cli_forget(struct cli *c, const struct cli_args *w)
{
    assert(w->n == 2);
    if (w->who == NULL)
        cli_query(c, "who", cli_who(c, NULL));
    return cli_show_answer(c, c->method);
}
