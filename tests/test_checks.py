"""Each check finds a planted fault, and leaves a clean case alone."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from example_runs import make_features, make_probabilities, make_run, make_task, some_texts, write_log
from programs import load_program
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from minibert import load_tokenizer
from minibert.data import load_task
from minibert.metrics import softmax
from minibert.plumbing.files import UserError, write_checked_json
from minibert.report import calibration, checks, copies, label_errors, surface, telling_words
from minibert.report.data_facts import count_pieces
from minibert.report.gather import Run, bootstrap, gather, gather_near_copies, gather_training
from minibert.report.training_section import by_update
from minibert.report.words import collapse_warning


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("minibert-tiny")


def status(findings, name):
    return next(one for one in findings if one["name"] == name)["status"]


def found_in(folder, tokenizer, task, features=True, **more):
    """{check's name: status} of a made-up run."""
    job, results = make_run(folder, tokenizer, task, **more)
    record, _ = gather(job, results, make_features(task) if features else None)
    return {one["name"]: one["status"] for one in record["checks"]}


def test_a_clean_run_says_fourteen_checks_nothing_found(tokenizer, tmp_path):
    job, results = make_run(tmp_path, tokenizer, make_task((400, 100, 400)), max_length=64)
    record, _ = gather(job, results, make_features(make_task((400, 100, 400))))
    assert checks.summary(record["checks"]) == "14 checks, nothing found", [
        one for one in record["checks"] if one["status"] != "clear"
    ]


def test_a_run_without_features_says_which_checks_could_not_be_made(tokenizer, tmp_path):
    job, results = make_run(tmp_path, tokenizer, make_task((400, 100, 400)), mode="finetune", max_length=64)
    record, _ = gather(job, results)
    assert checks.summary(record["checks"]) == "12 checks, nothing found; 2 could not be made"
    assert status(record["checks"], "near copies") == "left out"
    assert status(record["checks"], "fine-tuned against frozen") == "left out"


def test_every_finding_has_a_sentence_and_says_what_to_do(tokenizer, tmp_path):
    task = make_task((60, 20, 40), names=("a", "b", "c"))
    task = replace(task, test=replace(task.test, texts=task.train.texts[:40]))
    job, results = make_run(tmp_path, tokenizer, task, skills=(0.1, 0.1, 0.1), sure=9, max_length=8)
    record, _ = gather(job, results, make_features(task))
    found = [one for one in record["checks"] if one["status"] == "found"]
    assert len(found) >= 5
    for one in found:
        assert one["sentence"].endswith(".") and one["advice"] and one["number"] is not None


# Copies


def test_a_test_text_that_was_trained_on_is_found_whatever_its_case_spacing_and_form(tokenizer, tmp_path):
    task = make_task((400, 100, 400))
    assert found_in(tmp_path / "clean", tokenizer, task)["test texts in training"] == "clear"
    spoiled = task.test.texts[10:] + [text.upper().replace(" ", "\n ") for text in task.train.texts[:6]]
    spoiled += ["\ufb01ne " + text for text in task.train.texts[6:10]]  # one letter for two, equal under NFKC
    train = replace(task.train, texts=[*task.train.texts[:6], *("fine " + text for text in task.train.texts[6:10]),
                                       *task.train.texts[10:]])  # fmt: skip
    task = replace(task, train=train, test=replace(task.test, texts=spoiled))
    job, results = make_run(tmp_path / "spoiled", tokenizer, task)
    record, _ = gather(job, results, make_features(task))
    assert record["data"]["copies"]["across"] == 10
    assert status(record["checks"], "test texts in training") == "found"


def test_copies_in_validation_and_with_another_label_count_too():
    task = make_task((40, 20, 30))
    test = replace(task.test, texts=[task.validation.texts[1], *task.test.texts[1:]], labels=[0] * 30)
    across = copies.across(copies.keys(test), copies.keys(task.train) + copies.keys(task.validation))
    assert across == {0: 41}


def test_the_second_text_of_a_pair_counts():
    task = make_task((10, 10, 10), pairs=True)
    test = replace(task.test, texts=task.train.texts, pairs=task.train.pairs[:5] + task.test.pairs[5:])
    assert sorted(copies.across(copies.keys(test), copies.keys(task.train))) == [0, 1, 2, 3, 4]


def test_near_copies_need_like_features_and_like_words():
    random = np.random.default_rng(0)
    others, tests = random.normal(size=(50, 16)) + 5, random.normal(size=(20, 16)) + 5
    texts, test_texts = some_texts(50, 1), some_texts(20, 2)
    assert copies.near(tests, others, test_texts, texts) == {}
    tests[3], test_texts[3] = others[7] + 0.01, texts[7] + " indeed"  # one word more
    tests[4] = others[8]  # the same direction, other words
    test_texts[5] = texts[9]  # the same words, another direction
    assert copies.near(tests, others, test_texts, texts) == {3: 7}
    assert copies.near(tests, others, test_texts, texts, leave_out=[3]) == {}


def test_pairs_that_share_one_text_are_no_near_copies():
    task = make_task((50, 20, 20), pairs=True)
    others = [f"so much for that, we all went home and slept {i}" for i in range(20)]
    test = replace(task.test, texts=task.train.texts[:20], pairs=others)
    task = replace(task, test=test)
    features = {part: np.random.default_rng(0).normal(size=(50, 8))[: len(getattr(task, part))] for part in
                ("train", "validation", "test")}  # fmt: skip
    found = gather_near_copies(SimpleNamespace(task=task), (), features)
    assert found["texts"] == 0
    task = replace(task, test=replace(test, pairs=[f"{text} indeed" for text in task.train.pairs[:20]]))
    found = gather_near_copies(SimpleNamespace(task=task), (), features)
    assert found["texts"] == 20
    assert found["examples"][0]["text"].endswith("indeed")


def test_near_copies_are_told():
    assert checks.near_copies(0, 1000)["status"] == "clear"
    assert checks.near_copies(30, 1000, 0.9, 0.85)["status"] == "found"


def test_copies_inside_a_set_are_found(tokenizer, tmp_path):
    task = make_task((400, 100, 400))
    assert found_in(tmp_path / "clean", tokenizer, task)["copies inside a set"] == "clear"
    task = replace(task, test=replace(task.test, texts=task.test.texts[:390] + task.test.texts[:10]))
    assert found_in(tmp_path / "spoiled", tokenizer, task)["copies inside a set"] == "found"


@pytest.mark.slow
def test_the_official_imdb_has_exactly_these_copies(data_folder):
    """123 test texts that also stand in train; 199 and 96 extra copies inside test and train."""
    task = load_task("imdb", data_folder / "aclImdb_labelled.tar.gz")
    known = {part: copies.keys(getattr(task, part)) for part in ("train", "validation", "test")}
    others = known["train"] + known["validation"]
    assert len(copies.across(known["test"], others)) == 123
    assert (len(copies.within(known["test"])), len(copies.within(others))) == (199, 96)


# Labels


def test_turned_labels_are_suspected_and_others_are_not():
    labels = np.arange(600) % 3
    probabilities = make_probabilities(labels, 3, 6.0, seed=1)
    assert label_errors.suspects(labels, probabilities) == []
    turned = labels.copy()
    turned[:30] = (turned[:30] + 1) % 3
    found = label_errors.suspects(turned, probabilities)
    assert {index for index, _ in found} == set(range(30))
    assert all(guess == labels[index] for index, guess in found)


def test_out_of_fold_probabilities_find_turned_labels_of_the_training_set():
    labels = np.arange(400) % 2
    features = np.random.default_rng(0).normal(size=(400, 20)).astype(np.float32)
    features[:, 0] += 8.0 * labels
    assert label_errors.suspects(labels, label_errors.out_of_fold(features, labels, 2)) == []
    turned = labels.copy()
    turned[:12] = 1 - turned[:12]
    found = [index for index, _ in label_errors.suspects(turned, label_errors.out_of_fold(features, turned, 2))]
    assert len(set(found) & set(range(12))) >= 9 and not set(found) - set(range(12))


def test_a_text_is_never_judged_by_a_regression_that_saw_it():
    """Labels without any meaning: a regression on texts that it saw would know them by heart."""
    random = np.random.default_rng(0)
    features, labels = random.normal(size=(60, 100)).astype(np.float32), random.integers(2, size=60)
    probabilities = label_errors.out_of_fold(features, labels, 2)
    assert (probabilities.argmax(1) == labels).mean() < 0.7
    assert label_errors.suspects(labels, probabilities) == []


def test_a_list_of_suspects_is_compared_with_what_people_say(tmp_path, capsys):
    example = load_program("label_errors.py")
    ids = ["test/neg/1_2.txt", "test/neg/2_1.txt", "test/pos/3_9.txt", "test/pos/9_9.txt"]
    found = {"label_errors": {"test": {"ids": ids[:3]}}, "labels": ["neg", "pos"]}
    (tmp_path / "metrics.json").write_text(json.dumps(found), encoding="utf-8")
    key = "id,votes_given\ntest/neg/1_2,1\ntest/neg/2_1,4\ntest/pos/9_9,0\n"  # two wrong ones, of which one is listed
    (tmp_path / "key.csv").write_text(key, encoding="utf-8")
    rows = [f"{name},{name[5:8]}" for name in ids]
    (tmp_path / "predictions.csv").write_text("\n".join(["id,gold", *rows]), encoding="utf-8")
    (tmp_path / "work").mkdir()
    for row, of_pos in {
        "bag-of-words": [0.1, 0.9, 0.9, 0.9], "finetuned-0": [0.1, 0.4, 0.9, 0.3], "finetuned-1": [0.6, 0.3, 0.9, 0.3],
    }.items():  # fmt: skip
        result = {"probabilities": [[1 - one, one] for one in of_pos]}
        write_checked_json(tmp_path / "work" / f"{row}.json", result)
    example.main([str(tmp_path), str(tmp_path / "key.csv")])
    out = capsys.readouterr().out
    assert "the worst 3: people judged 2, and found 1 wrong" in out
    table = {line[:26].strip(): line[26:].split() for line in out.splitlines()[-6:]}
    assert table == {  # all four, without the first and the last, and those two
        "accuracy, %": ["all", "without", "2", "on", "those"],
        "bag-of-words": ["75.00", "50.00", "100.00"],
        "finetuned": ["62.50", "±", "17.68", "100.00", "±", "0.00", "25.00", "±", "35.36"],
        "finetuned, averaged": ["75.00", "100.00", "50.00"],
        "finetuned + bag-of-words": ["75.00", "±", "0.00", "50.00", "±", "0.00", "100.00", "±", "0.00"],
        "all of these": ["75.00", "50.00", "100.00"],
    }
    for columns, votes, why in (("name", 1, "columns id and votes_given"), ("id", "many", "votes_given of a is no")):
        (tmp_path / "other.csv").write_text(f"{columns},votes_given\na,{votes}\n", encoding="utf-8")
        with pytest.raises(UserError, match=why):
            example.main([str(tmp_path), str(tmp_path / "other.csv")])
    (tmp_path / "metrics.json").write_text(json.dumps({"label_errors": {"test": {"ids": []}}}), encoding="utf-8")
    with pytest.raises(UserError, match="lists no suspected label errors"):
        example.main([str(tmp_path), str(tmp_path / "key.csv")])
    votes = {"a": 1, "b": 4, "c": 0}
    assert example.compare(["a", "b", "d"], votes) == (2, 1, 1 / 3, 1 / 2, 1 / 2)


def test_a_difficult_task_with_right_labels_is_left_alone():
    labels = np.arange(1000) % 2
    found = label_errors.suspects(labels, make_probabilities(labels, 2, 1.0, seed=3))
    assert checks.label_errors(suspected(len(found)))["status"] == "clear"
    assert checks.label_errors(suspected(30))["status"] == "found"
    assert checks.label_errors(suspected(30, expected=20))["status"] == "clear"
    assert checks.label_errors(suspected(2), suspected(30))["status"] == "found"


def suspected(count, texts=1000, expected=0.0):
    return {"texts": texts, "suspected": count, "expected": expected}


def test_a_perfect_judge_of_many_classes_is_expected_to_doubt_some_right_labels():
    """Twenty Gaussian classes that overlap, and their true posteriors: no label is wrong."""
    random = np.random.default_rng(0)
    centres, labels = 2.2 * random.normal(size=(20, 4)), np.arange(4000) % 20
    points = centres[labels] + random.normal(size=(4000, 4))
    probabilities = softmax(-((points[:, None] - centres) ** 2).sum(2) / 2)
    count = len(label_errors.suspects(labels, probabilities))
    expected = label_errors.expected_suspects(labels, probabilities)
    assert count > 40 and abs(count - expected) < 3 * expected**0.5
    assert checks.label_errors(suspected(count, 4000, expected))["status"] == "clear"
    wrong = np.where(np.arange(4000) < 80, (labels + 7) % 20, labels)
    count = len(label_errors.suspects(wrong, probabilities))
    expected = label_errors.expected_suspects(wrong, probabilities)
    assert checks.label_errors(suspected(count, 4000, expected))["status"] == "found"


def test_a_class_of_one_text_is_not_suspected_for_its_rarity():
    labels = np.concatenate([np.arange(200) % 2, np.arange(2, 12)])
    features = np.random.default_rng(0).normal(size=(210, 20)) + 8.0 * np.eye(20)[labels]
    assert label_errors.suspects(labels, label_errors.out_of_fold(features, labels, 12)) == []
    doubled, keys = np.tile(labels, 2), [i % 210 for i in range(420)]
    assert label_errors.suspects(doubled, label_errors.out_of_fold(np.tile(features, (2, 1)), doubled, 12, keys)) == []
    wrong = labels.copy()
    wrong[:8] = 1 - wrong[:8]
    with_them = label_errors.suspects(wrong, label_errors.out_of_fold(features, wrong, 12))
    without = label_errors.suspects(wrong[:200], label_errors.out_of_fold(features[:200], wrong[:200], 2))
    assert len(with_them) >= len(without) >= 4


def test_copies_are_judged_by_what_has_seen_none_of_them():
    labels = np.arange(400) % 2
    features = np.random.default_rng(0).normal(size=(400, 20))
    features[:, 0] += 8.0 * labels
    labels[:12] = 1 - labels[:12]
    once = label_errors.suspects(labels, label_errors.out_of_fold(features, labels, 2))
    keys = [i % 400 for i in range(800)]
    twice = label_errors.out_of_fold(np.tile(features, (2, 1)), np.tile(labels, 2), 2, keys)
    assert np.allclose(twice[:400], twice[400:], atol=1e-6)
    found = {index % 400 for index, _ in label_errors.suspects(np.tile(labels, 2), twice)}
    assert len(once) >= 9 and found >= {index for index, _ in once}


# Words


def shortcuts_of(texts, labels):
    return {one["word"] for one in telling_words.shortcuts(*telling_words.count_words(texts, labels, 2))}


def test_a_rating_mark_is_a_shortcut_and_an_ordinary_word_is_none():
    texts, labels = some_texts(400, 5), [i % 2 for i in range(400)]
    assert shortcuts_of(texts, labels) == set()
    marked = [f"{text} {9 if label else 2}/10" if i % 10 < 2 else text
              for i, (text, label) in enumerate(zip(texts, labels, strict=True))]  # fmt: skip
    assert shortcuts_of(marked, labels) == {"9/10", "2/10"}


def test_a_word_that_all_but_decides_is_a_shortcut_only_if_the_classifier_weighs_it():
    texts, labels = some_texts(400, 5), [i % 2 for i in range(400)]
    texts = [f"{text} zebra" if label and i % 4 == 1 else text
             for i, (text, label) in enumerate(zip(texts, labels, strict=True))]  # fmt: skip
    counted = telling_words.count_words(texts, labels, 2)
    assert [one["word"] for one in telling_words.shortcuts(*counted)] == ["zebra"]
    assert telling_words.shortcuts(*counted, weighty={"film"}) == []
    assert telling_words.telling(*counted)[1][0]["word"] == "zebra"


def test_a_word_with_an_apostrophe_is_weighty_if_its_parts_are():
    labels = [i % 2 for i in range(400)]
    texts = [f"{text} y'all" if label and i % 3 else text
             for i, (text, label) in enumerate(zip(some_texts(400, 4), labels, strict=True))]  # fmt: skip
    counted = telling_words.count_words(texts, labels, 2)
    for weighty, found in (({"y all"}, ["y'all"]), ({"all"}, ["y'all"]), ({"fall"}, [])):
        assert [one["word"] for one in telling_words.shortcuts(*counted, weighty=weighty)] == found


def test_words_are_found_where_no_space_parts_them_and_marks_stay_on_their_letters():
    assert telling_words.words("\u4f18\u60e0 8/10") == {"\u4f18", "\u60e0", "8/10"}
    assert telling_words.words("\u092b\u093f\u0932\u094d\u092e") == {"\u092b\u093f\u0932\u094d\u092e"}
    assert copies.shared_words("\u8fd9\u90e8\u7535\u5f71\u5f88\u597d", "\u8fd9\u90e8\u7535\u5f71\u5f88\u574f") > 0.7


def test_classes_that_take_turns_in_a_long_file_are_all_counted():
    labels = [i % 2 for i in range(10_000)]
    _, _, sizes = telling_words.count_words(["a text"] * 10_000, labels, 2)
    assert sizes.sum() == telling_words.SAMPLE and sizes.min() > 3800


def test_a_word_that_tells_nothing_is_no_shortcut_in_uneven_classes():
    """95% of its texts are of one class, but so are 95% of all texts."""
    labels = [int(i % 20 == 0) for i in range(1000)]
    texts = [f"{text} hello" if i % 3 else text for i, text in enumerate(some_texts(1000, 6))]
    assert shortcuts_of(texts, labels) == set()


# Length, place, train against test, vocabulary


def test_length_that_tells_the_label_is_found():
    labels = np.arange(300) % 2
    random = np.random.default_rng(0).integers(5, 50, size=300)
    assert checks.length_or_place(surface.told_by(random, labels, 2), None, ["a", "b"])["status"] == "clear"
    told = surface.told_by(random + 30 * labels, labels, 2)
    assert checks.length_or_place(told, None, ["a", "b"])["status"] == "found"


def test_a_sorted_file_is_found_and_folders_have_no_order():
    labels = [0] * 50 + [1] * 50 + [2] * 50
    lines = surface.places([f"line {i + 2}" for i in range(150)])
    assert surface.places(["train/pos/1_9.txt", "line 2"]) is None
    told = surface.told_by(lines, labels, 3)
    assert told["auroc"] == 1.0
    assert checks.length_or_place(None, told, ["a", "b", "c"])["status"] == "found"
    mixed = surface.told_by(lines, np.arange(150) % 3, 3)
    assert checks.length_or_place(None, mixed, ["a", "b", "c"])["status"] == "clear"


def test_a_test_set_from_elsewhere_is_found():
    first = some_texts(300, 1)
    assert checks.shift(surface.told_apart(first, some_texts(300, 2)))["status"] == "clear"
    elsewhere = [f"{text} hotel" if i % 3 else text for i, text in enumerate(some_texts(300, 3))]
    told = surface.told_apart(first, elsewhere)
    assert checks.shift(told)["status"] == "found"
    assert told["words"][1][0] == "hotel"
    assert checks.shift(surface.told_apart(first, elsewhere[:5]))["status"] == "left out"


def test_texts_that_stand_twice_do_not_tell_train_from_test():
    first, second = some_texts(301, 1), some_texts(301, 2)
    assert checks.shift(surface.told_apart(first + first, second + second))["status"] == "clear"


def test_classes_that_take_turns_do_not_tell_train_from_test():
    """Three kinds of text in turn; each third of a long training set would be of one kind."""
    texts = [f"{text} {('red', 'green', 'blue')[i % 3]}" for i, text in enumerate(some_texts(6000, 1))]
    assert checks.shift(surface.told_apart(texts[:4500], texts[4500:]))["status"] == "clear"


def test_pieces_of_a_vocabulary_that_calls_the_unknown_otherwise_are_counted():
    backend = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "<pad>": 2, "<unk>": 3, "fine": 4}, unk_token="<unk>"))
    tokenizer = SimpleNamespace(backend=backend, largest_id=4, cls_id=0, sep_id=1, pad_id=2)
    shares = count_pieces([SimpleNamespace(ids=np.array([0, 3, 3, 3, 4, 1]))], tokenizer)
    assert shares["unknown"] == 0.75


