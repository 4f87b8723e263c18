/*
 * journal.c - the ring between the balancer and the disk, and the thread
 * behind it; journal.h says what for.
 *
 * One writes into the ring, whoever has the balancer's lock; one reads, the
 * thread. So two positions that only grow are enough, and neither waits for
 * the other. The thread alone asks for a basis, which it gets on its own stack
 * (a tap is called by who asks), with the position of the ring at which it
 * holds: what stands before it goes into the old file, what comes behind it
 * into the new one.
 *
 * Whether it may still ask the balancer is the only thing under a mutex: who
 * stops the journal frees the balancer next. (Longer than 500 lines: the three
 * who touch it stand beside each other.)
 */
#include "coordinator/journal/journal.h"

#include "balancer/event.h"
#include "balancer/image.h"
#include "balancer/journal/format.h"
#include "balancer/journal/record.h"
#include "base/clock.h"
#include "base/locks.h"
#include "base/log.h"
#include "base/mem.h"
#include "coordinator/journal/files.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define IMAGE_MAX      ((size_t)1 << 30)
#define RETRY_MIN_MS   1000
#define RETRY_MAX_MS   30000
#define BASIS_AT_LEAST 3U /* a file is that many times its basis */
#define RING_MASK      (JOURNAL_RING - 1)
#define COUNT(counter, n)                                                      \
    atomic_fetch_add_explicit(&(counter), (n), memory_order_relaxed)

_Static_assert((JOURNAL_RING & RING_MASK) == 0, "a power of two");

struct journal {
    struct balancer *b;
    struct journal_config config;
    uint64_t fingerprint;
    pthread_t thread;

    /* Under the balancer's lock. */
    struct record_state state;
    struct buf scratch;
    uint64_t missing; /* events left out since the last basis */

    /* The ring: positions in all that was ever put. */
    char *ring;
    _Atomic uint64_t head, tail;
    _Atomic bool dropping; /* until the next basis */
    _Atomic int error;     /* errno; 0: none, it does not keep up */

    /* The thread's. */
    struct journal_files files;
    struct buf image;
    uint64_t basis_at, basis_put, basis_missing, basis_len;
    uint64_t counted; /* of `put` */
    uint64_t lost;    /* records put and not written, since the last basis */
    uint64_t sequence;
    bool has_basis, failed, begin;
    int64_t retry_ms;
    mono_ms retry_at;

    pthread_mutex_t lock; /* "journal" of the table in base/locks.h */
    pthread_cond_t wake;
    bool stopping;
    _Atomic bool reopen;

    bool told_dropping; /* the loop's */
    uint64_t told_missing;

    _Atomic uint64_t put, records, bytes, dropped, begun, gaps, errors;
};

/* ---- under the balancer's lock ------------------------------------------ */

static void take_basis(struct journal *j, const struct balancer *b)
{
    assert(!j->has_basis);
    buf_reset(&j->image);
    balancer_image_locked(b, &j->image);
    if (j->image.overflow)
        return; /* a gibibyte: nothing can be kept of this one */
    j->basis_at = atomic_load_explicit(&j->head, memory_order_relaxed);
    j->basis_put = atomic_load_explicit(&j->put, memory_order_relaxed);
    j->basis_missing = j->missing;
    j->missing = 0;
    j->has_basis = true;
    j->state = (struct record_state){.now = 0};
    atomic_store(&j->dropping, false);
}

static void leave_out(struct journal *j)
{
    if (!atomic_exchange(&j->dropping, true))
        COUNT(j->gaps, 1);
    j->missing++;
    COUNT(j->dropped, 1);
}

static void ring_put(struct journal *j, uint64_t head, const char *data,
                     size_t len)
{
    size_t at = head & RING_MASK;
    size_t first = len < JOURNAL_RING - at ? len : JOURNAL_RING - at;

    memcpy(j->ring + at, data, first);
    memcpy(j->ring, data + first, len - first);
}

