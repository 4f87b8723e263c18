/*
 * node_identity.c - the rule of node_identity.h, and the text of a
 * registration.
 *
 * The body is the node's own and is stored as it was sent; only the members
 * that are ours are put in their place. Whole numbers are read from the text:
 * a startupTime that was rounded would be another process.
 */
#include "cluster/node_identity.h"

#include "base/planted.h"

#include <string.h>

/* JavaScript's largest exact whole number, as in all our JSON. */
#define EXACT_MAX ((INT64_C(1) << 53) - 1)
/* What a client may say: whoever takes over is given a later one, which must
 * still be exact, for it would be no identity otherwise. */

/* --- the rule ------------------------------------------------------------- */

static bool brings(const char *instance, const struct node_claim *standing)
{
    return instance[0] != '\0' && strcmp(instance, standing->instance) == 0;
}

static enum node_ruling by_startup(const struct node_claim *ask,
                                   const struct node_claim *standing,
                                   const char **why)
{
    int64_t mine = ask->process.startup_time;
    int64_t theirs = standing->process.startup_time;

    if (ask->has_startup && mine > theirs)
        return NODE_RULES_REPLACE;
    *why = "a later process is registered at this address";
    if (ask->has_startup && mine < theirs)
        return NODE_RULES_TAKEN;
    *why = "another process is registered at this address";
    if (ask->has_process_id &&
        ask->process.process_id != standing->process.process_id)
        return NODE_RULES_TAKEN;
    *why = "the process that is registered at this address brings its "
           "instance along, and this request does not";
    return standing->carried ? NODE_RULES_TAKEN : NODE_RULES_RENEW;
}

/* The holder, unless the body says that it is another process by now. */
static enum node_ruling by_instance(const struct node_claim *ask,
                                    const struct node_claim *standing,
                                    const char **why)
{
    int64_t mine = ask->process.startup_time;

    if (!ask->has_startup || mine == standing->said ||
        mine == standing->process.startup_time)
        return NODE_RULES_RENEW;
    *why = "a later process is registered at this address";
    return mine > standing->process.startup_time ? NODE_RULES_REPLACE
                                                 : NODE_RULES_TAKEN;
}

static enum node_ruling rule(const struct node_claim *ask,
                             const struct node_claim *standing,
                             const char *fresh, const char **why)
{
    *why = "";
    if (!standing->stands)
        return NODE_RULES_NEW;
    if (!standing->process.known)
        return NODE_RULES_REPLACE; /* of nobody that we could name */
    if (brings(fresh, standing))
        return NODE_RULES_RENEW;
    if (brings(ask->instance, standing))
        return by_instance(ask, standing, why);
    if (ask->instance[0] != '\0' && standing->instance[0] != '\0') {
        *why = "this registration was replaced by another process's";
        return NODE_RULES_TAKEN;
    }
    return by_startup(ask, standing, why);
}

static void take(struct node_claim *out, const struct node_claim *ask,
                 const char *fresh, wall_ms wall)
{
    *out = *ask;
    out->stands = true;
    out->process.known = true;
    if (!ask->has_startup)
        out->process.startup_time = wall;
    out->said = out->process.startup_time;
    out->carried = false;
    memcpy(out->instance, fresh, strlen(fresh) + 1);
}

enum node_ruling node_judge(const struct node_claim *ask,
                            const struct node_claim *standing,
                            const char *fresh, bool takeover, wall_ms wall,
                            struct node_claim *out, const char **why)
{
    enum node_ruling ruling = rule(ask, standing, fresh, why);

    assert(fresh[0] != '\0' && strlen(fresh) <= NODE_INSTANCE_MAX);
    switch (ruling) {
    case NODE_RULES_RENEW:
        *out = *standing;
        if (out->instance[0] == '\0')
            memcpy(out->instance, fresh, strlen(fresh) + 1);
        out->carried = out->carried || brings(ask->instance, standing);
        return ruling;
    case NODE_RULES_TAKEN:
        if (!takeover)
            return ruling;
        take(out, ask, fresh, wall);
        /* never an earlier process than the one it replaces */
        if (out->process.startup_time <= standing->process.startup_time &&
            !planted(PLANTED_OLDER_OVERWRITES))
            out->process.startup_time = standing->process.startup_time + 1;
        return NODE_RULES_REPLACE;
    case NODE_RULES_NEW:
        take(out, ask, fresh, wall);
        /* its registration had run out: it is known by it all the same */
        if (ask->instance[0] != '\0') {
            memcpy(out->instance, ask->instance, sizeof(out->instance));
            out->carried = true;
        }
        return ruling;
    case NODE_RULES_REPLACE:
        take(out, ask, fresh, wall);
        return ruling;
    }
    assert(false);
    return ruling;
}

/* --- as text -------------------------------------------------------------- */

static bool says(const struct json_member *m, const char *key)
{
    return json_member_is(m, key) && *m->value.s != 'n'; /* null: not said */
}

