/* What the benches of products share: options, times and their median, a hash of a
 * result, memory in large pages, and how results are written. */
#ifndef BENCH_H
#define BENCH_H

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "base/rng.h"

enum { LIST_MOST = 16, RUNS_MOST = 10000 };

enum bench_format { TABLE, JSON, CSV };

struct list {
    size_t count, values[LIST_MOST];
};

/* What a bench of products is asked for: all of these shapes, uses and types. */
struct options {
    struct list M, N, K;
    const char *uses, *types; /* names with commas */
    int threads;
    double seconds; /* for each row, at least */
    size_t bytes;   /* of weights, so that no cache holds them */
    enum bench_format format;
};

struct series {
    size_t count;
    double values[RUNS_MOST];
};

static inline double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the series. */
static inline double median(struct series *s)
{
    qsort(s->values, s->count, sizeof *s->values, compare_doubles);
    return s->values[s->count / 2];
}

static inline uint64_t hash_of(const float *c, size_t n)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, c + i, sizeof bits);
        hash = rng_bits(hash ^ bits, i);
    }
    return hash;
}

/* `bytes` of memory, touched, in pages of 2 MiB where the system has them: reading those of 4 KiB
 * costs a tenth. NULL: there is none. Goes back with munmap. */
static inline void *huge_new(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_HUGEPAGE
    madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    memset(memory, 1, bytes);
    return memory;
}

/* "1,8,512". */
static inline bool parse_list(struct list *list, const char *text)
{
    char *end;
    for (list->count = 0; list->count < LIST_MOST; text = end + 1) {
        size_t value = strtoull(text, &end, 10);
        if (end == text || value < 1 || value > 1 << 20 || (*end && *end != ','))
            return false;
        list->values[list->count++] = value;
        if (!*end)
            return true;
    }
    return false;
}

/* Whether a list of names with commas has this one, in any case. */
static inline bool listed(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (; *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == length && strncasecmp(list, name, length) == 0)
            return true;
    return false;
}

/* Options over their defaults; whether all of them are understood. */
static inline bool parse_options(struct options *o, int argc, char **argv)
{
    static const struct option rows[] = {{"use", 1, NULL, 'u'},     {"type", 1, NULL, 't'},
                                         {"threads", 1, NULL, 'j'}, {"seconds", 1, NULL, 's'},
                                         {"mega", 1, NULL, 'm'},    {"json", 0, NULL, 'J'},
                                         {"csv", 0, NULL, 'C'},     {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "M:N:K:", rows, NULL)) != -1;) {
        bool good = c != '?';
        if (c == 'M' || c == 'N' || c == 'K')
            good = parse_list(c == 'M' ? &o->M : c == 'N' ? &o->N : &o->K, optarg);
        else if (c == 'u')
            o->uses = optarg;
        else if (c == 't')
            o->types = optarg;
        else if (c == 'j')
            good = (o->threads = atoi(optarg)) > 0;
        else if (c == 's')
            o->seconds = atof(optarg);
        else if (c == 'm')
            o->bytes = (size_t)strtoull(optarg, NULL, 10) << 20;
        else if (c == 'J' || c == 'C')
            o->format = c == 'J' ? JSON : CSV;
        if (!good)
            return false;
    }
    return optind == argc;
}

#endif
