"""The command end to end, on models of a few thousand parameters and tables of a few dozen rows.

What a run leaves behind, what it prints, what a second run does not do again, and how several seeds are told.
"""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from minibert import experiment, finetune, load, load_tokenizer, metrics
from minibert.batch import collate
from minibert.load import read_classifier
from minibert.model import Encoder
from minibert.plumbing.files import UserError, read_json
from minibert.report import tables, words
from minibert.train import train

STARS = ["awful", "poor", "so-so", "good", "great"]
SCALARS = [
    "accuracy", "precision_macro", "recall_macro", "f1_macro", "precision_weighted", "recall_weighted", "f1_weighted",
    "auroc", "mcc", "log_loss",
]  # fmt: skip
FIELDS = {*SCALARS, "confusion", "per_class", "seconds", "trainable_parameters"}
ROWS = ["majority", "bag-of-words", "frozen", "finetuned"]


def five_classes(path, count=100):
    """Reviews whose second word tells the number of stars."""
    words = ["dull", "bad", "play", "good", "fine"]  # each a whole token of the tiny models
    rows = [["text", "label"]]
    rows += [[f"the {words[i % 5]} film, number {i}", STARS[i % 5]] for i in range(count)]
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def two_classes(path, per_class=(60, 4)):
    lines = ["text,label"]
    lines += [f"the {name} text number {i},{name}" for name, count in zip("ab", per_class, strict=True)
              for i in range(count)]  # fmt: skip
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def arguments(data, model, output, *more):
    return [
        str(data), "--model", str(model), "--output", str(output), "--max-length", "24", "--batch-size", "16",
        "--epochs", "6", "--lr", "3e-3", "--head-lr", "1e-2", "--device", "cpu", "--precision", "fp32", *more,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """What the tests of one finished run read: the data, the model's folder, the run and its printed words."""
    return {"folder": tmp_path_factory.mktemp("finished")}


@pytest.fixture
def finished(shared, tiny_distilbert, monkeypatch, capsys):
    """One complete run on five classes, made by the first test that asks for it."""
    if "run" not in shared:
        folder = shared["folder"]
        model = tiny_distilbert.rename(folder / "model")
        monkeypatch.setenv("MINIBERT_CACHE", str(folder / "cache"))
        capsys.readouterr()
        finetune.main(arguments(five_classes(folder / "stars.csv"), model, folder / "run"))
        shared |= {"run": folder / "run", "model": model, "csv": folder / "stars.csv"}
        shared["printed"] = capsys.readouterr().out
    monkeypatch.setenv("MINIBERT_CACHE", str(shared["folder"] / "cache"))
    return shared


def contents(folder):
    return {str(path): path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


@pytest.fixture
def encoded(monkeypatch):
    """How many texts pass through any encoder: a list to sum."""
    counts, forward = [], Encoder.forward

    def counting(self, input_ids, *rest, **more):
        counts.append(len(input_ids))
        return forward(self, input_ids, *rest, **more)

    monkeypatch.setattr(Encoder, "forward", counting)
    return counts


# What a run leaves


def test_a_run_leaves_everything_that_was_promised(finished):
    names = {path.name for path in finished["run"].iterdir()}
    assert names >= {"settings.json", "metrics.json", "log.jsonl", "predictions.csv", "report.md", "report.html"}
    for part in ("frozen", "finetuned"):
        held = {path.name for path in (finished["run"] / part).iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"} <= held


def test_nothing_unfinished_stays(finished):
    assert not [path for path in finished["run"].rglob("*") if path.suffix == ".part"]
    assert not list(finished["run"].rglob("finetuned-0.safetensors"))  # the training state: of use to --resume only


def test_settings_hold_every_flag_that_decides_a_number(finished):
    settings = read_json(finished["run"] / "settings.json")
    assert settings["task"] == str(finished["csv"])
    assert settings["model"] == str(finished["model"])
    assert (settings["epochs"], settings["lr"], settings["max_length"], settings["seeds"]) == (6, 3e-3, 24, [0])
    assert (settings["warmup"], settings["weight_decay"]) == (0.1, 0.01)  # defaults, too


def test_metrics_hold_four_rows_with_every_promised_field(finished):
    values = read_json(finished["run"] / "metrics.json")
    assert set(values) >= {"task", "model", "seeds", "rows"}
    assert (values["task"], values["model"], values["seeds"]) == ("stars", str(finished["model"]), [0])
    assert list(values["rows"]) == ROWS
    for row in values["rows"].values():
        assert set(row) >= FIELDS
        assert set(row["per_class"]) == set(STARS)
        assert np.sum(row["confusion"]) == 20
        assert row["accuracy"] == np.trace(row["confusion"]) / 20


def test_the_encoder_is_trained_in_one_row_only(finished):
    rows = read_json(finished["run"] / "metrics.json")["rows"]
    encoder = sum(p.numel() for p in read_classifier(finished["run"] / "finetuned")[0].encoder.parameters())
    assert rows["majority"]["trainable_parameters"] == 0
    assert 0 < rows["frozen"]["trainable_parameters"] < encoder < rows["finetuned"]["trainable_parameters"]


def test_the_majority_row_is_what_chance_gives(finished):
    row = read_json(finished["run"] / "metrics.json")["rows"]["majority"]
    assert (row["accuracy"], row["auroc"], row["mcc"]) == (0.2, 0.5, 0.0)


def test_five_classes_are_learned(finished):
    rows = read_json(finished["run"] / "metrics.json")["rows"]
    for name in ("bag-of-words", "finetuned"):
        assert rows[name]["accuracy"] > 0.5, name  # chance is 0.2


def test_the_log_has_every_epoch_and_numbers_only(finished):
    lines = [json.loads(line) for line in (finished["run"] / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    epochs = [line["epoch"] for line in lines if "validation_accuracy" in line]
    assert epochs == [1, 2, 3, 4, 5, 6]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses and np.isfinite(losses).all()
    assert {line["seed"] for line in lines} == {0}
    assert max(line["update"] for line in lines) == 6 * 5  # 65 training texts, 16 at a time


def read_predictions(run):
    with open(run / "predictions.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_predictions_name_each_test_text_and_their_scores_add_up(finished):
    rows = read_predictions(finished["run"])
    texts = finished["csv"].read_text(encoding="utf-8").splitlines()
    assert len({row["id"] for row in rows}) == len(rows) == 20
    for row in rows:
        line = texts[int(row["id"].removeprefix("line ")) - 1]
        assert line.endswith(f",{row['gold']}")
        for name in ("frozen", "finetuned"):
            scores = {label: float(row[f"{name}_score_{label}"]) for label in STARS}
            assert sum(scores.values()) == pytest.approx(1, abs=1e-5)
            assert row[name] == max(scores, key=scores.get)


@pytest.mark.parametrize("name", ["frozen", "finetuned"])
def test_the_metrics_can_be_computed_again_from_the_predictions(name, finished):
    rows = read_predictions(finished["run"])
    stored = read_json(finished["run"] / "metrics.json")
    labels = sorted(STARS)
    gold = [labels.index(row["gold"]) for row in rows]
    predicted = [labels.index(row[name]) for row in rows]
    scores = np.array([[float(row[f"{name}_score_{label}"]) for label in labels] for row in rows])
    row = stored["rows"][name]
    assert row["confusion"] == metrics.confusion_matrix(gold, predicted, 5).tolist()
    assert row["auroc"] == pytest.approx(metrics.roc_auc(gold, scores), abs=1e-3)  # the scores are rounded
    assert row["log_loss"] == pytest.approx(metrics.log_loss(gold, scores), abs=1e-3)


@pytest.mark.parametrize("name", ["frozen", "finetuned"])
def test_the_saved_classifier_gives_the_stored_predictions(name, finished):
    folder = finished["run"] / name
    classifier, extra = read_classifier(folder)
    assert sorted(classifier.label_names) == sorted(STARS)
    assert (extra["max_length"], extra["truncation"]) == (24, "head")
    tokenizer = load_tokenizer(folder)
    texts = finished["csv"].read_text(encoding="utf-8").splitlines()
    rows = read_predictions(finished["run"])
    with open(finished["csv"], encoding="utf-8", newline="") as file:
        texts = [row["text"] for row in csv.DictReader(file)]
    chosen = [texts[int(row["id"].removeprefix("line ")) - 2] for row in rows]
    batch = collate(tokenizer.encode(chosen, max_length=24), tokenizer.pad_id)
    with torch.inference_mode():
        scores = classifier(*batch).softmax(-1)
    for row, values in zip(rows, scores, strict=True):
        for label, value in zip(classifier.label_names, values.tolist(), strict=True):
            assert float(row[f"{name}_score_{label}"]) == pytest.approx(value, abs=1e-4)


def test_the_page_shows_the_words_that_decided_in_the_surest_mistakes(finished):
    cases = read_json(finished["run"] / "metrics.json")["errors"]["losses"]
    assert cases and all(case["predicted"] != case["gold"] for case in cases)
    for case in cases:
        assert "".join(word for word, _ in case["words"]).strip() == case["text"]  # short texts, read whole
    assert "color-mix" in (finished["run"] / "report.html").read_text(encoding="utf-8")


def test_the_report_holds_the_table_the_command_and_the_splits(finished):
    text = (finished["run"] / "report.md").read_text(encoding="utf-8")
    for word in ("majority", "bag-of-words", "frozen", "fine-tuned", "AUROC", "20 test", "--epochs 6", "one seed"):
        assert word in text


# What a run prints


def test_the_baselines_stand_beside_the_experiments(finished):
    printed = finished["printed"]
    table = printed[printed.index("test set") :]
    assert [line.split()[0] for line in table.splitlines()[2:6]] == ["majority", "bag-of-words", "frozen", "fine-tuned"]


def test_one_seed_is_called_one_seed(finished):
    assert "one seed (0)" in finished["printed"]


def test_the_difference_comes_with_an_interval(finished):
    assert re.search(r"fine-tuned minus frozen: .* 95% interval .* to ", finished["printed"])


def test_each_text_is_encoded_once_and_the_number_is_printed(finished):
    assert "encoded 100 of 100 texts" in finished["printed"]


def test_quiet_prints_the_result_only(finished, tmp_path, capsys):
    finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "run", "--mode", "frozen", "--quiet"))
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out.strip().startswith("test set")
    assert "encoded" not in captured.out and "splits" not in captured.out
    assert "bag-of-words" in captured.out


# What is not done again


def test_a_second_run_encodes_nothing_for_the_frozen_experiment(finished, tmp_path, capsys, encoded):
    finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "again", "--mode", "frozen"))
    assert sum(encoded) == 0
    assert "encoded 0 of 100 texts" in capsys.readouterr().out
    first, second = (read_json(run / "metrics.json")["rows"]["frozen"] for run in (finished["run"], tmp_path / "again"))
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_options_of_fine_tuning_that_the_frozen_mode_leaves_out_are_named(finished, tmp_path, capsys):
    command = arguments(finished["csv"], finished["model"], tmp_path / "run", "--class-weights", "none", "--dry-run")
    finetune.main(command)
    assert "does not fine-tune" not in capsys.readouterr().out
    finetune.main([*command, "--mode", "frozen"])
    note = "note: --mode frozen does not fine-tune, so nothing asks for --epochs, --batch-size, --lr, --head-lr\n"
    assert note in capsys.readouterr().out


def test_options_are_typed_in_full(finished, tmp_path):
    """Or those that look at what was typed, such as --refit at --patience, would not see it."""
    for more in (["--patienc", "1"], ["--max-len", "64"]):
        with pytest.raises(UserError, match=f"{more[0]}.*--help lists the options"):
            finetune.parse(arguments(finished["csv"], finished["model"], tmp_path / "run", *more))


def test_other_settings_encode_again(finished, tmp_path, encoded):
    finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "longer", "--mode", "frozen", "--quiet",
                            "--max-length", "8"))  # fmt: skip
    assert sum(encoded) == 100


