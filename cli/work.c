/*
 * work.c - work items and their fences from the command line.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

/* What gets an item going that is held; one that waits goes on by itself. */
static void put_work_lift(struct buf *out, const struct json *item)
{
    const char *state = json_str(item, "state"), *id = json_str(item, "id");

    if (state != NULL && id != NULL && strcmp(state, "held") == 0) {
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
    {.title = "EPOCH", .field = "epoch", .right = true},
    {.title = "GROUP", .field = "group", .spare = 3},
    {.title = "POLICY", .field = "policy", .spare = 4},
    {.title = "AGE",
     .field = "assigned_at",
     .as = CLI_AGE,
     .right = true,
     .spare = 1},
    {.title = "CAUSE", .field = "cause", .spare = 1},
    {.title = "LIFT", .make = put_work_lift, .below = true, .as = CLI_COMMAND},
};

int cli_work(struct cli *c, const struct cli_words *w)
{
    int rc;

    assert(w->n == 0);
    buf_str(&c->path, "/v1/work");
    cli_query(c, "kind", w->kind);
    cli_query(c, "owner", w->owner);
    cli_query(c, "state", w->state);
    rc = cli_get_all(c, w);
    return rc != 0 ? rc
                   : cli_show_list(c, "items", work_columns,
                                   ARRAY_LEN(work_columns), "no work");
}

int cli_work_add(struct cli *c, const struct cli_words *w)
{
    const struct json *payload = NULL;
    struct err err;
    int rc;

    assert(w->n == 0);
    if (w->payload != NULL &&
        json_parse(w->payload, strlen(w->payload), &payload, &err) != 0) {
        fprintf(stderr, "pelorus: --payload: %s\n", err.msg);
        return CLI_USAGE_EXIT;
    }
    json_free(payload);
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
    rc = cli_send(c, "POST");
    return rc != 0 ? rc : cli_show_object(c);
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

/* The item, and the epoch that was typed beside its id. */
static int get_at(struct cli *c, const struct cli_words *w, const char **epoch)
{
    assert(w->n == 2);
    assert(c->path.len == 0);
    *epoch = read_epoch(w->word[1]);
    if (*epoch == NULL)
        return CLI_USAGE_EXIT;
    buf_str(&c->path, "/v1/work");
    cli_segment(c, w->word[0]);
    return cli_send(c, "GET");
}

/* Can the registry have given this epoch? What it cannot have given proves that
 * it went back in time, and stops the cluster; but a person may mistype. */
static int look_first(struct cli *c, const struct cli_words *w)
{
    const char *epoch;
    struct buf now;
    int rc = get_at(c, w, &epoch);

    assert(w->n == 2);
    buf_reset(&c->path);
    if (rc != 0)
        return rc;
    buf_init(&now, 64);
    put_epoch(&now, c->document);
    if (strlen(epoch) > now.len ||
        (strlen(epoch) == now.len && strcmp(epoch, buf_text(&now)) > 0)) {
        fprintf(stderr,
                "pelorus: %s is at epoch %s; %s was never given: nothing "
                "was sent\n",
                w->word[0], buf_text(&now), epoch);
        rc = CLI_USAGE_EXIT;
    }
    buf_close(&now);
    json_free(c->document);
    c->document = NULL;
    return rc;
}

static int one_item(struct cli *c, const struct cli_words *w,
                    const char *method, const char *what)
{
    int rc = w->n > 1 ? look_first(c, w) : 0;

    assert(w->n >= 1);
    assert(c->path.len == 0);
    if (rc != 0)
        return rc;
    buf_str(&c->path, "/v1/work");
    cli_segment(c, w->word[0]);
    buf_str(&c->path, what);
    cli_query(c, "epoch", w->n > 1 ? w->word[1] : NULL);
    rc = cli_send(c, method);
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_work_get(struct cli *c, const struct cli_words *w)
{
    assert(w->n == 1);
    return one_item(c, w, "GET", "");
}

int cli_work_done(struct cli *c, const struct cli_words *w)
{
    return one_item(c, w, "DELETE", "");
}

int cli_work_handover(struct cli *c, const struct cli_words *w)
{
    return one_item(c, w, "POST", "/handover");
}

int cli_work_release(struct cli *c, const struct cli_words *w)
{
    return one_item(c, w, "POST", "/release");
}

/* Looked up, not POST /v1/fence/check: there an epoch that the registry cannot
 * have given proves that it went back in time, and a person may mistype. */
int cli_fence(struct cli *c, const struct cli_words *w)
{
    const char *state, *owner, *epoch;
    struct buf now, line;
    bool may;
    int rc = get_at(c, w, &epoch);

    assert(w->n == 2);
    if (rc != 0)
        return rc;
    state = json_str(c->document, "state");
    owner = json_str(c->document, "owner");
    buf_init(&now, 64);
    buf_init(&line, 4096);
    put_epoch(&now, c->document);
    may = state != NULL && owner != NULL && owner[0] != '\0' &&
          (strcmp(state, "assigned") == 0 || strcmp(state, "running") == 0) &&
          strcmp(buf_text(&now), epoch) == 0;
    buf_printf(&line, "%s: %s is %s at epoch %s, owner %s", may ? "yes" : "no",
               w->word[0], state != NULL ? state : "-", buf_text(&now),
               owner != NULL && owner[0] != '\0' ? owner : "-");
    cli_say(stdout, c->json ? buf_text(&c->answer) : buf_text(&line));
    buf_close(&line);
    buf_close(&now);
    return may ? 0 : 1;
}
