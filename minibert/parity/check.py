"""The climb: have a learner's functions called, one rung after the other, and their answers judged."""

from .call import TIME_LIMIT, ask_learner
from .references import References
from .rungs import RUNGS
from .verdict import judge


def run_ladder(module, references=None, rungs=RUNGS, dtype="float32", time_limit=TIME_LIMIT, after_each=None):
    """A `Result` for each rung, in order. `after_each` is called with each one as it is there."""
    references = references or References()
    results = []
    for rung in rungs:
        results.append(run_rung(module, rung, references, dtype, time_limit))
        if after_each:
            after_each(results[-1])
    return results


def run_rung(module, rung, references, dtype="float32", time_limit=TIME_LIMIT):
    """The `Result` of one rung, in this process."""
    return judge(rung, ask_learner(module, rung, references, dtype, time_limit), references, dtype)
