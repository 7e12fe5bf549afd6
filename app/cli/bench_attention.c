/* trib bench attention: attending and merging, case by case, as a share of what the machine allows.
 *
 * Operations are those of the two products, 4 D for every score that is visible; bytes are the keys
 * and values, once. Exponentials, queries and states are overhead. */
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "bench_attend.h"
#include "bench_order.h"
#include "bench_peers.h"

enum { PREFILL, DECODE, SHARED, MERGE, ORDER, CASES };

static const char *const case_names[CASES] = {"prefill", "decode", "shared", "merge", "order"};

static const char *const titles[CASES] = {
    "prefill: N = S queries, causal",
    "decode: one query, keys and values from memory",
    "shared: N queries over one segment from memory, no mask",
    "merge: N states for each of H heads in one step, by one thread; the limit is reading them",
};

/* Where --keys does not say. */
static const struct size_list default_keys[CASES] = {
    [PREFILL] = {2, {1024, 4096}},
    [DECODE] = {4, {1024, 4096, 16384, 65536}},
    [SHARED] = {1, {16384}},
    [ORDER] = {2, {4096, 16384}},
};

/* Longer prefills are left out of the case order, where each is run many times. */
static const double order_most_operations = 2e11;

enum { MERGED = 64, MOST_THREADS = 1024 };

struct values {
    const char *cases, *kv, *layout;
    struct size_list head_dims, kv_heads, keys, queries;
    size_t heads, threads, repeat;
    float seconds;
    bool peers, json, csv;
};

#define VALUE(field) offsetof(struct values, field)

static const struct option_row options[] = {
    {"case", 'c', OPTION_STRING, VALUE(cases), "LIST",
     "of prefill, decode, shared, merge and order (default: all but order)"},
    {"kv", 0, OPTION_STRING, VALUE(kv), "LIST",
     "types of the keys and values, of f32, f16, bf16 and q8_0 (default: all)"},
    {"layout", 0, OPTION_STRING, VALUE(layout), "LAYOUT",
     "how they lie: chunks, as a KV cache has them, the same head by head (heads), rows, or rows "
     "in pages of 16 keys (pages) (default: chunks)"},
    {"head-dim", 'D', OPTION_SIZES, VALUE(head_dims), "LIST", "D (default: 64,128)"},
    {"heads", 'H', OPTION_SIZE, VALUE(heads), "N", "query heads, H (default: 32)"},
    {"kv-heads", 'G', OPTION_SIZES, VALUE(kv_heads), "LIST", "KV heads, G (default: 8,32)"},
    {"keys", 'S', OPTION_SIZES, VALUE(keys), "LIST",
     "S, such as 16k (default: prefill 1k,4k; decode 1k,4k,16k,64k; shared 16k; order 4k,16k)"},
    {"queries", 'N', OPTION_SIZES, VALUE(queries), "LIST",
     "N of the shared case (default: 1,2,8,32,64)"},
    {"threads", 0, OPTION_SIZE, VALUE(threads), "N", "threads (default: one for each processor)"},
    {"seconds", 0, OPTION_FLOAT, VALUE(seconds), "T", "to run each row at least (default: 0.2)"},
    {"repeat", 0, OPTION_SIZE, VALUE(repeat), "N", "runs of each row at least (default: 3)"},
    {"peers", 0, OPTION_FLAG, VALUE(peers), NULL,
     "also the same by a naive loop and by oneDNN, except where that takes long"},
    {"json", 0, OPTION_FLAG, VALUE(json), NULL, "print one JSON object per line"},
    {"csv", 0, OPTION_FLAG, VALUE(csv), NULL, "print comma-separated values"},
};

/* One call of the program. */
struct bench {
    struct values v;
    unsigned cases, types;
    enum bench_layout layout;
    int threads;
    enum bench_format format;
    const trib_kernels *kernels;
    bool dots; /* the kernels compute with dot products of bf16 and of bytes where keys are such */
    void *reading; /* TRIB_MEASURE_BYTES, to measure the bandwidth of memory */
    size_t which;  /* the case at hand */
    bool first;    /* nothing is printed of it yet; of CSV: at all */
    bool noted[2]; /* what need be said of a peer but once */
    trib_error error;
};

/* ---- Rows ---- */

