"""The lessons of examples/: each runs alone and offline, shows what it claims, draws its picture, and can fail.

A new lesson takes a line in LESSONS, a line in BROKEN for what would make a claim of its untrue, and a row in
examples/README.md.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
README = EXAMPLES / "README.md"
SVG = "{http://www.w3.org/2000/svg}"

# Under about four seconds, or only for `pytest -m slow`; the picture is the same on every machine to the printed digits
# ("same"), depends on it ("drawn"), or there is none (None).
#   lesson, pace, picture
LESSONS = (
    ("attention_by_hand", "quick", "same"),
    ("every_tensor", "quick", "same"),
    ("padding_and_masks", "slow", "drawn"),
    ("wordpiece_by_hand", "quick", None),
    ("accumulation", "slow", "same"),
    ("collapse", "slow", "drawn"),
    ("precisions", "quick", "drawn"),
    ("adamw_and_warmup", "slow", "drawn"),
    ("probe_every_layer", "slow", "drawn"),
    ("head_and_tail", "slow", "drawn"),
    ("learning_curve", "slow", "drawn"),
    ("same_seed", "slow", "drawn"),
)  # fmt: skip

# A change to a lesson's text that makes a claim untrue, and words of the claim that has to fail then.
#   lesson, text, what stands in its place, words of the claim
BROKEN = (
    ("attention_by_hand", "masked = scaled.masked_fill(mask == 0, -30000.0)", "masked = scaled",
     "padding gets a share of exactly 0"),
    ("attention_by_hand", "(query[:, part] @ key[:, part].T / math.sqrt(D))", "(query[:, part] @ key[:, part].T)",
     "so are the shares of all"),
    ("every_tensor", "layer_norm(word[ids] + position[: ids.shape[1]], ", "layer_norm(word[ids], ",
     "the hidden states are the model's"),
    ("every_tensor", 'x = layer_norm(x + attention(x, mask, f"{name}.attention"), f"{name}.sa_layer_norm")', "",
     "no tensor of the file is left over"),
    ("every_tensor", "range(layers)", "range(layers - 1)", "no tensor of the file is left over"),
    ("every_tensor", "x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))",
     'torch.nn.functional.gelu(x, approximate="tanh")', "the hidden states are the model's"),
    ("padding_and_masks", "(scores + mask).softmax(dim=-1)", "scores.softmax(dim=-1)",
     "with the right mask a text gets the same logit"),
    ("wordpiece_by_hand", "if len(word) > 100:", "if len(word) >= 100:", "our pieces are the library's"),
    ("wordpiece_by_hand", 'return ["[UNK]"]\n        found', 'return found + ["[UNK]"]\n        found',
     "our pieces are the library's"),
    ("accumulation", "return losses.sum() / total", "return losses.mean() / parts", "gives the full batch's gradient"),
    ("collapse", '"usual settings": (raw, test_raw, 2e-5', '"usual settings": (scaled, test_scaled, 1e-3',
     "usual settings never say"),
    ("collapse", "centred, test_centred = raw - mean, test_raw - mean", "centred, test_centred = raw, test_raw",
     "the mean taken off alone"),
    ("precisions", "(loss * scale).backward()", "loss.backward()", "a loss times 65,536 saves them"),
    ("precisions", "numbers.abs().amax(dim=1, keepdim=True) if per_row else numbers.abs().max()", "numbers.abs().max()",
     "one large row spoils an int8 product"),
    ("adamw_and_warmup", "factor *= 1 if corrected else too_large(update + 1)", "factor *= 1",
     "so it is in the encoder"),
    ("probe_every_layer", "probe_every_state(classifier.encoder",
     'probe_every_state(minibert.load_encoder("minibert-tiny")', "fine-tuning lifts the last layer"),
    ("head_and_tail", "None, options.max_length, way)[0]", "None, options.max_length, 'head')[0]",
     "the tail is worth more than the head"),
    ("learning_curve", "lr=2e-4, head_lr=1e-3", "lr=0.0, head_lr=0.0", "fine-tuning beats frozen features"),
    ("same_seed", "torch.manual_seed(seed)  # dropout", "torch.seed()", "give the same bits"),
)  # fmt: skip

NO_NETWORK = """
import socket

def refuse(*_):
    raise OSError("a lesson asked for the network")

