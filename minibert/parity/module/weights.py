"""Where does each reference weight go in a learner's module? And back: whose gradient is which.

Four ways, in this order: the learner's own map (`--map`); Hugging Face's names; the names of the well-known course
skeleton; what the names say word by word, together with the shapes. Where neither names nor shapes decide, the order in
which the module defines its parts does, and a note says so. Reference weights are called by BERT's names throughout.
"""

import re
from dataclasses import dataclass, field

import torch

from ...plumbing.files import UserError, read_json, write_json

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
BUNDLED = (("Hugging Face's names", OLD), (DISTILBERTS_NAMES, DISTILBERT), ("the course skeleton's names", COURSE))

QUERY = "q query queries wq qlin qlinear qproj toq toqueries qw linearq fcq queryprojection querylayer".split()
KEY = "k key keys wk klin klinear kproj tok tokeys kw lineark fck keyprojection keylayer".split()
VALUE = "v value values val wv vlin vlinear vproj tov tovalues vw linearv fcv valueprojection valuelayer".split()
OUT = "o out output wo outproj outlin proj projection dense unifyheads fc combine merge fcout projout".split()
# Of the two LayerNorms. No 1 among the first one's words: some count from 0, and the order of definition settles it.
FIRST = "attention attn att mha sa self selfattn selfattention first input in msa".split()
SECOND = "ff ffn mlp output out final feed forward feedforward 2 norm2 ln2 second linear pos positionwise".split()


def in_bert_words(name):
    """A reference name of DistilBERT's (or of old BERT's) in BERT's words."""
    for theirs, ours in (DISTILBERT | OLD).items():
        name = name.replace(theirs, ours)
    return name


