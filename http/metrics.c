/*
 * metrics.c - GET /metrics: Prometheus' text format, version 0.0.4.
 *
 * Written from the snapshot and from counters that any thread may read, on
 * libmicrohttpd's thread: the loop is not asked, so an answer comes while it is
 * stuck, too. Nothing is said of one node or one worker: the answer is as long
 * for ten thousand of them as for ten. Groups have names, and the first
 * METRICS_GROUPS_MAX are told.
 *
 * A counter begins at 0 with the process, and a series that can be named in
 * advance is there from the start, so that rate() sees its first step.
 */
#include "http/http_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "coordinator/facts/facts.h"
#include "coordinator/journal/journal.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define METRICS_GROUPS_MAX 1000

/* --- the format ---------------------------------------------------------- */

static void family(struct buf *b, const char *name, const char *type,
                   const char *help)
{
    assert(name[0] != '\0');
    assert(help[0] != '\0');
    buf_printf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* In a label's value the backslash, the quote and the end of line are escaped.
 */
static void put_label(struct buf *b, char before, const char *key,
                      const char *value)
{
    buf_printf(b, "%c%s=\"", before, key);
    for (const char *s = value; *s != '\0'; s++)
        if (*s == '\n')
            buf_str(b, "\\n");
        else if (*s == '\\' || *s == '"')
            buf_printf(b, "\\%c", *s);
        else
            buf_char(b, *s);
    buf_char(b, '"');
}

/* With up to two labels; a key of NULL: none. */
static void sample(struct buf *b, const char *name, const char *key,
                   const char *word, const char *key2, const char *word2,
                   double value)
{
    assert(key != NULL || key2 == NULL);
    assert(isfinite(value));
    buf_str(b, name);
    if (key != NULL) {
        put_label(b, '{', key, word);
        if (key2 != NULL)
            put_label(b, ',', key2, word2);
        buf_char(b, '}');
    }
    buf_printf(
        b, value == floor(value) && fabs(value) < 1e15 ? " %.0f\n" : " %.15g\n",
        value);
}

/* A family of one sample without labels. */
static void single(struct buf *b, const char *name, const char *type,
                   const char *help, double value)
{
    family(b, name, type, help);
    sample(b, name, NULL, NULL, NULL, NULL, value);
}

/* `n` of the samples of each bucket by itself; upper() is its upper bound, but
 * for the last one's, which has none. They are told added up. */
static void histogram(struct buf *b, const char *name, const char *help,
                      const uint64_t *n, int buckets, double (*upper)(int),
                      double sum)
{
    char series[96], le[32];
    uint64_t so_far = 0;

    assert(strlen(name) + sizeof("_bucket") <= sizeof(series));
    family(b, name, "histogram", help);
    (void)snprintf(series, sizeof(series), "%s_bucket", name);
    for (int i = 0; i < buckets; i++) {
        so_far += n[i];
        if (i < buckets - 1)
            (void)snprintf(le, sizeof(le), "%.9g", upper(i));
        else
            (void)snprintf(le, sizeof(le), "+Inf");
        sample(b, series, "le", le, NULL, NULL, (double)so_far);
    }
    (void)snprintf(series, sizeof(series), "%s_sum", name);
    sample(b, series, NULL, NULL, NULL, NULL, sum);
    (void)snprintf(series, sizeof(series), "%s_count", name);
    sample(b, series, NULL, NULL, NULL, NULL, (double)so_far);
}

/* --- picks --------------------------------------------------------------- */

static void put_picks(struct buf *b, const struct balancer_stats *s)
{
    const char *name = "pelorus_pick_requests_failed_total";

    single(b, "pelorus_picks_total", "counter",
           "Picks given, to clients and for work items, without peeks.",
           (double)s->picks);
    single(b, "pelorus_picks_done_total", "counter",
           "Picks whose task was said to be done.", (double)s->done);
    single(b, "pelorus_picks_refused_total", "counter",
           "Picks that their worker refused.", (double)s->refused);
    single(b, "pelorus_picks_unknown_total", "counter",
           "Picks said to be over that are not known (too old, of another "
           "coordinator, said twice).",
           (double)s->unknown_picks);
    family(b, name, "counter",
           "Requests for a worker that named nobody, by why.");
    for (int code = BALANCER_OK + 1; code < BALANCER_CODES; code++) {
        enum problem p = coordinator_pick_problem((enum balancer_code)code);

        sample(b, name, "code", problem_code(p), NULL, NULL,
               (double)s->why_empty[code]);
    }
}

/* --- what is tried beside ------------------------------------------------ */

static void put_shadow(struct buf *b, const struct second_stats *s)
{
    const char *name = "pelorus_shadow_info";

    family(b, name, "gauge",
           "1 for the policy of the shadow, if there is one.");
    if (s->shadowed)
        sample(b, name, "policy", conf_policy_name(s->shadow), NULL, NULL, 1);
    name = "pelorus_shadow_picks_total";
    family(b, name, "counter",
           "Picks that a shadow's policy was asked for, by whether it named "
           "the same worker.");
    for (int i = 0; i < CONF_POLICIES; i++) {
        const char *policy = conf_policy_name((enum conf_policy)i);

        sample(b, name, "policy", policy, "agreed", "yes",
               (double)s->by[i].agreed);
        sample(b, name, "policy", policy, "agreed", "no",
               (double)s->by[i].differed);
    }
    name = "pelorus_shadow_picks_nobody_total";
    family(b, name, "counter",
           "Of those that it did not agree with: it had nobody to name.");
    for (int i = 0; i < CONF_POLICIES; i++)
        sample(b, name, "policy", conf_policy_name((enum conf_policy)i), NULL,
               NULL, (double)s->by[i].nobody);
}

static void put_regret(struct buf *b, const struct second_stats *s)
{
    single(b, "pelorus_pick_regret_total", "counter",
           "Picks that would have gone elsewhere with the next report of each "
           "worker in hand.",
           (double)s->elsewhere);
    single(b, "pelorus_pick_regret_judged_total", "counter",
           "Picks that were decided again so.", (double)s->judged);
    single(b, "pelorus_pick_regret_unjudged_total", "counter",
           "Picks that were not: too many to wait with, or too early.",
           (double)s->unjudged);
    single(b, "pelorus_shadow_events_lost_total", "counter",
           "Events that neither shadow nor regret has heard of, as there were "
           "too many at once.",
           (double)s->lost);
}

/* --- the cluster --------------------------------------------------------- */

static void by_kind(struct buf *b, const char *name, const char *type,
                    const char *help, const int64_t values[NODE_KINDS])
{
    family(b, name, type, help);
    for (int k = 0; k < NODE_KINDS; k++)
        sample(b, name, "kind", node_kind_name((enum node_kind)k), NULL, NULL,
               (double)values[k]);
}

static void put_nodes(struct buf *b, const struct snapshot *s)
{
    const char *name = "pelorus_nodes";
    const struct snapshot_census *c = &s->census;

    family(b, name, "gauge", "Nodes, by kind and state.");
    for (int k = 0; k < NODE_KINDS; k++)
        for (int state = 0; state < NODE_STATES; state++)
            sample(b, name, "kind", node_kind_name((enum node_kind)k), "state",
                   node_state_name((enum node_state)state),
                   (double)c->state[k][state]);
    by_kind(b, "pelorus_nodes_busy", "gauge", "Nodes that are up and say BUSY.",
            c->busy);
    by_kind(b, "pelorus_nodes_degraded", "gauge",
            "Nodes that are up and whose last heartbeat was refused, or some "
            "of it.",
            c->degraded);
    by_kind(b, "pelorus_nodes_cordoned", "gauge", "Nodes that are cordoned.",
            c->cordoned);
    by_kind(b, "pelorus_work_items_owned", "gauge",
            "Work items that a node of this kind owns.", c->owned);
    single(b, "pelorus_work_items_unassigned", "gauge",
           "Work items that are waiting or held.", s->unassigned);
    single(b, "pelorus_workers_slots", "gauge",
           "Slots that workers which are up have told.", (double)c->slots);
    name = "pelorus_workers_reports";
    family(b, name, "gauge",
           "Workers that are up, by the age of their last report: late (picked "
           "when nobody else is left), stale (not picked).");
    sample(b, name, "report", "fresh", NULL, NULL,
           (double)(c->state[NODE_WORKER][NODE_UP] - c->late - c->stale));
    sample(b, name, "report", "late", NULL, NULL, (double)c->late);
    sample(b, name, "report", "stale", NULL, NULL, (double)c->stale);
}

static void put_groups(struct buf *b, const struct snapshot *s)
{
    const char *name = "pelorus_group_workers";
    size_t n =
        s->n_groups < METRICS_GROUPS_MAX ? s->n_groups : METRICS_GROUPS_MAX;

    assert(n > 0 && s->group_up != NULL);
    single(b, "pelorus_groups", "gauge",
           "Groups that are defined or that a worker names.",
           (double)s->n_groups);
    family(b, name, "gauge",
           "Workers of a group that are up; of the first 1000 groups.");
    for (size_t i = 0; i < n; i++)
        sample(b, name, "group", s->groups[i].name, NULL, NULL,
               (double)s->group_up[i]);
}

static void put_registry(struct buf *b, const struct snapshot *s)
{
    const char *name = "pelorus_registry_state";

    family(b, name, "gauge", "1 for the state that the registry is in.");
    for (int i = 0; i <= REGISTRY_WENT_BACK; i++)
        sample(b, name, "state", registry_state_name((enum registry_state)i),
               NULL, NULL, s->registry_state == (enum registry_state)i);
    name = "pelorus_registry_trouble";
    family(b, name, "gauge",
           "1: the registry does not serve us, and why; no sample: it does.");
    if (s->trouble != NULL)
        sample(b, name, "trouble",
               registry_trouble_texts[s->trouble->what].name, NULL, NULL, 1);
    single(b, "pelorus_registry_session_timeout_seconds", "gauge",
           "The session's timeout as the registry gave it.",
           (double)s->session_timeout_ms / 1000);
    name = "pelorus_registry_problems";
    family(b, name, "gauge", "What stands in the registry and is not used.");
    sample(b, name, "of", "keys", NULL, NULL, (double)s->problem_keys);
    sample(b, name, "of", "nodes", NULL, NULL, (double)s->problem_nodes);
}

/* What is not known has no sample. */
static void put_facts(struct buf *b, struct facts *facts)
{
    struct registry_facts all = {.at = 0};
    const char *name = "pelorus_registry_fact";
    wall_ms age;

    if (facts != NULL)
        facts_copy(facts, &all);
    for (int i = 0; i < REGISTRY_FIGURES_N; i++) {
        const struct registry_figure_text *f = &registry_figure_texts[i];

        family(b, f->metric, "gauge", f->help);
        if (all.at > 0 && isfinite(all.figures[i]))
            sample(b, f->metric, NULL, NULL, NULL, NULL, all.figures[i]);
    }
    family(b, name, "gauge",
           "1 for the verdict on each fact of the store: ok, unknown, warning "
           "or problem; /v1/cluster says more, and what to do.");
    for (size_t i = 0; i < all.n; i++)
        sample(b, name, "fact", all.facts[i].name, "verdict",
               registry_fact_verdict_name(all.facts[i].verdict), 1);
    name = "pelorus_registry_facts_age_seconds";
    family(b, name, "gauge", "How long ago these were read.");
    age = clock_wall_ms() - all.at;
    if (all.at > 0)
        sample(b, name, NULL, NULL, NULL, NULL,
               age > 0 ? (double)age / 1000 : 0);
}

static void put_health(struct buf *b, const struct http *h,
                       const struct snapshot *s)
{
    wall_ms age = s->as_of > 0 ? clock_wall_ms() - s->as_of : 0;

    single(b, "pelorus_ready", "gauge",
           "1: connected and synced; 0: /readyz says why not.", s->ready);
    single(b, "pelorus_stale", "gauge",
           "1: what is answered of the cluster may be out of date.",
           http_stale(h, s));
    single(b, "pelorus_as_of_age_seconds", "gauge",
           "How long ago the registry was last known good.",
           age > 0 ? (double)age / 1000 : 0);
    single(b, "pelorus_loop_late_seconds", "gauge",
           "For how long the loop has been busy with what it does now.",
           (double)loop_busy_ms(h->loop) / 1000);
    single(b, "pelorus_coordinators", "gauge",
           "Coordinators that the registry shows.", (double)s->n_coordinators);
}

/* --- failovers ----------------------------------------------------------- */

static void put_engines(struct buf *b, const struct snapshot *s)
{
    int64_t braked[NODE_KINDS], lock[NODE_KINDS], pending[NODE_KINDS];

    for (int k = 0; k < NODE_KINDS; k++) {
        braked[k] = s->brake[k] != CAUSE_NONE;
        lock[k] = s->fence[k] != 0;
        pending[k] = s->pending[k];
    }
    by_kind(b, "pelorus_failover_braked", "gauge",
            "1: the brake holds failovers of this kind.", braked);
    by_kind(b, "pelorus_failover_lock_held", "gauge",
            "1: this coordinator holds the failover lock.", lock);
    by_kind(b, "pelorus_failover_pending", "gauge",
            "Failovers that the registry's trouble holds up.", pending);
    single(b, "pelorus_failover_paused", "gauge",
           "1: a person has paused failovers.", s->paused);
    single(b, "pelorus_failover_brake_overridden", "gauge",
           "1: a person has overridden the brake.",
           s->brake_override_until != 0);
}

static void put_counts(struct buf *b, const struct snapshot *s)
{
    static const struct {
        const char *name, *help;
        size_t at;
    } all[] = {
        {"pelorus_node_downs_total",
         "Processes lost: gone for their grace, or replaced.",
         offsetof(struct snapshot_counts, downs)},
        {"pelorus_node_flaps_total", "Processes that came back before that.",
         offsetof(struct snapshot_counts, flaps)},
        {"pelorus_failovers_begun_total",
         "Failovers that this coordinator began.",
         offsetof(struct snapshot_counts, failovers_begun)},
        {"pelorus_failovers_done_total",
         "Failovers that this coordinator ended.",
         offsetof(struct snapshot_counts, failovers_done)},
        {"pelorus_failovers_aborted_total",
         "Failovers taken back, as the process was there after all.",
         offsetof(struct snapshot_counts, failovers_aborted)},
        {"pelorus_failovers_held_total", "Times that a failover was held.",
         offsetof(struct snapshot_counts, failovers_held)},
        {"pelorus_failover_items_moved_total",
         "Work items that failovers of this coordinator moved.",
         offsetof(struct snapshot_counts, items_moved)},
        {"pelorus_failover_locks_lost_total",
         "Times that a failover lock was lost while it was held.",
         offsetof(struct snapshot_counts, locks_lost)},
    };
    int64_t values[NODE_KINDS];

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        for (int k = 0; k < NODE_KINDS; k++) {
            const char *at = (const char *)&s->counts[k] + all[i].at;

            values[k] = (int64_t) * (const uint64_t *)(const void *)at;
        }
        by_kind(b, all[i].name, "counter", all[i].help, values);
    }
}

