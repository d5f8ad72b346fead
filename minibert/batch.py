"""Batches: how encoded texts become the tensors that the encoder takes, and which texts share one.

Padding is work thrown away, so texts of similar length go together. Of 16 film reviews drawn at random, one fills 512
tokens nine times out of ten, and all the others are padded to it. Bucketing sorts within a random pool of batches
instead: each epoch is still shuffled, and little is padded. And batches come in few lengths, because on a CPU PyTorch's
library compiles its matrix products anew for each shape, and keeps them all.
"""

from typing import NamedTuple

import numpy as np
import torch

POOL = 50  # batches sorted together: large enough to pad little, small enough to stay random


class Sequence(NamedTuple):
    """One encoded text or pair."""

    ids: np.ndarray  # [T] int32, special tokens included
    first_length: int  # tokens of type 0; the rest, a pair's second text, are of type 1
    whole_length: int = 0  # tokens before the text was cut to a limit


class Batch(NamedTuple):
    """What the encoder takes: three int64 tensors [B, T], padded to one length, see `padded_length`."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor  # 1 = a token, 0 = padding
    token_type_ids: torch.Tensor

    def to(self, device):
        return Batch(*(tensor.to(device) for tensor in self))


def collate(sequences, pad_id=0, length=None):
    """Pad a list of B sequences to `length` tokens (None: to the longest): a `Batch` of [B, T]."""
    length = length or max(len(sequence.ids) for sequence in sequences)
    input_ids = np.full((len(sequences), length), pad_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    token_type_ids = np.zeros_like(input_ids)
    for row, (ids, first_length, *_) in enumerate(sequences):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
        token_type_ids[row, first_length : len(ids)] = 1
    return Batch(torch.from_numpy(input_ids), torch.from_numpy(attention_mask), torch.from_numpy(token_type_ids))


class Examples:
    """Encoded texts with their labels, as the training loop takes them: `lengths` [N], `labels` [N], `inputs`."""

    def __init__(self, sequences, labels, pad_id=0):
        self.sequences = sequences
        self.labels = torch.tensor(labels)
        self.lengths = np.array([len(sequence.ids) for sequence in sequences])
        self.pad_id = pad_id

    def __len__(self):
        return len(self.sequences)

    def inputs(self, indices):
        """The `Batch` of these texts, padded to a `padded_length`."""
        length = padded_length(self.lengths[indices].max(), self.lengths.max())
        return collate([self.sequences[i] for i in indices], self.pad_id, length)


class WindowedExamples:
    """The same for long texts, each as one or more windows: a `Sequence` each.

    `inputs` has one tensor more, which says how many of the rows, in order, are each text's windows. A text's length is
    that of all its windows together, so texts of as many windows share a batch.
    """

    def __init__(self, windows, labels, pad_id=0):
        self.windows = windows  # a list of `Sequence`s for each text
        self.labels = torch.tensor(labels)
        self.lengths = np.array([sum(len(sequence.ids) for sequence in text) for text in windows])
        self.longest = max(len(sequence.ids) for text in windows for sequence in text)
        self.pad_id = pad_id

    def __len__(self):
        return len(self.windows)

    @property
    def sequences(self):
        """A `Sequence` for each text, its windows one after another."""
        joined = (np.concatenate([sequence.ids for sequence in text]) for text in self.windows)
        return [Sequence(ids, len(ids), text[0].whole_length) for ids, text in zip(joined, self.windows, strict=True)]

    def inputs(self, indices):
        """(input_ids, attention_mask, token_type_ids: [W, T] for W windows, number of windows: [B])."""
        sequences = [sequence for i in indices for sequence in self.windows[i]]
        length = padded_length(max(len(sequence.ids) for sequence in sequences), self.longest)
        counts = torch.tensor([len(self.windows[i]) for i in indices])
        return (*collate(sequences, self.pad_id, length), counts)


def padded_length(longest, limit):
    """Tokens in every row of a batch whose longest text has `longest`, in a set whose longest text has `limit`."""
    multiple = 16 if longest > 64 else 2  # of short texts 8 would make a tenth more work, and there are few lengths
    return min(-(-int(longest) // multiple) * multiple, int(limit))


def bucketed_batches(lengths, batch_size, seed, epoch):
    """Index batches for one training epoch, a list of lists; every index once, similar lengths together.

    The order depends on (seed, epoch) alone, so a resumed run finds its place by counting. One batch may be
    short; it stands anywhere.
    """
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), POOL * batch_size):
        pool = order[start : start + POOL * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches += [pool[i : i + batch_size].tolist() for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in random.permutation(len(batches))]


def sorted_batches(lengths, tokens):
    """Index batches for evaluation, as many texts in each as fit into so many `tokens`, padding included.

    Longest first: the least padding, and a lack of memory shows at once. A text longer than `tokens` goes alone.
    """
    lengths = np.asarray(lengths)
    order = np.argsort(-lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        longest = padded_length(lengths[order[start]], lengths[order[0]])
        count = max(1, tokens // max(1, longest))
        batches.append(order[start : start + count].tolist())
        start += count
    return batches


def padding_fraction(lengths, batches):
    """The share of computed positions that is padding, in [0, 1]."""
    lengths = np.asarray(lengths)
    limit = lengths.max(initial=0)
    real = sum(int(lengths[batch].sum()) for batch in batches)
    computed = sum(len(batch) * padded_length(lengths[batch].max(), limit) for batch in batches)
    return 1 - real / computed if computed else 0.0
