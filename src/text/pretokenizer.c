/* The table of pre-tokenizers, and cutting a text with PCRE2.
 *
 * The expressions are the models' own, as their tokenizer.json files and llama.cpp's
 * src/llama-vocab.cpp have them, except where noted. Two classes are spelled out: \s of PCRE2 holds
 * U+180E, which is no white space since Unicode 6.3, so that property is asked for by name. */
#include "text/pretokenizer.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/deepseek_letters.h"
#include "base/error.h"
#include "text/utf8.h"

#define SPACE "\\p{White_Space}"
#define INK   "\\P{White_Space}"

/* A run of white space leaves its last character to what follows; then what nothing else took. */
#define SPACES SPACE "+(?!" INK ")|" SPACE "+"

/* GPT-2: contractions, then words, numbers and the rest, each with at most a space before it. */
#define GPT_2 "'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE "\\p{L}\\p{N}]+|" SPACES

/* GPT-4 and its descendants, which differ in what is a word, a number and the rest. */
#define ENDING        "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define NEITHER       "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER         "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define GPT_4(number) ENDING "|" NEITHER "\\p{L}+|" REST(number, "[\\r\\n]*")
#define CASED(ending, number)                                                                      \
    NEITHER UPPER "*" LOWER "+" ending "|" NEITHER UPPER "+" LOWER "*" ending                      \
                  "|" REST(number, "[\\r\\n/]*")
#define REST(number, line_end)                                                                     \
    number "| ?[^" SPACE "\\p{L}\\p{N}]+" line_end "|" SPACE "*[\\r\\n]+|" SPACES

#define CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