/* --- this process -------------------------------------------------------- */

static void put_http(struct buf *b, const struct http *h)
{
    const char *name = "pelorus_http_answers_total";
    char status[16];

    family(b, name, "counter", "Answers, by their status.");
    for (int i = 0; i < HTTP_STATUS_END - HTTP_STATUS_FIRST; i++) {
        uint64_t n = http_answered(h, (unsigned)(HTTP_STATUS_FIRST + i));

        if (n == 0 && i != 0)
            continue;
        snprintf(status, sizeof(status), "%d", HTTP_STATUS_FIRST + i);
        sample(b, name, "code", status, NULL, NULL, (double)n);
    }
    single(b, "pelorus_http_requests_in_flight", "gauge",
           "Requests that are being answered, long polls among them.",
           http_in_flight(h));
    single(b, "pelorus_http_connections", "gauge", "Connections.",
           http_conns_count(h->conns));
    single(b, "pelorus_http_connections_max", "gauge",
           "How many there may be (http.max-connections, or what the limit of "
           "open files leaves of it).",
           h->conf->max_connections);
    single(b, "pelorus_log_lines_dropped_total", "counter",
           "Lines that found no room because nobody read standard error.",
           (double)log_dropped());
}

static double window_seconds(int bucket)
{
    return (double)RENEWAL_TOOK_MS(bucket) / 1000;
}

