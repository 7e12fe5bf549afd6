/* The optimiser's arithmetic. It is bound by memory: seven floats pass for a dozen operations, so
 * plain C is as fast as any kernel. */
#include "train/adamw.h"

#include <math.h>

/* Pieces that the norm is cut into, and chains of a piece: as many as a vector of doubles has lanes
 * at most. */
enum { PIECES = 64, CHAINS = 8 };

/* Below this many numbers waking the team costs more than it saves. */
enum { SMALL_WORK = 1 << 14 };

/* Parameters that one thread updates in a row. */
enum { RUN = 4096 };

/* The constants of an update, rounded once. */
struct constants {
    float scale, keep, new1, old2, new2, size, root, eps;
};

static void update_run(const struct constants *c, float *restrict w, const float *restrict g,
                       float *restrict m, float *restrict v, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float gradient = g[i] * c->scale;
        float mean = m[i] + c->new1 * (gradient - m[i]);
        float square = c->old2 * v[i] + c->new2 * (gradient * gradient);
        m[i] = mean;
        v[i] = square;
        w[i] = c->keep * w[i] - c->size * (mean / (sqrtf(square) / c->root + c->eps));
    }
}

void adamw_update(const struct adamw *update, float *w, const float *g, float *m, float *v,
                  size_t n, int threads)
{
    const double t = (double)update->t;
    const struct constants c = {
        .scale = (float)update->scale,
        .keep = (float)(1 - update->lr * update->weight_decay),
        .new1 = (float)(1 - update->beta1),
        .old2 = (float)update->beta2,
        .new2 = (float)(1 - update->beta2),
        .size = (float)(update->lr / (1 - pow(update->beta1, t))),
        .root = (float)sqrt(1 - pow(update->beta2, t)),
        .eps = (float)update->eps,
    };

#pragma omp parallel for schedule(static) num_threads(threads) if (n >= SMALL_WORK)
    for (size_t first = 0; first < n; first += RUN) {
        size_t count = n - first < RUN ? n - first : RUN;
        update_run(&c, w + first, g + first, m + first, v + first, count);
    }
}

/* The sum of squares of n numbers: number i goes to chain i mod CHAINS. */
static double squares(const float *g, size_t n)
{
    double chain[CHAINS] = {0};
    size_t i = 0;
    for (; i + CHAINS <= n; i += CHAINS)
        for (size_t c = 0; c < CHAINS; c++)
            chain[c] += (double)g[i + c] * (double)g[i + c];
    for (size_t c = 0; i < n; i++, c++)
        chain[c] += (double)g[i] * (double)g[i];
    for (size_t half = CHAINS / 2; half; half /= 2)
        for (size_t c = 0; c < half; c++)
            chain[c] += chain[c + half];
    return chain[0];
}

double gradient_norm(const float *g, size_t n, int threads)
{
    double sums[PIECES], sum = 0;
    size_t piece = (n + PIECES - 1) / PIECES;

#pragma omp parallel for schedule(static) num_threads(threads) if (n >= SMALL_WORK)
    for (size_t p = 0; p < PIECES; p++) {
        size_t first = p * piece < n ? p * piece : n;
        size_t count = n - first < piece ? n - first : piece;
        sums[p] = squares(g + first, count);
    }
    for (size_t p = 0; p < PIECES; p++)
        sum += sums[p];
    return sqrt(sum);
}

double gradient_clip(double norm, double most)
{
    double factor = most / (norm + 1e-6);
    return most > 0 && factor < 1 ? factor : 1;
}

double schedule_rate(const struct schedule *s, size_t step)
{
    if (step < s->warmup)
        return s->high * (double)(step + 1) / (double)(s->warmup + 1);
    if (step >= s->steps)
        return s->low;
    double x = (double)(step - s->warmup) / (double)(s->steps - s->warmup);
    return s->low + (s->high - s->low) * (1 + cos(acos(-1.0) * x)) / 2;
}
