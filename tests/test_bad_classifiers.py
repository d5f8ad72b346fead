"""A trained classifier's folder, and a tokenizer's files, with values of the wrong type: one line that names the file
and the entry, before anything is computed. Most of these cases were found by tests/fuzz.py.
"""

import json

import pytest
from bad_input import WORDS, write

from minibert import load_tokenizer
from minibert.load import new_classifier, save_classifier
from minibert.plumbing.files import UserError, read_json
from minibert.text_classifier import load_classifier

TEXTS = ["good", "bad a b"]


@pytest.fixture
def folder(distilbert, tmp_path):
    """A small classifier with its tokenizer."""
    classifier = new_classifier(distilbert, ["no", "yes"])
    save_classifier(classifier, tmp_path / "classifier", {"max_length": 16, "truncation": "head", "pairs": False})
    load_tokenizer(distilbert).save(tmp_path / "classifier")
    return tmp_path / "classifier"


def change(path, **values):
    """Give a JSON file's entries other values."""
    path.write_text(json.dumps(read_json(path) | values), encoding="utf-8")


def refusal(folder):
    """The message of a classifier that cannot be used."""
    with pytest.raises(UserError) as caught:
        load_classifier(folder).predict(TEXTS)
    return str(caught.value)


def test_a_sound_folder_is_no_trouble(folder):
    assert set(load_classifier(folder).predict(TEXTS)) <= {"no", "yes"}


@pytest.mark.parametrize("kind", ["multi_label_classification", "regression", 1])
def test_logits_that_are_not_those_of_classes_are_refused(kind, folder):
    change(folder / "config.json", problem_type=kind)
    assert f"config.json: problem_type is {kind!r}" in refusal(folder)


def test_one_output_is_no_classifier(folder):
    change(folder / "config.json", id2label={"0": "LABEL_0"}, problem_type=None)
    assert "id2label has one label: a regression" in refusal(folder)


@pytest.mark.parametrize("kind", ["single_label_classification", None])
def test_a_problem_type_of_classes_is_read(kind, folder):
    change(folder / "config.json", problem_type=kind)
    assert load_classifier(folder).predict(TEXTS)


@pytest.mark.parametrize("value", [["no", "yes"], "no", 2, {"0": "no", "2": "yes"}, {"0": "no", "1": None}, {"0": 1}])
def test_labels_that_are_no_table_of_texts_are_refused(value, folder):
    change(folder / "config.json", id2label=value)
    assert f"{folder}/config.json: id2label" in refusal(folder)


@pytest.mark.parametrize("value", [3, [3], "Bert", {}, [], None, [None]])
def test_architectures_of_any_kind_are_no_crash(value, folder):
    change(folder / "config.json", architectures=value, minibert=None)
    assert f"{folder}: holds no classifier" in refusal(folder)


@pytest.mark.parametrize(
    "entry, value",
    [
        ("pooling", "max"), ("pooling", ["cls"]), ("head", None), ("head", ["mlp"]), ("truncation", {}),
        ("max_length", "16"), ("max_length", 4),
        ("max_length", True), ("max_length", 25), ("max_length", 1e3), ("truncation", None), ("truncation", "middle"),
        ("pairs", 1), ("pairs", "no"),
    ],
)  # fmt: skip
def test_an_entry_of_the_minibert_section_that_cannot_be_is_named(entry, value, folder):
    section = read_json(folder / "config.json")["minibert"]
    change(folder / "config.json", minibert=section | {entry: value})
    message = refusal(folder)
    assert f"{folder}/config.json: minibert section has {entry}" in message


@pytest.mark.parametrize("value", ["yes", 3, [1]])
def test_a_minibert_section_that_is_no_object_is_refused(value, folder):
    change(folder / "config.json", minibert=value)
    assert f"{folder}/config.json: minibert is {value!r}" in refusal(folder)


# Tokenizers


@pytest.mark.parametrize(
    "entry, value",
    [
        ("do_lower_case", "true"), ("do_lower_case", 1), ("strip_accents", "no"), ("tokenize_chinese_chars", None),
        ("model_max_length", "512"), ("model_max_length", []), ("unk_token", 3), ("cls_token", {"content": 3}),
        ("sep_token", ["[SEP]"]), ("pad_token", "\ud800"),
    ],
)  # fmt: skip
def test_an_entry_of_tokenizer_config_of_the_wrong_type_is_named(entry, value, distilbert):
    path = write(distilbert / "tokenizer_config.json", json.dumps({entry: value}))
    with pytest.raises(UserError) as caught:
        load_tokenizer(distilbert)
    assert f"{path}: {entry}" in str(caught.value)


@pytest.mark.parametrize("value", [1e30, -5, 10**40, 0, 512.5])
def test_a_model_max_length_of_any_number_is_no_crash(value, distilbert):
    write(distilbert / "tokenizer_config.json", json.dumps({"model_max_length": value}))
    try:
        tokenizer = load_tokenizer(distilbert)
        assert len(tokenizer.encode(TEXTS)) == 2
    except UserError as error:
        assert "leaves no room" in str(error)


def test_a_special_token_that_the_vocabulary_lacks_is_named_with_the_file(distilbert):
    write(distilbert / "vocab.txt", "\n".join(word for word in WORDS if word != "[SEP]"))
    with pytest.raises(UserError) as caught:
        load_tokenizer(distilbert)
    assert f"{distilbert / 'vocab.txt'}: has no [SEP]" in str(caught.value)


def test_an_id_beyond_the_embedding_table_is_refused_even_if_the_vocabulary_is_small(folder):
    values = read_json(folder / "tokenizer.json")
    values["model"]["vocab"]["good"] = 10_000
    (folder / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")
    message = refusal(folder)
    assert str(folder) in message and "10001 tokens" in message and str(len(WORDS)) in message


@pytest.mark.parametrize(
    "part",
    [
        {"pre_tokenizer": {"type": "FixedLength", "length": 0}},  # the library panics when it reads a text
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "("}, "content": ""}},
        {"normalizer": {"type": "Unknown"}},
        {"model": {"type": "WordPiece", "unk_token": "[NO]", "continuing_subword_prefix": "##",
                   "max_input_chars_per_word": 100, "vocab": {"[CLS]": 0, "[SEP]": 1, "[PAD]": 2}}},
    ],
    ids=["panic", "pattern", "unknown", "no unknown word"],
)  # fmt: skip
def test_a_tokenizer_that_the_library_cannot_use_is_named(part, folder):
    change(folder / "tokenizer.json", added_tokens=[], **part)
    assert str(folder / "tokenizer.json") in refusal(folder)
