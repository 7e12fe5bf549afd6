/* Byte-level BPE: a text is cut into words (text/pretokenizer.h); in each word, which begins as the
 * tokens of its bytes, the adjacent pair of the lowest rank is merged, the leftmost of equals,
 * until no pair has a rank. (Sennrich et al. 2016, arXiv:1508.07909; Radford et al. 2019,
 * github.com/openai/gpt-2, src/encoder.py.)
 *
 * Words come again and again, so each call of encode remembers where among its ids it has already
 * written those of a word, and copies them. The memory is a table of fixed size with one place for
 * each word, the last one to come there; nothing depends on what it holds but the time.
 *
 * Under a vocabulary that has all 256 bytes as tokens, any text in which no user-defined token (or,
 * with parse_special, special token) is spelled decodes to exactly the bytes that were encoded. */
#include "text/bpe.h"

#include <inttypes.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/error.h"
#include "text/alphabet.h"
#include "text/heap.h"
#include "text/pretokenizer.h"

#define KEY(name) "tokenizer.ggml." name

enum {
    PROBE_LIMIT = 256,      /* as in vocab.c */
    MEMORY_LEAST = 1 << 9,  /* bytes of a text that is worth remembering words of */
    MEMORY_WORDS = 1 << 15, /* places at most: 1 MiB, which stays in a second-level cache */
    MEMORY_LONGEST = 64,    /* bytes of a word that is likely to come again */
};

/* A merge in the table from pairs to ranks. */
struct merge {
    int32_t left, right; /* left TOKEN_NONE: the slot is free */
    uint32_t rank;
};

struct bpe {
    const struct vocab *vocab;
    struct pretokenizer *pre;
    bool whole_words;
    int32_t bytes[256];   /* the token of each byte, TOKEN_NONE where there is none */
    struct merge *merges; /* open addressing with linear probing, at most half full */
    size_t merge_mask;
    int32_t *merged; /* [rank] the token that a merge makes */
};

static void bpe_close(void *state)
{
    struct bpe *bpe = state;
    if (!bpe)
        return;
    pretokenizer_close(bpe->pre);
    free(bpe->merges);
    free(bpe->merged);
    free(bpe);
}

/* ---- Merges ---- */

/* The slot of a pair, or the free one where it belongs, or NULL: neither is near. */
static inline struct merge *merge_slot(const struct bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t hash = pair * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
    hash ^= hash >> 32;
    for (size_t probe = 0; probe < PROBE_LIMIT; probe++) {
        struct merge *slot = &bpe->merges[(hash + probe) & bpe->merge_mask];
        if (slot->left == TOKEN_NONE || (slot->left == left && slot->right == right))
            return slot;
    }
    return NULL;
}

/* Takes "left right" apart. Tokens hold no space, but the left one may be one where a vocabulary
 * was made by others, so the space is looked for behind the first byte. */
static trib_status parse_merge(const struct bpe *bpe, const char *name, size_t rank,
                               struct slice text, struct merge *merge, trib_error *error)
{
    const struct vocab *vocab = bpe->vocab;
    char whole[2 * TOKEN_LONGEST];
    const char *space = text.length > 2 ? memchr(text.bytes + 1, ' ', text.length - 2) : NULL;
    if (!space)
        return error_set(error, TRIB_FORMAT,
                         "%s: %s: merge %zu: expected two tokens with a space between, found "
                         "\"%s\"",
                         name, KEY("merges"), rank, vocab_quote(text).text);
    size_t left = (size_t)(space - text.bytes), right = text.length - left - 1;
    *merge = (struct merge){vocab_find(vocab, text.bytes, left),
                            vocab_find(vocab, space + 1, right), (uint32_t)rank};
    bpe->merged[rank] = TOKEN_NONE;
    if (left + right <= vocab->longest) {
        memcpy(whole, text.bytes, left);
        memcpy(whole + left, space + 1, right);
        bpe->merged[rank] = vocab_find(vocab, whole, left + right);
    }
    if (merge->left == TOKEN_NONE || merge->right == TOKEN_NONE || bpe->merged[rank] == TOKEN_NONE)
        return error_set(error, TRIB_FORMAT,
                         "%s: %s: merge %zu: expected two tokens that make a third, found \"%s\"",
                         name, KEY("merges"), rank, vocab_quote(text).text);
    return TRIB_OK;
}