static void on_event(void *arg, const struct balancer_event *e)
{
    struct journal *j = arg;
    uint64_t head = atomic_load_explicit(&j->head, memory_order_relaxed);
    uint64_t tail = atomic_load_explicit(&j->tail, memory_order_acquire);

    assert(head - tail <= JOURNAL_RING);
    if (e->kind == BALANCER_EVENT_BASIS) {
        take_basis(j, e->u.basis);
        return;
    }
    if (atomic_load_explicit(&j->dropping, memory_order_relaxed)) {
        leave_out(j);
        return;
    }
    buf_reset(&j->scratch);
    balancer_record_put(&j->state, e, &j->scratch);
    if (j->scratch.overflow || j->scratch.len > JOURNAL_RING - (head - tail)) {
        leave_out(j);
        return;
    }
    ring_put(j, head, j->scratch.data, j->scratch.len);
    atomic_store_explicit(&j->head, head + j->scratch.len,
                          memory_order_release);
    COUNT(j->put, 1);
}

/* ---- the thread --------------------------------------------------------- */

/* From here on nothing is kept until there is a basis again. */
static void fail(struct journal *j, int error)
{
    assert(error != 0);
    COUNT(j->errors, 1);
    atomic_store(&j->error, error);
    if (!atomic_exchange(&j->dropping, true))
        COUNT(j->gaps, 1);
    j->retry_ms = !j->failed                       ? RETRY_MIN_MS
                  : j->retry_ms * 2 < RETRY_MAX_MS ? j->retry_ms * 2
                                                   : RETRY_MAX_MS;
    j->failed = true;
    j->has_basis = false;
    j->retry_at = clock_mono_ms() + j->retry_ms;
}

static void write_block(struct journal *j, enum journal_block kind,
                        const void *a, size_t n, const void *b, size_t m)
{
    uint8_t head[JOURNAL_BLOCK_HEAD];
    struct iovec parts[3] = {{head, sizeof(head)}};
    int count = 1, rc;

    if (j->failed)
        return;
    balancer_journal_block_put(kind, a, n, b, m, head);
    if (n > 0)
        parts[count++] = (struct iovec){(void *)(uintptr_t)a, n};
    if (m > 0)
        parts[count++] = (struct iovec){(void *)(uintptr_t)b, m};
    rc = journal_files_write(&j->files, parts, count);
    if (rc != 0)
        fail(j, rc);
    else
        COUNT(j->bytes, sizeof(head) + n + m);
}

/* What stands in the ring before `to`; whole records, as only those are put:
 * `put` of them since the start. */
static void drain(struct journal *j, uint64_t to, uint64_t put)
{
    uint64_t tail = atomic_load_explicit(&j->tail, memory_order_relaxed);
    size_t len = (size_t)(to - tail), at = tail & RING_MASK;
    size_t first = len < JOURNAL_RING - at ? len : JOURNAL_RING - at;

    assert(to >= tail && to - tail <= JOURNAL_RING);
    assert(put >= j->counted);
    if (len > 0 && j->files.fd >= 0)
        write_block(j, JOURNAL_RECORDS, j->ring + at, first, j->ring,
                    len - first);
    if (j->failed || j->files.fd < 0) {
        j->lost += put - j->counted;
        COUNT(j->dropped, put - j->counted);
    } else {
        COUNT(j->records, put - j->counted);
    }
    j->counted = put;
    atomic_store_explicit(&j->tail, to, memory_order_release);
}

static void write_end(struct journal *j, enum journal_end why)
{
    uint8_t end = (uint8_t)why;

    if (j->files.fd < 0)
        return;
    write_block(j, JOURNAL_END, &end, 1, NULL, 0);
    journal_files_end(&j->files);
}

static void write_head(struct journal *j)
{
    struct journal_head head = {
        .format = JOURNAL_FORMAT,
        .version = PELORUS_VERSION,
        .fingerprint = j->fingerprint,
        .layout = balancer_image_layout(),
        .seed = j->config.seed,
        .run = j->config.run,
        .sequence = j->sequence,
        .wall = clock_wall_ms(),
        .mono = clock_mono_ms(),
    };
    struct iovec part;
    struct buf bytes;
    int rc;

    buf_init(&bytes, 4096);
    balancer_journal_head_put(&head, &bytes);
    part = (struct iovec){bytes.data, bytes.len};
    rc = journal_files_write(&j->files, &part, 1);
    if (rc != 0)
        fail(j, rc);
    else
        COUNT(j->bytes, bytes.len);
    buf_close(&bytes);
}