def test_a_vocabulary_for_another_language_is_found():
    tokenizer = load_tokenizer("minibert-tiny")
    english = ["The plot is thin, but the actors are good and I didn't mind.", "Two hours that flew by."]
    russian = ["Фильм очень хороший, всем советую посмотреть", "Скучный и длинный фильм"]
    unknown = ["\U0001f600\U0001f680 \u13a0\u13a1 \u13a2", "\u13a3 \u13a4 fine"]  # no piece is like these
    for texts, expected in ((english, "clear"), (russian, "found"), (unknown, "found")):
        assert checks.pieces(count_pieces(tokenizer.encode(texts), tokenizer))["status"] == expected, texts


# Classes


def test_rare_and_forgotten_classes_are_found():
    names = ["a", "b", "c"]
    assert checks.classes([40, 40, 40], names, [10, 9, 11], [10, 10, 10])["status"] == "clear"
    rare = checks.classes([400, 400, 5], names)
    assert rare["status"] == "found" and "c has fewer" in rare["sentence"]
    forgotten = checks.classes([40, 40, 40], names, [20, 10, 0], [10, 10, 10])
    assert forgotten["status"] == "found" and "c is never predicted" in forgotten["sentence"]
    assert checks.classes([40, 40, 40], names, [20, 10, 0], [20, 10, 0])["status"] == "clear"  # nothing to predict


