"""The ladder's second level: the encoder rungs on a real checkpoint, against figures stored in `checkpoints.json`.

Published slices come from the integration tests of transformers, the others from a run of transformers in float64
(`tests/make/make_ladder.py`). A checkpoint is known by the last part of its name.
"""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from ..names import normalize_names
from ..plumbing.checkpoint import find_checkpoint, read_tensors
from ..plumbing.files import UserError, read_json
from .call import TIME_LIMIT
from .check import run_rung
from .judge import to_array
from .references import FOLDER, References
from .results import SHAPE, Wrong
from .rungs import RUNGS

NOT_WEIGHTS = ("cls.", "vocab_", "embeddings.position_ids")


def run_checkpoint(module, place, rungs=RUNGS, time_limit=TIME_LIMIT):
    """A `Result` for each rung that has stored figures for the checkpoint at `place` (a folder or Hub id)."""
    known = json.loads((FOLDER / "checkpoints.json").read_text(encoding="utf-8"))
    name = Path(place).resolve().name
    if name not in known:
        raise UserError(f"--weights {place}: no figures are stored for {name!r}, only for {', '.join(known)}")
    folder = find_checkpoint(place)
    config = read_json(folder / "config.json")
    tensors, _ = normalize_names(read_tensors(folder))
    kept = {key: tensor.numpy() for key, tensor in tensors.items() if not key.startswith(NOT_WEIGHTS)}
    references = References({}, {f"weights/{key}": array for key, array in kept.items()})
    weights = {key: {"array": f"weights/{key}"} for key in kept}
    results = []
    for rung in rungs:
        cases = [case for case in known[name] if case["rung"] == rung.name]
        if not cases:
            continue
        stored = []
        for i, case in enumerate(cases):
            arguments = {key: case.get(key) for key in ("input_ids", "attention_mask", "token_type_ids")}
            arguments["attention_mask"] = arguments["attention_mask"] or np.ones_like(arguments["input_ids"]).tolist()
            arguments["token_type_ids"] = np.zeros_like(arguments["input_ids"]).tolist()
            for key, value in arguments.items():
                references.arrays[f"{key}/{i}"] = np.array(value, dtype=np.int64)
                arguments[key] = {"array": f"{key}/{i}"}
            for part, value in case["expected"].items():
                references.arrays[f"expected/{i}/{part}"] = np.array(value)
            output = {part: f"expected/{i}/{part}" for part in case["expected"]}
            arguments |= {"weights": weights, "config": config}
            stored.append({"arguments": arguments, "output": output, "start": [start for start, _ in case["slice"]]})
        references.table = {rung.name: {"cases": stored}}
        encoder = next(r for r in RUNGS if r.name == f"{config['model_type']}_encoder")
        judged = replace(rung, arguments=encoder.arguments, padding=None, tolerance=cases[0]["tolerance"])
        answer = sliced(module, rung, encoder.name, cases)
        wrapped = SimpleNamespace(ARRAYS=getattr(module, "ARRAYS", "torch"))
        if answer:
            setattr(wrapped, rung.name, answer)
        results.append(run_rung(wrapped, judged, references, "float32", time_limit))
    return results


def sliced(module, rung, encoder_name, cases):
    """The learner's function, called for one case after the other, cut to what figures are stored for; or None."""
    function, encoder = getattr(module, rung.name, None), getattr(module, encoder_name, None)
    if function is None or encoder is None:
        return None
    left = iter(cases)

    def answer(input_ids, attention_mask, *rest):
        case = next(left)
        cut = tuple(slice(*bounds) for bounds in case["slice"])
        states = encoder(input_ids, attention_mask, *rest)
        if rung.name != encoder_name:  # a head, on the encoder's output
            return [to_array(function(states[-1], attention_mask, rest[-2]), "")[cut]]
        if not isinstance(states, (list, tuple)):
            raise Wrong(SHAPE, f"returned one {type(states).__name__}; expected {rung.returns}")
        layers = [None if part == "embeddings" else int(part.split()[-1]) for part in case["expected"]]
        if len(states) <= max(layer or 0 for layer in layers):
            raise Wrong(SHAPE, f"returned {len(states)} states; expected {rung.returns}")
        return [to_array(states[layer or 0], "")[cut] for layer in layers]

    return answer
