/* The kinds of vocabularies that tokenizer.json describes: byte-level BPE, BPE over characters with
 * bytes to fall back on (SentencePiece), and WordPiece. What their tokenizers here do otherwise
 * (another normaliser, dropout, suffixes of words, ...) is refused. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "file/hf.h"

#define KEY(name) "tokenizer.ggml." name

enum { MERGES_MOST = 1 << 24 /* scores are float32, and made from ranks */ };

static const char space[] = "\xe2\x96\x81"; /* U+2581 */

static trib_status refuse(const struct hf_vocab *v, const char *field, const char *expected)
{
    return error_set(v->error, TRIB_UNSUPPORTED, "%s: %s: expected %s", v->file->name, field,
                     expected);
}

/* The tokens of model.vocab. */
static trib_status read_vocab(struct hf_vocab *v)
{
    const json_t *vocab = NULL, *id;
    struct slice token;
    void *walk = NULL;
    trib_status status = json_get_object(v->file, v->model, "vocab", &vocab, v->error);
    if (status == TRIB_OK && json_object_size(vocab) == 0)
        status = error_set(v->error, TRIB_FORMAT, "%s: model.vocab: expected tokens, found none",
                           v->file->name);
    if (status != TRIB_OK)
        return status;
    while (json_next(vocab, &walk, &token, &id)) {
        json_int_t at = json_is_integer(id) ? json_integer_value(id) : -1;
        if (at < 0 || (uint64_t)at >= v->tokens.rows)
            return error_set(v->error, TRIB_FORMAT,
                             "%s: model.vocab: token %s: expected an id below the %zu rows of the "
                             "embedding, found %lld",
                             v->file->name, safetensors_show(token).text, v->tokens.rows,
                             (long long)at);
        if (v->tokens.texts[at].bytes)
            return error_set(v->error, TRIB_FORMAT, "%s: model.vocab: id %lld stands twice",
                             v->file->name, (long long)at);
        v->tokens.texts[at] = token;
        v->tokens.kinds[at] = HF_TOKEN_NORMAL;
    }
    return TRIB_OK;
}

/* The two tokens of a merge, which is a pair, or a string with a space between them. */
static bool split_merge(const json_t *merge, struct slice *left, struct slice *right)
{
    if (json_is_array(merge)) {
        const json_t *first = json_array_get(merge, 0), *second = json_array_get(merge, 1);
        if (json_array_size(merge) != 2 || !json_is_string(first) || !json_is_string(second))
            return false;
        *left = json_slice(first);
        *right = json_slice(second);
        return left->length > 0 && right->length > 0;
    }
    if (!json_is_string(merge))
        return false;
    struct slice whole = json_slice(merge);
    const char *gap = memchr(whole.bytes, ' ', whole.length);
    if (!gap)
        return false;
    *left = (struct slice){whole.bytes, (size_t)(gap - whole.bytes)};
    *right = (struct slice){gap + 1, whole.length - left->length - 1};
    return left->length > 0 && right->length > 0;
}

static trib_status get_merges(struct hf_vocab *v, const json_t **merges)
{
    trib_status status = json_get_array(v->file, v->model, "merges", merges, v->error);
    if (status == TRIB_OK && !*merges)
        status = error_set(v->error, TRIB_FORMAT,
                           "%s: model.merges: expected an array, found nothing", v->file->name);
    if (status == TRIB_OK && json_array_size(*merges) > MERGES_MOST)
        status =
            error_set(v->error, TRIB_FORMAT, "%s: model.merges: expected at most %d, found %zu",
                      v->file->name, MERGES_MOST, json_array_size(*merges));
    return status;
}

static trib_status bad_merge(const struct hf_vocab *v, size_t i)
{
    return error_set(v->error, TRIB_FORMAT,
                     "%s: model.merges: %zu: expected two tokens without spaces in them",
                     v->file->name, i);
}

