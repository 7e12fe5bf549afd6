/* Reading a vocabulary out of a GGUF file, and the table from text to id.
 *
 * Owns the checks: whatever a file says, what leaves vocab_load keeps the invariants of vocab.h.
 * The table is open addressing with linear probing, at most half full, keyed by XXH3 and compared
 * by text. */
#include "text/vocab.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"

#define KEY(name) "tokenizer.ggml." name

/* Keys whose value is the id of a token, by enum special. */
static const char *const special_keys[SPECIAL_COUNT] = {
    [SPECIAL_BOS] = KEY("bos_token_id"),
    [SPECIAL_EOS] = KEY("eos_token_id"),
    [SPECIAL_UNKNOWN] = KEY("unknown_token_id"),
    [SPECIAL_END_OF_TURN] = KEY("eot_token_id"),
    [SPECIAL_END_OF_MESSAGE] = KEY("eom_token_id"),
};

/* Special tokens that end a turn in the chat formats in use. Many files name only EOS by id. */
static const char *const end_texts[] = {
    "<|eot_id|>",    "<|eom_id|>",         "<|im_end|>",    "<|end|>", "<|eot|>",
    "<end_of_turn>", "<end_of_utterance>", "<|endoftext|>", "<EOT>",   "<|end_of_text|>",
};

struct vocab_slot {
    uint32_t tag; /* the upper half of the hash; the lower chooses the slot */
    int32_t id;   /* TOKEN_NONE: the slot is free */
};

/* No vocabulary that was not made for it has chains near this long in a table half full. */
enum { PROBE_LIMIT = 256 };

