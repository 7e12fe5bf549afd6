/* A cmocka program with every kind of end that a case can have, for the check of the counting. */
#include <signal.h>

#include "test.h"

static void passes(void **state)
{
    (void)state;
}

static void fails(void **state)
{
    (void)state;
    assert_int_equal(1, 2);
}

static void skips_for_want_of_data(void **state)
{
    (void)state;
    test_data("no such file");
}

static void crashes(void **state)
{
    (void)state;
    raise(SIGSEGV);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(passes),
        cmocka_unit_test(fails),
        cmocka_unit_test(skips_for_want_of_data),
        cmocka_unit_test(crashes),
        cmocka_unit_test(passes),
    };
    return cmocka_run_group_tests_name("sample", tests, NULL, NULL);
}
