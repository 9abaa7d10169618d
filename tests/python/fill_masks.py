"""fill_masks.py MODEL TEXTS: what transformers makes of a model directory as it is.

Prints one JSON object about the loading, and for each line of TEXTS one list: for each mask the ids and scores of the best.
"""

import json
import sys

import torch
import transformers

directory, texts = sys.argv[1], open(sys.argv[2], encoding="utf-8").read().splitlines()
loaded = {"missing": [], "unexpected": []}
for kind in (transformers.AutoModel, transformers.AutoModelForMaskedLM, transformers.AutoModelForPreTraining):
    model, info = kind.from_pretrained(directory, output_loading_info=True)
    loaded["missing"] += sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"]))
loaded["unexpected"] = sorted(info["unexpected_keys"])  # of the whole model
tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
loaded["types"] = tokenizer("the cat", "the dog")["token_type_ids"]
loaded["limit"] = tokenizer.model_max_length
print(json.dumps(loaded))
fill = transformers.pipeline(
    "fill-mask", model=transformers.AutoModelForMaskedLM.from_pretrained(directory), tokenizer=tokenizer, top_k=3
)
for text in texts:
    masks = fill(text)
    masks = masks if isinstance(masks[0], list) else [masks]
    print(json.dumps([[[best["token"], best["score"]] for best in mask] for mask in masks]))
