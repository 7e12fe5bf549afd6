/* LayerNorm and RMSNorm over rows; equations: kernel/learn.h. */
#include "base/size.h"
#include "train/layers.h"

struct norm norm_of(const struct predictor *p, size_t weight, bool shifted)
{
    const struct parameters *all = &p->parameters;
    const struct parameter *w = &all->list[weight];
    struct norm n = {.w = all->weights + w->offset, .E = w->outputs, .eps = p->config.norm_eps};
    if (shifted)
        n.b = all->weights + w[1].offset;
    if (all->gradients) {
        n.dw = all->gradients + w->offset;
        n.db = shifted ? all->gradients + w[1].offset : NULL;
    }
    return n;
}

struct rows {
    const struct kernels *kernels;
    const struct norm *norm;
    float *y; /* or dx */
    const float *dy, *x;
    struct norm_row *saved;
    size_t rows;
};

static void norm_rows(const void *context, size_t from, size_t to)
{
    const struct rows *c = context;
    const struct norm *n = c->norm;
    for (size_t r = from; r < to; r++) {
        float *y = c->y + r * n->E;
        const float *x = c->x + r * n->E;
        if (n->b)
            c->kernels->learn->layernorm(y, &c->saved[r], x, n->w, n->b, n->E, n->eps);
        else
            c->kernels->rmsnorm(y, x, n->w, n->E, n->eps);
    }
}

void norm(const struct crew *crew, const struct norm *n, float *y, const float *x,
          struct norm_row *saved, size_t rows)
{
    struct rows c = {crew->kernels, n, y, NULL, x, saved, rows};
    crew_run(crew, rows, rows * n->E, norm_rows, &c);
}

static void norm_rows_backward(const void *context, size_t from, size_t to)
{
    const struct rows *c = context;
    const struct norm *n = c->norm;
    const struct learn_kernels *learn = c->kernels->learn;
    for (size_t r = from; r < to; r++) {
        size_t at = r * n->E;
        if (n->b)
            learn->layernorm_backward(c->y + at, c->dy + at, c->x + at, n->w, &c->saved[r], n->E);
        else
            learn->rmsnorm_backward(c->y + at, &c->saved[r], c->dy + at, c->x + at, n->w, n->E,
                                    n->eps);
    }
}

static void norm_columns_backward(const void *context, size_t from, size_t to)
{
    const struct rows *c = context;
    const struct norm *n = c->norm;
    size_t first = crew_column(from, n->E), end = crew_column(to, n->E);
    c->kernels->learn->norm_sums(n->dw + first, n->db ? n->db + first : NULL, c->dy + first,
                                 c->x + first, c->saved, c->rows, n->E, end - first);
}

void norm_backward(const struct crew *crew, const struct norm *n, float *dx, const float *dy,
                   const float *x, struct norm_row *saved, size_t rows)
{
    struct rows c = {crew->kernels, n, dx, dy, x, saved, rows};
    crew_run(crew, rows, rows * n->E, norm_rows_backward, &c);
    crew_run(crew, size_ceil_div(n->E, CREW_COLUMNS), rows * n->E, norm_columns_backward, &c);
}