/* Fields of a BPE model that change what it does. */
static trib_status check_bpe(const struct hf_vocab *v)
{
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    const json_t *dropout = json_field(v->model, "dropout");
    if (dropout && json_number_value(dropout) != 0)
        return refuse(v, "model.dropout", "null");
    for (size_t i = 0; i < 2; i++) {
        const json_t *value = json_field(v->model, empty[i]);
        if (value && !json_is(value, ""))
            return refuse(v, empty[i], "null");
    }
    return TRIB_OK;
}

static bool is_type(const json_t *object, const char *const *types)
{
    for (size_t i = 0; types[i]; i++)
        if (json_is(json_object_get(object, "type"), types[i]))
            return true;
    return false;
}

/* True where `object`, or each member of its list, has one of the types (up to NULL). */
static bool only_types(const json_t *object, const char *list, const char *const *types)
{
    const json_t *members = json_object_get(object, list);
    if (!object)
        return true;
    if (!json_is(json_object_get(object, "type"), "Sequence"))
        return is_type(object, types);
    for (size_t i = 0; i < json_array_size(members); i++)
        if (!is_type(json_array_get(members, i), types))
            return false;
    return true;
}

/* ---- Byte-level BPE ---- */

static trib_status put_merges(struct hf_vocab *v)
{
    const json_t *merges = NULL;
    trib_status status = get_merges(v, &merges);
    size_t count = json_array_size(merges);
    if (status != TRIB_OK)
        return status;
    struct slice *texts = calloc(count + 1, sizeof *texts);
    if (!texts)
        return error_no_memory(v->error, "merges", count * sizeof *texts);
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        struct slice left, right;
        if (!split_merge(json_array_get(merges, i), &left, &right) ||
            memchr(left.bytes, ' ', left.length) || memchr(right.bytes, ' ', right.length)) {
            status = bad_merge(v, i);
            break;
        }
        size_t length = left.length + 1 + right.length;
        char *text = hf_scratch(v, length);
        if (!text) {
            status = TRIB_NO_MEMORY;
            break;
        }
        memcpy(text, left.bytes, left.length);
        text[left.length] = ' ';
        memcpy(text + left.length + 1, right.bytes, right.length);
        texts[i] = (struct slice){text, length};
    }
    if (status == TRIB_OK)
        gguf_put_strings(v->out, KEY("merges"), texts, count);
    free(texts);
    return status;
}

trib_status hf_byte_level_read(struct hf_vocab *v)
{
    /* Composing characters (NFC) is left to who gives the text, as llama.cpp does. */
    static const char *const normalizers[] = {"NFC", NULL};
    bool whole_words = false;
    trib_status status = check_bpe(v);
    if (status == TRIB_OK)
        status = json_get_bool(v->file, v->model, "ignore_merges", &whole_words, v->error);
    if (status != TRIB_OK)
        return status;
    if (!only_types(json_field(v->file->root, "normalizer"), "normalizers", normalizers))
        return refuse(v, "normalizer", "none, or NFC");
    const char *pre = hf_pre_find(json_field(v->file->root, "pre_tokenizer"), whole_words);
    if (!pre)
        return refuse(v, "pre_tokenizer",
                      "the steps of GPT-2, GPT-4o, Llama 3, Qwen 2, Tekken, StarCoder or DeepSeek");
    gguf_put_string(v->out, KEY("model"), slice_of("gpt2"));
    gguf_put_string(v->out, KEY("pre"), slice_of(pre));
    status = read_vocab(v);
    return status == TRIB_OK ? put_merges(v) : status;
}

/* ---- SentencePiece ---- */

/* The id of a token that is not added; -1: there is none. */
static int64_t find_learned(const struct hf_vocab *v, const json_t *vocab, const char *bytes,
                            size_t length)
{
    const json_t *id = json_object_getn(vocab, bytes, length);
    return id && v->tokens.kinds[json_integer_value(id)] == HF_TOKEN_NORMAL ? json_integer_value(id)
                                                                            : -1;
}

/* By scores any two tokens merge that make a third. Merges that were learned are fewer: they make
 * each token in one way alone. `ways` [rows] counts the merges that make a token. */
