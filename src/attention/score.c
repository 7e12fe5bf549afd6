/* What turns products into scores, in the order that tributary/attention.h gives. */
#include "attention/score.h"

bool score_is_more(const trib_attention *a)
{
    return a->additive || a->softcap != 0 || a->alibi || a->bias;
}

/* s[j] = scale * sum_d w_d tanh(q_d + k_jd) for one row */
static void additive_row(const struct score_tile *t, size_t c, size_t token, size_t head, float *s)
{
    const trib_attention *a = t->attention;
    const float *q = t->queries->q + token * t->queries->token_stride + head * a->head_dim;
    t->kernels->additive(s, q, a->additive + head * a->head_dim, t->panels[c]->k, a->head_dim);
    for (size_t j = 0; j < CHUNK; j++)
        s[j] *= a->scale;
}

void score_transform(const void *context, size_t c, float *s)
{
    const struct score_tile *t = context;
    const trib_attention *a = t->attention;
    const struct panel *panel = t->panels[c];
    size_t group = a->heads / a->kv_heads;
    for (size_t r = 0; r < t->rows; r++, s += CHUNK) {
        size_t token = (t->row + r) / group, head = t->g * group + (t->row + r) % group;
        float position = (float)((double)t->starts[c] - (double)(t->queries->first + token));
        if (a->additive)
            additive_row(t, c, token, head, s);
        if (a->softcap != 0)
            t->kernels->softcap(s, CHUNK, a->softcap);
        if (a->alibi)
            for (size_t j = 0; j < CHUNK; j++)
                s[j] += a->alibi[head] * (position + (float)j);
        if (a->bias) { /* only where there is a key is there a bias */
            const float *bias = a->bias + head * a->bias_head_stride + token * a->bias_token_stride;
            for (size_t j = panel->from; j < panel->to; j++)
                s[j] += bias[t->starts[c] + j - t->segment->first];
        }
        for (size_t j = 0; j < CHUNK; j++)
            s[j] = score_to_log2(s[j]);
    }
}
