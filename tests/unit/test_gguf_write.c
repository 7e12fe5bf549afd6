/* Writing GGUF files: what was put is what the reader, written apart from it, finds; what no reader
 * would take is refused; and a file that cannot be finished leaves the old one as it was. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file/atomic.h"
#include "file/gguf_write.h"
#include "folder.h"
#include "gguf_walk.h"
#include "test.h"

/* A folder of its own for each test, and a path in it. */
struct place {
    char folder[FOLDER_NAME], path[128];
};

static int open_place(void **state)
{
    static struct place place;
    folder_make(place.folder);
    snprintf(place.path, sizeof place.path, "%s/file.gguf", place.folder);
    *state = &place;
    return 0;
}

static int close_place(void **state)
{
    const struct place *place = *state;
    unlink(place->path);
    return rmdir(place->folder);
}

static void assert_content(const struct place *place, const char *expected)
{
    char text[64] = {0};
    FILE *file = fopen(place->path, "rb");
    assert_non_null(file);
    size_t length = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    assert_int_equal(length, strlen(expected));
    assert_string_equal(text, expected);
}

static void put_old(const struct place *place)
{
    FILE *file = fopen(place->path, "wb");
    assert_non_null(file);
    assert_true(fputs("the old one", file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char *const words[] = {"", "one", "two words", "\xe2\x96\x81"};
enum { WORDS = sizeof words / sizeof words[0], ROW = 64, ROWS = 9000 };

/* Element i of the tensor that is made while the file is written. */
static float made(uint64_t i)
{
    return (float)(i % 1021) - 500;
}

static trib_status make(void *context, uint64_t first, size_t count, void *out, trib_error *error)
{
    float *values = out;
    const uint64_t *fail_at = context;
    if (fail_at && first + count > *fail_at) {
        if (error)
            *error = (trib_error){TRIB_IO, "made to fail"};
        return TRIB_IO;
    }
    for (size_t i = 0; i < count; i++)
        values[i] = made(first + i);
    return TRIB_OK;
}

static const float few[6] = {1, -2, 3.5f, 0, -0.0f, 1e30f};

/* One of everything. */
static struct gguf_writer *fill(uint32_t alignment)
{
    static const uint8_t truths[] = {1, 0, 1};
    static const int32_t kinds[] = {-7, 0, INT32_MAX};
    struct slice strings[WORDS];
    struct gguf_writer *w = gguf_writer_open();
    for (size_t i = 0; i < WORDS; i++)
        strings[i] = slice_of(words[i]);
    gguf_put_u32(w, "a.u32", UINT32_MAX);
    gguf_put_i32(w, "a.i32", -5);
    gguf_put_u64(w, "a.u64", UINT64_MAX);
    gguf_put_f32(w, "a.f32", -0.25f);
    gguf_put_tensor(w, "few", DTYPE_F32, 2, (uint64_t[]){3, 2}, few);
    if (alignment)
        gguf_put_u32(w, "general.alignment", alignment);
    gguf_put_bool(w, "a.bool", true);
    gguf_put_string(w, "a.string", (struct slice){"with\0nul", 8});
    gguf_put_numbers(w, "an.i32", GGUF_I32, kinds, 3);
    gguf_put_numbers(w, "a.few", GGUF_F32, few, 6);
    gguf_put_numbers(w, "a.bools", GGUF_BOOL, truths, 3);
    gguf_put_numbers(w, "an.empty", GGUF_U64, NULL, 0);
    gguf_put_strings(w, "a.strings", strings, WORDS);
    gguf_put_tensor(w, "zeros", DTYPE_Q8_0, 1, (uint64_t[]){96}, NULL);
    gguf_put_tensor_from(w, "made", DTYPE_F32, 2, (uint64_t[]){ROW, ROWS}, make, NULL);
    return w;
}

static void check(const struct gguf *file, uint32_t alignment)
{
    uint32_t natural;
    float real;
    bool truth;
    struct slice text;
    const struct gguf_value *array;
    assert_null(gguf_walk(file, NULL));
    assert_int_equal(file->version, 3);
    assert_int_equal(file->value_count, alignment ? 12 : 11);
    assert_int_equal(gguf_get_u32(file, "a.u32", &natural, NULL, NULL), TRIB_OK);
    assert_int_equal(natural, UINT32_MAX);
    assert_int_equal(gguf_find(file, "a.i32")->type, GGUF_I32);
    assert_true(gguf_number(gguf_find(file, "a.i32"), 0) == -5);
    assert_int_equal(gguf_find(file, "a.u64")->type, GGUF_U64);
    assert_true(gguf_number(gguf_find(file, "a.u64"), 0) == 0x1p64);
    assert_int_equal(gguf_get_f32(file, "a.f32", &real, NULL, NULL), TRIB_OK);
    assert_true(real == -0.25f);
    assert_int_equal(gguf_get_bool(file, "a.bool", &truth, NULL, NULL), TRIB_OK);
    assert_true(truth);
    assert_int_equal(gguf_get_string(file, "a.string", &text, NULL, NULL), TRIB_OK);
    assert_true(slice_equal(text, (struct slice){"with\0nul", 8}));
    assert_int_equal(gguf_get_array(file, "an.i32", GGUF_I32, &array, NULL, NULL), TRIB_OK);
    assert_int_equal(array->count, 3);
    assert_true(gguf_number(array, 0) == -7 && gguf_number(array, 2) == INT32_MAX);
    assert_int_equal(gguf_get_array(file, "a.few", GGUF_F32, &array, NULL, NULL), TRIB_OK);
    assert_memory_equal(array->data, few, sizeof few);
    assert_int_equal(gguf_get_array(file, "a.bools", GGUF_BOOL, &array, NULL, NULL), TRIB_OK);
    assert_memory_equal(array->data, "\1\0\1", 3);
    assert_int_equal(gguf_find(file, "an.empty")->count, 0);
    assert_int_equal(gguf_get_array(file, "a.strings", GGUF_STRING, &array, NULL, NULL), TRIB_OK);
    assert_int_equal(array->count, WORDS);
    const uint8_t *cursor = array->data;
    for (size_t i = 0; i < WORDS; i++)
        assert_true(slice_is(gguf_next_string(&cursor), words[i]));

    const uint8_t *start = file->tensors[0].data;
    assert_int_equal(file->tensor_count, 3);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal((size_t)(file->tensors[i].data - start) % (alignment ? alignment : 32), 0);
    const struct gguf_tensor *t = gguf_find_tensor(file, "few");
    assert_int_equal(t->dims, 2);
    assert_true(t->shape[0] == 3 && t->shape[1] == 2);
    assert_memory_equal(t->data, few, sizeof few);
    t = gguf_find_tensor(file, "zeros");
    assert_int_equal(t->type, DTYPE_Q8_0);
    for (size_t i = 0; i < t->bytes; i++)
        assert_int_equal(t->data[i], 0);
    t = gguf_find_tensor(file, "made");
    assert_int_equal(t->elements, ROW * ROWS);
    for (size_t i = 0; i < t->elements; i++) {
        memcpy(&real, t->data + i * sizeof real, sizeof real);
        if (real != made(i))
            fail_msg("element %zu is %g", i, (double)real);
    }
}

static void comes_back(void **state)
{
    static const uint32_t alignments[] = {0, 1, 8, 64, 4096, GGUF_ALIGNMENT_MOST};
    const struct place *place = *state;
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        struct gguf_writer *w = fill(alignments[i]);
        struct gguf *file = NULL;
        trib_error error;
        uint8_t *bytes;
        size_t size;
        if (gguf_writer_save(w, place->path, &error) || gguf_open(&file, place->path, &error))
            fail_msg("%s", error.message);
        check(file, alignments[i]);
        assert_int_equal(gguf_writer_bytes(w, &bytes, &size, &error), TRIB_OK);
        assert_int_equal(size, file->size);
        gguf_close(file);
        assert_int_equal(gguf_parse(&file, bytes, size, "memory", &error), TRIB_OK);
        check(file, alignments[i]);
        gguf_close(file);
        free(bytes);
        gguf_writer_close(w);
    }
    assert_int_equal(folder_each(place->folder, "", NULL), 1);
}

/* A file of nothing, and one with the entries of another. */
static void copies(void **state)
{
    (void)state;
    struct gguf_writer *w = fill(64), *copy = gguf_writer_open(), *empty = gguf_writer_open();
    struct gguf *from, *to;
    uint8_t *bytes, *copied;
    size_t size;
    assert_int_equal(gguf_writer_bytes(w, &bytes, &size, NULL), TRIB_OK);
    assert_int_equal(gguf_parse(&from, bytes, size, "from", NULL), TRIB_OK);
    for (size_t i = 0; i < from->value_count; i++)
        gguf_put_value(copy, &from->values[i]);
    for (size_t i = 0; i < from->tensor_count; i++) {
        const struct gguf_tensor *t = &from->tensors[i];
        char name[16];
        snprintf(name, sizeof name, "%.*s", (int)t->name.length, t->name.bytes);
        gguf_put_tensor(copy, name, t->type, t->dims, t->shape, t->data);
    }
    assert_int_equal(gguf_writer_bytes(copy, &copied, &size, NULL), TRIB_OK);
    assert_int_equal(size, from->size);
    assert_memory_equal(copied, bytes, size);
    free(copied);
    assert_int_equal(gguf_writer_bytes(empty, &copied, &size, NULL), TRIB_OK);
    assert_int_equal(gguf_parse(&to, copied, size, "empty", NULL), TRIB_OK);
    assert_int_equal(to->value_count + to->tensor_count, 0);
    gguf_close(to);
    gguf_close(from);
    free(copied);
    free(bytes);
    gguf_writer_close(w);
    gguf_writer_close(copy);
    gguf_writer_close(empty);
}

/* Puts something that no file may have, after which nothing else matters. */
static void put_wrong(struct gguf_writer *w, int which)
{
    static char longest[GGUF_NAME_MOST + 2];
    static const uint64_t shape[] = {32, 0, UINT64_MAX / 8, 33};
    static const uint8_t two = 2;
    memset(longest, 'x', sizeof longest - 1);
    switch (which) {
    case 0:
        gguf_put_bool(w, "a.u32", false);
        break;
    case 1:
        gguf_put_u32(w, "", 1);
        break;
    case 2:
        gguf_put_u32(w, longest, 1);
        break;
    case 3:
        gguf_put_u32(w, "general.alignment", 24);
        break;
    case 4:
        gguf_put_u64(w, "general.alignment", 64);
        break;
    case 5:
        gguf_put_tensor(w, "few", DTYPE_F32, 1, shape, NULL);
        break;
    case 6:
        gguf_put_tensor(w, "empty", DTYPE_F32, 2, shape, NULL);
        break;
    case 7:
        gguf_put_tensor(w, "huge", DTYPE_F32, 1, shape + 2, NULL);
        gguf_put_tensor(w, "huge too", DTYPE_F32, 1, shape + 2, NULL);
        gguf_put_tensor(w, "and huge", DTYPE_F32, 1, shape + 2, NULL);
        break;
    case 8:
        gguf_put_tensor(w, "cut", DTYPE_Q8_0, 1, shape + 3, NULL);
        break;
    case 9:
        gguf_put_tensor(w, "flat", DTYPE_F32, 0, shape, NULL);
        break;
    case 10:
        gguf_put_numbers(w, "a.third", GGUF_BOOL, &two, 1);
        break;
    case 11:
        gguf_put_numbers(w, "a.string array", GGUF_STRING, NULL, 0);
        break;
    }
}

static void what_no_reader_takes(void **state)
{
    static const char *const messages[] = {
        "metadata key a.u32 stands twice",
        "a metadata key: expected a name of 1 to 65535 bytes, found 0",
        "a metadata key: expected a name of 1 to 65535 bytes, found 65536",
        "general.alignment: expected a u32, a power of two up to 65536, found 24 of u32",
        "general.alignment: expected a u32, a power of two up to 65536, found 0 of u64",
        "tensor few stands twice",
        "tensor empty: expected a known type and 1 to 4 dimensions that suit it",
        "the tensors are larger than any file",
        "tensor cut: expected a known type and 1 to 4 dimensions that suit it",
        "tensor flat: expected a known type and 1 to 4 dimensions that suit it",
        "a.third: expected bools of 0 or 1, found 2",
        "a.string array: expected numbers, found an array of string",
    };
    const struct place *place = *state;
    put_old(place);
    for (size_t i = 0; i < sizeof messages / sizeof messages[0]; i++) {
        struct gguf_writer *w = fill(0);
        trib_error error = {0};
        uint8_t *bytes = NULL;
        size_t size = 0;
        put_wrong(w, (int)i);
        gguf_put_u32(w, "a.later", 1);
        assert_int_equal(gguf_writer_save(w, place->path, &error), TRIB_INVALID);
        assert_string_equal(error.message, messages[i]);
        assert_int_equal(gguf_writer_bytes(w, &bytes, &size, &error), TRIB_INVALID);
        assert_null(bytes);
        gguf_writer_close(w);
    }
    assert_content(place, "the old one");
    assert_int_equal(folder_each(place->folder, "", NULL), 1);
    gguf_put_u32(NULL, "a", 1);
    gguf_put_string(NULL, "b", slice_of(""));
    gguf_put_tensor(NULL, "c", DTYPE_F32, 1, (uint64_t[]){1}, NULL);
    assert_int_equal(gguf_writer_save(NULL, place->path, NULL), TRIB_NO_MEMORY);
}

/* The tensor that is made fails in its second piece: the old file stays. */
static void a_failing_source(void **state)
{
    const struct place *place = *state;
    uint64_t fail_at = ROW * ROWS - 1;
    struct gguf_writer *w = fill(0);
    trib_error error;
    put_old(place);
    gguf_put_tensor_from(w, "fails", DTYPE_F32, 2, (uint64_t[]){ROW, ROWS}, make, &fail_at);
    assert_int_equal(gguf_writer_save(w, place->path, &error), TRIB_IO);
    assert_string_equal(error.message, "made to fail");
    assert_content(place, "the old one");
    assert_int_equal(folder_each(place->folder, "", NULL), 1);
    gguf_writer_close(w);
}

/* The operating system stops the file in its middle. */
static void a_full_disk(void **state)
{
    const struct place *place = *state;
    struct gguf_writer *w = fill(0);
    struct rlimit old, small;
    char expected[256];
    trib_error error;
    put_old(place);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 100000;
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    trib_status status = gguf_writer_save(w, place->path, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, handler);
    assert_int_equal(status, TRIB_IO);
    snprintf(expected, sizeof expected, "%s: cannot be written: File too large", place->path);
    assert_non_null(strstr(error.message, expected + strlen(place->folder)));
    assert_content(place, "the old one");
    assert_int_equal(folder_each(place->folder, "", NULL), 1);
    gguf_writer_close(w);
}

static void places_that_will_not_do(void **state)
{
    const struct place *place = *state;
    char path[256];
    struct atomic_file file;
    trib_error error;
    assert_int_equal(atomic_open(&file, place->folder, &error), TRIB_IO);
    assert_non_null(strstr(error.message, "it is there already and no regular file"));
    assert_int_equal(atomic_open(&file, "/dev/null", NULL), TRIB_IO);
    snprintf(path, sizeof path, "%s/none/file", place->folder);
    assert_int_equal(atomic_open(&file, path, &error), TRIB_IO);
    assert_non_null(strstr(error.message, "/none/file: cannot be written: No such file"));
    atomic_abandon(&file);
    atomic_abandon(&(struct atomic_file){0});
    assert_int_equal(folder_each(place->folder, "", NULL), 0);
}

/* Before the commit the old file stands; after it the new one, with its permissions, and where a
 * link led there the link is still one. */
static void replaces_at_the_commit(void **state)
{
    const struct place *place = *state;
    struct atomic_file file, other;
    struct stat info;
    char link[256];
    snprintf(link, sizeof link, "%s/link", place->folder);
    put_old(place);
    assert_int_equal(chmod(place->path, 0640), 0);
    assert_int_equal(symlink("file.gguf", link), 0);
    assert_int_equal(atomic_open(&file, link, NULL), TRIB_OK);
    assert_int_equal(atomic_open(&other, place->path, NULL), TRIB_OK);
    assert_int_equal(atomic_write(&file, "the ", 4, NULL), TRIB_OK);
    assert_int_equal(atomic_write(&other, "never seen", 10, NULL), TRIB_OK);
    assert_int_equal(atomic_write(&file, "new one", 7, NULL), TRIB_OK);
    assert_int_equal(file.size, 11);
    assert_content(place, "the old one");
    assert_int_equal(atomic_commit(&file, NULL), TRIB_OK);
    assert_content(place, "the new one");
    atomic_abandon(&other);
    atomic_abandon(&file);
    assert_content(place, "the new one");
    assert_int_equal(stat(place->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0640);
    assert_int_equal(lstat(link, &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(folder_each(place->folder, "", NULL), 2);
    unlink(link);
}

int main(void)
{
#define IN_PLACE(test) cmocka_unit_test_setup_teardown(test, open_place, close_place)
    const struct CMUnitTest tests[] = {
        IN_PLACE(comes_back),
        cmocka_unit_test(copies),
        IN_PLACE(what_no_reader_takes),
        IN_PLACE(a_failing_source),
        IN_PLACE(a_full_disk),
        IN_PLACE(places_that_will_not_do),
        IN_PLACE(replaces_at_the_commit),
    };
    return cmocka_run_group_tests_name("gguf_write", tests, NULL, NULL);
}