def words_in(name):
    """The words of a parameter's name: at dots, underscores, capitals; also neighbours run together."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = re.sub(r"[._\-]", " ", spaced).lower().split()
    return words + [first + second for first, second in zip(words, words[1:], strict=False)]


@dataclass
class Slot:
    """A place for one reference weight: rows of a parameter, perhaps transposed."""

    parameter: str
    start: int | None = None  # the rows that are meant; None: all
    stop: int | None = None
    transposed: bool = False

    def view(self, tensor):
        """The part of the parameter's tensor (or of its gradient), in the reference's orientation."""
        tensor = tensor.squeeze(0) if tensor.dim() == 3 and tensor.shape[0] == 1 else tensor
        part = tensor[self.start : self.stop] if self.start is not None else tensor
        return part.T if self.transposed else part

    def __str__(self):
        rows = "" if self.start is None else f"[{self.start}:{self.stop}]"
        return f"{self.parameter}{rows}{'.T' if self.transposed else ''}"

    @classmethod
    def parse(cls, text):
        """The slot that `str` gives as text."""
        match = re.fullmatch(r"(.*?)(?:\[(\d+):(\d+)\])?(\.T)?", text)
        name, start, stop, transposed = match.groups()
        return cls(name, int(start) if start else None, int(stop) if stop else None, bool(transposed))


@dataclass
class Assignment:
    """{reference name: Slot}, how it was found, and what is worth saying about it."""

    slots: dict
    source: str
    notes: list = field(default_factory=list)

    def fill(self, module, weights):
        """Put the reference weights in. A parameter with more rows or columns has zeros in the rest."""
        state = dict(module.named_parameters(remove_duplicate=False))
        with torch.no_grad():
            for name, slot in self.slots.items():
                if name.partition("@")[0] not in weights:
                    continue
                target, value = slot.view(state[slot.parameter]), piece(weights, name).to(state[slot.parameter])
                if target.shape != value.shape:
                    target.zero_()
                target[tuple(slice(size) for size in value.shape)] = value

    def gradients(self, module, weights):
        """{reference name: its gradient} for those of `weights` that have a place."""
        state = dict(module.named_parameters(remove_duplicate=False))
        pieces = {}
        for name, slot in self.slots.items():
            whole = name.partition("@")[0]
            if whole in weights:
                gradient = state[slot.parameter].grad
                gradient = torch.zeros_like(state[slot.parameter]) if gradient is None else gradient
                part = slot.view(gradient)[tuple(slice(size) for size in piece(weights, name).shape)]
                pieces.setdefault(whole, []).append(part)
        return {name: torch.cat(parts) for name, parts in pieces.items()}

    def save(self, path, names):
        """Write the map as JSON, for a person to mend and give with --map."""
        write_json(path, {name: str(self.slots[name]) if name in self.slots else None for name in names})


def piece(weights, name):
    """A reference weight, or of NAME@PART/COUNT, as separate heads have them, that part of its rows."""
    whole, _, part = name.partition("@")
    if not part:
        return weights[whole]
    number, count = map(int, part.split("/"))
    return weights[whole].chunk(count)[number]


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
    return found if lenient else checked(found, parameters, weights)


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


# ---- by words and shapes


def by_words(module, layers, weights, heads=1):
    found = Assignment({}, "names and shapes")
    for number, (path, layer) in enumerate(layers):
        one = LayerReader(layer, weights, f"encoder.layer.{number}.", heads).read()
        for name, slot in one.slots.items():
            found.slots[f"encoder.layer.{number}.{name}"] = Slot(
                f"{path}.{slot.parameter}" if path else slot.parameter, slot.start, slot.stop, slot.transposed
            )
        found.notes += [note for note in one.notes if note not in found.notes]
    inside = {id(parameter) for _, layer in layers for parameter in layer.parameters()}
    outside = [(name, p) for name, p in module.named_parameters() if id(p) not in inside]
    read_outside(module, outside, weights, found)
    return found


class LayerReader:
    """Finds one layer's weights by what its parameters are called and how large they are."""

    def __init__(self, layer, weights, prefix, heads=1):
        self.heads = heads
        self.size = weights[f"{prefix}attention.self.query.weight"].shape[0]
        self.inner = weights[f"{prefix}intermediate.dense.weight"].shape[0]
        self.layer, self.found = layer, Assignment({}, "")
        self.left = dict(layer.named_parameters())

    def read(self):
        self.feed_forward()
        self.attention()
        self.norms()
        return self.found

    def take(self, role, name, **slot):
        """Give a parameter the role of a weight, and its sibling that of the bias."""
        self.found.slots[f"{role}.weight"] = Slot(name, **slot)
        bias = bias_of(name)
        if bias in self.left and self.left[bias].dim() == 1:
            self.found.slots[f"{role}.bias"] = Slot(bias, slot.get("start"), slot.get("stop"))

    def feed_forward(self):
        wide = [name for name, p in self.left.items() if p.dim() == 2 and self.size in p.shape and self.is_wide(p)]
        up = [name for name in wide if self.left[name].shape[1] == self.size]
        down = [name for name in wide if self.left[name].shape[0] == self.size]
        if up and down:
            self.take("intermediate.dense", up[0])
            self.take("output.dense", down[0])
        elif len(wide) == 2:  # stored [in, out]
            self.take("intermediate.dense", wide[0], transposed=True)
            self.take("output.dense", wide[1], transposed=True)

    def is_wide(self, parameter):
        other = parameter.shape[0] if parameter.shape[1] == self.size else parameter.shape[1]
        return other >= self.inner and other != 3 * self.size

    def attention(self):
        size = self.size
        fused = [name for name, p in self.left.items() if p.dim() == 2 and tuple(p.shape) == (3 * size, size)]
        squares = [name for name, p in self.left.items() if tuple(p.shape) == (size, size)]
        heads = [name for name, p in self.left.items() if p.dim() == 2 and p.shape[1] == size and size % p.shape[0] == 0
                 and p.shape[0] < size and self.kind(name)]  # fmt: skip
        if fused:
            self.one_matrix(fused[0])
        elif heads and len(squares) <= 1:
            self.separate_heads(heads)
        else:
            squares = self.three(squares)
        if squares:
            self.take("attention.output.dense", squares[0])

    def one_matrix(self, name):
        """Rows for query, key and value: first all of query, or, of several heads, three blocks for each head."""
        if not name.endswith("in_proj_weight"):  # PyTorch's own, whose order is known
            order = "head by head" if self.heads > 1 else "as all of query, then key, then value"
            self.found.notes.append(f"{name} is one matrix for query, key and value: read {order}")
        rows, bias = self.size // self.heads, bias_of(name)
        for head in range(self.heads):
            part = f"@{head}/{self.heads}" if self.heads > 1 else ""
            for number, role in enumerate(("query", "key", "value"), 3 * head):
                place = {"start": number * rows, "stop": (number + 1) * rows}
                self.found.slots[f"attention.self.{role}.weight{part}"] = Slot(name, **place)
                if bias in self.left:
                    self.found.slots[f"attention.self.{role}.bias{part}"] = Slot(bias, **place)

    def three(self, squares):
        """Query, key and value among the square weights; what is left over."""
        kinds = {name: self.kind(name) for name in squares}
        if set(kinds.values()) >= {"query", "key", "value"}:
            chosen = {kind: name for name, kind in reversed(kinds.items()) if kind}
        elif len(squares) >= 3:
            chosen = dict(zip(("query", "key", "value"), squares, strict=False))
            self.found.notes.append(
                f"query, key and value by their order: {', '.join(chosen.values())}; is it another one? See --write-map"
            )
        else:
            return squares
        for role, name in chosen.items():
            self.take(f"attention.self.{role}", name)
        return [name for name in squares if name not in chosen.values()]

    def kind(self, name):
        words = words_in(name.removesuffix(".weight"))
        kinds = [kind for kind, known in (("query", QUERY), ("key", KEY), ("value", VALUE)) if set(known) & set(words)]
        return kinds[0] if len(kinds) == 1 else None

    def separate_heads(self, names):
        """A weight per head: rows of the whole one. Such pieces are called NAME@PART/COUNT."""
        for role in ("query", "key", "value"):
            mine = [name for name in names if self.kind(name) == role]
            for part, name in enumerate(mine):
                self.found.slots[f"attention.self.{role}.weight@{part}/{len(mine)}"] = Slot(name)
                if bias_of(name) in self.left:
                    self.found.slots[f"attention.self.{role}.bias@{part}/{len(mine)}"] = Slot(bias_of(name))

    def norms(self):
        used = {slot.parameter for slot in self.found.slots.values()}
        vectors = [name for name, p in self.left.items() if tuple(p.shape) == (self.size,) and name not in used]
        owners = list(dict.fromkeys(name.rpartition(".")[0] for name in vectors))
        pairs = [[name for name in vectors if name.rpartition(".")[0] == owner] for owner in owners]
        pairs = [pair for pair in pairs if len(pair) == 2]
        if len(pairs) == 2 and self.rank(pairs[0][0]) > self.rank(pairs[1][0]):
            pairs.reverse()
        for role, pair in zip(("attention.output.LayerNorm", "output.LayerNorm"), pairs, strict=False):
            scale, shift = scale_and_shift(pair)
            self.found.slots |= {f"{role}.weight": Slot(scale), f"{role}.bias": Slot(shift)}
        if len(pairs) != 2:
            self.found.notes.append(f"a layer of BERT has two LayerNorms, this one has {len(pairs)}")

    def rank(self, name):
        """0 for the LayerNorm after attention, 1 for the other, 0.5 where the name does not say."""
        words = set(words_in(name.rpartition(".")[0]))
        first, second = bool(words & set(FIRST)), bool(words & set(SECOND))
        return 0.5 if first == second else 0 if first else 1