/* The next of the files, as far as it needs no basis. */
static void begin_file(struct journal *j)
{
    int rc;

    write_end(j, JOURNAL_ROTATED);
    if (j->failed)
        return;
    rc = journal_files_begin(&j->files);
    if (rc != 0) {
        fail(j, rc);
        return;
    }
    write_head(j);
    if (j->failed) { /* an empty file is no use to anybody */
        journal_files_undo(&j->files);
        return;
    }
    j->sequence++;
    j->begin = false;
    COUNT(j->begun, 1);
}

/* What the thread was given on its stack goes to the disk: the records before
 * it, a new file if one is due, the basis. */
static void write_basis(struct journal *j)
{
    struct buf missing;

    assert(j->has_basis);
    drain(j, j->basis_at, j->basis_put);
    if (j->begin || j->files.fd < 0)
        begin_file(j);
    buf_init(&missing, PACK_VARINT_MAX);
    pack_uint(&missing, j->basis_missing + j->lost);
    write_block(j, JOURNAL_BASIS, missing.data, missing.len, j->image.data,
                j->image.len);
    buf_close(&missing);
    /* what it would have told as missing the next one has to */
    j->lost = j->failed ? j->lost + j->basis_missing : 0;
    j->basis_len = j->image.len;
    if (j->image.cap > JOURNAL_RING) { /* large ones are rare and not kept */
        buf_close(&j->image);
        buf_init(&j->image, IMAGE_MAX);
    }
    j->has_basis = false;
}

/* Unless it ends: then nobody may be asked any more. */
static void ask_for_basis(struct journal *j)
{
    lock_acquire(&j->lock);
    if (!j->stopping)
        balancer_tap_basis(j->b, on_event, j);
    lock_release(&j->lock);
    if (j->has_basis)
        write_basis(j);
    else if (j->image.overflow)
        fail(j, EFBIG);
}

static bool is_full(const struct journal *j)
{
    uint64_t least = BASIS_AT_LEAST * j->basis_len;

    return j->files.fd >= 0 && j->files.size >= j->config.size &&
           j->files.size >= least;
}

/* After an error: is there room for a basis, and something behind it? */
static void try_again(struct journal *j)
{
    int rc;

    if (clock_mono_ms() < j->retry_at)
        return;
    rc = journal_files_room(&j->files, 2 * j->basis_len + 65536);
    if (rc != 0) {
        fail(j, rc);
        return;
    }
    j->failed = false;
    ask_for_basis(j);
    if (!j->failed)
        atomic_store(&j->error, 0);
}

/* All of it. `put` first: what comes between counts with what follows. */
static void drain_all(struct journal *j)
{
    uint64_t put = atomic_load_explicit(&j->put, memory_order_acquire);

    drain(j, atomic_load_explicit(&j->head, memory_order_acquire), put);
}

static void turn(struct journal *j)
{
    drain_all(j);
    if (atomic_exchange(&j->reopen, false) && journal_files_moved(&j->files))
        j->begin = true;
    if (j->failed) {
        try_again(j);
        return;
    }
    if (is_full(j))
        j->begin = true;
    if (j->begin || atomic_load(&j->dropping))
        ask_for_basis(j);
}

/* Until the next turn is due, or it ends. */
static bool wait_for_turn(struct journal *j)
{
    struct timespec until;
    bool stopping;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += JOURNAL_WRITE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    lock_acquire(&j->lock);
    while (!j->stopping &&
           pthread_cond_timedwait(&j->wake, &j->lock, &until) == 0)
        continue;
    stopping = j->stopping;
    lock_release(&j->lock);
    return !stopping;
}

static void *run(void *arg)
{
    struct journal *j = arg;

    (void)pthread_setname_np(pthread_self(), "journal");
    while (wait_for_turn(j))
        turn(j);
    drain_all(j);
    write_end(j, JOURNAL_STOPPED);
    return NULL;
}

/* ---- the loop ----------------------------------------------------------- */

