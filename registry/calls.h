/*
 * calls.h - what is in flight at the registry, and who waits for it.
 *
 * A call names the part it belongs to: letting a part go is forgetting its
 * calls, after which their late completions free themselves and tell nobody.
 */
#ifndef PELORUS_REGISTRY_CALLS_H
#define PELORUS_REGISTRY_CALLS_H

#include "registry/registry.h"

typedef void call_f(void *part, size_t index,
                    const struct registry_reply *reply);

struct call;
struct calls {
    struct call *list;
};

/* Pass registry_calls_done and what this returns to one call of the registry.
 */
struct call *registry_calls_new(struct calls *calls, call_f *fn, void *part,
                                size_t index);
void registry_calls_done(void *call, const struct registry_reply *reply);

/* The same for an answer that does not come from the registry: true when
 * somebody still waits for it. Frees the call. */
bool registry_calls_take(struct call *call, void **part);

void registry_calls_forget(struct calls *calls,
                           const void *part); /* NULL: all */
/* The owner of `calls` goes away; what is in flight will still complete. */
void registry_calls_orphan(struct calls *calls);
/* It will never complete: the registry's client was killed. */
void registry_calls_free(struct calls *calls);

#endif
