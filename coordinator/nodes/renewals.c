/*
 * renewals.c - renewals in groups, as this coordinator takes part in them
 * (docs/design/renewals.md): it watches what all coordinators renewed, writes
 * its own windows, and says whether groups are written at all.
 *
 * Whoever is configured to write each renewal by itself reads the windows of
 * the others all the same, and sees to it that nobody goes on writing them.
 */
#include "coordinator/nodes/nodes_priv.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/planted.h"
#include "cluster/renewals/renewal.h"

#include <inttypes.h>
#include <stdio.h>

#define FRESH_MS 1000
#define AGAIN_MS 1000 /* between two looks at how renewals are written */
#define TAKEN_MS 2000 /* so long nodes are not watched where it is not read */

/* --- what was renewed ---------------------------------------------------- */

static bool on_renewal(void *arg, const struct rings_renewal *r)
{
    struct coordinator *c = arg;

    return membership_renewed(c->membership, r->renewal, r->seen);
}

static void on_gap(void *arg, uint64_t session, const char *why)
{
    struct coordinator *c = arg;

    log_warn("!renewals", LOG_U("session", session), LOG_S("reason", why),
             LOG_S("advice", "nobody is missed until a lease later"));
    membership_gap(c->membership);
}

static void on_window(void *arg, const struct registry_event *event)
{
    struct coordinator *c = arg;

    rings_feed(c->renewals->rings, event, c->clock->mono);
    c->renewals_synced = rings_synced(c->renewals->rings);
    coordinator_written_wake(c);
}

void coordinator_renewals_told(struct coordinator *c,
                               const struct membership_key *told)
{
    struct renewals *r = c->renewals;

    if (told->heartbeat == NULL || !told->ours || !rings_wait(r->rings))
        return;
    if (r->n_told == r->told_cap) {
        r->told_cap = r->told_cap == 0 ? 16 : 2 * r->told_cap;
        r->told = mem_regrow(r->told, r->told_cap, sizeof(*r->told));
    }
    r->told[r->n_told++] = told->created;
}

static void tell_known(struct coordinator *c)
{
    struct renewals *r = c->renewals;

    for (size_t i = 0; i < r->n_told; i++)
        rings_known(r->rings, r->told[i], c->clock->mono);
    MEM_FREE(r->told);
    r->n_told = r->told_cap = 0;
}

/* --- are groups written -------------------------------------------------- */

/* Every coordinator that we see reads windows, and so do we. */
static bool all_agree(const struct coordinator *c)
{
    bool ours = false;

    if (c->conf->renewals != CONF_RENEWALS_GROUPED || !c->peers_synced ||
        !coordinator_entry_exists(c))
        return false;
    for (const struct peer *p = c->peers; p != NULL; p = p->hh.next) {
        if (!p->renewals)
            return false;
        ours |= p->owner == registry_session(c->registry);
    }
    return ours;
}

/* Who has all of them write single: "" nobody that is seen. */
static const char *who_objects(const struct coordinator *c)
{
    if (c->conf->renewals != CONF_RENEWALS_GROUPED)
        return c->self;
    for (const struct peer *p = c->peers; p != NULL; p = p->hh.next)
        if (!p->renewals && p->owner != registry_session(c->registry))
            return p->entry.address;
    return "";
}

/* Without an entry of its own nobody says anything. */
static bool somebody_objects(const struct coordinator *c)
{
    return who_objects(c)[0] != '\0' &&
           (c->peers_synced || c->conf->renewals != CONF_RENEWALS_GROUPED);
}

/* It stands so: by us, or by somebody else, or by a write whose answer got
 * lost. */
static void mode_say(struct renewals_mode *m)
{
    if (m->said && m->said_grouped == m->grouped)
        return;
    m->said = true;
    m->said_grouped = m->grouped;
    if (m->grouped)
        log_info("=renewals", LOG_S("mode", "grouped"));
    else
        log_info("=renewals", LOG_S("mode", "single"),
                 LOG_S("because", who_objects(m->c)));
}

static void mode_written(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = ((struct renewals_mode *)arg)->c;
    struct renewals_mode *m = arg;

    assert(m->busy);
    m->busy = false;
    m->next = c->clock->mono + AGAIN_MS;
    if (reply->err.code == ERR_OK)
        mode_say(m);
}

static void mode_put(struct renewals_mode *m, struct taken *taken,
                     uint64_t version)
{
    struct registry_op op;
    struct buf text;

    assert(taken->grouped != m->grouped);
    if (m->grouped)
        taken_begin_groups(taken);
    else
        taken->grouped = false;
    buf_init(&text, TAKEN_BYTES_MAX);
    taken_write(&text, taken);
    op = registry_op_put(TAKEN_KEY, &text, version);
    m->busy = true;
    registry_txn(m->c->registry, &op, 1, mode_written, m);
    buf_close(&text);
}

/* What nobody can read is left to whoever raises it: no window is written upon
 * it. */
static void mode_read(void *arg, const struct registry_reply *reply)
{
    struct renewals_mode *m = arg;
    struct coordinator *c = m->c;
    struct taken *taken = NULL;
    uint64_t version = 0;
    bool is = true;

    assert(m->busy);
    m->busy = false;
    m->next = c->clock->mono + AGAIN_MS;
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND)
        return;
    taken = mem_zalloc(sizeof(*taken));
    taken_init(taken);
    if (reply->err.code == ERR_OK) {
        version = reply->entries[0].version;
        is = taken_read(taken, reply->entries[0].value,
                        reply->entries[0].value_len, NULL) == 0;
    }
    m->settled = is && taken->grouped == m->grouped;
    if (m->settled)
        mode_say(m);
    if (m->settled && c->renewals->writer != NULL)
        writer_look(c->renewals->writer);
    else if (is && !m->settled)
        mode_put(m, taken, version);
    mem_free(taken);
}

