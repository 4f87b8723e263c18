/*
 * cli_cluster.c - the subcommands about the cluster as a whole: its status, its
 * settings, its groups, and a fence.
 */
#include "coordinator/cli_priv.h"

#include "base/json.h"

#include <string.h>

static const struct cli_column group_columns[] = {
    {"NAME", "name", false, CLI_TEXT},
    {"ALIVE", "alive", false, CLI_TEXT},
    {"ADDRESSES", "addresses", false, CLI_TEXT},
};

/* --- status -----------------------------------------------------------------
 */

/* "a.b" of the answer, or "-". */
static void put_field(struct buf *line, const cJSON *from, const char *field)
{
    const struct cli_column column = {"", field, false, CLI_TEXT};

    cli_text(line, from, &column);
}

/* What is not zero, by name: "up 3, down 1". */
static void put_numbers(struct buf *line, const cJSON *counts)
{
    const cJSON *n;
    bool any = false;

    cJSON_ArrayForEach(n, counts)
    {
        if (!cJSON_IsNumber(n) || n->valuedouble == 0)
            continue;
        buf_printf(line, "%s%s %.0f", any ? ", " : "", n->string,
                   n->valuedouble);
        any = true;
    }
    if (!any)
        buf_str(line, "none");
}

static void say_line(struct buf *line)
{
    cli_say(stdout, buf_text(line));
    buf_reset(line);
}

static void begin_line(struct buf *line, const char *title, const char *of)
{
    buf_printf(line, "%-13s", title);
    if (of != NULL)
        buf_printf(line, "%s: ", of);
}

static void say_registry(struct buf *line, const cJSON *registry)
{
    static const char *const fields[] = {"type", "state", "reason"};
    const cJSON *back = cJSON_GetObjectItemCaseSensitive(registry, "went_back");

    begin_line(line, "registry", NULL);
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        const char *text = json_str(registry, fields[i]);

        if (text != NULL)
            buf_printf(line, "%s%s", i == 0 ? "" : ", ", text);
    }
    say_line(line);
    if (!cJSON_IsObject(back))
        return;
    begin_line(line, "", NULL);
    buf_printf(line, "went back, seen by ");
    put_field(line, back, "by");
    buf_str(line, ": ");
    put_field(line, back, "why");
    buf_str(line, "; put the right store back, or: pelorus registry "
                  "accept-restore");
    say_line(line);
}

static void say_counts(struct buf *line, const cJSON *kinds, const char *title)
{
    const cJSON *kind;

    cJSON_ArrayForEach(kind, kinds)
    {
        if (!cJSON_IsObject(kind))
            continue;
        begin_line(line, title, kind->string);
        put_numbers(line, kind);
        say_line(line);
        title = "";
    }
    if (title[0] != '\0' && cJSON_GetArraySize(kinds) > 0) {
        begin_line(line, title, NULL);
        put_numbers(line, kinds);
        say_line(line);
    }
}

/* Which word lifts what holds it. */
static const char *lifted_by(const char *brake)
{
    return strcmp(brake, "mass") == 0
               ? "; if they are lost indeed: pelorus brake --for 10m"
           : strcmp(brake, "paused") == 0 ? "; pelorus resume"
                                          : "";
}

static void say_engines(struct buf *line, const cJSON *engines)
{
    const cJSON *e;
    const char *title = "failover";

    cJSON_ArrayForEach(e, engines)
    {
        const char *brake = json_str(e, "brake");
        const char *waits = json_str(e, "waits_for");

        if (!cJSON_IsObject(e))
            continue;
        begin_line(line, title, e->string);
        put_field(line, e, "state");
        if (brake != NULL)
            buf_printf(line, ", held: %s%s", brake, lifted_by(brake));
        if (waits != NULL)
            buf_printf(line, ", waits for the lock of %s", waits);
        say_line(line);
        title = "";
    }
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(engines, "paused"))) {
        begin_line(line, "", NULL);
        buf_str(line, "paused for all; pelorus resume");
        say_line(line);
    }
}

static void say_status(const cJSON *cluster)
{
    const cJSON *all =
        cJSON_GetObjectItemCaseSensitive(cluster, "coordinators");
    struct buf line;

    buf_init(&line, 64 * 1024);
    begin_line(&line, "coordinator", NULL);
    put_field(&line, cluster, "self");
    buf_printf(&line, ", of %d", cJSON_GetArraySize(all));
    if (cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(cluster, "stale"))) {
        buf_str(&line, "; what follows is as of ");
        put_field(&line, cluster, "as_of");
    }
    say_line(&line);
    say_registry(&line, cJSON_GetObjectItemCaseSensitive(cluster, "registry"));
    say_counts(&line, cJSON_GetObjectItemCaseSensitive(cluster, "nodes"),
               "nodes");
    say_counts(&line, cJSON_GetObjectItemCaseSensitive(cluster, "work"),
               "work");
    say_engines(&line, cJSON_GetObjectItemCaseSensitive(cluster, "failover"));
    begin_line(&line, "connections", NULL);
    put_field(&line, cluster, "http.connections");
    buf_str(&line, " of ");
    put_field(&line, cluster, "http.max_connections");
    say_line(&line);
    begin_line(&line, "log", NULL);
    put_field(&line, cluster, "log.dropped");
    buf_str(&line, " lines dropped");
    say_line(&line);
    buf_close(&line);
}

