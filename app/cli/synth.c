/* trib synth: writes a model of random weights, to measure with. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "progress.h"
#include "tributary/quantize.h"

struct values {
    trib_synth_options how;
    size_t threads;
};

#define HOW(field) offsetof(struct values, how.field)

static const struct option_row options[] = {
    {"type", 't', OPTION_STRING, HOW(type), "TYPE", "a file type of 'trib quantize' (q8_0)"},
    {"pure", 0, OPTION_FLAG, HOW(pure), NULL, "all matrices in one type: no mix"},
    {"seed", 's', OPTION_SEED, HOW(seed), "N", "of the weights; the same seed, the same file (1)"},
    {"layers", 'L', OPTION_SIZE, HOW(layers), "N", "blocks, in place of the shape's"},
    {"width", 'E', OPTION_SIZE, HOW(width), "N", "numbers of a token between the blocks"},
    {"heads", 'H', OPTION_SIZE, HOW(heads), "N", "query heads"},
    {"kv-heads", 'G', OPTION_SIZE, HOW(kv_heads), "N", "key and value heads; divides --heads"},
    {"head-dim", 'D', OPTION_SIZE, HOW(head_dim), "N", "numbers of a head, even"},
    {"ffn", 'F', OPTION_SIZE, HOW(ffn), "N", "width of the feed-forward layers"},
    {"vocab", 'V', OPTION_SIZE, HOW(vocabulary), "N", "tokens, at least 320"},
    {"context", 0, OPTION_SIZE, HOW(context), "N", "tokens that the model says it was made for"},
    {"tied", 0, OPTION_FLAG, HOW(tied), NULL, "the embedding is the output matrix too"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads to use (one for each processor)"},
};

static bool shape_known(const char *name)
{
    for (size_t i = 0; trib_synth_shape(i); i++)
        if (strcmp(trib_synth_shape(i), name) == 0)
            return true;
    return false;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.how = trib_synth_options_default()};
    struct written_progress progress;
    trib_error error;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (!shape_known(argv[first])) {
        fprintf(stderr, "trib synth: expected a SHAPE of tiny, 100m, 1b, 3b or 8b, found '%s'\n",
                argv[first]);
        return EXIT_USAGE;
    }
    if (!trib_file_type_find(v.how.type))
        return options_complain(self, "type", "a file type of 'trib quantize'", v.how.type);
    if (v.threads > THREADS_MOST)
        return options_complain(self, "threads", "at most 1024", "more");
    v.how.shape = argv[first];
    v.how.threads = (int)v.threads;
    v.how.progress = written_show;
    v.how.progress_context = written_open(&progress);
    catch_interrupts();
    trib_status done = trib_synth(argv[first + 1], &v.how, &error);
    progress_clear(&progress.bar);
    return done == TRIB_OK ? EXIT_SUCCESS : complain(&error);
}

const struct command synth_command = {
    .name = "synth",
    .operands = "SHAPE OUT",
    .summary = "Write a model of random weights, to measure with",
    .description =
        "Writes a GGUF file of the llama architecture that this program and llama.cpp can run: it\n"
        "takes the time and memory of a real model of that shape and says nothing sensible. "
        "Shapes\n"
        "are tiny, 100m, 1b, 3b and 8b (the last two like Llama 3's). Blocks of quantised types "
        "are\n"
        "drawn as such, so that a file is written as fast as the disk takes it.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
