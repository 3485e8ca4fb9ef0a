"""Records how nnc and PyTorch train examples/gpt.nn from the same weights, on the same text, in the same batches and steps.

    python3 gpt.py NNC [STEPS]

STEPS are the example's own 2000 where they are not given.  nnc trains with one thread and logs every epoch; PyTorch begins with
the weights of `nnc init`, takes the samples in the order of nnc's shuffle (runtime/host/shuffle.c, written again below), and
trains the network written out below by AdamW, all in float32.  Writes gpt.txt: the mean loss of each epoch's training batches
and the loss of the text held out after it, by both, and by how much they differ.
Needs torch, safetensors, numpy from PyPI, and Debian's package fortunes.  It may be interrupted after any epoch."""

import json
import math
import os
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.numpy import load_file
from torch.nn.functional import cross_entropy, embedding, gelu, layer_norm, linear, scaled_dot_product_attention

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLE = os.path.join(HERE, "..", "..", "examples", "gpt.nn")
TEXT = "/usr/share/games/fortunes/computers"
T, LAYERS, HEADS, BATCH, SEED, HELD_OUT = 64, 4, 4, 12, 1, 0.1
BASE, FLOOR, WARMUP, B1, B2, EPS, DECAY, CLIP = 0.0009, 0.0001, 100, 0.9, 0.99, 1e-8, 0.1, 1.0
ALL = 2**64 - 1


def hash_mix(x):
    x = (x + 0x9E3779B97F4A7C15) & ALL
    x = ((x ^ x >> 30) * 0xBF58476D1CE4E5B9) & ALL
    x = ((x ^ x >> 27) * 0x94D049BB133111EB) & ALL
    return x ^ x >> 31


def shuffled(count, seed, epoch):
    """An epoch's order: a Feistel network on the smallest power of two that holds the count, walked until it is below it."""
    bits = 2
    while 1 << bits < count:
        bits += 1
    low = bits // 2
    high = bits - low
    key, keys = hash_mix(seed ^ hash_mix(epoch ^ 0x6E6E632073687566)), []
    for r in range(16 if bits < 10 else 6):
        key = hash_mix((key + r) & ALL)
        keys.append(key)

    def mixed(x, key, bits):
        x = ((x + key) * 0x9E3779B97F4A7C15) & ALL
        x = ((x ^ x >> 32) * 0xD6E8FEB86659FD93) & ALL
        return (x ^ x >> 29) >> 64 - bits

    for i in range(count):
        x = i
        while True:
            a, b = x >> low, x & ((1 << low) - 1)
            for r in range(0, len(keys), 2):
                a ^= mixed(b, keys[r], high)
                b ^= mixed(a, keys[r + 1], low)
            x = a << low | b
            if x < count:
                break
        yield x


def windows():
    with open(TEXT, encoding="utf-8", newline="") as f:
        text = f.read()
    number = {c: i for i, c in enumerate(sorted(set(text)))}
    codes = torch.tensor([number[c] for c in text])
    samples = (len(codes) - 1) // T
    now, following = codes[: samples * T].reshape(samples, T), codes[1 : samples * T + 1].reshape(samples, T)
    held_out = int(samples * HELD_OUT)
    return (now[: samples - held_out], following[: samples - held_out]), (now[samples - held_out :], following[samples - held_out :])


