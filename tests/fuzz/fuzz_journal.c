/*
 * fuzz_journal.c - a journal whose records have bytes changed
 * (balancer_course.h), under checksums that hold, and any bytes as a file: the
 * replay ends, with other settings, too.
 */
#include "balancer/event.h"
#include "balancer/image.h"
#include "balancer/journal/record.h"
#include "balancer/journal/replay.h"
#include "base/mem.h"
#include "tests/fuzz/balancer_course.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define BYTES_MAX ((size_t)1 << 26)

struct keeper {
    struct record_state state;
    struct buf records;
    struct buf basis;
};

static void keep(void *arg, const struct balancer_event *e)
{
    struct keeper *k = arg;

    if (e->kind == BALANCER_EVENT_BASIS)
        balancer_image_locked(e->u.basis, &k->basis);
    else
        balancer_record_put(&k->state, e, &k->records);
}

static void block(struct buf *out, enum journal_block kind, const void *data,
                  size_t len)
{
    uint8_t head[JOURNAL_BLOCK_HEAD];

    balancer_journal_block_put(kind, data, len, NULL, 0, head);
    buf_add(out, head, sizeof(head));
    if (len > 0)
        buf_add(out, data, len);
}

static int other(void *arg, struct replay_settings *s, struct err *err)
{
    (void)arg;
    (void)err;
    s->conf.cpu_max = .3;
    s->conf.busy = CONF_BUSY_LAST;
    s->conf.policy = s->conf.policy == CONF_LEDGER
                         ? CONF_FIXED_WEIGHTED_ROUND_ROBIN
                         : CONF_LEDGER;
    return 0;
}

static void replay(const void *data, size_t size, replay_change_f *change)
{
    struct replay *r = balancer_replay_new(change, NULL, 0);
    struct replay_file file;
    struct err err = {.msg = ""};

    if (balancer_replay_apply(r, data, size, &file, &err) != 0)
        assert(err.msg[0] != '\0');
    balancer_replay_free(&r);
}

static void replay_patched(struct keeper *k, const uint8_t *data, size_t size)
{
    struct journal_head head = {.format = JOURNAL_FORMAT,
                                .version = "fuzz",
                                .layout = balancer_image_layout()};
    struct buf file;

    course_patch(k->records.data, k->records.len, data, size);
    buf_init(&file, BYTES_MAX);
    balancer_journal_head_put(&head, &file);
    block(&file, JOURNAL_BASIS, k->basis.data, k->basis.len);
    block(&file, JOURNAL_RECORDS, k->records.data, k->records.len);
    replay(file.data, file.len, NULL);
    replay(file.data, file.len, other);
    buf_close(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct keeper k = {.state = {.now = 0}};
    struct balancer *b;

    replay(data, size, NULL);
    if (size == 0)
        return 0;
    buf_init(&k.records, BYTES_MAX);
    buf_init(&k.basis, BYTES_MAX);
    pack_uint(&k.basis, 0);
    b = course_begin(data[0]);
    balancer_tap(b, keep, &k);
    course_run(b, data[0]);
    balancer_untap(b, keep, &k);
    balancer_free(&b);
    replay_patched(&k, data, size);
    buf_close(&k.records);
    buf_close(&k.basis);
    return 0;
}
