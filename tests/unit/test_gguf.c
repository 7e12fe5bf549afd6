/* GGUF files that are well-formed: everything put in comes out again. And the same files damaged
 * without a plan, cut at every length and with every byte changed: nothing may be touched that is
 * not there. Damage with a plan is in test_gguf_refusals.c. */
#include <inttypes.h>
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_build.h"
#include "gguf_walk.h"
#include "test.h"

static struct gguf *parse(const struct gguf_build *b)
{
    struct gguf *file;
    trib_error error;
    if (gguf_parse(&file, b->file.bytes, b->file.size, "test", &error) != TRIB_OK)
        fail_msg("%s", error.message);
    const char *wrong = gguf_walk(file, b->file.bytes);
    if (wrong)
        fail_msg("%s", wrong);
    return file;
}

/* The numbers of every width at both ends, and what they are. */
static const struct number {
    const char *key;
    enum gguf_type type;
    uint64_t bits;
    double value;
} numbers[] = {
    {"u8.low", GGUF_U8, 0, 0},
    {"u8.high", GGUF_U8, UINT8_MAX, UINT8_MAX},
    {"i8.low", GGUF_I8, 0x80, INT8_MIN},
    {"i8.high", GGUF_I8, INT8_MAX, INT8_MAX},
    {"u16.high", GGUF_U16, UINT16_MAX, UINT16_MAX},
    {"i16.low", GGUF_I16, 0x8000, INT16_MIN},
    {"i16.high", GGUF_I16, INT16_MAX, INT16_MAX},
    {"u32.high", GGUF_U32, UINT32_MAX, UINT32_MAX},
    {"i32.low", GGUF_I32, 0x80000000, INT32_MIN},
    {"i32.high", GGUF_I32, INT32_MAX, INT32_MAX},
    {"u64.small", GGUF_U64, 7, 7},
    {"u64.fits", GGUF_U64, UINT32_MAX, UINT32_MAX},
    {"u64.above", GGUF_U64, UINT32_MAX + UINT64_C(1), 0x1p32},
    {"u64.high", GGUF_U64, UINT64_MAX, 0x1p64},
    {"i64.minus", GGUF_I64, UINT64_MAX, -1},
    {"i64.low", GGUF_I64, UINT64_C(1) << 63, -0x1p63},
    {"i64.high", GGUF_I64, INT64_MAX, 0x1p63},
    {"f32.third", GGUF_F32, 0x3eaaaaab, 0x1.555556p-2},
    {"f32.infinite", GGUF_F32, 0xff800000, -INFINITY},
    {"f64.third", GGUF_F64, UINT64_C(0x3fd5555555555555), 1.0 / 3},
    {"bool.false", GGUF_BOOL, 0, 0},
    {"bool.true", GGUF_BOOL, 1, 1},
};

enum { NUMBERS = sizeof numbers / sizeof numbers[0] };

static size_t type_bytes(enum gguf_type type)
{
    static const uint8_t bytes[] = {
#define BYTES(name, number, text, bytes) [number] = bytes,
        GGUF_TYPE_LIST(BYTES)
#undef BYTES
    };
    return bytes[type];
}

static void numbers_round_trip(void **state)
{
    (void)state;
    struct gguf_build b;
    gguf_build_open(&b);
    for (size_t i = 0; i < NUMBERS; i++) {
        gguf_build_key(&b, numbers[i].key, numbers[i].type);
        put_bytes(&b.values, &numbers[i].bits, type_bytes(numbers[i].type));
    }
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    assert_int_equal(file->value_count, NUMBERS);
    assert_string_equal(gguf_type_name(GGUF_I16), "i16");
    assert_string_equal(gguf_type_name((enum gguf_type)13), "?");
    for (size_t i = 0; i < NUMBERS; i++) {
        const struct gguf_value *v = &file->values[i];
        assert_true(slice_is(v->key, numbers[i].key));
        assert_int_equal(v->type, numbers[i].type);
        assert_true(gguf_number(v, 0) == numbers[i].value);
        bool integer = v->type != GGUF_F32 && v->type != GGUF_F64 && v->type != GGUF_BOOL;
        bool fits = integer && numbers[i].value >= 0 && numbers[i].value <= UINT32_MAX;
        uint32_t n = 99;
        assert_int_equal(gguf_get_u32(file, numbers[i].key, &n, NULL, NULL),
                         fits ? TRIB_OK : TRIB_FORMAT);
        assert_true(n == (fits ? numbers[i].value : 99));
    }
    gguf_close(file);
    gguf_build_close(&b);
}

