"""Make the parity ladder's references: `PYTHONPATH=.:tests python tests/make/make_ladder.py`.

It needs the [reference] extra.

Right answers come from transformers, PyTorch and scikit-learn, in float64. What mistakes do to words, to gradients and
to training comes from `ladder_torch.py`, which makes them on request; without a mistake it has to agree with the right
answers to 1e-10, or nothing is written. (What mistakes do elsewhere, the ladder computes itself.) The models are tiny,
with spread weights, random biases and LayerNorm parameters and pairwise-distinct dimensions, so that no mistake hides.
"""

import copy
import itertools
import json
import os
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import ladder_torch
import numpy as np
import sklearn.metrics
import torch
import transformers
from safetensors.numpy import save_file
from torch.nn import functional
from transformers.masking_utils import create_bidirectional_mask  # noqa: F401  (fails early on another version)
from transformers.trainer_pt_utils import get_parameter_names

from minibert.parity.candidates import ADAM_CONVENTIONS, CONVENTIONS_OF, MISTAKES_OF
from minibert.parity.judge import group_words, matched, plain
from minibert.parity.known_model import DROP
from minibert.parity.mistakes import MISTAKES
from minibert.parity.references import FOLDER, References, converter
from minibert.parity.rungs import RUNGS

B, H, D, T, F, C, L, V = 3, 4, 5, 7, 34, 6, 2, 90
E = H * D
BERT = {
    "model_type": "bert", "vocab_size": V, "hidden_size": E, "num_hidden_layers": L, "num_attention_heads": H,
    "intermediate_size": F, "max_position_embeddings": 13, "type_vocab_size": 2, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
DISTILBERT = {
    "model_type": "distilbert", "vocab_size": V, "dim": E, "n_layers": L, "n_heads": H, "hidden_dim": F,
    "max_position_embeddings": 13, "activation": "gelu", "dropout": 0.1, "attention_dropout": 0.1, "pad_token_id": 0,
}  # fmt: skip
ROBERTA = BERT | {
    "model_type": "roberta", "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1, "bos_token_id": 0,
    "eos_token_id": 2,
}  # fmt: skip
QUIET = 2.0**-8  # what a case's weights are multiplied with, so that LayerNorm's eps shows
STEPS = 20
PER_MISTAKE = 8  # positions at which a mistake's output is stored, where it differs most and at random
VOCABULARY = (
    "[PAD] [UNK] [CLS] [SEP] [MASK] ! \" ' ( ) , - . / : ? a b c d e f g h i l m n o p r s t u v w y ##a ##c ##d ##e "
    "##f "
    "##g ##h ##i ##k ##l ##m ##n ##o ##r ##s ##t ##u ##y the film cafe an un un ##aff ##able ##ing ##ly play play ##ed "
    "##er bore ##dom is was never not dull \u7535 \u5f71 1 9 ##9 naive resume great bo boy ##ring"
).split()
VOCABULARY = list(dict.fromkeys(VOCABULARY))
TEXTS = (
    ("The film was never dull.", None, 32),
    ("An UNAFFABLE boy, playing? Boredom!", None, 32),
    ("caf\u00e9 na\u00efve re\u0301sume\u0301", None, 32),
    ("xylophone filmz boredomx", None, 32),
    ("'the' (film)-great/boring 1999", None, 32),
    ("the film was not dull \u7535\u5f71 is great", None, 8),
    ("was the film dull?", "Never boring, not dull.", 32),
    ("the great film is never never dull, the boy is unaffable and boring", "a play", 12),
    ("a play", "the great film is never never dull, the boy is unaffable and boring", 12),
    ("  the\tfilm\n is  great ", None, 32),
)
NAMES = (
    "embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.gamma", "bert.embeddings.LayerNorm.beta",
    "bert.encoder.layer.11.attention.self.query.weight", "encoder.layer.0.attention.output.LayerNorm.weight",
    "bert.encoder.layer.3.output.LayerNorm.beta", "bert.encoder.layer.3.intermediate.dense.bias",
    "bert.pooler.dense.weight", "cls.predictions.transform.LayerNorm.gamma", "cls.predictions.bias",
    "cls.seq_relationship.weight", "bert.embeddings.position_ids", "classifier.weight", "classifier.bias",
    "distilbert.embeddings.LayerNorm.weight", "distilbert.embeddings.position_embeddings.weight",
    "distilbert.transformer.layer.0.attention.q_lin.weight", "distilbert.transformer.layer.0.attention.k_lin.bias",
    "transformer.layer.5.attention.v_lin.weight", "distilbert.transformer.layer.0.attention.out_lin.weight",
    "distilbert.transformer.layer.0.sa_layer_norm.weight", "distilbert.transformer.layer.1.output_layer_norm.bias",
    "distilbert.transformer.layer.1.ffn.lin1.weight", "distilbert.transformer.layer.1.ffn.lin2.bias",
    "pre_classifier.weight", "vocab_transform.weight", "vocab_layer_norm.bias", "vocab_projector.bias",
    "qa_outputs.weight",
)  # fmt: skip
CANONICAL = (
    "embeddings.word_embeddings.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias",
    "encoder.layer.11.attention.self.query.weight", "encoder.layer.0.attention.output.LayerNorm.weight",
    "encoder.layer.3.output.LayerNorm.bias", "encoder.layer.3.intermediate.dense.bias",
    "pooler.dense.weight", None, None, None, None, "classifier.weight", "classifier.bias",
    "embeddings.LayerNorm.weight", "embeddings.position_embeddings.weight",
    "encoder.layer.0.attention.self.query.weight", "encoder.layer.0.attention.self.key.bias",
    "encoder.layer.5.attention.self.value.weight", "encoder.layer.0.attention.output.dense.weight",
    "encoder.layer.0.attention.output.LayerNorm.weight", "encoder.layer.1.output.LayerNorm.bias",
    "encoder.layer.1.intermediate.dense.weight", "encoder.layer.1.output.dense.bias",
    "pooler.dense.weight", None, None, None, None,
)  # fmt: skip

numbers = np.random.default_rng(20)
case_number = itertools.count()
arrays = {}  # what references.safetensors will hold
table = {}  # what references.json will hold


def main():
    for rung in RUNGS:
        table[rung.name] = {"cases": globals()[f"make_{rung.name}"]()}
    references = References(table, arrays)
    check_plain(references)
    store_mistakes(references)
    save_file(dict(sorted(arrays.items())), FOLDER / "references.safetensors")
    (FOLDER / "references.safetensors").chmod(0o644)
    text = json.dumps(table, ensure_ascii=True, indent=None, separators=(",", ":"))
    (FOLDER / "references.json").write_text(text.replace('{"cases"', '\n{"cases"') + "\n", encoding="utf-8")
    store_checkpoints()
    size = sum(array.nbytes for array in arrays.values())
    print(f"{len(RUNGS)} rungs, {len(arrays)} arrays, {size:,} bytes; transformers {transformers.__version__}")


# ---- inputs: exact in float32, so that both precisions start from the same numbers


def keep(name, array):
    """Store an array and give its reference."""
    array = array.numpy() if torch.is_tensor(array) else np.array(array)
    if array.dtype.kind == "f" and not name.startswith("output/"):
        array = array.astype(np.float32)
    assert name not in arrays or np.array_equal(arrays[name], array), name
    arrays[name] = np.ascontiguousarray(array)
    return {"array": name}


def draw(name, *shape, std=1.0):
    return keep(name, numbers.normal(size=shape) * std)


def value(reference):
    """The float64 (or int64) tensor behind a reference."""
    return References(table, arrays).resolve(reference, converter("torch", "float64"))


def case(arguments, output):
    """output: one tensor, or {name: tensor} for several."""
    outputs = output if isinstance(output, dict) else {"": output}
    index = next(case_number)
    stored = {}
    for name, tensor in outputs.items():
        key = f"output/{index}/{name}"
        stored[name] = keep(key, np.asarray(plain(tensor), dtype=np.float64))["array"]
    return {"arguments": arguments, "output": stored}


def spread(model):
    """Weights far from their usual initialisation, rounded to float32 and stored nowhere yet."""
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        if "norm" in name.lower():
            noise = (1.0 if name.endswith("weight") else 0.0) + 0.3 * noise
        elif name.endswith("bias"):
            noise = 0.3 * noise
        elif "embeddings" not in name:
            noise = noise * 1.3 / parameter.shape[1] ** 0.5
        parameter.data = noise.float().double()
    return model.double().eval()


def store_weights(family, model):
    prefix = f"{model.config.model_type}."
    return {
        name.removeprefix(prefix): keep(f"weights/{family}/{name.removeprefix(prefix)}", parameter.detach())
        for name, parameter in model.named_parameters()
    }


torch.manual_seed(0)
bert = spread(
    transformers.BertForSequenceClassification(
        transformers.BertConfig(**BERT, num_labels=C, attn_implementation="eager")
    )
)
distilbert = spread(
    transformers.DistilBertForSequenceClassification(
        transformers.DistilBertConfig(**DISTILBERT, num_labels=C, attn_implementation="eager")
    )
)
roberta = spread(
    transformers.RobertaForSequenceClassification(
        transformers.RobertaConfig(**ROBERTA, num_labels=C, attn_implementation="eager")
    )
)
bert_weights = store_weights("bert", bert)
distilbert_weights = store_weights("distilbert", distilbert)
roberta_weights = store_weights("roberta", roberta)
mask_right = keep("input/mask_right", [[1] * 7, [1] * 4 + [0] * 3, [1] * 6 + [0]])
mask_left = keep("input/mask_left", [[0] * 3 + [1] * 4, [1] * 7, [0] + [1] * 6])
ids_right = keep("input/ids_right", [[2, 17, 41, 17, 88, 9, 3], [2, 30, 30, 3, 0, 0, 0], [2, 71, 5, 17, 62, 3, 0]])
ids_left = keep("input/ids_left", [[0, 0, 0, 2, 30, 12, 3], [2, 17, 41, 17, 88, 9, 3], [0, 2, 71, 5, 17, 62, 3]])
types_right = keep("input/types_right", [[0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0]])
types_left = keep("input/types_left", [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1]])
hidden = draw("input/hidden", B, T, E)
labels = keep("input/labels", [4, 0, 2])
TEXT_INPUTS = ((ids_right, mask_right, types_right), (ids_left, mask_left, types_left))


