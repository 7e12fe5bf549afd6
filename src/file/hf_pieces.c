/* SentencePiece models: the pieces of a tokenizer.model file, which is a protocol buffer.
 *
 *     ModelProto     1: SentencePiece, repeated   2: TrainerSpec   3: NormalizerSpec
 *     SentencePiece  1: text   2: score (f32)   3: kind (1 where it is absent)
 *     TrainerSpec    3: kind of model (2: BPE)   24: whether words end with their space
 *                    40, 41, 42: ids of unk, bos, eos
 *     NormalizerSpec 2: how characters are rewritten   3: whether a space is put before a text
 *                    4: whether spaces beyond the first are left out   5: U+2581 for spaces
 *
 * (github.com/google/sentencepiece, src/sentencepiece_model.proto; the encoding:
 * protobuf.dev/programming-guides/encoding.) Every length is held against what is left; reading is
 * linear in the size of the file. */
#include <string.h>

#include "base/error.h"
#include "file/hf.h"

enum wire { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };
enum { MODEL_BPE = 2, KINDS = 6 };

/* One field of a message. */
struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value;     /* of a varint or a fixed number */
    struct slice bytes; /* of a string or a message */
};

static bool read_varint(struct slice *in, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < 64 && in->length > 0; shift += 7) {
        unsigned char byte = (unsigned char)in->bytes[0];
        *in = (struct slice){in->bytes + 1, in->length - 1};
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool read_fixed(struct slice *in, size_t bytes, uint64_t *out)
{
    if (in->length < bytes)
        return false;
    *out = 0;
    for (size_t i = 0; i < bytes; i++)
        *out |= (uint64_t)(unsigned char)in->bytes[i] << (8 * i);
    *in = (struct slice){in->bytes + bytes, in->length - bytes};
    return true;
}

/* Takes the next field off a message that is not empty; false where it is malformed. */
static bool read_field(struct slice *in, struct field *field)
{
    uint64_t tag;
    *field = (struct field){0};
    if (!read_varint(in, &tag))
        return false;
    field->number = tag >> 3;
    switch (tag & 7) {
    case WIRE_VARINT:
        field->wire = WIRE_VARINT;
        return read_varint(in, &field->value);
    case WIRE_FIXED64:
        field->wire = WIRE_FIXED64;
        return read_fixed(in, 8, &field->value);
    case WIRE_FIXED32:
        field->wire = WIRE_FIXED32;
        return read_fixed(in, 4, &field->value);
    case WIRE_BYTES:
        field->wire = WIRE_BYTES;
        if (!read_varint(in, &field->value) || field->value > in->length)
            return false;
        field->bytes = (struct slice){in->bytes, (size_t)field->value};
        *in = (struct slice){in->bytes + field->value, in->length - (size_t)field->value};
        return true;
    default:
        return false;
    }
}

static bool is_field(const struct field *field, uint64_t number, enum wire wire)
{
    return field->number == number && field->wire == wire;
}

static bool read_piece(struct slice in, struct hf_tokens *tokens, size_t id)
{
    struct field field;
    uint64_t kind = HF_TOKEN_NORMAL;
    uint32_t bits = 0;
    tokens->texts[id] = (struct slice){"", 0};
    while (in.length > 0) {
        if (!read_field(&in, &field))
            return false;
        if (is_field(&field, 1, WIRE_BYTES))
            tokens->texts[id] = field.bytes;
        else if (is_field(&field, 2, WIRE_FIXED32))
            bits = (uint32_t)field.value;
        else if (is_field(&field, 3, WIRE_VARINT))
            kind = field.value;
    }
    memcpy(&tokens->scores[id], &bits, sizeof bits);
    tokens->kinds[id] = (int32_t)kind;
    return kind >= 1 && kind <= KINDS;
}

static bool read_trainer(struct slice in, struct hf_pieces *out, uint64_t *model)
{
    struct field field;
    while (in.length > 0) {
        if (!read_field(&in, &field))
            return false;
        if (is_field(&field, 3, WIRE_VARINT))
            *model = field.value;
        else if (is_field(&field, 24, WIRE_VARINT) && field.value != 0)
            out->unlike = "treat_whitespace_as_suffix: expected false";
        else if (is_field(&field, 40, WIRE_VARINT))
            out->unknown = (int32_t)field.value;
        else if (is_field(&field, 41, WIRE_VARINT))
            out->bos = (int32_t)field.value;
        else if (is_field(&field, 42, WIRE_VARINT))
            out->eos = (int32_t)field.value;
    }
    return true;
}

static bool read_normalizer(struct slice in, struct hf_pieces *out)
{
    struct field field;
    while (in.length > 0) {
        if (!read_field(&in, &field))
            return false;
        if (is_field(&field, 2, WIRE_BYTES) && field.bytes.length > 0)
            out->unlike = "precompiled_charsmap: expected none (normalization identity)";
        else if (is_field(&field, 3, WIRE_VARINT))
            out->add_space_prefix = field.value != 0;
        else if (is_field(&field, 4, WIRE_VARINT))
            out->drops_spaces = field.value != 0;
        else if (is_field(&field, 5, WIRE_VARINT) && field.value == 0)
            out->unlike = "escape_whitespaces: expected true";
    }
    return true;
}

trib_status hf_pieces_read(struct hf_pieces *out, struct hf_tokens *tokens, struct slice bytes,
                           const char *name, trib_error *error)
{
    struct slice in = bytes;
    struct field field;
    size_t count = 0;
    uint64_t model = 1; /* where the file is silent: unigram */
    *out = (struct hf_pieces){
        .add_space_prefix = true, .drops_spaces = true, .unknown = 0, .bos = 1, .eos = 2};
    while (in.length > 0) {
        size_t at = bytes.length - in.length;
        bool sound = read_field(&in, &field);
        if (sound && is_field(&field, 1, WIRE_BYTES)) {
            if (count == tokens->rows)
                return error_set(error, TRIB_FORMAT,
                                 "%s: expected at most %zu pieces, the rows of the embedding, "
                                 "found more",
                                 name, tokens->rows);
            sound = read_piece(field.bytes, tokens, count++);
        } else if (sound && is_field(&field, 2, WIRE_BYTES)) {
            sound = read_trainer(field.bytes, out, &model);
        } else if (sound && is_field(&field, 3, WIRE_BYTES)) {
            sound = read_normalizer(field.bytes, out);
        }
        if (!sound)
            return error_set(error, TRIB_FORMAT,
                             "%s: expected a SentencePiece model, found a malformed field at "
                             "offset %zu",
                             name, at);
    }
    if (model != MODEL_BPE)
        return error_set(error, TRIB_UNSUPPORTED,
                         "%s: kind of model: expected BPE (2), found %llu%s", name,
                         (unsigned long long)model, model == 1 ? ", unigram" : "");
    return TRIB_OK;
}