/* Every array starts at another misalignment, as the keys before it have odd lengths. */
static void arrays_round_trip(void **state)
{
    (void)state;
    struct gguf_build b;
    gguf_build_open(&b);
    for (size_t i = 0; i < NUMBERS; i++) {
        gguf_build_array(&b, numbers[i].key, numbers[i].type, i % 3);
        for (size_t n = 0; n < i % 3; n++)
            put_bytes(&b.values, &numbers[i].bits, type_bytes(numbers[i].type));
    }
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    for (size_t i = 0; i < NUMBERS; i++) {
        const struct gguf_value *v = NULL;
        bool found;
        assert_int_equal(gguf_get_array(file, numbers[i].key, numbers[i].type, &v, &found, NULL),
                         TRIB_OK);
        assert_true(found);
        assert_ptr_equal(v, &file->values[i]);
        assert_int_equal(v->type, GGUF_ARRAY);
        assert_int_equal(v->count, i % 3);
        for (size_t n = 0; n < i % 3; n++)
            assert_true(gguf_number(v, n) == numbers[i].value);
    }
    gguf_close(file);
    gguf_build_close(&b);
}

static void strings_round_trip(void **state)
{
    (void)state;
    static const char zero[] = "a\0b", high[] = "\xff\xfe";
    struct gguf_build b;
    gguf_build_open(&b);
    gguf_build_string(&b, "plain", "text");
    gguf_build_string(&b, "empty", "");
    gguf_build_array(&b, "list", GGUF_STRING, 3);
    put_slice(&b.values, zero, 3);
    put_string(&b.values, "");
    put_slice(&b.values, high, 2); /* not UTF-8: the reader leaves the meaning to others */
    gguf_build_array(&b, "none", GGUF_STRING, 0);
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    struct slice text;
    assert_int_equal(gguf_get_string(file, "plain", &text, NULL, NULL), TRIB_OK);
    assert_true(slice_is(text, "text"));
    assert_int_equal(gguf_get_string(file, "empty", &text, NULL, NULL), TRIB_OK);
    assert_int_equal(text.length, 0);
    const struct gguf_value *list, *none;
    assert_int_equal(gguf_get_array(file, "list", GGUF_STRING, &list, NULL, NULL), TRIB_OK);
    const uint8_t *cursor = list->data;
    assert_true(slice_equal(gguf_next_string(&cursor), (struct slice){zero, 3}));
    assert_int_equal(gguf_next_string(&cursor).length, 0);
    assert_true(slice_equal(gguf_next_string(&cursor), (struct slice){high, 2}));
    assert_int_equal(gguf_get_array(file, "none", GGUF_STRING, &none, NULL, NULL), TRIB_OK);
    assert_int_equal(none->count, 0);
    gguf_close(file);
    gguf_build_close(&b);
}

/* A NaN is the user's to judge; a float64 beyond float32 becomes infinite. */
static void floats_come_from_both_widths(void **state)
{
    (void)state;
    struct gguf_build b;
    gguf_build_open(&b);
    gguf_build_f32(&b, "nan", NAN);
    gguf_build_key(&b, "narrow", GGUF_F64);
    put_f64(&b.values, 0.1);
    gguf_build_key(&b, "wide", GGUF_F64);
    put_f64(&b.values, -1e300);
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    float f;
    assert_int_equal(gguf_get_f32(file, "nan", &f, NULL, NULL), TRIB_OK);
    assert_true(isnan(f));
    assert_int_equal(gguf_get_f32(file, "narrow", &f, NULL, NULL), TRIB_OK);
    assert_true(f == 0.1f);
    assert_int_equal(gguf_get_f32(file, "wide", &f, NULL, NULL), TRIB_OK);
    assert_true(f == -INFINITY);
    gguf_close(file);
    gguf_build_close(&b);
}

