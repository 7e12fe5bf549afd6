/* Reading the options of sampling that are more than a number. */
#include "sampling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A copy in which \n, \t and \\ are what they stand for; another backslash stays. */
static char *unescaped(const char *text)
{
    char *copy = malloc(strlen(text) + 1), *at = copy;
    for (; copy && *text; text++) {
        bool escape = text[0] == '\\' && text[1] && strchr("nt\\", text[1]);
        text += escape;
        *at++ = !escape ? *text : *text == 'n' ? '\n' : *text == 't' ? '\t' : '\\';
    }
    if (copy)
        *at = 0;
    return copy;
}

trib_status sampling_stops(trib_stops **out, const struct text_list *given, const char *const *more,
                           size_t count, trib_error *error)
{
    trib_text *texts = malloc((given->count + count + 1) * sizeof *texts);
    char *copies[TEXTS_MOST];
    size_t made = 0;
    trib_status status = TRIB_NO_MEMORY;
    for (; texts && made < given->count; made++) {
        copies[made] = unescaped(given->values[made]);
        if (!copies[made])
            break;
        texts[made] = (trib_text){copies[made], strlen(copies[made])};
    }
    if (texts && made == given->count) {
        for (size_t i = 0; i < count; i++)
            texts[made + i] = (trib_text){more[i], strlen(more[i])};
        status = trib_stops_open(out, texts, made + count, error);
    } else {
        *error = (trib_error){status, "no memory for the stop strings"};
    }
    while (made > 0)
        free(copies[--made]);
    free(texts);
    return status;
}

int sampling_bias(const struct command *command, const struct text_list *given,
                  trib_logit_bias *bias, trib_sampler_options *options)
{
    for (size_t i = 0; i < given->count; i++) {
        const char *text = given->values[i];
        char *end, *behind = NULL;
        errno = 0;
        long id = strtol(text, &end, 10);
        float value = *end == '=' ? strtof(end + 1, &behind) : 0;
        if (end == text || *end != '=' || errno == ERANGE || id < 0 || id > INT32_MAX ||
            behind == end + 1 || *behind)
            return options_complain(command, "logit-bias", "ID=BIAS, a token and a number", text);
        bias[i] = (trib_logit_bias){(int32_t)id, value};
    }
    options->bias = bias;
    options->bias_count = given->count;
    return -1;
}