def test_a_classifier_that_is_no_better_than_the_majority_is_found():
    good = {"majority": 0.5, "bag-of-words": 0.7, "frozen": 0.6, "fine-tuned": 0.8}
    assert checks.majority(good)["status"] == "clear"
    bad = checks.majority(good | {"frozen": 0.5})
    assert bad["status"] == "found" and "frozen is no better" in bad["sentence"]
    assert "--epochs" not in bad["advice"]  # what was not fine-tuned has none
    assert "--epochs" in checks.majority(good | {"fine-tuned": 0.5})["advice"]


# Training and figures


def test_a_loss_by_cutting_is_found_only_beyond_chance():
    assert checks.truncation((900, 1000), (880, 1000), 256)["status"] == "clear"  # 2 points of 1,000 texts each
    assert checks.truncation((900, 1000), (800, 1000), 256)["status"] == "found"
    assert checks.truncation((900, 1000), (2, 10), 256)["status"] == "clear"  # 1% of the texts
    assert checks.truncation((9, 10), (6, 10), 256)["status"] == "clear"  # too few to tell
    assert checks.truncation((0, 0), (80, 100), 8)["status"] == "found"  # no text is read whole


@pytest.mark.parametrize(
    "limit, kept, advised, not_advised",
    [(256, "head", ["head+tail", "512"], "--windows"), (256, "head+tail", ["512"], "head+tail"),
     (512, "head", ["head+tail", "--windows"], "512"), (512, "tail", ["--windows"], "512"),
     (64, "windows", ["more `--windows`", "--max-length"], "--truncation"),
     (512, "pairs", ["a model that reads more"], "--windows")],
)  # fmt: skip
def test_nobody_is_told_to_do_what_the_run_did(limit, kept, advised, not_advised):
    pairs = kept == "pairs"
    todo = checks.truncation((900, 1000), (800, 1000), limit, "tail" if pairs else kept, pairs)["advice"]
    assert all(words in todo for words in advised) and not_advised not in todo