static trib_status check_ways(const struct hf_vocab *v, const json_t *vocab, const uint32_t *ways)
{
    for (size_t i = 0; i < v->tokens.rows; i++) {
        struct slice text = v->tokens.texts[i];
        size_t count = 0;
        for (size_t j = 1; j < text.length && v->tokens.kinds[i] == HF_TOKEN_NORMAL; j++)
            count += find_learned(v, vocab, text.bytes, j) >= 0 &&
                     find_learned(v, vocab, text.bytes + j, text.length - j) >= 0;
        if (count > ways[i])
            return error_set(v->error, TRIB_UNSUPPORTED,
                             "%s: model.merges: expected all pairs that make a token, as of "
                             "SentencePiece; of the %zu that make %s, found %u",
                             v->file->name, count, safetensors_show(text).text, ways[i]);
    }
    return TRIB_OK;
}

/* Scores from the order of merges: what merges first is better, and what no merge makes is worse
 * than all. Where merges were made from scores (as those of converted SentencePiece models were)
 * this gives the order of those scores back. */
static trib_status score_merges(struct hf_vocab *v, uint32_t *ways)
{
    const json_t *merges = NULL, *vocab = json_object_get(v->model, "vocab");
    trib_status status = get_merges(v, &merges);
    size_t count = json_array_size(merges), capacity = 0;
    char *whole = NULL;
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < v->tokens.rows; i++)
        v->tokens.scores[i] = -(float)(count + 1);
    for (size_t i = count; i-- > 0;) { /* the first of several merges of a token comes last */
        struct slice left, right;
        if (!split_merge(json_array_get(merges, i), &left, &right))
            return bad_merge(v, i);
        size_t length = left.length + right.length;
        if (length > capacity) {
            capacity = 2 * length;
            whole = hf_scratch(v, capacity);
            if (!whole)
                return TRIB_NO_MEMORY;
        }
        memcpy(whole, left.bytes, left.length);
        memcpy(whole + left.length, right.bytes, right.length);
        const json_t *id = json_object_getn(vocab, whole, length);
        if (!id)
            return error_set(v->error, TRIB_FORMAT,
                             "%s: model.merges: %zu: expected tokens that make a third, found %s",
                             v->file->name, i,
                             safetensors_show((struct slice){whole, length}).text);
        v->tokens.scores[json_integer_value(id)] = -(float)i;
        ways[json_integer_value(id)]++;
    }
    return check_ways(v, vocab, ways);
}

/* Added tokens are found in a text before it is merged; no merge makes them or is made of them. */
static trib_status read_merges(struct hf_vocab *v)
{
    const json_t *added = json_field(v->file->root, "added_tokens");
    uint32_t *ways = calloc(v->tokens.rows, sizeof *ways);
    if (!ways)
        return error_no_memory(v->error, "merges", v->tokens.rows * sizeof *ways);
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *id = json_object_get(json_array_get(added, i), "id");
        json_int_t at = id && json_is_integer(id) ? json_integer_value(id) : -1;
        if (at >= 0 && (uint64_t)at < v->tokens.rows && v->tokens.texts[at].bytes)
            v->tokens.kinds[at] = HF_TOKEN_USER_DEFINED;
    }
    trib_status status = score_merges(v, ways);
    free(ways);
    return status;
}

static bool is_byte(struct slice text)
{
    static const char digits[] = "0123456789ABCDEFabcdef";
    return text.length == 6 && memcmp(text.bytes, "<0x", 3) == 0 && text.bytes[5] == '>' &&
           memchr(digits, text.bytes[3], sizeof digits - 1) &&
           memchr(digits, text.bytes[4], sizeof digits - 1);
}

/* Metaspace may cut words before U+2581. Where no token has it behind another character that
 * changes nothing. */
