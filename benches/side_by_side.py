#!/usr/bin/env python3
"""Whole training steps beside PyTorch's, alternating, so that both see the same machine; writes a table of ratios.

usage: side_by_side.py --peer STEP.py [--program target/release/albert-train] [--rounds 5] [--threads 2] [--out FILE.md]

STEP.py MODEL SEQ BATCH DTYPE(f32|bf16) [--compile] times the same step in PyTorch and prints one JSON object with `median_s`.
A figure is the median over the rounds of what each round measured; a ratio the median of the rounds' ratios, so that what
disturbs one round disturbs both sides of it. Above 1 we are faster; losing rows stay in the table.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys

SHAPES = [("tiny", 128, 16), ("base", 128, 8), ("base", 512, 2), ("large", 128, 4)]
PEERS = [("f32", ()), ("f32", ("--compile",)), ("bf16", ()), ("bf16", ("--compile",))]


def measured(command, environment):
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        print(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--program", default="target/release/albert-train")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", default="", help="only these, such as tiny,base")
    parser.add_argument("--out")
    asked = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads), "MKL_NUM_THREADS": str(asked.threads)}
    lines = [
        f"{platform.machine()}, {asked.threads} threads, {asked.rounds} rounds; seconds per step, medians.",
        "",
        "| model | sequences × tokens | precision | ours | of peak | disturbed | PyTorch | ratio | compiled | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model, length, batch in SHAPES:
        if asked.shapes and model not in asked.shapes.split(","):
            continue
        rounds = []
        for _ in range(asked.rounds):
            seen = {}
            for precision in ("f32", "bf16"):
                command = [asked.program, "bench", "step", "--preset", model, "--seq", str(length), "--batch", str(batch)]
                command += ["--precision", precision, "--optimizer", "adamw", "--threads", str(asked.threads), "--json"]
                seen[precision] = measured(command, environment)
            for precision, more in PEERS:
                command = [asked.python, asked.peer, model, str(length), str(batch), precision, *more]
                seen[precision, more] = measured(command, environment)
            rounds.append(seen)
        for precision in ("f32", "bf16"):
            ours = [seen[precision] for seen in rounds if seen[precision]]
            if not ours:
                continue
            share = [one["share_of_peak_while_computing"] for one in ours if one["share_of_peak_while_computing"]]
            disturbed = [one["disturbance"] for one in ours if one["disturbance"] is not None]
            cells = [model, f"{batch} × {length}", precision]
            cells.append(f"{statistics.median(one['seconds_per_step'] for one in ours):.3f}")
            cells.append(f"{100 * statistics.median(share):.0f}%" if share else "")
            cells.append(f"{100 * statistics.median(disturbed):.0f}%" if disturbed else "")
            for more in ((), ("--compile",)):
                pairs = [(seen[precision, more], seen[precision]) for seen in rounds]
                pairs = [(peer["median_s"], one["seconds_per_step"]) for peer, one in pairs if peer and one]
                cells.append(f"{statistics.median(peer for peer, _ in pairs):.3f}" if pairs else "failed")
                cells.append(f"{statistics.median(peer / one for peer, one in pairs):.2f}" if pairs else "")
            lines.append("| " + " | ".join(cells) + " |")
    table = "\n".join(lines) + "\n"
    print(table)
    if asked.out:
        with open(asked.out, "w", encoding="utf-8") as file:
            file.write(table)


if __name__ == "__main__":
    main()
