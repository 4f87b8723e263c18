/*
 * conf_yaml.c - a YAML text becomes a flat list of "a.b.c" and its value.
 *
 * libyaml's events are enough and keep the line of everything; no tree is
 * built. Of YAML we take blocks, lists of plain values and plain values:
 * anchors, aliases and tags are refused, which also leaves no way to make a
 * small file large.
 */
#include "conf/conf_priv.h"

#include "base/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

struct reader {
    struct conf_doc *doc;
    struct conf_report *report;
    const char *text;
    size_t len;
    char path[CONF_PATH_MAX];
    size_t path_len[CONF_DEPTH_MAX + 1]; /* of the block at each depth */
    size_t depth;                        /* open blocks */
    bool want_value;                     /* a key has been read */
    bool in_list;
    unsigned documents;
    unsigned key_line;
};

void conf_problem(struct conf_report *report, unsigned line, const char *key,
                  const char *fmt, ...)
{
    char what[ERR_MSG_MAX], place[32] = "";
    struct err whole;
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    if (line > 0)
        (void)snprintf(place, sizeof(place), ":%u", line);
    err_set(&whole, ERR_INVALID, "%s%s: %s%s%s", report->file, place, key,
            key[0] == '\0' ? "" : ": ", what);
    assert(whole.msg[0] != '\0');
    if (report->n++ == 0 && report->err != NULL)
        *report->err = whole;
    if (report->problems != NULL)
        buf_printf(report->problems, "%s\n", whole.msg);
}

static bool refuse(struct reader *r, const yaml_event_t *event,
                   const char *what)
{
    conf_problem(r->report, (unsigned)event->start_mark.line + 1,
                 r->want_value || r->in_list ? r->path : "", "%s", what);
    return false;
}

static struct conf_entry *add_entry(struct reader *r)
{
    struct conf_doc *doc = r->doc;
    struct conf_entry *e;

    assert(r->depth > 0);
    assert(r->path[0] != '\0');
    assert(doc->n < CONF_ENTRIES_MAX);
    if (doc->n == doc->cap) {
        doc->cap = doc->cap == 0 ? 64 : doc->cap * 2;
        doc->entries = mem_regrow(doc->entries, doc->cap, sizeof(*e));
    }
    e = &doc->entries[doc->n++];
    *e = (struct conf_entry){.path = mem_strdup(r->path), .line = r->key_line};
    return e;
}

static bool too_many(struct reader *r, const yaml_event_t *event)
{
    if (r->doc->n + r->doc->n_items < CONF_ENTRIES_MAX)
        return false;
    (void)refuse(r, event, "more than 10000 values; this is no configuration");
    return true;
}

static void add_item(struct reader *r, struct conf_entry *e,
                     const yaml_event_t *event)
{
    assert(e->kind == CONF_SCALAR || e->kind == CONF_ITEMS);
    assert(event->type == YAML_SCALAR_EVENT);
    /* Grows by doubling: powers of two are full. */
    if ((e->n_items & (e->n_items - 1)) == 0) {
        e->items = mem_regrow(e->items, e->n_items == 0 ? 1 : e->n_items * 2,
                              sizeof(*e->items));
    }
    e->items[e->n_items++] =
        (struct conf_item){mem_strdup((const char *)event->data.scalar.value),
                           (unsigned)event->start_mark.line + 1};
    r->doc->n_items++;
}

/* What only looks like a blank, of those that are pasted. */
static bool has_odd_blank(const char *text)
{
    return strstr(text, "\xc2\xa0") != NULL ||
           strstr(text, "\xe2\x80\x8b") != NULL ||
           strstr(text, "\xe3\x80\x80") != NULL;
}

#define ODD_BLANK "a blank that is none (a no-break space?); write a plain one"

