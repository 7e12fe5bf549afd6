/* trib chat: talking with a model.
 *
 * The session holds what was said so far, so each turn computes only its own tokens. Where it
 * cannot (a text that ended an answer is in it, a conversation was loaded, a question was given up
 * half way) the session is `stale`: the next turn begins a new one and computes the conversation
 * again.
 */
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "line.h"
#include "load.h"
#include "sampling.h"
#include "speculation.h"
#include "talk.h"
#include "tributary/engine.h"

struct values {
    const char *template, *system, *kv_type;
    size_t count, context, threads;
    struct text_list stop, bias;
    struct cache_values cache;
    trib_sampler_options sampler;
    struct speculation_values speculation;
};

static const struct option_row options[] = {
    {"template", 0, OPTION_STRING, offsetof(struct values, template), "NAME",
     "the chat template, where it is not the file's: chatml, llama2, llama3, mistral-v0.2, -v1, "
     "-v3, -v3-tekken, -v7, -v7-tekken, gemma, phi3, zephyr or plain"},
    {"system", 0, OPTION_STRING, offsetof(struct values, system), "TEXT",
     "what the model is told before the conversation (default: nothing)"},
    {"tokens", 'n', OPTION_SIZE, offsetof(struct values, count), "N",
     "tokens of an answer at most (default: 512)"},
    SAMPLING_OPTIONS(struct values, sampler),
    BIAS_OPTION(struct values, bias),
    STOP_OPTION(struct values, stop),
    {"context", 'c', OPTION_SIZE, offsetof(struct values, context), "N",
     "tokens of the conversation at most (default: as trained)"},
    {"kv-type", 0, OPTION_STRING, offsetof(struct values, kv_type), "TYPE",
     "of the KV cache: f16 (default), f32, bf16 or q8_0"},
    {"threads", 0, OPTION_SIZE, offsetof(struct values, threads), "N",
     "threads (default: one for each processor)"},
    CACHE_OPTIONS(struct values, cache),
    SPECULATION_OPTIONS(struct values, speculation),
};

/* Tokens that are computed between two looks whether Ctrl-C was pressed. */
enum { STEP_TOKENS = 512 };

struct chat {
    const struct values *values;
    trib_model *model;
    trib_model_shape shape;
    trib_engine *engine;
    trib_session *session;
    struct speculation speculation; /* while the session answers */
    trib_sampler *sampler;
    trib_chat *template;
    struct line_reader *lines;
    struct talk talk;
    size_t had;  /* messages of the talk that the session has computed */
    bool stale;  /* the session is of no use */
    bool failed; /* something that was asked for was not done */
    bool over;
};

/* The answer at hand. */
struct answer {
    trib_decoder *decoder;
    trib_stops *stops; /* those of the template, and of --stop */
    bool begun;        /* there was more than white space */
    char *text;        /* as it was printed */
    size_t length, capacity;
};

static void chat_close(struct chat *c)
{
    line_close(c->lines);
    talk_clear(&c->talk);
    trib_chat_close(c->template);
    trib_sampler_close(c->sampler);
    speculation_close(&c->speculation);
    trib_session_close(c->session);
    trib_engine_close(c->engine);
    trib_model_close(c->model);
}

/* With a sampler that has seen nothing either: it is told of the conversation again. On failure
 * both are as they were. */
static trib_status new_session(struct chat *c, trib_error *error)
{
    trib_session *session;
    trib_sampler *sampler;
    trib_status status =
        trib_sampler_open(&sampler, c->shape.vocabulary, &c->values->sampler, error);
    if (status != TRIB_OK)
        return status;
    status = trib_session_open(&session, c->engine, NULL, error);
    if (status != TRIB_OK) {
        trib_sampler_close(sampler);
        return status;
    }
    trib_sampler_close(c->sampler);
    trib_session_close(c->session);
    c->sampler = sampler;
    c->session = session;
    c->had = 0;
    c->stale = false;
    return TRIB_OK;
}

/* Everything is forgotten but what --system says. */
static trib_status reset(struct chat *c, trib_error *error)
{
    talk_clear(&c->talk);
    c->stale = true;
    if (c->values->system &&
        !talk_add(&c->talk, TRIB_ROLE_SYSTEM, c->values->system, strlen(c->values->system)))
        return failure(error, TRIB_NO_MEMORY, "no memory for the conversation");
    return new_session(c, error);
}

