/*
 * history_key.c - what HISTORY_KEY says, and places as text.
 */
#include "registry/history.h"

#include "base/json/json.h"
#include "base/planted.h"
#include "base/rand.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_LEN (HISTORY_ID_SIZE - 1)

/* --- places -------------------------------------------------------------- */

bool registry_place_before(const struct registry_place *a,
                           const struct registry_place *b)
{
    return a->line != b->line && !planted(PLANTED_LINE_UNCOMPARED)
               ? a->line < b->line
               : a->position < b->position;
}

bool registry_place_fell(const struct registry_place *now,
                         const struct registry_place *known)
{
    return (now->line != 0 && now->line < known->line &&
            !planted(PLANTED_LINE_UNCOMPARED)) ||
           now->position < known->position;
}

char *registry_place_text(const struct registry_place *place, char *out)
{
    assert(strnlen(place->incarnation, HISTORY_ID_SIZE) < HISTORY_ID_SIZE);
    (void)snprintf(out, HISTORY_PLACE_SIZE, "%s:%" PRIu64 ":%" PRIu64,
                   place->incarnation, place->line, place->position);
    return out;
}

char *registry_place_token(const struct registry_place *place, char *out)
{
    out[0] = '\0';
    return place->incarnation[0] == '\0' ? out
                                         : registry_place_text(place, out);
}

static bool is_id(const char *s, size_t len)
{
    return len == ID_LEN && strspn(s, "0123456789abcdef") >= ID_LEN;
}

/* A decimal number that ends at `end`. */
static bool number(const char *s, char end, uint64_t *out, const char **next)
{
    char *stop;

    if (*s < '0' || *s > '9')
        return false;
    *out = strtoull(s, &stop, 10);
    *next = stop + 1;
    return *stop == end;
}

int registry_place_parse(const char *text, struct registry_place *out,
                         struct err *err)
{
    const char *at = strchr(text, ':');
    size_t len = at == NULL ? 0 : (size_t)(at - text);

    assert(text != NULL);
    assert(out != NULL);
    memset(out, 0, sizeof(*out));
    if (at == NULL || (len > 0 && !is_id(text, len)) ||
        !number(at + 1, ':', &out->line, &at) ||
        !number(at, '\0', &out->position, &at)) {
        return err_set(err, ERR_INVALID,
                       "\"%.80s\" is no place in a registry's history: "
                       "incarnation:line:position",
                       text);
    }
    memcpy(out->incarnation, text, len);
    return 0;
}

/* --- the record ---------------------------------------------------------- */

