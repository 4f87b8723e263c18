/*
 * fields.c - see fields.h.
 */
#include "base/pack/fields.h"

#include "base/rand.h"

#include <math.h>
#include <string.h>

static size_t width(const struct field *f)
{
    switch (f->kind) {
    case FIELD_DOUBLE:
    case FIELD_I64:
    case FIELD_U64:
        return 8;
    case FIELD_FLOAT:
    case FIELD_I32:
    case FIELD_U32:
        return 4;
    case FIELD_I16:
        return 2;
    case FIELD_BOOL:
    case FIELD_U8:
        break;
    }
    return 1;
}

/* A value of any kind, as it is in memory. */
union value {
    double d;
    float f;
    int32_t i32;
    uint32_t u32;
    int64_t i64;
    uint64_t u64;
    bool b;
    uint8_t u8;
    int16_t i16;
};
_Static_assert(sizeof(bool) == 1, "as wide as a byte");

static void pack_one(const struct field *f, const void *from, struct buf *out)
{
    union value v;

    memcpy(&v, from, width(f));
    switch (f->kind) {
    case FIELD_DOUBLE:
        pack_double(out, v.d);
        break;
    case FIELD_FLOAT:
        pack_float(out, v.f);
        break;
    case FIELD_I32:
        pack_int(out, v.i32);
        break;
    case FIELD_U32:
        pack_uint(out, v.u32);
        break;
    case FIELD_I64:
        pack_int(out, v.i64);
        break;
    case FIELD_U64:
        pack_uint(out, v.u64);
        break;
    case FIELD_BOOL:
        pack_u8(out, v.b);
        break;
    case FIELD_U8:
        pack_u8(out, v.u8);
        break;
    case FIELD_I16:
        pack_int(out, v.i16);
        break;
    }
}

/* Within the bounds? Whole numbers are compared as doubles, which is exact as
 * far as any bound of ours goes. */
static bool good(const struct field *f, double v)
{
    return isfinite(v) && v >= f->min && v <= f->max;
}

static bool unpack_one(const struct field *f, void *to, struct unpack *in)
{
    union value v = {.u64 = 0};
    int64_t i;
    bool ok = true;

    switch (f->kind) {
    case FIELD_DOUBLE:
        v.d = unpack_double(in);
        ok = good(f, v.d);
        break;
    case FIELD_FLOAT:
        v.f = unpack_float(in);
        ok = good(f, (double)v.f);
        break;
    case FIELD_I32:
        i = unpack_int(in);
        ok = i >= INT32_MIN && i <= INT32_MAX && good(f, (double)i);
        v.i32 = ok ? (int32_t)i : 0;
        break;
    case FIELD_U32:
        v.u32 = (uint32_t)unpack_uint_max(in, UINT32_MAX);
        ok = good(f, v.u32);
        break;
    case FIELD_I64:
        v.i64 = unpack_int(in);
        ok = good(f, (double)v.i64);
        break;
    case FIELD_U64:
        v.u64 = unpack_uint(in);
        ok = good(f, (double)v.u64);
        break;
    case FIELD_BOOL:
        v.b = unpack_bool(in);
        break;
    case FIELD_U8:
        v.u8 = unpack_u8(in);
        ok = good(f, v.u8);
        break;
    case FIELD_I16:
        i = unpack_int(in);
        ok = i >= INT16_MIN && i <= INT16_MAX && good(f, (double)i);
        v.i16 = (int16_t)(ok ? i : 0);
        break;
    }
    ok = ok && !in->bad;
    if (ok)
        memcpy(to, &v, width(f));
    return ok;
}

void fields_pack(const struct fields *f, const void *from, struct buf *out)
{
    assert(from != NULL);
    for (size_t i = 0; i < f->n; i++)
        for (uint32_t j = 0; j < f->list[i].n; j++)
            pack_one(&f->list[i],
                     (const char *)from + f->list[i].at +
                         j * width(&f->list[i]),
                     out);
}

int fields_unpack(const struct fields *f, void *to, struct unpack *in,
                  struct err *err)
{
    assert(to != NULL);
    for (size_t i = 0; i < f->n; i++)
        for (uint32_t j = 0; j < f->list[i].n; j++) {
            const struct field *one = &f->list[i];

            if (unpack_one(one, (char *)to + one->at + j * width(one), in))
                continue;
            if (in->bad)
                return err_set(err, ERR_INVALID, "%s: it ends at %s", f->of,
                               one->name);
            return err_set(err, ERR_INVALID, "%s: %s is out of range", f->of,
                           one->name);
        }
    return 0;
}

size_t fields_least(const struct fields *f)
{
    size_t least = 0;

    for (size_t i = 0; i < f->n; i++) {
        enum field_kind kind = f->list[i].kind;

        least += f->list[i].n * (kind == FIELD_DOUBLE || kind == FIELD_FLOAT
                                     ? width(&f->list[i])
                                     : 1);
    }
    return least;
}

uint64_t fields_hash(const struct fields *f, uint64_t seed)
{
    assert(f->n > 0);
    for (size_t i = 0; i < f->n; i++) {
        seed = hash_str(f->list[i].name, seed);
        seed = hash_mix(seed ^ (uint64_t)f->list[i].kind ^
                        (uint64_t)f->list[i].n << 8);
    }
    return seed;
}
