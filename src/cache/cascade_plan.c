/* Planning which sequences attend which pages together. */
#include "cache/cascade_plan.h"

#include <stdlib.h>

#include "base/error.h"

/* The group that is planned, from `from` to `to` in the order: its members share the pages before
 * `depth`, which are planned. */
struct group {
    size_t from, to, depth;
};

struct planner {
    struct cascade_plan *plan;
    struct sequence *const *sequences;
    struct group *stack; /* [sequences] groups that wait */
    size_t waiting;
};

static struct sequence *member(const struct planner *p, size_t i)
{
    return p->sequences[p->plan->order[i]];
}

/* How many full pages two sequences share: up to where the nodes on their paths are the same. */
static size_t shared_pages(const struct sequence *a, const struct sequence *b)
{
    const struct tree_node *x = a->place.node, *y = b->place.node;
    size_t x_end = a->place.pages, y_end = b->place.pages;
    while (x != y) {
        bool deeper = x->first > y->first || (x->first == y->first && x->parent);
        const struct tree_node **up = deeper ? &x : &y;
        *(deeper ? &x_end : &y_end) = (*up)->first;
        *up = (*up)->parent;
    }
    return x_end < y_end ? x_end : y_end;
}

/* Room for n more items behind `count`; NULL leaves the array as it was. */
static void *room(void *items, size_t count, size_t n, size_t *capacity, size_t size)
{
    if (count + n <= *capacity)
        return items;
    size_t larger = 2 * *capacity > count + n ? 2 * *capacity : count + n + 16;
    void *moved = realloc(items, larger * size);
    if (moved)
        *capacity = larger;
    return moved;
}

static bool add_run(struct planner *p, const struct group *g, size_t end)
{
    struct cascade_plan *plan = p->plan;
    size_t count = end - g->depth;
    struct plan_run *runs = room(plan->runs, plan->run_count, 1, &plan->run_capacity, sizeof *runs);
    if (!runs)
        return false;
    plan->runs = runs;
    struct page **pages =
        room(plan->pages, plan->page_count, count, &plan->page_capacity, sizeof(struct page *));
    if (!pages)
        return false;
    plan->pages = pages;
    runs[plan->run_count++] = (struct plan_run){g->depth, count, g->from, g->to, NULL};
    tree_path(member(p, g->from)->place.node, g->depth, end, pages + plan->page_count);
    plan->page_count += count;
    return true;
}

/* Brings those that share more than `depth` pages with the first one of a group to its front;
 * stable, so that the order depends on nothing but the arguments. Returns their end, and in *shared
 * how many pages all of them share. */
static size_t gather(const struct planner *p, const struct group *g, size_t *shared)
{
    size_t *order = p->plan->order, end = g->from + 1;
    *shared = member(p, g->from)->place.pages;
    for (size_t i = end; i < g->to; i++) {
        size_t both = shared_pages(member(p, g->from), member(p, i));
        if (both <= g->depth)
            continue;
        size_t moved = order[i];
        for (size_t j = i; j > end; j--)
            order[j] = order[j - 1];
        order[end++] = moved;
        *shared = both < *shared ? both : *shared;
    }
    return end;
}

/* Plans the first run of a group; what remains of the group waits. */
static bool split(struct planner *p, struct group g)
{
    size_t shared, end = gather(p, &g, &shared);
    if (end < g.to)
        p->stack[p->waiting++] = (struct group){end, g.to, g.depth};
    if (shared == g.depth) /* the first one ends here, alone */
        return true;
    struct group together = {g.from, end, g.depth};
    if (!add_run(p, &together, shared))
        return false;
    /* Who ends here has no more runs: it goes to the front and leaves the group. */
    size_t *order = p->plan->order, next = g.from;
    for (size_t i = g.from; i < end; i++) {
        size_t moved = order[i];
        if (p->sequences[moved]->place.pages > shared)
            continue;
        for (size_t j = i; j > next; j--)
            order[j] = order[j - 1];
        order[next++] = moved;
    }
    if (next < end)
        p->stack[p->waiting++] = (struct group){next, end, shared};
    return true;
}

trib_status cascade_plan_make(struct cascade_plan *plan, struct sequence *const *sequences,
                              size_t count, trib_error *error)
{
    /* groups that wait are disjoint, and none is empty */
    struct planner p = {plan, sequences, malloc((count + 1) * sizeof *p.stack), 0};
    size_t *order = room(plan->order, 0, count + 1, &plan->order_capacity, sizeof *order);
    bool ready = p.stack && order;
    plan->order = order ? order : plan->order;
    plan->run_count = plan->page_count = 0;
    for (size_t i = 0; ready && i < count; i++)
        order[i] = i;
    if (ready && count)
        p.stack[p.waiting++] = (struct group){0, count, 0};
    while (ready && p.waiting)
        ready = split(&p, p.stack[--p.waiting]);
    free(p.stack);
    if (!ready) {
        plan->run_count = 0;
        return error_no_memory(error, "the plan of a step", (count + 1) * sizeof *p.stack);
    }
    struct page **pages = plan->pages;
    for (size_t i = 0; i < plan->run_count; pages += plan->runs[i++].count)
        plan->runs[i].pages = pages;
    return TRIB_OK;
}

void cascade_plan_free(struct cascade_plan *plan)
{
    free(plan->order);
    free(plan->runs);
    free(plan->pages);
    *plan = (struct cascade_plan){0};
}
