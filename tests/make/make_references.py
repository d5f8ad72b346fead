"""Write what transformers and torch compute, for the tests to compare with, into tests/references/.

Run from the repository root, in an environment with transformers, where the tests themselves need none:

    PYTHONPATH=.:tests python tests/make/make_references.py

With MINIBERT_TEST_WEIGHTS set (a folder that holds all-MiniLM-L6-v2/), the figures of that checkpoint are
made too; otherwise the stored ones stay.

The tiny models are built so that mistakes show. Fresh BERT weights (standard deviation 0.02, biases 0,
LayerNorm 1 and 0) leave attention almost uniform and every activation near 0, where a tanh GELU cannot be told
from the exact one. So weights are spread, biases and LayerNorm are random, every dimension has a size of its
own, padding is uneven, stands at the left once, and holds words.
"""

import json
import os
import platform
import shutil
import tempfile
from pathlib import Path

import tokenizers
import torch
import transformers
from layout import as_distilbert, distilbert_config
from safetensors.torch import load_file, save_file
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    ElectraConfig,
    ElectraForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaTokenizer,
    get_linear_schedule_with_warmup,
)

FOLDER = Path(__file__).parent.parent / "references"
LENGTHS = (13, 4, 9, 6, 11)  # of the 5 texts, in a batch 13 tokens wide
LABELS = 6
FAMILIES = {  # how each is seeded, and its padding token
    "bert": (1, 0),
    "distilbert": (2, 0),
    "roberta": (3, 1),
    "electra": (4, 0),
}
QUIET_FACTOR = 1 / 32  # a power of two: the scaled weights are exact


def save_tensors(name, tensors):
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, FOLDER / name, {"format": "pt"})
    (FOLDER / name).chmod(0o644)