static void put_renewals(struct buf *b, const struct snapshot *s)
{
    const struct renewal_counts *c = &s->renewals;
    const char *name = "pelorus_renewals_total";

    single(b, "pelorus_renewals_grouped", "gauge",
           "1: renewals over HTTP are written in groups; 0: each by itself, as "
           "a coordinator is told so, or of an older version (/v1/cluster).",
           s->grouped);
    family(b, name, "counter",
           "Renewals over HTTP that were accepted: in a window, each window "
           "being one write; alone, a write of its own; from memory, none.");
    sample(b, name, "how", "window", NULL, NULL, (double)c->windowed);
    sample(b, name, "how", "alone", NULL, NULL, (double)c->alone);
    sample(b, name, "how", "memory", NULL, NULL, (double)c->memory);
    single(b, "pelorus_renewals_named_total", "counter",
           "Renewals that a window let out, since something was being taken "
           "from their address: they were judged again.",
           (double)c->named);
    single(
        b, "pelorus_renewals_failed_total", "counter",
        "Renewals that waited for a window in vain, and were told 503 or 504.",
        (double)c->failed);
    single(b, "pelorus_renewal_windows_total", "counter",
           "Windows of renewals that were committed.", (double)c->windows);
    histogram(b, "pelorus_renewal_window_write_seconds",
              "From the making of a window of renewals to its commit; a "
              "renewal waits for 0.2 s at most before.",
              c->took, RENEWAL_TOOKS, window_seconds,
              (double)c->took_ms / 1000);
}

