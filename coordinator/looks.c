/*
 * looks.c - whoever wrote sees what it wrote in the next answer.
 *
 * Answers are made of snapshots, and these of what the watches told, which is
 * later than the write. So a write's answer is held until the watches have told
 * it or something later, and a snapshot of that is published. Nothing but the
 * watches changes what we know: a write that was put in directly could be
 * overtaken by an older event of the same key. What they have to reach is more
 * than the version that was overwritten; else, and when they do not get there,
 * a get says it, which is behind the write: it finds it, or what became of it.
 * What a watch would tell late is asked for at once (registry_poll_now()).
 *
 * Another coordinator does the same when it is asked with the write's index. A
 * get reads what everybody has written before, so it needs no version; the
 * index's own says without a get that the write is known here already, and that
 * a server which is behind the others has not answered for all.
 *
 * The settings are not watched: the get itself shows them to the view.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"
#include "base/units.h"
#include "cluster/heartbeat.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define LOOKS_MAX 10000
#define AGAIN_MS  100 /* between two gets of a key that is not told */
#define BEHIND_MS 20  /* the same if the get itself was too early */
#define HURRY_MS  10
#define CHECK_MS  10
#define OURS      "/pelorus/"
#define UNESCAPED                                                              \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/-"

struct look_key {
    struct coordinator_look *look;
    struct write_key *is;      /* in look->write: as it was found */
    uint64_t created, version; /* to be reached */
    bool asked;                /* a get is under way */
    bool found;                /* one was answered, and was not too early */
    bool told;
    mono_ms asked_at, hurried;
};

struct coordinator_look {
    struct coordinator *c;
    struct write_index write;
    struct look_key keys[WRITE_KEYS_MAX];
    bool told; /* all of them */
    mono_ms until;
    coordinator_looked_f *looked;
    void *arg;
    struct coordinator_look *next, *prev;
};

/* --- the index as text --------------------------------------------------- */

/* Of all that is written, what answers are made of; the rest is read from the
 * registry whenever it is asked for. */
static bool concerns(const char *key)
{
    static const char *const prefixes[] = {OWN_NODES_PREFIX, GATE_PREFIX,
                                           MARKER_PREFIX, GROUPS_PREFIX};

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

void coordinator_index_add_over(struct write_index *w, const char *key,
                                uint64_t created, uint64_t version)
{
    coordinator_index_add(w, key);
    assert(w->n > 0 && strcmp(w->keys[w->n - 1].key, key) == 0);
    w->keys[w->n - 1].created = created;
    w->keys[w->n - 1].version = version + 1;
}

const char *coordinator_index_text(const struct write_index *w,
                                   char out[WRITE_INDEX_SIZE])
{
    struct buf b;

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
    if (c->soon != NULL)
        c->soon(c->soon_arg, ms);
}

/* As soon as it may be published again. */
void coordinator_looks_stir(struct coordinator *c)
{
    int64_t gap = coordinator_publish_gap(c) - (c->clock->mono - c->published);

    if (c->looks != NULL)
        soon(c, gap > 0 ? gap : 0);
}

static bool early(const struct look_key *k)
{
    return k->is->created != 0 &&
           (k->is->created < k->created ||
            (k->is->created == k->created && k->is->version < k->version));
}

static void on_got(void *arg, const struct registry_reply *reply)
{
    struct look_key *k = arg;
    struct coordinator *c = k->look->c;
    const struct registry_entry *e =
        reply->err.code == ERR_OK ? &reply->entries[0] : NULL;

    k->asked = false;
    if (e == NULL && reply->err.code != ERR_NOT_FOUND)
        return; /* again, as long as somebody waits */
    k->is->created = e != NULL ? e->created : 0;
    k->is->version = e != NULL ? e->version : 0;
    k->found = !early(k);
    if (strcmp(k->is->key, SETTINGS_KEY) == 0)
        work_view_show_settings(c->view, e);
    coordinator_looks_stir(c);
}

static void key_ask(struct look_key *k)
{
    struct coordinator *c = k->look->c;

    k->asked = true;
    k->asked_at = c->clock->mono;
    registry_get(c->registry, k->is->key, on_got, k);
}

static bool key_told(struct look_key *k)
{
    struct coordinator *c = k->look->c;
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

static void key_begin(struct look_key *k, bool ours)
{
    struct coordinator *c = k->look->c;

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

int coordinator_look(struct coordinator *c, const struct write_index *write,
                     bool ours, int64_t wait_ms, coordinator_looked_f *looked,
                     void *arg)
{
    struct coordinator_look *l;

    assert(wait_ms >= 0 && looked != NULL && write->n <= WRITE_KEYS_MAX);
    if (c->n_looks >= LOOKS_MAX || c->leaving)
        return ERR_FULL;
    l = mem_zalloc(sizeof(*l));
    l->c = c;
    l->write = *write;
    l->until = c->clock->mono + wait_ms;
    l->looked = looked;
    l->arg = arg;
    DL_APPEND(c->looks, l);
    c->n_looks++;
    for (size_t i = 0; i < write->n; i++) {
        struct look_key *k = &l->keys[i];

        k->look = l;
        k->is = &l->write.keys[i];
        key_begin(k, ours);
    }
    coordinator_looks_stir(c);
    return 0;
}

static void look_drop(struct coordinator_look *l)
{
    struct coordinator *c = l->c;

    DL_DELETE(c->looks, l);
    c->n_looks--;
    mem_free(l);
}

static void look_end(struct coordinator_look *l, bool seen)
{
    for (size_t i = 0; i < l->write.n; i++)
        if (l->keys[i].asked)
            registry_forget(l->c->registry, &l->keys[i]);
    l->looked(l->arg, seen, &l->write);
    look_drop(l);
}

void coordinator_looks_tick(struct coordinator *c)
{
    struct coordinator_look *l;

    c->awaited = false;
    DL_FOREACH(c->looks, l)
    {
        bool told = true;

        for (size_t i = 0; i < l->write.n && !l->told; i++)
            told = key_told(&l->keys[i]) && told;
        l->told = told;
        c->awaited = c->awaited || told;
    }
}

void coordinator_looks_answer(struct coordinator *c)
{
    bool published = !c->dirty_soon && !c->dirty_late;
    struct coordinator_look *l, *next;

    DL_FOREACH_SAFE(c->looks, l, next)
    {
        if (l->told && published)
            look_end(l, true);
        else if (c->clock->mono >= l->until)
            look_end(l, false);
    }
    if (c->awaited && !published)
        coordinator_looks_stir(c);
    else if (c->looks != NULL)
        soon(c, CHECK_MS);
}

void coordinator_looks_end(struct coordinator *c)
{
    while (c->looks != NULL)
        look_end(c->looks, false);
    assert(c->n_looks == 0);
}

void coordinator_looks_abandon(struct coordinator *c)
{
    while (c->looks != NULL)
        look_drop(c->looks);
}
