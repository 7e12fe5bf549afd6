/* Fuzz target of chat templates. The input is a Jinja program, as files have one, and then what
 * people wrote, with the bytes 0xff 0xfe between them: system, user, assistant, user. The program
 * is recognised or not, whatever it is; every family writes the conversation in parts that make up
 * the text, and what is written of it at two times is what is written at once, but for a space
 * before the end of an answer that some texts have and models do not give. */
#include <string.h>

#include "text/chat_template.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            __builtin_trap();                                                                      \
    } while (0)

enum { PIECES = 5, MESSAGES = PIECES - 1 };

static void cut(struct slice input, struct slice pieces[PIECES])
{
    for (size_t n = 0; n < PIECES; n++) {
        size_t length = 0, gap = 2;
        while (length + 1 < input.length && memcmp(input.bytes + length, "\xff\xfe", 2) != 0)
            length++;
        if (n + 1 == PIECES || length + 1 >= input.length) {
            length = input.length;
            gap = 0;
        }
        pieces[n] = (struct slice){input.bytes, length};
        input = (struct slice){input.bytes + length + gap, input.length - length - gap};
    }
}

static void check_parts(const struct chat_text *text)
{
    size_t length = 0;
    for (size_t i = 0; i < text->part_count; i++)
        length += text->parts[i].length;
    CHECK(length == text->length);
}

/* Messages [0, count) written at once, or up to the first answer and then the rest. */
static void write_all(const struct chat_template *template, const struct chat_message *messages,
                      size_t count, size_t had)
{
    static const char begin[] = "<s>", end[] = "</s>";
    const struct chat_marks marks = {{{begin, 3}, 1}, {{end, 4}, 2}, true};
    struct chat_text whole = {0}, pieces = {0};
    trib_error error;
    CHECK(chat_messages_check(messages, count, &error) == TRIB_OK);
    CHECK(chat_template_write(template, &marks, messages, count, 0, &whole, &error) == TRIB_OK);
    CHECK(chat_template_write(template, &marks, messages, had, 0, &pieces, &error) == TRIB_OK);
    CHECK(chat_template_write(template, &marks, messages, count, had, &pieces, &error) == TRIB_OK);
    check_parts(&whole);
    check_parts(&pieces);
    if (template->wrap[CHAT_ASSISTANT].after[0] == ' ')
        CHECK(whole.length == pieces.length + 1);
    else
        CHECK(whole.length == pieces.length &&
              (!whole.length || memcmp(whole.bytes, pieces.bytes, whole.length) == 0));
    chat_text_free(&whole);
    chat_text_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum chat_role roles[MESSAGES] = {CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT,
                                                   CHAT_USER};
    struct slice pieces[PIECES];
    struct chat_message messages[MESSAGES];
    cut((struct slice){(const char *)data, size}, pieces);
    const struct chat_template *found = chat_template_recognised(pieces[0]);
    CHECK(!found || chat_template_named(found->name) == found);
    for (size_t i = 0; i < MESSAGES; i++)
        messages[i] = (struct chat_message){roles[i], pieces[i + 1]};
    for (size_t i = 0; chat_template_at(i); i++) {
        write_all(chat_template_at(i), messages, MESSAGES, 3);
        write_all(chat_template_at(i), messages + 1, MESSAGES - 1, 2);
    }
    return 0;
}
