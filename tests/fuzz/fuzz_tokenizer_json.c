/* Fuzz target of vocabularies of Hugging Face folders: four hostile files, with the bytes 0xff 0xfe
 * between them: tokenizer.json, tokenizer_config.json, tokenizer.model and vocab.txt; each but the
 * first may be missing. They are refused with a message, or become a GGUF file that opens; its
 * tokenizer is refused or gives ids that exist. */
#include "file/hf.h"
#include "tokenizer_checks.h"

enum { ROWS = 300, FILES = 4 };

static const char text[] = "Hello, w\xc3\xb6rld! 123  <s>[SEP]\n\xe2\x96\x81 aab abc";

/* Cuts the input at its separators; the last file has what is left. */
static void cut(struct slice input, struct slice files[FILES])
{
    for (size_t n = 0; n < FILES; n++) {
        size_t length = 0, gap = 2;
        while (length + 1 < input.length && memcmp(input.bytes + length, "\xff\xfe", 2) != 0)
            length++;
        if (n + 1 == FILES || length + 1 >= input.length) {
            length = input.length;
            gap = 0;
        }
        files[n] = (struct slice){input.bytes, length};
        input = (struct slice){input.bytes + length + gap, input.length - length - gap};
    }
}

static void encode(struct gguf_writer *writer)
{
    uint8_t *bytes;
    size_t size, count = 0, capacity = 0;
    struct gguf *file;
    struct tokenizer *tokenizer;
    trib_error error = {0};
    int32_t *ids = NULL;
    CHECK(gguf_writer_bytes(writer, &bytes, &size, &error) == TRIB_OK);
    CHECK(gguf_parse(&file, bytes, size, "input", &error) == TRIB_OK);
    if (tokenizer_open(&tokenizer, file, &error) == TRIB_OK) {
        struct tokenize_options how = {.add_special = true, .parse_special = true};
        trib_status status =
            tokenizer_encode(tokenizer, slice_of(text), how, &ids, &count, &capacity, &error);
        CHECK(status == TRIB_OK || status == TRIB_UNSUPPORTED);
        check_ids(tokenizer, ids, count);
        free(ids);
        tokenizer_close(tokenizer);
    }
    gguf_close(file);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice files[FILES];
    struct json_file tokenizer = {0}, config = {0}, none = {0};
    struct gguf_writer *writer = gguf_writer_open();
    trib_error error = {0};
    cut((struct slice){(const char *)data, size}, files);
    trib_status status = TRIB_OK;
    if (files[0].length > 0)
        status = json_file_parse(&tokenizer, files[0].bytes, files[0].length, "tokenizer.json",
                                 false, &error);
    if (status == TRIB_OK && files[1].length > 0)
        status = json_file_parse(&config, files[1].bytes, files[1].length, "tokenizer_config.json",
                                 false, &error);
    if (status == TRIB_OK) {
        struct hf_vocab_source source = {.folder = "folder",
                                         .tokenizer = &tokenizer,
                                         .tokenizer_config = &config,
                                         .config = &none,
                                         .generation_config = &config,
                                         .pieces = files[2],
                                         .words = files[3],
                                         .rows = ROWS,
                                         .name = "name",
                                         .phi3 = size % 2};
        if (files[2].length == 0)
            source.pieces.bytes = NULL;
        if (files[3].length == 0)
            source.words.bytes = NULL;
        status = hf_vocab_put(writer, &source, &error);
    }
    CHECK(status == TRIB_OK || (error.status == status && error.message[0]));
    if (status == TRIB_OK)
        encode(writer);
    gguf_writer_close(writer);
    json_file_close(&tokenizer);
    json_file_close(&config);
    return 0;
}
