/* Rows of logits, and the log probabilities of tokens (tributary/sampling.h). */
#include "engine/logits.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "kernel/kernel.h"
#include "tributary/sampling.h"

trib_status logits_check(const float *x, size_t V, float *most, trib_error *error)
{
    float top = -INFINITY;
    bool broken = false;
    if (!x) /* as trib_session_logits gives where there are none */
        return error_set(error, TRIB_INVALID, "expected the logits of %zu tokens, found none", V);
    for (size_t i = 0; i < V; i++) {
        broken |= !(x[i] < INFINITY); /* NaN too */
        top = x[i] > top ? x[i] : top;
    }
    for (size_t i = 0; i < V && broken; i++)
        if (!(x[i] < INFINITY))
            return error_set(error, TRIB_INVALID, "the logit of token %zu is %s", i,
                             isnan(x[i]) ? "not a number" : "infinite");
    if (top == -INFINITY)
        return error_set(error, TRIB_INVALID, "no token has a logit above minus infinity");
    *most = top;
    return TRIB_OK;
}

float logits_most(const float *x, size_t V)
{
    float most = -INFINITY;
    for (size_t i = 0; i < V; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

/* exp has one scalar's bits in all tables, and the sums of the lanes one order, in float64: of
 * 2^20 terms they are off by 2^-36 of the sum at most. */
double logits_log_sum_exp(const struct kernels *kernels, const float *x, size_t V, float most)
{
    enum { PIECE = 256, LANES = 8 };
    double sums[LANES] = {0}, sum = 0;
    for (size_t at = 0; at < V; at += PIECE) {
        float e[PIECE];
        for (size_t i = 0; i < PIECE; i++)
            e[i] = at + i < V ? x[at + i] - most : -INFINITY;
        kernels->exp(e, PIECE);
        for (size_t i = 0; i < PIECE; i += LANES)
            for (size_t lane = 0; lane < LANES; lane++)
                sums[lane] += (double)e[i + lane];
    }
    for (size_t lane = 0; lane < LANES; lane++)
        sum += sums[lane];
    return (double)most + log(sum);
}

/* ---- The best of a row ---- */

/* Puts `c` into the heap [count] at the place `at`, which is empty, or below: a parent is never
 * before its children in order, so that the root is the last of all. */
static void sift(struct candidate *heap, size_t count, size_t at, struct candidate c)
{
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && candidate_before(heap[child], heap[child + 1]))
            child++;
        if (!candidate_before(c, heap[child]))
            break;
        heap[at] = heap[child];
    }
    heap[at] = c;
}

static int compare(const void *left, const void *right)
{
    const struct candidate *a = left, *b = right;
    return candidate_before(*a, *b) ? -1 : candidate_before(*b, *a);
}

/* One pass that keeps the best so far in a heap, since few tokens ever enter it. */
void logits_best(const float *x, size_t V, size_t k, struct candidate *out)
{
    for (size_t i = 0; i < k; i++)
        out[i] = (struct candidate){x[i], (int32_t)i};
    for (size_t i = k; i-- > 0 && k < V;)
        sift(out, k, i, out[i]);
    for (size_t i = k; i < V && k > 0; i++)
        if (x[i] > out[0].logit) /* an equal one has a higher id */
            sift(out, k, 0, (struct candidate){x[i], (int32_t)i});
    qsort(out, k, sizeof *out, compare);
}

/* ---- Log probabilities ---- */

trib_status trib_logprobs(const float *logits, size_t vocabulary, size_t top, trib_logprob *out,
                          trib_error *error)
{
    float most;
    if (top > vocabulary)
        return error_set(error, TRIB_INVALID, "log probabilities: expected at most %zu, found %zu",
                         vocabulary, top);
    trib_status status = logits_check(logits, vocabulary, &most, error);
    if (status != TRIB_OK)
        return status;
    struct candidate *best = malloc((top + 1) * sizeof *best);
    if (!best)
        return error_no_memory(error, "log probabilities", top * sizeof *best);
    double sum = logits_log_sum_exp(kernels_best(), logits, vocabulary, most);
    logits_best(logits, vocabulary, top, best);
    for (size_t i = 0; i < top; i++)
        out[i] = (trib_logprob){best[i].id, (float)((double)best[i].logit - sum)};
    free(best);
    return TRIB_OK;
}
