#!/usr/bin/env python3
"""Makes tests/golden/data/llama_cpp.json: what llama.cpp computes of a model that `trib train` saved.

    trib train shakespeare.txt -o tests/golden/data/llama_cpp.gguf --layers 2 --width 32 --heads 4 \\
        --kv-heads 2 --context 64 --steps 300 --sample-every 0 --threads 2
    pip install llama-cpp-py-sync
    python3 tools/llama_cpp_golden.py tests/golden/data/llama_cpp.gguf \\
        >tests/golden/data/llama_cpp.json

The ids are those of llama.cpp's own tokenizer, the logits those after every eighth token, with keys
and values in float32 and without flash attention, whose sums on CPUs are of float16. The package
brings llama.cpp built for CPUs and binds its C interface; the golden file names its version.
"""
import json
import sys

import llama_cpp_py_sync
from llama_cpp_py_sync import Llama

TEXT = "ROMEO:\nBut soft! what light breaks there?\n\nJULIET: O!\n"
EVERY = 8
F32 = 0


def logits_after_each(llama, ids):
    """[len(ids)][V], by one batch that asks for the logits of every token."""
    lib = llama._lib
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i] = token
        batch.pos[i] = i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = 1
    if lib.llama_decode(llama._ctx, batch) != 0:
        sys.exit("llama_decode failed")
    rows = []
    for i in range(len(ids)):
        row = lib.llama_get_logits_ith(llama._ctx, i)
        rows.append([row[j] for j in range(llama.n_vocab)])
    lib.llama_batch_free(batch)
    return rows


def main():
    llama = Llama(sys.argv[1], n_ctx=256, n_batch=256, n_threads=2, type_k=F32, type_v=F32,
                  flash_attn_type=0, verbose=False)
    ids = llama.tokenize(TEXT)
    rows = logits_after_each(llama, ids)
    picked = range(EVERY - 1, len(ids), EVERY)
    json.dump({"version": llama_cpp_py_sync.__llama_cpp_tag__, "text": TEXT, "ids": ids,
               "logits": {str(i): [float(f"{x:.9g}") for x in rows[i]] for i in picked}},
              sys.stdout)
    print()


if __name__ == "__main__":
    main()
