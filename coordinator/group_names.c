/*
 * group_names.c - every group's name once.
 *
 * A name is shared by the definitions and the workers that carry it and goes
 * with the last of them, so that comparing two is comparing pointers and a
 * snapshot of ten thousand workers need not sort their groups' names.
 */
#include "coordinator/coordinator_priv.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

struct group_name *group_name_get(struct coordinator *c, const char *text)
{
    size_t len = strlen(text);
    struct group_name *n;

    HASH_FIND(hh, c->names, text, len, n);
    if (n == NULL) {
        n = mem_zalloc(sizeof(*n) + len + 1);
        memcpy(n->text, text, len + 1);
        HASH_ADD(hh, c->names, text[0], len, n);
    }
    n->refs++;
    return n;
}

void group_name_put(struct coordinator *c, struct group_name *n)
{
    assert(n->refs > 0);
    if (--n->refs > 0)
        return;
    assert(c->names != NULL);
    HASH_DEL(c->names, n);
    mem_free(n);
}

static size_t list_place(const struct group_list *l, const char *text)
{
    size_t low = 0, high = l->n;

    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(l->names[mid]->text, text) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void group_list_add(struct coordinator *c, struct group_list *l,
                    const char *text)
{
    size_t at = list_place(l, text);

    if (at < l->n && strcmp(l->names[at]->text, text) == 0)
        return;
    l->names = mem_regrow(l->names, l->n + 1, sizeof(struct group_name *));
    memmove(&l->names[at + 1], &l->names[at],
            (l->n - at) * sizeof(struct group_name *));
    l->names[at] = group_name_get(c, text);
    l->n++;
}

void group_list_remove(struct coordinator *c, struct group_list *l,
                       const char *text)
{
    size_t at = list_place(l, text);

    if (at == l->n || strcmp(l->names[at]->text, text) != 0)
        return;
    group_name_put(c, l->names[at]);
    l->n--;
    memmove(&l->names[at], &l->names[at + 1],
            (l->n - at) * sizeof(struct group_name *));
}

void group_list_close(struct coordinator *c, struct group_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        group_name_put(c, l->names[i]);
    MEM_FREE(l->names);
    l->n = 0;
}
