/*
 * json.c - JSON from outside becomes a tree, in one pass.
 *
 * Strictly RFC 8259, and every value keeps the text it was read from, so that
 * nobody reads it a second time: a payload is passed on as it came, and a
 * number is exact or is not whole. No library gives both (jansson refuses
 * numbers beyond 64 bits in what is only passed on, cJSON rounds them). A
 * \u0000 is refused: C strings would silently end there. Nodes and strings
 * lie in a few blocks of memory, of which the first begins with the root.
 *
 * A little over 500 lines: the tokens, the numbers and the tree are one pass.
 */
#include "base/json/json.h"

#include "base/json/json_odd.h"
#include "base/mem.h"

#include <ctype.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

/* Blocks: the first fits most documents, the others are at least this big. */
#define BLOCK_MAX      ((size_t)32 * 1024)
#define BLOCK_PER_BYTE 8
#define DIGITS_MAX     40
#define EXPONENT_MAX   1000

struct block {
    struct block *next;
    size_t used, size;
};

struct scan {
    const char *s;
    size_t at, len;
    const char *why; /* the first problem, or NULL */
    struct block *first, *last;
    const char *key, *key_from; /* of the member whose value comes next */
    struct {
        struct json *in, *last;
    } open[JSON_DEPTH_MAX];
    size_t depth; /* how many are open */
};

/* --- memory -------------------------------------------------------------- */

static struct block *add_block(struct scan *j, size_t size)
{
    struct block *b = mem_alloc(sizeof(*b) + size);

    assert((j->first == NULL) == (j->last == NULL));
    *b = (struct block){.size = size};
    if (j->first == NULL)
        j->first = b;
    else
        j->last->next = b;
    j->last = b;
    return b;
}

static void *take(struct scan *j, size_t size)
{
    struct block *b = j->last;
    char *p;

    size = (size + 7) & ~(size_t)7;
    if (b->size - b->used < size)
        b = add_block(j, size > BLOCK_MAX ? size : BLOCK_MAX);
    assert(b->size - b->used >= size);
    p = (char *)(b + 1) + b->used;
    b->used += size;
    assert(b->used <= b->size);
    return p;
}

static void free_blocks(struct block *b)
{
    while (b != NULL) {
        struct block *next = b->next;

        mem_free(b);
        b = next;
    }
}

void json_free(const struct json *root)
{
    if (root == NULL)
        return;
    assert(root->key == NULL); /* the whole tree, not a member of one */
    free_blocks((struct block *)(uintptr_t)root - 1);
}

/* A new value, last in what is open. */
static struct json *add_value(struct scan *j)
{
    struct json *v = take(j, sizeof(*v));

    *v = (struct json){.text = j->s + j->at, .from = j->s + j->at};
    if (j->depth > 0) {
        struct json *in = j->open[j->depth - 1].in;
        struct json *before = j->open[j->depth - 1].last;

        assert((before == NULL) == (in->count == 0));
        if (in->type == JSON_OBJECT) {
            assert(j->key != NULL);
            v->key = j->key;
            v->from = j->key_from;
        }
        if (before == NULL)
            in->child = v;
        else
            before->next = v;
        j->open[j->depth - 1].last = v;
        in->count++;
    }
    return v;
}

/* --- tokens -------------------------------------------------------------- */

static bool bad(struct scan *j, const char *why)
{
    assert(why != NULL);
    if (j->why == NULL)
        j->why = why;
    return false;
}

static unsigned char peek(const struct scan *j)
{
    return j->at < j->len ? (unsigned char)j->s[j->at] : 0;
}

static void skip_blanks(struct scan *j)
{
    while (j->at < j->len && (j->s[j->at] == ' ' || j->s[j->at] == '\n' ||
                              j->s[j->at] == '\r' || j->s[j->at] == '\t'))
        j->at++;
}

