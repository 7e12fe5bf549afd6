/* The oneDNN peer: a product, a softmax and a product, as primitives of oneDNN 2.
 *
 * The scores of a block of queries are materialised, softmaxed in place and multiplied with the
 * values, batched over KV heads, whose query heads stand as rows below each other. Under a causal
 * mask a block ends at its last query's own key, so that at most the block's own keys are computed
 * in vain; with bfloat16 keys everything in between is bfloat16 too. */
#include <dnnl.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench_peers.h"

/* Scores that stay near the processor while they are worked on. */
enum { SCORE_BYTES = 8 << 20, ARGUMENTS = 3 };

struct step {
    dnnl_primitive_t primitive;
    dnnl_memory_t memory[ARGUMENTS];
    dnnl_exec_arg_t arguments[ARGUMENTS];
    int count;
};

/* Queries [from, to) over keys [0, keys). */
struct block {
    size_t from, to, keys;
    struct step scores, softmax, output;
};

struct onednn {
    struct peer_problem p;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_data_type_t type;
    size_t width, group;
    char *q;       /* [G][T * group][D] */
    char *weights; /* scores of a block, then probabilities */
    float *y;      /* [G][T * group][D] */
    struct block *blocks;
    size_t block_count;
};

static trib_status fail(trib_error *error, const char *what, dnnl_status_t status)
{
    error->status = TRIB_UNSUPPORTED;
    snprintf(error->message, sizeof error->message, "oneDNN: %s: status %d", what, (int)status);
    return TRIB_UNSUPPORTED;
}

/* ---- Descriptions ---- */

/* [G][rows][columns] with these strides. */
struct shape {
    size_t rows, columns, batch_stride, row_stride, column_stride;
    dnnl_data_type_t type;
};

static dnnl_status_t describe(dnnl_memory_desc_t *out, size_t G, const struct shape *s)
{
    dnnl_dims_t dims = {(dnnl_dim_t)G, (dnnl_dim_t)s->rows, (dnnl_dim_t)s->columns};
    dnnl_dims_t strides = {(dnnl_dim_t)s->batch_stride, (dnnl_dim_t)s->row_stride,
                           (dnnl_dim_t)s->column_stride};
    return dnnl_memory_desc_init_by_strides(out, 3, dims, s->type, strides);
}

static dnnl_status_t add_argument(const struct onednn *o, struct step *step, int which,
                                  const dnnl_memory_desc_t *desc, void *data)
{
    int i = step->count;
    dnnl_status_t status = dnnl_memory_create(&step->memory[i], desc, o->engine, data);
    if (status != dnnl_success)
        return status;
    step->arguments[i] = (dnnl_exec_arg_t){which, step->memory[i]};
    step->count = i + 1;
    return dnnl_success;
}

/* Makes a primitive of an operation's description. */
static dnnl_status_t make(const struct onednn *o, struct step *step, const_dnnl_op_desc_t operation,
                          float scale)
{
    dnnl_primitive_attr_t attributes;
    dnnl_primitive_desc_t desc;
    dnnl_status_t status = dnnl_primitive_attr_create(&attributes);
    if (status != dnnl_success)
        return status;
    if (scale != 1)
        status = dnnl_primitive_attr_set_output_scales(attributes, 1, 0, &scale);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(&desc, operation, attributes, o->engine, NULL);
    dnnl_primitive_attr_destroy(attributes);
    if (status != dnnl_success)
        return status;
    status = dnnl_primitive_create(&step->primitive, desc);
    dnnl_primitive_desc_destroy(desc);
    return status;
}

