"""New text with a finished classifier: from Python, and through the command."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import minibert
from minibert import predict
from minibert.data import stream
from minibert.load import load_tokenizer, read_classifier, save_classifier
from minibert.plumbing.files import UserError
from minibert.text_classifier import load_classifier

TEXTS = ["the film was fine", "a dull story", "good"]


@pytest.fixture
def run(tiny_bert, tmp_path):
    """A run's folder with a fine-tuned classifier of six classes in it."""
    classifier, _ = read_classifier(tiny_bert)
    save_classifier(classifier, tmp_path / "run" / "finetuned", {"max_length": 7, "truncation": "tail"})
    load_tokenizer(tiny_bert).save(tmp_path / "run" / "finetuned")
    return tmp_path / "run"


def expected(folder, texts):
    """The labels by way of the parts, one text at a time."""
    classifier, _ = read_classifier(folder)
    tokenizer = load_tokenizer(folder)
    with torch.no_grad():
        best = [classifier(*tokenizer([text], max_length=7, truncation="tail")).argmax().item() for text in texts]
    return [classifier.label_names[i] for i in best]


def test_texts_get_the_label_that_the_parts_give_in_their_order(run):
    classifier = minibert.load_classifier(run)
    assert classifier.predict(TEXTS) == expected(run / "finetuned", TEXTS)
    assert classifier.predict([]) == []


def test_a_run_is_read_with_its_own_limits(run):
    classifier = minibert.load_classifier(run)
    assert (classifier.max_length, classifier.truncation) == (7, "tail")
    longer = "film " * 30 + "good"
    assert classifier.predict([longer]) == expected(run / "finetuned", [longer])


@pytest.mark.parametrize("source", ["arguments", "file", "standard input"])
def test_the_command_reads_texts_from_three_places(run, tmp_path, monkeypatch, capsys, source):
    arguments = [str(run)]
    if source == "arguments":
        arguments += TEXTS
    elif source == "file":
        (tmp_path / "texts.txt").write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
        arguments += ["--file", str(tmp_path / "texts.txt")]
    else:
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS)))
    assert predict.main(arguments) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == expected(run / "finetuned", TEXTS)
    assert [row[2] for row in rows] == TEXTS


def test_csv_and_jsonl_hold_every_score(run, capsys):
    texts = ['a "fine" film, really', "dull"]
    predict.main([str(run), *texts, "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    predict.main([str(run), *texts, "--format", "jsonl"])
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = minibert.load_classifier(run).label_names
    for text, row, values in zip(texts, table, objects, strict=True):
        assert row["text"] == values["text"] == text
        assert row["label"] == values["label"] == max(values["scores"], key=values["scores"].get)
        assert [float(row[f"score_{name}"]) for name in names] == list(values["scores"].values())
        assert sum(values["scores"].values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_tables_and_objects_are_utf8_whatever_the_terminal_is(form, run, monkeypatch):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    monkeypatch.setattr(sys, "stdout", out)
    predict.main([str(run), "café 😀", "--format", form])
    out.flush()
    assert "café 😀" in out.buffer.getvalue().decode("utf-8")


def test_what_is_no_run_is_said_to_be_none(run, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty: no run and no checkpoint lies here"):
        predict.main([str(tmp_path / "empty"), "a text"])
    with pytest.raises(UserError, match="config.json: a file; give the folder"):
        predict.main([str(run / "finetuned" / "config.json"), "a text"])


@pytest.fixture
def pair_run(run):
    config = json.loads((run / "finetuned" / "config.json").read_text())
    config["minibert"]["pairs"] = True
    (run / "finetuned" / "config.json").write_text(json.dumps(config))
    return run


def test_a_classifier_of_pairs_wants_a_tab_and_gets_both_texts(pair_run, capsys):
    run = pair_run
    assert predict.main([str(run), "good\tfilm", "no pair", "--format", "csv"]) == 2
    out, err = capsys.readouterr()
    assert "text 2: this classifier reads pairs; put one tab" in err
    [row] = csv.DictReader(io.StringIO(out))
    assert (row["text"], row["text_pair"]) == ("good", "film")
    predict.main([str(run), "good film\tdull story", "--format", "jsonl"])
    answer = json.loads(capsys.readouterr().out)
    assert (answer["text"], answer["text_pair"]) == ("good film", "dull story")
    classifier = minibert.load_classifier(run)
    with torch.no_grad():
        inputs = classifier.tokenizer(["good film"], ["dull story"], max_length=7, truncation="tail")
        probabilities = classifier.classifier(*inputs).softmax(-1)[0]
    assert list(answer["scores"].values()) == pytest.approx(probabilities.tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="trained on pairs; give it the second texts, too"):
        classifier.predict(["good film"])
    with pytest.raises(ValueError, match="trained on pairs"):
        classifier.explain(["good film"])
    assert classifier.predict([]) == []


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["no/such/run/anywhere", "good"], "no such folder"),
        (["RUN", "--file", "absent.txt"], "absent.txt: no such file"),
        (["RUN", "good", "--file", "texts.txt"], "one or the other"),
        (["RUN", "good", "--format", "xml"], "--help"),
        (["RUN", "good", "--format", "csv", "--explain"], "use --format jsonl"),
        (["RUN", "good", "--label", "none"], "--label none: this classifier's labels are LABEL_0, "),
        (["RUN", "good", "--attention", "2"], "not a layer and a head such as 2,3"),
        (["RUN", "good", "--attention", "9,1"], "--attention 9,1: no layer 9.*2 layers of"),
        (["RUN", "--serve", "good"], "--serve"),
        (["RUN", "--port", "0", "good"], "--port 0: is where --serve offers its page; add --serve"),
    ],
)
def test_bad_input_is_one_clear_line(run, arguments, why):
    with pytest.raises(UserError, match=why):
        predict.main([str(run) if argument == "RUN" else argument for argument in arguments])


def standard_input(monkeypatch, content):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))


