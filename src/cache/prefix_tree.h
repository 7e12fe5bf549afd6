/* The prefix tree: which pages hold the keys and values of which token ids.
 *
 * A radix tree whose edges end at page boundaries: a node holds a run of whole pages, and its
 * children differ in their first page. What one sequence computed the next one finds, and pages
 * of equal ids are kept once, for their bits are equal (same tokens, same bits).
 *
 *              root
 *               |  system prompt, 40 pages
 *            [ node ]
 *            /      \
 *   document A      document B     places stand at any page of a node's run
 *
 * A place is where a sequence stands: it holds every page from the root down to it. What no place
 * holds stays cached until memory is wanted; then the leaf that was left longest ago gives up its
 * last page. Invariants: a page is in the tree once; the pages that a place holds are not given up;
 * a node but the root has at least one page.
 *
 * Partly filled pages are not in the tree. One belongs to a sequence that goes on writing into it;
 * to find it would save at most CHUNK - 1 positions, of which the last must be computed anyway,
 * since somebody wants its logits.
 *
 * Threads: a tree belongs to one thread at a time. */
#ifndef CACHE_PREFIX_TREE_H
#define CACHE_PREFIX_TREE_H

#include "base/prefix_key.h"
#include "cache/page.h"

/* One page of a run. */
struct tree_page {
    struct page *page;
    struct prefix_key key; /* of all ids up to the end of this page */
    int32_t ids[CHUNK];
};

struct tree_node {
    struct tree_node *parent; /* NULL: the root */
    size_t first;             /* pages before the run */
    size_t count, capacity;
    struct tree_page *run;           /* [count] */
    size_t children;                 /* how many */
    struct tree_node *same_hash;     /* of the index of first pages */
    struct place *places;            /* that stand in the run: first < pages <= first + count */
    uint64_t left;                   /* when a place last left; larger is later */
    size_t heap_at;                  /* among the leaves to take from; SIZE_MAX: not there */
    struct tree_node *newer, *older; /* nodes with pages that are not saved */
    bool unsaved;                    /* whether it is one of them */
    bool below;                      /* of tree_held: a place stands below it */
};

/* Where a sequence stands; part of the sequence, which must not move meanwhile. */
struct place {
    struct tree_node *node;
    size_t pages;                  /* from the root to here */
    struct place *next, *previous; /* in the same node */
};

struct prefix_tree;

/* An empty tree over the pages of a pool, which must outlive it. `root` is the key of the empty
 * prefix. TRIB_NO_MEMORY. */
trib_status tree_open(struct prefix_tree **out, struct page_pool *pool, struct prefix_key root,
                      trib_error *error);

/* Drops all pages; NULL is allowed. No place may stand in it. */
void tree_close(struct prefix_tree *tree);

/* Pages that the tree holds. */
size_t tree_pages(const struct prefix_tree *tree);

/* Of those, pages that cannot be given up: places hold them, or others do. */
size_t tree_held(const struct prefix_tree *tree);

/* A place at the root; at another place; gone. Constant time but for tree_leave, which may move a
 * leaf in a heap. */
void tree_enter(struct prefix_tree *tree, struct place *place);
void tree_enter_at(struct place *place, const struct place *at);
void tree_leave(struct prefix_tree *tree, struct place *place);

/* The key of all ids up to the place. */
struct prefix_key tree_key(const struct prefix_tree *tree, const struct place *place);

/* Moves one page on, where the page of these ids is; false: there is none, nothing moved. */
bool tree_next(struct prefix_tree *tree, struct place *place, const int32_t ids[CHUNK]);

/* Moves one page on to the page of these ids. Where the tree has none, the caller's becomes it;
 * else the caller's is dropped. Either way the caller's reference is gone. On TRIB_NO_MEMORY it is
 * not, and nothing moved. */
trib_status tree_add(struct prefix_tree *tree, struct place *place, const int32_t ids[CHUNK],
                     struct page *page, trib_error *error);

/* Moves back to `pages` pages from the root, at most as many as now. */
void tree_back(struct prefix_tree *tree, struct place *place, size_t pages);

/* Page `page` on the way from the root to a node or in it. */
struct tree_page *tree_page_at(struct tree_node *node, size_t page);

/* Pages first to end - 1 on the way to a node or in it, and their ids [end - first][CHUNK]. */
void tree_path(const struct tree_node *node, size_t first, size_t end, struct page **pages);
void tree_path_ids(const struct tree_node *node, size_t first, size_t end, int32_t *ids);

/* Gives up the last page of the leaf that was left longest ago; false when places hold all. The
 * page's memory is free unless somebody else holds it. */
bool tree_evict(struct prefix_tree *tree);

/* The node that has had unsaved pages for longest; NULL: none. */
struct tree_node *tree_unsaved(const struct prefix_tree *tree);

/* Takes a node out of those with unsaved pages, until it gets another; or puts it last. */
void tree_forget_unsaved(struct prefix_tree *tree, struct tree_node *node);
void tree_postpone_unsaved(struct prefix_tree *tree, struct tree_node *node);

#endif
