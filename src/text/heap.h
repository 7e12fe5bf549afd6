/* A binary min-heap of small items, for the queues of merges and of special tokens.
 *
 * Of items with equal keys the one with the smaller a comes out first, of those the one with the
 * smaller b. A zeroed struct is an empty heap; free(heap.items) releases it. */
#ifndef TEXT_HEAP_H
#define TEXT_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct heap_item {
    uint64_t key;
    uint32_t a, b; /* the caller's */
};

struct heap {
    struct heap_item *items;
    size_t count, capacity;
};

static inline bool heap_before(const struct heap_item *x, const struct heap_item *y)
{
    if (x->key != y->key)
        return x->key < y->key;
    return x->a != y->a ? x->a < y->a : x->b < y->b;
}

/* False when there is no memory; the heap is then as it was. */
static inline bool heap_push(struct heap *heap, struct heap_item item)
{
    if (heap->count == heap->capacity) {
        size_t capacity = heap->capacity ? heap->capacity * 2 : 64;
        struct heap_item *items = realloc(heap->items, capacity * sizeof *items);
        if (!items)
            return false;
        heap->items = items;
        heap->capacity = capacity;
    }
    size_t hole = heap->count++;
    while (hole > 0 && heap_before(&item, &heap->items[(hole - 1) / 2])) {
        heap->items[hole] = heap->items[(hole - 1) / 2];
        hole = (hole - 1) / 2;
    }
    heap->items[hole] = item;
    return true;
}

/* Takes the item with the smallest key from a heap that is not empty. */
static inline struct heap_item heap_pop(struct heap *heap)
{
    struct heap_item top = heap->items[0];
    struct heap_item last = heap->items[--heap->count];
    size_t hole = 0;
    for (;;) {
        size_t child = hole * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && heap_before(&heap->items[child + 1], &heap->items[child]))
            child++;
        if (!heap_before(&heap->items[child], &last))
            break;
        heap->items[hole] = heap->items[child];
        hole = child;
    }
    heap->items[hole] = last;
    return top;
}

#endif
