"""Text to token ids: the `tokenizers` library, wrapped so that nothing about cutting and padding is implicit.

A text becomes [CLS] text [SEP], a pair [CLS] first [SEP] second [SEP] with token type 1 for `second [SEP]`.
Truncation and padding that a tokenizer.json may carry are switched off; both are ours, below. A text too
long for the model keeps its head, its tail, or both ends (Sun et al. 2019, arXiv 1905.05583, section 5.3.1:
reviews say what they think at the end, too).
"""

import contextlib
import json
import re
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import BertProcessing

from .batch import Sequence, collate
from .plumbing.files import UserError, shown, write_json, write_text

TRUNCATIONS = ("head", "tail", "head+tail")
HEAD_TOKENS = 128  # of head+tail: the first 128 tokens, then as many of the last as fit
CHUNK = 1000  # texts tokenized at a time, so that progress shows and memory stays flat


class Tokenizer:
    """Texts or pairs to `Sequence`s (`encode`) or straight to a padded `Batch` (calling it).

    max_length: the longest sequence the model takes, special tokens included. source: the file, for messages.
    """

    def __init__(self, backend, max_length=512, cls="[CLS]", sep="[SEP]", pad="[PAD]", source="the tokenizer"):
        backend.no_truncation()
        backend.no_padding()
        ids = {token: backend.token_to_id(token) for token in (cls, sep, pad)}
        absent = [token for token, number in ids.items() if number is None]
        if absent:
            raise UserError(f"{source}: has no {', '.join(token[:80] for token in absent)}: not a BERT tokenizer?")
        # `encode` places these itself; whoever else opens a saved tokenizer.json finds them done there.
        backend.post_processor = BertProcessing((sep, ids[sep]), (cls, ids[cls]))
        self.backend, self.source = backend, source
        self.max_length = max_length
        self.cls_id, self.sep_id, self.pad_id = ids[cls], ids[sep], ids[pad]

    def __call__(self, texts, pairs=None, max_length=None, truncation="head"):
        """texts: list of B texts; pairs: B second texts or None. Returns a `Batch` [B, T]."""
        return collate(self.encode(texts, pairs, max_length, truncation), self.pad_id)

    def encode(self, texts, pairs=None, max_length=None, truncation="head", progress=None):
        """A `Sequence` per text or pair, at most max_length tokens each.

        In a pair the longer text is cut first, until both are as long as each other (then both). `truncation`
        says which end of a text is cut. `progress` is called with the number of texts done since the last call.
        """
        max_length = self.max_length if max_length is None else max_length
        if isinstance(texts, str) or (pairs is not None and len(pairs) != len(texts)):
            raise ValueError("texts and pairs are lists of the same length")
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation is {truncation!r}; choose from {', '.join(TRUNCATIONS)}")
        if max_length < (3 if pairs is None else 5):
            raise UserError(f"a length of {max_length} leaves no room for text between the special tokens")
        sequences = []
        for start in range(0, len(texts), CHUNK):
            firsts = self.pieces(texts[start : start + CHUNK])
            if pairs is None:
                for whole in firsts:
                    first = truncate(whole, max_length - 2, truncation)
                    ids = [self.cls_id, *first, self.sep_id]
                    sequences.append(Sequence(np.array(ids, dtype=np.int32), len(ids), len(whole) + 2))
            else:
                for first, second in zip(firsts, self.pieces(pairs[start : start + CHUNK]), strict=True):
                    whole = len(first) + len(second) + 3
                    room, second_room = divide_room(len(first), len(second), max_length - 3)
                    first, second = truncate(first, room, truncation), truncate(second, second_room, truncation)
                    ids = [self.cls_id, *first, self.sep_id, *second, self.sep_id]
                    sequences.append(Sequence(np.array(ids, dtype=np.int32), len(first) + 2, whole))
            if progress:
                progress(len(firsts))
        return sequences

    def pieces(self, texts):
        """Word-piece ids of each text, no special tokens, nothing cut. The library works on all cores."""
        with library_errors(f"{self.source}: cannot read a text"):
            return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def save(self, folder):
        """Write `tokenizer.json` and `tokenizer_config.json`, which transformers' AutoTokenizer reads."""
        write_text(Path(folder) / "tokenizer.json", self.backend.to_str(pretty=True))
        values = {
            "tokenizer_class": "BertTokenizer",
            "model_max_length": self.max_length,
            "cls_token": self.backend.id_to_token(self.cls_id),
            "sep_token": self.backend.id_to_token(self.sep_id),
            "pad_token": self.backend.id_to_token(self.pad_id),
        }
        normalizer = json.loads(self.backend.to_str()).get("normalizer") or {}
        if normalizer.get("type") == "BertNormalizer":  # transformers builds its own from these, not from the file
            values |= {
                "do_lower_case": normalizer["lowercase"],
                "strip_accents": normalizer["strip_accents"],
                "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
            }
        write_json(Path(folder) / "tokenizer_config.json", values)


