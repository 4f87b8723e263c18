/*
 * replay.c - a fuzz target over its corpus: each file as it is, cut short at
 * many places, and a fixed number of mutations from a fixed seed. The same
 * inputs every time.
 */
#include "base/mem.h"
#include "base/rand.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUTATIONS 400
#define CUTS      100
#define SIZE_MAX_ ((size_t)1 << 20)

/* A copy of exactly its size: reading past it is caught by a sanitizer. */
static void run(const uint8_t *data, size_t size)
{
    uint8_t *copy = mem_dup(data, size);

    (void)LLVMFuzzerTestOneInput(copy, size);
    mem_free(copy);
}

static void mutate(struct rand *r, uint8_t *data, size_t size)
{
    for (uint64_t n = 1 + rand_below(r, 4); n > 0; n--) {
        size_t at = rand_below(r, size), to = rand_below(r, size);
        size_t len = rand_below(r, 1 + (size - (at > to ? at : to)) % 64);

        switch (rand_below(r, 4)) {
        case 0:
            data[at] ^= (uint8_t)(1u << rand_below(r, 8));
            break;
        case 1:
            data[at] = (uint8_t)rand_u64(r);
            break;
        case 2:
            data[at] = (uint8_t) "\"{}[]:,\\0=\n"[rand_below(r, 11)];
            break;
        default:
            memmove(data + to, data + at, len);
            break;
        }
    }
}

static void replay(const char *path)
{
    uint8_t *data = mem_alloc(SIZE_MAX_), *other = mem_alloc(SIZE_MAX_);
    FILE *f = fopen(path, "rb");
    struct rand r;
    size_t size;

    if (f == NULL) {
        perror(path);
        exit(1);
    }
    size = fread(data, 1, SIZE_MAX_, f);
    (void)fclose(f);
    run(data, size);
    for (size_t i = 0; i < CUTS && i < size; i++)
        run(data, size * i / CUTS);
    rand_seed(&r, size);
    for (size_t i = 0; i < MUTATIONS && size > 0; i++) {
        memcpy(other, data, size);
        mutate(&r, other, size);
        run(other, size);
    }
    mem_free(data);
    mem_free(other);
}

int main(int argc, char **argv)
{
    struct dirent **names;
    int n, files = 0;

    if (argc != 2 || (n = scandir(argv[1], &names, NULL, alphasort)) < 0) {
        (void)fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
        return 1;
    }
    for (int i = 0; i < n; i++) {
        char *path = mem_printf("%s/%s", argv[1], names[i]->d_name);

        if (names[i]->d_name[0] != '.') {
            replay(path);
            files++;
        }
        mem_free(path);
        mem_free(names[i]);
    }
    mem_free(names);
    (void)printf("%d passed, 0 failed, 0 skipped\n", files);
    return files > 0 ? 0 : 1;
}
