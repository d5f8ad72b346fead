"""Text to token ids: the `tokenizers` library, wrapped so that nothing about cutting and padding is implicit.

A text becomes [CLS] text [SEP], a pair [CLS] first [SEP] second [SEP] with token type 1 for `second [SEP]`. RoBERTa's
tokenizers, known by their <s>, make <s> text </s> and <s> first </s></s> second </s>, and all of it is of type 0.
Truncation and padding that a tokenizer.json may carry are switched off; both are ours, below. A text too
long for the model keeps its head, its tail, or both ends (Sun et al. 2019, arXiv 1905.05583, section 5.3.1:
reviews say what they think at the end, too).
"""

import contextlib
import json
import os
import re
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers.processors import BertProcessing, RobertaProcessing

from .batch import Examples, Sequence, WindowedExamples, collate
from .plumbing.files import UserError, shown, write_json, write_text

TRUNCATIONS = ("head", "tail", "head+tail")
HEAD_TOKENS = 128  # of head+tail: the first 128 tokens, then as many of the last as fit
BERT_TOKENS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]"}
ROBERTA_TOKENS = {"cls": "<s>", "sep": "</s>", "pad": "<pad>"}
CHUNK = 1000  # texts tokenized at a time, so that memory stays flat


class Tokenizer:
    """Texts or pairs to `Sequence`s (`encode`) or straight to a padded `Batch` (calling it).

    max_length: the longest sequence the model takes, special tokens included. source: the file, for messages.
    """

    def __init__(self, backend, max_length=512, cls="[CLS]", sep="[SEP]", pad="[PAD]", source="the tokenizer"):
        backend.no_truncation()
        backend.no_padding()
        ids = {token: backend.token_to_id(token) for token in (cls, sep, pad)}
        largest = max(backend.get_vocab(with_added_tokens=True).values(), default=-1)
        if largest >= 2**31:
            raise UserError(f"{source}: has a token with the number {largest}, which no model has an embedding for")
        absent = [token for token, number in ids.items() if number is None]
        self.is_roberta = cls == ROBERTA_TOKENS["cls"]
        if absent:
            family = "RoBERTa" if self.is_roberta else "BERT"
            raise UserError(f"{source}: has no {', '.join(token[:80] for token in absent)}: not a {family} tokenizer?")
        # `encode` places these itself; whoever else opens a saved tokenizer.json finds them done there.
        processing = RobertaProcessing if self.is_roberta else BertProcessing
        backend.post_processor = processing((sep, ids[sep]), (cls, ids[cls]))
        self.backend, self.source, self.largest_id = backend, source, largest
        self.max_length = max_length
        self.cls_id, self.sep_id, self.pad_id = ids[cls], ids[sep], ids[pad]

    def __call__(self, texts, pairs=None, max_length=None, truncation="head"):
        """texts: list of B texts; pairs: B second texts or None. Returns a `Batch` [B, T]."""
        return collate(self.encode(texts, pairs, max_length, truncation), self.pad_id)

    def encode(self, texts, pairs=None, max_length=None, truncation="head"):
        """A `Sequence` per text or pair, at most max_length tokens each.

        In a pair the longer text is cut first, until both are as long as each other (then both). `truncation`: what
        is kept of a text that is cut.
        """
        max_length = self.max_length if max_length is None else max_length
        if isinstance(texts, str) or (pairs is not None and len(pairs) != len(texts)):
            raise ValueError("texts and pairs are lists of the same length")
        if truncation not in TRUNCATIONS:
            raise ValueError(f"truncation is {truncation!r}; choose from {', '.join(TRUNCATIONS)}")
        separators = [self.sep_id] * (2 if self.is_roberta else 1)  # between the texts of a pair
        check_room(max_length, 3 if pairs is None else 4 + len(separators))
        sequences = []
        for start in range(0, len(texts), CHUNK):
            firsts = self.pieces(texts[start : start + CHUNK])
            if pairs is None:
                for whole in firsts:
                    first, _ = self.fit(whole, None, max_length, truncation)
                    ids = [self.cls_id, *first, self.sep_id]
                    sequences.append(Sequence(np.array(ids, dtype=np.int32), len(ids), len(whole) + 2))
            else:
                for whole, second_whole in zip(firsts, self.pieces(pairs[start : start + CHUNK]), strict=True):
                    first, second = self.fit(whole, second_whole, max_length, truncation)
                    ids = [self.cls_id, *first, *separators, *second, self.sep_id]
                    first_length = len(ids) if self.is_roberta else len(first) + 2
                    whole_length = len(whole) + len(second_whole) + 2 + len(separators)
                    sequences.append(Sequence(np.array(ids, dtype=np.int32), first_length, whole_length))
        return sequences

    def encode_windows(self, texts, windows, max_length=None):
        """For each text a list of up to `windows` `Sequence`s of at most max_length tokens: see `window_starts`."""
        max_length = self.max_length if max_length is None else max_length
        check_room(max_length, 3)
        room, result = max_length - 2, []
        for start in range(0, len(texts), CHUNK):
            for whole in self.pieces(texts[start : start + CHUNK]):
                result.append([])
                for first in window_starts(len(whole), room, windows):
                    ids = [self.cls_id, *whole[first : first + room], self.sep_id]
                    result[-1].append(Sequence(np.array(ids, dtype=np.int32), len(ids), len(whole) + 2))
        return result

    def examples(self, texts, pairs, labels, max_length, truncation="head", windows=1):
        """Encoded texts as the training loop takes them: cut to max_length, or as up to so many windows of it."""
        check_windows(windows, pairs)
        if windows > 1:
            return WindowedExamples(self.encode_windows(texts, windows, max_length), labels, self.pad_id)
        return Examples(self.encode(texts, pairs, max_length, truncation), labels, self.pad_id)

    def fit(self, first, second, max_length, truncation):
        """What is kept of a text's pieces and of its pair's (None: no pair): two lists that fit into max_length."""
        if second is None:
            return truncate(first, max_length - 2, truncation), None
        room, second_room = divide_room(len(first), len(second), max_length - (4 if self.is_roberta else 3))
        return truncate(first, room, truncation), truncate(second, second_room, truncation)

    def locate(self, text, pair=None, max_length=None, truncation="head", windows=1):
        """Where each token of what `examples` makes of this text stands in it: for each window a list of T places.

        A place is (0 for the text or 1 for its pair, first character, one beyond the last), or None: a special token.
        """
        wholes = []
        for number, part in enumerate([text] if pair is None else [text, pair]):
            with library_errors(f"{self.source}: cannot read a text"):
                encoding = self.backend.encode(part, add_special_tokens=False)
            wholes.append([(number, *offsets) for offsets in encoding.offsets])
        max_length = self.max_length if max_length is None else max_length
        if windows > 1:
            room, whole = max_length - 2, wholes[0]
            starts = window_starts(len(whole), room, windows)
            return [[None, *whole[start : start + room], None] for start in starts]
        first, second = self.fit(wholes[0], None if pair is None else wholes[1], max_length, truncation)
        if second is None:
            return [[None, *first, None]]
        return [[None, *first, *[None] * (2 if self.is_roberta else 1), *second, None]]

    def pieces(self, texts):
        """The ids of each text's pieces, no special tokens, nothing cut. The library works on all cores."""
        with library_errors(f"{self.source}: cannot read a text"):
            try:
                return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]
            except TypeError:  # what the library says here is about its own types
                raise ValueError("it is not a string, or holds half a surrogate pair") from None

    def save(self, folder):
        """Write `tokenizer.json` and `tokenizer_config.json`, which transformers' AutoTokenizer reads."""
        write_text(Path(folder) / "tokenizer.json", self.backend.to_str(pretty=True))
        values = {
            # The class that takes tokenizer.json as it is; BERT's own is kept because older readers know only that.
            "tokenizer_class": "PreTrainedTokenizerFast" if self.is_roberta else "BertTokenizer",
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
    """Refuse a tokenizer that knows tokens for which the model has no embedding, or that pads with another token."""
    known = tokenizer.largest_id + 1
    if known > config.vocab_size:
        raise UserError(
            f"{source}: the tokenizer knows {known} tokens, the model only {config.vocab_size}; "
            "they do not belong together"
        )
    if config.positions_skip_padding and tokenizer.pad_id != config.pad_token_id:
        raise UserError(
            f"{source}: the tokenizer pads with token {tokenizer.pad_id}, but {config.model_type} counts positions by "
            f"padding, which is token {config.pad_token_id}; is this the tokenizer of another model?"
        )


#   entry of a tokenizer_config.json that is used here, the types that it may have, how they are said
CONFIG_TYPES = (
    ("model_max_length", (int, float), "a number of tokens"),
    ("do_lower_case", bool, "true or false"),
    ("tokenize_chinese_chars", bool, "true or false"),
    ("add_prefix_space", bool, "true or false"),
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
    except Exception as error:
        raise UserError(f"{where} ({error})") from None
    except BaseException as error:  # a panic is no Exception, and its class cannot be imported
        if type(error).__name__ != "PanicException":
            raise
        raise UserError(f"{where} ({error})") from None


@contextlib.contextmanager
def silent_panics():
    """Keep what a panic of Rust code writes, past Python, to standard error from being seen: UserError says it."""
    with contextlib.ExitStack() as stack:
        try:
            kept = os.dup(2)
            stack.callback(os.close, kept)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            stack.callback(os.close, nowhere)
            os.dup2(nowhere, 2)
            stack.callback(os.dup2, kept, 2)
        except OSError:  # standard error is closed
            pass
        yield


def from_vocabulary(vocabulary, config, source="vocab.txt"):
    """BERT's WordPiece tokenizer from the lines of a vocab.txt; casing and accents as tokenizer_config.json says."""
    unknown = special_text(config.get("unk_token")) or "[UNK]"
    table = {token: number for number, token in enumerate(vocabulary)}
    if unknown not in table:
        raise UserError(f"{source}: has no {shown(unknown)}: not a BERT vocabulary?")
    backend = tokenizers.Tokenizer(models.WordPiece(table, unk_token=unknown, max_input_chars_per_word=100))
    backend.normalizer = normalizers.BertNormalizer(handle_chinese_chars=True, strip_accents=None, lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token in table]
    backend.add_special_tokens(special)  # so that a "[SEP]" in the text is one token, as in transformers
    return adjusted(backend, config)


def adjusted(backend, config):
    """The backend with what tokenizer_config.json says of casing, accents, Chinese characters and spaces.

    What it does not mention stays as it is.
    """
    normalizer, splitter = backend.normalizer, backend.pre_tokenizer
    if isinstance(normalizer, normalizers.BertNormalizer):
        normalizer.handle_chinese_chars = config.get("tokenize_chinese_chars", normalizer.handle_chinese_chars)
        normalizer.strip_accents = config.get("strip_accents", normalizer.strip_accents)
        normalizer.lowercase = config.get("do_lower_case", normalizer.lowercase)
    if isinstance(splitter, pre_tokenizers.ByteLevel):
        splitter.add_prefix_space = config.get("add_prefix_space", splitter.add_prefix_space)
    return backend


def from_merges(vocabulary, merges, config):
    """RoBERTa's byte-level BPE (Radford et al. 2019) from vocab.json's {token: id} and the lines of a merges.txt."""
    pairs = [tuple(line.split(" ")) for line in merges if line and not line.startswith("#version")]
    backend = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=pairs))
    # A space belongs to the word that follows it, so the first word of a text, which has none, is other tokens.
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True) for token in ("<s>", "<pad>", "</s>", "<unk>") if token in vocabulary]
    if "<mask>" in vocabulary:
        special.append(AddedToken("<mask>", lstrip=True, special=True))
    backend.add_special_tokens(special)
    return adjusted(backend, config)


