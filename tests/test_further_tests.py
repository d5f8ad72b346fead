"""Stars as labels and how far off they are; and further test sets, on which every row is scored, too."""

import numpy as np
import pytest
from small_data import REVIEWS, review_folder, review_members, write_archive
from test_finetune import STARS, arguments, five_classes

from minibert import finetune, metrics
from minibert.data import load_task
from minibert.data.corpora import CORPORA
from minibert.plumbing.files import UserError, read_json
from minibert.text_classifier import load_classifier

WORDS = ["dull", "bad", "play", "good", "fine"]  # of `five_classes`, in the order of STARS


# ---- stars


def starred(root, stars):
    """`review_folder` with the stars of every review in its file's name: {folder: [stars]}."""
    for folder, given in stars.items():
        (root / folder).mkdir(parents=True)
        for i, (text, number) in enumerate(zip(REVIEWS[folder], given, strict=True)):
            (root / folder / f"{i}_{number}.txt").write_text(text, encoding="utf-8")
    return root


def test_stars_are_read_from_the_names_of_the_files_and_sorted_by_number(tmp_path):
    stars = {"train/neg": [1, 1, 4, 4, 4], "train/pos": [10, 10, 10, 7, 7], "test/neg": [1, 4], "test/pos": [10, 10, 7]}
    task = load_task("imdb-stars", starred(tmp_path / "aclImdb", stars), sample=True)
    assert task.train.label_names == ["1", "4", "7", "10"] and task.unit == "stars"
    assert [task.test.label_names[label] for label in task.test.labels] == ["1", "4", "10", "10", "7"]
    assert load_task("imdb", tmp_path / "aclImdb", sample=True).unit is None


def test_stars_are_read_from_an_archive_as_well(tmp_path):
    path = write_archive(tmp_path / "reviews.tar.gz", review_members())
    with pytest.raises(UserError, match="one label"):  # all its reviews have 7 stars
        load_task("imdb-stars", path, sample=True)


def test_a_review_without_stars_in_its_name_is_named(tmp_path):
    folder = review_folder(tmp_path / "aclImdb")
    (folder / "train" / "neg" / "0_7.txt").rename(folder / "train" / "neg" / "plain.txt")
    with pytest.raises(UserError, match="train/neg/plain.txt has no stars in its name"):
        load_task("imdb-stars", folder, sample=True)


def test_a_part_of_the_reviews_is_refused_unless_it_is_wanted(tmp_path):
    with pytest.raises(UserError, match="the published one"):
        load_task("imdb-stars", review_folder(tmp_path / "aclImdb"))


def test_the_published_stars_add_up_to_the_published_reviews():
    for part in ("train", "test"):
        counts = CORPORA["imdb-stars"].counts[part]
        for sentiment, stars in (("neg", "1234"), ("pos", ("7", "8", "9", "10"))):
            assert sum(counts[number] for number in stars) == CORPORA["imdb"].counts[part][sentiment]
    assert CORPORA["imdb-stars"].sources == CORPORA["imdb"].sources  # fetched once for both


@pytest.mark.slow
def test_the_real_reviews_have_the_published_stars(data_folder):
    task = load_task("imdb-stars", data_folder / "aclImdb_labelled.tar.gz")
    assert (len(task.train) + len(task.validation), len(task.test)) == (25_000, 25_000)


def test_the_mean_absolute_error_by_hand():
    assert metrics.mean_absolute_error([0, 1, 2, 2], [0, 2, 0, 2], [1, 4, 10]) == pytest.approx((0 + 6 + 9 + 0) / 4)


def test_a_run_on_stars_says_how_far_off_each_row_is(tiny_bert, tmp_path, capsys):
    for part, count in (("train", 60), ("test", 20)):
        for i in range(count):
            number = (1, 4, 7, 10)[i % 4]
            path = tmp_path / "aclImdb" / part / ("neg" if number < 5 else "pos") / f"{i}_{number}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"the {WORDS[i % 4]} film, number {i} {part}", encoding="utf-8")
    words = arguments("imdb-stars", tiny_bert, tmp_path / "run", "--sample", "--data", str(tmp_path / "aclImdb"))
    finetune.main([*words, "--seeds", "0,1", "--epochs", "2"])
    rows = read_json(tmp_path / "run" / "metrics.json")["rows"]
    assert rows["majority"]["mean_absolute_error"] > 2  # one answer for 1, 4, 7 and 10 stars alike
    assert set(rows["finetuned"]["std"]) >= {"mean_absolute_error"}
    line = f"fine-tuned {rows['finetuned']['mean']['mean_absolute_error']:.3f}"
    assert "mean absolute error in stars" in capsys.readouterr().out
    assert line in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


# ---- further test sets