def test_the_same_run_gives_the_same_numbers(finished, tmp_path):
    finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "again", "--quiet"))
    assert read_predictions(tmp_path / "again") == read_predictions(finished["run"])
    weights = [run / "finetuned" / "model.safetensors" for run in (finished["run"], tmp_path / "again")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_resuming_a_finished_run_repeats_the_report_and_no_training(finished, capsys, encoded):
    before = contents(finished["run"])
    finetune.main(arguments(finished["csv"], finished["model"], finished["run"], "--resume"))
    assert sum(encoded) == 0
    after = contents(finished["run"])
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    assert [Path(name).name for name in changed if not name.endswith(("report.md", "settings.json"))] == []
    printed = capsys.readouterr().out
    first = finished["printed"]
    assert printed[printed.index("test set") :] == first[first.index("test set") :]


def test_a_run_killed_between_its_parts_resumes_to_the_same_end(finished, tmp_path, monkeypatch):
    def killed(*anything):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(experiment, "finetuned_row", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "run", "--quiet"))
    assert not (tmp_path / "run" / "metrics.json").exists()
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "frozen_row", killed)  # it is there already
        finetune.main(arguments(finished["csv"], finished["model"], tmp_path / "run", "--quiet", "--resume"))
    assert read_predictions(tmp_path / "run") == read_predictions(finished["run"])


