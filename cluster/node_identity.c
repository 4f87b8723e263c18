/*
 * node_identity.c - the rule of node_identity.h, and the text of a
 * registration.
 *
 * The body is the node's own and is stored as it was sent; only the members
 * that are ours are put in their place. Whole numbers are exact: a startupTime
 * that was rounded would be another process.
 */
#include "cluster/node_identity.h"

#include "base/planted.h"
#include "base/rand.h"
#include "cluster/heartbeat.h"

#include <string.h>

/* JavaScript's largest exact whole number, as in all our JSON. */
#define EXACT_MAX ((INT64_C(1) << 53) - 1)
/* What a client may say: whoever takes over is given a later one, which must
 * still be exact, for it would be no identity otherwise. */

/* --- the rule ------------------------------------------------------------ */

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

    assert(standing->exists);
    assert(standing->process.known);
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
    return standing->confirmed ? NODE_RULES_TAKEN : NODE_RULES_RENEW;
}

/* The holder, unless the body says that it is another process by now. */
static enum node_ruling by_instance(const struct node_claim *ask,
                                    const struct node_claim *standing,
                                    const char **why)
{
    int64_t mine = ask->process.startup_time;

    assert(standing->exists);
    assert(brings(ask->instance, standing));
    if (!ask->has_startup || mine == standing->body_startup ||
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
    if (!standing->exists)
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
                 const struct node_claim *standing, const char *fresh,
                 wall_ms wall)
{
    *out = *ask;
    out->exists = true;
    out->generation = 1;
    if (standing->exists) { /* in the same life of the key */
        assert(standing->generation > 0);
        out->generation = standing->generation + 1;
        assert(out->generation > 1);
    }
    out->process.known = true;
    if (!ask->has_startup)
        out->process.startup_time = wall;
    out->body_startup = out->process.startup_time;
    out->confirmed = false;
    memcpy(out->instance, fresh, strlen(fresh) + 1);
    assert(out->process.known);
    assert(out->exists);
}

enum node_ruling node_judge(const struct node_claim *ask,
                            const struct node_claim *standing,
                            const char *fresh, bool takeover, wall_ms wall,
                            struct node_claim *out, const char **why)
{
    enum node_ruling ruling = rule(ask, standing, fresh, why);

    assert(fresh[0] != '\0' && strlen(fresh) <= NODE_INSTANCE_MAX);
    if (ruling == NODE_RULES_RENEW) {
        *out = *standing;
        if (out->instance[0] == '\0')
            memcpy(out->instance, fresh, strlen(fresh) + 1);
        out->confirmed = out->confirmed || brings(ask->instance, standing);
        out->doubted = out->leased = false;
        /* where it is renewed in groups somebody may still go by it who has not
         * heard of a shorter one */
        if (standing->leased && out->watched_ms < standing->ttl_ms)
            out->watched_ms = standing->ttl_ms;
        return ruling;
    }
    if (ruling == NODE_RULES_TAKEN && !takeover)
        return ruling;
    take(out, ask, standing, fresh, wall);
    if (ruling == NODE_RULES_NEW && ask->instance[0] != '\0') {
        /* its registration had run out: it is known by it all the same */
        memcpy(out->instance, ask->instance, sizeof(out->instance));
        out->confirmed = true;
    }
    if (ruling != NODE_RULES_TAKEN)
        return ruling;
    /* never an earlier process than the one it replaces */
    if (out->process.startup_time <= standing->process.startup_time &&
        !planted(PLANTED_OLDER_OVERWRITES))
        out->process.startup_time = standing->process.startup_time + 1;
    return NODE_RULES_REPLACE;
}

/* --- as text ------------------------------------------------------------- */

static void take_text(const struct json *value, char *out, size_t size)
{
    const char *s = json_string(value);

    if (s != NULL && strlen(s) < size)
        memcpy(out, s, strlen(s) + 1);
    else
        out[0] = '\0';
    assert(strlen(out) < size);
}

/* It becomes a part of a key. */
static void take_registration(struct node_claim *out, const struct json *value)
{
    char *s = out->registration;

    take_text(value, s, sizeof(out->registration));
    if (strspn(s, "0123456789abcdef") < strlen(s))
        s[0] = '\0';
}

static void read_renewals(struct node_claim *out, const struct json *o)
{
    struct heartbeat_renewals said;

    heartbeat_read_renewals(&said, o);
    out->ttl_ms = said.ttl_ms;
    out->leased = said.lease_ms > 0;
    out->watched_ms = said.watched_ms;
    out->generation = said.generation;
    out->doubted = said.doubted;
}

static void read_object(struct node_claim *out, const struct json *o)
{
    struct process *p = &out->process;
    const struct json *id;

    id = json_given(o, "processId");
    p->known = json_whole(json_get(o, "startupTime"), &p->startup_time) &&
               p->startup_time > 0 &&
               (id == NULL || json_whole(id, &p->process_id));
    if (!p->known)
        *p = (struct process){0};
    (void)!json_whole(json_get(o, "saidStartupTime"), &out->body_startup);
    take_text(json_get(o, "instance"), out->instance, sizeof(out->instance));
    take_registration(out, json_get(o, "registration"));
    out->confirmed = json_true(json_get(o, "carried"));
    read_renewals(out, o);
    if (out->body_startup == 0)
        out->body_startup = p->startup_time;
    assert(out->process.known || out->process.startup_time == 0);
}

/* `steady` NULL: it is not asked for. */
static void read_text(struct node_claim *out, const char *text, size_t len,
                      uint64_t *steady)
{
    const struct json *o = NULL;

    memset(out, 0, sizeof(*out));
    out->exists = true;
    out->generation = 1;
    if (json_parse(text, len, &o, NULL) != 0)
        return;
    read_object(out, o);
    if (steady != NULL && json_is(o, JSON_OBJECT))
        *steady = node_claim_steady(o);
    json_free(o);
}

void node_claim_read(struct node_claim *out, const char *text, size_t len)
{
    read_text(out, text, len, NULL);
}

uint64_t node_claim_read_steady(struct node_claim *out, const char *text,
                                size_t len)
{
    uint64_t steady = 0;

    read_text(out, text, len, &steady);
    return steady;
}

int node_check_instance(const char *instance, struct err *err)
{
    size_t len = strlen(instance);

    if (len == 0 || len > NODE_INSTANCE_MAX ||
        strspn(instance, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789._-") < len)
        return err_set(err, ERR_INVALID,
                       "instance: 1 to %d of A-Z a-z 0-9 . _ -, as the "
                       "answer to the first PUT gave it",
                       NODE_INSTANCE_MAX);
    return 0;
}

int node_claim_ask(struct node_claim *out, const struct json *body,
                   struct err *err)
{
    struct process *p = &out->process;
    const struct json *startup = json_given(body, "startupTime");
    const struct json *id = json_given(body, "processId");
    const struct json *instance = json_given(body, "instance");

    assert(json_is(body, JSON_OBJECT));
    memset(out, 0, sizeof(*out));
    out->has_startup = startup != NULL;
    out->has_process_id = id != NULL;
    if (startup != NULL &&
        (!json_whole(startup, &p->startup_time) || p->startup_time <= 0 ||
         p->startup_time > NODE_STARTUP_MAX))
        return err_set(err, ERR_INVALID,
                       "startupTime: a whole number from 1 to "
                       "9000000000000000 is expected");
    if (id != NULL && (!json_whole(id, &p->process_id) ||
                       p->process_id < -EXACT_MAX || p->process_id > EXACT_MAX))
        return err_set(err, ERR_INVALID,
                       "processId: a whole number within 2^53 - 1 is "
                       "expected");
    if (instance == NULL)
        return 0;
    take_text(instance, out->instance, sizeof(out->instance));
    return node_check_instance(out->instance, err);
}

static bool is_ours(const char *key)
{
    static const char *const ours[] = {
        "startupTime", "processId",       "ttl",          "instance",
        "carried",     "saidStartupTime", "registration", HEARTBEAT_RENEWALS};

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (strcmp(key, ours[i]) == 0)
            return true;
    return false;
}

void node_claim_others(struct buf *out, const struct json *body)
{
    const struct json *m;

    assert(json_is(body, JSON_OBJECT));
    json_each (m, body)
        if (!is_ours(m->key)) {
            buf_char(out, ',');
            buf_add(out, m->from, (size_t)(m->text + m->len - m->from));
        }
}

uint64_t node_claim_steady(const struct json *body)
{
    const struct json *m;
    uint64_t hash = 0;

    assert(json_is(body, JSON_OBJECT));
    json_each (m, body)
        if (!is_ours(m->key) && !heartbeat_changes(m->key))
            hash =
                hash_bytes(m->from, (size_t)(m->text + m->len - m->from), hash);
    return hash;
}

static void write_renewals(struct buf *out, const struct node_claim *claim,
                           int64_t ttl_ms)
{
    if (!claim->leased && claim->watched_ms <= ttl_ms && claim->generation == 1)
        return;
    json_open(out, HEARTBEAT_RENEWALS, '{');
    if (claim->leased)
        json_put_int(out, "lease", ttl_ms);
    if (claim->watched_ms > ttl_ms)
        json_put_int(out, "watched", claim->watched_ms);
    if (claim->generation > 1)
        json_put_int(out, "generation", claim->generation);
    json_close(out, '}');
}

void node_claim_write(struct buf *out, const char *others,
                      const struct node_claim *claim, int64_t ttl_ms)
{
    assert(claim->process.known);
    assert(claim->generation > 0 && !claim->doubted);
    json_open(out, NULL, '{');
    json_put_int(out, "startupTime", claim->process.startup_time);
    json_put_int(out, "processId", claim->process.process_id);
    if (!claim->leased)
        json_put_int(out, "ttl", ttl_ms);
    write_renewals(out, claim, ttl_ms);
    json_put_str(out, "instance", claim->instance);
    if (claim->registration[0] != '\0')
        json_put_str(out, "registration", claim->registration);
    if (claim->confirmed)
        json_put_bool(out, "carried", true);
    if (claim->body_startup != claim->process.startup_time)
        json_put_int(out, "saidStartupTime", claim->body_startup);
    buf_str(out, others);
    json_close(out, '}');
}

/* Behind the bracket that opens `in`, or a member of its own in front of all.
 */
static void add_mark(struct buf *out, const char *text, size_t len,
                     const struct json *root, const struct json *in)
{
    bool has = json_is(in, JSON_OBJECT);
    size_t at = (size_t)((has ? in : root)->text - text) + 1;

    assert(at <= len && text[at - 1] == '{');
    buf_add(out, text, at);
    buf_str(out, has ? "\"doubted\":true"
                     : "\"" HEARTBEAT_RENEWALS "\":{\"doubted\":true}");
    if (json_first(has ? in : root) != NULL)
        buf_char(out, ',');
    buf_add(out, text + at, len - at);
}

bool node_claim_doubt(struct buf *out, const char *text, size_t len)
{
    const struct json *o = NULL, *ours;
    bool marks = false;

    if (json_parse(text, len, &o, NULL) != 0)
        return false;
    ours = json_get(o, HEARTBEAT_RENEWALS);
    marks = json_is(o, JSON_OBJECT) && !json_true(json_get(ours, "doubted"));
    if (marks)
        add_mark(out, text, len, o, ours);
    json_free(o);
    return marks;
}
