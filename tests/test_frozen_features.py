"""How far a frozen encoder goes: the vectors, the mixture, and that test texts wait for --test."""

import numpy as np
import pytest
import torch
from programs import load_program
from test_finetune import five_classes

import minibert
from minibert.batch import Examples, Sequence, WindowedExamples
from minibert.metrics import softmax

CPU = torch.device("cpu")
IDS = [[2, 10, 11, 12, 3], [2, 13, 3]]


@pytest.fixture
def program():
    return load_program("frozen_features.py")


@pytest.fixture
def encoder(tiny_bert):
    return minibert.load_encoder(str(tiny_bert)).eval()


def sequence(ids):
    return Sequence(np.array(ids, dtype=np.int32), len(ids))


def test_each_state_gives_the_mean_the_maximum_and_the_first_token_of_the_text_alone(program, encoder):
    examples = Examples([sequence(ids) for ids in IDS], [0, 1])
    found = program.encode_states(encoder, examples, CPU, "fp32", "train")  # the second text is padded
    for ids, of_text in zip(IDS, found, strict=True):
        with torch.no_grad():
            states = encoder(torch.tensor([ids]), return_all=True)
        assert len(of_text) == len(states) == encoder.config.num_hidden_layers + 1
        for vectors, hidden in zip(of_text, states, strict=True):
            expected = torch.stack([hidden[0].mean(0), hidden[0].amax(0), hidden[0, 0]])
            assert (vectors - expected).abs().max() < 1e-5


def test_of_windows_it_takes_the_mean(program, encoder):
    single = program.encode_states(encoder, Examples([sequence(ids) for ids in IDS], [0, 1]), CPU, "fp32", "train")
    windowed = WindowedExamples([[sequence(ids) for ids in IDS]], [0])
    (both,) = program.encode_states(encoder, windowed, CPU, "fp32", "train")
    assert (both - single.mean(0)).abs().max() < 1e-5


def test_what_was_encoded_once_is_read_again(program, encoder, monkeypatch):
    examples = Examples([sequence(ids) for ids in IDS], [0, 1])
    first = program.encode_states(encoder, examples, CPU, "fp32", "train")
    monkeypatch.setattr("minibert.frozen.compute_all", None)
    assert torch.equal(program.encode_states(encoder, examples, CPU, "fp32", "train"), first)


def test_a_mixture_finds_the_state_that_knows(program):
    generator = torch.Generator().manual_seed(0)
    labels = {part: torch.randint(2, (2000,), generator=generator) for part in ("train", "validation")}
    vectors = {part: torch.randn(2000, 4, 6, generator=generator) for part in labels}
    for part, of_part in vectors.items():
        of_part[:, 2, 0] += 3 * labels[part]
    row = program.fit_mixture(vectors, labels, 2, seed=0)
    shares = [float(share) for share in row["setting"].split()[1:]]
    assert max(shares) == shares[2] > 0.5 and sum(shares) == pytest.approx(1, abs=0.03)
    assert row["accuracy"] > 0.85
    probabilities = softmax(row["head"](vectors["validation"]).numpy())
    assert (probabilities.argmax(1) == labels["validation"].numpy()).mean() == row["accuracy"]


def test_each_way_reads_what_its_name_says(program):
    vectors = torch.arange(2 * 4 * 3 * 5.0).view(2, 4, 3, 5)  # 2 texts, 4 states, 3 statistics, width 5
    read = {name: function(vectors) for name, function in program.ways(4)}
    assert torch.equal(read["embeddings, mean"], vectors[:, 0, 0])
    assert torch.equal(read["layer 2, mean"], vectors[:, 2, 0])
    assert torch.equal(read["layer 3, max"], vectors[:, 3, 1]) and torch.equal(read["layer 3, cls"], vectors[:, 3, 2])
    shapes = {name: tuple(vectors.shape[1:]) for name, vectors in read.items()}
    assert shapes["layer 3, mean + max + cls"] == (15,) and shapes["all layers side by side, mean + max + cls"] == (60,)
    assert shapes["mixture of layers, mean"] == (4, 5) and shapes["mixture of layers, mean + max + cls"] == (4, 15)


@pytest.mark.parametrize("test", [False, True], ids=["", "--test"])
def test_it_chooses_on_validation_and_reads_test_texts_only_when_asked(
    program, tmp_path, tiny_bert, capsys, monkeypatch, test
):
    data, encoded = five_classes(tmp_path / "stars.csv", 60), []
    real = program.encode_states
    monkeypatch.setattr(program, "encode_states", lambda *args: encoded.append(args[-1]) or real(*args))
    program.main([str(data), "--model", str(tiny_bert), "--max-length", "24", *["--test"] * test])
    lines = capsys.readouterr().out.splitlines()
    best = max(float(line[:10]) for line in lines if line[:10].strip().replace(".", "").isdecimal())
    (chosen,) = (line for line in lines if line.startswith("best on validation: "))
    assert float(chosen.split()[-1]) == best
    assert encoded == ["train", "validation", *["test"] * test]
    assert any(line.startswith("on test: accuracy") for line in lines) == test
