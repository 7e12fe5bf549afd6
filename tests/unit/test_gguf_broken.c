/* GGUF files that are broken: in every way known to have hurt a reader of GGUF, each with the
 * message it must give; and without a plan, cut at every length and with every byte changed. All of
 * them end at a page nobody may touch. */
#include "gguf_build.h"
#include "gguf_walk.h"
#include "guard.h"
#include "test.h"

#define SHAPE(...)                                                                                 \
    (const uint64_t[])                                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

/* One of everything, about a kilobyte. */
static void build_sample(struct gguf_build *b)
{
    gguf_build_open(b);
    gguf_build_string(b, "general.architecture", "llama");
    gguf_build_u32(b, "general.alignment", 32);
    gguf_build_f32(b, "float", 1.5f);
    gguf_build_bool(b, "bool", true);
    gguf_build_key(b, "byte", GGUF_I8);
    put_u8(&b->values, 0x80);
    gguf_build_key(b, "short", GGUF_U16);
    put_u16(&b->values, 7);
    gguf_build_key(b, "long", GGUF_I64);
    put_u64(&b->values, 7);
    gguf_build_key(b, "double", GGUF_F64);
    put_f64(&b->values, 0.1);
    gguf_build_array(b, "strings", GGUF_STRING, 3);
    put_string(&b->values, "one");
    put_string(&b->values, "");
    put_string(&b->values, "three");
    gguf_build_array(b, "bools", GGUF_BOOL, 4);
    put_u32(&b->values, 0x01000101);
    gguf_build_array(b, "floats", GGUF_F32, 5);
    put_zeros(&b->values, 20);
    gguf_build_tensor(b, "matrix", DTYPE_F32, 2, (uint64_t[]){4, 3}, NULL);
    gguf_build_tensor(b, "blocks", DTYPE_Q8_0, 2, (uint64_t[]){32, 2}, NULL);
    gguf_build_tensor(b, "halves", DTYPE_F16, 1, (uint64_t[]){16}, NULL); /* needs no padding */
    gguf_build_finish(b);
}

/* Parses bytes that end at a page nobody may touch. Whatever they are, nothing past them is read,
 * and the outcome is a file that can be walked or a message. */
static trib_status parse_guarded(const uint8_t *bytes, size_t size, trib_error *error)
{
    uint8_t *copy = guard_copy(bytes, size);
    struct gguf *file;
    trib_status status = gguf_parse(&file, copy, size, "test", error);
    if (status == TRIB_OK) {
        const char *wrong = gguf_walk(file, copy);
        if (wrong)
            fail_msg("%s", wrong);
        gguf_close(file);
    } else {
        assert_null(file);
        assert_int_equal(error->status, status);
        if (!message_is_clean(error->message, "test"))
            fail_msg("an unfit message: %s", error->message);
    }
    guard_free(copy, size);
    return status;
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    struct gguf_build b;
    trib_error error;
    build_sample(&b);
    assert_int_equal(parse_guarded(b.file.bytes, b.file.size, &error), TRIB_OK);
    for (size_t size = 0; size < b.file.size; size++)
        assert_int_equal(parse_guarded(b.file.bytes, size, &error), TRIB_FORMAT);
    gguf_build_close(&b);
}

/* The same from the heap, where a sanitizer also sees reads before the first byte. */
static void every_cut_is_refused_on_the_heap(void **state)
{
    (void)state;
    struct gguf_build b;
    build_sample(&b);
    for (size_t size = 1; size < b.file.size; size++) {
        uint8_t *copy = malloc(size);
        struct gguf *file;
        assert_non_null(copy);
        memcpy(copy, b.file.bytes, size);
        assert_int_equal(gguf_parse(&file, copy, size, "test", NULL), TRIB_FORMAT);
        free(copy);
    }
    gguf_build_close(&b);
}

/* Most changed bytes make another well-formed file, so that only the walk can judge. Those of the
 * magic and of the version cannot. */
static void every_byte_may_be_wrong(void **state)
{
    (void)state;
    static const uint8_t changes[] = {0xff, 0x01, 0x80};
    struct gguf_build b;
    trib_error error;
    build_sample(&b);
    for (size_t i = 0; i < b.file.size; i++)
        for (size_t c = 0; c < sizeof changes; c++) {
            b.file.bytes[i] ^= changes[c];
            trib_status status = parse_guarded(b.file.bytes, b.file.size, &error);
            b.file.bytes[i] ^= changes[c];
            bool version_3_to_2 = i == 4 && changes[c] == 0x01;
            if (i < 8 && !version_3_to_2)
                assert_int_not_equal(status, TRIB_OK);
        }
    gguf_build_close(&b);
}

