"""albert_models.py FOLDER: random ALBERTs as transformers and others save them, with what transformers computes from them.

Each is FOLDER/NAME with the model's files, `in.safetensors` and `expected.safetensors`; NAMES are printed, one a line.
"""

import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(sys.argv[1])
SIZES = dict(
    vocab_size=64, embedding_size=16, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=48,
    max_position_embeddings=24, initializer_range=0.15,
)


def model(kind, **changes):
    torch.manual_seed(len(str(changes)))
    model = getattr(transformers, kind)(transformers.AlbertConfig(**{**SIZES, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # biases and norms start at constants that hide mistakes
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.eval()


def inputs(name):
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 64, (3, 10), generator=generator)
    mask = torch.ones_like(ids)
    for row in range(3):
        mask[row, 10 - 3 * row :] = 0
    given = dict(input_ids=ids, attention_mask=mask)
    if name == "position_ids":
        given["position_ids"] = torch.arange(10).flip(0).expand(3, 10).contiguous()
    if name in ("pretraining", "token_type_ids"):
        given["token_type_ids"] = (torch.arange(10) > 4).long().expand(3, 10).contiguous()
    return {"input_ids": ids} if name == "ids_alone" else given


def record(name, model, change=None, config=None, **saving):
    folder = ROOT / name
    model.save_pretrained(folder, **saving)
    if change:
        tensors = change(load_file(folder / "model.safetensors"))
        save_file({k: v.clone().contiguous() for k, v in tensors.items()}, folder / "model.safetensors")
    if config:
        path = folder / "config.json"
        path.write_text(json.dumps(config(json.loads(path.read_text()))), encoding="utf-8-sig")
    given = inputs(name)
    base = model if isinstance(model, transformers.AlbertModel) else model.albert
    with torch.no_grad():
        encoded = base(**given)
        found = {"last_hidden_state": encoded.last_hidden_state}
        if encoded.pooler_output is not None:
            found["pooler_output"] = encoded.pooler_output
        if isinstance(model, transformers.AlbertForPreTraining):
            heads = model(**given)
            found |= {"prediction_logits": heads.prediction_logits, "sop_logits": heads.sop_logits}
        elif isinstance(model, transformers.AlbertForMaskedLM):
            found["prediction_logits"] = model(**given).logits
    mask = given.get("attention_mask", torch.ones_like(given["input_ids"])).unsqueeze(-1)
    for of_tokens in {"last_hidden_state", "prediction_logits"} & found.keys():
        found[of_tokens] = found[of_tokens].float() * mask
    save_file({k: v.contiguous() for k, v in given.items()}, folder / "in.safetensors")
    save_file({k: v.float().contiguous() for k, v in found.items()}, folder / "expected.safetensors")
    print(name)


def renamed(old, new):
    return lambda tensors: {k.replace(old, new): v for k, v in tensors.items()}


def rounded(model, dtype):
    """The values that the type can hold, computed with in f32, as the program does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype).float())
    return model, lambda tensors: {k: v.to(dtype) for k, v in tensors.items()}


PRETRAINING, MASKED, ENCODER = "AlbertForPreTraining", "AlbertForMaskedLM", "AlbertModel"
record("pretraining", model(PRETRAINING))
record("equal_widths", model(PRETRAINING, embedding_size=32))
record("groups", model(PRETRAINING, num_hidden_layers=4, num_hidden_groups=2))
record("inner_groups", model(PRETRAINING, inner_group_num=2))
record("erf", model(PRETRAINING, hidden_act="gelu"))
record("fast_tanh", model(PRETRAINING, hidden_act="gelu_fast"))
record("epsilon", model(PRETRAINING, layer_norm_eps=1e-2))
record("one_type", model(PRETRAINING, type_vocab_size=1))
record("masked", model(MASKED))
record("encoder", model(ENCODER))
record("ids_alone", model(ENCODER))
record("position_ids", model(ENCODER))
record("token_type_ids", model(ENCODER))
record("no_pooler", transformers.AlbertModel(transformers.AlbertConfig(**SIZES), add_pooling_layer=False).eval())
record("untied", model(MASKED, tie_word_embeddings=False))
record("untied_equal_widths", model(PRETRAINING, tie_word_embeddings=False, embedding_size=32))
record("sharded", model(PRETRAINING), max_shard_size="20KB")
record("with_prefix", model(ENCODER), lambda t: {"albert." + k: v for k, v in t.items()})
record("decoder_bias_alone", model(MASKED), renamed("predictions.bias", "predictions.decoder.bias"))
tied = model(MASKED)
record("tied_twice", tied, lambda t: t | {
    "predictions.decoder.weight": t["albert.embeddings.word_embeddings.weight"],
    "predictions.decoder.bias": t["predictions.bias"],
    "albert.embeddings.position_ids": torch.arange(24).unsqueeze(0),
})
record("gamma_and_beta", model(ENCODER), lambda t: {
    k.replace("norm.weight", "norm.gamma").replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): v
    for k, v in t.items()
})
for name, dtype in [("half", torch.float16), ("bfloat", torch.bfloat16), ("double", torch.float64)]:
    record(name, *rounded(model(PRETRAINING), dtype))
record("other_head", model("AlbertForSequenceClassification", num_labels=3))
record("spans", model("AlbertForQuestionAnswering"))
record("nulls", model(ENCODER), config=lambda c: c | dict.fromkeys(
    ["bos_token_id", "eos_token_id", "pad_token_id", "classifier_dropout_prob", "architectures"]
))
