"""The verdict on a `Reply`: each kind of rung has its judge, and what is worth knowing beside the numbers is added."""

from .judge import judge_numbers, judge_words
from .placement import judge_dropout
from .results import DIFF, ERROR, Result, Wrong


def result_of(rung, reply, references, dtype="float32"):
    """The `Result` of a `Reply`."""
    tolerance = rung.tolerance if dtype == "float32" or rung.double is None else rung.double
    if reply.status:
        mistakes = reply.mistakes or shared_state(rung, reply)
        return Result(rung.name, reply.status, reply.note, mistakes=mistakes, details=reply.details)
    try:
        if rung.exact:
            result = judge_words(rung, reply, references)
        elif rung.places:
            result = judge_dropout(rung, reply, references, tolerance)
        else:
            result = judge_numbers(rung, reply, references, tolerance)
    except Wrong as error:
        status, note = error.args
        return Result(rung.name, status, note, tolerance=tolerance)
    notes = [result.note, cases_note(reply, rung, references)]
    if result.status == DIFF:
        notes.append(dtype_note(reply.dtypes, dtype))
    result.note = "; ".join(note for note in notes if note)
    return result


def shared_state(rung, reply):
    """An optimizer that keeps one state for parameters of several shapes stumbles over the second of them."""
    words = ("size of tensor", "broadcast", "shape", "must match")
    fits = rung.name == "adamw_several" and reply.status == ERROR and any(word in reply.note for word in words)
    return ["state-shared"] if fits else []


def dtype_note(dtypes, dtype):
    """What to say about a wrong answer in another dtype than that of the arguments."""
    bits = {"float64": 64, "float32": 32, "float16": 16, "bfloat16": 16}
    coarse = [name for name in dtypes if name.startswith(("float8", "float4")) or bits.get(name, 99) < bits[dtype]]
    if coarse:
        return f"the answer is {', '.join(coarse)}: too coarse, the arguments are {dtype}"
    whole = [name for name in dtypes if name not in bits]
    return f"the answer is {', '.join(whole)}" if whole and len(whole) == len(dtypes) else ""


def cases_note(reply, rung, references):
    """How many cases were answered, where some were not."""
    count = len(references.cases(rung))
    if len(reply.cases) == count:
        return ""
    return f"{len(reply.cases)} of {count} cases; the others are not yet written (NotImplementedError)"