static int print_row(struct bench *b, const struct bench_row *row)
{
    int status = bench_row_print(row, b->format, b->first, titles[b->which]);
    b->first = false;
    return status;
}

static trib_status time_merge(struct bench *b, struct merge_call *call, struct bench_row *row)
{
    if (!merge_open(call, MERGED, row->H, row->D))
        return bench_no_memory(&b->error);
    /* The limit is that of the cache, or caches, that hold the states. */
    struct bench_subject subject = {.run = merge_run,
                                    .context = call,
                                    .what = TRIB_MEASURE_F32,
                                    .memory = call->memory,
                                    .bytes = call->bytes,
                                    .threads = 1};
    row->bytes = (double)call->bytes;
    row->operations = 2 * (double)(MERGED * row->H * row->D);
    trib_status status =
        bench_time(&subject, (double)b->v.seconds, b->v.repeat, &row->timing, &b->error);
    row->peak = row->timing.limits.f32;
    row->hash = states_hash(&call->to);
    return status;
}

static int merge_row(struct bench *b, size_t D)
{
    struct bench_row row = {.name = case_names[MERGE],
                            .kv = "f32",
                            .layout = "rows",
                            .table = trib_kernels_name(b->kernels),
                            .D = D,
                            .H = b->v.heads,
                            .G = b->v.heads,
                            .N = MERGED,
                            .threads = 1,
                            .peak_of = "f32"};
    struct merge_call call;
    bench_progress("merge D=%zu", D);
    trib_status status = time_merge(b, &call, &row);
    merge_close(&call);
    return status == TRIB_OK ? print_row(b, &row) : complain(&b->error);
}

/* The same by a peer, after ours, whose row this one resembles. */
static int peer_row(struct bench *b, const struct peer *peer, const struct attend_call *ours,
                    struct bench_subject subject, struct bench_row row)
{
    bool bf16 = ours->shape.kv->type == TRIB_KV_BF16;
    double difference;
    if (row.operations > peer->most_operations)
        return EXIT_SUCCESS;
    bench_progress("%s %s %s D=%zu G=%zu S=%zu N=%zu", peer->name, row.name, row.kv, row.D, row.G,
                   row.S, row.N);
    subject.what = bf16 ? TRIB_MEASURE_BF16 : TRIB_MEASURE_F32;
    trib_status status = peer_time(peer, ours, subject, (double)b->v.seconds, b->v.repeat, &row,
                                   &difference, &b->error);
    if (status == TRIB_UNSUPPORTED) {
        if (!b->noted[bf16])
            bench_note("trib: %s", b->error.message);
        b->noted[bf16] = true;
        return EXIT_SUCCESS;
    }
    if (status != TRIB_OK)
        return complain(&b->error);
    row.peak = bf16 ? row.timing.limits.bf16 : row.timing.limits.f32;
    row.peak_of = bf16 ? "bf16" : "f32";
    /* bfloat16 has 8 bits: with queries, scores and weights rounded to it, outputs of size 1 differ
     * by some hundredths. */
    if (!(difference <= (bf16 ? 0.1 : 1e-4)))
        bench_note("trib: %s differs from the states by %.2g", peer->name, difference);
    return print_row(b, &row);
}

static int peer_rows(struct bench *b, const struct attend_call *ours,
                     const struct bench_subject *subject, const struct bench_row *row)
{
    trib_kv_type type = ours->shape.kv->type;
    int status = EXIT_SUCCESS;
    if (type == TRIB_KV_F32)
        status = peer_row(b, &peer_naive, ours, *subject, *row);
    if (status == EXIT_SUCCESS && (type == TRIB_KV_F32 || type == TRIB_KV_BF16))
        status = peer_row(b, &peer_onednn, ours, *subject, *row);
    return status;
}

/* The peak that a row is held against. */
static unsigned peak_for(const struct bench *b, trib_kv_type type)
{
    if (b->dots && type == TRIB_KV_BF16)
        return TRIB_MEASURE_BF16;
    return b->dots && type == TRIB_KV_Q8_0 ? TRIB_MEASURE_INT8 : TRIB_MEASURE_F32;
}

