"""Which of BERT's tensors did a learner's dropout receive, and is that where it belongs?

What `listening.py` has heard is compared with the tensors that BERT computes on its way (`known_model.py`), number by
number in sorted order, so that it does not matter how the learner lays them out. Where a learner's layer is wrong in
another way as well, the tensors are those of a layer with that mistake.
"""

import numpy as np

from .diagnosis import Answer, distance, explain_names, flattened
from .judge import compare, matched
from .known_model import Known
from .references import converter
from .results import DIFF, OK

# place: (the mistake of dropping there, the places whose dropout it stands for)
ELSEWHERE = {
    "scores": ("dropout-before-softmax", "probabilities"),
    "scaled scores": ("dropout-before-softmax", "probabilities"),
    "masked scores": ("dropout-on-masked-scores", "probabilities"),
    "query": ("dropout-on-projections", ""),
    "key": ("dropout-on-projections", ""),
    "value": ("dropout-on-projections", ""),
    "layer's input": ("dropout-on-layer-input", ""),
    "context": ("dropout-before-dense", "attention output"),
    "first sum": ("dropout-on-sum", "attention output"),
    "second sum": ("dropout-on-sum", "feed-forward output"),
    "after the first LayerNorm": ("dropout-after-layer-norm", "attention output"),
    "after the second LayerNorm": ("dropout-after-layer-norm", "feed-forward output"),
    "before attention": ("dropout-after-layer-norm", "attention output"),
    "before the feed-forward": ("dropout-after-layer-norm", "feed-forward output"),
    "inside the feed-forward": ("dropout-inside-feed-forward", "feed-forward output"),
    "feed-forward before its activation": ("dropout-inside-feed-forward", "feed-forward output"),
    "attention output": ("dropout-after-attention", ""),
    "word vectors": ("dropout-on-word-vectors", "embeddings"),
    "sum of the embeddings": ("dropout-before-layer-norm", "embeddings"),
    "pooler before its tanh": ("dropout-before-activation", "pooled vector"),
    "first token": ("dropout-on-first-token", "pooled vector, head's hidden vector"),
    "head before its activation": ("dropout-before-activation", "head's hidden vector"),
    "logits": ("dropout-on-logits", "pooled vector, head's hidden vector"),
}
MISSING = {  # place: the mistake of dropping nothing there
    "probabilities": "no-dropout-on-probabilities",
    "attention output": "no-dropout-after-attention",
    "feed-forward output": "no-dropout-after-feed-forward",
    "embeddings": "no-dropout-after-embeddings",
    "pooled vector": "no-dropout-in-head",
    "head's hidden vector": "no-dropout-in-head",
    "first token": "no-dropout-on-first-token",
}


def recognise(x, seen, wanted, mask):
    """The name of the tensor that this is, in whatever order its numbers lie; "" for none of them.

    A tensor that is in the order of ours may differ at padding. Of several that are equal, one of `wanted` is meant.
    """
    best, found = 1e-3, ""
    for name in sorted(seen, key=lambda name: name not in wanted):
        candidate = seen[name]
        if candidate.size != x.size:
            continue
        off = distance(ranked(x), ranked(candidate)) / (1 + np.abs(ranked(candidate)).max())
        real = real_tokens(x.shape, mask)
        if off > best and candidate.shape == x.shape and real is not None:
            off = distance(clipped(x[real]), clipped(candidate[real])) / (1 + np.abs(clipped(candidate[real])).max())
        if max(off, 1e-7) < (0.1 * best if found else best):
            best, found = max(off, 1e-7), name
    return found


def real_tokens(shape, mask):
    """Which rows of an array [B, T, ...] or [B, H, T, ...] belong to real tokens; None for another shape."""
    if len(shape) == 3 and shape[:2] == mask.shape:
        return mask == 1
    if len(shape) == 4 and (shape[0], shape[2]) == mask.shape:
        return np.broadcast_to(mask[:, None] == 1, shape[:3])
    return None


def ranked(x):
    """The numbers in order."""
    return np.sort(clipped(x).ravel())


def clipped(x):
    """What a mask has pushed below -1000 is all the same."""
    return np.clip(np.nan_to_num(x, nan=-1e3), -1e3, 1e3)


