/* trib run from the inside: a prompt, computed once, and the completions that fork from it. */
#ifndef CLI_RUN_H
#define CLI_RUN_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "commands.h"
#include "load.h"
#include "sampling.h"
#include "speculation.h"
#include "tributary/engine.h"

/* The value of an option that was not given, where every number means something. */
#define NOT_GIVEN SIZE_MAX

struct run_values {
    const char *prompt, *prompt_file, *kv_type;
    size_t count, context, threads, chunk;
    size_t n, best_of, beams, logprobs;
    float length_penalty;
    bool echo, json;
    struct text_list stop, bias;
    struct cache_values cache;
    trib_sampler_options sampler;
    struct speculation_values speculation;
};

/* One continuation. Everything is NULL until it is opened. */
struct completion {
    trib_session *session;
    trib_sampler *sampler;
    trib_decoder *decoder;
    trib_stops *stops;
    size_t number; /* among all of the run; of the sampler's seed it is added to the first */
    uint64_t seed;
    int32_t *ids;      /* [count] without a token that ended it */
    float *logprobs;   /* [count] of them */
    trib_logprob *top; /* [count][N] the likeliest at each place, where --logprobs asks for N */
    size_t count, capacity;
    char *text; /* what they spell, up to a stop string */
    size_t length, text_capacity;
    const char *stop; /* why it ended: "end", "string", "length", "context", "cache"; NULL: it goes
                         on */
    double logprob;   /* the sum over all `chosen` tokens, one that ended it among them */
    size_t chosen;
    double score;      /* what completions are ordered by */
    XXH64_hash_t hash; /* of the logits of every chosen token */
};

struct job {
    trib_model *model;
    trib_engine *engine;
    trib_session *session;          /* of the prompt */
    struct speculation speculation; /* of the completion, where there is one alone */
    size_t vocabulary;              /* V */
    const char *prompt;
    size_t prompt_length;
    char *file_text; /* where the prompt is a file's */
    int32_t *prompt_ids;
    size_t prompt_count;
    size_t most;                    /* tokens that a completion may have */
    bool streams;                   /* the text is printed as it comes */
    struct completion *completions; /* [count], the first `wanted` of which are printed */
    size_t count, wanted;
    double prefill_seconds, decode_seconds;
};

/* Samples completions[count], all of them in one step per token; in order of their scores then,
 * where --best-of chooses. */
trib_status run_sample(struct job *job, const struct run_values *v, trib_error *error);

/* Finds the completions by beam search. */
trib_status run_beams(struct job *job, const struct run_values *v, trib_error *error);

/* Room for one token more; TRIB_NO_MEMORY. `top` likeliest ones of each place have room too. */
trib_status completion_grow(struct completion *c, size_t top, trib_error *error);

/* Adds what may be shown of a piece of text; a stop string ends the completion. */
trib_status completion_text(const struct job *job, struct completion *c, trib_text piece,
                            trib_error *error);

/* Adds what was held back of the text until its end. */
trib_status completion_rest(const struct job *job, struct completion *c, trib_error *error);

/* What stdout and stderr get in the end: an exit status. */
int run_print(const struct job *job, const struct run_values *v);

#endif
