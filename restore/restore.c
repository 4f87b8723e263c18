/*
 * restore.c - the phases, and what becomes of a failure. Design: a phase that
 * fails for now is begun again by a later tick, for as long as something is
 * achieved once in a while; nothing else here knows about trying again.
 */
#include "restore/restore_priv.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AGAIN_MS 200
/* Without any progress. A lock of a process that is gone is free after its
 * session's timeout. */
#define PATIENCE_MS 60000

struct restore *restore_new(const struct restore_config *config)
{
    struct restore *r = mem_zalloc(sizeof(*r));
    assert(config->n_locks <= BULK_LOCKS);
    assert(config->registry != NULL && config->clock != NULL);
    r->c = *config;
    (void)snprintf(r->who, sizeof(r->who), "%s", config->who);
    return r;
}

static void unlock_all(struct restore *r)
{
    for (size_t i = 0; i < BULK_LOCKS; i++)
        registry_unlock(&r->locks[i]);
    assert(r->n_locks <= r->c.n_locks);
    r->n_locks = 0;
}

static void forget(struct restore *r)
{
    registry_forget(r->c.registry, r);
    restore_bulk_free(&r->bulk);
    restore_listed_free(r);
    MEM_FREE(r->next);
    r->again = 0;
    r->deferred = false;
    assert(r->bulk == NULL && r->n_locks <= r->c.n_locks);
    assert(r->listed == NULL && r->next == NULL);
}

void restore_free(struct restore **out)
{
    struct restore *r = *out;
    if (r == NULL)
        return;
    forget(r);
    unlock_all(r);
    restore_known_free(&r->stored);
    restore_known_free(&r->shown);
    MEM_FREE(*out);
}

/* --- the end ------------------------------------------------------------- */

void restore_finish(struct restore *r)
{
    restore_done_f *done = r->done;
    struct err ok;
    assert(r->phase != PHASE_IDLE);
    assert(done != NULL);
    err_clear(&ok);
    forget(r);
    unlock_all(r);
    r->phase = PHASE_IDLE;
    r->done = NULL;
    done(r->arg, &ok, &r->result);
}

void restore_fail(struct restore *r, const struct err *why)
{
    restore_known_f *known = r->known;
    restore_done_f *done = r->done;
    struct err err = *why;
    assert(r->phase != PHASE_IDLE);
    assert(err.code != ERR_OK);
    if (r->phase == PHASE_SWEEP) { /* what counts is done */
        restore_finish(r);
        return;
    }
    forget(r);
    unlock_all(r);
    r->phase = PHASE_IDLE;
    r->known = NULL;
    r->done = NULL;
    if (done != NULL)
        done(r->arg, &err, NULL);
    else if (known != NULL)
        known(r->arg, &err, NULL);
}

static bool passes(enum err_code code)
{
    return code == ERR_CONFLICT || code == ERR_UNKNOWN ||
           code == ERR_UNAVAILABLE || code == ERR_FULL || code == ERR_TIMEOUT;
}

void restore_retry(struct restore *r, const struct err *err)
{
    assert(r->phase != PHASE_IDLE);
    assert(err->code != ERR_OK);
    /* before there are locks nothing of ours hangs on the session */
    bool anew = err->code == ERR_SESSION_LOST && r->phase == PHASE_LOOK;
    if (!passes(err->code) && !anew) {
        restore_fail(r, err);
        return;
    }
    forget(r);
    r->trouble = *err;
    r->deferred = true;
    r->retry_at = r->c.clock->mono + AGAIN_MS;
}

/* --- the locks ----------------------------------------------------------- */

static void next_lock(struct restore *r);

static void on_granted(void *arg, enum err_code code)
{
    struct restore *r = arg;
    struct err err;
    assert(r->phase == PHASE_LOCK);
    assert(r->n_locks < r->c.n_locks);
    if (code != ERR_OK) {
        err_set(&err, code, "the lock %s: %s", r->c.locks[r->n_locks],
                err_text(code));
        restore_fail(r, &err);
        return;
    }
    r->n_locks++;
    next_lock(r);
}

static void on_lost(void *arg)
{
    struct restore *r = arg;
    struct err err;
    assert(r->n_locks <= r->c.n_locks);
    err_set(&err, ERR_SESSION_LOST,
            "our session at the registry ended, and with it the locks");
    restore_fail(r, &err);
}

static void next_lock(struct restore *r)
{
    assert(r->phase == PHASE_LOCK);
    assert(r->n_locks <= r->c.n_locks);
    r->progress = r->c.clock->mono;
    if (r->n_locks == r->c.n_locks) {
        restore_begin(r, PHASE_LOOK_AGAIN);
        return;
    }
    r->locks[r->n_locks] = registry_lock(r->c.registry, r->c.locks[r->n_locks],
                                         r->who, -1, on_granted, on_lost, r);
}

