/*
 * move_items.c - the items: keys and values of the shape and size that the
 * failover engine writes.
 */
#include "tests/bench/move.h"

#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS "10.0.0.%d:5678"
#define RECORD                                                                 \
    "{\"id\":\"%05zu\",\"kind\":\"master\",\"group\":\"default\","             \
    "\"state\":\"assigned\",\"owner\":\"" ADDRESS "\",\"process\":{"           \
    "\"created\":17,\"startupTime\":1763812500000,\"processId\":4711},"        \
    "\"epoch\":%d,\"policy\":\"reassign\",\"payload\":{\"workflow\":%zu},"     \
    "\"attempts\":1,\"history\":[],\"assigned_at\":1763812500123}"
#define MARKER "{\"epoch\":%d,\"process\":17}"

struct move_item *move_items(size_t n)
{
    struct move_item *items = mem_zalloc(n * sizeof(*items));

    assert(n > 0 && n <= MOVE_ITEMS_MAX);
    for (size_t i = 0; i < n; i++) {
        char owned[MOVE_KEY_SIZE];

        (void)snprintf(items[i].record, MOVE_KEY_SIZE, MOVE_WORK "/%05zu", i);
        (void)snprintf(items[i].old_marker, MOVE_KEY_SIZE, "%.80s/%05zu",
                       move_owned(0, owned), i);
        (void)snprintf(items[i].new_marker, MOVE_KEY_SIZE, "%.80s/%05zu",
                       move_owned(move_target(i), owned), i);
    }
    return items;
}

int move_target(size_t i)
{
    return 1 + (int)(i % MOVE_TARGETS);
}

const char *move_owned(int owner, char key[MOVE_KEY_SIZE])
{
    (void)snprintf(key, MOVE_KEY_SIZE, MOVE_OWNED "/" ADDRESS, owner + 1);
    return key;
}

const char *move_gate(int owner, char key[MOVE_KEY_SIZE])
{
    (void)snprintf(key, MOVE_KEY_SIZE, MOVE_GATES "/" ADDRESS, owner + 1);
    return key;
}

static void write_values(size_t i, int owner, int epoch,
                         struct move_values *values)
{
    (void)snprintf(values->record, sizeof(values->record), RECORD, i, owner + 1,
                   epoch, i);
    (void)snprintf(values->marker, sizeof(values->marker), MARKER, epoch);
}

void move_before(size_t i, struct move_values *values)
{
    write_values(i, 0, 1, values);
}

void move_after(size_t i, struct move_values *values)
{
    write_values(i, move_target(i), 2, values);
}

double move_ms_since(uint64_t start_ns)
{
    return (double)(clock_mono_ns() - start_ns) / 1e6;
}

size_t move_items_asked(int argc, char **argv, size_t preset)
{
    unsigned long n = 0;
    char *end = NULL;

    if (argc == 1)
        return preset;
    if (argc == 3 && strcmp(argv[1], "--items") == 0)
        n = strtoul(argv[2], &end, 10);
    if (end == NULL || *end != '\0' || n == 0 || n > MOVE_ITEMS_MAX) {
        (void)fprintf(stderr, "usage: %s [--items 1..%d]\n", argv[0],
                      MOVE_ITEMS_MAX);
        exit(2);
    }
    return n;
}
