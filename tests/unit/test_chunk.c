/* Packed chunks, read back by the words of tributary/attention.h alone: keys [D'][64], values
 * [D' / 64][64][64] and [64][D' % 64], D' = D rounded up to 16; of Q8_0 signed bytes, keys [D /
 * 2][64][2] and values [D / 32][32][32][2], with f16 scales behind, [D / 32][64]. */
#include <math.h>
#include <stdbool.h>

#include "base/half.h"
#include "guard.h"
#include "random.h"
#include "test.h"
#include "tributary/attention.h"

static const trib_kv_type types[4] = {TRIB_KV_F32, TRIB_KV_F16, TRIB_KV_BF16, TRIB_KV_Q8_0};
static const size_t dims[] = {1, 7, 16, 17, 32, 64, 80, 96, 128, 256, 1024};
enum { DIMS = sizeof dims / sizeof *dims };

static bool possible(trib_kv_type type, size_t D)
{
    return type != TRIB_KV_Q8_0 || D % 32 == 0;
}

static size_t bytes_of(trib_kv_type type, size_t D)
{
    size_t elements = (D + 15) / 16 * 16 * 64;
    if (type == TRIB_KV_Q8_0)
        return elements + D / 32 * 64 * 2;
    return elements * (type == TRIB_KV_F32 ? 4 : 2);
}

static float half_at(const char *at, bool brain)
{
    uint16_t h;
    memcpy(&h, at, sizeof h);
    return brain ? bf16_to_float(h) : f16_to_float(h);
}

/* Element d of slot j, of keys or of values. */
static float element(trib_kv_type type, size_t D, const char *chunk, bool keys, size_t j, size_t d)
{
    size_t wide = (D + 15) / 16 * 16, first = d / 64 * 64;
    size_t columns = wide - first < 64 ? wide - first : 64;
    size_t at = keys ? d * 64 + j : first * 64 + j * columns + d % 64;
    float x;
    if (type == TRIB_KV_Q8_0) {
        at =
            keys ? (d / 2 * 64 + j) * 2 + d % 2 : ((d / 32 * 32 + j / 2) * 32 + d % 32) * 2 + j % 2;
        return half_at(chunk + wide * 64 + 2 * (d / 32 * 64 + j), false) *
               (float)(signed char)chunk[at];
    }
    if (type != TRIB_KV_F32)
        return half_at(chunk + 2 * at, type == TRIB_KV_BF16);
    memcpy(&x, chunk + 4 * at, sizeof x);
    return x;
}

static void bytes_are_those_of_the_layout(void **state)
{
    (void)state;
    for (size_t t = 0; t < 4; t++)
        for (size_t D = 1; D <= 1024; D++) {
            size_t bytes = trib_chunk_bytes(types[t], D);
            assert_int_equal(bytes, possible(types[t], D) ? bytes_of(types[t], D) : 0);
            assert_int_equal(bytes % 64, 0);
        }
    for (size_t t = 0; t < 4; t++) {
        assert_int_equal(trib_chunk_bytes(types[t], 0), 0);
        assert_int_equal(trib_chunk_bytes(types[t], 1025), 0);
        assert_int_equal(trib_chunk_bytes(types[t], SIZE_MAX), 0);
        assert_int_equal(trib_chunk_bytes(types[t], SIZE_MAX / 32 * 32), 0);
    }
    assert_int_equal(trib_chunk_bytes((trib_kv_type)2, 64), 0);
    assert_int_equal(trib_chunk_bytes((trib_kv_type)-1, 64), 0);
}

/* Whether `got` is x rounded: to nearest in the 16-bit floats; in Q8_0 within half a step of the
 * block's largest / 127, and what rounding that scale to f16 makes of it. */
static bool is_rounded(trib_kv_type type, float got, const float *x, size_t d)
{
    if (type == TRIB_KV_F32)
        return float_bits(got) == float_bits(x[d]);
    if (type == TRIB_KV_F16)
        return float_bits(got) == float_bits(f16_to_float(f16_from_float(x[d])));
    if (type == TRIB_KV_BF16)
        return float_bits(got) == float_bits(bf16_to_float(bf16_from_float(x[d])));
    float largest = 0;
    for (size_t i = d / 32 * 32; i < d / 32 * 32 + 32; i++)
        largest = fmaxf(largest, fabsf(x[i]));
    return fabs((double)got - (double)x[d]) <=
           1.0001 * (double)largest * (1 / 254.0 + 0x1p-11) + 127 * 0x1p-25;
}

/* Slots written in any order, some of them; each holds what was written, the others and the padding
 * hold zero. */
