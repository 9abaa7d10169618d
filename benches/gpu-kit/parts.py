"""The parts of the GPU kit. Each takes the machine and a dictionary that it fills with what it finds, to be kept as JSON: as it goes, for a call
may be cut. `holds` is whether all is as it must be; it is set at the end."""

import csv
import io
import json
import platform
import re
import shutil
import tempfile

# Failed tests of a part that are looked at more closely, and lines of what one says that go into the results; the log has all of them.
LOOKED_AT, FIRST_LINES, LAST_LINES = 3, 40, 12


def machine_part(machine, found):
    """what there is: GPU, driver, libraries, what the program itself finds"""
    query = "name,driver_version,memory.total,memory.used,compute_mode,mig.mode.current,ecc.mode.current,clocks.max.sm,clocks.max.mem,power.limit"
    card = machine.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv"], 30)
    found["nvidia_smi"] = card.text.strip() if card.code == 0 else None
    found["libraries"] = machine.environment["LD_LIBRARY_PATH"].split(":")
    wanted = json.loads((machine.kit / "kit.json").read_text()).get("glibc")
    found["glibc"] = f"{platform.libc_ver()[1]}, and the programs want {wanted}"
    with tempfile.TemporaryDirectory() as folder:
        doctor = machine.run([machine.program("albert-train"), "doctor", folder], 60)
    found["doctor"] = doctor.text.strip().splitlines()
    found["holds"] = doctor.code == 0 and any(re.match(r"ok +GPU computes", line) for line in found["doctor"])


def tests(machine, found, programs, **environment):
    """Runs tests, each a program and its arguments; what they answer stands in lines that begin with `probe:`."""
    found |= {"tests": [], "answers": []}
    for program, arguments in programs:
        # One that hangs leaves something to the others, and to a closer look.
        done = machine.run([machine.program(program), *arguments], 0.7 * machine.left(), **environment)
        counts = re.findall(r"^test result: \w+\. (\d+) passed; (\d+) failed", done.text, re.MULTILINE)
        passed, failed = map(int, counts[-1]) if counts else (0, 0)
        # Each once: a test that starts itself again shows what that says.
        which = list(dict.fromkeys(re.findall(r"^test (\S+) \.\.\. FAILED", done.text, re.MULTILINE)))
        one = {"program": program, "passed": passed, "failed": failed, "which": which, "seconds": round(done.seconds, 1), "code": done.code}
        if done.code != 0:
            one["said"] = said_of(done, which)
        found["tests"].append(one)
        found["answers"] += [line.removeprefix("probe: ") for line in done.text.splitlines() if line.startswith("probe: ")]
        machine.keep()
    if not machine.emulated:
        failures = [(one, name) for one in found["tests"] for name in one["which"]]
        for one, name in failures[:LOOKED_AT]:
            one.setdefault("closer", {})[name] = looked_at_closely(machine, one["program"], name, environment)
            machine.keep()
    found["holds"] = all(one["code"] == 0 and one["passed"] for one in found["tests"])


def said_of(done, which):
    """What failed tests said, by their names; or what the program said last."""
    sections = re.findall(r"^---- (\S+) stdout ----\n(.*?)(?=^---- \S+ stdout ----$|^failures:$|\Z)", done.text, re.MULTILINE | re.DOTALL)
    said = {name: shortened(text) for name, text in sections if name in which}
    return said or {"at the end": done.text.strip().splitlines()[-FIRST_LINES:]}


def shortened(text):
    """The first lines of a text and the last."""
    lines = text.strip().splitlines()
    left_out = len(lines) - FIRST_LINES - LAST_LINES
    return lines if left_out <= 0 else [*lines[:FIRST_LINES], f"… {left_out} lines, which are in the log …", *lines[-LAST_LINES:]]


def looked_at_closely(machine, program, name, environment):
    """A test that failed once more, alone: with every call of the GPU waited for, so that the one which fails is named, and under a tool that
    finds the kernel and the address."""
    # The test's own process does the work, not children.
    alone = environment | {"CUDA_LAUNCH_BLOCKING": "1", "EMULATED_GPU_TEST_CHILD": "1"}
    test = [machine.program(program), "--exact", name, "--nocapture"]
    ways = {"with CUDA_LAUNCH_BLOCKING": test}
    if sanitizer := tool("compute-sanitizer"):
        ways["under memcheck"] = [sanitizer, "--tool", "memcheck", "--print-limit", "5", *test]
    found = {}
    for way, command in ways.items():
        done = machine.run(command, 60, **alone)
        found[way] = "it passes" if done.code == 0 else shortened(done.text)
    return found