socket.socket.connect = socket.getaddrinfo = refuse
"""


def table(rows):
    """The rows as test cases; those of slow lessons marked so."""
    slow = {name for name, pace, _ in LESSONS if pace == "slow"}
    return [pytest.param(*row, marks=[pytest.mark.slow] if row[0] in slow else [], id=row[0]) for row in rows]


def run(name, folder):
    """Run a lesson as a reader does, in an empty folder, without a network and with no cache but a new one."""
    (folder / "site").mkdir()
    (folder / "work").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    paths = [folder / "site", EXAMPLES.parent]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "MINIBERT_CACHE": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py"), "--pictures", str(folder / "pictures")],
        cwd=folder / "work", env=env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.mark.parametrize("name, pace, picture", table(LESSONS))
def test_a_lesson_runs_offline_shows_what_it_claims_and_draws_its_picture(name, pace, picture, tmp_path):
    done = run(name, tmp_path)
    assert done.returncode == 0, done.stderr
    claims = done.stdout.split("What this showed\n")[1].strip().splitlines()
    assert len(claims) >= 2 and all(claim.startswith("- ") for claim in claims)
    assert not list((tmp_path / "work").iterdir())
    drawn = {path.name: path for path in (tmp_path / "pictures").glob("*")}
    assert set(drawn) == ({f"{name}.svg"} if picture else set())
    if picture == "same":
        assert without_style(drawn[f"{name}.svg"]) == without_style(EXAMPLES / "pictures" / f"{name}.svg")
    for path in drawn.values():
        check_picture(path)


@pytest.mark.parametrize("name, text, other, claim", table(BROKEN))
def test_a_claim_fails_when_what_it_says_is_not_so(name, text, other, claim, tmp_path, monkeypatch):
    source = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert source.count(text) == 1, "the text to change is no longer in the lesson, or more than once"
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--pictures", str(tmp_path)])
    with pytest.raises(AssertionError, match=re.escape(claim)):
        exec(compile(source.replace(text, other), f"{name}.py, changed", "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("name, pace, picture", [pytest.param(*row, id=row[0]) for row in LESSONS])
def test_every_cell_of_a_lesson_is_marked_right(name, pace, picture):
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    cells = re.split(r"^(?=# ?%%)", text, flags=re.M)[1:]
    assert {cell.splitlines()[0] for cell in cells} == {"# %% [markdown]", "# %%"}
    for cell in cells:
        marker, *lines = cell.splitlines()
        if marker.endswith("[markdown]"):
            assert any(lines) and all(line == "" or line == "#" or line.startswith("# ") for line in lines), cell
        else:
            assert ast.parse(cell).body, cell  # whole statements, and at least one
    assert re.search(r'^print\("(\\n)?What this showed"\)$', cells[-1], flags=re.M)
    assert len(text.splitlines()) <= 200


def test_the_table_and_the_readme_know_every_lesson_and_every_picture():
    lessons = {path.stem for path in EXAMPLES.glob("*.py") if path.read_text(encoding="utf-8").startswith("# %%")}
    assert lessons == {name for name, *_ in LESSONS}
    assert {name for name, *_ in BROKEN} == lessons
    readme = README.read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)\)", readme)
    assert all((EXAMPLES / target).exists() for target in linked)
    wanted = {f"{name}.py" for name in lessons} | {f"pictures/{name}.svg" for name, _, picture in LESSONS if picture}
    assert wanted <= set(linked)


@pytest.mark.parametrize("path", sorted((EXAMPLES / "pictures").glob("*.svg")), ids=lambda path: path.stem)
def test_a_picture_is_small_and_has_words_for_those_who_do_not_see_it_and_colours_for_the_dark(path):
    check_picture(path)


@pytest.mark.parametrize("arguments", [["--pictures"], ["--pictures", "{file}/pictures"]], ids=["no folder", "a file"])
def test_where_a_picture_cannot_go_one_line_says_so(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXAMPLES)
    import drawing

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr(sys, "argv", ["x.py", *(word.format(file=tmp_path / "file") for word in arguments)])
    with pytest.raises(SystemExit) as stopped:
        drawing.save("picture", drawing.grid("a title", "a description", [[0.5]], ["row"], ["column"]))
    assert stopped.value.code == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--pictures", "{}"], ["--pictures={}"]])
def test_a_picture_goes_where_it_is_told(arguments, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    import drawing

    monkeypatch.setattr(sys, "argv", ["x.py", *(word.format(tmp_path / "here") for word in arguments)])
    drawing.save("picture", drawing.grid("a title", "a description", [[0.5]], ["row"], ["column"]))
    assert (tmp_path / "here" / "picture.svg").is_file()


def without_style(path):
    """A picture but for its colours and letters, which are the report's and may change with it."""
    return re.sub(r"<style>.*?</style>", "", path.read_text(encoding="utf-8"), flags=re.S)


def check_picture(path):
    root = ElementTree.parse(path).getroot()
    assert root.tag == f"{SVG}svg" and root.get("role") == "img"
    assert all(len(root.find(SVG + tag).text) > 10 for tag in ("title", "desc"))
    assert "prefers-color-scheme:dark" in root.find(f"{SVG}style").text
    assert "max-width:100%" in root.find(f"{SVG}style").text
    assert path.stat().st_size < 40_000
