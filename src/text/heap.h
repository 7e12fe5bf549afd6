/* A binary min-heap of small items, for the queues of merges and of special tokens.
 *
 * Items with equal keys come out in no particular order: a caller who needs one puts it into the
 * key. A zeroed struct is an empty heap; free(heap.items) releases it. */
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
    while (hole > 0 && item.key < heap->items[(hole - 1) / 2].key) {
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
        if (child + 1 < heap->count && heap->items[child + 1].key < heap->items[child].key)
            child++;
        if (last.key <= heap->items[child].key)
            break;
        heap->items[hole] = heap->items[child];
        hole = child;
    }
    heap->items[hole] = last;
    return top;
}

#endif