/* Every getter on a key that is not there: optional and required. */
static void missing_keys(void **state)
{
    (void)state;
    struct gguf_build b;
    gguf_build_open(&b);
    gguf_build_u32(&b, "here", 1);
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    uint32_t n = 5;
    float f = 5;
    bool truth = true, found;
    struct slice text = slice_of("five");
    const struct gguf_value *array = NULL;
#define MISSING(call)                                                                              \
    do {                                                                                           \
        bool *optional = &found;                                                                   \
        trib_error error = {0};                                                                    \
        found = true;                                                                              \
        assert_int_equal(call, TRIB_OK);                                                           \
        assert_false(found);                                                                       \
        optional = NULL;                                                                           \
        assert_int_equal(call, TRIB_FORMAT);                                                       \
        assert_string_equal(error.message, "test: metadata key not.here is missing");              \
    } while (0)
    MISSING(gguf_get_u32(file, "not.here", &n, optional, &error));
    MISSING(gguf_get_f32(file, "not.here", &f, optional, &error));
    MISSING(gguf_get_bool(file, "not.here", &truth, optional, &error));
    MISSING(gguf_get_string(file, "not.here", &text, optional, &error));
    MISSING(gguf_get_array(file, "not.here", GGUF_U8, &array, optional, &error));
#undef MISSING
    assert_int_equal(n, 5);
    assert_true(f == 5 && truth && slice_is(text, "five"));
    assert_null(array);
    assert_null(gguf_find(file, "her"));
    assert_null(gguf_find(file, ""));
    assert_null(gguf_find_tensor(file, "here"));
    gguf_close(file);
    gguf_build_close(&b);
}

static void tensors_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[4 * 34];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7 + 1);
    static const struct {
        const char *name;
        enum dtype type;
        uint32_t dims;
        uint64_t shape[4], bytes;
    } cases[] = {
        {"vector", DTYPE_F32, 1, {5, 1, 1, 1}, 20}, {"matrix", DTYPE_Q8_0, 2, {64, 2, 1, 1}, 136},
        {"cube", DTYPE_F16, 3, {3, 1, 2, 1}, 12},   {"four", DTYPE_BF16, 4, {2, 3, 2, 4}, 96},
        {"one", DTYPE_F32, 4, {1, 1, 1, 1}, 4},
    };
    enum { CASES = sizeof cases / sizeof cases[0] };
    struct gguf_build b;
    gguf_build_open(&b);
    b.alignment = 64;
    gguf_build_u32(&b, "general.alignment", 64);
    for (size_t i = 0; i < CASES; i++)
        gguf_build_tensor(&b, cases[i].name, cases[i].type, cases[i].dims, cases[i].shape, bytes);
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    assert_int_equal(file->tensor_count, CASES);
    assert_int_equal(file->size, b.file.size);
    for (size_t i = 0; i < CASES; i++) {
        const struct gguf_tensor *t = gguf_find_tensor(file, cases[i].name);
        assert_ptr_equal(t, &file->tensors[i]);
        assert_int_equal(t->type, cases[i].type);
        assert_int_equal(t->dims, cases[i].dims);
        assert_memory_equal(t->shape, cases[i].shape, sizeof t->shape);
        assert_int_equal(t->bytes, cases[i].bytes);
        assert_memory_equal(t->data, bytes, cases[i].bytes);
        assert_int_equal((t->data - b.file.bytes) % 64, 0);
    }
    gguf_close(file);
    gguf_build_close(&b);
}

/* The order in the file and padding after the last tensor are the writer's choice; tensors may
 * touch; an alignment may be as small as 1 and as large as 65536. */