def tests_part(machine, found):
    """all CUDA tests: operations, golden models, heads and trajectory, kill and resume"""
    if machine.emulated:
        return tests(machine, found, [("operations", ["on_a_gpu::add"])])
    operations = ["on_a_gpu", "refused_products", "gpu_attention::less"]
    rest = [(name, []) for name in ("golden_models", "golden_heads", "golden_trajectory", "rounded_lengths", "gpu")]
    tests(machine, found, [("operations", operations), *rest])


def vectors_part(machine, found):
    """fragments of mma, ldmatrix and stmatrix, products that an H100 made, products of cuBLASLt, limits of registers"""
    programs = [(name, []) for name in ("fragments", "h100_products", "blas_layers", "resources")]
    # Which tells of products that the library does not do, and the library why.
    programs += [("lt_products", ["--nocapture", "--test-threads=1"])]
    tests(machine, found, programs, CARGO_MANIFEST_DIR=str(machine.kit / "tests/emulated-gpu"), CUBLASLT_LOG_LEVEL="1")


def unproven_part(machine, found):
    """what no text promises: errors of approximate functions, products that cuBLASLt may refuse, what captures forbid"""
    tests(machine, found, [("probe", ["--nocapture", "--test-threads=1"]), ("graphs", [])])


def tool(name):
    """A tool of CUDA's, or None."""
    path = shutil.which(name)
    folders = ("/usr/local/cuda/bin", "/usr/local/cuda/compute-sanitizer", "/opt/nvidia/nsight-compute")
    return path or next((found for folder in folders if (found := shutil.which(name, path=folder))), None)


SANITIZED = ["layer_norm", "attention", "embedding", "gather", "cross_entropy", "optimizer", "linear", "sequence_softmax"]


def sanitizer_part(check, what):
    """The part for one of compute-sanitizer's tools."""

    def part(machine, found):
        sanitizer = tool("compute-sanitizer")
        if sanitizer is None:
            found |= {"missing": "compute-sanitizer is not on the PATH", "holds": True}
            return
        checks = found["checks"] = []
        for operation in SANITIZED:
            # The test's own process does the work, not children.
            test = [machine.program("operations"), "--exact", f"on_a_gpu::{operation}", "--nocapture"]
            done = machine.run([sanitizer, "--tool", check, "--error-exitcode", 9, *test], 120, EMULATED_GPU_TEST_CHILD="1")
            summary = re.findall(r"(?:ERROR|RACECHECK) SUMMARY: .*", done.text)
            words = "given up" if done.code is None else (summary or [done.last_line()])[-1]
            checks.append({"tool": check, "operation": operation, "code": done.code, "said": words})
            if done.code not in (0, None) and not summary:
                found |= {"missing": f"compute-sanitizer does not work here: {words}", "holds": True}
                return
            if done.code not in (0, None):
                checks[-1]["lines"] = shortened("\n".join(line for line in done.text.splitlines() if line.startswith("=========")))
        found["holds"] = all(one["code"] == 0 for one in checks)

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


def counters_part(machine, found):
    """counters of the emulated GPU beside a profiler's, launch by launch"""
    counted = [json.loads(line) for line in (machine.kit / "counts.jsonl").read_text().splitlines()]
    profiler = tool("ncu")
    if profiler is None:
        found |= {"missing": "ncu is not on the PATH", "holds": True}
        return
    test = [machine.program("h100"), "--exact", "profiled::launches_for_a_profiler"]
    options = ["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--metrics", ",".join(COUNTERS)]
    done = machine.run([profiler, *options, "--target-processes", "all", *test], 400)
    rows = profiled(done.text)
    if not rows:
        found |= {"missing": f"ncu does not work here: {done.failure()}", "holds": True}
        return
    launches = found["launches"] = []
    for count in counted:
        # Launches of one kernel come in the same order.
        place = next((index for index, row in enumerate(rows) if row["kernel"] == count["kernel"]), None)
        launches.append(count | {"profiled": rows.pop(place) if place is not None else None})
    found["holds"] = all(one["profiled"] and agree(one, one["profiled"]) for one in launches)


# Registers of a thread that are the fewest it is given; loads of 4 bytes that machine code makes one of at most, of 16; passes through banks, one
# in so many, that hardware makes again now and then.
FEWEST_REGISTERS, JOINED, REPEATED = 16, 4, 512


def agree(counted, profiled):
    """Whether all that is counted exactly is the same."""
    names = ["load_sectors", "store_sectors"]
    # A profiler counts elsewhere what attention loads past the registers.
    names += [] if counted["kernel"].startswith("attention") else ["shared_store_wavefronts"]
    same = all(counted[name] == profiled[name] for name in names)
    same &= max(counted["registers"], FEWEST_REGISTERS) == profiled["registers"]
    # Loads that PTX has apart may be one in machine code.
    counted, profiled = counted["shared_load_wavefronts"], profiled["shared_load_wavefronts"]
    return same and profiled is not None and counted / JOINED <= profiled <= counted + counted / REPEATED


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
            rows.append({"kernel": row["Kernel Name"].split("(")[0], "grid": row.get("Grid Size"), **counters})
    return rows


