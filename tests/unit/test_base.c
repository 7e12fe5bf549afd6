/* Foundations: errors, element types, 16-bit floats, checked sizes. */
#include <math.h>
#include <stdlib.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/half.h"
#include "base/size.h"
#include "test.h"

static void error_keeps_status_and_cuts_message(void **state)
{
    (void)state;
    trib_error error = {0};
    char longer[600];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(error_set(&error, TRIB_FORMAT, "%s", longer), TRIB_FORMAT);
    assert_int_equal(error.status, TRIB_FORMAT);
    assert_int_equal(strlen(error.message), sizeof error.message - 1);
    assert_int_equal(error_set(NULL, TRIB_IO, "no record"), TRIB_IO);
}

static void error_shows_no_control_bytes(void **state)
{
    (void)state;
    trib_error error = {0};
    error_set(&error, TRIB_FORMAT, "%s", "a\x1b[31m\nb\x7f");
    assert_string_equal(error.message, "a?[31m?b?");
}

static void status_has_names(void **state)
{
    (void)state;
    assert_string_equal(trib_status_name(TRIB_NO_MEMORY), "NO_MEMORY");
    assert_string_equal(trib_status_meaning(TRIB_OK), "success");
    assert_string_equal(trib_status_name((trib_status)999), "?");
}

static void dtype_table_agrees_with_itself(void **state)
{
    (void)state;
    enum dtype found;
    assert_true(dtype_find("q8_0", &found));
    assert_int_equal(found, DTYPE_Q8_0);
    assert_false(dtype_find("Q9", &found));
    assert_null(dtype_info(9999));
    assert_int_equal(dtype_size(DTYPE_Q8_0, 64), 68);
    assert_int_equal(dtype_size(DTYPE_BF16, 3), 6);
}

/* All 65,536 values: to float32 and back gives the same bits; NaN stays NaN. Half values are
 * checked against their definition, computed in float64 with ldexp. */
static void half_round_trips(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        int exponent = h >> 10 & 31, fraction = h & 1023;
        float f = f16_to_float((uint16_t)h);
        if (exponent == 31 && fraction) {
            assert_true(isnan(f));
            assert_true(isnan(f16_to_float(f16_from_float(f))));
        } else {
            double magnitude = exponent == 31  ? (double)INFINITY
                               : exponent == 0 ? ldexp(fraction, -24)
                                               : ldexp(1024 + fraction, exponent - 25);
            assert_true((double)f == (h & 0x8000 ? -magnitude : magnitude));
            assert_int_equal(f16_from_float(f), h);
        }
        float b = bf16_to_float((uint16_t)h);
        if (isnan(b))
            assert_true(isnan(bf16_to_float(bf16_from_float(b))));
        else
            assert_int_equal(bf16_from_float(b), h);
    }
}

/* Rounding: every midpoint of neighbouring halves goes to the even one, a hair beyond it does not.
 */
static void half_rounds_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 0x7bff; h++) {
        float low = f16_to_float((uint16_t)h), high = f16_to_float((uint16_t)(h + 1));
        float middle = low + (high - low) / 2; /* exact: one bit more than a half has */
        assert_int_equal(f16_from_float(middle), h + (h & 1));
        assert_int_equal(f16_from_float(nextafterf(middle, 0)), h);
        assert_int_equal(f16_from_float(nextafterf(middle, INFINITY)), h + 1);
        assert_int_equal(f16_from_float(-middle), 0x8000 | (h + (h & 1)));
    }
    assert_int_equal(f16_from_float(65519.996f), 0x7bff);
    assert_int_equal(f16_from_float(65520.0f), 0x7c00);
    assert_int_equal(bf16_from_float(float_from_bits(0x3f808000)), 0x3f80);
    assert_int_equal(bf16_from_float(float_from_bits(0x3f818000)), 0x3f82);
    assert_int_equal(bf16_from_float(float_from_bits(0x3f808001)), 0x3f81);
}

static void sizes_refuse_to_wrap(void **state)
{
    (void)state;
    uint64_t out;
    assert_false(size_mul(UINT64_MAX / 2, 3, &out));
    assert_false(size_add(UINT64_MAX, 1, &out));
    assert_false(size_align(UINT64_MAX - 3, 32, &out));
    assert_true(size_align(33, 32, &out));
    assert_int_equal(out, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_keeps_status_and_cuts_message),
        cmocka_unit_test(error_shows_no_control_bytes),
        cmocka_unit_test(status_has_names),
        cmocka_unit_test(dtype_table_agrees_with_itself),
        cmocka_unit_test(half_round_trips),
        cmocka_unit_test(half_rounds_to_nearest_even),
        cmocka_unit_test(sizes_refuse_to_wrap),
    };
    return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