def by_shape(x, seen):
    """A guess for a tensor that none is equal to: from its size, and from what its rows add up to."""
    if "probabilities" in seen and x.size == seen["probabilities"].size:
        rows = x.reshape(-1, seen["probabilities"].shape[-1])
        if np.abs(rows.sum(-1) - 1).max() < 1e-3:
            return "probabilities"
        return "masked scores" if rows.min() < -1e3 else "scaled scores"
    if "inside the feed-forward" in seen and x.size == seen["inside the feed-forward"].size:
        return "inside the feed-forward"
    return f"an unknown tensor {list(x.shape)}"


def placed(rung, arguments, wrong, heard):
    """Where each array was heard, in words."""
    known = Known(wrong)
    with np.errstate(all="ignore"):
        getattr(known, rung.name)(**{name: value for name, value in arguments.items() if name != "dropout"})
    mask = arguments["attention_mask"]
    return [recognise(x, known.seen, rung.places, mask) or by_shape(x, known.seen) for x in heard]


def misplaced(places, wanted):
    """The mistakes behind a list of places, where dropout belongs at each of `wanted` once."""
    mistakes, made_up = [], set()
    for place in dict.fromkeys(places):
        if place in wanted:
            continue
        mistake, instead = ELSEWHERE.get(place, ("dropout-elsewhere", ""))
        mistakes.append(mistake)
        made_up |= set(instead.split(", "))
    if not places:
        return ["no-dropout-at-all" if len(wanted) > 1 else MISSING[wanted[0]]]
    missing = [place for place in wanted if place not in places and place not in made_up]
    mistakes += [MISSING[place] for place in missing]
    if not mistakes and len(places) > len(set(places)):
        mistakes.append("dropout-twice")
    return list(dict.fromkeys(mistakes))


def described(places, wanted):
    """One sentence: what is dropped, and what is not."""
    counts = {place: places.count(place) for place in dict.fromkeys(places)}
    words = [place + (f" ({number} times)" if number > 1 else "") for place, number in counts.items()]
    missing = [f"nothing on: {place}" for place in wanted if place not in counts]
    return "drops: " + "; ".join([*words, *missing] if words else ["nothing at all"])


def judge_dropout(rung, reply, references, tolerance):
    """The result of a rung about dropout. Its outputs are what `listening.listen` returns."""
    cases = [references.cases(rung)[number] for number in reply.cases]
    result = compare(rung, cases, [one["dropped"] for one in reply.outputs], references, tolerance)[0]
    answers, heard = [], [np.asarray(x, dtype=np.float64) for x in reply.outputs[0]["heard"]]
    for case, one in zip(cases, reply.outputs, strict=True):
        arguments = references.resolve(case["arguments"] | {"dropout": None}, converter("numpy", "float64"))
        answer = Answer(arguments, matched(rung, case, one["plain"], references))
        answer.expected = right_without_dropout(rung.name, arguments)
        answers.append(answer)
    heard = heads_together(heard, answers[0].arguments)
    wrong = mistakes_without_dropout(rung.name, answers, tolerance)
    places = placed(rung, answers[0].arguments, wrong or (), heard)
    mistakes = misplaced(places, rung.places)
    if result.status == OK and not mistakes and wrong == ():
        return result
    result.status, result.note = DIFF, described(places, rung.places)
    if wrong is None:  # what it drops looks like nothing that is known, which says nothing about where
        result.note = "wrong without dropout, too" + ("" if places else f"; {result.note}")
        mistakes = [] if places else mistakes
    elif not mistakes and not wrong:
        mistakes = ["dropout-result-unused"]
    names = [*(name.partition("#")[0] for name in wrong or ()), *mistakes]
    result.mistakes = [" + ".join(names)] if names else []
    return result


def heads_together(heard, arguments):
    """Where each head drops its own probabilities [B, T, T]: those of all heads as one array [B, H, T, T]."""
    config = arguments.get("config", {})
    heads, length = config.get("num_attention_heads") or config.get("n_heads"), arguments["attention_mask"].shape[1]
    single = [x for x in heard if x.ndim == 3 and x.shape[1:] == (length, length)]
    if not heads or len(single) != heads:
        return heard
    return [np.stack(single, axis=1), *(x for x in heard if not any(x is one for one in single))]


def mistakes_without_dropout(rung, answers, tolerance):
    """The mistakes that explain what was returned while nothing was dropped: () for none, None where none explains."""
    if max(answer.off(answer.expected) for answer in answers) <= tolerance:
        return ()
    explanations = explain_names(rung, answers, tolerance)
    return explanations[0] if explanations else None


def right_without_dropout(rung, arguments):
    """The right output without dropout, as one row of numbers."""
    given = {name: value for name, value in arguments.items() if name != "dropout"}
    return flattened(getattr(Known(), rung)(**given))
