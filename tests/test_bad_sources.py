"""Built-in tasks and folders that are not what they should be: the file, the line or the member is named.
"""

import os
import tarfile

import pytest
from bad_input import table, write


def test_an_unknown_task_is_refused_with_the_list_of_tasks(refuse):
    message = refuse("imbd")
    assert "'imbd'" in message
    assert all(name in message for name in ("imdb", "sms-spam", "mrpc", ".csv"))


def test_an_empty_name_is_no_task(refuse):
    assert "'' is no task" in refuse("")


def test_data_for_what_is_no_task_is_refused(refuse, tmp_path):
    assert "--data" in refuse(table(tmp_path / "mine.csv"), "--data", tmp_path)


@pytest.mark.parametrize("task, part", [("imdb", ""), ("sms-spam", ""), ("mrpc", "msr_paraphrase_train.txt")])
def test_a_missing_local_copy_is_named(task, part, refuse, tmp_path):
    assert str(tmp_path / "none" / part) in refuse(task, "--data", tmp_path / "none")


@pytest.mark.parametrize("line", ["ham no tab", "eggs\tsee you", "ham\t ", "\tsee you"])
def test_a_bad_sms_line_is_named(line, refuse, tmp_path):
    path = write(tmp_path / "messages", f"ham\tsee you\n{line}\nspam\tWIN\n")
    assert f"{path}, line 2" in refuse("sms-spam", "--data", path)


@pytest.mark.parametrize("line", ["1\t2\t3\tonly one", "2\t2\t3\tone\ttwo", "1\t2\t3\tone\t"])
def test_a_bad_mrpc_line_is_named(line, refuse, tmp_path):
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    path = write(tmp_path / "msr_paraphrase_train.txt", f"{header}1\t2\t3\tone\ttwo\n{line}\n")
    write(tmp_path / "msr_paraphrase_test.txt", f"{header}1\t2\t3\tone\ttwo\n")
    assert f"{path}, line 3" in refuse("mrpc", "--data", tmp_path)


def test_an_archive_cut_short_is_refused(refuse, tmp_path):

    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as archive:
        for part in ("train", "test"):
            for label in ("neg", "pos"):
                for i in range(40):
                    path = write(tmp_path / "aclImdb" / part / label / f"{i}_1.txt", os.urandom(300).hex())
                    archive.add(path, str(path.relative_to(tmp_path)))
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    cut = write(tmp_path / "cut.tar.gz", whole[: len(whole) // 2])
    message = refuse("imdb", "--data", cut)
    assert str(cut) in message and "archive" in message


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_archive_is_refused(content, refuse, tmp_path):
    path = write(tmp_path / "aclImdb.tar.gz", content)
    assert str(path) in refuse("imdb", "--data", path)


@pytest.fixture(params=["a pipe", "/dev/zero", "a folder"])
def no_file(request, tmp_path):
    """The path of something that reading never comes to the end of, or of a folder; the name ends as is given."""

    def make(name):
        path = tmp_path / name
        if request.param == "a pipe":
            os.mkfifo(path)
        elif request.param == "a folder":
            path.mkdir()
        else:
            path.symlink_to(request.param)
        return path

    return make


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices have other names elsewhere")
@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
def test_a_pipe_a_device_or_a_folder_as_a_table_is_refused_at_once(name, no_file, refuse, tmp_path):
    path = no_file(name)
    assert str(path) in refuse(path)


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices have other names elsewhere")
@pytest.mark.parametrize("task, name", [("imdb", "aclImdb.tar.gz"), ("sms-spam", "messages"), ("mrpc", "messages")])
def test_a_pipe_a_device_or_an_empty_folder_as_local_copy_is_refused_at_once(task, name, no_file, refuse):
    path = no_file(name)
    assert str(path) in refuse(task, "--data", path)


def label_folders(root):
    for part in ("train", "test"):
        for label in ("neg", "pos"):
            for i in range(6):
                write(root / part / label / f"{i}.txt", f"{part} {label} {i}")
    return root


@pytest.mark.parametrize(
    "content, why", [(b"good\ncaf\xe9", "UTF-8"), (b"a\0b", "NUL"), (b"", "empty"), (b" \n", "empty")]
)
def test_a_bad_file_in_a_label_folder_is_named(content, why, refuse, tmp_path):
    path = write(label_folders(tmp_path / "mine") / "train" / "pos" / "bad.txt", content)
    message = refuse(tmp_path / "mine")
    assert str(path) in message and why in message


def test_a_label_folder_that_only_test_has_is_named(refuse, tmp_path):
    write(label_folders(tmp_path / "mine") / "test" / "meh" / "0.txt", "so so")
    message = refuse(tmp_path / "mine")
    assert "test/meh/0.txt" in message and "'meh'" in message


def test_a_folder_without_training_data_is_refused(refuse, tmp_path):
    (tmp_path / "mine").mkdir()
    table(tmp_path / "mine" / "test.csv")
    message = refuse(tmp_path / "mine")
    assert str(tmp_path / "mine") in message and "train" in message


def test_two_files_for_one_part_are_refused(refuse, tmp_path):
    table(tmp_path / "mine" / "train.csv")
    table(tmp_path / "mine" / "train.tsv", header="text\tlabel")
    message = refuse(tmp_path / "mine")
    assert "train.csv" in message and "train.tsv" in message
