"""What each training option does, on models and texts that are small enough to check by hand."""

import json
import math
import re

import numpy as np
import pytest
import torch
from test_finetune import arguments, five_classes
from tiny import difference, dropout_config
from torch import nn
from torch.nn import functional

from minibert import finetune, load_tokenizer
from minibert.batch import Examples, Sequence, WindowedExamples
from minibert.data import load_task
from minibert.experiment import freeze
from minibert.frozen import Features, encode
from minibert.head import Classifier, average_windows
from minibert.load import load_encoder, put_head, read_classifier, save_classifier
from minibert.model import Encoder, initialize
from minibert.optim import parameter_groups
from minibert.plumbing.files import UserError, read_json
from minibert.text_classifier import load_classifier
from minibert.tokenizer import window_starts
from minibert.train import Classification, TrainSettings, train, warmup_updates

CPU = torch.device("cpu")


def points(count=64):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, count)
    return Features(torch.tensor(random.normal(size=(count, 4)) + labels[:, None], dtype=torch.float32), labels)


def small_classifier(pooling="mean", head="linear", layers=3):
    torch.manual_seed(0)
    config = dropout_config("bert")
    config = type(config)(**{**vars(config), "num_hidden_layers": layers})
    classifier = Classifier(Encoder(config), ["a", "b"], pooling, head)
    initialize(classifier, 0.3)
    return classifier.eval()


# ---- layer decay


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra"])
def test_each_layer_learns_at_a_factor_of_the_rate_above_it(family):
    classifier = Classifier(Encoder(dropout_config(family)), ["a", "b"], "cls", "mlp")
    groups = parameter_groups(classifier, 1e-3, 0.1, head_lr=5e-3, layer_decay=0.5)
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    rates = {name: rate[id(p)] for name, p in classifier.named_parameters()}
    assert {value for name, value in rates.items() if name.startswith("head.")} == {5e-3}
    assert {value for name, value in rates.items() if ".layers.0." in name} == {1e-3}  # the only layer is the top one
    assert {value for name, value in rates.items() if ".embeddings." in name} == {0.5e-3}
    deep = small_classifier("pooler")
    groups = parameter_groups(deep, 1e-3, 0.1, layer_decay=0.1)
    expected = {"embeddings": 1e-6, "layer 1": 1e-5, "layer 2": 1e-4, "layer 3": 1e-3, "body": 1e-3, "head": 1e-3}
    found = {group["name"].split(",")[0]: group["lr"] for group in groups}
    assert found == pytest.approx(expected)
    assert sum(len(group["params"]) for group in groups) == len(list(deep.parameters()))


def test_without_layer_decay_there_are_the_four_groups_of_before():
    names = [group["name"] for group in parameter_groups(small_classifier(), 1e-3, 0.1)]
    assert sorted(names) == ["body, decay", "body, no decay", "head, decay", "head, no decay"]


# ---- warmup, clipping, smoothing


def test_warmup_below_one_is_a_share_and_from_one_on_a_number_of_updates():
    assert [warmup_updates(w, 200) for w in (0, 0.1, 0.5, 1, 20, 1000)] == [0, 20, 100, 1, 20, 1000]


def rates_and_norms(**settings):
    torch.manual_seed(0)
    model, log = nn.Linear(4, 2), []
    train(model, points(), points(), TrainSettings(epochs=1, batch_size=1, lr=0.1, **settings), CPU, log=log.append,
          quiet=True)  # fmt: skip
    log = [record for record in log if "loss" in record]
    return [record["learning_rate"] for record in log], [record["gradient_norm"] for record in log], model


def test_the_rate_rises_for_as_many_updates_as_warmup_says():
    rates, _, _ = rates_and_norms(warmup=40)
    assert rates[:4] == pytest.approx([0.1 * update / 40 for update in (9, 19, 29, 39)])
    assert rates[4] < 0.1 and rates[-1] < rates[4]


def test_the_logged_rate_is_that_of_the_top_layer():
    assert rates_and_norms(layer_decay=0.5)[0] == rates_and_norms()[0]


