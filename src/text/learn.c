/* The public face of learning a vocabulary (tributary/tokenizer.h): texts in, a GGUF file out. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "file/gguf_write.h"
#include "text/bpe_train.h"
#include "text/tokenizer.h"
#include "text/vocab.h"
#include "tributary/tokenizer.h"

#define KEY(name) "tokenizer.ggml." name

trib_tokenizer_options trib_tokenizer_options_default(void)
{
    return (trib_tokenizer_options){.vocabulary = 32768, .min_frequency = 2, .pre = "gpt-2"};
}

/* The texts of merges: two tokens with a space between. Every one is in `bytes`, at strings[i]. */
static bool merge_texts(const struct bpe_learned *learned, char **bytes, struct slice *strings)
{
    size_t size = 1, used = 0;
    for (size_t i = 0; i < learned->merge_count; i++)
        size += bpe_learned_text(learned, (size_t)learned->merges[i].left).length + 1 +
                bpe_learned_text(learned, (size_t)learned->merges[i].right).length;
    *bytes = malloc(size);
    if (!*bytes)
        return false;
    for (size_t i = 0; i < learned->merge_count; i++) {
        struct slice left = bpe_learned_text(learned, (size_t)learned->merges[i].left);
        struct slice right = bpe_learned_text(learned, (size_t)learned->merges[i].right);
        char *text = *bytes + used;
        memcpy(text, left.bytes, left.length);
        text[left.length] = ' ';
        memcpy(text + left.length + 1, right.bytes, right.length);
        strings[i] = (struct slice){text, left.length + 1 + right.length};
        used += strings[i].length;
    }
    return true;
}

static trib_status save(const struct bpe_learned *learned, const char *pre, const char *path,
                        trib_error *error)
{
    struct gguf_writer *writer = gguf_writer_open();
    size_t most = learned->count + learned->merge_count;
    struct slice *strings = malloc((most + 1) * sizeof *strings);
    int32_t *kinds = malloc((learned->count + 1) * sizeof *kinds);
    char *merges = NULL;
    trib_status status = TRIB_OK;
    if (!strings || !kinds || !merge_texts(learned, &merges, strings)) {
        status = error_no_memory(error, "a vocabulary", most * sizeof *strings);
        goto done;
    }
    gguf_put_string(writer, "general.type", slice_of("vocabulary"));
    gguf_put_string(writer, KEY("model"), slice_of("gpt2"));
    gguf_put_string(writer, KEY("pre"), slice_of(pre));
    if (learned->special_count > 0)
        gguf_put_u32(writer, KEY("eos_token_id"), 0);
    gguf_put_bool(writer, KEY("add_bos_token"), false);
    gguf_put_strings(writer, KEY("merges"), strings, learned->merge_count);
    for (size_t i = 0; i < learned->count; i++) {
        strings[i] = bpe_learned_text(learned, i);
        kinds[i] = i < learned->special_count ? TOKEN_CONTROL : TOKEN_NORMAL;
    }
    gguf_put_strings(writer, KEY("tokens"), strings, learned->count);
    gguf_put_numbers(writer, KEY("token_type"), GGUF_I32, kinds, learned->count);
    status = gguf_writer_save(writer, path, error);
done:
    gguf_writer_close(writer);
    free(strings);
    free(kinds);
    free(merges);
    return status;
}

static trib_status train(struct bpe_learned *learned, const trib_text *texts, size_t count,
                         const trib_tokenizer_options *options, trib_error *error)
{
    struct slice *slices = malloc((count + options->special_count + 1) * sizeof *slices);
    if (!slices)
        return error_no_memory(error, "the texts", count * sizeof *slices);
    for (size_t i = 0; i < count; i++)
        slices[i] = (struct slice){texts[i].bytes, texts[i].length};
    for (size_t i = 0; i < options->special_count; i++)
        slices[count + i] = (struct slice){options->special[i].bytes, options->special[i].length};
    struct bpe_train_options how = {.kind = pretokenizer_find(slice_of(options->pre)),
                                    .vocabulary = options->vocabulary,
                                    .min_frequency = options->min_frequency,
                                    .special = slices + count,
                                    .special_count = options->special_count};
    trib_status status = how.kind ? bpe_train(learned, slices, count, &how, error)
                                  : error_set(error, TRIB_UNSUPPORTED,
                                              "\"%s\" is no way of cutting words known here",
                                              vocab_quote(slice_of(options->pre)).text);
    free(slices);
    return status;
}

trib_status trib_tokenizer_train(const char *path, const trib_text *texts, size_t count,
                                 const trib_tokenizer_options *options,
                                 trib_tokenizer_report *report, trib_error *error)
{
    trib_tokenizer_options defaults = trib_tokenizer_options_default();
    struct bpe_learned learned = {0};
    if (!options)
        options = &defaults;
    trib_status status = train(&learned, texts, count, options, error);
    if (status == TRIB_OK)
        status = save(&learned, options->pre, path, error);
    if (status == TRIB_OK && report)
        *report = (trib_tokenizer_report){learned.count, learned.merge_count, learned.words,
                                          learned.distinct_words};
    bpe_learned_free(&learned);
    return status;
}
