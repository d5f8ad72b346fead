"""The comparison of whole trainings with transformers' Trainer: that it is fair, that its intervals are right, and that
it runs."""

import numpy as np
import pytest
import torch
from programs import load_program
from test_finetune import five_classes

from minibert.batch import bucketed_batches
from minibert.data import load_task
from minibert.load import load_encoder, load_tokenizer, put_head
from minibert.train import TrainSettings, Unvalidated, train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def program():
    return load_program("beside_the_trainer.py")


@pytest.fixture
def examples(tiny_bert, tmp_path):
    """(task, {part: examples}) of a small task of five classes."""
    task = load_task(str(five_classes(tmp_path / "stars.csv")))
    tokenizer = load_tokenizer(str(tiny_bert))
    return task, {
        part: tokenizer.examples(getattr(task, part).texts, None, getattr(task, part).labels, 24)
        for part in ("train", "validation", "test")
    }


def test_the_difference_of_two_means_has_welchs_interval(program):
    # Two spreads of 1 over 3 values each: standard error sqrt(2/3), 4 degrees of freedom, t = 2.776.
    mean, half = program.difference([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
    assert mean == -1 and half == pytest.approx(2.776 * (2 / 3) ** 0.5)
    # A side that does not move lends no certainty to the other: 2 degrees of freedom are left.
    mean, half = program.difference([1.0, 2.0, 3.0], [2.0, 2.0, 2.0])
    assert mean == 0 and half == pytest.approx(4.303 * (1 / 3) ** 0.5)


def test_batches_at_random_do_not_know_lengths_and_hold_every_text_once(program, examples):
    _, parts = examples
    lengths = np.arange(len(parts["train"])) % 7 + 3
    parts["train"].lengths = lengths
    at_random = program.AtRandom(parts["train"])
    batches = bucketed_batches(at_random.lengths, 8, 0, 0)
    assert sorted(sum(batches, [])) == list(range(len(lengths)))
    spread = np.mean([np.ptp(lengths[batch]) for batch in batches if len(batch) == 8])
    sorted_spread = np.mean([np.ptp(lengths[batch]) for batch in bucketed_batches(lengths, 8, 0, 0) if len(batch) == 8])
    assert sorted_spread < 2 < 4 < spread


def test_the_last_epoch_is_kept_whatever_validation_says(program, examples, tiny_bert):
    task, parts = examples

    def trained(objective, epochs):
        classifier = put_head(load_encoder(str(tiny_bert)), task.train.label_names)
        settings = TrainSettings(epochs=epochs, batch_size=8, lr=1e-3, precision="fp32")
        one = objective and objective(parts["train"], parts["validation"], settings, CPU)
        progress = train(classifier, parts["train"], parts["validation"], settings, CPU, quiet=True, objective=one)
        return progress, classifier.head.state_dict()

    class NeverBetter(Unvalidated):
        """The first epoch is the best of all."""

        accuracy = 1.0

        def validate(self, model):
            self.accuracy -= 0.1
            return super().validate(model)._replace(accuracy=self.accuracy)

    _, last = trained(Unvalidated, 2)
    _, first = trained(NeverBetter, 2)
    assert any((last[name] != first[name]).any() for name in last), "the last epoch's weights are not the first's"


def test_both_sides_train_on_the_same_texts_and_are_compared(program, tiny_bert, tmp_path, capsys):
    pytest.importorskip("transformers", reason="the extra [reference] is not installed")
    data = five_classes(tmp_path / "stars.csv", 60)
    program.main([str(data), "--model", str(tiny_bert), "--seeds", "2", "--epochs", "1", "--max-length", "24",
                  "--keep", "best"])  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    table = {line[:22].strip(): line for line in lines if " ± " in line}
    assert set(table) == {"validation accuracy", "validation AUROC", "test accuracy", "test AUROC", "seconds"}
    assert all(" to " in line for name, line in table.items() if name != "seconds")
