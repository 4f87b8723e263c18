/*
 * zookeeper_mt.c - see zookeeper_mt.h.
 */
#include "tests/lib/zookeeper_mt.h"

#include <stdio.h>
#include <stdlib.h>

struct zkmt_library zkmt;

static struct library library =
    LIBRARY(ZKMT_LIBRARY, zkmt, "libzookeeper_mt.so.2", "libzookeeper-mt2");

__attribute__((constructor)) static void load(void)
{
    struct err err;

    if (library_load(&library, &err) != 0) {
        (void)fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
}
