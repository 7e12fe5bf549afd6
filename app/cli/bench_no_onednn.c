/* In place of the oneDNN peer where there is no oneDNN to build it with. */
#include <stdio.h>

#include "bench_peers.h"

static trib_status absent_open(void **state, const struct peer_problem *p, trib_error *error)
{
    (void)p;
    *state = NULL;
    error->status = TRIB_UNSUPPORTED;
    snprintf(error->message, sizeof error->message, "onednn: built without oneDNN 2");
    return TRIB_UNSUPPORTED;
}

static void absent_close(void *state)
{
    (void)state;
}

const struct peer peer_onednn = {
    .name = "onednn", .most_operations = 2e11, .open = absent_open, .close = absent_close};
