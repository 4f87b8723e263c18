/*
 * fuzz_window.c - the slot of a ring, and the value of /pelorus/taken: refused
 * with a reason, or written again as the same bytes. The first byte of the
 * input is the slot.
 */
#include "base/mem.h"
#include "cluster/renewals/taken.h"
#include "cluster/renewals/window.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void use_window(unsigned slot, const uint8_t *data, size_t size)
{
    struct window_read in;
    struct renewal r, before = {0};
    struct err err = {.msg = ""};
    struct window w;
    struct buf out;
    uint32_t n = 0;

    if (window_open(&in, slot, data, size, &err) != 0) {
        assert(err.code == ERR_INVALID && err.msg[0] != '\0');
        return;
    }
    window_init(&w);
    buf_init(&out, WINDOW_BYTES_MAX);
    for (; window_next(&in, &r); n++) {
        struct load load = {.slots = 0};
        bool added = window_add(&w, &r);

        assert(added);
        assert(
            r.created > before.created ||
            (r.created == before.created && r.generation > before.generation));
        renewal_apply(&r, &load);
        assert(load.cpu <= 1 && load.memory <= 1 && load.disk <= 1 &&
               load.pool <= 100);
        before = r;
    }
    assert(n == in.count);
    window_write(&out, &w, in.seq, in.watched_ms);
    assert(out.len == size && memcmp(out.data, data, size) == 0);
    buf_close(&out);
    window_close(&w);
}

static void use_taken(const uint8_t *data, size_t size)
{
    struct taken t;
    struct err err = {.msg = ""};
    struct buf out;

    if (taken_read(&t, data, size, &err) != 0) {
        assert(err.code == ERR_INVALID && err.msg[0] != '\0');
        return;
    }
    buf_init(&out, TAKEN_BYTES_MAX);
    taken_write(&out, &t);
    assert(out.len == size && memcmp(out.data, data, size) == 0);
    taken_raise(&t, NODE_WORKER, "h:1");
    assert(taken_names(&t, t.named - 1, NODE_WORKER, "h:1"));
    assert(!taken_names(&t, t.named, NODE_WORKER, "h:1"));
    buf_close(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    use_window(data[0] % WINDOW_SLOTS, data + 1, size - 1);
    use_taken(data, size);
    return 0;
}