static trib_status check_metaspace(const struct hf_vocab *v, const json_t *metaspace)
{
    const json_t *split = json_field(metaspace, "split");
    const json_t *mark = json_field(metaspace, "replacement");
    if (!metaspace)
        return TRIB_OK;
    if (mark && !json_is(mark, space))
        return refuse(v, "pre_tokenizer.replacement", "U+2581");
    if (split && json_is_false(split))
        return TRIB_OK;
    for (size_t i = 0; i < v->tokens.rows; i++) {
        struct slice text = v->tokens.texts[i];
        for (size_t j = 1; j + 3 <= text.length; j++)
            if (memcmp(text.bytes + j, space, 3) == 0)
                return refuse(v, "pre_tokenizer.split", "false, as tokens span words");
    }
    return TRIB_OK;
}

/* Whether a space is put before a text; and that nothing else is done to it. */
static trib_status read_spaces(const struct hf_vocab *v, bool *add)
{
    static const char *const normalizers[] = {"Prepend", "Replace", NULL};
    static const char *const pre_tokenizers[] = {"Metaspace", "Split", NULL};
    const json_t *normalizer = json_field(v->file->root, "normalizer");
    const json_t *pre = json_field(v->file->root, "pre_tokenizer");
    const json_t *replace = hf_find_type(normalizer, "normalizers", "Replace");
    const json_t *metaspace = hf_find_type(pre, "pretokenizers", "Metaspace");
    const json_t *split = hf_find_type(pre, "pretokenizers", "Split");
    if (!only_types(normalizer, "normalizers", normalizers) ||
        (replace &&
         (!json_is(json_object_get(json_object_get(replace, "pattern"), "String"), " ") ||
          !json_is(json_object_get(replace, "content"), space))))
        return refuse(v, "normalizer", "nothing but U+2581 for spaces and before a text");
    if (!only_types(pre, "pretokenizers", pre_tokenizers) ||
        (split && !json_is(json_object_get(json_object_get(split, "pattern"), "String"), " ")))
        return refuse(v, "pre_tokenizer", "ByteLevel, Metaspace, or a Split at spaces");
    if (!replace && !metaspace)
        return refuse(v, "normalizer", "U+2581 for spaces");
    *add = hf_find_type(normalizer, "normalizers", "Prepend") != NULL;
    if (metaspace) {
        const json_t *scheme = json_field(metaspace, "prepend_scheme");
        const json_t *prefix = json_field(metaspace, "add_prefix_space");
        *add = *add || (scheme ? !json_is(scheme, "never") : !prefix || json_is_true(prefix));
    }
    return check_metaspace(v, metaspace);
}

static trib_status read_pieces(struct hf_vocab *v, bool *add_space)
{
    struct hf_pieces pieces;
    trib_status status =
        hf_pieces_read(&pieces, &v->tokens, v->source->pieces, "tokenizer.model", v->error);
    if (status != TRIB_OK)
        return status;
    if (pieces.drops_spaces && !pieces.unlike)
        pieces.unlike = "remove_extra_whitespaces: expected false";
    if (pieces.unlike && !v->model) /* a tokenizer.json says itself what is done to texts */
        return error_set(v->error, TRIB_UNSUPPORTED, "%s: tokenizer.model: %s", v->source->folder,
                         pieces.unlike);
    int64_t ids[] = {[HF_BOS] = pieces.bos, [HF_EOS] = pieces.eos, [HF_UNKNOWN] = pieces.unknown};
    for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++)
        if (ids[i] >= 0 && (uint64_t)ids[i] < v->tokens.rows)
            v->special[i] = ids[i];
    *add_space = pieces.add_space_prefix;
    return TRIB_OK;
}

static trib_status read_characters(struct hf_vocab *v)
{
    bool bytes = false;
    const json_t *unknown = json_field(v->model, "unk_token");
    trib_status status = check_bpe(v);
    if (status == TRIB_OK)
        status = json_get_bool(v->file, v->model, "byte_fallback", &bytes, v->error);
    if (status == TRIB_OK)
        status = read_vocab(v);
    if (status == TRIB_OK)
        status = read_merges(v);
    if (status != TRIB_OK)
        return status;
    for (size_t i = 0; i < v->tokens.rows; i++) {
        struct slice text = v->tokens.texts[i];
        if (!text.bytes)
            continue;
        if (bytes && is_byte(text))
            v->tokens.kinds[i] = HF_TOKEN_BYTE;
        if (unknown && json_is_string(unknown) && slice_equal(text, json_slice(unknown))) {
            v->tokens.kinds[i] = HF_TOKEN_UNKNOWN;
            v->special[HF_UNKNOWN] = (int64_t)i;
        }
    }
    return TRIB_OK;
}

