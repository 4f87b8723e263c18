/*
 * cluster.c - the cluster as a whole, settings, health, and the contract.
 */
#include "http/http_priv.h"

#include "base/log.h"
#include "base/units.h"
#include "coordinator/facts/facts.h"

#include <stdio.h>
#include <string.h>

/* --- the cluster --------------------------------------------------------- */

static void put_counts(struct buf *b, const struct snapshot_census *c)
{
    json_open(b, "nodes", '{');
    for (int kind = 0; kind < NODE_KINDS; kind++) {
        json_open(b, node_kind_name((enum node_kind)kind), '{');
        for (int state = 0; state < NODE_STATES; state++)
            json_put_int(b, node_state_name((enum node_state)state),
                         c->state[kind][state]);
        json_close(b, '}');
    }
    json_close(b, '}');
}

static void put_work_counts(struct buf *b, const struct snapshot *s)
{
    int64_t owned = 0;

    for (int kind = 0; kind < NODE_KINDS; kind++)
        owned += s->census.owned[kind];
    json_open(b, "work", '{');
    json_put_int(b, "assigned", owned);
    json_put_int(b, "unassigned", s->unassigned);
    json_close(b, '}');
}

/* What stands in the registry and is not used. */
static void put_problems(struct buf *b, const struct snapshot *s)
{
    json_open(b, "problems", '{');
    json_put_u64(b, "nodes", s->problem_nodes);
    json_put_u64(b, "keys", s->problem_keys);
    json_open(b, "ignored", '[');
    for (size_t i = 0; i < s->n_problems; i++) {
        json_open(b, NULL, '{');
        json_put_str(b, "key", s->problems[i].key);
        json_put_str(b, "reason", s->problems[i].reason);
        json_close(b, '}');
    }
    json_close(b, ']');
    json_close(b, '}');
}

static void put_engines(struct buf *b, const struct snapshot *s)
{
    json_open(b, "failover", '{');
    for (int kind = 0; kind < NODE_KINDS; kind++) {
        if (s->engine[kind] == NULL)
            continue;
        json_open(b, node_kind_name((enum node_kind)kind), '{');
        json_put_str(b, "state", s->engine[kind]);
        const struct work_cause *brake = work_cause(s->brake[kind]);
        json_put_str(b, "brake",
                     s->brake[kind] != CAUSE_NONE ? brake->word : NULL);
        json_put_str(b, "lift", brake->lift);
        http_put_u64(b, "fence", s->fence[kind]);
        http_put_waits(b, s->lock_holder[kind], s->lock_since[kind]);
        json_put_str(b, "registry_trouble",
                     s->trouble != NULL
                         ? registry_trouble_texts[s->trouble->what].name
                         : NULL);
        json_put_int(b, "pending", s->pending[kind]);
        json_close(b, '}');
    }
    json_put_bool(b, "paused", s->paused);
    http_put_time(b, "paused_until", s->paused_until);
    http_put_time(b, "brake_override_until", s->brake_override_until);
    http_put_text(b, "who", s->settings_who);
    http_put_text(b, "reason", s->settings_reason);
    json_close(b, '}');
}

/* The policy, and what is tried beside it. */
static void put_balancer(struct buf *b, const struct snapshot *s,
                         const struct second_stats *second)
{
    json_open(b, "balancer", '{');
    json_put_str(b, "policy", s->policy);
    if (http_put_object(b, "shadow", second->shadowed)) {
        json_put_str(b, "policy", conf_policy_name(second->shadow));
        json_put_u64(b, "agreed", second->by[second->shadow].agreed);
        json_put_u64(b, "differed", second->by[second->shadow].differed);
        json_put_u64(b, "nobody", second->by[second->shadow].nobody);
        json_close(b, '}');
    }
    if (http_put_object(b, "regret", second->regrets)) {
        json_put_u64(b, "judged", second->judged);
        json_put_u64(b, "elsewhere", second->elsewhere);
        json_put_u64(b, "unjudged", second->unjudged);
        json_close(b, '}');
    }
    json_close(b, '}');
}

static void put_trouble(struct buf *b, const struct snapshot *s)
{
    const struct registry_trouble *t = s->trouble;

    if (!http_put_object(b, "trouble", t != NULL))
        return;
    assert(t != NULL);
    json_put_str(b, "name", registry_trouble_texts[t->what].name);
    json_put_str(b, "title", registry_trouble_texts[t->what].title);
    json_put_str(b, "detail", t->detail);
    json_put_str(b, "advice", registry_trouble_texts[t->what].advice);
    http_put_time(b, "since", s->trouble_since);
    json_put_u64(b, "times", t->times);
    json_close(b, '}');
}

