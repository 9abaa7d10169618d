"""The parts of the GPU kit. Each takes the machine and gives what it found, to be kept as JSON; `holds` is whether all is as it must be."""

import csv
import io
import json
import re
import shutil
import tempfile


def machine_part(machine):
    """what there is: GPU, driver, libraries, what the program itself finds"""
    query = "name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit"
    card = machine.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], 30)
    with tempfile.TemporaryDirectory() as folder:
        doctor = machine.run([machine.program("albert-train"), "doctor", folder], 60)
    found = {"nvidia_smi": card.text.strip() if card.code == 0 else None, "doctor": doctor.text.strip().splitlines()}
    return found | {"holds": doctor.code == 0 and any("cuda:0" in line for line in found["doctor"])}


def tests(machine, programs, **environment):
    """Runs tests, each a program and its arguments; what they answer stands in lines that begin with `probe:`."""
    found, answers = [], []
    for program, arguments in programs:
        done = machine.run([machine.program(program), *arguments], **environment)
        counts = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", done.text, re.MULTILINE)
        passed, failed = map(int, counts[-1]) if counts else (0, 0)
        which = re.findall(r"^test (\S+) \.\.\. FAILED", done.text, re.MULTILINE)
        seconds = round(done.seconds, 1)
        found.append({"program": program, "passed": passed, "failed": failed, "which": which, "seconds": seconds, "code": done.code})
        answers += [line.removeprefix("probe: ") for line in done.text.splitlines() if line.startswith("probe: ")]
    return {"tests": found, "answers": answers, "holds": all(one["code"] == 0 and one["passed"] for one in found)}


def tests_part(machine):
    """all CUDA tests: operations, golden models, heads and trajectory, kill and resume"""
    if machine.emulated:
        return tests(machine, [("operations", ["on_a_gpu::add"])])
    operations = ["on_a_gpu", "refused_products", "gpu_attention::less"]
    rest = [(name, []) for name in ("golden_models", "golden_heads", "golden_trajectory", "rounded_lengths", "gpu")]
    return tests(machine, [("operations", operations), *rest])


def vectors_part(machine):
    """fragments of mma, ldmatrix and stmatrix, products that an H100 made, products of cuBLASLt, limits of registers"""
    programs = [(name, []) for name in ("fragments", "h100_products", "blas_layers", "lt_products", "resources")]
    return tests(machine, programs, CARGO_MANIFEST_DIR=str(machine.kit / "tests/emulated-gpu"))


def unproven_part(machine):
    """what no text promises: errors of approximate functions, products that cuBLASLt may refuse, what captures forbid"""
    return tests(machine, [("probe", ["--nocapture", "--test-threads=1"]), ("graphs", [])])


def tool(name):
    """A tool of CUDA's, or None."""
    path = shutil.which(name)
    folders = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/nsight-compute")
    return path or next((found for folder in folders if (found := shutil.which(name, path=folder))), None)


SANITIZED = ["layer_norm", "attention", "embedding", "gather", "cross_entropy", "optimizer", "linear", "sequence_softmax"]


def sanitizer_part(check, what):
    """The part for one of compute-sanitizer's tools."""

    def part(machine):
        sanitizer = tool("compute-sanitizer")
        if sanitizer is None:
            return {"missing": "compute-sanitizer is not on the PATH", "holds": True}
        found = []
        for operation in SANITIZED:
            # The test's own process does the work, not children.
            test = [machine.program("operations"), "--exact", f"on_a_gpu::{operation}", "--nocapture"]
            done = machine.run([sanitizer, "--tool", check, "--error-exitcode", 9, *test], 120, EMULATED_GPU_TEST_CHILD="1")
            summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", done.text)
            words = "given up" if done.code is None else (summary or [done.last_line()])[-1]
            found.append({"tool": check, "operation": operation, "code": done.code, "said": words})
            if done.code not in (0, None) and not summary:
                return {"checks": found, "missing": f"compute-sanitizer does not work here: {words}", "holds": True}
        return {"checks": found, "holds": all(one["code"] == 0 for one in found)}

    part.__doc__ = f"compute-sanitizer over small operations: {what}"
    return part


# What a profiler calls it, and the emulated GPU.
COUNTERS = {
    "smsp__inst_executed.sum": "instructions",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_ld.sum": "load_sectors",
    "l1tex__t_sectors_pipe_lsu_mem_global_op_st.sum": "store_sectors",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_ld.sum": "shared_load_wavefronts",
    "l1tex__data_pipe_lsu_wavefronts_mem_shared_op_st.sum": "shared_store_wavefronts",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum": "bank_conflicts",
    "launch__registers_per_thread": "registers",
    "gpu__time_duration.sum": "nanoseconds",
}


