/* Reading a request: a table of fields, each with what may stand in it. A field that is not known
 * is refused by name: one that is misspelt would else change nothing, unseen. */
#include "batch_line.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

enum { TOP_MOST = 100, STOPS_MOST = 64 };

static const char *kind_of(const json_t *value)
{
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object",   [JSON_ARRAY] = "an array", [JSON_STRING] = "a string",
        [JSON_INTEGER] = "an integer", [JSON_REAL] = "a number",  [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",        [JSON_NULL] = "null",
    };
    return kinds[json_typeof(value)];
}

static trib_status expected(trib_error *error, const char *name, const char *what,
                            const json_t *found)
{
    return failure(error, TRIB_FORMAT, "%.40s: expected %s, found %s", name, what, kind_of(found));
}

/* ---- Numbers ---- */

/* Integers up to 2^53, which other programs' JSON has too. */
static trib_status read_whole(const char *name, const json_t *value, json_int_t least,
                              json_int_t most, json_int_t *out, trib_error *error)
{
    if (!json_is_integer(value))
        return expected(error, name, "an integer", value);
    *out = json_integer_value(value);
    if (*out < least || *out > most)
        return failure(error, TRIB_INVALID, "%s: expected %lld to %lld, found %lld", name,
                       (long long)least, (long long)most, (long long)*out);
    return TRIB_OK;
}

static trib_status read_size(const char *name, const json_t *value, size_t *out, trib_error *error)
{
    json_int_t whole = 0;
    trib_status status = read_whole(name, value, 0, (json_int_t)1 << 53, &whole, error);
    *out = status == TRIB_OK ? (size_t)whole : *out;
    return status;
}

static trib_status read_float(const char *name, const json_t *value, float *out, trib_error *error)
{
    if (!json_is_number(value))
        return expected(error, name, "a number", value);
    *out = (float)json_number_value(value);
    return TRIB_OK;
}

/* ---- Fields of their own kind ---- */

static trib_status read_id(struct batch_line *line, json_t *value, trib_error *error)
{
    if (!json_is_string(value) && !json_is_integer(value))
        return expected(error, "id", "a string or an integer", value);
    line->id = value;
    return TRIB_OK;
}

static trib_status read_ids(struct batch_line *line, const json_t *value, trib_error *error)
{
    size_t count = json_array_size(value);
    trib_status status = TRIB_OK;
    line->given = malloc((count + 1) * sizeof *line->given);
    if (!line->given)
        return failure(error, TRIB_NO_MEMORY, "no memory for a prompt");
    for (size_t i = 0; i < count && status == TRIB_OK; i++) {
        json_int_t id = 0;
        status = read_whole("prompt", json_array_get(value, i), 0, INT32_MAX, &id, error);
        line->given[i] = (int32_t)id;
    }
    line->request.ids = line->given;
    line->request.count = count;
    return status;
}

/* A text, or token ids, which are taken as they are. */
static trib_status read_prompt(struct batch_line *line, const trib_model *model,
                               const json_t *value, trib_error *error)
{
    trib_request *r = &line->request;
    if (json_is_array(value))
        return read_ids(line, value, error);
    if (!json_is_string(value))
        return expected(error, "prompt", "a string or an array of token ids", value);
    r->begin = json_string_length(value) == 0;
    trib_status status = trib_tokenize(model, json_string_value(value), json_string_length(value),
                                       TRIB_TOKENIZE_SPECIAL, &line->ids, &r->count, error);
    r->ids = line->ids;
    return status;
}

static trib_status read_stops(struct batch_line *line, const json_t *value, trib_error *error)
{
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    if (count > STOPS_MOST)
        return failure(error, TRIB_INVALID, "stop: expected at most %d strings, found %zu",
                       STOPS_MOST, count);
    line->stops = malloc((count + 1) * sizeof *line->stops);
    if (!line->stops)
        return failure(error, TRIB_NO_MEMORY, "no memory for stop strings");
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;
        if (!json_is_string(one))
            return expected(error, "stop", "a string or an array of strings", one);
        line->stops[i] = (trib_text){json_string_value(one), json_string_length(one)};
    }
    line->request.stops = line->stops;
    line->request.stop_count = count;
    return TRIB_OK;
}

/* {"ID": BIAS, ...} */
static trib_status read_bias(struct batch_line *line, json_t *value, trib_error *error)
{
    const char *key;
    json_t *bias;
    size_t count = 0;
    if (!json_is_object(value))
        return expected(error, "logit_bias", "an object", value);
    line->bias = malloc((json_object_size(value) + 1) * sizeof *line->bias);
    if (!line->bias)
        return failure(error, TRIB_NO_MEMORY, "no memory for biases");
    json_object_foreach(value, key, bias)
    {
        char *end;
        long id = strtol(key, &end, 10);
        if (end == key || *end || id < 0 || id > INT32_MAX)
            return failure(error, TRIB_INVALID, "logit_bias: expected token ids, found '%.40s'",
                           key);
        if (!json_is_number(bias))
            return expected(error, "logit_bias", "numbers", bias);
        line->bias[count++] = (trib_logit_bias){(int32_t)id, (float)json_number_value(bias)};
    }
    line->request.sampling.bias = line->bias;
    line->request.sampling.bias_count = count;
    return TRIB_OK;
}