/* ---- The header ---- */

static void put_text(struct gguf_build *b, const char *text)
{
    put_bytes(&b->file, text, strlen(text));
}

static void make_empty(struct gguf_build *b)
{
    (void)b;
}

static void make_short_magic(struct gguf_build *b)
{
    put_text(b, "GGU");
}

static void make_text(struct gguf_build *b)
{
    put_text(b, "Once upon a time");
}

static void make_control_bytes(struct gguf_build *b)
{
    put_text(b, "\x1b[2J and a line\n");
}

static void make_header(struct gguf_build *b, uint32_t version, uint64_t tensors, uint64_t values)
{
    b->version = version;
    b->tensor_count = tensors;
    b->value_count = values;
    gguf_build_finish(b);
    put_zeros(&b->file, 100);
}

static void make_version_1(struct gguf_build *b)
{
    make_header(b, 1, 0, 0);
}

static void make_version_4(struct gguf_build *b)
{
    make_header(b, 4, 0, 0);
}

static void make_big_endian(struct gguf_build *b)
{
    make_header(b, 0x03000000, 0, 0);
}

static void make_cut_header(struct gguf_build *b)
{
    put_text(b, "GGUF\3");
}

static void make_negative_values(struct gguf_build *b)
{
    make_header(b, 3, 0, UINT64_MAX);
}

/* The least size of a metadata entry is 14 bytes: 0 in all in 64-bit arithmetic. */
static void make_wrapping_values(struct gguf_build *b)
{
    make_header(b, 3, 0, UINT64_C(1) << 63);
}

/* That of a tensor's is 33 bytes: 1 in all. */
static void make_wrapping_tensors(struct gguf_build *b)
{
    make_header(b, 3, UINT64_C(0xf83e0f83e0f83e1), 0);
}

static void make_many_values(struct gguf_build *b)
{
    make_header(b, 3, 0, 9);
}

static void make_many_tensors(struct gguf_build *b)
{
    make_header(b, 3, 5, 0);
}

/* ---- Metadata ---- */

/* The rest of a file after its only, broken entry: zeros that a reader could run into. */
static void finish_values(struct gguf_build *b)
{
    put_zeros(&b->values, 64);
    gguf_build_finish(b);
}

static void make_nameless_key(struct gguf_build *b)
{
    gguf_build_u32(b, "", 1);
    finish_values(b);
}

static void make_long_key(struct gguf_build *b)
{
    b->value_count = 1;
    put_u64(&b->values, 65536);
    put_zeros(&b->values, 65536);
    finish_values(b);
}

static void make_negative_key(struct gguf_build *b)
{
    b->value_count = 1;
    put_u64(&b->values, UINT64_MAX);
    finish_values(b);
}

static void make_same_keys(struct gguf_build *b)
{
    gguf_build_u32(b, "some.key", 1);
    gguf_build_u32(b, "other.key", 1);
    gguf_build_string(b, "some.key", "1");
    finish_values(b);
}

static void make_unknown_type(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", 13);
    finish_values(b);
}

static void make_negative_type(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", UINT32_MAX);
    finish_values(b);
}

static void make_string_past_end(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", GGUF_STRING);
    put_u64(&b->values, 65);
    finish_values(b);
}

static void make_negative_string(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", GGUF_STRING);
    put_u64(&b->values, UINT64_MAX - 7); /* and its end would be its own start */
    finish_values(b);
}

static void make_number_past_end(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", GGUF_U64);
    put_u32(&b->values, 1);
    gguf_build_finish(b);
}

static void make_unknown_element(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", 13, 1);
    finish_values(b);
}

static void make_nested_array(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_ARRAY, 1);
    finish_values(b);
}

static void make_array_past_end(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_U16, 33);
    finish_values(b);
}

static void make_negative_array(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_U8, UINT64_MAX);
    finish_values(b);
}

static void make_wrapping_array(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_U64, (UINT64_C(1) << 61) + 1);
    finish_values(b);
}

static void make_many_strings(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_STRING, 9);
    finish_values(b);
}

static void make_element_past_end(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_STRING, 2);
    put_string(&b->values, "fine");
    put_u64(&b->values, UINT64_C(1) << 63);
    finish_values(b);
}

