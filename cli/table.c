/*
 * table.c - lists as people read them: aligned columns, units, ages, "-"
 * for what is not known.
 *
 * Whoever reads through a pipe gets every column and every name whole. On a
 * terminal a table is no wider than that: columns in which nothing stands go
 * first, texts move to lines below their row, names are shortened in the
 * middle, and columns that matter less are left out, which is said.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define CELL_MAX    ((size_t)1024 * 1024)
#define SLACK_MS    100
#define GAP         2  /* blanks between columns */
#define NAME_GOOD   24 /* a name is not made shorter while columns can go */
#define NAME_LEAST  8
#define INDENT      4 /* of a line below its row, */
#define INDENT_MORE 6 /* and of what follows it */

static const struct json *field(const struct json *item, const char *path)
{
    char name[64];

    while (item != NULL && path != NULL) {
        size_t n = strcspn(path, ".");

        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        item = json_get(item, name);
        path = path[n] == '.' ? path + n + 1 : NULL;
    }
    return item;
}

/* --- ages ---------------------------------------------------------------- */

static const struct unit {
    int64_t ms;
    char name;
} units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};

/* The largest that is not larger than it; at least a second. */
static const struct unit *unit_of(int64_t ms)
{
    size_t i = 0;

    while (i + 1 < ARRAY_LEN(units) && ms < units[i].ms)
        i++;
    assert(i < ARRAY_LEN(units));
    return &units[i];
}

void cli_put_age(struct buf *out, int64_t ms)
{
    const struct unit *unit = unit_of(ms);

    buf_printf(out, "%lld%c", (long long)(ms > 0 ? ms / unit->ms : 0),
               unit->name);
}

/* What is left of a time is rounded up: none is said when it is over. Ten
 * minutes that begin now are not eleven, though two clocks were read. */
static void put_left(struct buf *out, int64_t ms)
{
    int64_t unit = unit_of(ms - SLACK_MS - 1)->ms;

    if (ms <= 0)
        buf_str(out, "over");
    else if (ms <= SLACK_MS)
        cli_put_age(out, unit);
    else
        cli_put_age(out, (ms - SLACK_MS + unit - 1) / unit * unit);
}

static void put_string(struct buf *out, const char *text,
                       const struct cli_column *c, wall_ms now)
{
    bool time = c->as == CLI_AGE || c->as == CLI_LEFT;
    wall_ms at;

    assert(text != NULL);
    if (text[0] == '\0')
        buf_char(out, '-');
    else if (!time || !clock_parse_rfc3339(text, &at))
        cli_clean(out, text);
    else if (c->as == CLI_LEFT)
        put_left(out, at - now);
    else
        cli_put_age(out, now - at);
}

/* --- cells --------------------------------------------------------------- */

static void add_list(struct buf *out, const struct json *list,
                     const char *between)
{
    const struct json *item;
    bool first = true;

    json_each (item, list) {
        if (!json_is(item, JSON_STRING))
            continue;
        if (!first)
            buf_str(out, between);
        cli_clean(out, item->string);
        first = false;
    }
    if (first)
        buf_char(out, '-');
}

void cli_text(struct buf *out, const struct json *item,
              const struct cli_column *c, wall_ms now)
{
    const struct json *value = field(item, c->field);

    assert(c->field != NULL || c->make != NULL);
    if (c->make != NULL)
        c->make(out, item);
    else if (json_is(value, JSON_ARRAY))
        add_list(out, value, c->as == CLI_SENTENCES ? "; " : ",");
    else if (json_is(value, JSON_STRING))
        put_string(out, value->string, c, now);
    else if (json_is(value, JSON_NUMBER) && c->as == CLI_PERCENT)
        buf_printf(out, "%.0f%%", value->number * 100);
    else if (json_is(value,
                     JSON_NUMBER)) /* an epoch is copied: all of its digits */
        buf_printf(out, "%.*g", trunc(value->number) == value->number ? 17 : 10,
                   value->number);
    else if (json_is(value, JSON_BOOL))
        buf_str(out, json_true(value) ? "yes" : "no");
    else
        buf_char(out, '-');
}

/* --- layout -------------------------------------------------------------- */

struct table {
    const struct cli_column *columns;
    size_t n, rows;
    char **cells; /* row by row */
    struct place {
        size_t natural, width;
        enum { IN_ROW, EMPTY, BELOW, LEFT_OUT } where;
    } * place;
};

static const char *cell(const struct table *t, size_t row, size_t i)
{
    assert(row < t->rows);
    assert(i < t->n);
    return t->cells[row * t->n + i];
}

