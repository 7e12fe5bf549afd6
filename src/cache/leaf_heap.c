/* A binary heap of leaves, ordered by when they were left. */
#include "cache/leaf_heap.h"

#include <stdlib.h>

bool leaf_heap_reserve(struct leaf_heap *heap, size_t count)
{
    if (count <= heap->capacity)
        return true;
    size_t capacity = 2 * heap->capacity > count ? 2 * heap->capacity : count + 64;
    struct tree_node **leaves = realloc(heap->leaves, capacity * sizeof(struct tree_node *));
    if (!leaves)
        return false;
    heap->leaves = leaves;
    heap->capacity = capacity;
    return true;
}

static void set(struct leaf_heap *heap, size_t at, struct tree_node *leaf)
{
    heap->leaves[at] = leaf;
    leaf->heap_at = at;
}

static void rise(struct leaf_heap *heap, size_t at, struct tree_node *leaf)
{
    for (size_t up; at > 0 && heap->leaves[up = (at - 1) / 2]->left > leaf->left; at = up)
        set(heap, at, heap->leaves[up]);
    set(heap, at, leaf);
}

static void sink(struct leaf_heap *heap, size_t at, struct tree_node *leaf)
{
    for (size_t down; (down = 2 * at + 1) < heap->count; at = down) {
        if (down + 1 < heap->count && heap->leaves[down + 1]->left < heap->leaves[down]->left)
            down++;
        if (heap->leaves[down]->left >= leaf->left)
            break;
        set(heap, at, heap->leaves[down]);
    }
    set(heap, at, leaf);
}

void leaf_heap_put(struct leaf_heap *heap, struct tree_node *leaf)
{
    if (leaf->heap_at == SIZE_MAX)
        rise(heap, heap->count++, leaf);
    else
        sink(heap, leaf->heap_at, leaf);
}

void leaf_heap_remove(struct leaf_heap *heap, struct tree_node *leaf)
{
    size_t at = leaf->heap_at;
    if (at == SIZE_MAX)
        return;
    leaf->heap_at = SIZE_MAX;
    struct tree_node *last = heap->leaves[--heap->count];
    if (last == leaf)
        return;
    rise(heap, at, last);
    sink(heap, last->heap_at, last);
}
