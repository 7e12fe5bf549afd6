/* Chat templates: how the messages of a conversation are written for a model that was trained on
 * conversations.
 *
 * Files carry a Jinja program for it (`tokenizer.chat_template`). It is not run: the families that
 * models share are few, a row of a table each, and the program's telling strings say which one it
 * is. The result is a text in parts: what the template wrote, in which control tokens may be
 * spelled, and what people wrote, in which they may not. */
#ifndef TEXT_CHAT_TEMPLATE_H
#define TEXT_CHAT_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "text/tokenizer.h"
#include "tributary/status.h"

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLES };

struct chat_message {
    enum chat_role role;
    struct slice text;
};

enum { CHAT_STOPS = 3 };

/* In the strings \1 stands for the text of BOS and \2 for that of EOS. */
struct chat_template {
    const char *name;
    struct chat_wrap {
        const char *before, *after;
    } wrap[CHAT_ROLES];
    const char *answer; /* stands where the model is to answer */
    const char
        *stop[CHAT_STOPS]; /* texts that end an answer, where they are no tokens; then NULL */
    bool begins;           /* with BOS, whether or not the vocabulary asks for it */
    bool system_in_user;   /* the system's message stands in the user's first */
    bool trims_system, trims_user, trims_answer; /* white space at both ends of a message */
};

/* By name, or by a template as a file has it; NULL: none. */
const struct chat_template *chat_template_named(const char *name);
const struct chat_template *chat_template_recognised(struct slice source);

/* Row i of the table, NULL behind its end. */
const struct chat_template *chat_template_at(size_t i);

/* A text in the making; all zero to begin with. */
struct chat_text {
    char *bytes;
    size_t length, capacity;
    struct text_part *parts;
    size_t part_count, part_capacity;
};

/* A special token as a template wants it: its text and its id; TOKEN_NONE: nothing is written. */
struct chat_mark {
    struct slice text;
    int32_t id;
};

struct chat_marks {
    struct chat_mark bos, eos;
    bool add_bos; /* the vocabulary begins every text with BOS */
};

/* Writes messages `had` to count - 1 of a conversation. Of the `had` before them the last, if there
 * is one, is an answer: what ends it is written first. Behind a last message that is the user's
 * stands the begin of an answer; a last one that is an answer is left open.
 *
 * The order of messages must be that of chat_messages_check. Appends to *out, which chat_text_free
 * releases, also after a failure, which is TRIB_NO_MEMORY. */
trib_status chat_template_write(const struct chat_template *template,
                                const struct chat_marks *marks, const struct chat_message *messages,
                                size_t count, size_t had, struct chat_text *out, trib_error *error);
void chat_text_free(struct chat_text *text);

/* TRIB_INVALID unless the order is: the system or not, then user and assistant in turn. */
trib_status chat_messages_check(const struct chat_message *messages, size_t count,
                                trib_error *error);

#endif