def test_a_dry_run_checks_and_says_and_writes_nothing(tiny_distilbert, tmp_path, capsys, monkeypatch, encoded):
    data = five_classes(tmp_path / "stars.csv")
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "cache"))
    before = contents(tmp_path)
    assert finetune.main(arguments(data, tiny_distilbert, tmp_path / "run", "--dry-run")) == 0
    assert contents(tmp_path) == before
    assert not (tmp_path / "run").exists()
    assert sum(encoded) == 0
    printed = capsys.readouterr().out
    assert "65 train, 15 validation, 20 test" in printed
    assert "30 updates in 6 epochs" in printed
    assert all(label in printed for label in STARS)


def test_without_output_a_run_goes_to_runs_and_the_tasks_name(tiny_distilbert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = arguments(two_classes(tmp_path / "letters.csv"), tiny_distilbert, "")
    del command[command.index("--output") : command.index("--output") + 2]
    finetune.main([*command, "--quiet", "--mode", "frozen", "--pooling", "cls", "--head", "linear"])
    assert (tmp_path / "runs" / "letters" / "metrics.json").is_file()


# Modes, seeds, limits


@pytest.mark.parametrize("mode, left_out", [("frozen", "finetuned"), ("finetune", "frozen")])
def test_one_experiment_alone_still_has_both_baselines(mode, left_out, tiny_bert, tmp_path):
    finetune.main(arguments(two_classes(tmp_path / "mine.csv"), tiny_bert, tmp_path / "run", "--quiet", "--mode", mode))
    assert list(read_json(tmp_path / "run" / "metrics.json")["rows"]) == [name for name in ROWS if name != left_out]
    assert not (tmp_path / "run" / left_out).exists()
    assert not [key for key in read_predictions(tmp_path / "run")[0] if key.startswith(left_out)]


def test_several_seeds_give_mean_and_spread(tiny_bert, tmp_path, capsys):
    finetune.main(arguments(five_classes(tmp_path / "stars.csv", 50), tiny_bert, tmp_path / "run", "--seeds", "0,1"))
    values = read_json(tmp_path / "run" / "metrics.json")
    assert values["seeds"] == [0, 1]
    for name in ("frozen", "finetuned"):
        row = values["rows"][name]
        assert list(row["per_seed"]) == ["0", "1"]
        for key in SCALARS:
            first, second = row["per_seed"]["0"][key], row["per_seed"]["1"][key]
            assert row["mean"][key] == pytest.approx((first + second) / 2)
            assert row["std"][key] == pytest.approx(abs(first - second) / 2**0.5)  # the sample's, N - 1
    assert set(values["rows"]["majority"]) >= FIELDS  # no seed enters the baselines
    printed = capsys.readouterr().out
    assert "±" in printed and "seeds 0, 1" in printed and "one seed" not in printed
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {line["seed"] for line in lines} == {0, 1}


def test_with_several_seeds_the_one_best_on_validation_is_kept(tiny_bert, tmp_path, monkeypatch):
    accuracies = {0: 0.1, 1: 0.9, 2: 0.9}

    def train_to(model, examples, validation, settings, *rest, **more):
        progress = train(model, examples, validation, settings, *rest, **more)
        progress.best_accuracy = accuracies[settings.seed]
        return progress

    monkeypatch.setattr(experiment, "train", train_to)
    finetune.main(arguments(two_classes(tmp_path / "mine.csv", (20, 20)), tiny_bert, tmp_path / "run", "--quiet",
                            "--mode", "finetune", "--seeds", "0,1,2"))  # fmt: skip
    assert read_json(tmp_path / "run" / "finetuned" / "config.json")["minibert"]["seed"] == 1  # the first of two equals
    scores = [[float(row[f"finetuned_score_{label}"]) for label in "ab"] for row in read_predictions(tmp_path / "run")]
    by_seed = [read_json(tmp_path / "run" / "work" / f"finetuned-{seed}.json")["probabilities"] for seed in range(3)]
    assert by_seed.index(scores) == 1


def test_limits_make_a_run_small(tiny_distilbert, tmp_path, capsys):
    data = five_classes(tmp_path / "stars.csv", 200)
    limits = ["--limit", "50", "--test-limit", "10"]
    finetune.main(arguments(data, tiny_distilbert, tmp_path / "run", "--dry-run", *limits))
    assert "40 train, 10 validation, 10 test" in capsys.readouterr().out


def test_a_run_with_one_seed_reads_the_checkpoint_and_its_config_once(tiny_bert, tmp_path, monkeypatch):
    reads = []
    for name in ("read_tensors", "read_config"):
        read = getattr(load, name)
        noting = lambda folder, name=name, read=read: reads.append((name, folder)) or read(folder)  # noqa: E731
        monkeypatch.setattr(load, name, noting)
    data = two_classes(tmp_path / "mine.csv", (20, 20))
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--quiet", "--epochs", "1"))
    of_checkpoint = [name for name, folder in reads if folder == tiny_bert]  # the result is read, too, to explain it
    assert sorted(of_checkpoint) == ["read_config", "read_tensors"]


@pytest.mark.parametrize("micro_batch, wanted", [("4", True), ("0", False), ("16", False)])
def test_only_micro_batches_gather_the_rows_that_they_touch(tiny_bert, tmp_path, monkeypatch, micro_batch, wanted):
    seen, touched_rows = [], experiment.touched_rows
    monkeypatch.setattr(experiment, "touched_rows", lambda part, on: seen.append(on) or touched_rows(part, on))
    data = two_classes(tmp_path / "mine.csv", (20, 20))
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--quiet", "--epochs", "1", "--mode", "finetune",
                            "--batch-size", "16", "--micro-batch", micro_batch))  # fmt: skip
    assert seen == [wanted]