@pytest.mark.parametrize("content", [b"", b" \n\n"])
def test_standard_input_without_a_text_is_one_clear_line(content, run, monkeypatch):
    standard_input(monkeypatch, content)
    with pytest.raises(UserError, match="standard input: no text"):
        predict.main([str(run)])


def test_a_line_that_cannot_be_read_is_told_by_its_number_and_the_others_are_answered(run, monkeypatch, capsys):
    standard_input(monkeypatch, b"\xef\xbb\xbfgood\n\xffbad\n\nfine\r\nnul\0\n")
    assert predict.main([str(run)]) == 2
    out, err = capsys.readouterr()
    assert [line.split("\t")[2] for line in out.splitlines()] == ["good", "fine"]
    assert err.splitlines() == [
        "error: standard input, line 2: not UTF-8 (byte 0xff)",
        "error: standard input, line 5: holds a NUL byte; is this a text file?",
        "error: 2 of 4 texts could not be read; the others are answered",
    ]


def test_standard_input_that_is_closed_is_one_clear_line(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UserError, match="standard input is closed"):
        predict.main([str(run)])


@pytest.mark.parametrize("last", [b"\nfine", b""])
@pytest.mark.parametrize("length", [100_001, 200_000])
def test_a_line_without_end_takes_no_memory_and_is_told(length, last, run, monkeypatch, capsys):
    monkeypatch.setattr(stream, "LONGEST", 100_000)
    standard_input(monkeypatch, b"good\n" + b"x" * length + last)
    assert predict.main([str(run)]) == 2
    out, err = capsys.readouterr()
    assert [line.split("\t")[2] for line in out.splitlines()] == ["good", *last.decode().split()]
    assert "standard input, line 2: is longer than 100,000 bytes" in err


def test_a_quote_without_end_is_told_and_swallows_no_more_than_a_field(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stream, "LONGEST", 1000)
    (tmp_path / "mine.csv").write_text('text\n"open\n' + "good film\n" * 300, encoding="utf-8")
    assert predict.main([str(run), "--file", str(tmp_path / "mine.csv")]) == 2
    out, err = capsys.readouterr()
    assert "mine.csv, line 2: field larger than field limit (1000)" in err
    assert 180 < len(out.splitlines()) < 300


@pytest.mark.parametrize(
    "text, why", [("cut emoji \ud83d", "holds half a surrogate pair"), ("caf\udce9", "not UTF-8 (byte 0xe9)")]
)
def test_an_argument_that_is_no_text_is_one_clear_line(text, why, run, capsys):
    assert predict.main([str(run), text]) == 2
    assert capsys.readouterr() == ("", f"error: text 1: {why}\n")


def test_options_may_stand_before_texts_and_between_them(run, capsys):
    predict.main([str(run), "good", "dull", "--format", "csv"])
    last = capsys.readouterr().out
    predict.main([str(run), "--format", "csv", "good", "dull"])
    first = capsys.readouterr().out
    predict.main([str(run), "good", "--format", "csv", "--", "dull"])
    assert first == last == capsys.readouterr().out
    predict.main([str(run), "--", "-5 degrees", "--format"])
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == ["-5 degrees", "--format"]


# Files


FILES = {
    "mine.csv": 'id,text,text_pair\n1,"a ""fine"", film",story\n2,dull,x\n3,"two\nlines",y\n',
    "mine.tsv": 'id\ttext\ttext_pair\n1\ta "fine", film\tstory\n2\tdull\tx\n3\ttwo lines\ty\n',
    "mine.jsonl": '{"text": "a \\"fine\\", film", "text_pair": "story"}\n{"text": "dull", "text_pair": "x"}\n\n'
    '{"text": "two\\nlines", "text_pair": "y"}\n',
    "mine.txt": 'a "fine", film\ndull\ntwo lines\n',
}


