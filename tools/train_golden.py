#!/usr/bin/env python3
"""Makes tests/golden/data/train.json: what PyTorch gets for every predictor from identical weights.

    pip install torch numpy;  python3 tools/train_golden.py >tests/golden/data/train.json

Weights and texts are functions of their place, written the same way in tests/golden/test_train.c, so
the file holds only configurations, the norms of the first gradients and the losses of 20 steps of
AdamW. The models are plain PyTorch: nn.RNN, nn.GRU, nn.LSTM, scaled_dot_product_attention, layer_norm
and rms_norm.
"""
import json
import math

import numpy as np
import torch
import torch.nn.functional as F

from formula import unit_numbers

STEPS, B, T, V = 20, 4, 24, 29
ADAMW = {"lr": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1}


def first_weights(number, name, shape):
    """Parameter `number`: multiples of powers of two, so that float32 has them exactly."""
    unit = unit_numbers(number, shape)
    if name.endswith("norm.weight"):
        value = np.float32(1) + unit * np.float32(0.125)
    elif len(shape) == 1:
        value = unit * np.float32(0.125)
    elif name.endswith("embd.weight"):
        value = unit
    else:
        value = unit * np.float32(2.0 ** -int(math.log2(shape[1]) / 2))
    return torch.tensor(value, requires_grad=True)


