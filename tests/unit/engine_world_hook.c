/*
 * engine_world_hook.c - the hook of the engine's tests: it notes for whom it
 * runs, and exits at once or when the test says so.
 */
#include "tests/unit/engine_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka needs the ones above */
#include <cmocka.h>

static void hook_run(void *arg, const struct failover_record *r,
                     int64_t timeout_ms, mono_ms until,
                     void (*ended)(void *call, int exit_code, const char *tail),
                     void *call)
{
    struct world *w = arg;
    char process[PROCESS_TEXT_SIZE];
    assert_true(timeout_ms > 0 && until > w->clock.mono);
    w->hooks++;
    (void)snprintf(w->hook_seen, sizeof(w->hook_seen), "%s %s", r->address,
                   process_text(&r->process, process));
    if (w->hook_lasts) {
        w->hook_call = call;
        w->hook_ended = ended;
        w->hook_until = until;
    } else {
        ended(call, 3, "said so");
    }
}

static void hook_until(void *arg, const void *call, mono_ms until)
{
    struct world *w = arg;
    assert_ptr_equal(call, w->hook_call);
    w->hook_until = until;
}

static void hook_stop(void *arg, const void *call,
                      void (*stopped)(void *stop_arg), void *stop_arg)
{
    struct world *w = arg;
    assert_ptr_equal(call, w->hook_call);
    w->hook_call = NULL;
    w->hook_stopped = stopped;
    w->hook_stop_arg = stop_arg;
}

struct engine_hooks world_hooks(struct world *w)
{
    return (struct engine_hooks){hook_run, hook_until, hook_stop, w};
}