static void make_bool_2(struct gguf_build *b)
{
    gguf_build_key(b, "some.key", GGUF_BOOL);
    put_u8(&b->values, 2);
    finish_values(b);
}

static void make_bools_255(struct gguf_build *b)
{
    gguf_build_array(b, "some.key", GGUF_BOOL, 4);
    put_u32(&b->values, 0xff000100);
    finish_values(b);
}

static void make_alignment_0(struct gguf_build *b)
{
    gguf_build_u32(b, "general.alignment", 0);
    finish_values(b);
}

static void make_alignment_48(struct gguf_build *b)
{
    gguf_build_u32(b, "general.alignment", 48);
    finish_values(b);
}

static void make_alignment_huge(struct gguf_build *b)
{
    gguf_build_u32(b, "general.alignment", 0x80000000);
    finish_values(b);
}

static void make_alignment_text(struct gguf_build *b)
{
    gguf_build_string(b, "general.alignment", "32");
    finish_values(b);
}

static void make_alignment_u64(struct gguf_build *b)
{
    gguf_build_key(b, "general.alignment", GGUF_U64);
    put_u64(&b->values, 32);
    finish_values(b);
}

static void make_odd_key(struct gguf_build *b)
{
    gguf_build_key(b, "a\x1b[31m\n\x7f\xff", 99);
    finish_values(b);
}

/* ---- Tensors ---- */

/* The rest of a file: 128 bytes of data, enough for the tensors that are well-formed. */
static void finish_tensors(struct gguf_build *b)
{
    put_zeros(&b->data, 128);
    gguf_build_finish(b);
}

static void make_nameless_tensor(struct gguf_build *b)
{
    gguf_build_info(b, "", DTYPE_F32, 1, SHAPE(1), 0);
    finish_tensors(b);
}

static void make_same_tensors(struct gguf_build *b)
{
    gguf_build_info(b, "some.tensor", DTYPE_F32, 1, SHAPE(1), 0);
    gguf_build_info(b, "some.tensor", DTYPE_F32, 1, SHAPE(1), 32);
    finish_tensors(b);
}

static void make_dims_negative(struct gguf_build *b)
{
    b->tensor_count = 1;
    put_string(&b->infos, "some.tensor");
    put_u32(&b->infos, UINT32_MAX);
    finish_tensors(b);
}

static void make_overlap(struct gguf_build *b)
{
    gguf_build_info(b, "second", DTYPE_F32, 1, SHAPE(8), 32);
    gguf_build_info(b, "third", DTYPE_F32, 1, SHAPE(8), 64);
    gguf_build_info(b, "first", DTYPE_F32, 1, SHAPE(9), 0);
    finish_tensors(b);
}

static void make_same_place(struct gguf_build *b)
{
    gguf_build_info(b, "one", DTYPE_F32, 1, SHAPE(1), 32);
    gguf_build_info(b, "two", DTYPE_F32, 1, SHAPE(1), 32);
    finish_tensors(b);
}

static void make_no_data(struct gguf_build *b)
{
    gguf_build_info(b, "some.tensor", DTYPE_F32, 1, SHAPE(1), 0);
    gguf_build_finish(b);
    b->file.size = b->infos_at + b->infos.size; /* not even padding */
}

static void make_odd_tensor(struct gguf_build *b)
{
    gguf_build_info(b, "a\x1b[31m\n\x7f\xff", 99, 1, SHAPE(1), 0);
    finish_tensors(b);
}

/* A name that would fill the message with itself. */
static void make_long_tensor(struct gguf_build *b)
{
    char name[1000] = {0};
    memset(name, 'n', sizeof name - 1);
    gguf_build_info(b, name, DTYPE_F32, 1, SHAPE(0), 0);
    finish_tensors(b);
}

/* ---- What each of them must give ---- */