static void fill(struct table *t, const struct json *items, wall_ms now)
{
    const struct json *item;
    struct buf text;
    size_t row = 0;

    assert(t->n > 0);
    assert(t->rows > 0);
    buf_init(&text, CELL_MAX);
    json_each (item, items) {
        for (size_t i = 0; i < t->n; i++) {
            buf_reset(&text);
            cli_text(&text, item, &t->columns[i], now);
            t->cells[row * t->n + i] = mem_strdup(buf_text(&text));
        }
        row++;
    }
    buf_close(&text);
    for (size_t i = 0; i < t->n; i++) {
        t->place[i].where = IN_ROW;
        t->place[i].natural = strlen(t->columns[i].title);
        for (row = 0; row < t->rows; row++) {
            size_t width = cli_width(cell(t, row, i));

            if (width > t->place[i].natural)
                t->place[i].natural = width;
        }
        t->place[i].width = t->place[i].natural;
    }
}

static bool empty(const struct table *t, size_t i)
{
    assert(i < t->n);
    for (size_t row = 0; row < t->rows; row++)
        if (strcmp(cell(t, row, i), "-") != 0)
            return false;
    return true;
}

static bool fits(const struct table *t, size_t width)
{
    size_t sum = 0;

    assert(width > 0);
    for (size_t i = 0; i < t->n; i++)
        if (t->place[i].where == IN_ROW)
            sum += t->place[i].width + GAP;
    return sum <= width + GAP;
}

static bool is_right(const struct cli_column *c)
{
    return c->as >= CLI_NUMBER;
}

/* The widest names, a column narrower at a time; numbers stay whole. */
static bool narrow(struct table *t, size_t width, size_t least)
{
    assert(width > 0);
    assert(least > 0);
    while (!fits(t, width)) {
        struct place *widest = NULL;

        for (size_t i = 0; i < t->n; i++)
            if (t->place[i].where == IN_ROW && !is_right(&t->columns[i]) &&
                t->place[i].width > strlen(t->columns[i].title) &&
                t->place[i].width > least &&
                (widest == NULL || t->place[i].width > widest->width))
                widest = &t->place[i];
        if (widest == NULL)
            return false;
        widest->width--;
    }
    return true;
}

/* One column fewer: the one that can best be spared. */
static bool spare(struct table *t)
{
    size_t found = t->n;

    assert(t->n > 0);
    for (size_t i = 0; i < t->n; i++)
        if (t->place[i].where == IN_ROW && t->columns[i].spare > 0 &&
            (found == t->n || t->columns[i].spare > t->columns[found].spare))
            found = i;
    if (found == t->n)
        return false;
    t->place[found].where = LEFT_OUT;
    for (size_t i = 0; i < t->n; i++)
        t->place[i].width = t->place[i].natural;
    return true;
}

static void lay_out(struct table *t, size_t width)
{
    assert(width > 0);
    assert(t->n > 0);
    if (fits(t, width))
        return;
    for (size_t i = 1; i < t->n; i++)
        if (empty(t, i))
            t->place[i].where = EMPTY;
    for (size_t i = t->n; i-- > 0 && !fits(t, width);)
        if (t->columns[i].below && t->place[i].where == IN_ROW)
            t->place[i].where = BELOW;
    while (!narrow(t, width, NAME_GOOD))
        if (!spare(t)) {
            (void)narrow(t, width, NAME_LEAST);
            return;
        }
}

/* --- printing ------------------------------------------------------------ */

static void put_row(struct buf *out, const struct table *t,
                    const char *(*text)(const struct table *, size_t, size_t),
                    size_t row)
{
    size_t gap = 0;
    struct buf shown;

    assert(t->n > 0);
    buf_init(&shown, CELL_MAX);
    for (size_t i = 0; i < t->n; i++) {
        size_t pad;

        if (t->place[i].where != IN_ROW)
            continue;
        buf_reset(&shown);
        cli_shorten(&shown, text(t, row, i), t->place[i].width);
        pad = t->place[i].width - cli_width(buf_text(&shown));
        buf_printf(out, "%*s",
                   (int)(gap + (is_right(&t->columns[i]) ? pad : 0)), "");
        buf_str(out, buf_text(&shown));
        gap = GAP + (is_right(&t->columns[i]) ? 0 : pad); /* none ends a line */
    }
    buf_char(out, '\n');
    buf_close(&shown);
}

static const char *title(const struct table *t, size_t row, size_t i)
{
    assert(i < t->n);
    (void)row;
    return t->columns[i].title;
}

