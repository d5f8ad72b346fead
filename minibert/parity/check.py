"""The climb: have a learner's functions called, one rung after the other, and their answers judged."""

from .call import TIME_LIMIT, ask_learner
from .levels import Ladder
from .rungs import RUNGS
from .verdict import judge


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
    results = []
    for rung in rungs:
        results.append(judge(level.rung(rung.name)[0], learner.ask(rung), level.rung(rung.name)[1], dtype))
        if after_each:
            after_each(results[-1])
    return results


def run_ladder(module, references=None, rungs=RUNGS, dtype="float32", time_limit=TIME_LIMIT, after_each=None):
    """A `Result` for each rung, in order, from functions in this process."""
    level = Ladder(references)
    return climb(Here(module, level, dtype, time_limit), level, rungs, dtype, after_each)


def run_rung(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """The `Result` of one rung, in this process."""
    return judge(rung, ask_learner(module, rung, references, dtype, time_limit), references, dtype)
