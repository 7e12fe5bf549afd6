/* An engine with a folder: what comes back from it after a restart has the bits that were computed,
 * and whatever is wrong in the folder is said and costs time alone.
 *
 * A text of five pages is run in one engine after the other, each of which finds what those before
 * have left; every time the logits are held against those of an engine without a folder. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "engine/session.h"
#include "file/segment.h"
#include "folder.h"
#include "kernel/kernel.h"
#include "must.h"
#include "tiny_model.h"
#include "tributary/cache.h"

/* The prompt's last token is computed in any case, so that PAGES of it are found. */
enum {
    PAGES = 5,
    CACHED = PAGES * 64,
    PROMPT = CACHED + 9,
    LENGTH = PROMPT + 3,
    ORIGINAL = 1024, /* context of a model that was stretched to TINY_CONTEXT */
    V = TINY_VOCABULARY
};

static struct {
    char folder[FOLDER_NAME], path[64];
    trib_model *model;
    int32_t ids[LENGTH];
    float expected[LENGTH * V];
} fixture;

/* An engine's options, and what it reports. */
struct disk {
    trib_engine_options options;
    trib_engine *engine;
    size_t messages;
    char last[256];
};

static void say(void *context, const char *message)
{
    struct disk *disk = context;
    disk->messages++;
    snprintf(disk->last, sizeof disk->last, "%s", message);
}

static void start(struct disk *disk, const trib_model *model)
{
    trib_error error = {0};
    disk->options.report = say;
    disk->options.report_context = disk;
    must(trib_engine_open(&disk->engine, model, &disk->options, &error), &error);
}

static struct disk on_folder(void)
{
    struct disk disk = {.options = trib_engine_options_default()};
    disk.options.threads = 2;
    disk.options.cache_dir = fixture.folder;
    return disk;
}

static trib_session *open_session(const struct disk *disk)
{
    trib_error error = {0};
    trib_session *session;
    must(trib_session_open(&session, disk->engine, NULL, &error), &error);
    return session;
}

static void append(trib_session *session, const int32_t *ids, size_t count)
{
    trib_error error = {0};
    must(trib_session_append(session, ids, count, &error), &error);
}

/* The prompt and the tokens behind it; how many of them were found. */
static size_t run_text(const struct disk *disk)
{
    trib_session *session = open_session(disk);
    for (size_t i = PROMPT; i <= LENGTH; i++) {
        append(session, i == PROMPT ? fixture.ids : &fixture.ids[i - 1], i == PROMPT ? PROMPT : 1);
        assert_memory_equal(trib_session_logits(session), fixture.expected + (i - 1) * V,
                            V * sizeof(float));
    }
    size_t cached = trib_session_cached(session);
    trib_session_close(session);
    return cached;
}

/* The same in an engine of its own, which leaves no page behind. */
static size_t run_anew(struct disk *disk)
{
    disk->messages = 0;
    disk->last[0] = 0;
    start(disk, fixture.model);
    size_t cached = run_text(disk);
    trib_error error = {0};
    trib_status status = trib_engine_flush(disk->engine, &error);
    if (disk->messages == 0)
        must(status, &error);
    prefix_cache_clear(disk->engine->cache);
    struct prefix_cache_counts counts = prefix_cache_counts(disk->engine->cache);
    assert_int_equal(counts.pages.in_use, 0);
    assert_int_equal(counts.pages.wrapped, 0);
    trib_engine_close(disk->engine);
    return cached;
}

static int setup(void **state)
{
    struct random random = random_start(1);
    struct disk plain = {.options = trib_engine_options_default()};
    trib_error error = {0};
    (void)state;
    tiny_model_write(fixture.path, DTYPE_F32, &random);
    must(trib_model_open(&fixture.model, fixture.path, &error), &error);
    for (size_t i = 0; i < LENGTH; i++)
        fixture.ids[i] = (int32_t)random_below(&random, V);
    plain.options.threads = 1;
    start(&plain, fixture.model);
    trib_session *session = open_session(&plain);
    must(trib_session_score(session, fixture.ids, LENGTH, fixture.expected, &error), &error);
    trib_session_close(session);
    trib_engine_close(plain.engine);
    for (size_t i = 0; i < LENGTH * V; i++)
        assert_true(isfinite(fixture.expected[i])); /* equal NaN would prove nothing */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    trib_model_close(fixture.model);
    return unlink(fixture.path);
}

