/*
 * written.c - a client that wrote sees its write in every answer after that.
 *
 * Answers are made from snapshots, and snapshots from what the watches tell,
 * which comes later than the write. So the answer to a write is held back until
 * the watches have told of this write or of a later one at the same keys, and a
 * snapshot with it is published. Only the watches change what we know: if the
 * write itself did, an older event of the same key could undo it.
 *
 * The watch has to reach a version above the one that was overwritten. Where
 * that one is not known, or the watch does not get there in time, a get of the
 * key says what to wait for: a get comes after the write, so it finds the write
 * or what became of it. registry_poll_now() asks a slow watch to look at once.
 *
 * Another coordinator does the same when a client shows it the index of the
 * write, which holds the keys and their versions. With a version it can see
 * without a get that it knows the write already, and that a server which
 * answered it is behind the others.
 *
 * The settings are not watched: the get itself gives them to the view.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"
#include "base/units.h"
#include "cluster/renewals/window.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define WAITS_MAX 10000
#define AGAIN_MS  100 /* between two gets of a key that is not told */
#define BEHIND_MS 20  /* the same if the get itself was too early */
#define HURRY_MS  10
#define CHECK_MS  10
#define OURS      "/pelorus/"
#define UNESCAPED                                                              \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-"

struct write_wait_key {
    struct write_wait *wait;
    struct write_key *is;      /* in wait->write: as it was found */
    uint64_t created, version; /* to be reached */
    bool asked;                /* a get is under way */
    bool found;                /* one was answered, and was not too early */
    bool told;
    mono_ms asked_at, hurried;
};

struct write_wait {
    struct coordinator *c;
    struct write_index write;
    struct write_wait_key keys[WRITE_KEYS_MAX];
    bool told; /* all of them */
    mono_ms until;
    coordinator_shown_f *shown;
    void *arg;
    struct write_wait *next, *prev;
};

/* --- the index as text --------------------------------------------------- */

/* Of all that is written, what answers are made of; the rest is read from the
 * registry whenever it is asked for. */
static bool concerns(const char *key)
{
    static const char *const prefixes[] = {OWN_NODES_PREFIX, GATE_PREFIX,
                                           MARKER_PREFIX, GROUPS_PREFIX,
                                           WINDOW_PREFIX};

    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++)
        if (registry_key_below(key, prefixes[i]))
            return true;
    return strcmp(key, SETTINGS_KEY) == 0 ||
           registry_key_below(key, FAILOVER_PREFIX);
}

void coordinator_index_add(struct write_index *w, const char *key)
{
    struct write_key *k = &w->keys[w->n];

    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->keys[i].key, key) == 0)
            return;
    if (!concerns(key))
        return;
    assert(w->n < WRITE_KEYS_MAX);
    snprintf(k->key, sizeof(k->key), "%s", key);
    k->created = k->version = 0;
    w->n++;
}

void coordinator_index_add_at(struct write_index *w, const char *key,
                              uint64_t created, uint64_t version)
{
    coordinator_index_add(w, key);
    assert(w->n > 0 && strcmp(w->keys[w->n - 1].key, key) == 0);
    w->keys[w->n - 1].created = created;
    w->keys[w->n - 1].version = version;
}

void coordinator_index_add_over(struct write_index *w, const char *key,
                                uint64_t created, uint64_t version)
{
    coordinator_index_add(w, key);
    assert(w->n > 0 && strcmp(w->keys[w->n - 1].key, key) == 0);
    w->keys[w->n - 1].created = created;
    w->keys[w->n - 1].version = version != 0 ? version + 1 : 0;
}

void coordinator_index_made(struct write_index *w, const char *key,
                            uint64_t version)
{
    assert(version != 0);
    for (size_t i = 0; i < w->n; i++)
        if (strcmp(w->keys[i].key, key) == 0)
            w->keys[i].created = w->keys[i].version = version;
}

