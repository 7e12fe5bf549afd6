/* trib tokenize: text to ids on one line, or ids back to text. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "tributary/model.h"

struct values {
    bool no_special, parse_special, decode, json;
};

static const struct option_row options[] = {
    {"no-special", 0, OPTION_FLAG, offsetof(struct values, no_special), NULL,
     "do not add the tokens that begin and end a text"},
    {"parse-special", 0, OPTION_FLAG, offsetof(struct values, parse_special), NULL,
     "text that spells a control token becomes that token"},
    {"decode", 'd', OPTION_FLAG, offsetof(struct values, decode), NULL,
     "read ids and print their text"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

static int print_ids(const int32_t *ids, size_t count, bool json)
{
    if (json) {
        json_t *array = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(array, json_integer(ids[i]));
        return print_json(json_pack("{s:I, s:o}", "count", (json_int_t)count, "ids", array));
    }
    for (size_t i = 0; i < count; i++)
        printf(i ? " %d" : "%d", ids[i]);
    putchar('\n');
    return EXIT_SUCCESS;
}

static int encode(const trib_model *model, const char *text, size_t length, const struct values *v)
{
    trib_error error;
    int32_t *ids;
    size_t count;
    unsigned flags =
        (v->no_special ? 0 : TRIB_TOKENIZE_SPECIAL) | (v->parse_special ? TRIB_TOKENIZE_PARSE : 0);
    if (trib_tokenize(model, text, length, flags, &ids, &count, &error) != TRIB_OK)
        return complain(&error);
    int status = print_ids(ids, count, v->json);
    trib_free(ids);
    return status;
}

/* The next id below `vocabulary` of a text of numbers between white space. False at the end; *bad,
 * and *text before it, where there is something else. */
static bool next_id(char **text, size_t vocabulary, int32_t *id, bool *bad)
{
    *text += strspn(*text, " \t\r\n");
    if (**text == 0)
        return false;
    char *end;
    errno = 0;
    long value = strtol(*text, &end, 10);
    *bad = end == *text || errno || value < 0 || (unsigned long)value >= vocabulary ||
           (*end && !strchr(" \t\r\n", *end));
    *id = (int32_t)value;
    if (!*bad)
        *text = end;
    return !*bad;
}

/* Writes what the ids spell, those before anything that is none. */
static int spell(const trib_model *model, char *text, const struct values *v, FILE *out)
{
    trib_error error;
    trib_decoder *decoder;
    int32_t id;
    bool bad = false;
    if (trib_decoder_open(&decoder, model, false, v->parse_special, &error) != TRIB_OK)
        return complain(&error);
    size_t vocabulary = trib_vocabulary_size(model);
    while (next_id(&text, vocabulary, &id, &bad)) {
        trib_text piece = trib_decoder_next(decoder, id);
        fwrite(piece.bytes, 1, piece.length, out);
    }
    if (bad) {
        size_t word = strcspn(text, " \t\r\n");
        fprintf(stderr, "trib tokenize: expected ids below %zu between spaces, found '%.*s'\n",
                vocabulary, word < 20 ? (int)word : 20, text);
    }
    trib_text rest = trib_decoder_rest(decoder);
    fwrite(rest.bytes, 1, rest.length, out);
    trib_decoder_close(decoder);
    return bad ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* The same as a JSON object, or nothing. */
static int spell_json(const trib_model *model, char *text, const struct values *v)
{
    trib_error error;
    char *spelt = NULL;
    size_t count;
    FILE *out = open_memstream(&spelt, &count);
    int status = out ? spell(model, text, v, out) : EXIT_SUCCESS;
    bool fits = out && !ferror(out);
    if (out)
        fits = fclose(out) == 0 && fits;
    if (!fits) {
        failure(&error, TRIB_NO_MEMORY, "no memory for the text");
        status = complain(&error);
    } else if (status == EXIT_SUCCESS) {
        status = print_json(json_pack("{s:o}", "text", json_text(spelt, count)));
    }
    free(spelt);
    return status;
}

static int decode(const trib_model *model, char *text, size_t length, const struct values *v)
{
    if (strlen(text) < length) {
        fprintf(stderr, "trib tokenize: expected ids between spaces, found a NUL byte\n");
        return EXIT_FAILURE;
    }
    return v->json ? spell_json(model, text, v) : spell(model, text, v, stdout);
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {0};
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    trib_error error;
    trib_model *model;
    char *text;
    size_t length;
    if (trib_model_open(&model, argv[first], &error) != TRIB_OK)
        return complain(&error);
    if (read_all(first + 1 < argc ? argv[first + 1] : "-", &text, &length, &error) != TRIB_OK) {
        trib_model_close(model);
        return complain(&error);
    }
    status = v.decode ? decode(model, text, length, &v) : encode(model, text, length, &v);
    free(text);
    trib_model_close(model);
    return status;
}

const struct command tokenize_command = {
    .name = "tokenize",
    .operands = "MODEL [FILE]",
    .summary = "Turn a text into token ids, or ids into text",
    .description =
        "Prints the ids of the whole input (standard input by default) on one line. A file with a\n"
        "vocabulary and no tensors will do.",
    .operands_least = 1,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
