"""What the command reads, and what it hands to the loop."""

import pytest
import torch
from distilling import (
    ALL,
    FULL,
    LABELS,
    SMALLEST,
    SPECIAL,
    arguments,
    classifier,
    lines,
    pairs_file,
    same,
    save_teacher,
    tiny,
    wordpiece,
    write_lines,
)  # fmt: skip

from minibert import load_classifier, load_encoder, load_tokenizer
from minibert.distill import run
from minibert.distill.__main__ import main
from minibert.distill.student import neuron_activity, new_student
from minibert.distill.texts import cut_up, read_texts
from minibert.load import read_classifier
from minibert.plumbing.files import read_json
from minibert.plumbing.resume import Progress

# The texts


def test_a_long_text_is_cut_up_and_nothing_of_it_lost():
    tokenizer = wordpiece()
    sequences = cut_up(tokenizer, ["ab ab bab aba a", "", "ab bab ab bab"], 6)
    assert [sequence.ids.tolist() for sequence in sequences] == [
        [2, 9, 9, 12, 11, 3], [2, 5, 3], [2, 3], [2, 9, 12, 9, 12, 3],
    ]  # fmt: skip
    assert all(sequence.first_length == len(sequence.ids) for sequence in sequences)


def test_texts_beyond_the_first_chunk_are_cut_up_too(monkeypatch):
    monkeypatch.setattr("minibert.distill.texts.CHUNK", 2)
    assert [s.ids[1] for s in cut_up(wordpiece(), ["a", "b", "ab", "aba", "bab"], 5)] == [5, 6, 9, 11, 12]


def test_a_text_file_has_a_text_a_line_and_blank_lines_are_none(tmp_path):
    (tmp_path / "texts.txt").write_bytes(b"\xef\xbb\xbfgood film\r\n\n \nbad\xe2\x80\xa8one\n")
    assert read_texts(tmp_path / "texts.txt") == (["good film", "bad\u2028one"], None)
    assert read_texts(tmp_path / "texts.txt", limit=1) == (["good film"], None)


def test_of_a_task_the_training_and_validation_texts_are_read_and_never_the_test_texts(tmp_path):
    for part in ("train", "validation", "test"):
        rows = [f"{part} {i},{part} pair {i},{i % 2}" for i in range(4)]
        write_lines(tmp_path / f"{part}.csv", ["text,text_pair,label", *rows])
    texts, pairs = read_texts(str(tmp_path))
    assert texts == [f"{part} {i}" for part in ("train", "validation") for i in range(4)]
    assert pairs == [f"{part} pair {i}" for part in ("train", "validation") for i in range(4)]
    assert len(read_texts(str(tmp_path), limit=2)[0]) == 2 + 4


# The command, up to the loop


@pytest.fixture
def seen(monkeypatch):
    """What the command hands to the loop, which then does nothing."""
    found = {}

    def loop(distillation, examples, held_out, **rest):
        found.update(pair=distillation, examples=examples, held_out=held_out, settings=distillation.settings)
        return Progress()

    monkeypatch.setattr(run, "distill", loop)
    return found


@pytest.fixture
def teacher(tmp_path):
    return save_teacher(tiny("bert", layers=4), tmp_path / "teacher")


@pytest.fixture
def text(tmp_path):
    return write_lines(tmp_path / "texts.txt", lines(40))


def test_one_text_in_a_hundred_is_held_out_and_not_trained_on(seen, teacher, tmp_path):
    texts = lines(250)
    main(arguments(teacher, write_lines(tmp_path / "texts.txt", texts), tmp_path / "run"))
    everything = [sequence.ids.tolist() for sequence in load_tokenizer(tmp_path / "run").encode(texts)]
    assert [s.ids.tolist() for s in seen["held_out"].sequences] == [everything[i] for i in (0, 100, 200)]
    rest = [ids for i, ids in enumerate(everything) if i % 100]
    assert [s.ids.tolist() for s in seen["examples"].sequences] == rest


def test_a_student_has_half_the_layers_and_all_pieces_unless_told_otherwise(seen, teacher, text, tmp_path):
    main(arguments(teacher, text, tmp_path / "a"))
    assert seen["pair"].layers == [1, 3] and seen["pair"].kept.tolist() == [*ALL]
    main(arguments(teacher, text, tmp_path / "b", "--layers", 3, "--vocab-size", 110))
    assert seen["pair"].layers == [0, 1, 3] and len(seen["pair"].kept) == 110
    assert load_encoder(tmp_path / "b").config.vocab_size == 110


