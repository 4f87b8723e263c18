/*
 * tree.c - the ordered keys of a memory store.
 *
 * Sorted blocks of at most 256 pointers, found by two binary searches: for the
 * few hundred keys of a simulated cluster this is one sorted array, and with
 * 100,000 keys an insertion still moves at most a few kilobytes.
 */
#include "base/mem.h"
#include "tests/lib/memory/memory_priv.h"

#include <string.h>

struct memory_node *memory_node_new(const char *key, const char *value,
                                    size_t value_len)
{
    size_t key_len = strlen(key);
    struct memory_node *node =
        mem_alloc(sizeof(*node) + key_len + value_len + 2);

    memset(node, 0, sizeof(*node));
    node->refs = 1;
    memcpy(node->text, key, key_len + 1);
    if (value_len > 0)
        memcpy(node->text + key_len + 1, value, value_len);
    node->text[key_len + 1 + value_len] = '\0';
    node->entry.key = node->text;
    node->entry.value = node->text + key_len + 1;
    node->entry.value_len = value_len;
    return node;
}

struct memory_node *memory_node_ref(struct memory_node *node)
{
    assert(node->refs > 0);
    node->refs++;
    return node;
}

void memory_node_unref(struct memory_node *node)
{
    if (node != NULL && --node->refs == 0)
        mem_free(node);
}

void memory_tree_close(struct memory_tree *tree)
{
    for (size_t b = 0; b < tree->n_blocks; b++) {
        for (size_t i = 0; i < tree->blocks[b]->n; i++)
            memory_node_unref(tree->blocks[b]->nodes[i]);
        mem_free(tree->blocks[b]);
    }
    mem_free(tree->blocks);
    memset(tree, 0, sizeof(*tree));
}

/* The last block that begins at or before `key`; 0 if there is none. */
static size_t find_block(const struct memory_tree *tree, const char *key)
{
    size_t low = 0, high = tree->n_blocks;

    while (low + 1 < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(tree->blocks[mid]->nodes[0]->text, key) <= 0)
            low = mid;
        else
            high = mid;
    }
    return low;
}

struct memory_pos memory_tree_from(const struct memory_tree *tree,
                                   const char *key)
{
    struct memory_pos pos = {0, 0};
    const struct memory_block *block;
    size_t low = 0, high;

    if (tree->n_blocks == 0)
        return pos;
    pos.block = find_block(tree, key);
    block = tree->blocks[pos.block];
    high = block->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;

        if (strcmp(block->nodes[mid]->text, key) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    pos.index = low;
    return pos;
}

struct memory_pos memory_tree_below(const struct memory_tree *tree,
                                    const char *prefix)
{
    char from[REGISTRY_KEY_MAX + 2];
    size_t len = strlen(prefix);

    assert(len <= REGISTRY_KEY_MAX);
    memcpy(from, prefix, len);
    if (len > 1) /* "/" ends with its slash already */
        from[len++] = '/';
    from[len] = '\0';
    return memory_tree_from(tree, from);
}

struct memory_node *memory_tree_next(const struct memory_tree *tree,
                                     struct memory_pos *pos)
{
    while (pos->block < tree->n_blocks) {
        const struct memory_block *block = tree->blocks[pos->block];

        if (pos->index < block->n)
            return block->nodes[pos->index++];
        pos->block++;
        pos->index = 0;
    }
    return NULL;
}

struct memory_node *memory_tree_find(const struct memory_tree *tree,
                                     const char *key)
{
    struct memory_pos pos = memory_tree_from(tree, key);
    struct memory_node *node = memory_tree_next(tree, &pos);

    return node != NULL && strcmp(node->text, key) == 0 ? node : NULL;
}

bool memory_tree_has_below(const struct memory_tree *tree, const char *key)
{
    struct memory_pos pos = memory_tree_below(tree, key);
    struct memory_node *node = memory_tree_next(tree, &pos);

    return node != NULL && registry_key_below(node->text, key);
}

static void add_block(struct memory_tree *tree, size_t at)
{
    if (tree->n_blocks == tree->cap) {
        tree->cap = tree->cap == 0 ? 8 : 2 * tree->cap;
        tree->blocks =
            mem_regrow(tree->blocks, tree->cap, sizeof(struct memory_block *));
    }
    memmove(tree->blocks + at + 1, tree->blocks + at,
            (tree->n_blocks - at) * sizeof(struct memory_block *));
    tree->blocks[at] = mem_zalloc(sizeof(struct memory_block));
    tree->n_blocks++;
}

/* Make room in a full block; the position may move to the new one. */
static void split(struct memory_tree *tree, struct memory_pos *pos)
{
    struct memory_block *low, *high;
    size_t half = MEMORY_BLOCK / 2;

    add_block(tree, pos->block + 1);
    low = tree->blocks[pos->block];
    high = tree->blocks[pos->block + 1];
    memcpy(high->nodes, low->nodes + half,
           (MEMORY_BLOCK - half) * sizeof(struct memory_node *));
    high->n = MEMORY_BLOCK - half;
    low->n = half;
    if (pos->index > half) {
        pos->block++;
        pos->index -= half;
    }
}

struct memory_node *memory_tree_put(struct memory_tree *tree,
                                    struct memory_node *node)
{
    struct memory_pos pos = memory_tree_from(tree, node->text);
    struct memory_block *block;

    if (tree->n_blocks == 0)
        add_block(tree, 0);
    block = tree->blocks[pos.block];
    if (pos.index < block->n &&
        strcmp(block->nodes[pos.index]->text, node->text) == 0) {
        struct memory_node *before = block->nodes[pos.index];

        block->nodes[pos.index] = node;
        return before;
    }
    if (block->n == MEMORY_BLOCK) {
        split(tree, &pos);
        block = tree->blocks[pos.block];
    }
    memmove(block->nodes + pos.index + 1, block->nodes + pos.index,
            (block->n - pos.index) * sizeof(struct memory_node *));
    block->nodes[pos.index] = node;
    block->n++;
    tree->n_nodes++;
    return NULL;
}

void memory_tree_copy(struct memory_tree *to, const struct memory_tree *from)
{
    *to = (struct memory_tree){.n_nodes = from->n_nodes};
    for (size_t i = 0; i < from->n_blocks; i++) {
        add_block(to, i);
        *to->blocks[i] = *from->blocks[i];
        for (size_t k = 0; k < to->blocks[i]->n; k++)
            (void)memory_node_ref(to->blocks[i]->nodes[k]);
    }
}

struct memory_node *memory_tree_remove(struct memory_tree *tree,
                                       const char *key)
{
    struct memory_pos pos = memory_tree_from(tree, key);
    struct memory_block *block;
    struct memory_node *node;

    assert(pos.block < tree->n_blocks);
    block = tree->blocks[pos.block];
    assert(pos.index < block->n);
    node = block->nodes[pos.index];
    assert(strcmp(node->text, key) == 0);
    block->n--;
    memmove(block->nodes + pos.index, block->nodes + pos.index + 1,
            (block->n - pos.index) * sizeof(struct memory_node *));
    tree->n_nodes--;
    if (block->n == 0) {
        mem_free(block);
        tree->n_blocks--;
        memmove(tree->blocks + pos.block, tree->blocks + pos.block + 1,
                (tree->n_blocks - pos.block) * sizeof(struct memory_block *));
    }
    return node;
}
