"""Splits and limits: fixed by a hash of each text, in each class's share, and no text on two sides."""

import random

import numpy as np
from small_data import every_text, labelled, write_csv

from minibert.data import Dataset, load_task
from minibert.data.splits import hold_out, stratified_subset


def uneven_rows():
    """60 texts of class a, 30 of b, 10 of c."""
    return [f"text number {i},{'a' if i < 60 else 'b' if i < 90 else 'c'}" for i in range(100)]


def test_each_text_is_in_exactly_one_part(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    assert every_text(task) == sorted(row.split(",")[0] for row in uneven_rows())


def test_a_split_keeps_the_share_of_each_class(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    assert task.test.class_counts() == [12, 6, 2]  # a fifth of 60, 30, 10
    assert task.validation.class_counts() == [10, 5, 2]  # a fifth of the 48, 24, 8 that are left
    assert task.train.class_counts() == [38, 19, 6]


def test_a_split_is_the_same_each_time_and_in_whatever_order_the_file_is(tmp_path):
    shuffled = uneven_rows()
    random.Random(1).shuffle(shuffled)
    one = load_task(str(write_csv(tmp_path / "one.csv", uneven_rows())))
    other = load_task(str(write_csv(tmp_path / "other.csv", shuffled)))
    for part in ("train", "validation", "test"):
        assert labelled(getattr(one, part)) == labelled(getattr(other, part))
    assert one.train.texts != other.train.texts  # each keeps its file's order
    assert one.test == load_task(str(tmp_path / "one.csv")).test


def test_a_split_does_not_follow_the_order_of_the_file(tmp_path):
    task = load_task(str(write_csv(tmp_path / "mine.csv", uneven_rows())))
    of_first_class = [int(text.split()[-1]) for text in task.test.texts if int(text.split()[-1]) < 60]
    assert min(of_first_class) < 20 and max(of_first_class) >= 40


def test_test_and_validation_are_different_draws(tmp_path):
    """Drawn by one hash, validation would be the texts that only just missed the test set."""
    dataset = Dataset([f"text {i}" for i in range(200)], [0] * 200, ["a"], list(map(str, range(200))))
    held_out = [set(hold_out(dataset, purpose)[1].texts) for purpose in ("test", "validation")]
    assert len(held_out[0]) == len(held_out[1]) == 40
    assert len(held_out[0] & held_out[1]) < 25  # 8 are expected by chance


def test_copies_of_a_text_are_never_on_both_sides(tmp_path):
    rows = [f"copy {i % 20},{'ab'[i % 2]}" for i in range(100)]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    parts = [set(part.texts) for part in (task.train, task.validation, task.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert len(every_text(task)) == 100


def test_a_text_with_two_labels_is_not_on_both_sides_either(tmp_path):
    rows = [f"text {i},a" for i in range(40)] + [f"text {i},b" for i in range(30, 200)]
    task = load_task(str(write_csv(tmp_path / "mine.csv", rows)))
    parts = [set(part.texts) for part in (task.train, task.validation, task.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200


def test_a_text_that_stands_very_often_does_not_tip_the_split():
    for seed in range(40):
        often = [f"boilerplate {seed}"] * 200
        texts = often + [f"text {seed} {i}" for i in range(200)]
        dataset = Dataset(texts, [0] * 400, ["a"], list(map(str, range(400))))
        staying, held_out = hold_out(dataset, "test")
        assert len(held_out) == 80 and often[0] in staying.texts
        other = Dataset(texts, [1] * 199 + [0] + [0] * 100 + [1] * 100, ["a", "b"], dataset.ids)  # once under a, too
        _, held_out = hold_out(other, "test")
        assert often[0] not in held_out.texts and held_out.class_counts() == [20, 60]


def test_where_every_text_stands_very_often_something_is_held_out_all_the_same():
    dataset = Dataset(["one"] * 30 + ["other"] * 30, [0] * 60, ["a"], list(map(str, range(60))))
    assert [len(set(part.texts)) for part in hold_out(dataset, "test")] == [1, 1]


def test_the_run_says_what_share_is_held_out(tmp_path):
    rows = [f"copy {i % 6},{'ab'[i % 2]}" for i in range(60)]
    assert "test is 33% of it" in load_task(str(write_csv(tmp_path / "mine.csv", rows))).splits
    assert "test is 20% of it" in load_task(str(write_csv(tmp_path / "usual.csv", uneven_rows()))).splits


def random_dataset(random):
    """A small set in which texts come in copies and under several labels."""
    classes, size = random.randint(2, 5), random.randint(2, 40)
    labels = [*range(classes), *(random.randrange(classes) for _ in range(size))]
    texts = [str(random.randrange(random.randint(1, 2 * size))) for _ in labels]
    return Dataset(texts, labels, [str(label) for label in range(classes)], list(map(str, range(len(labels)))))


def test_no_class_is_ever_held_out_whole_and_no_text_is_on_two_sides():
    for seed in range(4000):
        dataset = random_dataset(random.Random(seed))
        rest, held_out = hold_out(dataset, "test")
        assert all(rest.class_counts()), seed
        assert not set(rest.texts) & set(held_out.texts), seed
        assert sorted(map(int, rest.ids + held_out.ids)) == list(range(len(dataset))), seed


def test_texts_under_two_labels_do_not_make_a_class_give_more_than_its_share():
    texts, labels = [f"text {i}" for i in range(200)] * 2, [0] * 200 + [1] * 200
    rest, held_out = hold_out(Dataset(texts, labels, ["a", "b"], texts), "test")
    assert held_out.class_counts() == [40, 40]
    assert rest.class_counts() == [160, 160]


def test_the_same_first_text_with_another_second_text_is_another_pair():
    pairs = [str(i) for i in range(50)]
    dataset = Dataset(["same"] * 50, [0] * 50, ["a"], pairs, pairs)
    rest, held_out = hold_out(dataset, "test")
    assert (len(rest), len(held_out)) == (40, 10)


# Limits


def test_limit_counts_train_and_validation_together_and_keeps_the_shares(tmp_path):
    path = str(write_csv(tmp_path / "mine.csv", uneven_rows()))
    whole, part = load_task(path), load_task(path, limit=40, test_limit=10)
    assert np.add(part.train.class_counts(), part.validation.class_counts()).tolist() == [24, 12, 4]
    assert part.test.class_counts() == [6, 3, 1]
    assert set(part.test.texts) < set(whole.test.texts)
    assert set(part.train.texts + part.validation.texts) < set(whole.train.texts + whole.validation.texts)


def test_a_limit_beyond_the_data_takes_all(tmp_path):
    path = str(write_csv(tmp_path / "mine.csv", uneven_rows()))
    assert load_task(path, limit=10_000, test_limit=10_000) == load_task(path)


def test_of_nothing_any_limit_takes_nothing():
    assert len(stratified_subset(Dataset([], [], ["a", "b"], []), 5, "limit")) == 0


def test_a_small_limit_keeps_a_text_of_each_class():
    labels = [0] * 97 + [1, 1, 2]
    dataset = Dataset([str(i) for i in range(100)], labels, ["a", "b", "c"], [str(i) for i in range(100)])
    assert stratified_subset(dataset, 10, "limit").class_counts() == [10, 1, 1]
