/* Recursive attention on one page: attend to two segments apart, merge the states, and get what
 * attending to the whole at once gives.
 *
 *     cc attention.c $(pkg-config --cflags --libs tributary)
 *
 * One query attends over 100 keys, of which the first 64 are one segment and the rest another: two
 * pages of a cache, two files, two machines. */
#include <stdio.h>
#include <stdlib.h>

#include <tributary/attention.h>

enum { H = 4, G = 2, D = 16, S = 100, FIRST = 64 }; /* query heads, KV heads, head_dim, keys */

static float q[H][D], k[S][G][D], v[S][G][D];

/* Any numbers between -1 and 1. */
static void fill(float *x, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
}

/* The states of the query over the keys [from, to). */
static void attend(const trib_kernels *kernels, size_t from, size_t to, const trib_states *states)
{
    trib_attention attention = {
        .heads = H, .kv_heads = G, .head_dim = D, .scale = 0.25f, .threads = 1};
    trib_queries queries = {.q = &q[0][0], .tokens = 1, .token_stride = H * D, .first = S - 1};
    trib_segment segment = {.type = TRIB_KV_F32,
                            .layout = TRIB_KV_ROWS,
                            .length = to - from,
                            .first = from,
                            .k = k[from],
                            .v = v[from],
                            .key_stride = sizeof k[0],
                            .head_stride = sizeof k[0][0]};
    size_t bytes = (trib_attend_workspace(kernels, &attention, 1, to) + 63) / 64 * 64;
    void *workspace = aligned_alloc(64, bytes);
    trib_error error = {TRIB_NO_MEMORY, "no memory for the workspace"};
    if (!workspace || trib_attend(kernels, &attention, &queries, &segment, states, workspace, bytes,
                                  &error) != TRIB_OK) {
        fprintf(stderr, "%s\n", error.message);
        exit(EXIT_FAILURE);
    }
    free(workspace);
}

int main(void)
{
    static float s[3][H], values[3][H][D], y[H][D];
    trib_states left = {s[0], &values[0][0][0], H, D}, right = {s[1], &values[1][0][0], H, D};
    trib_states whole = {s[2], &values[2][0][0], H, D};
    const trib_kernels *kernels;
    float largest = 0;

    fill(&q[0][0], H * D, 1);
    fill(&k[0][0][0], S * G * D, 2);
    fill(&v[0][0][0], S * G * D, 3);
    if (trib_kernels_choose(&kernels, NULL, NULL) != TRIB_OK)
        return EXIT_FAILURE;

    attend(kernels, 0, FIRST, &left);
    attend(kernels, FIRST, S, &right);
    trib_state_merge(&left, &left, &right, NULL);
    trib_state_finish(&left, &y[0][0], D, NULL);

    attend(kernels, 0, S, &whole);

    for (size_t h = 0; h < H; h++) {
        printf("head %zu  apart: s = %.6f, y = %9.6f ...  at once: s = %.6f, y = %9.6f ...\n", h,
               s[0][h], y[h][0], s[2][h], values[2][h][0]);
        for (size_t d = 0; d < D; d++) {
            float difference = y[h][d] - values[2][h][d];
            difference = difference < 0 ? -difference : difference;
            largest = difference > largest ? difference : largest;
        }
    }
    printf("largest difference of an output: %.1g\n", largest);
    return largest < 1e-6f ? EXIT_SUCCESS : EXIT_FAILURE;
}
