/* For what must succeed in a test: it fails with the message of what did not. */
#ifndef MUST_H
#define MUST_H

#include "test.h"
#include "tributary/status.h"

static inline void must(trib_status status, const trib_error *error)
{
    if (status != TRIB_OK)
        fail_msg("%s", error->message);
}

#endif
