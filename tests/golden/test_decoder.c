/* Streaming text: a real vocabulary spells characters it does not hold byte by byte, and the
 * decoder gives them whole. */
#include "test.h"
#include "text/utf8.h"
#include "tributary/model.h"

static trib_model *open_vocabulary(void)
{
    trib_model *model;
    trib_error error = {0};
    if (trib_model_open(&model, test_data("tokenizers/llama-spm.gguf"), &error) != TRIB_OK)
        fail_msg("%s", error.message);
    return model;
}

static void assert_whole_characters(trib_text piece)
{
    for (size_t i = 0, n; i < piece.length; i += n) {
        uint32_t code;
        n = utf8_decode(piece.bytes + i, piece.length - i, &code);
        assert_true(n > 0);
    }
}

/* Each piece is whole characters, and together they are the text. */
static void pieces_never_split_a_character(void **state)
{
    const char *text =
        "A rocket \xf0\x9f\x9a\x80, a family \xf0\x9f\x91\xa8\xe2\x80\x8d\xf0\x9f\x91"
        "\xa9, \xe1\x9a\xa0\xe1\x9b\x87 and \xe4\xbd\xa0\xe5\xa5\xbd.";
    trib_model *model = open_vocabulary();
    trib_decoder *decoder;
    trib_error error = {0};
    int32_t *ids;
    size_t count, length = 0, empty = 0;
    char found[256];
    (void)state;
    assert_int_equal(
        trib_tokenize(model, text, strlen(text), TRIB_TOKENIZE_SPECIAL, &ids, &count, &error),
        TRIB_OK);
    assert_int_equal(trib_decoder_open(&decoder, model, false, false, &error), TRIB_OK);
    for (size_t i = 0; i < count; i++) {
        trib_text piece = trib_decoder_next(decoder, ids[i]);
        assert_whole_characters(piece);
        assert_true(length + piece.length < sizeof found);
        memcpy(found + length, piece.bytes, piece.length);
        length += piece.length;
        empty += piece.length == 0;
    }
    assert_int_equal(trib_decoder_rest(decoder).length, 0);
    assert_int_equal(length, strlen(text));
    assert_memory_equal(found, text, length);
    assert_true(empty > 3); /* some were held back, or this would prove nothing */
    trib_decoder_close(decoder);
    trib_free(ids);
    trib_model_close(model);
}

/* A character that never comes whole is given as it is at the end; <0xF0> and <0x9F> are ids 243
 * and 162 of this vocabulary. */
static void rest_is_given_at_the_end(void **state)
{
    trib_model *model = open_vocabulary();
    trib_decoder *decoder;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_decoder_open(&decoder, model, true, false, &error), TRIB_OK);
    assert_int_equal(trib_decoder_next(decoder, 243).length, 0);
    assert_int_equal(trib_decoder_next(decoder, 162).length, 0);
    trib_text rest = trib_decoder_rest(decoder);
    assert_int_equal(rest.length, 2);
    assert_memory_equal(rest.bytes, "\xf0\x9f", 2);
    assert_int_equal(trib_decoder_rest(decoder).length, 0);
    assert_int_equal(trib_decoder_next(decoder, -5).length, 0);
    assert_int_equal(trib_decoder_next(decoder, 1 << 30).length, 0);
    trib_decoder_close(decoder);
    trib_model_close(model);
}

/* A vocabulary without tensors can be described and used, and says why it cannot run. */
static void vocabulary_alone_is_described(void **state)
{
    trib_model *model = open_vocabulary();
    trib_model_shape shape;
    trib_error error = {0};
    (void)state;
    assert_int_equal(trib_vocabulary_size(model), 32000);
    assert_int_equal(trib_model_tensor_count(model), 0);
    assert_int_not_equal(trib_model_describe(model, &shape, &error), TRIB_OK);
    assert_true(error.message[0] != 0);
    trib_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_never_split_a_character),
        cmocka_unit_test(rest_is_given_at_the_end),
        cmocka_unit_test(vocabulary_alone_is_described),
    };
    return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