static const char *peak_name(unsigned peak)
{
    return peak == TRIB_MEASURE_BF16 ? "bf16" : peak == TRIB_MEASURE_INT8 ? "int8" : "f32";
}

static double peak_rate(unsigned peak, const trib_limits *limits)
{
    return peak == TRIB_MEASURE_BF16   ? limits->bf16
           : peak == TRIB_MEASURE_INT8 ? limits->int8
                                       : limits->f32;
}

/* Order is measured of prefill and of decode. */
static size_t case_of(const struct bench *b, const struct attend_shape *shape)
{
    if (b->which != ORDER)
        return b->which;
    return shape->causal ? PREFILL : DECODE;
}

static int order_row(struct bench *b, const struct attend_call *call, const struct bench_row *like)
{
    bool first = b->first;
    b->first = false;
    return bench_order_row(call, like, (double)b->v.seconds, b->v.repeat, b->format, first,
                           &b->error);
}

static int attend_rows(struct bench *b, const struct attend_shape *shape, const char *kv)
{
    unsigned peak = peak_for(b, shape->kv->type);
    struct attend_call call;
    struct bench_subject subject = {.run = attend_run,
                                    .context = &call,
                                    .what = peak,
                                    .memory = b->reading,
                                    .bytes = TRIB_MEASURE_BYTES,
                                    .threads = b->threads};
    struct bench_row row = {.name = case_names[case_of(b, shape)],
                            .kv = kv,
                            .layout = b->v.layout,
                            .table = trib_kernels_name(b->kernels),
                            .D = shape->kv->D,
                            .H = shape->H,
                            .G = shape->kv->G,
                            .S = shape->S,
                            .N = shape->N,
                            .threads = b->threads,
                            .operations = attend_operations(shape),
                            .bytes = attend_bytes(shape),
                            .peak_of = peak_name(peak)};
    bench_progress("%s %s D=%zu G=%zu S=%zu N=%zu", row.name, kv, row.D, row.G, row.S, row.N);
    trib_status status = attend_open(&call, b->kernels, shape, &b->error);
    bool order = b->which == ORDER && status == TRIB_OK;
    if (status == TRIB_OK && !order)
        status = bench_time(&subject, (double)b->v.seconds, b->v.repeat, &row.timing, &b->error);
    if (status == TRIB_OK && !order)
        status = attend_run(&call, 0, &b->error); /* the hash is of set 0 */
    int result = EXIT_FAILURE;
    if (order) {
        result = order_row(b, &call, &row);
    } else if (status != TRIB_OK) {
        complain(&b->error);
    } else {
        row.peak = peak_rate(peak, &row.timing.limits);
        row.hash = states_hash(&call.states);
        result = print_row(b, &row);
        if (result == EXIT_SUCCESS && b->v.peers)
            result = peer_rows(b, &call, &subject, &row);
    }
    attend_close(&call);
    return result;
}

/* ---- Cases ---- */

/* All lengths and numbers of queries over keys and values of one kind. */
static int kind_rows(struct bench *b, struct bench_kv *kv, const char *name)
{
    const struct size_list *keys = b->v.keys.count ? &b->v.keys : &default_keys[b->which];
    static const struct size_list one = {1, {1}};
    const struct size_list *queries = b->which == SHARED ? &b->v.queries : &one;
    size_t least = b->which == PREFILL ? 0 : TRIB_MEASURE_BYTES, most = 0;
    bool fits[SIZES_MOST];
    for (size_t i = 0; i < keys->count; i++) {
        size_t S = keys->values[i],
               N = b->which == PREFILL ? S : queries->values[queries->count - 1];
        struct attend_shape shape = {kv, b->v.heads, S, N, false, b->threads};
        fits[i] = bench_memory_fits(bench_kv_bytes(kv, S, least) + attend_memory(&shape));
        if (!fits[i])
            bench_note(
                "trib: %s %s D=%zu G=%zu S=%zu: left out, takes more than half of the memory",
                case_names[b->which], name, kv->D, kv->G, S);
        else if (S > most)
            most = S;
    }
    int status = EXIT_SUCCESS;
    if (most == 0)
        return status;
    bench_progress("%s %s D=%zu G=%zu: filling the memory", case_names[b->which], name, kv->D,
                   kv->G);
    if (!bench_kv_open(kv, most, least, b->threads)) {
        bench_kv_close(kv);
        bench_no_memory(&b->error);
        return complain(&b->error);
    }
    for (size_t i = 0; i < keys->count; i++)
        for (size_t n = 0; n < queries->count && fits[i] && status == EXIT_SUCCESS; n++) {
            size_t S = keys->values[i];
            struct attend_shape given = {kv, b->v.heads, S, queries->values[n], false, b->threads};
            struct attend_shape causal = {kv, b->v.heads, S, S, true, b->threads};
            if (b->which != PREFILL)
                status = attend_rows(b, &given, name);
            if (b->which == PREFILL || (b->which == ORDER && status == EXIT_SUCCESS &&
                                        attend_operations(&causal) < order_most_operations))
                status = attend_rows(b, &causal, name);
        }
    bench_kv_close(kv);
    return status;
}

