/* The float64 definition of attention, in matrix form and for one timestep. */
#include "attention/definition.h"

#include <math.h>

/* A bias of -inf hides a key as a mask does. */
static bool is_visible(const struct definition *in, size_t t, size_t h, size_t i)
{
    if (in->bias && in->bias[(h * in->T + t) * in->S + i] == -INFINITY)
        return false;
    return !in->visible || in->visible(in->context, t, i);
}

/* ---- Matrix form: each step over all queries and keys of a head ---- */

/* scores [T][S] = scale Q K^T, or the additive score of every pair */
static void multiply_keys(const struct definition *in, size_t h, double *scores)
{
    size_t g = h / (in->H / in->G);
    for (size_t t = 0; t < in->T; t++)
        for (size_t i = 0; i < in->S; i++) {
            const float *q = in->q + (t * in->H + h) * in->D;
            const float *k = in->k + (i * in->G + g) * in->D;
            double sum = 0;
            for (size_t d = 0; d < in->D; d++)
                sum += in->additive
                           ? (double)in->additive[h * in->D + d] * tanh((double)q[d] + (double)k[d])
                           : (double)q[d] * (double)k[d];
            scores[t * in->S + i] = in->scale * sum;
        }
}

static void cap_softly(const struct definition *in, double *scores)
{
    for (size_t at = 0; at < in->T * in->S; at++)
        scores[at] = in->softcap * tanh(scores[at] / in->softcap);
}

static void add_slope(const struct definition *in, size_t h, double *scores)
{
    for (size_t t = 0; t < in->T; t++)
        for (size_t i = 0; i < in->S; i++)
            scores[t * in->S + i] += (double)in->alibi[h] * (in->distance + (double)i - (double)t);
}

static void add_bias(const struct definition *in, size_t h, double *scores)
{
    for (size_t at = 0; at < in->T * in->S; at++)
        scores[at] += (double)in->bias[h * in->T * in->S + at];
}

static void hide(const struct definition *in, size_t h, double *scores)
{
    for (size_t t = 0; t < in->T; t++)
        for (size_t i = 0; i < in->S; i++)
            if (!is_visible(in, t, h, i))
                scores[t * in->S + i] = -(double)INFINITY;
}

/* Each row becomes its softmax, or zero where nothing is visible; returns the log-sum-exp. */
static double softmax(double *row, size_t n)
{
    double largest = -(double)INFINITY, sum = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, row[i]);
    for (size_t i = 0; i < n; i++)
        sum += row[i] = row[i] == -(double)INFINITY ? 0 : exp(row[i] - largest);
    for (size_t i = 0; i < n && sum != 0; i++)
        row[i] /= sum;
    return sum == 0 ? -(double)INFINITY : largest + log(sum);
}

void definition_matrix(const struct definition *in, double *scores, double *y, double *s)
{
    for (size_t h = 0; h < in->H; h++) {
        size_t g = h / (in->H / in->G);
        multiply_keys(in, h, scores);
        if (in->softcap != 0)
            cap_softly(in, scores);
        if (in->alibi)
            add_slope(in, h, scores);
        if (in->bias)
            add_bias(in, h, scores);
        hide(in, h, scores);
        for (size_t t = 0; t < in->T; t++) {
            double *row = scores + t * in->S;
            s[t * in->H + h] = softmax(row, in->S);
            for (size_t d = 0; d < in->D; d++) {
                double sum = 0;
                for (size_t i = 0; i < in->S; i++)
                    if (is_visible(in, t, h, i))
                        sum += row[i] * (double)in->v[(i * in->G + g) * in->D + d];
                y[(t * in->H + h) * in->D + d] = sum;
            }
        }
    }
}

/* ---- One timestep: each query and key by itself ---- */

static double score(const struct definition *in, size_t t, size_t h, size_t i)
{
    const float *q = in->q + (t * in->H + h) * in->D;
    const float *k = in->k + (i * in->G + h / (in->H / in->G)) * in->D;
    double s = 0;
    for (size_t d = 0; d < in->D; d++)
        if (in->additive)
            s +=
                in->scale * (double)in->additive[h * in->D + d] * tanh((double)q[d] + (double)k[d]);
        else
            s += in->scale * (double)q[d] * (double)k[d];
    if (in->softcap != 0)
        s = in->softcap * tanh(s / in->softcap);
    if (in->alibi)
        s += (double)in->alibi[h] * (in->distance + (double)i - (double)t);
    if (in->bias)
        s += (double)in->bias[(h * in->T + t) * in->S + i];
    return s;
}

double definition_timestep(const struct definition *in, size_t t, size_t h, double *y)
{
    size_t g = h / (in->H / in->G);
    double largest = -(double)INFINITY, sum = 0;
    for (size_t i = 0; i < in->S; i++)
        if (is_visible(in, t, h, i))
            largest = fmax(largest, score(in, t, h, i));
    for (size_t d = 0; d < in->D; d++)
        y[d] = 0;
    for (size_t i = 0; i < in->S; i++) {
        if (!is_visible(in, t, h, i))
            continue;
        double s = score(in, t, h, i);
        double weight = s == -(double)INFINITY ? 0 : exp(s - largest);
        sum += weight;
        for (size_t d = 0; d < in->D; d++)
            y[d] += weight * (double)in->v[(i * in->G + g) * in->D + d];
    }
    for (size_t d = 0; d < in->D && sum != 0; d++)
        y[d] /= sum;
    return sum == 0 ? -(double)INFINITY : largest + log(sum);
}