/* What becomes of characters that are no token. */
static trib_status check_unknown(const struct hf_vocab *v)
{
    bool fuses = false;
    size_t bytes = 0;
    for (size_t i = 0; i < v->tokens.rows; i++)
        bytes += v->tokens.kinds[i] == HF_TOKEN_BYTE;
    if (bytes >= 256)
        return TRIB_OK;
    if (v->special[HF_UNKNOWN] < 0) /* they would be left out */
        return refuse(v, "model.unk_token", "a token, as not all bytes are tokens");
    trib_status status = json_get_bool(v->file, v->model, "fuse_unk", &fuses, v->error);
    return status == TRIB_OK && !fuses
               ? refuse(v, "model.fuse_unk", "true, as not all bytes are tokens")
               : status;
}

trib_status hf_sentencepiece_read(struct hf_vocab *v)
{
    bool add_space = true;
    trib_status status = v->source->pieces.bytes ? read_pieces(v, &add_space) : read_characters(v);
    if (status == TRIB_OK && v->model)
        status = read_spaces(v, &add_space);
    if (status == TRIB_OK && !v->source->pieces.bytes)
        status = check_unknown(v);
    gguf_put_string(v->out, KEY("model"), slice_of("llama"));
    gguf_put_string(v->out, KEY("pre"), slice_of("default"));
    gguf_put_bool(v->out, KEY("add_space_prefix"), add_space);
    return status;
}

/* ---- WordPiece ---- */

/* The lines of vocab.txt, an id each. */
static trib_status read_words(struct hf_vocab *v)
{
    struct slice rest = v->source->words;
    for (size_t id = 0; rest.length > 0; id++) {
        const char *end = memchr(rest.bytes, '\n', rest.length);
        size_t length = end ? (size_t)(end - rest.bytes) : rest.length;
        struct slice line = {rest.bytes, length};
        rest = (struct slice){rest.bytes + length + (end != NULL),
                              rest.length - length - (end != NULL)};
        if (line.length > 0 && line.bytes[line.length - 1] == '\r')
            line.length--;
        if (id >= v->tokens.rows)
            return error_set(v->error, TRIB_FORMAT,
                             "vocab.txt: expected at most %zu lines, the rows of the embedding",
                             v->tokens.rows);
        v->tokens.texts[id] = line;
        v->tokens.kinds[id] = HF_TOKEN_NORMAL;
        if (slice_is(line, "[PAD]") || slice_is(line, "[UNK]") || slice_is(line, "[CLS]") ||
            slice_is(line, "[SEP]") || slice_is(line, "[MASK]"))
            v->tokens.kinds[id] = HF_TOKEN_CONTROL;
    }
    return TRIB_OK;
}

/* Special tokens that a file does not name go by the texts that BERT gives them. */
static void find_usual(struct hf_vocab *v)
{
    static const struct {
        enum hf_special special;
        const char *text;
    } usual[] = {{HF_PADDING, "[PAD]"},
                 {HF_UNKNOWN, "[UNK]"},
                 {HF_CLASS, "[CLS]"},
                 {HF_SEPARATOR, "[SEP]"},
                 {HF_MASK, "[MASK]"}};
    for (size_t i = 0; i < v->tokens.rows; i++)
        for (size_t j = 0; j < sizeof usual / sizeof usual[0]; j++)
            if (v->tokens.texts[i].bytes && slice_is(v->tokens.texts[i], usual[j].text))
                v->special[usual[j].special] = (int64_t)i;
}

