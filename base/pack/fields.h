/*
 * fields.h - a struct's fields as a table: one line per field, and from it the
 * bytes of all of them, and back with every bound checked.
 *
 *     static const struct field point_fields[] = {
 *         FIELD(struct point, x, -1e6, 1e6),
 *         FIELD(struct point, shown, 0, 1),
 *     };
 *
 * The kind comes from the field's own type (double, float, the four integers
 * of 32 and 64 bits, int16_t, uint8_t, bool; an enum is one of 32 bits), so
 * that it cannot be told wrongly. The compiler cannot say that a table forgot a
 * field: an assert on the struct's size beside it does, see FIELDS_OF(). Any
 * thread.
 */
#ifndef PELORUS_BASE_PACK_FIELDS_H
#define PELORUS_BASE_PACK_FIELDS_H

#include "base/err.h"
#include "base/pack/pack.h"

enum field_kind {
    FIELD_DOUBLE,
    FIELD_FLOAT,
    FIELD_I32,
    FIELD_U32,
    FIELD_I64,
    FIELD_U64,
    FIELD_BOOL,
    FIELD_U8,
    FIELD_I16
};

struct field {
    const char *name;
    enum field_kind kind;
    uint32_t at;     /* offset */
    uint32_t n;      /* elements: more than one of an array */
    double min, max; /* what may be read; of 64 bits: as exact as a double */
};

#define FIELD_ANY                                                              \
    1e300 /* min -FIELD_ANY, max FIELD_ANY: whatever is finite                 \
           */

#define FIELD_KIND(x)                                                          \
    _Generic((x), double                                                       \
             : FIELD_DOUBLE, float                                             \
             : FIELD_FLOAT, int32_t                                            \
             : FIELD_I32, uint32_t                                             \
             : FIELD_U32, int64_t                                              \
             : FIELD_I64, uint64_t                                             \
             : FIELD_U64, bool                                                 \
             : FIELD_BOOL, uint8_t                                             \
             : FIELD_U8, int16_t                                               \
             : FIELD_I16)
#define FIELD_OF(type, field) (((type *)0)->field)

#define FIELD(type, field, least, most)                                        \
    {                                                                          \
        .name = #field, .kind = FIELD_KIND(FIELD_OF(type, field)),             \
        .at = offsetof(type, field), .n = 1, .min = (least), .max = (most)     \
    }
#define FIELD_ARRAY(type, field, least, most)                                  \
    {                                                                          \
        .name = #field, .kind = FIELD_KIND(FIELD_OF(type, field)[0]),          \
        .at = offsetof(type, field), .n = ARRAY_LEN(FIELD_OF(type, field)),    \
        .min = (least), .max = (most)                                          \
    }

/* Of an array of arrays. */
#define FIELD_GRID(type, field, least, most)                                   \
    {                                                                          \
        .name = #field, .kind = FIELD_KIND(FIELD_OF(type, field)[0][0]),       \
        .at = offsetof(type, field),                                           \
        .n = sizeof(FIELD_OF(type, field)) /                                   \
             sizeof(FIELD_OF(type, field)[0][0]),                              \
        .min = (least), .max = (most)                                          \
    }

/* Behind a table: the struct as it was when the table was last looked over. It
 * is checked where pointers have 64 bits. */
#define FIELDS_OF(type, size)                                                  \
    _Static_assert(sizeof(void *) != 8 || sizeof(type) == (size),              \
                   #type " changed: add the field to the table above, or say " \
                         "there why not, then write its size here")

struct fields {
    const char *of; /* for messages: "worker" */
    const struct field *list;
    size_t n;
};
#define FIELDS(what, table)                                                    \
    (const struct fields)                                                      \
    {                                                                          \
        what, table, ARRAY_LEN(table)                                          \
    }

void fields_pack(const struct fields *f, const void *from, struct buf *out);
/* ERR_INVALID: the input ends, or a value is out of its bounds; the message
 * names it. What was read before it is in `to`. */
int fields_unpack(const struct fields *f, void *to, struct unpack *in,
                  struct err *err) MUST_CHECK;
/* The least number of bytes that they take. */
size_t fields_least(const struct fields *f);
/* Names, kinds and numbers of elements, so that a table that changed is known
 * from one that did not. */
uint64_t fields_hash(const struct fields *f, uint64_t seed);

#endif
