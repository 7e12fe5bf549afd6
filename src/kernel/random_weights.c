/* Random blocks. All bytes are drawn; then the scales are set, whose layouts stand above the
 * functions of ref/unpack_blocks.c. */
#include "kernel/random_weights.h"

#include <string.h>

#include "base/half.h"
#include "base/rng.h"
#include "kernel/ref/ref.h"
#include "kernel/ref/scales.h"

enum {
    PIECE = 4096,    /* elements that a thread takes at a time */
    BLOCK_MOST = 256 /* bytes of a block, at most */
};

/* How a type's values are spread when its levels are uniform and a block's number is 1: the root
 * mean square, over the multiples of groups as they are drawn, too.
 *
 * L levels in a row have the variance (L^2 - 1) / 12; those from -L/2 to L/2 - 1 a mean of -1/2.
 * Their scales get a random sign, so that the mean of all is 0; types with a least value get the
 * one that makes it 0. Multiples are drawn from the upper half of what there are. */
static float spread(enum dtype type)
{
    switch (type) {
    case DTYPE_Q4_0:
        return 4.637f; /* 16 levels from -8 */
    case DTYPE_Q4_1:
        return 4.610f;
    case DTYPE_Q5_0:
        return 9.247f;
    case DTYPE_Q5_1:
        return 9.233f;
    case DTYPE_Q8_0:
        return 73.47f; /* -127 to 127, and 0 once more */
    case DTYPE_Q2_K:
        return 1.118f * 11.72f; /* multiples 8 to 15 */
    case DTYPE_Q3_K:
        return 2.345f * 23.95f; /* 16 to 31 */
    case DTYPE_Q4_K:
        return 4.610f * 48.39f; /* 32 to 63 */
    case DTYPE_Q5_K:
        return 9.233f * 48.39f;
    case DTYPE_Q6_K:
        return 18.48f * 97.27f; /* 64 to 127 */
    case DTYPE_IQ4_NL:
        return 67.44f; /* of the table */
    case DTYPE_IQ4_XS:
        return 67.44f * 23.95f;
    default:
        return 1;
    }
}

static void put_half(uint8_t *out, float x)
{
    uint16_t h = f16_from_float(x);
    memcpy(out, &h, sizeof h);
}

/* Signed multiples of 6 bits, 32 added: 16 to 31 of either sign. */
static uint8_t signed_multiple(uint64_t bits)
{
    uint8_t size = (uint8_t)(16 + (bits & 15));
    return (uint8_t)(bits & 16 ? 32 - size : 32 + size);
}

static void set_k_scales(uint8_t *s, uint64_t bits)
{
    struct scale_min groups[8];
    for (size_t g = 0; g < 8; g++, bits >>= 5)
        groups[g].scale = groups[g].min = (uint8_t)(32 + (bits & 31));
    k_scales_pack(s, groups);
}

static void set_q3_k_scales(uint8_t *s, const uint8_t *random)
{
    uint8_t groups[16];
    for (size_t g = 0; g < 16; g++)
        groups[g] = signed_multiple(random[g]);
    q3_k_scales_pack(s, groups);
}

static void set_iq4_xs_scales(uint8_t *block, const uint8_t *random)
{
    unsigned high = 0;
    memset(block + 4, 0, 4);
    for (size_t g = 0; g < 8; g++) {
        unsigned s = signed_multiple(random[g]);
        block[4 + g / 2] |= (uint8_t)((s & 15) << g % 2 * 4);
        high |= s >> 4 << 2 * g;
    }
    block[2] = (uint8_t)high;
    block[3] = (uint8_t)(high >> 8);
}

/* Sets the scales of a block of random bytes. d: of the block; bits: 64 more random ones. */
static void set_scales(enum dtype type, uint8_t *block, float d, uint64_t bits)
{
    float either = bits >> 63 ? -d : d;
    uint8_t random[16];
    memcpy(random, &bits, 8);
    memcpy(random + 8, block, 8); /* as good as any: those of levels */
    switch (type) {
    case DTYPE_Q4_0:
    case DTYPE_Q5_0:
    case DTYPE_IQ4_NL:
        put_half(block, either);
        break;
    case DTYPE_Q4_1:
    case DTYPE_Q5_1:
        put_half(block, d);
        put_half(block + 2, type == DTYPE_Q4_1 ? -7.5f * d : -15.5f * d);
        break;
    case DTYPE_Q8_0:
        put_half(block, d);
        for (size_t j = 2; j < 34; j++)
            block[j] = block[j] == 0x80 ? 0 : block[j]; /* no quantiser gives -128 */
        break;
    case DTYPE_Q2_K:
        for (size_t g = 0; g < 16; g++)
            block[g] = (uint8_t)((8 + (random[g] & 7)) * 17);
        put_half(block + 80, d);
        put_half(block + 82, 1.5f * d);
        break;
    case DTYPE_Q3_K:
        set_q3_k_scales(block + 96, random);
        put_half(block + 108, d);
        break;
    case DTYPE_Q4_K:
    case DTYPE_Q5_K:
        set_k_scales(block + 4, bits);
        put_half(block, d);
        put_half(block + 2, type == DTYPE_Q4_K ? 7.5f * d : 15.5f * d);
        break;
    case DTYPE_Q6_K:
        for (size_t g = 0; g < 16; g++)
            block[192 + g] = (uint8_t)(random[g] & 64 ? 64 + random[g] % 64 : -64 - random[g] % 64);
        put_half(block + 208, d);
        break;
    case DTYPE_IQ4_XS:
        set_iq4_xs_scales(block, random);
        put_half(block, d);
        break;
    default:
        break;
    }
}

/* Block number `index` of the stream. */
static void draw_block(enum dtype type, uint8_t *out, uint64_t index, uint64_t seed, float d)
{
    size_t bytes = dtype_info(type)->bytes, words = (bytes + 7) / 8;
    uint64_t drawn[BLOCK_MOST / 8 + 1], at = index * (words + 1);
    for (size_t i = 0; i <= words; i++)
        drawn[i] = rng_bits(seed, at + i);
    memcpy(out, drawn, bytes);
    set_scales(type, out, d, drawn[words]);
}

/* Floats, uniform within sqrt(3) deviations. */
static void draw_floats(enum dtype type, uint8_t *out, uint64_t first, size_t n, uint64_t seed,
                        float deviation)
{
    float x[PIECE], unit = 1.7320508f * deviation * 0x1p-31f;
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(int32_t)(uint32_t)(rng_bits(seed, first + i) >> 32) * unit;
    pack_ref(type, out, x, n);
}

void random_weights(enum dtype type, void *out, uint64_t first, size_t n, uint64_t seed,
                    float deviation, int threads)
{
    const struct dtype_info *info = dtype_info(type);
    float d = deviation / spread(type);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (size_t i = 0; i < n; i += PIECE) {
        size_t some = n - i < PIECE ? n - i : PIECE;
        uint8_t *to = (uint8_t *)out + dtype_size(type, i);
        if (info->block == 1)
            draw_floats(type, to, first + i, some, seed, deviation);
        else
            for (size_t j = 0; j < some; j += info->block, to += info->bytes)
                draw_block(type, to, (first + i + j) / info->block, seed, d);
    }
}