static const struct broken {
    const char *name;
    void (*make)(struct gguf_build *b);
    trib_status status;
    const char *says;
} cases[] = {
    {"nothing", make_empty, TRIB_FORMAT, "not a GGUF file"},
    {"a cut magic", make_short_magic, TRIB_FORMAT, "'GGU'"},
    {"a text file", make_text, TRIB_FORMAT, "'Once'"},
    {"a magic of control bytes", make_control_bytes, TRIB_FORMAT, "'?[2J'"},
    {"version 1", make_version_1, TRIB_UNSUPPORTED, "expected 2 or 3, found 1"},
    {"version 4", make_version_4, TRIB_UNSUPPORTED, "expected 2 or 3, found 4"},
    {"big-endian", make_big_endian, TRIB_UNSUPPORTED, "big-endian"},
    {"a cut header", make_cut_header, TRIB_FORMAT, "version: expected 4 bytes at offset 4"},
    {"a negative metadata count", make_negative_values, TRIB_FORMAT, "metadata count"},
    {"a wrapping metadata count", make_wrapping_values, TRIB_FORMAT, "metadata count"},
    {"a wrapping tensor count", make_wrapping_tensors, TRIB_FORMAT, "tensor count"},
    {"a metadata count too high", make_many_values, TRIB_FORMAT, "expected at most 7"},
    {"a tensor count too high", make_many_tensors, TRIB_FORMAT, "expected at most 3"},

    {"a key without a name", make_nameless_key, TRIB_FORMAT, "1 to 65535 bytes, found 0"},
    {"a key too long", make_long_key, TRIB_FORMAT, "1 to 65535 bytes, found 65536"},
    {"a negative key length", make_negative_key, TRIB_FORMAT, "key: expected 1844674407370955"},
    {"a key twice", make_same_keys, TRIB_FORMAT, "some.key stands twice"},
    {"an unknown value type", make_unknown_type, TRIB_FORMAT, "some.key: expected a value type"},
    {"a negative value type", make_negative_type, TRIB_FORMAT, "found 4294967295"},
    {"a string past the end", make_string_past_end, TRIB_FORMAT, "some.key: expected 65 bytes"},
    {"a negative string length", make_negative_string, TRIB_FORMAT, "some.key: expected 18446744"},
    {"a number past the end", make_number_past_end, TRIB_FORMAT, "some.key: expected 8 bytes"},
    {"an unknown element type", make_unknown_element, TRIB_FORMAT, "expected a value type"},
    {"an array of arrays", make_nested_array, TRIB_UNSUPPORTED, "arrays of arrays"},
    {"an array past the end", make_array_past_end, TRIB_FORMAT, "at most 32 elements"},
    {"a negative array length", make_negative_array, TRIB_FORMAT, "found 18446744073709551615"},
    {"a wrapping array length", make_wrapping_array, TRIB_FORMAT, "at most 8 elements"},
    {"too many strings", make_many_strings, TRIB_FORMAT, "at most 8 elements"},
    {"an element past the end", make_element_past_end, TRIB_FORMAT, "some.key: expected 92233720"},
    {"a bool of 2", make_bool_2, TRIB_FORMAT, "some.key: expected a bool of 0 or 1, found 2"},
    {"a bool of 255 in an array", make_bools_255, TRIB_FORMAT, "0 or 1, found 255"},
    {"alignment 0", make_alignment_0, TRIB_FORMAT, "power of two up to 65536, found 0"},
    {"alignment 48", make_alignment_48, TRIB_FORMAT, "power of two up to 65536, found 48"},
    {"a huge alignment", make_alignment_huge, TRIB_FORMAT, "found 2147483648"},
    {"alignment as text", make_alignment_text, TRIB_FORMAT, "general.alignment: expected"},
    {"alignment of 64 bits", make_alignment_u64, TRIB_FORMAT, "general.alignment: expected"},
    {"control bytes in a key", make_odd_key, TRIB_FORMAT, "a?[31m???: expected"},

    {"a tensor without a name", make_nameless_tensor, TRIB_FORMAT, "1 to 65535 bytes, found 0"},
    {"a tensor twice", make_same_tensors, TRIB_FORMAT, "some.tensor stands twice"},
    {"a negative count of dimensions", make_dims_negative, TRIB_FORMAT, "found 4294967295"},
    {"tensors that overlap", make_overlap, TRIB_FORMAT, "first and second overlap"},
    {"tensors in one place", make_same_place, TRIB_FORMAT, "overlap"},
    {"no tensor data", make_no_data, TRIB_FORMAT, "tensor data"},
    {"control bytes in a tensor's name", make_odd_tensor, TRIB_UNSUPPORTED, "a?[31m???"},
    {"a tensor's name that is long", make_long_tensor, TRIB_FORMAT, "expected 1 or more, found 0"},
};

