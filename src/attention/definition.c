/* The float64 definition of attention, in matrix form and for one timestep. */
#include "attention/definition.h"

#include <math.h>

static bool is_visible(const struct definition *in, size_t t, size_t i)
{
    return !in->visible || in->visible(in->context, t, i);
}

/* scores [T][S] = scale Q K^T, -inf where masked */
static void score_matrix(const struct definition *in, size_t h, double *scores)
{
    size_t g = h / (in->H / in->G);
    for (size_t t = 0; t < in->T; t++)
        for (size_t i = 0; i < in->S; i++) {
            const float *q = in->q + (t * in->H + h) * in->D;
            const float *k = in->k + (i * in->G + g) * in->D;
            double dot = 0;
            for (size_t d = 0; d < in->D; d++)
                dot += (double)q[d] * (double)k[d];
            scores[t * in->S + i] = is_visible(in, t, i) ? in->scale * dot : -(double)INFINITY;
        }
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
        score_matrix(in, h, scores);
        size_t g = h / (in->H / in->G);
        for (size_t t = 0; t < in->T; t++) {
            double *row = scores + t * in->S;
            s[t * in->H + h] = softmax(row, in->S);
            for (size_t d = 0; d < in->D; d++) {
                double sum = 0;
                for (size_t i = 0; i < in->S; i++)
                    if (is_visible(in, t, i))
                        sum += row[i] * (double)in->v[(i * in->G + g) * in->D + d];
                y[(t * in->H + h) * in->D + d] = sum;
            }
        }
    }
}

double definition_timestep(const struct definition *in, size_t t, size_t h, double *y)
{
    size_t g = h / (in->H / in->G);
    double largest = -(double)INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t d = 0; d < in->D && pass; d++)
            y[d] = 0;
        for (size_t i = 0; i < in->S; i++) {
            if (!is_visible(in, t, i))
                continue;
            double score = 0;
            for (size_t d = 0; d < in->D; d++)
                score += in->scale * (double)in->q[(t * in->H + h) * in->D + d] *
                         (double)in->k[(i * in->G + g) * in->D + d];
            if (pass == 0) {
                largest = fmax(largest, score);
                continue;
            }
            double weight = score == -(double)INFINITY ? 0 : exp(score - largest);
            sum += weight;
            for (size_t d = 0; d < in->D; d++)
                y[d] += weight * (double)in->v[(i * in->G + g) * in->D + d];
        }
    }
    for (size_t d = 0; d < in->D && sum != 0; d++)
        y[d] /= sum;
    return sum == 0 ? -(double)INFINITY : largest + log(sum);
}
