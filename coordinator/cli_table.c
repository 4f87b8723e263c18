/*
 * cli_table.c - lists as people read them: aligned columns, units, "-" for
 * what is not known.
 *
 * Two walks: the widths first, then the lines. Text from the registry is shown
 * without its control characters, and without those that turn the direction of
 * writing: a node's name must not steer a terminal. Widths are columns, not
 * characters; the few ranges that matter stand here, so that it needs no
 * locale.
 */
#include "coordinator/cli_priv.h"

#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

#define CELL_MAX 256

static const cJSON *field(const cJSON *item, const char *path)
{
    char name[64];

    while (item != NULL && path != NULL) {
        size_t n = strcspn(path, ".");

        snprintf(name, sizeof(name), "%.*s", (int)n, path);
        item = cJSON_GetObjectItemCaseSensitive(item, name);
        path = path[n] == '.' ? path + n + 1 : NULL;
    }
    return item;
}

/* --- characters ----------------------------------------------------------- */

struct range {
    uint32_t first, last;
};

static const struct range steering[] = {
    {0x00, 0x1f},     {0x7f, 0x9f},     {0x61c, 0x61c},   {0x200e, 0x200f},
    {0x2028, 0x202e}, {0x2066, 0x2069}, {0xfeff, 0xfeff},
};
/* Combining marks, joiners, variation selectors. */
static const struct range narrow[] = {
    {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},     {0x64b, 0x65f},
    {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x200b, 0x200d},   {0x20d0, 0x20ff},
    {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}, {0xe0100, 0xe01ef},
};
/* East Asian wide and full-width, and pictures. */
static const struct range wide[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0x33ff},
    {0x3400, 0x4dbf},   {0x4e00, 0x9fff},   {0xa000, 0xa4cf},
    {0xa960, 0xa97c},   {0xac00, 0xd7a3},   {0xf900, 0xfaff},
    {0xfe30, 0xfe6f},   {0xff00, 0xff60},   {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f680, 0x1f6ff}, {0x1f900, 0x1f9ff},
    {0x20000, 0x3fffd},
};

static bool among(uint32_t c, const struct range *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c >= list[i].first && c <= list[i].last)
            return true;
    return false;
}

/* The character at *text, and past it; U+FFFD for a broken one. */
static uint32_t take(const char **text)
{
    static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    size_t n = json_utf8(*text, strlen(*text));
    const unsigned char *p = (const unsigned char *)*text;
    uint32_t c;

    if (n == 0) {
        (*text)++;
        return 0xfffd;
    }
    c = p[0] & mask[n];
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3f);
    *text += n;
    return c;
}

void cli_clean(struct buf *out, const char *text)
{
    while (*text != '\0') {
        const char *from = text;
        uint32_t c = take(&text);

        if (c == 0xfffd || among(c, steering, ARRAY_LEN(steering)))
            buf_char(out, '?');
        else
            buf_add(out, from, (size_t)(text - from));
    }
}

size_t cli_width(const char *text)
{
    size_t n = 0;

    while (*text != '\0') {
        uint32_t c = take(&text);

        if (!among(c, narrow, ARRAY_LEN(narrow)))
            n += among(c, wide, ARRAY_LEN(wide)) ? 2 : 1;
    }
    return n;
}

void cli_say(FILE *to, const char *text)
{
    struct buf line;

    buf_init(&line, strlen(text) + 1);
    cli_clean(&line, text);
    fprintf(to, "%s\n", buf_text(&line));
    buf_close(&line);
}

/* --- cells ---------------------------------------------------------------- */

static void add_list(struct buf *out, const cJSON *list)
{
    const cJSON *item;
    bool first = true;

    cJSON_ArrayForEach(item, list)
    {
        if (!cJSON_IsString(item))
            continue;
        if (!first)
            buf_char(out, ',');
        cli_clean(out, item->valuestring);
        first = false;
    }
    if (first)
        buf_char(out, '-');
}

void cli_text(struct buf *out, const cJSON *item, const struct cli_column *c)
{
    const cJSON *value = field(item, c->field);

    if (cJSON_IsArray(value))
        add_list(out, value);
    else if (cJSON_IsString(value))
        cli_clean(out, value->valuestring[0] ? value->valuestring : "-");
    else if (cJSON_IsNumber(value) && c->as == CLI_PERCENT)
        buf_printf(out, "%.0f%%", value->valuedouble * 100);
    else if (cJSON_IsNumber(value))
        buf_printf(out, "%.10g", value->valuedouble);
    else if (cJSON_IsBool(value))
        buf_str(out, cJSON_IsTrue(value) ? "yes" : "no");
    else
        buf_char(out, '-');
}

/* What is too long ends in dots, at the end of a character. */
static void make_cell(struct buf *cell, const cJSON *item,
                      const struct cli_column *column)
{
    buf_reset(cell);
    cli_text(cell, item, column);
    if (!cell->overflow)
        return;
    cell->len -= cell->len > 4 ? 4 : cell->len;
    while (cell->len > 0 &&
           ((unsigned char)cell->data[cell->len] & 0xc0) == 0x80)
        cell->len--;
    cell->overflow = false;
    buf_str(cell, "...");
}

static void print_cell(const char *text, size_t width, bool right, bool last)
{
    size_t used = cli_width(text);
    int pad = (int)(width > used ? width - used : 0);

    if (right)
        printf("%*s%s%s", pad, "", text, last ? "\n" : "  ");
    else if (last)
        printf("%s\n", text);
    else
        printf("%s%*s  ", text, pad, "");
}

void cli_table(const cJSON *items, const struct cli_column *columns, size_t n,
               const char *none)
{
    size_t *widths = mem_array(n, sizeof(*widths));
    const cJSON *item;
    struct buf cell;

    if (cJSON_GetArraySize(items) == 0) {
        printf("%s\n", none);
        mem_free(widths);
        return;
    }
    buf_init(&cell, CELL_MAX);
    for (size_t i = 0; i < n; i++) {
        widths[i] = strlen(columns[i].title);
        cJSON_ArrayForEach(item, items)
        {
            make_cell(&cell, item, &columns[i]);
            if (cli_width(buf_text(&cell)) > widths[i])
                widths[i] = cli_width(buf_text(&cell));
        }
    }
    for (size_t i = 0; i < n; i++)
        print_cell(columns[i].title, widths[i], columns[i].right, i + 1 == n);
    cJSON_ArrayForEach(item, items)
    {
        for (size_t i = 0; i < n; i++) {
            make_cell(&cell, item, &columns[i]);
            print_cell(buf_text(&cell), widths[i], columns[i].right,
                       i + 1 == n);
        }
    }
    buf_close(&cell);
    mem_free(widths);
}
