/* What is told of a request becomes JSON: a token with its log probability when it is chosen, a
 * completion when it has ended, a line of results with the last of them. */
#include "batch_pending.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"

struct batch_pending {
    struct batch_pendings *all;
    struct batch_entry *entry;
    struct batch_pending *next, *previous;
    size_t top;          /* likeliest tokens to tell of beside each */
    json_t *result;      /* but for completions */
    json_t *completions; /* that have ended */
    bool best;           /* they come in the order of their scores */
    bool unanswered;     /* the cache was too small for one of them */
    json_t **told;       /* [made] arrays of tokens with log probabilities; NULL: unasked */
    size_t made, prompt_tokens, tokens;
};

trib_status batch_no_memory(trib_error *error)
{
    error->status = TRIB_NO_MEMORY;
    snprintf(error->message, sizeof error->message, "no memory for requests and their results");
    return TRIB_NO_MEMORY;
}

void batch_pending_close(struct batch_pending *p)
{
    if (p->previous)
        p->previous->next = p->next;
    else
        p->all->latest = p->next;
    if (p->next)
        p->next->previous = p->previous;
    for (size_t i = 0; i < p->made && p->told; i++)
        json_decref(p->told[i]);
    free(p->told);
    json_decref(p->result);
    json_decref(p->completions);
    free(p);
}

/* ---- What the scheduler tells ---- */

/* Ends the run with the first failure. */
void batch_give_up(struct batch_pendings *all, trib_status status)
{
    if (all->status == TRIB_OK)
        all->status = status;
}

/* What a token spells by itself. */
static json_t *token_text(const struct batch_pendings *all, int32_t id)
{
    char text[512];
    trib_decoder *decoder;
    if (trib_decoder_open(&decoder, all->model, true, true, NULL) != TRIB_OK)
        return NULL;
    trib_text piece = trib_decoder_next(decoder, id);
    size_t length = piece.length < sizeof text ? piece.length : sizeof text;
    if (length)
        memcpy(text, piece.bytes, length);
    trib_text rest = trib_decoder_rest(decoder);
    size_t more = rest.length < sizeof text - length ? rest.length : sizeof text - length;
    if (more)
        memcpy(text + length, rest.bytes, more);
    trib_decoder_close(decoder);
    return json_text(text, length + more);
}

static json_t *token_json(const struct batch_pendings *all, int32_t id, float logprob)
{
    /* JSON has no infinities */
    json_t *number = isfinite(logprob) ? json_real((double)logprob) : json_null();
    return json_pack("{s:i, s:o, s:o}", "id", (int)id, "text", token_text(all, id), "logprob",
                     number);
}

/* A token with its log probability, and the likeliest ones where they stood. */
static void see_token(void *context, const trib_chosen *chosen)
{
    struct batch_pending *p = context;
    struct batch_pendings *all = p->all;
    all->tokens++;
    p->tokens++;
    if (!p->told)
        return;
    json_t *top = p->top ? json_array() : NULL;
    json_t *token = token_json(all, chosen->id, chosen->logprob);
    bool fits = token && (!p->top || top);
    if (fits && p->top)
        fits = trib_logprobs(chosen->logits, all->vocabulary, p->top, all->top, NULL) == TRIB_OK;
    for (size_t i = 0; i < p->top && fits; i++)
        fits =
            json_array_append_new(top, token_json(all, all->top[i].id, all->top[i].logprob)) == 0;
    if (fits && top)
        fits = json_object_set(token, "top", top) == 0;
    fits = fits && json_array_append(p->told[chosen->completion], token) == 0;
    json_decref(token);
    json_decref(top);
    if (!fits)
        batch_give_up(all, batch_no_memory(&all->error));
}

