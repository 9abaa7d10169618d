"""The tables that are made of what the parts of the GPU kit found."""


def table(head, rows):
    def cell(value):
        if isinstance(value, float):
            return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"
        return "" if value is None else str(value)

    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(value).replace("|", "/") for value in row) + " |" for row in lines)


def percent(share):
    return None if share is None else f"{100 * share:.0f}%"


def part(name, found):
    """What a part found, as a person reads it. A part that was cut has found some of it."""
    if "failed" in found:
        text = f"failed: {found['failed']}" + block(found.get("said", []))
    else:
        try:
            text = TABLES[name](found)
        except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError) as error:
            text = f"No table can be made of what there is ({error!r}): see `results.json`."
    return text + (f"\n\nNot measured: {found['missing']}." if "missing" in found else "")


def block(lines):
    return "\n\n```text\n" + "\n".join(lines) + "\n```" if lines else ""


def machine(found):
    folders = "libraries in " + ", ".join(found.get("libraries", []))
    return "\n".join([found.get("nvidia_smi") or "no nvidia-smi", "", f"glibc {found.get('glibc')}; {folders}"]) + block(found.get("doctor", []))


def tests(found):
    rows = [[one["program"], one["passed"], one["failed"], ", ".join(one["which"]), one["seconds"]] for one in found["tests"]]
    for row, one in zip(rows, found["tests"]):
        row[3] = row[3] or ("given up" if one["code"] is None else "" if one["code"] == 0 else f"ended with code {one['code']}")
    text = table(["program", "passed", "failed", "which", "seconds"], rows)
    text = "\n".join([text, "", *(f"- {answer}" for answer in found["answers"])]).rstrip()
    for one in found["tests"]:
        for name, lines in one.get("said", {}).items():
            text += f"\n\n`{one['program']}`, {name}:" + block(lines)
        for name, ways in one.get("closer", {}).items():
            for way, lines in ways.items():
                text += f"\n\n`{one['program']}`, {name}, once more, {way}:" + (f" {lines}" if isinstance(lines, str) else block(lines))
    return text


def sanitizer(found):
    checks = found.get("checks", [])
    text = table(["tool", "operation", "said"], [[one["tool"], one["operation"], one["said"]] for one in checks])
    return text + "".join(f"\n\n{one['operation']}:" + block(one["lines"]) for one in checks if "lines" in one)


def counters(found):
    names = ["instructions", "load_sectors", "store_sectors", "shared_load_wavefronts", "shared_store_wavefronts", "registers"]
    rows = []
    for one in found.get("launches", []):
        seen = one["profiled"] or {}
        pairs = [f"{one[name]} / {seen[name]:.0f}" if seen.get(name) is not None else None for name in names]
        microseconds = seen["nanoseconds"] / 1e3 if seen.get("nanoseconds") else None
        rows.append([one["kernel"], *pairs, one["least_microseconds"], microseconds])
    head = ["kernel", *(f"{name.replace('_', ' ')}: emulated / profiled" for name in names), "us at least, predicted", "us"]
    return table(head, rows)


def benches(found):
    texts = []
    for one in found["benches"]:
        if "failed" in one:
            texts.append(f"`{one['shape']}` failed: {one['failed']}")
            continue
        peak, copy = one["peak_bf16_flops_per_second"] / 1e12, one["copy_bytes_per_second"] / 1e12
        rows = [
            [row["name"], row["seconds"] * 1e6, row["flops_per_second"] / 1e12, percent(row["share_of_peak"]), row["bytes_per_second"] / 1e12,
             percent(row["share_of_copy"]), f"{percent(row['share_of_roofline'])} {row['limit']}"]
            for row in one["kernels"]
        ]
        head = ["kernel", "us", "TFLOP/s", "of peak", "TB/s", "of copy", "of the roofline"]
        texts.append(f"`{one['shape']}`: {peak:.1f} TFLOP/s in bf16, {copy:.2f} TB/s, measured\n\n" + table(head, rows))
    return "\n\n".join(texts)


def steps(found):
    rows = []
    for row in found["steps"]:
        ours = [one["sequences_per_second"] for one in row["ours"] if "failed" not in one]
        mine = sorted(ours)[len(ours) // 2] if ours else None
        share = next((one["share_of_peak"] for one in row["ours"] if "failed" not in one), None)
        cells = [row["model"], f"{row['batch']} x {row['length']}", mine, percent(share)]
        for kind in ("theirs", "compiled"):
            speed = [one["batch"] / one["median_s"] for one in row[kind] if "failed" not in one]
            failed = [one["failed"] for one in row[kind] if "failed" in one]
            cells += [speed[0], mine / speed[0] if mine else None] if speed else [failed[0] if failed else "not measured", None]
        rows.append(cells)
    head = ["model", "sequences x tokens", "ours, sequences/s", "of peak", "transformers", "ratio", "compiled", "ratio"]
    profiles = []
    for row in found["steps"]:
        if row.get("profile"):
            times = sorted(row["profile"].items(), key=lambda pair: -pair[1])
            profiles.append(f"- {row['model']} {row['batch']} x {row['length']}: " + ", ".join(f"{name} {ms:.2f}" for name, ms in times[:12]))
    text = (f"Beside {found['peer']}, bf16, SDPA.\n\n" if "peer" in found and "missing" not in found else "") + table(head, rows)
    for row in found["steps"]:
        text += "".join(f"\n\n{row['model']} {row['batch']} x {row['length']}: {remark}" for remark in row.get("remarks", []))
    return text + ("\n\nMilliseconds of a step, each kernel waited for:\n\n" + "\n".join(profiles) if profiles else "")


def launches(found):
    if "kernels" not in found:
        return ""
    total = sum(microseconds for *_, microseconds in found["kernels"])
    rows = [[kernel, grid, times, microseconds, microseconds / times] for kernel, grid, times, microseconds in found["kernels"]]
    return f"{total / 1e3:.1f} ms in {sum(row[2] for row in rows)} launches\n\n" + table(["kernel", "blocks", "times", "us", "us each"], rows)


def finetuning(found):
    return f"{found['milliseconds']:.2f} ms a step, the mean of the last three quarters of {found['steps']}"


def training(found):
    losses = found["losses"]
    return f"{losses[-1][0]} steps in {found['run_seconds']} s; loss {losses[0][1]:.3f} at step {losses[0][0]}, {losses[-1][1]:.3f} at the end"


TABLES = {
    "machine": machine,
    "vectors": tests,
    "unproven": tests,
    "tests": tests,
    "kernels": benches,
    "gemm": benches,
    "steps": steps,
    "launches": launches,
    "finetuning": finetuning,
    "training": training,
    "counters": counters,
    **{f"sanitizer-{check}": sanitizer for check in ("memcheck", "racecheck", "synccheck", "initcheck")},
}


def document(results):
    """All of it as one page."""
    kit = results["kit"]
    head = "# Measured on a GPU\n\n" if results["card"] else "# A rehearsal on the emulated GPU: no figure here is a GPU's\n\n"
    text = head + f"By `benches/gpu-kit`, built at {kit['commit']} ({kit['profile']}, {kit['compiler']}); {results['card'] or 'no GPU'}, {results['system']}.\n"
    for name, found in results.get("parts", {}).items():
        held = {True: "", False: " — does not hold", None: " — was cut"}[found["holds"]]
        text += f"\n## {name}{held}\n\n{part(name, found)}\n"
    return text
