#!/usr/bin/env python3
"""Holds a trained modern transformer against Hugging Face transformers, which reads its GGUF file by
code of its own: the ids of a text must be equal, and the loss over its windows within 1e-5.

    python3 tools/trained_llama.py TRIB MODEL TEXT

Needs torch, transformers, gguf and accelerate. Where tried (transformers 5.24.0, torch 2.15.0):
nanoGPT's CPU setting, 1.8870496 nats on both sides over 6,399 characters.
"""
import json
import os
import subprocess
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def trib(*arguments):
    return subprocess.run([sys.argv[1], *arguments], check=True, capture_output=True,
                          text=True).stdout


def loss_of(model, ids, window):
    """Windows one after the other, each token predicted from those before it in its window."""
    total, count = 0.0, 0
    with torch.no_grad():
        for first in range(0, len(ids) - 1, window):
            tokens = ids[first:first + window]
            targets = ids[first + 1:first + 1 + window]
            logits = model(tokens[None]).logits[0][:len(targets)].double()
            picked = torch.log_softmax(logits, -1)[torch.arange(len(targets)), targets]
            total -= picked.sum().item()
            count += len(targets)
    return total / count


def main():
    _, _, path, text = sys.argv
    folder, name = os.path.split(os.path.abspath(path))
    with open(text, encoding="utf-8") as file:
        content = file.read()
    ids = AutoTokenizer.from_pretrained(folder, gguf_file=name).encode(content,
                                                                       add_special_tokens=False)
    ours = json.loads(trib("tokenize", path, text, "--json"))["ids"]
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    result = json.loads(trib("eval", path, text, "--json"))
    loss = loss_of(model, torch.tensor(ours), result["context"])
    print(f"ids {'equal' if ids == ours else 'DIFFER'}, loss {loss:.8f} there, "
          f"{result['loss']:.8f} here")
    return 0 if ids == ours and abs(loss - result["loss"]) < 1e-5 else 1


if __name__ == "__main__":
    sys.exit(main())
