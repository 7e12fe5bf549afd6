/* Keys and values for the benches: filled through trib_chunk_store, so that every type is rounded
 * as the library rounds it. The contents matter little to the time they take. */
#include "bench_kv.h"

#include <stdlib.h>
#include <string.h>

#include "bench.h"

const char *const bench_kv_names[BENCH_KV_TYPES] = {"f32", "f16", "bf16", "q8_0"};
const trib_kv_type bench_kv_types[BENCH_KV_TYPES] = {TRIB_KV_F32, TRIB_KV_F16, TRIB_KV_BF16,
                                                     TRIB_KV_Q8_0};

const char *const bench_layout_names[BENCH_LAYOUTS] = {"rows", "pages", "chunks", "heads"};

enum { PAGE_KEYS = 16, CHUNK_PAGES = TRIB_CHUNK / PAGE_KEYS };

/* splitmix64 (Steele et al. 2014) of a counter. */
float bench_random(uint64_t seed, uint64_t i)
{
    uint64_t z = (seed << 48) + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return ((float)(z >> 40) * 0x1p-23f - 1) * 1.7320508f;
}

static size_t element_bytes(trib_kv_type type)
{
    return type == TRIB_KV_F32 ? 4 : type == TRIB_KV_Q8_0 ? 1 : 2;
}

double bench_kv_row_bytes(trib_kv_type type, size_t D)
{
    double scales = type == TRIB_KV_Q8_0 ? 2.0 * (double)(D / 32) : 0;
    return (double)element_bytes(type) * (double)D + scales;
}

static bool packed(const struct bench_kv *kv)
{
    return kv->layout == BENCH_CHUNKS || kv->layout == BENCH_HEADS;
}

/* Bytes of one head's keys, or values, of 64 positions, as they lie. */
static size_t part_bytes(const struct bench_kv *kv)
{
    if (packed(kv))
        return trib_chunk_bytes(kv->type, kv->D);
    return TRIB_CHUNK * (size_t)bench_kv_row_bytes(kv->type, kv->D);
}

static size_t chunks_of(size_t keys)
{
    return (keys + TRIB_CHUNK - 1) / TRIB_CHUNK;
}

double bench_kv_bytes(const struct bench_kv *kv, size_t keys, size_t bytes)
{
    double chunk = 2 * (double)kv->G * (double)part_bytes(kv);
    double all = chunk * (double)chunks_of(keys);
    return all > (double)bytes ? all : (double)bytes + chunk;
}

/* ---- Where things lie ---- */

/* Of packed chunks one head's keys, or values. CHUNKS: of every head its keys and its values;
 * HEADS: of every head the keys of all chunks, then the values. */
static char *chunk_place(const struct bench_kv *kv, size_t chunk, size_t g, bool values)
{
    size_t part = part_bytes(kv);
    if (kv->layout == BENCH_HEADS)
        return kv->memory + ((g * 2 + values) * kv->chunks + chunk) * part;
    return kv->memory + ((chunk * kv->G + g) * 2 + values) * part;
}

/* Rows of all heads: all keys, then all values. */
static char *rows_place(const struct bench_kv *kv, size_t position, bool values)
{
    size_t row = kv->G * (part_bytes(kv) / TRIB_CHUNK), keys = kv->chunks * TRIB_CHUNK;
    if (kv->layout == BENCH_PAGES)
        position = keys - PAGE_KEYS - position / PAGE_KEYS * PAGE_KEYS + position % PAGE_KEYS;
    return kv->memory + (values * keys + position) * row;
}

size_t bench_kv_sets(const struct bench_kv *kv, size_t keys)
{
    return kv->chunks / chunks_of(keys);
}