static void placements_that_are_allowed(void **state)
{
    (void)state;
    static const uint32_t alignments[] = {1, 8, 32, 65536};
    for (size_t i = 0; i < sizeof alignments / sizeof alignments[0]; i++) {
        uint32_t first = alignments[i] < 32 ? 32 : alignments[i];
        struct gguf_build b;
        gguf_build_open(&b);
        b.alignment = alignments[i];
        gguf_build_u32(&b, "general.alignment", alignments[i]);
        gguf_build_info(&b, "last", DTYPE_F32, 1, (uint64_t[]){1}, first);
        gguf_build_info(&b, "first", DTYPE_F32, 1, (uint64_t[]){first / 4}, 0);
        put_zeros(&b.data, first);
        put_f32(&b.data, 2.5f);
        gguf_build_finish(&b);
        struct gguf *file = parse(&b);
        assert_ptr_equal(file->tensors[0].data, b.file.bytes + b.file.size - 4);
        assert_ptr_equal(file->tensors[1].data, b.file.bytes + b.data_at);
        gguf_close(file);
        gguf_build_close(&b);
    }
}

/* Without tensors nothing has to follow the metadata, not even padding. */
static void nothing_is_a_file(void **state)
{
    (void)state;
    for (uint32_t version = 2; version <= 3; version++) {
        struct gguf_build b;
        gguf_build_open(&b);
        b.version = version;
        gguf_build_finish(&b);
        struct gguf *file = parse(&b);
        assert_int_equal(file->version, version);
        assert_int_equal(file->size, 24);
        assert_int_equal(file->value_count + file->tensor_count, 0);
        assert_null(gguf_find(file, "general.name"));
        assert_null(gguf_find_tensor(file, "general.name"));
        gguf_close(file);
        gguf_build_close(&b);
    }
    gguf_close(NULL);
}

/* Names that differ in one byte, and one of the greatest length: each leads to its own entry, which
 * the walk in parse() asks for every one of them. */
static void many_names(void **state)
{
    (void)state;
    enum { MANY = 3000, LONGEST = 65535 };
    char name[32], *longest = malloc(LONGEST + 1);
    struct gguf_build b;
    assert_non_null(longest);
    memset(longest, 'k', LONGEST);
    longest[LONGEST] = 0;
    gguf_build_open(&b);
    gguf_build_u32(&b, longest, 1);
    for (uint32_t i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "key.%" PRIu32, i);
        gguf_build_u32(&b, name, i);
        gguf_build_tensor(&b, name, DTYPE_F32, 1, (uint64_t[]){1}, &(float){(float)i});
    }
    gguf_build_finish(&b);
    struct gguf *file = parse(&b);
    assert_ptr_equal(gguf_find(file, longest), &file->values[0]);
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t n;
        float f;
        snprintf(name, sizeof name, "key.%" PRIu32, i);
        assert_int_equal(gguf_get_u32(file, name, &n, NULL, NULL), TRIB_OK);
        assert_int_equal(n, i);
        memcpy(&f, gguf_find_tensor(file, name)->data, sizeof f);
        assert_true(f == (float)i);
    }
    assert_null(gguf_find(file, "key.3000"));
    gguf_close(file);
    gguf_build_close(&b);
    free(longest);
}

