/* trib bench model: what a model does in a second, as a share of what the machine allows.
 *
 * A pass must read all matrices and the keys and values that are seen, once, and compute two
 * operations for every element of a matrix and token; the rest is overhead. What is timed stands in
 * bench_model_pass.c.
 */
#include "bench_model.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "bench_kv.h"

enum { PREFILL, ROWS, DECODE, CASES };

static const char *const case_names[CASES] = {"prefill", "rows", "decode"};

enum { MOST_MODELS = 64, ROWS_MOST = 4096 };

struct values {
    const char *cases, *kv;
    struct size_list prompt, rows, depth;
    size_t tokens, threads, chunk, repeat;
    float seconds;
    bool json, csv;
};

#define VALUE(field) offsetof(struct values, field)

static const struct option_row options[] = {
    {"case", 0, OPTION_STRING, VALUE(cases), "LIST", "of prefill, rows and decode (default: all)"},
    {"prompt", 0, OPTION_SIZES, VALUE(prompt), "LIST", "tokens of prefill (default: 512,2048)"},
    {"rows", 0, OPTION_SIZES, VALUE(rows), "LIST", "sequences of a step of rows (default: 8,32)"},
    {"depth", 0, OPTION_SIZES, VALUE(depth), "LIST",
     "tokens before those of decode, such as 4k (default: 0,4k,16k)"},
    {"tokens", 'n', OPTION_SIZE, VALUE(tokens), "N", "tokens of decode (default: 64)"},
    {"kv", 0, OPTION_STRING, VALUE(kv), "LIST",
     "types of the KV cache, of f32, f16, bf16 and q8_0 (default: f16)"},
    {"threads", 0, OPTION_SIZE, VALUE(threads), "N", "threads (default: one for each processor)"},
    {"prefill-chunk", 0, OPTION_SIZE, VALUE(chunk), "N",
     "prompt tokens computed together (default: 512)"},
    {"seconds", 0, OPTION_FLOAT, VALUE(seconds), "T",
     "to run prefill and rows at least (default: 0.2)"},
    {"repeat", 0, OPTION_SIZE, VALUE(repeat), "N",
     "runs of prefill and rows at least (default: 3)"},
    {"json", 0, OPTION_FLAG, VALUE(json), NULL, "print one JSON object per line"},
    {"csv", 0, OPTION_FLAG, VALUE(csv), NULL, "print comma-separated values"},
};

/* One call of the program, and the file at hand. */
struct bench {
    struct values v;
    unsigned cases, types;
    int threads;
    enum bench_format format;
    bool first;
    void *reading; /* TRIB_MEASURE_BYTES, to measure the bandwidth of memory */
    const char *path;
    trib_model *model;
    trib_engine *engine;
    trib_model_shape shape;
    trib_error error;
};

/* As much as a pass reads: the bandwidth of the caches that hold a small model, or of memory. */
static size_t bytes_to_read(const struct bench_model_row *row)
{
    size_t least = (size_t)64 << 10;
    if (row->bytes >= (double)TRIB_MEASURE_BYTES)
        return TRIB_MEASURE_BYTES;
    return row->bytes > (double)least ? (size_t)row->bytes & ~(size_t)4095 : least;
}

/* Of a run whose tokens have `before` others before them. The rows of a step see their own
 * sequences alone. */
static void count_work(struct bench_model_row *row, const struct bench_work *work, bool rows,
                       double before)
{
    double runs = rows ? row->tokens_of_run : 1, tokens = rows ? 1 : row->tokens_of_run;
    double kv = (before + tokens) * work->kv_bytes;
    row->operations = runs * bench_work_operations(work, tokens, before, 1);
    row->bytes = bench_work_bytes(work, tokens, before) + (runs - 1) * kv;
}

/* One row. A run of decode is one token, so that its median is over tokens; the sessions of one run
 * into the next, and what a token sees is taken as in the middle. */