static struct journal *make(struct balancer *b,
                            const struct journal_config *config)
{
    struct journal *j = mem_zalloc(sizeof(*j));
    pthread_condattr_t attr;
    int rc = pthread_mutex_init(&j->lock, NULL);

    assert(rc == 0);
    rc = pthread_condattr_init(&attr);
    assert(rc == 0);
    rc = pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    assert(rc == 0);
    rc = pthread_cond_init(&j->wake, &attr);
    assert(rc == 0);
    (void)rc;
    (void)pthread_condattr_destroy(&attr);
    j->b = b;
    j->config = *config;
    j->config.path = NULL; /* the files' */
    j->fingerprint = balancer_journal_fingerprint();
    j->ring = mem_alloc(JOURNAL_RING);
    j->begin = true;
    buf_init(&j->scratch, RECORD_MAX);
    buf_init(&j->image, IMAGE_MAX);
    return j;
}

static void end(struct journal **j)
{
    journal_files_close(&(*j)->files);
    buf_close(&(*j)->scratch);
    buf_close(&(*j)->image);
    mem_free((*j)->ring);
    (void)pthread_cond_destroy(&(*j)->wake);
    (void)pthread_mutex_destroy(&(*j)->lock);
    MEM_FREE(*j);
}

int journal_start(struct journal **out, struct balancer *b,
                  const struct journal_config *config, struct err *err)
{
    struct journal *j = make(b, config);
    int rc = journal_files_open(&j->files, config->path, config->files, err);

    *out = NULL;
    if (rc != 0) {
        end(&j);
        return rc;
    }
    balancer_tap(b, on_event, j); /* with the first basis */
    write_basis(j);
    if (j->failed) {
        balancer_untap(b, on_event, j);
        rc = err_set(err, ERR_IO, "%s: %s", config->path,
                     strerror(atomic_load(&j->error)));
        end(&j);
        return rc;
    }
    lock_start_thread(&j->thread, run, j);
    *out = j;
    return 0;
}

void journal_tick(struct journal *j)
{
    bool dropping = atomic_load(&j->dropping);
    uint64_t dropped = atomic_load(&j->dropped);
    int error = atomic_load(&j->error);

    if (dropping == j->told_dropping)
        return;
    j->told_dropping = dropping;
    if (dropping) {
        j->told_missing = dropped;
        log_warn("!journal", LOG_S("file", j->files.path),
                 LOG_S("reason",
                       error != 0 ? strerror(error) : "the disk is too slow"),
                 LOG_S("advice", "events are left out until it can be written "
                                 "again; decisions do not wait for it"));
    } else {
        log_info("=journal", LOG_S("file", j->files.path),
                 LOG_U("left_out", dropped - j->told_missing),
                 LOG_S("reason", "it is written again"));
    }
}

void journal_reopen(struct journal *j)
{
    atomic_store(&j->reopen, true);
}

void journal_stop(struct journal **jp, int64_t at_most_ms)
{
    struct journal *j = *jp;
    struct timespec until;

    *jp = NULL;
    if (j == NULL)
        return;
    balancer_untap(j->b, on_event, j);
    lock_acquire(&j->lock);
    j->stopping = true;
    (void)pthread_cond_signal(&j->wake);
    lock_release(&j->lock);
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += at_most_ms / 1000;
    until.tv_nsec += at_most_ms % 1000 * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    if (pthread_timedjoin_np(j->thread, NULL, &until) == 0) {
        end(&j);
        return;
    }
    (void)pthread_detach(j->thread); /* it and what it uses stay */
    log_warn("!journal", LOG_S("reason", "the disk did not answer in time; its "
                                         "last events are not written"));
}

struct journal_figures journal_figures(const struct journal *j)
{
    uint64_t tail = atomic_load(&j->tail), head = atomic_load(&j->head);

    return (struct journal_figures){
        .records = atomic_load(&j->records),
        .bytes = atomic_load(&j->bytes),
        .dropped = atomic_load(&j->dropped),
        .files = atomic_load(&j->begun),
        .gaps = atomic_load(&j->gaps),
        .errors = atomic_load(&j->errors),
        .waiting = head - tail,
        .complete = !atomic_load(&j->dropping),
    };
}
