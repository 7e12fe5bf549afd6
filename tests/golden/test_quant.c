/* Block-quantised types against the gguf package and llama.cpp: tools/quant_golden.py made
 * golden/data/quant.json.
 *
 * Unpacking has the gguf package's bits in every table, from every byte value and from scales that
 * are subnormal, infinite or no number (all NaN count as one). */
#include <jansson.h>

#include "base/half.h"
#include "kernel/kernel.h"
#include "quant_case.h"
#include "tables.h"
#include "test.h"

static json_t *golden;

static int open_golden(void **state)
{
    (void)state;
    char path[4096];
    json_error_t problem;
    snprintf(path, sizeof path, "%s/quant.json", getenv("TRIB_GOLDEN"));
    golden = json_load_file(path, 0, &problem);
    if (!golden)
        fprintf(stderr, "%s: %s\n", path, problem.text);
    return golden ? 0 : -1;
}

static int close_golden(void **state)
{
    (void)state;
    json_decref(golden);
    return 0;
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    assert_non_null(memory);
    return memory;
}

static uint32_t bits_of(float x)
{
    return x != x ? 0x7fc00000u : float_bits(x);
}

static void check_unpacked(const struct kernels *k, enum dtype type, json_t *expected)
{
    const struct dtype_info *info = dtype_info(type);
    size_t n = (size_t)QUANT_BLOCKS * info->block;
    uint8_t *blocks = allocate((size_t)QUANT_BLOCKS * info->bytes);
    float *out = allocate(n * sizeof *out);
    uint64_t hash = QUANT_HASH_START;
    char text[QUANT_HASH_SHOWN];
    json_t *shown;
    size_t i;
    quant_blocks(type, blocks);
    k->unpack(type, out, blocks, n);
    json_array_foreach(json_object_get(expected, "first"), i, shown)
    {
        uint32_t bits = bits_of(out[(size_t)QUANT_BYTES * info->block + i]);
        uint32_t want = (uint32_t)strtoul(json_string_value(shown), NULL, 16);
        if (bits != want)
            fail_msg("%s: %s: element %zu: %08x, expected %08x", k->name, info->name, i, bits,
                     want);
    }
    assert_true(i > 0);
    for (i = 0; i < n; i++)
        hash = quant_hash_step(hash, bits_of(out[i]));
    quant_hash_text(hash, text);
    if (strcmp(text, json_string_value(json_object_get(expected, "hash"))) != 0)
        fail_msg("%s: %s: the first elements are right, others are not", k->name, info->name);
    free(blocks);
    free(out);
}

static void unpacking_has_the_bits_of_gguf(void **state)
{
    (void)state;
    const char *name;
    json_t *one;
    size_t types = 0;
    json_object_foreach(json_object_get(golden, "types"), name, one)
    {
        enum dtype type;
        json_t *expected = json_object_get(one, "unpacked");
        assert_true(dtype_find(name, &type));
        types += expected != NULL;
        for (const struct kernels *k = tables_first(); expected && k; k = tables_after(k))
            check_unpacked(k, type, expected);
    }
    assert_int_equal(types, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unpacking_has_the_bits_of_gguf),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