def test_a_classifier_that_is_right_and_unsure_is_not_told_to_learn_less():
    told = calibration.expected_error(np.zeros(500, dtype=int), np.tile([0.7, 0.3], (500, 1)))
    assert told["too_sure"] == pytest.approx(-0.3)
    found = checks.calibration(told, "fine-tuned")
    assert found["status"] == "found" and found["advice"] == "more `--epochs`"
    assert "--epochs" not in checks.calibration(told, "bag-of-words")["advice"]


def test_overconfidence_is_found_and_cured_by_the_temperature():
    labels = np.arange(2000) % 3
    calibrated = make_probabilities(labels, 3, 1.5, seed=0)
    told = calibration.expected_error(labels, calibrated)
    assert checks.calibration(told, "fine-tuned")["status"] == "clear"
    sure = make_probabilities(labels, 3, 1.5, seed=0, sure=3.0)
    told = calibration.expected_error(labels, sure)
    assert told["low"] <= told["error"] <= told["high"] and told["error"] > 2 * told["chance"]
    assert checks.calibration(told, "fine-tuned")["status"] == "found"
    validation = make_probabilities(labels, 3, 1.5, seed=1, sure=3.0)
    temperature = calibration.fit_temperature(labels, validation)
    assert temperature == pytest.approx(3.0, rel=0.1)
    assert "fewer" in checks.calibration(told, "fine-tuned")["advice"] and told["too_sure"] > 0.1
    cooled = calibration.apply_temperature(sure, temperature)
    assert (cooled.argmax(1) == sure.argmax(1)).all()
    assert checks.calibration(calibration.expected_error(labels, cooled), "fine-tuned")["status"] == "clear"


