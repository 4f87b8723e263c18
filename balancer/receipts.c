/*
 * receipts.c - pick ids, and whom each was for.
 *
 * An id is 24 bits that name its coordinator and a 40-bit number that grows by
 * one per pick, so that none comes twice. The last RECEIPTS_MAX stand in a
 * ring under the low bits of that number; an older one has been written over
 * and is unknown. The ring is zeroed memory that the kernel hands out as it
 * fills.
 */
#include "balancer/balancer_priv.h"

#define NUMBER_BITS RECEIPTS_NUMBER_BITS
#define NUMBER_MASK ((UINT64_C(1) << NUMBER_BITS) - 1)

uint32_t balancer_pick_instance(pick_id pick)
{
    return (uint32_t)(pick >> NUMBER_BITS);
}

uint32_t balancer_pick_instance_of(uint64_t instance)
{
    uint64_t folded = instance ^ instance >> 24 ^ instance >> 48;

    folded &= (UINT64_C(1) << 24) - 1;
    return folded != 0 ? (uint32_t)folded : 1;
}

void balancer_receipts_init(struct receipts *r, uint64_t instance)
{
    r->ring = mem_zalloc(RECEIPTS_MAX * sizeof(*r->ring));
    r->next = 1;
    r->instance = (uint64_t)balancer_pick_instance_of(instance) << NUMBER_BITS;
    assert(r->instance != 0);
}

void balancer_receipts_close(struct receipts *r)
{
    MEM_FREE(r->ring);
}

static struct receipt *place_of(const struct receipts *r, uint64_t number)
{
    return &r->ring[number & (RECEIPTS_MAX - 1)];
}

/* In time for a later pick: taking a lock waits until what was written before
 * has arrived. */
#define FETCH_AHEAD 32U

pick_id balancer_receipts_add(struct receipts *r, uint32_t slot, uint32_t life,
                              uint32_t bucket)
{
    uint64_t number = r->next++ & NUMBER_MASK;

    assert(r->ring != NULL);
    assert(slot < UINT32_MAX);
    __builtin_prefetch(place_of(r, number + FETCH_AHEAD), 1);
    *place_of(r, number) = (struct receipt){
        .lap = (uint32_t)(number >> RECEIPTS_BITS),
        .holder = slot + 1,
        .life = life,
        .bucket = bucket,
    };
    return r->instance | number;
}

const struct receipt *balancer_receipts_at(const struct receipts *r,
                                           uint64_t number)
{
    const struct receipt *place = place_of(r, number);

    assert(number < r->next && r->next - number <= RECEIPTS_MAX);
    number &= NUMBER_MASK;
    return place->holder != 0 &&
                   place->lap == (uint32_t)(number >> RECEIPTS_BITS)
               ? place
               : NULL;
}

void balancer_receipts_put(struct receipts *r, uint64_t number,
                           const struct receipt *receipt)
{
    struct receipt *place = place_of(r, number);

    assert(number < r->next);
    assert(receipt->holder != 0);
    *place = *receipt;
    place->lap = (uint32_t)((number & NUMBER_MASK) >> RECEIPTS_BITS);
}

bool balancer_receipts_settle(struct receipts *r, pick_id id,
                              struct receipt *out)
{
    uint64_t number = id & NUMBER_MASK;
    struct receipt *place = place_of(r, number);

    assert(r->ring != NULL);
    if ((id & ~NUMBER_MASK) != r->instance || place->holder == 0 ||
        place->lap != (uint32_t)(number >> RECEIPTS_BITS))
        return false;
    *out = *place;
    place->holder = 0;
    assert(out->holder != 0);
    return true;
}