static int open_folder(void **state)
{
    (void)state;
    folder_make(fixture.folder);
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    return folder_remove(fixture.folder);
}

/* ---- Coming back ---- */

static void what_was_computed_comes_back(void **state)
{
    struct disk disk = on_folder();
    (void)state;
    assert_int_equal(run_anew(&disk), 0);
    for (int threads = 1; threads <= 3; threads++) {
        disk.options.threads = threads;
        disk.options.prefill_chunk = 40 * (size_t)threads;
        assert_int_equal(run_anew(&disk), CACHED);
        assert_int_equal(disk.messages, 0);
    }
    assert_int_equal(folder_each(fixture.folder, "", NULL), 1);
}

/* What decides bits decides where they are looked for, too. */
static void what_has_other_bits_does_not(void **state)
{
    struct disk disk = on_folder();
    (void)state;
    for (size_t table = 0; kernels_at(table);
         table++) {                                     /* tables may agree in what they compute, */
        disk.options.kernels = kernels_at(table)->name; /* or not: nothing of others is found */
        start(&disk, fixture.model);
        trib_session *session = open_session(&disk);
        append(session, fixture.ids, PROMPT);
        assert_int_equal(trib_session_cached(session), 0);
        trib_session_close(session);
        trib_engine_close(disk.engine);
        assert_int_equal(folder_each(fixture.folder, "", NULL), table + 1);
    }
    disk.options.kernels = NULL;
    disk.options.kv_type = "f32";
    start(&disk, fixture.model);
    trib_session *session = open_session(&disk);
    append(session, fixture.ids, PROMPT);
    assert_int_equal(trib_session_cached(session), 0);
    trib_session_close(session);
    trib_engine_close(disk.engine);
    disk.options.kv_type = "f16";
    assert_int_equal(run_anew(&disk), CACHED);
    assert_int_equal(disk.messages, 0);
}

/* Copies the model's file with one bit changed, counted from the end; 0: none. */
static void copy_model(char path[64], size_t from_end)
{
    FILE *in = fopen(fixture.path, "rb");
    strcpy(path, "/tmp/trib-copy-XXXXXX");
    FILE *out = fdopen(mkstemp(path), "wb");
    assert_true(in && out && fseek(in, 0, SEEK_END) == 0);
    size_t size = (size_t)ftell(in);
    uint8_t *bytes = malloc(size);
    assert_true(bytes && fseek(in, 0, SEEK_SET) == 0 && fread(bytes, 1, size, in) == size);
    if (from_end)
        bytes[size - from_end] ^= 1;
    assert_true(fwrite(bytes, 1, size, out) == size && fclose(out) == 0 && fclose(in) == 0);
    free(bytes);
}

/* A copy is the same model wherever it lies; one with another bit in its last weights is not. */
static void one_bit_of_the_weights_makes_another_model(void **state)
{
    struct disk disk = on_folder();
    char path[64];
    (void)state;
    assert_int_equal(run_anew(&disk), 0);
    for (size_t changed = 0; changed <= 64; changed += 64) {
        trib_model *model;
        trib_error error = {0};
        copy_model(path, changed);
        must(trib_model_open(&model, path, &error), &error);
        start(&disk, model);
        trib_session *session = open_session(&disk);
        append(session, fixture.ids, PROMPT);
        assert_int_equal(trib_session_cached(session), changed ? 0 : CACHED);
        trib_session_close(session);
        trib_engine_close(disk.engine);
        trib_model_close(model);
        unlink(path);
    }
    assert_int_equal(disk.messages, 0);
}

