#!/usr/bin/env python3
"""Tokens/s of training in plain PyTorch on this machine's CPU, to compare `trib train` with.

    pip install torch numpy
    tools/train_speed.py [--model rnn ...] [--width 384] [--batch 8] [--dtype bf16] ...

Forward, backward and AdamW over batches of random tokens; the median of the steps after the first
three. The models are those of tools/train_golden.py, with PyTorch's own fused attention and cells. With
bf16 products are under torch.autocast, weights and optimiser in float32.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

import train_golden as golden


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", choices=golden.KINDS, default="transformer")
    parser.add_argument("--block", choices=("lecture", "modern"), default="modern")
    parser.add_argument("--positions", choices=("learned", "sinusoidal"), default="learned")
    parser.add_argument("--cell", choices=("elman", "gru", "lstm"), default="lstm")
    parser.add_argument("--attention", choices=("none", "dot", "general", "additive"), default="none")
    parser.add_argument("--activation", choices=("tanh", "relu"), default="tanh")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    for name, value in (("vocabulary", 65), ("layers", 6), ("heads", 6), ("width", 384), ("ffn", 1024),
                        ("context", 256), ("tokens", 256), ("batch", 8), ("steps", 10), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    return parser.parse_args()


def main():
    o = options()
    golden.V, golden.B = o.vocabulary, o.batch
    torch.set_num_threads(o.threads)
    config = vars(o) | {"kv_heads": o.heads, "tied": False, "norm_eps": 1e-5, "rope_base": 10000}
    model = golden.KINDS[o.model](config)
    w = {name: golden.first_weights(n, name, shape) for n, (name, shape) in enumerate(model.shapes)}
    optimizer = torch.optim.AdamW(w.values(), lr=1e-4, fused=True)
    tokens = torch.randint(o.vocabulary, (o.batch, o.tokens + 1))
    seconds = []
    for _ in range(o.steps + 3):
        start = time.perf_counter()
        model.start()
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=o.dtype == "bf16"):
            logits = model.logits(w, tokens[:, :-1])
        F.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    step = statistics.median(seconds[3:])
    print(json.dumps({"torch": torch.__version__, "model": o.model, "dtype": o.dtype,
                      "parameters": sum(p.numel() for p in w.values()),
                      "tokens": o.batch * o.tokens, "seconds": step,
                      "tokens_per_second": o.batch * o.tokens / step}))


if __name__ == "__main__":
    main()
