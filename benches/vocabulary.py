"""vocabulary.py BINARY [ENGLISH.txt]: trains vocabularies of the same size on the same text with `BINARY tokenizer train`
and with sentencepiece (ALBERT's flags), one after the other, and prints for each what they cost and how many pieces
held-out text becomes.

Texts of 20 MB: English, if a file of at least 21 MB is given; 20,000 made-up Thai words drawn by Zipf's law and written
without spaces; random Latin words. Needs the sentencepiece package; 2 threads each."""

import bisect
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time

TRAIN = """
import sentencepiece, sys
sentencepiece.SentencePieceTrainer.train(input=sys.argv[1], model_prefix=sys.argv[2], vocab_size=int(sys.argv[3]),
    control_symbols='[CLS],[SEP],[MASK]', user_defined_symbols=list('()"-.–£€'), pad_id=0, unk_id=1, bos_id=-1, eos_id=-1,
    character_coverage=0.99995, num_threads=2, minloglevel=2)
"""
SIZE, HELD_OUT, PIECES = 20_000_000, 1_000_000, 8000


def thai_lexicon(count):
    draws = random.Random(1)
    consonants = [chr(c) for c in range(0x0E01, 0x0E2F)]
    words = {}
    while len(words) < count:
        syllables = (
            draws.choice(["เ", "แ", "โ", "ไ", "", "", ""])
            + draws.choice(consonants)
            + draws.choice(["า", "ะ", "ิ", "ี", "ุ", "ู", "ั", "ึ", ""])
            + draws.choice(["", "", "่", "้", "็"])
            + draws.choice(consonants + [""] * 20)
            for _ in range(draws.choice([1, 2, 2, 3, 4]))
        )
        words["".join(syllables)] = None
    return list(words)


def unspaced(lexicon, size, seed):
    draws = random.Random(seed)
    sums = list(itertools.accumulate(1 / rank for rank in range(1, len(lexicon) + 1)))
    while size > 0:
        words = (lexicon[bisect.bisect_left(sums, draws.random() * sums[-1])] for _ in range(draws.randint(10, 40)))
        line = "".join(words)
        size -= len(line.encode())
        yield line


def latin(size, seed):
    draws = random.Random(seed)
    word = lambda: "".join(draws.choices("abcdefghijklmnopqrstuvwxyz", k=draws.randint(3, 10)))
    while size > 0:
        line = " ".join(word() for _ in range(draws.randint(8, 20)))
        size -= len(line)
        yield line


def english(path, start, size):
    with open(path, encoding="utf-8") as file:
        for line in file:
            if start > 0:
                start -= len(line.encode())
                continue
            if size <= 0:
                return
            size -= len(line.encode())
            yield line.strip().lower()


def write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines if line)


def measure(command):
    """Seconds on the clock, of processor time, and MiB at the peak."""
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0, command
    return time.monotonic() - begin, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    binary = sys.argv[1]
    lexicon = thai_lexicon(20_000)
    texts = {
        "Thai, no spaces": (unspaced(lexicon, SIZE, 1), unspaced(lexicon, HELD_OUT, 2)),
        "random Latin words": (latin(SIZE, 1), latin(HELD_OUT, 2)),
    }
    if len(sys.argv) > 2:
        texts["English"] = english(sys.argv[2], 0, SIZE), english(sys.argv[2], SIZE + 100_000, HELD_OUT)
    environment = os.environ | {"RAYON_NUM_THREADS": "2"}
    os.environ.update(environment)
    print(f"| {PIECES} pieces of 20 MB | | wall s | CPU s | MiB | pieces of held-out text | ratio |\n|---|---|---|---|---|---|---|")
    for name, (train, held_out) in texts.items():
        with tempfile.TemporaryDirectory() as folder:
            text, held, ours, theirs = (os.path.join(folder, name) for name in ("text.txt", "held.txt", "ours", "theirs"))
            write(text, train)
            write(held, held_out)
            command = [binary, "tokenizer", "train", "-i", text, "-o", ours, "--vocab-size", str(PIECES), "--keep-accents"]
            cost = {"ours": measure(command)}
            cost["sentencepiece"] = measure([sys.executable, "-c", TRAIN, text, theirs, str(PIECES)])
            encode = [binary, "tokenizer", "encode", "-t", ours, "--ids"]
            with open(held) as lines:
                pieces = {"ours": len(subprocess.run(encode, stdin=lines, capture_output=True, check=True).stdout.split())}
            count = "import sentencepiece, sys; s = sentencepiece.SentencePieceProcessor(model_file=sys.argv[1] + '.model')\n"
            count += "print(sum(len(s.encode(line)) for line in open(sys.argv[2])))"
            output = subprocess.run([sys.executable, "-c", count, theirs, held], capture_output=True, check=True).stdout
            pieces["sentencepiece"] = json.loads(output)
            for who, (wall, cpu, peak) in cost.items():
                ratio = pieces[who] / pieces["sentencepiece"]
                print(f"| {name} | {who} | {wall:.0f} | {cpu:.0f} | {peak:.0f} | {pieces[who]} | {ratio:.4f} |", flush=True)


main()