int cli_status(struct cli *c, const struct cli_words *w)
{
    int rc;

    if (w->n != 0)
        return CLI_USAGE_EXIT;
    buf_str(&c->path, "/v1/cluster");
    rc = cli_send(c, "GET");
    if (rc != 0 || c->json || c->document == NULL)
        return rc != 0 ? rc : cli_show_object(c);
    say_status(c->document);
    return 0;
}

/* --- settings ---------------------------------------------------------------
 */

/* Send what the body holds and who says so, and show what is set then. */
static int patch(struct cli *c, const struct cli_words *w)
{
    int rc;

    json_put_str(&c->body, "who", cli_who(c, w->who));
    if (w->reason != NULL)
        json_put_str(&c->body, "reason", w->reason);
    json_close(&c->body, '}');
    rc = cli_send(c, "PATCH");
    return rc != 0 ? rc : cli_show_object(c);
}

static int begin_patch(struct cli *c, const struct cli_words *w)
{
    if (w->n != 0)
        return CLI_USAGE_EXIT;
    buf_str(&c->path, "/v1/settings");
    json_open(&c->body, NULL, '{');
    return 0;
}

int cli_settings(struct cli *c, const struct cli_words *w)
{
    int rc;

    if (w->policy != NULL) {
        rc = begin_patch(c, w);
        if (rc == 0)
            json_put_str(&c->body, "policy", w->policy);
        return rc != 0 ? rc : patch(c, w);
    }
    if (w->n != 0 || w->who != NULL || w->reason != NULL)
        return CLI_USAGE_EXIT;
    buf_str(&c->path, "/v1/settings");
    rc = cli_send(c, "GET");
    return rc != 0 ? rc : cli_show_object(c);
}

int cli_pause(struct cli *c, const struct cli_words *w)
{
    int rc = begin_patch(c, w);

    if (rc != 0)
        return rc;
    json_put_bool(&c->body, "paused", true);
    if (w->period != NULL)
        json_put_str(&c->body, "paused_for", w->period);
    return patch(c, w);
}

int cli_resume(struct cli *c, const struct cli_words *w)
{
    int rc = begin_patch(c, w);

    if (rc != 0)
        return rc;
    json_put_bool(&c->body, "paused", false);
    return patch(c, w);
}

int cli_brake(struct cli *c, const struct cli_words *w)
{
    int rc = begin_patch(c, w);

    if (rc != 0 || (w->period == NULL) == !w->undo)
        return CLI_USAGE_EXIT;
    json_put_str(&c->body, "brake_override", w->undo ? "0s" : w->period);
    return patch(c, w);
}

/* --- groups ------------------------------------------------------------------
 */

static int set_group(struct cli *c, const struct cli_words *w)
{
    json_open(&c->body, NULL, '{');
    json_open(&c->body, "addresses", '[');
    for (int i = 2; i < w->n; i++)
        json_put_str(&c->body, NULL, w->word[i]);
    json_close(&c->body, ']');
    json_close(&c->body, '}');
    return cli_send(c, "PUT");
}

int cli_groups(struct cli *c, const struct cli_words *w)
{
    const char *verb = w->n > 0 ? w->word[0] : "";
    int rc;

    buf_str(&c->path, "/v1/groups");
    if (w->n == 0) {
        rc = cli_get_all(c, w->limit);
        return rc != 0 ? rc
                       : cli_show_list(c, "items", group_columns,
                                       ARRAY_LEN(group_columns), "no groups");
    }
    if (w->n < 2)
        return CLI_USAGE_EXIT;
    cli_segment(c, w->word[1]);
    if (strcmp(verb, "set") == 0 && w->n > 2)
        rc = set_group(c, w);
    else if (strcmp(verb, "show") == 0 && w->n == 2)
        rc = cli_send(c, "GET");
    else if (strcmp(verb, "remove") == 0 && w->n == 2)
        rc = cli_send(c, "DELETE");
    else
        return CLI_USAGE_EXIT;
    return rc != 0 ? rc : cli_show_object(c);
}

/* --- a fence -----------------------------------------------------------------
 */

/* Looked up, not POST /v1/fence/check: there an epoch that the registry cannot
 * have given proves that it went back in time, and a person may mistype. */
int cli_fence(struct cli *c, const struct cli_words *w)
{
    const char *state, *owner, *epoch;
    struct buf now, line;
    bool may;
    int rc;

    if (w->n != 2)
        return CLI_USAGE_EXIT;
    epoch = w->word[1];
    epoch += strspn(epoch, "0");
    if (epoch[0] == '\0' || epoch[strspn(epoch, "0123456789")] != '\0') {
        fprintf(stderr, "pelorus: %s is no epoch: that is a number above 0\n",
                w->word[1]);
        return CLI_USAGE_EXIT;
    }
    buf_str(&c->path, "/v1/work");
    cli_segment(c, w->word[0]);
    rc = cli_send(c, "GET");
    if (rc != 0)
        return rc;
    state = json_str(c->document, "state");
    owner = json_str(c->document, "owner");
    buf_init(&now, 64);
    buf_init(&line, 4096);
    put_field(&now, c->document, "epoch");
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