@pytest.mark.parametrize("gap", [0.0, 0.03, 0.1])
def test_the_interval_of_the_calibration_error_holds_the_true_one(gap):
    """Confidence from 0.6 to 1, right less often by the same gap everywhere: that gap is the true error."""
    random, held = np.random.default_rng(0), 0
    for _ in range(40):
        confidence = random.uniform(0.6, 1, 300)
        labels = (random.random(300) > confidence - gap).astype(int)
        told = calibration.expected_error(labels, np.stack([confidence, 1 - confidence], 1))
        held += told["low"] <= gap + 1e-9 and gap <= told["high"]
    assert held >= 36


def test_where_every_text_is_right_no_temperature_is_the_best():
    labels, probabilities = [0, 1, 1], np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    assert calibration.fit_temperature(labels, probabilities) is None
    assert (calibration.apply_temperature(probabilities, None) == probabilities).all()


def test_where_probabilities_say_nothing_no_temperature_is_advised():
    labels, probabilities = np.arange(100) % 2, np.tile([0.9, 0.1], (100, 1))
    told = calibration.expected_error(labels, probabilities)
    told["temperature"] = calibration.fit_temperature(labels, probabilities)
    assert checks.calibration(told, "fine-tuned")["advice"].startswith("believe none of its probabilities")