/* Without a journal all are 0, and it is not complete. */
static void put_journal(struct buf *b, const struct journal *journal)
{
    struct journal_figures f = {.complete = false};

    if (journal != NULL)
        f = journal_figures(journal);
    single(b, "pelorus_journal_records_total", "counter",
           "Events written to the journal.", (double)f.records);
    single(b, "pelorus_journal_bytes_total", "counter",
           "Bytes written to it, with what stands around the events.",
           (double)f.bytes);
    single(b, "pelorus_journal_dropped_total", "counter",
           "Events left out: the disk was full, failed or was too slow.",
           (double)f.dropped);
    single(b, "pelorus_journal_gaps_total", "counter",
           "Times that it began to leave out events.", (double)f.gaps);
    single(b, "pelorus_journal_errors_total", "counter", "Writes that failed.",
           (double)f.errors);
    single(b, "pelorus_journal_files_total", "counter", "Files begun.",
           (double)f.files);
    single(b, "pelorus_journal_waiting_bytes", "gauge",
           "Bytes that wait to be written.", (double)f.waiting);
    single(b, "pelorus_journal_complete", "gauge",
           "1: a journal is kept, and nothing is being left out.", f.complete);
}

static double hold_seconds(int bucket)
{
    return ldexp(1e-9, bucket + 6);
}