static trib_status load_merges(struct bpe *bpe, const struct gguf *file, trib_error *error)
{
    const struct gguf_value *value = NULL;
    trib_status status = gguf_get_array(file, KEY("merges"), GGUF_STRING, &value, NULL, error);
    if (status)
        return status;
    if (value->count > INT32_MAX)
        return error_set(error, TRIB_FORMAT, "%s: %s has %" PRIu64 " merges, expected at most %d",
                         file->name, KEY("merges"), value->count, INT32_MAX);
    size_t count = (size_t)value->count, slots = 16;
    while (slots < 2 * count)
        slots *= 2;
    bpe->merge_mask = slots - 1;
    bpe->merges = malloc(slots * sizeof *bpe->merges);
    bpe->merged = malloc((count + 1) * sizeof *bpe->merged);
    if (!bpe->merges || !bpe->merged)
        return error_no_memory(error, "a table of merges", slots * sizeof *bpe->merges);
    for (size_t i = 0; i < slots; i++)
        bpe->merges[i].left = TOKEN_NONE;
    const uint8_t *cursor = value->data;
    for (size_t rank = 0; rank < count; rank++) {
        struct merge merge;
        status = parse_merge(bpe, file->name, rank, gguf_next_string(&cursor), &merge, error);
        if (status)
            return status;
        struct merge *slot = merge_slot(bpe, merge.left, merge.right);
        if (!slot)
            return error_set(error, TRIB_UNSUPPORTED,
                             "%s: %s: the hash of merge %zu collides with those of %d others",
                             file->name, KEY("merges"), rank, PROBE_LIMIT);
        if (slot->left == TOKEN_NONE) /* of equal merges the first counts */
            *slot = merge;
    }
    return TRIB_OK;
}

/* ---- Opening ---- */

static trib_status open_pretokenizer(struct bpe *bpe, struct vocab *vocab, const struct gguf *file,
                                     trib_error *error)
{
    bool found;
    struct slice name = slice_of("default");
    trib_status status = gguf_get_string(file, KEY("pre"), &name, &found, error);
    if (status)
        return status;
    const struct pretokenizer_kind *kind = pretokenizer_find(name);
    if (!kind)
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: %s is \"%s\", a way of cutting words that is not known here",
                         file->name, KEY("pre"), vocab_quote(name).text);
    bpe->whole_words = kind->whole_words;
    if (kind->add_bos && !gguf_find(file, KEY("add_bos_token")))
        vocab->add_bos = vocab->special[SPECIAL_BOS] != TOKEN_NONE;
    return pretokenizer_open(&bpe->pre, kind, error);
}

static trib_status bpe_open(void **state, struct vocab *vocab, const struct gguf *file,
                            trib_error *error)
{
    struct bpe *bpe = *state = calloc(1, sizeof *bpe);
    if (!bpe)
        return error_no_memory(error, "a tokenizer", sizeof *bpe);
    bpe->vocab = vocab;
    for (int byte = 0; byte < 256; byte++) {
        char text[ALPHABET_ROOM(1)];
        size_t length = alphabet_write(&(char){(char)byte}, 1, text);
        bpe->bytes[byte] = vocab_find(vocab, text, length);
    }
    trib_status status = open_pretokenizer(bpe, vocab, file, error);
    return status ? status : load_merges(bpe, file, error);
}

/* ---- Encoding ---- */

/* A token of a word in the making. */
struct piece {
    int32_t id;             /* PIECE_GONE: merged into the one before */
    int32_t previous, next; /* pieces, -1 at the ends */
};

enum { PIECE_GONE = -2 };

/* Where the ids of a word were written. */
struct memory {
    uint32_t start, length; /* the word, in the text; length 0: the place is free */
    size_t first;           /* among the ids */
    uint32_t count;
};

