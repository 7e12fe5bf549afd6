/* Saving a training and going on from what was saved.
 *
 * The checkpoint is a GGUF file of the architecture `tributary-training`: options and position as
 * metadata, weights, moments and carried states as flat float32 tensors, the tokenizer, and a
 * checksum. It holds all that a training needs, so that the model's file may have other types, or
 * be from another step, and the two need not be replaced at one moment.
 *
 * The checksum is over all that is used again, which leaves out the tokenizer of bytes and of
 * characters: they are made anew from the text. It comes before anything else that a checkpoint is
 * compared with, so that damage is never told as another option or another text. */
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "base/memory.h"
#include "train/predictor_file.h"
#include "train/trainer.h"

enum { VERSION = 2 };

static const char architecture[] = "tributary-training";

/* The numbers of a checkpoint besides the options. */
struct stamp {
    uint64_t position; /* steps done */
    uint64_t tokens;   /* of the texts */
    uint64_t text;     /* the hash of their ids */
    uint64_t checksum;
};

static const struct {
    const char *key;
    size_t offset;
} stamp_keys[] = {
    {"training.position", offsetof(struct stamp, position)},
    {"training.tokens", offsetof(struct stamp, tokens)},
    {"training.text_hash", offsetof(struct stamp, text)},
    {"training.checksum", offsetof(struct stamp, checksum)},
};

enum { STAMP_KEYS = sizeof stamp_keys / sizeof stamp_keys[0] };

/* The flat arrays: each a tensor of one dimension. */
struct array {
    const char *name;
    float *data; /* in memory */
    size_t floats;
};

enum { ARRAYS = 4 };

static const char *const array_names[ARRAYS] = {"weights", "moments.first", "moments.second",
                                                "carry"};

static size_t list_arrays(const struct trib_trainer *t, struct array arrays[ARRAYS])
{
    size_t floats = t->predictor.parameters.floats;
    arrays[0] = (struct array){array_names[0], t->predictor.parameters.weights, floats};
    arrays[1] = (struct array){array_names[1], t->m, floats};
    arrays[2] = (struct array){array_names[2], t->v, floats};
    arrays[3] = (struct array){array_names[3], t->carry, t->pass.carry_bytes / sizeof(float)};
    return arrays[3].floats ? 4 : 3;
}

/* Over options, stamp and vocabulary; the arrays follow. `tokenizer` is the file that the entries
 * of one come from, or NULL. */
static uint64_t checksum(const trib_train_options *o, const struct stamp *stamp,
                         struct slice vocabulary, const struct gguf *tokenizer)
{
    uint64_t hash = stamp->position ^ stamp->tokens << 32 ^ stamp->text;
    for (size_t i = 0; i < train_option_count; i++) {
        const struct train_option *row = &train_options[i];
        const void *value = train_option_value(o, row);
        size_t size = train_option_size(row);
        if (row->kind == TRAIN_CHOICE) { /* what it points to */
            value = *(const char *const *)value;
            size = strlen(value);
        }
        hash = XXH3_64bits_withSeed(value, size, hash);
    }
    hash = XXH3_64bits_withSeed(vocabulary.bytes, vocabulary.length, hash);
    for (size_t i = 0; tokenizer && i < tokenizer->value_count; i++) {
        const struct gguf_value *value = &tokenizer->values[i];
        if (!vocabulary_has_entry(value))
            continue;
        hash = XXH3_64bits_withSeed(value->key.bytes, value->key.length, hash + value->type);
        hash = XXH3_64bits_withSeed(value->data, gguf_value_size(value), hash + value->element);
    }
    return hash;
}

/* ---- Saving ---- */

char *trainer_state_path(const char *path)
{
    size_t length = strlen(path);
    char *state = malloc(length + sizeof ".state");
    if (state) {
        memcpy(state, path, length);
        memcpy(state + length, ".state", sizeof ".state");
    }
    return state;
}