trib_segment bench_kv_segment(const struct bench_kv *kv, size_t keys, size_t set)
{
    size_t chunk = set * chunks_of(keys), to_head = part_bytes(kv) / TRIB_CHUNK;
    trib_segment segment = {.type = kv->type, .layout = TRIB_KV_ROWS, .length = keys};
    if (packed(kv)) {
        segment.layout = TRIB_KV_CHUNKS;
        segment.k = chunk_place(kv, chunk, 0, false);
        segment.v = chunk_place(kv, chunk, 0, true);
        segment.key_stride = (size_t)(chunk_place(kv, 1, 0, false) - chunk_place(kv, 0, 0, false));
        segment.head_stride = (size_t)(chunk_place(kv, 0, 1, false) - chunk_place(kv, 0, 0, false));
        return segment;
    }
    segment.k = rows_place(kv, chunk * TRIB_CHUNK, false);
    segment.v = rows_place(kv, chunk * TRIB_CHUNK, true);
    segment.key_stride = kv->G * to_head;
    segment.head_stride = to_head;
    if (kv->layout == BENCH_PAGES) {
        segment.k_pages = kv->pages + chunk * CHUNK_PAGES;
        segment.v_pages = segment.k_pages + kv->chunks * CHUNK_PAGES;
        segment.page_keys = PAGE_KEYS;
    }
    return segment;
}

/* ---- Filling ---- */

/* One head of one chunk, packed. */
static void fill_packed(const struct bench_kv *kv, size_t chunk, size_t g, void *k, void *v)
{
    float key[1024], value[1024];
    for (size_t slot = 0; slot < TRIB_CHUNK; slot++) {
        uint64_t at = ((chunk * TRIB_CHUNK + slot) * kv->G + g) * kv->D;
        for (size_t i = 0; i < kv->D; i++) {
            key[i] = bench_random(1, at + i);
            value[i] = bench_random(2, at + i);
        }
        trib_chunk_store(kv->type, kv->D, k, v, slot, key, value);
    }
}

/* Where element i of a packed value stands: tributary/attention.h. */
static size_t value_at(const struct bench_kv *kv, size_t slot, size_t i)
{
    size_t padded = (kv->D + 15) / 16 * 16, first = i / 64 * 64;
    if (kv->type == TRIB_KV_Q8_0)
        return ((i / 32 * 32 + slot / 2) * 32 + i % 32) * 2 + slot % 2;
    return first * TRIB_CHUNK + slot * (padded - first < 64 ? padded - first : 64) + i % 64;
}

/* From the packed form to rows. */
static void unpack_rows(const struct bench_kv *kv, size_t chunk, size_t g, const char *k,
                        const char *v)
{
    size_t width = element_bytes(kv->type), to_head = g * (part_bytes(kv) / TRIB_CHUNK);
    size_t padded = (kv->D + 15) / 16 * 16, blocks = kv->D / 32;
    for (size_t slot = 0; slot < TRIB_CHUNK; slot++) {
        char *key = rows_place(kv, chunk * TRIB_CHUNK + slot, false) + to_head;
        char *value = rows_place(kv, chunk * TRIB_CHUNK + slot, true) + to_head;
        for (size_t i = 0; i < kv->D && kv->type != TRIB_KV_Q8_0; i++) {
            memcpy(key + i * width, k + (i * TRIB_CHUNK + slot) * width, width);
            memcpy(value + i * width, v + value_at(kv, slot, i) * width, width);
        }
        for (size_t i = 0; i < kv->D && kv->type == TRIB_KV_Q8_0; i++) {
            key[i / 32 * 34 + 2 + i % 32] = k[(i / 2 * TRIB_CHUNK + slot) * 2 + i % 2];
            value[i / 32 * 34 + 2 + i % 32] = v[value_at(kv, slot, i)];
        }
        for (size_t b = 0; b < blocks && kv->type == TRIB_KV_Q8_0; b++) {
            size_t scale = padded * TRIB_CHUNK + 2 * (b * TRIB_CHUNK + slot);
            memcpy(key + 34 * b, k + scale, 2);
            memcpy(value + 34 * b, v + scale, 2);
        }
    }
}

static void draw_chunk(const struct bench_kv *kv, size_t chunk, size_t g, void *k, void *v)
{
    if (packed(kv)) {
        fill_packed(kv, chunk, g, chunk_place(kv, chunk, g, false),
                    chunk_place(kv, chunk, g, true));
        return;
    }
    fill_packed(kv, chunk, g, k, v);
    unpack_rows(kv, chunk, g, k, v);
}