def save_json(name, values, indent=None):
    (FOLDER / name).write_text(json.dumps(values, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")


# ---- the tiny models


def vocabulary_size(family):
    if family == "roberta":
        return len(json.loads((FOLDER / "roberta-vocab.json").read_text(encoding="utf-8")))
    return len((FOLDER / "vocab.txt").read_text(encoding="utf-8").splitlines())


def make_config(family, activation="gelu"):
    if family == "bert":
        return BertConfig(
            vocab_size=vocabulary_size(family), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=40, max_position_embeddings=64, hidden_act=activation, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, classifier_dropout=0.0, num_labels=LABELS, attn_implementation="eager",
        )  # fmt: skip
    if family in ("roberta", "electra"):
        Config = RobertaConfig if family == "roberta" else ElectraConfig
        special = {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1, "layer_norm_eps": 1e-5}
        return Config(
            vocab_size=vocabulary_size(family), hidden_size=24, num_hidden_layers=2, num_attention_heads=3,
            intermediate_size=40, hidden_act=activation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            classifier_dropout=0.0, num_labels=LABELS, attn_implementation="eager",
            **(special if family == "roberta" else {"max_position_embeddings": 64, "embedding_size": 24}),
        )  # fmt: skip
    return DistilBertConfig(
        vocab_size=vocabulary_size(family), dim=24, n_layers=2, n_heads=3, hidden_dim=40, max_position_embeddings=64,
        activation=activation, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, num_labels=LABELS,
        attn_implementation="eager",
    )  # fmt: skip


def make_model(family, activation="gelu"):
    Model = {
        "bert": BertForSequenceClassification,
        "distilbert": DistilBertForSequenceClassification,
        "roberta": RobertaForSequenceClassification,
        "electra": ElectraForSequenceClassification,
    }[family]
    return Model(make_config(family, activation))


@torch.no_grad()
def spread(model, generator):
    """Weights large enough for sharp attention and for every activation's curve; nothing at a special value."""
    for name, parameter in model.named_parameters():
        normal = torch.randn(parameter.shape, generator=generator)
        if "norm" in name.lower():
            parameter.copy_(1 + 0.3 * normal if name.endswith("weight") else 0.3 * normal)
        elif parameter.ndim == 1:
            parameter.copy_(0.3 * normal)
        elif "embeddings" in name:
            parameter.copy_(0.7 * normal)
        else:
            parameter.copy_(normal * 1.5 / parameter.shape[1] ** 0.5)


def make_inputs(generator, family):
    """A batch [5, 13]. What stands under the mask is words, not [PAD]; one real token is [PAD]."""
    pad = FAMILIES[family][1]
    shape = (len(LENGTHS), max(LENGTHS))
    input_ids = torch.randint(1, vocabulary_size(family), shape, generator=generator)
    attention_mask = (torch.arange(shape[1]) < torch.tensor(LENGTHS)[:, None]).long()
    attention_mask[2] = attention_mask[2].flip(0)  # padded at the left
    input_ids[1, LENGTHS[1] :] = pad
    input_ids[0, 5] = pad
    types = torch.randint(0, 2, shape, generator=generator)
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": types * (family != "roberta"),  # which has one type
        "labels": torch.randint(0, LABELS, shape[:1], generator=generator),
    }


def quiet_names(model):
    """The tensors to scale down so that the numbers that enter each LayerNorm have a spread below 0.1."""
    small = ("word_embeddings", "position_embeddings", "token_type_embeddings", "LayerNorm", "layer_norm",
             "output.dense", "out_lin", "lin2")  # fmt: skip
    last = ("layer.1.output.LayerNorm", "layer.1.output_layer_norm")
    return [
        name
        for name, _ in model.named_parameters()
        if any(part in name for part in small) and not any(part in name for part in last)
    ]


def tiny_outputs(family, weights, inputs, dtype):
    """Everything that a forward and backward pass of transformers' model computes."""
    model = make_model(family)
    model.load_state_dict(weights)
    model = model.to(dtype).eval()
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    if family == "distilbert":
        del texts["token_type_ids"]
    result = model(**texts, labels=inputs["labels"], output_hidden_states=True, output_attentions=True)
    result.loss.backward()
    out = {f"hidden.{i}": state for i, state in enumerate(result.hidden_states)}
    out |= {f"attention.{i}": probabilities for i, probabilities in enumerate(result.attentions)}
    out |= {"logits": result.logits, "loss": result.loss}
    out |= {f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()}
    with torch.no_grad():
        if family == "bert":
            out["pooled"] = model.bert(**texts).pooler_output
        del texts["attention_mask"]
        out["unpadded.logits"] = model(**texts).logits
        out["unpadded.hidden"] = model.base_model(**texts).last_hidden_state
        texts["attention_mask"] = inputs["attention_mask"]
        for activation in ("relu", "gelu_new"):
            other = make_model(family, activation)
            other.load_state_dict(weights)
            out[f"{activation}.hidden"] = other.to(dtype).eval().base_model(**texts).last_hidden_state
        names = quiet_names(model)
        model.load_state_dict({name: t * QUIET_FACTOR if name in names else t for name, t in weights.items()})
        entering = []
        for module in model.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.register_forward_hook(lambda _, given, __: entering.append(given[0].std(-1).max().item()))
        out["quiet.hidden"] = model.base_model(**texts).last_hidden_state
        assert len(entering) == 5 and max(entering) < 0.1, entering
    return {name: tensor.detach() for name, tensor in out.items()}


def make_tiny(family):
    generator = torch.Generator().manual_seed(FAMILIES[family][0])
    model = make_model(family)
    spread(model, generator)
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inputs = make_inputs(generator, family)
    save_tensors(f"tiny-{family}.safetensors", weights)
    with tempfile.TemporaryDirectory() as folder:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(folder)
        config = json.loads((Path(folder) / "config.json").read_text())
    save_json(f"tiny-{family}.json", config, indent=2)
    save_json(f"quiet-{family}.json", {"factor": QUIET_FACTOR, "tensors": quiet_names(model)}, indent=1)
    tensors = dict(inputs)
    for precision, dtype in (("fp32", torch.float32), ("fp64", torch.float64)):
        tensors |= {f"{precision}.{k}": v for k, v in tiny_outputs(family, weights, inputs, dtype).items()}
    save_tensors(f"tiny-{family}-outputs.safetensors", tensors)
    largest = max(v.abs().max().item() for k, v in tensors.items() if k.startswith("fp64.gradient"))
    print(f"{family}: loss {tensors['fp64.loss'].item():.4f}, largest gradient {largest:.3f}")
    return weights, generator


# ---- 50 training steps

STEPS, WARMUP, LEARNING_RATE, WEIGHT_DECAY, EPS, MAX_NORM = 50, 5, 1e-3, 0.01, 1e-8, 1.0


def make_curve(family, weights, generator):
    """The loss before each of 50 updates, on 10 batches taken in turn."""
    batches = [make_inputs(generator, family) for _ in range(10)]
    losses, norms = {}, []
    for precision, dtype in (("fp32", torch.float32), ("fp64", torch.float64)):
        model = make_model(family)
        model.load_state_dict(weights)
        model = model.to(dtype).train()
        matrices = [p for p in model.parameters() if p.ndim >= 2]
        vectors = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, eps=EPS)
        schedule = get_linear_schedule_with_warmup(optimizer, WARMUP, STEPS)
        losses[precision], norms = [], []
        for step in range(STEPS):
            batch = dict(batches[step % len(batches)])
            if family == "distilbert":
                del batch["token_type_ids"]
            loss = model(**batch).loss
            losses[precision].append(loss.item())
            loss.backward()
            norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_NORM).item())
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    print(f"{family}: losses {losses['fp64'][0]:.3f} ... {losses['fp64'][-1]:.3f}, "
          f"norms {min(norms):.2f} to {max(norms):.2f}")  # fmt: skip
    save_tensors(f"curve-{family}.safetensors", {k: torch.stack([b[k] for b in batches]) for k in batches[0]})
    settings = {"steps": STEPS, "warmup": WARMUP, "lr": LEARNING_RATE, "weight_decay": WEIGHT_DECAY, "eps": EPS,
                "max_norm": MAX_NORM}  # fmt: skip
    save_json(f"curve-{family}.json", {**settings, "losses": losses}, indent=1)


