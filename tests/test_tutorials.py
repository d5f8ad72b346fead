"""examples/tutorials.md: its commands exist, and print what the page shows."""

import json
import re
import shlex

import pytest
from ladder_tools import REPOSITORY
from programs import load_program

from minibert import finetune
from minibert.metrics import roc_auc
from minibert.plumbing.files import UserError

PAGE = (REPOSITORY / "examples" / "tutorials.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (python .*)$", PAGE, re.M)


def shown(command):
    """What the page shows under a command."""
    return re.search(rf"^\$ {re.escape(command)}\n(.*?)^```", PAGE, re.M | re.S)[1]


def numbers(text):
    return [float(number) for number in re.findall(r"-?\d+\.\d+|\b\d+\b(?=%)", text.replace(",", ""))]


@pytest.fixture(scope="module")
def lesson():
    return load_program("tutorials.py")


def test_every_command_of_the_page_is_one_and_every_command_of_the_program_is_on_the_page(lesson):
    used = set()
    for words in map(shlex.split, COMMANDS):
        if words[1] == "-m":
            assert words[2] == "minibert.finetune"
            finetune.parse(words[3:])
        else:
            assert words[1] == "examples/tutorials.py" and len(words) == 3 + (words[2] in lesson.OF_A_RUN)
            used.add(words[2])
    assert used == set(lesson.COMMANDS)


# ---- the claims


def test_the_old_arguments_are_gone_from_transformers(lesson, capsys):
    pytest.importorskip("transformers", reason="transformers is not installed")
    assert not any(lesson.arguments().values())
    assert capsys.readouterr().out.splitlines()[1:] == shown("python examples/tutorials.py arguments").splitlines()[1:]


def test_auroc_from_labels_is_the_mean_of_the_two_recalls_and_scores_rank_better(lesson):
    assert lesson.from_labels([[959, 6], [6, 143]]) == pytest.approx((959 / 965 + 143 / 149) / 2)
    assert lesson.from_labels([[965, 0], [149, 0]]) == 0.5
    labels, scores = [0, 0, 0, 1, 1], [0.1, 0.2, 0.6, 0.4, 0.9]
    assert roc_auc(labels, scores) == pytest.approx(5 / 6)
    assert lesson.from_labels([[2, 1], [1, 1]]) == pytest.approx(7 / 12)  # of the same, cut at 0.5


def test_auroc_reads_runs_of_one_seed_and_of_several(lesson, tmp_path, capsys):
    one = {"accuracy": 0.75, "auroc": 0.9, "confusion": [[2, 0], [1, 1]]}
    other = {"accuracy": 0.5, "auroc": 0.7, "confusion": [[1, 1], [1, 1]]}
    rows = {"frozen": one, "finetuned": {"per_seed": {"0": one, "1": other}}}
    (tmp_path / "metrics.json").write_text(json.dumps({"rows": rows}), encoding="utf-8")
    found = lesson.auroc(tmp_path)
    assert found["frozen"] == (0.75, 0.9, 0.75) and found["finetuned"] == pytest.approx((0.625, 0.8, 0.625))
    assert "75.00%       0.9000       0.7500" in capsys.readouterr().out
    with pytest.raises(UserError, match="two classes"):
        lesson.from_labels([[1, 0, 0], [0, 1, 0], [0, 0, 1]])


def test_the_tables_own_figures_show_that_its_auroc_was_computed_from_labels(capsys):
    code = re.search(r"```python\n(spam, ham.*?)```", PAGE, re.S)[1]
    exec(compile(code, "tutorials.md", "exec"), {})  # the page's own words, which stand in this repository
    low, high = map(float, capsys.readouterr().out.split())
    assert [round(low, 4), round(high, 4)] == [float(number) for number in re.findall(r"# (0\.\d{4})", code)]
    assert low < 0.9625 < high


def test_the_best_of_equal_classifiers_flatters_as_the_page_says(lesson):
    table = shown("python examples/tutorials.py selection").split("\n\n")[1].splitlines()[1:]
    assert len(table) == len(lesson.TEXTS)
    for line, texts in zip(table, lesson.TEXTS, strict=True):
        expected = [lesson.flattery(texts, tries) for tries in lesson.TRIES]
        assert numbers(line.replace(f"{texts:,}", ""))[-3:] == [round(points, 2) for points in expected]
    assert lesson.flattery(1000, 1) == pytest.approx(0, abs=0.1)


def test_who_is_chosen_on_a_half_is_judged_on_the_other(lesson):
    import numpy as np

    test = np.zeros((2, 400), dtype=bool)
    test[0], test[1, :40] = True, True
    validation = test[:, :40]
    assert lesson.choose(validation, test) == pytest.approx((0.55, 1, 1, 1))
    coins = np.random.default_rng(1).random((30, 400)) < 0.6
    everyone, reported, other_half, _ = lesson.choose(coins, coins)
    assert reported > everyone + 0.03 and abs(other_half - everyone) < 0.02


def test_epochs_are_read_from_the_log(lesson, tmp_path, capsys):
    records = [
        {"seed": seed, "epoch": i + 1, "update": 1, "validation_accuracy": 0.5 + i / 10, "validation_loss": loss}
        for seed, losses in ((0, (0.7, 0.5, 0.6)), (1, (0.7, 0.6, 0.5)))
        for i, loss in enumerate(losses)
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert lesson.epochs(tmp_path)[0] == [(0.7, 0.5), (0.5, 0.6), (0.6, 0.7)]
    assert "above its lowest value for 1 of 2 seeds" in capsys.readouterr().out
    (tmp_path / "log.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(UserError, match="no epoch"):
        lesson.epochs(tmp_path)


def test_cleaning_changes_no_token(lesson, capsys):
    assert lesson.cleaning() == (4800, 0)
    assert capsys.readouterr().out == shown("python examples/tutorials.py cleaning")


def test_a_warmup_made_for_more_texts_is_pointed_out(capsys):
    command = next(command for command in COMMANDS if "--dry-run" in command)
    assert finetune.main(shlex.split(command)[3:]) == 0
    warning = re.search(r"^warmup: .*$", shown(command), re.M)[0]
    assert warning in capsys.readouterr().out


# ---- the same with real models: slow


@pytest.mark.slow
def test_real_heads_flatter_as_the_page_says(lesson):
    _, (everyone, reported, other_half, by_validation) = lesson.selection()
    page = numbers(shown("python examples/tutorials.py selection").split("\n\n")[2].split("\n", 1)[1])
    assert [100 * one for one in (everyone, reported, other_half, by_validation)] == pytest.approx(page, abs=1.5)
    assert reported > other_half + 0.01 > everyone + 0.01


@pytest.mark.slow
def test_scores_rank_spam_better_than_labels_do(lesson, weights_folder, data_folder, tmp_path):
    command = [
        "sms-spam", "--data", str(data_folder / "SMSSpamCollection"), "--model",
        str(weights_folder / "all-MiniLM-L6-v2"), "--recipe", "sms-bert", "--mode", "frozen", "--output",
        str(tmp_path / "run"), "--quiet",
    ]  # fmt: skip
    finetune.main(command)
    found = lesson.auroc(tmp_path / "run")
    page = dict(re.findall(r"^([\w-]+) +\d.*?(\d\.\d{4} +\d\.\d{4})$", PAGE, re.M))
    for row in ("majority", "bag-of-words", "frozen"):
        assert found[row][1:] == pytest.approx([float(figure) for figure in page[row].split()], abs=0.01)
        assert row == "majority" or found[row][1] > found[row][2] + 0.01
