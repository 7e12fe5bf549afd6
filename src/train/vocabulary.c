/* The vocabulary of a training. */
#include "train/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* The ids of single bytes; they shift as characters come in. */
static void index_bytes(struct vocabulary *v)
{
    for (int i = 0; i < 256; i++) {
        unsigned char byte = (unsigned char)i;
        v->single[i] = symbols_find(&v->symbols, &byte, 1);
    }
}

trib_status vocabulary_open(struct vocabulary *v, const char *name, trib_error *error)
{
    *v = (struct vocabulary){0};
    trib_status status = TRIB_OK;
    if (strcmp(name, "bytes") == 0) {
        v->kind = VOCABULARY_BYTES;
        status = symbols_bytes(&v->symbols, error);
    } else if (strcmp(name, "chars") == 0) {
        v->kind = VOCABULARY_CHARS;
    } else {
        struct gguf *file;
        status = gguf_open(&file, name, error);
        if (status == TRIB_OK) {
            status = vocabulary_of_file(v, file, error);
            v->own = file;
        }
    }
    index_bytes(v);
    if (status != TRIB_OK)
        vocabulary_close(v);
    return status;
}

trib_status vocabulary_of_file(struct vocabulary *v, const struct gguf *file, trib_error *error)
{
    *v = (struct vocabulary){.kind = VOCABULARY_FILE, .file = file};
    return tokenizer_open(&v->tokenizer, file, error);
}

void vocabulary_close(struct vocabulary *v)
{
    symbols_close(&v->symbols);
    tokenizer_close(v->tokenizer);
    gguf_close(v->own);
    *v = (struct vocabulary){0};
}

trib_status vocabulary_add_text(struct vocabulary *v, struct slice text, const char *name,
                                trib_error *error)
{
    if (v->kind != VOCABULARY_CHARS)
        return TRIB_OK;
    trib_status status = symbols_add_text(&v->symbols, text, name, error);
    index_bytes(v);
    return status;
}

size_t vocabulary_count(const struct vocabulary *v)
{
    return v->kind == VOCABULARY_FILE ? tokenizer_count(v->tokenizer)
                                      : symbols_vocabulary(&v->symbols);
}

/* Entries that say with which tokens a text begins and ends. */
static const char *const added[] = {"tokenizer.ggml.add_bos_token", "tokenizer.ggml.add_eos_token",
                                    "tokenizer.ggml.add_sep_token"};

enum { ADDED = sizeof added / sizeof added[0] };

static bool is_added(const struct gguf_value *value)
{
    for (size_t i = 0; i < ADDED; i++)
        if (slice_is(value->key, added[i]))
            return true;
    return false;
}

bool vocabulary_has_entry(const struct gguf_value *value)
{
    static const char prefix[] = "tokenizer.";
    return value->key.length >= sizeof prefix - 1 &&
           memcmp(value->key.bytes, prefix, sizeof prefix - 1) == 0 && !is_added(value);
}

/* The entries are mapped from the file, and a writer that holds them has up to twice as much. A
 * token takes 8 bytes and its text in the file and 46 and its text in a tokenizer, a merge 9 and
 * two texts there and 52 here: five times as much, but for texts of a byte or two, which are few.
 */
size_t vocabulary_memory(const struct vocabulary *v)
{
    size_t bytes = 0;
    for (size_t i = 0; v->file && i < v->file->value_count; i++)
        if (vocabulary_has_entry(&v->file->values[i]))
            bytes += gguf_value_size(&v->file->values[i]);
    return (1 + 2 + 5) * bytes;
}