static void mode_want(struct renewals_mode *m, bool grouped)
{
    if (m->wants && m->grouped == grouped)
        return;
    m->wants = true;
    m->grouped = grouped;
    m->settled = false;
}

/* What stands is looked at again where it is not as it should be, and by
 * whoever does not write groups when there is another coordinator. */
static void mode_tick(struct coordinator *c)
{
    struct renewals *r = c->renewals;
    struct renewals_mode *m = &r->mode;
    mono_ms now = c->clock->mono;

    if (!all_agree(c))
        m->agreed = -1;
    else if (m->agreed < 0)
        m->agreed = now;
    if (m->agreed >= 0 &&
        now - m->agreed >= registry_session_timeout(c->registry))
        mode_want(m, true);
    else if (somebody_objects(c))
        mode_want(m, false);
    if (r->writer != NULL && m->wants && writer_open(r->writer) != m->grouped)
        m->settled = false;
    if (m->peers != c->peers_changed) {
        m->peers = c->peers_changed;
        m->settled = false;
    }
    if (!m->wants || m->settled || m->busy || now < m->next || c->leaving ||
        !registry_state_is_up(registry_state(c->registry)))
        return;
    m->busy = true;
    registry_get(c->registry, TAKEN_KEY, mode_read, m);
}

/* --- its parts ----------------------------------------------------------- */

static void watch_nodes(struct coordinator *c)
{
    c->renewals->watches = true;
    coordinator_watch_nodes(c);
}

/* `taken` was read, the first time: what the watches tell from here on was read
 * after it, as long as the session is the same. */
static void on_taken(void *arg)
{
    struct coordinator *c = arg;
    struct renewals *r = c->renewals;

    if (r->watches)
        return;
    if (writer_named(r->writer, &r->listed_named))
        r->listed_session = registry_session(c->registry);
    if (!r->watches)
        watch_nodes(c);
}

static void make_writer(struct coordinator *c)
{
    struct renewals *r = c->renewals;
    const struct writer_config config = {.clock = c->clock,
                                         .registry = c->registry,
                                         .entry_key = r->entry_key,
                                         .known = on_taken,
                                         .arg = c,
                                         .counts = &c->renewal_counts};

    assert(r->writer == NULL);
    r->writer = writer_new(&config);
}

static void make_rings(struct coordinator *c)
{
    struct renewals *r = c->renewals;

    assert(r->rings == NULL && r->watch == NULL);
    r->epoch++;
    r->listed_session = 0;
    c->renewals_synced = false;
    r->rings = rings_new(on_renewal, on_gap, c);
    coordinator_use_rings(c, r->rings);
    r->watch = registry_watch(c->registry, WINDOW_PREFIX, on_window, c);
    registry_watch_freshness(r->watch, FRESH_MS);
}

static void drop(struct coordinator *c, bool told)
{
    struct renewals *r = c->renewals;

    writer_free(&r->writer, told);
    if (told)
        registry_unwatch(&r->watch);
    r->watch = NULL;
    coordinator_use_rings(c, NULL);
    rings_free(&r->rings);
    r->n_told = 0;
}

void coordinator_renewals_begin(struct coordinator *c)
{
    struct renewals *r = mem_zalloc(sizeof(*r));

    assert(c->renewals == NULL && c->membership != NULL);
    c->renewals = r;
    snprintf(r->entry_key, sizeof(r->entry_key), COORDINATORS_PREFIX "/%s",
             c->self);
    r->mode.c = c;
    r->mode.agreed = -1;
    make_rings(c);
    if (c->conf->renewals == CONF_RENEWALS_GROUPED)
        make_writer(c);
    if (r->writer == NULL || planted(PLANTED_LISTED_BEFORE))
        watch_nodes(c);
}

void coordinator_renewals_state(struct coordinator *c,
                                enum registry_state state)
{
    if (state == REGISTRY_WENT_BACK)
        c->renewals->anew = true;
    else if (c->renewals->writer != NULL && registry_state_is_up(state))
        writer_wake(c->renewals->writer);
}

/* The registry is there, and `taken` cannot be read. */
static bool is_overdue(struct coordinator *c)
{
    struct renewals *r = c->renewals;

    if (!registry_state_is_up(registry_state(c->registry)))
        r->watch_at = 0;
    else if (r->watch_at == 0)
        r->watch_at = c->clock->mono + TAKEN_MS;
    return r->watch_at != 0 && c->clock->mono >= r->watch_at;
}

void coordinator_renewals_tick(struct coordinator *c)
{
    struct renewals *r = c->renewals;
    mono_ms due;

    if (r->anew) { /* the store is another one: nobody is verified */
        r->anew = false;
        drop(c, true);
        make_rings(c);
    }
    if (r->writer == NULL && c->conf->renewals == CONF_RENEWALS_GROUPED &&
        !c->leaving)
        make_writer(c);
    if (!r->watches && (r->writer == NULL || is_overdue(c)))
        watch_nodes(c);
    tell_known(c);
    rings_tick(r->rings, c->clock->mono);
    mode_tick(c);
    c->grouped = coordinator_node_grouped(c);
    if (r->writer == NULL)
        return;
    writer_tick(r->writer);
    due = writer_due(r->writer);
    if (due != INT64_MAX && c->config.soon != NULL)
        c->config.soon(c->config.soon_arg,
                       due > c->clock->mono ? due - c->clock->mono : 0);
}

void coordinator_renewals_end(struct coordinator *c, bool told)
{
    struct renewals *r = c->renewals;

    if (told)
        registry_forget(c->registry, &r->mode);
    drop(c, told);
    mem_free(r->told);
    MEM_FREE(c->renewals);
}
