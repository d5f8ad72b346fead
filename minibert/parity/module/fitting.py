"""A learner's module, built in the ladder's size and filled with its weights; and how its forward wants to be called.

That cannot be read off it: whether a mask is 1 or True for a token, in which shape, or whether one matrix holds query,
key and value head by head. Each form is tried on a stored case, and the right answer says which it is.
"""

import json

import torch

from ...plumbing.files import UserError
from ..learner import Written
from ..levels import ModuleLadder
from ..references import converter
from .build import Builder, settings_from
from .record import (
    ADDED_MASKS,
    FAINT_MASKS,
    MASK_FORMS,
    PADDING_MASKS,
    OneLayer,
    Run,
    Runner,
    final_state,
    find_layers,
    is_layer,
    vector_in,
)
from .weights import DISTILBERTS_NAMES, assign, in_bert_words

POOLED = ("pooler_output", "pooled_output", "pooled", "cls_output", "pooler", "cls")
CLOSE = 1e-3  # near enough to say that the mask is taken in this form


class FittedModule:
    """A learner's module, ready to be run with any weights. `notes`: what was found out about it, in words."""

    def __init__(self, target, source, given=None, family=None, map_file=None, write_map=None):
        self.__file__ = getattr(source, "__file__", None)
        self.builder, self.map_file, self.built, self.notes = Builder(target, given, source), map_file, {}, []
        self.name = getattr(target, "__name__", type(target).__name__)
        self.references = ModuleLadder().references
        self.judge_as(family or self.guess_family())
        if write_map:
            self.write_map(write_map)
        self.try_out(may_be_distilbert=not family)

    def judge_as(self, family):
        """Take up the inputs and the weights of a family."""
        self.family, self.built = family, {}
        self.case = self.first_case()
        self.config = self.case["arguments"]["config"]
        self.weights = self.stored_weights()

    def first_case(self):
        return self.references.table[f"{self.family}_encoder"]["cases"][0]

    def write_map(self, path):
        """Write what was found as a map to mend; this ends the command."""
        torch.manual_seed(0)
        module = self.builder.build(self.config)
        assignment = assign(
            module, find_layers(module, settings_from(self.config)), self.weights, self.map_file, lenient=True
        )
        assignment.save(path, self.weights)
        names = [name for name, _ in module.named_parameters()]
        free = [name for name in names if name not in assignment.used]
        raise Written(
            f"{path}: {len(assignment.slots)} weights have a place; parameters without one: {', '.join(free) or 'none'}"
        )

    # ---- building

    def guess_family(self):
        """By its name; `try_out` looks at its parameters' names, too."""
        known = [family for family in ("distilbert", "roberta") if family[:6] in self.name.lower()]
        return known[0] if known else "bert"

    def stored_weights(self):
        """{BERT's name: float32 tensor} of the small reference model, heads included."""
        prefix = f"weights/{self.family}/"
        arrays = self.references.arrays.items()
        return {
            in_bert_words(key.removeprefix(prefix)): torch.from_numpy(array.copy())
            for key, array in arrays
            if key.startswith(prefix)
        }

    def prepare(self, config, dtype):
        """(module, runner, assignment) for a configuration, built once."""
        key = json.dumps(config, sort_keys=True), dtype
        if key not in self.built:
            torch.manual_seed(0)
            module = self.builder.build(config)
            if not isinstance(module, torch.nn.Module):
                raise UserError(f"{self.name} makes a {type(module).__name__}, which is no torch.nn.Module")
            if is_layer(module, hidden_size(config)) and not holds_embeddings(module):
                module, self.alone = OneLayer(module, hidden_size(config)), True
            module = module.to("cpu").to(dtype).eval()
            layers = find_layers(module, settings_from(config))
            self.refuse_other_width(module, config)
            if not layers and not self.map_file:
                raise UserError(
                    f"{self.name} has no layers that the ladder could find; give the class of one layer, or of the "
                    "whole encoder, or a --map"
                )
            count = settings_from(config)["num_hidden_layers"]
            if len(layers) not in (0, 1, count):
                raise UserError(
                    f"{self.name} has {len(layers)} layers, the ladder's model has {count}; what sets their number? "
                    "--config-arg NAME=num_hidden_layers"
                )
            assignment = assign(module, layers, self.weights_for(config), self.map_file, heads=self.heads)
            pad = config["pad_token_id"] if self.family == "roberta" else None
            self.built[key] = module, Runner(module, layers, hidden_size(config), pad), assignment
        return self.built[key]

    def refuse_other_width(self, module, config):
        """UserError for a module that was built as wide as it likes."""
        size = hidden_size(config)
        widths = [part.embedding_dim for part in module.modules() if isinstance(part, torch.nn.Embedding)]
        if widths and size not in widths:
            raise UserError(
                f"{self.name} has vectors of {max(widths)}, the ladder's small model of {size}; what sets their size? "
                "--config-arg NAME=hidden_size"
            )

    def weights_for(self, config):
        """The reference weights by whose names and shapes a module of this size is read."""
        if self.alone:
            return {name: weight for name, weight in self.weights.items() if name.startswith("encoder.layer.0.")}
        if config == self.config:
            return self.weights
        return {name: torch.empty(shape) for name, shape in sizes(config, self.weights).items()}

    def ready(self, config, weights, dtype=None):
        """(module, runner, assignment) with these weights inside."""
        weights = {in_bert_words(name): weight for name, weight in weights.items()}
        dtype = dtype or next(iter(weights.values())).dtype
        module, runner, assignment = self.prepare(config, dtype)
        runner.mask_form = self.mask_form
        module.eval()
        placed = "embeddings.position_embeddings.weight" in assignment.slots
        if self.folds_types and placed and "embeddings.token_type_embeddings.weight" in weights:
            types = weights["embeddings.token_type_embeddings.weight"][0]
            weights = weights | {
                "embeddings.position_embeddings.weight": weights["embeddings.position_embeddings.weight"] + types
            }
        assignment.fill(module, weights)
        return module, runner, assignment

    # ---- finding out how it wants to be called

    def try_out(self, may_be_distilbert=False):
        """Build it, and find the form of its mask; notes on everything that was decided on the way."""
        self.mask_form, self.folds_types, self.alone = next(iter(MASK_FORMS)), False, False
        self.failure, self.heads = None, 1
        _, runner, assignment = self.prepare(self.config, torch.float32)
        types = "embeddings.token_type_embeddings.weight"
        if may_be_distilbert and assignment.source == DISTILBERTS_NAMES and types not in assignment.slots:
            self.judge_as("distilbert")
            self.notes.append("judged as DistilBERT, as its parameters are called; else: --family bert")
            _, runner, assignment = self.prepare(self.config, torch.float32)
        self.assignment = assignment
        self.notes.append(f"{self.name} from {self.builder.way[0]}; weights by {assignment.source}")
        self.convert = converter("torch", "float32")
        if self.alone:
            self.try_layer(runner)
        else:
            self.try_model(runner)

    def try_layer(self, runner):
        """One layer without a model around it."""
        self.zero_types, self.layers_seen, self.pools, self.classifies = True, True, False, False
        options = {"right_only": runner.takes_lengths}
        self.case = ModuleLadder(**options).references.table["layer"]["cases"][0]
        self.level = ["module", options]
        self.choose_forms(runner)

    def try_model(self, runner):
        """An encoder, perhaps with heads."""
        types = "embeddings.token_type_embeddings.weight"
        has_types, placed = types in self.weights, types in self.assignment.slots
        self.folds_types = has_types and not placed
        self.zero_types = self.family == "bert" and not (runner.takes_types and placed)
        if self.folds_types:
            self.notes.append("no table of token types: the vector of type 0 is added to each position's")
        elif self.zero_types:
            self.notes.append("its forward takes no token types: asked with type 0 everywhere")
        if self.zero_types:
            self.references = ModuleLadder(zero_types=True).references
            self.case = self.first_case()
        if runner.takes_lengths:
            self.notes.append("is told the lengths of its texts: asked with padding on the right only")
        self.choose_forms(runner)
        run = self.one_run(runner)
        self.layers_seen = len(run.outputs) == settings_from(self.config)["num_hidden_layers"] and bool(run.inputs)
        if self.failure is not None:
            self.layers_seen = bool(runner.layers)
            given = f"given tensors as {', '.join(runner.kinds)}" if runner.kinds else "given nothing"
            what = f"{type(self.failure).__name__}: {one_line(self.failure)}"
            self.notes.append(f"its forward does not work yet: {what}; it was {given}")
        elif not self.layers_seen:
            self.notes.append("its layers cannot be told apart: only what comes out at the end is compared")
        options = {"only_last": not self.layers_seen, "right_only": runner.takes_lengths}
        self.level = ["module", {"zero_types": self.zero_types} | options]
        self.look_for_heads(run)

    def look_for_heads(self, run):
        """What a run returned beside hidden states: a pooled vector, logits; a note where it is nothing of all that."""
        shape, placed = self.shape_of(self.references.arrays["input/ids_right"]), self.assignment.slots
        pooled = vector_in(run.returned, shape[0], self.config_size(), POOLED) is not None
        self.pools = "pooler.dense.weight" in placed and (self.failure is not None or pooled)
        logits = vector_in(run.returned, shape[0], 6, ("logits",)) is not None
        self.classifies = logits and ("classifier.weight" in placed or "classifier.out_proj.weight" in placed)
        if self.failure is None and not pooled and not logits and final_state(run.returned, shape) is None:
            kind = type(run.returned).__name__
            self.notes.append(f"found no hidden states in what it returns, a {kind}: its last layer's are compared")

    def one_run(self, runner):
        """A run on the first stored case; an empty one where the module cannot be run, which is kept as `failure`."""
        if self.failure is None:
            try:
                return self.sample_run(runner)
            except Exception as error:
                self.failure = error
        return Run()

    def shape_of(self, ids):
        """[B, T, E] for ids [B, T]."""
        return (*ids.shape, self.config_size())

    def config_size(self):
        return settings_from(self.config)["hidden_size"]

    def sample_run(self, runner, padding=None):
        """A run on the first stored case, with the stored weights. padding: what padded positions hold instead."""
        arguments = self.references.resolve(self.case["arguments"], self.convert)
        mask = arguments["attention_mask"]
        if self.alone:
            weights = {f"encoder.layer.0.{name}": weight for name, weight in arguments["weights"].items()}
            _, runner, _ = self.ready(self.config, weights)
            hidden = arguments["hidden"]
            hidden = hidden if padding is None else hidden.masked_fill(mask[:, :, None] == 0, padding)
            return runner.run(self.some_ids(mask), mask, None, first=hidden)
        _, runner, _ = self.ready(self.config, arguments["weights"])
        ids = arguments["input_ids"]
        ids = ids if padding is None else ids.masked_fill(mask == 0, padding)
        return runner.run(ids, mask, arguments.get("token_type_ids", torch.zeros_like(ids)))

    def choose_forms(self, runner):
        """Of the mask; then of one matrix for query, key and value, where it is right only when read head by head."""
        self.choose_mask(runner)
        fused = any(slot.start is not None for slot in self.assignment.slots.values())
        if fused and self.failure is None and not self.is_right(runner):
            self.heads, self.built = settings_from(self.config)["num_attention_heads"], {}
            if not self.is_right(runner):
                self.heads, self.built = 1, {}
            *_, self.assignment = self.prepare(self.config, torch.float32)
        self.notes += self.assignment.notes

    def is_right(self, runner):
        """Is the last hidden state of the first stored case as it should be?"""
        end = self.sample_end(runner)
        return end is not None and self.off(end, self.expected_end()) < CLOSE

    def choose_mask(self, runner):
        """The first form in which the answer is right; else in which padding reaches no token; else that is taken."""
        if not runner.takes_mask:
            self.notes.append("its forward takes no mask: padding is known by its id, if at all")
            self.one_run(runner)  # to see whether it works
            return
        taken, failure = [], None
        expected = self.expected_end()
        for form in runner.mask_forms():
            self.mask_form = form
            try:
                end = self.sample_end(runner)
                if form in ADDED_MASKS and end is not None and not self.is_added(runner, form, end):
                    continue
            except Exception as error:
                failure = failure or error
                continue
            taken.append(form)
            if end is not None and self.off(end, expected) < CLOSE:
                break
        else:
            if not taken:  # its rungs will say so, at the line where it happens
                self.failure = failure
            blocking = [form for form in taken if self.blocks_padding(runner, form)]
            self.mask_form = [*blocking, *taken, *MASK_FORMS][0]
        if self.mask_form in PADDING_MASKS:  # first: it is the wrong way round, unless the learner means it so
            self.notes.insert(0, f"takes its mask as {self.mask_form}")
        elif self.mask_form != next(iter(MASK_FORMS)):
            self.notes.append(f"takes its mask as {self.mask_form}")

    def is_added(self, runner, form, end):
        """Is it added to the scores, so that -1 blocks less than -10000? A mask that is made True or False is not."""
        self.mask_form = FAINT_MASKS[form]
        faint = self.sample_end(runner)
        self.mask_form = form
        return faint is not None and self.off(faint, end) > 0

    def blocks_padding(self, runner, form):
        """With the mask in this form, do the tokens stay as they are when the padding beside them is another?"""
        self.mask_form = form
        ends = [self.sample_end(runner, padding) for padding in (5, 7)]
        return all(end is not None for end in ends) and self.off(*ends) < CLOSE

    def sample_end(self, runner, padding=None):
        """The last hidden state of a `sample_run`; None where there is none."""
        run = self.sample_run(runner, padding)
        return final_or_last(run, self.shape_of(self.references.arrays["input/ids_right"]))

    def expected_end(self):
        return torch.from_numpy(self.references.arrays[list(self.case["output"].values())[-1]])

    def off(self, end, expected):
        mask = torch.from_numpy(self.references.arrays[self.case["arguments"]["attention_mask"]["array"]]) == 1
        if end.shape != expected.shape:
            return float("inf")
        return float((end - expected).detach()[mask].abs().max())