/* A command is to be copied: it is not broken, the terminal does that. */
static void put_below(struct buf *out, const struct table *t, size_t row,
                      size_t width)
{
    assert(row < t->rows);
    for (size_t i = 0; i < t->n; i++) {
        if (t->place[i].where != BELOW || strcmp(cell(t, row, i), "-") == 0)
            continue;
        buf_printf(out, "%*s", INDENT, "");
        for (const char *p = t->columns[i].title; *p != '\0'; p++)
            buf_char(out, *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p);
        buf_str(out, ": ");
        cli_wrap(out, cell(t, row, i), INDENT_MORE,
                 t->columns[i].as == CLI_COMMAND ? 0 : width);
        buf_char(out, '\n');
    }
}

/* How much the too long names of a column share at their beginning, if two
 * neighbours would look alike without what comes behind it; else 0. */
static size_t shared(const struct table *t, size_t i)
{
    struct buf now, before;
    const char *last = NULL;
    size_t n = SIZE_MAX;
    bool alike = false;

    assert(i < t->n);
    assert(t->place[i].where == IN_ROW);
    buf_init(&now, CELL_MAX);
    buf_init(&before, CELL_MAX);
    for (size_t row = 0; row < t->rows; row++) {
        const char *text = cell(t, row, i);
        size_t same = 0;

        if (cli_width(text) <= t->place[i].width)
            continue;
        cli_shorten(&now, text, t->place[i].width);
        while (last != NULL && text[same] != '\0' && text[same] == last[same])
            same++;
        if (last != NULL) {
            n = same < n ? same : n;
            alike |= strcmp(text, last) != 0 &&
                     strcmp(buf_text(&now), buf_text(&before)) == 0;
        }
        buf_reset(&before);
        buf_str(&before, buf_text(&now));
        buf_reset(&now);
        last = text;
    }
    while (alike && n > 0 && ((unsigned char)last[n] & 0xc0) == 0x80)
        n--;
    buf_close(&now);
    buf_close(&before);
    return alike ? n : 0;
}

/* Names that look alike when they are shortened lose what they share first:
 * "...-1.svc...:1234". The last two bytes of it stay, to be recognized. */
static void tell_apart(struct table *t)
{
    assert(t->rows > 0);
    for (size_t i = 0; i < t->n; i++) {
        size_t skip = 0;

        if (t->place[i].where == IN_ROW &&
            t->place[i].width < t->place[i].natural)
            skip = shared(t, i);
        if (skip < 6)
            continue;
        for (size_t row = 0; row < t->rows; row++) {
            char **text = &t->cells[row * t->n + i];
            const char *from = *text + skip - 2;
            struct buf b;

            if (cli_width(*text) <= t->place[i].width)
                continue;
            while (((unsigned char)*from & 0xc0) == 0x80)
                from++;
            buf_init(&b, CELL_MAX);
            buf_printf(&b, "...%s", from);
            mem_free(*text);
            *text = mem_strdup(buf_text(&b));
            buf_close(&b);
        }
    }
}

static void put_left_out(struct buf *out, const struct table *t, size_t width)
{
    struct buf line;

    assert(t->n > 0);
    buf_init(&line, 1024);
    for (size_t i = 0; i < t->n; i++)
        if (t->place[i].where == LEFT_OUT)
            buf_printf(&line, "%s%s", line.len == 0 ? "(left out: " : ", ",
                       t->columns[i].title);
    if (line.len > 0) {
        buf_str(&line, "; a wider terminal, a pipe or --json shows them)");
        cli_wrap(out, buf_text(&line), 1, width);
        buf_char(out, '\n');
    }
    buf_close(&line);
}

static void put(struct buf *out, const struct table *t, size_t width)
{
    assert(t->rows > 0);
    put_row(out, t, title, 0);
    fputs(buf_text(out), stdout);
    for (size_t row = 0; row < t->rows; row++) {
        buf_reset(out);
        put_row(out, t, cell, row);
        put_below(out, t, row, width);
        fputs(buf_text(out), stdout);
    }
    buf_reset(out);
    put_left_out(out, t, width);
    fputs(buf_text(out), stdout);
}

void cli_table(const struct json *items, const struct cli_column *columns,
               size_t n, const char *none, const struct cli_paper *paper)
{
    struct table t = {.columns = columns, .n = n};
    struct buf out;

    t.rows = (size_t)json_count(items);
    if (t.rows == 0) {
        printf("%s\n", none);
        return;
    }
    t.cells = mem_array(t.rows * n, sizeof(*t.cells));
    t.place = mem_array(n, sizeof(*t.place));
    fill(&t, items, paper->now);
    if (paper->width > 0) {
        lay_out(&t, paper->width);
        tell_apart(&t);
    }
    buf_init(&out, 4 * CELL_MAX * n);
    put(&out, &t, paper->width);
    buf_close(&out);
    for (size_t i = 0; i < t.rows * n; i++)
        mem_free(t.cells[i]);
    mem_free(t.cells);
    mem_free(t.place);
}