static bool take_text(struct json_span value, char *out, size_t size)
{
    cJSON *text = cJSON_ParseWithLength(value.s, (size_t)(value.end - value.s));
    const char *s = cJSON_GetStringValue(text);
    bool fits = s != NULL && strlen(s) < size;

    if (fits)
        memcpy(out, s, strlen(s) + 1);
    cJSON_Delete(text);
    return fits;
}

/* It becomes a part of a key. */
static void take_registration(struct node_claim *out, struct json_span value)
{
    char *s = out->registration;

    if (!take_text(value, s, sizeof(out->registration)) ||
        strspn(s, "0123456789abcdef") < strlen(s))
        s[0] = '\0';
}

void node_claim_read(struct node_claim *out, const char *text, size_t len)
{
    bool startup = false, id = true;
    struct json_member m;
    struct json_span t;

    memset(out, 0, sizeof(*out));
    out->stands = true;
    json_members(&t, text, len);
    while (json_member(&t, &m))
        if (says(&m, "startupTime"))
            startup = json_whole(m.value, &out->process.startup_time) &&
                      out->process.startup_time > 0;
        else if (says(&m, "processId"))
            id = json_whole(m.value, &out->process.process_id);
        else if (says(&m, "saidStartupTime"))
            (void)!json_whole(m.value, &out->said);
        else if (says(&m, "instance"))
            (void)!take_text(m.value, out->instance, sizeof(out->instance));
        else if (says(&m, "registration"))
            take_registration(out, m.value);
        else if (says(&m, "carried"))
            out->carried = *m.value.s == 't';
    out->process.known = startup && id;
    if (!out->process.known)
        out->process = (struct process){0};
    if (out->said == 0)
        out->said = out->process.startup_time;
}

int node_check_instance(const char *instance, struct err *err)
{
    size_t len = strlen(instance);

    if (len == 0 || len > NODE_INSTANCE_MAX ||
        strspn(instance, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789._-") < len)
        return (int)err_set(err, ERR_INVALID,
                            "instance: 1 to %d of A-Z a-z 0-9 . _ -, as the "
                            "answer to the first PUT gave it",
                            NODE_INSTANCE_MAX);
    return 0;
}

static int ask_member(struct node_claim *out, const struct json_member *m,
                      struct err *err)
{
    struct process *p = &out->process;

    if (says(m, "startupTime")) {
        out->has_startup = json_whole(m->value, &p->startup_time) &&
                           p->startup_time > 0 &&
                           p->startup_time <= NODE_STARTUP_MAX;
        if (!out->has_startup)
            return (int)err_set(err, ERR_INVALID,
                                "startupTime: a whole number from 1 to "
                                "9000000000000000 is expected");
    } else if (says(m, "processId")) {
        out->has_process_id = json_whole(m->value, &p->process_id) &&
                              p->process_id >= -EXACT_MAX &&
                              p->process_id <= EXACT_MAX;
        if (!out->has_process_id)
            return (int)err_set(err, ERR_INVALID,
                                "processId: a whole number within 2^53 - 1 is "
                                "expected");
    } else if (says(m, "instance")) {
        if (!take_text(m->value, out->instance, sizeof(out->instance)))
            out->instance[0] = '\0'; /* refused by the check */
        return node_check_instance(out->instance, err);
    }
    return 0;
}

int node_claim_ask(struct node_claim *out, const char *body, size_t len,
                   struct err *err)
{
    struct json_member m;
    struct json_span t;
    int rc = 0;

    memset(out, 0, sizeof(*out));
    json_members(&t, body, len);
    while (rc == 0 && json_member(&t, &m))
        rc = ask_member(out, &m, err);
    return rc;
}

static bool is_ours(const struct json_member *m)
{
    static const char *const ours[] = {
        "startupTime", "processId",       "ttl",         "instance",
        "carried",     "saidStartupTime", "registration"};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (json_member_is(m, ours[i]))
            return true;
    return false;
}

void node_claim_write(struct buf *out, const char *body, size_t len,
                      const struct node_claim *claim, int64_t ttl_ms)
{
    struct json_member m;
    struct json_span t;

    assert(claim->process.known);
    json_open(out, NULL, '{');
    json_put_int(out, "startupTime", claim->process.startup_time);
    json_put_int(out, "processId", claim->process.process_id);
    json_put_int(out, "ttl", ttl_ms);
    json_put_str(out, "instance", claim->instance);
    if (claim->registration[0] != '\0')
        json_put_str(out, "registration", claim->registration);
    if (claim->carried)
        json_put_bool(out, "carried", true);
    if (claim->said != claim->process.startup_time)
        json_put_int(out, "saidStartupTime", claim->said);
    json_members(&t, body, len);
    while (json_member(&t, &m)) {
        if (is_ours(&m))
            continue;
        buf_char(out, ',');
        buf_add(out, m.key.s, (size_t)(m.value.end - m.key.s));
    }
    json_close(out, '}');
}
