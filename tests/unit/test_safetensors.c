/* The safetensors reader: what a good file gives, and one case for each way of being bad. */
#include "file/safetensors.h"
#include "test.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* A file of this header and so many bytes of data, 0, 1, 2, ...; to be freed. */
static uint8_t *make_file(const char *header, size_t data, size_t *size)
{
    size_t length = strlen(header);
    *size = 8 + length + data;
    uint8_t *bytes = malloc(*size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(bytes + 8, header, length);
    for (size_t i = 0; i < data; i++)
        bytes[8 + length + i] = (uint8_t)i;
    return bytes;
}

static void reads_a_file(void **state)
{
    static const char header[] =
        "{\"__metadata__\": {\"format\": \"pt\"},"
        "\"b\": {\"dtype\": \"BF16\", \"shape\": [3], \"data_offsets\": [24, 30]},"
        "\"a\": {\"dtype\": \"F32\", \"shape\": [2, 3], \"data_offsets\": [0, 24]},"
        "\"none\": {\"dtype\": \"I64\", \"shape\": [4, 0], \"data_offsets\": [24, 24]},"
        "\"one\": {\"dtype\": \"U8\", \"shape\": [], \"data_offsets\": [30, 31]}}   ";
    struct safetensors *file;
    trib_error error;
    size_t size;
    (void)state;
    uint8_t *bytes = make_file(header, 31, &size);
    if (safetensors_parse(&file, bytes, size, "test", &error))
        fail_msg("%s", error.message);
    assert_int_equal(file->count, 4);
    const struct safetensors_tensor *t = file->tensors;
    assert_true(slice_is(t[0].name, "a") && slice_is(t[1].name, "none"));
    assert_true(slice_is(t[2].name, "b") && slice_is(t[3].name, "one"));
    assert_string_equal(t[0].type, "F32");
    assert_int_equal(t[0].dims, 2);
    assert_int_equal(t[0].shape[0], 2);
    assert_int_equal(t[0].shape[1], 3);
    assert_int_equal(t[0].elements, 6);
    assert_ptr_equal(t[0].data, bytes + size - 31);
    assert_int_equal(t[2].data[0], 24);
    assert_int_equal(t[3].elements, 1);
    assert_true(safetensors_has(file, slice_of("b")));
    assert_false(safetensors_has(file, slice_of("c")));
    assert_false(safetensors_has(file, slice_of("__metadata__")));
    safetensors_close(file);
    free(bytes);
}

#define A(dtype, shape, offsets)                                                                   \
    "{\"a\": {\"dtype\": \"" dtype "\", \"shape\": " shape ", \"data_offsets\": " offsets "}}"

static const struct {
    const char *header;
    size_t data;
    trib_status status;
    const char *says;
} broken[] = {
    {"", 0, TRIB_FORMAT, "JSON"},
    {"{\"a\": {\"dtype\": \"F32\"", 4, TRIB_FORMAT, "JSON"},
    {"[]", 0, TRIB_FORMAT, "expected an object, found an array"},
    {"{\"a\": 1}", 0, TRIB_FORMAT, "tensor a: expected an object"},
    {"{\"__metadata__\": {\"a\": 1}}", 0, TRIB_FORMAT, "__metadata__: expected strings"},
    {"{\"__metadata__\": []}", 0, TRIB_FORMAT, "__metadata__: expected strings"},
    {A("F7", "[1]", "[0, 4]"), 4, TRIB_UNSUPPORTED, "tensor a: dtype: expected"},
    {"{\"a\": {\"shape\": [1], \"data_offsets\": [0, 4]}}", 4, TRIB_UNSUPPORTED, "found nothing"},
    {A("F32", "4", "[0, 4]"), 4, TRIB_FORMAT, "shape: expected an array"},
    {A("F32", "[-1]", "[0, 4]"), 4, TRIB_FORMAT, "shape: expected integers from 0"},
    {A("F32", "[1.0]", "[0, 4]"), 4, TRIB_FORMAT, "shape: expected integers"},
    {A("F32", "[1,1,1,1,1,1,1,1,1]", "[0, 4]"), 4, TRIB_FORMAT, "at most 8 dimensions"},
    /* Products that wrap to 1 element, and to 4 bytes. */
    {A("F32", "[4611686018427387905, 4, 1]", "[0, 16]"), 16, TRIB_FORMAT, "too large"},
    {A("F32", "[4611686018427387905]", "[0, 4]"), 4, TRIB_FORMAT, "size is too large"},
    {A("F32", "[99999999999999999999]", "[0, 4]"), 4, TRIB_FORMAT, "JSON"},
    {A("F32", "[1]", "[0]"), 4, TRIB_FORMAT, "data_offsets: expected two integers"},
    {A("F32", "[1]", "[0, \"4\"]"), 4, TRIB_FORMAT, "data_offsets: expected two integers"},
    {A("F32", "[1]", "[-4, 0]"), 4, TRIB_FORMAT, "data_offsets: expected two integers"},
    {A("F32", "[1]", "[4, 0]"), 4, TRIB_FORMAT, "within the 4 bytes"},
    {A("F32", "[1]", "[4, 8]"), 4, TRIB_FORMAT, "within the 4 bytes"},
    {A("F32", "[1]", "[0, 9223372036854775807]"), 4, TRIB_FORMAT, "within the 4 bytes"},
    {A("F32", "[2]", "[0, 4]"), 4, TRIB_FORMAT, "the 8 bytes of its shape, found 4"},
    {A("F32", "[1]", "[4, 8]"), 8, TRIB_FORMAT, "expected 0, where the one before ends, found 4"},
    {A("F32", "[1]", "[0, 4]"), 5, TRIB_FORMAT, "end with its last tensor at 4, found 5"},
    {"{}", 1, TRIB_FORMAT, "end with its last tensor at 0, found 1"},
    {"{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]},"
     "\"b\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [2, 6]}}",
     6, TRIB_FORMAT, "tensor b: data_offsets: expected 4"},
    {"{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]},"
     "\"b\": {\"dtype\": \"U8\", \"shape\": [2], \"data_offsets\": [6, 8]}}",
     8, TRIB_FORMAT, "tensor b: data_offsets: expected 4"},
    {"{\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [0, 4]},"
     "\"a\": {\"dtype\": \"U8\", \"shape\": [4], \"data_offsets\": [4, 8]}}",
     8, TRIB_FORMAT, "duplicate"},
};

static void refuse(const uint8_t *bytes, size_t size, trib_status status, const char *says)
{
    struct safetensors *file;
    trib_error error;
    assert_int_equal(safetensors_parse(&file, bytes, size, "weights", &error), status);
    assert_null(file);
    if (!strstr(error.message, says) || strncmp(error.message, "weights: ", 9) != 0)
        fail_msg("\"%s\": expected it to say \"%s\"", error.message, says);
    assert_int_equal(safetensors_parse(&file, bytes, size, "weights", NULL), status);
}

static void refuses_broken_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(broken); i++) {
        size_t size;
        uint8_t *bytes = make_file(broken[i].header, broken[i].data, &size);
        refuse(bytes, size, broken[i].status, broken[i].says);
        free(bytes);
    }
}

