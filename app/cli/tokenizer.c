/* trib tokenizer: learns vocabularies from texts. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"
#include "tributary/tokenizer.h"

enum { SPECIAL_MOST = 256 };

struct values {
    const char *output, *pre, *special;
    size_t vocabulary, min_frequency;
    bool json;
};

static const struct option_row options[] = {
    {"output", 'o', OPTION_STRING, offsetof(struct values, output), "FILE",
     "the vocabulary to write, a GGUF file (required)"},
    {"vocab", 0, OPTION_SIZE, offsetof(struct values, vocabulary), "N",
     "tokens at most, the 256 bytes and the special ones among them (32768)"},
    {"min-frequency", 0, OPTION_SIZE, offsetof(struct values, min_frequency), "N",
     "merge no pair that occurs less often (2)"},
    {"pre", 0, OPTION_STRING, offsetof(struct values, pre), "NAME",
     "how texts are cut into words: gpt-2, llama-bpe, qwen2, ... (gpt-2)"},
    {"special", 0, OPTION_STRING, offsetof(struct values, special), "LIST",
     "control tokens, with commas between; the first ends a text"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

/* Cuts a list at its commas. False where it has more than SPECIAL_MOST entries. */
static bool split_list(const char *list, trib_text *entries, size_t *count)
{
    for (*count = 0; *count < SPECIAL_MOST; list++) {
        size_t length = strcspn(list, ",");
        entries[(*count)++] = (trib_text){list, length};
        list += length;
        if (*list == 0)
            return true;
    }
    return false;
}

static int print_report(const struct values *v, const trib_tokenizer_report *r)
{
    if (v->json)
        return print_json(json_pack("{s:s, s:I, s:I, s:I, s:I}", "file", v->output, "vocabulary",
                                    (json_int_t)r->vocabulary, "merges", (json_int_t)r->merges,
                                    "words", (json_int_t)r->words, "distinct_words",
                                    (json_int_t)r->distinct_words));
    fprintf(stderr, "%s: %zu tokens by %zu merges, from %llu words, %llu of them distinct\n",
            v->output, r->vocabulary, r->merges, (unsigned long long)r->words,
            (unsigned long long)r->distinct_words);
    return EXIT_SUCCESS;
}

static trib_status no_memory(trib_error *error)
{
    error->status = TRIB_NO_MEMORY;
    strcpy(error->message, "no memory for the texts");
    return TRIB_NO_MEMORY;
}

static void free_texts(trib_text *texts, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)(uintptr_t)texts[i].bytes);
    free(texts);
}

/* Reads all files; *texts, which free_texts frees, is NULL after a failure. */
static trib_status read_texts(char **paths, size_t count, trib_text **texts, trib_error *error)
{
    trib_text *read = *texts = calloc(count, sizeof *read);
    if (!read)
        return no_memory(error);
    for (size_t i = 0; i < count; i++) {
        char *text;
        trib_status status = read_all(paths[i], &text, &read[i].length, error);
        if (status != TRIB_OK) {
            free_texts(read, i);
            *texts = NULL;
            return status;
        }
        read[i].bytes = text;
    }
    return TRIB_OK;
}

static int run_train(const struct command *self, int argc, char **argv)
{
    trib_tokenizer_options defaults = trib_tokenizer_options_default();
    struct values v = {.pre = defaults.pre,
                       .vocabulary = defaults.vocabulary,
                       .min_frequency = (size_t)defaults.min_frequency};
    trib_text special[SPECIAL_MOST], *texts;
    trib_tokenizer_report report;
    trib_error error;
    size_t special_count = 0;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (!v.output)
        return options_complain(self, "output", "the file to write", "");
    if (v.special && !split_list(v.special, special, &special_count))
        return options_complain(self, "special", "at most 256 tokens with commas between",
                                v.special);
    size_t count = (size_t)(argc - first);
    for (size_t i = 0; i < count; i++)
        if (output_differs(v.output, argv[first + (int)i], "the text", &error) != TRIB_OK)
            return complain(&error);
    if (read_texts(argv + first, count, &texts, &error) != TRIB_OK)
        return complain(&error);
    trib_tokenizer_options how = {v.vocabulary, v.min_frequency, v.pre, special, special_count};
    if (trib_tokenizer_train(v.output, texts, count, &how, &report, &error) == TRIB_OK)
        status = print_report(&v, &report);
    else
        status = complain(&error);
    free_texts(texts, count);
    return status;
}

static const struct command tokenizer_train_command = {
    .name = "tokenizer train",
    .operands = "TEXT...",
    .summary = "Learn a byte-level BPE vocabulary from texts",
    .description =
        "Writes a vocabulary file that 'trib tokenize' reads: tokens and merges as Hugging Face's\n"
        "BpeTrainer learns them from the same texts. Words do not reach from one into the next.",
    .operands_least = 1,
    .operands_most = SIZE_MAX,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run_train,
};

static const struct command *const parts[] = {&tokenizer_train_command};

const struct command tokenizer_command = {
    .name = "tokenizer",
    .operands = "COMMAND",
    .summary = "Learn a vocabulary",
    .description = "",
    .operands_least = 1,
    .operands_most = 1,
    .parts = parts,
    .part_count = sizeof parts / sizeof parts[0],
    .run = command_run_parts,
};
