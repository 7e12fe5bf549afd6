#!/usr/bin/env python3
"""Makes tests/golden/data/architectures.json: what Hugging Face transformers computes with a tiny
model of every architecture.

    pip install torch transformers gguf;  python3 tools/architecture_golden.py >tests/golden/data/architectures.json

Each model is described as its GGUF file would be: metadata keys and tensor names as llama.cpp has
them (they come from the gguf package), shapes, and no weights: those are a function of their place,
written the same way in tests/golden/test_architectures.c, which builds the file. Here the tensors go
the other way, into the names and layouts of transformers: rows of llama's q and k in its order, gpt2's
matrices transposed, the 1 taken off gemma's norms.

The models are small and awkward: heads that are no power of two, windows shorter than the text,
soft-caps low enough to bend, contexts beyond a chunk of 64 keys.
"""
import json
import math
import sys

import gguf
import numpy as np
import torch
import transformers as hf

from formula import unit_numbers

T, V, EVERY = 75, 101, 9
K = gguf.Keys


def first_weights(number, name, shape):
    """Tensor `number` of a file: exact in float32. Queries and keys are large enough that attention
    looks at some tokens more than at others."""
    unit = unit_numbers(number, shape)
    if name.endswith("norm.weight"):
        value = np.float32(1) + unit * np.float32(0.125)
    elif len(shape) == 1:
        value = unit * np.float32(0.125)
    elif name in ("token_embd.weight", "position_embd.weight", "token_types.weight"):
        value = unit
    else:
        size = 2.0 ** -int(math.log2(shape[1]) / 2)
        value = unit * np.float32(size * (2 if "attn_q" in name or "attn_k." in name else 1))
    return value


