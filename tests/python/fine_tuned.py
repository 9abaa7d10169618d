"""fine_tuned.py ASKED: what fine-tuned models answer in transformers, each loaded by the code in its model's card.

ASKED is a JSON file, {model directory: [question]}: a text, or [question, passage]. Printed is {model directory: [answer]}: of classes
{class: probability}, of words [[start, end, class]] for each piece, of a question {"answer", "null_score"}.
"""

import json
import pathlib
import sys

import torch
import transformers


def loaded(directory):
    card = pathlib.Path(directory, "README.md").read_text(encoding="utf-8")
    code = card.split("```python\n")[1].split("```")[0]
    names = {}
    exec(code.replace("FOLDER", directory), names)
    return names["model"]


def span(model, tokenizer, question, passage):
    """The best span of the passage, and how much better no answer suits: the first token stands for it."""
    given = tokenizer(question, passage, return_tensors="pt", return_offsets_mapping=True)
    inside = [row for row, sequence in enumerate(given.sequence_ids(0)) if sequence == 1]
    offsets = given.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        found = model.eval()(**given)
    starts, ends = found.start_logits[0].tolist(), found.end_logits[0].tolist()
    score, start, end = max((starts[a] + ends[b], a, b) for a in inside for b in inside if a <= b)
    answer = passage[offsets[start][0] : offsets[end][1]].strip()
    return {"answer": answer, "null_score": starts[0] + ends[0] - score}


def answer(model, asked):
    kind = getattr(model, "task", None)
    if kind == "text-classification":
        return {found["label"]: found["score"] for found in model(asked, top_k=None)}
    if kind == "token-classification":
        return [[found["start"], found["end"], found["entity"]] for found in model(asked, ignore_labels=[])]
    return span(model, transformers.AutoTokenizer.from_pretrained(model.name_or_path), *asked)


answers = {}
for directory, asked in json.load(open(sys.argv[1], encoding="utf-8")).items():
    model = loaded(directory)
    answers[directory] = [answer(model, one) for one in asked]
print(json.dumps(answers))
