/* trib convert: writes a model as a GGUF file. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "load.h"
#include "progress.h"

struct values {
    const char *type;
};

static const struct option_row options[] = {
    {"type", 0, OPTION_STRING, offsetof(struct values, type), "TYPE",
     "of the matrices: f32, f16, bf16 or q8_0 (as they are)"},
};

static bool show(void *context, uint64_t done, uint64_t total)
{
    struct progress *progress = context;
    progress->total = (size_t)(total >> 20);
    progress_show(progress, (size_t)(done >> 20), "MiB");
    return !interrupted();
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {0};
    struct progress progress;
    trib_model *model;
    trib_error error;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (trib_model_open(&model, argv[first], &error) != TRIB_OK)
        return complain(&error);
    say_note(model);
    catch_interrupts();
    progress_open(&progress, 0, 0);
    status = EXIT_SUCCESS;
    if (trib_model_convert(model, argv[first + 1], v.type, show, &progress, &error) != TRIB_OK) {
        progress_clear(&progress);
        status = complain(&error);
    }
    progress_clear(&progress);
    trib_model_close(model);
    return status;
}

const struct command convert_command = {
    .name = "convert",
    .operands = "MODEL FILE",
    .summary = "Write a model as a GGUF file",
    .description =
        "MODEL is a folder as downloaded from Hugging Face (or a GGUF file). llama.cpp reads what\n"
        "is written. Every other command takes such a folder, too, without converting it.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
