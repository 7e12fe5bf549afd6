/* Associative recall: does a predictor find what it was told, and how far back?
 *
 *     k1 v1 k2 v2 .. kn vn | k3 v3 k1 v1 k3 v3 .. newline
 *
 * A record names n pairs of a key (a letter) and a value (a digit), and then asks for some of them:
 * behind the bar every value follows from its key and the pairs before. (Arora et al. 2023,
 * "Zoology", ask many keys of one sequence too.) Each question is drawn anew: were every key asked
 * once, the values not yet given would say much of the answer. What is learned from has more
 * records of few pairs than of many, and asks several times, since otherwise most of a text is
 * chance and teaches nothing. What is measured has the most pairs and one question; the distance is
 * that from the key's first place to its second, in tokens.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "compare.h"
#include "tributary/engine.h"

enum {
    KEYS = 26,
    VALUES = 10,
    ASKED = 8, /* questions for each pair, while learning */
    RECORD_MOST = 2 * KEYS * (1 + ASKED) + 2,
    TEXT_BYTES = 1 << 20,
    TESTED = 1000, /* records */
    BATCH = 8,
};

/* Two layers suffice: one joins a value to its key, the other finds the key. Attention over the
 * states of a cell finds; the cell has joined. */
static const struct compare_kind kinds[COMPARE_RECALLS] = {
    {"rnn lstm", "rnn", "modern", "lstm", "none", 2},
    {"rnn lstm + attention", "rnn", "modern", "lstm", "general", 1},
    {"transformer modern", "transformer", "modern", "gru", "none", 2},
};

/* Higher and lower than for a language: with those of a language, whether a predictor finds the way
 * within these steps is a matter of the seed. */
static const float RECALL_LR = 0.004f, RECALL_DECAY = 0.01f;

/* Numbers by their index: Steele, Lea and Flood 2014, SplitMix. */
struct draws {
    uint64_t state;
};

static size_t draw(struct draws *d, size_t below)
{
    uint64_t z = d->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (size_t)((z >> 32) * below >> 32);
}

/* The first n of `count` numbers in a random order. */
static void shuffle(struct draws *d, size_t *numbers, size_t count, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t j = i + draw(d, count - i), swap = numbers[i];
        numbers[i] = numbers[j];
        numbers[j] = swap;
    }
}

/* Text of a record of n pairs and some questions, the first of which stands at 2 n + 1; *distance
 * are the tokens from its key's place among the pairs to there. Returns the length. */
static size_t make_record(struct draws *d, size_t n, size_t questions, char *text, size_t *distance)
{
    size_t keys[KEYS], at = 0;
    char values[KEYS] = {0};
    for (size_t i = 0; i < KEYS; i++)
        keys[i] = i;
    shuffle(d, keys, KEYS, n);
    for (size_t i = 0; i < n; i++) {
        values[i] = (char)('0' + draw(d, VALUES));
        text[at++] = (char)('a' + keys[i]);
        text[at++] = values[i];
    }
    text[at++] = '|';
    for (size_t j = 0; j < questions; j++) {
        size_t pair = draw(d, n);
        if (j == 0)
            *distance = at - 2 * pair;
        text[at++] = (char)('a' + keys[pair]);
        text[at++] = values[pair];
    }
    text[at++] = '\n';
    return at;
}

static trib_status write_text(const char *path, size_t pairs, uint64_t seed, trib_error *error)
{
    struct draws d = {seed};
    char record[RECORD_MOST];
    size_t distance;
    FILE *file = fopen(path, "w");
    if (!file)
        return path_failure(error, TRIB_IO, path, strerror(errno));
    for (size_t written = 0; written < TEXT_BYTES;) {
        size_t a = draw(&d, pairs), b = draw(&d, pairs), n = 1 + (a < b ? a : b);
        size_t length = make_record(&d, n, ASKED * n, record, &distance);
        fwrite(record, 1, length, file);
        written += length;
    }
    bool clean = !ferror(file);
    return fclose(file) == 0 && clean ? TRIB_OK
                                      : path_failure(error, TRIB_IO, path, strerror(errno));
}

static trib_status learn(struct comparison *c, struct compare_recall *r, const char *text,
                         const char *model, trib_error *error)
{
    trib_train_options o = r->options;
    trib_trainer *trainer;
    trib_train_step step;
    char name[64];
    snprintf(name, sizeof name, "recall, %s", r->kind->name);
    o.lr = RECALL_LR;
    o.weight_decay = RECALL_DECAY;
    o.warmup = o.steps / 10;
    trib_status status = trib_trainer_open(&trainer, &o, &text, 1, error);
    if (status != TRIB_OK)
        return status;
    r->parameters = trib_trainer_info(trainer).parameters;
    status = trib_trainer_prepare(trainer, error);
    for (size_t n = 0; n < o.steps && status == TRIB_OK; n++) {
        double start = progress_seconds();
        status = trib_trainer_step(trainer, &step, error);
        r->seconds += progress_seconds() - start;
        if (status == TRIB_OK) {
            r->tokens += (double)step.tokens;
            status = compare_pause(c, (double)(n + 1) / (double)o.steps, name, error);
        }
    }
    if (status == TRIB_OK)
        status = trib_trainer_save(trainer, model, error);
    trib_trainer_close(trainer);
    return status;
}