void registry_history_new_id(char out[HISTORY_ID_SIZE])
{
    unsigned char bytes[ID_LEN / 2];

    rand_secret(bytes, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++)
        (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    assert(is_id(out, strlen(out)));
}

bool registry_history_follows(const struct history_record *h,
                              const char *incarnation)
{
    assert(h->n_after <= HISTORY_AFTER_MAX);
    for (size_t i = 0; i < h->n_after; i++)
        if (strcmp(h->after[i], incarnation) == 0)
            return true;
    return false;
}

void registry_history_after(struct history_record *h, const char *id)
{
    size_t n = h->n_after;

    assert(n <= HISTORY_AFTER_MAX);
    if (id[0] == '\0' || registry_history_follows(h, id) ||
        strcmp(h->incarnation, id) == 0)
        return;
    n = n < HISTORY_AFTER_MAX ? n : HISTORY_AFTER_MAX - 1;
    memmove(h->after[1], h->after[0], n * sizeof(h->after[0]));
    (void)snprintf(h->after[0], sizeof(h->after[0]), "%s", id);
    h->n_after = n + 1;
    assert(h->n_after >= 1);
}

static void read_text(const struct json *o, const char *key, char *out,
                      size_t size)
{
    const char *s = json_str(o, key);

    assert(size > 0);
    (void)snprintf(out, size, "%s", s == NULL ? "" : s);
}

/* Missing or unreadable: not known. */
static void read_place(const struct json *o, const char *key,
                       struct registry_place *out)
{
    const char *s = json_str(o, key);

    if (s == NULL || registry_place_parse(s, out, NULL) != 0)
        memset(out, 0, sizeof(*out));
}

static void read_object(struct history_record *h, const struct json *o)
{
    const struct json *after = json_get(o, "after"), *id;
    const struct json *back = json_get(o, "went_back");
    const struct json *accepted = json_get(o, "accepted");

    assert(h->n_after == 0);
    h->generation = json_u64(o, "generation", 0);
    h->fence_base = json_u64(o, "fence_base", 0);
    json_each (id, after)
        if (h->n_after < HISTORY_AFTER_MAX && json_is(id, JSON_STRING) &&
            is_id(id->string, strlen(id->string)))
            memcpy(h->after[h->n_after++], id->string, HISTORY_ID_SIZE);
    if (json_is(back, JSON_OBJECT)) {
        h->went_back.is = true;
        read_place(back, "known", &h->went_back.known);
        read_place(back, "now", &h->went_back.now);
        read_text(back, "by", h->went_back.by, sizeof(h->went_back.by));
        read_text(back, "why", h->went_back.why, sizeof(h->went_back.why));
    }
    if (json_is(accepted, JSON_OBJECT)) {
        h->accepted.is = true;
        read_text(accepted, "who", h->accepted.who, sizeof(h->accepted.who));
        h->accepted.wall = json_int(accepted, "wall", 0);
        h->accepted.epoch_floor = json_u64(accepted, "epoch_floor", 0);
        read_place(accepted, "found", &h->accepted.found);
    }
    assert(h->n_after <= HISTORY_AFTER_MAX);
}

int registry_history_read(struct history_record *out, const char *value,
                          size_t len, struct err *err)
{
    const struct json *root = NULL;
    const char *id;
    int rc = json_parse(value, len, &root, err);

    memset(out, 0, sizeof(*out));
    id = rc == 0 ? json_str(root, "incarnation") : NULL;
    if (rc == 0 && (id == NULL || !is_id(id, strlen(id)))) {
        rc = err_set(err, ERR_INVALID,
                     "no incarnation of 32 hexadecimal digits");
    } else if (rc == 0) {
        memcpy(out->incarnation, id, HISTORY_ID_SIZE);
        read_object(out, root);
    }
    json_free(root);
    if (rc != 0)
        err_wrap(err, HISTORY_KEY);
    return rc;
}

static void put_place(struct buf *b, const char *key,
                      const struct registry_place *place)
{
    char text[HISTORY_PLACE_SIZE];

    json_put_str(b, key, registry_place_text(place, text));
}

void registry_history_write(struct buf *b, const struct history_record *h)
{
    assert(h->n_after <= HISTORY_AFTER_MAX);
    assert(h->incarnation[0] != '\0');
    json_open(b, NULL, '{');
    json_put_str(b, "incarnation", h->incarnation);
    json_put_u64(b, "generation", h->generation);
    json_put_u64(b, "fence_base", h->fence_base);
    json_open(b, "after", '[');
    for (size_t i = 0; i < h->n_after; i++)
        json_put_str(b, NULL, h->after[i]);
    json_close(b, ']');
    if (h->accepted.is) {
        json_open(b, "accepted", '{');
        json_put_str(b, "who", h->accepted.who);
        json_put_int(b, "wall", h->accepted.wall);
        put_place(b, "found", &h->accepted.found);
        json_put_u64(b, "epoch_floor", h->accepted.epoch_floor);
        json_close(b, '}');
    }
    if (h->went_back.is) {
        json_open(b, "went_back", '{');
        json_put_str(b, "by", h->went_back.by);
        put_place(b, "known", &h->went_back.known);
        put_place(b, "now", &h->went_back.now);
        json_put_str(b, "why", h->went_back.why);
        json_close(b, '}');
    }
    json_close(b, '}');
}