static bool on_key(struct reader *r, const yaml_event_t *event)
{
    const char *key = (const char *)event->data.scalar.value;
    size_t base = r->path_len[r->depth];
    size_t len = event->data.scalar.length;

    assert(!r->want_value);
    assert(!r->in_list);
    assert(base < sizeof(r->path));
    r->path[base] = '\0';
    if (len == 0)
        return refuse(r, event, "an empty key; give it a name");
    if (has_odd_blank(key))
        return refuse(r, event, ODD_BLANK);
    if (base + 1 + len + 1 > sizeof(r->path))
        return refuse(r, event, "a key longer than 255 bytes; shorten it");
    if (base > 0)
        r->path[base++] = '.';
    memcpy(r->path + base, key, len + 1);
    r->key_line = (unsigned)event->start_mark.line + 1;
    for (size_t i = base; r->path[i] != '\0'; i++) {
        if ((unsigned char)r->path[i] < ' ' || r->path[i] == 0x7f) {
            r->path[i] = '?';
            r->want_value = true;
            return refuse(r, event, "control character in a key; remove it");
        }
    }
    r->want_value = true;
    return true;
}

static bool is_null(const yaml_event_t *event)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    const char *text = (const char *)event->data.scalar.value;

    assert(event->type == YAML_SCALAR_EVENT);
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           conf_text_index(text, nulls, strcmp) >= 0;
}

static bool refuse_lone(struct reader *r, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    char what[200];

    (void)snprintf(what, sizeof(what),
                   "a lone value, \"%.60s\"; write \"key: value\"%s", text,
                   has_odd_blank(text)         ? " with plain blanks"
                   : strchr(text, ':') != NULL ? ", with a blank behind the ':'"
                                               : "");
    return refuse(r, event, what);
}

static bool on_scalar(struct reader *r, const yaml_event_t *event)
{
    struct conf_entry *e;

    if (strlen((const char *)event->data.scalar.value) !=
        event->data.scalar.length)
        return refuse(r, event, "NUL character; remove it");
    if (event->data.scalar.length > CONF_VALUE_MAX)
        return refuse(r, event, "longer than 4096 bytes; shorten it");
    if (r->depth == 0) {
        /* An empty document is one null. */
        return is_null(event) || refuse_lone(r, event);
    }
    if (!r->in_list && !r->want_value)
        return on_key(r, event);
    if (too_many(r, event))
        return false;
    if (r->in_list) {
        add_item(r, &r->doc->entries[r->doc->n - 1], event);
        return true;
    }
    r->want_value = false;
    e = add_entry(r);
    e->kind = is_null(event) ? CONF_NULL : CONF_SCALAR;
    if (e->kind == CONF_SCALAR)
        add_item(r, e, event);
    return true;
}

/* A list, or a block, begins. */
static bool on_open(struct reader *r, const yaml_event_t *event, bool list)
{
    assert(r->depth <= CONF_DEPTH_MAX);
    if (r->in_list)
        return refuse(r, event,
                      list ? "a list in a list; write plain values"
                           : "a block in a list; write plain values");
    if (!r->want_value && (list || r->depth > 0))
        return refuse(
            r, event,
            list ? "a list where a key belongs; write \"key: value\""
                 : "a block where a key belongs; write \"key: value\"");
    if (!list && r->depth == CONF_DEPTH_MAX)
        return refuse(r, event, "nested too deeply; no key stands there");
    if (too_many(r, event))
        return false;
    /* Blocks, too, so that "listen: {}" is seen to be no text. */
    if (r->depth > 0)
        add_entry(r)->kind = list ? CONF_ITEMS : CONF_BLOCK;
    r->in_list = list;
    if (list)
        return true;
    r->path_len[r->depth + 1] = r->depth == 0 ? 0 : strlen(r->path);
    r->depth++;
    r->want_value = false;
    return true;
}

static bool has_extras(const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return event->data.scalar.anchor != NULL ||
               event->data.scalar.tag != NULL;
    case YAML_SEQUENCE_START_EVENT:
        return event->data.sequence_start.anchor != NULL ||
               event->data.sequence_start.tag != NULL;
    case YAML_MAPPING_START_EVENT:
        return event->data.mapping_start.anchor != NULL ||
               event->data.mapping_start.tag != NULL;
    default:
        return event->type == YAML_ALIAS_EVENT;
    }
}

