"""tokenizer_ids.py TOKENIZER.json RECORDING.jsonl: the ids that the `tokenizers` library gives to the `text` of each line."""

import json
import sys

import tokenizers

tokenizer = tokenizers.Tokenizer.from_file(sys.argv[1])
for line in open(sys.argv[2], encoding="utf-8"):
    print(json.dumps(tokenizer.encode(json.loads(line)["text"], add_special_tokens=False).ids))