const char *coordinator_index_text(const struct write_index *w,
                                   char out[WRITE_INDEX_SIZE])
{
    struct buf b;

    assert(w->n <= WRITE_KEYS_MAX);
    buf_init(&b, WRITE_INDEX_SIZE - 1);
    for (size_t i = 0; i < w->n; i++) {
        buf_str(&b, i == 0 ? "w:" : ",");
        for (const char *at = w->keys[i].key; *at != '\0'; at++)
            if (strchr(UNESCAPED, *at) != NULL)
                buf_char(&b, *at);
            else
                buf_printf(&b, "~%02x", (unsigned char)*at);
        buf_printf(&b, "@%" PRIu64 ".%" PRIu64, w->keys[i].created,
                   w->keys[i].version);
    }
    snprintf(out, WRITE_INDEX_SIZE, "%s",
             b.overflow || b.len == 0 ? "" : buf_text(&b));
    buf_close(&b);
    return out;
}

bool coordinator_index_is(const char *text)
{
    return strncmp(text, "w:", 2) == 0;
}

/* As far as the '@'; NULL: it is no key of ours. */
static const char *parse_key(const char *at, char key[REGISTRY_KEY_MAX + 1])
{
    size_t n = 0;

    for (; *at != '@'; at++) {
        char hex[3] = "";

        if (*at == '\0' || n == REGISTRY_KEY_MAX)
            return NULL;
        key[n] = *at;
        if (*at == '~') {
            snprintf(hex, sizeof(hex), "%.2s", at + 1);
            if (strspn(hex, "0123456789abcdef") != 2)
                return NULL;
            key[n] = (char)strtoul(hex, NULL, 16);
            at += 2;
        } else if (strchr(UNESCAPED, *at) == NULL) {
            return NULL;
        }
        n += 1;
        if (key[n - 1] == '\0')
            return NULL;
    }
    key[n] = '\0';
    return registry_check_key(key, NULL) == 0 && concerns(key) ? at + 1 : NULL;
}

static const char *parse_number(const char *at, uint64_t *out)
{
    size_t n = strspn(at, "0123456789");
    char digits[24];

    if (n == 0 || n >= sizeof(digits))
        return NULL;
    memcpy(digits, at, n);
    digits[n] = '\0';
    return units_uint(digits, UINT64_MAX, out, NULL) == 0 ? at + n : NULL;
}

bool coordinator_index_parse(struct write_index *w, const char *text)
{
    const char *at = text + 2;

    assert(coordinator_index_is(text));
    for (w->n = 0; w->n < WRITE_KEYS_MAX;) {
        struct write_key *k = &w->keys[w->n++];

        at = parse_key(at, k->key);
        if (at != NULL)
            at = parse_number(at, &k->created);
        if (at == NULL || *at != '.')
            return false;
        at = parse_number(at + 1, &k->version);
        if (at == NULL)
            return false;
        if (*at == '\0')
            return true;
        if (*at++ != ',')
            return false;
    }
    return false;
}

/* --- one key ------------------------------------------------------------- */

static void soon(struct coordinator *c, int64_t ms)
{
    assert(ms >= 0);
    if (c->config.soon != NULL)
        c->config.soon(c->config.soon_arg, ms);
}

/* As soon as it may be published again. */
void coordinator_written_wake(struct coordinator *c)
{
    if (c->write_waits != NULL)
        soon(c, coordinator_publish_gap_ms(c));
}

static bool early(const struct write_wait_key *k)
{
    return k->is->created != 0 &&
           (k->is->created < k->created ||
            (k->is->created == k->created && k->is->version < k->version));
}

static void on_got(void *arg, const struct registry_reply *reply)
{
    struct write_wait_key *k = arg;
    struct coordinator *c = k->wait->c;
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? &reply->entries[0] : NULL;

    assert(k->asked);
    assert(reply->err.code != ERR_OK || reply->n_entries == 1);
    k->asked = false;
    if (e == NULL && reply->err.code != ERR_NOT_FOUND)
        return; /* again, as long as somebody waits */
    k->is->created = e != NULL ? e->created : 0;
    k->is->version = e != NULL ? e->version : 0;
    k->found = !early(k);
    if (strcmp(k->is->key, SETTINGS_KEY) == 0)
        work_view_show_settings(c->view, e);
    coordinator_written_wake(c);
}

static void key_ask(struct write_wait_key *k)
{
    struct coordinator *c = k->wait->c;

    assert(!k->asked);
    assert(!k->told);
    k->asked = true;
    k->asked_at = c->clock->mono;
    registry_get(c->registry, k->is->key, on_got, k);
}

