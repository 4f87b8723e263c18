/*
 * text.c - text from elsewhere on a terminal: without its control
 * characters, and without those that turn the direction of writing (a node's
 * name must not steer a terminal), as wide as it is shown, shortened and
 * wrapped.
 *
 * Widths are columns, not characters; the few ranges that matter stand here,
 * so that it needs no locale.
 */
#include "cli/cli_priv.h"

#include "base/json/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TERMINAL_WIDTH 80 /* of one that does not say */

/* --- characters ---------------------------------------------------------- */

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
    assert(n > 0);
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

    assert(**text != '\0');
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

void cli_say(FILE *to, const char *text)
{
    struct buf line;

    assert(to == stdout || to == stderr);
    buf_init(&line, strlen(text) + 1);
    cli_clean(&line, text);
    fprintf(to, "%s\n", buf_text(&line));
    buf_close(&line);
}

/* --- the width of a terminal --------------------------------------------- */

/* $COLUMNS is what a user asks for; a terminal knows its own. */
size_t cli_terminal(void)
{
    const char *asked = getenv("COLUMNS");
    struct winsize size = {0};
    long columns = 0;

    if (!isatty(STDOUT_FILENO))
        return 0;
    if (asked != NULL && asked[0] >= '1' && asked[0] <= '9')
        columns = strtol(asked, NULL, 10);
    if (columns > 0 && columns <= UINT16_MAX)
        return (size_t)columns;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return TERMINAL_WIDTH;
}

/* --- shorter ------------------------------------------------------------- */

static size_t character_width(uint32_t c)
{
    if (among(c, narrow, ARRAY_LEN(narrow)))
        return 0;
    return among(c, wide, ARRAY_LEN(wide)) ? 2 : 1;
}

size_t cli_width(const char *text)
{
    size_t n = 0;

    while (*text != '\0')
        n += character_width(take(&text));
    return n;
}

/* As much of it as `width` columns hold. */
static const char *head(const char *text, size_t width)
{
    for (const char *next = text; *text != '\0'; text = next) {
        size_t w = character_width(take(&next));

        if (w > width)
            break;
        width -= w;
    }
    return text;
}

/* Its last `width` columns at most. */
static const char *tail(const char *text, size_t width)
{
    size_t all = cli_width(text);

    while (all > width)
        all -= character_width(take(&text));
    /* a mark without the character that it stood on */
    for (const char *next = text; *text != '\0'; text = next)
        if (character_width(take(&next)) > 0)
            break;
    return text;
}

/* In the middle: names differ at their ends, and addresses have ports. */
void cli_shorten(struct buf *out, const char *text, size_t width)
{
    static const char dots[] = "...";
    size_t n = sizeof(dots) - 1, front;
    const char *end;

    assert(width > 0);
    if (cli_width(text) <= width) {
        buf_str(out, text);
        return;
    }
    if (width <= 2 * n) {
        end = head(text, width);
        buf_add(out, text, (size_t)(end - text));
        return;
    }
    front = (width - n + 1) / 2;
    end = head(text, front);
    buf_add(out, text, (size_t)(end - text));
    buf_str(out, dots);
    buf_str(out, tail(end, width - n - front));
}

/* --- wrapped ------------------------------------------------------------- */

/* The end of the piece at `text` that is not parted: up to a blank, or with
 * the comma behind it. */
static const char *piece(const char *text)
{
    text += strcspn(text, " ,");
    return *text == ',' ? text + 1 : text;
}

/* A piece that is wider than a line of its own is cut. */
static size_t put_piece(struct buf *out, const char *from, const char *end,
                        size_t at, size_t indent, size_t width)
{
    assert(from <= end);
    assert(width > 0);
    while (from < end) {
        char *rest = mem_strndup(from, (size_t)(end - from));
        const char *fits = head(rest, width > at ? width - at : 1);
        size_t n = (size_t)(fits - rest);

        if (n == 0) /* one column, and a character of two */
            n = (size_t)(end - from);
        buf_add(out, from, n);
        from += n;
        rest[n] = '\0';
        at += cli_width(rest);
        mem_free(rest);
        if (from < end) {
            buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        }
    }
    return at;
}

void cli_wrap(struct buf *out, const char *text, size_t indent, size_t width)
{
    const char *line = strrchr(buf_text(out), '\n');
    size_t start = cli_width(line != NULL ? line + 1 : buf_text(out));
    size_t at = start;

    assert(text != NULL);
    if (width == 0 || indent + 8 > width) {
        buf_str(out, text);
        return;
    }
    while (*text != '\0') {
        size_t blanks = strspn(text, " ");
        const char *from = text + blanks, *end = piece(from);
        char *word = mem_strndup(from, (size_t)(end - from));
        size_t w = cli_width(word);

        mem_free(word);
        if (at > indent && at > start && at + blanks + w > width) {
            buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else {
            buf_add(out, text, blanks);
            at += blanks;
        }
        at = put_piece(out, from, end, at, indent, width);
        text = end;
    }
}
