/*
 * curl.c - libcurl's functions.
 */
#include "base/library/curl.h"

struct libcurl libcurl;

int libcurl_load(struct err *err)
{
    static const char *const names[] = {LIBCURL(LIBRARY_NAME)};
    static struct library library = {.file = "libcurl.so.4",
                                     .package = "libcurl4",
                                     .names = names,
                                     .n = ARRAY_LEN(names),
                                     .table = &libcurl};

    static_assert(sizeof(libcurl) == sizeof(names), "one slot for each name");
    return library_load(&library, err);
}
