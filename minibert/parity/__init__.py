"""The parity ladder: check your own BERT, rung by rung, and be told which well-known mistake it makes.

What is asked: `rungs.py` is the contract, `contract.py`, `hints.py` and `tiny.py` put it in words, and `levels.py` says
where its cases come from (the stored ones, or a real checkpoint, `checkpoints.py`).

What happens to your file: `__main__.py` is the command, `process.py` and `child.py` give the file a process of its own,
`learner.py` imports it, `call.py` calls its functions, `listening.py` hears where it drops, `module/` needs no glue.

What becomes of the answer: `judge.py` compares, `placement.py` judges dropout, `diagnosis.py` finds out which known
mistakes lead to it. `mistakes.py` has their names and remedies, `conventions.py` what is different and no mistake, and
`known_model.py`, `known_optimizer.py`, `known_metrics.py` make them. `report.py` shows the results.

None of this touches minibert's model code, but for `adapter.py`, which is minibert itself as a contestant. Right
answers are stored in `references.json` and `references.safetensors`, computed once by transformers, PyTorch and
scikit-learn (`tests/make/make_ladder.py`).
"""
