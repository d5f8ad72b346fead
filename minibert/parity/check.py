"""The climb: have a learner's functions called, one rung after the other, and their answers judged."""

from .call import TIME_LIMIT, ask_learner
from .levels import Ladder
from .results import DIFF
from .rungs import RUNGS
from .verdict import result_of

PARTS = {  # rung: those that it is made of, for whoever builds one on the other
    "multi_head_attention": ("attention_probabilities",),
    "feed_forward": ("gelu",),
    "layer": ("layer_norm", "multi_head_attention", "feed_forward"),
    "distilbert_layer": ("layer_norm", "multi_head_attention", "feed_forward"),
    "bert_embeddings": ("layer_norm",),
    "distilbert_embeddings": ("layer_norm",),
    "roberta_embeddings": ("layer_norm",),
    "bert_encoder": ("bert_embeddings", "layer"),
    "distilbert_encoder": ("distilbert_embeddings", "distilbert_layer", "layer"),
    "roberta_encoder": ("roberta_embeddings", "layer"),
    "bert_head": ("pooler",),
    "loss_and_gradients": ("bert_encoder", "pooler", "bert_head"),
    "bert_layer_dropout": ("layer",),
    "distilbert_layer_dropout": ("distilbert_layer", "layer"),
    "precision_recall_f1": ("confusion_matrix",),
    "train": ("loss_and_gradients", "parameter_groups", "adamw", "warmup_schedule", "clip_gradients"),
}


class Here:
    """A learner in this process. `LearnersProcess` answers in the same way, from another one."""

    def __init__(self, module, level=None, dtype="float32", time_limit=TIME_LIMIT):
        self.module, self.level, self.dtype, self.time_limit = module, level or Ladder(), dtype, time_limit

    def ask(self, rung):
        """The `Reply` to a rung."""
        owner = self.level.learner(self.module, rung.name)
        return ask_learner(owner, *self.level.rung(rung.name), self.dtype, self.time_limit)


def climb(learner, level, rungs=RUNGS, dtype="float32", after_each=None):
    """A `Result` for each rung, in order. `after_each` is called with each one as soon as it is there."""
    results = {}
    for rung in rungs:
        judged, references = level.rung(rung.name)
        results[rung.name] = result = result_of(judged, learner.ask(rung), references, dtype)
        parts = [name for name in PARTS.get(rung.name, ()) if name in results and results[name].failed]
        if parts and result.status == DIFF and not result.mistakes:
            result.note += f"{'; ' if result.note else ''}first mend {' and '.join(parts)}, which it is made of"
        if after_each:
            after_each(result)
    return list(results.values())


def run_ladder(module, references=None, rungs=RUNGS, dtype="float32", time_limit=TIME_LIMIT, after_each=None):
    """A `Result` for each rung, in order, from functions in this process."""
    level = Ladder(references)
    return climb(Here(module, level, dtype, time_limit), level, rungs, dtype, after_each)


def run_rung(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """The `Result` of one rung, in this process."""
    return result_of(rung, ask_learner(module, rung, references, dtype, time_limit), references, dtype)
