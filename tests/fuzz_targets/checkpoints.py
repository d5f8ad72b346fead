"""Checkpoints: config.json, tokenizers, weights, shards and whole classifiers, of which any part may be hostile."""

import json
import struct

import torch
from safetensors.torch import load_file, save_file

from minibert.load import load_encoder, load_tokenizer
from minibert.text_classifier import load_classifier

from . import NASTY_NUMBERS, NASTY_TEXTS, change_bytes, change_json, nasty_value, write_json_text
from .templates import ENCODERS, FAMILIES, copy, template

TEXTS = ["a good film", "", "bad " * 40, "好电影 😀", "[SEP] [PAD]", "x" * 200]


def configs(random, folder):
    """config.json of an encoder: fields of other types and sizes, and JSON that is none."""
    copy(template(random.choice(ENCODERS)), folder / "model")
    path = folder / "model" / "config.json"
    values = change_json(random, json.loads(path.read_text()), random.randint(1, 3))
    if random.random() < 0.3 and isinstance(values, dict):
        values[random.choice(list(values) or ["dim"])] = random.choice(NASTY_NUMBERS)
    write_json_text(random, path, values)
    encoder = load_encoder(folder / "model")
    hidden = encoder(torch.tensor([[2, 3, 4]]))
    assert hidden.shape == (1, 3, encoder.config.hidden_size)


def classifiers(random, folder):
    """A trained classifier: its config.json's labels, architectures and minibert section, its tokenizer and weights."""
    copy(template(random.choice(FAMILIES), "classifier"), folder / "model")
    path = folder / "model" / "config.json"
    values = json.loads(path.read_text())
    if random.random() < 0.7:
        key = random.choice(("id2label", "architectures", "minibert", "label2id", "num_labels"))
        if random.random() < 0.5 and values.get(key):
            values[key] = change_json(random, values[key])
        else:
            values[key] = nasty_value(random)
    else:
        values = change_json(random, values)
    write_json_text(random, path, values)
    if random.random() < 0.3:
        name = random.choice(("tokenizer.json", "tokenizer_config.json", "model.safetensors"))
        damage_file(random, folder / "model" / name)
    classifier = load_classifier(folder / "model")
    labels = classifier.predict(TEXTS) if not classifier.reads_pairs else classifier.predict(TEXTS, TEXTS)
    assert len(labels) == len(TEXTS) and all(isinstance(label, str) for label in labels)


def damage_file(random, path):
    """Change some bytes of a file, or take it away."""
    if random.random() < 0.1:
        path.unlink(missing_ok=True)
    elif path.exists():
        path.write_bytes(change_bytes(random, path.read_bytes()))


def use_tokenizer(folder):
    """Load the folder's tokenizer and encode texts as a run does."""
    tokenizer = load_tokenizer(folder)
    length = min(tokenizer.max_length, 24)
    for pairs in (None, TEXTS[::-1]):
        sequences = tokenizer.encode(TEXTS, pairs, max(length, 5))
        assert len(sequences) == len(TEXTS)
        assert all(0 <= number < 2**31 for sequence in sequences for number in sequence.ids)


def vocabularies(random, folder):
    """vocab.txt with its tokenizer_config.json."""
    copy(template(random.choice(FAMILIES)), folder / "model")
    path = folder / "model" / "vocab.txt"
    lines = path.read_text().split("\n")
    for _ in range(random.randrange(4)):
        lines.insert(random.randrange(len(lines) + 1), random.choice(NASTY_TEXTS))
    if random.random() < 0.2:
        del lines[random.randrange(len(lines))]
    content = "\n".join(lines).encode("utf-8", "surrogatepass")
    path.write_bytes(change_bytes(random, content) if random.random() < 0.2 else content)
    config = {
        "do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True, "model_max_length": 24,
        "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": {"content": "[SEP]"}, "pad_token": "[PAD]",
    }  # fmt: skip
    if random.random() < 0.7:
        config = change_json(random, config, random.randint(1, 2))
    write_json_text(random, folder / "model" / "tokenizer_config.json", config)
    use_tokenizer(folder / "model")


def merges(random, folder):
    """RoBERTa's vocab.json and merges.txt."""
    copy(template("roberta", "merges"), folder / "model")
    path = folder / "model" / "vocab.json"
    if random.random() < 0.6:
        values = json.loads(path.read_text(encoding="utf-8"))
        if random.random() < 0.5:
            values[random.choice([*sorted(values), *NASTY_TEXTS])] = random.choice(NASTY_NUMBERS)
        write_json_text(random, path, change_json(random, values, random.randint(1, 3)))
    if random.random() < 0.6:
        path = folder / "model" / "merges.txt"
        lines = path.read_text(encoding="utf-8").split("\n")
        for _ in range(random.randrange(3)):
            odd = random.choice((*NASTY_TEXTS, "a b c", "a", " ", "a  b", "none such", "\u0120 \u0120"))
            lines.insert(random.randrange(len(lines) + 1), odd)
        content = "\n".join(lines).encode("utf-8", "surrogatepass")
        path.write_bytes(change_bytes(random, content) if random.random() < 0.3 else content)
    use_tokenizer(folder / "model")