def part(weights, prefix, strip=True):
    return {(n.removeprefix(prefix) if strip else n): w for n, w in weights.items() if n.startswith(prefix)}


def encoder_weights(weights):
    return {
        name: weight for name, weight in weights.items() if name.startswith(("embeddings", "encoder", "transformer"))
    }


QUIET_PARTS = (
    "embeddings.", "attention.output.", "output.dense.", "output.LayerNorm.",  # BERT, RoBERTa
    "attention.out_lin.", "sa_layer_norm.", "ffn.lin2.", "output_layer_norm.",  # DistilBERT
)  # fmt: skip


def is_quiet(name, loudest):
    """Is this weight made small? Not the LayerNorms of `loudest`, the part whose output is compared."""
    return any(part in name for part in QUIET_PARTS) and not (loudest in name and "norm" in name.lower())


def quiet_weights(weights, loudest):
    """The weights with nearly all that a LayerNorm reads made small."""
    return {n: (w | {"times": QUIET} if is_quiet(n, loudest) else w) for n, w in weights.items()}


def quiet_model(model, loudest):
    model = copy.deepcopy(model)
    for name, parameter in model.named_parameters():
        if is_quiet(name, loudest):
            parameter.data *= QUIET
    return model


def additive(mask):
    return torch.zeros(mask.shape, dtype=torch.float64).masked_fill(mask == 0, -1e30)[:, None, None, :]