/* One text being encoded. */
struct encoder {
    const struct bpe *bpe;
    const char *text;
    struct id_list *ids;
    struct memory *memory; /* NULL: nothing is remembered */
    size_t memory_mask;
    struct piece *pieces;
    size_t capacity;
    struct heap queue; /* pairs: key rank << 32 | left piece, a and b: the ids of both */
    trib_error *error;
};

/* Queues a piece with the one after it when the two can merge; false: no memory. */
static bool propose(struct encoder *e, int32_t left)
{
    if (left < 0 || e->pieces[left].next < 0)
        return true;
    int32_t a = e->pieces[left].id, b = e->pieces[e->pieces[left].next].id;
    if (a == TOKEN_NONE || b == TOKEN_NONE)
        return true;
    const struct merge *merge = merge_slot(e->bpe, a, b);
    if (!merge || merge->left == TOKEN_NONE)
        return true;
    return heap_push(&e->queue, (struct heap_item){(uint64_t)merge->rank << 32 | (uint32_t)left,
                                                   (uint32_t)a, (uint32_t)b});
}

static bool merge_all(struct encoder *e, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (!propose(e, (int32_t)i))
            return false;
    while (e->queue.count > 0) {
        struct heap_item item = heap_pop(&e->queue);
        int32_t left = (int32_t)(uint32_t)item.key;
        struct piece *piece = &e->pieces[left];
        if (piece->id != (int32_t)item.a || piece->next < 0 ||
            e->pieces[piece->next].id != (int32_t)item.b)
            continue; /* one of the two has merged with another meanwhile */
        struct piece *gone = &e->pieces[piece->next];
        piece->id = e->bpe->merged[item.key >> 32];
        piece->next = gone->next;
        gone->id = PIECE_GONE;
        if (piece->next >= 0)
            e->pieces[piece->next].previous = left;
        if (!propose(e, piece->previous) || !propose(e, left))
            return false;
    }
    return true;
}

/* A byte without a token is the unknown token. */
static trib_status append_unknown(struct encoder *e, unsigned char byte)
{
    int32_t unknown = e->bpe->vocab->special[SPECIAL_UNKNOWN];
    if (unknown == TOKEN_NONE)
        return error_set(e->error, TRIB_UNSUPPORTED,
                         "the vocabulary has neither a token for byte 0x%02x nor one for unknown "
                         "text",
                         byte);
    return id_list_append(e->ids, unknown)
               ? TRIB_OK
               : error_no_memory(e->error, "the tokens of a text", sizeof unknown);
}

static bool reserve_pieces(struct encoder *e, size_t count)
{
    if (count <= e->capacity)
        return true;
    struct piece *pieces = realloc(e->pieces, 2 * count * sizeof *pieces);
    if (!pieces)
        return false;
    e->pieces = pieces;
    e->capacity = 2 * count;
    return true;
}

/* The ids of a word, by merging. */
static trib_status encode_word(struct encoder *e, struct slice word)
{
    trib_status status = TRIB_OK;
    if (!reserve_pieces(e, word.length))
        return error_no_memory(e->error, "a word", word.length * sizeof *e->pieces);
    for (size_t i = 0; i < word.length; i++)
        e->pieces[i] = (struct piece){e->bpe->bytes[(unsigned char)word.bytes[i]], (int32_t)i - 1,
                                      i + 1 < word.length ? (int32_t)i + 1 : -1};
    if (!merge_all(e, word.length))
        return error_no_memory(e->error, "a word", e->queue.count * sizeof *e->queue.items);
    for (int32_t i = 0; i >= 0 && !status; i = e->pieces[i].next) {
        if (e->pieces[i].id == TOKEN_NONE)
            status = append_unknown(e, (unsigned char)word.bytes[i]);
        else if (!id_list_append(e->ids, e->pieces[i].id))
            status = error_no_memory(e->error, "the tokens of a text", word.length);
    }
    return status;
}