static void what_is_stored_is_read_back(void **state)
{
    (void)state;
    struct random r = random_start(1);
    for (size_t trial = 0; trial < 4 * DIMS; trial++) {
        trib_kv_type type = types[trial % 4];
        size_t D = dims[trial / 4], bytes = bytes_of(type, D);
        if (!possible(type, D))
            continue;
        char *chunk[2] = {guard_new(bytes), guard_new(bytes)};
        float *x[2] = {calloc(64 * D, sizeof(float)), calloc(64 * D, sizeof(float))};
        bool written[64] = {false};
        assert_true(x[0] && x[1]);
        memset(chunk[0], 0, bytes);
        memset(chunk[1], 0, bytes);
        for (size_t n = 0; n < 90; n++) {
            size_t j = random_below(&r, 64);
            float size = ldexpf(1, (int)random_below(&r, 24) - 15);
            random_fill(&r, x[0] + j * D, D, size);
            random_fill(&r, x[1] + j * D, D, size);
            trib_chunk_store(type, D, chunk[0], chunk[1], j, x[0] + j * D, x[1] + j * D);
            written[j] = true;
        }
        for (size_t side = 0; side < 2; side++)
            for (size_t j = 0; j < 64; j++)
                for (size_t d = 0; d < D; d++) {
                    float got = element(type, D, chunk[side], side == 0, j, d);
                    if (written[j] ? !is_rounded(type, got, x[side] + j * D, d) : got != 0)
                        fail_msg("type %d D %zu side %zu slot %zu [%zu]: %g, given %g", (int)type,
                                 D, side, j, d, (double)got, (double)x[side][j * D + d]);
                }
        for (size_t j = 0; j < 64 && type != TRIB_KV_Q8_0; j++)
            for (size_t d = D; d < (D + 15) / 16 * 16; d++) {
                assert_true(element(type, D, chunk[0], true, j, d) == 0);
                assert_true(element(type, D, chunk[1], false, j, d) == 0);
            }
        for (size_t side = 0; side < 2; side++) {
            guard_free(chunk[side], bytes);
            free(x[side]);
        }
    }
}

/* What the type cannot hold stays visible: no NaN, no infinity becomes a number; in Q8_0 it takes
 * its block of 32 along, and no other. */
static void nan_and_infinity_stay_visible(void **state)
{
    (void)state;
    struct random r = random_start(2);
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    enum { D = 64 };
    for (size_t trial = 0; trial < 64; trial++) {
        trib_kv_type type = types[trial % 4];
        size_t bytes = bytes_of(type, D), d = random_below(&r, D), j = random_below(&r, 64);
        void *k = guard_new(bytes), *v = guard_new(bytes);
        float x[D];
        random_fill(&r, x, D, 1);
        x[d] = bad[trial / 4 % 4];
        memset(k, 0, bytes);
        memset(v, 0, bytes);
        trib_chunk_store(type, D, k, v, j, x, x);
        for (size_t i = 0; i < D; i++) {
            bool hit = type == TRIB_KV_Q8_0 ? i / 32 == d / 32 : i == d;
            assert_true(hit == !isfinite(element(type, D, k, true, j, i)));
            assert_true(hit == !isfinite(element(type, D, v, false, j, i)));
        }
        guard_free(k, bytes);
        guard_free(v, bytes);
    }
}

/* Values at the ends of what Q8_0 can hold: a block of zeros, of the smallest numbers, of one
 * value, of the largest. */
static void blocks_at_the_edges_are_finite(void **state)
{
    (void)state;
    static const float values[] = {0, -0.0f, 0x1p-149f, 1e-40f, 1e-9f, 1, 65504, 127 * 65504.0f};
    enum { D = 32 };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        size_t bytes = bytes_of(TRIB_KV_Q8_0, D);
        void *k = guard_new(bytes), *v = guard_new(bytes);
        float x[D];
        for (size_t d = 0; d < D; d++)
            x[d] = d & 1 ? -values[i] : values[i];
        memset(k, 0, bytes);
        memset(v, 0, bytes);
        trib_chunk_store(TRIB_KV_Q8_0, D, k, v, 63, x, x);
        for (size_t d = 0; d < D; d++) {
            assert_true(is_rounded(TRIB_KV_Q8_0, element(TRIB_KV_Q8_0, D, k, true, 63, d), x, d));
            assert_true(is_rounded(TRIB_KV_Q8_0, element(TRIB_KV_Q8_0, D, v, false, 63, d), x, d));
        }
        guard_free(k, bytes);
        guard_free(v, bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_those_of_the_layout),
        cmocka_unit_test(what_is_stored_is_read_back),
        cmocka_unit_test(nan_and_infinity_stay_visible),
        cmocka_unit_test(blocks_at_the_edges_are_finite),
    };
    random_seed();
    return cmocka_run_group_tests_name("chunk", tests, NULL, NULL);
}
