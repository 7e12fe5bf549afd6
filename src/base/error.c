/* Status names and the caller's error record. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>

static const struct {
    const char *name;
    const char *meaning;
} statuses[] = {
#define STATUS_ROW(name, meaning) {#name, meaning},
    TRIB_STATUS_LIST(STATUS_ROW)
#undef STATUS_ROW
};

enum { STATUS_COUNT = sizeof statuses / sizeof statuses[0] };

const char *trib_status_name(trib_status status)
{
    return (unsigned)status < STATUS_COUNT ? statuses[status].name : "?";
}

const char *trib_status_meaning(trib_status status)
{
    return (unsigned)status < STATUS_COUNT ? statuses[status].meaning : "?";
}

trib_status error_set(trib_error *error, trib_status status, const char *format, ...)
{
    if (error) {
        va_list arguments;
        error->status = status;
        va_start(arguments, format);
        vsnprintf(error->message, sizeof error->message, format, arguments);
        va_end(arguments);
        for (char *c = error->message; *c;
             c++) /* names from files must not reach a terminal as is */
            if ((unsigned char)*c < 32 || *c == 127)
                *c = '?';
    }
    return status;
}

trib_status error_no_memory(trib_error *error, const char *what, size_t bytes)
{
    return error_set(error, TRIB_NO_MEMORY, "no memory for %s (%zu bytes)", what, bytes);
}
