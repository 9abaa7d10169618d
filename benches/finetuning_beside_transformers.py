#!/usr/bin/env python3
"""Fine-tuning steps beside transformers', on real examples: MRPC's pairs and SQuAD 1.1's windows.

usage: finetuning_beside_transformers.py --data FOLDER --model MODEL [--program target/release/albert-train] [--out FILE.md]
       [--threads N] [--batch 32] [--steps 4] [--f32-only]

FOLDER holds `glue/MRPC` and `squad` with the official files, MODEL is a model directory that both sides read (the command below
makes an untrained one of base's size; what the weights are makes no difference to the time). Needs torch and transformers.
Transformers' side is the loop of its examples run_glue.py and run_qa.py: AdamW, sequences padded to the longest of the batch.
Both sides take the same number of sequences a step; which ones differs, since each shuffles in its own way. A side is timed by
the sequences per second of all its steps but the first. f32 is compared with f32, and each side's fastest with the other's;
with --f32-only nothing is timed in bf16, for which PyTorch takes very long on processors that have no instructions for it.

    albert-train pretrain --preset base --steps 1 --learning-rate 1e-30 --warmup-steps 0 --out base
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

TASKS = ("mrpc", "squad")
LENGTH = {"mrpc": 512, "squad": 384}


def ours(asked, task, precision):
    """Sequences a second of the program."""
    with tempfile.TemporaryDirectory() as folder:
        command = [asked.program, "finetune"]
        command += ["glue", "mrpc", "--data", asked.data / "glue"] if task == "mrpc" else ["squad", "--data", asked.data / "squad"]
        command += ["--model", asked.model, "--precision", precision, "--threads", asked.threads, "--batch", asked.batch]
        command += ["--steps", asked.steps + 1, "--warmup-steps", 0, "--log-every", 1, "--max-seq-length", LENGTH[task]]
        command += ["--train-examples", asked.batch * (asked.steps + 1), "--eval-examples", 1, "--eval-every", 10**6, "--out", f"{folder}/run"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        lines = [json.loads(line) for line in open(f"{folder}/run/metrics.jsonl")]
    times = [line["time"] for line in lines if line["event"] == "train"]
    return (len(times) - 1) * asked.batch / (times[-1] - times[0])


def examples(asked, task, tokenizer):
    """Lists of token ids and segments, in the file's order, and labels."""
    count = asked.batch * (asked.steps + 1)
    if task == "mrpc":
        lines = (asked.data / "glue/MRPC/train.tsv").read_text(encoding="utf-8-sig").splitlines()[1 : count + 1]
        rows = [line.split("\t") for line in lines]
        encoded = tokenizer([row[3] for row in rows], [row[4] for row in rows], truncation=True, max_length=LENGTH[task])
        return encoded, [int(row[0]) for row in rows]
    questions, contexts = [], []
    for article in json.loads((asked.data / "squad/train-v1.1.json").read_text())["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                questions.append(question["question"].strip())
                contexts.append(paragraph["context"])
        if len(questions) >= count:
            break
    encoded = tokenizer(questions[:count], contexts[:count], truncation="only_second", max_length=LENGTH[task], stride=128,
                        return_overflowing_tokens=True)
    return encoded, None


def theirs(asked, task, precision, compiled):
    """Sequences a second of transformers."""
    import torch
    import transformers

    torch.set_num_threads(asked.threads)
    torch.manual_seed(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(asked.model)
    heads = {"mrpc": transformers.AlbertForSequenceClassification, "squad": transformers.AlbertForQuestionAnswering}
    model = heads[task].from_pretrained(asked.model).train()
    encoded, labels = examples(asked, task, tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5)
    run = torch.compile(model, dynamic=True) if compiled else model
    times = []
    for step in range(asked.steps + 1):
        chosen = range(step * asked.batch, (step + 1) * asked.batch)
        names = ("input_ids", "token_type_ids", "attention_mask")
        batch = tokenizer.pad({name: [encoded[name][i] for i in chosen] for name in names}, return_tensors="pt")
        if labels is None:
            batch["start_positions"] = batch["end_positions"] = torch.ones(asked.batch, dtype=torch.long)
        else:
            batch["labels"] = torch.tensor([labels[i] for i in chosen])
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
            loss = run(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.time())
    return asked.steps * asked.batch / (times[-1] - times[0])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--program", default="target/release/albert-train")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--f32-only", action="store_true")
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    precisions = ["f32"] if asked.f32_only else ["f32", "bf16"]
    sides = [f"ours {precision}" for precision in precisions]
    sides += [f"theirs {precision}{how}" for precision in precisions for how in ("", ", compiled")]
    rows = [f"| task | {' | '.join(sides)} | f32 : f32 | fastest : fastest |", "|---|" + "---|" * (len(sides) + 2)]
    for task in TASKS:
        own, other = {}, {}
        for precision in precisions:
            own[precision] = ours(asked, task, precision)
            for compiled in (False, True):
                other[precision, compiled] = theirs(asked, task, precision, compiled)
        numbers = [*own.values(), *other.values()]
        ratios = [own["f32"] / max(other["f32", False], other["f32", True]), max(own.values()) / max(other.values())]
        rows.append(f"| {task} | " + " | ".join(f"{number:.2f}" for number in numbers + ratios) + " |")
        print(rows[-1], file=sys.stderr)
    text = "\n".join(rows) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
