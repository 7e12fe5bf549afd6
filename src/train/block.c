/* The two blocks. Sums are made in place: a product writes the branch, the rows are added to it. */
#include "train/block.h"

/* y = x + dropout(y) */
static void join(const struct crew *crew, const struct dropping *dropping, uint64_t site, float *y,
                 const float *x, size_t n)
{
    dropout(crew, dropping, site, y, y, n);
    add(crew, y, x, n);
}

/* The gradient of a branch whose sum has the gradient dy: dy itself where nothing was dropped. */
static const float *branch(const struct crew *crew, const struct dropping *dropping, uint64_t site,
                           float *d, const float *dy, size_t n)
{
    if (!dropping->drop)
        return dy;
    dropout(crew, dropping, site, d, dy, n);
    return d;
}

/* Z = LayerNorm(X + SelfAttention(X)),  H = LayerNorm(ReLU(Z W1) W2 + Z) */
static void lecture(const struct crew *crew, const struct block *k, const struct block_rows *r,
                    float *next, const struct dropping *dropping, uint64_t site, size_t B, size_t T)
{
    size_t R = B * T;
    self_attention(crew, &k->attention, &r->attention, r->mid, r->x, B, T);
    join(crew, dropping, site, r->mid, r->x, R * k->E);
    norm(crew, &k->norm1, r->n2, r->mid, r->norm1, R);
    linear(crew, &k->up, r->h, r->n2, R);
    activate(crew, ACTIVATION_RELU, r->h, r->h, R * k->F);
    linear(crew, &k->down, r->sum, r->h, R);
    join(crew, dropping, site + 1, r->sum, r->n2, R * k->E);
    norm(crew, &k->norm2, next, r->sum, r->norm2, R);
}

static void lecture_backward(const struct crew *crew, const struct block *k,
                             const struct block_rows *r, const struct block_scratch *s, float *dx,
                             const struct dropping *dropping, uint64_t site, size_t B, size_t T)
{
    size_t R = B * T, n = R * k->E;
    norm_backward(crew, &k->norm2, s->dn, dx, r->sum, r->norm2, R);
    const float *d = branch(crew, dropping, site + 1, s->d, s->dn, n);
    linear_backward(crew, &k->down, s->dh, false, d, r->h, R);
    activate_backward(crew, ACTIVATION_RELU, s->dh, s->dh, r->h, R * k->F);
    linear_backward(crew, &k->up, s->dn, true, s->dh, r->n2, R); /* Z goes both ways */
    norm_backward(crew, &k->norm1, dx, s->dn, r->mid, r->norm1, R);
    d = branch(crew, dropping, site, s->d, dx, n);
    self_attention_backward(crew, &k->attention, &r->attention, &s->attention, dx, true, d, r->x, B,
                            T);
}

/* Z = X + SelfAttention(RMSNorm(X)),  H = Z + (silu(n Wgate) * n Wup) Wdown,  n = RMSNorm(Z) */
static void modern(const struct crew *crew, const struct block *k, const struct block_rows *r,
                   float *next, const struct dropping *dropping, uint64_t site, size_t B, size_t T)
{
    size_t R = B * T;
    norm(crew, &k->norm1, r->n1, r->x, r->norm1, R);
    self_attention(crew, &k->attention, &r->attention, r->mid, r->n1, B, T);
    join(crew, dropping, site, r->mid, r->x, R * k->E);
    norm(crew, &k->norm2, r->n2, r->mid, r->norm2, R);
    linear(crew, &k->gate, r->gate, r->n2, R);
    linear(crew, &k->up, r->up, r->n2, R);
    swiglu(crew, r->h, r->gate, r->up, R * k->F);
    linear(crew, &k->down, next, r->h, R);
    join(crew, dropping, site + 1, next, r->mid, R * k->E);
}

static void modern_backward(const struct crew *crew, const struct block *k,
                            const struct block_rows *r, const struct block_scratch *s, float *dx,
                            const struct dropping *dropping, uint64_t site, size_t B, size_t T)
{
    size_t R = B * T, n = R * k->E;
    const float *d = branch(crew, dropping, site + 1, s->d, dx, n);
    linear_backward(crew, &k->down, s->dh, false, d, r->h, R);
    swiglu_backward(crew, s->dh, r->gate, r->up, R * k->F);
    linear_backward(crew, &k->gate, s->dn, false, r->gate, r->n2, R);
    linear_backward(crew, &k->up, s->dn, true, r->up, r->n2, R);
    norm_backward(crew, &k->norm2, dx, s->dn, r->mid, r->norm2, R);
    d = branch(crew, dropping, site, s->d, dx, n);
    self_attention_backward(crew, &k->attention, &r->attention, &s->attention, s->dn, false, d,
                            r->n1, B, T);
    norm_backward(crew, &k->norm1, dx, s->dn, r->x, r->norm1, R);
}

void block_forward(const struct crew *crew, const struct block *block,
                   const struct block_rows *rows, float *next, const struct dropping *dropping,
                   uint64_t site, size_t B, size_t T)
{
    if (block->kind == BLOCK_LECTURE)
        lecture(crew, block, rows, next, dropping, site, B, T);
    else
        modern(crew, block, rows, next, dropping, site, B, T);
}

void block_backward(const struct crew *crew, const struct block *block,
                    const struct block_rows *rows, const struct block_scratch *scratch, float *dx,
                    const struct dropping *dropping, uint64_t site, size_t B, size_t T)
{
    if (block->kind == BLOCK_LECTURE)
        lecture_backward(crew, block, rows, scratch, dx, dropping, site, B, T);
    else
        modern_backward(crew, block, rows, scratch, dx, dropping, site, B, T);
}
