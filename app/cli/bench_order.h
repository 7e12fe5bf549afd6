/* What the canonical order of attention costs: the same call with it and in any order. */
#ifndef CLI_BENCH_ORDER_H
#define CLI_BENCH_ORDER_H

#include "bench.h"
#include "bench_attend.h"

/* Times both, run by run in turn, for `seconds` and `repeat` turns at least, and prints a row that
 * `like` describes: its names and sizes are taken, its timing is not looked at. `first`: of its
 * kind. Returns the exit status. */
int bench_order_row(const struct attend_call *call, const struct bench_row *like, double seconds,
                    size_t repeat, enum bench_format format, bool first, trib_error *error);

#endif
