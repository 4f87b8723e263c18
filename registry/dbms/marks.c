/*
 * marks.c - a table in a few digits a row: the server sends a hash of each row
 * instead of the row, and those of all rows as one text. So to compare a whole
 * table costs it and us little more than to go through it, and what has changed
 * is asked for by id.
 *
 * How long such a text may be is the server's to say, and some end it silently:
 * each row ends with a comma, and how many there are is told beside.
 */
#include "registry/dbms/dbms_priv.h"

void dbms_add_marks(struct dbms *d, char tag, const char *more,
                    const char *mark)
{
    const struct dbms_syntax *w = d->target.driver->syntax;

    assert(mark != NULL);
    buf_printf(&d->sql, "SELECT '%c', count(*), %s%s%s%s%s", tag, w->list,
               more != NULL ? more : "", more != NULL ? w->list_and : "", mark,
               w->list_end);
}

/* One number and the byte behind it; what is none ends it. */
static const char *read_number(const char *at, const char *end, char behind,
                               uint64_t *out)
{
    bool negative = at < end && *at == '-';
    const char *first;
    uint64_t value = 0;

    at += negative;
    first = at;
    for (; at < end && (unsigned char)(*at - '0') < 10; at++)
        value = value * 10 + (uint64_t)(*at - '0');
    *out = negative ? 0 - value : value;
    return at > first && at < end && *at == behind ? at + 1 : NULL;
}

bool dbms_marks_each(const struct dbms_cell *cells, unsigned n,
                     dbms_mark_f *mark, void *arg)
{
    const char *at = cells[2].p, *end = at + cells[2].n;
    uint64_t rows = dbms_u64(&cells[1]);
    uint64_t numbers[DBMS_MARKS_MAX];

    assert(n > 1 && n <= DBMS_MARKS_MAX);
    while (at != NULL && at < end) {
        for (unsigned i = 0; at != NULL && i < n; i++)
            at = read_number(at, end, i + 1 < n ? ' ' : ',', &numbers[i]);
        if (at == NULL || rows == 0)
            return false;
        rows--;
        mark(arg, numbers);
    }
    return rows == 0;
}