static trib_status chat_open(struct chat *c, const char *path, const struct values *v,
                             trib_error *error)
{
    trib_engine_options engine = trib_engine_options_default();
    trib_status status;
    c->values = v;
    engine.threads = thread_count(v->threads);
    engine.prefill_chunk = STEP_TOKENS;
    engine.context = v->context;
    engine.kv_type = v->kv_type;
    load_cache(&engine, &v->cache);
    if ((status = trib_model_open(&c->model, path, error)))
        return status;
    if ((status = trib_chat_open(&c->template, c->model, v->template, error))) {
        complain(error);
        return failure(
            error, status,
            "'trib chat --help' has the names for --template; plain is for models that have "
            "seen no conversations");
    }
    if ((status = trib_model_describe(c->model, &c->shape, error)) ||
        (status = load_engine(&c->engine, c->model, engine, error)) ||
        (status = speculation_open(&c->speculation, &v->speculation, &engine, error)) ||
        (status = reset(c, error)))
        return status;
    c->lines = line_open();
    return c->lines ? TRIB_OK : failure(error, TRIB_NO_MEMORY, "no memory for reading lines");
}

/* ---- Answers ---- */

static trib_status answer_open(const struct chat *c, struct answer *a, trib_error *error)
{
    const char *stops[TEXTS_MOST];
    size_t count = 0;
    while (count < TEXTS_MOST && (stops[count] = trib_chat_stop(c->template, count)))
        count++;
    trib_status status = sampling_stops(&a->stops, &c->values->stop, stops, count, error);
    return status == TRIB_OK ? trib_decoder_open(&a->decoder, c->model, true, false, error)
                             : status;
}

static void answer_close(struct answer *a)
{
    trib_decoder_close(a->decoder);
    trib_stops_close(a->stops);
    free(a->text);
}

static bool answer_stopped(const struct answer *a)
{
    return a->stops && trib_stops_met(a->stops, NULL);
}

/* Prints and keeps. */
static trib_status show(struct answer *a, trib_text text, trib_error *error)
{
    if (a->length + text.length >= a->capacity) {
        size_t capacity = 2 * (a->length + text.length) + 256;
        char *larger = realloc(a->text, capacity);
        if (!larger)
            return failure(error, TRIB_NO_MEMORY, "no memory for the answer");
        a->text = larger;
        a->capacity = capacity;
    }
    if (text.length)
        memcpy(a->text + a->length, text.bytes, text.length);
    a->length += text.length;
    return print_at_once(text, error);
}

/* Without white space before the first of it. */
static trib_status answer_add(struct answer *a, trib_text piece, trib_error *error)
{
    while (!a->begun && piece.length > 0 && strchr(" \t\r\n", *piece.bytes)) {
        piece.bytes++;
        piece.length--;
    }
    a->begun = a->begun || piece.length > 0;
    trib_status status = trib_stops_next(a->stops, piece, &piece, error);
    return status == TRIB_OK ? show(a, piece, error) : status;
}

static void say_full(const struct chat *c)
{
    fprintf(stderr, "the context of %zu tokens is full: /reset begins anew\n",
            trib_session_context(c->session));
}

/* Samples, appends and prints until the answer ends. */
static trib_status generate(struct chat *c, struct answer *a, trib_error *error)
{
    trib_status status = TRIB_OK;
    size_t count = 0;
    while (status == TRIB_OK && count < c->values->count && !answer_stopped(a) &&
           !line_interrupts()) {
        int32_t id;
        if (speculation_length(&c->speculation) == trib_session_context(c->session)) {
            say_full(c);
            break;
        }
        status = trib_sampler_next(c->sampler, speculation_logits(&c->speculation), &id, error);
        if (status != TRIB_OK || trib_token_is_end(c->model, id))
            break;
        status = speculation_append(&c->speculation, id, error);
        count++;
        if (status == TRIB_OK)
            status = answer_add(a, trib_decoder_next(a->decoder, id), error);
    }
    if (status == TRIB_OK)
        status = answer_add(a, trib_decoder_rest(a->decoder), error);
    return status == TRIB_OK ? show(a, trib_stops_rest(a->stops), error) : status;
}

/* Computes the tokens of what is new. Where they do not fit, or cannot be had, the session has what
 * it had; where it ends half way, as by Ctrl-C, the session is stale. */