static bool on_event(struct reader *r, const yaml_event_t *event)
{
    assert(!r->in_list || r->depth > 0);
    if (has_extras(event)) {
        return refuse(
            r, event,
            "anchors (&), aliases (*) and tags (!) are not taken; write the "
            "value out, in quotes if it begins with one of these");
    }
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return r->documents++ == 0 ||
               refuse(r, event, "a second document (---); keep one");
    case YAML_SCALAR_EVENT:
        return on_scalar(r, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(r, event, true);
    case YAML_MAPPING_START_EVENT:
        return on_open(r, event, false);
    case YAML_SEQUENCE_END_EVENT:
        r->in_list = false;
        r->want_value = false;
        return true;
    case YAML_MAPPING_END_EVENT:
        assert(r->depth > 0);
        r->depth--;
        r->path[r->path_len[r->depth]] = '\0';
        r->want_value = false;
        return true;
    default:
        return true;
    }
}

/* Does the line (from 1) begin with blanks among which is a tab? */
static bool tab_indented(const struct reader *r, size_t line)
{
    const char *s = r->text, *end = r->text + r->len;

    assert(line > 0);
    while (--line > 0) {
        s = memchr(s, '\n', (size_t)(end - s));
        if (s == NULL)
            return false;
        s++;
    }
    while (s < end && *s == ' ')
        s++;
    return s < end && *s == '\t';
}

static void syntax_problem(struct reader *r, const yaml_parser_t *parser)
{
    size_t line = parser->problem_mark.line + 1;
    size_t from = parser->context_mark.line + 1;
    char begun[48] = "";

    assert(parser->error != YAML_NO_ERROR);
    if (parser->context != NULL && strstr(parser->context, "alias") != NULL)
        (void)snprintf(begun, sizeof(begun), " (a '*' stands in quotes)");
    else if (parser->context != NULL && from < line)
        (void)snprintf(begun, sizeof(begun), " that begins in line %zu", from);
    if (parser->error == YAML_READER_ERROR) {
        line = 1;
        for (size_t i = 0; i < parser->problem_offset && i < r->len; i++)
            line += r->text[i] == '\n';
        conf_problem(r->report, (unsigned)line, "",
                     "not UTF-8 text (%s); save the file as UTF-8",
                     parser->problem);
    } else if (tab_indented(r, line)) {
        conf_problem(r->report, (unsigned)line, "",
                     "a tab indents this line; use blanks");
    } else {
        conf_problem(r->report, (unsigned)line, "",
                     "not YAML: %s%s%s%s; check the indentation, brackets and "
                     "quotes here",
                     parser->problem == NULL ? "syntax error" : parser->problem,
                     parser->context == NULL ? "" : " ",
                     parser->context == NULL ? "" : parser->context, begun);
    }
}

bool conf_yaml_read(struct conf_doc *doc, const char *text, size_t len,
                    struct conf_report *report)
{
    struct reader r = {.doc = doc, .report = report, .text = text, .len = len};
    yaml_parser_t parser;
    yaml_event_t event;
    bool ok = true, end = false;
    int rc = yaml_parser_initialize(&parser);

    assert(rc == 1); /* fails only without memory */
    (void)rc;
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
    while (ok && !end) {
        if (yaml_parser_parse(&parser, &event) == 0) {
            syntax_problem(&r, &parser);
            ok = false;
            break;
        }
        end = event.type == YAML_STREAM_END_EVENT;
        ok = on_event(&r, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    assert(ok || report->n > 0);
    return ok;
}

void conf_doc_close(struct conf_doc *doc)
{
    for (size_t i = 0; i < doc->n; i++) {
        for (size_t k = 0; k < doc->entries[i].n_items; k++)
            mem_free(doc->entries[i].items[k].text);
        mem_free(doc->entries[i].items);
        mem_free(doc->entries[i].path);
    }
    mem_free(doc->entries);
    *doc = (struct conf_doc){0};
}
