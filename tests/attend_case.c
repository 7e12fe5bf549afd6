/* Drawing cases of attention, running them and holding them to the definition. */
#include "attend_case.h"

const trib_kv_type case_types[4] = {TRIB_KV_F32, TRIB_KV_F16, TRIB_KV_BF16, TRIB_KV_Q8_0};

/* ---- Drawing ---- */

/* Memory that goes with the case, full of NaN. */
static void *own(struct attend_case *c, size_t bytes)
{
    void *memory = guard_new(bytes);
    assert_true(c->owned_count < sizeof c->owned / sizeof *c->owned);
    c->owned[c->owned_count++] = (struct owned){memory, bytes};
    if (bytes)
        memset(memory, 0xff, bytes);
    return memory;
}

/* Rounds n values to what the type can hold. A block of Q8_0 has a 127, so that whoever quantises
 * it comes back to the same bytes. */
static void round_to_type(trib_kv_type type, struct random *r, float *x, size_t n)
{
    for (size_t i = 0; i < n && type == TRIB_KV_F16; i++)
        x[i] = f16_to_float(f16_from_float(x[i]));
    for (size_t i = 0; i < n && type == TRIB_KV_BF16; i++)
        x[i] = bf16_to_float(bf16_from_float(x[i]));
    for (size_t i = 0; i < n && type == TRIB_KV_Q8_0; i += 32) {
        float largest = 0;
        for (size_t j = i; j < i + 32; j++)
            largest = fmaxf(largest, fabsf(x[j]));
        float scale = f16_to_float(f16_from_float(largest / 127));
        for (size_t j = i; j < i + 32; j++)
            x[j] = scale * (float)((int)random_below(r, 255) - 127);
        x[i + random_below(r, 32)] = random_below(r, 2) ? scale * 127 : scale * -127;
    }
}

static void draw_vectors(struct attend_case *c, struct random *r)
{
    size_t row = c->H * c->D, kv = c->S * c->G * c->D, gap = random_below(r, 3) * 5;
    float size = c->size != 0 ? c->size : 1;
    size_t floats = c->T ? (c->T - 1) * (row + gap) + row : 0;
    float *q = own(c, floats * sizeof *q);
    c->q = own(c, c->T * row * sizeof(float));
    c->k = own(c, kv * sizeof(float));
    c->v = own(c, kv * sizeof(float));
    c->v_size = own(c, kv * sizeof(float));
    random_fill(r, c->q, c->T * row, 2 * size);
    random_fill(r, c->k, kv, size);
    random_fill(r, c->v, kv, 2);
    round_to_type(c->type, r, c->k, kv);
    round_to_type(c->type, r, c->v, kv);
    for (size_t i = 0; i < kv; i++)
        c->v_size[i] = fabsf(c->v[i]);
    for (size_t t = 0; t < c->T; t++)
        memcpy(q + t * (row + gap), c->q + t * row, row * sizeof *q);
    c->queries = (trib_queries){q, c->T, row + gap, c->query_first};
    c->given = q;
}

/* Dense for the definition; for the caller with gaps, or one for all heads or all queries. */
static void draw_bias(struct attend_case *c, struct random *r)
{
    trib_attention *a = &c->attention;
    size_t heads = random_below(r, 4) ? c->H : 1, tokens = random_below(r, 4) ? c->T : c->T > 0;
    size_t token_stride = c->S + random_below(r, 3);
    size_t head_stride = c->T * token_stride + random_below(r, 3);
    size_t n = tokens && c->S ? (heads - 1) * head_stride + (tokens - 1) * token_stride + c->S : 0;
    bool holes = random_below(r, 3) == 0;
    float *bias = own(c, n * sizeof *bias);
    a->bias = bias;
    a->bias_head_stride = heads == 1 ? 0 : head_stride;
    a->bias_token_stride = tokens <= 1 ? 0 : token_stride;
    for (size_t h = 0; h < heads; h++)
        for (size_t t = 0; t < tokens; t++)
            for (size_t i = 0; i < c->S; i++)
                bias[h * head_stride + t * token_stride + i] =
                    holes && random_below(r, 9) == 0 ? -INFINITY : random_between(r, -3, 3);
    c->bias = own(c, c->H * c->T * c->S * sizeof *c->bias);
    for (size_t at = 0; at < c->H * c->T * c->S; at++) {
        size_t h = at / c->S / c->T, t = at / c->S % c->T;
        c->bias[at] = bias[h * a->bias_head_stride + t * a->bias_token_stride + at % c->S];
    }
}