static void put_holds(struct buf *b, const struct balancer_holds *h)
{
    histogram(b, "pelorus_balancer_lock_hold_seconds",
              "How long the balancer's lock was held, of one hold in 64.", h->n,
              BALANCER_HOLDS, hold_seconds, (double)h->sum_ns / 1e9);
}

void http_metrics(struct http_request *r)
{
    struct snapshot *s = coordinator_snapshot(r->h->coordinator);
    struct balancer_stats stats = balancer_stats(r->h->balancer);
    struct balancer_holds holds = balancer_holds(r->h->balancer);
    struct second_stats second =
        second_stats(coordinator_second(r->h->coordinator));
    struct buf *b = http_json(r, MHD_HTTP_OK);

    assert(r->method == HTTP_GET);
    r->content_type = "text/plain; version=0.0.4; charset=utf-8";
    family(b, "pelorus_build_info", "gauge", "1, and the version.");
    sample(b, "pelorus_build_info", "version", PELORUS_VERSION, "registry",
           s->registry_backend, 1);
    put_health(b, r->h, s);
    put_registry(b, s);
    put_facts(b, r->h->facts);
    put_nodes(b, s);
    put_groups(b, s);
    family(b, "pelorus_balancer_info", "gauge", "1 for the policy in use.");
    sample(b, "pelorus_balancer_info", "policy", s->policy, NULL, NULL, 1);
    put_picks(b, &stats);
    put_holds(b, &holds);
    put_renewals(b, s);
    put_journal(b, r->h->journal);
    put_shadow(b, &second);
    put_regret(b, &second);
    put_engines(b, s);
    put_counts(b, s);
    put_http(b, r->h);
    coordinator_snapshot_release(&s);
}