struct vocab_quote vocab_quote(struct slice text)
{
    struct vocab_quote quote;
    size_t length = 0;
    for (; length < text.length && length < sizeof quote.text - 4; length++) {
        char c = text.bytes[length];
        quote.text[length] = c >= ' ' && c <= '~' ? c : '?';
    }
    strcpy(quote.text + length, length < text.length ? "..." : "");
    return quote;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int vocab_byte(struct slice text)
{
    if (text.length != 6 || memcmp(text.bytes, "<0x", 3) != 0 || text.bytes[5] != '>')
        return -1;
    int high = hex_digit(text.bytes[3]), low = hex_digit(text.bytes[4]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static trib_status load_texts(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    const struct gguf_value *value = NULL;
    trib_status status = gguf_get_array(file, KEY("tokens"), GGUF_STRING, &value, NULL, error);
    if (status)
        return status;
    if (value->count == 0 || value->count > INT32_MAX)
        return error_set(error, TRIB_FORMAT,
                         "%s: %s has %" PRIu64 " tokens, expected 1 to %" PRId32, file->name,
                         KEY("tokens"), value->count, INT32_MAX);
    size_t count = (size_t)value->count, total = 0;
    vocab->starts = malloc((count + 1) * sizeof *vocab->starts);
    if (!vocab->starts)
        return error_no_memory(error, "a vocabulary", (count + 1) * sizeof *vocab->starts);
    const uint8_t *cursor = value->data;
    for (size_t i = 0; i < count; i++) {
        struct slice text = gguf_next_string(&cursor);
        if (text.length > TOKEN_LONGEST)
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: token %zu of %s has %zu bytes, supported are at most %d",
                             file->name, i, KEY("tokens"), text.length, TOKEN_LONGEST);
        if (text.length > vocab->longest)
            vocab->longest = text.length;
        vocab->starts[i] = total;
        total += text.length;
    }
    vocab->starts[count] = total;
    vocab->bytes = malloc(total + 1);
    if (!vocab->bytes)
        return error_no_memory(error, "a vocabulary", total + 1);
    cursor = value->data;
    for (size_t i = 0; i < count; i++) {
        struct slice text = gguf_next_string(&cursor);
        if (text.length)
            memcpy(vocab->bytes + vocab->starts[i], text.bytes, text.length);
    }
    vocab->count = count;
    return TRIB_OK;
}

/* An array that has one element for each token; *out stays NULL where the file has none. */
static trib_status get_column(const struct vocab *vocab, const struct gguf *file, const char *key,
                              enum gguf_type element, const struct gguf_value **out,
                              trib_error *error)
{
    bool found;
    trib_status status = gguf_get_array(file, key, element, out, &found, error);
    if (!status && found && (*out)->count != vocab->count)
        status = error_set(error, TRIB_FORMAT,
                           "%s: %s has %" PRIu64 " elements, expected %zu, one for each token",
                           file->name, key, (*out)->count, vocab->count);
    return status;
}

static trib_status load_scores(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    const struct gguf_value *value = NULL;
    vocab->scores = calloc(vocab->count, sizeof *vocab->scores);
    if (!vocab->scores)
        return error_no_memory(error, "token scores", vocab->count * sizeof *vocab->scores);
    trib_status status = get_column(vocab, file, KEY("scores"), GGUF_F32, &value, error);
    if (status || !value)
        return status;
    for (size_t i = 0; i < vocab->count; i++) {
        vocab->scores[i] = (float)gguf_number(value, i);
        if (vocab->scores[i] != vocab->scores[i])
            return error_set(error, TRIB_FORMAT, "%s: %s: the score of token %zu is not a number",
                             file->name, KEY("scores"), i);
    }
    return TRIB_OK;
}

static trib_status load_special(struct vocab *vocab, const struct gguf *file,
                                const struct vocab_defaults *defaults, trib_error *error)
{
    for (size_t i = 0; i < SPECIAL_COUNT; i++) {
        bool found;
        uint32_t id;
        trib_status status = gguf_get_u32(file, special_keys[i], &id, &found, error);
        if (status)
            return status;
        if (!found) {
            int32_t fallback = defaults->special[i];
            bool exists = fallback >= 0 && (size_t)fallback < vocab->count;
            vocab->special[i] = exists ? fallback : TOKEN_NONE;
        } else if (id < vocab->count) {
            vocab->special[i] = (int32_t)id;
        } else {
            return error_set(error, TRIB_FORMAT,
                             "%s: %s is %" PRIu32 ", expected less than the %zu tokens", file->name,
                             special_keys[i], id, vocab->count);
        }
    }
    return TRIB_OK;
}

/* Where a file tells no kinds, the texts and the special ids do. */
static void guess_kinds(struct vocab *vocab)
{
    for (size_t i = 0; i < vocab->count; i++)
        vocab->kinds[i] =
            vocab_byte(vocab_text(vocab, (int32_t)i)) >= 0 ? TOKEN_BYTE : TOKEN_NORMAL;
    if (vocab->special[SPECIAL_BOS] != TOKEN_NONE)
        vocab->kinds[vocab->special[SPECIAL_BOS]] = TOKEN_CONTROL;
    if (vocab->special[SPECIAL_EOS] != TOKEN_NONE)
        vocab->kinds[vocab->special[SPECIAL_EOS]] = TOKEN_CONTROL;
    if (vocab->special[SPECIAL_UNKNOWN] != TOKEN_NONE)
        vocab->kinds[vocab->special[SPECIAL_UNKNOWN]] = TOKEN_UNKNOWN;
}

static trib_status load_kinds(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    const struct gguf_value *value = NULL;
    vocab->kinds = malloc(vocab->count);
    if (!vocab->kinds)
        return error_no_memory(error, "token types", vocab->count);
    trib_status status = get_column(vocab, file, KEY("token_type"), GGUF_I32, &value, error);
    if (status)
        return status;
    if (!value) {
        guess_kinds(vocab);
        return TRIB_OK;
    }
    for (size_t i = 0; i < vocab->count; i++) {
        double kind = gguf_number(value, i);
        if (kind < TOKEN_NORMAL || kind > TOKEN_BYTE)
            return error_set(error, TRIB_FORMAT,
                             "%s: %s: the type of token %zu is %.0f, expected %d to %d", file->name,
                             KEY("token_type"), i, kind, TOKEN_NORMAL, TOKEN_BYTE);
        vocab->kinds[i] = (uint8_t)kind;
    }
    return TRIB_OK;
}

static bool is_special(const struct vocab *vocab, size_t id)
{
    return vocab->kinds[id] == TOKEN_CONTROL || vocab->kinds[id] == TOKEN_USER_DEFINED ||
           vocab->kinds[id] == TOKEN_UNKNOWN;
}

/* Phi-3's special tokens take the white space after them, but for these three. GGUF has no field
 * for that, so it goes by the model's name, as in llama.cpp. */
static trib_status flag_strips(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    bool found;
    struct slice name = {0};
    trib_status status = gguf_get_string(file, "general.name", &name, &found, error);
    if (status || !found)
        return status;
    bool strips = false;
    for (size_t i = 0; i + 4 <= name.length; i++) {
        const char *rest = name.bytes + i;
        strips = strips || strncasecmp(rest, "phi3", 4) == 0 ||
                 (i + 5 <= name.length && strncasecmp(rest, "phi-3", 5) == 0);
    }
    for (size_t i = 0; strips && i < vocab->count; i++) {
        struct slice text = vocab_text(vocab, (int32_t)i);
        if (is_special(vocab, i) && !slice_is(text, "<unk>") && !slice_is(text, "<s>") &&
            !slice_is(text, "<|endoftext|>"))
            vocab->flags[i] |= TOKEN_STRIPS_RIGHT;
    }
    return TRIB_OK;
}

static trib_status load_flags(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    static const enum special ends[] = {SPECIAL_EOS, SPECIAL_END_OF_TURN, SPECIAL_END_OF_MESSAGE};
    vocab->flags = calloc(vocab->count, 1);
    if (!vocab->flags)
        return error_no_memory(error, "token flags", vocab->count);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (vocab->special[ends[i]] != TOKEN_NONE)
            vocab->flags[vocab->special[ends[i]]] |= TOKEN_ENDS;
    for (size_t i = 0; i < vocab->count; i++)
        for (size_t j = 0; is_special(vocab, i) && j < sizeof end_texts / sizeof end_texts[0]; j++)
            if (slice_is(vocab_text(vocab, (int32_t)i), end_texts[j]))
                vocab->flags[i] |= TOKEN_ENDS;
    return flag_strips(vocab, file, error);
}

/* Whether BOS or EOS is added. A file that asks for a token that does not exist is malformed; a
 * mere default gives way. */
static trib_status load_add(const struct vocab *vocab, const struct gguf *file, const char *key,
                            enum special special, bool fallback, bool *out, trib_error *error)
{
    bool found;
    *out = fallback;
    trib_status status = gguf_get_bool(file, key, out, &found, error);
    if (status || !*out || vocab->special[special] != TOKEN_NONE)
        return status;
    *out = false;
    if (found)
        status = error_set(error, TRIB_FORMAT, "%s: %s is true, but there is no %s", file->name,
                           key, special_keys[special]);
    return status;
}

/* The slot that holds this text, or the free one where it belongs, or NULL: neither is near. */
static struct vocab_slot *table_slot(const struct vocab *vocab, const char *bytes, size_t length,
                                     uint64_t hash)
{
    for (size_t probe = 0; probe < PROBE_LIMIT; probe++) {
        struct vocab_slot *slot = &vocab->slots[(hash + probe) & vocab->slot_mask];
        if (slot->id == TOKEN_NONE)
            return slot;
        if (slot->tag != (uint32_t)(hash >> 32))
            continue;
        struct slice text = vocab_text(vocab, slot->id);
        if (text.length == length && memcmp(text.bytes, bytes, length) == 0)
            return slot;
    }
    return NULL;
}

int32_t vocab_find(const struct vocab *vocab, const char *bytes, size_t length)
{
    if (length > vocab->longest)
        return TOKEN_NONE;
    const struct vocab_slot *slot = table_slot(vocab, bytes, length, XXH3_64bits(bytes, length));
    return slot ? slot->id : TOKEN_NONE;
}

static trib_status build_table(struct vocab *vocab, const struct gguf *file, trib_error *error)
{
    size_t slots = 16;
    while (slots < vocab->count * 2)
        slots *= 2;
    vocab->slots = malloc(slots * sizeof *vocab->slots);
    if (!vocab->slots)
        return error_no_memory(error, "a token table", slots * sizeof *vocab->slots);
    vocab->slot_mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        vocab->slots[i] = (struct vocab_slot){0, TOKEN_NONE};
    for (size_t i = 0; i < vocab->count; i++) {
        struct slice text = vocab_text(vocab, (int32_t)i);
        bool spelled = vocab->kinds[i] == TOKEN_NORMAL || vocab->kinds[i] == TOKEN_USER_DEFINED ||
                       vocab->kinds[i] == TOKEN_UNUSED;
        if (!spelled || text.length == 0)
            continue;
        uint64_t hash = XXH3_64bits(text.bytes, text.length);
        struct vocab_slot *slot = table_slot(vocab, text.bytes, text.length, hash);
        if (!slot)
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: %s: the hash of token %zu collides with those of %d others",
                             file->name, KEY("tokens"), i, PROBE_LIMIT);
        if (slot->id == TOKEN_NONE)
            *slot = (struct vocab_slot){(uint32_t)(hash >> 32), (int32_t)i};
    }
    return TRIB_OK;
}

trib_status vocab_load(struct vocab *vocab, const struct gguf *file,
                       const struct vocab_defaults *defaults, trib_error *error)
{
    *vocab = (struct vocab){.add_space_prefix = defaults->add_space_prefix};
    bool found;
    trib_status status = load_texts(vocab, file, error);
    if (!status)
        status = load_scores(vocab, file, error);
    if (!status)
        status = load_special(vocab, file, defaults, error);
    if (!status)
        status = load_kinds(vocab, file, error);
    if (!status)
        status = load_flags(vocab, file, error);
    if (!status)
        status = load_add(vocab, file, KEY("add_bos_token"), SPECIAL_BOS, defaults->add_bos,
                          &vocab->add_bos, error);
    if (!status)
        status = load_add(vocab, file, KEY("add_eos_token"), SPECIAL_EOS, defaults->add_eos,
                          &vocab->add_eos, error);
    if (!status)
        status =
            gguf_get_bool(file, KEY("add_space_prefix"), &vocab->add_space_prefix, &found, error);
    if (!status)
        status = build_table(vocab, file, error);
    return status;
}

void vocab_free(struct vocab *vocab)
{
    free(vocab->bytes);
    free(vocab->starts);
    free(vocab->kinds);
    free(vocab->flags);
    free(vocab->scores);
    free(vocab->slots);
    *vocab = (struct vocab){0};
}
