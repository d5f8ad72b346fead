"""A whole module on the ladder: `--module FILE:CLASS`, without a line of glue.

`find.py` finds the class in the learner's file, `build.py` builds it from the ladder's small configuration (`words.py`:
what people call its settings), `weights.py` puts the reference weights in, `record.py` runs it and keeps what each
layer gives. `fitting.py` does all that and finds out how the module wants to be called, and `functions.py` makes of it
the functions which the ladder asks for. `optimizer.py` does the same for an optimizer, `load.py` is the door. All of
it happens in the learner's process; only here PyTorch is needed.
"""