def other_domain(path, count=25, column="text"):
    rows = [f"{column},label", *(f"a {WORDS[i % 5]} book of {i} pages,{STARS[i % 5]}" for i in range(count))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_every_row_is_scored_on_further_test_sets_too(tiny_bert, tmp_path, capsys):
    data, books = five_classes(tmp_path / "stars.csv"), other_domain(tmp_path / "books.csv")
    for i in range(10):
        path = tmp_path / "hard" / STARS[i % 5] / f"{i}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"not {WORDS[i % 5]}, {i}")
    words = arguments(data, tiny_bert, tmp_path / "run", "--also-test", f"books={books}", "--also-test",
                      f"hard={tmp_path / 'hard'}", "--seeds", "0,1", "--untrained")  # fmt: skip
    finetune.main(words)
    record = read_json(tmp_path / "run" / "metrics.json")
    assert {name: one["texts"] for name, one in record["also_tests"].items()} == {"books": 25, "hard": 10}
    for one in record["also_tests"].values():
        assert list(one["rows"]) == list(record["rows"])
    assert record["test_texts"] == 20  # the test set itself is as it was
    printed = capsys.readouterr().out
    assert "also tested on" in printed and "hard" in printed
    assert "books" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_a_further_test_set_changes_no_other_figure_and_the_saved_classifier_agrees(tiny_bert, tmp_path):
    data, books = five_classes(tmp_path / "stars.csv"), other_domain(tmp_path / "books.csv")
    finetune.main(arguments(data, tiny_bert, tmp_path / "alone"))
    finetune.main(arguments(data, tiny_bert, tmp_path / "both", "--also-test", f"books={books}"))
    alone, both = (read_json(tmp_path / name / "metrics.json") for name in ("alone", "both"))
    for name, row in alone["rows"].items():
        for key in set(row) - {"seconds"}:
            assert both["rows"][name][key] == row[key], (name, key)
    texts = (
        load_task(str(books)).train.texts + load_task(str(books)).validation.texts + load_task(str(books)).test.texts
    )
    labels = {line.rsplit(",", 1)[0]: line.rsplit(",", 1)[1] for line in books.read_text().splitlines()[1:]}
    predicted = load_classifier(tmp_path / "both").predict(texts)
    accuracy = np.mean([labels[text] == guess for text, guess in zip(texts, predicted, strict=True)])
    assert both["also_tests"]["books"]["rows"]["finetuned"]["accuracy"] == pytest.approx(accuracy)


def test_texts_of_a_further_test_set_that_stand_in_train_are_counted(tiny_bert, tmp_path, capsys):
    data = five_classes(tmp_path / "stars.csv")
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--also-test", f"same={data}", "--dry-run"))
    assert "80 of them stand in train or validation" in capsys.readouterr().out


def test_the_report_does_not_call_them_new(tiny_bert, tmp_path):
    data = five_classes(tmp_path / "stars.csv")
    finetune.main(arguments(data, tiny_bert, tmp_path / "run", "--mode", "frozen", "--also-test", f"same={data}"))
    report = (tmp_path / "run" / "report.md").read_text(encoding="utf-8")
    assert "on same, 100 texts, 80 of them in train or validation, too." in report
    assert "none of them was trained or chosen on" not in report


def test_a_pair_is_seen_only_when_both_of_its_texts_are(tiny_bert, tmp_path, capsys):
    header, rows = "text,text_pair,label", [f"premise {i % 4},claim {i},{'ab'[i % 2]}" for i in range(40)]
    (tmp_path / "pairs.csv").write_text("\n".join([header, *rows]) + "\n")
    (tmp_path / "more.csv").write_text("\n".join([header, *(row.replace("claim", "thought") for row in rows)]) + "\n")
    words = ["--also-test", f"more={tmp_path / 'more.csv'}", "--dry-run"]
    finetune.main(arguments(tmp_path / "pairs.csv", tiny_bert, tmp_path / "run", *words))
    assert "also tested on more: 40 texts" in (printed := capsys.readouterr().out)
    assert "stand in train" not in printed


@pytest.mark.parametrize(
    "words, message",
    [
        (["books"], "'books' is not NAME=PATH"),
        (["=books.csv"], "is not NAME=PATH"),
        (["test=books.csv"], "a name of its own"),
        (["a=books.csv", "a=books.csv"], "each needs a name of its own"),
        (["a=nowhere.csv"], "nowhere.csv: no such file"),
        (["a=books.txt"], "books.txt: --also-test takes"),
        (["a=odd.csv"], "odd.csv, line 2: label 'odd' is none of the task's"),
        (["a=columns.csv"], "no column 'text'"),
        (["a=pairs.csv"], "text_pair is here or in the training set, but not in both"),
    ],
)
def test_further_test_sets_that_cannot_be_are_one_line(words, message, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = five_classes(tmp_path / "stars.csv")
    other_domain(tmp_path / "books.csv"), other_domain(tmp_path / "columns.csv", column="words")
    (tmp_path / "odd.csv").write_text("text,label\na book,odd\n")
    (tmp_path / "pairs.csv").write_text("text,text_pair,label\na book,a film,good\n")
    more = [word for one in words for word in ("--also-test", one)]
    with pytest.raises(UserError) as caught:
        finetune.main(arguments(data, tiny_bert, tmp_path / "run", *more))
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()
