/* Conversations as tokens: the texts and ids that the models' own templates give, run by Jinja and
 * encoded by Hugging Face tokenizers (tools/chat_golden.py); that only what is new is written for a
 * conversation that goes on; and that no message can pass for more than its text. */
#include <jansson.h>

#include "gguf_build.h"
#include "test.h"
#include "text/chat_template.h"
#include "vocab_build.h"

enum { BYTES = 256, SPECIAL_MOST = 64, MESSAGES_MOST = 8 };

static json_t *golden;
static struct tokenizer *tokenizer;

static const char *string_at(json_t *array, size_t i)
{
    return json_string_value(json_array_get(array, i));
}

/* The vocabulary of the goldens: the bytes, and behind them the special tokens. */
static int setup(void **state)
{
    struct vocab_entry entries[BYTES + SPECIAL_MOST];
    static const struct slice no_merges;
    const char *folder = getenv("TRIB_GOLDEN");
    char path[4096];
    trib_error error = {0};
    (void)state;
    snprintf(path, sizeof path, "%s/chat.json", folder ? folder : "tests/golden/data");
    golden = json_load_file(path, 0, NULL);
    assert_non_null(golden);
    json_t *bytes = json_object_get(golden, "bytes"), *special = json_object_get(golden, "special");
    size_t count = BYTES + json_array_size(special);
    assert_true(count <= BYTES + SPECIAL_MOST);
    for (size_t i = 0; i < count; i++) {
        const char *text = i < BYTES ? string_at(bytes, i) : string_at(special, i - BYTES);
        entries[i] =
            (struct vocab_entry){text, strlen(text), i < BYTES ? TOKEN_NORMAL : TOKEN_CONTROL, 0};
    }
    struct vocab_options options = {.model = "gpt2", .pre = "gpt-2", .merges = &no_merges};
    return vocab_open(&tokenizer, entries, count, options, &error) != TRIB_OK;
}

static int teardown(void **state)
{
    (void)state;
    tokenizer_close(tokenizer);
    json_decref(golden);
    return 0;
}

static int32_t special_id(const char *text)
{
    json_t *special = json_object_get(golden, "special");
    for (size_t i = 0; i < json_array_size(special); i++)
        if (strcmp(string_at(special, i), text) == 0)
            return (int32_t)(BYTES + i);
    return TOKEN_NONE;
}

static struct chat_mark mark(json_t *family, const char *key)
{
    const char *text = json_string_value(json_object_get(family, key));
    return (struct chat_mark){slice_of(text), special_id(text)};
}

static struct chat_marks marks_of(json_t *family)
{
    return (struct chat_marks){.bos = mark(family, "bos"), .eos = mark(family, "eos")};
}

static size_t messages_of(json_t *array, struct chat_message *out)
{
    static const char *const roles[] = {"system", "user", "assistant"};
    size_t count = json_array_size(array);
    assert_true(count <= MESSAGES_MOST);
    for (size_t i = 0; i < count; i++) {
        json_t *message = json_array_get(array, i);
        out[i].text = slice_of(string_at(message, 1));
        for (int r = 0; r < CHAT_ROLES; r++)
            if (strcmp(roles[r], string_at(message, 0)) == 0)
                out[i].role = (enum chat_role)r;
    }
    return count;
}

/* The ids of a text in parts; the caller frees them. */
static int32_t *encode(const struct chat_text *text, size_t *count)
{
    int32_t *ids = NULL;
    size_t capacity = 0;
    *count = 0;
    assert_int_equal(tokenizer_encode_parts(tokenizer, text->bytes, text->parts, text->part_count,
                                            &ids, count, &capacity, NULL),
                     TRIB_OK);
    return ids;
}

static void assert_case(const struct chat_template *t, json_t *family, json_t *one)
{
    struct chat_message messages[MESSAGES_MOST] = {0};
    struct chat_marks marks = marks_of(family);
    struct chat_text text = {0};
    const char *want = json_string_value(json_object_get(one, "text"));
    json_t *want_ids = json_object_get(one, "ids");
    size_t count = messages_of(json_object_get(one, "messages"), messages), n;
    assert_int_equal(chat_messages_check(messages, count, NULL), TRIB_OK);
    assert_int_equal(chat_template_write(t, &marks, messages, count, 0, &text, NULL), TRIB_OK);
    if (text.length != strlen(want) || memcmp(text.bytes, want, text.length) != 0)
        fail_msg("%s: expected\n%s\nfound\n%.*s", t->name, want, (int)text.length, text.bytes);
    int32_t *ids = encode(&text, &n);
    assert_int_equal(n, json_array_size(want_ids));
    for (size_t i = 0; i < n; i++)
        assert_int_equal(ids[i], json_integer_value(json_array_get(want_ids, i)));
    free(ids);
    chat_text_free(&text);
}