def counters_part(machine):
    """counters of the emulated GPU beside a profiler's, launch by launch"""
    counted = [json.loads(line) for line in (machine.kit / "counts.jsonl").read_text().splitlines()]
    profiler = tool("ncu")
    if profiler is None:
        return {"missing": "ncu is not on the PATH", "holds": True}
    test = [machine.program("h100"), "--exact", "profiled::launches_for_a_profiler"]
    options = ["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--metrics", ",".join(COUNTERS)]
    done = machine.run([profiler, *options, "--target-processes", "all", *test], 400)
    rows = profiled(done.text)
    if not rows:
        return {"missing": f"ncu does not work here: {done.last_line()}", "holds": True}
    found = []
    for count in counted:
        # Launches of one kernel come in the same order.
        place = next((index for index, row in enumerate(rows) if row["kernel"] == count["kernel"]), None)
        found.append(count | {"profiled": rows.pop(place) if place is not None else None})
    return {"launches": found, "holds": all(one["profiled"] and agree(one, one["profiled"]) for one in found)}


def agree(counted, profiled):
    """Whether all that is counted exactly is the same."""
    names = ["store_sectors", "shared_load_wavefronts", "shared_store_wavefronts", "registers"]
    # A profiler counts what attention loads past the registers elsewhere.
    names += [] if counted["kernel"].startswith("attention") else ["load_sectors"]
    return all(counted[name] == profiled[name] for name in names)


def profiled(text):
    """Kernel and counters of every launch in a profiler's table."""
    lines = text.splitlines()
    head = next((index for index, line in enumerate(lines) if line.startswith('"ID"')), None)
    if head is None:
        return []
    rows = []
    for row in csv.DictReader(io.StringIO("\n".join(lines[head:]))):
        # The line below the head holds units.
        if row["ID"]:
            number = lambda name: float(row[name].replace(",", "")) if row.get(name) not in (None, "", "n/a") else None
            counters = {ours: number(theirs) for theirs, ours in COUNTERS.items()}
            rows.append({"kernel": row["Kernel Name"].split("(")[0], **counters})
    return rows


def benched(machine, what, shapes):
    found = []
    for shape in shapes:
        done = machine.run([machine.program("albert-train"), "bench", what, *shape.split(), "--device", "cuda", "--json"], 200)
        found.append({"shape": shape} | (done.json() or {"failed": done.last_line()}))
    return {"benches": found, "holds": all(one.get("kernels") for one in found)}


def gemm_part(machine):
    """matrix products of every model size: share of the measured peak"""
    sizes = [f"--preset {preset} --tokens {tokens}" for preset in ("base", "large", "xlarge", "xxlarge") for tokens in (16896, 33792)]
    return benched(machine, "gemm", ["qkv --preset micro --seq 8 --tokens 16"] if machine.emulated else sizes)


def kernels_part(machine):
    """all other kernels: share of the measured copy bandwidth and of the roofline"""
    shapes = ["--preset base --seq 128", "--preset base --seq 512", "--preset large --seq 512", "--preset xlarge --seq 512", "--preset base-v1 --seq 128"]
    return benched(machine, "kernels", ["softmax --preset micro --seq 8 --tokens 16"] if machine.emulated else shapes)


# Model, sequences and tokens of each; whether PyTorch's compiler is tried, which takes a minute.
STEPS = [("base", 264, 128, True), ("base", 66, 512, True), ("large", 66, 512, True), ("base", 32, 128, True), ("xxlarge", 66, 128, False)]


def steps_part(machine):
    """whole training steps beside transformers': bf16, SDPA, torch.compile, in turn on the same machine"""
    rows, few = [], machine.emulated is not None
    asks = "import torch, transformers; print('PyTorch', torch.__version__, 'transformers', transformers.__version__, torch.cuda.is_available())"
    peer = machine.python("-c", asks, limit=120)
    there = peer.code == 0 and peer.last_line().endswith("True")
    for model, batch, length, compiles in [("micro", 2, 8, False)] if few else STEPS:
        ours = [machine.program("albert-train"), "bench", "step", "--preset", model, "--seq", length, "--batch", batch, "--micro-batch", batch]
        ours += ["--device", "cuda", "--precision", "bf16", "--optimizer", "adamw", "--json", "--steps", 1 if few else 20]
        row = {"model": model, "batch": batch, "length": length, "ours": [], "theirs": [], "compiled": []}
        rows.append(row)
        for kind in ("ours", "theirs", "ours", *(["compiled", "ours"] if compiles else [])):
            if kind == "ours":
                done = machine.run(ours, 120)
                row[kind].append(done.json() or {"failed": done.last_line()})
            elif there:
                row[kind].append(theirs(machine, model, length, batch, kind == "compiled"))
        done = machine.run([*ours, "--profile"], 120)
        row["profile"] = (done.json() or {}).get("profile_milliseconds")
    found = {"steps": rows, "peer": peer.last_line().removesuffix(" True"), "holds": not any("failed" in one for row in rows for one in row["ours"])}
    return found if there else found | {"missing": f"transformers on a GPU ({peer.last_line()})"}