/* Of whoever runs the store; read every minute, by a thread of its own. */
static void put_facts(struct buf *b, struct facts *facts)
{
    struct registry_facts all = {.at = 0};

    if (facts != NULL)
        facts_copy(facts, &all);
    if (!http_put_object(b, "store", all.at > 0))
        return;
    http_put_time(b, "read", all.at);
    json_put_str(b, "where", all.where);
    for (int i = 0; i < REGISTRY_FIGURES_N; i++)
        json_put_num(b, registry_figure_texts[i].name, all.figures[i]);
    json_open(b, "facts", '[');
    for (size_t i = 0; i < all.n; i++) {
        const struct registry_fact *f = &all.facts[i];

        json_open(b, NULL, '{');
        json_put_str(b, "name", f->name);
        json_put_str(b, "verdict", registry_fact_verdict_name(f->verdict));
        json_put_str(b, "text", f->text);
        json_put_str(b, "advice", f->advice[0] != '\0' ? f->advice : NULL);
        json_close(b, '}');
    }
    json_close(b, ']');
    json_close(b, '}');
}

static void put_registry(struct buf *b, const struct snapshot *s,
                         struct facts *facts)
{
    const struct registry_back *back = s->went_back;
    char timeout[UNITS_DURATION_SIZE], place[HISTORY_PLACE_SIZE];

    assert(s->session_timeout_ms >= 0);
    json_open(b, "registry", '{');
    json_put_str(b, "type", s->registry_backend);
    json_put_str(b, "state", registry_state_name(s->registry_state));
    json_put_u64(b, "revision", s->registry_revision);
    json_put_str(b, "session_timeout",
                 units_format_duration(s->session_timeout_ms, timeout));
    json_put_int(b, "session_timeout_ms", s->session_timeout_ms);
    http_put_text(b, "place", s->registry_place);
    if (http_put_object(b, "went_back", back != NULL)) {
        assert(back != NULL);
        json_put_str(b, "known", registry_place_text(&back->known, place));
        json_put_str(b, "now", registry_place_text(&back->now, place));
        json_put_str(b, "by", back->by);
        json_put_str(b, "why", back->why);
        http_put_time(b, "since", s->back_since);
        json_close(b, '}');
    }
    put_trouble(b, s);
    put_facts(b, facts);
    json_close(b, '}');
}

void http_cluster_get(struct http_request *r)
{
    struct snapshot *s = coordinator_snapshot(r->h->coordinator);
    struct second_stats second =
        second_stats(coordinator_second(r->h->coordinator));
    struct buf *b = http_object(r, 200);

    assert(r->method == HTTP_GET);
    json_put_str(b, "self", s->self);
    put_registry(b, s, r->h->facts);
    json_open(b, "coordinators", '[');
    for (size_t i = 0; i < s->n_coordinators; i++) {
        json_open(b, NULL, '{');
        json_put_str(b, "address", s->coordinators[i].address);
        json_put_str(b, "version", s->coordinators[i].version);
        http_put_time(b, "started", s->coordinators[i].started);
        http_put_text(b, "holds_lock", s->coordinators[i].locks);
        json_put_str(b, "renewals", s->coordinators[i].renewals);
        json_close(b, '}');
    }
    json_close(b, ']');
    json_put_str(b, "renewals", s->grouped ? "grouped" : "single");
    put_counts(b, &s->census);
    put_problems(b, s);
    put_work_counts(b, s);
    put_balancer(b, s, &second);
    put_engines(b, s);
    json_open(b, "http", '{');
    json_put_u64(b, "connections", http_conns_count(r->h->conns));
    json_put_u64(b, "max_connections", r->h->conf->max_connections);
    json_close(b, '}');
    json_open(b, "log", '{');
    json_put_u64(b, "dropped", log_dropped());
    json_close(b, '}');
    http_put_index(r, b, s->index);
    http_put_as_of(r->h, b, s);
    json_close(b, '}');
    coordinator_snapshot_release(&s);
}

/* --- settings ------------------------------------------------------------ */

static void settings_done(void *arg, const struct coordinator_reply *reply)
{
    struct http_request *r = http_ended(arg);
    struct buf *b;

    if (r == NULL)
        return;
    if (reply->code != PROBLEM_NONE) {
        http_refuse(r, reply->code, &reply->err, 0);
    } else {
        const struct settings *s = reply->settings;

        b = http_object(r, 200);
        json_put_bool(b, "paused", s->paused);
        http_put_time(b, "paused_until", s->paused_until);
        http_put_time(b, "brake_override_until", s->brake_override_until);
        http_put_text(b, "policy", s->policy);
        http_put_text(b, "shadow", s->shadow);
        http_put_text(b, "who", s->who);
        http_put_text(b, "reason", s->reason);
        json_close(b, '}');
    }
    http_answer_write(r, &reply->wrote);
}