static json_t *completion_json(const struct batch_pending *p, const trib_completion *c)
{
    json_t *text = json_text(c->text.bytes, c->text.length);
    json_t *one = json_pack("{s:I, s:o, s:s, s:I}", "index", (json_int_t)c->index, "text", text,
                            "finish_reason", trib_end_name(c->end), "tokens", (json_int_t)c->count);
    if (one && p->told && json_object_set(one, "logprobs", p->told[c->index]) != 0) {
        json_decref(one);
        return NULL;
    }
    return one;
}

/* The last completion of a request makes its line, unless a run with a larger cache is to. */
static void write_result(struct batch_pending *p)
{
    struct batch_pendings *all = p->all;
    json_t *counts =
        json_pack("{s:I, s:I, s:O}", "prompt_tokens", (json_int_t)p->prompt_tokens,
                  "completion_tokens", (json_int_t)p->tokens, "completions", p->completions);
    if (!counts || json_object_update(p->result, counts) != 0)
        batch_give_up(all, batch_no_memory(&all->error));
    json_decref(counts);
    if (all->status == TRIB_OK && !p->unanswered)
        batch_give_up(
            all, batch_results_add(all->results, p->entry, json_incref(p->result), &all->error));
    all->prompt_tokens += p->prompt_tokens;
    batch_pending_close(p);
}

void batch_complain(const struct batch_pendings *all, const struct batch_entry *entry,
                    const char *message)
{
    progress_clear(all->bar);
    fprintf(stderr, "trib: %s: line %zu: %s\n", all->requests, entry->number, message);
}

/* They end in any order; the result has them by their index, but for the best of more, which come
 * in the order of their scores. */
static bool add_completion(struct batch_pending *p, const trib_completion *c)
{
    size_t at = json_array_size(p->completions);
    while (!p->best && at > 0 &&
           (size_t)json_integer_value(
               json_object_get(json_array_get(p->completions, at - 1), "index")) > c->index)
        at--;
    return json_array_insert_new(p->completions, at, completion_json(p, c)) == 0;
}

/* A request that memory or the cache was short for is not answered: the next run may have it. The
 * cache is what TRIB_FULL tells of here; the context was looked at when the request was taken. */
static void see_end(void *context, const trib_completion *c)
{
    struct batch_pending *p = context;
    struct batch_pendings *all = p->all;
    bool fits = add_completion(p, c);
    if (!fits || c->status == TRIB_NO_MEMORY)
        batch_give_up(all, batch_no_memory(&all->error));
    if (c->end == TRIB_END_ERROR) {
        batch_complain(all, p->entry, c->message);
        p->unanswered = p->unanswered || c->status == TRIB_FULL;
        json_object_set_new(p->result, "error", json_text(c->message, strlen(c->message)));
    }
    if (c->left == 0)
        write_result(p);
}

/* ---- Opening ---- */

struct batch_pending *batch_pending_open(struct batch_pendings *all, struct batch_entry *entry,
                                         struct batch_line *line)
{
    trib_request *r = &line->request;
    struct batch_pending *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    *p = (struct batch_pending){.all = all,
                                .entry = entry,
                                .next = all->latest,
                                .top = line->top < all->vocabulary ? line->top : all->vocabulary,
                                .result = json_object(),
                                .completions = json_array(),
                                .best = r->best_of > 0,
                                .made = r->best_of ? r->best_of : r->completions,
                                .prompt_tokens = r->count};
    if (all->latest)
        all->latest->previous = p;
    all->latest = p;
    bool fits = p->result && p->completions;
    if (fits && line->id)
        fits = json_object_set(p->result, "id", line->id) == 0;
    if (fits && line->logprobs && p->made <= TRIB_SEQUENCES_MAX) {
        p->told = calloc(p->made, sizeof(json_t *));
        fits = p->told != NULL;
        for (size_t i = 0; i < p->made && fits; i++)
            fits = (p->told[i] = json_array()) != NULL;
    }
    r->on_token = see_token;
    r->on_end = see_end;
    r->context = p;
    if (fits)
        return p;
    batch_pending_close(p);
    return NULL;
}
