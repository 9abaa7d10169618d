#!/usr/bin/env python3
"""What a small model learns in twelve minutes, beside transformers in the same time, on the same text and the same held-out sequences.

usage: time_to_quality.py --train PREPARED --held-out PREPARED [--minutes 12] [--recipe small-machine] [--ours SETTINGS] [--rates 3e-4,5e-4,1e-3,2e-3]
           [--program target/release/albert-train] [--python PYTHON] [--folder time-to-quality] [--out FILE.md]

PREPARED are folders that `albert-train prepare` made with one vocabulary. Our side runs the recipe as it is, with as many steps as fit into the
time. The other is `pytorch_pretraining.py`: of f32 and bf16, as it is and compiled, all logits and those of masked words alone, the
form that makes the most steps in a minute; of the rates, the one that ends lowest; then two more seeds, in turn with ours. One function
measures both, in f32. Every measurement is kept in the folder and not repeated, so that an interrupted contest goes on where it was.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tomllib

SEEDS = (1, 2, 3)
EVALUATIONS = 12
HELD_OUT = 512
MOST_SHOWN = 100_000
STOPPED_IN_TIME = 75
PEER = pathlib.Path(__file__).with_name("pytorch_pretraining.py")


class Contest:
    def __init__(self, asked):
        self.asked, self.folder = asked, asked.folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.recipe = self.folder / "recipe.toml"
        self.recipe.write_text(self.run([asked.program, "recipes", "show", asked.recipe]))
        settings = tomllib.loads(self.recipe.read_text())
        self.batch, self.length = settings["training"]["batch"], settings["sampling"]["max_seq_length"]
        self.held_out, self.train = self.folder / "held-out.safetensors", self.folder / "train.safetensors"
        self.sequences(self.held_out, asked.held_out, HELD_OUT)

    def run(self, command):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        if done.returncode not in (0, STOPPED_IN_TIME):
            sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
        return done.stdout

    def kept(self, name, measure):
        """What `measure` gives, once."""
        file = self.folder / f"{name}.json"
        if not file.exists():
            result = measure()
            file.write_text(json.dumps(result))
            print(f"{name}: {json.dumps(result)[-300:]}", file=sys.stderr)
        return json.loads(file.read_text())

    def sequences(self, file, text, count):
        if not file.exists():
            command = [self.asked.program, "inspect", "batches", "--config", self.recipe, "--train", text, "--held-out", text]
            self.run([*command, "--batch", count, "--count", count, "--samples", 1, "--output", file, "--out", self.folder / "none"])

    def pretrain(self, out, seed, more):
        """Runs the recipe; events of its journal."""
        command = [self.asked.program, "pretrain", "--config", self.recipe, "--train", self.asked.train, "--held-out", self.asked.held_out]
        self.run([*command, "--out", out, "--seed", seed, *self.asked.ours.split(), *more])
        return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]

    def our_steps(self):
        """Steps that fit into the time, by a short run."""

        def measure():
            more = ["--steps", 10**6, "--max-time", "40s", "--log-every", 10, "--eval-every", 0]
            events = [event for event in self.pretrain(self.folder / "probe", 1, more) if event["event"] == "train"]
            first, last = events[1], events[-1]
            return (last["step"] - first["step"]) / (last["time"] - first["time"])

        return int(self.kept("our-steps-a-second", measure) * 60 * self.asked.minutes)

    def ours(self, seed):
        def measure():
            out, steps = self.folder / f"ours-{seed}", self.our_steps()
            every = -(-steps // EVALUATIONS)
            more = ["--steps", steps, "--eval-every", every, "--save-every", every, "--keep", EVALUATIONS + 1]
            events = self.pretrain(out, seed, more)
            times = {event["step"]: event["time"] for event in events if event["event"] == "train"}
            begun = min(times.values())
            steps = [step for step in sorted({*range(every, steps, every), steps})]
            weights = [out / "checkpoints" / f"step-{step:08}" / "model.safetensors" for step in steps]
            scores = json.loads(self.run([*self.peer(), "--score", *weights]))
            seconds = [max(time for at, time in times.items() if at <= step) - begun for step in steps]
            return {"curve": [{"seconds": at, "step": step, **score} for at, step, score in zip(seconds, steps, scores)]}

        return self.kept(f"ours-{seed}", measure)

    def peer(self):
        config = self.folder / "probe" / "model" / "config.json"
        return [self.asked.python, PEER, "--held-out", self.held_out, "--config", config]

    def theirs(self, name, form, rate, seed, minutes, evaluations):
        def measure():
            # As many as can be shown; a rival that were to ask for more would see the first ones again.
            self.sequences(self.train, self.asked.train, min(MOST_SHOWN, int(self.our_steps() * self.batch * 1.5)))
            command = [*self.peer(), "--train", self.train, "--learning-rate", rate, "--minutes", minutes, "--batch", self.batch]
            return json.loads(self.run([*command, "--seed", seed, "--evaluations", evaluations, *form]))

        return self.kept(name, measure)


def forms():
    for precision, compiled, masked in itertools.product(("f32", "bf16"), ([], ["--compile"]), ([], ["--masked-only"])):
        yield ["--precision", precision, *compiled, *masked]


def final(result):
    return result["curve"][-1]["masked_lm_loss"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", required=True, type=pathlib.Path)
    parser.add_argument("--held-out", required=True, type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=12)
    parser.add_argument("--recipe", default="small-machine")
    parser.add_argument("--ours", default="", help="more settings of our side, such as '--precision bf16'")
    parser.add_argument("--rates", default="3e-4,5e-4,1e-3,2e-3")
    parser.add_argument("--program", default="target/release/albert-train")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--folder", default="time-to-quality", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    asked = parser.parse_args()
    contest = Contest(asked)
    contest.our_steps()
    speed = {}
    for form in forms():
        name = "-".join(word.strip("-") for word in form if word != "--precision")
        speed[name] = (contest.theirs(f"speed-{name}", form, 5e-4, 1, asked.minutes / 16, 1)["steps"], form)
    best, (_, form) = max(speed.items(), key=lambda item: item[1][0])
    rates = asked.rates.split(",")
    by_rate = {rate: contest.theirs(f"theirs-{rate}-1", form, rate, 1, asked.minutes, EVALUATIONS) for rate in rates}
    rate = min(rates, key=lambda rate: final(by_rate[rate]))
    ours, theirs = [], [by_rate[rate]]
    for seed in SEEDS:
        ours.append(contest.ours(seed))
        if seed > 1:
            theirs.append(contest.theirs(f"theirs-{rate}-{seed}", form, rate, seed, asked.minutes, EVALUATIONS))
    lines = ["| side | seconds | steps | masked words: loss | right | order: loss | right |", "|---|---|---|---|---|---|---|"]
    for side, runs in (("ours", ours), ("transformers", theirs)):
        for points in zip(*(run["curve"] for run in runs)):
            mean = lambda name: statistics.mean(point[name] for point in points)
            cells = [side, f"{mean('seconds'):.0f}", f"{mean('step'):.0f}", f"{mean('masked_lm_loss'):.3f}", f"{mean('masked_lm_accuracy'):.3f}"]
            lines.append("| " + " | ".join([*cells, f"{mean('sentence_order_loss'):.3f}", f"{mean('sentence_order_accuracy'):.3f}"]) + " |")
    steps = ", ".join(f"{name} {count}" for name, (count, _) in speed.items())
    losses = ", ".join(f"{rate} {final(run):.3f}" for rate, run in by_rate.items())
    ends = {side: [final(run) for run in runs] for side, runs in (("ours", ours), ("transformers", theirs))}
    told = "; ".join(
        f"{side} {statistics.mean(values):.3f} ± {statistics.stdev(values):.3f} ({', '.join(f'{value:.3f}' for value in values)})"
        for side, values in ends.items()
    )
    head = [
        f"transformers' form: {best} (steps in {60 * asked.minutes / 16:.0f} s: {steps}); rate {rate} (loss at the end: {losses}).",
        f"Loss of masked words at the end, three seeds: {told}.",
    ]
    text = "\n".join([*head, "", *lines]) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text)


if __name__ == "__main__":
    main()
