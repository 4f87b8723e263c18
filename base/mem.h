/*
 * mem.h - the only place that calls malloc.
 *
 * Running out of memory ends the process with one clear line: every fact that
 * matters stands in the registry, a restart loses nothing, and half-built
 * state is worse than none. Sizes that come from outside are bounded before
 * they get here. Any thread.
 */
#ifndef PELORUS_BASE_MEM_H
#define PELORUS_BASE_MEM_H

#include "base/compiler.h"

/* Uninitialised, zeroed, and resized memory; never NULL. Size 0 gives a
 * pointer that can be freed. */
void *mem_alloc(size_t size) MUST_CHECK;
void *mem_zalloc(size_t size) MUST_CHECK;
void *mem_realloc(void *ptr, size_t size) MUST_CHECK;

/* Uninitialised, beginning at a cache line of MEM_LINE bytes. mem_huge(): 2 MiB
 * or more of it in huge pages, if the system has them to give: who jumps about
 * in it waits less for addresses to be translated, but a page touched once is
 * 2 MiB of memory. */
#define MEM_LINE 64U
void *mem_lines(size_t size) MUST_CHECK;
void *mem_huge(size_t size) MUST_CHECK;

/* Overflow-checked array forms: n elements of `size` bytes. */
void *mem_array(size_t n, size_t size) MUST_CHECK;
void *mem_regrow(void *ptr, size_t n, size_t size) MUST_CHECK;

/* Copies; NULL gives NULL. */
char *mem_strdup(const char *s) MUST_CHECK;
char *mem_strndup(const char *s, size_t n) MUST_CHECK;
void *mem_dup(const void *p, size_t n) MUST_CHECK;

/* printf into fresh memory. */
char *mem_printf(const char *fmt, ...) MUST_CHECK PRINTF_LIKE(1, 2);

/* Free what one of the above returned; NULL is fine. */
void mem_free(void *ptr);

/* For a process that runs for long, before it has threads: large blocks come
 * from the system and go back to it, however large they get (of itself, the
 * allocator of glibc keeps more with every large block that is freed), so that
 * what is read at once leaves no hole, and a table that is never filled holds
 * no memory. */
void mem_begin(void);

/* Give free memory back to the system, as far as whole pages of it are: after
 * much was read at once that is not needed any more. Takes some ms. */
void mem_give_back(void);

/* The whole pages in these n bytes go back to the system, and read as zeroes
 * from now on: what a burst filled in a block that stays. */
void mem_discard(void *p, size_t n);

/* Free and set the variable to NULL. */
#define MEM_FREE(p)                                                            \
    do {                                                                       \
        mem_free(p);                                                           \
        (p) = NULL;                                                            \
    } while (0)

#endif