def text(b, first, count):
    """Tokens of sequence b: a pattern that can be learned in part."""
    i = np.arange(first, first + count, dtype=np.int64) + 1000 * b
    return torch.tensor((i % 7 * 4 + i // 7 % 5) % V)


class Direct:
    def __init__(self, c):
        E, n, H = c["width"], c["context"], c["ffn"]
        self.c = c
        self.shapes = [("token_embd.weight", (V + 1, E))]
        for l in range(c["layers"]):
            self.shapes += [(f"blk.{l}.hidden.weight", (H, n * E if l == 0 else H)),
                            (f"blk.{l}.hidden.bias", (H,))]
        self.shapes += [("output.weight", (V, H)), ("output.bias", (V,))]

    def start(self):
        self.before = torch.full((B, self.c["context"] - 1), V)

    def logits(self, w, x):
        n = self.c["context"]
        full = torch.cat([self.before, x], dim=1)
        self.before = full[:, full.shape[1] - (n - 1):]
        h = F.embedding(full.unfold(1, n, 1), w["token_embd.weight"]).flatten(2)
        f = torch.tanh if self.c["activation"] == "tanh" else F.relu
        for l in range(self.c["layers"]):
            h = f(F.linear(h, w[f"blk.{l}.hidden.weight"], w[f"blk.{l}.hidden.bias"]))
        return F.linear(h, w["output.weight"], w["output.bias"])


class Rnn:
    def __init__(self, c):
        E, gates = c["width"], {"elman": 1, "gru": 3, "lstm": 4}[c["cell"]]
        self.c = c
        self.shapes = [("token_embd.weight", (V, E))]
        for l in range(c["layers"]):
            self.shapes += [(f"blk.{l}.input.weight", (gates * E, E)), (f"blk.{l}.input.bias", (gates * E,)),
                            (f"blk.{l}.recurrent.weight", (gates * E, E)),
                            (f"blk.{l}.recurrent.bias", (gates * E,))]
        if c["attention"] in ("general", "additive"):
            self.shapes += [("attn_query.weight", (E, E))]
        if c["attention"] == "additive":
            self.shapes += [("attn_key.weight", (E, E)), ("attn_score.weight", (E,))]
        if c["attention"] != "none":
            self.shapes += [("attn_combine.weight", (E, 2 * E))]
        self.shapes += [("output.weight", (V, E)), ("output.bias", (V,))]
        kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[c["cell"]]
        self.module = kind(E, E, c["layers"], batch_first=True)

    def start(self):
        self.state = None
        self.past = torch.zeros(B, 0, self.c["width"])

    def attend(self, w, h):
        """Over the last `context` states up to each position, those of batches before among them."""
        states = torch.cat([self.past, h], dim=1)
        S, M, W = states.shape[1], self.past.shape[1], self.c["context"]
        if self.c["attention"] == "additive":
            q, k = F.linear(h, w["attn_query.weight"]), F.linear(states, w["attn_key.weight"])
            score = torch.tanh(q[:, :, None] + k[:, None]) @ w["attn_score.weight"]
        else:
            q = h if self.c["attention"] == "dot" else F.linear(h, w["attn_query.weight"])
            score = q @ states.transpose(1, 2)
        i, t = torch.arange(S)[None], torch.arange(h.shape[1])[:, None] + M
        score = score.masked_fill((i > t) | (i <= t - W), -math.inf)
        context = torch.softmax(score, dim=-1) @ states
        if W > 1:
            self.past = states[:, max(0, S - (W - 1)):].detach()
        return torch.tanh(F.linear(torch.cat([context, h], dim=-1), w["attn_combine.weight"]))

    def logits(self, w, x):
        names = {}
        for l in range(self.c["layers"]):
            names |= {f"weight_ih_l{l}": w[f"blk.{l}.input.weight"], f"bias_ih_l{l}": w[f"blk.{l}.input.bias"],
                      f"weight_hh_l{l}": w[f"blk.{l}.recurrent.weight"],
                      f"bias_hh_l{l}": w[f"blk.{l}.recurrent.bias"]}
        x = F.embedding(x, w["token_embd.weight"])
        h, state = torch.func.functional_call(self.module, names, (x, self.state))
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        if self.c["attention"] != "none":
            h = self.attend(w, h)
        return F.linear(h, w["output.weight"], w["output.bias"])


class Transformer:
    def __init__(self, c):
        E, H, G, N = c["width"], c["heads"], c["kv_heads"], c["ffn"]
        K = G * E // H
        self.c = c
        self.shapes = [("token_embd.weight", (V, E))]
        if c["block"] == "lecture" and c["positions"] == "learned":
            self.shapes += [("position_embd.weight", (c["context"], E))]
        for l in range(c["layers"]):
            attention = [("attn_q.weight", (E, E)), ("attn_k.weight", (K, E)), ("attn_v.weight", (K, E)),
                         ("attn_output.weight", (E, E))]
            if c["block"] == "lecture":
                block = attention + [("attn_output_norm.weight", (E,)), ("attn_output_norm.bias", (E,)),
                                     ("ffn_up.weight", (N, E)), ("ffn_down.weight", (E, N)),
                                     ("layer_output_norm.weight", (E,)), ("layer_output_norm.bias", (E,))]
            else:
                block = [("attn_norm.weight", (E,))] + attention + [
                    ("ffn_norm.weight", (E,)), ("ffn_gate.weight", (N, E)), ("ffn_up.weight", (N, E)),
                    ("ffn_down.weight", (E, N))]
            self.shapes += [(f"blk.{l}.{name}", shape) for name, shape in block]
        if c["block"] == "modern":
            self.shapes += [("output_norm.weight", (E,))]
        if not c["tied"]:
            self.shapes += [("output.weight", (V, E))]

    def start(self):
        pass

    def turned(self, x):
        """Adjacent pairs of [B][heads][T][D], as complex numbers, turned by position."""
        D = x.shape[-1]
        frequency = self.c["rope_base"] ** (-torch.arange(0, D, 2, dtype=torch.float64) / D)
        angle = torch.arange(x.shape[-2], dtype=torch.float64)[:, None] * frequency
        turn = torch.polar(torch.ones_like(angle), angle).to(torch.complex64)
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turn).flatten(-2)

    def attention(self, w, l, x):
        D = self.c["width"] // self.c["heads"]
        q, k, v = (F.linear(x, w[f"blk.{l}.attn_{n}.weight"]).unflatten(-1, (-1, D)).transpose(1, 2)
                   for n in "qkv")
        if self.c["block"] == "modern":
            q, k = self.turned(q), self.turned(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        return F.linear(y.transpose(1, 2).flatten(2), w[f"blk.{l}.attn_output.weight"])

    def lecture(self, w, l, x):
        E, eps = (self.c["width"],), self.c["norm_eps"]
        one, two = f"blk.{l}.attn_output_norm", f"blk.{l}.layer_output_norm"
        z = F.layer_norm(x + self.attention(w, l, x), E, w[one + ".weight"], w[one + ".bias"], eps)
        y = F.linear(F.relu(F.linear(z, w[f"blk.{l}.ffn_up.weight"])), w[f"blk.{l}.ffn_down.weight"])
        return F.layer_norm(y + z, E, w[two + ".weight"], w[two + ".bias"], eps)

    def modern(self, w, l, x):
        E, eps = (self.c["width"],), self.c["norm_eps"]
        x = x + self.attention(w, l, F.rms_norm(x, E, w[f"blk.{l}.attn_norm.weight"], eps))
        n = F.rms_norm(x, E, w[f"blk.{l}.ffn_norm.weight"], eps)
        gate, up = F.linear(n, w[f"blk.{l}.ffn_gate.weight"]), F.linear(n, w[f"blk.{l}.ffn_up.weight"])
        return x + F.linear(F.silu(gate) * up, w[f"blk.{l}.ffn_down.weight"])

    def logits(self, w, tokens):
        c, E = self.c, self.c["width"]
        x = F.embedding(tokens, w["token_embd.weight"])
        if "position_embd.weight" in w:
            x = x + w["position_embd.weight"][:tokens.shape[1]]
        elif c["block"] == "lecture":
            i = torch.arange(E)
            angle = torch.arange(tokens.shape[1])[:, None] / 10000 ** ((i - i % 2) / E).double()
            x = x + torch.where(i % 2 == 0, angle.sin(), angle.cos()).float()
        for l in range(c["layers"]):
            x = (self.lecture if c["block"] == "lecture" else self.modern)(w, l, x)
        if c["block"] == "modern":
            x = F.rms_norm(x, (E,), w["output_norm.weight"], c["norm_eps"])
        return F.linear(x, w["token_embd.weight" if c["tied"] else "output.weight"])


KINDS = {"direct": Direct, "rnn": Rnn, "transformer": Transformer}


def train(config):
    model = KINDS[config["model"]](config)
    w = {name: first_weights(n, name, shape) for n, (name, shape) in enumerate(model.shapes)}
    groups = [{"params": [p for p in w.values() if p.dim() == 2], "weight_decay": ADAMW["weight_decay"]},
              {"params": [p for p in w.values() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=ADAMW["lr"], betas=(ADAMW["beta1"], ADAMW["beta2"]),
                                  eps=ADAMW["eps"])
    model.start()
    losses, norms = [], None
    for step in range(STEPS):
        x = torch.stack([text(b, step * T, T + 1) for b in range(B)])
        optimizer.zero_grad()
        loss = F.cross_entropy(model.logits(w, x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())
        loss.backward()
        norms = norms or [[name, float(p.grad.double().norm())] for name, p in w.items()]
        optimizer.step()
        losses.append(float(loss.detach()))
    return {"config": config, "gradients": norms, "losses": losses}


def configurations():
    common = {"width": 32, "layers": 2, "context": 24, "ffn": 48, "norm_eps": 1e-5, "rope_base": 10000}
    for activation in ("tanh", "relu"):
        yield common | {"model": "direct", "context": 6, "activation": activation}
    for cell in ("elman", "gru", "lstm"):
        yield common | {"model": "rnn", "cell": cell, "attention": "none"}
    for cell, attention in (("elman", "dot"), ("gru", "general"), ("lstm", "additive"), ("lstm", "dot")):
        yield common | {"model": "rnn", "cell": cell, "attention": attention, "layers": 1, "context": 30}
    common |= {"model": "transformer", "heads": 4, "kv_heads": 4, "tied": False}
    for positions in ("learned", "sinusoidal"):
        yield common | {"block": "lecture", "positions": positions}
    yield common | {"block": "lecture", "positions": "learned", "kv_heads": 2, "heads": 8}
    yield common | {"block": "modern"}
    yield common | {"block": "modern", "kv_heads": 2, "tied": True}


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    cases = [train(config) for config in configurations()]
    head = {"steps": STEPS, "B": B, "T": T, "V": V, "adamw": ADAMW}
    print(json.dumps(head)[:-1] + ', "cases": [')
    print(",\n".join(json.dumps(case) for case in cases))
    print("]}")


if __name__ == "__main__":
    main()