void http_settings_get(struct http_request *r)
{
    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_GET);
    coordinator_settings_get(r->h->coordinator, settings_done, r);
}

static bool member_duration(struct http_request *r, const char *name,
                            int64_t *out)
{
    const char *text;
    struct err err;

    assert(name != NULL);
    assert(r->json != NULL);
    if (!http_member(r, name, &text))
        return false;
    return text == NULL || units_duration(text, out, &err) == 0 ||
           http_problem(r, PROBLEM_INVALID_VALUE, "%s: %s", name, err.msg);
}

static bool read_patch(struct http_request *r, struct settings_patch *p)
{
    bool paused;

    assert(r->json != NULL);
    assert(r->handed);
    p->paused = -1;
    p->brake_override_ms = -1;
    if (!http_member_bool(r, "paused", &paused))
        return false;
    if (json_get(r->json, "paused") != NULL)
        p->paused = paused;
    if (!member_duration(r, "paused_for", &p->paused_for_ms))
        return false;
    if (json_str(r->json, "paused_for") != NULL && p->paused_for_ms == 0)
        return http_problem(r, PROBLEM_INVALID_VALUE,
                            "paused_for: 0s is no time; without it a pause "
                            "lasts until it is lifted (paused false)");
    if (p->paused != 1 && json_get(r->json, "paused_for") != NULL)
        return http_problem(r, PROBLEM_INVALID_VALUE,
                            "paused_for: only beside \"paused\": true");
    return member_duration(r, "brake_override", &p->brake_override_ms) &&
           http_member(r, "policy", &p->policy) &&
           http_member(r, "shadow", &p->shadow) &&
           http_member(r, "who", &p->who) &&
           http_member(r, "reason", &p->reason);
}

void http_settings_patch(struct http_request *r)
{
    struct settings_patch patch = {0};

    assert(r->handed);
    assert(!r->refused);
    assert(r->method == HTTP_PATCH);
    if (!read_patch(r, &patch))
        http_answer(r);
    else
        coordinator_settings_patch(r->h->coordinator, &patch, settings_done, r);
}

/* --- health -------------------------------------------------------------- */

static void plain(struct http_request *r, unsigned status, const char *text)
{
    assert(text != NULL);
    assert(status == 200 || status == 503);
    http_json(r, status);
    r->content_type = "text/plain; charset=utf-8";
    buf_printf(&r->out, "%s\n", text);
}

void http_livez(struct http_request *r)
{
    if (loop_busy_ms(r->h->loop) < HTTP_LOOP_STUCK_MS)
        plain(r, 200, "ok");
    else
        plain(r, 503, "the loop does not turn; restart this process");
}

/* A registry that missed a round trip makes what we say stale, and us no less
 * ready: picks go on, and every other coordinator is in the same place. */
void http_readyz(struct http_request *r)
{
    struct snapshot *s = coordinator_snapshot(r->h->coordinator);
    bool turns = loop_busy_ms(r->h->loop) <= HTTP_LOOP_LATE_MS;

    if (http_conns_full(r->h->conns))
        plain(r, 503, "connections: all are taken (http.max-connections)");
    else if (!turns)
        plain(r, 503, "loop: it does not turn");
    else if (s->ready)
        plain(r, 200, "ok");
    else
        plain(r, 503, s->unready);
    coordinator_snapshot_release(&s);
}

/* openapi.yaml as it is in the source tree, put into the program by the
 * assembler, so that the contract and the program cannot part. */
__asm__(".section .rodata\n"
        ".global http_openapi_document\n"
        "http_openapi_document:\n"
        ".incbin \"http/openapi.yaml\"\n"
        ".byte 0\n"
        ".previous\n");
extern const char http_openapi_document[];

void http_openapi(struct http_request *r)
{
    http_json(r, 200);
    r->content_type = "application/yaml";
    buf_str(&r->out, http_openapi_document);
}

void http_root(struct http_request *r)
{
    plain(r, 200,
          "Pelorus\n"
          "  /v1/cluster       the cluster at a glance\n"
          "  /v1/nodes         who is in it, and how loaded\n"
          "  /v1/workers/best  who takes the next task\n"
          "  /v1/work          who owns what\n"
          "  /v1/failovers     what was moved, and why that was safe\n"
          "  /metrics          figures for Prometheus\n"
          "  /openapi.yaml     everything there is");
}