def answers(capsys, *arguments):
    """The rows of --format jsonl, and the exit code."""
    code = predict.main([*map(str, arguments), "--format", "jsonl"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()], code


@pytest.mark.parametrize("name", FILES)
def test_tables_and_plain_files_are_read(name, run, tmp_path, capsys):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    rows, code = answers(capsys, run, "--file", tmp_path / name)
    assert [row["text"].split() for row in rows] == [["a", '"fine",', "film"], ["dull"], ["two", "lines"]]
    assert code == 0 and all("text_pair" not in row for row in rows)
    assert [row["label"] for row in rows] == expected(run / "finetuned", ['a "fine", film', "dull", "two lines"])


@pytest.mark.parametrize("name", ["mine.csv", "mine.tsv", "mine.jsonl"])
def test_a_classifier_of_pairs_reads_both_columns(name, pair_run, tmp_path, capsys):
    (tmp_path / name).write_text(FILES[name], encoding="utf-8")
    rows, code = answers(capsys, pair_run, "--file", tmp_path / name)
    assert [row["text_pair"] for row in rows] == ["story", "x", "y"] and code == 0
    renamed = FILES[name].replace("text_pair", "second").replace("text", "first")
    (tmp_path / name).write_text(renamed, encoding="utf-8")
    names = ["--text-column", "first", "--pair-column", "second"]
    assert answers(capsys, pair_run, "--file", tmp_path / name, *names)[0] == rows


BAD = {
    "bad.csv": (b'id,text\n1,good\n2\n3,"open\n', ["good"], {3: "1 columns", 4: "is a quote left open"}),
    "open.csv": (b'id,text\n1,"a"b\n2,good\n', ["good"], {2: "is a quote left open"}),
    "bytes.csv": (b"text\ngood\ncaf\xe9\nfine\n", ["good", "fine"], {3: "not UTF-8"}),
    "bad.tsv": (b"id\ttext\n1\tgood\n2\t \n3\tfine\n", ["good", "fine"], {3: "text is empty"}),
    "bad.jsonl": (
        b'{"text": "good"}\nno\n[1]\n{"text": [2]}\n{"txt": "x"}\n{"text": "\\ud83d"}\n\xff\n{"text": 5}\n',
        ["good", "5"],
        {2: "not JSON", 3: "not an object", 4: "text is not text", 5: "--text-column", 6: "surrogate", 7: "not UTF-8"},
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_told_by_its_line_and_the_others_are_answered(name, run, tmp_path, capsys):
    content, good, bad = BAD[name]
    (tmp_path / name).write_bytes(content)
    assert predict.main([str(run), "--file", str(tmp_path / name), "--format", "csv"]) == 2
    out, err = capsys.readouterr()
    assert [row["text"] for row in csv.DictReader(io.StringIO(out))] == good
    *lines, last = err.splitlines()
    assert last == f"error: {len(bad)} of {len(bad) + len(good)} texts could not be read; the others are answered"
    for line, (number, why) in zip(lines, bad.items(), strict=True):
        assert line.startswith(f"error: {tmp_path / name}, line {number}: ") and why in line


@pytest.mark.parametrize(
    "content, why",
    [
        ("a,b\n1,2\n", "line 1: no column is called 'text'; it has 'a', 'b'; name the right one with --text-column"),
        ("text,text\n1,2\n", "line 1: two columns are called 'text'"),
        ('"text\n1\n', "line 1: .*quote"),
    ],
)
def test_a_table_without_the_column_is_refused(content, why, run, tmp_path):
    (tmp_path / "mine.csv").write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=f"mine.csv, {why}"):
        predict.main([str(run), "--file", str(tmp_path / "mine.csv")])


def test_answers_come_as_soon_as_their_texts_have_come(run):
    """Through a pipe that stays open."""
    command = [sys.executable, "-m", "minibert.predict", str(run)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=Path(minibert.__file__).parent.parent, **pipes) as process:
        for text in (b"good", b"dull"):
            process.stdin.write(text + b"\n")
            process.stdin.flush()
            assert process.stdout.readline().rstrip().endswith(b"\t" + text)
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["many.txt", "many.csv"])
def test_a_hundred_thousand_lines_come_out_in_their_order_in_flat_memory(name, run, tmp_path):
    code = (
        "import resource, sys; from minibert import predict; code = predict.main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    peaks = []
    for count in (2_000, 100_000):
        with open(tmp_path / name, "w", encoding="utf-8") as file:
            if name == "many.csv":
                file.write("text\n")
            for i in range(count):
                file.write(f"film {i} {'good ' * (i % 50)}\n")
        command = [sys.executable, "-c", code, str(run), "--file", str(tmp_path / name), "--format", "csv"]
        with open(tmp_path / "out.csv", "w", encoding="utf-8") as out:
            done = subprocess.run(
                command, cwd=Path(minibert.__file__).parent.parent, stdout=out, stderr=subprocess.PIPE
            )
        assert done.returncode == 0
        peaks.append(int(done.stderr.split()[-1]) / 1024)  # MiB
        with open(tmp_path / "out.csv", encoding="utf-8", newline="") as out:
            numbers = [int(row["text"].split()[1]) for row in csv.DictReader(out)]
        assert numbers == list(range(count))
    assert peaks[1] < peaks[0] + 40, peaks


# Explanations and maps


def test_an_explanation_is_printed_with_marks_and_without_colour_in_a_pipe(run, capsys):
    predict.main([str(run), "the film was fine", "--explain"])
    out = capsys.readouterr().out
    [record] = minibert.load_classifier(run).explain(["the film was fine"])
    assert "\x1b" not in out and "[+++ " in out or "[--- " in out
    assert f"within {record['error']:.2%} ({record['steps']} steps" in out
    assert f"logit of {record['label']} {record['logit']:+.2f}" in " ".join(out.split())


def test_jsonl_has_an_explanations_numbers_and_a_heads_map(run, capsys):
    [row], code = answers(capsys, run, "the film was fine", "--explain", "--attention", "2,1")
    assert code == 0
    [record] = minibert.load_classifier(run, fast=False).explain(["the film was fine"])
    assert row["explanation"] == json.loads(json.dumps(record))
    assert row["attention"]["tokens"][0] == "[CLS]" and len(row["attention"]["weights"]) == 6
    assert all(sum(weights) == pytest.approx(1, abs=1e-5) for weights in row["attention"]["weights"])


def test_of_several_windows_a_map_shows_the_first_and_says_so(run, capsys):
    config = json.loads((run / "finetuned" / "config.json").read_text())
    config["minibert"]["windows"] = 2
    (run / "finetuned" / "config.json").write_text(json.dumps(config))
    assert predict.main([str(run), "good film " * 5, "--attention", "1,1", "--format", "jsonl"]) == 0
    out, err = capsys.readouterr()
    assert "the attention shown is the first one's" in err
    assert json.loads(out)["attention"]["tokens"][:3] == ["[CLS]", "good", "film"]


def test_another_label_can_be_explained(run, capsys):
    [row], _ = answers(capsys, run, "the film was fine", "--label", "LABEL_3")
    assert row["explanation"]["label"] == "LABEL_3"
    assert row["label"] == minibert.load_classifier(run).predict(["the film was fine"])[0]


def test_an_encoder_without_a_classifier_is_refused(tiny_bert, tmp_path):
    minibert.save_encoder(minibert.load_encoder(tiny_bert), tmp_path / "bare")
    with pytest.raises(UserError, match="holds no classifier"):
        minibert.load_classifier(tmp_path / "bare")


@pytest.mark.parametrize(
    "options", [["--format", "csv", "--label", "yes"], ["--serve", "--explain"], ["--serve", "--format", "jsonl"]]
)
def test_what_would_be_thrown_away_is_refused_before_it_is_computed(options, tmp_path):
    with pytest.raises(UserError, match=options[0]):
        predict.main([str(tmp_path), *options])


def test_no_text_has_no_probabilities_and_an_empty_second_text_is_a_text(run):
    classifier = load_classifier(run)
    assert classifier.probabilities([]).shape == (0, len(classifier.label_names))
    assert classifier.predict([]) == []
    assert len(classifier.explain(["a"], [""])) == 1


def test_a_model_whose_numbers_are_not_finite_says_so_in_one_line(run):
    classifier = load_classifier(run)
    with torch.no_grad():
        next(classifier.classifier.head.parameters()).fill_(float("nan"))
    with pytest.raises(UserError, match="not finite.*--precision fp32"):
        classifier.probabilities(["a text"])


def test_an_empty_argument_is_told_and_the_others_are_answered(run, capsys):
    assert predict.main([str(run), "good film", " "]) == 2
    out, err = capsys.readouterr()
    assert "text 2: is empty" in err and len(out.splitlines()) == 1


def test_a_carriage_return_within_a_text_does_not_end_its_row(run, tmp_path, capsys):
    (tmp_path / "texts.jsonl").write_text('{"text": "good\\rfilm"}\n{"text": "dull\\r\\nfilm"}\n')
    predict.main([str(run), "--file", str(tmp_path / "texts.jsonl"), "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out, newline="")))
    assert [row["text"] for row in rows] == ["good\rfilm", "dull\r\nfilm"]
    assert all(row["label"].startswith("LABEL_") for row in rows)
