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
from .call import TIME_LIMIT, array_kind
from .check import Here, climb
from .judge import to_array
from .references import FOLDER, References
from .results import SHAPE, Wrong
from .rungs import RUNGS

NOT_WEIGHTS = ("cls.", "vocab_", "embeddings.position_ids")


class Checkpoint:
    """The level of a real checkpoint at `place`, a folder or Hub id. UserError where no figures are stored for it."""

    def __init__(self, place, with_weights=True):
        known = json.loads((FOLDER / "checkpoints.json").read_text(encoding="utf-8"))
        name = Path(place).resolve().name
        if name not in known:
            raise UserError(f"--weights {place}: no figures are stored for {name!r}, only for {', '.join(known)}")
        folder = find_checkpoint(place)
        self.config = read_json(folder / "config.json")
        self.weights, self.arrays = {}, {}
        if with_weights:
            tensors, _ = normalize_names(read_tensors(folder))
            kept = {key: tensor.numpy() for key, tensor in tensors.items() if not key.startswith(NOT_WEIGHTS)}
            self.arrays = {f"weights/{key}": array for key, array in kept.items()}
            self.weights = {key: {"array": f"weights/{key}"} for key in kept}
        self.stored = {}
        for case in known[name]:
            self.stored.setdefault(case["rung"], []).append(case)
        self.encoder = next(rung for rung in RUNGS if rung.name == f"{self.config['model_type']}_encoder")

    def rungs(self, rungs=RUNGS):
        """Those of the given rungs for which there are figures."""
        return [rung for rung in rungs if rung.name in self.stored]

    def rung(self, name):
        """(the rung as it is judged here, its references)"""
        rung = next(rung for rung in RUNGS if rung.name == name)
        arrays, cases = dict(self.arrays), []
        for i, case in enumerate(self.stored[name]):
            arguments = {key: case.get(key) for key in ("input_ids", "attention_mask", "token_type_ids")}
            arguments["attention_mask"] = arguments["attention_mask"] or np.ones_like(arguments["input_ids"]).tolist()
            arguments["token_type_ids"] = np.zeros_like(arguments["input_ids"]).tolist()
            for key, value in arguments.items():
                arrays[f"{key}/{i}"] = np.array(value, dtype=np.int64)
                arguments[key] = {"array": f"{key}/{i}"}
            for part, value in case["expected"].items():
                arrays[f"expected/{i}/{part}"] = np.array(value)
            output = {part: f"expected/{i}/{part}" for part in case["expected"]}
            arguments |= {"weights": self.weights, "config": self.config}
            cases.append({"arguments": arguments, "output": output, "start": [start for start, _ in case["slice"]]})
        tolerance = self.stored[name][0]["tolerance"]
        judged = replace(rung, arguments=self.encoder.arguments, padding=None, tolerance=tolerance, twice=False)
        return judged, References({name: {"cases": cases}}, arrays)

    def learner(self, module, name):
        """The module's function, cut to what figures are stored for; nothing where it has no such function."""
        rung = next(rung for rung in RUNGS if rung.name == name)
        answer = sliced(module, rung, self.encoder.name, self.stored[name])
        wrapped = SimpleNamespace(ARRAYS=array_kind(module), __file__=getattr(module, "__file__", None))
        if answer:
            setattr(wrapped, name, answer)
        return wrapped


def run_checkpoint(module, place, rungs=RUNGS, time_limit=TIME_LIMIT):
    """A `Result` for each rung that has figures for the checkpoint at `place`, from functions in this process."""
    level = Checkpoint(place)
    return climb(Here(module, level, "float32", time_limit), level, level.rungs(rungs))


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