def bias_of(name):
    """What the bias beside a weight is called."""
    head, dot, last = name.rpartition(".")
    if "weight" in last:
        return head + dot + last.replace("weight", "bias")
    return head + dot + re.sub(r"^[wW](?=_|[A-Za-z])", lambda match: "b" if match[0] == "w" else "B", last)


def scale_and_shift(pair):
    shifts = [
        name for name in pair if set(words_in(name.rpartition(".")[2])) & {"bias", "beta", "b", "shift", "offset"}
    ]
    shift = shifts[0] if len(shifts) == 1 else pair[1]
    return next(name for name in pair if name != shift), shift


def read_outside(module, outside, weights, found):
    """The embeddings, their LayerNorm, the pooler and the classifier, among the parameters outside of the layers."""
    if "embeddings.word_embeddings.weight" not in weights:  # a layer alone
        return
    size = weights["embeddings.word_embeddings.weight"].shape[1]
    tables = {"word": [], "position": [], "token_type": []}
    for name, parameter in outside:
        shape = tuple(parameter.shape[-2:])
        if parameter.dim() < 2 or shape[-1] != size:
            continue
        for table in tables:
            reference = weights.get(f"embeddings.{table}_embeddings.weight")
            if reference is not None and shape[0] >= len(reference):
                exact, named = shape[0] == len(reference), table_named(name) == table
                if exact or named:
                    tables[table].append((named, exact, name))
    for table, candidates in tables.items():
        taken = {slot.parameter for slot in found.slots.values()}
        candidates = [candidate for candidate in candidates if candidate[2] not in taken]
        if candidates:
            best = max(candidates, key=lambda candidate: candidate[:2])
            found.slots[f"embeddings.{table}_embeddings.weight"] = Slot(best[2])
    vectors = [(name, p) for name, p in outside if tuple(p.shape) == (size,)]
    matrices = {name.rpartition(".")[0] for name, p in outside if p.dim() >= 2}
    owners = [o for o in dict.fromkeys(name.rpartition(".")[0] for name, _ in vectors) if o not in matrices]
    owners.sort(key=lambda owner: not any(word.startswith(("emb", "input")) for word in words_in(owner)))
    if owners and "embeddings.LayerNorm.weight" in weights:
        pair = [name for name, _ in vectors if name.rpartition(".")[0] == owners[0]]
        if len(pair) == 2:
            scale, shift = scale_and_shift(pair)
            found.slots |= {"embeddings.LayerNorm.weight": Slot(scale), "embeddings.LayerNorm.bias": Slot(shift)}
    read_head(outside, weights, found, size)


