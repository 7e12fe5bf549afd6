/* Raising errors: one call that fills the caller's record and returns the status. */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stddef.h>

#include "tributary/status.h"

/* Fills `error` (may be NULL) with the status and the formatted message; returns the status, so
 * that a failure reads `return error_set(error, TRIB_FORMAT, "...")`. */
trib_status error_set(trib_error *error, trib_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The usual complaint when an allocation of `bytes` for `what` failed. */
trib_status error_no_memory(trib_error *error, const char *what, size_t bytes);

#endif
