/* Opening an engine while a progress bar says how far loading is, and what there is to be said of a
 * model. */
#ifndef CLI_LOAD_H
#define CLI_LOAD_H

#include "tributary/engine.h"

/* Says trib_model_note, if there is one, on standard error. */
void say_note(const trib_model *model);

/* say_note, and trib_engine_open with a bar, once loading has taken a second. */
trib_status load_engine(trib_engine **out, const trib_model *model, trib_engine_options options,
                        trib_error *error);

#endif
