"""The parity ladder: check your own BERT, rung by rung, and be told which well-known mistake it makes.

`rungs.py` is the contract, `mistakes.py` what people get wrong, `learner.py` imports your file, `references.py` holds
the inputs, `check.py` calls your functions, `judge.py` compares and names the mistake, `results.py` is what comes out,
`checkpoints.py` the second level (real weights), `__main__.py` the command, `adapter.py` minibert itself as a
contestant. None of them but the adapter touches minibert's model code: what they compare with is stored in
`references.json` and `references.safetensors`, computed once with transformers and PyTorch by
`tests/make/make_ladder.py`.
"""
