/* compiler.h - the few compiler attributes that every header may use. */
#ifndef PELORUS_BASE_COMPILER_H
#define PELORUS_BASE_COMPILER_H

#include <assert.h>
#include <stddef.h>

#ifdef NDEBUG
#error "asserts stay on in release builds: do not define NDEBUG"
#endif

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
#define PACKED            __attribute__((packed)) /* an enum: in one byte */

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#define CONTAINER_OF(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