def test_every_flag_reaches_the_loop(seen, teacher, text, tmp_path):
    flags = {
        "layers": 3, "intermediate_size": 7, "vocab_size": 100, "initialization": "random", "losses": "relations",
        "epochs": 7, "batch_size": 5, "max_length": 9, "lr": 0.25, "weight_decay": 0.125, "warmup": 0.5, "seed": 11,
        "precision": "bf16", "temperature": 3.5,
    }  # fmt: skip
    more = [item for name, value in flags.items() for item in (f"--{name.replace('_', '-')}", value)]
    main(arguments(teacher, text, tmp_path / "run", *more))
    settings = seen["settings"]
    assert {name: getattr(settings, name) for name in flags} == flags
    assert read_json(tmp_path / "run" / "settings.json").items() >= flags.items()
    assert seen["examples"].lengths.max() == 9
    copied, _ = new_student(load_encoder(teacher), 3, seen["pair"].kept.tolist())
    ours, theirs = (model.layers[0].attention.state_dict() for model in (seen["pair"].student.model, copied.half()))
    assert not same(ours, theirs)


def test_the_busiest_neurons_are_those_of_the_text_that_is_trained_on(seen, teacher, tmp_path):
    """Of 600 texts, less 6 held out, every second is looked at; the teacher reads them by its own numbers."""
    texts = lines(600)
    more = ["--intermediate-size", 9, "--vocab-size", 110, "--layers", 4, "--full-precision"]
    main(arguments(teacher, write_lines(tmp_path / "texts.txt", texts), tmp_path / "run", *more))
    trained = [text for i, text in enumerate(texts) if i % 100]
    small = load_tokenizer(tmp_path / "run")
    kept = seen["pair"].kept
    batches = [(kept[ids], mask, types) for ids, mask, types in (small([text]) for text in trained[::2])]
    activity = neuron_activity(load_encoder(teacher), batches)
    expected, _ = new_student(load_encoder(teacher), 4, kept.tolist(), intermediate_size=9, activity=activity)
    student = load_encoder(tmp_path / "run")
    assert student.config.intermediate_size == 9
    for (name, ours), theirs in zip(student.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5), name


def test_seeds_give_different_random_starts(seen, teacher, text, tmp_path):
    weights = []
    for i, seed in enumerate((1, 1, 2)):
        main(arguments(teacher, text, tmp_path / str(i), "--initialization", "random", "--seed", seed))
        weights.append(seen["pair"].student.model.embeddings.word.weight)
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("head", ["mlp", "tanh", "gelu"])
def test_a_random_start_of_a_classifier_has_a_fresh_head(head, seen, text, tmp_path):
    teacher = save_teacher(classifier(tiny(), "cls", head), tmp_path / "teacher")
    for start in ("teacher", "random"):
        more = ["--initialization", start, "--full-precision"]
        main(arguments(teacher, text, tmp_path / f"from-{start}", *more))
        ours, theirs = seen["pair"].student.model.head.state_dict(), seen["pair"].teacher.model.head.state_dict()
        assert same(ours, theirs) == (start == "teacher")


def test_a_limit_is_a_number_of_texts(seen, teacher, text, tmp_path):
    main(arguments(teacher, text, tmp_path / "run", "--limit", 10))
    assert len(seen["held_out"]) + len(seen["examples"]) == 10


def test_a_built_in_task_is_read_from_a_local_copy(seen, teacher, tmp_path):
    messages = [f"{'spam' if i % 3 else 'ham'}\t{message}" for i, message in enumerate(lines(60))]
    write_lines(tmp_path / "SMSSpamCollection", messages)
    main(arguments(teacher, "sms-spam", tmp_path / "run", "--data", tmp_path))
    assert 30 < len(seen["held_out"]) + len(seen["examples"]) < 60  # all but the test texts
    assert read_json(tmp_path / "run" / "settings.json")["source"] == "sms-spam"


def test_texts_longer_than_the_model_are_cut_to_its_positions(seen, teacher, tmp_path):
    text = write_lines(tmp_path / "texts.txt", ["good " * 75, "bad"])
    main(arguments(teacher, text, tmp_path / "run"))
    lengths = [*seen["held_out"].lengths, *seen["examples"].lengths]
    assert lengths == [32, 32, 17, 3]  # 30 + 30 + 15 pieces, and one