# ---- right answers


def make_wordpiece():
    folder = Path(tempfile.mkdtemp())
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "do_lower_case": true}')
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    shutil.rmtree(folder)
    assert len(tokenizer) == len(VOCABULARY), (len(tokenizer), len(VOCABULARY))
    cases = []
    for text, pair, length in TEXTS:
        encoded = tokenizer(text, pair, max_length=length, truncation="longest_first")
        arguments = {"text": text, "pair": pair, "vocabulary": VOCABULARY, "max_length": length}
        cases.append({"arguments": arguments, "output": [encoded["input_ids"], encoded["token_type_ids"]]})
    return cases


def make_layer_norm():
    cases = []
    for number, (std, eps) in enumerate(((1.0, 1e-12), (0.1, 1e-12), (0.003, 1e-12), (0.03, 1e-3))):
        x = draw(f"input/layer_norm/x{number}", B, T, E, std=std)
        weight, bias = bert_weights["embeddings.LayerNorm.weight"], bert_weights["embeddings.LayerNorm.bias"]
        right = functional.layer_norm(value(x), (E,), value(weight), value(bias), eps)
        cases.append(case({"x": x, "weight": weight, "bias": bias, "eps": eps}, right))
    return cases


def make_gelu():
    x = keep("input/gelu", np.linspace(-6, 6, 97))
    return [case({"x": x}, functional.gelu(value(x)))]


def make_bert_embeddings():
    weights, cases = part(bert_weights, "embeddings.", strip=False), []
    for ids, mask, types in TEXT_INPUTS:
        right = bert.bert.embeddings(value(ids), token_type_ids=value(types))
        arguments = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask, "weights": weights}
        cases.append(case(arguments | {"config": BERT}, right))
    quiet = quiet_model(bert, "embeddings.").bert.embeddings
    arguments["weights"] = quiet_weights(weights, "embeddings.")
    cases.append(case(arguments | {"config": BERT}, quiet(value(ids), token_type_ids=value(types))))
    return cases


def make_distilbert_embeddings():
    weights, cases = part(distilbert_weights, "embeddings.", strip=False), []
    for ids, mask, _ in TEXT_INPUTS:
        right = distilbert.distilbert.embeddings(value(ids))
        arguments = {"input_ids": ids, "attention_mask": mask, "weights": weights, "config": DISTILBERT}
        cases.append(case(arguments, right))
    quiet = quiet_model(distilbert, "embeddings.").distilbert.embeddings
    cases.append(case(arguments | {"weights": quiet_weights(weights, "embeddings.")}, quiet(value(ids))))
    return cases


ROBERTA_IDS = []
for ids, mask, _ in TEXT_INPUTS:  # <s> is 0, </s> 2, and padding 1
    moved = {0: 1, 2: 0, 3: 2}
    given = [[moved.get(i, i) for i in row] for row in arrays[ids["array"]].tolist()]
    ROBERTA_IDS.append((keep(ids["array"].replace("ids", "roberta_ids"), given), mask))


def make_roberta_embeddings():
    weights, cases = part(roberta_weights, "embeddings.", strip=False), []
    for ids, mask in ROBERTA_IDS:
        arguments = {"input_ids": ids, "attention_mask": mask, "weights": weights, "config": ROBERTA}
        cases.append(case(arguments, roberta.roberta.embeddings(value(ids))))
    quiet = quiet_model(roberta, "embeddings.").roberta.embeddings
    cases.append(case(arguments | {"weights": quiet_weights(weights, "embeddings.")}, quiet(value(ids))))
    return cases


def make_attention_probabilities():
    query, key = draw("input/query", B, H, T, D), draw("input/key", B, H, T, D)
    cases = []
    for mask in (mask_right, mask_left):
        everything = torch.eye(T, dtype=torch.float64).expand(B, H, T, T)  # the context of an identity: the weights
        right = functional.scaled_dot_product_attention(value(query), value(key), everything, additive(value(mask)))
        cases.append(case({"query": query, "key": key, "attention_mask": mask}, right))
    return cases


first_layer = part(bert_weights, "encoder.layer.0.")


def layer_cases(compute, config=BERT, weights=first_layer, **more):
    return [
        case({"hidden": hidden, "attention_mask": mask, "weights": weights, "config": config, **more}, compute(mask))
        for mask in (mask_right, mask_left)
    ]


