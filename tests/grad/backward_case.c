/* Running the backward of attention. */
#include "backward_case.h"

struct gradients gradients_new(const struct attend_case *c)
{
    size_t rows = c->T * c->H * c->D, keys = c->S * c->G * c->D;
    return (struct gradients){rows, keys, guard_floats(rows), guard_floats(keys),
                              guard_floats(keys)};
}

void gradients_free(const struct gradients *out)
{
    guard_free_floats(out->dq, out->rows);
    guard_free_floats(out->dk, out->keys);
    guard_free_floats(out->dv, out->keys);
}

float *draw_output_gradient(const struct attend_case *c, struct random *r)
{
    float *dy = guard_floats(c->T * c->H * c->D);
    random_fill(r, dy, c->T * c->H * c->D, 1);
    return dy;
}

void case_backward(const struct attend_case *c, const struct kernels *k,
                   const trib_segment *segment, int threads, const struct result *states,
                   const float *dy, const struct gradients *out)
{
    trib_attention a = c->attention;
    trib_states given = result_states(states);
    trib_error error = {TRIB_OK, ""};
    a.threads = threads;
    size_t end = segment->first + segment->length;
    size_t bytes = trib_attend_backward_workspace(k, &a, c->T, end);
    assert_true(bytes > 0 && bytes % 64 == 0);
    void *workspace = guard_new(bytes);
    memset(workspace, 0xff, bytes);
    trib_status status = trib_attend_backward(k, &a, &c->queries, segment, &given, dy, out->dq,
                                              out->dk, out->dv, workspace, bytes, &error);
    guard_free(workspace, bytes);
    if (status != TRIB_OK)
        fail_msg("%s: %s: %s", k->name, case_name(c), error.message);
}

static void assert_same_floats(const struct attend_case *c, const struct kernels *k, const float *a,
                               const float *b, size_t n, const char *which, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (!same_floats(a + i, b + i, 1))
            fail_msg("%s: %s: %s: other bits: %s[%zu] = %.9g and %.9g", k->name, case_name(c), what,
                     which, i, (double)a[i], (double)b[i]);
}

void assert_same_gradients(const struct attend_case *c, const struct kernels *k,
                           const struct gradients *a, const struct gradients *b, const char *what)
{
    assert_same_floats(c, k, a->dq, b->dq, a->rows, "dq", what);
    assert_same_floats(c, k, a->dk, b->dk, a->keys, "dk", what);
    assert_same_floats(c, k, a->dv, b->dv, a->keys, "dv", what);
}

struct attend_case case_keys(const struct attend_case *c, size_t from, size_t to)
{
    struct attend_case part = *c;
    trib_mask *m = &part.attention.mask;
    part.S = to - from;
    part.key_first += from;
    part.k += from * c->G * c->D;
    part.v += from * c->G * c->D;
    if (part.attention.bias)
        part.attention.bias += from;
    if (m->key_document)
        m->key_document += from;
    if (m->bits)
        m->bits += from / 64;
    return part;
}

struct attend_case case_queries(const struct attend_case *c, size_t from, size_t to)
{
    struct attend_case part = *c;
    trib_attention *a = &part.attention;
    part.T = to - from;
    part.query_first += from;
    part.queries.tokens = part.T;
    part.queries.first += from;
    part.queries.q += from * part.queries.token_stride;
    if (a->bias)
        a->bias += from * a->bias_token_stride;
    if (a->mask.query_document)
        a->mask.query_document += from;
    if (a->mask.bits)
        a->mask.bits += from * a->mask.bits_stride;
    return part;
}

void draw_shape(struct attend_case *c, struct random *r, size_t work)
{
    static const size_t heads[][2] = {{1, 1}, {4, 4}, {8, 2}, {6, 1}, {3, 3}, {10, 5}};
    static const size_t dims[] = {1, 7, 16, 24, 40, 64, 80, 128, 200, 256};
    do {
        size_t pair = random_below(r, 6);
        c->T = random_below(r, random_below(r, 2) ? 10 : 200);
        c->S = random_below(r, random_below(r, 2) ? 10 : 300);
        c->H = heads[pair][0];
        c->G = heads[pair][1];
        c->D = dims[random_below(r, 10)];
        if (c->type == TRIB_KV_Q8_0)
            c->D = 32 * (1 + random_below(r, 8));
    } while (c->T * c->S * c->H * c->D > work || (c->T * c->S == 0 && random_below(r, 4)));
}

void draw_positions(struct attend_case *c, struct random *r, bool aligned)
{
    static const size_t firsts[] = {0, 64, 448, 1, 37, 63, 500};
    c->key_first = firsts[random_below(r, aligned ? 3 : 7)];
    size_t end = c->key_first + c->S;
    size_t places[4] = {end, end > c->T ? end - c->T : 0, c->key_first, random_below(r, end + 20)};
    c->query_first = places[random_below(r, 4)];
}
