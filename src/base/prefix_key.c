/* Chained hashes of token ids. */
#include "base/prefix_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static struct prefix_key key_of(XXH128_hash_t hash)
{
    return (struct prefix_key){hash.low64, hash.high64};
}

struct prefix_key prefix_key_root(const void *bytes, size_t size)
{
    return key_of(XXH3_128bits(bytes, size));
}

struct prefix_key prefix_key_next(struct prefix_key key, const int32_t ids[TRIB_CHUNK])
{
    char link[sizeof key + TRIB_CHUNK * sizeof *ids];
    memcpy(link, &key, sizeof key);
    memcpy(link + sizeof key, ids, TRIB_CHUNK * sizeof *ids);
    return key_of(XXH3_128bits(link, sizeof link));
}

void prefix_key_text(struct prefix_key key, char text[PREFIX_KEY_TEXT])
{
    snprintf(text, PREFIX_KEY_TEXT, "%016" PRIx64 "%016" PRIx64, key.high, key.low);
}
