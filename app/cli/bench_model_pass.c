/* What the bench of models times: passes over tokens that are fixed, so that the hash of the logits
 * is the same for any number of threads.
 *
 * prefill begins a session with a prompt; decode goes on with one, token after token; rows is a
 * step of as many sequences, a token each, that have nothing in common. */
#include "bench_model.h"

#include <stdlib.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Tokens after which the sequences of rows go back to their beginning: they stay short, and each in
 * a page. */
enum { ROWS_LENGTH = 64 };

static void hash_logits(struct bench_pass *p, const trib_session *session)
{
    const float *logits = trib_session_logits(session);
    p->hash = XXH3_64bits_withSeed(logits, p->vocabulary * sizeof *logits, p->hash);
}

/* ---- Prefill and decode: one session ---- */

/* Each begins with its number, in as many tokens as numbers of 32 bits take: so no prompt is
 * cached.
 */
static trib_status new_session(struct bench_pass *p, trib_error *error)
{
    uint64_t number = 13 + p->sessions++;
    trib_session_close(p->session);
    for (uint64_t i = 0, reach = 1; i < p->most && reach <= UINT32_MAX; i++) {
        p->ids[i] = (int32_t)(number % p->vocabulary);
        number /= p->vocabulary;
        reach *= p->vocabulary;
    }
    trib_status status = trib_session_open(&p->session, p->engine, NULL, error);
    if (status == TRIB_OK && p->depth > 0)
        status = trib_session_append(p->session, p->ids, p->depth, error);
    return status;
}

static trib_status append(struct bench_pass *p, size_t number, trib_error *error)
{
    size_t length = trib_session_length(p->session);
    trib_status status = TRIB_OK;
    if (length + p->tokens > p->most) {
        status = new_session(p, error);
        length = p->depth;
    }
    if (status == TRIB_OK)
        status = trib_session_append(p->session, p->ids + length, p->tokens, error);
    if (status == TRIB_OK && number < p->hashed)
        hash_logits(p, p->session);
    return status;
}

/* ---- Rows: a step of `tokens` sessions ---- */

static trib_status open_rows(struct bench_pass *p, trib_error *error)
{
    trib_status status = TRIB_OK;
    p->most = p->most < ROWS_LENGTH ? p->most : ROWS_LENGTH;
    p->appends = calloc(p->tokens, sizeof *p->appends);
    if (!p->appends)
        return bench_no_memory(error);
    for (size_t i = 0; i < p->tokens && status == TRIB_OK; i++) {
        p->appends[i] = (trib_append){.ids = &p->ids[i], .count = 1};
        status = trib_session_open(&p->appends[i].session, p->engine, NULL, error);
    }
    return status;
}

static trib_status step(struct bench_pass *p, size_t number, trib_error *error)
{
    size_t length = trib_session_length(p->appends[0].session);
    trib_status status = TRIB_OK;
    for (size_t i = 0; i < p->tokens && length == p->most && status == TRIB_OK; i++)
        status = trib_session_rewind(p->appends[i].session, 0, error);
    length = length == p->most ? 0 : length;
    for (size_t i = 0; i < p->tokens; i++)
        p->ids[i] = (int32_t)((length * 7919 + i * 31 + 13) % p->vocabulary);
    if (status == TRIB_OK)
        status = trib_step(p->engine, p->appends, p->tokens, error);
    for (size_t i = 0; i < p->tokens && status == TRIB_OK && number < p->hashed; i++)
        hash_logits(p, p->appends[i].session);
    p->runs++;
    p->before += length;
    return status;
}

double bench_pass_before(const struct bench_pass *p)
{
    return p->runs ? (double)p->before / (double)p->runs : 0;
}

/* ---- Both ---- */

trib_status bench_pass_open(struct bench_pass *p, trib_error *error)
{
    size_t ids = p->rows ? p->tokens : p->most;
    p->ids = malloc(ids * sizeof *p->ids);
    if (!p->ids)
        return bench_no_memory(error);
    for (size_t i = 0; i < ids; i++)
        p->ids[i] = (int32_t)((i * 7919 + 13) % p->vocabulary);
    return p->rows ? open_rows(p, error) : new_session(p, error);
}

trib_status bench_pass_run(void *pass, size_t number, trib_error *error)
{
    struct bench_pass *p = pass;
    return p->rows ? step(p, number, error) : append(p, number, error);
}

void bench_pass_close(struct bench_pass *p)
{
    for (size_t i = 0; i < p->tokens && p->appends; i++)
        trib_session_close(p->appends[i].session);
    trib_session_close(p->session);
    free(p->appends);
    free(p->ids);
}
