"""tokenizer_files.py TEXTS.json TOKENIZER.json...: for each file, a line with the ids that the `tokenizers` library gives to
each text."""

import json
import sys

import tokenizers

texts = json.load(open(sys.argv[1], encoding="utf-8"))
for path in sys.argv[2:]:
    tokenizer = tokenizers.Tokenizer.from_file(path)
    print(json.dumps([tokenizer.encode(text, add_special_tokens=False).ids for text in texts]))