def test_a_norm_of_zero_means_no_clipping_and_a_small_one_changes_the_training():
    (_, loose, free), (_, _, clipped), (_, _, wide) = (rates_and_norms(max_norm=n) for n in (0, 1e-3, 1e6))
    assert min(loose) > 1e-3  # so that the smaller limit clips every update
    assert torch.equal(free.weight, wide.weight)
    assert not torch.equal(free.weight, clipped.weight)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_label_smoothing_is_cross_entropy_with_a_share_spread_over_all_classes(share):
    examples, model = points(), nn.Linear(4, 2)
    objective = Classification(examples, examples, TrainSettings(label_smoothing=share), CPU)
    part = list(range(10))
    log_probabilities = model(examples.vectors[:10]).log_softmax(-1)
    targets = functional.one_hot(examples.labels[:10], 2) * (1 - share) + share / 2
    expected = -(targets * log_probabilities).sum(-1).mean()
    assert objective.losses(model, part, part)["loss"].item() == pytest.approx(expected.item(), abs=1e-6)


# ---- dropout of the head, frozen layers


def test_the_heads_dropout_is_what_was_asked_for_and_is_saved(tiny_bert, tmp_path):
    classifier = put_head(load_encoder(tiny_bert), ["a", "b"], dropout=0.35)
    assert classifier.head.dropout.p == 0.35
    assert {layer.feed_forward_dropout.p for layer in classifier.encoder.layers} == {0.0}
    save_classifier(classifier, tmp_path / "saved")
    assert read_classifier(tmp_path / "saved")[0].head.dropout.p == 0.35


@pytest.mark.parametrize(
    "embeddings, layers, learns", [(True, 0, [0, 1, 2]), (True, 2, [2]), (False, 0, ["e", 0, 1, 2])]
)
def test_frozen_parts_keep_their_weights_and_the_others_learn(embeddings, layers, learns):
    classifier = small_classifier()
    freeze(classifier.encoder, embeddings, layers)
    before = {name: p.clone() for name, p in classifier.named_parameters()}
    ids = [np.array([3, *range(5, 9), number, 4]) for number in range(10, 26)]
    examples = Examples([Sequence(text, len(text)) for text in ids], [i % 2 for i in range(16)])
    train(classifier, examples, examples, TrainSettings(epochs=1, batch_size=4, lr=1e-2), CPU, quiet=True)
    changed = set()
    for name, parameter in classifier.named_parameters():
        place = "e" if "embeddings" in name else name.split("layers.")[-1][0] if "layers." in name else "head"
        if not torch.equal(parameter, before[name]):
            changed.add(place)
    assert changed == {*map(str, learns), "head"}
    trainable = dict((part, count) for part, count, _ in classifier.parameter_table())
    assert (trainable["embeddings"] == 0) == embeddings and trainable["head"] > 0


# ---- windows


@pytest.mark.parametrize(
    "length, room, windows, starts",
    [
        (10, 16, 4, [0]),
        (16, 16, 4, [0]),
        (17, 16, 4, [0, 1]),
        (30, 16, 4, [0, 14]),
        (31, 16, 4, [0, 8, 15]),
        (100, 16, 3, [0, 42, 84]),  # too few: evenly, with gaps
        (100, 16, 1, [0]),
    ],
)
def test_windows_stand_evenly_from_the_first_token_to_the_last(length, room, windows, starts):
    assert window_starts(length, room, windows) == starts


def test_enough_windows_show_every_token_and_overlap():
    for length in range(1, 300):
        starts = window_starts(length, 24, 1000)
        assert starts[0] == 0 and starts[-1] == max(0, length - 24)
        assert all(b - a <= 24 - 3 for a, b in zip(starts, starts[1:], strict=False))