def check_vocabulary(tokenizer, config, source):
    """Refuse a tokenizer that knows tokens for which the model has no embedding."""
    known = 1 + max(tokenizer.backend.get_vocab(with_added_tokens=True).values(), default=-1)
    if known > config.vocab_size:
        raise UserError(
            f"{source}: the tokenizer knows {known} tokens, the model only {config.vocab_size}; "
            "they do not belong together"
        )


#   entry of a tokenizer_config.json that is used here, the types that it may have, how they are said
CONFIG_TYPES = (
    ("model_max_length", (int, float), "a number of tokens"),
    ("do_lower_case", bool, "true or false"),
    ("tokenize_chinese_chars", bool, "true or false"),
    ("strip_accents", (bool, type(None)), "true, false or null"),
)


def check_tokenizer_config(config, path):
    """UserError where a tokenizer_config.json has something of another type than is expected."""
    for name, types, expected in CONFIG_TYPES:
        if name in config and not isinstance(config[name], types):
            raise UserError(f"{path}: {name} is {shown(config[name])}; expected {expected}")
    for name in ("unk", "cls", "sep", "pad"):
        token = special_text(config.get(f"{name}_token"))
        if token is not None and (not isinstance(token, str) or re.search("[\ud800-\udfff]", token)):
            raise UserError(f"{path}: {name}_token is {shown(token)}; expected text")


@contextlib.contextmanager
def library_errors(where):
    """Turn whatever the `tokenizers` library raises into a UserError: a bare Exception, or a panic of its Rust code."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # a panic is no Exception
        raise UserError(f"{where} ({error})") from None


def from_vocabulary(vocabulary, config, source="vocab.txt"):
    """BERT's WordPiece tokenizer from the lines of a vocab.txt; casing and accents as tokenizer_config.json says."""
    unknown = special_text(config.get("unk_token")) or "[UNK]"
    table = {token: number for number, token in enumerate(vocabulary)}
    if unknown not in table:
        raise UserError(f"{source}: has no {unknown[:80]}: not a BERT vocabulary?")
    backend = tokenizers.Tokenizer(models.WordPiece(table, unk_token=unknown, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token in table]
    backend.add_special_tokens(special)  # so that a "[SEP]" in the text is one token, as in BERT's own code
    return backend


def truncate(ids, room, truncation):
    """At most `room` of the ids: the first, the last, or the first HEAD_TOKENS and the last of the rest."""
    if len(ids) <= room:
        return ids
    if truncation == "head":
        return ids[:room]
    if truncation == "tail":
        return ids[len(ids) - room :]
    head = min(HEAD_TOKENS, room * 2 // 3)  # in a short room the tail keeps a third
    return ids[:head] + ids[len(ids) - (room - head) :]


def divide_room(first, second, room):
    """How many of `room` tokens each of two texts gets, from their lengths: the longer is cut until they are equal."""
    shorter = min(first, second, room // 2)
    longer = min(max(first, second), room - shorter)
    return (longer, shorter) if first > second else (shorter, longer)


def special_text(token):
    """The text of a special token of tokenizer_config.json, where it is text, or an object with the text in it."""
    return token.get("content") if isinstance(token, dict) else token
