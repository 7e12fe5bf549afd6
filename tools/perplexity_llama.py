#!/usr/bin/env python3
"""Makes tests/golden/data/perplexity.txt: perplexities by llama.cpp, which `trib eval --method llama.cpp`
must give.

    pip install cyllama
    python3 tools/perplexity_llama.py FOLDER_OF_TEST_DATA >tests/golden/data/perplexity.txt

Tokens and logits are llama.cpp's (keys and values in float32, no flash attention). Which of them are
scored is what its tools/perplexity/perplexity.cpp does, in float64 here: perplexity() where the stride
is 0, perplexity_v2() otherwise. The text is the begin of tinyshakespeare, so many bytes of it, without
a newline at its end, as llama-perplexity reads files.
"""
import math
import os
import sys

import numpy as np
from cyllama.llama import llama_cpp

F32, OFF = 0, 0  # of ggml's types; of llama_flash_attn_type
SHAKESPEARE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models",
                           "shakespeare.gguf")


class Model(llama_cpp.LlamaModel):
    """cyllama 0.2.18 asks its models for n_vocab before it gives logits, and they have none."""
    @property
    def n_vocab(self):
        return self.get_vocab().n_vocab


def surprise(logits, token):
    x = np.asarray(logits, dtype=np.float64)
    top = x.max()
    return math.log(np.exp(x - top).sum()) + top - x[token]


def nats_of(context, tokens, scored):
    """Sum of -log p of tokens[i] for i in `scored`, each predicted from those before it."""
    context.kv_cache_clear()
    batch = llama_cpp.LlamaBatch(n_tokens=len(tokens), embd=0, n_seq_max=1, verbose=False)
    for position, token in enumerate(tokens):
        batch.add(token, position, [0], True)
    context.decode(batch)
    return sum(surprise(context.get_logits_ith(i - 1), tokens[i]) for i in scored)


def perplexity(context, tokens, bos, n_ctx, stride):
    nats, count = 0.0, 0
    assert len(tokens) >= 2 * n_ctx
    if stride == 0:
        starts = range(0, len(tokens) // n_ctx * n_ctx, n_ctx)
        scored = range(n_ctx // 2 + 1, n_ctx)
    else:
        starts = [i * stride for i in range((len(tokens) - n_ctx + stride - 1) // stride)]
        scored = range(n_ctx - stride, n_ctx)
    for start in starts:
        window = list(tokens[start:start + n_ctx])
        if stride == 0 and bos is not None:
            window[0] = bos
        nats += nats_of(context, window, scored)
        count += len(scored)
    return math.exp(nats / count), count


def measure(path, whole, cases):
    """[(perplexity, scored tokens)] of each case, by llama.cpp."""
    model = Model(path, verbose=False)
    vocabulary = model.get_vocab()
    params = llama_cpp.LlamaContextParams()
    params.n_ctx = params.n_batch = params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = 2
    params.type_k = params.type_v = F32
    params.flash_attn_type = OFF
    context = llama_cpp.LlamaContext(model, params, verbose=False)
    bos = vocabulary.token_bos() if vocabulary.get_add_bos() else None
    results = []
    for size, n_ctx, stride in cases:
        text = whole[:size].removesuffix(b"\n").decode()
        tokens = list(vocabulary.tokenize(text, True, False))
        results.append(perplexity(context, tokens, bos, n_ctx, stride))
    return results


def report(path, whole, cases):
    for case, (value, count) in zip(cases, measure(path, whole, cases)):
        print(os.path.basename(path), *case, count, f"{value:.6f}")


def main():
    llama_cpp.disable_logging()
    llama_cpp.ggml_backend_load_all()
    data = sys.argv[1]
    with open(os.path.join(data, "tinyshakespeare.txt"), "rb") as file:
        text = file.read()
    print(f"# model, bytes of text, context, stride (0: none), scored tokens, perplexity; "
          f"ggml {llama_cpp.ggml_commit()}")
    report(os.path.join(data, "stories260K", "stories260K.gguf"), text,
           [(100000, 512, 0), (20000, 101, 0), (20000, 256, 200)])
    report(SHAKESPEARE, text, [(20000, 256, 0), (8000, 256, 128)])


if __name__ == "__main__":
    main()
