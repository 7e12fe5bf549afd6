/* Each predictor as its equations say it. Matrices are [outputs][inputs] and found by their names.
 */
#include "predictor_oracle.h"

#include <math.h>

double *oracle_weights(const struct predictor *p)
{
    double *w = calloc(p->parameters.floats, sizeof *w);
    assert_non_null(w);
    for (size_t i = 0; i < p->parameters.floats; i++)
        w[i] = (double)p->parameters.weights[i];
    return w;
}

/* What the functions below share. */
struct oracle {
    const struct predictor *p;
    const double *w;
    size_t E;
    double nearest; /* to 0 of what ReLUs were given */
};

/* The parameter "blk.LAYER.NAME", or NAME for a negative layer; NULL if there is none. */
static const double *find(const struct oracle *o, int layer, const char *name)
{
    char text[64];
    if (layer < 0)
        snprintf(text, sizeof text, "%s", name);
    else
        snprintf(text, sizeof text, "blk.%d.%s", layer, name);
    const struct parameter *found = parameters_find(&o->p->parameters, text);
    return found ? o->w + found->offset : NULL;
}

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

/* y [n] = w [n][m] x + b; b may be NULL. */
static void affine(double *y, const double *w, const double *b, const double *x, size_t n, size_t m)
{
    for (size_t i = 0; i < n; i++)
        y[i] = dot(w + i * m, x, m) + (b ? b[i] : 0);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void layernorm(const struct oracle *o, double *y, const double *x, const double *w,
                      const double *b)
{
    double mean = 0, square = 0, eps = (double)o->p->config.norm_eps;
    for (size_t i = 0; i < o->E; i++)
        mean += x[i] / (double)o->E;
    for (size_t i = 0; i < o->E; i++)
        square += (x[i] - mean) * (x[i] - mean) / (double)o->E;
    for (size_t i = 0; i < o->E; i++)
        y[i] = (x[i] - mean) / sqrt(square + eps) * w[i] + b[i];
}

static void rmsnorm(const struct oracle *o, double *y, const double *x, const double *w)
{
    double square = dot(x, x, o->E) / (double)o->E, eps = (double)o->p->config.norm_eps;
    for (size_t i = 0; i < o->E; i++)
        y[i] = x[i] / sqrt(square + eps) * w[i];
}

/* p [n] = softmax(p) */
static void softmax(double *p, size_t n)
{
    double most = p[0], sum = 0;
    for (size_t i = 1; i < n; i++)
        most = fmax(most, p[i]);
    for (size_t i = 0; i < n; i++)
        sum += p[i] = exp(p[i] - most);
    for (size_t i = 0; i < n; i++)
        p[i] /= sum;
}

/* x [n] = max(x, 0) */
static void relu(struct oracle *o, double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        o->nearest = fmin(o->nearest, fabs(x[i]));
        x[i] = fmax(x[i], 0);
    }
}

/* ---- direct ---- */

static void direct(struct oracle *o, const struct oracle_past *past, double *logits)
{
    const struct predictor_config *c = &o->p->config;
    const double *table = find(o, -1, "token_embd.weight");
    double a[ORACLE_MOST], b[ORACLE_MOST], *x = a, *y = b;
    size_t n = c->context, inputs = n * o->E;
    for (size_t i = 0; i < n; i++) {
        bool there = past->count + i >= n;
        size_t token = there ? (size_t)past->tokens[past->count + i - n] : c->vocabulary;
        memcpy(x + i * o->E, table + token * o->E, o->E * sizeof *x);
    }
    for (size_t l = 0; l < c->layers; l++) {
        affine(y, find(o, (int)l, "hidden.weight"), find(o, (int)l, "hidden.bias"), x, c->ffn,
               inputs);
        if (c->activation == ACTIVATION_RELU)
            relu(o, y, c->ffn);
        else
            for (size_t i = 0; i < c->ffn; i++)
                y[i] = tanh(y[i]);
        double *swap = x;
        x = y;
        y = swap;
        inputs = c->ffn;
    }
    affine(logits, find(o, -1, "output.weight"), find(o, -1, "output.bias"), x, c->vocabulary,
           inputs);
}

/* ---- rnn ---- */

static void cell(const struct oracle *o, size_t layer, const double *x, double *h, double *c)
{
    size_t E = o->E, l = layer;
    enum predictor_cell kind = o->p->config.cell;
    size_t gates = kind == CELL_ELMAN ? 1 : kind == CELL_GRU ? 3 : 4;
    double i[4 * ORACLE_MOST], r[4 * ORACLE_MOST];
    affine(i, find(o, (int)l, "input.weight"), find(o, (int)l, "input.bias"), x, gates * E, E);
    affine(r, find(o, (int)l, "recurrent.weight"), find(o, (int)l, "recurrent.bias"), h, gates * E,
           E);
    for (size_t j = 0; j < E; j++) {
        if (kind == CELL_ELMAN) {
            h[j] = tanh(i[j] + r[j]);
        } else if (kind == CELL_GRU) {
            double reset = sigmoid(i[j] + r[j]), update = sigmoid(i[E + j] + r[E + j]);
            double fresh = tanh(i[2 * E + j] + reset * r[2 * E + j]);
            h[j] = (1 - update) * fresh + update * h[j];
        } else {
            double in = sigmoid(i[j] + r[j]), forget = sigmoid(i[E + j] + r[E + j]);
            double fresh = tanh(i[2 * E + j] + r[2 * E + j]);
            c[j] = forget * c[j] + in * fresh;
            h[j] = sigmoid(i[3 * E + j] + r[3 * E + j]) * tanh(c[j]);
        }
    }
}