def test_labels_are_not_suspected_because_classes_are_many():
    """Right labels, and features that know little of them: with 40 classes each has a fortieth anyway."""
    labels = np.repeat(np.arange(40), 25)
    features = np.random.default_rng(0).normal(size=(1000, 16)) + 0.3 * np.eye(40)[labels][:, :16]
    probabilities = label_errors.out_of_fold(features, labels, 40)
    assert len(label_errors.suspects(labels, probabilities)) <= 20


def test_a_classifier_that_says_one_thing_hears_likely_causes():
    names, same = ["a", "b"], np.zeros(10, dtype=int)
    assert "learning rate" in collapse_warning("finetuned", same, names)
    assert "learning rate" not in collapse_warning("bag-of-words", same, names)
    assert collapse_warning("finetuned", same[:2], names) is None  # two texts may well be of one class


def test_a_test_set_of_one_class_is_no_collapse(tokenizer, tmp_path):
    task = make_task((100, 40, 40))
    test = task.test.select([i for i, label in enumerate(task.test.labels) if label == 0])
    task = replace(task, test=test)
    job, results = make_run(tmp_path, tokenizer, task, skills=(9.0, 9.0, 9.0))
    record, _ = gather(job, results, make_features(task))
    assert not [note for note in record["notes"] if note.startswith("WARNING")]