/* Nor are keys found that were turned by the factors of another context (LongRoPE). */
static void the_factors_of_the_context_count(void **state)
{
    static const struct {
        size_t context, cached;
    } runs[] = {{0, 0}, {ORIGINAL, 0}, {0, CACHED}, {ORIGINAL, CACHED}, {ORIGINAL - 1, CACHED}};
    const struct tiny_change original = {TINY_U32, "phi3.rope.scaling.original_context_length",
                                         ORIGINAL, NULL};
    struct random random = random_start(7);
    struct disk disk = on_folder();
    struct gguf_build b;
    char path[] = "/tmp/trib-long-XXXXXX";
    trib_model *model;
    trib_error error = {0};
    (void)state;
    gguf_build_open(&b);
    tiny_model_build(&b, "phi3", DTYPE_F32, &random, &original);
    gguf_build_finish(&b);
    int fd = mkstemp(path);
    assert_true(fd >= 0 && gguf_build_write(&b, path));
    close(fd);
    gguf_build_close(&b);
    must(trib_model_open(&model, path, &error), &error);
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        disk.options.context = runs[i].context;
        start(&disk, model);
        trib_session *session = open_session(&disk);
        append(session, fixture.ids, PROMPT);
        assert_int_equal(trib_session_cached(session), runs[i].cached);
        trib_session_close(session);
        must(trib_engine_flush(disk.engine, &error), &error);
        trib_engine_close(disk.engine);
    }
    trib_model_close(model);
    unlink(path);
}

/* ---- Damage ---- */

/* The file that a run leaves, and its bytes. */
struct whole_file {
    char path[512];
    uint8_t *bytes;
    size_t size;
};

static char seen_path[512];

static void see_path(const char *path)
{
    snprintf(seen_path, sizeof seen_path, "%s", path);
}

static struct whole_file make_file(void)
{
    struct whole_file file;
    struct disk disk = on_folder();
    folder_empty(fixture.folder);
    assert_int_equal(run_anew(&disk), 0);
    assert_int_equal(folder_each(fixture.folder, ".kv", see_path), 1);
    memcpy(file.path, seen_path, sizeof file.path);
    FILE *in = fopen(file.path, "rb");
    assert_true(in && fseek(in, 0, SEEK_END) == 0);
    file.size = (size_t)ftell(in);
    file.bytes = malloc(file.size);
    assert_true(file.bytes && fseek(in, 0, SEEK_SET) == 0);
    assert_int_equal(fread(file.bytes, 1, file.size, in), file.size);
    fclose(in);
    return file;
}

static void put_file(const struct whole_file *file, size_t size)
{
    FILE *out = fopen(file->path, "wb");
    assert_true(out && fwrite(file->bytes, 1, size, out) == size && fclose(out) == 0);
}

enum { ALL = -1 };

/* The damage (of the byte `at`, or ALL) is said, and what it took is computed again and written
 * again. */
static void expect_damage(const struct whole_file *file, ptrdiff_t at, size_t cached)
{
    bool of_page = at >= (ptrdiff_t)segment_header_bytes(0, PAGES);
    struct disk disk = on_folder();
    trib_error error;
    const char *name = strrchr(file->path, '/') + 1;
    assert_int_equal(trib_cache_verify(fixture.folder, name, &error),
                     at >= 8 && at < 12 ? TRIB_UNSUPPORTED : TRIB_FORMAT);
    size_t found = run_anew(&disk);
    if (found != cached || disk.messages != 1)
        fail_msg("byte %td: %zu tokens found for %zu, %zu messages: %s", at, found, cached,
                 disk.messages, disk.last);
    assert_non_null(strstr(disk.last, name));
    assert_int_equal(run_anew(&disk), CACHED);
    if (!of_page) /* else the file stands beside the new one, and may be met again */
        assert_int_equal(disk.messages, 0);
    folder_empty(fixture.folder);
}