def test_a_texts_windows_are_averaged(tiny_bert):
    assert average_windows(torch.tensor([[1.0], [3.0], [5.0], [8.0]]), torch.tensor([2, 1, 1])).tolist() == [
        [2],
        [5],
        [8],
    ]
    tokenizer = load_tokenizer(tiny_bert)
    texts = ["the film was a fine story and it is not dull " * 3, "a good play"]
    examples = tokenizer.examples(texts, None, [0, 1], 12, windows=3)
    assert [len(windows) for windows in examples.windows] == [3, 1]
    classifier = read_classifier(tiny_bert)[0]
    *batch, counts = examples.inputs([0, 1])
    with torch.no_grad():
        together = classifier(*batch, counts)
        each = [classifier(torch.tensor(w.ids[None], dtype=torch.long)) for text in examples.windows for w in text]
    assert difference(together, torch.cat([torch.cat(each[:3]).mean(0, keepdim=True), each[3]])) <= 1e-5


def test_a_short_text_is_the_same_with_and_without_windows(tiny_bert):
    tokenizer = load_tokenizer(tiny_bert)
    (windows,) = tokenizer.encode_windows(["a good play"], 5)
    (sequence,) = tokenizer.encode(["a good play"])
    assert [w.ids.tolist() for w in windows] == [sequence.ids.tolist()]


def test_frozen_features_of_windows_are_averaged_and_cached_apart(tiny_bert):
    tokenizer, encoder = load_tokenizer(tiny_bert), load_encoder(tiny_bert)
    examples = tokenizer.examples(
        ["the film was a fine story and it is not dull", "one play"], None, [0, 1], 8, windows=2
    )
    vectors, encoded = encode(encoder, examples, ["mean"], CPU, quiet=True)
    assert encoded == 2 and vectors["mean"].shape == (2, 24)
    alone = WindowedExamples([[w] for text in examples.windows for w in text], [0] * 3)
    each, encoded = encode(encoder, alone, ["mean"], CPU, quiet=True)
    assert encoded == 3  # the same windows as texts of their own are other features
    assert difference(vectors["mean"], torch.stack([each["mean"][:2].mean(0), each["mean"][2]])) <= 1e-5


# ---- the command


def test_the_options_reach_the_training_and_windows_reach_prediction(tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv", 60)
    finetune.main(arguments(
        data, tiny_bert, tmp_path / "run", "--epochs", "1", "--max-length", "8", "--windows", "3", "--layer-decay",
        "0.9", "--label-smoothing", "0.1", "--dropout", "0.2", "--warmup", "2", "--max-norm", "0.5",
        "--freeze", "embeddings,1",
    ))  # fmt: skip
    settings = read_json(tmp_path / "run" / "settings.json")
    assert (settings["freeze"], settings["windows"], settings["warmup"]) == ([True, 1], 3, 2)
    row = read_json(tmp_path / "run" / "metrics.json")["rows"]["finetuned"]
    saved, extra = read_classifier(tmp_path / "run" / "finetuned")
    assert row["trainable_parameters"] < sum(p.numel() for p in saved.encoder.layers.parameters())
    assert saved.head.dropout.p == 0.2 and extra["windows"] == 3
    assert load_classifier(tmp_path / "run").windows == 3
    facts = read_json(tmp_path / "run" / "metrics.json")["facts"]
    assert any("texts: up to 3 windows of 8 tokens" in fact for fact in facts)
    assert any("tokens on average, in " in fact and fact.endswith(" windows") for fact in facts)
    rates = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(math.isfinite(record["loss"]) for record in rates if "loss" in record)


@pytest.mark.parametrize("name", ["frozen", "finetuned"])
def test_a_saved_run_with_windows_predicts_what_its_report_says(name, tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv", 60)
    mode = {"frozen": "frozen", "finetuned": "finetune"}[name]
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--max-length", "7", "--windows", "3", "--mode", mode,
                            "--epochs", "1", "--head", "mlp"))  # fmt: skip
    kept = read_json(tmp_path / "run" / "work" / f"{name}-0.json")
    texts = load_task(str(data)).test.texts
    again = load_classifier(tmp_path / "run").probabilities(texts)
    assert np.abs(again - np.array(kept.get("content", kept)["probabilities"])).max() < 1e-5