def benched(machine, found, what, shapes):
    benches = found["benches"] = []
    for shape in shapes:
        done = machine.run([machine.program("albert-train"), "bench", what, *shape.split(), "--device", "cuda", "--json"], 200)
        benches.append({"shape": shape} | (done.json() or {"failed": done.failure()}))
    found["holds"] = all(one.get("kernels") for one in benches)


def gemm_part(machine, found):
    """matrix products of every model size: share of the measured peak"""
    sizes = [f"--preset {preset} --tokens {tokens}" for tokens in (33792, 16896) for preset in ("base", "large", "xlarge", "xxlarge")]
    benched(machine, found, "gemm", ["qkv --preset micro --seq 8 --tokens 16"] if machine.emulated else sizes)


def kernels_part(machine, found):
    """all other kernels: share of the measured copy bandwidth and of the roofline"""
    shapes = ["--preset base --seq 128", "--preset base --seq 512", "--preset large --seq 512", "--preset xlarge --seq 512", "--preset base-v1 --seq 128"]
    benched(machine, found, "kernels", ["softmax --preset micro --seq 8 --tokens 16"] if machine.emulated else shapes)


# Model, sequences and tokens of each; whether PyTorch's compiler is tried, which takes a minute.
STEPS = [("base", 264, 128, True), ("base", 66, 512, True), ("large", 66, 512, True), ("base", 32, 128, True), ("xxlarge", 66, 128, False)]


def steps_part(machine, found):
    """whole training steps beside transformers': bf16, SDPA, torch.compile, in turn on the same machine"""
    few = machine.emulated is not None
    shapes = [("micro", 2, 8, False)] if few else STEPS
    rows = found["steps"] = [
        {"model": model, "batch": batch, "length": length, "ours": [], "theirs": [], "compiled": []} for model, batch, length, _ in shapes
    ]

    def command(row):
        command = [machine.program("albert-train"), "bench", "step", "--preset", row["model"], "--seq", row["length"], "--batch", row["batch"]]
        command += ["--micro-batch", row["batch"], "--device", "cuda", "--precision", "bf16", "--optimizer", "adamw", "--json"]
        return [*command, "--steps", 1 if few else 20]

    def ours(row):
        if machine.left() < 1:
            return  # what there was no time for does not fail
        done = machine.run(command(row), 120)
        row["ours"].append(done.json() or {"failed": done.failure()})
        row["remarks"] = row["ours"][-1].get("remarks", [])

    # What says most comes first, of all shapes: a call that is cut has something of each.
    for row in rows:
        ours(row)
    asks = "import torch, transformers; print('PyTorch', torch.__version__, 'transformers', transformers.__version__, torch.cuda.is_available())"
    peer = machine.python("-c", asks, limit=120)
    found["peer"] = peer.last_line().removesuffix(" True")
    there = peer.code == 0 and peer.last_line().endswith("True")
    if not there:
        found["missing"] = f"transformers on a GPU ({peer.last_line()})"
    for row in rows:
        if there:
            row["theirs"].append(theirs(machine, row, False))
        ours(row)
    for row in rows:
        done = machine.run([*command(row), "--profile"], 120)
        row["profile"] = (done.json() or {}).get("profile_milliseconds")
    for row, (*_, compiles) in zip(rows, shapes):
        if there and compiles:
            row["compiled"].append(theirs(machine, row, True))
            ours(row)
    found["holds"] = all(row["ours"] and not any("failed" in one for one in row["ours"]) for row in rows)


def theirs(machine, row, compiles):
    """The same step of transformers; fewer sequences where so many do not fit into memory."""
    batch = row["batch"]
    while True:
        command = [machine.kit / "pytorch_step.py", row["model"], row["length"], batch, "bf16", "--device", "cuda", "--steps", 20]
        done = machine.python(*command, *(["--compile"] if compiles else []), limit=200)
        if done.code not in (0, None) and "out of memory" in done.text.lower() and batch > 1:
            batch //= 2
            continue
        return {"batch": batch} | (done.json() or {"failed": done.failure()})


