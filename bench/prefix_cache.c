/* What sequences cost that share a prefix of 16k tokens, at the shape of a model of a billion
 * parameters (16 layers, 8 KV heads of 64, f16: 512 MB): opening one over pages in memory, forking,
 * and restoring all of it from disk after a restart, from the system's page cache.
 *
 *     bench/prefix_cache FOLDER [threads] [tokens]
 *
 * FOLDER must not be there; it is made, filled and removed. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cache/prefix_cache.h"

enum { FORKS = 1000, OPENS = 200, RESTORES = 5 };

static const struct kv_shape shape = {DTYPE_F16, 16, 8, 64};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(trib_status status, const trib_error *error)
{
    if (status == TRIB_OK)
        return;
    fprintf(stderr, "%s\n", error->message);
    exit(1);
}

static struct prefix_cache *open_cache(const char *folder, int threads, size_t tokens)
{
    struct prefix_cache *cache;
    trib_error error;
    struct prefix_cache_options options = {
        .shape = shape,
        .budget = (tokens / CHUNK + 2) * kv_page_bytes(&shape),
        .disk = {.folder = folder, .budget = UINT64_MAX, .kernels = "bench", .threads = threads}};
    check(prefix_cache_open(&cache, &options, &error), &error);
    return cache;
}

/* Reserves and commits; of the content only that it is not all zero matters. */
static void fill(struct prefix_cache *cache, const int32_t *ids, size_t tokens)
{
    struct sequence *s;
    trib_error error;
    check(sequence_open(&s, cache, ids, 0, &error), &error);
    check(sequence_reserve(s, tokens, &error), &error);
    for (size_t i = 0; i < tokens / CHUNK; i++)
        memset(s->own[i]->memory, (int)i + 1, kv_page_bytes(&shape));
    check(sequence_commit(s, ids, tokens, &error), &error);
    sequence_close(s);
}

static double time_opens(struct prefix_cache *cache, const int32_t *ids, size_t tokens)
{
    struct sequence *s;
    trib_error error;
    double start = now();
    for (size_t i = 0; i < OPENS; i++) {
        check(sequence_open(&s, cache, ids, tokens, &error), &error);
        sequence_close(s);
    }
    return (now() - start) / OPENS;
}

static double time_forks(struct prefix_cache *cache, const int32_t *ids, size_t tokens)
{
    static struct sequence *forks[FORKS];
    struct sequence *s;
    trib_error error;
    check(sequence_open(&s, cache, ids, tokens, &error), &error);
    double start = now();
    for (size_t i = 0; i < FORKS; i++)
        check(sequence_fork(&forks[i], s, &error), &error);
    double seconds = (now() - start) / FORKS;
    for (size_t i = 0; i < FORKS; i++)
        sequence_close(forks[i]);
    sequence_close(s);
    return seconds;
}

static void remove_folder(const char *folder)
{
    DIR *directory = opendir(folder);
    for (const struct dirent *entry; directory && (entry = readdir(directory));)
        if (entry->d_name[0] != '.')
            (void)unlinkat(dirfd(directory), entry->d_name, 0);
    if (directory)
        closedir(directory);
    rmdir(folder);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: prefix_cache FOLDER [threads] [tokens]\n");
        return 2;
    }
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    size_t tokens = argc > 3 ? strtoull(argv[3], NULL, 10) / CHUNK * CHUNK : 16384;
    int32_t *ids = calloc(tokens + 1, sizeof *ids);
    bool more = true;
    trib_error error;
    if (!ids || tokens == 0 || threads < 1)
        return 2;
    for (size_t i = 0; i < tokens; i++)
        ids[i] = (int32_t)(i * 7919 % 32000);
    struct prefix_cache *cache = open_cache(argv[1], threads, tokens);
    fill(cache, ids, tokens);
    printf("open over %zu pages in memory  %8.2f us\n", tokens / CHUNK,
           1e6 * time_opens(cache, ids, tokens));
    printf("fork                          %8.3f us\n", 1e6 * time_forks(cache, ids, tokens));
    double start = now(), longest = 0;
    while (more) {
        double call = now();
        check(prefix_cache_write(cache, 4 << 20, true, &more, &error), &error);
        longest = now() - call > longest ? now() - call : longest;
    }
    double bytes = (double)(tokens / CHUNK * kv_page_bytes(&shape));
    printf("write, 4 MB a call            %8.2f ms, longest call %.2f ms, %.2f GB/s\n",
           1e3 * (now() - start), 1e3 * longest, 1e-9 * bytes / (now() - start));
    prefix_cache_close(cache);
    for (size_t i = 0; i < RESTORES; i++) {
        struct sequence *s;
        start = now();
        cache = open_cache(argv[1], threads, tokens);
        check(sequence_open(&s, cache, ids, tokens, &error), &error);
        double seconds = now() - start;
        printf("restore, %d threads            %8.2f ms, %zu of %zu tokens, %.2f GB/s\n", threads,
               1e3 * seconds, sequence_length(s), tokens, 1e-9 * bytes / seconds);
        sequence_close(s);
        prefix_cache_close(cache);
    }
    free(ids);
    remove_folder(argv[1]);
    return 0;
}
