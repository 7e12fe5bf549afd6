/* WordPiece: a text is normalised and cut into words; from each word the longest token it begins
 * with is taken, then from what is left, to its end; a word that does not come out is the unknown
 * token, whole. (Wu et al. 2016, arXiv:1609.08144; Devlin et al. 2018, arXiv:1810.04805;
 * github.com/google-research/bert, tokenization.py.)
 *
 * As in GGUF files, U+2581 stands before tokens that begin a word, and nothing before the others,
 * which the models' own vocabularies mark with ##.
 *
 * Normalising leaves out control characters, U+FFFD and bytes that are no UTF-8; lowercases; and
 * takes accents off: canonical decomposition (NFD), without nonspacing marks. So ids do not give a
 * text back, only what the model has seen of it. White space, punctuation and CJK ideographs part
 * words; the latter two are words by themselves, character by character. */
#include "text/wordpiece.h"

#include <string.h>

#include <utf8proc.h>

#include "base/error.h"
#include "text/utf8.h"

#define KEY(name) "tokenizer.ggml." name

enum {
    WORD_LONGEST = 100,    /* characters; longer words are unknown, as in the models' tokenizers */
    DECOMPOSED_LONGEST = 8 /* characters that one decomposes into; four is the most in use */
};

static const char word_start[3] = {'\xe2', '\x96', '\x81'}; /* U+2581 */

struct wordpiece {
    const struct vocab *vocab;
    bool lowercase, strip_accents;
};

/* The word in the making: word_start and its characters. */
struct word {
    char bytes[sizeof word_start + 4 * WORD_LONGEST];
    size_t length;     /* bytes, word_start included */
    size_t characters; /* also of those that found no room */
};

static void wordpiece_close(void *state)
{
    free(state);
}

/* A special token by a key of its own, where the file has it and the usual key is absent. */
static trib_status special_by_key(struct vocab *vocab, const struct gguf *file, const char *usual,
                                  const char *key, enum special special, trib_error *error)
{
    uint32_t id;
    bool found;
    if (gguf_find(file, usual))
        return TRIB_OK;
    trib_status status = gguf_get_u32(file, key, &id, &found, error);
    if (!status && found && id < vocab->count)
        vocab->special[special] = (int32_t)id;
    return status;
}

static trib_status wordpiece_open(void **state, struct vocab *vocab, const struct gguf *file,
                                  trib_error *error)
{
    struct wordpiece *wp = *state = calloc(1, sizeof *wp);
    bool found;
    if (!wp)
        return error_no_memory(error, "a tokenizer", sizeof *wp);
    *wp = (struct wordpiece){vocab, true, true};
    trib_status status =
        gguf_get_bool(file, KEY("normalizer.lowercase"), &wp->lowercase, &found, error);
    if (!status)
        status =
            gguf_get_bool(file, KEY("normalizer.strip_accents"), &wp->strip_accents, &found, error);
    if (!status)
        status = special_by_key(vocab, file, KEY("bos_token_id"), KEY("cls_token_id"), SPECIAL_BOS,
                                error);
    if (!status) /* the key is spelled so */
        status = special_by_key(vocab, file, KEY("eos_token_id"), KEY("seperator_token_id"),
                                SPECIAL_EOS, error);
    if (!gguf_find(file, KEY("add_bos_token")))
        vocab->add_bos = vocab->special[SPECIAL_BOS] != TOKEN_NONE;
    if (!gguf_find(file, KEY("add_eos_token")))
        vocab->add_eos = vocab->special[SPECIAL_EOS] != TOKEN_NONE;
    return status;
}

/* ---- Characters ---- */

static bool is_white(int32_t code, utf8proc_category_t category)
{
    return code == ' ' || code == '\t' || code == '\n' || code == '\r' ||
           category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP;
}

static bool is_left_out(int32_t code, utf8proc_category_t category)
{
    return code == 0xfffd || category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF ||
           category == UTF8PROC_CATEGORY_CO;
}

/* All of ASCII that is neither letter, digit nor white space, and Unicode's punctuation. */
static bool is_punctuation(int32_t code, utf8proc_category_t category)
{
    if (code < 0x80)
        return code > ' ' && code < 0x7f && !(code >= '0' && code <= '9') &&
               !((code | 0x20) >= 'a' && (code | 0x20) <= 'z');
    return category >= UTF8PROC_CATEGORY_PC && category <= UTF8PROC_CATEGORY_PO;
}

/* The ideographs that BERT's tokenizers know; the sixth block begins at 2B920 in them. */
static bool is_ideograph(int32_t code)
{
    static const int32_t blocks[][2] = {
        {0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df}, {0x2a700, 0x2b73f},
        {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf}, {0xf900, 0xfaff},   {0x2f800, 0x2fa1f},
    };
    for (size_t i = 0; code >= 0x3400 && i < sizeof blocks / sizeof blocks[0]; i++)
        if (code >= blocks[i][0] && code <= blocks[i][1])
            return true;
    return false;
}

/* ---- Words ---- */