def test_padding_is_numbered_by_each_vocabulary(seen, text, tmp_path):
    """A teacher that pads with piece 3, in a student's vocabulary that has lost a piece before it."""
    order = ["naive", "[UNK]", "[CLS]", "[PAD]", *(token for token in FULL if token not in ("naive", *SPECIAL[:3]))]
    teacher = save_teacher(tiny(pad_token_id=3), tmp_path / "teacher", wordpiece(order))
    main(arguments(teacher, text, tmp_path / "run", "--vocab-size", 110))
    assert load_encoder(tmp_path / "run").config.pad_token_id == load_tokenizer(tmp_path / "run").pad_id == 2
    assert seen["examples"].pad_id == seen["held_out"].pad_id == 2
    assert seen["pair"].kept[2] == 3


def test_a_bare_encoder_reads_both_texts_of_a_pair_each_on_its_own(seen, teacher, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv")
    main(arguments(teacher, path, tmp_path / "run"))
    texts, pairs = read_texts(path)
    sequences = [*seen["held_out"].sequences, *seen["examples"].sequences]
    assert len(sequences) == len(texts) + len(pairs) > len(texts)
    assert all(sequence.first_length == len(sequence.ids) for sequence in sequences)


def test_a_classifier_reads_pairs_as_pairs(seen, tiny_bert, tmp_path):
    path = pairs_file(tmp_path / "pairs.csv")
    main(arguments(tiny_bert, path, tmp_path / "run", "--vocab-size", 120))
    texts, pairs = read_texts(path)
    expected = load_tokenizer(tmp_path / "run").encode(texts, pairs)
    sequences = [*seen["held_out"].sequences, *seen["examples"].sequences]
    assert [(s.ids.tolist(), s.first_length) for s in sequences] == [(s.ids.tolist(), s.first_length) for s in expected]


def test_both_texts_of_a_pair_say_which_pieces_stay(seen, tiny_bert, tmp_path):
    path = write_lines(tmp_path / "pairs.csv", ["text,text_pair,label", *(f"film {i},story,{i % 2}" for i in range(9))])
    main(arguments(tiny_bert, path, tmp_path / "run", "--vocab-size", SMALLEST + 2))
    assert {"film", "story"} < load_tokenizer(tmp_path / "run").backend.get_vocab().keys()


def test_a_classifier_sees_as_much_of_a_text_as_it_was_trained_on(seen, tmp_path):
    """The end of it, of one; a bare encoder would read all of it, in parts."""
    model = classifier(tiny("bert"), "mean", "linear")
    teacher = save_teacher(model, tmp_path / "teacher", extra={"max_length": 6, "truncation": "tail", "pairs": False})
    text = write_lines(tmp_path / "texts.txt", ["good " * 9 + "the dull story", "bad"])
    main(arguments(teacher, text, tmp_path / "run"))
    tokenizer = load_tokenizer(tmp_path / "run")
    ids = seen["held_out"].sequences[0].ids
    assert [tokenizer.backend.id_to_token(i) for i in ids] == ["[CLS]", "good", "the", "dull", "story", "[SEP]"]
    student = load_classifier(tmp_path / "run")
    assert (student.max_length, student.truncation) == (6, "tail")


@pytest.mark.parametrize(
    "family, pooling, head",
    [("bert", "pooler", "linear"), ("bert", "cls", "mlp"), ("bert", "mean", "linear"), ("distilbert", "mean", "mlp")],
)
def test_the_student_of_any_classifier_opens_again(seen, family, pooling, head, text, tmp_path):
    extra = {"max_length": 20, "truncation": "head", "seed": 0, "pairs": False}
    teacher = save_teacher(classifier(tiny(family), pooling, head), tmp_path / "teacher", extra=extra)
    main(arguments(teacher, text, tmp_path / "run", "--vocab-size", 110, "--full-precision"))
    student, again = read_classifier(tmp_path / "run")
    assert again.items() >= extra.items()
    assert same(student.state_dict(), seen["pair"].student.model.state_dict())
    assert load_classifier(tmp_path / "run").predict(["good film"])[0] in LABELS


def test_a_run_says_what_it_makes_of_what(teacher, text, tmp_path, capsys):
    options = arguments(teacher, text, tmp_path / "run", "--layers", 1, "--vocab-size", 110, "--epochs", 1)
    options.remove("--quiet")
    main(options)
    printed = capsys.readouterr().out
    size = sum(tensor.numel() for tensor in load_encoder(tmp_path / "run").state_dict().values())
    assert (
        "1 layer in place of the teacher's 4; 20 feed-forward neurons in each; "
        f"{size:,} parameters, starting from the teacher" in printed
    )
    assert f"110 of {len(FULL)} pieces" in printed and "40 texts in 40 sequences" in printed
    assert "hidden,relations; computing on cpu in fp32" in printed
    assert "before training: held-out hidden" in printed and "epoch 1: held-out hidden" in printed
