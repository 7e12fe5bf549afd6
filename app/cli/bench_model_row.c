/* The work of a model's pass, and a row of its bench as a line of a table, JSON or CSV. */
#include "bench_model.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_named(const trib_tensor *t, const char *name)
{
    return t->name.length == strlen(name) && memcmp(t->name.bytes, name, t->name.length) == 0;
}

/* The matrix that gives logits: one of its own, or the embedding again. */
static size_t output_of(const trib_model *model)
{
    size_t count = trib_model_tensor_count(model), embedding = count;
    for (size_t i = 0; i < count; i++) {
        trib_tensor t = trib_model_tensor(model, i);
        if (is_named(&t, "output.weight"))
            return i;
        if (is_named(&t, "token_embd.weight"))
            embedding = i;
    }
    return embedding;
}

/* Whether a matrix stands behind the keys of the last layer. */
static bool is_behind_keys(const trib_tensor *t, size_t layers)
{
    char prefix[32];
    int n = snprintf(prefix, sizeof prefix, "blk.%zu.", layers - 1);
    const char *rest = t->name.bytes + n;
    size_t length = t->name.length > (size_t)n ? t->name.length - (size_t)n : 0;
    return length > 0 && memcmp(t->name.bytes, prefix, (size_t)n) == 0 &&
           ((length >= 4 && memcmp(rest, "ffn_", 4) == 0) ||
            (length >= 11 && memcmp(rest, "attn_output", 11) == 0));
}

/* Bytes of the matrices by their type; of more types than there is room for the rest do not count.
 */
struct type_bytes {
    const char *type;
    double bytes;
};

enum { TYPES_MOST = 32 };

static void add_bytes(struct type_bytes *types, const trib_tensor *t)
{
    size_t i = 0;
    while (i < TYPES_MOST && types[i].type && strcmp(types[i].type, t->type) != 0)
        i++;
    if (i < TYPES_MOST)
        types[i] = (struct type_bytes){t->type, types[i].bytes + (double)t->bytes};
}

static const char *type_of_most(const struct type_bytes *types)
{
    size_t best = 0;
    for (size_t i = 1; i < TYPES_MOST; i++)
        if (types[i].bytes > types[best].bytes)
            best = i;
    return types[best].type ? types[best].type : "F32";
}

void bench_work_read(struct bench_work *work, const trib_model *model,
                     const trib_model_shape *shape, const trib_memory *memory)
{
    size_t output = output_of(model);
    struct type_bytes types[TYPES_MOST] = {{0}};
    double scores = 4 * (double)shape->heads * (double)shape->head_dim;
    *work = (struct bench_work){.score_operations = scores * (double)(shape->layers - 1),
                                .output_score_operations = scores,
                                .kv_bytes = (double)memory->kv_per_token};
    for (size_t i = 0; i < trib_model_tensor_count(model); i++) {
        trib_tensor t = trib_model_tensor(model, i);
        double elements = (double)t.shape[0] * (double)t.shape[1] * (double)t.shape[2];
        if (t.dims < 2 || (i != output && is_named(&t, "token_embd.weight")))
            continue;
        *(i == output ? &work->output_bytes : &work->layer_bytes) += (double)t.bytes;
        bool late = i == output || is_behind_keys(&t, shape->layers);
        *(late ? &work->output_operations : &work->layer_operations) += 2 * elements;
        add_bytes(types, &t);
    }
    work->type = type_of_most(types);
}

double bench_work_operations(const struct bench_work *work, double tokens, double depth,
                             double outputs)
{
    double seen = tokens * depth + tokens * (tokens + 1) / 2;
    return tokens * work->layer_operations + outputs * work->output_operations +
           seen * work->score_operations +
           outputs * (depth + tokens) * work->output_score_operations;
}

double bench_work_bytes(const struct bench_work *work, double tokens, double depth)
{
    return work->layer_bytes + work->output_bytes + (depth + tokens) * work->kv_bytes;
}