static void draw_score(struct attend_case *c, struct random *r)
{
    trib_attention *a = &c->attention;
    static const float scales[] = {1, -0.3f, 0.11f};
    *a = (trib_attention){.heads = c->H, .kv_heads = c->G, .head_dim = c->D, .threads = 1};
    size_t which = random_below(r, 8);
    a->scale = which < 3 && c->D <= 24 ? scales[which] : 1 / sqrtf((float)c->D);
    if (c->score & SCORE_SOFTCAP)
        a->softcap = random_between(r, 0.5f, 20);
    if (c->score & SCORE_ALIBI) {
        float *slopes = own(c, c->H * sizeof *slopes);
        random_fill(r, slopes, c->H, random_below(r, 2) ? 0.5f : 0.01f);
        a->alibi = slopes;
    }
    if (c->score & SCORE_ADDITIVE) {
        float *w = own(c, c->H * c->D * sizeof *w);
        random_fill(r, w, c->H * c->D, 2);
        a->additive = w;
    }
    if (c->score & SCORE_BIAS)
        draw_bias(c, r);
}

static void draw_documents(struct attend_case *c, struct random *r)
{
    int32_t *queries = own(c, c->T * sizeof *queries), *keys = own(c, c->S * sizeof *keys);
    int32_t id = -3;
    for (size_t i = 0; i < c->S; i++) {
        id = random_below(r, 50) ? id : id + 1;
        keys[i] = random_below(r, 90) ? id : (int32_t)random_bits(r);
    }
    for (size_t t = 0; t < c->T; t++)
        queries[t] = c->S && random_below(r, 5) ? keys[random_below(r, c->S)] : id;
    c->attention.mask.query_document = queries;
    c->attention.mask.key_document = keys;
}

static void draw_bits(struct attend_case *c, struct random *r)
{
    trib_mask *m = &c->attention.mask;
    m->bits_stride = (c->S + 63) / 64 + random_below(r, 2);
    size_t words = c->T ? (c->T - 1) * m->bits_stride + (c->S + 63) / 64 : 0;
    uint64_t *bits = own(c, words * sizeof *bits);
    for (size_t i = 0; i < words; i++)
        switch (random_below(r, 4)) {
        case 0:
            bits[i] = 0;
            break;
        case 1:
            bits[i] = UINT64_MAX;
            break;
        default:
            bits[i] = random_bits(r) & random_bits(r);
        }
    m->bits = bits;
}

static void draw_mask(struct attend_case *c, struct random *r)
{
    trib_mask *m = &c->attention.mask;
    size_t end = c->key_first + c->S;
    m->causal = c->mask & SEE_CAUSAL;
    if (c->mask & SEE_PREFIX)
        m->prefix = 1 + random_below(r, end + 9);
    if (c->mask & SEE_WINDOW)
        m->window = 1 + random_below(r, random_below(r, 2) ? 70 : c->S + 9);
    if (c->mask & SEE_DOCUMENTS)
        draw_documents(c, r);
    if (c->mask & SEE_TREE) {
        int32_t *parent = own(c, c->T * sizeof *parent);
        for (size_t t = 0; t < c->T; t++)
            parent[t] = (int32_t)random_below(r, t + 1) - 1;
        m->parent = parent;
    }
    if (c->mask & SEE_BITS)
        draw_bits(c, r);
}

void case_draw(struct attend_case *c, struct random *r)
{
    c->owned_count = 0;
    draw_vectors(c, r);
    draw_score(c, r);
    draw_mask(c, r);
}

void case_set_query(const struct attend_case *c, size_t t, size_t h, size_t d, float x)
{
    c->q[(t * c->H + h) * c->D + d] = x;
    c->given[t * c->queries.token_stride + h * c->D + d] = x;
}