/* Appends the ids of the word to the list and empties the word. */
static trib_status finish_word(const struct wordpiece *wp, struct word *word, struct id_list *ids,
                               trib_error *error)
{
    size_t before = ids->count, at = 0, end = word->length;
    bool whole = word->characters <= WORD_LONGEST;
    if (word->characters == 0)
        return TRIB_OK;
    word->length = sizeof word_start;
    word->characters = 0;
    while (whole && at < end) {
        size_t length = end - at < wp->vocab->longest ? end - at : wp->vocab->longest;
        int32_t id = TOKEN_NONE;
        if (at > 0 && end - at >= sizeof word_start &&
            memcmp(word->bytes + at, word_start, sizeof word_start) == 0)
            length = 0; /* the text's own U+2581 begins no word */
        for (; length > 0 && id == TOKEN_NONE; length--)
            id = vocab_find(wp->vocab, word->bytes + at, length);
        whole = id != TOKEN_NONE;
        at += length + 1;
        if (whole && !id_list_append(ids, id))
            return error_no_memory(error, "the tokens of a text", end);
    }
    if (whole)
        return TRIB_OK;
    ids->count = before;
    if (wp->vocab->special[SPECIAL_UNKNOWN] == TOKEN_NONE)
        return error_set(error, TRIB_UNSUPPORTED,
                         "the vocabulary has no token for unknown words, and the text has one");
    return id_list_append(ids, wp->vocab->special[SPECIAL_UNKNOWN])
               ? TRIB_OK
               : error_no_memory(error, "the tokens of a text", end);
}

/* One character of the normalised text: joins the word, or is one by itself. */
static trib_status take_normal(const struct wordpiece *wp, struct word *word, int32_t code,
                               bool alone, struct id_list *ids, trib_error *error)
{
    utf8proc_category_t category = utf8proc_category(code);
    if (wp->strip_accents && category == UTF8PROC_CATEGORY_MN)
        return TRIB_OK;
    alone = alone || is_punctuation(code, category);
    trib_status status = alone ? finish_word(wp, word, ids, error) : TRIB_OK;
    if (status)
        return status;
    if (wp->lowercase)
        code = utf8proc_tolower(code);
    if (word->characters++ < WORD_LONGEST) {
        char bytes[4];
        size_t length = utf8_encode((uint32_t)code, bytes);
        memcpy(word->bytes + word->length, bytes, length);
        word->length += length;
    }
    return alone ? finish_word(wp, word, ids, error) : TRIB_OK;
}

/* One character of the text, of which white space ends a word. */
static trib_status take_character(const struct wordpiece *wp, struct word *word, int32_t code,
                                  struct id_list *ids, trib_error *error)
{
    int32_t parts[DECOMPOSED_LONGEST] = {code};
    utf8proc_category_t category = utf8proc_category(code);
    utf8proc_ssize_t count = 1;
    trib_status status = TRIB_OK;
    if (is_white(code, category))
        return finish_word(wp, word, ids, error);
    if (is_left_out(code, category))
        return TRIB_OK;
    if (wp->strip_accents && code >= 0x80)
        count = utf8proc_decompose_char(code, parts, DECOMPOSED_LONGEST, UTF8PROC_DECOMPOSE, NULL);
    if (wp->lowercase && count == 1 && code == 0x130) { /* the one whose lowercase is two */
        parts[0] = 'i';
        parts[1] = 0x307;
        count = 2;
    }
    for (utf8proc_ssize_t i = 0; i < count && i < DECOMPOSED_LONGEST && !status; i++)
        status = take_normal(wp, word, parts[i], is_ideograph(code), ids, error);
    return status;
}

static trib_status wordpiece_encode(const void *state, struct slice text, struct id_list *ids,
                                    trib_error *error)
{
    struct word word = {.length = sizeof word_start};
    trib_status status = TRIB_OK;
    memcpy(word.bytes, word_start, sizeof word_start);
    for (size_t i = 0; i < text.length && !status;) {
        uint32_t code;
        size_t bytes = utf8_decode(text.bytes + i, text.length - i, &code);
        if (bytes > 0)
            status = take_character(state, &word, (int32_t)code, ids, error);
        i += bytes ? bytes : 1;
    }
    return status ? status : finish_word(state, &word, ids, error);
}

/* Tokens that begin a word begin with a space, but for the first. */
static size_t wordpiece_decode(const void *state, int32_t id, bool first, char *out,
                               size_t capacity)
{
    struct slice text = vocab_text(((const struct wordpiece *)state)->vocab, id);
    size_t length = 0;
    if (text.length >= sizeof word_start &&
        memcmp(text.bytes, word_start, sizeof word_start) == 0) {
        text = (struct slice){text.bytes + sizeof word_start, text.length - sizeof word_start};
        if (!first && capacity > 0)
            out[0] = ' ';
        length = !first;
    }
    for (size_t i = 0; i < text.length; i++, length++)
        if (length < capacity)
            out[length] = text.bytes[i];
    return length;
}

const struct family family_wordpiece = {
    .model = "bert",
    .defaults = {.special = {[SPECIAL_BOS] = 101, /* [CLS] */
                             [SPECIAL_EOS] = 102, /* [SEP] */
                             [SPECIAL_UNKNOWN] = 100,
                             [SPECIAL_END_OF_TURN] = TOKEN_NONE,
                             [SPECIAL_END_OF_MESSAGE] = TOKEN_NONE},
                 .add_bos = true,
                 .add_eos = true},
    .open = wordpiece_open,
    .close = wordpiece_close,
    .encode = wordpiece_encode,
    .decode = wordpiece_decode,
};
