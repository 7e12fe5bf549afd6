/* Texts that a predictor in training makes up. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "train/trainer.h"

/* A token drawn from softmax(logits / temperature): the first whose cumulated weight exceeds a
 * uniform share of the whole. With temperature 0 the likeliest, of equal ones the first. */
static int32_t choose(const float *logits, size_t V, float temperature, double draw)
{
    size_t best = 0;
    for (size_t i = 1; i < V; i++)
        if (logits[i] > logits[best])
            best = i;
    if (!(temperature > 0))
        return (int32_t)best;
    double sum = 0, scale = 1 / (double)temperature, top = (double)logits[best];
    for (size_t i = 0; i < V; i++)
        sum += exp(scale * ((double)logits[i] - top));
    double left = draw * sum;
    for (size_t i = 0; i < V; i++) {
        left -= exp(scale * ((double)logits[i] - top));
        if (left < 0)
            return (int32_t)i;
    }
    return (int32_t)best;
}

/* A newline, which is the last token of one where a SentencePiece vocabulary puts a space before a
 * text; of a vocabulary without one, or of characters of which it is none, the text's first. BOS
 * would be a token that no text of the training has. */
static int32_t first_token(const struct trib_trainer *t)
{
    int32_t *ids = NULL, first = t->data.narrow ? t->data.narrow[0] : t->data.wide[0];
    size_t count = 0, capacity = 0;
    if (vocabulary_encode(&t->vocabulary, slice_of("\n"), "", &ids, &count, &capacity, NULL) ==
            TRIB_OK &&
        count > 0)
        first = ids[count - 1];
    free(ids);
    return first;
}

/* Forgets what a full context holds and goes on after its last token. */
static trib_status step(const struct predictor *p, void *state, int32_t token, float *logits,
                        trib_error *error)
{
    trib_status status = predictor_step(p, state, token, logits, error);
    if (status != TRIB_FULL)
        return status;
    predictor_state_reset(p, state);
    return predictor_step(p, state, token, logits, error);
}

trib_status trib_trainer_sample(trib_trainer *t, float temperature, uint64_t seed, size_t tokens,
                                char **text, size_t *length, trib_error *error)
{
    *text = NULL;
    *length = 0;
    const struct predictor *p = &t->predictor;
    size_t V = t->data.vocabulary, longest = vocabulary_longest(&t->vocabulary);
    trib_status status = trib_trainer_prepare(t, error);
    if (status != TRIB_OK)
        return status;
    if (!(temperature >= 0 && isfinite(temperature)))
        return error_set(error, TRIB_INVALID, "temperature: expected 0 or more, found %g",
                         (double)temperature);
    if (tokens > (SIZE_MAX >> 1) / longest - 1)
        return error_no_memory(error, "a sample", SIZE_MAX);
    void *state = memory_zeroed(predictor_state_bytes(p));
    float *logits = memory_zeroed(V * sizeof *logits);
    char *out = malloc((tokens + 1) * longest);
    if (!state || !logits || !out) {
        status = error_no_memory(error, "a sample", predictor_state_bytes(p));
        goto done;
    }
    predictor_state_reset(p, state);
    int32_t token = first_token(t);
    for (size_t i = 0; i < tokens && status == TRIB_OK; i++) {
        status = step(p, state, token, logits, error);
        token = choose(logits, V, temperature, rng_uniform(seed, i));
        *length += vocabulary_decode(&t->vocabulary, token, false, out + *length, longest);
    }

done:
    free(state);
    free(logits);
    if (status == TRIB_OK) {
        *text = out;
    } else {
        free(out);
        *length = 0;
    }
    return status;
}
