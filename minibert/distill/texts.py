"""What teacher and student read: texts without their labels, cut into sequences, a few of them held out."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from ..batch import Examples, Sequence
from ..data import load_task
from ..data.tables import numbered_lines
from ..plumbing.files import UserError
from ..tokenizer import CHUNK

HELD_OUT_EVERY = 100  # of the sequences, one in this many is never trained on
WATCHED_SEQUENCES = 512  # at most so many sequences show which neurons are busiest


def read_texts(text, data=None, limit=None, columns=None):
    """(texts, second texts or None): the lines of a .txt file, or a task's training and validation texts.

    Labels are there to leave the task's test texts out; they are not learned. Raises UserError.
    """
    if Path(text).suffix == ".txt":
        if data:
            raise UserError(f"--data goes with a task; {text} is read itself")
        texts = [line for _, line in numbered_lines(text)]
        if not texts:
            raise UserError(f"{text}: is empty; a .txt file holds one text per line")
        return texts[:limit], None
    task = load_task(text, data, limit, columns=columns, sample=True)  # any texts will do, so a part of a data set will
    pairs = None if task.train.pairs is None else task.train.pairs + task.validation.pairs
    return task.train.texts + task.validation.texts, pairs


def cut_up(tokenizer, texts, max_length):
    """`Sequence`s of at most max_length tokens that together hold all of every text, in order."""
    sequences = []
    for start in range(0, len(texts), CHUNK):
        for ids in tokenizer.pieces(texts[start : start + CHUNK]):
            for first in range(0, max(1, len(ids)), max_length - 2):
                part = [tokenizer.cls_id, *ids[first : first + max_length - 2], tokenizer.sep_id]
                sequences.append(Sequence(np.array(part, dtype=np.int32), len(part)))
    return sequences


def hold_out(sequences, pad_id):
    """(`Examples` to train on, `Examples` held out): every hundredth sequence is held out, the first among them."""
    held_out = sequences[::HELD_OUT_EVERY]
    rest = [sequence for i, sequence in enumerate(sequences) if i % HELD_OUT_EVERY]
    return tuple(Examples(part, [0] * len(part), pad_id) for part in (rest, held_out))  # the labels mean nothing


def watched_batches(examples, kept, quiet):
    """Some of the sequences, evenly spread and one at a time, in the teacher's ids.

    kept: [V] the teacher's ids of the student's vocabulary, a tensor. Yields (input_ids, attention_mask,
    token_type_ids), [1, T] each.
    """
    some = range(0, len(examples), -(-len(examples) // WATCHED_SEQUENCES))
    for i in tqdm(some, desc="watching neurons", unit=" texts", leave=False, disable=quiet or None):
        input_ids, attention_mask, token_type_ids = examples.inputs([i])
        yield kept[input_ids], attention_mask, token_type_ids
