/*
 * accounts.c - where accounts live: in blocks that never move, so that a slot
 * number (in pick ids) and a pointer (in groups) both stay good, and that lie
 * densely, so that few pages are touched: small ones in the first block, as far
 * as it is used, huge ones where there are more.
 */
#include "balancer/balancer_priv.h"

static void accounts_grow(struct accounts *all)
{
    size_t n = all->n_blocks + 1;
    size_t bytes = ACCOUNTS_PER_BLOCK * sizeof(struct account);

    assert(all->n_free == 0);
    assert(all->n == all->n_blocks * ACCOUNTS_PER_BLOCK);
    all->block = mem_regrow(all->block, n, sizeof(struct account *));
    all->free =
        mem_regrow(all->free, n * ACCOUNTS_PER_BLOCK, sizeof(*all->free));
    all->block[n - 1] = n == 1 ? mem_lines(bytes) : mem_huge(bytes);
    all->n_blocks++;
}

struct account *balancer_accounts_take(struct accounts *all)
{
    uint32_t slot;

    assert(all->n <= all->n_blocks * ACCOUNTS_PER_BLOCK);
    if (all->n_free > 0) {
        slot = all->free[--all->n_free];
    } else {
        if (all->n == all->n_blocks * ACCOUNTS_PER_BLOCK)
            accounts_grow(all);
        slot = all->n++;
        *account_at(all, slot) = (struct account){.slot = slot};
    }
    struct account *a = account_at(all, slot);

    assert(a->profile == NULL);
    assert(a->slot == slot);
    return a;
}

void balancer_accounts_give_back(struct accounts *all, struct account *a)
{
    assert(a->slot < all->n);
    assert(all->n_free < all->n);
    assert(a->profile == NULL);
    a->life++;
    all->free[all->n_free++] = a->slot;
}

void balancer_accounts_close(struct accounts *all)
{
    for (uint32_t i = 0; i < all->n_blocks; i++)
        mem_free(all->block[i]);
    mem_free(all->block);
    mem_free(all->free);
}
