"""A folder that holds a run: it is never written over, and resumed only with the same settings on the same data.
"""

import pytest
from bad_input import ROWS, contents, table

from minibert import finetune
from minibert.plumbing.files import UserError


@pytest.fixture
def finished(distilbert, tmp_path):
    """The arguments of a run that is done."""
    arguments = [str(table(tmp_path / "mine.csv")), "--model", str(distilbert), "--mode", "frozen", "--pooling", "cls",
                 "--head", "linear", "--max-length", "16", "--quiet", "--device", "cpu", "--precision", "fp32",
                 "--output", str(tmp_path / "done")]  # fmt: skip
    finetune.main(arguments)
    return arguments


def test_a_folder_that_holds_a_run_is_left_alone(finished, tmp_path):
    before = contents(tmp_path / "done")
    with pytest.raises(UserError) as caught:
        finetune.main(finished)
    assert str(tmp_path / "done") in str(caught.value)
    assert "--resume" in str(caught.value) and "--output" in str(caught.value)
    assert contents(tmp_path / "done") == before


@pytest.mark.parametrize(
    "flag, value, was", [("--lr", "0.001", "5e-05"), ("--seed", "3", "0"), ("--limit", "15", "None")]
)
def test_a_run_is_not_resumed_with_other_settings(flag, value, was, finished, tmp_path):
    before = contents(tmp_path / "done")
    with pytest.raises(UserError) as caught:
        finetune.main([*finished, "--resume", flag, value])
    message = str(caught.value)
    assert str(tmp_path / "done" / "settings.json") in message
    assert f"{flag} {was}" in message
    assert contents(tmp_path / "done") == before


def test_a_run_is_not_resumed_on_other_data(finished, tmp_path):
    table(tmp_path / "mine.csv", ROWS * 2)
    before = contents(tmp_path / "done")
    with pytest.raises(UserError, match="mine.csv|data|texts"):
        finetune.main([*finished, "--resume"])
    assert contents(tmp_path / "done") == before
