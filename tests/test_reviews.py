"""What comes with the package: the `reviews` task and the `minibert-tiny` checkpoint, used without any network."""

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

import minibert
from minibert import UserError, finetune
from minibert.data import load_task
from minibert.data.corpora import REVIEWS
from minibert.data.tables import Columns
from minibert.load import load_encoder
from minibert.plumbing.checkpoint import find_checkpoint, read_safetensors

PARTS = ("train", "validation", "test")
DIFFICULTIES = {"plain", "negation", "sarcasm", "mixed", "faint-praise", "comparison", "plot-only"}
TINY = find_checkpoint("minibert-tiny")


def rows(part):
    with open(REVIEWS / f"{part}.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


EVERY = [row for part in PARTS for row in rows(part)]


def words(text):
    return re.sub(r"[^a-z0-9' ]", " ", text.lower()).split()


# ---- the data


def test_every_part_is_balanced_within_every_difficulty():
    assert len(EVERY) == 2400
    for part in PARTS:
        counts = Counter((row["difficulty"], row["label"]) for row in rows(part))
        assert {difficulty for difficulty, _ in counts} == DIFFICULTIES
        assert all(counts[d, "positive"] == counts[d, "negative"] for d in DIFFICULTIES)


def test_reviews_have_5_to_120_words_of_plain_ascii():
    assert all(5 <= len(row["text"].split()) <= 120 and row["text"].isascii() for row in EVERY)
    lengths = sorted(len(row["text"].split()) for row in EVERY)
    assert lengths[len(lengths) // 4] < 20 and lengths[-len(lengths) // 10] > 65  # short and long ones


def test_no_two_reviews_share_a_sentence_or_six_words_in_a_row():
    sentences, phrases = {}, {}
    for i, row in enumerate(EVERY):
        for sentence in re.split(r"(?<=[.!?])\s+", row["text"]):
            key = " ".join(words(sentence))
            if len(key.split()) >= 2:
                assert sentences.setdefault(key, i) == i, key
        tokens = words(row["text"])
        for j in range(len(tokens) - 5):
            key = " ".join(tokens[j : j + 6])
            assert phrases.setdefault(key, i) == i, key


def test_no_word_gives_the_label_away():
    counts = Counter()
    for row in EVERY:
        counts.update((word, row["label"]) for word in set(words(row["text"])))
    for word in {word for word, _ in counts}:
        total = counts[word, "positive"] + counts[word, "negative"]
        if total >= 100:
            assert 0.25 < counts[word, "positive"] / total < 0.75, (word, total)


def test_the_task_keeps_the_fixed_splits_and_the_difficulty():
    task = load_task("reviews")
    assert task.train.label_names == ["negative", "positive"]
    for part in PARTS:
        dataset = getattr(task, part)
        assert dataset.texts == [row["text"] for row in rows(part)]
        assert dataset.groups == [row["difficulty"] for row in rows(part)]
    limited = load_task("reviews", limit=100)
    assert len(limited.train.groups) == len(limited.train) < 120


# ---- groups, for anyone's data


def test_a_group_column_gives_accuracy_for_each_of_its_values(tmp_path, capsys):
    lines = ["text,label,length"]
    for i in range(60):
        label = ("good", "bad")[i % 2]
        lines.append(f"a {label} film number {i},{label},{'long' if i % 3 else 'short'}")
    (tmp_path / "mine.csv").write_text("\n".join(lines) + "\n")
    output = tmp_path / "run"
    options = ["--model", "minibert-tiny", "--group-column", "length", "--mode", "frozen", "--device", "cpu"]
    finetune.main([str(tmp_path / "mine.csv"), *options, "--output", str(output)])
    groups = json.loads((output / "metrics.json").read_text())["groups"]
    assert set(groups) == {"long", "short"}
    assert sum(group["texts"] for group in groups.values()) == 12
    assert set(groups["long"]) == {"texts", "majority", "bag-of-words", "frozen"}
    assert "test set by length" in capsys.readouterr().out
    assert "### Accuracy by length\n\n| group | texts |" in (output / "report.md").read_text()


def test_accuracy_by_group_is_the_mean_over_seeds_within_each_group():
    from minibert.report.tables import by_group

    predictions = {"finetuned": [[0, 0, 1, 1, 0], [0, 0, 1, 0, 0]]}
    result = by_group([0, 0, 1, 1, 1], ["a", "a", "b", "b", "b"], predictions)
    assert result == {"b": {"texts": 3, "finetuned": 0.5}, "a": {"texts": 2, "finetuned": 1.0}}


def test_a_group_column_that_is_not_there_is_named(tmp_path):
    (tmp_path / "mine.csv").write_text("text,label\na,x\nb,y\n")
    with pytest.raises(UserError, match="line 2: no column 'kind'.*--group-column"):
        load_task(str(tmp_path / "mine.csv"), columns=Columns(group="kind"))


def test_text_folders_have_no_columns_to_group_by(tmp_path):
    for label in ("a", "b"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for i in range(5):
            (tmp_path / "train" / label / f"{i}.txt").write_text(f"text {label} {i}")
    with pytest.raises(UserError, match="--group-column kind: .* has no columns"):
        load_task(str(tmp_path), columns=Columns(group="kind"))


# ---- the checkpoint


def test_minibert_tiny_is_a_distilbert_of_at_most_16_mib():
    config = json.loads((TINY / "config.json").read_text())
    assert (config["model_type"], config["n_layers"], config["dim"]) == ("distilbert", 5, 384)
    assert sum(path.stat().st_size for path in TINY.iterdir()) <= 16 * 2**20
    tensors, _ = read_safetensors(TINY / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}


def test_minibert_tiny_needs_no_network_and_tells_nothing_of_where_it_was_made():
    encoder, tokenizer = load_encoder("minibert-tiny"), minibert.load_tokenizer("minibert-tiny")
    batch = tokenizer(["A fine film, in its way.", "dull"])
    hidden = encoder(batch.input_ids, batch.attention_mask)
    assert hidden.shape == (2, batch.input_ids.shape[1], 384) and hidden.isfinite().all()
    settings = json.loads((TINY / "settings.json").read_text())
    assert "/" not in settings["teacher"] or settings["teacher"].startswith("sentence-transformers/")


def test_minibert_tiny_knows_which_sentences_are_alike():
    """Not a bag of words: the pair that means the same shares no content word."""
    encoder, tokenizer = load_encoder("minibert-tiny"), minibert.load_tokenizer("minibert-tiny")
    batch = tokenizer(["a very funny comedy", "it made everyone laugh", "the soldiers died in the war"])
    with torch.inference_mode():
        hidden = encoder(batch.input_ids, batch.attention_mask)
    pooled = minibert.head.pool(hidden, batch.attention_mask, "mean")
    likeness = torch.nn.functional.cosine_similarity(pooled[0], pooled[1:])
    assert likeness[0] > likeness[1] + 0.1


def test_a_folder_of_that_name_comes_before_the_bundled_one(tmp_path, monkeypatch):
    (tmp_path / "minibert-tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint("minibert-tiny") == Path("minibert-tiny")


def test_reviews_take_the_bundled_model_and_their_own_settings():
    options = finetune.parse(["reviews"])
    assert {key: getattr(options, key) for key in finetune.DEFAULTS} == finetune.TASK_DEFAULTS["reviews"]
    assert options.model == "minibert-tiny"
    options = finetune.parse(["reviews", "--epochs", "1", "--lr", "1e-5"])
    assert (options.model, options.epochs, options.lr) == ("minibert-tiny", 1, 1e-5)
    options = finetune.parse(["reviews", "--model", "mine"])  # the rate for a small model could ruin it
    assert {key: getattr(options, key) for key in finetune.DEFAULTS} == finetune.DEFAULTS | {"model": "mine"}
    options = finetune.parse(["reviews", "--model", "minibert-tiny"])
    assert {key: getattr(options, key) for key in finetune.DEFAULTS} == finetune.TASK_DEFAULTS["reviews"]
    options = finetune.parse(["imdb"])
    assert {key: getattr(options, key) for key in finetune.DEFAULTS} == finetune.DEFAULTS
