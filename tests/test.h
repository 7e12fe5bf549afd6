/* What every test includes: cmocka with the headers it wants, and the way to test data. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The path of a file of the test data, in a static buffer; where the file is absent the test is
 * skipped and the name printed. */
static inline const char *test_data(const char *name)
{
    static char path[4096];
    const char *folder = getenv("TRIB_DATA");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : "../shared/data", name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        print_message("# skipped: no test data %s\n", path);
        skip();
    }
    fclose(file);
    return path;
}

/* The larger of two, or NaN where one is: fmax would lose it, and with it what a bound is to see.
 */
static inline double larger(double a, double b)
{
    return b > a || b != b ? b : a;
}

#endif
