"""heads.py ROOT: logits of heads for fine-tuning, as transformers computes them.

ROOT/ours holds models that this program saved: each gets `theirs.safetensors` with its logits and `loading.json` with what
transformers missed in it and did not expect. ROOT/theirs gets models that transformers saved, with `theirs.safetensors`.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

ROOT = pathlib.Path(sys.argv[1])
SIZES = dict(
    vocab_size=64, embedding_size=16, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=24, initializer_range=0.15,
)
LENGTHS = [10, 7, 4]  # of three sequences, or of the three options of a question


def batch(kind):
    ids = torch.tensor([[5 + (7 * row + 3 * column) % 59 for column in range(10)] for row in range(3)])
    mask = torch.tensor([[int(column < length) for column in range(10)] for length in LENGTHS])
    types = (torch.arange(10) > 3).long().expand(3, 10).contiguous()
    given = dict(input_ids=ids, attention_mask=mask, token_type_ids=types)
    return {name: list_[None] for name, list_ in given.items()} if "MultipleChoice" in kind else given


def record(folder, model):
    given = batch(type(model).__name__)
    with torch.no_grad():
        found = model.eval()(**given)
    names = [name for name in ("logits", "start_logits", "end_logits", "last_hidden_state") if name in found]
    tensors = {name: found[name].float().contiguous() for name in names}
    tensors["input_ids"] = given["input_ids"].to(torch.int32).reshape(3, 10)
    save_file(tensors, folder / "theirs.safetensors")


for folder in sorted((ROOT / "ours").iterdir()):
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    model, loading = kind.from_pretrained(folder, output_loading_info=True)
    assert loading.pop("mismatched_keys", []) in ([], set()), folder
    lists = {name: sorted(keys) for name, keys in loading.items() if isinstance(keys, (list, set, tuple))}
    (folder / "loading.json").write_text(json.dumps(lists))
    record(folder, model)

KINDS = dict(
    sequences=("AlbertForSequenceClassification", dict(num_labels=3)),
    number=("AlbertForSequenceClassification", dict(num_labels=1)),
    tokens=("AlbertForTokenClassification", dict(num_labels=5)),
    spans=("AlbertForQuestionAnswering", {}),
    options=("AlbertForMultipleChoice", {}),
)
for name, (kind, changes) in KINDS.items():
    torch.manual_seed(len(name))
    model = getattr(transformers, kind)(transformers.AlbertConfig(**SIZES, **changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms start at constants that hide mistakes
                parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = ROOT / "theirs" / name
    model.save_pretrained(folder)
    record(folder, model)
