"""The functions that the ladder asks for, made of a learner's module.

Each rung puts its input where it belongs inside the whole module: a layer's rung in place of what the first layer is
given, a head's in place of what the last layer gives. So the learner's own mask reaches the learner's own attention.
"""

import contextlib

import torch
from torch import nn
from torch.nn import functional

from .fitting import POOLED, FittedModule, final_or_last, hidden_size
from .record import final_state, stop, vector_in


class ModuleFunctions(FittedModule):
    """Rung functions as attributes, for all that the module has."""

    ARRAYS = "torch"
    MISSING = "the module has no such part"

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.provide()

    def provide(self):
        """Set an attribute for each rung that this module can be asked."""
        family = self.family
        provided = {} if self.alone else {f"{family}_encoder": self.answer_encoder}
        if not self.alone and "embeddings.position_embeddings.weight" not in self.assignment.slots:
            self.notes.append("no table of positions: embeddings, encoder and gradients are not asked, its layers are")
            provided = {}
        if self.layers_seen:
            whole = bool(provided)
            provided |= ({f"{family}_embeddings": self.answer_embeddings} if whole else {}) | self.layer_rungs()
            if family == "bert" and whole:
                provided |= {
                    "bert_embeddings_dropout": self.answer_embeddings_dropout,
                    "loss_and_gradients": self.answer_loss_and_gradients,
                }
            if self.pools and family == "bert":
                provided |= {"pooler": self.answer_pooler}
            if self.classifies:
                provided |= {f"{family}_head": self.answer_head, f"{family}_head_dropout": self.answer_head_dropout}
        if "loss_and_gradients" in provided and self.classifies and "pooler.dense.weight" not in self.assignment.slots:
            self.notes.append("its classifier has no pooler: loss and gradients are asked with the ladder's own head")
        for name, function in provided.items():
            setattr(self, name, function)

    def layer_rungs(self):
        """{rung: function} of a layer. RoBERTa's is asked BERT's, with BERT's eps, where that can be given to it."""
        if self.family == "roberta" and not self.eps_can_be_set():
            self.notes.append("its layers keep their own eps: they are compared in roberta_encoder, and not alone")
            return {}
        _, runner, _ = self.prepare(self.config, torch.float32)
        parts = [part for _, layer in runner.layers for part in layer.modules()]
        if any(isinstance(part, nn.TransformerEncoderLayer) and getattr(part.dropout, "p", 0) for part in parts):
            self.notes.append("PyTorch's TransformerEncoderLayer drops inside its feed-forward, too; "
                              "layer.dropout = nn.Identity() ends that")  # fmt: skip
        words = ("distilbert_layer", "distilbert") if self.family == "distilbert" else ("layer", "bert")
        return {words[0]: self.answer_layer, f"{words[1]}_layer_dropout": self.answer_layer_dropout}

    def eps_can_be_set(self):
        """Does its layer answer otherwise with another eps? A layer that does not run is asked, and says why."""
        given = self.references.resolve(self.references.table["layer"]["cases"][0]["arguments"], self.convert)
        try:
            answers = [
                self.answer_layer(**given | {"config": given["config"] | {"layer_norm_eps": eps}}) for eps in (1e-12, 1)
            ]
        except Exception:
            return True
        return not torch.equal(*answers)

    def answer_encoder(self, input_ids, attention_mask, *rest):
        types, weights, config = self.typed(input_ids, rest)
        _, runner, _ = self.ready(config, weights)
        run = runner.run(input_ids, attention_mask, types)
        final = final_state(run.returned, self.shape_of(input_ids))
        if not self.layers_seen:
            return [final_or_last(run, self.shape_of(input_ids))]
        return [*run.states[:-1], final] if final is not None else run.states

    def typed(self, input_ids, rest):
        """(token types, weights, config) of the arguments after ids and mask: DistilBERT and RoBERTa have no types."""
        *types, weights, config = rest
        return types[0] if types else torch.zeros_like(input_ids), weights, config

    def answer_embeddings(self, *arguments):
        ids, types, mask, weights, config = self.sorted_embeddings(arguments)
        _, runner, _ = self.ready(config, weights)
        return runner.run(ids, mask, types, before=stop).inputs[0]

    def answer_embeddings_dropout(self, *arguments):
        ids, types, mask, weights, config = self.sorted_embeddings(arguments[:-1])
        module, runner, _ = self.ready(config, weights)
        with training(outside_of(module, runner.layers)):
            return runner.run(ids, mask, types, before=stop).inputs[0]

    def sorted_embeddings(self, arguments):
        if len(arguments) == 5:
            return arguments
        ids, mask, weights, config = arguments
        return ids, torch.zeros_like(ids), mask, weights, config

    def answer_layer(self, hidden, attention_mask, weights, config):
        return self.run_layer(hidden, attention_mask, weights, config)

    def answer_layer_dropout(self, hidden, attention_mask, weights, config, dropout):
        return self.run_layer(hidden, attention_mask, weights, config, dropout)

    def run_layer(self, hidden, mask, weights, config, dropout=None):
        """The first layer's output. dropout: its listener; what is dropped before the layer is not its own."""
        start = "transformer.layer.0." if self.family == "distilbert" else "encoder.layer.0."
        if config.get("model_type") != self.family:
            config = self.config | {"layer_norm_eps": config["layer_norm_eps"]}
        _, runner, _ = self.ready(config, {start + name: weight for name, weight in weights.items()})
        (_, layer), ids = runner.layers[0], self.some_ids(mask)
        own = self.config.get("layer_norm_eps")
        with training(layer.modules() if dropout else ()), other_eps(layer, own, config.get("layer_norm_eps")):
            before = dropout.heard.clear if dropout else None
            run = runner.run(ids, mask, torch.zeros_like(ids), first=hidden, before=before, after=stop)
        return run.outputs[0]

    def some_ids(self, mask):
        return torch.where(mask == 1, 5, self.config["pad_token_id"])

    def answer_pooler(self, hidden, attention_mask, weights):
        return self.run_head(hidden, attention_mask, weights, self.config_size(), POOLED)

    def answer_head(self, hidden, attention_mask, weights):
        return self.run_head(hidden, attention_mask, weights, 6, ("logits",))

    def answer_head_dropout(self, hidden, attention_mask, weights, dropout):
        return self.run_head(hidden, attention_mask, weights, 6, ("logits",), dropout)

    def run_head(self, hidden, mask, weights, width, names, dropout=None):
        module, runner, _ = self.ready(self.config, weights)
        ids = self.some_ids(mask)
        with contextlib.ExitStack() as modes:

            def begin():
                dropout.heard.clear()
                modes.enter_context(training(outside_of(module, runner.layers)))

            run = runner.run(ids, mask, torch.zeros_like(ids), last=hidden, at_end=begin if dropout else None)
        return vector_in(run.returned, len(ids), width, names)

    def answer_loss_and_gradients(self, input_ids, attention_mask, token_type_ids, labels, weights, config):
        module, runner, assignment = self.ready(config, weights)
        own = {
            name: weight.clone().requires_grad_()
            for name, weight in weights.items()
            if name.startswith(("pooler", "classifier"))
        }
        module.zero_grad(set_to_none=True)
        run = runner.run(input_ids, attention_mask, token_type_ids)
        logits = None
        if self.classifies and "pooler.dense.weight" in assignment.slots:
            logits = vector_in(run.returned, len(labels), len(own["classifier.bias"]), ("logits",))
        pooled = vector_in(run.returned, len(labels), hidden_size(config), POOLED) if self.pools else None
        if logits is None:
            if pooled is None:
                first = final_or_last(run, self.shape_of(input_ids))[:, 0]
                pooled = functional.linear(first, own["pooler.dense.weight"], own["pooler.dense.bias"]).tanh()
            logits = functional.linear(pooled, own["classifier.weight"], own["classifier.bias"])
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        theirs = assignment.gradients(module, weights)
        if self.folds_types:
            types = torch.zeros_like(weights["embeddings.token_type_embeddings.weight"])
            types[0] = theirs["embeddings.position_embeddings.weight"].sum(0)
            theirs["embeddings.token_type_embeddings.weight"] = types
        return loss.detach(), theirs | {name: weight.grad for name, weight in own.items() if weight.grad is not None}


def outside_of(module, layers):
    """The modules that are part of no layer."""
    inside = {id(part) for _, layer in layers for part in layer.modules()}
    return [part for part in module.modules() if id(part) not in inside]


@contextlib.contextmanager
def other_eps(layer, own, asked):
    """The LayerNorms of a layer that have their family's own eps, with the one that is asked instead."""
    parts = [part for part in layer.modules() if own != asked and getattr(part, "eps", None) == own]
    for part in parts:
        part.eps = asked
    try:
        yield
    finally:
        for part in parts:
            part.eps = own


@contextlib.contextmanager
def training(modules):
    """These modules, and none inside of them, in training mode."""
    modules = list(modules)
    for module in modules:
        module.training = True
    try:
        yield
    finally:
        for module in modules:
            module.training = False