static void every_class_of_byte_is_looked_after(void **state)
{
    struct whole_file file = make_file();
    struct kv_shape shape = {DTYPE_F16, TINY_LAYERS, TINY_KV_HEADS, TINY_HEAD_DIM};
    size_t ids = 256, sums = ids + PAGES * 64 * 4, padding = sums + PAGES * 8;
    size_t header = segment_header_bytes(0, PAGES), page = kv_page_bytes(&shape);
    size_t stride = segment_stride(page);
    (void)state;
    assert_int_equal(file.size, header + PAGES * stride);
    for (size_t at = 0; at < header; at += at < ids       ? 4
                                           : at < sums    ? 211
                                           : at < padding ? 1
                                                          : 997) {
        file.bytes[at] ^= 4;
        put_file(&file, file.size);
        expect_damage(&file, (ptrdiff_t)at, 0);
        file.bytes[at] ^= 4;
    }
    for (size_t i = 0; i < PAGES; i++)
        for (size_t at = 0; at < page; at += at + 1 < page ? page - 1 : 1) { /* first and last */
            file.bytes[header + i * stride + at] ^= 64;
            put_file(&file, file.size);
            expect_damage(&file, (ptrdiff_t)(header + i * stride + at), i * 64);
            file.bytes[header + i * stride + at] ^= 64;
        }
    free(file.bytes);
}

static void a_file_of_another_length_is_passed_over(void **state)
{
    struct whole_file file = make_file();
    size_t header = segment_header_bytes(0, PAGES);
    const size_t sizes[] = {0, 1, 255, 256, 4095, header, header + 1, file.size / 2, file.size - 1};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        put_file(&file, sizes[i]);
        expect_damage(&file, ALL, 0);
    }
    free(file.bytes);
}

/* A file of another model under a name of ours, a text, and a folder where a file should be. */
static void foreign_files_are_passed_over(void **state)
{
    struct whole_file file = make_file(), other = file;
    struct disk disk = on_folder();
    (void)state;
    folder_empty(fixture.folder);
    disk.options.kv_type = "f32";
    start(&disk, fixture.model);
    trib_session *session = open_session(&disk);
    append(session, fixture.ids, PROMPT);
    trib_session_close(session);
    trib_engine_close(disk.engine);
    assert_int_equal(folder_each(fixture.folder, ".kv", see_path), 1);
    assert_int_equal(rename(seen_path, file.path), 0);
    expect_damage(&file, ALL, 0);

    other.bytes = (uint8_t *)(uintptr_t) "Dear diary";
    put_file(&other, 10);
    snprintf(other.path, sizeof other.path, "%s/diary.kv", fixture.folder); /* no name of ours */
    put_file(&other, 10);
    expect_damage(&file, ALL, 0);

    disk.options.kv_type = "f16";
    assert_int_equal(mkdir(file.path, 0700), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(run_anew(&disk), 0);
        assert_int_equal(disk.messages, 1);
        assert_non_null(strstr(disk.last, "it is there already and no regular file"));
    }
    free(file.bytes);
}

/* ---- Writing ---- */

/* What waits is written by the steps that follow, each a page or so; what may still grow is not,
 * unless it is asked for. */
static void steps_write_behind(void **state)
{
    struct disk disk = on_folder();
    trib_error error = {0};
    (void)state;
    start(&disk, fixture.model);
    trib_session *first = open_session(&disk), *other = open_session(&disk);
    append(first, fixture.ids, CACHED);
    append(other, fixture.ids + 1, 1);
    assert_int_equal(folder_each(fixture.folder, "", NULL), 0);
    trib_session_close(first);
    for (size_t step = 1; step <= PAGES; step++) {
        assert_int_equal(folder_each(fixture.folder, ".kv", NULL), 0);
        append(other, fixture.ids + step, 1);
    }
    assert_int_equal(folder_each(fixture.folder, ".kv", NULL), 1);

    append(other, fixture.ids, 2 * 64);
    append(other, fixture.ids, 2 * 64);
    assert_int_equal(folder_each(fixture.folder, "", NULL), 1);
    must(trib_engine_flush(disk.engine, &error), &error);
    assert_int_equal(folder_each(fixture.folder, ".kv", NULL), 2);
    trib_session_close(other);
    trib_engine_close(disk.engine);
    assert_int_equal(folder_each(fixture.folder, "", NULL), 2);
    assert_int_equal(disk.messages, 0);
}

/* No byte more than the limit can be written. Steps go on, closing too, and the folder stays clean.
 */
