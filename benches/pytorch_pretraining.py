#!/usr/bin/env python3
"""Pre-trains ALBERT in PyTorch for a fixed time, and measures models on fixed sequences: the rival of `time_to_quality.py`.

usage: pytorch_pretraining.py --held-out HELD_OUT.safetensors --config config.json --train TRAIN.safetensors --learning-rate RATE
           [--minutes 12] [--batch 8] [--precision f32|bf16] [--compile] [--masked-only] [--seed N] [--evaluations 12] [--threads N]
       pytorch_pretraining.py --held-out HELD_OUT.safetensors --config config.json --score WEIGHTS.safetensors...

Sequences are those of `albert-train inspect batches --output`, in their order, so that both sides learn from the same text, masks and swaps.
The model is transformers' AlbertForPreTraining; AdamW with corrected moments, betas 0.9 and 0.98, decay 0.01 of all but biases and
layer norms, norms clipped at 1; the rate rises for a twentieth of the time and falls linearly to nothing at its end. `--masked-only` computes
the words' logits where a word is masked alone, which is not usual. The clock leaves out compiling and measuring. Prints one JSON object.
"""

import argparse
import json
import os
import pathlib
import time

import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

WARM_UP = 0.05


def losses(encode, model, batch):
    """Mean loss of masked words and of the order, and how many of each are right; of the words' logits only those that are asked for."""
    labels = batch["labels"].flatten()
    masked = labels.ge(0).nonzero().flatten()
    hidden = encode(batch["input_ids"], attention_mask=batch["attention_mask"], token_type_ids=batch["token_type_ids"])
    words = model.predictions(hidden.last_hidden_state.flatten(0, 1)[masked])
    order, orders = model.sop_classifier(hidden.pooler_output), batch["sentence_order_label"]
    right = (words.detach().argmax(-1) == labels[masked]).sum(), (order.detach().argmax(-1) == orders).sum()
    return cross_entropy(words.float(), labels[masked]), cross_entropy(order.float(), orders), *right


@torch.no_grad()
def measured(model, held_out):
    """In f32, over all held-out sequences."""
    model.eval()
    words, order, words_right, orders_right, masked = 0.0, 0.0, 0, 0, 0
    count = held_out["input_ids"].shape[0]
    for start in range(0, count, 64):
        batch = {name: values[start : start + 64] for name, values in held_out.items()}
        here, sequences = int(batch["labels"].ge(0).sum()), batch["input_ids"].shape[0]
        word_loss, order_loss, right, orders = losses(model.albert, model, batch)
        words, order, masked = words + float(word_loss) * here, order + float(order_loss) * sequences, masked + here
        words_right, orders_right = words_right + int(right), orders_right + int(orders)
    model.train()
    return {
        "masked_lm_loss": words / masked,
        "masked_lm_accuracy": words_right / masked,
        "sentence_order_loss": order / count,
        "sentence_order_accuracy": orders_right / count,
    }


def trained(asked, model, held_out):
    """Steps, seconds and measurements along the way."""
    train = load_file(asked.train)
    plain = [name for name, _ in model.named_parameters() if "bias" in name or "LayerNorm" in name or "layer_norm" in name]
    groups = [
        {"params": [value for name, value in model.named_parameters() if name not in plain], "weight_decay": 0.01},
        {"params": [value for name, value in model.named_parameters() if name in plain], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=asked.learning_rate, betas=(0.9, 0.98), eps=1e-6, fused=True)
    part = model.albert if asked.masked_only else model
    run = torch.compile(part) if asked.compile else part

    def gradients(step):
        first = step * asked.batch % (train["input_ids"].shape[0] - asked.batch + 1)
        batch = {name: values[first : first + asked.batch].long() for name, values in train.items()}
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=asked.precision == "bf16"):
            loss = sum(losses(run, model, batch)[:2]) if asked.masked_only else run(**batch).loss
        loss.backward()

    # Compiles.
    for step in range(3):
        gradients(step)
    optimizer.zero_grad()
    budget, seconds, step, curve = 60 * asked.minutes, 0.0, 0, []
    while seconds < budget:
        begun = time.perf_counter()
        share = seconds / budget
        for group in optimizer.param_groups:
            group["lr"] = asked.learning_rate * min(share / WARM_UP, (1 - share) / (1 - WARM_UP))
        gradients(step)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        seconds += time.perf_counter() - begun
        if seconds >= budget * (len(curve) + 1) / asked.evaluations:
            curve.append({"seconds": seconds, "step": step, **measured(model, held_out)})
    return {"pytorch": torch.__version__, "transformers": transformers.__version__, "steps": step, "seconds": seconds, "curve": curve}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--held-out", required=True, type=pathlib.Path)
    parser.add_argument("--config", required=True, type=pathlib.Path)
    parser.add_argument("--score", nargs="+", type=pathlib.Path)
    parser.add_argument("--train", type=pathlib.Path)
    parser.add_argument("--learning-rate", type=float, default=5e-4)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="f32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--masked-only", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--evaluations", type=int, default=12)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    held_out = {name: values.long() for name, values in load_file(asked.held_out).items()}
    model = transformers.AlbertForPreTraining(transformers.AlbertConfig.from_json_file(asked.config)).train()
    if asked.score:
        result = []
        for weights in asked.score:
            missing, _ = model.load_state_dict(load_file(weights), strict=False)
            # The decoder is the word embedding, and its bias stands twice in transformers' model.
            if set(missing) - {"predictions.decoder.weight", "predictions.decoder.bias"}:
                raise SystemExit(f"{weights}: {missing} are missing")
            result.append(measured(model, held_out))
    else:
        result = trained(asked, model, held_out)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