static double score(const struct oracle *o, const double *query, const double *state)
{
    enum predictor_attention kind = o->p->config.attention;
    size_t E = o->E;
    double q[ORACLE_MOST], k[ORACLE_MOST], sum = 0;
    if (kind == ATTENTION_DOT)
        return dot(query, state, E);
    affine(q, find(o, -1, "attn_query.weight"), NULL, query, E, E);
    if (kind == ATTENTION_GENERAL)
        return dot(q, state, E);
    affine(k, find(o, -1, "attn_key.weight"), NULL, state, E, E);
    const double *w = find(o, -1, "attn_score.weight");
    for (size_t j = 0; j < E; j++)
        sum += w[j] * tanh(q[j] + k[j]);
    return sum;
}

static void rnn(const struct oracle *o, struct oracle_past *past, double *logits)
{
    const struct predictor_config *c = &o->p->config;
    size_t E = o->E, t = past->count - 1;
    double x[2 * ORACLE_MOST], y[ORACLE_MOST], p[ORACLE_MOST];
    memcpy(x, find(o, -1, "token_embd.weight") + (size_t)past->tokens[t] * E, E * sizeof *x);
    for (size_t l = 0; l < c->layers; l++) {
        cell(o, l, x, past->h[l], past->c[l]);
        memcpy(x, past->h[l], E * sizeof *x);
    }
    memcpy(past->states[t], x, E * sizeof *x);
    memcpy(y, x, E * sizeof *y);
    if (c->attention != ATTENTION_NONE) {
        size_t first = t + 1 > c->context ? t + 1 - c->context : 0;
        for (size_t i = first; i <= t; i++)
            p[i] = score(o, past->states[t], past->states[i]);
        softmax(p + first, t + 1 - first);
        for (size_t j = 0; j < E; j++) {
            x[E + j] = x[j];
            x[j] = 0;
            for (size_t i = first; i <= t; i++)
                x[j] += p[i] * past->states[i][j];
        }
        affine(y, find(o, -1, "attn_combine.weight"), NULL, x, E, 2 * E);
        for (size_t j = 0; j < E; j++)
            y[j] = tanh(y[j]);
    }
    affine(logits, find(o, -1, "output.weight"), find(o, -1, "output.bias"), y, c->vocabulary, E);
}

/* ---- transformer ---- */

/* Rotates adjacent pairs of heads of D numbers at position t. */
static void turn(const struct oracle *o, double *x, size_t heads, size_t D, size_t t)
{
    for (size_t h = 0; h < heads; h++, x += D)
        for (size_t i = 0; i < D; i += 2) {
            double angle = (double)t * pow((double)o->p->config.rope_base, -(double)i / (double)D);
            double even = x[i], odd = x[i + 1];
            x[i] = even * cos(angle) - odd * sin(angle);
            x[i + 1] = even * sin(angle) + odd * cos(angle);
        }
}

/* out [T][E] = SelfAttention(x) Wo */
static void attend(const struct oracle *o, int layer, double (*out)[ORACLE_MOST],
                   double (*x)[ORACLE_MOST], size_t T)
{
    static double k[ORACLE_MOST][ORACLE_MOST], v[ORACLE_MOST][ORACLE_MOST];
    const struct predictor_config *c = &o->p->config;
    size_t E = o->E, D = E / c->heads, GD = c->kv_heads * D;
    for (size_t t = 0; t < T; t++) {
        double q[ORACLE_MOST], y[ORACLE_MOST] = {0}, p[ORACLE_MOST];
        affine(q, find(o, layer, "attn_q.weight"), NULL, x[t], E, E);
        affine(k[t], find(o, layer, "attn_k.weight"), NULL, x[t], GD, E);
        affine(v[t], find(o, layer, "attn_v.weight"), NULL, x[t], GD, E);
        if (c->block == BLOCK_MODERN) {
            turn(o, q, c->heads, D, t);
            turn(o, k[t], c->kv_heads, D, t);
        }
        for (size_t h = 0; h < c->heads; h++) {
            size_t g = h / (c->heads / c->kv_heads) * D;
            for (size_t i = 0; i <= t; i++)
                p[i] = dot(q + h * D, k[i] + g, D) / sqrt((double)D);
            softmax(p, t + 1);
            for (size_t i = 0; i <= t; i++)
                for (size_t d = 0; d < D; d++)
                    y[h * D + d] += p[i] * v[i][g + d];
        }
        affine(out[t], find(o, layer, "attn_output.weight"), NULL, y, E, E);
    }
}