/* true, or how many others to tell of beside each token. */
static trib_status read_logprobs(struct batch_line *line, const json_t *value, trib_error *error)
{
    json_int_t top = 0;
    trib_status status = TRIB_OK;
    if (!json_is_boolean(value))
        status = read_whole("logprobs", value, 0, TOP_MOST, &top, error);
    line->top = (size_t)top;
    line->logprobs = line->request.logprobs = status == TRIB_OK && !json_is_false(value);
    return status;
}

static trib_status read_seed(trib_request *r, const json_t *value, trib_error *error)
{
    json_int_t seed = 0;
    trib_status status = read_whole("seed", value, 0, INT64_MAX, &seed, error);
    r->sampling.seed = status == TRIB_OK ? (uint64_t)seed : r->sampling.seed;
    return status;
}

static trib_status read_priority(trib_request *r, const json_t *value, trib_error *error)
{
    json_int_t priority = 0;
    trib_status status = read_whole("priority", value, -1000000, 1000000, &priority, error);
    r->priority = status == TRIB_OK ? (int)priority : r->priority;
    return status;
}

/* ---- A line ---- */

enum field_kind { SIZE, FLOAT, OWN };

static const struct {
    const char *name;
    enum field_kind kind;
    size_t offset; /* in the request */
} fields[] = {
    {"id", OWN, 0},
    {"prompt", OWN, 0},
    {"stop", OWN, 0},
    {"logit_bias", OWN, 0},
    {"logprobs", OWN, 0},
    {"seed", OWN, 0},
    {"priority", OWN, 0},
    {"max_tokens", SIZE, offsetof(trib_request, max_tokens)},
    {"n", SIZE, offsetof(trib_request, completions)},
    {"best_of", SIZE, offsetof(trib_request, best_of)},
    {"top_k", SIZE, offsetof(trib_request, sampling.top_k)},
    {"repeat_last", SIZE, offsetof(trib_request, sampling.repeat_last)},
    {"temperature", FLOAT, offsetof(trib_request, sampling.temperature)},
    {"top_p", FLOAT, offsetof(trib_request, sampling.top_p)},
    {"min_p", FLOAT, offsetof(trib_request, sampling.min_p)},
    {"repeat_penalty", FLOAT, offsetof(trib_request, sampling.repeat_penalty)},
};

static trib_status read_own(struct batch_line *line, const char *name, json_t *value,
                            const trib_model *model, trib_error *error)
{
    if (strcmp(name, "id") == 0)
        return read_id(line, value, error);
    if (strcmp(name, "prompt") == 0)
        return read_prompt(line, model, value, error);
    if (strcmp(name, "stop") == 0)
        return read_stops(line, value, error);
    if (strcmp(name, "logit_bias") == 0)
        return read_bias(line, value, error);
    if (strcmp(name, "logprobs") == 0)
        return read_logprobs(line, value, error);
    if (strcmp(name, "seed") == 0)
        return read_seed(&line->request, value, error);
    return read_priority(&line->request, value, error);
}

static trib_status read_field(struct batch_line *line, const char *name, json_t *value,
                              const trib_model *model, trib_error *error)
{
    size_t i = 0, count = sizeof fields / sizeof fields[0];
    while (i < count && strcmp(fields[i].name, name) != 0)
        i++;
    if (i == count)
        return failure(error, TRIB_INVALID, "%.40s: there is no such field", name);
    char *place = (char *)&line->request + fields[i].offset;
    if (json_is_null(value))
        return TRIB_OK;
    if (fields[i].kind == SIZE)
        return read_size(name, value, (size_t *)(void *)place, error);
    if (fields[i].kind == FLOAT)
        return read_float(name, value, (float *)(void *)place, error);
    return read_own(line, name, value, model, error);
}

trib_status batch_line_read(struct batch_line *line, const char *bytes, size_t length,
                            const trib_model *model, const trib_request *request, trib_error *error)
{
    json_error_t reason;
    const char *name;
    json_t *value;
    trib_status status = TRIB_OK;
    *line = (struct batch_line){.request = *request};
    json_t *root = json_loadb(bytes, length, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &reason);
    if (!root)
        return failure(error, TRIB_FORMAT, "JSON: column %d: %.150s", reason.column, reason.text);
    if (!json_is_object(root)) {
        failure(error, TRIB_FORMAT, "JSON: expected an object, found %s", kind_of(root));
        json_decref(root);
        return TRIB_FORMAT;
    }
    line->root = root;
    line->id = json_object_get(root, "id"); /* first, for the complaints about others */
    if (line->id && !json_is_string(line->id) && !json_is_integer(line->id))
        line->id = NULL;
    json_object_foreach(root, name, value)
    {
        if (status == TRIB_OK)
            status = read_field(line, name, value, model, error);
    }
    value = json_object_get(root, "prompt");
    if (status == TRIB_OK && (!value || json_is_null(value)))
        status = failure(error, TRIB_INVALID, "prompt: expected one, found none");
    return status;
}

void batch_line_close(struct batch_line *line)
{
    trib_free(line->ids);
    free(line->given);
    free(line->stops);
    free(line->bias);
    json_decref(line->root);
    *line = (struct batch_line){0};
}
