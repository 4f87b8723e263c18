/*
 * library.h - shared libraries that are loaded when they are first needed.
 *
 * Which registry is used decides which client library is: the others, and what
 * they bring along (OpenSSL, Kerberos, LDAP...), would cost every process some
 * MiB and its start some milliseconds. So the program is not linked with them.
 * The functions that we call are a table of pointers, and its user declares it
 * from one list of their names:
 *
 *     #define FUNCTIONS(X) X(PQclear) X(PQfinish)
 *     static struct {
 *         FUNCTIONS(LIBRARY_SLOT)
 *     } libpq;
 *     static struct library library =
 *         LIBRARY(FUNCTIONS, libpq, "libpq.so.5", "libpq5");
 *
 * Each slot has the type that the library's own header gives the name; data
 * works alike. A function that is not in the list does not link.
 */
#ifndef PELORUS_BASE_LIBRARY_LIBRARY_H
#define PELORUS_BASE_LIBRARY_LIBRARY_H

#include "base/err.h"

#include <stdatomic.h>
#include <stdbool.h>

#define LIBRARY_SLOT(name) __typeof__(name) *name;
#define LIBRARY_NAME(name) #name,

struct library {
    const char *file;         /* "libpq.so.5": with the number of its ABI */
    const char *package;      /* what it is called in Debian: "libpq5" */
    const char *const *names; /* n of them */
    size_t n;
    void *table; /* of n pointers, in the same order */
    atomic_bool loaded;
};

/* Of what stands at the head; outside of functions. */
#define LIBRARY(functions, to, so, debian)                                     \
    {                                                                          \
        .file = (so), .package = (debian),                                     \
        .names = (const char *const[]){functions(LIBRARY_NAME)},               \
        .n = sizeof(to) / sizeof(void *), .table = &(to)                       \
    }

/*
 * Load it and fill the table, if that has not been done: fine to call again.
 * It stays loaded. ERR_IO: it is not there or lacks a function, and the message
 * says which and what to install. Of one library only one thread may do so at a
 * time, before others use it.
 */
int library_load(struct library *l, struct err *err) MUST_CHECK;

#endif
