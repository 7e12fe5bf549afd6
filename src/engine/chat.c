/* The public face of chat templates (tributary/model.h): a template, with the tokens of a model. */
#include <stdlib.h>

#include "base/error.h"
#include "engine/model_file.h"
#include "text/chat_template.h"
#include "text/vocab.h"

struct trib_chat {
    const trib_model *model;
    const struct chat_template *template;
    struct chat_marks marks;
};

/* "chatml, llama2, ..." */
static const char *list_names(char *out, size_t capacity)
{
    size_t used = 0;
    const struct chat_template *t;
    out[0] = 0;
    for (size_t i = 0; (t = chat_template_at(i)) && used + strlen(t->name) + 3 < capacity; i++) {
        memcpy(out + used, i ? ", " : "", i ? 2 : 0);
        used += i ? 2 : 0;
        memcpy(out + used, t->name, strlen(t->name) + 1);
        used += strlen(t->name);
    }
    return out;
}

static trib_status find_template(const trib_model *model, const char *name,
                                 const struct chat_template **out, trib_error *error)
{
    char names[200];
    if (name) {
        *out = chat_template_named(name);
        if (!*out)
            return error_set(error, TRIB_INVALID, "chat template '%.30s': expected one of %s", name,
                             list_names(names, sizeof names));
        return TRIB_OK;
    }
    struct slice source = {0};
    bool found;
    trib_status status =
        gguf_get_string(model->file, "tokenizer.chat_template", &source, &found, error);
    if (status != TRIB_OK)
        return status;
    if (!found)
        return error_set(error, TRIB_UNSUPPORTED,
                         "%.160s: the file has no tokenizer.chat_template; name a template",
                         model->file->name);
    *out = chat_template_recognised(source);
    if (!*out)
        return error_set(
            error, TRIB_UNSUPPORTED,
            "%.100s: tokenizer.chat_template (\"%s...\") is none that is known; name a "
            "template",
            model->file->name,
            vocab_quote((struct slice){source.bytes, source.length < 40 ? source.length : 40})
                .text);
    return TRIB_OK;
}

static struct chat_mark mark_of(const struct tokenizer *tokenizer, int32_t id)
{
    struct chat_mark mark = {{"", 0}, id};
    if (id != TOKEN_NONE)
        mark.text = tokenizer_text(tokenizer, id);
    return mark;
}

trib_status trib_chat_open(trib_chat **out, const trib_model *model, const char *name,
                           trib_error *error)
{
    const struct chat_template *template;
    const struct tokenizer *tokenizer = model->tokenizer;
    *out = NULL;
    if (!tokenizer)
        return error_set(error, model->no_tokenizer.status, "%s", model->no_tokenizer.message);
    trib_status status = find_template(model, name, &template, error);
    if (status != TRIB_OK)
        return status;
    trib_chat *chat = malloc(sizeof *chat);
    if (!chat)
        return error_no_memory(error, "a chat template", sizeof *chat);
    chat->model = model;
    chat->template = template;
    chat->marks = (struct chat_marks){.bos = mark_of(tokenizer, tokenizer_bos(tokenizer)),
                                      .eos = mark_of(tokenizer, tokenizer_eos(tokenizer)),
                                      .add_bos = tokenizer_adds_bos(tokenizer)};
    *out = chat;
    return TRIB_OK;
}

void trib_chat_close(trib_chat *chat)
{
    free(chat);
}

const char *trib_chat_template(const trib_chat *chat)
{
    return chat->template->name;
}

const char *trib_chat_name(size_t i)
{
    const struct chat_template *t = chat_template_at(i);
    return t ? t->name : NULL;
}

const char *trib_chat_stop(const trib_chat *chat, size_t i)
{
    return i < CHAT_STOPS ? chat->template->stop[i] : NULL;
}

/* The messages as the templates have them; the caller frees them. */
static struct chat_message *copy_messages(const trib_message *messages, size_t count)
{
    struct chat_message *copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; i < count && copy; i++)
        copy[i] = (struct chat_message){(enum chat_role)messages[i].role,
                                        {messages[i].text.bytes, messages[i].text.length}};
    return copy;
}

trib_status trib_chat_render(const trib_chat *chat, const trib_message *messages, size_t count,
                             size_t had, int32_t **ids, size_t *n, trib_error *error)
{
    *ids = NULL;
    *n = 0;
    if (had > count || (had > 0 && messages[had - 1].role != TRIB_ROLE_ASSISTANT))
        return error_set(
            error, TRIB_INVALID,
            "a conversation: expected an answer as the last of the %zu messages of %zu "
            "that are computed",
            had, count);
    struct chat_text text = {0};
    size_t capacity = 0;
    struct chat_message *copy = copy_messages(messages, count);
    if (!copy)
        return error_no_memory(error, "a conversation", count * sizeof *copy);
    trib_status status = chat_messages_check(copy, count, error);
    if (status == TRIB_OK)
        status = chat_template_write(chat->template, &chat->marks, copy, count, had, &text, error);
    if (status == TRIB_OK)
        status = tokenizer_encode_parts(chat->model->tokenizer, text.bytes, text.parts,
                                        text.part_count, ids, n, &capacity, error);
    free(copy);
    chat_text_free(&text);
    if (status != TRIB_OK) {
        free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return status;
}
