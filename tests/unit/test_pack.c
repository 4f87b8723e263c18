/*
 * test_pack.c - numbers and texts as bytes and back, by themselves and by a
 * table of fields; sizes as people write them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/pack/fields.h"
#include "base/units.h"

static void numbers_come_back_from_their_bytes(void **state)
{
    static const int64_t numbers[] = {0,   1,   -1,  63,        64,       -64,
                                      -65, 127, 128, INT64_MAX, INT64_MIN};
    struct buf out;
    struct unpack in;

    (void)state;
    buf_init(&out, 4096);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        pack_int(&out, numbers[i]);
        pack_uint(&out, (uint64_t)numbers[i]);
        pack_double(&out, (double)numbers[i] / 3);
    }
    pack_str(&out, "text");
    in = unpack_of(out.data, out.len);
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        assert_true(unpack_int(&in) == numbers[i]);
        assert_true(unpack_uint(&in) == (uint64_t)numbers[i]);
        assert_true(unpack_double(&in) == (double)numbers[i] / 3);
    }
    char text[8];

    unpack_str(&in, text, sizeof(text));
    assert_string_equal(text, "text");
    assert_false(in.bad);
    assert_int_equal(unpack_left(&in), 0);
    assert_int_equal(unpack_u8(&in), 0);
    assert_true(in.bad);
    buf_close(&out);
    assert_int_equal(pack_crc32(0, "123456789", 9), 0xcbf43926);
    assert_int_equal(pack_crc32(pack_crc32(0, "1234", 4), "56789", 5),
                     0xcbf43926);
    /* eleven bytes of seven bits, and a tenth that goes beyond 64 */
    in = unpack_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11);
    (void)unpack_uint(&in);
    assert_true(in.bad);
    in = unpack_of("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 10);
    (void)unpack_uint(&in);
    assert_true(in.bad);
}

static void sizes_have_units(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
        const char *as;
    } good[] = {
        {"64MB", 64000000, "64MB"},   {"1.5GB", 1500000000, "1500MB"},
        {"512KiB", 524288, "512KiB"}, {"2gib", UINT64_C(2) << 30, "2GiB"},
        {"64000B", 64000, "64KB"},    {"7b", 7, "7B"}};
    static const char *const bad[] = {
        "64",         "",     "MB",   "64 MB",
        "64XB",       "-1MB", "1.5B", "99999999999GB",
        "0.0000001KB"};
    char out[UNITS_SIZE_SIZE];
    uint64_t bytes;
    struct err err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(units_size(good[i].text, &bytes, &err), 0);
        assert_true(bytes == good[i].bytes);
        assert_string_equal(units_format_size(bytes, out), good[i].as);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(units_size(bad[i], &bytes, &err), ERR_INVALID);
}

enum colour { RED, GREEN, BLUE };

struct thing {
    double x;
    float y[2];
    int32_t i;
    uint64_t u;
    bool on;
    enum colour colour;
};

static const struct field thing_fields[] = {
    FIELD(struct thing, x, -1, 1), FIELD_ARRAY(struct thing, y, 0, 10),
    FIELD(struct thing, i, -5, 5), FIELD(struct thing, u, 0, 1e19),
    FIELD(struct thing, on, 0, 1), FIELD(struct thing, colour, RED, BLUE),
};

static void fields_come_back_within_their_bounds(void **state)
{
    static const struct fields all = {"thing", thing_fields,
                                      ARRAY_LEN(thing_fields)};
    static const struct thing good = {
        .x = -.25, .y = {1, 2}, .i = -5, .u = 1e18, .on = true, .colour = BLUE};
    struct thing bad[] = {good, good, good, good, good};
    struct thing again = {.x = 0};
    struct unpack in;
    struct buf out;
    struct err err;

    (void)state;
    buf_init(&out, 4096);
    fields_pack(&all, &good, &out);
    assert_true(out.len >= fields_least(&all));
    in = unpack_of(out.data, out.len);
    assert_int_equal(fields_unpack(&all, &again, &in, &err), 0);
    assert_int_equal(unpack_left(&in), 0);
    assert_true(again.x == good.x && again.y[1] == 2 && again.i == -5 &&
                again.u == good.u && again.on && again.colour == BLUE);
    for (size_t n = 0; n < out.len; n++) {
        in = unpack_of(out.data, n);
        assert_int_equal(fields_unpack(&all, &again, &in, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, "thing: it ends at "));
    }
    bad[0].x = NAN;
    bad[1].y[1] = INFINITY;
    bad[2].i = 6;
    bad[3].colour = (enum colour)3;
    bad[4].x = 1.5;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        buf_reset(&out);
        fields_pack(&all, &bad[i], &out);
        in = unpack_of(out.data, out.len);
        assert_int_equal(fields_unpack(&all, &again, &in, &err), ERR_INVALID);
        assert_non_null(strstr(err.msg, " is out of range"));
    }
    buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_from_their_bytes),
        cmocka_unit_test(fields_come_back_within_their_bounds),
        cmocka_unit_test(sizes_have_units),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
