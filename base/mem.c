/*
 * mem.c - the allocator that cannot fail: it succeeds or ends the process.
 *
 * The last words go out with write(2) from the stack, because the logger and
 * stdio may need memory themselves.
 */
#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_PAGE ((size_t)1 << 21)

#define LARGE (256 * 1024)  /* bytes: blocks of the system's */
#define KEPT  (1024 * 1024) /* free bytes at the end of the heap */

static NORETURN void out_of_memory(size_t n, size_t size)
{
    char line[128];
    int len;

    len = snprintf(line, sizeof(line),
                   "pelorus: out of memory: %zu x %zu bytes; give the process "
                   "more, then restart it\n",
                   n, size);
    if (len > 0 && write(STDERR_FILENO, line, (size_t)len) < 0) {
        /* Nobody is left to tell. */
    }
    abort();
}

static void *given(void *p, size_t size)
{
    if (p == NULL)
        out_of_memory(1, size);
    return p;
}

void *mem_alloc(size_t size)
{
    return given(malloc(size == 0 ? 1 : size), size);
}

void *mem_zalloc(size_t size)
{
    return given(calloc(1, size == 0 ? 1 : size), size);
}

static void *mem_at(size_t unit, size_t size)
{
    size_t whole = (size + unit - 1) / unit * unit;
    void *p = aligned_alloc(unit, whole == 0 ? unit : whole);

    if (p == NULL)
        out_of_memory(1, size);
    return p;
}

void *mem_lines(size_t size)
{
    return mem_at(MEM_LINE, size);
}

void *mem_huge(size_t size)
{
    void *p;

    if (size < HUGE_PAGE)
        return mem_lines(size);
    p = mem_at(HUGE_PAGE, size);
    (void)madvise(p, size, MADV_HUGEPAGE); /* if there are any */
    return p;
}

void *mem_realloc(void *ptr, size_t size)
{
    return given(realloc(ptr, size == 0 ? 1 : size), size);
}

static size_t product(size_t n, size_t size)
{
    size_t total;

    assert(size > 0);
    if (__builtin_mul_overflow(n, size, &total))
        out_of_memory(n, size);
    return total;
}

void *mem_array(size_t n, size_t size)
{
    return mem_alloc(product(n, size));
}

void *mem_regrow(void *ptr, size_t n, size_t size)
{
    return mem_realloc(ptr, product(n, size));
}

char *mem_strdup(const char *s)
{
    return s == NULL ? NULL : mem_dup(s, strlen(s) + 1);
}

char *mem_strndup(const char *s, size_t n)
{
    size_t len;
    char *copy;

    if (s == NULL)
        return NULL;
    len = strnlen(s, n);
    assert(len <= n);
    copy = mem_alloc(len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

void *mem_dup(const void *p, size_t n)
{
    void *copy;

    if (p == NULL)
        return NULL;
    copy = mem_alloc(n);
    memcpy(copy, p, n);
    return copy;
}

char *mem_printf(const char *fmt, ...)
{
    va_list ap, again;
    char *text;
    int n, written;

    assert(fmt != NULL);
    va_start(ap, fmt);
    va_copy(again, ap);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    assert(n >= 0);
    text = mem_alloc((size_t)n + 1);
    written = vsnprintf(text, (size_t)n + 1, fmt, again);
    assert(written == n);
    va_end(again);
    return text;
}

void mem_free(void *ptr)
{
    free(ptr);
}

void mem_begin(void)
{
#ifdef __GLIBC__
    /* Hints, which another allocator in glibc's place refuses. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE);
    (void)mallopt(M_TRIM_THRESHOLD, KEPT);
#endif
}

void mem_give_back(void)
{
#ifdef __GLIBC__
    (void)malloc_trim(0);
#endif
}

void mem_discard(void *p, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = ((uintptr_t)p + page - 1) / page * page;
    uintptr_t to = ((uintptr_t)p + n) / page * page;

    assert(p != NULL);
    if (from < to)
        (void)madvise((char *)p + (from - (uintptr_t)p), to - from,
                      MADV_DONTNEED);
}