void case_set_key(const struct attend_case *c, size_t i, size_t g, size_t d, float x)
{
    c->k[(i * c->G + g) * c->D + d] = x;
}

void case_set_value(const struct attend_case *c, size_t i, size_t g, size_t d, float x)
{
    c->v[(i * c->G + g) * c->D + d] = x;
    c->v_size[(i * c->G + g) * c->D + d] = fabsf(x);
}

void case_free(const struct attend_case *c)
{
    for (size_t i = 0; i < c->owned_count; i++)
        guard_free(c->owned[i].memory, c->owned[i].bytes);
}

const char *case_name(const struct attend_case *c)
{
    static char name[300];
    snprintf(name, sizeof name,
             "T %zu S %zu H %zu G %zu D %zu type %d first %zu over %zu score %u mask %u", c->T,
             c->S, c->H, c->G, c->D, (int)c->type, c->query_first, c->key_first, c->score, c->mask);
    return name;
}

/* ---- The definition ---- */

bool case_sees(const struct attend_case *c, size_t t, size_t i)
{
    const trib_mask *m = &c->attention.mask;
    int64_t p = (int64_t)(c->query_first + t), j = (int64_t)(c->key_first + i);
    if (m->causal && !(j <= p || j < (int64_t)m->prefix))
        return false;
    if (m->window && !(j > p - (int64_t)m->window))
        return false;
    if (m->query_document && m->query_document[t] != m->key_document[i])
        return false;
    if (m->bits && !(m->bits[t * m->bits_stride + i / 64] >> i % 64 & 1))
        return false;
    if (m->parent && j >= (int64_t)c->query_first) {
        int64_t at = (int64_t)t, key = j - (int64_t)c->query_first;
        while (at > key)
            at = m->parent[at];
        return at == key;
    }
    return true;
}

static bool sees(const void *context, size_t t, size_t i)
{
    return case_sees(context, t, i);
}

struct definition case_definition(const struct attend_case *c)
{
    const trib_attention *a = &c->attention;
    return (struct definition){.T = c->T,
                               .S = c->S,
                               .H = c->H,
                               .G = c->G,
                               .D = c->D,
                               .q = c->q,
                               .k = c->k,
                               .v = c->v,
                               .scale = (double)a->scale,
                               .additive = a->additive,
                               .softcap = (double)a->softcap,
                               .alibi = a->alibi,
                               .distance = (double)c->key_first - (double)c->query_first,
                               .bias = a->bias ? c->bias : NULL,
                               .visible = sees,
                               .context = c};
}

/* What rounding queries to integers adds to a score's error: of each block of 32, half a step (and
 * what float32 adds to it) for every |k|; a step is the largest |q| / 32,639. */
static double bytes_error(const float *q, const float *k, size_t D, double scale)
{
    double error = 0;
    for (size_t b = 0; b < D; b += 32) {
        float largest = 0;
        double sum = 0;
        for (size_t d = b; d < b + 32; d++) {
            largest = fmaxf(largest, fabsf(q[d]));
            sum += fabs((double)k[d]);
        }
        error += 0.504 / 32639 * (double)largest * sum * scale;
    }
    return error;
}

/* The size P of a score on its way, and its error in units of u, by enum arithmetic. */
static double key_error(const struct attend_case *c, size_t t, size_t h, size_t i, double error[3])
{
    const trib_attention *a = &c->attention;
    const float *q = c->q + (t * c->H + h) * c->D, *w = a->additive;
    const float *k = c->k + (i * c->G + h / (c->H / c->G)) * c->D;
    double P = 0, e = 0, scale = fabs((double)a->scale), D = (double)c->D;
    for (size_t d = 0; d < c->D; d++) {
        double size = w ? fabs((double)w[h * c->D + d]) : fabs((double)q[d] * (double)k[d]);
        P += scale * size;
        e += w ? scale * size * (fabs((double)q[d]) + fabs((double)k[d]) + 9) : 0;
    }
    if (!isfinite(P)) /* not in the set, or all is NaN */
        return 0;
    e += (D + (w ? 2 : 3)) * P;
    error[IN_BF16] = w ? 0 : (0x1p16 + D) * P;
    error[IN_BYTES] = w || c->type != TRIB_KV_Q8_0 ? 0 : bytes_error(q, k, c->D, scale) * 0x1p24;
    if (a->softcap != 0) {
        e += P + 10 * (double)a->softcap;
        P = fmin(P, (double)a->softcap);
    }
    if (a->alibi) {
        double distance = (double)(c->key_first + i) - (double)(c->query_first + t);
        double R = fabs((double)a->alibi[h] * distance);
        e += R + (P + R);
        P += R;
    }
    if (a->bias) {
        double b = fabs((double)c->bias[(h * c->T + t) * c->S + i]);
        if (b == (double)INFINITY)
            return 0;
        e += P + b;
        P += b;
    }
    error[IN_F32] = e + 2 * P;
    error[IN_BF16] += error[IN_F32];
    error[IN_BYTES] += error[IN_F32];
    return P;
}