/* Four hexadecimal digits; negative: not there. */
static int32_t hex4(struct scan *j)
{
    int32_t value = 0;

    assert(j->at <= j->len);
    if (j->len - j->at < 4)
        return -1;
    for (size_t end = j->at + 4; j->at < end; j->at++) {
        int c = tolower((unsigned char)j->s[j->at]);

        if (!isxdigit(c))
            return -1;
        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

/* The code point behind "\u", of a surrogate pair, too; 0: refused. */
static uint32_t scan_code_point(struct scan *j)
{
    int32_t c = hex4(j), low;

    assert(c <= 0xffff);
    if (c < 0)
        (void)bad(j, "\\u needs four hexadecimal digits");
    else if (c == 0)
        (void)bad(j, "\\u0000 is not accepted");
    if (c <= 0)
        return 0;
    if (c < 0xd800 || c > 0xdfff)
        return (uint32_t)c;
    if (c <= 0xdbff && j->len - j->at > 2 && j->s[j->at] == '\\' &&
        j->s[j->at + 1] == 'u') {
        j->at += 2;
        low = hex4(j);
        if (low >= 0xdc00 && low <= 0xdfff)
            return 0x10000 + ((uint32_t)(c - 0xd800) << 10) +
                   (uint32_t)(low - 0xdc00);
    }
    (void)bad(j, "half a surrogate pair");
    return 0;
}

static char *put_utf8(char *to, uint32_t c)
{
    static const uint8_t lead[] = {0x00, 0xc0, 0xe0, 0xf0};
    int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;

    assert(c > 0 && c <= 0x10ffff);
    *to++ = (char)(lead[more] | (c >> (6 * more)));
    while (more-- > 0)
        *to++ = (char)(0x80 | ((c >> (6 * more)) & 0x3f));
    return to;
}

/* One escape, to *to; the result is never longer than the escape. */
static bool scan_escape(struct scan *j, char **to)
{
    static const char names[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *name;
    uint32_t c;

    assert(peek(j) == '\\');
    j->at++; /* the backslash */
    if (peek(j) == 'u') {
        j->at++;
        c = scan_code_point(j);
        *to = c == 0 ? *to : put_utf8(*to, c);
        return c != 0;
    }
    name = peek(j) == 0 ? NULL : strchr(names, peek(j));
    if (name == NULL)
        return bad(j, "unknown escape in a string");
    *(*to)++ = means[name - names];
    j->at++;
    return true;
}

/* Where the string ends whose first byte is next; escapes are only skipped. */
static size_t string_end(const struct scan *j)
{
    size_t at = j->at;

    while (at < j->len && j->s[at] != '"')
        at += j->s[at] == '\\' ? 2 : 1;
    return at < j->len ? at : j->len;
}

/* How many bytes from the next one on stand for themselves. */
static size_t plain(const struct scan *j)
{
    const unsigned char *from = (const unsigned char *)j->s + j->at, *s = from;
    const unsigned char *end = (const unsigned char *)j->s + j->len;

    assert(j->at <= j->len);
    for (uint64_t word; (size_t)(end - s) >= sizeof(word); s += sizeof(word)) {
        memcpy(&word, s, sizeof(word));
        word = json_odd_ones(word);
        if (word != 0) {
            s += json_first_odd(word);
            break;
        }
    }
    while (s < end && (unsigned char)(*s - 0x20) < 0x60 && *s != '"' &&
           *s != '\\')
        s++;
    return (size_t)(s - from);
}

/* Behind the quote, up to the next one: bytes and escapes, to *to, which has
 * room. */
static bool scan_text(struct scan *j, char **to)
{
    while (j->at < j->len && j->s[j->at] != '"') {
        size_t n = plain(j);

        if (peek(j) == '\\') {
            if (!scan_escape(j, to))
                return false;
            continue;
        }
        if (n == 0 && peek(j) < 0x20)
            return bad(j, "control character in a string");
        if (n == 0)
            n = json_utf8(j->s + j->at, j->len - j->at);
        if (n == 0)
            return bad(j, "invalid UTF-8");
        memcpy(*to, j->s + j->at, n);
        *to += n;
        j->at += n;
    }
    return j->at < j->len || bad(j, "a string without its closing quote");
}

/* A string with its quotes; *out is without them and without escapes. */
static bool scan_string(struct scan *j, char **out)
{
    char *to;
    size_t n, room;

    assert(peek(j) == '"');
    j->at++; /* the quote */
    n = plain(j);
    if (j->at + n < j->len && j->s[j->at + n] == '"') {
        to = *out = take(j, n + 1);
        memcpy(to, j->s + j->at, n);
        to[n] = '\0';
        j->at += n + 1;
        return true;
    }
    room = string_end(j) - j->at + 1;
    to = *out = take(j, room);
    if (!scan_text(j, &to))
        return false;
    assert((size_t)(to - *out) < room);
    *to = '\0';
    j->at++;
    return true;
}

static bool scan_digits(struct scan *j)
{
    if (!isdigit(peek(j)))
        return bad(j, "malformed number");
    while (isdigit(peek(j)))
        j->at++;
    return true;
}

static bool scan_number(struct scan *j)
{
    assert(peek(j) == '-' || isdigit(peek(j)));
    if (peek(j) == '-')
        j->at++;
    if (peek(j) == '0') {
        j->at++;
        if (isdigit(peek(j)))
            return bad(j, "a number with a leading zero");
    } else if (!scan_digits(j)) {
        return false;
    }
    if (peek(j) == '.') {
        j->at++;
        if (!scan_digits(j))
            return false;
    }
    if (peek(j) == 'e' || peek(j) == 'E') {
        j->at++;
        if (peek(j) == '+' || peek(j) == '-')
            j->at++;
        return scan_digits(j);
    }
    return true;
}

/* --- numbers ------------------------------------------------------------- */

/* Text of a number that was found to be one. */
struct digits {
    const char *s, *end;
};

/* Its digits without the point, and how many of them stand behind it. */
static size_t read_digits(struct digits *t, char digits[DIGITS_MAX],
                          int64_t *behind)
{
    bool fraction = false;
    size_t n = 0;

    assert(t->s < t->end);
    *behind = 0;
    for (; t->s < t->end; t->s++) {
        if (*t->s == '.') {
            fraction = true;
            continue;
        }
        if (*t->s < '0' || *t->s > '9')
            break;
        if (n > 0 || *t->s != '0') {
            if (n < DIGITS_MAX)
                digits[n] = *t->s;
            n++;
        }
        *behind += fraction;
    }
    return n;
}

static int64_t read_exponent(struct digits *t)
{
    bool negative;
    int64_t e = 0;

    if (t->s >= t->end)
        return 0;
    assert(*t->s == 'e' || *t->s == 'E');
    t->s++; /* the e */
    negative = t->s < t->end && *t->s == '-';
    if (negative || (t->s < t->end && *t->s == '+'))
        t->s++;
    for (; t->s < t->end && e < EXPONENT_MAX; t->s++)
        e = e * 10 + (*t->s - '0');
    return negative ? -e : e;
}

/* What a number says: its digits from the first that is no zero on, and so many
 * zeros behind them; negative: so many of them are behind the point. */
struct decimal {
    char digits[DIGITS_MAX];
    size_t n; /* may be more than DIGITS_MAX */
    int64_t zeros;
    bool negative;
};

static void read_decimal(struct digits number, struct decimal *d)
{
    int64_t behind;

    d->negative = *number.s == '-';
    number.s += d->negative;
    d->n = read_digits(&number, d->digits, &behind);
    assert(behind >= 0);
    d->zeros = read_exponent(&number) - behind;
}

/* Exactly this whole number: "12", "12.0" and "1.2e1", but not "1.2" or
 * "9007199254740993.5". False: another, or not in 64 bits. */
static bool read_whole(const struct decimal *d, int64_t *out)
{
    int64_t zeros = d->zeros, value = 0;
    size_t n = d->n;

    if (n == 0)
        return true;
    if (n > DIGITS_MAX)
        return false;
    for (; zeros < 0 && n > 0 && d->digits[n - 1] == '0'; zeros++)
        n--;
    if (zeros < 0 || zeros > 18 || n > 19)
        return false;
    for (size_t i = 0; i < n; i++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_sub_overflow(value, d->digits[i] - '0', &value))
            return false;
    for (; zeros > 0; zeros--)
        if (__builtin_mul_overflow(value, 10, &value))
            return false;
    if (!d->negative && value == INT64_MIN)
        return false;
    *out = d->negative ? value : -value; /* counted down: INT64_MIN has no
                                            twin */
    return true;
}

/* As strtod() reads it, for short ones: digits and power of ten are exact as
 * doubles, so that the one division rounds as it is to (Clinger, "How to read
 * floating point numbers accurately", 1990). False: it is no such number. */
static bool read_short(const struct decimal *d, double *out)
{
    static const double powers[] = {
        1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
        1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int64_t value = 0;

    if (FLT_EVAL_METHOD != 0 || d->n > DBL_DIG || d->zeros > 0 ||
        d->zeros <= -(int64_t)ARRAY_LEN(powers))
        return false;
    for (size_t i = 0; i < d->n; i++)
        value = value * 10 + (d->digits[i] - '0');
    *out = (double)(d->negative ? -value : value) / powers[-d->zeros];
    return true;
}

static void read_number(struct scan *j, struct json *v)
{
    const struct digits text = {.s = v->text, .end = j->s + j->at};
    size_t n = (size_t)(text.end - text.s);
    struct decimal d;
    char *copy;

    assert(n > 0);
    v->type = JSON_NUMBER;
    read_decimal(text, &d);
    v->is_whole = read_whole(&d, &v->whole);
    if (v->is_whole) {
        v->number = (double)v->whole;
        return;
    }
    if (read_short(&d, &v->number))
        return;
    copy = take(j, n + 1); /* strtod() needs its end */
    memcpy(copy, text.s, n);
    copy[n] = '\0';
    v->number = strtod(copy, NULL);
}

/* --- values -------------------------------------------------------------- */

static bool scan_word(struct scan *j, const char *word)
{
    size_t n = strlen(word);

    assert(peek(j) == (unsigned char)word[0]);
    if (j->len - j->at < n || memcmp(j->s + j->at, word, n) != 0)
        return bad(j, "not a JSON value");
    j->at += n;
    return true;
}

static bool scan_scalar(struct scan *j, struct json *v)
{
    switch (peek(j)) {
    case '"':
        v->type = JSON_STRING;
        return scan_string(j, &v->string);
    case 't':
        v->type = JSON_BOOL;
        v->truth = true;
        return scan_word(j, "true");
    case 'f':
        v->type = JSON_BOOL;
        return scan_word(j, "false");
    case 'n':
        return scan_word(j, "null");
    default:
        if (peek(j) != '-' && !isdigit(peek(j)))
            return bad(j,
                       j->at < j->len ? "not a JSON value" : "it ends early");
        if (!scan_number(j))
            return false;
        read_number(j, v);
        return true;
    }
}

static bool scan_key(struct scan *j)
{
    char *key;

    skip_blanks(j);
    if (peek(j) != '"')
        return bad(j, "expected a key in quotes");
    j->key_from = j->s + j->at;
    if (!scan_string(j, &key))
        return false;
    j->key = key;
    skip_blanks(j);
    if (peek(j) != ':')
        return bad(j, "expected ':' after a key");
    assert(j->key != NULL);
    j->at++;
    return true;
}

static unsigned char closing(const struct json *v)
{
    assert(v->type == JSON_ARRAY || v->type == JSON_OBJECT);
    return v->type == JSON_ARRAY ? ']' : '}';
}

static void end_value(const struct scan *j, struct json *v)
{
    v->len = (size_t)(j->s + j->at - v->text);
    assert(v->len > 0);
    assert(v->from <= v->text);
}

/* After a value: closes what ends, up to the next comma. */
static bool scan_after(struct scan *j)
{
    while (j->depth > 0) {
        struct json *in = j->open[j->depth - 1].in;

        skip_blanks(j);
        if (peek(j) == ',') {
            j->at++;
            return in->type == JSON_ARRAY || scan_key(j);
        }
        if (peek(j) != closing(in)) {
            return bad(j, j->at < j->len ? "expected ',' or a closing bracket"
                                         : "it ends early");
        }
        j->at++;
        end_value(j, in);
        assert((in->child == NULL) == (in->count == 0));
        j->depth--;
    }
    return true;
}

/* False: refused; otherwise `v` is open, and its first byte is next. */
static bool scan_open(struct scan *j, struct json *v)
{
    if (j->depth == JSON_DEPTH_MAX)
        return bad(j, "nested too deeply");
    assert(peek(j) == '[' || peek(j) == '{');
    v->type = peek(j) == '[' ? JSON_ARRAY : JSON_OBJECT;
    j->open[j->depth].in = v;
    j->open[j->depth].last = NULL;
    j->depth++;
    j->at++;
    skip_blanks(j);
    return true;
}

/* One value with all that is in it; no recursion. */
static bool scan_value(struct scan *j)
{
    do {
        struct json *v;

        skip_blanks(j);
        v = add_value(j);
        if (peek(j) == '[' || peek(j) == '{') {
            if (!scan_open(j, v))
                return false;
            if (peek(j) != closing(v)) {
                if (v->type == JSON_OBJECT && !scan_key(j))
                    return false;
                continue;
            }
        } else {
            if (!scan_scalar(j, v))
                return false;
            end_value(j, v);
        }
        if (!scan_after(j))
            return false;
    } while (j->depth > 0);
    return true;
}

static int refuse(const struct scan *j, struct err *err)
{
    const char *at = j->s + j->at;
    size_t n = 0;

    assert(j->at <= j->len);
    assert(j->why != NULL);
    while (j->at + n < j->len && n < 16 && isprint((unsigned char)at[n]))
        n++;
    return err_set(err, ERR_INVALID, "JSON, byte %zu: %s%s%.*s%s", j->at,
                   j->why, n > 0 ? ", at '" : "", (int)n, at, n > 0 ? "'" : "");
}

int json_parse(const char *text, size_t len, const struct json **out,
               struct err *err)
{
    struct scan j = {.s = text, .len = len};
    size_t guess = sizeof(struct json) + len * BLOCK_PER_BYTE;

    assert(text != NULL || len == 0);
    *out = NULL;
    (void)add_block(&j, guess < BLOCK_MAX ? guess : BLOCK_MAX);
    if (scan_value(&j)) {
        skip_blanks(&j);
        if (j.at < len)
            (void)bad(&j, "something follows the value");
    }
    if (j.why != NULL) {
        free_blocks(j.first);
        return refuse(&j, err);
    }
    assert(j.depth == 0 && j.at == len);
    *out = (const struct json *)(j.first + 1);
    return 0;
}
