/* Tributary: running models. An engine holds a model ready to run, and keys and values of what it
 * has seen; a session is the timeline of one sequence of tokens in it; a step appends to many
 * sessions at once. The next token is chosen by a sampler (sampling.h).
 *
 *     trib_engine *engine;    trib_engine_open(&engine, model, NULL, &error);
 *     trib_session *session;  trib_session_open(&session, engine, NULL, &error);
 *     trib_session_append(session, ids, count, &error);
 *     trib_sampler_next(sampler, trib_session_logits(session), &id, &error);
 *
 * The same tokens in give the same bits out: the logits of a position depend on the model file, the
 * kernel table, the KV type and the token ids up to it, and on nothing else: not on how the tokens
 * were cut into calls or chunks, nor on the number of threads, the sessions beside it, or whether a
 * prefix was computed or found in the cache. (Of a model with LongRoPE: and on whether the context
 * that the engine was opened for is beyond that of its first training.)
 *
 * The cache: sessions of one engine that begin with the same tokens share the keys and values of
 * them, in whole pages of 64 tokens, without being told to. In a step what is shared is read once
 * for all. What no session holds any more stays until the memory is wanted, that left longest ago
 * first; a session that comes to the same tokens has it at once. With `cache_dir` it is on disk,
 * too, and there after a restart: read, checked and used where it lies in the mapped file.
 *
 * Threads: an engine and its sessions are used by one thread at a time. Inside, a call uses as many
 * threads as the engine's options say, of OpenMP. gcc's spin for milliseconds when they wait for
 * one another, which costs much where other programs run: GOMP_SPINCOUNT=1000 in the environment,
 * as the program trib has it, before the process begins, makes them sleep soon.
 */
#ifndef TRIBUTARY_ENGINE_H
#define TRIBUTARY_ENGINE_H

#include "tributary/model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Most threads an engine takes. */
#define TRIB_THREADS_MAX 1024

typedef struct trib_engine_options {
    int threads;          /* 0: one for each processor */
    size_t prefill_chunk; /* tokens that pass the layers together, 1 to 65,536 */
    size_t context;       /* tokens that a session has at most; 0: as many as the model was trained
                             for. Models with two tables of rotary factors (LongRoPE) take that for
                             long texts where this is more than their first training had. */
    const char *kernels;  /* a table of attention.h; NULL: $TRIB_CPU, or the best that runs */
    const char *kv_type;  /* "f32", "f16", "bf16", "q8_0", of models that keep keys; NULL: "f16" */
    uint64_t cache_bytes; /* keys and values at most, of all sessions and what stays cached, taken
                             as it fills; 0: half of the memory that is available when the model
                             is loaded, or one full context where that is more and fits */

    const char *cache_dir; /* a folder that keeps them when the program ends, made if need be; any
                              number of engines, models and processes may share one. Not used by
                              models that keep no keys. NULL: none */
    uint64_t cache_dir_bytes; /* files in the folder at most, of all who share it: those used
                                 longest ago go first. 0: half of the space that is free there, or
                                 taken by them, when the engine is opened */

    bool fingerprint; /* compute trib_engine_fingerprint, without a folder too: hashes each weight
                         as it is loaded */

    bool apart; /* read keys and values once for each session of a step, though they be shared: the
                   same bits, to measure what reading them once saves */

    /* Called while a model is loaded, in the calling thread, with bytes packed and bytes in all;
     * NULL: nothing is. */
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *progress_context;

    /* Called in the calling thread with a line about a file of the folder that is passed over, as
     * it is damaged, or about one that could not be written: all that it costs is that the tokens
     * in it are computed again. `message` is valid during the call; NULL: nobody is told. */
    void (*report)(void *context, const char *message);
    void *report_context;
} trib_engine_options;

/* {0, 512, 0, NULL, "f16"}, and 0, NULL or false what follows. */
trib_engine_options trib_engine_options_default(void);

typedef struct trib_engine trib_engine;