def tokenizers(random, folder):
    """tokenizer.json: parts of other types, ids out of range, models and normalizers that do not fit."""
    copy(template(random.choice(FAMILIES), "classifier"), folder / "model")
    path = folder / "model" / "tokenizer.json"
    values = json.loads(path.read_text())
    if random.random() < 0.3:
        vocabulary = values["model"]["vocab"]
        vocabulary[random.choice([*vocabulary, *NASTY_TEXTS])] = random.choice(NASTY_NUMBERS)
    if random.random() < 0.2:
        values["normalizer"] = random.choice(NORMALIZERS)
    if random.random() < 0.2:
        values["pre_tokenizer"] = random.choice(PRE_TOKENIZERS)
    if random.random() < 0.7:
        values = change_json(random, values, random.randint(1, 3))
    write_json_text(random, path, values)
    if random.random() < 0.5:
        use_tokenizer(folder / "model")
    else:
        classifier = load_classifier(folder / "model")
        assert len(classifier.predict(TEXTS)) == len(TEXTS)


NORMALIZERS = (
    {"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": ""},
    {"type": "Replace", "pattern": {"Regex": "("}, "content": ""},
    {"type": "Prepend", "prepend": "x" * 1000},
    {"type": "Precompiled", "precompiled_charsmap": "AAAA"},
    {"type": "Sequence", "normalizers": []},
    {"type": "Lowercase"},
)
PRE_TOKENIZERS = (
    {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
    {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
    {"type": "Metaspace", "replacement": "x", "prepend_scheme": "always", "split": True},
    {"type": "FixedLength", "length": 0},
    {"type": "Sequence", "pretokenizers": []},
)


def weights(random, folder):
    """model.safetensors: its header, its types, its numbers and its bytes."""
    copy(template(random.choice(ENCODERS)), folder / "model")
    path = folder / "model" / "model.safetensors"
    if random.random() < 0.4:
        tensors = change_tensors(random, load_file(path))
        save_file(tensors, path)
    if random.random() < 0.4:
        content = path.read_bytes()
        length = struct.unpack("<Q", content[:8])[0]
        header = change_json(random, json.loads(content[8 : 8 + length]), random.randint(1, 2))
        header = json.dumps(header).encode("utf-8", "replace")
        claimed = random.choice((len(header), len(header), len(header), 0, 2**40, 2**63, len(header) + 8))
        path.write_bytes(struct.pack("<Q", claimed) + header + content[8 + length :])
    if random.random() < 0.4:
        path.write_bytes(change_bytes(random, path.read_bytes()))
    encoder = load_encoder(folder / "model")
    assert encoder(torch.tensor([[2, 3, 4]])).shape[:2] == (1, 3)


TYPES = [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64]
TYPES += [getattr(torch, name) for name in dir(torch) if name.startswith("float8_")]


def change_tensors(random, tensors):
    """A tensor of another type, shape, name or of numbers beyond all measure."""
    name = random.choice(sorted(tensors))
    tensor = tensors[name]
    action = random.randrange(6)
    if action == 0:
        kind = random.choice(TYPES)
        return {key: value.to(kind) for key, value in tensors.items()}
    if action == 1:
        tensors[name] = tensor.to(random.choice(TYPES))
    elif action == 2:
        tensors[name] = torch.full_like(tensor, random.choice((float("nan"), float("inf"), 3e38, 1e-45, -3e38)))
    elif action == 3:
        tensors[name] = random.choice((tensor.flatten(), tensor[None], tensor[:0], torch.tensor(1.0)))
    elif action == 4:
        tensors[random.choice(NASTY_TEXTS).encode("utf-8", "replace").decode()] = tensors.pop(name)
    else:
        tensors["extra"] = tensor.clone()
    return tensors


def shards(random, folder):
    """Weights in several files with an index of which any part may be wrong."""
    copy(template(random.choice(ENCODERS)), folder / "model")
    single = folder / "model" / "model.safetensors"
    tensors, weight_map = load_file(single), {}
    single.unlink()
    for part in range(2):
        names = sorted(tensors)[part::2]
        save_file({name: tensors[name] for name in names}, folder / "model" / f"part-{part}.safetensors")
        weight_map |= dict.fromkeys(names, f"part-{part}.safetensors")
    index = {"metadata": {"total_size": 1}, "weight_map": weight_map}
    if random.random() < 0.8:
        index = change_json(random, index, random.randint(1, 2))
    if random.random() < 0.2 and isinstance(index, dict):
        target = random.choice(("../x.safetensors", "/etc/passwd", "config.json", ".", "", "a" * 300, "x\0", "\ud800"))
        index["weight_map"] = weight_map | {random.choice(sorted(weight_map)): target}
    write_json_text(random, folder / "model" / "model.safetensors.index.json", index)
    if random.random() < 0.2:
        damage_file(random, folder / "model" / "part-1.safetensors")
    encoder = load_encoder(folder / "model")
    assert encoder(torch.tensor([[2, 3, 4]])).shape[:2] == (1, 3)


TARGETS = {
    "configs": configs, "classifiers": classifiers, "vocabularies": vocabularies, "tokenizers": tokenizers,
    "merges": merges, "weights": weights, "shards": shards,
}  # fmt: skip
