/* The radix tree of pages.
 *
 * Children are found through one index over all nodes: from the key of a node's first page, which
 * names the whole prefix, to the node. Splitting a node puts a new one above it; so its children
 * need not be told, and only the places in the upper part move. */
#include "cache/prefix_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "cache/leaf_heap.h"

enum { FEW_PAGES = 4, FEW_BUCKETS = 256 };

struct prefix_tree {
    struct page_pool *pool;
    struct prefix_key root_key;
    struct tree_node root;
    size_t nodes; /* without the root */
    size_t pages;
    uint64_t clock;
    struct tree_node **buckets; /* [bucket_count], a power of two */
    size_t bucket_count;
    struct leaf_heap leaves;           /* all leaves that may have a page nobody stands on */
    struct tree_node *oldest, *newest; /* nodes with unsaved pages */
};

/* ---- The index ---- */

static struct tree_node **bucket_of(const struct prefix_tree *tree, struct prefix_key key)
{
    return &tree->buckets[key.low & (tree->bucket_count - 1)];
}

static void index_add(struct prefix_tree *tree, struct tree_node *node)
{
    struct tree_node **bucket = bucket_of(tree, node->run[0].key);
    node->same_hash = *bucket;
    *bucket = node;
}

static void index_remove(struct prefix_tree *tree, struct tree_node *node)
{
    struct tree_node **at = bucket_of(tree, node->run[0].key);
    while (*at != node)
        at = &(*at)->same_hash;
    *at = node->same_hash;
}

/* Twice the buckets, if there is memory; with fewer the lists are only longer. */
static void index_grow(struct prefix_tree *tree)
{
    struct prefix_tree larger = *tree;
    larger.bucket_count *= 2;
    larger.buckets = calloc(larger.bucket_count, sizeof(struct tree_node *));
    if (!larger.buckets)
        return;
    for (size_t i = 0; i < tree->bucket_count; i++)
        for (struct tree_node *node = tree->buckets[i], *next; node; node = next) {
            next = node->same_hash;
            index_add(&larger, node);
        }
    free(tree->buckets);
    tree->buckets = larger.buckets;
    tree->bucket_count = larger.bucket_count;
}

static bool ids_equal(const int32_t *a, const int32_t *b)
{
    return memcmp(a, b, CHUNK * sizeof *a) == 0;
}

static struct tree_node *find_child(const struct prefix_tree *tree, const struct tree_node *parent,
                                    struct prefix_key key, const int32_t *ids)
{
    struct tree_node *node = *bucket_of(tree, key);
    while (node && !(node->parent == parent && ids_equal(node->run[0].ids, ids)))
        node = node->same_hash;
    return node;
}

/* ---- Nodes with unsaved pages ---- */

void tree_forget_unsaved(struct prefix_tree *tree, struct tree_node *node)
{
    if (!node->unsaved)
        return;
    *(node->older ? &node->older->newer : &tree->oldest) = node->newer;
    *(node->newer ? &node->newer->older : &tree->newest) = node->older;
    node->older = node->newer = NULL;
    node->unsaved = false;
}

static void add_unsaved(struct prefix_tree *tree, struct tree_node *node)
{
    if (node->unsaved)
        return;
    node->older = tree->newest;
    *(tree->newest ? &tree->newest->newer : &tree->oldest) = node;
    tree->newest = node;
    node->unsaved = true;
}

void tree_postpone_unsaved(struct prefix_tree *tree, struct tree_node *node)
{
    tree_forget_unsaved(tree, node);
    add_unsaved(tree, node);
}

struct tree_node *tree_unsaved(const struct prefix_tree *tree)
{
    return tree->oldest;
}

/* ---- Nodes ---- */

trib_status tree_open(struct prefix_tree **out, struct page_pool *pool, struct prefix_key root,
                      trib_error *error)
{
    struct prefix_tree *tree = calloc(1, sizeof *tree);
    *out = NULL;
    if (tree)
        tree->buckets = calloc(FEW_BUCKETS, sizeof(struct tree_node *));
    if (!tree || !tree->buckets) {
        free(tree);
        return error_no_memory(error, "a prefix tree", FEW_BUCKETS * sizeof(struct tree_node *));
    }
    tree->bucket_count = FEW_BUCKETS;
    tree->pool = pool;
    tree->root_key = root;
    tree->root.heap_at = SIZE_MAX;
    *out = tree;
    return TRIB_OK;
}

void tree_close(struct prefix_tree *tree)
{
    if (!tree)
        return;
    while (tree_evict(tree))
        continue;
    assert(tree->nodes == 0 && !tree->root.places);
    free(tree->buckets);
    free(tree->leaves.leaves);
    free(tree);
}

size_t tree_pages(const struct prefix_tree *tree)
{
    return tree->pages;
}

