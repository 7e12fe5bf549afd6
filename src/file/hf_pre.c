/* Pre-tokenizers of byte-level vocabularies: what tokenizer.json describes step by step is compared
 * with what is known, and GGUF's name for it given. The expressions are the models' own; what each
 * does stands in text/pretokenizer.c. */
#include <stdlib.h>
#include <string.h>

#include "base/deepseek_letters.h"
#include "file/hf.h"

enum { STEPS = 6 };

/* Steps that are no expressions: that of GPT-2, as ByteLevel has it; each digit alone; runs of
 * digits; runs of punctuation. */
#define BYTE_LEVEL  "ByteLevel"
#define DIGITS      "Digits"
#define NUMBERS     "Numbers"
#define PUNCTUATION "Punctuation"

#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT_4(number)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, number)                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" ending "|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL

#define CJK "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

/* Characters beyond ASCII stand as \x{...} here and as themselves in tokenizer.json. */
static const struct {
    const char *name;
    bool whole_words; /* ignore_merges */
    const char *steps[STEPS];
} known[] = {
    {"gpt-2", false, {BYTE_LEVEL}},
    {"gpt-2",
     false,
     {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}},
    {"starcoder", false, {DIGITS, BYTE_LEVEL}},
    {"llama-bpe", true, {GPT_4("\\p{N}{1,3}")}},
    {"dbrx", false, {GPT_4("\\p{N}{1,3}")}},
    {"qwen2", false, {GPT_4("\\p{N}")}},
    {"gpt-4o", false, {CASED("(?i:'s|'t|'re|'ve|'m|'ll|'d)?", "\\p{N}{1,3}")}},
    {"tekken", true, {CASED("", "\\p{N}")}},
    {"deepseek-coder", false, {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK, DIGITS}},
    {"deepseek-llm",
     false,
     {"[\r\n]", "\\s?[" DEEPSEEK_LETTERS "]+",
      "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}"
      "\\x{3000}-\\x{3002}]+",
      "\\s+$", CJK, DIGITS}},
    /* ByteLevel writes bytes as letters, some of them numeric, before digits are looked for; merges
     * that were learned behind the same steps never join what that parts. */
    {"falcon", false, {PUNCTUATION, BYTE_LEVEL, NUMBERS, "[0-9][0-9][0-9]"}},
    {"deepseek-v3",
     false,
     {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
      "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
      "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" TAIL}},
};

/* The steps of a pre-tokenizer, each an expression or one of the names above. */
struct steps {
    const char *at[STEPS];
    size_t count;
    bool known;
};

static bool is_true(const json_t *object, const char *key, bool otherwise)
{
    const json_t *value = json_field(object, key);
    return value ? json_is_true(value) : otherwise;
}

static void add(struct steps *steps, const char *step)
{
    steps->known = steps->known && step && steps->count < STEPS;
    if (steps->known)
        steps->at[steps->count++] = step;
}

static void add_step(struct steps *steps, const json_t *object)
{
    const json_t *type = json_object_get(object, "type");
    const json_t *behavior = json_object_get(object, "behavior");
    if (json_is(type, "ByteLevel")) {
        steps->known = steps->known && !is_true(object, "add_prefix_space", true);
        if (is_true(object, "use_regex", true))
            add(steps, BYTE_LEVEL);
    } else if (json_is(type, "Digits")) {
        add(steps, is_true(object, "individual_digits", false) ? DIGITS : NUMBERS);
    } else if (json_is(type, "Punctuation")) {
        add(steps, json_is(behavior, "Contiguous") ? PUNCTUATION : NULL);
    } else if (json_is(type, "Split") &&
               (json_is(behavior, "Isolated") ||
                (json_is(behavior, "Removed") && is_true(object, "invert", false)))) {
        /* Leaving out what does not match keeps the matches: the expressions match everything. */
        add(steps, json_string_value(json_object_get(json_object_get(object, "pattern"), "Regex")));
    } else {
        steps->known = false;
    }
}

/* The UTF-8 of a code point from U+0080 on. */
static size_t encode(char out[4], unsigned long code)
{
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length; i-- > 1; code >>= 6)
        out[i] = (char)(0x80 | (code & 63));
    out[0] = (char)(0xf00 >> length | code);
    return length;
}

static bool is_step(const char *step, const char *expected)
{
    while (*expected) {
        char bytes[4] = {*expected}, *end;
        size_t length = 1;
        if (strncmp(expected, "\\x{", 3) == 0) {
            length = encode(bytes, strtoul(expected + 3, &end, 16));
            expected = end;
        }
        expected++;
        if (strncmp(step, bytes, length) != 0)
            return false;
        step += length;
    }
    return !*step;
}

const char *hf_pre_find(const json_t *pre_tokenizer, bool whole_words)
{
    struct steps steps = {.known = true};
    const json_t *list = json_object_get(pre_tokenizer, "pretokenizers");
    bool sequence = json_is(json_object_get(pre_tokenizer, "type"), "Sequence");
    for (size_t i = 0; i < json_array_size(list) && sequence; i++)
        add_step(&steps, json_array_get(list, i));
    if (!sequence)
        add_step(&steps, pre_tokenizer);
    for (size_t i = 0; steps.known && i < sizeof known / sizeof known[0]; i++) {
        size_t same = 0;
        while (same < steps.count && known[i].steps[same] &&
               is_step(steps.at[same], known[i].steps[same]))
            same++;
        if (same == steps.count && (same == STEPS || !known[i].steps[same]) &&
            known[i].whole_words == whole_words)
            return known[i].name;
    }
    return NULL;
}