static int case_rows(struct bench *b)
{
    const struct values *v = &b->v;
    int status = EXIT_SUCCESS;
    if (b->which == MERGE) {
        for (size_t d = 0; d < v->head_dims.count && status == EXIT_SUCCESS; d++)
            status = merge_row(b, v->head_dims.values[d]);
        return status;
    }
    for (size_t type = 0; type < BENCH_KV_TYPES; type++)
        for (size_t d = 0; d < v->head_dims.count && b->types >> type & 1; d++)
            for (size_t g = 0; g < v->kv_heads.count && status == EXIT_SUCCESS; g++) {
                struct bench_kv kv = {.type = bench_kv_types[type],
                                      .layout = b->layout,
                                      .D = v->head_dims.values[d],
                                      .G = v->kv_heads.values[g]};
                status = kind_rows(b, &kv, bench_kv_names[type]);
            }
    return status;
}

/* What this machine can do, before all; every row is held against limits of its own moment. */
static int print_head(struct bench *b)
{
    trib_limits l;
    if (trib_measure_limits(
            &l, TRIB_MEASURE_READ | TRIB_MEASURE_F32 | TRIB_MEASURE_BF16 | TRIB_MEASURE_INT8,
            b->reading, TRIB_MEASURE_BYTES, b->threads, &b->error) != TRIB_OK)
        return complain(&b->error);
    printf("kernels %s, threads %d, layout %s\nlimits now: read %.1f GB/s; f32 %.0f, bf16 %.0f, "
           "int8 %.0f Gop/s; each row is held against limits measured around its runs\n",
           trib_kernels_name(b->kernels), b->threads, b->v.layout, 1e-9 * l.read, 1e-9 * l.f32,
           1e-9 * l.bf16, 1e-9 * l.int8);
    return EXIT_SUCCESS;
}

/* ---- Arguments ---- */

static int check_sizes(const struct command *self, const char *option, const struct size_list *list,
                       size_t most)
{
    char expected[64], found[32];
    for (size_t i = 0; i < list->count; i++)
        if (list->values[i] < 1 || list->values[i] > most) {
            snprintf(expected, sizeof expected, "1 to %zu", most);
            snprintf(found, sizeof found, "%zu", list->values[i]);
            return options_complain(self, option, expected, found);
        }
    return EXIT_SUCCESS;
}

static int check_heads(const struct command *self, const struct values *v)
{
    char found[64];
    for (size_t i = 0; i < v->kv_heads.count; i++)
        if (v->heads < 1 || v->kv_heads.values[i] < 1 || v->heads % v->kv_heads.values[i] != 0) {
            snprintf(found, sizeof found, "%zu for %zu", v->kv_heads.values[i], v->heads);
            return options_complain(self, "kv-heads", "a divisor of --heads", found);
        }
    return EXIT_SUCCESS;
}

static int check_types(const struct command *self, const struct bench *b)
{
    char found[64];
    for (size_t d = 0; d < b->v.head_dims.count; d++)
        for (size_t type = 0; type < BENCH_KV_TYPES; type++)
            if ((b->types >> type & 1) &&
                trib_chunk_bytes(bench_kv_types[type], b->v.head_dims.values[d]) == 0) {
                snprintf(found, sizeof found, "%zu", b->v.head_dims.values[d]);
                return options_complain(self, "head-dim", "a multiple of 32 for q8_0", found);
            }
    return EXIT_SUCCESS;
}

