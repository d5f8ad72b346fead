"""RoBERTa's family on its published checkpoints: figures that transformers' own tests hold against fairseq's.

They need the Hub and some gigabytes, so they are slow tests, and skip where the Hub cannot be reached. BERT's and
DistilBERT's published figures are the ladder's: parity/checkpoints.json.
"""

import pytest
import torch

from minibert import load_encoder
from minibert.load import read_classifier
from minibert.plumbing.checkpoint import find_checkpoint
from minibert.plumbing.files import UserError

WORLD = [[0, 31414, 232, 328, 740, 1140, 12695, 69, 46078, 1588, 2]]
#   checkpoint, ids, which part of the output, figures, tolerance
ENCODERS = (
    (
        "FacebookAI/roberta-base", WORLD, (slice(None), slice(3), slice(3)),
        [[[-0.0231, 0.0782, 0.0074], [-0.1854, 0.0540, -0.0175], [0.0548, 0.0799, 0.1687]]], 1e-4,
    ),
    (
        "almanach/camembert-base", [[5, 121, 11, 660, 16, 730, 25543, 110, 83, 6]], (slice(None), slice(3), slice(3)),
        [[[-0.0254, 0.0235, 0.1027], [0.0606, -0.1811, -0.0418], [-0.1561, -0.1127, 0.2687]]], 1e-4,
    ),
    (
        "FacebookAI/xlm-roberta-base", [[0, 581, 10269, 83, 99942, 136, 60742, 23, 70, 80583, 18276, 2]],
        (slice(None), slice(None), -1),
        [[-0.0101, 0.1218, -0.0803, 0.0801, 0.1327, 0.0776, -0.1215, 0.2383, 0.3338, 0.3106, 0.0300, 0.0252]], 1e-3,
    ),
)  # fmt: skip


def fetched(name):
    try:
        return find_checkpoint(name)
    except UserError as error:
        pytest.skip(str(error))


@pytest.mark.slow
@pytest.mark.parametrize("name, ids, part, figures, tolerance", ENCODERS, ids=[row[0] for row in ENCODERS])
def test_a_published_encoder_has_the_published_figures(name, ids, part, figures, tolerance):
    encoder = load_encoder(fetched(name))
    with torch.no_grad():
        output = encoder(torch.tensor(ids))
        padded = encoder(torch.tensor([[*row, 1, 1] for row in ids]), torch.tensor([[*[1] * len(ids[0]), 0, 0]]))
    assert (output[part] - torch.tensor(figures)).abs().max() <= tolerance
    assert (padded[:, : len(ids[0])] - output).abs().max() <= 1e-4


@pytest.mark.slow
def test_a_published_classifier_has_the_published_logits():
    classifier, _ = read_classifier(fetched("FacebookAI/roberta-large-mnli"))
    with torch.no_grad():
        logits = classifier(torch.tensor(WORLD))
    assert (logits - torch.tensor([[-0.9469, 0.3913, 0.5118]])).abs().max() <= 1e-4