static void lecture(struct oracle *o, int l, double (*x)[ORACLE_MOST], size_t T)
{
    static double a[ORACLE_MOST][ORACLE_MOST];
    size_t E = o->E, F = o->p->config.ffn;
    double z[ORACLE_MOST], hidden[ORACLE_MOST], y[ORACLE_MOST];
    attend(o, l, a, x, T);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < E; i++)
            y[i] = x[t][i] + a[t][i];
        layernorm(o, z, y, find(o, l, "attn_output_norm.weight"),
                  find(o, l, "attn_output_norm.bias"));
        affine(hidden, find(o, l, "ffn_up.weight"), NULL, z, F, E);
        relu(o, hidden, F);
        affine(y, find(o, l, "ffn_down.weight"), NULL, hidden, E, F);
        for (size_t i = 0; i < E; i++)
            y[i] += z[i];
        layernorm(o, x[t], y, find(o, l, "layer_output_norm.weight"),
                  find(o, l, "layer_output_norm.bias"));
    }
}

static void modern(struct oracle *o, int l, double (*x)[ORACLE_MOST], size_t T)
{
    static double a[ORACLE_MOST][ORACLE_MOST], n[ORACLE_MOST][ORACLE_MOST];
    size_t E = o->E, F = o->p->config.ffn;
    double gate[ORACLE_MOST], up[ORACLE_MOST], y[ORACLE_MOST];
    for (size_t t = 0; t < T; t++)
        rmsnorm(o, n[t], x[t], find(o, l, "attn_norm.weight"));
    attend(o, l, a, n, T);
    for (size_t t = 0; t < T; t++) {
        for (size_t i = 0; i < E; i++)
            x[t][i] += a[t][i];
        rmsnorm(o, y, x[t], find(o, l, "ffn_norm.weight"));
        affine(gate, find(o, l, "ffn_gate.weight"), NULL, y, F, E);
        affine(up, find(o, l, "ffn_up.weight"), NULL, y, F, E);
        for (size_t i = 0; i < F; i++)
            gate[i] *= sigmoid(gate[i]) * up[i];
        affine(y, find(o, l, "ffn_down.weight"), NULL, gate, E, F);
        for (size_t i = 0; i < E; i++)
            x[t][i] += y[i];
    }
}

/* logits [T][V] of all tokens. */
static void transformer(struct oracle *o, const int32_t *tokens, size_t T, double *logits)
{
    static double x[ORACLE_MOST][ORACLE_MOST];
    const struct predictor_config *c = &o->p->config;
    const double *positions = find(o, -1, "position_embd.weight");
    const double *table = find(o, -1, "token_embd.weight");
    size_t E = o->E;
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < E; i++) {
            double angle = (double)t / pow(10000, (double)(i / 2 * 2) / (double)E);
            double place = positions ? positions[t * E + i] : i % 2 ? cos(angle) : sin(angle);
            x[t][i] = table[(size_t)tokens[t] * E + i] + (c->block == BLOCK_MODERN ? 0 : place);
        }
    for (int l = 0; l < (int)c->layers; l++)
        (c->block == BLOCK_MODERN ? modern : lecture)(o, l, x, T);
    for (size_t t = 0; t < T; t++) {
        double y[ORACLE_MOST];
        memcpy(y, x[t], sizeof y);
        if (c->block == BLOCK_MODERN)
            rmsnorm(o, y, x[t], find(o, -1, "output_norm.weight"));
        affine(logits + t * c->vocabulary, c->tied ? table : find(o, -1, "output.weight"), NULL, y,
               c->vocabulary, E);
    }
}

/* ---- All ---- */

double oracle_sequence(const struct predictor *p, const double *w, struct oracle_past *past,
                       const int32_t *tokens, const int32_t *targets, size_t T, double *loss,
                       double *logits)
{
    static double all[ORACLE_MOST * ORACLE_MOST];
    struct oracle o = {p, w, p->config.width, INFINITY};
    size_t V = p->config.vocabulary;
    assert_true(past->count + T <= ORACLE_MOST && V <= ORACLE_MOST);
    if (p->config.model == MODEL_TRANSFORMER)
        transformer(&o, tokens, T, all);
    for (size_t t = 0; t < T; t++) {
        double *row = all + t * V, sum = 0;
        past->tokens[past->count++] = tokens[t];
        if (p->config.model == MODEL_DIRECT)
            direct(&o, past, row);
        else if (p->config.model == MODEL_RNN)
            rnn(&o, past, row);
        if (logits)
            memcpy(logits + t * V, row, V * sizeof *row);
        if (targets[t] < 0)
            continue;
        for (size_t v = 0; v < V; v++)
            sum += exp(row[v] - row[targets[t]]);
        *loss += log(sum);
    }
    return o.nearest;
}
