/*
 * curl.c - libcurl's functions.
 */
#include "base/library/curl.h"

struct libcurl libcurl;

static struct library library =
    LIBRARY(LIBCURL, libcurl, "libcurl.so.4", "libcurl4");

int libcurl_load(struct err *err)
{
    return library_load(&library, err);
}
