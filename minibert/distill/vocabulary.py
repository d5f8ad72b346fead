"""TODO"""

import json
from collections import Counter

import tokenizers
from tqdm import tqdm

from ..plumbing.files import UserError
from ..tokenizer import CHUNK, Tokenizer

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def choose_vocabulary(tokenizer, texts, size, quiet=False):
    """(the teacher's ids to keep, ascending; the share of the text's pieces that they cover).

    Kept always: special tokens, every single character and every one-character suffix, so that whatever the
    teacher could spell the student can spell too. The rest are the pieces most frequent in the texts. A word
    whose piece goes is spelled with shorter ones. size None keeps everything.
    """
    vocabulary = tokenizer.backend.get_vocab()
    if size is None or size >= len(vocabulary):
        return sorted(vocabulary.values()), 1.0
    state = json.loads(tokenizer.backend.to_str())
    model = state["model"]
    if model["type"] != "WordPiece":
        raise UserError(f"--vocab-size: only a WordPiece vocabulary can be cut, and the teacher's is {model['type']}")
    suffix = model["continuing_subword_prefix"]
    special = {*SPECIAL_TOKENS, model["unk_token"], *(t["content"] for t in state["added_tokens"] if t["special"])}
    special |= {tokenizer.backend.id_to_token(i) for i in (tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id)}
    always = {i for token, i in vocabulary.items() if token in special or len(token.removeprefix(suffix)) == 1}
    if size < len(always):
        raise UserError(
            f"--vocab-size {size}: the special tokens and single characters, which have to stay, are {len(always):,}"
        )
    counts = Counter()
    with tqdm(total=len(texts), desc="counting pieces", unit=" texts", leave=False, disable=quiet or None) as bar:
        for start in range(0, len(texts), CHUNK):
            for ids in tokenizer.pieces(texts[start : start + CHUNK]):
                counts.update(ids)
            bar.update(len(texts[start : start + CHUNK]))
    frequent = sorted((i for i in vocabulary.values() if i not in always), key=lambda i: (-counts[i], i))
    kept = always | set(frequent[: size - len(always)])
    return sorted(kept), sum(counts[i] for i in kept) / max(1, counts.total())


def cut_tokenizer(tokenizer, kept):
    """The same tokenizer with only the pieces `kept` (the teacher's ids), renumbered in that order."""
    state = json.loads(tokenizer.backend.to_str())
    renumbered = {old: new for new, old in enumerate(kept)}
    state["model"]["vocab"] = {token: renumbered[i] for token, i in state["model"]["vocab"].items() if i in renumbered}
    state["added_tokens"] = [
        {**token, "id": renumbered[token["id"]]} for token in state["added_tokens"] if token["id"] in renumbered
    ]
    state["post_processor"] = None  # it names ids; `Tokenizer` makes a new one
    names = {name: tokenizer.backend.id_to_token(getattr(tokenizer, f"{name}_id")) for name in ("cls", "sep", "pad")}
    return Tokenizer(tokenizers.Tokenizer.from_str(json.dumps(state)), tokenizer.max_length, **names)