/* Bytes of the character that begins with this one, in valid UTF-8. */
static size_t character_length(unsigned char lead)
{
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

trib_status vocabulary_encode(const struct vocabulary *v, struct slice text, const char *name,
                              int32_t **ids, size_t *count, size_t *capacity, trib_error *error)
{
    if (v->kind == VOCABULARY_FILE)
        return tokenizer_encode(v->tokenizer, text, (struct tokenize_options){false, false}, ids,
                                count, capacity, error);
    const unsigned char *bytes = (const unsigned char *)text.bytes;
    if (text.length > *capacity - *count) {
        size_t larger = *count + text.length;
        int32_t *memory = realloc(*ids, larger * sizeof *memory);
        if (!memory)
            return error_no_memory(error, "the tokens of a text", larger * sizeof *memory);
        *ids = memory;
        *capacity = larger;
    }
    for (size_t i = 0; i < text.length;) {
        size_t length = v->kind == VOCABULARY_BYTES ? 1 : character_length(bytes[i]);
        int32_t id = -1;
        if (length <= text.length - i)
            id = length == 1 ? v->single[bytes[i]] : symbols_find(&v->symbols, bytes + i, length);
        if (id < 0) /* the file is not what it was when its characters were collected */
            return error_set(error, TRIB_INVALID, "%s: a character that is not in the vocabulary",
                             name);
        (*ids)[(*count)++] = id;
        i += length;
    }
    return TRIB_OK;
}

size_t vocabulary_decode(const struct vocabulary *v, int32_t id, bool first, char *out,
                         size_t capacity)
{
    if (v->kind == VOCABULARY_FILE)
        return tokenizer_decode(v->tokenizer, id, first, false, out, capacity);
    if (id < 0 || (size_t)id >= v->symbols.count)
        return 0;
    const struct symbol *s = &v->symbols.list[id];
    memcpy(out, s->bytes, s->length < capacity ? s->length : capacity);
    return s->length;
}

size_t vocabulary_longest(const struct vocabulary *v)
{
    return v->kind == VOCABULARY_FILE ? tokenizer_longest(v->tokenizer) : 4;
}

/* Whether a vocabulary has tokens added to texts: to an empty one, too. */
static trib_status find_added(const struct tokenizer *tokenizer, bool *adds, trib_error *error)
{
    int32_t *ids = NULL;
    size_t count = 0, capacity = 0;
    trib_status status =
        tokenizer_encode(tokenizer, slice_of(""), (struct tokenize_options){true, false}, &ids,
                         &count, &capacity, error);
    *adds = count > 0;
    free(ids);
    return status;
}

/* The entries of a file that make its vocabulary, as they stand there. The texts of a training are
 * encoded without BOS and EOS, so a model of it has never seen them: whoever runs it must not add
 * them, either, whatever the file says, or its family does where the file is silent. */
static trib_status put_of_file(const struct vocabulary *v, struct gguf_writer *writer,
                               trib_error *error)
{
    bool adds;
    trib_status status = find_added(v->tokenizer, &adds, error);
    for (size_t i = 0; i < v->file->value_count; i++) {
        const struct gguf_value *value = &v->file->values[i];
        if (vocabulary_has_entry(value) || (!adds && is_added(value)))
            gguf_put_value(writer, value);
    }
    for (size_t i = 0; i < ADDED && adds; i++)
        gguf_put_bool(writer, added[i], false);
    return status;
}

/* What byte-level BPE has to join so that characters come out: each beginning of a character with
 * the byte that follows it. The shorter ones come first, as they are made first. Returns how many.
 */
static size_t spell_merges(const struct symbols *s, char (*text)[16], struct slice *merges)
{
    size_t count = 0;
    for (size_t length = 2; length <= 4; length++)
        for (size_t i = 0; i < s->count; i++) {
            struct symbol left = s->list[i], right = {.length = 1};
            if (left.length != length)
                continue;
            left.length--;
            right.bytes[0] = left.bytes[length - 1];
            size_t n = symbols_spell(&left, text[count]);
            text[count][n++] = ' ';
            n += symbols_spell(&right, text[count] + n);
            merges[count] = (struct slice){text[count], n};
            count++;
        }
    return count;
}

static trib_status put_symbols(const struct symbols *s, struct gguf_writer *writer,
                               trib_error *error)
{
    static const char end[] = "<|endoftext|>";
    size_t count = symbols_vocabulary(s);
    char(*text)[16] = calloc(count, sizeof *text);
    struct slice *slices = calloc(count, sizeof *slices);
    int32_t *kinds = calloc(count, sizeof *kinds);
    trib_status status = TRIB_OK;
    if (!text || !slices || !kinds) {
        status = error_no_memory(error, "a vocabulary", count * sizeof *text);
        goto done;
    }
    for (size_t i = 0; i < s->count; i++) {
        slices[i] = (struct slice){text[i], symbols_spell(&s->list[i], text[i])};
        kinds[i] = TOKEN_NORMAL;
    }
    if (s->end) {
        slices[s->count] = slice_of(end);
        kinds[s->count] = TOKEN_CONTROL;
    }
    gguf_put_string(writer, "tokenizer.ggml.model", slice_of("gpt2"));
    gguf_put_string(writer, "tokenizer.ggml.pre", slice_of("gpt-2"));
    gguf_put_strings(writer, "tokenizer.ggml.tokens", slices, count);
    gguf_put_numbers(writer, "tokenizer.ggml.token_type", GGUF_I32, kinds, count);
    size_t merges = spell_merges(s, text, slices);
    gguf_put_strings(writer, "tokenizer.ggml.merges", slices, merges);
    if (s->end) {
        gguf_put_u32(writer, "tokenizer.ggml.bos_token_id", (uint32_t)s->count);
        gguf_put_u32(writer, "tokenizer.ggml.eos_token_id", (uint32_t)s->count);
    }
    gguf_put_bool(writer, "tokenizer.ggml.add_bos_token", false);

done:
    free(text);
    free(slices);
    free(kinds);
    return status;
}

trib_status vocabulary_put(const struct vocabulary *v, struct gguf_writer *writer,
                           trib_error *error)
{
    if (v->kind != VOCABULARY_FILE)
        return put_symbols(&v->symbols, writer, error);
    return put_of_file(v, writer, error);
}
