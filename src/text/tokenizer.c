/* The common part of all tokenizers: chooses the model family, finds special tokens in a text and
 * adds BOS and EOS around it. What is between special tokens the family encodes. */
#include "text/tokenizer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "text/bpe.h"
#include "text/family.h"
#include "text/special.h"
#include "text/spm.h"
#include "text/vocab.h"
#include "text/wordpiece.h"

static const struct family *const families[] = {&family_spm, &family_bpe, &family_wordpiece};

struct tokenizer {
    const struct family *family;
    void *state; /* the family's */
    struct vocab vocab;
    struct special_set always; /* user-defined tokens */
    struct special_set parsed; /* these and the ones that parse_special adds */
};

static trib_status find_family(const struct gguf *file, const struct family **out,
                               trib_error *error)
{
    struct slice model = {0};
    trib_status status = gguf_get_string(file, "tokenizer.ggml.model", &model, NULL, error);
    if (status)
        return status;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++)
        if (slice_is(model, families[i]->model)) {
            *out = families[i];
            return TRIB_OK;
        }
    if (slice_is(model, "no_vocab") || slice_is(model, "none"))
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: the file has no vocabulary: tokenizer.ggml.model is \"%s\"",
                         file->name, vocab_quote(model).text);
    return error_set(
        error, TRIB_UNSUPPORTED,
        "%s: tokenizer.ggml.model is \"%s\", supported are \"llama\", \"gpt2\" and \"bert\"",
        file->name, vocab_quote(model).text);
}

trib_status tokenizer_open(struct tokenizer **out, const struct gguf *file, trib_error *error)
{
    const struct family *family = NULL;
    *out = NULL;
    trib_status status = find_family(file, &family, error);
    if (status)
        return status;
    struct tokenizer *tokenizer = calloc(1, sizeof *tokenizer);
    if (!tokenizer)
        return error_no_memory(error, "a tokenizer", sizeof *tokenizer);
    tokenizer->family = family;
    unsigned always = 1u << TOKEN_USER_DEFINED;
    unsigned parsed = always | 1u << TOKEN_CONTROL | 1u << TOKEN_UNKNOWN;
    status = vocab_load(&tokenizer->vocab, file, &family->defaults, error);
    if (!status)
        status = family->open(&tokenizer->state, &tokenizer->vocab, file, error);
    if (!status)
        status = special_set_make(&tokenizer->always, &tokenizer->vocab, always, error);
    if (!status)
        status = special_set_make(&tokenizer->parsed, &tokenizer->vocab, parsed, error);
    if (status) {
        tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return TRIB_OK;
}

void tokenizer_close(struct tokenizer *tokenizer)
{
    if (!tokenizer)
        return;
    tokenizer->family->close(tokenizer->state);
    special_set_free(&tokenizer->always);
    special_set_free(&tokenizer->parsed);
    vocab_free(&tokenizer->vocab);
    free(tokenizer);
}

const char *tokenizer_model(const struct tokenizer *tokenizer)
{
    return tokenizer->family->model;
}

size_t tokenizer_count(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.count;
}

struct slice tokenizer_text(const struct tokenizer *tokenizer, int32_t id)
{
    assert(id >= 0 && (size_t)id < tokenizer->vocab.count);
    return vocab_text(&tokenizer->vocab, id);
}

enum token_kind tokenizer_kind(const struct tokenizer *tokenizer, int32_t id)
{
    assert(id >= 0 && (size_t)id < tokenizer->vocab.count);
    return (enum token_kind)tokenizer->vocab.kinds[id];
}

int32_t tokenizer_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.special[SPECIAL_BOS];
}

int32_t tokenizer_eos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.special[SPECIAL_EOS];
}

bool tokenizer_adds_bos(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.add_bos;
}

bool tokenizer_is_end(const struct tokenizer *tokenizer, int32_t id)
{
    assert(id >= 0 && (size_t)id < tokenizer->vocab.count);
    return tokenizer->vocab.flags[id] & TOKEN_ENDS;
}

/* Special tokens of a text in parts, in its order. */
struct match_list {
    struct special_match *matches;
    size_t count;
};

static bool match_list_append(struct match_list *list, const struct special_match *matches,
                              size_t count)
{
    struct special_match *grown =
        realloc(list->matches, (list->count + count) * sizeof *list->matches);
    if (!grown)
        return false;
    list->matches = grown;
    memcpy(list->matches + list->count, matches, count * sizeof *matches);
    list->count += count;
    return true;
}

/* Those of one part, which begins at `start` in the text. */
static trib_status find_in_part(const struct tokenizer *tokenizer, const char *text, size_t start,
                                const struct text_part *part, struct match_list *list,
                                trib_error *error)
{
    struct special_match whole = {0, (uint32_t)part->length, part->id}, *found = NULL;
    size_t count = 1;
    trib_status status = TRIB_OK;
    if (part->id == TOKEN_NONE)
        status =
            special_find(part->parse ? &tokenizer->parsed : &tokenizer->always, &tokenizer->vocab,
                         (struct slice){text + start, part->length}, &found, &count, error);
    struct special_match *matches = part->id == TOKEN_NONE ? found : &whole;
    for (size_t i = 0; i < count && !status; i++) {
        matches[i].start += (uint32_t)start;
        matches[i].end += (uint32_t)start;
    }
    if (!status && count > 0 && !match_list_append(list, matches, count))
        status = error_no_memory(error, "special tokens", (list->count + count) * sizeof *found);
    free(found);
    return status;
}