static void texts_and_ids_are_the_templates(void **state)
{
    json_t *families = json_object_get(golden, "families"), *family, *one;
    size_t f, c;
    (void)state;
    assert_true(json_array_size(families) >= 10);
    json_array_foreach(families, f, family)
    {
        const char *name = json_string_value(json_object_get(family, "template"));
        const struct chat_template *t = chat_template_named(name);
        assert_non_null(t);
        json_array_foreach(json_object_get(family, "cases"), c, one) assert_case(t, family, one);
    }
}

static void programs_are_recognised(void **state)
{
    json_t *family, *source;
    size_t i;
    (void)state;
    json_array_foreach(json_object_get(golden, "families"), i, family)
    {
        const struct chat_template *t = chat_template_recognised(
            slice_of(json_string_value(json_object_get(family, "source"))));
        assert_non_null(t);
        assert_string_equal(t->name, json_string_value(json_object_get(family, "template")));
    }
    json_array_foreach(json_object_get(golden, "unknown"), i, source)
        assert_null(chat_template_recognised(slice_of(json_string_value(source))));
}

/* A conversation in one piece is the same text as its first question, the answer and what is then
 * new; but for the space that Llama 2 has before the end of an answer. */
static void what_is_new_continues_what_was(void **state)
{
    static const struct chat_message messages[] = {{CHAT_SYSTEM, {"be brief", 8}},
                                                   {CHAT_USER, {"hi", 2}},
                                                   {CHAT_ASSISTANT, {"hello", 5}},
                                                   {CHAT_USER, {"who?", 4}}};
    struct chat_marks marks = {.bos = {{"<s>", 3}, 256}, .eos = {{"</s>", 4}, 257}};
    const struct chat_template *t;
    (void)state;
    for (size_t i = 0; (t = chat_template_at(i)); i++) {
        struct chat_text whole = {0}, until = {0}, rest = {0};
        chat_template_write(t, &marks, messages, 4, 0, &whole, NULL);
        chat_template_write(t, &marks, messages, 3, 0, &until, NULL);
        chat_template_write(t, &marks, messages, 4, 3, &rest, NULL);
        size_t space = strcmp(t->name, "llama2") == 0;
        assert_int_equal(until.length + space + rest.length, whole.length);
        assert_memory_equal(whole.bytes, until.bytes, until.length);
        assert_memory_equal(whole.bytes + until.length + space, rest.bytes, rest.length);
        chat_text_free(&whole);
        chat_text_free(&until);
        chat_text_free(&rest);
    }
}

/* Every special token's text, typed by the user and by the system, stays bytes. */
static void messages_cannot_spell_control_tokens(void **state)
{
    struct chat_marks marks = {.bos = {{"<s>", 3}, 256}, .eos = {{"</s>", 4}, 257}};
    json_t *special = json_object_get(golden, "special");
    const struct chat_template *t;
    (void)state;
    for (size_t i = 0; (t = chat_template_at(i)); i++)
        for (size_t s = 0; s < json_array_size(special); s++) {
            struct chat_message messages[] = {{CHAT_SYSTEM, slice_of(string_at(special, s))},
                                              {CHAT_USER, slice_of(string_at(special, s))}};
            struct chat_message harmless[] = {{CHAT_SYSTEM, {"x", 1}}, {CHAT_USER, {"x", 1}}};
            struct chat_text text = {0}, other = {0};
            size_t n, m, added = 2 * (messages[0].text.length - 1);
            chat_template_write(t, &marks, messages, 2, 0, &text, NULL);
            chat_template_write(t, &marks, harmless, 2, 0, &other, NULL);
            int32_t *ids = encode(&text, &n), *few = encode(&other, &m);
            assert_int_equal(n, m + added);
            free(ids);
            free(few);
            chat_text_free(&text);
            chat_text_free(&other);
        }
}

static void the_order_is_checked(void **state)
{
    static const struct chat_message user = {CHAT_USER, {"a", 1}}, system = {CHAT_SYSTEM, {"b", 1}},
                                     assistant = {CHAT_ASSISTANT, {"c", 1}};
    const struct {
        size_t count;
        struct chat_message messages[3];
        trib_status status;
    } cases[] = {
        {0, {user}, TRIB_INVALID},
        {1, {system}, TRIB_INVALID},
        {1, {assistant}, TRIB_INVALID},
        {2, {user, user}, TRIB_INVALID},
        {2, {user, system}, TRIB_INVALID},
        {3, {user, assistant, assistant}, TRIB_INVALID},
        {1, {user}, TRIB_OK},
        {2, {system, user}, TRIB_OK},
        {3, {user, assistant, user}, TRIB_OK},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(chat_messages_check(cases[i].messages, cases[i].count, NULL),
                         cases[i].status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_and_ids_are_the_templates),
        cmocka_unit_test(programs_are_recognised),
        cmocka_unit_test(what_is_new_continues_what_was),
        cmocka_unit_test(messages_cannot_spell_control_tokens),
        cmocka_unit_test(the_order_is_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
