"""The place of each reference weight, by what a module's parameters are called, word by word, and by their shapes.

Where neither decides, the order in which the module defines its parts does, and a note says so.
"""

import re

from .slots import Assignment, Slot

QUERY = "q query queries wq qlin qlinear qproj toq toqueries qw linearq fcq queryprojection querylayer".split()
KEY = "k key keys wk klin klinear kproj tok tokeys kw lineark fck keyprojection keylayer".split()
VALUE = "v value values val wv vlin vlinear vproj tov tovalues vw linearv fcv valueprojection valuelayer".split()
OUT = "o out output wo outproj outlin proj projection dense unifyheads fc combine merge fcout projout".split()
# Of the two LayerNorms. No 1 among the first one's words: some count from 0, and the order of definition settles it.
FIRST = "attention attn att mha sa self selfattn selfattention first input in msa".split()
SECOND = "ff ffn mlp output out final feed forward feedforward 2 norm2 ln2 second linear pos positionwise".split()


def words_in(name):
    """The words of a parameter's name: at dots, underscores, capitals; also neighbours run together."""
    spaced = re.sub(r"([a-z])([A-Z])", r"\1 \2", name)
    words = re.sub(r"[._\-]", " ", spaced).lower().split()
    return words + [first + second for first, second in zip(words, words[1:], strict=False)]


def by_words(module, layers, weights, heads=1):
    """The `Assignment` of a module; layers: [(path, module)]. Not yet checked: some weights may have no place."""
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
    if "embeddings.word_embeddings.weight" in weights:  # else a layer alone
        size = weights["embeddings.word_embeddings.weight"].shape[1]
        read_tables(outside, weights, found, size)
        read_embeddings_norm(outside, weights, found, size)
        read_head(outside, weights, found, size)
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
        if bias := bias_of(name, self.left):
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
        rows, bias = self.size // self.heads, bias_of(name, self.left)
        for head in range(self.heads):
            part = f"@{head}/{self.heads}" if self.heads > 1 else ""
            for number, role in enumerate(("query", "key", "value"), 3 * head):
                place = {"start": number * rows, "stop": (number + 1) * rows}
                self.found.slots[f"attention.self.{role}.weight{part}"] = Slot(name, **place)
                if bias:
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
                if bias := bias_of(name, self.left):
                    self.found.slots[f"attention.self.{role}.bias@{part}/{len(mine)}"] = Slot(bias)

    def norms(self):
        used = self.found.used
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


def bias_of(name, parameters):
    """What the bias beside a weight is called, among these: a b for its w, in front or behind; None where none is."""
    head, dot, last = name.rpartition(".")
    guesses = [last.replace("weight", "bias")]
    guesses += [re.sub(place, letter, last) for letter in "bB" for place in ("^[wW]", "[wW]$")]
    names = [head + dot + guess for guess in guesses if guess != last]
    return next((guess for guess in names if guess in parameters and parameters[guess].dim() == 1), None)


def scale_and_shift(pair):
    shifts = [
        name for name in pair if set(words_in(name.rpartition(".")[2])) & {"bias", "beta", "b", "shift", "offset"}
    ]
    shift = shifts[0] if len(shifts) == 1 else pair[1]
    return next(name for name in pair if name != shift), shift


def read_tables(outside, weights, found, size):
    """The three tables of the embeddings, among the parameters outside of the layers: by name, else by their length."""
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
        taken = found.used
        candidates = [candidate for candidate in candidates if candidate[2] not in taken]
        if candidates:
            best = max(candidates, key=lambda candidate: candidate[:2])
            found.slots[f"embeddings.{table}_embeddings.weight"] = Slot(best[2])


def table_named(name):
    """Which table of vectors a parameter's name speaks of; None where it does not say."""
    words = " ".join(words_in(name))
    if re.search(r"\bpos", words):
        return "position"
    if re.search(r"\b(seg|type|tk type|token ?type|sent)", words):
        return "token_type"
    return "word" if re.search(r"\b(word|tok|vocab|token)", words) else None


def read_embeddings_norm(outside, weights, found, size):
    """The LayerNorm of the embeddings: two vectors of one owner, which is called after them or stands first."""
    vectors = [(name, p) for name, p in outside if tuple(p.shape) == (size,)]
    matrices = {name.rpartition(".")[0] for name, p in outside if p.dim() >= 2}
    owners = [o for o in dict.fromkeys(name.rpartition(".")[0] for name, _ in vectors) if o not in matrices]
    owners.sort(key=lambda owner: not any(word.startswith(("emb", "input")) for word in words_in(owner)))
    if owners and "embeddings.LayerNorm.weight" in weights:
        pair = [name for name, _ in vectors if name.rpartition(".")[0] == owners[0]]
        if len(pair) == 2:
            scale, shift = scale_and_shift(pair)
            found.slots |= {"embeddings.LayerNorm.weight": Slot(scale), "embeddings.LayerNorm.bias": Slot(shift)}


def read_head(outside, weights, found, size):
    """The pooler and the classifier, or the two matrices of RoBERTa's head."""
    taken = found.used
    free = {name: parameter for name, parameter in outside if name not in taken}
    squares = [name for name, p in free.items() if tuple(p.shape) == (size, size)
               and not {"transform", "predictions", "mlm", "lm"} & set(words_in(name))]  # fmt: skip
    squares.sort(key=lambda name: "pool" not in name.lower())
    outputs = {role: weights.get(f"{role}.weight") for role in ("classifier", "classifier.out_proj")}
    places = [(role, squares[:1]) for role in ("pooler.dense", "classifier.dense") if f"{role}.weight" in weights]
    places += [(role, [name for name, p in free.items() if p.shape == output.shape])
               for role, output in outputs.items() if output is not None]  # fmt: skip
    for role, names in places:
        for name in names:
            found.slots[f"{role}.weight"] = Slot(name)
            if bias := bias_of(name, free):
                found.slots[f"{role}.bias"] = Slot(bias)
