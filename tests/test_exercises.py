"""examples/exercises.md: every rung once, in the story's order, with commands that work and solutions that exist."""

import importlib
import re
import shlex

import pytest
from ladder_tools import EXAMPLE, REPOSITORY, RUNG, command, numpy_example, written
from test_house import STORY

from minibert.parity.__main__ import parse

PAGE = (REPOSITORY / "examples" / "exercises.md").read_text(encoding="utf-8")
CHAPTERS = re.findall(r"^## (\w+)\.py: .*?$(.*?)(?=^## )", PAGE, re.M | re.S)
EXERCISES = re.findall(r"^### (\d+)\. `(\w+)`: (.*?)$(.*?)(?=^##)", PAGE, re.M | re.S)
COMMANDS = sorted(set(re.findall(r"python -m minibert\.parity ([^`\n]*)", PAGE)))


def part(text, name):
    """What stands behind one of an exercise's words in bold."""
    return re.search(rf"- \*\*{name}:\*\* (.*?)(?=^- \*\*|\Z)", text, re.M | re.S)[1]


def test_every_rung_is_an_exercise_and_none_is_one_twice():
    names = [name for _, name, _, _ in EXERCISES]
    assert sorted(names) == sorted(RUNG)
    assert [int(number) for number, *_ in EXERCISES] == list(range(1, len(RUNG) + 1))
    assert all(title == RUNG[name].title for _, name, title, _ in EXERCISES)
    assert PAGE.startswith(f"# Exercises: write BERT yourself\n\n{len(RUNG)} functions") and f"all {len(RUNG)}." in PAGE


def test_the_chapters_follow_the_story_and_each_exercise_sends_the_reader_to_its_chapters_file():
    files = [file for file, _ in CHAPTERS]
    assert files == sorted(files, key=STORY.index) and len(set(files)) == len(files)
    for file, text in CHAPTERS:
        exercises = re.findall(r"^### \d+\. `(\w+)`.*?$(.*?)(?=^##|\Z)", text, re.M | re.S)
        assert exercises
        for name, exercise in exercises:
            assert f"](../minibert/{file}.py)" in part(exercise, "Read"), name
    assert len(re.findall(r"^### ", "".join(text for _, text in CHAPTERS), re.M)) == len(EXERCISES)


@pytest.mark.parametrize("name, text", [(name, text) for _, name, _, text in EXERCISES])
def test_an_exercise_names_what_to_read_and_how_to_check_and_where_its_solution_stands(name, text):
    read = part(text, "Read")
    places = re.findall(r"\[`([\w.]+)`\]\(\.\./minibert/(\w+)\.py\)", read)
    assert places
    for place, file in places:
        found = importlib.import_module(f"minibert.{file}")
        for word in place.split("."):
            found = getattr(found, word)  # AttributeError: exercises.md names something that is no longer there
    assert " ".join(read.split()).endswith(f"; {RUNG[name].source}.")
    assert part(text, "Check").strip() == f"`python -m minibert.parity my_bert.py --only {name}`"
    assert part(text, "Hints").strip() == f"`python -m minibert.parity --hint 1 {name}`, then `2`, then `3`"
    solution = re.findall(r"`(\w+)`", part(text, "Solution"))
    assert name in solution and all(callable(getattr(numpy_example(), function)) for function in solution)
    assert len(" ".join(part(text, "Write").split())) > 20


@pytest.mark.parametrize("words", COMMANDS)
def test_every_command_of_the_page_is_one(words):
    options = parse(shlex.split(words)) if words != "--list" else None
    rungs = [options.explain, options.tiny, options.hint and options.hint[1], options.rungs] if options else []
    assert all(rung in RUNG for rung in rungs if rung)


def test_the_first_exercise_done_wrong_prints_what_the_page_shows(tmp_path, capsys):
    wrong = re.search(r"```python\n(def layer_norm.*?)```", PAGE, re.S)[1]
    shown = re.search(r"```\n\$ python -m minibert.parity my_bert.py --only layer_norm\n(.*?)```", PAGE, re.S)[1]
    code, out, _ = command(capsys, written(tmp_path / "my_bert.py", wrong), "--only", "layer_norm")
    assert (code, out) == (1, shown)


def test_only_is_another_name_for_rungs():
    assert parse([str(EXAMPLE), "--only", "gelu,layer"]).rungs == parse([str(EXAMPLE), "--rungs", "gelu,layer"]).rungs
