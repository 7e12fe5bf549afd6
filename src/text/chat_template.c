/* The table of chat templates, what tells them apart, and writing a conversation by a row. */
#include "text/chat_template.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "text/utf8.h"

/* Each row is what the models' own Jinja program writes (tools/chat_golden.py has the programs and
 * holds the rows against them), with three liberties. A system's message that Mistral's v3 puts
 * into the latest user message stands in the first, since a conversation that is computed already
 * does not change. Messages of the system that programs add when nobody gave one are left out. And
 * Gemma 1 and 2, which refuse such a message, get it as Gemma 3 does. */
static const struct chat_template templates[] = {
    {.name = "chatml",
     .wrap = {{"<|im_start|>system\n", "<|im_end|>\n"},
              {"<|im_start|>user\n", "<|im_end|>\n"},
              {"<|im_start|>assistant\n", "<|im_end|>\n"}},
     .answer = "<|im_start|>assistant\n",
     .stop = {"<|im_end|>", "<|im_start|>"}},
    {.name = "llama2",
     .wrap = {{"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"\1[INST] ", " [/INST]"}, {" ", " \2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true,
     .system_in_user = true,
     .trims_user = true,
     .trims_answer = true},
    {.name = "llama3",
     .wrap = {{"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
              {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
              {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"}},
     .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .stop = {"<|eot_id|>", "<|start_header_id|>"},
     .begins = true,
     .trims_system = true,
     .trims_user = true,
     .trims_answer = true},
    {.name = "mistral-v0.2", /* and 0.1: programs of before there were versions */
     .wrap = {{"", "\n\n"}, {"[INST] ", " [/INST]"}, {"", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true,
     .system_in_user = true},
    {.name = "mistral-v1",
     .wrap = {{"", "\n\n"}, {" [INST] ", " [/INST]"}, {" ", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true,
     .system_in_user = true},
    {.name = "mistral-v3",
     .wrap = {{"", "\n\n"}, {"[INST] ", "[/INST]"}, {" ", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true,
     .system_in_user = true,
     .trims_answer = true},
    {.name = "mistral-v3-tekken",
     .wrap = {{"", "\n\n"}, {"[INST]", "[/INST]"}, {"", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true,
     .system_in_user = true},
    {.name = "mistral-v7",
     .wrap = {{"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"}, {"[INST] ", "[/INST]"}, {" ", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true},
    {.name = "mistral-v7-tekken",
     .wrap = {{"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"}, {"[INST]", "[/INST]"}, {"", "\2"}},
     .answer = "",
     .stop = {"</s>", "[INST]"},
     .begins = true},
    {.name = "gemma",
     .wrap = {{"", "\n\n"},
              {"<start_of_turn>user\n", "<end_of_turn>\n"},
              {"<start_of_turn>model\n", "<end_of_turn>\n"}},
     .answer = "<start_of_turn>model\n",
     .stop = {"<end_of_turn>", "<start_of_turn>"},
     .begins = true,
     .system_in_user = true,
     .trims_user = true,
     .trims_answer = true},
    {.name = "phi3",
     .wrap = {{"<|system|>\n", "<|end|>\n"},
              {"<|user|>\n", "<|end|>\n"},
              {"<|assistant|>\n", "<|end|>\n"}},
     .answer = "<|assistant|>\n",
     .stop = {"<|end|>", "<|user|>"}},
    {.name = "zephyr",
     .wrap = {{"<|system|>\n", "\2\n"}, {"<|user|>\n", "\2\n"}, {"<|assistant|>\n", "\2\n"}},
     .answer = "<|assistant|>\n",
     .stop = {"</s>", "<|endoftext|>", "<|user|>"}},
    {.name = "plain", /* for models that have seen no conversations; no program says so */
     .wrap = {{"", "\n\n"}, {"User: ", "\n"}, {"Assistant:", "\n"}},
     .answer = "Assistant:",
     .stop = {"\nUser:", "\nAssistant:"}},
};

enum { TEMPLATES = sizeof templates / sizeof templates[0] };

const struct chat_template *chat_template_at(size_t i)
{
    return i < TEMPLATES ? &templates[i] : NULL;
}

const struct chat_template *chat_template_named(const char *name)
{
    for (size_t i = 0; i < TEMPLATES; i++)
        if (strcmp(templates[i].name, name) == 0)
            return &templates[i];
    return NULL;
}

static bool has(struct slice source, const char *text)
{
    size_t length = strlen(text);
    for (size_t i = 0; i + length <= source.length; i++)
        if (memcmp(source.bytes + i, text, length) == 0)
            return true;
    return false;
}

/* The programs with [INST]: a space before or behind it tells them apart, and what it stands in. */
static const char *recognise_inst(struct slice source)
{
    if (has(source, "[SYSTEM_PROMPT]"))
        return has(source, "[SYSTEM_PROMPT] ") ? "mistral-v7" : "mistral-v7-tekken";
    if (has(source, "<<SYS>>"))
        return "llama2";
    if (has(source, "\" [INST] ") || has(source, "' [INST] "))
        return "mistral-v1";
    if (has(source, "[AVAILABLE_TOOLS]"))
        return has(source, "\"[INST]\"") || has(source, "'[INST]'") ? "mistral-v3-tekken"
                                                                    : "mistral-v3";
    return "mistral-v0.2";
}

/* Strings of one family may stand in another's program as a special case, so the order counts.
 * <|im_sep|> is Phi 4's, which is not ChatML. */
static const char *recognise(struct slice source)
{
    if (has(source, "<|im_start|>"))
        return has(source, "<|im_sep|>") || has(source, "<end_of_utterance>") ? NULL : "chatml";
    if (has(source, "[INST]"))
        return recognise_inst(source);
    if (has(source, "<|start_header_id|>") && has(source, "<|end_header_id|>"))
        return "llama3";
    if (has(source, "<start_of_turn>"))
        return "gemma";
    if (has(source, "<|user|>") && has(source, "<|assistant|>")) {
        if (has(source, "<|end|>"))
            return "phi3";
        if (has(source, "'<|user|>\\n' + message['content'] + eos_token") ||
            has(source, "<|endoftext|>"))
            return "zephyr";
    }
    return NULL;
}

const struct chat_template *chat_template_recognised(struct slice source)
{
    const char *name = recognise(source);
    return name ? chat_template_named(name) : NULL;
}

trib_status chat_messages_check(const struct chat_message *messages, size_t count,
                                trib_error *error)
{
    size_t system = count > 0 && messages[0].role == CHAT_SYSTEM;
    if (count == system)
        return error_set(error, TRIB_INVALID, "a conversation: expected a message of the user");
    for (size_t i = system; i < count; i++)
        if (messages[i].role != ((i - system) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT))
            return error_set(error, TRIB_INVALID,
                             "message %zu of a conversation: expected the %s, then in turn", i,
                             (i - system) % 2 == 0 ? "user's" : "assistant's");
    return TRIB_OK;
}

/* ---- Writing ---- */

struct writer {
    struct chat_text *out;
    const struct chat_marks *marks;
    bool fits; /* memory was there for all of it */
};

/* Doubles an array of elements of `size` bytes until it has room for `count`. */
static bool grow(void **array, size_t *capacity, size_t count, size_t size)
{
    size_t larger = *capacity;
    while (larger < count)
        larger = 2 * larger + 64;
    void *grown = larger > *capacity ? realloc(*array, larger * size) : *array;
    if (!grown)
        return false;
    *array = grown;
    *capacity = larger;
    return true;
}

static void put(struct writer *w, struct slice text, bool parse, int32_t id)
{
    struct chat_text *out = w->out;
    void *bytes = out->bytes, *parts = out->parts;
    if (!w->fits || text.length == 0)
        return;
    w->fits = text.length <= SIZE_MAX / 4 - out->length &&
              grow(&bytes, &out->capacity, out->length + text.length, 1);
    out->bytes = bytes;
    w->fits = w->fits && grow(&parts, &out->part_capacity, out->part_count + 1, sizeof *out->parts);
    out->parts = parts;
    if (!w->fits)
        return;
    memcpy(out->bytes + out->length, text.bytes, text.length);
    out->length += text.length;
    out->parts[out->part_count++] = (struct text_part){text.length, parse, id};
}

/* What the template writes itself. */
static void put_own(struct writer *w, const char *text)
{
    while (*text) {
        size_t plain = strcspn(text, "\1\2");
        put(w, (struct slice){text, plain}, true, TOKEN_NONE);
        text += plain;
        if (*text) {
            const struct chat_mark *mark = *text == '\1' ? &w->marks->bos : &w->marks->eos;
            if (mark->id != TOKEN_NONE)
                put(w, mark->text, true, mark->id);
            text++;
        }
    }
}

/* What is white space to Python, in whose words the programs trim. */
static bool is_space(uint32_t c)
{
    return (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= ' ') || c == 0x85 || c == 0xa0 ||
           c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
           c == 0x202f || c == 0x205f || c == 0x3000;
}

/* Bytes of the white space that a text begins with, and that it ends with: one character, or 0. */
static size_t space_first(struct slice text)
{
    uint32_t code;
    size_t bytes = text.length ? utf8_decode(text.bytes, text.length, &code) : 0;
    return bytes && is_space(code) ? bytes : 0;
}

static size_t space_last(struct slice text)
{
    size_t bytes = 1;
    while (bytes < text.length && (text.bytes[text.length - bytes] & 0xc0) == 0x80)
        bytes++;
    struct slice last = {text.bytes + text.length - bytes, bytes};
    return text.length && space_first(last) == bytes ? bytes : 0;
}

/* What people or the model wrote. */
static void put_message(struct writer *w, struct slice text, bool trim_left, bool trim_right)
{
    size_t bytes;
    while (trim_left && (bytes = space_first(text))) {
        text.bytes += bytes;
        text.length -= bytes;
    }
    while (trim_right && (bytes = space_last(text)))
        text.length -= bytes;
    put(w, text, false, TOKEN_NONE);
}

/* Llama 2 trims the user's text after it has put the system's before it. */
static void put_user(struct writer *w, const struct chat_template *t,
                     const struct chat_message *system, const struct chat_message *user, bool first)
{
    const char *before = t->wrap[CHAT_USER].before;
    bool wrapped = system && *t->wrap[CHAT_SYSTEM].before;
    put_own(w, first && t->begins && *before == '\1' ? before + 1 : before);
    if (system) {
        put_own(w, t->wrap[CHAT_SYSTEM].before);
        put_message(w, system->text, t->trims_system, t->trims_system);
        put_own(w, t->wrap[CHAT_SYSTEM].after);
    }
    put_message(w, user->text, t->trims_user && !wrapped, t->trims_user);
    put_own(w, t->wrap[CHAT_USER].after);
}

/* The model ends its answer without the space that stands before its end in a text. */
static const char *end_of_answer(const struct chat_template *t)
{
    const char *after = t->wrap[CHAT_ASSISTANT].after;
    return *after == ' ' ? after + 1 : after;
}

trib_status chat_template_write(const struct chat_template *t, const struct chat_marks *marks,
                                const struct chat_message *messages, size_t count, size_t had,
                                struct chat_text *out, trib_error *error)
{
    struct writer w = {out, marks, true};
    bool system = count > 0 && messages[0].role == CHAT_SYSTEM;
    assert(had <= count);
    if (had > 0)
        put_own(&w, end_of_answer(t));
    else if (t->begins || marks->add_bos)
        put_own(&w, "\1");
    for (size_t i = had; i < count; i++) {
        const struct chat_message *m = &messages[i];
        bool last = i + 1 == count, first_user = i == system;
        switch (m->role) {
        case CHAT_SYSTEM:
            if (t->system_in_user)
                break;
            put_own(&w, t->wrap[CHAT_SYSTEM].before);
            put_message(&w, m->text, t->trims_system, t->trims_system);
            put_own(&w, t->wrap[CHAT_SYSTEM].after);
            break;
        case CHAT_USER:
            put_user(&w, t, first_user && system && t->system_in_user ? messages : NULL, m,
                     first_user);
            break;
        case CHAT_ASSISTANT:
        case CHAT_ROLES:
            put_own(&w, t->wrap[CHAT_ASSISTANT].before);
            put_message(&w, m->text, t->trims_answer, t->trims_answer);
            put_own(&w, last ? "" : t->wrap[CHAT_ASSISTANT].after);
            break;
        }
    }
    if (count > 0 && messages[count - 1].role == CHAT_USER)
        put_own(&w, t->answer);
    return w.fits ? TRIB_OK : error_no_memory(error, "a conversation", out->length);
}

void chat_text_free(struct chat_text *text)
{
    free(text->bytes);
    free(text->parts);
    *text = (struct chat_text){0};
}