/* White space that a token takes with it may go on in the next parts. */
static void strip_over_borders(const struct tokenizer *tokenizer, struct slice text,
                               struct match_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        struct special_match *m = &list->matches[i];
        size_t most = i + 1 < list->count ? list->matches[i + 1].start : text.length;
        if (tokenizer->vocab.flags[m->id] & TOKEN_STRIPS_RIGHT)
            while (m->end < most && (text.bytes[m->end] == ' ' ||
                                     (text.bytes[m->end] >= '\t' && text.bytes[m->end] <= '\r')))
                m->end++;
    }
}

/* The text between special tokens, and those, in turn. */
static trib_status encode_matches(const struct tokenizer *tokenizer, struct slice text,
                                  const struct match_list *list, struct id_list *ids,
                                  trib_error *error)
{
    const struct special_match *matches = list->matches;
    size_t position = 0;
    trib_status status = TRIB_OK;
    for (size_t i = 0; !status && i <= list->count; i++) {
        size_t end = i < list->count ? matches[i].start : text.length;
        if (end > position)
            status = tokenizer->family->encode(
                tokenizer->state, (struct slice){text.bytes + position, end - position}, ids,
                error);
        if (status || i == list->count)
            break;
        if (!id_list_append(ids, matches[i].id))
            status = error_no_memory(error, "the tokens of a text", text.length);
        position = matches[i].end;
    }
    return status;
}

static trib_status encode_parts(const struct tokenizer *tokenizer, struct slice text,
                                const struct text_part *parts, size_t part_count,
                                struct id_list *ids, trib_error *error)
{
    struct match_list list = {0};
    trib_status status = TRIB_OK;
    size_t start = 0;
    for (size_t i = 0; i < part_count && !status; i++) {
        status = find_in_part(tokenizer, text.bytes, start, &parts[i], &list, error);
        start += parts[i].length;
    }
    strip_over_borders(tokenizer, text, &list);
    if (!status)
        status = encode_matches(tokenizer, text, &list, ids, error);
    free(list.matches);
    return status;
}

static trib_status check_length(size_t length, trib_error *error)
{
    if (length > ENCODE_LIMIT)
        return error_set(error, TRIB_INVALID, "a text of %zu bytes, expected at most %zu", length,
                         ENCODE_LIMIT);
    return TRIB_OK;
}

trib_status tokenizer_encode_parts(const struct tokenizer *tokenizer, const char *text,
                                   const struct text_part *parts, size_t part_count, int32_t **ids,
                                   size_t *count, size_t *capacity, trib_error *error)
{
    size_t length = 0;
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < part_count && !status; i++) {
        length += parts[i].length; /* at most two limits, so that no sum wraps */
        status = check_length(length > parts[i].length ? length : parts[i].length, error);
    }
    if (status)
        return status;
    struct id_list list = {*ids, *count, *capacity};
    status = encode_parts(tokenizer, (struct slice){text, length}, parts, part_count, &list, error);
    *ids = list.ids;
    *capacity = list.capacity;
    if (!status)
        *count = list.count;
    return status;
}

trib_status tokenizer_encode(const struct tokenizer *tokenizer, struct slice text,
                             struct tokenize_options options, int32_t **ids, size_t *count,
                             size_t *capacity, trib_error *error)
{
    const struct vocab *vocab = &tokenizer->vocab;
    struct text_part whole = {text.length, options.parse_special, TOKEN_NONE};
    trib_status status = check_length(text.length, error);
    if (status)
        return status;
    struct id_list list = {*ids, *count, *capacity};
    bool fits = true;
    if (options.add_special && vocab->add_bos)
        fits = id_list_append(&list, vocab->special[SPECIAL_BOS]);
    if (fits && text.length > 0)
        status = encode_parts(tokenizer, text, &whole, 1, &list, error);
    if (fits && !status && options.add_special && vocab->add_eos)
        fits = id_list_append(&list, vocab->special[SPECIAL_EOS]);
    if (!fits)
        status = error_no_memory(error, "the tokens of a text", text.length);
    *ids = list.ids;
    *capacity = list.capacity;
    if (!status)
        *count = list.count;
    return status;
}

size_t tokenizer_decode(const struct tokenizer *tokenizer, int32_t id, bool first, bool special,
                        char *out, size_t capacity)
{
    assert(id >= 0 && (size_t)id < tokenizer->vocab.count);
    enum token_kind kind = tokenizer_kind(tokenizer, id);
    if (kind != TOKEN_CONTROL && kind != TOKEN_UNKNOWN)
        return tokenizer->family->decode(tokenizer->state, id, first, out, capacity);
    if (!special)
        return 0;
    struct slice text = vocab_text(&tokenizer->vocab, id);
    size_t written = text.length < capacity ? text.length : capacity;
    if (written > 0)
        memcpy(out, text.bytes, written);
    return text.length;
}

size_t tokenizer_longest(const struct tokenizer *tokenizer)
{
    return tokenizer->vocab.longest;
}