/* Makes `model` ready to run; the model must stay open longer. `options` may be NULL. On failure
 * *out is NULL: TRIB_UNSUPPORTED (architecture, types, kernels), TRIB_FORMAT (tensors that do not
 * fit the metadata), TRIB_INVALID (options, a cache of less than a page), TRIB_IO (a folder that
 * cannot be made or read), TRIB_NO_MEMORY (said
 * before anything is taken where the weights are more than the machine, or the limit of the control
 * group, has available). The weights are copied into a form for products; the pages of the file are
 * let go meanwhile. */
trib_status trib_engine_open(trib_engine **out, const trib_model *model,
                             const trib_engine_options *options, trib_error *error);

/* NULL is allowed. All sessions must be closed before. What the folder does not have yet is written
 * first, as by trib_engine_flush. */
void trib_engine_close(trib_engine *engine);

/* Writes what is cached and not in the folder yet, in whole pages, but for failures of which each
 * is reported and the first returned: TRIB_IO, TRIB_FULL where the budget is less than a file of
 * some pages. A page is tried once: if it could not be written, or was removed from the folder
 * since, it is not written again while it stays cached. Steps write behind by themselves, about a
 * page (64 tokens) for each that they fill; this is for a moment when nobody waits for the next
 * one. Without a folder it does nothing. */
trib_status trib_engine_flush(trib_engine *engine, trib_error *error);

/* Bytes of keys and values, in whole pages of 64 tokens. */
typedef struct trib_cache_usage {
    uint64_t page;   /* of one page */
    uint64_t budget; /* in memory at most */
    uint64_t memory; /* in memory: what sessions hold and what stays cached */
    uint64_t mapped; /* in files of the folder that are read in place */
    uint64_t held;   /* of both, what sessions hold, and what is on its way to the folder; what is
                        shared is counted once */
} trib_cache_usage;

/* What the cache takes at the moment; all 0 where there is none, as of predictors. */
trib_cache_usage trib_engine_cache_usage(const trib_engine *engine);

/* The name of the kernel table in use and the threads; static storage. */
const char *trib_engine_kernels(const trib_engine *engine);
int trib_engine_threads(const trib_engine *engine);

/* The fingerprint of the model, which cache.h names as `model`: 32 hexadecimal digits for what
 * decides the logits besides the token ids, the kernel table, the KV type and TRIB_VERSION. These
 * are all metadata but general.name and split.*, every weight, the rotary factors that the context
 * chose, and what functions of the C library give here. Where the model lies is none of it: a copy
 * has the same one. No protection against somebody who makes a model that collides on purpose.
 * Valid until the engine is closed; NULL where neither `fingerprint` nor the use of a folder asked
 * for it. */
const char *trib_engine_fingerprint(const trib_engine *engine);

typedef struct trib_session_options {
    size_t context; /* tokens at most; 0: as many as the engine's options say, or else the model was
                       trained for, and no end for predictors that keep no keys */
} trib_session_options;

trib_session_options trib_session_options_default(void); /* {0} */

/* Bytes a session may take, at its full context: keys and values, and activations. */
typedef struct trib_memory {
    uint64_t weights; /* copied from the file when the engine opens */
    uint64_t kv;      /* at the full context; taken as it fills. Of a predictor its state, whole */
    uint64_t kv_per_token; /* 0 of a predictor, and of a model that keeps no keys */
    uint64_t activations;
} trib_memory;

/* What running `model` with these options (NULL: defaults) will take, before anything is taken. */
trib_status trib_memory_needed(const trib_model *model, const trib_engine_options *engine,
                               const trib_session_options *session, trib_memory *out,
                               trib_error *error);

typedef struct trib_session trib_session;

/* An empty timeline. `options` may be NULL. On failure *out is NULL. */
trib_status trib_session_open(trib_session **out, trib_engine *engine,
                              const trib_session_options *options, trib_error *error);

/* Another session with the same tokens, logits and options, at the cost of no keys and values: both
 * share what they have until they part. Of a predictor its state is copied. On failure *out is
 * NULL.
 */
trib_status trib_session_fork(trib_session **out, const trib_session *session, trib_error *error);

/* NULL is allowed. What it computed stays cached, for the sessions to come. */
void trib_session_close(trib_session *session);

