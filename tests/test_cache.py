"""What lies in the cache of data sets is looked at each time it is used, and a cache is never needed."""

import subprocess
import sys
from pathlib import Path

import pytest
from local_server import (
    MESSAGES,
    files_in,
    no_proxy,  # noqa: F401 (a fixture for every test here)
    serve_messages_from,
    serving,
    source_at,
    unused_url,
)

from minibert.data import download, load_task
from minibert.data.download import fetch
from minibert.plumbing.files import UserError, cache_folder

REPOSITORY = Path(__file__).parent.parent


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "longer"])
def test_a_damaged_file_in_the_cache_is_noticed_and_fetched_again(damage, monkeypatch, capfd):
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        serve_messages_from(server, monkeypatch)
        task = load_task("sms-spam")
        path = cache_folder() / "SMSSpamCollection"
        content = {
            "cut": MESSAGES[: len(MESSAGES) // 2],
            "changed": MESSAGES.replace("see you at 3", "see you at 4"),
            "empty": "",
            "longer": MESSAGES + "ham\tone more\n",
        }[damage]
        path.write_text(content)
        assert load_task("sms-spam") == task
    assert path.read_text() == MESSAGES
    assert len(server.requests) == 2
    told = capfd.readouterr().err
    assert f"note: {path}: is damaged" in told and "fetching it again" in told


def test_a_damaged_file_that_cannot_be_fetched_again_is_one_line_and_is_not_used():
    path = cache_folder() / "SMSSpamCollection"
    path.parent.mkdir(parents=True)
    path.write_text(MESSAGES[:100])
    with pytest.raises(UserError) as caught:
        fetch(source_at(unused_url(), MESSAGES.encode()), "sms-spam")
    assert f"the copy at {path} is damaged" in str(caught.value)
    assert "\n" not in str(caught.value) and "--data" in str(caught.value)


def test_a_cache_that_cannot_be_written_is_said_and_gone_on_without(tmp_path, monkeypatch, capfd):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MINIBERT_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)  # else an earlier answer is remembered
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        serve_messages_from(server, monkeypatch)
        task = load_task("sms-spam")
        assert load_task("sms-spam") == task
    assert len(server.requests) == 2
    assert f"note: {tmp_path / 'file' / 'cache'}: cannot be written; going on without a cache" in capfd.readouterr().err
    assert files_in(tmp_path) == ["file"]  # what was fetched for the moment is gone


def test_a_whole_file_in_a_cache_that_cannot_be_written_is_used(monkeypatch):
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        serve_messages_from(server, monkeypatch)
        task = load_task("sms-spam")
        monkeypatch.setattr(download, "is_writable", lambda folder: False)
        assert load_task("sms-spam") == task
    assert len(server.requests) == 1


def test_four_processes_on_an_empty_cache_all_get_the_whole_file():
    program = """if True:
        import sys
        from minibert.data.download import Source, fetch
        url, checksum = sys.argv[1:]
        path = fetch(Source(url, "SMSSpamCollection", checksum), "sms-spam")
        print(len(path.read_text()))"""
    with serving(lambda path: (200, {}, MESSAGES.encode())) as server:
        source = source_at(server.url, MESSAGES.encode())
        command = [sys.executable, "-c", program, source.url, source.checksum]
        processes = [
            subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        answers = [process.communicate(timeout=60) for process in processes]
    assert [(process.returncode, out) for process, (out, _) in zip(processes, answers, strict=True)] == [
        (0, f"{len(MESSAGES)}\n")
    ] * 4, answers
    assert files_in(cache_folder()) == ["SMSSpamCollection"]