/* The same of files with one tensor of this type, shape and offset, and 128 bytes of data. */
static const struct broken_tensor {
    const char *name;
    uint32_t type, dims;
    uint64_t shape[5], offset;
    trib_status status;
    const char *says;
} tensor_cases[] = {
    {"no dimension", DTYPE_F32, 0, {0}, 0, TRIB_FORMAT, "1 to 4 dimensions, found 0"},
    {"five dimensions", DTYPE_F32, 5, {1, 1, 1, 1, 1}, 0, TRIB_FORMAT, "dimensions, found 5"},
    {"a dimension of 0", DTYPE_F32, 2, {4, 0}, 0, TRIB_FORMAT, "dimension 1: expected 1 or more"},
    {"a negative dimension", DTYPE_F16, 1, {UINT64_MAX}, 0, TRIB_FORMAT, "some.tensor: its size"},
    /* The product of the dimensions is 0 in 64-bit arithmetic. */
    {"a wrapping shape", DTYPE_F32, 3, {1 << 22, 1 << 22, 1 << 20}, 0, TRIB_FORMAT, "product of"},
    /* The product fits, but not its 4 bytes each: they would be 4 bytes. */
    {"a wrapping size", DTYPE_F32, 1, {(UINT64_C(1) << 62) + 1}, 0, TRIB_FORMAT, "its size"},
    {"a type of others", 16, 1, {256}, 0, TRIB_UNSUPPORTED, "IQ2_XXS"},
    {"an unknown type", UINT32_MAX, 1, {1}, 0, TRIB_UNSUPPORTED, "4294967295"},
    /* Two whole blocks, but no row is one. */
    {"rows of half blocks", DTYPE_Q8_0, 2, {16, 4}, 0, TRIB_FORMAT, "32 elements, found 16"},
    {"an offset not aligned", DTYPE_F32, 1, {1}, 16, TRIB_FORMAT, "multiple of 32, found 16"},
    {"an offset past the end", DTYPE_F32, 1, {1}, 128, TRIB_FORMAT, "expected 4 bytes at 128"},
    /* Offset and size are 32 together in 64-bit arithmetic. */
    {"a wrapping offset", DTYPE_F32, 1, {16}, UINT64_MAX - 31, TRIB_FORMAT, "at 18446744073709"},
    {"a size that wraps", DTYPE_F32, 1, {(UINT64_C(1) << 62) - 8}, 32, TRIB_FORMAT, "bytes at 32"},
    {"a size past the end", DTYPE_F32, 1, {25}, 32, TRIB_FORMAT, "expected 100 bytes at 32"},
};

enum {
    CASES = sizeof cases / sizeof cases[0],
    TENSOR_CASES = sizeof tensor_cases / sizeof tensor_cases[0],
};

/* Parses and frees what was built. */
static void expect_refusal(struct gguf_build *b, trib_status expected, const char *says)
{
    trib_error error;
    trib_status status = parse_guarded(b->file.bytes, b->file.size, &error);
    gguf_build_close(b);
    assert_string_equal(trib_status_name(status), trib_status_name(expected));
    if (!strstr(error.message, says))
        fail_msg("'%s' does not say '%s'", error.message, says);
}

static void is_refused(void **state)
{
    const struct broken *broken = *state;
    struct gguf_build b;
    gguf_build_open(&b);
    broken->make(&b);
    expect_refusal(&b, broken->status, broken->says);
}

static void tensor_is_refused(void **state)
{
    const struct broken_tensor *broken = *state;
    struct gguf_build b;
    gguf_build_open(&b);
    gguf_build_info(&b, "some.tensor", broken->type, broken->dims, broken->shape, broken->offset);
    finish_tensors(&b);
    expect_refusal(&b, broken->status, broken->says);
}

static struct CMUnitTest test_of(const char *name, CMUnitTestFunction function, const void *broken)
{
    return (struct CMUnitTest){
        .name = name, .test_func = function, .initial_state = (void *)(uintptr_t)broken};
}

int main(void)
{
    struct CMUnitTest tests[3 + CASES + TENSOR_CASES] = {
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_cut_is_refused_on_the_heap),
        cmocka_unit_test(every_byte_may_be_wrong),
    };
    for (size_t i = 0; i < CASES; i++)
        tests[3 + i] = test_of(cases[i].name, is_refused, &cases[i]);
    for (size_t i = 0; i < TENSOR_CASES; i++)
        tests[3 + CASES + i] = test_of(tensor_cases[i].name, tensor_is_refused, &tensor_cases[i]);
    return cmocka_run_group_tests_name("gguf broken", tests, NULL, NULL);
}