/* Every truncation of a good file is refused, and every length of the header that lies. */
static void refuses_wrong_lengths(void **state)
{
    static const uint64_t lengths[] = {
        0, 3, 1000, SAFETENSORS_HEADER_MOST + 1, UINT64_MAX, UINT64_MAX - 7};
    size_t size;
    (void)state;
    uint8_t *bytes = make_file(A("F32", "[1]", "[0, 4]"), 4, &size);
    for (size_t i = 0; i < size; i++) {
        uint8_t *cut = malloc(i ? i : 1); /* a copy, so that reading beyond is found */
        memcpy(cut, bytes, i);
        refuse(cut, i, TRIB_FORMAT, "");
        free(cut);
    }
    for (size_t i = 0; i < COUNT(lengths); i++) {
        memcpy(bytes, &lengths[i], sizeof lengths[i]);
        refuse(bytes, size, TRIB_FORMAT, i >= 2 ? "length of the header" : "");
    }
    free(bytes);
}

static void refuses_paths(void **state)
{
    struct safetensors *file;
    trib_error error;
    (void)state;
    assert_int_equal(safetensors_open(&file, "/nonexistent/x.safetensors", &error), TRIB_IO);
    assert_null(file);
    assert_int_equal(safetensors_open(&file, "/tmp", &error), TRIB_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_a_file),
        cmocka_unit_test(refuses_broken_headers),
        cmocka_unit_test(refuses_wrong_lengths),
        cmocka_unit_test(refuses_paths),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
