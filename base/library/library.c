/*
 * library.c - shared libraries that are loaded when they are first needed.
 */
#include "base/library/library.h"

#include <dlfcn.h>
#include <string.h>

static int say_missing(const struct library *l, struct err *err)
{
    const char *why = dlerror();

    return err_set(err, ERR_IO,
                   "%s cannot be loaded: %s; install it (Debian: apt-get "
                   "install %s)",
                   l->file, why == NULL ? "no reason was given" : why,
                   l->package);
}

int library_load(struct library *l, struct err *err)
{
    void *handle;

    assert(l->n > 0);
    assert(l->table != NULL);
    if (atomic_load(&l->loaded))
        return 0;
    handle = dlopen(l->file, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL)
        return say_missing(l, err);
    for (size_t i = 0; i < l->n; i++) {
        void *at = dlsym(handle, l->names[i]);

        if (at == NULL)
            return say_missing(l, err);
        memcpy((char *)l->table + i * sizeof(at), &at, sizeof(at));
    }
    atomic_store(&l->loaded, true);
    return 0;
}
