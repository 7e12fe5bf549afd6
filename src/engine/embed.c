/* Vectors of texts: hidden states of a forward pass, pooled.
 *
 * Texts pass the layers together, as many as there are rows for. Where a text is split over passes
 * (only causal models can), it begins a pass, so there is one such text, one cache and one sum at a
 * time. A sum runs over ascending tokens in float64: a vector depends on its own text alone. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/size.h"
#include "engine/engine.h"

enum { MOST_RUNS = 256 };

struct embedding {
    trib_engine *engine;
    const trib_ids *texts;
    size_t count;
    enum pooling pooling;
    bool normalize;
    float *vectors; /* [count][E] */

    struct activations own, *a; /* the engine's, or larger ones for long texts */
    struct prefix_cache *cache; /* of the text that is split, which is `sequence` */
    struct sequence *sequence;
    float *hidden;     /* [rows][E] */
    double *sum;       /* [E] of the text at hand */
    size_t text, done; /* the next token to pass: `done` of `text` */
    struct run runs[MOST_RUNS];
};

trib_embed_options trib_embed_options_default(void)
{
    return (trib_embed_options){.pooling = TRIB_POOLING_MODEL, .normalize = true};
}

static trib_status check_texts(const struct embedding *e, size_t *longest, trib_error *error)
{
    const struct model_config *c = &e->engine->model.config;
    *longest = 0;
    for (size_t i = 0; i < e->count; i++) {
        const trib_ids *text = &e->texts[i];
        if (text->count < 1 || text->count > c->context)
            return error_set(error, text->count ? TRIB_FULL : TRIB_INVALID,
                             "text %zu: expected 1 to %zu tokens, found %zu", i, c->context,
                             text->count);
        for (size_t t = 0; t < text->count; t++)
            if (text->ids[t] < 0 || (size_t)text->ids[t] >= c->vocabulary)
                return error_set(error, TRIB_INVALID,
                                 "text %zu, token %zu: expected an id below %zu, found %d", i, t,
                                 c->vocabulary, text->ids[t]);
        *longest = text->count > *longest ? text->count : *longest;
    }
    return TRIB_OK;
}

/* What the options leave to the model: what its file says, or the mean of an encoder, whose tokens
 * saw everything, and the last state of a causal model, the only one that did. */
static trib_status resolve_pooling(struct embedding *e, trib_pooling asked, trib_error *error)
{
    const struct model_config *c = &e->engine->model.config;
    if (asked > TRIB_POOLING_LAST)
        return error_set(error, TRIB_INVALID, "pooling: expected 0 to %d, found %u",
                         TRIB_POOLING_LAST, (unsigned)asked);
    e->pooling = asked != TRIB_POOLING_MODEL ? (enum pooling)asked : c->pooling;
    if (e->pooling == POOLING_NONE)
        e->pooling = c->bidirectional ? POOLING_MEAN : POOLING_LAST;
    return TRIB_OK;
}

/* A sequence in a cache that has room for it alone, in float32 as the texts that are not split. */
static trib_status open_sequence(struct embedding *e, size_t longest, trib_error *error)
{
    const struct model_config *c = &e->engine->model.config;
    struct prefix_cache_options options = {
        .shape = {DTYPE_F32, c->layers, c->kv_heads, c->head_dim},
        .disk = {.kernels = e->engine->kernels->name, .threads = e->engine->threads}};
    options.budget = kv_page_bytes(&options.shape) * (size_ceil_div(longest, CHUNK) + 1);
    trib_status status = prefix_cache_open(&e->cache, &options, error);
    return status == TRIB_OK ? sequence_open(&e->sequence, e->cache, NULL, 0, error) : status;
}

static trib_status take_memory(struct embedding *e, size_t longest, trib_error *error)
{
    trib_engine *engine = e->engine;
    const struct model_config *c = &engine->model.config;
    e->a = &engine->activations;
    if (c->bidirectional && longest > e->a->rows) {
        trib_status status =
            activations_open(&e->own, &engine->model, longest, engine->threads, error);
        if (status != TRIB_OK)
            return status;
        e->a = &e->own;
    }
    e->hidden = malloc(e->a->rows * c->width * sizeof *e->hidden);
    e->sum = malloc(c->width * sizeof *e->sum);
    if (!e->hidden || !e->sum)
        return error_no_memory(error, "hidden states", e->a->rows * c->width * sizeof *e->hidden);
    return c->bidirectional ? TRIB_OK : open_sequence(e, longest, error);
}

