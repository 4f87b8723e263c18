/*
 * cli_table.c - lists as people read them: aligned columns, units, "-" for
 * what is not known.
 *
 * Two walks: the widths first, then the lines. Text from the registry is shown
 * without its control characters: a node's name must not steer a terminal.
 */
#include "coordinator/cli_priv.h"

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

static void add_clean(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++)
        buf_char(out, (unsigned char)*text < 0x20 || *text == 0x7f ? '?'
                                                                   : *text);
}

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
        add_clean(out, item->valuestring);
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
        add_clean(out, value->valuestring[0] ? value->valuestring : "-");
    else if (cJSON_IsNumber(value) && c->as == CLI_PERCENT)
        buf_printf(out, "%.0f%%", value->valuedouble * 100);
    else if (cJSON_IsNumber(value))
        buf_printf(out, "%.10g", value->valuedouble);
    else if (cJSON_IsBool(value))
        buf_str(out, cJSON_IsTrue(value) ? "yes" : "no");
    else
        buf_char(out, '-');
}

static size_t cell_width(const struct buf *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->len; i++)
        n += ((unsigned char)b->data[i] & 0xc0) != 0x80; /* UTF-8 */
    return n;
}

static void print_cell(const struct buf *b, size_t width, bool right, bool last)
{
    size_t used = cell_width(b);
    int pad = (int)(width > used ? width - used : 0);

    if (right)
        printf("%*s%s%s", pad, "", buf_text(b), last ? "\n" : "  ");
    else if (last)
        printf("%s\n", buf_text(b));
    else
        printf("%s%*s  ", buf_text(b), pad, "");
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
            buf_reset(&cell);
            cli_text(&cell, item, &columns[i]);
            if (cell_width(&cell) > widths[i])
                widths[i] = cell_width(&cell);
        }
    }
    for (size_t i = 0; i < n; i++) {
        buf_reset(&cell);
        buf_str(&cell, columns[i].title);
        print_cell(&cell, widths[i], columns[i].right, i + 1 == n);
    }
    cJSON_ArrayForEach(item, items)
    {
        for (size_t i = 0; i < n; i++) {
            buf_reset(&cell);
            cli_text(&cell, item, &columns[i]);
            print_cell(&cell, widths[i], columns[i].right, i + 1 == n);
        }
    }
    buf_close(&cell);
    mem_free(widths);
}