def launches_part(machine, found):
    """every kernel of a whole step of base, by a profiler: times and microseconds"""
    profiler = tool("ncu")
    if profiler is None or machine.emulated:
        found |= {"missing": "ncu is not on the PATH, or has no GPU to look at", "holds": True}
        return
    step = "bench step --device cuda --precision bf16 --optimizer adamw --steps 1 --preset base --batch 264 --micro-batch 264 --seq 128"
    options = ["--csv", "--page", "raw", "--print-units", "base", "--clock-control", "none", "--graph-profiling", "node"]
    done = machine.run([profiler, *options, "--metrics", "gpu__time_duration.sum", machine.program("albert-train"), *step.split()], 120)
    rows = profiled(done.text)
    # From the update of the step before on: that ends with the weights in the numbers that products multiply.
    ends = [index for index, row in enumerate(rows) if row["kernel"].startswith("prepare_weights")]
    if len(ends) < 2:
        found |= {"missing": f"ncu does not work here: {done.failure()}", "holds": True}
        return
    kernels = {}
    for row in rows[ends[-2] + 1 : ends[-1] + 1]:
        if row["nanoseconds"] is not None:
            kernels.setdefault((row["kernel"], row["grid"]), []).append(row["nanoseconds"] / 1e3)
    found["kernels"] = sorted(([*kernel, len(times), sum(times)] for kernel, times in kernels.items()), key=lambda row: -row[3])
    found["holds"] = True


def events(folder):
    """What a run noted of its training."""
    with open(f"{folder}/metrics.jsonl", encoding="utf-8") as lines:
        return [event for event in map(json.loads, lines) if event["event"] == "train"]


def stories(machine, steps, size, folder, *more):
    """Pre-training on the built-in stories."""
    command = [machine.program("albert-train"), "pretrain", "--device", "cuda", "--steps", steps, *size, *more, "--out", folder]
    return machine.run(command, 300)


SMALL = ["--preset", "micro", "--batch", 2, "--max-seq-length", 16]


def training_part(machine, found):
    """a short pre-training on the built-in stories: the loss falls"""
    steps, size = (3, SMALL) if machine.emulated else (300, ["--preset", "small"])
    with tempfile.TemporaryDirectory() as folder:
        done = stories(machine, steps, size, f"{folder}/run", "--log-every", max(1, steps // 30))
        if done.code != 0:
            return failed(found, done)
        losses = found["losses"] = [[event["step"], event["loss"]] for event in events(f"{folder}/run")]
    found |= {"run_seconds": round(done.seconds, 1), "holds": bool(machine.emulated) or losses[-1][1] < 0.8 * losses[0][1]}


def finetuning_part(machine, found):
    """milliseconds of a fine-tuning step: a pair of classes, 32 sequences of 128 tokens"""
    steps, size, batch, length = (3, SMALL, 2, 16) if machine.emulated else (200, ["--preset", "base", "--batch", 32], 32, 128)
    with tempfile.TemporaryDirectory() as folder:
        done = stories(machine, 1, size, f"{folder}/model")
        if done.code != 0:
            return failed(found, done)
        with open(f"{folder}/table.tsv", "w", encoding="utf-8") as table:
            table.write("text\tlabel\n")
            for row in range(8 * batch):
                words = " ".join(f"{('the', 'old', 'cat', 'sat', 'down')[(row * place) % 5]}{place % 7}" for place in range(length))
                table.write(f"{words}\t{row % 2}\n")
        command = [machine.program("albert-train"), "finetune", "table", "--kind", "class", "--model", f"{folder}/model", "--data", f"{folder}/table.tsv"]
        command += ["--steps", steps, "--batch", batch, "--max-seq-length", length, "--log-every", 1, "--eval-every", 10**6, "--device", "cuda"]
        done = machine.run([*command, "--out", f"{folder}/run"], 300)
        if done.code != 0:
            return failed(found, done)
        times = [event["time"] for event in events(f"{folder}/run")]
    # The first steps compile kernels and are recorded.
    later = times[len(times) // 4 :]
    found |= {"steps": steps, "milliseconds": 1e3 * (later[-1] - later[0]) / (len(later) - 1), "holds": True}


def failed(found, done):
    """A part that its program ended."""
    found |= {"failed": done.failure(), "said": shortened(done.text), "holds": False}


# Parts, the weightiest first, and their shares of the time where that is short.
PARTS = {
    "machine": (machine_part, 20),
    "tests": (tests_part, 170),
    "steps": (steps_part, 130),
    "launches": (launches_part, 40),
    "unproven": (unproven_part, 25),
    "vectors": (vectors_part, 25),
    "gemm": (gemm_part, 30),
    "kernels": (kernels_part, 30),
    "finetuning": (finetuning_part, 25),
    "training": (training_part, 20),
    "counters": (counters_part, 25),
    "sanitizer-memcheck": (sanitizer_part("memcheck", "memory"), 40),
    "sanitizer-racecheck": (sanitizer_part("racecheck", "races in shared memory"), 20),
    "sanitizer-synccheck": (sanitizer_part("synccheck", "barriers"), 20),
    "sanitizer-initcheck": (sanitizer_part("initcheck", "memory that was never written"), 20),
}