def make_multi_head_attention():
    attention = bert.bert.encoder.layer[0].attention

    def compute(mask):
        context = attention.self(value(hidden), additive(value(mask)))[0]
        return attention.output.dense(context)

    return layer_cases(compute)


def make_feed_forward():
    layer = bert.bert.encoder.layer[0]
    right = layer.output.dense(layer.intermediate(value(hidden)))
    return [case({"hidden": hidden, "weights": first_layer, "config": BERT}, right)]


def first(output):
    return output[0] if isinstance(output, tuple) else output


def quiet_layer_case(layer, mask, weights, config):
    """One layer whose first LayerNorm reads small numbers; `layer` is the quiet one."""
    small = hidden | {"times": QUIET}
    right = first(layer(value(small), additive(value(mask))))
    return case({"hidden": small, "attention_mask": mask, "weights": weights, "config": config}, right)


def make_layer():
    cases = layer_cases(lambda mask: first(bert.bert.encoder.layer[0](value(hidden), additive(value(mask)))))
    quiet = quiet_model(bert.bert.encoder.layer[0], "output.LayerNorm")
    weights = quiet_weights(first_layer, "output.LayerNorm")
    return [*cases, quiet_layer_case(quiet, mask_left, weights, BERT)]


def make_distilbert_layer():
    weights = part(distilbert_weights, "transformer.layer.0.")
    layer = distilbert.distilbert.transformer.layer[0]
    cases = layer_cases(lambda mask: first(layer(value(hidden), additive(value(mask)))), DISTILBERT, weights)
    quiet, small = quiet_model(layer, "output_layer_norm"), quiet_weights(weights, "output_layer_norm")
    return [*cases, quiet_layer_case(quiet, mask_left, small, DISTILBERT)]


def states(model, **inputs):
    output = model(**inputs, output_hidden_states=True)
    return {"embeddings" if i == 0 else f"layer {i}": state for i, state in enumerate(output.hidden_states)}


def make_bert_encoder():
    cases = []
    for ids, mask, types in TEXT_INPUTS:
        right = states(bert.bert, input_ids=value(ids), attention_mask=value(mask), token_type_ids=value(types))
        arguments = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        cases.append(case(arguments | {"weights": encoder_weights(bert_weights), "config": BERT}, right))
    last = f"layer.{L - 1}.output.LayerNorm"
    weights = quiet_weights(encoder_weights(bert_weights), last)
    quiet = quiet_model(bert, last).bert
    right = states(quiet, input_ids=value(ids), attention_mask=value(mask), token_type_ids=value(types))
    cases.append(case(arguments | {"weights": weights, "config": BERT}, right))
    return cases


def make_roberta_encoder():
    weights, cases = encoder_weights(roberta_weights), []
    for ids, mask in ROBERTA_IDS:
        right = states(roberta.roberta, input_ids=value(ids), attention_mask=value(mask))
        cases.append(case({"input_ids": ids, "attention_mask": mask, "weights": weights, "config": ROBERTA}, right))
    last = f"layer.{L - 1}.output.LayerNorm"
    arguments = {"input_ids": ids, "attention_mask": mask, "weights": quiet_weights(weights, last), "config": ROBERTA}
    right = states(quiet_model(roberta, last).roberta, input_ids=value(ids), attention_mask=value(mask))
    return [*cases, case(arguments, right)]


def make_distilbert_encoder():
    weights, cases = encoder_weights(distilbert_weights), []
    for ids, mask, _ in TEXT_INPUTS:
        right = states(distilbert.distilbert, input_ids=value(ids), attention_mask=value(mask))
        cases.append(case({"input_ids": ids, "attention_mask": mask, "weights": weights, "config": DISTILBERT}, right))
    last = f"layer.{L - 1}.output_layer_norm"
    arguments = {"input_ids": ids, "attention_mask": mask, "weights": quiet_weights(weights, last)}
    right = states(quiet_model(distilbert, last).distilbert, input_ids=value(ids), attention_mask=value(mask))
    return [*cases, case(arguments | {"config": DISTILBERT}, right)]


def make_roberta_head():
    weights = part(roberta_weights, "classifier.", strip=False)
    right = roberta.classifier(value(hidden))
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights}, right)]


def make_pooler():
    weights = part(bert_weights, "pooler.", strip=False)
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights}, bert.bert.pooler(value(hidden)))]


def make_mean_pooling():
    cases = []
    for mask in (mask_right, mask_left):
        rows = [row[row_mask == 1].mean(0) for row, row_mask in zip(value(hidden), value(mask), strict=True)]
        cases.append(case({"hidden": hidden, "attention_mask": mask}, torch.stack(rows)))
    return cases


def make_bert_head():
    weights = part(bert_weights, "pooler.", strip=False) | part(bert_weights, "classifier.", strip=False)
    right = bert.classifier(bert.bert.pooler(value(hidden)))
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights}, right)]


def make_distilbert_head():
    weights = part(distilbert_weights, "pre_classifier.", strip=False) | part(
        distilbert_weights, "classifier.", strip=False
    )
    right = distilbert.classifier(torch.relu(distilbert.pre_classifier(value(hidden)[:, 0])))
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights}, right)]


