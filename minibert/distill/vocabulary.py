"""A smaller vocabulary: which of the teacher's word pieces stay, and a tokenizer that knows only those.

In a small model most parameters are the vectors of word pieces, and most pieces are rare. A word whose piece goes is
spelled with shorter pieces.
"""

import json
from collections import Counter

import tokenizers
from tqdm import tqdm

from ..tokenizer import CHUNK, Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def choose_vocabulary(tokenizer, texts, size, quiet=False):
    """(the teacher's ids to keep, ascending; the share of the texts' pieces that they cover, in [0, 1]).

    Kept always: special tokens, every single character and every suffix of one character. So the student can spell
    whatever the teacher could. The rest are the pieces that are most frequent in the texts. `size` is how many to keep;
    None keeps all. Raises ValueError when the pieces that have to stay are more than that, or when the vocabulary is
    not WordPiece's.
    """
    vocabulary = tokenizer.backend.get_vocab()
    if size is None or size >= len(vocabulary):
        return sorted(vocabulary.values()), 1.0
    always = indispensable(tokenizer)
    if size < len(always):
        raise ValueError(
            f"at least {len(always):,} pieces are needed: the special tokens and all single characters have to stay"
        )
    counts = count_pieces(tokenizer, texts, quiet)
    frequent = sorted((i for i in vocabulary.values() if i not in always), key=lambda i: (-counts[i], i))
    kept = always | set(frequent[: size - len(always)])
    return sorted(kept), sum(counts[i] for i in kept) / max(1, counts.total())


def indispensable(tokenizer):
    """The ids of special tokens and of pieces of a single character, a set. ValueError if it is not WordPiece."""
    state = json.loads(tokenizer.backend.to_str())
    model = state["model"]
    if model["type"] != "WordPiece":
        raise ValueError(f"only a WordPiece vocabulary can be cut, and the teacher's is {model['type']}")
    special = {*SPECIAL_TOKENS, model["unk_token"], *(t["content"] for t in state["added_tokens"] if t["special"])}
    special |= {tokenizer.backend.id_to_token(i) for i in (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)}
    suffix = model["continuing_subword_prefix"]
    vocabulary = tokenizer.backend.get_vocab()
    return {i for token, i in vocabulary.items() if token in special or len(token.removeprefix(suffix)) == 1}


def count_pieces(tokenizer, texts, quiet):
    """How often each piece occurs in the texts: a Counter of ids."""
    counts = Counter()
    with tqdm(total=len(texts), desc="counting pieces", unit=" texts", leave=False, disable=quiet or None) as bar:
        for start in range(0, len(texts), CHUNK):
            chunk = texts[start : start + CHUNK]
            for ids in tokenizer.pieces(chunk):
                counts.update(ids)
            bar.update(len(chunk))
    return counts


def cut_tokenizer(tokenizer, kept):
    """The same tokenizer with only the pieces `kept` (the teacher's ids), renumbered in that order."""
    if kept == list(range(len(tokenizer.backend.get_vocab()))):
        return tokenizer
    state = json.loads(tokenizer.backend.to_str())
    renumbered = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {token: renumbered[i] for token, i in state["model"]["vocab"].items() if i in renumbered}
    state["added_tokens"] = [
        {**token, "id": renumbered[token["id"]]} for token in state["added_tokens"] if token["id"] in renumbered
    ]
    state["post_processor"] = None  # it holds old ids; `Tokenizer` makes a new one
    names = {name: tokenizer.backend.id_to_token(getattr(tokenizer, f"{name}_id")) for name in ("cls", "sep", "pad")}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(state)), tokenizer.max_length, **names)