static void files_that_cannot_be_mapped(void **state)
{
    (void)state;
    char folder[] = "/tmp/test-gguf-XXXXXX", pipe[64], missing[64], empty[64];
    assert_non_null(mkdtemp(folder));
    snprintf(pipe, sizeof pipe, "%s/pipe", folder);
    snprintf(missing, sizeof missing, "%s/missing", folder);
    snprintf(empty, sizeof empty, "%s/empty", folder);
    assert_int_equal(mkfifo(pipe, 0600), 0);
    fclose(fopen(empty, "wb"));
    const struct {
        const char *path, *says;
        trib_status status;
    } cases[] = {
        {folder, "directory", TRIB_IO},
        {pipe, "regular file", TRIB_IO}, /* and it does not wait for a writer */
        {missing, "No such file", TRIB_IO},
        {"", "No such file", TRIB_IO},
        {"/dev/null", "regular file", TRIB_IO},
        {empty, "empty", TRIB_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gguf *file;
        trib_error error = {0};
        assert_int_equal(gguf_open(&file, cases[i].path, &error), cases[i].status);
        assert_null(file);
        assert_true(message_is_clean(error.message, cases[i].path));
        if (!strstr(error.message, cases[i].says))
            fail_msg("'%s' does not say '%s'", error.message, cases[i].says);
    }
    assert_int_equal(unlink(pipe) | unlink(empty) | rmdir(folder), 0);
}

static void files_are_mapped_whole(void **state)
{
    (void)state;
    char path[] = "/tmp/test-gguf-XXXXXX";
    int fd = mkstemp(path);
    struct gguf_build b;
    struct gguf *file;
    trib_error error;
    assert_true(fd >= 0);
    close(fd);
    gguf_build_open(&b);
    gguf_build_string(&b, "general.architecture", "llama");
    gguf_build_tensor(&b, "matrix", DTYPE_F32, 2, (uint64_t[]){4, 3}, NULL);
    gguf_build_finish(&b);
    assert_true(gguf_build_write(&b, path));
    assert_int_equal(gguf_open(&file, path, &error), TRIB_OK);
    assert_string_equal(file->name, path);
    assert_int_equal(file->size, b.file.size);
    assert_null(gguf_walk(file, NULL));
    gguf_close(file);
    b.file.size = 0;
    put_bytes(&b.file, "Once upon a time", 16);
    assert_true(gguf_build_write(&b, path));
    assert_int_equal(gguf_open(&file, path, &error), TRIB_FORMAT);
    assert_non_null(strstr(error.message, "not a GGUF file"));
    assert_non_null(strstr(error.message, "'Once'"));
    gguf_build_close(&b);
    unlink(path);
}

/* The counts and values were read from the file by another program. */
static void a_real_model(void **state)
{
    (void)state;
    struct gguf *file;
    trib_error error;
    if (gguf_open(&file, test_data("stories260K/stories260K.gguf"), &error) != TRIB_OK)
        fail_msg("%s", error.message);
    assert_null(gguf_walk(file, NULL));
    assert_int_equal(file->version, 3);
    assert_int_equal(file->size, 1185472);
    assert_int_equal(file->value_count, 22);
    assert_int_equal(file->tensor_count, 48);
    uint32_t n;
    float f;
    bool truth;
    struct slice text;
    const struct gguf_value *tokens;
    assert_int_equal(gguf_get_string(file, "general.architecture", &text, NULL, NULL), TRIB_OK);
    assert_true(slice_is(text, "llama"));
    assert_int_equal(gguf_get_u32(file, "llama.feed_forward_length", &n, NULL, NULL), TRIB_OK);
    assert_int_equal(n, 172);
    assert_int_equal(gguf_get_f32(file, "llama.rope.freq_base", &f, NULL, NULL), TRIB_OK);
    assert_true(f == 10000);
    assert_int_equal(gguf_get_bool(file, "tokenizer.ggml.add_bos_token", &truth, NULL, NULL),
                     TRIB_OK);
    assert_true(truth);
    assert_int_equal(
        gguf_get_array(file, "tokenizer.ggml.tokens", GGUF_STRING, &tokens, NULL, NULL), TRIB_OK);
    assert_int_equal(tokens->count, 512);
    const uint8_t *cursor = tokens->data;
    assert_true(slice_is(gguf_next_string(&cursor), "<unk>"));
    assert_true(slice_is(gguf_next_string(&cursor), "<s>"));
    const struct gguf_tensor *t = gguf_find_tensor(file, "blk.4.ffn_down.weight");
    assert_non_null(t);
    assert_int_equal(t->type, DTYPE_F32);
    assert_int_equal(t->dims, 2);
    assert_int_equal(t->shape[0], 172);
    assert_int_equal(t->shape[1], 64);
    assert_int_equal(t->data - file->tensors[0].data, 1083136);
    gguf_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_round_trip),
        cmocka_unit_test(arrays_round_trip),
        cmocka_unit_test(strings_round_trip),
        cmocka_unit_test(floats_come_from_both_widths),
        cmocka_unit_test(missing_keys),
        cmocka_unit_test(tensors_round_trip),
        cmocka_unit_test(placements_that_are_allowed),
        cmocka_unit_test(nothing_is_a_file),
        cmocka_unit_test(many_names),
        cmocka_unit_test(files_that_cannot_be_mapped),
        cmocka_unit_test(files_are_mapped_whole),
        cmocka_unit_test(a_real_model),
    };
    return cmocka_run_group_tests_name("gguf", tests, NULL, NULL);
}
