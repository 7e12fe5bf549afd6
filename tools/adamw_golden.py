#!/usr/bin/env python3
"""Prints the golden numbers of tests/unit/test_adamw.c: parameters that PyTorch's AdamW and
clip_grad_norm_ leave behind after some steps. Made with torch 2.15.0 on CPU.

    python3 tools/adamw_golden.py
"""
import torch

N, STEPS = 8, 10
w = torch.tensor([(i - 3.5) / 4 for i in range(N)], dtype=torch.float32, requires_grad=True)
optimiser = torch.optim.AdamW([w], lr=0.01, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1,
                              foreach=False, fused=False)
for step in range(STEPS):
    # Exact in float32, so that nothing but the optimiser can differ.
    w.grad = torch.tensor([((i * 37 + step * 11) % 64 - 32) / 64 for i in range(N)],
                          dtype=torch.float32)
    norm = torch.nn.utils.clip_grad_norm_([w], 0.7)
    optimiser.step()
print("norm of the last gradient", float(norm).hex())
print(",\n".join(float(x).hex() + "f" for x in w.detach()))
