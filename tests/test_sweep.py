"""A sweep tries what it says, drops the worse half, computes nothing twice, and hands its winner's training over."""

import json
from types import SimpleNamespace

import pytest
from test_finetune import arguments, five_classes

from minibert import experiment, finetune, load_encoder, sweep
from minibert.plumbing.files import UserError, read_json
from minibert.sweep import budgets, make_trials, parse_grid

# One trial that learns and three that hardly move.
GRID = ["--batch-size", "4", "--head-lr", "3e-3", "--sweep", "lr=3e-3,1e-7,2e-7,3e-7", "epochs=4"]


@pytest.fixture
def words(tiny_bert, tmp_path):
    """A function: the words of a command on five classes of texts."""
    data = five_classes(tmp_path / "stars.csv", 200)

    def words(*more, output="run"):
        return arguments(data, tiny_bert, tmp_path / output, "--mode", "finetune", *more)

    return words


@pytest.fixture
def encoder(tiny_bert):
    return load_encoder(tiny_bert)


@pytest.fixture
def trained(monkeypatch):
    """[(folder's name, epochs behind it before, after)] of all trainings, in order."""
    calls, real = [], experiment.train

    def train(model, examples, validation, settings, device, weights, state, *others, **options):
        before = experiment.read_progress(state)
        progress = real(model, examples, validation, settings, device, weights, state, *others, **options)
        calls.append((state.parent.parent.name, before.epoch, progress.epoch))
        return progress

    monkeypatch.setattr(experiment, "train", train)
    return calls


def job_with(options, encoder, pairs=None):
    """As much of a job as trials are checked against."""
    task = SimpleNamespace(train=SimpleNamespace(pairs=pairs))
    return SimpleNamespace(options=options, encoder=encoder, task=task, tokenizer=SimpleNamespace(is_roberta=False))


def test_a_grid_has_every_combination_and_the_options_own_types(words, encoder):
    assert parse_grid(["lr=2e-5,5e-5", "head_lr=1e-3"]) == {"lr": ["2e-5", "5e-5"], "head-lr": ["1e-3"]}
    options = finetune.parse(words("--sweep", "lr=2e-5,5e-5", "epochs=2,3", "freeze=1,embeddings"))
    options.commit = None
    trials = make_trials(job_with(options, encoder), finetune.parse)
    assert [trial.name for trial in trials][:2] == ["lr=2e-5 epochs=2 freeze=1", "lr=2e-5 epochs=2 freeze=embeddings"]
    assert len(trials) == 8 and len({trial.folder for trial in trials}) == 8
    assert {(t.options.lr, t.options.epochs, t.options.freeze[1]) for t in trials} == {
        (lr, epochs, layers) for lr in (2e-5, 5e-5) for epochs in (2, 3) for layers in (0, 1)
    }


def test_a_random_sweep_draws_some_of_them_by_the_seed(words, encoder):
    def drawn(*more):
        options = finetune.parse(
            words("--sweep", "lr=1e-5,2e-5,3e-5,4e-5,5e-5", "epochs=1,2,3", "--sweep-random", "4", *more)
        )
        options.commit = None
        return [trial.name for trial in make_trials(job_with(options, encoder), finetune.parse)]

    assert len(set(drawn())) == 4 and drawn() == drawn() and drawn() != drawn("--seed", "1")


def test_windows_are_not_tried_on_pairs_nor_truncation_in_windows(words, encoder):
    for pairs, given, why in (
        (["a"], ["windows=1,2"], "--windows 2: windows are made of single texts"),
        (None, ["truncation=head,tail", "--windows", "2"], "--windows 2 cuts no text"),
    ):
        options = finetune.parse(words("--sweep", *given))
        options.commit = None
        with pytest.raises(UserError, match=why):
            make_trials(job_with(options, encoder, pairs), finetune.parse)


def test_budgets_double_up_to_the_longest_schedule():
    assert [budgets(n) for n in (1, 2, 3, 4, 6)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4], [1, 2, 4, 6]]


def test_the_worse_half_is_dropped_and_the_winner_is_trained_on_and_tested_once(words, trained, tmp_path, capsys):
    finetune.main(words(*GRID))
    table = {row["trial"].split()[0]: row for row in trials_of(tmp_path / "run")}
    assert [row["epochs"] for row in table.values()].count(1) == 2  # half of four trials
    assert [row["epochs"] for row in table.values()].count(2) == 1
    assert table["lr=3e-3"]["chosen"] and table["lr=3e-3"]["epochs"] == 4 and not table["lr=1e-7"]["chosen"]
    assert sum(after - before for _, before, after in trained) == 1 + 1 + 2 + 4  # no epoch twice
    assert trained[-1] == ("run", 4, 4)  # the run itself takes the finished training over
    printed = capsys.readouterr().out
    assert "chosen" in printed and "dropped" in printed
    record = read_json(tmp_path / "run" / "metrics.json")
    assert any("chosen by a sweep of 4 trials" in fact and "lr=3e-3" in fact for fact in record["facts"])
    assert record["sweep"] == trials_of(tmp_path / "run")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "settings tried on validation" in page and all(row["trial"] in page for row in record["sweep"])
    assert not list((tmp_path / "run").rglob("*.safetensors.part"))
    left = [path for path in (tmp_path / "run").rglob("finetuned-*.safetensors")]
    assert left == []  # the states of all trials are gone


def trials_of(run):
    return read_json(run / "sweep.json")["trials"]