static int pass_row(struct bench *b, size_t which, const char *kv, size_t tokens, size_t depth)
{
    bool decode = which == DECODE, rows = which == ROWS;
    size_t context = b->shape.context, step = decode ? 1 : tokens;
    size_t most = decode ? depth + 2 * tokens + 1 : tokens;
    struct bench_pass p = {.engine = b->engine,
                           .vocabulary = b->shape.vocabulary,
                           .rows = rows,
                           .tokens = step,
                           .depth = depth,
                           .hashed = decode ? tokens : 1,
                           .most = context && (rows || most > context) ? context : most};
    struct bench_work work;
    trib_memory memory;
    trib_engine_options engine = {
        .threads = b->threads, .prefill_chunk = b->v.chunk, .kv_type = kv};
    trib_status status = trib_memory_needed(b->model, &engine, NULL, &memory, &b->error);
    if (status != TRIB_OK)
        return complain(&b->error);
    bench_work_read(&work, b->model, &b->shape, &memory);
    const char *table = trib_engine_kernels(b->engine);
    struct bench_arithmetic arithmetic = bench_arithmetic_of(work.type, table);
    double before = (double)depth + (decode ? 0.5 * (double)tokens : 0);
    struct bench_model_row row = {.model = b->path,
                                  .name = case_names[which],
                                  .type = work.type,
                                  .kv = kv,
                                  .table = table,
                                  .tokens = tokens,
                                  .depth = depth,
                                  .tokens_of_run = (double)step,
                                  .threads = b->threads,
                                  .peak_of = arithmetic.name};
    count_work(&row, &work, rows, before);
    struct bench_subject subject = {.run = bench_pass_run,
                                    .context = &p,
                                    .what = arithmetic.what,
                                    .memory = b->reading,
                                    .bytes = bytes_to_read(&row),
                                    .threads = b->threads};
    bench_progress("%s %s: %zu tokens at depth %zu", row.name, kv, tokens, depth);
    status = bench_pass_open(&p, &b->error);
    if (status == TRIB_OK)
        status = bench_time(&subject, decode ? 0 : (double)b->v.seconds,
                            decode ? tokens : b->v.repeat, &row.timing, &b->error);
    bench_pass_close(&p);
    if (status != TRIB_OK)
        return complain(&b->error);
    count_work(&row, &work, rows, rows ? bench_pass_before(&p) : before);
    memcpy(&row.peak, (const char *)&row.timing.limits + arithmetic.peak, sizeof row.peak);
    row.hash = p.hash;
    int result = bench_model_print(&row, b->format, b->first);
    b->first = false;
    return result;
}

/* A size of a case that the context has no room for is left out; the first of a list is cut, so
 * that small models are measured too. 0: left out. */
static size_t fitting(struct bench *b, const char *name, size_t size, size_t room, bool first)
{
    if (size <= room || (first && room > 0)) {
        return size < room ? size : room;
    }
    bench_note("trib: %s %zu: left out, %s has a context of %zu tokens", name, size, b->path,
               b->shape.context);
    return 0;
}

static int case_rows(struct bench *b, size_t which, const char *kv)
{
    const struct values *v = &b->v;
    const struct size_list *sizes = which == PREFILL ? &v->prompt
                                    : which == ROWS  ? &v->rows
                                                     : &v->depth;
    size_t context = b->shape.context ? b->shape.context : SIZE_MAX / 2;
    int status = EXIT_SUCCESS;
    for (size_t i = 0; i < sizes->count && status == EXIT_SUCCESS; i++) {
        size_t size = sizes->values[i];
        if (which == ROWS) {
            status = pass_row(b, which, kv, size, 0);
        } else if (which == DECODE) {
            if (size < context && v->tokens < context - size)
                status = pass_row(b, which, kv, v->tokens, size);
            else
                fitting(b, "decode at depth", size, 0, false);
        } else if ((size = fitting(b, case_names[which], size, context, i == 0)) > 0) {
            status = pass_row(b, which, kv, size, 0);
        }
    }
    return status;
}

/* All cases with an engine of one KV type. */
static int type_rows(struct bench *b, const char *kv)
{
    trib_engine_options engine = {
        .threads = b->threads, .prefill_chunk = b->v.chunk, .kv_type = kv};
    int status = EXIT_SUCCESS;
    if (trib_engine_open(&b->engine, b->model, &engine, &b->error) != TRIB_OK)
        return complain(&b->error);
    for (size_t which = 0; which < CASES && status == EXIT_SUCCESS; which++)
        if (b->cases >> which & 1)
            status = case_rows(b, which, kv);
    trib_engine_close(b->engine);
    b->engine = NULL;
    return status;
}

