"""A killed distillation goes on where it was, and no run writes over another."""

import pytest
import torch
from distilling import SMALLEST, arguments, lines, records, save_teacher, tiny, write_lines

from minibert import load_encoder, save_encoder, train
from minibert.distill import run
from minibert.distill.__main__ import main
from minibert.plumbing.files import UserError
from minibert.plumbing.lock import only_run_in


@pytest.fixture
def teacher(tmp_path):
    return save_teacher(tiny("bert", layers=4), tmp_path / "teacher")


@pytest.fixture
def text(tmp_path):
    return write_lines(tmp_path / "texts.txt", lines(40))


def stop(*rest):
    raise KeyboardInterrupt


def stop_after(monkeypatch, updates):
    """Ctrl-C in the middle of the update after that many; returns a list as long as the updates begun."""
    begun, clip = [], train.clip_gradients

    def clip_or_stop(*rest):
        if len(begun) == updates:
            stop()
        begun.append(1)
        return clip(*rest)

    monkeypatch.setattr(train, "clip_gradients", clip_or_stop)
    return begun


OFTEN = ["--checkpoint-every", 0]  # after each update


@pytest.fixture
def every_other_update_logged(monkeypatch):
    monkeypatch.setattr(train, "LOG_EVERY", 2)


def timeless(folder):
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records(folder)]


@pytest.mark.parametrize(
    "updates, often, saved",  # 11 an epoch; 22: while the student is saved
    [(1, False, 0), (5, True, 5), (11, False, 11), (12, True, 12), (15, False, 11), (22, True, 22)],
)
def test_a_killed_run_resumes_to_bit_identical_weights(
    updates, often, saved, every_other_update_logged, teacher, tmp_path, monkeypatch
):
    text = write_lines(tmp_path / "texts.txt", lines(170))
    options = ["--epochs", 2, "--full-precision", "--initialization", "random", "--layers", 1, *OFTEN * often]
    main(arguments(teacher, text, tmp_path / "unbroken", *options))
    with monkeypatch.context() as patch:
        if updates == 22:
            patch.setattr(run, "write_json", stop)
        stop_after(patch, updates)
        with pytest.raises(KeyboardInterrupt):
            main(arguments(teacher, text, tmp_path / "killed", *options))
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    assert (tmp_path / "killed" / "state.safetensors").exists() == (saved > 0)
    torch.rand(7)  # whatever else drew random numbers meanwhile
    begun = stop_after(monkeypatch, 100)
    main(arguments(teacher, text, tmp_path / "killed", *options, "--resume"))
    assert len(begun) == 22 - saved  # it went on, and did not begin again
    for name in ("model.safetensors", "config.json", "tokenizer.json", "settings.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes(), name
    assert timeless(tmp_path / "killed") == timeless(tmp_path / "unbroken")
    assert not (tmp_path / "killed" / "state.safetensors").exists()


@pytest.fixture
def unfinished(teacher, text, tmp_path, monkeypatch):
    """The arguments of a run that was killed, with the state it left."""
    options = arguments(teacher, text, tmp_path / "run", "--epochs", 4, "--vocab-size", SMALLEST + 15, *OFTEN)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 5)
        main(options)
    return options


@pytest.mark.parametrize(
    "more, named",
    [(["--lr", "1e-2"], "lr = 0.003, not 0.01"), (["--losses", "hidden"], "losses = hidden,relations, not hidden"),
     (["--epochs", 5], "epochs = 4, not 5"), (["--layers", 1], "layers = 2, not 1"),
     (["--intermediate-size", 7], "intermediate_size = 20, not 7")],
)  # fmt: skip
def test_resuming_with_other_settings_is_refused_and_names_them(unfinished, more, named):
    with pytest.raises(UserError, match=named):
        main([*unfinished, "--resume", *map(str, more)])


def test_resuming_with_another_text_is_refused(unfinished, text):
    write_lines(text, lines(39) + ["one film"])
    with pytest.raises(UserError, match="text"):
        main([*unfinished, "--resume"])


def test_resuming_with_another_text_of_the_same_shape_is_refused(teacher, tmp_path, monkeypatch):
    """Each text's only word takes the same number in its own cut vocabulary."""
    film, movie = (write_lines(tmp_path / f"{word}.txt", [word] * 40) for word in ("film", "movie"))
    options = ["--vocab-size", SMALLEST + 1, *OFTEN]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, 2)
        main(arguments(teacher, film, tmp_path / "run", *options))
    with pytest.raises(UserError, match="--resume needs the same"):
        main(arguments(teacher, movie, tmp_path / "run", *options, "--resume"))


def test_resuming_with_another_teacher_is_refused(unfinished, tmp_path):
    save_encoder(tiny("bert", layers=4, seed=1), tmp_path / "teacher")
    with pytest.raises(UserError, match="--resume needs the same"):
        main([*unfinished, "--resume"])


def test_an_unfinished_run_is_not_begun_again_unasked(unfinished, tmp_path):
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    with pytest.raises(UserError, match=f"{tmp_path / 'run'}: holds an unfinished run; --resume"):
        main(unfinished)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state


def test_a_run_killed_between_its_last_files_can_be_resumed(unfinished, tmp_path):
    """config.json is the last file of a student; the weights alone are not a finished one."""
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    main([*unfinished, "--resume"])
    assert load_encoder(tmp_path / "run").config.num_hidden_layers == 2


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_finished_model_is_never_written_over(more, teacher, text):
    before = {path: path.read_bytes() for path in teacher.iterdir()}
    with pytest.raises(UserError, match=f"{teacher}: holds a finished model; choose another --output"):
        main(arguments(teacher, text, teacher, *more))
    assert {path: path.read_bytes() for path in teacher.iterdir()} == before


def test_two_runs_never_write_into_one_folder(teacher, text, tmp_path):
    with only_run_in(tmp_path / "run"), pytest.raises(UserError, match="is writing here now"):
        main(arguments(teacher, text, tmp_path / "run"))
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_run_that_ended_while_the_texts_were_read_is_not_written_over(teacher, text, tmp_path, monkeypatch):
    read_lessons, finished = run.read_lessons, tmp_path / "run" / "model.safetensors"

    def read_while_another_run_ends(*rest):
        write_lines(finished, ["another student"])
        return read_lessons(*rest)

    (tmp_path / "run").mkdir()
    monkeypatch.setattr(run, "read_lessons", read_while_another_run_ends)
    with pytest.raises(UserError, match="holds a finished model"):
        main(arguments(teacher, text, tmp_path / "run"))
    assert finished.read_text() == "another student\n" and not (tmp_path / "run" / "log.jsonl").exists()