static bool key_told(struct write_wait_key *k)
{
    struct coordinator *c = k->wait->c;
    const char *key = k->is->key;
    mono_ms now = c->clock->mono;

    if (k->told)
        return true;
    /* a settings key that was found was shown by that */
    k->told = k->found && registry_watches_caught_up(
                              c->registry, key, k->is->created, k->is->version);
    if (k->told)
        return true;
    if (k->found && now - k->hurried >= HURRY_MS) {
        k->hurried = now;
        registry_poll_now(c->registry, key);
    }
    if (!k->asked && now - k->asked_at >= (k->found ? AGAIN_MS : BEHIND_MS))
        key_ask(k);
    return false;
}

/* --- all of them --------------------------------------------------------- */

static void key_begin(struct write_wait_key *k, bool ours)
{
    struct coordinator *c = k->wait->c;

    assert(!k->told);
    assert(!k->asked);
    k->created = k->is->created;
    k->version = k->is->version;
    k->found = k->created != 0 && strcmp(k->is->key, SETTINGS_KEY) != 0;
    k->told = k->found && registry_watches_caught_up(c->registry, k->is->key,
                                                     k->created, k->version);
    if (k->told)
        return;
    if (k->found && ours) /* its event is on its way */
        k->asked_at = k->hurried = c->clock->mono;
    else
        key_ask(k);
}

int coordinator_await_write(struct coordinator *c,
                            const struct write_index *write, bool ours,
                            int64_t wait_ms, coordinator_shown_f *shown,
                            void *arg)
{
    struct write_wait *l;
    bool told = true;

    assert(wait_ms >= 0 && shown != NULL && write->n <= WRITE_KEYS_MAX);
    if (c->n_write_waits >= WAITS_MAX || c->leaving)
        return ERR_FULL;
    l = mem_zalloc(sizeof(*l));
    l->c = c;
    l->write = *write;
    l->until = c->clock->mono + wait_ms;
    l->shown = shown;
    l->arg = arg;
    DL_APPEND(c->write_waits, l);
    c->n_write_waits++;
    for (size_t i = 0; i < write->n; i++) {
        struct write_wait_key *k = &l->keys[i];

        k->wait = l;
        k->is = &l->write.keys[i];
        key_begin(k, ours);
        told = told && k->told;
    }
    if (told)
        coordinator_written_wake(c);
    else /* what tells them wakes */
        soon(c, CHECK_MS);
    return 0;
}

static void wait_drop(struct write_wait *l)
{
    struct coordinator *c = l->c;

    assert(c->n_write_waits > 0);
    DL_DELETE(c->write_waits, l);
    c->n_write_waits--;
    mem_free(l);
}

static void wait_end(struct write_wait *l, bool seen)
{
    assert(!seen || l->told);
    for (size_t i = 0; i < l->write.n; i++)
        if (l->keys[i].asked)
            registry_forget(l->c->registry, &l->keys[i]);
    l->shown(l->arg, seen, &l->write);
    wait_drop(l);
}

void coordinator_written_tick(struct coordinator *c)
{
    struct write_wait *l;

    c->awaited = false;
    DL_FOREACH (c->write_waits, l) {
        bool told = true;

        for (size_t i = 0; i < l->write.n && !l->told; i++)
            told = key_told(&l->keys[i]) && told;
        l->told = told;
        c->awaited = c->awaited || told;
    }
}

void coordinator_written_answer(struct coordinator *c)
{
    bool published = !c->dirty_soon && !c->dirty_late;
    struct write_wait *l, *next;

    assert(c->n_write_waits <= WAITS_MAX);
    assert((c->write_waits == NULL) == (c->n_write_waits == 0));
    DL_FOREACH_SAFE (c->write_waits, l, next)
        if (l->told && published)
            wait_end(l, true);
        else if (c->clock->mono >= l->until)
            wait_end(l, false);
    if (c->awaited && !published)
        coordinator_written_wake(c);
    else if (c->write_waits != NULL)
        soon(c, CHECK_MS);
}

void coordinator_written_end(struct coordinator *c, bool told)
{
    assert(c->leaving);
    while (c->write_waits != NULL)
        if (told)
            wait_end(c->write_waits, false);
        else
            wait_drop(c->write_waits);
    assert(c->n_write_waits == 0);
}
