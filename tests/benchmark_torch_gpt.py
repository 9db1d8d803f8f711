#!/usr/bin/python3
"""Milliseconds a training step of gpt-mini (apps/models/gpt.c) in Binade and in PyTorch on the same GPU, in the same run.

    benchmark_torch_gpt.py BINADE TEXT [--device ID]... [--precision POLICY] [--steps N] [--rounds N]

PyTorch trains the same network, with the same dropout, AdamW and clipping, by autocast to BF16 (or FP16, with its scaler), with its fused
attention and fused AdamW: compiled, and compiled with CUDA graphs (mode reduce-overhead); ratios are to the faster. Its batches are
on the GPU before it is timed. Binade's measures of its numerics are off: PyTorch takes none. Rounds alternate between the two. Prints
each time as it comes (standard error) and medians; asserts nothing. Needs PyTorch 2 with CUDA.
"""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from torch import nn
from torch.nn import functional as F

DEPTH, HEADS, WIDTH, CONTEXT, BATCH, DROPOUT = 6, 6, 384, 256, 64, 0.2


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.output = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.linear1, self.linear2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        n, t, _ = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, t, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=DROPOUT if self.training else 0)
        x = x + F.dropout(self.output(y.transpose(1, 2).reshape(n, t, WIDTH)), DROPOUT, self.training)
        y = self.linear2(F.gelu(self.linear1(self.norm2(x))))
        return x + F.dropout(y, DROPOUT, self.training)


class GPT(nn.Module):
    def __init__(self, vocabulary):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*[Block() for _ in range(DEPTH)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, vocabulary)

    def forward(self, x, y):
        x = F.dropout(self.tokens(x) + self.positions.weight[:x.shape[1]], DROPOUT, self.training)
        return F.cross_entropy(self.head(self.norm(self.blocks(x))).flatten(0, 1), y.flatten())


class Torch:
    """PyTorch's step, compiled in a mode."""

    def __init__(self, text, half, mode):
        self.half, self.name = half, f"PyTorch, {mode or 'not compiled'}"
        characters = {c: i for i, c in enumerate(sorted(set(text)))}
        tokens = torch.tensor([characters[c] for c in text])
        starts = torch.randint(len(tokens) - CONTEXT - 1, (16, BATCH))
        windows = tokens[starts[..., None] + torch.arange(CONTEXT + 1)].cuda()
        self.x, self.y = windows[..., :-1].contiguous(), windows[..., 1:].contiguous()
        model = GPT(len(characters)).cuda()
        self.parameters = list(model.parameters())
        self.model = torch.compile(model, mode=mode) if mode else model
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
        self.scaler = torch.amp.GradScaler("cuda", enabled=half == torch.float16)
        for i in range(40):  # compiling, and the clocks
            self.step(i)
        torch.cuda.synchronize()

    def step(self, i):
        with torch.autocast("cuda", self.half):
            loss = self.model(self.x[i % len(self.x)], self.y[i % len(self.y)])
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def measure(self, steps):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for i in range(steps):
            self.step(i)
        torch.cuda.synchronize()
        return (time.perf_counter() - begin) / steps * 1e3


class Binade:
    def __init__(self, program, text, device, precision):
        self.name = f"Binade, {device}"
        self.command = [program, "train", "--model", "gpt-mini", "--data", text, "--device", device, "--precision", precision,
                        "--measure", "0", "--json"]

    def measure(self, steps):
        with tempfile.TemporaryDirectory() as folder:
            run = subprocess.run([*self.command, "--max-steps", str(steps), "--output", folder], check=True,
                                 capture_output=True, text=True)
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        return next(line["step_ms"] for line in lines if line["event"] == "done")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("text")
    parser.add_argument("--device", action="append", help="of Binade; may be repeated (opencl:0 and vulkan:0)")
    parser.add_argument("--precision", default="mixed-bf16", choices=["mixed-bf16", "mixed"])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with open(options.text, encoding="utf-8") as file:
        text = file.read()
    half = torch.bfloat16 if options.precision == "mixed-bf16" else torch.float16
    sides = [Torch(text, half, mode) for mode in ("default", "reduce-overhead")]
    sides += [Binade(options.program, options.text, device, options.precision)
              for device in options.device or ["opencl:0", "vulkan:0"]]
    for side in sides[2:]:
        side.measure(20)  # caches
    found = {side.name: [] for side in sides}
    for _ in range(options.rounds):
        for side in sides:
            found[side.name].append(side.measure(options.steps))
            print(f"{side.name}: {found[side.name][-1]:.3f} ms", file=sys.stderr, flush=True)
    fastest = min(statistics.median(found[side.name]) for side in sides[:2])
    print(f"gpt-mini, batch {BATCH}, {options.precision}; {torch.cuda.get_device_name()}, PyTorch {torch.__version__}")
    for name, times in found.items():
        median = statistics.median(times)
        print(f"{name:28} {median:8.3f} ms  {median / fastest:5.2f} of the fastest PyTorch   " + ", ".join(f"{t:.3f}" for t in times))


if __name__ == "__main__":
    main()