static void a_full_disk_stops_nothing(void **state)
{
    struct disk disk = on_folder();
    struct rlimit old, small;
    trib_error error = {0};
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 10000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    start(&disk, fixture.model);
    size_t cached = run_text(&disk);
    trib_status status = trib_engine_flush(disk.engine, &error);
    trib_engine_close(disk.engine);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(cached, 0);
    assert_int_equal(status, TRIB_IO);
    assert_int_equal(disk.messages, 1);
    assert_string_equal(disk.last, error.message);
    assert_non_null(strstr(disk.last, "cannot be written: File too large"));
    assert_int_equal(folder_each(fixture.folder, "", NULL), 0);
    assert_int_equal(run_anew(&disk), 0);
    assert_int_equal(run_anew(&disk), CACHED);
}

/* What somebody removes is not written again before it was computed again. */
static void what_was_removed_stays_away(void **state)
{
    struct disk disk = on_folder();
    const trib_cache_prune_options prune = {.bytes = 0};
    trib_cache_pruned pruned;
    trib_error error = {0};
    (void)state;
    start(&disk, fixture.model);
    trib_session *session = open_session(&disk);
    append(session, fixture.ids, CACHED);
    must(trib_engine_flush(disk.engine, &error), &error);
    must(trib_cache_prune(fixture.folder, &prune, &pruned, &error), &error);
    assert_int_equal(pruned.files, 1);
    must(trib_engine_flush(disk.engine, &error), &error);
    trib_session_close(session);
    trib_engine_close(disk.engine);
    assert_int_equal(folder_each(fixture.folder, "", NULL), 0);
    assert_int_equal(disk.messages, 0);
    assert_int_equal(run_anew(&disk), 0);
    assert_int_equal(run_anew(&disk), CACHED);
}

static void the_budget_is_kept(void **state)
{
    struct whole_file file = make_file();
    struct disk disk = on_folder();
    struct random random = random_start(2);
    (void)state;
    free(file.bytes);
    disk.options.cache_dir_bytes = 2 * file.size + 100;
    for (int text = 0; text < 5; text++) {
        int32_t ids[PROMPT];
        trib_cache_list list;
        for (size_t i = 0; i < PROMPT; i++)
            ids[i] = (int32_t)random_below(&random, V);
        start(&disk, fixture.model);
        trib_session *session = open_session(&disk);
        append(session, ids, PROMPT);
        trib_session_close(session);
        trib_engine_close(disk.engine);
        assert_int_equal(trib_cache_list_open(&list, fixture.folder, NULL), TRIB_OK);
        assert_int_equal(list.count, 2);
        assert_true(list.bytes <= disk.options.cache_dir_bytes);
        trib_cache_list_free(&list);
    }
    assert_int_equal(disk.messages, 0);
    disk.options.cache_dir_bytes = file.size - 1;
    assert_int_equal(run_anew(&disk), 0);
    assert_int_equal(disk.messages, 1);
    assert_non_null(strstr(disk.last, "beyond the budget"));
}

static void a_folder_that_cannot_be(void **state)
{
    struct disk disk = on_folder();
    trib_error error = {0};
    (void)state;
    disk.options.cache_dir = "/dev/null";
    assert_int_equal(trib_engine_open(&disk.engine, fixture.model, &disk.options, &error), TRIB_IO);
    assert_null(disk.engine);
    assert_string_equal(error.message, "/dev/null: expected a folder for KV segments");
}

/* ---- From outside ---- */

static void set_age(const char *path)
{
    struct timespec old = {.tv_sec = time(NULL) - 10000};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[]){old, old}, 0), 0);
}

