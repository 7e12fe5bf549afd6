/* What the bench of models knows of a file, and its rows. */
#ifndef CLI_BENCH_MODEL_H
#define CLI_BENCH_MODEL_H

#include "bench.h"
#include "tributary/engine.h"

/* What a token costs. Matrices of the layers are multiplied for every token, but what comes behind
 * the keys of the last one, and the matrix of the output, only for those whose logits are wanted;
 * the embedding's rows are only copied. */
struct bench_work {
    const char *type; /* that most bytes of the matrices have */
    double layer_bytes, layer_operations;
    double output_bytes, output_operations; /* with the last layer's */
    double score_operations; /* of a token for each one it sees: 4 D for each head and layer but the
                                last, */
    double output_score_operations; /* and in that */
    double kv_bytes;                /* of a token that is seen */
};

void bench_work_read(struct bench_work *work, const trib_model *model,
                     const trib_model_shape *shape, const trib_memory *memory);

/* Of `tokens` that pass the layers together after `depth` others, `outputs` of them with logits. */
double bench_work_operations(const struct bench_work *work, double tokens, double depth,
                             double outputs);
double bench_work_bytes(const struct bench_work *work, double tokens, double depth);

/* What the products of a type are made of, where the table has it, and the field of its peak. */
struct bench_arithmetic {
    unsigned what;
    const char *name;
    size_t peak;
};

struct bench_arithmetic bench_arithmetic_of(const char *type, const char *table);

/* What is timed: `tokens` tokens after `depth` others, or with `rows` a step of as many sequences.
 */
struct bench_pass {
    trib_engine *engine;
    size_t vocabulary;
    bool rows;
    size_t tokens, depth;
    size_t hashed; /* runs, from the first on, whose logits are hashed */
    size_t most;   /* tokens of a session at most, after which it begins anew */
    trib_session *session;
    size_t sessions;      /* so far */
    trib_append *appends; /* [tokens] of rows */
    int32_t *ids;         /* [most]; of rows [tokens] */
    size_t runs, before;  /* of rows: steps so far, and the tokens that sequences had before them */
    uint64_t hash;
};

trib_status bench_pass_open(struct bench_pass *pass, trib_error *error);
trib_status bench_pass_run(void *pass, size_t number, trib_error *error);
void bench_pass_close(struct bench_pass *pass);

/* Tokens that each sequence of rows had before a step, on average. */
double bench_pass_before(const struct bench_pass *pass);

struct bench_model_row {
    const char *model, *name, *type, *kv, *table;
    size_t tokens, depth; /* tokens of a case; of decode a run is one of them */
    double tokens_of_run;
    int threads;
    double operations, bytes, peak;
    const char *peak_of;
    struct bench_timing timing;
    uint64_t hash;
};

int bench_model_print(const struct bench_model_row *row, enum bench_format format, bool first);

#endif
