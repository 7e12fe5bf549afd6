/* Keeping a conversation, and its file. */
#include "talk.h"

#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "output.h"

static const char *const roles[] = {"system", "user", "assistant"};

enum { ROLES = sizeof roles / sizeof roles[0] };

bool talk_add(struct talk *talk, trib_role role, const char *bytes, size_t length)
{
    if (talk->count == talk->capacity) {
        size_t capacity = 2 * talk->capacity + 16;
        trib_message *larger = realloc(talk->messages, capacity * sizeof *larger);
        if (!larger)
            return false;
        talk->messages = larger;
        talk->capacity = capacity;
    }
    char *copy = malloc(length + 1);
    if (!copy)
        return false;
    if (length > 0)
        memcpy(copy, bytes, length);
    trib_message *message = &talk->messages[talk->count++];
    message->role = role;
    message->text.bytes = copy;
    message->text.length = length;
    return true;
}

void talk_drop_last(struct talk *talk)
{
    free((char *)(uintptr_t)talk->messages[--talk->count].text.bytes);
}

void talk_clear(struct talk *talk)
{
    while (talk->count > 0)
        talk_drop_last(talk);
    free(talk->messages);
    *talk = (struct talk){0};
}

static void write_json(const void *what, FILE *out)
{
    const json_t *root = what;
    json_dumpf(root, out, JSON_INDENT(2));
    fputc('\n', out);
}

trib_status talk_save(const struct talk *talk, const char *path, trib_error *error)
{
    json_t *list = json_array();
    bool fits = list != NULL;
    for (size_t i = 0; i < talk->count && fits; i++) {
        const trib_message *m = &talk->messages[i];
        json_t *one = json_pack("{s:s, s:o}", "role", roles[m->role], "content",
                                json_text(m->text.bytes, m->text.length));
        fits = one && json_array_append_new(list, one) == 0;
    }
    json_t *root = fits ? json_pack("{s:O}", "messages", list) : NULL;
    trib_status status = TRIB_OK;
    if (!root)
        status = path_failure(error, TRIB_NO_MEMORY, path, "no memory for the conversation");
    else
        status = save_file(path, write_json, root, error);
    json_decref(root);
    json_decref(list);
    return status;
}

/* Message i of a file; false: it is none. */
static bool read_message(struct talk *talk, json_t *one)
{
    const char *role = json_string_value(json_object_get(one, "role"));
    json_t *content = json_object_get(one, "content");
    for (size_t r = 0; r < ROLES && role && json_is_string(content); r++)
        if (strcmp(role, roles[r]) == 0)
            return talk_add(talk, (trib_role)r, json_string_value(content),
                            json_string_length(content));
    return false;
}

trib_status talk_load(struct talk *talk, const char *path, trib_error *error)
{
    char *text, why[100];
    size_t length;
    json_error_t where;
    trib_status status = read_all(path, &text, &length, error);
    if (status != TRIB_OK)
        return status;
    json_t *root = json_loadb(text, length, JSON_ALLOW_NUL, &where);
    free(text);
    json_t *list = json_is_array(root) ? root : json_object_get(root, "messages");
    if (!root) {
        snprintf(why, sizeof why, "line %d: %.70s", where.line, where.text);
        status = path_failure(error, TRIB_FORMAT, path, why);
    } else if (!json_is_array(list)) {
        status = path_failure(error, TRIB_FORMAT, path, "messages: expected a list");
    }
    for (size_t i = 0; status == TRIB_OK && i < json_array_size(list); i++)
        if (!read_message(talk, json_array_get(list, i))) {
            snprintf(why, sizeof why,
                     "message %zu: expected a role (system, user, assistant) and content, a text",
                     i);
            status = path_failure(error, TRIB_FORMAT, path, why);
        }
    json_decref(root);
    if (status != TRIB_OK)
        talk_clear(talk);
    return status;
}