static trib_status compute_new(struct chat *c, trib_error *error)
{
    int32_t *ids;
    size_t count, done = 0;
    trib_status status = c->stale ? new_session(c, error) : TRIB_OK;
    if (status != TRIB_OK)
        return status;
    status =
        trib_chat_render(c->template, c->talk.messages, c->talk.count, c->had, &ids, &count, error);
    size_t room = trib_session_context(c->session) - trib_session_length(c->session);
    if (status == TRIB_OK && count > room)
        status = failure(error, TRIB_FULL,
                         "%zu more tokens do not fit in the context of %zu: /reset begins anew",
                         count, trib_session_context(c->session));
    if (status != TRIB_OK) {
        trib_free(ids);
        return status;
    }
    while (status == TRIB_OK && done < count && !line_interrupts()) {
        size_t step = count - done < STEP_TOKENS ? count - done : STEP_TOKENS;
        status = trib_session_append(c->session, ids + done, step, error);
        for (size_t i = 0; i < step && status == TRIB_OK; i++)
            trib_sampler_accept(c->sampler, ids[done + i]);
        done += step;
    }
    c->stale = status != TRIB_OK || done < count;
    c->had = c->talk.count;
    trib_free(ids);
    return status;
}

/* Answers the last message, which is the user's; one that cannot be answered is taken back. */
static trib_status reply(struct chat *c, trib_error *error)
{
    struct answer a = {0};
    line_forget_interrupts();
    trib_status status = compute_new(c, error);
    if (status != TRIB_OK || c->stale) {
        talk_drop_last(&c->talk);
        return status;
    }
    status = answer_open(c, &a, error);
    if (status == TRIB_OK)
        status = speculation_begin(&c->speculation, c->session, error);
    if (status == TRIB_OK)
        status = generate(c, &a, error);
    speculation_end(&c->speculation);
    putchar('\n');
    fflush(stdout);
    trib_engine_flush(c->engine, NULL); /* while the next question is thought of */
    if (!talk_add(&c->talk, TRIB_ROLE_ASSISTANT, a.text ? a.text : "", a.length)) {
        talk_drop_last(&c->talk);
        c->stale = true;
    }
    c->stale = c->stale || answer_stopped(&a) || status != TRIB_OK;
    c->had = c->talk.count;
    answer_close(&a);
    return status;
}

/* ---- Commands ---- */

/* A conversation that cannot be gone on with leaves the one before as it is. */
static trib_status load(struct chat *c, const char *path, trib_error *error)
{
    struct talk talk = {0};
    int32_t *ids = NULL;
    size_t count, context = trib_session_context(c->session);
    trib_status status = talk_load(&talk, path, error);
    if (status == TRIB_OK)
        status = trib_chat_render(c->template, talk.messages, talk.count, 0, &ids, &count, error);
    trib_free(ids);
    if (status == TRIB_OK && count > context)
        status = failure(error, TRIB_FULL,
                         "%.120s: a conversation of %zu tokens does not fit in the context of %zu",
                         path, count, context);
    if (status != TRIB_OK) {
        talk_clear(&talk);
        return status;
    }
    talk_clear(&c->talk);
    c->talk = talk;
    c->stale = true;
    if (talk.messages[talk.count - 1].role == TRIB_ROLE_USER)
        return reply(c, error);
    line_forget_interrupts();
    return compute_new(c, error);
}

static trib_status save(struct chat *c, const char *path, trib_error *error)
{
    return talk_save(&c->talk, path, error);
}

static trib_status forget(struct chat *c, const char *nothing, trib_error *error)
{
    (void)nothing;
    return reset(c, error);
}

static trib_status quit(struct chat *c, const char *nothing, trib_error *error)
{
    (void)nothing;
    (void)error;
    c->over = true;
    return TRIB_OK;
}

static trib_status help(struct chat *c, const char *nothing, trib_error *error);

static const struct chat_command {
    const char *name, *argument, *meaning;
    trib_status (*run)(struct chat *c, const char *argument, trib_error *error);
} chat_commands[] = {
    {"/reset", NULL, "begin anew", forget},
    {"/save", "FILE", "write the conversation to a file", save},
    {"/load", "FILE", "go on with the conversation of a file", load},
    {"/help", NULL, "print this", help},
    {"/quit", NULL, "end, as Ctrl-D does", quit},
};

enum { CHAT_COMMANDS = sizeof chat_commands / sizeof chat_commands[0] };