def special_tokens(backend, config):
    """{"cls", "sep", "pad": token}: as tokenizer_config.json says, else BERT's or RoBERTa's, whichever it knows."""
    is_roberta = backend.token_to_id("[CLS]") is None and backend.token_to_id("<s>") is not None
    usual = ROBERTA_TOKENS if is_roberta else BERT_TOKENS
    return {name: special_text(config.get(f"{name}_token")) or token for name, token in usual.items()}


def check_room(max_length, least):
    """UserError when a length is below the least that holds a token of each text."""
    if max_length < least:
        raise UserError(f"a length of {max_length} leaves no room for text between the special tokens")


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


def window_starts(length, room, windows):
    """Where windows of `room` tokens start in a text of `length`: evenly, from its first token to its last.

    As few as cover it with an eighth of overlap, so that no sentence is only ever seen cut; at most `windows`, so that
    a very long text has gaps.
    """
    if length <= room or windows == 1:
        return [0]
    count = min(windows, 1 + -(-(length - room) // (room - room // 8)))
    return [round(i * (length - room) / (count - 1)) for i in range(count)]


def check_windows(windows, pairs):
    """UserError for pairs (a list, or None) in more than one window."""
    if windows > 1 and pairs is not None:
        raise UserError(f"--windows {windows}: windows are made of single texts, not of pairs")


def longest_in_windows(room, windows):
    """Tokens of the longest text that `window_starts` shows whole."""
    return room + (windows - 1) * (room - room // 8)


def divide_room(first, second, room):
    """How many of `room` tokens each of two texts gets, from their lengths: the longer is cut until they are equal."""
    shorter = min(first, second, room // 2)
    longer = min(max(first, second), room - shorter)
    return (longer, shorter) if first > second else (shorter, longer)


def special_text(token):
    """The text of a special token of tokenizer_config.json, where it is text, or an object with the text in it."""
    return token.get("content") if isinstance(token, dict) else token