static void copy_chunk(const struct bench_kv *kv, size_t to, size_t from)
{
    size_t part = part_bytes(kv);
    for (int values = 0; values < 2; values++) {
        for (size_t g = 0; g < kv->G && packed(kv); g++)
            memcpy(chunk_place(kv, to, g, values), chunk_place(kv, from, g, values), part);
        for (size_t i = 0; i < TRIB_CHUNK && !packed(kv); i++)
            memcpy(rows_place(kv, to * TRIB_CHUNK + i, values),
                   rows_place(kv, from * TRIB_CHUNK + i, values), kv->G * (part / TRIB_CHUNK));
    }
}

/* Draws the first `drawn` chunks. The others, which only make that all is read from memory, are
 * copies of these. */
static bool fill(const struct bench_kv *kv, size_t drawn, int threads)
{
    size_t bytes = trib_chunk_bytes(kv->type, kv->D);
    bool failed = false;
#pragma omp parallel num_threads(threads) reduction(|| : failed)
    {
        char *k = calloc(2, bytes), *v = k + bytes;
        failed = !k;
#pragma omp for schedule(static)
        for (size_t chunk = 0; chunk < drawn; chunk++)
            for (size_t g = 0; g < kv->G && k; g++)
                draw_chunk(kv, chunk, g, k, v);
        free(k);
#pragma omp for schedule(static)
        for (size_t chunk = drawn; chunk < kv->chunks; chunk++)
            copy_chunk(kv, chunk, chunk % drawn);
    }
    return !failed;
}

bool bench_kv_open(struct bench_kv *kv, size_t keys, size_t bytes, int threads)
{
    size_t chunk = 2 * kv->G * part_bytes(kv), least = chunks_of(keys);
    size_t enough = (bytes + chunk - 1) / chunk;
    kv->chunks = least > enough ? least : enough;
    kv->bytes = kv->chunks * chunk;
    kv->memory = bench_memory(kv->bytes, threads);
    size_t pages = kv->layout == BENCH_PAGES ? kv->chunks * CHUNK_PAGES : 0;
    kv->pages = pages ? malloc(2 * pages * sizeof *kv->pages) : NULL;
    if (!kv->memory || (pages && !kv->pages))
        return false;
    for (size_t i = 0; i < pages; i++) {
        kv->pages[i] = rows_place(kv, i * PAGE_KEYS, false);
        kv->pages[pages + i] = rows_place(kv, i * PAGE_KEYS, true);
    }
    return fill(kv, least, threads);
}

void bench_kv_close(struct bench_kv *kv)
{
    bench_memory_free(kv->memory, kv->bytes);
    free(kv->pages);
    kv->memory = NULL;
    kv->pages = NULL;
}

void bench_kv_dense(const struct bench_kv *kv, size_t keys, size_t set, char *k, char *v,
                    int threads)
{
    size_t width = element_bytes(kv->type), row = kv->D * width;
#pragma omp parallel for schedule(static) collapse(2) num_threads(threads)
    for (size_t g = 0; g < kv->G; g++)
        for (size_t i = 0; i < keys; i++) {
            size_t chunk = set * chunks_of(keys) + i / TRIB_CHUNK, slot = i % TRIB_CHUNK;
            char *to_k = k + (g * keys + i) * row, *to_v = v + (g * keys + i) * row;
            if (!packed(kv)) {
                memcpy(to_k, rows_place(kv, chunk * TRIB_CHUNK + slot, false) + g * row, row);
                memcpy(to_v, rows_place(kv, chunk * TRIB_CHUNK + slot, true) + g * row, row);
                continue;
            }
            const char *from_k = chunk_place(kv, chunk, g, false);
            const char *from_v = chunk_place(kv, chunk, g, true);
            for (size_t d = 0; d < kv->D; d++) {
                memcpy(to_k + d * width, from_k + (d * TRIB_CHUNK + slot) * width, width);
                memcpy(to_v + d * width, from_v + value_at(kv, slot, d) * width, width);
            }
        }
}
