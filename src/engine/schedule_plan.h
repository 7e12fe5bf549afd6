/* Who takes part in a step of the scheduler, and with how many tokens. */
#ifndef ENGINE_SCHEDULE_PLAN_H
#define ENGINE_SCHEDULE_PLAN_H

#include "engine/scheduler.h"

/* Opens sessions for those whose turn has come, and fills the scheduler's `appends` and `parts`, in
 * the order of the line, so that the cache's room goes to the lowest rank first; returns how many.
 * Where one cannot go on, for what its `failure` says, the plan ends with it: *failed, else NULL.
 * It is in no part. */
size_t schedule_plan(trib_scheduler *scheduler, struct completion **failed);

#endif
