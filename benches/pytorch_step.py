#!/usr/bin/env python3
"""Times whole pre-training steps of ALBERT in PyTorch: forward, backward, clipping, AdamW.

usage: pytorch_step.py MODEL SEQ BATCH f32|bf16 [--compile] [--steps N] [--threads N] [--device cpu|cuda]

The model is transformers' AlbertForPreTraining without dropout, as `albert-train bench step` times it: 30,000 pieces, random ids,
full sequences, 15% of the tokens asked for. It computes the words' logits for every token, as its users get it; attention is PyTorch's own (SDPA). bf16 is autocast. Prints one JSON
object whose `median_s` is the median of the steps after the first two; `side_by_side.py` calls it. Needs torch and transformers.
"""

import argparse
import json
import os
import statistics
import time

import torch
from transformers import AlbertConfig, AlbertForPreTraining

# hidden size, layers, heads, intermediate size
SIZES = {
    "tiny": (312, 4, 12, 1248),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "xlarge": (2048, 24, 32, 8192),
    "xxlarge": (4096, 12, 64, 16384),
}
VOCABULARY = 30_000


def model_of(size, length):
    hidden, layers, heads, intermediate = SIZES[size]
    config = AlbertConfig(
        vocab_size=VOCABULARY,
        embedding_size=128,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=intermediate,
        max_position_embeddings=max(512, length),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="sdpa",
    )
    return AlbertForPreTraining(config).train()


def batch_of(length, sequences):
    ids = torch.randint(5, VOCABULARY, (sequences, length))
    asked = torch.rand(ids.shape) < 0.15
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": ids.masked_fill(~asked, -100),
        "sentence_order_label": torch.randint(0, 2, (sequences,)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=SIZES)
    parser.add_argument("seq", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("precision", choices=("f32", "bf16"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(1)
    if asked.device == "cuda":
        # The fastest products of f32 that a GPU has, wherever some are left.
        torch.set_float32_matmul_precision("high")
    model = model_of(asked.model, asked.seq).to(asked.device)
    run = torch.compile(model) if asked.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    batch = {name: values.to(asked.device) for name, values in batch_of(asked.seq, asked.batch).items()}
    finish = torch.cuda.synchronize if asked.device == "cuda" else lambda: None
    seconds = []
    for _ in range(2 + asked.steps):
        finish()
        start = time.perf_counter()
        with torch.autocast(asked.device, dtype=torch.bfloat16, enabled=asked.precision == "bf16"):
            loss = run(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        finish()
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"pytorch": torch.__version__, "median_s": statistics.median(seconds[2:])}))


if __name__ == "__main__":
    main()