def text():
    i = np.arange(T, dtype=np.int64)
    return (i * i * 7 + i * 13 + i // 5) % V


def unpermuted(w, heads):
    """Rows of llama's q or k, or its bias, from adjacent pairs to halves."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


class Case:
    def __init__(self, name, arch, model, metadata, values=None, context=0):
        self.name, self.arch, self.model, self.values = name, arch, model.eval(), values or {}
        self.context = context  # that the engine is opened for; 0: the model's
        c = model.config
        heads = c.num_attention_heads
        kv_heads = getattr(c, "num_key_value_heads", heads)
        self.heads, self.kv_heads = heads, kv_heads
        keys = {K.LLM.BLOCK_COUNT: c.num_hidden_layers, K.LLM.EMBEDDING_LENGTH: c.hidden_size,
                K.LLM.FEED_FORWARD_LENGTH: getattr(c, "intermediate_size", None) or 4 * c.hidden_size,
                K.LLM.CONTEXT_LENGTH: c.max_position_embeddings, K.Attention.HEAD_COUNT: heads}
        if kv_heads != heads:
            keys[K.Attention.HEAD_COUNT_KV] = kv_heads
        if hasattr(c, "rms_norm_eps"):
            keys[K.Attention.LAYERNORM_RMS_EPS] = c.rms_norm_eps
        keys.update(metadata)
        self.metadata = {"general.architecture": arch}
        self.metadata.update({k.format(arch=arch): v for k, v in keys.items()})

    def tensors(self):
        """(name in transformers, name in the file), tied heads left out."""
        number = [k for k, v in gguf.MODEL_ARCH_NAMES.items() if v == self.arch][0]
        names = gguf.get_tensor_name_map(number, self.model.config.num_hidden_layers)
        tied = getattr(self.model.config, "tie_word_embeddings", False)
        for name, p in self.model.named_parameters():
            if "pooler" in name or (tied and name.endswith("lm_head.weight")):
                continue
            found = names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found, name
            yield name, found, p

    def fill(self):
        """Gives the model its weights; the file's tensors with their shapes."""
        listed = []
        with torch.no_grad():
            for number, (name, stored, p) in enumerate(self.tensors()):
                shape = tuple(p.shape)
                transposed = self.arch == "gpt2" and len(shape) == 2 and "wte" not in name and "wpe" not in name
                w = first_weights(number, stored, shape[::-1] if transposed else shape)
                listed.append([stored, list(w.shape[::-1])])
                if self.arch == "llama" and ("attn_q." in stored or "attn_k." in stored):
                    w = unpermuted(w, self.heads if "attn_q." in stored else self.kv_heads)
                if self.arch.startswith("gemma") and stored.endswith("norm.weight"):
                    w = w - np.float32(1)
                p.copy_(torch.from_numpy(np.ascontiguousarray(w.T if transposed else w)))
        for name, values in self.values.items():
            listed.append([name, [len(values)]])
        return listed

    def run(self):
        ids = text()
        out = {"name": self.name, "metadata": self.metadata, "tensors": self.fill(),
               "values": self.values, "ids": ids.tolist()}
        if self.context:
            out["context"] = self.context
        with torch.no_grad():
            x = torch.from_numpy(ids)[None]
            if self.arch == "bert":
                h = self.model(x).last_hidden_state[0]
                out["mean"] = rounded(h.double().mean(0))
                out["cls"] = rounded(h[0])
                out["last"] = rounded(h[-1])
            else:
                logits = self.model(x).logits[0]
                h = self.model.base_model(x).last_hidden_state[0]
                out["positions"] = sorted({*range(0, T, EVERY), T - 1})
                out["logits"] = [rounded(logits[i]) for i in out["positions"]]
                out["mean"] = rounded(h.double().mean(0))
                out["last"] = rounded(h[-1])
        return out


def rounded(row):
    return [float(f"{x:.8g}") for x in row.tolist()]


def small(**more):
    return {"vocab_size": V, "hidden_size": 64, "max_position_embeddings": 256, "attn_implementation": "eager",
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, **more}


def cases():
    theta = {"rope_theta": 5000.0}
    c = hf.LlamaConfig(**small(hidden_size=60, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2, head_dim=12,
                               intermediate_size=88, rms_norm_eps=1e-5, tie_word_embeddings=False,
                               rope_parameters={**theta, "rope_type": "llama3", "factor": 8.0,
                                                "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                                "original_max_position_embeddings": 64}))
    m = hf.LlamaForCausalLM(c)
    scaled = m.model.rotary_emb.inv_freq.double().numpy()
    factors = (5000.0 ** -(np.arange(0, 12, 2) / 12) / scaled).astype(np.float32)
    yield Case("llama 3", "llama", m, {K.Rope.FREQ_BASE: 5000.0, K.Attention.KEY_LENGTH: 12,
                                       K.Attention.VALUE_LENGTH: 12, K.Rope.DIMENSION_COUNT: 12},
               {"rope_freqs.weight": [float(f) for f in factors]})

    c = hf.LlamaConfig(**small(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
                               intermediate_size=72, rms_norm_eps=1e-6, attention_bias=True, tie_word_embeddings=True,
                               rope_parameters={**theta, "rope_type": "linear", "factor": 4.0}))
    yield Case("llama, biases, linear scaling", "llama", hf.LlamaForCausalLM(c),
               {K.Rope.FREQ_BASE: 5000.0, K.Rope.SCALING_TYPE: "linear", K.Rope.SCALING_FACTOR: 4.0})

    c = hf.MistralConfig(**small(hidden_size=63, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=20,
                                 intermediate_size=80, rms_norm_eps=1e-5, sliding_window=11, tie_word_embeddings=False,
                                 rope_parameters={**theta, "rope_type": "default"}))
    yield Case("mistral, window", "llama", hf.MistralForCausalLM(c),
               {K.Rope.FREQ_BASE: 5000.0, K.Attention.KEY_LENGTH: 20, K.Attention.VALUE_LENGTH: 20,
                K.Attention.SLIDING_WINDOW: 11})

    c = hf.Qwen2Config(**small(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                               intermediate_size=96, rms_norm_eps=1e-6, tie_word_embeddings=True,
                               rope_parameters={**theta, "rope_type": "yarn", "factor": 4.0,
                                                "original_max_position_embeddings": 64}))
    yield Case("qwen2, yarn", "qwen2", hf.Qwen2ForCausalLM(c),
               {K.Rope.FREQ_BASE: 5000.0, K.Rope.SCALING_TYPE: "yarn", K.Rope.SCALING_FACTOR: 4.0,
                K.Rope.SCALING_ORIG_CTX_LEN: 64})

    c = hf.Qwen3Config(**small(hidden_size=66, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=3, head_dim=20,
                               intermediate_size=96, rms_norm_eps=1e-6, tie_word_embeddings=False,
                               rope_parameters={**theta, "rope_type": "default"}))
    yield Case("qwen3", "qwen3", hf.Qwen3ForCausalLM(c),
               {K.Rope.FREQ_BASE: 5000.0, K.Attention.KEY_LENGTH: 20, K.Attention.VALUE_LENGTH: 20})

    c = hf.Gemma2Config(**small(hidden_size=63, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=1, head_dim=24,
                                intermediate_size=80, rms_norm_eps=1e-6, sliding_window=9, query_pre_attn_scalar=24,
                                attn_logit_softcapping=5.0, final_logit_softcapping=3.0,
                                rope_parameters={"rope_theta": 10000.0, "rope_type": "default"}))
    yield Case("gemma2", "gemma2", hf.Gemma2ForCausalLM(c),
               {K.Attention.KEY_LENGTH: 24, K.Attention.VALUE_LENGTH: 24, K.Attention.SLIDING_WINDOW: 9,
                K.LLM.ATTN_LOGIT_SOFTCAPPING: 5.0, K.LLM.FINAL_LOGIT_SOFTCAPPING: 3.0})

    c = hf.Gemma3TextConfig(**small(num_hidden_layers=7, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                                    intermediate_size=72, rms_norm_eps=1e-6, sliding_window=13, query_pre_attn_scalar=16,
                                    rope_parameters={
                                        "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                                        "sliding_attention": {"rope_theta": 10000.0, "rope_type": "default"}}))
    yield Case("gemma3", "gemma3", hf.Gemma3ForCausalLM(c),
               {K.Attention.KEY_LENGTH: 16, K.Attention.VALUE_LENGTH: 16, K.Attention.SLIDING_WINDOW: 13,
                K.Rope.FREQ_BASE: 1e6, K.Rope.SCALING_TYPE: "linear", K.Rope.SCALING_FACTOR: 8.0})

    c = hf.Phi3Config(**small(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                              intermediate_size=88, rms_norm_eps=1e-5, sliding_window=10, tie_word_embeddings=False,
                              rope_parameters={**theta, "rope_type": "default", "partial_rotary_factor": 0.75}))
    yield Case("phi3", "phi3", hf.Phi3ForCausalLM(c),
               {K.Rope.FREQ_BASE: 5000.0, K.Rope.DIMENSION_COUNT: 12, K.Attention.SLIDING_WINDOW: 10})

    # LongRoPE: transformers takes the long factors as the 75 tokens are more than the original context,
    # and the short ones where they are not; the engine by the context that it is opened for.
    long = [1.0 + 0.75 * i * i for i in range(6)]
    short = [1.0 + 0.0625 * i for i in range(6)]
    for name, original, context in (("phi3, long factors", 32, 0), ("phi3, short factors", 80, 80)):
        c = hf.Phi3Config(**small(num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                                  intermediate_size=88, rms_norm_eps=1e-5, sliding_window=None, tie_word_embeddings=False,
                                  original_max_position_embeddings=original,
                                  rope_parameters={**theta, "rope_type": "longrope", "partial_rotary_factor": 0.75,
                                                   "long_factor": long, "short_factor": short,
                                                   "original_max_position_embeddings": original}))
        factor = math.sqrt(1 + math.log(256 / original) / math.log(original))
        yield Case(name, "phi3", hf.Phi3ForCausalLM(c),
                   {K.Rope.FREQ_BASE: 5000.0, K.Rope.DIMENSION_COUNT: 12, K.Rope.SCALING_ORIG_CTX_LEN: original,
                    K.Rope.SCALING_ATTN_FACTOR: factor},
                   {"rope_factors_long.weight": long, "rope_factors_short.weight": short}, context)

    c = hf.GPT2Config(vocab_size=V, n_embd=65, n_layer=2, n_head=5, n_positions=80, n_inner=70,
                      attn_implementation="eager", bos_token_id=1, eos_token_id=2)
    yield Case("gpt2", "gpt2", hf.GPT2LMHeadModel(c),
               {K.LLM.FEED_FORWARD_LENGTH: 70, K.Attention.LAYERNORM_EPS: 1e-5})

    c = hf.BertConfig(vocab_size=V, hidden_size=66, num_hidden_layers=3, num_attention_heads=6, intermediate_size=78,
                      max_position_embeddings=80, attn_implementation="eager", pad_token_id=0)
    yield Case("bert", "bert", hf.BertModel(c),
               {K.Attention.LAYERNORM_EPS: 1e-12, K.Attention.CAUSAL: False, K.LLM.POOLING_TYPE: 1})


def main():
    torch.manual_seed(0)
    json.dump([case.run() for case in cases()], sys.stdout, separators=(",", ":"))
    print()


main()
