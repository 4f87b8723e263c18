/*
 * calls.c - see calls.h. Design: forgotten calls stay in the list, so that
 * they can be freed when no completion will ever come.
 */
#include "registry/calls.h"

#include "base/mem.h"

#include <utlist.h>

struct call {
    struct call *prev, *next;
    struct calls *calls; /* NULL: orphaned */
    call_f *fn;          /* NULL: forgotten */
    void *part;
    size_t index;
};

struct call *registry_calls_new(struct calls *calls, call_f *fn, void *part,
                                size_t index)
{
    assert(fn != NULL && part != NULL);
    struct call *c = mem_zalloc(sizeof(*c));
    c->calls = calls;
    c->fn = fn;
    c->part = part;
    c->index = index;
    DL_APPEND(calls->list, c);
    return c;
}

static struct call unlink_call(struct call *c)
{
    struct call was = *c;
    if (c->calls != NULL)
        DL_DELETE(c->calls->list, c);
    mem_free(c);
    return was;
}

void registry_calls_done(void *call, const struct registry_reply *reply)
{
    struct call was = unlink_call(call);
    if (was.calls != NULL && was.fn != NULL)
        was.fn(was.part, was.index, reply);
}

bool registry_calls_take(struct call *call, void **part)
{
    struct call was = unlink_call(call);
    *part = was.part;
    return was.calls != NULL && was.fn != NULL;
}

void registry_calls_forget(struct calls *calls, const void *part)
{
    struct call *c;
    DL_FOREACH(calls->list, c)
    {
        if (part == NULL || c->part == part)
            c->fn = NULL;
    }
}

void registry_calls_orphan(struct calls *calls)
{
    struct call *c, *next;
    DL_FOREACH_SAFE(calls->list, c, next)
    {
        DL_DELETE(calls->list, c);
        c->calls = NULL;
    }
}

void registry_calls_free(struct calls *calls)
{
    struct call *c, *next;
    DL_FOREACH_SAFE(calls->list, c, next)
    {
        DL_DELETE(calls->list, c);
        mem_free(c);
    }
}
