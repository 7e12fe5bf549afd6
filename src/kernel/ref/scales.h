/* The packed scales of the K types' blocks, and the values of the IQ4 types. */
#ifndef KERNEL_REF_SCALES_H
#define KERNEL_REF_SCALES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* What four bits stand for in IQ4_NL and IQ4_XS, ascending. */
extern const int8_t iq4_values[16];

struct scale_min {
    uint8_t scale, min; /* 6 bits each */
};

/* Group g of 8 in the 12 bytes of Q4_K and Q5_K: scales 0 to 3 are the low 6 bits of bytes 0 to 3,
 * minima 0 to 3 those of bytes 4 to 7; of groups 4 to 7 the low 4 bits of both share bytes 8 to 11,
 * and the high 2 are the bits that are left of bytes 0 to 7. */
static inline struct scale_min k_scale(const uint8_t *s, size_t g)
{
    if (g < 4)
        return (struct scale_min){s[g] & 63, s[g + 4] & 63};
    return (struct scale_min){(uint8_t)((s[g + 4] & 15) | s[g - 4] >> 6 << 4),
                              (uint8_t)(s[g + 4] >> 4 | s[g] >> 6 << 4)};
}

static inline void k_scales_pack(uint8_t *s, const struct scale_min *groups)
{
    for (size_t g = 0; g < 4; g++) {
        const struct scale_min *low = &groups[g], *high = &groups[g + 4];
        s[g] = (uint8_t)(low->scale | high->scale >> 4 << 6);
        s[g + 4] = (uint8_t)(low->min | high->min >> 4 << 6);
        s[g + 8] = (uint8_t)((high->scale & 15) | (high->min & 15) << 4);
    }
}

/* Scale g of 16 in the 12 bytes of Q3_K: the low 4 bits are halves of bytes 0 to 7, of scales 8 to
 * 15 the high halves; the high 2 bits are pair g / 4 of byte 8 + g % 4. */
static inline unsigned q3_k_scale(const uint8_t *s, size_t g)
{
    return (s[g % 8] >> g / 8 * 4 & 15u) | (s[8 + g % 4] >> g / 4 * 2 & 3u) << 4;
}

static inline void q3_k_scales_pack(uint8_t *s, const uint8_t *groups)
{
    memset(s, 0, 12);
    for (size_t g = 0; g < 16; g++) {
        s[g % 8] |= (uint8_t)((groups[g] & 15) << g / 8 * 4);
        s[8 + g % 4] |= (uint8_t)(groups[g] >> 4 << g / 4 * 2);
    }
}

#endif
