/*
 * work.c - work items and their fences from the command line.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"
#include "work/record.h"

#include <stdio.h>
#include <string.h>

/* Is the item in this state? */
static bool is_in(const struct json *item, enum work_state wanted)
{
    const char *name = json_str(item, "state");

    return name != NULL && strcmp(name, work_state_name(wanted)) == 0;
}

/* What gets an item going that is held; one that waits goes on by itself. */
static void put_work_lift(struct buf *out, const struct json *item)
{
    const char *id = json_str(item, "id");

    assert(out->len == 0);
    if (id != NULL && is_in(item, WORK_HELD)) {
        buf_str(out, "pelorus work release ");
        cli_clean(out, id);
    } else {
        buf_char(out, '-');
    }
}

static const struct cli_column work_columns[] = {
    {.title = "ID", .field = "id"},
    {.title = "KIND", .field = "kind", .spare = 2},
    {.title = "STATE", .field = "state"},
    {.title = "OWNER", .field = "owner"},
    {.title = "EPOCH", .field = "epoch", .as = CLI_NUMBER},
    {.title = "GROUP", .field = "group", .spare = 3},
    {.title = "POLICY", .field = "policy", .spare = 4},
    {.title = "AGE", .field = "assigned_at", .as = CLI_AGE, .spare = 1},
    {.title = "CAUSE", .field = "cause", .spare = 1},
    {.title = "LIFT", .make = put_work_lift, .below = true, .as = CLI_COMMAND},
};

const struct cli_list cli_work_list = {CLI_COLUMNS(work_columns), "items",
                                       "no work", NULL};

int cli_work_add(struct cli *c, const struct cli_args *w)
{
    const struct json *payload = NULL;
    struct err err;

    assert(w->n == 0);
    if (w->payload != NULL &&
        json_parse(w->payload, strlen(w->payload), &payload, &err) != 0) {
        fprintf(stderr, "pelorus: --payload: %s\n", err.msg);
        return CLI_USAGE_EXIT;
    }
    json_free(payload);
    json_open(&c->body, NULL, '{');
    cli_member(c, "id", w->id);
    json_put_str(&c->body, "kind", w->kind != NULL ? w->kind : "master");
    cli_member(c, "group", w->group);
    cli_member(c, "policy", w->policy);
    if (w->payload != NULL)
        json_put_raw(&c->body, "payload", w->payload);
    json_close(&c->body, '}');
    return cli_show_answer(c, c->method);
}

static void put_epoch(struct buf *out, const struct json *item)
{
    const struct cli_column column = {.title = "", .field = "epoch"};

    cli_text(out, item, &column, 0);
}

/* The digits of an epoch that a person typed, without leading zeros, borrowed;
 * NULL: it is none, and that was said. */
static const char *read_epoch(const char *word)
{
    const char *epoch = word + strspn(word, "0");

    assert(word[0] != '\0');
    if (epoch[0] != '\0' && epoch[strspn(epoch, "0123456789")] == '\0')
        return epoch;
    fprintf(stderr, "pelorus: %s is no epoch: that is a number above 0\n",
            word);
    return NULL;
}

/* Of two numbers in digits, without leading zeros. */
static bool is_later(const char *a, const char *b)
{
    assert(a[0] != '0');
    if (strlen(a) != strlen(b))
        return strlen(a) > strlen(b);
    return strcmp(a, b) > 0;
}

/* Can the registry have given the epoch that was typed beside an item's id?
 * What it cannot have given proves that it went back in time, and stops the
 * cluster; but a person may mistype. */
static int look_first(struct cli *c, const struct cli_args *w)
{
    const char *epoch = read_epoch(w->operand[1]);
    char *path = buf_take(&c->path);
    struct buf now;
    int rc = CLI_USAGE_EXIT;

    assert(w->n == 2);
    buf_init(&now, 64);
    buf_str(&c->path, "/v1/work/");
    cli_segment(c, w->operand[0]);
    if (epoch != NULL)
        rc = cli_send(c, "GET");
    if (rc == 0)
        put_epoch(&now, c->document);
    if (rc == 0 && is_later(epoch, buf_text(&now))) {
        fprintf(stderr,
                "pelorus: %s is at epoch %s; %s was never given: nothing "
                "was sent\n",
                w->operand[0], buf_text(&now), epoch);
        rc = CLI_USAGE_EXIT;
    }
    buf_reset(&c->path);
    buf_str(&c->path, path);
    mem_free(path);
    buf_close(&now);
    return rc;
}

int cli_work_at(struct cli *c, const struct cli_args *w)
{
    int rc = w->n > 1 ? look_first(c, w) : 0;

    assert(w->n >= 1);
    if (rc != 0)
        return rc;
    cli_query(c, "epoch", w->n > 1 ? w->operand[1] : NULL);
    return cli_show_answer(c, c->method);
}

/* Looked up, not POST /v1/fence/check: there an epoch that the registry cannot
 * have given proves that it went back in time, and a person may mistype. */
int cli_fence(struct cli *c, const struct cli_args *w)
{
    const char *epoch = read_epoch(w->operand[1]);
    const char *state, *owner;
    struct buf now, line;
    bool may;
    int rc;

    assert(w->n == 2);
    if (epoch == NULL)
        return CLI_USAGE_EXIT;
    rc = cli_send(c, c->method);
    if (rc != 0)
        return rc;
    state = json_str(c->document, "state");
    owner = json_str(c->document, "owner");
    buf_init(&now, 64);
    buf_init(&line, 4096);
    put_epoch(&now, c->document);
    may = owner != NULL && owner[0] != '\0' &&
          is_in(c->document, WORK_ASSIGNED) &&
          strcmp(buf_text(&now), epoch) == 0;
    buf_printf(&line, "%s: %s is %s at epoch %s, owner %s", may ? "yes" : "no",
               w->operand[0], state != NULL ? state : "-", buf_text(&now),
               owner != NULL && owner[0] != '\0' ? owner : "-");
    cli_say(stdout, c->json ? buf_text(&c->answer) : buf_text(&line));
    buf_close(&line);
    buf_close(&now);
    return may ? 0 : CLI_REFUSED;
}