def test_the_calibration_error_of_a_small_example_by_hand():
    """Two bins: 0.9 sure and right half the time, 0.6 sure and always right: 0.5 x 0.4 + 0.5 x 0.4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])
    assert calibration.expected_error([0, 1, 0, 0], probabilities)["error"] == pytest.approx(0.4)
    table = calibration.reliability([0, 1, 0, 0], probabilities)
    assert [(one["texts"], one["accuracy"]) for one in table] == [(2, 1.0), (2, 0.5)]


def test_the_temperature_takes_logits_and_probabilities_alike():
    logits = np.random.default_rng(0).normal(size=(20, 4))
    cooled = calibration.apply_temperature(np.exp(logits) / np.exp(logits).sum(1, keepdims=True), 2.0)
    expected = np.exp(logits / 2) / np.exp(logits / 2).sum(1, keepdims=True)
    assert np.abs(cooled - expected).max() < 1e-12


def test_a_difference_within_the_spread_of_seeds_is_found():
    clear, unclear = {"points": 0.05, "low": 0.03, "high": 0.07}, {"points": 0.05, "low": -0.01, "high": 0.11}
    assert checks.difference(clear)["status"] == "clear"
    assert checks.difference(unclear)["status"] == "found"
    assert "over 3 seeds it varies by 1.00" in checks.difference(clear, spread=0.01, seeds=3)["sentence"]


class Rows:
    """As much of a `gather.Run` as a difference reads: right answers of two rows on 400 texts, several seeds each."""

    def __init__(self, one, other):
        self.labels, self.right = np.zeros(400, dtype=int), {"one": one, "other": other}
        self.predictions = {name: (np.arange(400) >= rows[0]).astype(int) for name, rows in self.right.items()}

    def accuracies(self, name):
        return [right / 400 for right in self.right[name]]


def test_the_interval_of_a_difference_knows_how_far_seeds_are_apart():
    single = Run.difference(Rows([320], [380]), "one", "other")
    assert single["points"] == pytest.approx(0.15) and 0.1 < single["low"] < 0.15 < single["high"] < 0.2
    agreeing = Run.difference(Rows([320] * 3, [380, 380, 380]), "one", "other")
    assert agreeing["low"] == pytest.approx(single["low"]) and agreeing["seeds"] == 3
    apart = Run.difference(Rows([320] * 3, [380, 330, 340]), "one", "other")  # +15, +2.5, +5: a mean of 7.5
    assert apart["points"] == pytest.approx(0.075) and apart["low"] < 0 < apart["high"]
    assert apart["points"] - apart["low"] > 4.303 * np.std([0.15, 0.025, 0.05], ddof=1) / 3**0.5


@pytest.mark.parametrize("texts", [40, 400])
def test_a_handful_of_texts_that_all_speak_for_one_side_are_no_proof(texts):
    """The exact sign test: five of five have p = 0.0625, six of six 0.03125."""
    labels, other = np.zeros((2, texts), dtype=int)
    for count, proof in ((1, False), (5, False), (6, True)):
        one = (np.arange(texts) < count).astype(int)
        points, low, high = bootstrap(labels, one, other)
        assert points == pytest.approx(count / texts) and low <= points <= high
        assert (low > 0) == proof
        assert bootstrap(labels, other, one)[0] == -points


def test_equal_answers_differ_by_nothing():
    labels = np.arange(40) % 2
    assert bootstrap(labels, labels, labels) == (0, 0, 0)


def test_a_length_that_tells_little_for_sure_does_not_hide_a_place_that_tells_more_for_sure():
    length, place = {"auroc": 0.72, "error": 0.06, "label": 0}, {"auroc": 0.69, "error": 0.01, "label": 1}
    told = checks.length_or_place(length, place, ["a", "b"])
    assert told["status"] == "found" and "place in the file" in told["sentence"] and " b " in told["sentence"]
    assert checks.length_or_place(length, None, ["a", "b"])["status"] == "clear"


def test_seeds_that_stopped_at_different_updates_are_averaged_where_they_are(tmp_path, monkeypatch):
    lines = [{"seed": seed, "epoch": 1, "update": 10 * i, "loss": 10.0 * i, "learning_rate": 1e-4, "gradient_norm": 1.0}
             for seed, count in ((0, 310), (1, 290)) for i in range(1, count + 1)]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    updates = gather_training(tmp_path / "log.jsonl")["updates"]
    longer, shorter = ([one["update"] for one in updates[seed]] for seed in "01")
    assert shorter[:-1] == longer[: len(shorter) - 1] and len(longer) <= 150
    drawn = []
    with monkeypatch.context() as patch:
        patch.setattr("minibert.report.pictures.lines", lambda title, words, series, *more: drawn.append(series) or "")
        by_update({"updates": updates}, "loss", "Loss", "loss", "How.")
    [(*of_seeds, mean)] = drawn  # each loss is its update here, and a group's mean lies before its last
    pairs = zip(mean["x"], mean["y"], strict=True)
    assert all(abs(x - y - 10) < 0.1 for x, y in pairs if x not in (shorter[-1], longer[-1]))


@pytest.mark.parametrize(
    "losses, expected",
    [((0.6, 0.5, 0.495), "clear"), ((0.6, 0.5, 0.4), "found"), ((0.6, 0.5, 0.7), "found"), ((0.6,), "left out")],
    ids=["settled", "still falling", "rising", "one epoch"],
)
def test_too_little_and_too_much_training_is_found(losses, expected, tokenizer, tmp_path):
    task = make_task((400, 100, 400))
    job, results = make_run(tmp_path, tokenizer, task)
    write_log(tmp_path, [0], losses)
    record, _ = gather(job, results, make_features(task))
    assert status(record["checks"], "length of training") == expected


def test_a_loss_of_nothing_does_not_end_the_report():
    epochs = [{"validation_loss": loss, "validation_accuracy": 1.0} for loss in (0.01, 0.0, 0.0004)]
    assert checks.training({0: epochs})["status"] == "found"
    assert checks.training({0: epochs[1:2] * 2})["status"] == "clear"


def test_a_vocabulary_with_a_word_twice_can_be_counted(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "a", "b"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert count_pieces(tokenizer.encode(["b a c"]), tokenizer) == {"tokens": 3, "unknown": 1 / 3, "single": 0.0}


def test_the_lead_of_several_seeds_is_that_of_their_means(tokenizer, tmp_path):
    job, results = make_run(tmp_path, tokenizer, make_task(), seeds=(0, 1, 2))
    record, *_ = gather(job, results, make_features(job.task))
    lead, rows = record["lead"], record["rows"]
    first, second = (rows[lead[name]] for name in ("first", "second"))
    gap = first.get("mean", first)["accuracy"] - second.get("mean", second)["accuracy"]
    assert lead["points"] == pytest.approx(gap)
    assert lead["low"] < lead["points"] < lead["high"]
