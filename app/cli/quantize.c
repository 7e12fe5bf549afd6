/* trib quantize: writes a model in fewer bits. */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "progress.h"
#include "tributary/quantize.h"

struct values {
    const char *type;
    bool pure;
    size_t threads;
    bool json;
};

static const struct option_row options[] = {
    {"type", 't', OPTION_STRING, offsetof(struct values, type), "TYPE",
     "f32, f16, bf16, q8_0, q6_k, q5_k_m, q5_k_s, q5_1, q5_0, q4_k_m, q4_k_s, q4_1, q4_0, iq4_nl, "
     "iq4_xs, q3_k_l, q3_k_m, q3_k_s or q2_k (q4_k_m)"},
    {"pure", 0, OPTION_FLAG, offsetof(struct values, pure), NULL,
     "all matrices in one type: no mix"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads to use (one for each processor)"},
    {"json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"},
};

static int print_report(const struct values *v, const char *path, const trib_quantize_report *r)
{
    double bits = 8.0 * (double)r->bytes_after / (double)(r->elements ? r->elements : 1);
    if (v->json)
        return print_json(json_pack(
            "{s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:I, s:I}", "file", path, "type", v->type,
            "tensors", (json_int_t)r->tensors, "parameters", (json_int_t)r->elements,
            "bytes_before", (json_int_t)r->bytes_before, "bytes", (json_int_t)r->bytes_after,
            "bits_per_weight", bits, "fallbacks", (json_int_t)r->fallbacks, "quantised_before",
            (json_int_t)r->quantised_before));
    if (r->quantised_before)
        fprintf(stderr,
                "note: %zu of %zu tensors were quantised before; rounded twice, they are worse "
                "than from the original\n",
                r->quantised_before, r->tensors);
    if (r->fallbacks)
        fprintf(stderr,
                "note: %zu of %zu tensors have rows that are no multiple of a block; they "
                "got another type\n",
                r->fallbacks, r->tensors);
    fprintf(stderr, "%s: %.1f MB of tensors from %.1f, %.2f bits per weight\n", path,
            (double)r->bytes_after / 1e6, (double)r->bytes_before / 1e6, bits);
    return EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    trib_quantize_options how = trib_quantize_options_default();
    struct values v = {.type = how.type};
    trib_quantize_report report;
    trib_error error;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (!trib_file_type_find(v.type))
        return options_complain(self, "type", "a file type that --help names", v.type);
    if (v.threads > THREADS_MOST)
        return options_complain(self, "threads", "at most 1024", "more");
    struct written_progress progress;
    how.type = v.type;
    how.pure = v.pure;
    how.threads = (int)v.threads;
    how.progress = written_show;
    how.progress_context = written_open(&progress);
    catch_interrupts();
    trib_status done = trib_quantize(argv[first], argv[first + 1], &how, &report, &error);
    progress_clear(&progress.bar);
    return done == TRIB_OK ? print_report(&v, argv[first + 1], &report) : complain(&error);
}

const struct command quantize_command = {
    .name = "quantize",
    .operands = "IN OUT",
    .summary = "Write a model in fewer bits",
    .description =
        "Reads a model of any types and writes it as GGUF in those of a file type, as llama.cpp\n"
        "names and mixes them: q4_k_m, in short q4_k, is 4 bits for most matrices and 6 for those\n"
        "where errors cost most. Norms keep their type. The K and IQ4 types are searched for the\n"
        "scales of least error. IN is a GGUF file, any part of one in several, or a folder as\n"
        "downloaded from Hugging Face. OUT appears whole or not at all.",
    .operands_least = 2,
    .operands_most = 2,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
