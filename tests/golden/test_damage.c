/* A real model file, damaged: cut at any length, or with any one byte of its header changed, it
 * gives a status and a message, or runs; it never crashes, hangs or takes memory by a number it
 * made up. The sanitizer builds see what a crash would not show. */
#include <stdio.h>
#include <unistd.h>

#include "test.h"
#include "tributary/engine.h"

struct damaged {
    char path[32];
    uint8_t *bytes;
    size_t size, header; /* the header ends where the tensors' data begins */
};

static void write_at(const char *path, const void *bytes, size_t count, size_t offset)
{
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    fseek(file, (long)offset, SEEK_SET);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    fclose(file);
}

static int setup(void **state)
{
    static struct damaged d;
    *state = &d;
    strcpy(d.path, "/tmp/trib-damage-XXXXXX");
    int fd = mkstemp(d.path);
    if (fd < 0)
        return -1;
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    struct damaged *d = *state;
    unlink(d->path);
    free(d->bytes);
    return 0;
}

static void load(struct damaged *d)
{
    if (d->bytes)
        return;
    FILE *file = fopen(test_data("stories260K/stories260K.gguf"), "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    d->size = (size_t)ftell(file);
    rewind(file);
    d->bytes = malloc(d->size);
    assert_int_equal(fread(d->bytes, 1, d->size, file), d->size);
    fclose(file);
    d->header = d->size - 4 * 292800; /* all its tensors are float32 */
}

/* Does with the file all that `trib run` would; returns how far it came. */
static enum { REFUSED, DESCRIBED, RAN } use(const char *path)
{
    trib_error error = {0};
    trib_model *model;
    trib_engine *engine = NULL;
    trib_session *session = NULL;
    trib_engine_options options = {.threads = 1, .prefill_chunk = 4, .kernels = NULL};
    trib_model_shape shape;
    if (trib_model_open(&model, path, &error) != TRIB_OK) {
        assert_true(strlen(error.message) > strlen(path));
        return REFUSED;
    }
    int32_t *ids;
    size_t count;
    bool ran = false;
    if (trib_tokenize(model, "Once upon", 9, TRIB_TOKENIZE_SPECIAL, &ids, &count, &error) ==
        TRIB_OK) {
        ran = trib_model_describe(model, &shape, &error) == TRIB_OK &&
              trib_engine_open(&engine, model, &options, &error) == TRIB_OK &&
              trib_session_open(&session, engine, NULL, &error) == TRIB_OK &&
              trib_session_append(session, ids, count, &error) == TRIB_OK;
        trib_free(ids);
    }
    assert_true(ran || error.message[0]);
    trib_session_close(session);
    trib_engine_close(engine);
    trib_model_close(model);
    return ran ? RAN : DESCRIBED;
}

static void whole_file_runs(void **state)
{
    struct damaged *d = *state;
    load(d);
    write_at(d->path, d->bytes, d->size, 0);
    assert_int_equal(use(d->path), RAN);
}

/* Every length within the header's first 2,000 bytes, then every 97th. */
static void cut_file_is_refused(void **state)
{
    struct damaged *d = *state;
    load(d);
    write_at(d->path, d->bytes, d->size, 0);
    for (size_t length = d->size - 1;; length -= length > 2000 ? 97 : 1) {
        assert_int_equal(truncate(d->path, (off_t)length), 0);
        assert_int_equal(use(d->path), REFUSED);
        if (length == 0)
            break;
    }
}

static void changed_header_byte_is_survived(void **state)
{
    static const uint8_t changes[] = {0xff, 0x01, 0x80};
    struct damaged *d = *state;
    size_t outcomes[3] = {0};
    load(d);
    write_at(d->path, d->bytes, d->size, 0);
    for (size_t at = 0; at < d->header; at++) {
        uint8_t changed = d->bytes[at] ^ changes[at % 3];
        write_at(d->path, &changed, 1, at);
        outcomes[use(d->path)]++;
        write_at(d->path, d->bytes + at, 1, at);
    }
    print_message("# %zu changes refused, %zu described but not run, %zu run\n", outcomes[REFUSED],
                  outcomes[DESCRIBED], outcomes[RAN]);
    assert_true(outcomes[REFUSED] > 0 && outcomes[DESCRIBED] > 0 && outcomes[RAN] > 0);
    assert_int_equal(use(d->path), RAN); /* and the file is whole again */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_file_runs),
        cmocka_unit_test(cut_file_is_refused),
        cmocka_unit_test(changed_header_byte_is_survived),
    };
    return cmocka_run_group_tests_name("damage", tests, setup, teardown);
}