static trib_status save_state(struct trib_trainer *t, const char *path, trib_error *error)
{
    struct array arrays[ARRAYS];
    size_t count = list_arrays(t, arrays);
    struct stamp stamp = {t->position, t->data.count, t->data.hash, 0};
    struct gguf_writer *writer = gguf_writer_open();
    char *state = trainer_state_path(path);
    trib_status status = state ? TRIB_OK : error_no_memory(error, "a path", strlen(path));
    if (status != TRIB_OK)
        goto done;
    if (t->pass.carry_bytes)
        memcpy(t->carry, t->pass.carry, t->pass.carry_bytes);
    stamp.checksum =
        checksum(&t->options, &stamp, slice_of(t->options.vocabulary), t->vocabulary.file);
    for (size_t i = 0; i < count; i++)
        stamp.checksum =
            XXH3_64bits_withSeed(arrays[i].data, arrays[i].floats * sizeof(float), stamp.checksum);
    gguf_put_string(writer, "general.architecture", slice_of(architecture));
    gguf_put_u32(writer, "training.version", VERSION);
    for (size_t i = 0; i < STAMP_KEYS; i++) {
        uint64_t value;
        memcpy(&value, (char *)&stamp + stamp_keys[i].offset, sizeof value);
        gguf_put_u64(writer, stamp_keys[i].key, value);
    }
    gguf_put_string(writer, "training.vocabulary", slice_of(t->options.vocabulary));
    train_options_put(&t->options, writer);
    status = vocabulary_put(&t->vocabulary, writer, error);
    for (size_t i = 0; i < count; i++)
        gguf_put_tensor(writer, arrays[i].name, DTYPE_F32, 1, (uint64_t[]){arrays[i].floats},
                        arrays[i].data);
    if (status == TRIB_OK)
        status = gguf_writer_save(writer, state, error);

done:
    gguf_writer_close(writer);
    free(state);
    return status;
}

static trib_status save_model(const struct trib_trainer *t, const char *path, trib_error *error)
{
    struct gguf_writer *writer = gguf_writer_open();
    struct predictor_source *sources = calloc(t->predictor.parameters.count, sizeof *sources);
    trib_status status =
        sources ? TRIB_OK : error_no_memory(error, "the list of tensors", sizeof *sources);
    if (status == TRIB_OK) {
        predictor_put(&t->predictor, train_options_save_type(&t->options), sources, writer);
        status = vocabulary_put(&t->vocabulary, writer, error);
    }
    if (status == TRIB_OK)
        status = gguf_writer_save(writer, path, error);
    gguf_writer_close(writer);
    free(sources);
    return status;
}

trib_status trib_trainer_save(trib_trainer *t, const char *path, trib_error *error)
{
    trib_status status = trib_trainer_prepare(t, error);
    if (status == TRIB_OK)
        status = save_state(t, path, error);
    if (status == TRIB_OK)
        status = save_model(t, path, error);
    return status;
}

/* ---- Resuming ---- */

static trib_status read_stamp(struct stamp *stamp, const struct gguf *file, trib_error *error)
{
    struct slice name = {0};
    uint32_t version = 0;
    trib_status status = gguf_get_string(file, "general.architecture", &name, NULL, error);
    if (status == TRIB_OK && !slice_is(name, architecture))
        status = error_set(error, TRIB_FORMAT, "%s: general.architecture: expected %s, found %.*s",
                           file->name, architecture, name.length > 40 ? 40 : (int)name.length,
                           name.bytes);
    if (status == TRIB_OK)
        status = gguf_get_u32(file, "training.version", &version, NULL, error);
    if (status == TRIB_OK && version != VERSION)
        status = error_set(error, TRIB_UNSUPPORTED, "%s: training.version: expected %d, found %u",
                           file->name, VERSION, version);
    for (size_t i = 0; i < STAMP_KEYS && status == TRIB_OK; i++)
        status = train_whole_get((uint64_t *)(void *)((char *)stamp + stamp_keys[i].offset),
                                 stamp_keys[i].key, file, error);
    return status;
}

/* Whether all that is used of the file is what was saved. Nothing of it is known to fit together
 * yet, and an array that is missing is none of what was saved either. */
static trib_status check_content(const struct stamp *stamp, const trib_train_options *saved,
                                 const struct gguf *file, trib_error *error)
{
    struct slice vocabulary = {0};
    trib_status status = gguf_get_string(file, "training.vocabulary", &vocabulary, NULL, error);
    if (status != TRIB_OK)
        return status;
    uint64_t hash = checksum(saved, stamp, vocabulary, slice_is(vocabulary, "file") ? file : NULL);
    for (size_t i = 0; i < ARRAYS; i++) {
        const struct gguf_tensor *array = gguf_find_tensor(file, array_names[i]);
        if (array)
            hash = XXH3_64bits_withSeed(array->data, (size_t)array->bytes, hash);
    }
    if (hash == stamp->checksum)
        return TRIB_OK;
    return error_set(error, TRIB_FORMAT, "%s: training.checksum: the content is not what was saved",
                     file->name);
}

