/*
 * unfit.c - what stands in the store below a watched prefix and can be no key
 * of ours: so it is told to nobody, but that it stands there is.
 *
 * Names are arbitrary bytes; they are shown with what cannot be printed
 * escaped, and long ones cut. Each watch remembers which it told, so that each
 * is told once, and again when it is gone; beyond UNFIT_MAX none is.
 */
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
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

static void show(struct buf *out, const char *key, size_t len)
{
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

static struct registry_unfit_key *find(const struct registry_watch *w,
                                       const struct buf *text)
{
    struct registry_unfit_key *k;

    HASH_FIND(hh, w->unfit, buf_text(text), text->len, k);
    return k;
}

static void tell(const struct registry_watch *w,
                 const struct registry_unfit_key *k, const char *reason)
{
    if (w->r->unfit != NULL && w->fn != NULL && !w->r->mute && !w->r->closing)
        w->r->unfit(w->r->unfit_arg, k->text, reason);
}

static void drop(struct registry_watch *w, struct registry_unfit_key *k)
{
    HASH_DEL(w->unfit, k);
    mem_free(k->reason);
    mem_free(k);
}

static void stands(struct registry_watch *w, const struct buf *text,
                   const char *reason)
{
    struct registry_unfit_key *k = find(w, text);

    if (k == NULL && HASH_COUNT(w->unfit) == UNFIT_MAX)
        return;
    if (k == NULL) {
        k = mem_zalloc(sizeof(*k) + text->len + 1);
        memcpy(k->text, buf_text(text), text->len + 1);
        HASH_ADD(hh, w->unfit, text[0], text->len, k);
    }
    k->look = w->look;
    if (k->reason != NULL && strcmp(k->reason, reason) == 0)
        return;
    mem_free(k->reason);
    k->reason = mem_strdup(reason);
    tell(w, k, k->reason);
}

void registry_view_unfit(struct registry_watch *w, const char *key, size_t len,
                         const char *reason)
{
    struct buf text;

    if (w->fn == NULL)
        return;
    show(&text, key, len);
    stands(w, &text, reason);
    buf_close(&text);
}

void registry_view_unfit_gone(struct registry_watch *w, const char *key,
                              size_t len)
{
    struct registry_unfit_key *k;
    struct buf text;

    if (w->unfit == NULL)
        return;
    show(&text, key, len);
    k = find(w, &text);
    if (k != NULL) {
        tell(w, k, NULL);
        drop(w, k);
    }
    buf_close(&text);
}

void registry_unfit_end(struct registry_watch *w)
{
    struct registry_unfit_key *k, *next;

    HASH_ITER(hh, w->unfit, k, next)
    {
        if (k->look != w->look) {
            tell(w, k, NULL);
            drop(w, k);
        }
    }
}

void registry_unfit_free(struct registry_watch *w)
{
    struct registry_unfit_key *k, *next;

    HASH_ITER(hh, w->unfit, k, next)
    {
        drop(w, k);
    }
}