/* c = scale a b */
static dnnl_status_t make_product(const struct onednn *o, struct step *step, const struct shape *a,
                                  void *a_data, const struct shape *b, const struct shape *c,
                                  void *c_data, float scale)
{
    dnnl_memory_desc_t da, db, dc;
    dnnl_matmul_desc_t product;
    dnnl_status_t status;
    size_t G = o->p.G;
    if ((status = describe(&da, G, a)) || (status = describe(&db, G, b)) ||
        (status = describe(&dc, G, c)) ||
        (status = dnnl_matmul_desc_init(&product, &da, &db, NULL, &dc)) ||
        (status = make(o, step, &product, scale)) ||
        (status = add_argument(o, step, DNNL_ARG_SRC, &da, a_data)) ||
        (status = add_argument(o, step, DNNL_ARG_WEIGHTS, &db, NULL)))
        return status;
    return add_argument(o, step, DNNL_ARG_DST, &dc, c_data);
}

static dnnl_status_t make_softmax(const struct onednn *o, struct step *step, const struct shape *s,
                                  void *data)
{
    dnnl_memory_desc_t desc;
    dnnl_softmax_desc_t softmax;
    dnnl_status_t status;
    if ((status = describe(&desc, o->p.G, s)) ||
        (status = dnnl_softmax_forward_desc_init(&softmax, dnnl_forward_inference, &desc, 2)) ||
        (status = make(o, step, &softmax, 1)) ||
        (status = add_argument(o, step, DNNL_ARG_SRC, &desc, data)))
        return status;
    return add_argument(o, step, DNNL_ARG_DST, &desc, data);
}

static dnnl_status_t make_block(struct onednn *o, struct block *b)
{
    size_t D = o->p.D, S = o->p.S, rows = (b->to - b->from) * o->group;
    size_t first = b->from * o->group, all = o->p.T * o->group;
    struct shape q = {rows, D, all * D, D, 1, o->type};
    struct shape k = {D, b->keys, S * D, 1, D, o->type};
    struct shape s = {rows, b->keys, rows * b->keys, b->keys, 1, o->type};
    struct shape v = {b->keys, D, S * D, D, 1, o->type};
    struct shape y = {rows, D, all * D, D, 1, dnnl_f32};
    dnnl_status_t status;
    if ((status = make_product(o, &b->scores, &q, o->q + first * D * o->width, &k, &s, o->weights,
                               o->p.scale)) ||
        (status = make_softmax(o, &b->softmax, &s, o->weights)))
        return status;
    return make_product(o, &b->output, &s, o->weights, &v, &y, o->y + first * D, 1);
}

/* ---- Preparation ---- */

static uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* Rows of a KV head: token by token, its query heads one below the other. */
static size_t row_of(const struct onednn *o, size_t t, size_t h)
{
    return (h / o->group * o->p.T + t) * o->group + h % o->group;
}

static void regroup_queries(struct onednn *o)
{
    for (size_t t = 0; t < o->p.T; t++)
        for (size_t h = 0; h < o->p.H; h++)
            for (size_t d = 0; d < o->p.D; d++) {
                float x = o->p.q[(t * o->p.H + h) * o->p.D + d];
                uint16_t half = bf16_of(x);
                char *to = o->q + (row_of(o, t, h) * o->p.D + d) * o->width;
                if (o->p.bf16)
                    memcpy(to, &half, sizeof half);
                else
                    memcpy(to, &x, sizeof x);
            }
}

static void step_close(struct step *step)
{
    for (int i = 0; i < step->count; i++)
        dnnl_memory_destroy(step->memory[i]);
    if (step->primitive)
        dnnl_primitive_destroy(step->primitive);
}

static void onednn_close(void *state)
{
    struct onednn *o = state;
    if (!o)
        return;
    for (size_t i = 0; o->blocks && i < o->block_count; i++) {
        step_close(&o->blocks[i].scores);
        step_close(&o->blocks[i].softmax);
        step_close(&o->blocks[i].output);
    }
    if (o->stream)
        dnnl_stream_destroy(o->stream);
    if (o->engine)
        dnnl_engine_destroy(o->engine);
    free(o->blocks);
    free(o->q);
    free(o->weights);
    free(o->y);
    free(o);
}

