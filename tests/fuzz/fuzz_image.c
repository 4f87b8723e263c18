/*
 * fuzz_image.c - a balancer's image with bytes changed (balancer_course.h), or
 * any bytes: refused with a reason, or a balancer like any other.
 */
#include "balancer/image.h"
#include "base/mem.h"
#include "tests/fuzz/balancer_course.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

static void use(const void *data, size_t len)
{
    void *copy = mem_dup(data, len); /* exactly its size */
    struct err err = {.msg = ""};
    struct balancer *b = balancer_restore(copy, len, &err), *again;
    struct buf image;

    mem_free(copy);
    if (b == NULL) {
        assert(err.code == ERR_INVALID && err.msg[0] != '\0');
        return;
    }
    buf_init(&image, (size_t)1 << 26);
    balancer_image(b, &image);
    again = balancer_restore(image.data, image.len, &err);
    assert(again != NULL);
    course_run(again, 150);
    balancer_set_policy(again, CONF_LEDGER, COURSE_NOW);
    course_run(again, 60);
    balancer_free(&again);
    balancer_free(&b);
    buf_close(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct balancer *b;
    struct buf image;

    use(data, size);
    if (size == 0)
        return 0;
    b = course_begin(data[0]);
    course_run(b, data[0]);
    buf_init(&image, (size_t)1 << 26);
    balancer_image(b, &image);
    course_patch(image.data, image.len, data, size);
    use(image.data, image.len);
    buf_close(&image);
    balancer_free(&b);
    return 0;
}