def test_windows_of_pairs_are_refused(tiny_bert, tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair,label\n" + "".join(f"a {i},b {i},{i % 2}\n" for i in range(30)))
    with pytest.raises(UserError, match="--windows 2: windows are made of single texts"):
        finetune.main(arguments(path, tiny_bert, tmp_path / "run", "--windows", "2"))


def test_windows_longer_than_the_model_are_refused(tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv", 60)
    with pytest.raises(UserError, match="--max-length windows of 65 tokens: the model has 64 positions"):
        finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--windows", "2", "--max-length", "65"))


# ---- all labels


def test_refit_learns_from_validation_texts_too_and_keeps_the_last_epoch(tiny_bert, tmp_path, capsys):
    data = five_classes(tmp_path / "stars.csv", 60)
    run = tmp_path / "run"
    finetune.main(arguments(data, tiny_bert, run, "--refit", "--epochs", "2", "--seeds", "3,4"))
    task, tokenizer = load_task(str(data)), load_tokenizer(tiny_bert)
    texts, labels = (getattr(task.train, name) + getattr(task.validation, name) for name in ("texts", "labels"))
    examples = tokenizer.examples(texts, None, labels, 24)
    settings = TrainSettings(epochs=2, batch_size=16, lr=3e-3, head_lr=1e-2, seed=3)
    expected = put_head(load_encoder(str(tiny_bert)), task.train.label_names, seed=3)

    class LastEpoch(Classification):
        def validate(self, model):
            return super().validate(model)._replace(accuracy=None)

    objective = LastEpoch(examples, examples, settings, CPU)
    train(expected, examples, examples, settings, CPU, quiet=True, objective=objective)
    kept, _ = read_classifier(run / "finetuned")  # the first seed's: nothing is left to choose by
    assert all(torch.equal(tensor, kept.state_dict()[name]) for name, tensor in expected.state_dict().items())

    printed = capsys.readouterr().out
    count = len(task.train) + len(task.validation)
    assert f"fine-tuning learns from train and validation, {count} texts, and keeps its last epoch" in printed
    metrics = read_json(run / "metrics.json")
    checks = {check["name"]: check for check in metrics["checks"]}
    assert checks["length of training"]["status"] == "left out"
    assert {"frozen", "finetuned", "ensemble"} <= set(metrics["rows"]) and metrics["best"] == "finetuned"
    assert metrics["calibration"]["finetuned"]["temperature"] is None
    assert metrics["calibration"]["frozen"]["temperature"] is not None
    assert "Confusion matrix of fine-tuned, which learned from the validation texts, too" in printed
    kept = re.search(r"Predictions and weights kept: (.*?)\.", printed.replace("\n", " "))[1]
    assert kept.startswith("those of the seed best on validation (frozen seed")
    assert kept.endswith("and those of the first fine-tuned one (seed 3)")
    assert "These weights are those of seed 3, the first: " in (run / "finetuned" / "README.md").read_text("utf-8")
    assert "Gradient norm by update" in (run / "report.html").read_text(encoding="utf-8")


def test_refit_counts_its_updates(tiny_bert, tmp_path, capsys):
    data = five_classes(tmp_path / "stars.csv", 60)
    for more in ([], ["--refit"]):
        finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--dry-run", "--batch-size", "1", *more))
    task = load_task(str(data))
    first, second = (int(line.split()[2]) for line in capsys.readouterr().out.splitlines() if "dry run:" in line)
    assert second - first == 6 * len(task.validation)


@pytest.mark.parametrize("more", [("--mode", "frozen"), ("--sweep", "lr=1e-3,1e-4")])
def test_refit_where_something_has_to_be_chosen_is_refused(more, tiny_bert, tmp_path):
    with pytest.raises(UserError, match="--refit: "):
        finetune.main(arguments("reviews", tiny_bert, tmp_path / "run", "--refit", *more))