void case_expect(const struct attend_case *c, size_t t, size_t h, struct expected *out)
{
    struct definition definition = case_definition(c);
    double e[3] = {0, 0, 0}, n = (double)(c->S < 512 ? c->S : 512);
    float largest = 0;
    assert_true(c->D <= 256);
    *out = (struct expected){.t = t, .h = h};
    out->s = definition_timestep(&definition, t, h, out->y);
    definition.v = c->v_size;
    definition_timestep(&definition, t, h, out->reach);
    for (size_t i = 0; i < c->S; i++) {
        double one[3] = {0, 0, 0};
        if (!case_sees(c, t, i))
            continue;
        out->M = fmax(out->M, key_error(c, t, h, i, one));
        for (size_t b = 0; b < 3; b++)
            e[b] = fmax(e[b], one[b]);
        const float *sizes = c->v_size + (i * c->G + h / (c->H / c->G)) * c->D;
        for (size_t d = 0; d < c->D; d++)
            largest = fmaxf(largest, sizes[d]);
    }
    out->largest = (double)largest;
    for (size_t b = 0; b < 3; b++)
        out->E[b] = (e[b] + 8 * out->M + 5 + 48 + n + 7 * (double)(c->S / 512 + 2)) * 0x1p-24 +
                    (b == IN_BF16 ? 0x1p-8 + 0x1p-13 : 0);
}

size_t case_expect_some(const struct attend_case *c, struct random *r, struct expected *out,
                        size_t most)
{
    size_t rows = c->T * c->H, n = rows < most ? rows : most;
    for (size_t i = 0; i < n; i++) {
        size_t row = rows <= most ? i : i < 2 ? i * (rows - 1) : random_below(r, rows);
        case_expect(c, row / c->H, row % c->H, out + i);
    }
    return n;
}

/* ---- Results ---- */

struct result result_new(const struct attend_case *c)
{
    size_t n = c->T * c->H;
    return (struct result){n, c->D, guard_floats(n), guard_floats(n * c->D)};
}

void result_free(const struct result *out)
{
    guard_free_floats(out->s, out->count);
    guard_free_floats(out->v, out->count * out->D);
}

void result_copy(const struct result *to, const struct result *from)
{
    for (size_t i = 0; i < from->count; i++)
        to->s[i] = from->s[i];
    for (size_t i = 0; i < from->count * from->D; i++)
        to->v[i] = from->v[i];
}

static void run(const struct attend_case *c, const struct kernels *k, const trib_segment *segment,
                size_t from, size_t to, int threads, const struct result *out, bool onto)
{
    trib_attention a = c->attention;
    trib_queries queries = c->queries;
    trib_states states = {out->s + from * c->H, out->v + from * c->H * c->D, (to - from) * c->H,
                          c->D};
    trib_error error = {TRIB_OK, ""};
    a.threads = threads;
    a.bias = a.bias ? a.bias + from * a.bias_token_stride : NULL;
    if (a.mask.query_document)
        a.mask.query_document += from;
    if (a.mask.bits)
        a.mask.bits += from * a.mask.bits_stride;
    assert_true(from == 0 || !a.mask.parent); /* whose numbers count from query 0 */
    queries.q += from * queries.token_stride;
    queries.first += from;
    queries.tokens = to - from;
    size_t bytes = trib_attend_workspace(k, &a, to - from, segment->first + segment->length);
    size_t whole = (bytes + 63) / 64 * 64;
    void *workspace = guard_new(whole);
    assert_true(bytes > 0);
    memset(workspace, 0xff, whole);
    trib_status status =
        onto ? trib_absorb(k, &a, &queries, segment, &states, workspace, bytes, &error)
             : trib_attend(k, &a, &queries, segment, &states, workspace, bytes, &error);
    guard_free(workspace, whole);
    if (status != TRIB_OK)
        fail_msg("%s: %s: %s", k->name, case_name(c), error.message);
}

