"""The model card of a run, and --push: nothing is uploaded unless it says so."""

import json
import re
import shutil

import huggingface_hub
import pytest
from bad_input import table
from huggingface_hub import ModelCard

from minibert import finetune
from minibert.plumbing.files import UserError, read_json
from minibert.report.card import public_command

NAMES = ["no | <b>*x*</b>", "yes"]
ROWS = [f"{'good' if i % 2 else 'bad'} {i},{NAMES[i % 2]}" for i in range(40)]


class Hub:
    """What the library would be asked for, in place of `HfApi`."""

    calls = []
    fails = ""  # the method that does

    def __init__(self, **options):
        assert not options

    def __getattr__(self, name):
        def method(*arguments, **options):
            Hub.calls.append((name, arguments, options))
            if name == Hub.fails:
                raise RuntimeError("401 Client Error\nwith many lines")
            return f"https://hub.example/{arguments[0]}" if name == "create_repo" else None

        return method


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "calls", [])
    monkeypatch.setattr(Hub, "fails", "")
    return Hub


def command(model, data, output, *more):
    return [str(data), "--model", str(model), "--max-length", "16", "--epochs", "1", "--device", "cpu", "--quiet",
            "--output", str(output), *more]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    return table(tmp_path / "mine.csv", ROWS)


def test_the_card_says_what_the_metrics_say(distilbert, data, output, hub, tmp_path):
    finetune.main(command(distilbert, data, output, "--head", "native", "--pooling", "cls"))
    text = (output / "finetuned" / "README.md").read_text(encoding="utf-8")
    card, record = ModelCard(text), read_json(output / "metrics.json")
    row = record["rows"]["finetuned"]
    values = card.data.to_dict()
    assert (values["pipeline_tag"], values["library_name"]) == ("text-classification", "transformers")
    [model] = values["model-index"]
    [result] = model["results"]
    assert result["dataset"] == {"name": "mine", "type": "mine", "split": "test"}
    figures = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert figures["accuracy"] == row["accuracy"] and figures["f1"] == row["f1_macro"]
    assert figures["roc_auc"] == row["auroc"] and figures["matthews_correlation"] == row["mcc"]
    assert "base_model" not in values and "license" not in values  # a folder of this machine, and nobody said
    for name, title in (("majority", "majority"), ("bag-of-words", "bag-of-words"), ("frozen", "frozen"),
                        ("finetuned", "fine-tuned")):  # fmt: skip
        assert f"| {title} | {record['rows'][name]['accuracy']:.4f} |" in text
    assert str(tmp_path) not in text and "mine.csv" in text
    assert "<b>" not in re.sub(r"`[^`]*`", "", text.replace(r"\<b\>", ""))
    assert hub.calls == []


