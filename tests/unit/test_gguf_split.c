/* Models in several files: sound sets open as one from any part, and of each way to break one the
 * message names the file. */
#include <sys/stat.h>
#include <unistd.h>

#include "file/gguf.h"
#include "file/gguf_write.h"
#include "folder.h"
#include "gguf_walk.h"
#include "test.h"

enum { PARTS = 3, TENSORS = 4 };

/* A folder of its own for each test. */
static char folder[FOLDER_NAME];

static int open_folder(void **state)
{
    (void)state;
    folder_make(folder);
    return 0;
}

static const char *part_path(unsigned part, unsigned count)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/model-%05u-of-%05u.gguf", folder, part, count);
    return path;
}

static int close_folder(void **state)
{
    (void)state;
    return folder_remove(folder);
}

/* What a part says and holds. */
struct part {
    uint32_t number, count, tensors; /* metadata */
    unsigned first, end;             /* tensors t0 to t3 */
};

static void write_part(const char *path, const struct part *part, const char *key)
{
    struct gguf_writer *w = gguf_writer_open();
    trib_error error;
    float data[TENSORS][2];
    gguf_put_string(w, key, slice_of(key));
    gguf_put_u32(w, "split.no", part->number);
    gguf_put_u32(w, "split.count", part->count);
    gguf_put_i32(w, "split.tensors.count", (int32_t)part->tensors);
    for (unsigned t = part->first; t < part->end; t++) {
        char name[16];
        snprintf(name, sizeof name, "t%u", t);
        data[t][0] = (float)t;
        data[t][1] = -1;
        gguf_put_tensor(w, name, DTYPE_F32, 1, (uint64_t[]){2}, data[t]);
    }
    if (gguf_writer_save(w, path, &error) != TRIB_OK)
        fail_msg("%s", error.message);
    gguf_writer_close(w);
}

/* Three parts: the first without tensors, as some are. */
static const struct part sound[PARTS] = {
    {0, 3, TENSORS, 0, 0},
    {1, 3, TENSORS, 0, 3},
    {2, 3, TENSORS, 3, 4},
};

static void write_all(const struct part parts[PARTS])
{
    static const char *const keys[PARTS] = {"first", "second", "third"};
    for (unsigned i = 0; i < PARTS; i++)
        write_part(part_path(i + 1, PARTS), &parts[i], keys[i]);
}

static void any_part_opens_the_whole(void **state)
{
    (void)state;
    trib_error error;
    write_all(sound);
    for (unsigned part = 1; part <= PARTS; part++) {
        struct gguf *file;
        if (gguf_open(&file, part_path(part, PARTS), &error) != TRIB_OK)
            fail_msg("%s", error.message);
        assert_int_equal(file->tensor_count, TENSORS);
        for (unsigned t = 0; t < TENSORS; t++) {
            char name[16];
            float value;
            snprintf(name, sizeof name, "t%u", t);
            const struct gguf_tensor *tensor = gguf_find_tensor(file, name);
            assert_ptr_equal(tensor, &file->tensors[t]);
            memcpy(&value, tensor->data, sizeof value);
            assert_true(value == (float)t);
        }
        assert_non_null(gguf_find(file, "first"));
        assert_null(gguf_find(file, "second"));
        assert_null(gguf_walk(file, NULL));
        uint64_t size = 0;
        for (unsigned i = 1; i <= PARTS; i++) {
            struct stat info;
            assert_int_equal(stat(part_path(i, PARTS), &info), 0);
            size += (uint64_t)info.st_size;
            assert_true(gguf_reads(file, part_path(i, PARTS)));
        }
        assert_int_equal(file->size, size);
        assert_false(gguf_reads(file, folder));
        gguf_close(file);
    }
}

static void one_part_is_a_whole(void **state)
{
    (void)state;
    char path[128];
    struct gguf *file;
    snprintf(path, sizeof path, "%s/other.gguf", folder);
    write_part(path, &(struct part){0, 1, 2, 0, 2}, "first");
    assert_int_equal(gguf_open(&file, path, NULL), TRIB_OK);
    assert_int_equal(file->tensor_count, 2);
    gguf_close(file);
}

/* Opening `path` fails with a message that begins with `file` and holds `what`. */
static void expect_failure(const char *path, trib_status status, const char *file, const char *what)
{
    struct gguf *opened;
    trib_error error = {0};
    char begins[160];
    snprintf(begins, sizeof begins, "%s/%s: ", folder, file);
    assert_int_equal(gguf_open(&opened, path, &error), status);
    assert_null(opened);
    if (strncmp(error.message, begins, strlen(begins)) != 0 || !strstr(error.message, what))
        fail_msg("expected %s and %s, found: %s", begins, what, error.message);
}

static void broken_sets_are_refused(void **state)
{
    (void)state;
    static const struct {
        unsigned part; /* that is changed, from 0 on */
        struct part as;
        const char *what;
    } cases[] = {
        {1, {2, 3, TENSORS, 0, 3}, "split.no: expected 1, found 2"},
        {1, {1, 4, TENSORS, 0, 3}, "split.count: expected 3, found 4"},
        {2, {2, 3, TENSORS + 1, 3, 4}, "split.tensors.count: expected 4, found 5"},
        {2, {2, 3, TENSORS, 2, 3}, "tensor t2 stands in a part before it"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct part parts[PARTS];
        char file[64];
        memcpy(parts, sound, sizeof parts);
        parts[cases[i].part] = cases[i].as;
        write_all(parts);
        snprintf(file, sizeof file, "model-%05u-of-%05u.gguf", cases[i].part + 1, PARTS);
        expect_failure(part_path(1, PARTS), TRIB_FORMAT, file, cases[i].what);
    }
}

static void missing_parts_and_tensors_are_named(void **state)
{
    (void)state;
    struct part parts[PARTS];
    write_all(sound);
    unlink(part_path(2, PARTS));
    expect_failure(part_path(1, PARTS), TRIB_IO, "model-00002-of-00003.gguf", "No such file");
    expect_failure(part_path(3, PARTS), TRIB_IO, "model-00002-of-00003.gguf", "No such file");
    memcpy(parts, sound, sizeof parts);
    parts[1].end = 2; /* t2 is in no part */
    write_all(parts);
    expect_failure(part_path(3, PARTS), TRIB_FORMAT, "model-00003-of-00003.gguf",
                   "expected the 3 tensors that its parts have, found 4");
}

static void a_name_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/other.gguf", folder);
    write_part(path, &sound[1], "second");
    expect_failure(path, TRIB_FORMAT, "other.gguf", "to end with -00002-of-00003.gguf");
    write_part(path, &(struct part){3, 3, TENSORS, 0, 0}, "first");
    expect_failure(path, TRIB_FORMAT, "other.gguf", "split.no: expected less than 3, found 3");
    write_part(path, &(struct part){0, 5000, TENSORS, 0, 0}, "first");
    expect_failure(path, TRIB_UNSUPPORTED, "other.gguf", "split.count: expected at most 4096");
    write_part(path, &(struct part){1, 0, TENSORS, 0, 0}, "first");
    expect_failure(path, TRIB_FORMAT, "other.gguf", "split.no: expected less than 0, found 1");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, open_folder, close_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(any_part_opens_the_whole),
        CASE(one_part_is_a_whole),
        CASE(broken_sets_are_refused),
        CASE(missing_parts_and_tensors_are_named),
        CASE(a_name_that_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
