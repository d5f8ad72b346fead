"""Make the references for modules that take no token types: `PYTHONPATH=.:tests python tests/make/make_modules.py`.

The stored cases of BERT's embeddings, encoder and gradients again, with type 0 everywhere, as many courses have it.
Run it after make_ladder.py, whose weights and inputs it takes; it needs the [reference] extra.
"""

import json

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from minibert.parity.known_model import DROP
from minibert.parity.levels import ZERO_TYPES
from minibert.parity.references import References, converter

C = 6  # classes


def main():
    references, arrays, table = References(), {}, {}
    convert = converter("torch", "float64")
    shape = references.arrays["input/ids_right"].shape
    arrays["module/zero_types"] = np.zeros(shape, dtype=np.int64)
    for name, compute in COMPUTE.items():
        cases = []
        for number, case in enumerate(references.table[name]["cases"]):
            stored = case["arguments"] | {"token_type_ids": {"array": "module/zero_types"}}
            given = {key: {**value} if isinstance(value, dict) else value for key, value in stored.items()}
            given["token_type_ids"] = None
            arguments = references.resolve(given, convert) | {"token_type_ids": torch.zeros(shape, dtype=torch.int64)}
            output = {}
            for part, tensor in compute(loaded(arguments), arguments).items():
                key = f"module/{name}/{number}/{part}"
                arrays[key], output[part] = tensor.detach().numpy().astype(np.float64), key
            cases.append({"arguments": stored, "output": output})
        table[name] = {"cases": cases}
    save_file(arrays, ZERO_TYPES.with_suffix(".safetensors"))
    ZERO_TYPES.with_suffix(".safetensors").chmod(0o644)
    ZERO_TYPES.with_suffix(".json").write_text(json.dumps(table, separators=(",", ":")) + "\n", encoding="utf-8")
    print({name: len(entry["cases"]) for name, entry in table.items()}, sum(array.nbytes for array in arrays.values()))


def loaded(arguments):
    """transformers' classifier with a case's weights."""
    config = transformers.BertConfig(**arguments["config"], num_labels=C, attn_implementation="eager")
    model = transformers.BertForSequenceClassification(config).double().eval()
    names = {
        name if name.startswith("classifier") else f"bert.{name}": weight
        for name, weight in arguments["weights"].items()
    }
    unexpected = model.load_state_dict(names, strict=False).unexpected_keys
    assert not unexpected, unexpected
    return model


def inputs(arguments):
    return {name: arguments[name] for name in ("input_ids", "attention_mask", "token_type_ids")}


def embeddings(model, arguments):
    return {"": model.bert.embeddings(arguments["input_ids"], token_type_ids=arguments["token_type_ids"])}


def dropped_embeddings(model, arguments):
    part = model.bert.embeddings
    part.dropout = Times()
    return {"": part(arguments["input_ids"], token_type_ids=arguments["token_type_ids"])}


class Times(torch.nn.Module):
    """The ladder's dropout."""

    def forward(self, x):
        return x * DROP


def states(model, arguments):
    found = model.bert(**inputs(arguments), output_hidden_states=True).hidden_states
    return {"embeddings" if i == 0 else f"layer {i}": state for i, state in enumerate(found)}


def gradients(model, arguments):
    loss = model(**inputs(arguments), labels=arguments["labels"]).loss
    loss.backward()
    return {"loss": loss} | {name.removeprefix("bert."): p.grad for name, p in model.named_parameters()}


COMPUTE = {
    "bert_embeddings": embeddings,
    "bert_embeddings_dropout": dropped_embeddings,
    "bert_encoder": states,
    "loss_and_gradients": gradients,
}

if __name__ == "__main__":
    main()