static int check(const struct command *self, struct bench *b)
{
    struct values *v = &b->v;
    enum { TYPES = BENCH_KV_TYPES };
    unsigned layout;
    int status;
    if (!options_choose(v->cases, case_names, CASES, &b->cases))
        return options_complain(self, "case", "a list of prefill, decode, shared, merge and order",
                                v->cases);
    if (!options_choose(v->kv, bench_kv_names, TYPES, &b->types))
        return options_complain(self, "kv", "a list of f32, f16, bf16 and q8_0", v->kv);
    if (!options_choose(v->layout, bench_layout_names, BENCH_LAYOUTS, &layout) ||
        layout & (layout - 1))
        return options_complain(self, "layout", "chunks, heads, rows or pages", v->layout);
    while (layout >> (b->layout + 1)) /* the number of the one bit */
        b->layout++;
    if (!(v->seconds >= 0 && v->seconds <= 3600))
        return options_complain(self, "seconds", "0 to 3600", "a number outside");
    struct size_list threads = {1, {v->threads}}, repeat = {1, {v->repeat}};
    struct size_list heads = {1, {v->heads}};
    if ((status = check_sizes(self, "threads", &threads, MOST_THREADS)) ||
        (status = check_sizes(self, "repeat", &repeat, 1 << 20)) ||
        (status = check_sizes(self, "heads", &heads, 1 << 16)) ||
        (status = check_sizes(self, "head-dim", &v->head_dims, 1024)) ||
        (status = check_sizes(self, "keys", &v->keys, (size_t)1 << 30)) ||
        (status = check_sizes(self, "queries", &v->queries, (size_t)1 << 20)) ||
        (status = check_heads(self, v)) || (status = check_types(self, b)))
        return status;
    b->threads = (int)v->threads;
    if (v->csv && b->cases >> ORDER & 1)
        return options_complain(self, "csv", "other cases than order, whose rows differ", "order");
    b->format = v->json ? BENCH_JSON : v->csv ? BENCH_CSV : BENCH_TABLE;
    return EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct bench b = {.v = {.cases = "prefill,decode,shared,merge",
                            .kv = "f32,f16,bf16,q8_0",
                            .layout = "chunks",
                            .head_dims = {2, {64, 128}},
                            .kv_heads = {2, {8, 32}},
                            .queries = {5, {1, 2, 8, 32, 64}},
                            .heads = 32,
                            .threads = (size_t)omp_get_num_procs(),
                            .repeat = 3,
                            .seconds = 0.2f}};
    int first, status = options_parse(self, argc, argv, &b.v, &first);
    if (status >= 0)
        return status;
    if ((status = check(self, &b)))
        return status;
    if (trib_kernels_choose(&b.kernels, NULL, &b.error) != TRIB_OK)
        return complain(&b.error);
    b.dots = strstr(trib_kernels_name(b.kernels), "bf16");
    b.reading = bench_memory(TRIB_MEASURE_BYTES, b.threads);
    if (!b.reading) {
        bench_no_memory(&b.error);
        return complain(&b.error);
    }
    b.first = true;
    status = b.format == BENCH_TABLE ? print_head(&b) : EXIT_SUCCESS;
    for (b.which = 0; b.which < CASES && status == EXIT_SUCCESS; b.which++) {
        b.first = b.first || b.format == BENCH_TABLE;
        if (b.cases >> b.which & 1)
            status = case_rows(&b);
    }
    bench_progress_end();
    bench_memory_free(b.reading, TRIB_MEASURE_BYTES);
    return status;
}

const struct command bench_attention_command = {
    .name = "bench attention",
    .operands = "",
    .summary = "Attention and the merge of its states",
    .description =
        "Prints for every row the median and the least time, and the share it reaches of this\n"
        "machine's limit, the larger of bytes / read bandwidth and operations / arithmetic peak.\n"
        "Both are measured around the row's own runs, on the same threads; the column OF says\n"
        "which of them it is. Operations: 4 D for every visible score. Bytes: the keys and\n"
        "values, once. The hash is of the states: the same for any number of threads.\n"
        "The case order, which has to be asked for, runs decode and prefill by turns in the\n"
        "canonical order and in any, and prints what the canonical one costs.",
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