static size_t likeliest(const float *logits, size_t count)
{
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}

/* A model that is asked. */
struct examinee {
    trib_model *model;
    trib_engine *engine;
    size_t V;
    float *logits; /* [RECORD_MOST][V] */
};

/* Asks one question of n pairs, behind a newline as in the text. */
static trib_status ask(const struct examinee *e, struct compare_recall *r, struct draws *d,
                       size_t n, trib_error *error)
{
    char text[RECORD_MOST + 1] = "\n";
    size_t distance, count, length = 1 + make_record(d, n, 1, text + 1, &distance);
    int32_t *ids = NULL;
    trib_session *session = NULL;
    trib_status status = trib_tokenize(e->model, text, length, 0, &ids, &count, error);
    if (status == TRIB_OK && count != length)
        status = path_failure(error, TRIB_FORMAT, "recall", "expected a token for each character");
    if (status == TRIB_OK && (status = trib_session_open(&session, e->engine, NULL, error)) == 0)
        status = trib_session_score(session, ids, count, e->logits, error);
    if (status == TRIB_OK) {
        size_t key = 2 + 2 * n, bin = (distance - 1) * COMPARE_BINS / (2 * n + 1);
        bool right = likeliest(e->logits + key * e->V, e->V) == (size_t)ids[key + 1];
        r->queries[bin]++;
        r->distance[bin] += (double)distance;
        r->share[bin] += right;
    }
    trib_session_close(session);
    trib_free(ids);
    return status;
}

/* Sums become means; bins that no query fell into are left out. */
static void conclude(struct compare_recall *r)
{
    double right = 0, queries = 0;
    for (size_t i = 0; i < COMPARE_BINS; i++) {
        double count = (double)r->queries[i];
        if (r->queries[i] == 0)
            continue;
        right += r->share[i];
        queries += count;
        r->queries[r->bins] = r->queries[i];
        r->distance[r->bins] = r->distance[i] / count;
        r->share[r->bins++] = r->share[i] / count;
    }
    r->accuracy = right / queries;
}

static trib_status examine(const struct comparison *c, struct compare_recall *r, const char *path,
                           trib_error *error)
{
    struct examinee e = {0};
    struct draws d = {~c->settings.seed}; /* records that training has not seen */
    trib_engine_options options = trib_engine_options_default();
    trib_status status;
    options.threads = c->threads;
    if ((status = trib_model_open(&e.model, path, error)) == TRIB_OK &&
        (status = trib_engine_open(&e.engine, e.model, &options, error)) == TRIB_OK) {
        e.V = trib_vocabulary_size(e.model);
        e.logits = malloc((RECORD_MOST + 1) * e.V * sizeof *e.logits);
        if (!e.logits)
            status = path_failure(error, TRIB_NO_MEMORY, "recall", "no memory for the logits");
    }
    for (size_t i = 0; i < TESTED && status == TRIB_OK; i++)
        status = ask(&e, r, &d, c->settings.recall_pairs, error);
    if (status == TRIB_OK)
        conclude(r);
    free(e.logits);
    trib_engine_close(e.engine);
    trib_model_close(e.model);
    return status;
}

trib_status compare_recall_size(struct comparison *c, trib_error *error)
{
    const struct compare_settings *s = &c->settings;
    struct compare_path text = compare_path_of(c, "recall.txt");
    trib_status status = write_text(text.text, s->recall_pairs, s->seed, error);
    for (size_t i = 0; i < COMPARE_RECALLS && status == TRIB_OK; i++) {
        struct compare_recall *r = &c->recalls[i];
        r->kind = &kinds[i];
        r->options = (trib_train_options){.context = 16 * s->recall_pairs,
                                          .batch = BATCH,
                                          .steps = s->recall_steps,
                                          .vocabulary = "chars"};
        status = compare_size(c, r->kind, text.text, &r->options, error);
    }
    return status;
}

trib_status compare_recall(struct comparison *c, trib_error *error)
{
    struct compare_path text = compare_path_of(c, "recall.txt");
    struct compare_path model = compare_path_of(c, "recall.gguf");
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < COMPARE_RECALLS && status == TRIB_OK; i++) {
        struct compare_recall *r = &c->recalls[i];
        if ((status = learn(c, r, text.text, model.text, error)) == TRIB_OK)
            status = examine(c, r, model.text, error);
        c->job++;
    }
    return status;
}
