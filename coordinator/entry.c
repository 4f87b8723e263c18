/*
 * entry.c - our own line in the registry, and those of the others.
 *
 * The entry is ephemeral: it stands exactly as long as our session. While it
 * does not stand the engines begin nothing (brake cause `own-entry`): whoever
 * cannot see itself has no business judging others. After a quick restart at
 * the same address the entry of the process before stands until its session
 * ends; ours follows then, and meanwhile we observe.
 */
#include "coordinator/coordinator_priv.h"

#include "base/json/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define ENTRY_RETRY_MS 500

static char *entry_key(const struct coordinator *c, char *out, size_t n)
{
    assert(n > strlen(COORDINATORS_PREFIX) + 1 + strlen(c->self));
    snprintf(out, n, COORDINATORS_PREFIX "/%s", c->self);
    return out;
}

static const char *entry_locks(const struct coordinator *c,
                               char out[SNAPSHOT_LOCKS_SIZE])
{
    uint64_t fence;

    out[0] = '\0';
    for (int k = 0; k < NODE_KINDS; k++)
        if (c->engines[k] != NULL && engine_holds_lock(c->engines[k], &fence))
            snprintf(out + strlen(out), SNAPSHOT_LOCKS_SIZE - strlen(out),
                     "%s%s", out[0] ? "," : "",
                     node_kind_name((enum node_kind)k));
    assert(strlen(out) < SNAPSHOT_LOCKS_SIZE - 1);
    return out;
}

static void entry_written(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;
    uint64_t session = c->entry_writing;

    assert(c->entry_writing != 0);
    c->entry_writing = 0;
    if (reply->err.code == ERR_OK) {
        if (c->entry_session == 0)
            log_info("+coordinator", LOG_S("address", c->self));
        c->entry_session = session;
        c->entry_refused = false;
        return;
    }
    if (!c->entry_refused) /* once, not with each try */
        log_warn("!coordinator", LOG_S("address", c->self),
                 LOG_S("reason", reply->err.msg));
    c->entry_refused = true;
    c->entry_session = 0;
    c->entry_retry = c->clock->mono + ENTRY_RETRY_MS;
}

static void entry_write(struct coordinator *c)
{
    char key[REGISTRY_KEY_MAX + 1], locks[SNAPSHOT_LOCKS_SIZE];
    struct buf b;

    assert(c->entry_writing == 0);
    assert(!c->leaving);
    buf_init(&b, 1024);
    json_open(&b, NULL, '{');
    json_put_str(&b, "address", c->self);
    json_put_str(&b, "version", PELORUS_VERSION);
    json_put_int(&b, "started", c->started);
    json_put_str(&b, "locks", entry_locks(c, locks));
    json_put_int(&b, "renewals", c->conf->renewals == CONF_RENEWALS_GROUPED);
    json_close(&b, '}');
    assert(!b.overflow);
    c->entry_writing = registry_session(c->registry);
    c->entry_stale = false;
    registry_put(c->registry, entry_key(c, key, sizeof(key)), b.data, b.len,
                 REGISTRY_ANY, 0, true, entry_written, c);
    buf_close(&b);
}

bool coordinator_entry_exists(const struct coordinator *c)
{
    return c->entry_session != 0 &&
           c->entry_session == registry_session(c->registry);
}

void coordinator_entry_tick(struct coordinator *c)
{
    if (c->entry_writing != 0 || c->leaving ||
        !registry_state_is_up(registry_state(c->registry)))
        return;
    if (!coordinator_entry_exists(c) && c->clock->mono < c->entry_retry)
        return;
    if (!coordinator_entry_exists(c) || c->entry_stale)
        entry_write(c);
}

/* Rank per kind, and how many hand out picks beside us. */
static void entry_ranks(struct coordinator *c)
{
    uint32_t before[NODE_KINDS] = {0}, n = 1; /* we, listed or not yet */
    struct peer *p, *tmp;

    assert(c->balancer != NULL);
    HASH_ITER (hh, c->peers, p, tmp) {
        if (strcmp(p->entry.address, c->self) == 0)
            continue;
        n++;
        for (int k = 0; k < NODE_KINDS; k++) {
            const char *name = node_kind_name((enum node_kind)k);

            if (hash_rendezvous(name, p->entry.address) >
                hash_rendezvous(name, c->self))
                before[k]++;
        }
    }
    for (int k = 0; k < NODE_KINDS; k++) {
        c->ranks[k] = before[k];
        if (c->engines[k] != NULL)
            engine_set_rank(c->engines[k], before[k]);
    }
    balancer_set_coordinators(c->balancer, n);
}

