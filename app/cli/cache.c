/* trib cache: folders of keys and values from outside: what is in one, whether it is whole, and
 * making it smaller. */
#include "tributary/cache.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "progress.h"

struct values {
    uint64_t size;
    float days;
    bool damaged, json;
};

#define JSON_OPTION                                                                                \
    {                                                                                              \
        "json", 0, OPTION_FLAG, offsetof(struct values, json), NULL, "print one JSON object"       \
    }

static double megabytes(uint64_t bytes)
{
    return (double)bytes / 1e6;
}

/* ---- List ---- */

static void format_time(int64_t used, char text[32])
{
    time_t time = (time_t)used;
    struct tm parts;
    text[0] = 0;
    if (localtime_r(&time, &parts))
        strftime(text, 32, "%Y-%m-%d %H:%M:%S", &parts);
}

static void print_file(const trib_cache_file *file)
{
    char when[32], tokens[48];
    format_time(file->used, when);
    if (file->wrong.status != TRIB_OK) {
        printf("%.16s  %-47s %9.1f  %s  %s\n", file->name, "damaged", megabytes(file->bytes), when,
               file->wrong.message);
        return;
    }
    snprintf(tokens, sizeof tokens, "%" PRIu64 " to %" PRIu64, file->before,
             file->before + file->tokens);
    printf("%.16s  %-12s  %-5s  %-10s  %16s %9.1f  %s  %s\n", file->model, file->kernels,
           file->kv_type, file->program, tokens, megabytes(file->bytes), when, file->name);
}

static void print_list(const trib_cache_list *list)
{
    if (list->count)
        printf("%-16s  %-12s  %-5s  %-10s  %16s %9s  %-19s  %s\n", "model", "kernels", "KV",
               "program", "tokens", "MB", "last used", "file");
    for (size_t i = 0; i < list->count; i++)
        print_file(&list->files[i]);
    printf("%zu file%s, %.1f MB", list->count, list->count == 1 ? "" : "s", megabytes(list->bytes));
    if (list->part_bytes)
        printf("; %.1f MB of files that are not finished", megabytes(list->part_bytes));
    putchar('\n');
}

static json_t *file_json(const trib_cache_file *file)
{
    json_t *object = json_pack("{s:s, s:I, s:I}", "file", file->name, "bytes",
                               (json_int_t)file->bytes, "used", (json_int_t)file->used);
    json_t *more =
        file->wrong.status != TRIB_OK
            ? json_pack("{s:o}", "wrong",
                        json_text(file->wrong.message, strlen(file->wrong.message)))
            : json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I}", "model", file->model,
                        "kernels", file->kernels, "kv", file->kv_type, "program", file->program,
                        "layers", (json_int_t)file->layers, "kv_heads", (json_int_t)file->kv_heads,
                        "head_dim", (json_int_t)file->head_dim, "before", (json_int_t)file->before,
                        "tokens", (json_int_t)file->tokens);
    json_object_update_new(object, more);
    return object;
}

static int print_list_json(const trib_cache_list *list, const char *folder)
{
    json_t *files = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(files, file_json(&list->files[i]));
    return print_json(json_pack("{s:o, s:I, s:I, s:o}", "folder", json_text(folder, strlen(folder)),
                                "bytes", (json_int_t)list->bytes, "part_bytes",
                                (json_int_t)list->part_bytes, "files", files));
}

static int run_list(const struct command *self, int argc, char **argv)
{
    struct values v = {0};
    trib_cache_list list;
    trib_error error;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (trib_cache_list_open(&list, argv[first], &error) != TRIB_OK)
        return complain(&error);
    status = v.json ? print_list_json(&list, argv[first]) : EXIT_SUCCESS;
    if (!v.json)
        print_list(&list);
    trib_cache_list_free(&list);
    return status;
}

/* ---- Verify ---- */

/* What was found so far. */
struct verdict {
    size_t files, damaged;
    uint64_t bytes;
    json_t *names; /* of the damaged ones, with messages; NULL: they are printed */
};

static void verify_file(struct verdict *verdict, const char *folder, const trib_cache_file *file)
{
    trib_error error;
    verdict->files++;
    verdict->bytes += file->bytes;
    if (trib_cache_verify(folder, file->name, &error) == TRIB_OK)
        return;
    verdict->damaged++;
    if (verdict->names)
        json_array_append_new(verdict->names,
                              json_pack("{s:s, s:o}", "file", file->name, "message",
                                        json_text(error.message, strlen(error.message))));
    else
        printf("%s\n", error.message);
}

