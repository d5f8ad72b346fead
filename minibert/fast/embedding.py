"""Micro-batches and the word embedding, whose gradient is the largest of all: a row for each word of the vocabulary."""

import contextlib

from torch import nn


@contextlib.contextmanager
def touched_rows(module, wanted=True):
    """Within it, if wanted, an embedding's gradient has only the rows that a batch has touched.

    Almost all of a full gradient is zeros, and every micro-batch would make one, only to be added up. The optimizer
    wants gradients of full shape: `optim.make_dense` gives them to it, once for all micro-batches together.
    """
    embeddings = [part for part in module.modules() if wanted and isinstance(part, nn.Embedding) and not part.sparse]
    try:
        for embedding in embeddings:
            embedding.sparse = True
        yield
    finally:
        for embedding in embeddings:
            embedding.sparse = False