struct bench_arithmetic bench_arithmetic_of(const char *type, const char *table)
{
    bool pairs = strstr(table, "bf16") != NULL, floats = strcmp(type, "F32") == 0;
    if (strcmp(type, "BF16") == 0 && pairs)
        return (struct bench_arithmetic){TRIB_MEASURE_BF16, "bf16", offsetof(trib_limits, bf16)};
    if (strcmp(type, "BF16") != 0 && strcmp(type, "F16") != 0 && !floats && pairs)
        return (struct bench_arithmetic){TRIB_MEASURE_INT8, "int8", offsetof(trib_limits, int8)};
    return (struct bench_arithmetic){TRIB_MEASURE_F32, "f32", offsetof(trib_limits, f32)};
}

static double tokens_per_s(const struct bench_model_row *r)
{
    return r->tokens_of_run / r->timing.median;
}

static int print_object(const struct bench_model_row *r, const struct bench_numbers *n)
{
    return print_json(
        json_pack("{s:o, s:s, s:s, s:I, s:I, s:s, s:i, s:f, s:f, s:f, s:I, s:f, s:f, s:f, s:s, "
                  "s:f, s:f, s:s, "
                  "s:s}",
                  "model", json_text(r->model, strlen(r->model)), "case", r->name, "type", r->type,
                  "tokens", (json_int_t)r->tokens, "depth", (json_int_t)r->depth, "kv", r->kv,
                  "threads", r->threads, "tokens_per_s", tokens_per_s(r), "ms", n->ms, "ms_min",
                  n->ms_min, "runs", (json_int_t)r->timing.runs, "gflops", n->gflops, "gbps",
                  n->gbps, "share", n->share, "bound", n->bound, "limit_gflops", n->limit_gflops,
                  "limit_gbps", n->limit_gbps, "table", r->table, "hash", n->hash));
}

/* A field of CSV: quotes around it, and those inside doubled (RFC 4180). */
static void print_field(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const struct bench_model_row *r, const struct bench_numbers *n, bool first)
{
    if (first)
        puts(
            "model,case,type,tokens,depth,kv,threads,tokens_per_s,ms,ms_min,runs,gflops,gbps,share,"
            "bound,limit_gflops,limit_gbps,table,hash");
    print_field(r->model);
    printf(",%s,%s,%zu,%zu,%s,%d,%.9g,%.9g,%.9g,%zu,%.9g,%.9g,%.9g,%s,%.9g,%.9g,%s,%s\n", r->name,
           r->type, r->tokens, r->depth, r->kv, r->threads, tokens_per_s(r), n->ms, n->ms_min,
           r->timing.runs, n->gflops, n->gbps, n->share, n->bound, n->limit_gflops, n->limit_gbps,
           r->table, n->hash);
}

static void print_line(const struct bench_model_row *r, const struct bench_numbers *n, bool first)
{
    if (first)
        printf("\n%s: weights mostly %s, %d threads, kernels %s; ms of a pass\n"
               "%-7s %6s %6s %-5s %10s %10s %10s %8s %7s %7s %-5s %s\n",
               r->model, r->type, r->threads, r->table, "case", "tokens", "depth", "kv", "tokens/s",
               "ms", "min ms", "GFLOP/s", "GB/s", "share", "of", "hash");
    printf("%-7s %6zu %6zu %-5s %10.1f %10.3f %10.3f %8.1f %7.2f %6.1f%% %-5s %s\n", r->name,
           r->tokens, r->depth, r->kv, tokens_per_s(r), n->ms, n->ms_min, n->gflops, n->gbps,
           100 * n->share, n->bound, n->hash);
}

int bench_model_print(const struct bench_model_row *row, enum bench_format format, bool first)
{
    struct bench_numbers n = bench_numbers_of(&row->timing, row->operations, row->bytes, row->peak,
                                              row->peak_of, row->hash);
    bench_progress_end();
    if (format == BENCH_JSON)
        return print_object(row, &n);
    if (format == BENCH_CSV)
        print_csv(row, &n, first);
    else
        print_line(row, &n, first);
    return flush_output() ? EXIT_SUCCESS : EXIT_FAILURE;
}
