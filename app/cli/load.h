/* Opening an engine while a progress bar says how far loading is. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include "tributary/engine.h"

/* trib_engine_open with a bar, once loading has taken a second. */
trib_status load_engine(trib_engine **out, const trib_model *model, trib_engine_options options,
                        trib_error *error);

#endif
