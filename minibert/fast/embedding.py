"""TODO"""

import contextlib

from torch import nn


@contextlib.contextmanager
def touched_rows(model, wanted):
    """Within it, if wanted, an embedding's gradient has only the rows that a batch has touched, until `complete`.

    A gradient of all rows, mostly zeros, is the largest of all (94 MB for BERT's vocabulary). Micro-batches would
    make one each, only to be added up.
    """
    embeddings = [part for part in model.modules() if wanted and isinstance(part, nn.Embedding) and not part.sparse]
    try:
        for embedding in embeddings:
            embedding.sparse = True
        yield
    finally:
        for embedding in embeddings:
            embedding.sparse = False
