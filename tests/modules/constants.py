"""A BERT with PyTorch's eps, which is not BERT's, in a constant of the file."""

from plain_bert import Bert, Layer

EPS = 1e-5


class OtherEps(Bert):
    class layer_class(Layer):
        def __init__(self, width, heads, inner):
            self.eps = EPS
            super().__init__(width, heads, inner)
