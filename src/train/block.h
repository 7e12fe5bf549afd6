/* One block of a transformer, lecture or modern (equations: transformer.c), there and back. */
#ifndef TRAIN_BLOCK_H
#define TRAIN_BLOCK_H

#include "train/layers.h"
#include "train/self_attention.h"

struct block {
    enum predictor_block kind;
    struct self_attention attention;
    struct norm norm1, norm2; /* modern: before attention and before the hidden layer; lecture:
                                 after each */
    struct linear gate;       /* modern */
    struct linear up, down;
    size_t E, F;
};

/* What a block's forward leaves for its backward. R = B T. */
struct block_rows {
    float *x;  /* [R][E] in */
    float *n1; /* [R][E] modern: the norm of x */
    struct self_rows attention;
    float *mid;                     /* [R][E] the sum after attention */
    float *n2;                      /* [R][E] its norm */
    float *gate, *up;               /* [R][F] modern */
    float *h;                       /* [R][F] the hidden layer */
    float *sum;                     /* [R][E] lecture: the sum after the hidden layer */
    struct norm_row *norm1, *norm2; /* [R] */
};

/* Scratch of the way back. */
struct block_scratch {
    float *d, *dn; /* [R][E] */
    float *dh;     /* [R][F] */
    struct self_scratch attention;
};

/* Places of dropout in a block, from `site` on. */
enum { BLOCK_SITES = 2 };

/* next [R][E] = the block of rows->x; it may be rows->x where nothing goes back. */
void block_forward(const struct crew *crew, const struct block *block,
                   const struct block_rows *rows, float *next, const struct dropping *dropping,
                   uint64_t site, size_t B, size_t T);

/* dx: the gradient of `next` in, of rows->x out. Uses gate and up of rows up. */
void block_backward(const struct crew *crew, const struct block *block,
                    const struct block_rows *rows, const struct block_scratch *scratch, float *dx,
                    const struct dropping *dropping, uint64_t site, size_t B, size_t T);

#endif
