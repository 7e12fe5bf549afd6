/* Rows of a table by token; the gradient sums over rows, so it is cut by columns. */
#include <string.h>

#include "base/size.h"
#include "train/layers.h"

struct lookup {
    float *to;         /* y [rows][E], or dtable */
    const float *from; /* table, or dy */
    const int32_t *tokens;
    size_t rows, E;
    const struct kernels *kernels;
};

static void look_up(const void *context, size_t from, size_t to)
{
    const struct lookup *c = context;
    for (size_t r = from; r < to; r++)
        memcpy(c->to + r * c->E, c->from + (size_t)c->tokens[r] * c->E, c->E * sizeof *c->to);
}

void embedding(const struct crew *crew, float *y, const float *table, const int32_t *tokens,
               size_t rows, size_t E)
{
    struct lookup c = {y, table, tokens, rows, E, crew->kernels};
    crew_run(crew, rows, rows * E, look_up, &c);
}

static void add_columns(const void *context, size_t from, size_t to)
{
    const struct lookup *c = context;
    size_t first = crew_column(from, c->E), end = crew_column(to, c->E);
    for (size_t r = 0; r < c->rows; r++)
        c->kernels->add(c->to + (size_t)c->tokens[r] * c->E + first, c->from + r * c->E + first,
                        end - first);
}

void embedding_backward(const struct crew *crew, float *dtable, const float *dy,
                        const int32_t *tokens, size_t rows, size_t E)
{
    struct lookup c = {dtable, dy, tokens, rows, E, crew->kernels};
    crew_run(crew, size_ceil_div(E, CREW_COLUMNS), rows * E, add_columns, &c);
}