/* The kind of vocabulary that was saved; another one that was asked for is an error. */
static trib_status resume_vocabulary(trib_train_options *o, const struct gguf *file,
                                     trib_error *error)
{
    static const char *const kinds[] = {"bytes", "chars", "file"};
    const char *usual = trib_train_options_default().vocabulary, *asked = o->vocabulary;
    struct slice saved = {0};
    trib_status status = gguf_get_string(file, "training.vocabulary", &saved, NULL, error);
    if (status != TRIB_OK)
        return status;
    if (strcmp(asked, usual) != 0 && strcmp(asked, "chars") != 0)
        asked = "file";
    for (size_t i = 0; i < 3; i++) {
        if (!slice_is(saved, kinds[i]))
            continue;
        o->vocabulary = kinds[i];
        if (strcmp(asked, usual) == 0 || strcmp(asked, kinds[i]) == 0)
            return TRIB_OK;
        return error_set(error, TRIB_INVALID,
                         "vocabulary: expected %s, as the training that is resumed has it, found "
                         "%s",
                         kinds[i], asked);
    }
    return error_set(error, TRIB_FORMAT, "%s: training.vocabulary: found the unknown choice %.*s",
                     file->name, saved.length > 40 ? 40 : (int)saved.length, saved.bytes);
}

/* Everything that can be wrong with the arrays of a file but their content. */
static trib_status find_arrays(const struct trib_trainer *t, const struct array *arrays,
                               size_t count, trib_error *error)
{
    const struct gguf *file = t->checkpoint;
    for (size_t i = 0; i < count; i++) {
        const struct gguf_tensor *found = gguf_find_tensor(file, arrays[i].name);
        if (!found)
            return error_set(error, TRIB_FORMAT, "%s: tensor %s is missing", file->name,
                             arrays[i].name);
        if (found->type != DTYPE_F32 || found->elements != arrays[i].floats)
            return error_set(error, TRIB_FORMAT,
                             "%s: %s: expected %zu numbers of type F32, found %llu of type %s",
                             file->name, arrays[i].name, arrays[i].floats,
                             (unsigned long long)found->elements, dtype_info(found->type)->name);
    }
    return TRIB_OK;
}

static trib_status load(struct trib_trainer *t, const struct stamp *stamp, trib_error *error)
{
    const struct gguf *file = t->checkpoint;
    struct array arrays[ARRAYS];
    if (stamp->tokens != t->data.count || stamp->text != t->data.hash)
        return error_set(error, TRIB_INVALID,
                         "%s: expected the text of the training, %llu tokens, found another one, "
                         "of %zu",
                         file->name, (unsigned long long)stamp->tokens, t->data.count);
    trib_status status = trainer_allocate(t, error);
    if (status != TRIB_OK)
        return status;
    size_t count = list_arrays(t, arrays);
    status = find_arrays(t, arrays, count, error);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < count; i++)
        memcpy(arrays[i].data, gguf_find_tensor(file, arrays[i].name)->data,
               arrays[i].floats * sizeof(float));
    if (t->pass.carry_bytes)
        memcpy(t->pass.carry, t->carry, t->pass.carry_bytes);
    t->position = (size_t)stamp->position;
    return TRIB_OK;
}

trib_status trib_trainer_resume(trib_trainer **out, const char *path,
                                const trib_train_options *options, const char *const *texts,
                                size_t text_count, trib_error *error)
{
    *out = NULL;
    trib_train_options given = options ? *options : trib_train_options_default(), saved = given, o;
    struct stamp stamp = {0};
    struct gguf *file = NULL;
    char *state = trainer_state_path(path);
    if (!state)
        return error_no_memory(error, "a path", strlen(path));
    trib_status status = gguf_open(&file, state, error);
    free(state);
    if (status != TRIB_OK)
        return status;
    if ((status = read_stamp(&stamp, file, error)) ||
        (status = train_options_get(&saved, file, error)) ||
        (status = check_content(&stamp, &saved, file, error)) ||
        (status = train_options_resume(&o, &saved, &given, error)) ||
        (status = resume_vocabulary(&o, file, error))) {
        gguf_close(file);
        return status;
    }
    struct trib_trainer *t;
    status = trainer_open(&t, &o, file, texts, text_count, error);
    if (status != TRIB_OK)
        return status;
    status = load(t, &stamp, error);
    if (status == TRIB_OK && t->position > t->options.steps)
        status = error_set(error, TRIB_INVALID,
                           "steps: expected at least %zu, which are done, found %zu", t->position,
                           t->options.steps);
    if (status != TRIB_OK) {
        trib_trainer_close(t);
        return status;
    }
    if (t->vocabulary.kind != VOCABULARY_FILE) {
        gguf_close(t->checkpoint);
        t->checkpoint = NULL;
    }
    *out = t;
    return TRIB_OK;
}
