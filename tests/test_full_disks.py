"""Disks that are full or refuse: one line, and the old file is left whole.
"""

import contextlib
import errno
import os
from pathlib import Path

import pytest
import torch
from bad_input import contents, table, write
from safetensors import SafetensorError

from minibert import finetune, load_encoder, save_encoder
from minibert.plumbing.checkpoint import write_safetensors
from minibert.plumbing.files import UserError, atomic_path, write_text
from minibert.plumbing.resume import Log


def disk_full(*arguments, **more):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_write_that_fails_half_way_leaves_the_old_file(tmp_path):
    path = write(tmp_path / "kept.txt", "old")
    with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
        temporary.write_text("half of the new")
        1 / 0  # noqa: B018
    assert contents(tmp_path) == {str(path): b"old"}


def test_a_write_that_succeeds_replaces_the_old_file_in_one_step(tmp_path):
    path = write(tmp_path / "kept.txt", "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert contents(tmp_path) == {str(path): b"new"}


@pytest.mark.parametrize("function", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_text_file_and_says_so(function, tmp_path, monkeypatch):
    path = write(tmp_path / "kept.txt", "old")
    monkeypatch.setattr(os, function, disk_full)
    with pytest.raises(UserError) as caught:
        write_text(path, "new")
    assert str(path) in str(caught.value) and os.strerror(errno.ENOSPC) in str(caught.value)
    assert contents(tmp_path) == {str(path): b"old"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), SafetensorError("I/O error: No space left")])
def test_a_full_disk_leaves_the_old_weights_and_says_so(error, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    write_safetensors(path, {"a": torch.zeros(3)})
    before = contents(tmp_path)

    def half_a_file(tensors, target, metadata=None):
        Path(target).write_bytes(b"half")
        raise error

    monkeypatch.setattr("minibert.plumbing.checkpoint.save_file", half_a_file)
    with pytest.raises(UserError) as caught:
        write_safetensors(path, {"a": torch.ones(3)})
    assert str(path) in str(caught.value) and "No space left" in str(caught.value)
    assert contents(tmp_path) == before


def test_saving_an_encoder_on_a_full_disk_leaves_the_old_checkpoint(distilbert, monkeypatch):
    before = contents(distilbert)
    encoder = load_encoder(distilbert)
    with torch.no_grad():
        encoder.embeddings.word.weight.add_(1)
    monkeypatch.setattr(os, "replace", disk_full)
    with pytest.raises(UserError):
        save_encoder(encoder, distilbert)
    assert contents(distilbert) == before


@pytest.mark.parametrize("name", ["settings.json", "majority.json", "model.safetensors", "metrics.json"])
def test_a_disk_that_fills_up_during_a_run_is_one_line_and_the_run_resumes(
    name, distilbert, tmp_path, output, monkeypatch
):
    arguments = [str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--mode", "frozen", "--pooling", "cls",
                 "--head", "linear", "--max-length", "16", "--quiet", "--device", "cpu", "--precision", "fp32",
                 "--output", str(output)]  # fmt: skip
    replace = os.replace
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda a, b: disk_full() if Path(b).name == name else replace(a, b))
        with pytest.raises(UserError) as caught:
            finetune.main(arguments)
    assert name in str(caught.value)
    assert not [path for path in output.rglob("*") if path.name == name or path.suffix == ".part"]
    finetune.main([*arguments, "--resume"])
    assert (output / "metrics.json").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a file on an always full disk")
def test_a_log_on_a_full_disk_is_one_line(tmp_path):
    log = Log(tmp_path / "log.jsonl")
    log({"update": 1})
    (tmp_path / "log.jsonl").unlink()
    (tmp_path / "log.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="log.jsonl"):
        log({"update": 2})


def test_an_output_that_is_a_file_is_refused_and_kept(distilbert, tmp_path, output):
    write(output, "mine")
    with pytest.raises(UserError) as caught:
        finetune.main([str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--max-length", "16", "--quiet",
                       "--device", "cpu", "--output", str(output)])  # fmt: skip
    assert str(output) in str(caught.value)
    assert output.read_text() == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(distilbert, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with contextlib.ExitStack() as stack:
        stack.callback(locked.chmod, 0o700)
        with pytest.raises(UserError, match="locked"):
            write_text(locked / "new.txt", "text")