def test_the_winner_is_what_the_same_settings_give_without_a_sweep(words, tmp_path):
    finetune.main(words(*GRID))
    finetune.main(words(*GRID[:4], "--lr", "3e-3", "--epochs", "4", output="alone"))
    swept, alone = (read_json(tmp_path / name / "metrics.json")["rows"]["finetuned"] for name in ("run", "alone"))
    for key in set(swept) - {"seconds"}:
        assert swept[key] == alone[key], key
    logs = [
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("run", "alone")
    ]
    assert [{k: v for k, v in one.items() if k != "seconds"} for one in logs[0]] == [
        {k: v for k, v in one.items() if k != "seconds"} for one in logs[1]
    ]


@pytest.mark.parametrize("kill_at", [2, 6])
def test_a_killed_sweep_goes_on_where_it_was(kill_at, words, trained, tmp_path, monkeypatch):
    finetune.main(words(*GRID, output="whole"))
    whole = trials_of(tmp_path / "whole")
    trained.clear()
    real, calls = sweep.finetune, []

    def killed(*arguments, **options):
        calls.append(1)
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(sweep, "finetune", killed)
    with pytest.raises(KeyboardInterrupt):
        finetune.main(words(*GRID))
    monkeypatch.setattr(sweep, "finetune", real)
    finetune.main(words(*GRID, "--resume"))
    again = trials_of(tmp_path / "run")
    assert [{**row, "seconds": 0} for row in again] == [{**row, "seconds": 0} for row in whole]
    assert sum(after - before for _, before, after in trained) == 1 + 1 + 2 + 4


def test_a_finished_sweep_resumes_without_any_training(words, trained):
    finetune.main(words(*GRID))
    trained.clear()
    finetune.main(words(*GRID, "--resume"))
    assert trained == []


@pytest.mark.parametrize("kept", [True, False], ids=["complete", "stopped after the sweep"])
def test_a_resumed_sweep_over_epochs_keeps_its_winner(kept, words, tmp_path):
    """A short schedule, whose end is known at once, must not be judged against the first epochs of longer ones."""
    grid = ["--batch-size", "4", "--head-lr", "3e-3", "--lr", "3e-3", "--sweep", "epochs=1,4"]
    finetune.main(words(*grid))
    table = trials_of(tmp_path / "run")
    assert [row["chosen"] for row in table] == [False, True]
    (tmp_path / "run" / "sweep.json").unlink()
    if not kept:
        (tmp_path / "run" / "work" / "finetuned-0.json").unlink()
    finetune.main(words(*grid, "--resume"))
    assert trials_of(tmp_path / "run") == table


def test_a_sweep_does_not_go_on_with_other_labels(words, tmp_path, monkeypatch):
    def killed(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sweep, "hand_over", killed)
        finetune.main(words(*GRID))
    path = tmp_path / "stars.csv"
    path.write_text(path.read_text(encoding="utf-8").replace(",great", ",awful", 1), encoding="utf-8")
    with pytest.raises(UserError, match="texts have changed since; start another run"):
        finetune.main(words(*GRID, "--resume"))


def test_a_task_may_stand_behind_two_dashes(words, encoder):
    given = words("--sweep", "lr=2e-5,5e-5")
    options = finetune.parse([*given[1:], "--", given[0]])
    options.commit = None
    assert [trial.options.lr for trial in make_trials(job_with(options, encoder), finetune.parse)] == [2e-5, 5e-5]


def test_texts_are_encoded_anew_where_a_trial_changes_them(words, tmp_path):
    finetune.main(words("--sweep", "max-length=5,12", "--epochs", "1"))
    table = trials_of(tmp_path / "run")
    assert table[0]["loss"] != table[1]["loss"]
    (chosen,) = (row["trial"].removeprefix("max-length=") for row in table if row["chosen"])
    record = read_json(tmp_path / "run" / "metrics.json")
    assert any(f"texts: at most {chosen} tokens" in fact for fact in record["facts"])
    assert record["settings"]["max_length"] == int(chosen)
    assert f"texts of at most {chosen} tokens" in (tmp_path / "run" / "finetuned" / "README.md").read_text("utf-8")


def test_several_seeds_train_the_winner_once_more_each(words, tmp_path):
    finetune.main(words("--sweep", "lr=3e-3,1e-5", "--epochs", "2", "--seeds", "0,1"))
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    assert set(rows["finetuned"]["per_seed"]) == {"0", "1"} and "ensemble" in rows


def test_a_dry_run_names_the_trials_and_trains_nothing(words, trained, tmp_path, capsys):
    finetune.main(words(*GRID, "--dry-run"))
    printed = capsys.readouterr().out
    assert "4 trials would be tried" in printed and "lr=1e-7 epochs=4" in printed
    assert trained == [] and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "more, message",
    [
        (["--sweep", "learning=1,2"], "'learning' cannot be swept; choose from lr, head-lr"),
        (["--sweep", "seed=1,2"], "'seed' cannot be swept"),
        (["--sweep", "lr"], "expected NAME=VALUE"),
        (["--sweep", "lr=1e-5,"], "expected NAME=VALUE"),
        (["--sweep", "lr=1e-5,1e-5"], "each value once"),
        (["--sweep", "lr=1e-5", "lr=2e-5"], "each name"),
        (["--sweep", "lr=fast"], "'fast' is not a number"),
        (["--sweep", "max-length=8,65"], "--max-length 65: the model has 64 positions"),
        (["--sweep", "lr=" + ",".join(f"{i}e-6" for i in range(1, 101)), "epochs=" + ",".join(map(str, range(1, 101)))],
         "10,000 trials are more than 200; --sweep-random"),
        (["--sweep-random", "3"], "there is none"),
        (["--sweep", "lr=1e-5,2e-5", "--mode", "frozen"], "tries settings of fine-tuning"),
    ],
)  # fmt: skip
def test_a_sweep_that_cannot_be_is_one_line(more, message, words, tmp_path):
    with pytest.raises(UserError) as caught:
        finetune.main(words(*more))
    assert message in str(caught.value) and "\n" not in str(caught.value)