def make_loss_and_gradients():
    bert.zero_grad()
    output = bert(
        input_ids=value(ids_right), attention_mask=value(mask_right), token_type_ids=value(types_right),
        labels=value(labels),
    )  # fmt: skip
    output.loss.backward()
    right = {"loss": output.loss} | {n.removeprefix("bert."): p.grad for n, p in bert.named_parameters()}
    arguments = {"input_ids": ids_right, "attention_mask": mask_right, "token_type_ids": types_right, "labels": labels}
    return [case(arguments | {"weights": bert_weights, "config": BERT}, right)]


def dropped(model, compute):
    """compute() with the model in train mode and each dropout replaced by the ladder's."""
    model.train()
    with mock.patch("torch.nn.functional.dropout", lambda x, p=0.5, training=True, inplace=False: x * DROP):
        output = compute()
    model.eval()
    return output


def make_bert_embeddings_dropout():
    weights, embeddings = part(bert_weights, "embeddings.", strip=False), bert.bert.embeddings
    right = dropped(embeddings, lambda: embeddings(value(ids_right), token_type_ids=value(types_right)))
    arguments = {"input_ids": ids_right, "token_type_ids": types_right, "attention_mask": mask_right}
    return [case(arguments | {"weights": weights, "config": BERT, "dropout": None}, right)]


def dropped_layer(layer):
    return lambda mask: dropped(layer, lambda: first(layer(value(hidden), additive(value(mask)))))


def make_bert_layer_dropout():
    return layer_cases(dropped_layer(bert.bert.encoder.layer[0]), dropout=None)


def make_distilbert_layer_dropout():
    weights = part(distilbert_weights, "transformer.layer.0.")
    return layer_cases(dropped_layer(distilbert.distilbert.transformer.layer[0]), DISTILBERT, weights, dropout=None)


def make_bert_head_dropout():
    weights = part(bert_weights, "pooler.", strip=False) | part(bert_weights, "classifier.", strip=False)
    right = dropped(bert, lambda: bert.classifier(bert.dropout(bert.bert.pooler(value(hidden)))))
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights, "dropout": None}, right)]


def make_distilbert_head_dropout():
    weights = part(distilbert_weights, "pre_classifier.", strip=False) | part(
        distilbert_weights, "classifier.", strip=False
    )

    def head():
        dense = torch.relu(distilbert.pre_classifier(value(hidden)[:, 0]))
        return distilbert.classifier(distilbert.dropout(dense))

    right = dropped(distilbert, head)
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights, "dropout": None}, right)]


def make_roberta_head_dropout():
    weights = part(roberta_weights, "classifier.", strip=False)
    right = dropped(roberta, lambda: roberta.classifier(value(hidden)))
    return [case({"hidden": hidden, "attention_mask": mask_right, "weights": weights, "dropout": None}, right)]


def make_parameter_groups():
    cases = []
    for model in (bert, distilbert):
        names = [name for name, _ in model.named_parameters()]
        decayed = get_parameter_names(model, [torch.nn.LayerNorm], [r"bias", r"layernorm", r"rmsnorm"])
        groups = [[n for n in names if n in decayed], [n for n in names if n not in decayed]]
        cases.append({"arguments": {"names": names}, "output": group_words(groups, names)})
    return cases


def make_adamw():
    cases = []
    for number, settings in enumerate(
        (
            {"lr": 1e-2, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.1},
            {"lr": 3e-2, "beta1": 0.8, "beta2": 0.95, "eps": 1e-1, "weight_decay": 0.3},
        )
    ):
        start = draw(f"input/adamw/start{number}", 11)
        scale = np.logspace(-3, 1, 11)
        gradients = keep(f"input/adamw/gradients{number}", numbers.normal(size=(50, 11)) * scale)
        parameter = torch.nn.Parameter(value(start).clone())
        betas = (settings["beta1"], settings["beta2"])
        optimizer = torch.optim.AdamW(
            [parameter], lr=settings["lr"], betas=betas, eps=settings["eps"], weight_decay=settings["weight_decay"]
        )
        trajectory = []
        for gradient in value(gradients):
            parameter.grad = gradient.clone()
            optimizer.step()
            trajectory.append(parameter.detach().clone())
        cases.append(case({"parameter": start, "gradients": gradients} | settings, torch.stack(trajectory)))
    return cases


def make_adamw_several():
    """Three tensors; the second has no gradient in some steps, the third none in the first two."""
    cases, steps = [], 30
    for number, (lr, betas, eps, decay) in enumerate(((1e-2, (0.9, 0.999), 1e-8, 0.1), (3e-2, (0.8, 0.95), 1e-1, 0.3))):
        shapes = ((2, 3), (3,), (4, 2))
        starts = [draw(f"input/adamw_several/{number}/start{i}", *shape) for i, shape in enumerate(shapes)]
        missing = {1: (3, 4, 9, 17, 18, 19), 2: (0, 1, 11)}
        given = []
        for step in range(steps):
            row = []
            for i, shape in enumerate(shapes):
                name = f"input/adamw_several/{number}/gradient{i}/{step}"
                row.append(None if step in missing.get(i, ()) else draw(name, *shape, std=10.0 ** (i - 1)))
            given.append(row)
        parameters = [torch.nn.Parameter(value(start).clone()) for start in starts]
        optimizer = torch.optim.AdamW(parameters, lr=lr, betas=betas, eps=eps, weight_decay=decay)
        histories = [[] for _ in starts]
        for row in given:
            for parameter, gradient in zip(parameters, row, strict=True):
                parameter.grad = None if gradient is None else value(gradient).clone()
            optimizer.step()
            for history, parameter in zip(histories, parameters, strict=True):
                history.append(parameter.detach().clone())
        settings = {"lr": lr, "beta1": betas[0], "beta2": betas[1], "eps": eps, "weight_decay": decay}
        right = {f"parameter {i}": torch.stack(history) for i, history in enumerate(histories)}
        cases.append(case({"parameters": starts, "gradients": given} | settings, right))
    return cases