/* Room for `count` pages in a run. */
static bool run_reserve(struct tree_node *node, size_t count)
{
    if (count <= node->capacity)
        return true;
    size_t capacity = 2 * node->capacity > count ? 2 * node->capacity : count + FEW_PAGES;
    struct tree_page *run = realloc(node->run, capacity * sizeof *run);
    if (!run)
        return false;
    node->run = run;
    node->capacity = capacity;
    return true;
}

/* A node with room for `count` pages, not yet in the tree; NULL when there is no memory. */
static struct tree_node *node_new(struct prefix_tree *tree, size_t count)
{
    struct tree_node *node = calloc(1, sizeof *node);
    if (!node || !leaf_heap_reserve(&tree->leaves, tree->nodes + 1) || !run_reserve(node, count)) {
        free(node);
        return NULL;
    }
    node->heap_at = SIZE_MAX;
    tree->nodes++;
    if (tree->nodes > tree->bucket_count)
        index_grow(tree);
    return node;
}

static void node_free(struct prefix_tree *tree, struct tree_node *node)
{
    assert(!node->places && node->children == 0);
    leaf_heap_remove(&tree->leaves, node);
    tree_forget_unsaved(tree, node);
    tree->nodes--;
    free(node->run);
    free(node);
}

/* A leaf may now have a page that nobody stands on. */
static void offer(struct prefix_tree *tree, struct tree_node *node)
{
    if (node->children == 0 && node->parent)
        leaf_heap_put(&tree->leaves, node);
}

/* ---- Places ---- */

static void stand(struct place *place, struct tree_node *node)
{
    place->node = node;
    place->previous = NULL;
    place->next = node->places;
    if (node->places)
        node->places->previous = place;
    node->places = place;
}

static void step_off(struct place *place)
{
    *(place->previous ? &place->previous->next : &place->node->places) = place->next;
    if (place->next)
        place->next->previous = place->previous;
}

static void move(struct place *place, struct tree_node *node)
{
    step_off(place);
    stand(place, node);
}

void tree_enter(struct prefix_tree *tree, struct place *place)
{
    place->pages = 0;
    stand(place, &tree->root);
}

void tree_enter_at(struct place *place, const struct place *at)
{
    place->pages = at->pages;
    stand(place, at->node);
}

void tree_leave(struct prefix_tree *tree, struct place *place)
{
    struct tree_node *node = place->node;
    step_off(place);
    place->node = NULL;
    node->left = ++tree->clock;
    offer(tree, node);
}

void tree_back(struct prefix_tree *tree, struct place *place, size_t pages)
{
    struct tree_node *from = place->node, *to = from;
    assert(pages <= place->pages);
    if (pages == place->pages)
        return;
    while (to->parent && to->first >= pages)
        to = to->parent;
    move(place, to);
    place->pages = pages;
    from->left = ++tree->clock;
    offer(tree, from);
}

struct prefix_key tree_key(const struct prefix_tree *tree, const struct place *place)
{
    return place->pages ? place->node->run[place->pages - place->node->first - 1].key
                        : tree->root_key;
}

/* ---- Paths ---- */

struct tree_page *tree_page_at(struct tree_node *node, size_t page)
{
    while (node->first > page)
        node = node->parent;
    return &node->run[page - node->first];
}

void tree_path(const struct tree_node *node, size_t first, size_t end, struct page **pages)
{
    for (; end > first; node = node->parent)
        for (; end > first && end > node->first; end--)
            pages[end - 1 - first] = node->run[end - 1 - node->first].page;
}

void tree_path_ids(const struct tree_node *node, size_t first, size_t end, int32_t *ids)
{
    for (; end > first; node = node->parent)
        for (; end > first && end > node->first; end--)
            memcpy(ids + (end - 1 - first) * CHUNK, node->run[end - 1 - node->first].ids,
                   CHUNK * sizeof *ids);
}

/* ---- Moving on ---- */

/* How many pages of its node are before the place. */
static size_t depth_in_node(const struct place *place)
{
    return place->pages - place->node->first;
}

bool tree_next(struct prefix_tree *tree, struct place *place, const int32_t ids[CHUNK])
{
    struct tree_node *node = place->node;
    size_t at = depth_in_node(place);
    if (at < node->count) {
        if (!ids_equal(node->run[at].ids, ids))
            return false;
        place->pages++;
        return true;
    }
    if (node->children == 0)
        return false;
    struct prefix_key key = prefix_key_next(tree_key(tree, place), ids);
    struct tree_node *child = find_child(tree, node, key, ids);
    if (!child)
        return false;
    move(place, child);
    place->pages++;
    return true;
}