def network(w, now):
    rows, table = now.shape[0], w["gpt/letter/w"]
    x = embedding(now, table) + w["gpt/place"]
    width = x.shape[-1]

    def norm(x, name):
        return layer_norm(x, (width,), w[name + "/g"], eps=1e-5)

    for k in range(LAYERS):
        block = f"gpt/block.{k}"
        h = norm(x, block + "/layer_norm.0") @ w[block + "/attention.0/dense.0/w"]
        q, k_, v = (part.reshape(rows, T, HEADS, width // HEADS).transpose(1, 2) for part in h.chunk(3, dim=-1))
        y = scaled_dot_product_attention(q, k_, v, is_causal=True).transpose(1, 2).reshape(rows, T, width)
        x = x + y @ w[block + "/attention.0/dense.1/w"]
        h = norm(x, block + "/layer_norm.1") @ w[block + "/dense.0/w"]
        x = x + gelu(h) @ w[block + "/dense.1/w"]
    return linear(norm(x, "gpt/layer_norm.0"), table)


def loss_of(w, now, following):
    return cross_entropy(network(w, now).reshape(-1, w["gpt/letter/w"].shape[0]), following.reshape(-1))


def held_out_loss(w, samples):
    with torch.no_grad():
        parts = [(loss_of(w, a, b).item(), len(a)) for a, b in zip(samples[0].split(64), samples[1].split(64))]
    return sum(loss * n for loss, n in parts) / sum(n for _, n in parts)


def rate(step, total):
    if step < WARMUP:
        return FLOOR + BASE * step / WARMUP
    return FLOOR + 0.5 * BASE * (1 + math.cos(math.pi * min((step - WARMUP) / max(total - WARMUP, 1), 1)))


def train_pytorch(first, steps):
    training, held_out = windows()
    w = {name: torch.tensor(value, requires_grad=True) for name, value in first.items()}
    groups = [{"params": [p for p in w.values() if p.dim() >= 2], "weight_decay": DECAY},
              {"params": [p for p in w.values() if p.dim() < 2], "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, betas=(B1, B2), eps=EPS)
    step, epoch = 0, 0
    while step < steps:
        epoch += 1
        order, losses = torch.tensor(list(shuffled(len(training[0]), SEED, epoch))), []
        for rows in order.split(BATCH):
            if len(rows) < BATCH or step == steps:
                break
            step += 1
            loss = loss_of(w, training[0][rows], training[1][rows])
            optimizer.zero_grad()
            loss.backward()
            norm = torch.sqrt(sum((p.grad * p.grad).sum() for p in w.values()))
            for p in w.values():
                p.grad *= min(1, CLIP / norm)
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            optimizer.step()
            losses.append(loss.item())
        yield epoch, step, sum(losses) / len(losses), held_out_loss(w, held_out)


def train_nnc(nnc, first, steps, folder):
    log = os.path.join(folder, "log.jsonl")
    subprocess.run([nnc, "train", EXAMPLE, "--steps", str(steps), "--seed", str(SEED), "--weights", first, "--threads", "1",
                    "--out", os.path.join(folder, "run"), "--log", log], check=True, stdout=subprocess.DEVNULL)
    with open(log) as f:
        lines = [json.loads(line) for line in f]
    return {line["epoch"]: (line["loss"], line["val_loss"]) for line in lines if "val_loss" in line}


def main():
    nnc, steps = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 2000
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "first.safetensors")
        subprocess.run([nnc, "init", EXAMPLE, "--seed", str(SEED), "-o", path], check=True, stdout=subprocess.DEVNULL)
        first = load_file(path)
        by_nnc = train_nnc(nnc, path, steps, folder)
    commit = subprocess.run(["git", "-C", HERE, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    version = subprocess.run([nnc, "--version"], capture_output=True, text=True).stdout.strip()
    with open(os.path.join(HERE, "gpt.txt"), "w") as out:
        print(f"# gpt.py {steps}: commit {commit}, {version}, PyTorch {torch.__version__}, seed {SEED}", file=out)
        print("# after each epoch: training loss by nnc and PyTorch, loss of the text held out by both, the difference", file=out)
        for epoch, step, loss, held_out in train_pytorch(first, steps):
            a, b = by_nnc[epoch]
            print(f"epoch {epoch} step {step}  {a:.5f} {loss:.5f}  {b:.5f} {held_out:.5f}  {b - held_out:+.5f}", file=out, flush=True)


if __name__ == "__main__":
    main()
