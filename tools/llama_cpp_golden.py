#!/usr/bin/env python3
"""Makes tests/golden/data/llama_cpp.json: what llama.cpp computes of a model that `trib train` saved.

    trib train shakespeare.txt -o tests/golden/data/llama_cpp.gguf --overwrite --layers 2 --width 32 \\
        --heads 4 --kv-heads 2 --context 64 --steps 1000 --lr 0.01 --sample-every 0 --threads 2
    pip install cyllama
    python3 tools/llama_cpp_golden.py tests/golden/data/llama_cpp.gguf \\
        >tests/golden/data/llama_cpp.json

The ids are those of llama.cpp's own tokenizer, the logits those after every eighth token, with keys
and values in float32 and without flash attention. The package brings llama.cpp built for CPUs (0.2.18
made the golden file, which names the commit of its ggml).
"""
import json
import sys

from cyllama.llama import llama_cpp

TEXT = "ROMEO:\nBut soft! what light breaks there?\n\nJULIET: O!\n"
EVERY = 8
F32, OFF = 0, 0  # of ggml's types; of llama_flash_attn_type


class Model(llama_cpp.LlamaModel):
    """cyllama 0.2.18 asks its models for n_vocab before it gives logits, and they have none."""
    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


def main():
    llama_cpp.disable_logging()
    llama_cpp.ggml_backend_load_all()
    model = Model(sys.argv[1], verbose=False)
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = params.n_batch = params.n_ubatch = 256
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = F32
    params.flash_attn_type = OFF
    context = llama_cpp.LlamaContext(model, params, verbose=False)

    ids = list(model.get_vocab().tokenize(TEXT, True, False))
    batch = llama_cpp.LlamaBatch(n_tokens=len(ids), embd=0, n_seq_max=1, verbose=False)
    for position, token in enumerate(ids):
        batch.add(token, position, [0], True)
    context.decode(batch)
    logits = {str(i): [float(f"{x:.9g}") for x in context.get_logits_ith(i)]
              for i in range(EVERY - 1, len(ids), EVERY)}
    json.dump({"ggml": llama_cpp.ggml_commit(), "text": TEXT, "ids": ids, "logits": logits},
              sys.stdout)
    print()


if __name__ == "__main__":
    main()
