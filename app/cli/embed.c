/* trib embed: texts to vectors. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "load.h"
#include "tributary/engine.h"

struct values {
    const char *pooling;
    size_t threads;
    bool no_normalize, json;
};

static const struct option_row options[] = {
    {"pooling", 0, OPTION_STRING, offsetof(struct values, pooling), "HOW",
     "mean, cls (the first token) or last (default: as the model says)"},
    {"no-normalize", 0, OPTION_FLAG, offsetof(struct values, no_normalize), NULL,
     "leave vectors as long as they are"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads (default: one for each processor)"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

/* The job; all of it is NULL until it is there, so that close can be called at any time. */
struct job {
    trib_model *model;
    trib_engine *engine;
    char *input;      /* what standard input held */
    trib_text *texts; /* [count] */
    trib_ids *ids;    /* [count] */
    size_t count, width;
    float *vectors; /* [count][width] */
};

static void job_close(struct job *job)
{
    for (size_t i = 0; i < job->count && job->ids; i++)
        trib_free((int32_t *)(uintptr_t)job->ids[i].ids);
    trib_engine_close(job->engine);
    trib_model_close(job->model);
    free(job->input);
    free(job->texts);
    free(job->ids);
    free(job->vectors);
}

static trib_status no_memory(trib_error *error)
{
    error->status = TRIB_NO_MEMORY;
    snprintf(error->message, sizeof error->message, "no memory for the texts and their vectors");
    return TRIB_NO_MEMORY;
}

/* Each line of standard input is a text; a last one without an end counts too. */
static trib_status read_lines(struct job *job, trib_error *error)
{
    size_t length, lines = 1;
    trib_status status = read_all("-", &job->input, &length, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < length; i++)
        lines += job->input[i] == '\n';
    job->texts = calloc(lines, sizeof *job->texts);
    if (!job->texts)
        return no_memory(error);
    for (size_t at = 0; at < length;) {
        const char *end = memchr(job->input + at, '\n', length - at);
        size_t size = end ? (size_t)(end - job->input) - at : length - at;
        job->texts[job->count++] = (trib_text){job->input + at, size};
        at += size + 1;
    }
    return TRIB_OK;
}

static trib_status take_texts(struct job *job, char **operands, size_t count, trib_error *error)
{
    if (count == 0 || (count == 1 && strcmp(operands[0], "-") == 0))
        return read_lines(job, error);
    job->texts = calloc(count, sizeof *job->texts);
    if (!job->texts)
        return no_memory(error);
    for (size_t i = 0; i < count; i++)
        job->texts[i] = (trib_text){operands[i], strlen(operands[i])};
    job->count = count;
    return TRIB_OK;
}

static trib_status tokenize_all(struct job *job, trib_error *error)
{
    job->ids = calloc(job->count ? job->count : 1, sizeof *job->ids);
    job->vectors = calloc(job->count ? job->count : 1, job->width * sizeof *job->vectors);
    if (!job->ids || !job->vectors)
        return no_memory(error);
    for (size_t i = 0; i < job->count; i++) {
        int32_t *ids;
        trib_status status = trib_tokenize(job->model, job->texts[i].bytes, job->texts[i].length,
                                           TRIB_TOKENIZE_SPECIAL, &ids, &job->ids[i].count, error);
        if (status != TRIB_OK)
            return status;
        job->ids[i].ids = ids;
    }
    return TRIB_OK;
}

static trib_status embed(struct job *job, char **operands, size_t count, const struct values *v,
                         const trib_embed_options *how, trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_model_shape shape;
    trib_status status;
    engine.threads = thread_count(v->threads);
    if ((status = trib_model_open(&job->model, operands[0], error)) ||
        (status = trib_model_describe(job->model, &shape, error)) ||
        (status = load_engine(&job->engine, job->model, engine, error)) ||
        (status = take_texts(job, operands + 1, count - 1, error)))
        return status;
    job->width = shape.width;
    status = tokenize_all(job, error);
    if (status == TRIB_OK)
        status = trib_embed(job->engine, job->ids, job->count, how, job->vectors, error);
    return status;
}

static int print_plain(const struct job *job)
{
    for (size_t i = 0; i < job->count; i++)
        for (size_t j = 0; j < job->width; j++)
            printf("%.9g%c", (double)job->vectors[i * job->width + j],
                   j + 1 < job->width ? ' ' : '\n');
    return EXIT_SUCCESS;
}

static int print_vectors_json(const struct job *job)
{
    json_t *vectors = json_array();
    for (size_t i = 0; i < job->count; i++) {
        json_t *vector = json_array();
        for (size_t j = 0; j < job->width; j++)
            json_array_append_new(vector, json_real((double)job->vectors[i * job->width + j]));
        json_array_append_new(vectors, json_pack("{s:I, s:o}", "tokens",
                                                 (json_int_t)job->ids[i].count, "vector", vector));
    }
    return print_json(json_pack("{s:I, s:o}", "width", (json_int_t)job->width, "vectors", vectors));
}

static int run(const struct command *self, int argc, char **argv)
{
    static const char *const names[] = {"mean", "cls", "last"};
    struct values v = {0};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    trib_embed_options how = trib_embed_options_default();
    how.normalize = !v.no_normalize;
    for (int i = 0; i < 3 && v.pooling; i++)
        if (strcmp(v.pooling, names[i]) == 0)
            how.pooling = (trib_pooling)(TRIB_POOLING_MEAN + i);
    if (v.pooling && how.pooling == TRIB_POOLING_MODEL)
        return options_complain(self, "pooling", "mean, cls or last", v.pooling);
    struct job job = {0};
    trib_error error;
    if (embed(&job, argv + first, (size_t)(argc - first), &v, &how, &error) != TRIB_OK)
        status = complain(&error);
    else
        status = v.json ? print_vectors_json(&job) : print_plain(&job);
    job_close(&job);
    return status;
}

const struct command embed_command = {
    .name = "embed",
    .operands = "MODEL [TEXT...|-]",
    .summary = "Turn texts into vectors",
    .description = "Prints one vector a line, of length 1, for each TEXT; without one, or for -, "
                   "for each line of\n"
                   "standard input. Of encoders (BERT) and of models that generate.",
    .operands_least = 1,
    .operands_most = SIZE_MAX,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
