/* One NaN for all. Which of two NaN an operation hands on depends on the order of its operands, and
 * a NaN that it makes has another sign: without this, bits would tell how work was cut. */
#ifndef ATTENTION_NAN_H
#define ATTENTION_NAN_H

#include <math.h>

static inline float one_nan(float x)
{
    return isnan(x) ? NAN : x;
}

#endif
