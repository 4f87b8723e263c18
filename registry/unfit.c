/*
 * unfit.c - what stands in the store below a watched prefix and can be no key
 * of ours: so it is told to nobody, but that it stands there is.
 *
 * Names are arbitrary bytes; they are shown with what cannot be printed
 * escaped, and long ones cut. Each watch remembers which it told, so that each
 * is told once, and again when it is gone; beyond UNFIT_MAX none is.
 */
#include "base/buf.h"
#include "base/rand.h"
#include "base/table.h"
#include "registry/registry_priv.h"

#include <string.h>

#define UNFIT_MAX 1000
#define SHOWN_MAX 200 /* bytes of a name */

struct registry_unfit_key {
    UT_hash_handle hh;
    uint32_t look; /* the last full look that it was seen in, or after */
    char *reason;
    char text[];
};

void registry_on_unfit(struct registry *r, registry_unfit_f *fn, void *arg)
{
    r->unfit = fn;
    r->unfit_arg = arg;
}

static void show_name(struct buf *out, const char *key, size_t len)
{
    assert(key != NULL || len == 0);
    buf_init(out, SHOWN_MAX * 4 + 64);
    for (size_t i = 0; i < len && i < SHOWN_MAX; i++) {
        unsigned char c = (unsigned char)key[i];

        if (c < 0x20 || c == 0x7f || c == '\\')
            buf_printf(out, "\\x%02x", c);
        else
            buf_add(out, &key[i], 1);
    }
    if (len > SHOWN_MAX) {
        buf_printf(out, "... (%zu bytes, hash %016llx)", len,
                   (unsigned long long)hash_bytes(key, len, 0));
    }
}

static void tell_unfit(const struct registry_watch *w,
                       const struct registry_unfit_key *k, const char *reason)
{
    if (w->r->unfit != NULL && w->fn != NULL && !w->r->mute && !w->r->closing)
        w->r->unfit(w->r->unfit_arg, k->text, reason);
}

static void drop_unfit(struct registry_watch *w, struct registry_unfit_key *k,
                       bool told)
{
    assert(w->unfit != NULL);
    if (told)
        tell_unfit(w, k, NULL);
    HASH_DEL(w->unfit, k);
    mem_free(k->reason);
    mem_free(k);
}

static void note_unfit(struct registry_watch *w, struct registry_unfit_key *k,
                       const struct buf *text, const char *reason)
{
    if (k == NULL && HASH_COUNT(w->unfit) == UNFIT_MAX)
        return;
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k) + text->len + 1);
        memcpy(k->text, buf_text(text), text->len + 1);
        HASH_ADD(hh, w->unfit, text[0], text->len, k);
    }
    assert(HASH_COUNT(w->unfit) <= UNFIT_MAX);
    k->look = w->look;
    if (k->reason != NULL && strcmp(k->reason, reason) == 0)
        return;
    mem_free(k->reason);
    k->reason = mem_strdup(reason);
    tell_unfit(w, k, k->reason);
}

void registry_diff_unfit(struct registry_watch *w, const char *key, size_t len,
                         const char *reason)
{
    struct registry_unfit_key *k;
    struct buf text;

    if (w->fn == NULL || (reason == NULL && w->unfit == NULL))
        return;
    show_name(&text, key, len);
    HASH_FIND(hh, w->unfit, buf_text(&text), text.len, k);
    if (reason != NULL)
        note_unfit(w, k, &text, reason);
    else if (k != NULL)
        drop_unfit(w, k, true);
    buf_close(&text);
}

void registry_unfit_sweep(struct registry_watch *w, bool all)
{
    struct registry_unfit_key *k, *next;

    HASH_ITER (hh, w->unfit, k, next)
        if (all || k->look != w->look)
            drop_unfit(w, k, !all);
    assert(!all || w->unfit == NULL);
}