def theirs(machine, model, length, batch, compiles):
    """The same step of transformers; fewer sequences where so many do not fit into memory."""
    while True:
        command = [machine.kit / "pytorch_step.py", model, length, batch, "bf16", "--device", "cuda", "--steps", 20]
        done = machine.python(*command, *(["--compile"] if compiles else []), limit=200)
        if done.code != 0 and "out of memory" in done.text.lower() and batch > 1:
            batch //= 2
            continue
        return {"batch": batch} | (done.json() or {"failed": "given up" if done.code is None else done.last_line()})


def events(folder):
    """What a run noted of its training."""
    with open(f"{folder}/metrics.jsonl", encoding="utf-8") as lines:
        return [event for event in map(json.loads, lines) if event["event"] == "train"]


def failure(done):
    return {"failed": "given up" if done.code is None else done.last_line(), "holds": False}


def stories(machine, steps, size, folder, *more):
    """Pre-training on the built-in stories."""
    command = [machine.program("albert-train"), "pretrain", "--device", "cuda", "--steps", steps, *size, *more, "--out", folder]
    return machine.run(command, 300)


SMALL = ["--preset", "micro", "--batch", 2, "--max-seq-length", 16]


def training_part(machine):
    """a short pre-training on the built-in stories: the loss falls"""
    steps, size = (3, SMALL) if machine.emulated else (300, ["--preset", "small"])
    with tempfile.TemporaryDirectory() as folder:
        done = stories(machine, steps, size, f"{folder}/run", "--log-every", max(1, steps // 30))
        if done.code != 0:
            return failure(done)
        losses = [[event["step"], event["loss"]] for event in events(f"{folder}/run")]
    return {"losses": losses, "run_seconds": round(done.seconds, 1), "holds": bool(machine.emulated) or losses[-1][1] < 0.8 * losses[0][1]}


def finetuning_part(machine):
    """milliseconds of a fine-tuning step: a pair of classes, 32 sequences of 128 tokens"""
    steps, size, batch, length = (3, SMALL, 2, 16) if machine.emulated else (200, ["--preset", "base", "--batch", 32], 32, 128)
    with tempfile.TemporaryDirectory() as folder:
        done = stories(machine, 1, size, f"{folder}/model")
        if done.code != 0:
            return failure(done)
        with open(f"{folder}/table.tsv", "w", encoding="utf-8") as table:
            table.write("text\tlabel\n")
            for row in range(8 * batch):
                words = " ".join(f"{('the', 'old', 'cat', 'sat', 'down')[(row * place) % 5]}{place % 7}" for place in range(length))
                table.write(f"{words}\t{row % 2}\n")
        command = [machine.program("albert-train"), "finetune", "table", "--kind", "class", "--model", f"{folder}/model", "--data", f"{folder}/table.tsv"]
        command += ["--steps", steps, "--batch", batch, "--max-seq-length", length, "--log-every", 1, "--eval-every", 10**6, "--device", "cuda"]
        done = machine.run([*command, "--out", f"{folder}/run"], 300)
        if done.code != 0:
            return failure(done)
        times = [event["time"] for event in events(f"{folder}/run")]
    # The first steps compile kernels and are recorded.
    later = times[len(times) // 4 :]
    return {"steps": steps, "milliseconds": 1e3 * (later[-1] - later[0]) / (len(later) - 1), "holds": True}


PARTS = {
    "machine": machine_part,
    "vectors": vectors_part,
    "unproven": unproven_part,
    "tests": tests_part,
    "kernels": kernels_part,
    "gemm": gemm_part,
    "steps": steps_part,
    "finetuning": finetuning_part,
    "training": training_part,
    "counters": counters_part,
    "sanitizer-memcheck": sanitizer_part("memcheck", "memory"),
    "sanitizer-racecheck": sanitizer_part("racecheck", "races in shared memory"),
    "sanitizer-synccheck": sanitizer_part("synccheck", "barriers"),
    "sanitizer-initcheck": sanitizer_part("initcheck", "memory that was never written"),
}