/* "##x" becomes "x", what begins a word gets U+2581 before it; special tokens stay. */
static trib_status mark_words(struct hf_vocab *v)
{
    const json_t *added = json_object_get(v->file->root, "added_tokens");
    for (size_t i = 0; i < json_array_size(added); i++) {
        const json_t *token = json_array_get(added, i);
        json_int_t id = json_integer_value(json_object_get(token, "id"));
        if (json_is_true(json_object_get(token, "special")) && id >= 0 &&
            (uint64_t)id < v->tokens.rows)
            v->tokens.kinds[id] = HF_TOKEN_CONTROL;
    }
    for (size_t i = 0; i < v->tokens.rows; i++) {
        struct slice *text = &v->tokens.texts[i];
        if (!text->bytes || v->tokens.kinds[i] == HF_TOKEN_CONTROL)
            continue;
        if (text->length >= 2 && memcmp(text->bytes, "##", 2) == 0) {
            *text = (struct slice){text->bytes + 2, text->length - 2};
            continue;
        }
        char *marked = hf_scratch(v, text->length + 3);
        if (!marked)
            return TRIB_NO_MEMORY;
        memcpy(marked, space, 3);
        memcpy(marked + 3, text->bytes, text->length);
        *text = (struct slice){marked, text->length + 3};
    }
    return TRIB_OK;
}

static trib_status put_normalizer(struct hf_vocab *v)
{
    const json_t *normalizer = json_field(v->file->root, "normalizer");
    const struct json_file *config = v->source->tokenizer_config;
    bool lowercase = true, strip, usual = true;
    trib_status status;
    if (v->model) {
        if (!json_is(json_object_get(normalizer, "type"), "BertNormalizer"))
            return refuse(v, "normalizer", "BertNormalizer");
        status = json_get_bool(v->file, normalizer, "lowercase", &lowercase, v->error);
        if (status == TRIB_OK)
            status = json_get_bool(v->file, normalizer, "clean_text", &usual, v->error);
        if (status == TRIB_OK && usual)
            status = json_get_bool(v->file, normalizer, "handle_chinese_chars", &usual, v->error);
        if (status == TRIB_OK && !usual)
            status = refuse(v, "normalizer", "clean_text and handle_chinese_chars");
    } else {
        status = json_get_bool(config, config->root, "do_lower_case", &lowercase, v->error);
    }
    strip = lowercase; /* as null has it */
    if (status == TRIB_OK && v->model)
        status = json_get_bool(v->file, normalizer, "strip_accents", &strip, v->error);
    gguf_put_bool(v->out, KEY("normalizer.lowercase"), lowercase);
    gguf_put_bool(v->out, KEY("normalizer.strip_accents"), strip);
    return status;
}

trib_status hf_wordpiece_read(struct hf_vocab *v)
{
    const json_t *prefix = json_field(v->model, "continuing_subword_prefix");
    if (prefix && !json_is(prefix, "##"))
        return refuse(v, "model.continuing_subword_prefix", "##");
    uint64_t longest = 100; /* characters of a word, in text/wordpiece.c too */
    trib_status status = json_get_count(v->file, v->model, "max_input_chars_per_word", 0, INT32_MAX,
                                        &longest, v->error);
    if (status == TRIB_OK && longest != 100)
        status = refuse(v, "model.max_input_chars_per_word", "100");
    if (status != TRIB_OK)
        return status;
    if (v->model && !json_is(json_object_get(json_field(v->file->root, "pre_tokenizer"), "type"),
                             "BertPreTokenizer"))
        return refuse(v, "pre_tokenizer", "BertPreTokenizer");
    v->wordpiece = v->add_eos = true;
    gguf_put_string(v->out, KEY("model"), slice_of("bert"));
    gguf_put_string(v->out, KEY("pre"), slice_of("default"));
    status = v->model ? read_vocab(v) : read_words(v);
    if (status == TRIB_OK)
        status = put_normalizer(v);
    if (status != TRIB_OK)
        return status;
    find_usual(v);
    return mark_words(v);
}
