#!/usr/bin/env python3
"""Whole training steps beside PyTorch's, alternating, so that both see the same machine; writes tables of ratios.

usage: side_by_side.py [--peer STEP.py] [--python PYTHON] [--program target/release/albert-train] [--minutes 12] [--out FILE.md]

STEP.py MODEL SEQ BATCH f32|bf16 [--compile] [--steps N] times the same step in PyTorch (`pytorch_step.py`, unless another is named)
and prints one JSON object with `median_s`. A round measures everything once, each as the median of its steps; as many rounds are made as fit into the time,
at least one. A figure is the median over the rounds, a ratio the median of the rounds' ratios, so that what disturbs one round
disturbs both sides of it. Above 1 we are faster; losing rows stay in the table. The second table is the gain of computing the
last layer only for the rows that are read: predicted by the operations that are left out, and measured.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

SHAPES = [("tiny", 128, 16), ("base", 128, 8), ("base", 512, 2), ("large", 128, 4)]
PRECISIONS = ("f32", "bf16")


def measured(command, environment):
    """The JSON object that a command prints last, or None, with the reason on standard error."""
    try:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        sys.exit(f"{command[0]}: {error}")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
        print(f"{' '.join(command)}: {reason}", file=sys.stderr)
        return None
    return json.loads(lines[-1])


def round_of(shape, asked, environment):
    """Seconds of a step and more, by what was measured."""
    model, length, batch = shape
    seen = {}
    for precision in PRECISIONS:
        for gathers in ("true", "false"):
            command = [asked.program, "bench", "step", "--preset", model, "--seq", str(length), "--batch", str(batch)]
            command += ["--precision", precision, "--gather-last-layer", gathers, "--optimizer", "adamw", "--json"]
            command += ["--threads", str(asked.threads), "--steps", str(asked.steps)]
            seen[precision, gathers == "true"] = measured(command, environment)
        for more in ([], ["--compile"]):
            if more and asked.no_compile:
                continue
            command = [asked.python, asked.peer, model, str(length), str(batch), precision, "--steps", str(asked.steps)]
            seen[precision, *more] = measured(command + more, environment)
        print(f"{model} {batch} × {length} {precision}", file=sys.stderr)
    return seen


def median(values):
    values = [value for value in values if value is not None]
    return statistics.median(values) if values else None


def shown(value, form):
    return "" if value is None else format(value, form)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default=os.path.join(os.path.dirname(__file__), "pytorch_step.py"))
    parser.add_argument("--program", default="target/release/albert-train")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--minutes", type=float, default=12, help="another round begins only if it is likely to end by then")
    parser.add_argument("--steps", type=int, default=3, help="timed steps of each measurement")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", default="", help="only these, such as tiny,base")
    parser.add_argument("--no-compile", action="store_true", help="leave out what PyTorch compiles")
    parser.add_argument("--out")
    asked = parser.parse_args()
    environment = os.environ | {"OMP_NUM_THREADS": str(asked.threads), "MKL_NUM_THREADS": str(asked.threads)}
    shapes = [shape for shape in SHAPES if not asked.shapes or shape[0] in asked.shapes.split(",")]
    rounds, start, last = [], time.monotonic(), 0.0
    while not rounds or time.monotonic() - start + last < 60 * asked.minutes:
        begun = time.monotonic()
        rounds.append({shape: round_of(shape, asked, environment) for shape in shapes})
        last = time.monotonic() - begun
    steps = [
        "| model | sequences × tokens | precision | last layer | ours | of peak | disturbed | PyTorch | ratio | compiled | ratio |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    gains = [
        "| model | sequences × tokens | precision | predicted | measured |",
        "|---|---|---|---|---|",
    ]
    for shape in shapes:
        model, length, batch = shape
        seen = [one[shape] for one in rounds]
        for precision in PRECISIONS:
            for gathers in (True, False):
                ours = [one[precision, gathers] for one in seen]
                figure = lambda name: median(one[name] for one in ours if one)
                cells = [model, f"{batch} × {length}", precision, "read rows" if gathers else "all rows"]
                cells.append(shown(figure("seconds_per_step"), ".3f") or "failed")
                cells.append(shown(figure("share_of_peak_while_computing"), ".0%"))
                cells.append(shown(figure("disturbance"), ".0%"))
                for more in ((), ("--compile",)):
                    pairs = [(one.get((precision, *more)), mine) for one, mine in zip(seen, ours)]
                    pairs = [(peer["median_s"], mine["seconds_per_step"]) for peer, mine in pairs if peer and mine]
                    cells.append(shown(median(peer for peer, _ in pairs), ".3f") or "not measured")
                    cells.append(shown(median(peer / mine for peer, mine in pairs), ".2f"))
                steps.append("| " + " | ".join(cells) + " |")
            pairs = [(one[precision, False], one[precision, True]) for one in seen]
            pairs = [(whole, read) for whole, read in pairs if whole and read]
            gain = lambda name: median(whole[name] / read[name] - 1 for whole, read in pairs)
            cells = [model, f"{batch} × {length}", precision, shown(gain("executed_flops_per_step"), ".1%")]
            gains.append("| " + " | ".join([*cells, shown(gain("seconds_per_step"), ".1%")]) + " |")
    isa = next((one["isa"] for seen in rounds[0].values() for one in seen.values() if one and "isa" in one), "")
    about = f"{platform.machine()} {isa}, {asked.threads} threads, {len(rounds)} rounds of {asked.steps} steps; seconds per step, medians."
    table = "\n".join([about, "", *steps, "", "Gain of computing the last layer only for the rows that are read:", "", *gains]) + "\n"
    print(table)
    if asked.out:
        with open(asked.out, "w", encoding="utf-8") as file:
            file.write(table)


if __name__ == "__main__":
    main()