def table_named(name):
    """Which table of vectors a parameter's name speaks of; None where it does not say."""
    words = " ".join(words_in(name))
    if re.search(r"\bpos", words):
        return "position"
    if re.search(r"\b(seg|type|tk type|token ?type|sent)", words):
        return "token_type"
    return "word" if re.search(r"\b(word|tok|vocab|token)", words) else None


def read_head(outside, weights, found, size):
    names = dict(outside)
    taken = {slot.parameter for slot in found.slots.values()}
    squares = [name for name, p in outside if tuple(p.shape) == (size, size) and name not in taken
               and not {"transform", "predictions", "mlm", "lm"} & set(words_in(name))]  # fmt: skip
    for name in sorted(squares, key=lambda name: "pool" not in name.lower())[:1]:
        found.slots["pooler.dense.weight"] = Slot(name)
        if bias_of(name) in names:
            found.slots["pooler.dense.bias"] = Slot(bias_of(name))
    classes = weights.get("classifier.weight")
    for name, parameter in outside:
        if classes is not None and tuple(parameter.shape) == tuple(classes.shape) and name not in taken:
            found.slots["classifier.weight"] = Slot(name)
            if bias_of(name) in names:
                found.slots["classifier.bias"] = Slot(bias_of(name))


# ---- checking


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
    whole = [name.partition("@")[0] for name in found.slots]
    missing = [name for name in weights if name.startswith(("embeddings.", "encoder.")) and name not in whole]
    first = [name for name in missing if name.startswith("encoder.layer.0.") and name.endswith("weight")]
    tables = [name for name in found.slots if name.endswith("_embeddings.weight")]
    if not tables and not first and "embeddings.word_embeddings.weight" in missing:
        raise UserError("it holds no embeddings, only layers: give the whole model's class, or one layer's")
    if len([name for name in first if "LayerNorm" not in name]) > 2 or "embeddings.word_embeddings.weight" in missing:
        vital = first or missing
        raise UserError(
            f"found no parameter for {vital[0]}{f' and {len(vital) - 1} more' if vital[1:] else ''}; write a map: "
            "--write-map NAMES.json, mend it, then --map NAMES.json"
        )
    if missing:
        found.notes.append(
            f"no place for {', '.join(missing[:3])}{f' and {len(missing) - 3} more' if missing[3:] else ''}"
        )
    used = {slot.parameter for slot in found.slots.values()}
    extra = [name for name, p in parameters.items() if name not in used and p.requires_grad]
    if extra:
        found.notes.append(f"left as built: {', '.join(extra[:4])}{f' and {len(extra) - 4} more' if extra[4:] else ''}")
    return found