/* --- phases -------------------------------------------------------------- */

static restore_step_f *const begins[] = {
    [PHASE_LOOK] = restore_look_begin,
    [PHASE_LOCK] = next_lock,
    [PHASE_LOOK_AGAIN] = restore_look_begin,
    [PHASE_FLOOR] = restore_floor_begin,
    [PHASE_QUIET] = restore_quiet_begin,
    [PHASE_PASS] = restore_pass_begin,
    [PHASE_OPEN] = restore_open_begin,
    [PHASE_SWEEP] = restore_sweep_begin,
};

void restore_begin(struct restore *r, enum phase phase)
{
    assert(phase > PHASE_IDLE && phase <= PHASE_SWEEP);
    forget(r);
    if (r->phase != phase) {
        r->progress = r->c.clock->mono;
        err_clear(&r->trouble);
    }
    r->phase = phase;
    begins[phase](r);
}

void restore_look(struct restore *r, restore_known_f *known, void *arg)
{
    assert(r->known == NULL && r->done == NULL);
    assert(r->phase == PHASE_IDLE && known != NULL);
    r->known = known;
    r->arg = arg;
    restore_begin(r, PHASE_LOOK);
}

void restore_go(struct restore *r, restore_done_f *done, void *arg)
{
    assert(r->phase == PHASE_IDLE && done != NULL);
    assert(r->c.n_locks > 0);
    r->done = done;
    r->arg = arg;
    r->passes = 0;
    r->made = false;
    memset(&r->result, 0, sizeof(r->result));
    restore_begin(r, PHASE_LOCK);
}

static void give_up(struct restore *r)
{
    struct registry_lock_wait wait = {.holder = ""};
    struct err err = r->trouble;
    assert(r->phase != PHASE_IDLE);
    if (r->phase == PHASE_LOCK) {
        struct registry_lock *lock = r->locks[r->n_locks];
        (void)registry_lock_waits_for(lock, &wait);
        err_set(&err, ERR_TIMEOUT, "the lock %s is not to be had: %s%s",
                r->c.locks[r->n_locks],
                wait.holder[0] != '\0' ? "it is held by " : "it is held",
                wait.holder);
    } else if (err.code == ERR_OK) {
        err_set(&err, ERR_TIMEOUT,
                "the registry has not answered for a minute");
    }
    restore_fail(r, &err);
}

void restore_tick(struct restore *r)
{
    mono_ms now = r->c.clock->mono;
    assert(r->phase == PHASE_LOCK || r->n_locks == 0 ||
           r->n_locks == r->c.n_locks);
    if (r->phase == PHASE_IDLE)
        return;
    if (now - r->progress >= PATIENCE_MS)
        give_up(r);
    else if (r->deferred && now >= r->retry_at)
        restore_begin(r, r->phase);
}

/* --- walking over keys --------------------------------------------------- */

static void ask(struct restore *r);

static void on_written(void *arg, const struct err *err,
                       const struct bulk_sum *sum)
{
    struct restore *r = arg;
    assert(r->phase != PHASE_IDLE);
    assert(r->walked != NULL);
    if (err->code != ERR_OK) {
        restore_retry(r, err);
        return;
    }
    r->again += sum->again;
    if (sum->applied > 0)
        r->progress = r->c.clock->mono;
    if (r->next != NULL)
        ask(r);
    else
        r->walked(r);
}

static void on_page(void *arg, const struct registry_reply *reply)
{
    struct restore *r = arg;
    struct err ok;
    assert(r->phase != PHASE_IDLE && !r->deferred);
    if (reply->err.code != ERR_OK && reply->err.code != ERR_NOT_FOUND) {
        restore_retry(r, &reply->err);
        return;
    }
    r->progress = r->c.clock->mono;
    MEM_FREE(r->next);
    r->next = mem_strdup(reply->next);
    for (size_t i = 0; i < reply->n_entries; i++)
        r->entry(r, &reply->entries[i]);
    if (r->bulk != NULL) {
        restore_bulk_wait(r->bulk, on_written, r);
        return;
    }
    err_clear(&ok);
    on_written(r, &ok, &(struct bulk_sum){0});
}

static void ask(struct restore *r)
{
    assert(r->prefix != NULL);
    assert(r->entry != NULL && r->walked != NULL);
    registry_list(r->c.registry, r->prefix, r->next, REGISTRY_PAGE_MAX, on_page,
                  r);
}

void restore_walk(struct restore *r, const char *prefix, restore_entry_f *entry,
                  restore_step_f *walked)
{
    assert(entry != NULL && walked != NULL);
    assert(r->phase != PHASE_IDLE);
    MEM_FREE(r->next);
    r->prefix = prefix;
    r->entry = entry;
    r->walked = walked;
    ask(r);
}