/* Fills a pass from where the texts stand, without moving on. */
static size_t fill(struct embedding *e)
{
    size_t free_rows = e->a->rows, text = e->text, done = e->done, count = 0;
    float *out = e->hidden;
    while (text < e->count && count < MOST_RUNS && free_rows) {
        size_t left = e->texts[text].count - done;
        if (left > free_rows && count)
            break;
        size_t some = left < free_rows ? left : free_rows;
        bool whole = done == 0 && some == left;
        e->runs[count] = (struct run){.sequence = whole ? NULL : e->sequence,
                                      .tokens = e->texts[text].ids + done,
                                      .count = some,
                                      .outputs = some,
                                      .out = out};
        count++;
        out += some * e->engine->model.config.width;
        free_rows -= some;
        text += some == left;
        done = some == left ? 0 : done + some;
    }
    return count;
}

/* The vector of the text at hand from its sum. */
static void finish(const struct embedding *e, size_t width, size_t tokens)
{
    double square = 0, scale = e->pooling == POOLING_MEAN ? 1 / (double)tokens : 1;
    for (size_t i = 0; i < width; i++)
        square += e->sum[i] * e->sum[i];
    if (e->normalize && square > 0)
        scale = 1 / sqrt(square);
    for (size_t i = 0; i < width; i++)
        e->vectors[e->text * width + i] = (float)(e->sum[i] * scale);
}

/* Takes the hidden states of one run into the sum, and moves on behind it. */
static void pool(struct embedding *e, const struct run *run)
{
    const float *hidden = run->out;
    size_t E = e->engine->model.config.width, tokens = e->texts[e->text].count;
    if (e->done == 0)
        memset(e->sum, 0, E * sizeof *e->sum);
    for (size_t t = 0; t < run->count; t++) {
        size_t at = e->done + t;
        bool counts = e->pooling == POOLING_MEAN || (e->pooling == POOLING_FIRST && at == 0) ||
                      (e->pooling == POOLING_LAST && at == tokens - 1);
        for (size_t i = 0; i < E && counts; i++)
            e->sum[i] += (double)hidden[t * E + i];
    }
    e->done += run->count;
    if (e->done < tokens)
        return;
    finish(e, E, tokens);
    e->text++;
    e->done = 0;
    if (run->sequence)
        sequence_rewind(run->sequence, 0);
}

static trib_status embed_all(struct embedding *e, trib_error *error)
{
    const struct model *model = &e->engine->model;
    while (e->text < e->count) {
        size_t count = fill(e);
        trib_status status = model_hidden(model, e->a, e->runs, count, error);
        if (status != TRIB_OK)
            return status;
        for (size_t i = 0; i < count; i++)
            pool(e, &e->runs[i]);
    }
    return TRIB_OK;
}

trib_status trib_embed(trib_engine *engine, const trib_ids *texts, size_t count,
                       const trib_embed_options *options, float *vectors, trib_error *error)
{
    trib_embed_options o = options ? *options : trib_embed_options_default();
    size_t longest;
    if (engine->predicts)
        return error_set(
            error, TRIB_UNSUPPORTED,
            "vectors of texts: expected a model of an architecture, found a predictor");
    struct embedding *e = calloc(1, sizeof *e);
    if (!e)
        return error_no_memory(error, "vectors of texts", sizeof *e);
    e->engine = engine;
    e->texts = texts;
    e->count = count;
    e->normalize = o.normalize;
    e->vectors = vectors;
    trib_status status = check_texts(e, &longest, error);
    if (status == TRIB_OK)
        status = resolve_pooling(e, o.pooling, error);
    if (status == TRIB_OK)
        status = take_memory(e, longest, error);
    if (status == TRIB_OK)
        status = embed_all(e, error);
    sequence_close(e->sequence);
    prefix_cache_close(e->cache);
    activations_close(&e->own);
    free(e->hidden);
    free(e->sum);
    free(e);
    return status;
}
