"""Where does each reference weight go in a learner's module? And back: whose gradient is which.

Four ways, in this order: the learner's own map (`--map`); Hugging Face's names; the names of the well-known course
skeleton; what the names say word by word, together with the shapes (`by_words.py`).
"""

import re

from ...plumbing.files import UserError, read_json
from .by_words import by_words
from .slots import Assignment, Slot, piece

DISTILBERT = {  # DistilBERT's words: BERT's
    "transformer.layer.": "encoder.layer.", "attention.q_lin": "attention.self.query",
    "attention.k_lin": "attention.self.key", "attention.v_lin": "attention.self.value",
    "attention.out_lin": "attention.output.dense", "sa_layer_norm": "attention.output.LayerNorm",
    "ffn.lin1": "intermediate.dense", "ffn.lin2": "output.dense", "output_layer_norm": "output.LayerNorm",
    "pre_classifier": "pooler.dense",
}  # fmt: skip
COURSE = {  # the skeleton of a university course's assignment, from which many have written their BERT
    "word_embedding.": "embeddings.word_embeddings.", "pos_embedding.": "embeddings.position_embeddings.",
    "tk_type_embedding.": "embeddings.token_type_embeddings.", "embed_layer_norm.": "embeddings.LayerNorm.",
    "bert_layers.": "encoder.layer.", "self_attention.": "attention.self.",
    "attention_dense.": "attention.output.dense.",
    "attention_layer_norm.": "attention.output.LayerNorm.", "interm_dense.": "intermediate.dense.",
    "out_dense.": "output.dense.", "out_layer_norm.": "output.LayerNorm.", "pooler_dense.": "pooler.dense.",
}  # fmt: skip
OLD = {".gamma": ".weight", ".beta": ".bias"}
DISTILBERTS_NAMES = "DistilBERT's names"
WRITE_A_MAP = "write a map: --write-map NAMES.json, mend it, then --map NAMES.json"
BUNDLED = (("Hugging Face's names", OLD), (DISTILBERTS_NAMES, DISTILBERT), ("the course skeleton's names", COURSE))


def in_bert_words(name):
    """A reference name of DistilBERT's (or of old BERT's) in BERT's words."""
    for theirs, ours in (DISTILBERT | OLD).items():
        name = name.replace(theirs, ours)
    return name


def assign(module, layers, weights, map_file=None, lenient=False, heads=1):
    """The `Assignment` for a module. weights: {BERT's name: tensor} of all that may be wanted. Else UserError.

    heads: in how many blocks of query, key and value the rows of one matrix for all three lie; 1: not head by head.
    """
    parameters = dict(module.named_parameters(remove_duplicate=False))
    if map_file:
        return from_file(map_file, parameters, weights)
    for source, table in BUNDLED:
        found = by_table(table, parameters, weights)
        if found is not None:
            return checked(Assignment(found, source), parameters, weights)
    found = by_words(module, layers, weights, heads)
    if lenient:
        return found
    refuse_lost_biases(found, parameters, weights)
    return checked(found, parameters, weights)


def from_file(path, parameters, weights):
    slots = {}
    for name, text in read_json(path).items():
        if name.partition("@")[0] not in weights:
            raise UserError(f"{path}: {name!r} is no weight of the reference; --write-map FILE writes all names")
        if text is None:
            continue
        slot = Slot.parse(str(text))
        if slot.parameter not in parameters:
            raise UserError(f"{path}: {name}: the module has no parameter {slot.parameter!r}")
        slots[name] = slot
    return checked(Assignment(slots, str(path)), parameters, weights)


def by_table(table, parameters, weights):
    """{reference name: Slot} where the words of a table lead to every weight of an encoder; else None."""
    translated = {}
    for theirs in parameters:
        name = theirs
        for word, ours in table.items():
            name = (
                re.sub(rf"(^|\.){re.escape(word)}", rf"\g<1>{ours}", name)
                if word[0] != "."
                else name.replace(word, ours)
            )
        translated[theirs] = name
    for prefix in {
        name.partition("embeddings.word_embeddings")[0] for name in translated.values() if "word_embeddings" in name
    }:
        slots = {}
        for theirs, name in translated.items():
            short = name.removeprefix(prefix) if name.startswith(prefix) else name
            if short in weights and short not in slots:
                slots[short] = Slot(theirs)
        needed = [name for name in weights if name.startswith(("embeddings.", "encoder."))]
        if needed and all(name in slots for name in needed if "token_type" not in name):
            return slots
    return None


def refuse_lost_biases(found, parameters, weights):
    """UserError where biases of the encoder have no place while as many vectors of their size are left over.

    A module without these biases is another matter: it is wrong, and it is judged.
    """
    placed, used = found.placed, found.used
    biases = [name for name in weights if name.startswith("encoder.") and name.endswith(".bias")]
    missing = [name for name in biases if name not in placed and "LayerNorm" not in name]
    left = [name for name, p in parameters.items() if p.dim() == 1 and name not in used]
    left = [name for name in left if not of_a_norm(name, parameters)]
    for size in {len(weights[name]) for name in missing}:
        lost = [name for name in missing if len(weights[name]) == size]
        vectors = [name for name in left if len(parameters[name]) == size]
        if len(vectors) >= len(lost):
            names = f"{some_of(lost)}, while {some_of(vectors)} have no use"
            raise UserError(f"found no parameter for {names}; {WRITE_A_MAP}")


def some_of(names, most=2):
    """The first few of the names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


def of_a_norm(name, parameters):
    """Is it one of two vectors that belong together and to nothing else?"""
    owner = name.rpartition(".")[0]
    beside = [other for other in parameters if other.rpartition(".")[0] == owner]
    return len(beside) == 2 and all(parameters[other].dim() == 1 for other in beside)


def checked(found, parameters, weights):
    """The assignment, when every slot is large enough and no part of the encoder is without a place. Else UserError."""
    for name, slot in list(found.slots.items()):
        have, want = tuple(slot.view(parameters[slot.parameter]).shape), tuple(piece(weights, name).shape)
        exact = "LayerNorm" in name or "self" in name or name.startswith("attention")
        if name.startswith(("pooler.", "classifier.")) and have != want:
            del found.slots[name]
            continue
        if len(have) != len(want) or any(h < w for h, w in zip(have, want, strict=False)) or (exact and have != want):
            raise UserError(
                f"{slot.parameter} is {list(have)}, {name} of the ladder's small model is {list(want)}; can the class "
                "be built in another size? See --config-arg"
            )
    placed, used = found.placed, found.used
    missing = [name for name in weights if name.startswith(("embeddings.", "encoder.")) and name not in placed]
    first = [name for name in missing if name.startswith("encoder.layer.0.") and name.endswith("weight")]
    tables = [name for name in found.slots if name.endswith("_embeddings.weight")]
    if not tables and not first and "embeddings.word_embeddings.weight" in missing:
        raise UserError("it holds no embeddings, only layers: give the whole model's class, or one layer's")
    if len([name for name in first if "LayerNorm" not in name]) > 2 or "embeddings.word_embeddings.weight" in missing:
        raise UserError(f"found no parameter for {some_of(first or missing, 1)}; {WRITE_A_MAP}")
    if missing:
        found.notes.append(f"no place for {some_of(missing, 3)}")
    extra = [name for name, p in parameters.items() if name not in used and p.requires_grad]
    if extra:
        found.notes.append(f"left as built: {some_of(extra, 4)}")
    return found