static trib_status help(struct chat *c, const char *nothing, trib_error *error)
{
    (void)c;
    (void)nothing;
    (void)error;
    for (size_t i = 0; i < CHAT_COMMANDS; i++)
        fprintf(stderr, "%-6s %-5s %s\n", chat_commands[i].name,
                chat_commands[i].argument ? chat_commands[i].argument : "",
                chat_commands[i].meaning);
    fputs("A line that begins with // is text with one / less. Ctrl-C ends an answer.\n", stderr);
    return TRIB_OK;
}

/* A line that begins with a slash. */
static trib_status run_line(struct chat *c, const char *line, trib_error *error)
{
    size_t length = strcspn(line, " \t");
    const char *argument = line + length + strspn(line + length, " \t");
    for (size_t i = 0; i < CHAT_COMMANDS; i++) {
        const struct chat_command *command = &chat_commands[i];
        if (strlen(command->name) != length || memcmp(command->name, line, length) != 0)
            continue;
        if (!command->argument == !*argument)
            return command->run(c, argument, error);
        snprintf(error->message, sizeof error->message, "%s: expected %s", command->name,
                 command->argument ? "the name of a file" : "nothing behind it");
        return error->status = TRIB_INVALID;
    }
    snprintf(error->message, sizeof error->message, "there is no %.*s; /help lists what there is",
             (int)(length < 64 ? length : 64), line);
    return error->status = TRIB_INVALID;
}

/* ---- Turns ---- */

/* One line of the user's. */
static trib_status turn(struct chat *c, const char *line, size_t length, trib_error *error)
{
    if (strspn(line, " \t\r") >= length)
        return TRIB_OK;
    if (line[0] == '/' && (length < 2 || line[1] != '/')) {
        char *command = strndup(line, length);
        trib_status status = command ? run_line(c, command, error)
                                     : failure(error, TRIB_NO_MEMORY, "no memory for a line");
        free(command);
        return status;
    }
    size_t escaped = line[0] == '/';
    if (!talk_add(&c->talk, TRIB_ROLE_USER, line + escaped, length - escaped))
        return failure(error, TRIB_NO_MEMORY, "no memory for a line");
    return reply(c, error);
}

/* Turns until there are no more; Ctrl-C twice ends them too. */
static int talk_on(struct chat *c)
{
    trib_error error;
    const char *line;
    size_t length;
    int interrupts = 0;
    while (!c->over && interrupts < 2) {
        line_forget_interrupts();
        enum line_result result = line_read(c->lines, "> ", &line, &length);
        if (result == LINE_END)
            break;
        if (result == LINE_INTERRUPTED) {
            if (++interrupts < 2)
                fputs("Ctrl-C again or Ctrl-D ends\n", stderr);
            continue;
        }
        if (turn(c, line, length, &error) != TRIB_OK) {
            complain(&error);
            c->failed = true;
        }
        interrupts = line_interrupts() >= 2 ? 2 : 0;
    }
    return c->failed && !line_interactive(c->lines) ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run(const struct command *self, int argc, char **argv)
{
    struct values v = {.kv_type = "f16",
                       .count = 512,
                       .sampler = trib_sampler_options_default(),
                       .speculation = speculation_values_default()};
    trib_logit_bias bias[TEXTS_MOST];
    int first, status = options_parse(self, argc, argv, &v, &first);
    if (status < 0)
        status = sampling_bias(self, &v.bias, bias, &v.sampler);
    if (status >= 0)
        return status;
    struct chat c = {0};
    trib_error error;
    if (chat_open(&c, argv[first], &v, &error) != TRIB_OK) {
        status = complain(&error);
    } else {
        if (line_interactive(c.lines))
            fprintf(stderr, "%s: template %s, context of %zu tokens; /help lists commands\n",
                    argv[first], trib_chat_template(c.template), trib_session_context(c.session));
        status = talk_on(&c);
    }
    chat_close(&c);
    return status;
}

const struct command chat_command = {
    .name = "chat",
    .operands = "MODEL",
    .summary = "Talk with a model",
    .description =
        "Reads what is said to the model line by line and streams its answers to standard output.\n"
        "On a terminal lines can be edited, and their history is kept; a pipe works too. Ctrl-C\n"
        "ends an answer; twice, or Ctrl-D, ends the program. Lines that begin with / are "
        "commands:\n"
        "/reset, /save FILE, /load FILE, /help, /quit. What is typed is always plain text, also\n"
        "where it spells a special token of the model.",
    .operands_least = 1,
    .operands_most = 1,
    .options = options,
    .option_count = sizeof options / sizeof options[0],
    .run = run,
};
