/* The leaves of a prefix tree in the order in which they were left: a binary heap, the oldest on
 * top. Room is made beforehand, so that entering cannot fail. */
#ifndef CACHE_LEAF_HEAP_H
#define CACHE_LEAF_HEAP_H

#include "cache/prefix_tree.h"

struct leaf_heap {
    struct tree_node **leaves; /* [count], leaves[i]->heap_at == i */
    size_t count, capacity;
};

/* Makes room for `count` leaves; false when there is no memory. */
bool leaf_heap_reserve(struct leaf_heap *heap, size_t count);

/* Enters a leaf, or finds its new place where it is in already and was left later since. */
void leaf_heap_put(struct leaf_heap *heap, struct tree_node *leaf);

/* Takes a leaf out, if it is in. */
void leaf_heap_remove(struct leaf_heap *heap, struct tree_node *leaf);

#endif