# ---- the schedule


def make_schedule():
    """Every multiplier from step 0 to two past the end, as [warmup, total, multipliers]."""
    cases = []
    for warmup, total in ((0, 1), (0, 7), (1, 1), (1, 5), (3, 10), (7, 7), (10, 100), (33, 100), (9, 4)):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = get_linear_schedule_with_warmup(optimizer, warmup, total)
        multipliers = []
        for _ in range(total + 3):
            multipliers.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        cases.append([warmup, total, multipliers])
    (FOLDER / "schedule.json").write_text(
        "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n", encoding="utf-8"
    )


# ---- the tokenizer

TEXTS = [
    "the film was fine",
    "The FILM was Fine",
    "a café, naïve & dull…",
    "cafe\u0301",  # the accent as a character of its own
    "电影好看",
    "the电影film",
    "good-ish?! (not bad)...",
    'it\'s "one" of $100, [a] & b_c',
    "unaffable unbelievable acting actors",
    "quizzical jazz",  # q and z are not in the vocabulary
    "",
    " ",
    "the [SEP] film [CLS] was [MASK] [PAD]",
    "[sep] [Sep]",
    "[UNK]",
    "a" * 100,
    "a" * 101,  # a word of more than 100 characters is unknown
    "b" * 120 + " film",
    "the\nfilm\r\n\twas  fine\n",
    "film 🎬 good 👍🏽",
    "nul\u0000l\ufffd",
    "no\u200bwidth\u00a0space\u00ad",
    "ＦＵＬＬ width",
    "straße İstanbul ǅ",
    "Привет мир",
    "http://good.film/?a=1&b=2",
    "1.5 10,000 2020-12-31",
    "##ing ##s film##s",
    "“quoted” – dash—dash",
]
PAIRS = [
    ["the film", "was good"],
    ["", "film"],
    ["film", ""],
    ["", ""],
    ["the [SEP] film", "a play"],
    ["A Café", "电影 good"],
    ["one", "it is a very good story and not a dull one"],
]
LONG = ["the film was a fine story and it is not dull", "one play of good actors", "a b c d e", "f g h i j", "hello"]
LONG_PAIRS = [[0, 1], [1, 0], [2, 3], [0, 0], [0, 4], [4, 0], [1, 2]]


def make_tokenizer():
    """What the tokenizer makes of awkward texts, with and without lower-casing, and of texts that are too long."""
    save_json("tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True,
                                        "model_max_length": 64}, indent=2)  # fmt: skip
    result = {"texts": TEXTS, "pairs": PAIRS, "long": LONG, "long_pairs": LONG_PAIRS}
    variants = {
        "uncased": {"do_lower_case": True},
        "cased": {"do_lower_case": False},
        "keep accents": {"do_lower_case": True, "strip_accents": False},
        "plain CJK": {"do_lower_case": True, "tokenize_chinese_chars": False},
    }
    for name, options in variants.items():
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(FOLDER / "vocab.txt", Path(folder) / "vocab.txt")
            config = {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **options}
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = AutoTokenizer.from_pretrained(folder)
        assert tokenizer.is_fast
        values = {"options": options, "texts": [encoded(tokenizer, text) for text in TEXTS]}
        values["pairs"] = [encoded(tokenizer, *pair) for pair in PAIRS]
        if name == "uncased":
            values["truncated"] = [
                [max_length, i, encoded(tokenizer, text, max_length=max_length)]
                for max_length in (3, 4, 5, 6, 8, 11)
                for i, text in enumerate(LONG)
            ]
            values["truncated_pairs"] = [
                [max_length, pair, encoded(tokenizer, *(LONG[i] for i in pair), max_length=max_length)]
                for max_length in (5, 6, 7, 8, 9, 12, 13, 14)
                for pair in LONG_PAIRS
            ]
        result[name] = values
    (FOLDER / "tokenizer-cases.json").write_text(json.dumps(result, ensure_ascii=True) + "\n", encoding="utf-8")


