/* The list of parameters, their memory and their first values. */
#include "train/parameters.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/size.h"

enum { ALIGN_FLOATS = MEMORY_ALIGN / sizeof(float) };

/* Appends `next`, whose place it finds. */
static trib_status append(struct parameters *p, struct parameter next, trib_error *error)
{
    uint64_t count, bytes, end;
    if ((p->count & (p->count - 1)) == 0) { /* full: the list has room for a power of two */
        size_t room = p->count ? 2 * p->count : 1;
        struct parameter *list = realloc(p->list, room * sizeof *list);
        if (!list)
            return error_no_memory(error, "the list of parameters", room * sizeof *list);
        p->list = list;
    }
    if (!size_mul(next.outputs, next.inputs, &count) || !size_add(p->floats, count, &end) ||
        !size_align(end, ALIGN_FLOATS, &end) || !size_mul(end, sizeof(float), &bytes) ||
        bytes > PTRDIFF_MAX)
        return error_set(error, TRIB_INVALID, "%s: %zu x %zu floats are more than memory can hold",
                         next.name, next.outputs, next.inputs);
    next.offset = p->floats;
    next.count = count;
    p->list[p->count++] = next;
    p->elements += count;
    p->floats = end;
    return TRIB_OK;
}

/* "blk.%zu.NAME" with its number, or NAME. */
static void name_of(char *out, size_t size, const char *name, size_t number)
{
    const char *place = strstr(name, "%zu");
    int length = place ? snprintf(out, size, "%.*s%zu%s", (int)(place - name), name, number,
                                  place + strlen("%zu"))
                       : snprintf(out, size, "%s", name);
    assert(length >= 0 && (size_t)length < size);
    (void)length;
}

trib_status parameters_matrix(struct parameters *p, const char *name, size_t number, size_t outputs,
                              size_t inputs, enum parameter_init init, float size,
                              trib_error *error)
{
    struct parameter next = {
        .dims = 2, .outputs = outputs, .inputs = inputs, .decay = true, .init = init, .size = size};
    name_of(next.name, sizeof next.name, name, number);
    return append(p, next, error);
}

trib_status parameters_vector(struct parameters *p, const char *name, size_t number, size_t outputs,
                              enum parameter_init init, float size, trib_error *error)
{
    struct parameter next = {
        .dims = 1, .outputs = outputs, .inputs = 1, .init = init, .size = size};
    name_of(next.name, sizeof next.name, name, number);
    return append(p, next, error);
}

trib_status parameters_allocate(struct parameters *p, bool gradients, trib_error *error)
{
    size_t bytes = p->floats * sizeof(float);
    p->weights = memory_zeroed(bytes);
    if (!p->weights)
        return error_no_memory(error, "the weights", bytes);
    if (!gradients)
        return TRIB_OK;
    p->gradients = memory_zeroed(bytes);
    return p->gradients ? TRIB_OK : error_no_memory(error, "the gradients", bytes);
}

void parameters_close(struct parameters *p)
{
    free(p->list);
    free(p->weights);
    free(p->gradients);
    *p = (struct parameters){0};
}

/* Value i of a parameter whose draws have the seed `key`; the normal ones after Box and Muller
 * 1958, from two draws each. */
static float first_value(const struct parameter *p, uint64_t key, size_t i)
{
    const double pi = 3.14159265358979323846;
    double size = p->size;
    switch (p->init) {
    case INIT_ZERO:
        return 0;
    case INIT_ONE:
        return 1;
    case INIT_UNIFORM:
        return (float)(size * (2 * rng_uniform(key, i) - 1));
    case INIT_NORMAL: {
        double radius = sqrt(-2 * log(1 - rng_uniform(key, 2 * i))); /* 1 - u is never 0 */
        return (float)(size * radius * cos(2 * pi * rng_uniform(key, 2 * i + 1)));
    }
    }
    return 0;
}

void parameters_init(const struct parameters *p, uint64_t seed)
{
    for (size_t n = 0; n < p->count; n++)
        for (size_t i = 0; i < p->list[n].count; i++)
            p->weights[p->list[n].offset + i] = first_value(&p->list[n], rng_bits(seed, n), i);
}

const struct parameter *parameters_find(const struct parameters *p, const char *name)
{
    for (size_t n = 0; n < p->count; n++)
        if (strcmp(p->list[n].name, name) == 0)
            return &p->list[n];
    return NULL;
}
