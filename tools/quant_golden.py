#!/usr/bin/env python3
"""Makes tests/golden/data/quant.json: what others make of block-quantised weights.

    pip install gguf cyllama
    python3 tools/quant_golden.py >tests/golden/data/quant.json

Inputs are functions of a counter (SplitMix64, as src/base/rng.h), so that the file holds none:
tests/golden/test_quant.c makes the same. For each type there are

    unpacked   a hash of the float32 that the gguf package makes of BLOCKS blocks, and the first bits;
    packed     a hash of the bytes that the gguf package quantises WEIGHTS floats to, where it can;
    rms        the root mean square error of llama.cpp's own quantiser on the same WEIGHTS floats,
               each kind of weights by itself, without an importance matrix.

The goldens were made with gguf 0.19.0 and the ggml whose commit they name.
"""
import json
import sys
import tempfile

import numpy as np
from cyllama.llama import llama_cpp
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

MASK = 2**64 - 1
BYTES, RANDOM = 256, 128  # blocks of one byte value each, blocks of random bytes
WEIGHTS = 256 * 256       # floats of each kind
KINDS = ["normal", "cubed", "offset"]
SHOWN = 8
ROW = 4096
NAMES = ["blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.0.attn_output.weight"]

# Where a block's f16 scales stand.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0],
          "IQ4_XS": [0]}
# llama.cpp's number of the file type that makes every tensor of this type.
FTYPES = {"Q4_0": 2, "Q4_1": 3, "Q5_0": 8, "Q5_1": 9, "Q8_0": 7, "Q2_K": 10, "Q3_K": 12, "Q4_K": 15,
          "Q5_K": 17, "Q6_K": 18, "IQ4_NL": 25, "IQ4_XS": 30}
PACKED = ["BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"]


def rng_bits(seed, n):
    z = (seed * 0xD1342543DE82EF95 + (n + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
    return z ^ z >> 31


def blocks(name, number, size):
    """Blocks of each byte value, then random ones; in three of four of these all scales are finite."""
    stream = b"".join(rng_bits(number, n).to_bytes(8, "little")
                      for n in range((RANDOM * size + 7) // 8))
    out = np.empty((BYTES + RANDOM, size), np.uint8)
    out[:BYTES] = np.arange(BYTES, dtype=np.uint8)[:, None]
    out[BYTES:] = np.frombuffer(stream[:RANDOM * size], np.uint8).reshape(RANDOM, size)
    for at in SCALES[name]:
        keep = np.where(np.arange(RANDOM) % 4 == 0, 0xFF, 0xBF).astype(np.uint8)
        out[BYTES:, at + 1] &= keep
    return out


def weights(kind):
    """Sums of four 16-bit numbers, near to normal, and what is made of them. Every 16th run of 32 is
    zero, every 16th constant, every 16th zero but for one."""
    n = WEIGHTS
    bits = [rng_bits(1000 + KINDS.index(kind), i) for i in range(n)]
    sums = np.array([sum(b >> s & 0xFFFF for s in (0, 16, 32, 48)) - 2 * 65535 for b in bits])
    x = sums.astype(np.float32) * np.float32(2.0**-17)
    if kind == "cubed":
        x = x * x * x
    if kind == "offset":
        x = x + np.float32(0.25)
    runs = x.reshape(-1, 32) * (np.float32(2.0) ** (np.arange(n // 32) // 8 % 12 - 8)
                                .astype(np.float32))[:, None]
    runs[3::16] = 0
    runs[5::16] = runs[5::16, :1]
    runs[7::16, 1:] = 0
    return runs.reshape(-1).astype(np.float32)


def fnv(words):
    h = 0xCBF29CE484222325
    for word in words.tolist():
        h = ((h ^ word) * 0x100000001B3) & MASK
    return f"{h:016x}"


def bits_of(x):
    """Their bits; one for all that is not a number, since others' NaN depends on the machine."""
    return np.where(np.isnan(x), np.uint32(0x7FC00000), x.view(np.uint32))


def write_model(path, floats):
    """A file that llama.cpp quantises: the kinds of weights as matrices of a block."""
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(ROW)
    writer.add_feed_forward_length(ROW)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for name, x in zip(NAMES, floats.values()):
        writer.add_tensor(name, x.reshape(-1, ROW))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def rms(folder, kind, ftype, floats):
    """The errors of llama.cpp's quantiser, by kind of weights."""
    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype, params.pure, params.nthread = ftype, True, 2
    llama_cpp.model_quantize(f"{folder}/in.gguf", f"{folder}/out.gguf", params)
    tensors = {t.name: t for t in GGUFReader(f"{folder}/out.gguf").tensors}
    errors = {}
    for name, (which, x) in zip(NAMES, floats.items()):
        assert tensors[name].tensor_type == kind
        y = dequantize(tensors[name].data, kind).reshape(-1).astype(np.float64)
        errors[which] = float(np.sqrt(np.mean((y - x) ** 2)))
    return errors


def main():
    np.seterr(all="ignore")
    llama_cpp.disable_logging()
    llama_cpp.ggml_backend_load_all()
    floats = {kind: weights(kind) for kind in KINDS}
    folder = tempfile.mkdtemp()
    write_model(f"{folder}/in.gguf", floats)
    types = {}
    for name in sorted(set(SCALES) | set(PACKED)):
        kind = GGMLQuantizationType[name]
        block, size = GGML_QUANT_SIZES[kind]
        one = types[name] = {}
        if name in SCALES:
            out = bits_of(dequantize(blocks(name, int(kind), size), kind).reshape(-1))
            first = BYTES * block
            one["unpacked"] = {"hash": fnv(out),
                               "first": [f"{w:08x}" for w in out[first:first + SHOWN].tolist()]}
        if name in PACKED:
            one["packed"] = {k: fnv(quantize(x.reshape(-1, ROW), kind).view(np.uint8).reshape(-1))
                             for k, x in floats.items()}
        if name in SCALES:
            one["rms"] = rms(folder, kind, FTYPES[name], floats)
    json.dump({"ggml": llama_cpp.ggml_commit(), "blocks": [BYTES, RANDOM], "weights": WEIGHTS, "types": types}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
