"""What a person sees when a command cannot go on: one line, exit code 2 and nothing half-written; and no traceback
when the reader of the output has had enough.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bad_input import table

from minibert.plumbing.files import UserError, shown

REPOSITORY = Path(__file__).parent.parent


@pytest.mark.parametrize("case", ["missing file", "not a number", "cut checkpoint"])
def test_the_command_prints_one_line_and_exits_with_2(case, distilbert, tmp_path, output):
    data = table(tmp_path / "mine.csv")
    arguments = [str(data), "--model", str(distilbert), "--max-length", "16", "--output", str(output)]
    if case == "missing file":
        data.unlink()
        named = str(data)
    elif case == "not a number":
        arguments += ["--lr", "nan"]
        named = "--lr"
    else:
        weights = distilbert / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        named = str(weights)
    command = [sys.executable, "-m", "minibert.finetune", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    assert named in lines[0]
    assert "Traceback" not in done.stderr + done.stdout
    assert not output.exists()
    assert not (tmp_path / "runs").exists()


@pytest.mark.skipif(os.name != "posix", reason="pipes break otherwise elsewhere")
@pytest.mark.parametrize(
    "ending, code, line",
    [
        ("", 141, ""),
        ("raise UserError('no')", 2, "error: no\n"),
        ("raise SystemExit(0)", 141, ""),
        ("raise KeyboardInterrupt", 130, "\nstopped\n"),
    ],
    ids=["done", "wrong", "help", "stopped"],
)
@pytest.mark.parametrize("characters", [1, 10**6])
def test_a_reader_who_has_enough_is_no_traceback(characters, ending, code, line):
    """`... | head -1`: the little that Python keeps back until the end, and the much that it does not."""
    program = f"""if True:
        from minibert.plumbing.command import run_command
        from minibert.plumbing.files import UserError
        def main():
            print("x" * {characters})
            {ending}
        input()
        run_command(main)"""
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    process = subprocess.Popen([sys.executable, "-c", program], cwd=REPOSITORY, env=environment, text=True, **pipes)
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    error = process.stderr.read()
    if characters > 1:  # then the pipe breaks before the ending
        code, line = 141, ""
    assert (process.wait(60), error) == (code, line)


@pytest.mark.skipif(os.name != "posix", reason="arguments are bytes on POSIX alone")
@pytest.mark.parametrize("name", [b"caf\xe9.csv", b"a\x1b[2Jb.csv", b"x" * 300 + b".csv", b"new\nline.csv"])
def test_a_file_name_of_any_bytes_is_one_line_that_a_terminal_can_show(name, tmp_path):
    command = [sys.executable, "-m", "minibert.finetune", name]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
    assert done.returncode == 2
    [line] = done.stderr.decode("utf-8").splitlines()
    assert line.startswith("error: ") and line.isprintable()


# What a message may hold


@pytest.mark.parametrize(
    "given, line",
    [
        ("one\ntwo\r\n  three", "one two three"),
        ("a\x1b[2Jb \0 \x7f \u202e", r"a\x1b[2Jb \x00 \x7f \u202e"),
        ("half of \ud83d", r"half of \ud83d"),
        ("Amélie 是 😀", "Amélie 是 😀"),
        ("mine.csv: " + "y" * 401 + " is empty", "mine.csv: " + "y" * 80 + "… is empty"),
    ],
)
def test_a_message_is_one_line_that_a_terminal_can_show(given, line):
    assert str(UserError(given)) == line


def test_a_long_message_keeps_where_it_happened_and_what_to_do():
    message = str(UserError(f"mine.csv, line 3: {'label ' * 1000}; name the right one with --label-column"))
    assert len(message) <= 610 and " … " in message
    assert message.startswith("mine.csv, line 3: ") and message.endswith("--label-column")


@pytest.mark.parametrize(
    "value, text",
    [
        ("a\n", r"'a\n'"),
        ("x" * 100_000, "'" + "x" * 79 + "…"),
        (10**5000, "a number too large to show"),
        ([1, "a"], "[1, 'a']"),
    ],
    ids=["text", "long text", "long number", "list"],
)
def test_a_value_is_shown_with_at_most_its_first_80_characters(value, text):
    assert shown(value) == text
