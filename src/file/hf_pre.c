/* Pre-tokenizers of byte-level vocabularies: what tokenizer.json describes step by step is compared
 * with what is known, and GGUF's name for it given. The expressions are the models' own; what each
 * does stands in text/pretokenizer.c. */
#include <string.h>

#include "file/hf.h"

enum { STEPS = 6 };

/* A step that is no expression: the expression of GPT-2, as ByteLevel has it; each digit alone. */
#define BYTE_LEVEL "ByteLevel"
#define DIGITS     "Digits"

#define TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define GPT_4(number)                                                                              \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" number                           \
    "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" TAIL
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(ending, number)                                                                      \
    "[^\\r\\n\\p{L}\\p{N}]?" UPPER "*" LOWER "+" ending "|[^\\r\\n\\p{L}\\p{N}]?" UPPER "+" LOWER  \
    "*" ending "|" number "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" TAIL

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
    {"deepseek-coder",
     false,
     {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+",
      "[\xe4\xb8\x80-\xe9\xbe\xa5\xe0\xa0\x80-\xe4\xb8\x80\xea\xb0\x80-\xed\x9f\xbf]+", DIGITS}},
    {"deepseek-v3",
     false,
     {"\\p{N}{1,3}",
      "[\xe4\xb8\x80-\xe9\xbe\xa5\xe3\x81\x80-\xe3\x82\x9f\xe3\x82\xa0-\xe3\x83\xbf]+",
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
        add(steps, is_true(object, "individual_digits", false) ? DIGITS : NULL);
    } else if (json_is(type, "Split") &&
               (json_is(behavior, "Isolated") ||
                (json_is(behavior, "Removed") && is_true(object, "invert", false)))) {
        /* Leaving out what does not match keeps the matches: the expressions match everything. */
        add(steps, json_string_value(json_object_get(json_object_get(object, "pattern"), "Regex")));
    } else {
        steps->known = false;
    }
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
               strcmp(known[i].steps[same], steps.at[same]) == 0)
            same++;
        if (same == steps.count && (same == STEPS || !known[i].steps[same]) &&
            known[i].whole_words == whole_words)
            return known[i].name;
    }
    return NULL;
}
