"""The documents: links lead somewhere, files that are named exist, and the changelog knows the version."""

import re

import pytest
from ladder_tools import REPOSITORY

import minibert

DOCUMENTS = sorted(path.relative_to(REPOSITORY).as_posix() for pattern in ("*.md", "examples/*.md", "weights/*.md")
                   for path in REPOSITORY.glob(pattern))  # fmt: skip
FOLDERS = ("", "minibert", "tests", "tests/make", "examples")


def read(document):
    return (REPOSITORY / document).read_text(encoding="utf-8")


def anchors(text):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_to_a_file_leads_to_one_and_every_link_to_a_heading_to_a_heading(document):
    text = read(document)
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        found = (REPOSITORY / document).parent / path if path else REPOSITORY / document
        assert found.exists(), f"{document}: {target}"
        if heading:
            assert heading in anchors(found.read_text(encoding="utf-8")), f"{document}: {target}"


def test_files_that_the_guide_for_contributors_names_exist():
    names = set(re.findall(r"`([\w./-]+\.py)`", read("CONTRIBUTING.md"))) - {"examples/NAME.py"}
    lost = [name for name in names if not any((REPOSITORY / folder / name).exists() for folder in FOLDERS)]
    assert names and not lost


def test_names_that_the_guide_for_contributors_sends_to_stand_in_the_files_it_names():
    text = read("CONTRIBUTING.md")
    for file, name in (
        ("minibert/config.py", "FAMILIES"), ("minibert/names.py", "COLUMNS"), ("minibert/names.py", "PREFIXES"),
        ("minibert/names.py", "NATIVE_NAMES"), ("minibert/names.py", "NATIVE_COLUMNS"), ("minibert/head.py", "NATIVE"),
        ("minibert/load.py", "ARCHITECTURES"), ("minibert/data/corpora.py", "CORPORA"),
        ("minibert/recipes.py", "TASK_DEFAULTS"), ("minibert/parity/candidates.py", "MISTAKES_OF"),
        ("tests/test_recipes.py", "STATED"), ("tests/tiny.py", "FAMILIES"),
    ):  # fmt: skip
        assert f"`{name}`" in text and re.search(rf"^{name} = ", read(file), re.M), (file, name)


def test_every_program_that_makes_references_is_named():
    text = read("CONTRIBUTING.md")
    assert all(f"`{path.name}`" in text for path in (REPOSITORY / "tests" / "make").glob("*.py"))


def test_the_changelog_has_the_version():
    assert f"\n## {minibert.__version__} " in read("CHANGELOG.md")