def one_line(error):
    return " ".join(str(error).split())[:200] or "no message"


def holds_embeddings(module):
    return any(isinstance(part, torch.nn.Embedding) for part in module.modules())


def hidden_size(config):
    return settings_from(config)["hidden_size"]


def final_or_last(run, shape):
    """The last hidden state: what was returned, or what the last layer gave."""
    final = final_state(run.returned, shape)
    return final if final is not None else run.outputs[-1] if run.outputs else None


def sizes(config, weights):
    """{BERT's name: shape} for another configuration of the same family."""
    named = settings_from(config)
    hidden, inner = named["hidden_size"], named["intermediate_size"]
    old = {len(weights["embeddings.LayerNorm.weight"]): hidden,
           len(weights["encoder.layer.0.intermediate.dense.bias"]): inner,
           len(weights["embeddings.word_embeddings.weight"]): named["vocab_size"],
           len(weights["embeddings.position_embeddings.weight"]): named["max_position_embeddings"]}  # fmt: skip
    shapes = {}
    for name, weight in weights.items():
        shape = tuple(old.get(size, size) for size in weight.shape)
        if name.startswith("encoder.layer."):
            if name.startswith("encoder.layer.0."):
                rest = name.removeprefix("encoder.layer.0.")
                shapes |= {f"encoder.layer.{i}.{rest}": shape for i in range(named["num_hidden_layers"])}
        else:
            shapes[name] = shape
    return shapes
