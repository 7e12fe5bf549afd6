/* Guessing by prompt look-up: text repeats itself, so what followed on the same words before is a
 * guess. (Saxena 2023, "Prompt Lookup Decoding".)
 *
 * One pass over the tokens, from the end to the begin, finds the best places. It costs about as
 * much as reading the tokens, so there is no index. */
#include <string.h>

#include "engine/draft.h"
#include "tributary/speculate.h"

/* A longer run is no better reason to believe, and a loop would be compared up to its beginning. */
enum { RUN_MOST = 32 };

/* A place in the tokens that a continuation begins at. */
struct found {
    size_t at, run; /* tokens before it that are as at the end */
};

static size_t run_before(const int32_t *ids, size_t count, size_t at)
{
    size_t run = 0;
    while (run < RUN_MOST && run < at && ids[at - 1 - run] == ids[count - 1 - run])
        run++;
    return run;
}

/* Token i of the continuation at `at`; behind the last token it repeats itself. */
static int32_t continuation(const int32_t *ids, size_t count, size_t at, size_t i)
{
    return ids[at + i % (count - at)];
}

static bool same(const int32_t *ids, size_t count, size_t a, size_t b, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (continuation(ids, count, a, i) != continuation(ids, count, b, i))
            return false;
    return true;
}

/* Puts a place behind those with as long a run. Of places with the same continuation the first
 * stays; the last of `most` goes. */
static size_t insert(struct found *best, size_t n, size_t most, struct found place,
                     const int32_t *ids, size_t count, size_t length)
{
    size_t rank = 0, i;
    while (rank < n && best[rank].run >= place.run)
        if (same(ids, count, best[rank++].at, place.at, length))
            return n;
    if (rank == most)
        return n;
    for (i = rank; i < n && !same(ids, count, best[i].at, place.at, length); i++)
        continue;
    size_t end = i < n ? i : n < most ? n : most - 1;
    memmove(best + rank + 1, best + rank, (end - rank) * sizeof *best);
    best[rank] = place;
    return i < n || n == most ? n : n + 1;
}

void draft_look_up(struct draft *draft, const int32_t *ids, size_t count, size_t branches,
                   size_t length)
{
    struct found best[TRIB_DRAFT_BRANCHES_MOST];
    size_t n = 0;
    for (size_t at = count; at-- > 1;) {
        struct found place = {at, run_before(ids, count, at)};
        if (place.run > (n == branches ? best[n - 1].run : 0))
            n = insert(best, n, branches, place, ids, count, length);
        if (n == branches && best[n - 1].run == RUN_MOST)
            break;
    }
    draft->branches = n;
    draft->length = length;
    for (size_t b = 0; b < n; b++)
        for (size_t i = 0; i < length; i++)
            draft_branch(draft, b)[i] = continuation(ids, count, best[b].at, i);
}
