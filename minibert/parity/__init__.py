"""The parity ladder: check your own BERT, rung by rung, and be told which well-known mistake it makes.

The way of a climb:

    rungs.py          the contract; contract.py explains it, hints.py helps along
    learner.py        imports your file; process.py and child.py do that in a process of its own; module/ takes a class
    levels.py         what is asked: stored cases (references.py), tiny.py, checkpoints.py, conversion.py; opening.py
                      opens your file
    call.py           calls your functions; listening.py hears where they drop; values.py is what they may return
    verdict.py        judges the reply: judge.py compares, placement.py places dropout, diagnosis.py finds the mistake
                      by making each of candidates.py (known_*.py); mistakes.py and conventions.py say it in words
    check.py          the climb itself; results.py is what comes of it, report.py shows it, watch.py does it again
    __main__.py       the command

None of them but `adapter.py`, minibert itself as a contestant, touches minibert's model code: what they compare with is
stored in `references.json` and `references.safetensors`, computed once with transformers and PyTorch by
`tests/make/make_ladder.py` (and `zero_types.*` by `make_modules.py`).
"""
