/*
 * view_marks.c - the skip list of one owner's markers.
 *
 * How high a mark stands is drawn from a hash of its id, so that the list is
 * the same in every run of the simulator.
 */
#include "work/view_priv.h"

#include "base/mem.h"
#include "base/rand.h"

#include <string.h>

static uint8_t draw_levels(const char *id)
{
    uint64_t bits = hash_str(id, 0x6d61726b73ull);
    uint8_t levels = 1;

    /* One in four goes up. */
    for (; levels < MARKS_LEVELS && (bits & 3) == 0; bits >>= 2)
        levels++;
    assert(levels >= 1 && levels <= MARKS_LEVELS);
    return levels;
}

void work_marks_close(struct marks *m)
{
    struct mark *it = m->head[0];

    while (it != NULL) {
        struct mark *next = it->next[0];

        mem_free(it);
        it = next;
    }
    *m = (struct marks){0};
}

/* Where each level's link to the first mark at or behind `id` is. */
static struct mark *seek(struct marks *m, const char *id,
                         struct mark **links[MARKS_LEVELS])
{
    struct mark **row = m->head;

    for (int level = MARKS_LEVELS - 1; level >= 0; level--) {
        while (row[level] != NULL && strcmp(row[level]->id, id) < 0)
            row = row[level]->next;
        links[level] = &row[level];
    }
    assert(*links[0] == NULL || strcmp((*links[0])->id, id) >= 0);
    return *links[0];
}

struct mark *work_marks_after(const struct marks *m, const char *after)
{
    struct mark *const *row = m->head;

    if (after == NULL)
        return m->head[0];
    for (int level = MARKS_LEVELS - 1; level >= 0; level--)
        while (row[level] != NULL && strcmp(row[level]->id, after) <= 0)
            row = row[level]->next;
    return row[0];
}

struct mark *work_marks_find(const struct marks *m, const char *id)
{
    struct mark *const *row = m->head;

    for (int level = MARKS_LEVELS - 1; level >= 0; level--)
        while (row[level] != NULL && strcmp(row[level]->id, id) < 0)
            row = row[level]->next;
    return row[0] != NULL && strcmp(row[0]->id, id) == 0 ? row[0] : NULL;
}

struct mark *work_marks_put(struct marks *m, const char *id, bool *fresh)
{
    struct mark **links[MARKS_LEVELS];
    struct mark *mark = seek(m, id, links);
    size_t len = strlen(id) + 1;
    uint8_t levels;
    size_t row;

    assert(id[0] != '\0');
    *fresh = mark == NULL || strcmp(mark->id, id) != 0;
    if (!*fresh)
        return mark;
    levels = draw_levels(id);
    row = levels * sizeof(struct mark *);
    mark = mem_alloc(sizeof(*mark) + row + len);
    *mark = (struct mark){.levels = levels};
    mark->id = memcpy((char *)mark + sizeof(*mark) + row, id, len);
    for (uint8_t i = 0; i < levels; i++) {
        mark->next[i] = *links[i];
        *links[i] = mark;
    }
    m->n++;
    assert(mark->levels > 0);
    return mark;
}

bool work_marks_remove(struct marks *m, const char *id)
{
    struct mark **links[MARKS_LEVELS];
    struct mark *mark = seek(m, id, links);

    if (mark == NULL || strcmp(mark->id, id) != 0)
        return false;
    for (uint8_t i = 0; i < mark->levels; i++) {
        assert(*links[i] == mark);
        *links[i] = mark->next[i];
    }
    mem_free(mark);
    assert(m->n > 0);
    m->n--;
    return true;
}
