"""record_tokenizer.py FOLDER: trains a small sentencepiece vocabulary on made-up text with ALBERT's flags, and records the ids
that it gives to odd lines, treated as the reference treats them: FOLDER/small.model and FOLDER/small.jsonl.

This made what is in tests/golden/tokenizer, with sentencepiece 0.2.3 and Python 3.11 (Unicode 14)."""

import json
import os
import random
import sys
import tempfile
import unicodedata

import sentencepiece

SYLLABLES = "ba be bi bo da de di do fa ga ha he la le li lo ma me mi mo na ne ni no pa ra re ri ro sa se si ta te ti to".split()
MARKS = [" ", " ", " ", " ", " ", ", ", ". ", " (", ") ", "-", ' "', '" ', " – ", " £", " € ", "'"]
ODD = (
    "Café cafe\u0301 Straße İstanbul ΟΔΟΣ ΣΑΣ. Москва שָׁלוֹם हिन्दी ไทย 中文 ガギ ｶﾞ 한국어 😀 👩\u200d👧 ﬁne ½ x² ① Ⅷ ９９ 2014, 31/12, 1,000, "
    "99 555 5555 ``a'' <unk> <pad> [MASK] [CLS] [SEP] ▁ x▁ \u0001 \u00ad \u200b \ufeff \ufffd ﷺ ẞ \u0301"
).split()
RULES = {"ﬁ": "fi", "½": "1/2", "²": "2", "\u200b": " ", "\ufeff": " ", "▁": " ", "\u0001": "", "９": "9", "e\u0301": "é"}


def words(draws, count):
    return ["".join(draws.choices(SYLLABLES, k=draws.randint(1, 4))) for _ in range(count)]


def line(draws, lexicon, odd):
    parts = []
    for _ in range(draws.randint(1, 14)):
        kind = draws.random()
        if kind < odd:
            parts.append(draws.choice(ODD))
        elif kind < odd + 0.15:
            parts.append(str(draws.choice([draws.randint(0, 99), draws.randint(1900, 2030)])) + draws.choice(["", ",", "/12,"]))
        else:
            parts.append(draws.choice(lexicon))
        parts.append(draws.choice(MARKS))
    return "".join(parts)


def preprocess(text):
    text = unicodedata.normalize("NFKD", " ".join(text.split()))
    return "".join(c for c in text if not unicodedata.combining(c)).lower()


def encode(model, text):
    """Pieces that end in a digit and a comma are encoded anew without the comma; a `▁` that this puts in front stays."""
    pieces = []
    for piece in model.encode(preprocess(text), out_type=str):
        if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit():
            pieces += model.encode(piece[:-1].replace("▁", ""), out_type=str) + [","]
        else:
            pieces.append(piece)
    return [model.piece_to_id(piece) for piece in pieces]


def main():
    draws = random.Random(1)
    lexicon = words(draws, 400)
    with tempfile.TemporaryDirectory() as folder:
        rules = os.path.join(folder, "rules.tsv")
        with open(rules, "w", encoding="utf-8") as file:
            for before, after in RULES.items():
                codes = [" ".join(f"{ord(c):04X}" for c in text) for text in (before, after)]
                file.write("\t".join(codes) + "\n")
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([preprocess(line(draws, lexicon, 0.01)) for _ in range(6000)]),
            model_prefix=os.path.join(sys.argv[1], "small"), vocab_size=700, normalization_rule_tsv=rules,
            control_symbols="[CLS],[SEP],[MASK]", user_defined_symbols=list('()"-.–£€'), pad_id=0, unk_id=1, bos_id=-1,
            eos_id=-1, character_coverage=0.9999, num_threads=1, minloglevel=2,
            split_by_number=False, split_by_unicode_script=False,  # for pieces like 2014,
        )
    os.remove(os.path.join(sys.argv[1], "small.vocab"))
    model = sentencepiece.SentencePieceProcessor(model_file=os.path.join(sys.argv[1], "small.model"))
    with open(os.path.join(sys.argv[1], "small.jsonl"), "w", encoding="utf-8") as file:
        lines = [line(draws, lexicon, 0.3) for _ in range(300)]
        lines += [" ".join(draws.choice("0123456789la") * draws.randint(1, 12) for _ in range(12)) for _ in range(60)]
        lines += ["", " ", "[MASK] [CLS] <pad> <unk> <s>", "a\tb\u00a0c\u3000d\u0085e\u2028f\rg"]
        for text in lines:
            file.write(json.dumps({"text": text, "ids": encode(model, text)}, ensure_ascii=False) + "\n")


main()