static int run_verify(const struct command *self, int argc, char **argv)
{
    struct values v = {0};
    trib_cache_list list;
    trib_error error;
    struct progress bar;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    const char *folder = argv[first];
    if (trib_cache_list_open(&list, folder, &error) != TRIB_OK)
        return complain(&error);
    struct verdict verdict = {.names = v.json ? json_array() : NULL};
    progress_open(&bar, 0, (size_t)(list.bytes >> 20));
    for (size_t i = 0; i < list.count; i++) {
        verify_file(&verdict, folder, &list.files[i]);
        if (progress_seconds() - bar.start > 1)
            progress_show(&bar, (size_t)(verdict.bytes >> 20), "MiB");
    }
    progress_clear(&bar);
    trib_cache_list_free(&list);
    status = verdict.damaged ? EXIT_FAILURE : EXIT_SUCCESS;
    if (!v.json)
        printf("%zu file%s, %.1f MB, %zu damaged\n", verdict.files, verdict.files == 1 ? "" : "s",
               megabytes(verdict.bytes), verdict.damaged);
    else if (print_json(json_pack("{s:o, s:I, s:I, s:o}", "folder",
                                  json_text(folder, strlen(folder)), "files",
                                  (json_int_t)verdict.files, "bytes", (json_int_t)verdict.bytes,
                                  "damaged", verdict.names)) != EXIT_SUCCESS)
        status = EXIT_FAILURE;
    return status;
}

/* ---- Prune ---- */

static int run_prune(const struct command *self, int argc, char **argv)
{
    struct values v = {.size = UINT64_MAX, .days = -1};
    trib_cache_prune_options options = trib_cache_prune_options_default();
    trib_cache_pruned pruned;
    trib_error error;
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status >= 0)
        return status;
    if (v.size == UINT64_MAX && v.days < 0 && !v.damaged)
        return options_complain(self, "size", "it, --older-than or --damaged", "");
    if (v.days >= 0) {
        if (v.days < 1e-4f || v.days > 36500)
            return options_complain(self, "older-than", "0.0001 to 36500", "a number outside");
        options.unused_seconds = (uint64_t)((double)v.days * 86400);
    }
    options.bytes = v.size;
    options.damaged = v.damaged;
    if (trib_cache_prune(argv[first], &options, &pruned, &error) != TRIB_OK)
        return complain(&error);
    if (v.json)
        return print_json(json_pack("{s:o, s:I, s:I, s:I}", "folder",
                                    json_text(argv[first], strlen(argv[first])), "files",
                                    (json_int_t)pruned.files, "bytes", (json_int_t)pruned.bytes,
                                    "left", (json_int_t)pruned.left));
    printf("%zu file%s removed, %.1f MB; %.1f MB left\n", pruned.files,
           pruned.files == 1 ? "" : "s", megabytes(pruned.bytes), megabytes(pruned.left));
    return EXIT_SUCCESS;
}

/* ---- The command ---- */

static const struct option_row json_options[] = {JSON_OPTION};

static const struct option_row prune_options[] = {
    {"size", 0, OPTION_BYTES, offsetof(struct values, size), "N",
     "keep N bytes at most, as in 20G, those used last"},
    {"older-than", 0, OPTION_FLOAT, offsetof(struct values, days), "DAYS",
     "remove what was not used for so long"},
    {"damaged", 0, OPTION_FLAG, offsetof(struct values, damaged), NULL,
     "remove what 'trib cache verify' finds damaged"},
    JSON_OPTION,
};

static const struct command list_command = {
    .name = "cache list",
    .operands = "DIR",
    .summary = "List the files of a folder of keys and values",
    .description =
        "Each with the fingerprint of its model, kernel table, type, the program's version, the\n"
        "tokens of a text that it holds, size, and when it was used last, that first which is\n"
        "removed first.",
    .operands_least = 1,
    .operands_most = 1,
    .options = json_options,
    .option_count = 1,
    .run = run_list,
};

static const struct command verify_command = {
    .name = "cache verify",
    .operands = "DIR",
    .summary = "Check every byte of a folder of keys and values",
    .description =
        "Names the files that are damaged; then the exit status is 1. They do no harm: what runs\n"
        "passes them over and computes again.",
    .operands_least = 1,
    .operands_most = 1,
    .options = json_options,
    .option_count = 1,
    .run = run_verify,
};

static const struct command prune_command = {
    .name = "cache prune",
    .operands = "DIR",
    .summary = "Remove files from a folder of keys and values",
    .description =
        "Programs that use the folder meanwhile keep what they have open. What killed programs\n"
        "left behind more than an hour ago goes, too.",
    .operands_least = 1,
    .operands_most = 1,
    .options = prune_options,
    .option_count = sizeof prune_options / sizeof prune_options[0],
    .run = run_prune,
};

static const struct command *const parts[] = {&list_command, &verify_command, &prune_command};

const struct command cache_command = {
    .name = "cache",
    .operands = "COMMAND",
    .summary = "Look after a folder of keys and values",
    .description = "Of the folders that --cache-dir names.",
    .operands_least = 1,
    .operands_most = 1,
    .parts = parts,
    .part_count = sizeof parts / sizeof parts[0],
    .run = command_run_parts,
};