static int address_order(const struct peer *a, const struct peer *b)
{
    return strcmp(a->entry.address, b->entry.address);
}

static bool reads_renewals(const struct json *entry)
{
    return json_int(entry, "renewals", 0) >= 1;
}

static void entry_seen(struct coordinator *c, const char *address,
                       const struct registry_entry *e)
{
    struct peer *p;
    const struct json *json = NULL;

    assert(strlen(address) <= NODE_ADDRESS_MAX);
    HASH_FIND_STR(c->peers, address, p);
    if (p == NULL) {
        p = mem_zalloc(sizeof(*p));
        snprintf(p->entry.address, sizeof(p->entry.address), "%s", address);
        c->peers_changed++;
        HASH_ADD_INORDER(hh, c->peers, entry.address[0], strlen(address), p,
                         address_order);
    }
    p->owner = e->owner;
    if (json_parse(e->value, e->value_len, &json, NULL) == 0) {
        const char *version = json_str(json, "version");
        const char *locks = json_str(json, "locks");

        snprintf(p->entry.version, sizeof(p->entry.version), "%s",
                 version ? version : "");
        snprintf(p->entry.locks, sizeof(p->entry.locks), "%s",
                 locks ? locks : "");
        p->entry.started = json_int(json, "started", 0);
        c->peers_changed += p->renewals != reads_renewals(json);
        p->renewals = reads_renewals(json);
        p->watches = json_get(json, "renewals") != NULL;
        p->entry.renewals = !p->watches   ? NULL
                            : p->renewals ? "grouped"
                                          : "single";
    }
    json_free(json);
}

static void entry_gone(struct coordinator *c, const char *address)
{
    struct peer *p;

    HASH_FIND_STR(c->peers, address, p);
    if (p == NULL)
        return;
    if (strcmp(address, c->self) == 0) {
        /* The one that went may be of the process before us, and ours stand
         * already: written once more, it does in any case. */
        if (p->owner == c->entry_session)
            c->entry_session = 0;
        else
            c->entry_stale = true;
    }
    HASH_DEL(c->peers, p);
    mem_free(p);
}

void coordinator_entry_event(void *arg, const struct registry_event *ev)
{
    struct coordinator *c = arg;
    const char *address;

    c->dirty_soon = true;
    if (ev->type == REGISTRY_SYNCED) {
        c->peers_synced = true;
        return;
    }
    address = ev->entry.key + strlen(COORDINATORS_PREFIX) + 1;
    if (strlen(address) > NODE_ADDRESS_MAX) {
        coordinator_problems_key(
            c, ev->entry.key,
            ev->type == REGISTRY_REMOVE ? NULL : "no address is as long");
        return;
    }
    if (ev->type == REGISTRY_REMOVE)
        entry_gone(c, address);
    else
        entry_seen(c, address, &ev->entry);
    entry_ranks(c);
}

static void entry_removed(void *arg, const struct registry_reply *reply)
{
    struct coordinator *c = arg;

    assert(c->leaving);
    assert(c->left != NULL);
    (void)reply; /* if not, closing the session removes it anyway */
    c->left(c->left_arg);
}

static void entry_read_for_removal(void *arg,
                                   const struct registry_reply *reply)
{
    struct coordinator *c = arg;

    assert(c->leaving);
    assert(c->left != NULL);
    if (reply->err.code == ERR_OK &&
        reply->entries[0].owner == registry_session(c->registry))
        registry_delete(c->registry, reply->entries[0].key,
                        reply->entries[0].version, entry_removed, c);
    else
        c->left(c->left_arg);
}

void coordinator_entry_remove(struct coordinator *c)
{
    char key[REGISTRY_KEY_MAX + 1];

    assert(coordinator_entry_exists(c) && c->left != NULL);
    c->entry_session = 0;
    registry_get(c->registry, entry_key(c, key, sizeof(key)),
                 entry_read_for_removal, c);
}

void coordinator_entry_end(struct coordinator *c)
{
    struct peer *p, *tmp;

    HASH_ITER (hh, c->peers, p, tmp) {
        HASH_DEL(c->peers, p);
        mem_free(p);
    }
    assert(c->peers == NULL);
}
