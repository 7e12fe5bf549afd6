/* SentencePiece BPE: of all adjacent pieces whose concatenation is a token the best-scored pair is
 * merged, the leftmost of equals, until there is none; pieces that are no token become bytes.
 * (Kudo and Richardson 2018, arXiv:1808.06226; github.com/google/sentencepiece, src/bpe_model.cc.)
 *
 * A text is cut into runs that are merged one by one. Two neighbouring characters that stand next
 * to each other in no token can never come to lie in one piece, so no merge crosses a border
 * between them, and merges on its two sides do not see each other: cutting there changes nothing.
 * In most vocabularies that cuts before every word, and the queue stays small.
 *
 * A space is put before a text and after each special token in it. For any text in which no
 * user-defined token (or, with parse_special, special token) and no U+2581 is spelled, under a
 * vocabulary that has U+2581 as a token and all 256 byte tokens, the ids decode to exactly the
 * bytes that were encoded. */
#include "text/spm.h"

#include <string.h>

#include "base/error.h"
#include "base/half.h"
#include "text/heap.h"
#include "text/utf8.h"

enum { PAIR_BITS = 20 }; /* of the hash of two characters */

static const char space[3] = {'\xe2', '\x96', '\x81'}; /* U+2581 stands for a space */
enum { SPACE_CODE = 0x2581 };

struct spm {
    const struct vocab *vocab;
    int32_t bytes[256]; /* the token of each byte, TOKEN_NONE where there is none */
    uint64_t *pairs;    /* bits by pair_hash: characters that are neighbours in some token */
};

/* A piece of a run: bytes start to start + length; length 0: merged into the one before. */
struct piece {
    uint32_t start, length;
    int32_t previous, next; /* pieces, -1 at the ends */
    int32_t id;             /* the token, TOKEN_NONE before it was looked up */
};

struct run {
    char *bytes;
    size_t length, byte_capacity;
    struct piece *pieces;
    size_t count, capacity;
    struct heap queue; /* pairs: key by pair_key, a: bytes of both, b: id of the token */
};

/* The first character of a text. A byte that belongs to none stands for itself, with a code that no
 * character has, and a space for U+2581. */
static inline size_t next_character(const char *text, size_t length, uint32_t *code)
{
    unsigned char byte = (unsigned char)text[0];
    if (byte < 0x80) {
        *code = byte == ' ' ? SPACE_CODE : byte;
        return 1;
    }
    size_t bytes = utf8_decode(text, length, code);
    if (bytes > 0)
        return bytes;
    *code = 0x110000u + byte;
    return 1;
}

static inline size_t pair_hash(uint32_t left, uint32_t right)
{
    return ((uint64_t)left << 32 | right) * 0x9e3779b97f4a7c15u >> (64 - PAIR_BITS);
}

static inline bool pair_known(const struct spm *spm, uint32_t left, uint32_t right)
{
    size_t hash = pair_hash(left, right);
    return spm->pairs[hash / 64] >> (hash % 64) & 1u;
}

static void learn_pairs(struct spm *spm, struct slice token)
{
    uint32_t left = 0, right;
    for (size_t i = 0; i < token.length; left = right) {
        size_t bytes = next_character(token.bytes + i, token.length - i, &right);
        if (i > 0) {
            size_t hash = pair_hash(left, right);
            spm->pairs[hash / 64] |= (uint64_t)1 << (hash % 64);
        }
        i += bytes;
    }
}

static void spm_close(void *state)
{
    struct spm *spm = state;
    if (spm)
        free(spm->pairs);
    free(spm);
}