void case_attend(const struct attend_case *c, const struct kernels *k, const trib_segment *segment,
                 size_t from, size_t to, int threads, const struct result *out)
{
    run(c, k, segment, from, to, threads, out, false);
}

void case_absorb(const struct attend_case *c, const struct kernels *k, const trib_segment *segment,
                 int threads, const struct result *out)
{
    run(c, k, segment, 0, c->T, threads, out, true);
}

bool same_floats(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (float_bits(a[i]) != float_bits(b[i]) && !(isnan(a[i]) && isnan(b[i])))
            return false;
    return true;
}

void assert_same(const struct attend_case *c, const struct kernels *k, const struct result *a,
                 const struct result *b, const char *what)
{
    for (size_t row = 0; row < a->count; row++)
        if (memcmp(a->s + row, b->s + row, sizeof *a->s) != 0 ||
            memcmp(a->v + row * a->D, b->v + row * a->D, a->D * sizeof *a->v) != 0)
            fail_msg("%s: %s: %s: other bits in row %zu: s %.9g and %.9g", k->name, case_name(c),
                     what, row, (double)a->s[row], (double)b->s[row]);
}

/* Equal where infinite or NaN; else within `error`. */
static bool near(double got, double exact, double error)
{
    if (isnan(exact))
        return isnan(got);
    return got == exact || fabs(got - exact) <= 1.001 * error;
}

enum arithmetic case_arithmetic(const struct attend_case *c, const struct kernels *k)
{
    if (strcmp(k->name, "avx512bf16") != 0)
        return IN_F32;
    if (c->type == TRIB_KV_Q8_0 && !c->attention.additive)
        return IN_BYTES;
    return c->type == TRIB_KV_BF16 ? IN_BF16 : IN_F32;
}

double case_error(const struct attend_case *c, const struct kernels *k, const struct expected *x)
{
    return x->E[case_arithmetic(c, k)];
}

void case_hold(const struct attend_case *c, const struct kernels *k, const struct expected *x,
               const struct result *got, double more)
{
    double u = 0x1p-24, E = case_error(c, k, x) + more, S = (double)c->S;
    enum arithmetic how = case_arithmetic(c, k);
    double tiny = how == IN_BF16 ? 0x1p-120 : how == IN_BYTES ? 0x1p-92 : 0x1p-147;
    double lost = S * tiny * (x->largest + 1);
    /* The weights of a chunk are rounded by half a step, the largest p_j scale_j / 65,500, each;
     * 127 scales are the largest value of the key, and what the largest p_j are of their sum is
     * below 1. */
    double rounded = how == IN_BYTES ? 0.504 * 64 / 65500 * x->largest : 0;
    double s_error = E + (3 * x->M + fabs(x->s) + 2 * log(S + 1) + 2) * u;
    size_t row = x->t * c->H + x->h;
    if (!near(got->s[row], x->s, s_error))
        fail_msg("%s: %s: s[%zu] = %.9g, expected %.17g within %.3g", k->name, case_name(c), row,
                 (double)got->s[row], x->s, s_error);
    for (size_t d = 0; d < c->D; d++) {
        double error = expm1(2 * E + 2 * u) * x->reach[d] + lost + rounded,
               v = got->v[row * c->D + d];
        if (!near(v, x->y[d], error))
            fail_msg("%s: %s: v[%zu][%zu] = %.9g, expected %.17g within %.3g", k->name,
                     case_name(c), row, d, v, x->y[d], error);
    }
}