def make_bpe():
    """RoBERTa's kind of tokenizer: a byte-level BPE learned on TEXTS, and what transformers makes of them with it."""
    backend = tokenizers.ByteLevelBPETokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend.train_from_iterator(TEXTS * 2 + LONG * 3, vocab_size=340, min_frequency=2, special_tokens=special)
    with tempfile.TemporaryDirectory() as folder:
        backend.save_model(folder)
        for name in ("vocab.json", "merges.txt"):
            shutil.copyfile(Path(folder) / name, FOLDER / f"roberta-{name}")
        tokenizer = RobertaTokenizer.from_pretrained(folder)
    values = {
        "texts": [bpe_ids(tokenizer, text) for text in TEXTS],
        "pairs": [bpe_ids(tokenizer, *pair) for pair in PAIRS],
        "truncated_pairs": [
            [max_length, pair, bpe_ids(tokenizer, *(LONG[i] for i in pair), max_length=max_length)]
            for max_length in (6, 7, 9, 12, 13, 14)
            for pair in LONG_PAIRS
        ],
    }
    save_json("roberta-tokenizer-cases.json", values)


def bpe_ids(tokenizer, *texts, max_length=None):
    return tokenizer(*([text] for text in texts), truncation=max_length is not None, max_length=max_length).input_ids[0]


def encoded(tokenizer, *texts, max_length=None):
    """[ids, token types] of a text or a pair. As lists of one: outside a list, an empty second text is no pair."""
    encoding = tokenizer(*([text] for text in texts), truncation=max_length is not None, max_length=max_length)
    return [encoding["input_ids"][0], encoding["token_type_ids"][0]]


# ---- real weights

REAL_TEXTS = [
    ["A quiet, funny film that earns its ending."],
    ["I wanted to like this; I really did."],
    ["Worst. Movie. EVER!!! 0/10 -- don't bother<br /><br />"],
    ["Le fiancé naïf mange une crème brûlée à Zürich."],
    ["The mitochondrion is the powerhouse of the cell, isn't it?"],
    ["東京 is the capital of 日本."],
    ["Win £1000 cash!! Txt STOP to 80086, T&Cs apply @ www.example.com"],
    ["antidisestablishmentarianism 3.14159 supercalifragilisticexpialidocious"],
    ["He said the food was delicious.", "The food was described by him as delicious."],
    ["PCCW's chief operating officer, Mike Butcher, will report directly to So.", "Mr. Butcher left."],
]
SHORT = 3  # of them go through the model


def make_minilm(folder):
    """Real weights on 3 short texts, as BERT and renamed as DistilBERT."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer([texts[0] for texts in REAL_TEXTS[:SHORT]], padding=True, truncation=True, max_length=14)
    input_ids, attention_mask = torch.tensor(batch["input_ids"]), torch.tensor(batch["attention_mask"])
    tensors = load_file(Path(folder) / "model.safetensors")
    config = json.loads((Path(folder) / "config.json").read_text())
    bert = BertModel.from_pretrained(folder, attn_implementation="eager").eval()
    distilbert = DistilBertModel(DistilBertConfig(**distilbert_config(config), attn_implementation="eager")).eval()
    distilbert.load_state_dict(as_distilbert(tensors))
    out = {"input_ids": input_ids, "attention_mask": attention_mask}
    with torch.no_grad():
        for family, model in (("bert", bert), ("distilbert", distilbert)):
            result = model(input_ids, attention_mask, output_hidden_states=True)
            out[f"{family}.last"] = result.last_hidden_state
            out[f"{family}.layers"] = torch.stack([state[:, :4, :8] for state in result.hidden_states])
        out["bert.pooled"] = bert(input_ids, attention_mask).pooler_output
    save_tensors("minilm.safetensors", out)
    cases = [[texts, *encoded(tokenizer, *texts)] for texts in REAL_TEXTS]
    (FOLDER / "minilm-tokens.json").write_text(
        "[\n" + ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases) + "\n]\n", encoding="utf-8"
    )


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    make_tokenizer()
    make_schedule()
    make_bpe()
    for family in FAMILIES:
        make_curve(family, *make_tiny(family))
    weights = os.environ.get("MINIBERT_TEST_WEIGHTS")
    if weights:
        make_minilm(Path(weights) / "all-MiniLM-L6-v2")
    else:
        print("MINIBERT_TEST_WEIGHTS is unset: the figures of real weights were left as they are")
    save_json("versions.json", {"torch": torch.__version__, "transformers": transformers.__version__,
                                "python": platform.python_version()}, indent=2)  # fmt: skip


if __name__ == "__main__":
    main()