static trib_status spm_open(void **state, struct vocab *vocab, const struct gguf *file,
                            trib_error *error)
{
    struct spm *spm = *state = calloc(1, sizeof *spm);
    if (!spm)
        return error_no_memory(error, "a tokenizer", sizeof *spm);
    spm->vocab = vocab;
    spm->pairs = calloc((size_t)1 << PAIR_BITS >> 6, sizeof *spm->pairs);
    if (!spm->pairs)
        return error_no_memory(error, "a tokenizer", (size_t)1 << PAIR_BITS >> 3);
    for (size_t i = 0; i < 256; i++)
        spm->bytes[i] = TOKEN_NONE;
    for (int32_t id = 0; (size_t)id < vocab->count; id++) {
        struct slice text = vocab_text(vocab, id);
        if (vocab->kinds[id] != TOKEN_BYTE) {
            learn_pairs(spm, text);
            continue;
        }
        int byte = vocab_byte(text);
        if (byte < 0)
            return error_set(error, TRIB_FORMAT,
                             "%s: token %d is a byte, expected text <0x00> to <0xFF>, found \"%s\"",
                             file->name, id, vocab_quote(text).text);
        if (spm->bytes[byte] == TOKEN_NONE)
            spm->bytes[byte] = id;
    }
    for (int byte = 0; byte < 256; byte++)
        if (spm->bytes[byte] == TOKEN_NONE)
            spm->bytes[byte] = vocab_find(vocab, &(char){(char)byte}, 1);
    return TRIB_OK;
}

/* Best score first, then leftmost. The bits of a float order like an integer once those of the
 * negative ones are inverted; adding zero makes -0 equal to 0. */
static inline uint64_t pair_key(float score, int32_t left)
{
    uint32_t bits = float_bits(score + 0.0f);
    uint32_t descending = bits >> 31 ? bits : ~bits & 0x7fffffffu;
    return (uint64_t)descending << 32 | (uint32_t)left;
}

/* Queues a piece with the one after it when together they are a token; false: no memory. */
static bool propose_pair(const struct spm *spm, struct run *run, int32_t left)
{
    if (left < 0 || run->pieces[left].next < 0)
        return true;
    const struct piece *piece = &run->pieces[left];
    uint32_t length = piece->length + run->pieces[piece->next].length;
    int32_t id = vocab_find(spm->vocab, run->bytes + piece->start, length);
    if (id == TOKEN_NONE)
        return true;
    return heap_push(&run->queue, (struct heap_item){pair_key(spm->vocab->scores[id], left), length,
                                                     (uint32_t)id});
}

static bool run_merge(const struct spm *spm, struct run *run)
{
    for (int32_t i = 0; (size_t)i + 1 < run->count; i++)
        if (!propose_pair(spm, run, i))
            return false;
    while (run->queue.count > 0) {
        struct heap_item item = heap_pop(&run->queue);
        int32_t left = (int32_t)(uint32_t)item.key;
        struct piece *piece = &run->pieces[left];
        if (piece->length == 0 || piece->next < 0)
            continue;
        struct piece *gone = &run->pieces[piece->next];
        /* Pieces only grow, so the sum of lengths tells whether both are still the same. */
        if (piece->length + gone->length != item.a)
            continue;
        piece->length = item.a;
        piece->id = (int32_t)item.b;
        piece->next = gone->next;
        gone->length = 0;
        if (piece->next >= 0)
            run->pieces[piece->next].previous = left;
        if (!propose_pair(spm, run, piece->previous) || !propose_pair(spm, run, left))
            return false;
    }
    return true;
}

/* The ids of one character: its token, or those of its bytes, or the unknown token, which always
 * exists as its default is 0. Of characters in a row, of one text from id `first` on, that are
 * unknown it stands for all. */
static bool append_character(const struct spm *spm, const char *bytes, size_t length, size_t first,
                             struct id_list *ids)
{
    int32_t id = vocab_find(spm->vocab, bytes, length);
    int32_t unknown = spm->vocab->special[SPECIAL_UNKNOWN];
    if (id != TOKEN_NONE)
        return id_list_append(ids, id);
    for (size_t i = 0; i < length; i++)
        if (spm->bytes[(unsigned char)bytes[i]] == TOKEN_NONE)
            return (ids->count > first && ids->ids[ids->count - 1] == unknown) ||
                   id_list_append(ids, unknown);
    for (size_t i = 0; i < length; i++)
        if (!id_list_append(ids, spm->bytes[(unsigned char)bytes[i]]))
            return false;
    return true;
}