static int model_rows(struct bench *b)
{
    int status = EXIT_SUCCESS;
    if (trib_model_open(&b->model, b->path, &b->error) != TRIB_OK ||
        trib_model_describe(b->model, &b->shape, &b->error) != TRIB_OK)
        status = complain(&b->error);
    for (size_t type = 0; type < BENCH_KV_TYPES && status == EXIT_SUCCESS; type++)
        if (b->types >> type & 1)
            status = type_rows(b, bench_kv_names[type]);
    trib_model_close(b->model);
    b->model = NULL;
    return status;
}

/* ---- Arguments ---- */

static int check_sizes(const struct command *self, const char *option, const struct size_list *list,
                       size_t least, size_t most)
{
    char expected[64], found[32];
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] < least || list->values[i] > most) {
            snprintf(expected, sizeof expected, "%zu to %zu", least, most);
            snprintf(found, sizeof found, "%zu", list->values[i]);
            return options_complain(self, option, expected, found);
        }
    return EXIT_SUCCESS;
}

static int check(const struct command *self, struct bench *b)
{
    struct values *v = &b->v;
    struct size_list threads = {1, {v->threads}}, repeat = {1, {v->repeat}},
                     tokens = {1, {v->tokens}};
    int status;
    if (!options_choose(v->cases, case_names, CASES, &b->cases))
        return options_complain(self, "case", "a list of prefill, rows and decode", v->cases);
    if (!options_choose(v->kv, bench_kv_names, BENCH_KV_TYPES, &b->types))
        return options_complain(self, "kv", "a list of f32, f16, bf16 and q8_0", v->kv);
    if (!(v->seconds >= 0 && v->seconds <= 3600))
        return options_complain(self, "seconds", "0 to 3600", "a number outside");
    if ((status = check_sizes(self, "threads", &threads, 1, TRIB_THREADS_MAX)) ||
        (status = check_sizes(self, "repeat", &repeat, 1, 1 << 20)) ||
        (status = check_sizes(self, "tokens", &tokens, 1, 1 << 20)) ||
        (status = check_sizes(self, "prompt", &v->prompt, 1, (size_t)1 << 24)) ||
        (status = check_sizes(self, "rows", &v->rows, 1, ROWS_MOST)) ||
        (status = check_sizes(self, "depth", &v->depth, 0, (size_t)1 << 24)))
        return status;
    b->threads = (int)v->threads;
    b->format = v->json ? BENCH_JSON : v->csv ? BENCH_CSV : BENCH_TABLE;
    return EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct bench b = {.v = {.cases = "prefill,rows,decode",
                            .kv = "f16",
                            .prompt = {2, {512, 2048}},
                            .rows = {2, {8, 32}},
                            .depth = {3, {0, 4096, 16384}},
                            .tokens = 64,
                            .chunk = trib_engine_options_default().prefill_chunk,
                            .threads = (size_t)omp_get_num_procs(),
                            .repeat = 3,
                            .seconds = 0.2f},
                      .first = true};
    int first, status = options_parse(self, argc, argv, &b.v, &first);
    if (status >= 0)
        return status;
    if ((status = check(self, &b)))
        return status;
    b.reading = bench_memory(TRIB_MEASURE_BYTES, b.threads);
    if (!b.reading) {
        bench_no_memory(&b.error);
        return complain(&b.error);
    }
    for (int i = first; i < argc && status == EXIT_SUCCESS; i++) {
        b.path = argv[i];
        b.first = b.first || b.format == BENCH_TABLE;
        status = model_rows(&b);
    }
    bench_progress_end();
    bench_memory_free(b.reading, TRIB_MEASURE_BYTES);
    return status;
}

const struct command bench_model_command = {
    .name = "bench model",
    .operands = "MODEL...",
    .summary = "Models: prefill, rows and decode ('trib bench MODEL...' does the same)",
    .description =
        "prefill: a prompt. rows: a step of as many sequences, a token each, which have nothing "
        "in\n"
        "common. decode: token after token behind DEPTH others, computed before.\n"
        "Prints the median and the least time of a pass, of decode of a token, and the share of\n"
        "this machine's limit, the larger of bytes / read bandwidth and operations / arithmetic\n"
        "peak, measured around the row's own runs, on the same threads; the column OF says which\n"
        "of them it is. Bytes: matrices, and keys and values that are seen, once; the bandwidth\n"
        "is that of reading so many, which a cache may hold. The hash is of the logits: the same\n"
        "for any number of threads.",
    .operands_least = 1,
    .operands_most = MOST_MODELS,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