def test_several_seeds_are_shown_as_mean_and_spread_and_the_weights_as_what_they_are(distilbert, data, output):
    finetune.main(command(distilbert, data, output, "--mode", "finetune", "--seeds", "0,1"))
    text = (output / "finetuned" / "README.md").read_text(encoding="utf-8")
    record = read_json(output / "metrics.json")
    row, kept = record["rows"]["finetuned"], record["kept"]["finetuned"]
    accuracy = row["per_seed"][str(kept)]["accuracy"]
    assert f"| fine-tuned | {row['mean']['accuracy']:.4f} ± {row['std']['accuracy']:.4f} |" in text
    assert f"These weights are those of seed {kept}, the best on validation: accuracy {accuracy:.4f}." in text
    [result] = ModelCard(text).data.to_dict()["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}["accuracy"] == accuracy


def test_a_head_of_our_own_is_not_said_to_open_in_transformers(distilbert, data, output):
    finetune.main(command(distilbert, data, output, "--head", "linear", "--pooling", "mean", "--mode", "finetune"))
    text = (output / "finetuned" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.library_name == "minibert"
    assert "transformers opens the encoder alone" in text and "pipeline(" not in text


def test_a_model_of_the_hub_is_named_as_the_base(distilbert, data, output, monkeypatch, tmp_path):
    commit = "ab" * 20
    folder = tmp_path / "hub" / "snapshots" / commit
    shutil.copytree(distilbert, folder)
    monkeypatch.setattr("minibert.job.find_checkpoint", lambda *arguments: folder)
    finetune.main(command("some/encoder", data, output, "--mode", "finetune"))
    text = (output / "finetuned" / "README.md").read_text(encoding="utf-8")
    assert ModelCard(text).data.base_model == "some/encoder"
    assert commit[:12] in text


def test_push_uploads_the_finished_classifier_and_nothing_else(distilbert, data, output, hub):
    finetune.main(command(distilbert, data, output, "--push", "me/mine", "--mode", "finetune"))
    assert [call[0] for call in hub.calls] == ["whoami", "create_repo", "upload_folder"]
    assert hub.calls[1][1:] == (("me/mine",), {"exist_ok": True})
    options = hub.calls[2][2]
    assert (options["repo_id"], options["folder_path"]) == ("me/mine", output / "finetuned")
    assert set(options["allow_patterns"]) == {path.name for path in (output / "finetuned").iterdir()}


def test_a_finished_run_is_pushed_by_resuming_it(distilbert, data, output, hub):
    finetune.main(command(distilbert, data, output, "--mode", "finetune"))
    assert hub.calls == []
    before = (output / "finetuned" / "model.safetensors").stat().st_mtime_ns
    finetune.main(command(distilbert, data, output, "--mode", "finetune", "--resume", "--push", "me/mine"))
    assert [call[0] for call in hub.calls] == ["whoami", "create_repo", "upload_folder"]
    assert (output / "finetuned" / "model.safetensors").stat().st_mtime_ns == before


def test_who_cannot_push_is_told_before_the_training(distilbert, data, output, hub):
    hub.fails = "whoami"
    with pytest.raises(UserError, match=r"--push me/mine: .*RuntimeError: 401 Client Error\); log in with"):
        finetune.main(command(distilbert, data, output, "--push", "me/mine"))
    assert not output.exists()


def test_an_upload_that_fails_says_how_to_go_on(distilbert, data, output, hub):
    hub.fails = "upload_folder"
    with pytest.raises(UserError, match="the classifier is whole in .*--resume tries again"):
        finetune.main(command(distilbert, data, output, "--push", "me/mine", "--mode", "finetune"))
    assert (output / "finetuned" / "README.md").is_file()


@pytest.mark.parametrize("name", ["mine", "/mine", "me/", "me/mine/x", "../x", "me/..", "-", "me/ü", "me/a b"])
def test_what_is_no_repository_is_refused(name, distilbert, data, output):
    with pytest.raises(UserError, match="--push"):
        finetune.main([*command(distilbert, data, output), f"--push={name}"])


def test_a_frozen_run_has_nothing_to_push(distilbert, data, output, hub):
    with pytest.raises(UserError, match="--mode frozen leaves no fine-tuned classifier"):
        finetune.main(command(distilbert, data, output, "--mode", "frozen", "--push", "me/mine"))
    assert hub.calls == []


@pytest.mark.parametrize(
    "command, shown",
    [
        ("python -m minibert.finetune imdb --lr 2e-5", "python -m minibert.finetune imdb --lr 2e-5"),
        ("x /home/me/a.csv --output /home/me/runs/a --resume --quiet", "x a.csv"),
        ("x imdb --data=/home/me/imdb.tar.gz --push me/mine --seed 1", "x imdb --data=imdb.tar.gz --seed 1"),
        ("x ./a.csv --model org/name", "x a.csv --model org/name"),
        ("x a/b/c.csv --also-test hard=/home/me/hard.csv", "x c.csv --also-test hard=hard.csv"),
        ("x 'C:\\me\\a.csv'", "x a.csv"),
    ],
)
def test_the_command_in_the_card_names_no_folder_of_this_machine(command, shown):
    assert public_command(command) == shown


def test_words_that_decided_stand_in_the_runs_record(distilbert, data, output):
    finetune.main(command(distilbert, data, output, "--mode", "finetune", "--lr", "1e-9", "--head-lr", "1e-9"))
    losses = json.loads((output / "metrics.json").read_text(encoding="utf-8"))["errors"]["losses"]
    assert losses and all(case["words"] for case in losses)  # untrained, it is wrong about some
    for case in losses:
        assert "".join(word for word, _ in case["words"]) == case["text"]