static const struct pretokenizer_kind kinds[] = {
    {.names = {"gpt-2", "phi-2", "mpt", "olmo", "jais", "modern-bert", "gigachat"},
     .expressions = {GPT_2}},
    /* What llama.cpp does where a file names nothing. */
    {.names = {"default"},
     .expressions = {"[\\p{P}$+<=>^~|]+", GPT_2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {.names = {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0",
               "lfm2"},
     .expressions = {GPT_4("\\p{N}{1,3}")},
     .whole_words = true,
     .add_bos = true},
    {.names = {"dbrx", "smaug-bpe", "glm4", "chatglm-bpe"}, .expressions = {GPT_4("\\p{N}{1,3}")}},
    {.names = {"qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan", "grok-2"},
     .expressions = {GPT_4("\\p{N}")}},
    {.names = {"gpt-4o", "llama4"}, .expressions = {CASED(ENDING "?", "\\p{N}{1,3}")}},
    {.names = {"tekken"},
     .expressions = {CASED("", "\\p{N}")},
     .whole_words = true,
     .add_bos = true},
    {.names = {"starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"},
     .expressions = {"\\p{N}", GPT_2}},
    {.names = {"falcon"}, .expressions = {"[\\p{P}$+<=>^~|`]+", GPT_2, "[0-9][0-9][0-9]"}},
    {.names = {"deepseek-coder"},
     .expressions = {"[\\r\\n]", SPACE "?\\p{L}+", SPACE "?\\p{P}+", CJK, "\\p{N}"}},
    /* The original's \s+$ would look at a run of white space from each of its characters. */
    {.names = {"deepseek-llm"},
     .expressions = {"[\\r\\n]", SPACE "?[" DEEPSEEK_LETTERS "]+",
                     SPACE "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}"
                           "\\x{3000}-\\x{3002}]+",
                     "(?<!" SPACE ")" SPACE "++\\z", CJK, "\\p{N}+"}},
    {.names = {"deepseek-v3"},
     .expressions = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
                     "[!-/:-@\\[-`{-~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
                     "| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACES}},
};

/* A net below expressions that are linear: one that is not shall end with an error. */
enum { MATCH_LEAST = 1 << 20, MATCH_PER_BYTE = 4, HEAP_LIMIT_KIB = 1 << 16 };

struct pretokenizer {
    size_t count;
    pcre2_code *codes[PRETOKENIZER_EXPRESSIONS];
};

const struct pretokenizer_kind *pretokenizer_find(struct slice name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        for (size_t j = 0; j < PRETOKENIZER_NAMES && kinds[i].names[j]; j++)
            if (slice_is(name, kinds[i].names[j]))
                return &kinds[i];
    return NULL;
}

static trib_status compile(pcre2_code **out, const char *expression, trib_error *error)
{
    int code;
    PCRE2_SIZE offset;
    *out = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                         &code, &offset, NULL);
    if (!*out) {
        PCRE2_UCHAR reason[128] = "";
        pcre2_get_error_message(code, reason, sizeof reason);
        return error_set(error, code == PCRE2_ERROR_NOMEMORY ? TRIB_NO_MEMORY : TRIB_UNSUPPORTED,
                         "PCRE2: %s at %zu of %.40s", (const char *)reason, (size_t)offset,
                         expression);
    }
    /* Where a system allows no code to be made, the interpreter does the same, slower. */
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
    return TRIB_OK;
}

trib_status pretokenizer_open(struct pretokenizer **out, const struct pretokenizer_kind *kind,
                              trib_error *error)
{
    *out = NULL;
    struct pretokenizer *pre = calloc(1, sizeof *pre);
    if (!pre)
        return error_no_memory(error, "a pre-tokenizer", sizeof *pre);
    trib_status status = TRIB_OK;
    while (!status && pre->count < PRETOKENIZER_EXPRESSIONS && kind->expressions[pre->count]) {
        status = compile(&pre->codes[pre->count], kind->expressions[pre->count], error);
        pre->count++;
    }
    if (status) {
        pretokenizer_close(pre);
        return status;
    }
    *out = pre;
    return TRIB_OK;
}

void pretokenizer_close(struct pretokenizer *pre)
{
    if (!pre)
        return;
    for (size_t i = 0; i < pre->count; i++)
        pcre2_code_free(pre->codes[i]);
    free(pre);
}

/* One text being cut. */
struct cutter {
    const struct pretokenizer *pre;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    pretokenizer_word *word;
    void *context;
    trib_error *error;
};

/* Finds the next match at or behind `from`; both ends are the piece's where there is none. */
static trib_status find(const struct cutter *c, size_t level, struct slice piece, size_t from,
                        size_t *start, size_t *end)
{
    int found = pcre2_match(c->pre->codes[level], (PCRE2_SPTR)piece.bytes, piece.length, from,
                            PCRE2_NO_UTF_CHECK, c->match, c->limits);
    *start = *end = piece.length;
    if (found == PCRE2_ERROR_NOMATCH)
        return TRIB_OK;
    if (found == PCRE2_ERROR_NOMEMORY)
        return error_no_memory(c->error, "the words of a text", piece.length);
    if (found < 0)
        return error_set(c->error, TRIB_UNSUPPORTED,
                         "cutting a text into words: PCRE2 failed (%d) in a piece of %zu bytes",
                         found, piece.length);
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(c->match);
    assert(ends[0] >= from && ends[1] > ends[0]); /* no expression matches nothing */
    *start = ends[0];
    *end = ends[1];
    return TRIB_OK;
}

/* Cuts a piece of valid UTF-8 by the expression of this level, and its pieces by the next ones. */
static trib_status cut(const struct cutter *c, size_t level, struct slice piece)
{
    if (level == c->pre->count)
        return c->word(c->context, piece);
    trib_status status = TRIB_OK;
    for (size_t done = 0; done < piece.length && !status;) {
        size_t start, end;
        status = find(c, level, piece, done, &start, &end);
        if (!status && start > done)
            status = cut(c, level + 1, (struct slice){piece.bytes + done, start - done});
        if (!status && end > start)
            status = cut(c, level + 1, (struct slice){piece.bytes + start, end - start});
        done = end;
    }
    return status;
}

trib_status pretokenizer_split(const struct pretokenizer *pre, struct slice text,
                               pretokenizer_word *word, void *context, trib_error *error)
{
    struct cutter c = {.pre = pre,
                       .word = word,
                       .context = context,
                       .error = error,
                       .match = pcre2_match_data_create(1, NULL),
                       .limits = pcre2_match_context_create(NULL)};
    trib_status status = TRIB_OK;
    if (!c.match || !c.limits) {
        status = error_no_memory(error, "the words of a text", sizeof c);
        goto done;
    }
    uint64_t steps = MATCH_LEAST + MATCH_PER_BYTE * (uint64_t)text.length;
    pcre2_set_match_limit(c.limits, steps < UINT32_MAX ? (uint32_t)steps : UINT32_MAX);
    pcre2_set_heap_limit(c.limits, HEAP_LIMIT_KIB);
    for (size_t i = 0; i < text.length && !status;) {
        size_t valid = utf8_valid(text.bytes + i, text.length - i);
        if (valid > 0)
            status = cut(&c, 0, (struct slice){text.bytes + i, valid});
        else
            status = word(context, (struct slice){text.bytes + i, 1});
        i += valid ? valid : 1;
    }
done:
    pcre2_match_data_free(c.match);
    pcre2_match_context_free(c.limits);
    return status;
}