/* Puts the first `count` pages of a run, not all, into a new node above it. */
static bool split(struct prefix_tree *tree, struct tree_node *node, size_t count)
{
    struct tree_node *upper = node_new(tree, count);
    if (!upper)
        return false;
    index_remove(tree, node);
    memcpy(upper->run, node->run, count * sizeof *node->run);
    memmove(node->run, node->run + count, (node->count - count) * sizeof *node->run);
    upper->parent = node->parent;
    upper->first = node->first;
    upper->count = count;
    upper->children = 1;
    upper->left = node->left;
    node->parent = upper;
    node->first += count;
    node->count -= count;
    index_add(tree, upper);
    index_add(tree, node);
    if (node->unsaved)
        add_unsaved(tree, upper);
    for (struct place *place = node->places, *next; place; place = next) {
        next = place->next;
        if (place->pages <= node->first)
            move(place, upper);
    }
    offer(tree, node);
    return true;
}

static void put_page(struct prefix_tree *tree, struct tree_node *node, struct prefix_key key,
                     const int32_t *ids, struct page *page)
{
    struct tree_page *entry = &node->run[node->count++];
    entry->page = page;
    entry->key = key;
    memcpy(entry->ids, ids, CHUNK * sizeof *ids);
    tree->pages++;
    if (!page->saved)
        add_unsaved(tree, node);
}

/* A child of one page below the node that the place is at the end of. */
static struct tree_node *add_child(struct prefix_tree *tree, struct place *place,
                                   struct prefix_key key, const int32_t *ids, struct page *page)
{
    struct tree_node *parent = place->node, *child = node_new(tree, 1);
    if (!child)
        return NULL;
    leaf_heap_remove(&tree->leaves, parent);
    parent->children++;
    child->parent = parent;
    child->first = place->pages;
    put_page(tree, child, key, ids, page);
    index_add(tree, child);
    return child;
}

trib_status tree_add(struct prefix_tree *tree, struct place *place, const int32_t ids[CHUNK],
                     struct page *page, trib_error *error)
{
    if (tree_next(tree, place, ids)) {
        page_drop(tree->pool, page);
        return TRIB_OK;
    }
    struct prefix_key key = prefix_key_next(tree_key(tree, place), ids);
    struct tree_node *node = place->node;
    bool at_end = depth_in_node(place) == node->count;
    if (at_end && node->parent && node->children == 0 && run_reserve(node, node->count + 1)) {
        put_page(tree, node, key, ids, page);
        place->pages++;
        return TRIB_OK;
    }
    bool ready = at_end || split(tree, node, depth_in_node(place)); /* which moves the place */
    struct tree_node *child = ready ? add_child(tree, place, key, ids, page) : NULL;
    if (!child)
        return error_no_memory(error, "a node of the prefix tree", sizeof *child);
    move(place, child);
    place->pages++;
    return TRIB_OK;
}

/* ---- Who holds what ---- */

/* How many pages of a node's run those hold who stand in it. */
static size_t pages_stood_on(const struct tree_node *node)
{
    size_t end = node->first;
    for (const struct place *place = node->places; place; place = place->next)
        end = place->pages > end ? place->pages : end;
    return end - node->first;
}

/* Pages of the run that are held by standing in it, or by a reference. */
static size_t pages_held(const struct tree_node *node)
{
    size_t held = pages_stood_on(node);
    for (size_t i = held; i < node->count; i++)
        held += node->run[i].page->references > 1;
    return held;
}

/* Marks all nodes above, but the root. */
static void mark_above(const struct tree_node *node)
{
    for (struct tree_node *up = node->parent; up->parent && !up->below; up = up->parent)
        up->below = true;
}

size_t tree_held(const struct prefix_tree *tree)
{
    size_t held = 0;
    for (size_t i = 0; i < tree->bucket_count; i++)
        for (struct tree_node *node = tree->buckets[i]; node; node = node->same_hash)
            if (node->places)
                mark_above(node);
    for (size_t i = 0; i < tree->bucket_count; i++)
        for (struct tree_node *node = tree->buckets[i]; node; node = node->same_hash) {
            held += node->below ? node->count : pages_held(node);
            node->below = false;
        }
    return held;
}

/* ---- Giving up ---- */

/* An empty leaf leaves the tree. Whoever was in it was in its parent, too, so that may not be given
 * up any earlier. */
static void remove_leaf(struct prefix_tree *tree, struct tree_node *leaf)
{
    struct tree_node *parent = leaf->parent;
    parent->children--;
    parent->left = parent->left > leaf->left ? parent->left : leaf->left;
    node_free(tree, leaf);
    offer(tree, parent);
}

bool tree_evict(struct prefix_tree *tree)
{
    while (tree->leaves.count > 0) {
        struct tree_node *leaf = tree->leaves.leaves[0];
        if (pages_stood_on(leaf) == leaf->count) {
            leaf_heap_remove(&tree->leaves, leaf);
            continue;
        }
        if (leaf->count == 1)
            index_remove(tree, leaf);
        page_drop(tree->pool, leaf->run[--leaf->count].page);
        tree->pages--;
        if (leaf->count == 0)
            remove_leaf(tree, leaf);
        return true;
    }
    return false;
}