def schedule(warmup_steps, total_steps):
    """transformers' factors at steps 0 ... total_steps."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, warmup_steps, total_steps)
    return [scheduler.lr_lambdas[0](step) for step in range(total_steps + 1)]


def make_warmup_schedule():
    return [
        case({"step": step, "warmup_steps": warmup, "total_steps": total}, factor)
        for warmup, total in ((4, 20), (3, 10))
        for step, factor in enumerate(schedule(warmup, total))
    ]


def make_clip_gradients():
    cases = []
    for number, (scale, limit) in enumerate(((1.0, 1.0), (0.01, 1.0), (3.0, 2.5))):
        shapes = ((4, 5), (7,), (2, 3))
        gradients = [draw(f"input/clip/{number}/{i}", *shape, std=scale * (i + 1)) for i, shape in enumerate(shapes)]
        parameters = [torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64)) for shape in shapes]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = value(gradient).clone()
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        right = {f"gradient {i}": parameter.grad for i, parameter in enumerate(parameters)}
        cases.append(case({"gradients": gradients, "max_norm": limit}, right))
    return cases


TRUE = keep("input/true", [0, 2, 2, 1, 0, 2, 2, 2, 1, 2, 0, 2, 1, 2, 2])
GUESS = keep("input/guess", [0, 2, 1, 1, 2, 2, 2, 0, 2, 2, 0, 2, 1, 1, 2])
RARE = keep("input/rare", [0, 2, 2, 0, 0, 2, 2, 2, 0, 2, 0, 2, 0, 2, 2])  # class 1 is never guessed

FEW = keep("input/few", [0, 2, 2, 3, 0, 2, 3, 2, 0, 2])
GUESSED_FEW = keep("input/guessed_few", [0, 2, 4, 2, 0, 2, 2, 2, 4, 0])  # classes 1 and 5 are absent from both


def make_accuracy():
    cases = []
    for true, guess in ((TRUE, GUESS), (FEW, GUESSED_FEW)):
        right = sklearn.metrics.accuracy_score(arrays[true["array"]], arrays[guess["array"]])
        cases.append(case({"labels": true, "predictions": guess}, right))
    return cases


def make_confusion_matrix():
    return [
        case(
            {"labels": TRUE, "predictions": guess, "num_labels": count},
            sklearn.metrics.confusion_matrix(arrays[TRUE["array"]], arrays[guess["array"]], labels=range(count)),
        )
        for guess, count in ((GUESS, 3), (RARE, 4))
    ]


def make_precision_recall_f1():
    cases = []
    for guess in (GUESS, RARE):
        for average in ("macro", "weighted"):
            right = sklearn.metrics.precision_recall_fscore_support(
                arrays[TRUE["array"]], arrays[guess["array"]], average=average, zero_division=0
            )
            arguments = {"labels": TRUE, "predictions": guess, "num_labels": 3, "average": average}
            cases.append(case(arguments, dict(zip(("precision", "recall", "f1"), right[:3], strict=True))))
    for average in (
        "macro",
        "weighted",
    ):  # of six classes two are in neither, and one in predictions alone
        right = sklearn.metrics.precision_recall_fscore_support(
            arrays[FEW["array"]], arrays[GUESSED_FEW["array"]], labels=range(6), average=average, zero_division=0
        )
        arguments = {"labels": FEW, "predictions": GUESSED_FEW, "num_labels": 6, "average": average}
        cases.append(case(arguments, dict(zip(("precision", "recall", "f1"), right[:3], strict=True))))
    return cases


def make_roc_auc():
    cases = []
    for number, decimals in enumerate((1, 6)):  # many ties, none
        truth = keep(f"input/auc/labels{number}", numbers.integers(0, 2, 40))
        scores = np.clip(np.round(numbers.random(40) * 0.6 + 0.4 * arrays[truth["array"]], decimals), 0, 1)
        scores = keep(f"input/auc/scores{number}", scores)
        right = sklearn.metrics.roc_auc_score(arrays[truth["array"]], arrays[scores["array"]])
        cases.append(case({"labels": truth, "scores": scores}, right))
    return cases


def make_map_weight_names():
    return [{"arguments": {"names": list(NAMES)}, "output": list(CANONICAL)}]


def make_train():
    batches = []
    for step in range(STEPS):
        lengths = numbers.integers(3, T + 1, B)
        mask = (np.arange(T)[None] < lengths[:, None]).astype(np.int64)
        ids = numbers.integers(5, V, (B, T)) * mask
        ids[:, 0] = 2
        types = (np.arange(T)[None] >= lengths[:, None] // 2).astype(np.int64) * mask
        batches.append({
            "input_ids": keep(f"input/train/{step}/ids", ids),
            "attention_mask": keep(f"input/train/{step}/mask", mask),
            "token_type_ids": keep(f"input/train/{step}/types", types),
            "labels": keep(f"input/train/{step}/labels", numbers.integers(0, C, B)),
        })  # fmt: skip
    settings = {"lr": 0.02, "warmup_steps": 5, "weight_decay": 0.1, "max_norm": 1.0}
    model = spread(
        transformers.BertForSequenceClassification(
            transformers.BertConfig(**BERT, num_labels=C, attn_implementation="eager")
        )
    )
    decayed = get_parameter_names(model, [torch.nn.LayerNorm], [r"bias", r"layernorm", r"rmsnorm"])
    named = list(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for n, p in named if n in decayed], "weight_decay": settings["weight_decay"]},
            {"params": [p for n, p in named if n not in decayed], "weight_decay": 0.0},
        ],
        lr=settings["lr"],
    )
    scheduler = transformers.get_linear_schedule_with_warmup(optimizer, settings["warmup_steps"], STEPS)
    losses = []
    for batch in batches:
        loss = model(**{name: value(array) for name, array in batch.items()}).loss
        losses.append(loss.detach())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings["max_norm"])
        optimizer.step()
        scheduler.step()
    return [case({"batches": batches, "weights": bert_weights, "config": BERT} | settings, torch.stack(losses))]


# ---- real checkpoints

FIRST_IDS = [[0, 345, 232, 328, 740, 140, 1695, 69, 6078, 1588, 2]]
FIRST_MASK = [[0] + [1] * 10]
MIDDLE = [[0, 1], [1, 4], [1, 4]]
BEGINNING = [[0, 1], [0, 3], [0, 3]]
SOURCE = "transformers' integration tests"


def figures(rung, ids, mask, cut, name, expected, tolerance, source=SOURCE):
    """One stored case; the expected numbers are those at `cut` of the output called `name`."""
    expected = expected if isinstance(expected, dict) else {name: expected}
    return {"rung": rung, "input_ids": ids, "attention_mask": mask, "slice": cut, "expected": expected,
            "tolerance": tolerance, "source": source}  # fmt: skip


def sentiment(ids, mask, logits):
    return figures("distilbert_head", ids, mask, [[0, 1], [0, 2]], "logits", [logits], 2e-4)


PUBLISHED = {
    "distilbert-base-uncased": [
        figures("distilbert_encoder", FIRST_IDS, FIRST_MASK, MIDDLE, "layer 6",
                [[[-0.1639, 0.3299, 0.1648], [-0.1746, 0.3289, 0.1710], [-0.1884, 0.3357, 0.1810]]], 1e-4),
        figures("distilbert_encoder", [[0, 1, 2, 3, 4, 5]], None, BEGINNING, "layer 6",
                [[[0.19261885, -0.13732955, 0.4119799], [0.22150156, -0.07422661, 0.39037204],
                  [0.22756018, -0.0896414, 0.3701467]]], 1e-4),
    ],
    "bert-base-uncased": [
        figures("bert_encoder", FIRST_IDS, FIRST_MASK, MIDDLE, "layer 12",
                [[[0.4249, 0.1008, 0.7531], [0.3771, 0.1188, 0.7467], [0.4152, 0.1098, 0.7108]]], 1e-4),
    ],
    "distilbert-base-uncased-finetuned-sst-2-english": [
        sentiment([[200, 200, 200]], None, [1.5694, -1.3895]),
        sentiment([[200, 200]], None, [0.5803, -0.4125]),
        sentiment([[200, 200, 0]], None, [1.3373, -1.2163]),  # padding taken for text: another answer, on purpose
        sentiment([[200, 200, 0]], [[1, 1, 0]], [0.5803, -0.4125]),
    ],
}  # fmt: skip


def store_checkpoints():
    """checkpoints.json: the published figures, and those of MiniLM, computed here where its weights are."""
    known = dict(PUBLISHED)
    path = FOLDER / "checkpoints.json"
    if folder := os.environ.get("MINIBERT_TEST_WEIGHTS"):
        model = transformers.AutoModel.from_pretrained(
            Path(folder) / "all-MiniLM-L6-v2", attn_implementation="eager", dtype=torch.float64
        ).eval()
        ids = [[101, 2023, 3185, 2001, 2307, 1012, 102], [101, 10634, 1012, 102, 0, 0, 0]]
        mask = [[1] * 7, [1] * 4 + [0] * 3]
        with torch.no_grad():
            right = states(model, input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
        expected = {name: np.round(state[:, :4, :5].numpy(), 9).tolist() for name, state in right.items()}
        cut = [[0, 2], [0, 4], [0, 5]]
        known["all-MiniLM-L6-v2"] = [
            figures("bert_encoder", ids, mask, cut, "", expected, 2e-5, f"transformers {transformers.__version__}")
        ]
    elif path.is_file():
        known["all-MiniLM-L6-v2"] = json.loads(path.read_text(encoding="utf-8"))["all-MiniLM-L6-v2"]
    path.write_text(json.dumps(known, separators=(",", ":")) + "\n", encoding="utf-8")


# ---- the plain implementation, right and wrong


def flat_outputs(rung, references, outputs):
    """Every compared number of all cases, strung together as `judge.judge_numbers` does, and which of them count."""
    pieces = []
    for one, output in zip(table[rung.name]["cases"], outputs, strict=True):
        pieces += matched(rung, one, output, references)
    flat = np.concatenate([got.ravel() for _, got, _, _ in pieces])
    right = np.concatenate([expected.ravel() for _, _, expected, _ in pieces])
    counts = np.concatenate([compared.ravel() for *_, compared in pieces])
    return flat, right, counts


def answers(rung, references, dtype="float64"):
    function, convert = getattr(ladder_torch, rung.name), converter("torch", dtype)
    names = [name for name, _ in rung.arguments]
    outputs = []
    for one in table[rung.name]["cases"]:
        arguments = {name: references.resolve(one["arguments"][name], convert) for name in names}
        outputs.append(function(*(arguments | ({"dropout": drop} if rung.places else {})).values()))
    if rung.name == "parameter_groups":
        cases = table[rung.name]["cases"]
        return [group_words(plain(o), c["arguments"]["names"]) for o, c in zip(outputs, cases, strict=True)]
    return [plain(output) for output in outputs] if rung.exact else outputs


def drop(x):
    return x * DROP


def check_plain(references):
    ladder_torch.WRONG = None
    for rung in RUNGS:
        outputs = answers(rung, references)
        if rung.exact:
            expected = [one["output"] for one in table[rung.name]["cases"]]
            assert outputs == expected, [(o, e) for o, e in zip(outputs, expected, strict=True) if o != e][:1]
            continue
        flat, right, counts = flat_outputs(rung, references, outputs)
        largest = np.abs(flat - right)[counts].max()
        print(f"{rung.name:<26} {counts.sum():>6} numbers, plain implementation off by at most {largest:.1e}")
        assert largest < max(1e-10, 3e-6 if rung.name == "clip_gradients" else 0), rung.name


def made_wrong(rung, references, dtype="float64"):
    """{mistake: what it returns}"""
    found, names = {}, [name for name in (*MISTAKES, *ladder_torch.VARIANTS) if name not in SAME_HERE]
    if rung.name == "wordpiece":
        names.append("not-lowercased + accents-kept")  # a tokenizer for cased vocabularies leaves out both
    if rung.name == "train":
        names += [" + ".join(names) for names in (*ADAM_CONVENTIONS, *CONVENTIONS_OF["warmup_schedule"])]
    for mistake in names:
        ladder_torch.WRONG = mistake
        try:
            found[mistake] = answers(rung, references, dtype)
        finally:
            ladder_torch.WRONG = None
    return found


# In training these are what another is: a softmax too many, another row of the table, any axis, the folded correction.
SAME_HERE = (
    "softmax-on-logits", "positions-off-by-one#ahead", "batch-and-tokens-swapped#masked", "learning-rate-compounded",
    "rate-compounded-over-parameters",
)  # fmt: skip


# Known since the positions were chosen: stored there as well, but they choose none, so that the others' stay the same.
LATER = ("mask-inverted#zeros", "mask-on-queries#zeros", "bias-missing#attention")


def store_mistakes(references):
    """For rungs whose mistakes the ladder does not make itself: what each one returns, at positions where they show."""
    for rung in RUNGS:
        if rung.name in MISTAKES_OF:
            continue
        found = made_wrong(rung, references)
        if rung.exact:
            expected = [one["output"] for one in table[rung.name]["cases"]]
            table[rung.name]["mistakes"] = {name: o for name, o in found.items() if o != expected}
            continue
        rough = made_wrong(rung, references, "float32")
        flats, (_, right, counts) = {}, flat_outputs(rung, references, answers(rung, references))
        for mistake, outputs in found.items():
            flat = flat_outputs(rung, references, outputs)[0]
            largest = np.where(counts, np.abs(flat - right), 0).max()
            rounding = np.where(counts, np.abs(flat - flat_outputs(rung, references, rough[mistake])[0]), 0).max()
            told = rounding < max(0.003 * largest, 0.1 * rung.tolerance)  # else nobody could recognise it
            least = 10 * rung.double if rung.name == "train" else 20 * rung.tolerance
            if largest > least and told:
                flats[mistake] = flat
        choosing = {name: flat for name, flat in flats.items() if name not in LATER}
        positions = telling_positions(choosing, right, counts)
        arrays[f"{rung.name}/positions"] = positions.astype(np.int32)
        arrays[f"{rung.name}/right"] = right[positions]
        for mistake, flat in flats.items():
            arrays[f"{rung.name}/mistake/{mistake}"] = flat[positions].astype(np.float32)
        same = [
            (a, b) for a, b in itertools.combinations(flats, 2) if np.abs(flats[a] - flats[b])[positions].max() < 1e-5
        ]
        print(f"{rung.name:<26} {len(flats):>3} mistakes show, at {len(positions)} positions; alike: {same or 'none'}")


def telling_positions(flats, right, counts):
    """Where mistakes differ most from what is right, and at random."""
    choice, positions = np.random.default_rng(3), set()
    for flat in flats.values():
        difference = np.where(counts, np.abs(flat - right), 0)
        visible = np.flatnonzero(difference > 0.1 * difference.max())
        positions |= set(np.argsort(-difference, kind="stable")[:PER_MISTAKE].tolist())
        positions |= set(choice.choice(visible, min(PER_MISTAKE, len(visible)), replace=False).tolist())
    counted = np.flatnonzero(counts)
    positions |= set(choice.choice(counted, min(32, len(counted)), replace=False).tolist())
    return np.array(sorted(positions))


if __name__ == "__main__":
    main()