/* Appends tokens and computes the logits after the last of them. Where the session is
 * empty or ends with a whole page it takes as many whole pages of them as are cached, and computes
 * the rest. TRIB_FULL when they do not fit in the
 * context, or their keys and values in the cache beside those that sessions hold; TRIB_INVALID for
 * an id outside the vocabulary or count = 0: then nothing is appended. TRIB_NO_MEMORY may leave a
 * part appended: trib_session_length says how much. */
trib_status trib_session_append(trib_session *session, const int32_t *ids, size_t count,
                                trib_error *error);

/* The same, but with the logits after each of the tokens, all of which are computed: logits
 * [count][V], the caller's. */
trib_status trib_session_score(trib_session *session, const int32_t *ids, size_t count,
                               float *logits, trib_error *error);

/* Takes back all but the first `length` tokens; others may be appended then, the same ones also.
 * There are no logits until then, but where nothing is taken back. TRIB_INVALID where there are
 * fewer; TRIB_UNSUPPORTED of a predictor, but for length 0, since it keeps no past. */
trib_status trib_session_rewind(trib_session *session, size_t length, trib_error *error);

size_t trib_session_length(const trib_session *session);  /* tokens appended */
size_t trib_session_context(const trib_session *session); /* tokens at most */

/* How many of the tokens appended so far, or to the session that this one was forked from, were
 * found in the cache and not computed. */
size_t trib_session_cached(const trib_session *session);

/* [V], after the last token appended; valid until the next append, rewind or close. NULL where
 * there are none: before the first append, after a rewind, after an append that failed on its way.
 */
const float *trib_session_logits(const trib_session *session);

/* ---- Many sessions in one step ---- */

/* What a step appends to one session. */
typedef struct trib_append {
    trib_session *session; /* in no other append of the step */
    const int32_t *ids;    /* [count] */
    size_t count;          /* at least 1 */
    float *logits;         /* [count][V], after each token, the caller's; NULL: only after the last,
                              which trib_session_logits gives either way */
    trib_status status;    /* out: as trib_session_append says */
} trib_append;

/* Appends to all of the sessions, of one engine; the rows of all of them pass the layers together,
 * as many as a prefill chunk has, those of short appends first. To keep decoding from waiting for a
 * long prompt, append it a chunk a step. What one append meets, such as TRIB_FULL, is its own: the
 * others go on, and each status says how it went. Returns TRIB_OK where all of them have it, else
 * one that is not, whose message is in `error`. */
trib_status trib_step(trib_engine *engine, trib_append *appends, size_t count, trib_error *error);

/* ---- Vectors of texts ---- */

/* How the hidden states of a text's tokens, after the final norm, become one vector. */
typedef enum trib_pooling {
    TRIB_POOLING_MODEL = 0, /* as the file says; else the mean of an encoder, and the last token's
                               of a causal model */
    TRIB_POOLING_MEAN = 1,
    TRIB_POOLING_FIRST = 2, /* the first token's: [CLS] */
    TRIB_POOLING_LAST = 3,
} trib_pooling;

typedef struct trib_embed_options {
    trib_pooling pooling;
    bool normalize; /* to length 1 */
} trib_embed_options;

trib_embed_options trib_embed_options_default(void); /* {TRIB_POOLING_MODEL, true} */

/* The tokens of a text; the caller's. */
typedef struct trib_ids {
    const int32_t *ids;
    size_t count;
} trib_ids;

/* vectors [count][E], E the width of the model: one vector for each text, the same bits whatever
 * texts are beside it. As many texts as the prefill chunk has room for pass the layers together.
 * `options` may be NULL. TRIB_INVALID for an empty text or an id outside the vocabulary, TRIB_FULL
 * for one longer than the model's context, TRIB_UNSUPPORTED of a predictor. Works beside sessions,
 * which it does not touch. */
trib_status trib_embed(trib_engine *engine, const trib_ids *texts, size_t count,
                       const trib_embed_options *options, float *vectors, trib_error *error);

#ifdef __cplusplus
}
#endif

#endif