/* The token that a word is as a whole, where the vocabulary looks for that first. */
static int32_t whole_word(const struct bpe *bpe, struct slice word)
{
    char text[ALPHABET_ROOM(TOKEN_LONGEST)];
    if (!bpe->whole_words || word.length > bpe->vocab->longest)
        return TOKEN_NONE;
    return vocab_find(bpe->vocab, text, alphabet_write(word.bytes, word.length, text));
}

/* Where a word is remembered, or would be. */
static struct memory *memory_of(const struct encoder *e, struct slice word)
{
    if (!e->memory || word.length < 2 || word.length > MEMORY_LONGEST)
        return NULL;
    return &e->memory[XXH3_64bits(word.bytes, word.length) & e->memory_mask];
}

static trib_status take_word(void *context, struct slice word)
{
    struct encoder *e = context;
    struct memory *memory = memory_of(e, word);
    size_t first = e->ids->count;
    bool fits = true;
    if (memory && memory->length == word.length &&
        memcmp(e->text + memory->start, word.bytes, word.length) == 0) {
        for (size_t i = 0; i < memory->count && fits; i++)
            fits = id_list_append(e->ids, e->ids->ids[memory->first + i]);
        return fits ? TRIB_OK : error_no_memory(e->error, "the tokens of a text", word.length);
    }
    int32_t id = whole_word(e->bpe, word);
    if (id != TOKEN_NONE)
        return id_list_append(e->ids, id)
                   ? TRIB_OK
                   : error_no_memory(e->error, "the tokens of a text", word.length);
    trib_status status = encode_word(e, word);
    if (memory && !status)
        *memory = (struct memory){(uint32_t)(word.bytes - e->text), (uint32_t)word.length, first,
                                  (uint32_t)(e->ids->count - first)};
    return status;
}

static trib_status bpe_encode(const void *state, struct slice text, struct id_list *ids,
                              trib_error *error)
{
    struct encoder e = {.bpe = state, .text = text.bytes, .ids = ids, .error = error};
    if (text.length >= MEMORY_LEAST) {
        size_t places = MEMORY_LEAST / 8;
        while (places < text.length / 8 && places < MEMORY_WORDS)
            places *= 2;
        e.memory = calloc(places, sizeof *e.memory); /* without it the work is done anew */
        e.memory_mask = places - 1;
    }
    trib_status status = pretokenizer_split(e.bpe->pre, text, take_word, &e, error);
    free(e.memory);
    free(e.pieces);
    free(e.queue.items);
    return status;
}

/* ---- Decoding ---- */

/* The alphabet's characters read as their bytes, others as themselves. User-defined tokens are
 * found in a text as they are written, so they are written so again. */
static size_t bpe_decode(const void *state, int32_t id, bool first, char *out, size_t capacity)
{
    const struct vocab *vocab = ((const struct bpe *)state)->vocab;
    struct slice text = vocab_text(vocab, id);
    size_t length = 0;
    (void)first;
    for (size_t i = 0; i < text.length;) {
        uint32_t code;
        size_t bytes = utf8_decode(text.bytes + i, text.length - i, &code);
        int byte = bytes ? alphabet_byte(code) : -1;
        if (byte < 0 || vocab->kinds[id] == TOKEN_USER_DEFINED) {
            byte = (unsigned char)text.bytes[i];
            bytes = 1;
        }
        if (length < capacity)
            out[length] = (char)byte;
        length++;
        i += bytes;
    }
    return length;
}

const struct family family_bpe = {
    .model = "gpt2",
    .defaults = {.special = {[SPECIAL_BOS] = TOKEN_NONE,
                             [SPECIAL_EOS] = TOKEN_NONE,
                             [SPECIAL_UNKNOWN] = TOKEN_NONE,
                             [SPECIAL_END_OF_TURN] = TOKEN_NONE,
                             [SPECIAL_END_OF_MESSAGE] = TOKEN_NONE}},
    .open = bpe_open,
    .close = bpe_close,
    .encode = bpe_encode,
    .decode = bpe_decode,
};