static void a_folder_is_listed_and_pruned(void **state)
{
    struct whole_file file = make_file();
    struct disk disk = on_folder();
    trib_cache_list list;
    trib_cache_pruned pruned;
    trib_cache_prune_options prune = trib_cache_prune_options_default();
    (void)state;
    set_age(file.path);
    disk.options.kv_type = "bf16";
    start(&disk, fixture.model);
    trib_session *session = open_session(&disk);
    append(session, fixture.ids, CACHED);
    trib_session_close(session);
    trib_engine_close(disk.engine);

    assert_int_equal(trib_cache_list_open(&list, fixture.folder, NULL), TRIB_OK);
    assert_int_equal(list.count, 2);
    assert_int_equal(list.part_bytes, 0);
    assert_true(list.bytes == list.files[0].bytes + list.files[1].bytes);
    const trib_cache_file *old = &list.files[0], *new = &list.files[1];
    assert_string_equal(old->name, strrchr(file.path, '/') + 1);
    assert_string_equal(old->kv_type, "f16");
    assert_string_equal(new->kv_type, "bf16");
    assert_string_equal(old->model, new->model);
    assert_int_equal(strlen(old->model), 32);
    assert_string_equal(old->program, TRIB_VERSION);
    assert_string_equal(old->kernels, kernels_best()->name);
    assert_int_equal(old->layers, TINY_LAYERS);
    assert_int_equal(old->head_dim, TINY_HEAD_DIM);
    assert_int_equal(old->before, 0);
    assert_int_equal(old->tokens, CACHED);
    assert_true(new->used - old->used >= 9999);

    prune.unused_seconds = 20000;
    prune.damaged = true;
    assert_int_equal(trib_cache_prune(fixture.folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 0);
    assert_true(pruned.left == list.bytes);
    prune.unused_seconds = 5000;
    assert_int_equal(trib_cache_prune(fixture.folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 1);
    assert_true(pruned.bytes == old->bytes && pruned.left == new->bytes);

    file.bytes[file.size - 1] ^= 1; /* damaged pages are seen by those who verify, not in a list */
    put_file(&file, file.size);
    trib_cache_list_free(&list);
    assert_int_equal(trib_cache_list_open(&list, fixture.folder, NULL), TRIB_OK);
    assert_int_equal(list.files[1].wrong.status, TRIB_OK);
    prune = (trib_cache_prune_options){.bytes = UINT64_MAX, .damaged = true};
    assert_int_equal(trib_cache_prune(fixture.folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 1);
    assert_int_equal(access(file.path, F_OK), -1);
    assert_int_equal(trib_cache_verify(fixture.folder, list.files[1].name, NULL),
                     TRIB_OK); /* gone */

    put_file(&file, 300);
    trib_cache_list_free(&list);
    assert_int_equal(trib_cache_list_open(&list, fixture.folder, NULL), TRIB_OK);
    assert_int_equal(list.files[1].wrong.status, TRIB_FORMAT);
    assert_int_equal(list.files[1].tokens, 0);
    prune = (trib_cache_prune_options){.bytes = list.files[1].bytes};
    assert_int_equal(trib_cache_prune(fixture.folder, &prune, &pruned, NULL), TRIB_OK);
    assert_int_equal(pruned.files, 1);
    trib_cache_list_free(&list);
    assert_int_equal(trib_cache_list_open(&list, "none", NULL), TRIB_IO);
    assert_int_equal(list.count, 0);
    free(file.bytes);
}

int main(void)
{
#define ON_FOLDER(test) cmocka_unit_test_setup_teardown(test, open_folder, close_folder)
    const struct CMUnitTest tests[] = {
        ON_FOLDER(what_was_computed_comes_back),
        ON_FOLDER(what_has_other_bits_does_not),
        ON_FOLDER(one_bit_of_the_weights_makes_another_model),
        ON_FOLDER(the_factors_of_the_context_count),
        ON_FOLDER(every_class_of_byte_is_looked_after),
        ON_FOLDER(a_file_of_another_length_is_passed_over),
        ON_FOLDER(foreign_files_are_passed_over),
        ON_FOLDER(steps_write_behind),
        ON_FOLDER(a_full_disk_stops_nothing),
        ON_FOLDER(what_was_removed_stays_away),
        ON_FOLDER(the_budget_is_kept),
        ON_FOLDER(a_folder_that_cannot_be),
        ON_FOLDER(a_folder_is_listed_and_pruned),
    };
    random_seed();
    return cmocka_run_group_tests(tests, setup, teardown);
}
