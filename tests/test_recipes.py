"""Recipes say what their tutorials and papers say, run from end to end, and give way to whatever is typed."""

import pytest
from test_finetune import arguments, five_classes

from minibert import finetune
from minibert.data import load_task
from minibert.plumbing.files import UserError, read_json
from minibert.recipes import RECIPES

# What each source states, and nothing else of ours: {recipe: {option: value}}.
STATED = {
    "frozen-vs-finetuned": dict(task="imdb", model="distilbert-base-uncased", mode="both", pooling="cls"),
    "sms-bert": dict(task="sms-spam", model="bert-base-uncased", mode="both", head="mlp"),
    "imdb-1000": dict(task="imdb", limit=1000, max_length=256, epochs=2, batch_size=32, lr=5e-5),
    "mrpc-bert": dict(task="mrpc", model="bert-base-uncased", epochs=3, batch_size=8, untrained=True),
    "imdb-full": dict(
        task="imdb", pooling="mean", dropout=0.3, epochs=3, batch_size=16, lr=2e-5, warmup=1000, max_norm=1.0,
        patience=1,
    ),
    "bert-paper": dict(
        model="bert-base-uncased", batch_size=32, lr=2e-5, epochs=3, weight_decay=0.01, warmup=0.1, dropout=0.1,
        head="native",
    ),
    "sun2019": dict(
        task="imdb", model="bert-base-uncased", batch_size=24, lr=2e-5, epochs=4, warmup=0.1, dropout=0.1,
        layer_decay=0.95, max_length=512, truncation="head+tail",
    ),
    "hf-tutorial": dict(
        task="imdb", model="distilbert-base-uncased", epochs=2, batch_size=16, lr=2e-5, weight_decay=0.01, warmup=0.0,
        head="native",
    ),
    "best": dict(task="imdb", truncation="head+tail"),
}  # fmt: skip


def test_every_recipe_is_among_the_stated_ones():
    assert list(RECIPES) == list(STATED)


@pytest.mark.parametrize("name", STATED)
def test_a_recipe_says_what_its_source_says_and_its_options_reach_the_command(name):
    recipe, stated = RECIPES[name], dict(STATED[name])
    options = finetune.parse(["imdb", "--recipe", name])
    assert recipe.task == stated.pop("task", recipe.task)
    for option, value in {**stated, **recipe.options()}.items():
        assert getattr(recipe, option) == value == getattr(options, option), option


def test_what_is_typed_overrides_the_recipe_wherever_it_stands():
    for words in (["--epochs", "7", "--recipe", "imdb-full"], ["--recipe", "imdb-full", "--epochs", "7"]):
        options = finetune.parse(["imdb", *words])
        assert (options.epochs, options.lr, options.warmup) == (7, 2e-5, 1000)


def test_without_a_recipe_the_defaults_are_as_before():
    options = finetune.parse(["imdb"])
    assert (options.recipe, options.epochs, options.lr, options.warmup, options.patience) == (None, 3, 5e-5, 0.1, 0)
    assert (options.untrained, options.windows, options.freeze, options.layer_decay) == (False, 1, (False, 0), 1.0)


def test_a_recipe_that_does_not_exist_is_refused_with_the_ones_that_do():
    with pytest.raises(UserError, match="invalid choice: 'imdb-2000'.*imdb-1000"):
        finetune.main(["imdb", "--recipe", "imdb-2000"])


def test_a_dry_run_prints_the_recipe_as_options(tiny_bert, tmp_path, capsys):
    data = five_classes(tmp_path / "stars.csv", 60)
    finetune.main([str(data), "--model", str(tiny_bert), "--recipe", "imdb-full", "--max-length", "24", "--dry-run"])
    printed = capsys.readouterr().out
    assert "recipe imdb-full" in printed and "--dropout 0.3" in printed and "--warmup 1000" in printed
    assert "--lr 2e-05" in printed and "--patience 1" in printed
    assert "warmup: 1,000 updates, but the training has 9: the rate never reaches its peak" in printed


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_from_end_to_end(name, tiny_bert, tiny_distilbert, tmp_path):
    data = five_classes(tmp_path / "stars.csv", 60)
    model = tiny_distilbert if "distilbert" in (RECIPES[name].model or "") else tiny_bert
    finetune.main([str(data), "--recipe", name, "--model", str(model), "--output", str(tmp_path / "run"), "--device",
                   "cpu", "--max-length", "24", "--epochs", "1"])  # fmt: skip
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    assert ("frozen" in rows) == (RECIPES[name].mode in (None, "both"))
    assert ("untrained" in rows) == bool(RECIPES[name].untrained)
    assert read_json(tmp_path / "run" / "settings.json")["recipe"] == name


# ---- the two rows that cost little


def test_the_untrained_row_trains_nothing_and_several_seeds_give_an_ensemble(tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv")
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--seeds", "0,1,2", "--untrained", "--epochs", "3"))
    record = read_json(tmp_path / "run" / "metrics.json")
    rows = record["rows"]
    assert list(rows) == ["majority", "bag-of-words", "untrained", "frozen", "finetuned", "ensemble"]
    assert rows["untrained"]["trainable_parameters"] == 0
    assert rows["untrained"]["mean"]["accuracy"] < rows["finetuned"]["mean"]["accuracy"]
    members = [read_json(tmp_path / "run" / "work" / f"finetuned-{seed}.json") for seed in (0, 1, 2)]
    members = [member.get("content", member) for member in members]
    mean = [
        [sum(cells) / 3 for cells in zip(*texts, strict=True)]
        for texts in zip(*(member["probabilities"] for member in members), strict=True)
    ]
    guesses = [row.index(max(row)) for row in mean]
    gold = load_task(str(data)).test.labels
    assert rows["ensemble"]["accuracy"] == pytest.approx(
        sum(g == p for g, p in zip(gold, guesses, strict=True)) / len(gold)
    )
    assert rows["ensemble"]["seconds"] == pytest.approx(sum(member["row"]["seconds"] for member in members))
    assert record["best"] in ("bag-of-words", "frozen", "finetuned")
    assert "ensemble" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_one_seed_makes_no_ensemble_and_nobody_asked_for_the_untrained_row(tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv", 60)
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--epochs", "1"))
    assert list(read_json(tmp_path / "run" / "metrics.json")["rows"]) == [
        "majority", "bag-of-words", "frozen", "finetuned",
    ]  # fmt: skip