static trib_status onednn_open(void **state, const struct peer_problem *p, trib_error *error)
{
    struct onednn *o = calloc(1, sizeof *o);
    dnnl_status_t status;
    *state = o;
    if (!o)
        return fail(error, "state", dnnl_out_of_memory);
    o->p = *p;
    o->type = p->bf16 ? dnnl_bf16 : dnnl_f32;
    o->width = p->bf16 ? 2 : 4;
    o->group = p->H / p->G;
    size_t step = SCORE_BYTES / (p->H * p->S * o->width);
    step = !p->causal ? p->T : step < 16 ? 16 : step;
    o->block_count = (p->T + step - 1) / step;
    o->blocks = calloc(o->block_count, sizeof *o->blocks);
    o->q = malloc(p->T * p->H * p->D * o->width);
    o->weights = malloc((step < p->T ? step : p->T) * p->H * p->S * o->width);
    o->y = malloc(p->T * p->H * p->D * sizeof *o->y);
    if (!o->blocks || !o->q || !o->weights || !o->y)
        return fail(error, "memory", dnnl_out_of_memory);
    regroup_queries(o);
    omp_set_num_threads(p->threads);
    if ((status = dnnl_engine_create(&o->engine, dnnl_cpu, 0)) ||
        (status = dnnl_stream_create(&o->stream, o->engine, dnnl_stream_default_flags)))
        return fail(error, "engine", status);
    for (size_t i = 0; i < o->block_count; i++) {
        struct block *b = &o->blocks[i];
        b->from = i * step;
        b->to = b->from + step < p->T ? b->from + step : p->T;
        b->keys = p->causal ? b->to : p->S;
        if ((status = make_block(o, b)))
            return fail(error, "primitive", status);
    }
    return TRIB_OK;
}

/* ---- Running ---- */

/* Scores of keys behind the query: -inf. They all stand at the right end of the block. */
static void mask_block(const struct onednn *o, const struct block *b)
{
    size_t rows = (b->to - b->from) * o->group;
    uint16_t half = bf16_of(-INFINITY);
    float whole = -INFINITY;
#pragma omp parallel for num_threads(o->p.threads)
    for (size_t row = 0; row < o->p.G * rows; row++) {
        size_t t = b->from + row % rows / o->group;
        char *scores = o->weights + row * b->keys * o->width;
        for (size_t i = t + 1; i < b->keys; i++)
            memcpy(scores + i * o->width, o->p.bf16 ? (void *)&half : (void *)&whole, o->width);
    }
}

/* oneDNN's memory is not const, even where it is only read. */
static dnnl_status_t run_block(const struct onednn *o, const struct block *b, size_t set)
{
    void *k = o->p.k + set * o->p.set_bytes, *v = o->p.v + set * o->p.set_bytes;
    dnnl_status_t status;
    if ((status = dnnl_memory_set_data_handle(b->scores.memory[1], k)) ||
        (status = dnnl_memory_set_data_handle(b->output.memory[1], v)) ||
        (status = dnnl_primitive_execute(b->scores.primitive, o->stream, b->scores.count,
                                         b->scores.arguments)))
        return status;
    if (o->p.causal)
        mask_block(o, b);
    if ((status = dnnl_primitive_execute(b->softmax.primitive, o->stream, b->softmax.count,
                                         b->softmax.arguments)) ||
        (status = dnnl_primitive_execute(b->output.primitive, o->stream, b->output.count,
                                         b->output.arguments)))
        return status;
    return dnnl_stream_wait(o->stream);
}

static trib_status onednn_run(void *state, size_t set, trib_error *error)
{
    const struct onednn *o = state;
    for (size_t i = 0; i < o->block_count; i++) {
        dnnl_status_t status = run_block(o, &o->blocks[i], set);
        if (status != dnnl_success)
            return fail(error, "run", status);
    }
    return TRIB_OK;
}

static float onednn_output(const void *state, size_t t, size_t h, size_t d)
{
    const struct onednn *o = state;
    return o->y[row_of(o, t, h) * o->p.D + d];
}

const struct peer peer_onednn = {
    .name = "onednn",
    .most_operations = 2e11,
    .reads_bf16 = true,
    .open = onednn_open,
    .run = onednn_run,
    .output = onednn_output,
    .close = onednn_close,
};
