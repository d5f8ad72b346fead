"""What the tests of distillation share: texts of a few words, tokenizers, models of a few thousand parameters."""

import json
import random

import torch
from conftest import REFERENCES

from minibert import EncoderConfig, load_encoder, load_tokenizer, save_encoder
from minibert.head import Classifier
from minibert.load import build_encoder, save_classifier
from minibert.tokenizer import Tokenizer, from_vocabulary

CPU = torch.device("cpu")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
#                     5    6    7      8      9     10      11     12     13
LETTERS = [*SPECIAL, "a", "b", "##a", "##b", "ab", "##ab", "aba", "bab", "[unused0]"]
FULL = (REFERENCES / "vocab.txt").read_text(encoding="utf-8").split()
SMALLEST = len({*SPECIAL, *(token for token in FULL if len(token.removeprefix("##")) == 1)})
WORDS = "the film was fine dull good bad not very play act movie story one is it and of hello world review".split()
LABELS = ["no", "maybe", "yes"]
ALL = range(len(FULL))


def lines(count, seed=0, shortest=3, longest=9):
    """Texts of whole words of the tiny models."""
    choice = random.Random(seed)
    return [" ".join(choice.choices(WORDS, k=choice.randint(shortest, longest))) for _ in range(count)]


def write_lines(path, texts):
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return path


def wordpiece(vocabulary=LETTERS, max_length=64, cls="[CLS]", sep="[SEP]", pad="[PAD]", **config):
    return Tokenizer(from_vocabulary(vocabulary, config), max_length, cls, sep, pad)


def tokens(tokenizer, text):
    return [tokenizer.backend.id_to_token(i) for i in tokenizer.pieces([text])[0]]


def spread(module, seed=0, std=0.4):
    """Random numbers in every parameter, biases and LayerNorm's included: no copy can be forgotten unseen."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, std, generator=generator)
    return module.eval()


def tiny(model_type="distilbert", layers=2, seed=0, **more):
    """A fast encoder for the reference vocabulary, width 12, with dropout that must never act."""
    types = 2 if model_type == "bert" else 0
    shape = dict(intermediate_size=20, max_position_embeddings=32, type_vocab_size=types, hidden_dropout_prob=0.5)
    return spread(build_encoder(EncoderConfig(model_type, len(FULL), 12, layers, 3, **(shape | more))), seed)


def classifier(encoder, pooling, head, seed=5):
    return spread(Classifier(encoder, LABELS, pooling, head), seed, 0.6)


def batch_of(texts=("the film was fine", "dull", "a very very good story"), pairs=None):
    return wordpiece(FULL)(list(texts), pairs)


def save_teacher(model, folder, tokenizer=None, extra=None):
    if isinstance(model, Classifier):
        save_classifier(model, folder, extra)
    else:
        save_encoder(model, folder)
    (tokenizer or wordpiece(FULL)).save(folder)
    return folder


def bare(folder, output):
    """The encoder of a classifier's folder, in a folder of its own."""
    return save_teacher(load_encoder(folder), output, load_tokenizer(folder))


def arguments(teacher, text, output, *more):
    return [
        str(teacher), str(text), "--output", str(output), "--batch-size", "16", "--lr", "3e-3", "--device", "cpu",
        "--precision", "fp32", "--quiet", *map(str, more),
    ]  # fmt: skip


def records(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def copy_of(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(state, other):
    return state.keys() == other.keys() and all(torch.equal(state[name], other[name]) for name in state)


def pairs_file(path, count=12):
    rows = [f"{lines(count)[i]},{lines(count, 1)[i]},{i % 2}" for i in range(count)]
    return write_lines(path, ["text,text_pair,label", *rows])