# Kinds of input


def test_pairs_are_classified_as_pairs(tiny_bert, tmp_path):
    """The label is whether both sides name the same thing: neither side alone tells."""
    things = ["film", "book", "song", "play"]
    rows = [["sentence1", "sentence2", "same"]]
    rows += [
        [f'the "{a}", number {i}', f"a {b} it is", "yes" if a == b else "no"]
        for i in range(3) for a in things for b in things + [a, a]
    ]  # fmt: skip
    with open(tmp_path / "pairs.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    columns = ["--text-column", "sentence1", "--pair-column", "sentence2", "--label-column", "same"]
    finetune.main(arguments(tmp_path / "pairs.csv", tiny_bert, tmp_path / "run", "--quiet", *columns))
    values = read_json(tmp_path / "run" / "metrics.json")
    assert list(values["rows"]) == ROWS
    assert values["rows"]["finetuned"]["per_class"].keys() == {"no", "yes"}


def test_the_second_text_reaches_the_model(tiny_bert, tmp_path, monkeypatch):
    """Only the second text tells the label, so an encoder that never saw it would stay at chance."""
    seen = []
    forward = Encoder.forward

    def noting(self, input_ids, attention_mask=None, token_type_ids=None, **more):
        seen.append(bool(token_type_ids.any()))
        return forward(self, input_ids, attention_mask, token_type_ids, **more)

    monkeypatch.setattr(Encoder, "forward", noting)
    rows = [f"the film,{'good' if i % 2 else 'bad'} number {i},{i % 2}" for i in range(60)]
    (tmp_path / "pairs.csv").write_text("\n".join(["text,text_pair,label", *rows]) + "\n", encoding="utf-8")
    finetune.main(arguments(tmp_path / "pairs.csv", tiny_bert, tmp_path / "run", "--quiet", "--mode", "finetune"))
    assert seen and all(seen)


@pytest.mark.parametrize("head", ["linear", "mlp", "native"])
@pytest.mark.parametrize("pooling", ["cls", "mean", "pooler"])
def test_every_pooling_and_head_runs_and_loads_again(pooling, head, tiny_bert, tmp_path):
    if head == "native" and pooling != "pooler":
        pytest.skip("BERT's native head reads the pooler; the refusal is in test_bad_flags.py")
    finetune.main(arguments(two_classes(tmp_path / "mine.csv", (12, 12)), tiny_bert, tmp_path / "run", "--quiet",
                            "--epochs", "1", "--pooling", pooling, "--head", head))  # fmt: skip
    for name in ("frozen", "finetuned"):
        classifier, _ = read_classifier(tmp_path / "run" / name)
        assert classifier.pooling == pooling
        assert classifier.head_name == ("linear" if head == "native" else head)


# Honest words


def test_a_classifier_that_predicts_one_class_is_called_out(tiny_distilbert, tmp_path, capsys):
    """One text in twenty is of the other class, and nothing in the texts tells which."""
    data = tmp_path / "skewed.csv"
    rows = [f"the story number {i},{'b' if i % 20 == 0 else 'a'}" for i in range(100)]
    data.write_text("\n".join(["text,label", *rows]) + "\n", encoding="utf-8")
    finetune.main(arguments(data, tiny_distilbert, tmp_path / "run", "--mode", "finetune", "--quiet", "--lr", "1e-9",
                            "--head-lr", "0.1", "--head", "linear"))  # fmt: skip
    row = read_json(tmp_path / "run" / "metrics.json")["rows"]["finetuned"]
    assert row["confusion"] == [[19, 0], [1, 0]]
    printed = capsys.readouterr().out
    assert "WARNING: the fine-tuned classifier predicts" in printed
    assert "--class-weights balanced" in printed
    assert "WARNING" in (tmp_path / "run" / "report.md").read_text(encoding="utf-8")


def test_two_predicted_classes_are_no_collapse():
    assert words.collapse_warning("frozen", np.array([0] * 10 + [1]), ["ham", "spam"]) is None
    assert "'ham'" in words.collapse_warning("frozen", np.array([0] * 10), ["ham", "spam"])


@pytest.mark.parametrize(
    "frozen, finetuned, points, verdict",
    [
        ([0, 1] * 50, [0, 1] * 50, "+0.00", "cannot tell them apart"),
        ([0, 0] * 50, [0, 1] * 50, "+50.00", "fine-tuning is ahead"),
        ([0, 1] * 50, [1, 1] * 50, "-50.00", "the frozen encoder is ahead"),
    ],
)
def test_the_difference_is_put_into_words(frozen, finetuned, points, verdict):
    difference = metrics.paired_bootstrap(np.array([0, 1] * 50), np.array(frozen), np.array(finetuned))
    line = words.difference_words(dict(zip(("points", "low", "high"), difference, strict=True)) | {"seeds": 1})
    assert verdict in line
    assert f": {points} points" in line


def test_an_undefined_score_is_null_and_said_to_be_undefined():
    row = metrics.score([0, 0], np.array([[0.9, 0.1], [0.8, 0.2]]), ["ham", "spam"])
    row |= {"seconds": 1.0, "trainable_parameters": 3}
    assert row["auroc"] is None  # no spam in the test set: no ranking to judge
    json.dumps(row, allow_nan=False)
    assert "undefined" in tables.result_table({"frozen": row}, [0])