/* Merges a run, appends its ids and empties it. */
static bool run_flush(const struct spm *spm, struct run *run, size_t first, struct id_list *ids)
{
    if (!run_merge(spm, run))
        return false;
    for (int32_t i = run->count ? 0 : -1; i >= 0; i = run->pieces[i].next) {
        const struct piece *piece = &run->pieces[i];
        if (piece->id != TOKEN_NONE
                ? !id_list_append(ids, piece->id)
                : !append_character(spm, run->bytes + piece->start, piece->length, first, ids))
            return false;
    }
    run->count = run->length = 0;
    return true;
}

static bool run_reserve(struct run *run)
{
    if (run->count == run->capacity) {
        size_t capacity = run->capacity ? run->capacity * 2 : 64;
        struct piece *pieces = realloc(run->pieces, capacity * sizeof *pieces);
        if (!pieces)
            return false;
        run->pieces = pieces;
        run->capacity = capacity;
    }
    if (run->length + 4 > run->byte_capacity) {
        size_t capacity = run->byte_capacity ? run->byte_capacity * 2 : 256;
        char *bytes = realloc(run->bytes, capacity);
        if (!bytes)
            return false;
        run->bytes = bytes;
        run->byte_capacity = capacity;
    }
    return true;
}

static bool run_append(struct run *run, const char *bytes, size_t length)
{
    if (!run_reserve(run))
        return false;
    int32_t index = (int32_t)run->count;
    if (index > 0)
        run->pieces[index - 1].next = index;
    run->pieces[run->count++] =
        (struct piece){(uint32_t)run->length, (uint32_t)length, index - 1, -1, TOKEN_NONE};
    memcpy(run->bytes + run->length, bytes, length);
    run->length += length;
    return true;
}

static trib_status spm_encode(const void *state, struct slice text, struct id_list *ids,
                              trib_error *error)
{
    const struct spm *spm = state;
    struct run run = {0};
    bool fits = true;
    size_t first = ids->count;
    uint32_t left = SPACE_CODE, right;
    if (spm->vocab->add_space_prefix)
        fits = run_append(&run, space, sizeof space);
    for (size_t i = 0; fits && i < text.length; left = right) {
        size_t bytes = next_character(text.bytes + i, text.length - i, &right);
        if (!pair_known(spm, left, right))
            fits = run_flush(spm, &run, first, ids);
        if (fits && right == SPACE_CODE)
            fits = run_append(&run, space, sizeof space);
        else if (fits)
            fits = run_append(&run, text.bytes + i, bytes);
        i += bytes;
    }
    if (fits)
        fits = run_flush(spm, &run, first, ids);
    free(run.bytes);
    free(run.pieces);
    free(run.queue.items);
    return fits ? TRIB_OK : error_no_memory(error, "the tokens of a text", text.length);
}

/* U+2581 reads as a space; the first token's was put there by the encoder. A literal space cannot
 * have been, and stays. */
static size_t spm_decode(const void *state, int32_t id, bool first, char *out, size_t capacity)
{
    const struct vocab *vocab = ((const struct spm *)state)->vocab;
    struct slice text = vocab_text(vocab, id);
    size_t length = 0;
    if (vocab->kinds[id] == TOKEN_BYTE) {
        if (capacity > 0)
            out[0] = (char)vocab_byte(text);
        return 1;
    }
    for (size_t i = 0; i < text.length;) {
        bool is_space =
            text.length - i >= sizeof space && memcmp(text.bytes + i, space, sizeof space) == 0;
        char byte = is_space ? ' ' : text.bytes[i];
        bool prefix = is_space && i == 0 && first && vocab->add_space_prefix;
        i += is_space ? sizeof space : 1;
        if (prefix)
            continue;
        if (length < capacity)
            out[length] = byte;
        length++;
    }
    return length;
}

const struct family family_spm = {
    .model = "llama",
    .defaults = {.special = {[SPECIAL_BOS] = 1,
                             [SPECIAL_EOS] = 2,
                             [SPECIAL_UNKNOWN] = 0,
                             [SPECIAL_END_OF_TURN] = TOKEN_NONE,
                             [SPECIAL_END_OF_MESSAGE] = TOKEN_NONE},
                 .add_bos = true,
                 .add_eos = false,
                 .add_space_prefix = true},
    .open = spm_open,
    .close = spm_close,
    .encode = spm_encode,
    .decode = spm_decode,
};
