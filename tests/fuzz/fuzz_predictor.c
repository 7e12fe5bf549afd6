/* Fuzz target of predictors in files: any bytes are either refused with a message, or become a
 * predictor that takes a token. */
#include <stdlib.h>

#include "base/memory.h"
#include "train/predictor_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* A context may be as long as it says it is; states above this are not tried. */
enum { MOST_STATE = 1 << 22 };

static void step(struct predictor *p)
{
    size_t state_bytes = predictor_state_bytes(p);
    if (state_bytes > MOST_STATE)
        return;
    void *state = memory_zeroed(state_bytes);
    float *logits = memory_zeroed(p->config.vocabulary * sizeof *logits);
    if (!state || !logits)
        __builtin_trap();
    predictor_state_reset(p, state);
    if (predictor_step(p, state, (int32_t)p->config.vocabulary - 1, logits, NULL) != TRIB_OK ||
        predictor_state_position(p, state) != 1)
        __builtin_trap();
    free(state);
    free(logits);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct gguf *file;
    struct predictor predictor;
    const struct kernels *kernels;
    trib_error error = {0};
    if (gguf_parse(&file, bytes, size, "input", &error) != TRIB_OK)
        return 0;
    if (predictor_in_file(file) && kernels_choose(&kernels, "ref", &error) == TRIB_OK) {
        trib_status status = predictor_read(&predictor, file, kernels, 1, &error);
        if (status == TRIB_OK) {
            step(&predictor);
            predictor_close(&predictor);
        } else if (error.status != status || error.message[0] == 0) {
            __builtin_trap();
        }
    }
    gguf_close(file);
    return 0;
}
