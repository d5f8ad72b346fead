"""Models and tokenizers from something that answers like the Hub as far as huggingface_hub can tell."""

import hashlib
import json
import re

import pytest
import torch
from local_server import (
    no_proxy,  # noqa: F401 (a fixture for every test here)
    serving,
    unused_url,
)
from safetensors.torch import load, save

from minibert import EncoderConfig, finetune, load_encoder, load_tokenizer, save_encoder
from minibert.model import Encoder, initialize
from minibert.plumbing.checkpoint import CONVERSION, CONVERTER, commit_of, find_checkpoint
from minibert.plumbing.files import UserError, read_json

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A tiny BERT in Hugging Face layout, with a pickle beside it that nobody may open."""
    folder = tmp_path_factory.mktemp("published")
    config = EncoderConfig.from_dict({
        "model_type": "bert", "vocab_size": 32, "hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 20, "max_position_embeddings": 16,
    })  # fmt: skip
    torch.manual_seed(0)
    encoder = Encoder(config)
    initialize(encoder, 0.5)
    save_encoder(encoder, folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "fine", "film", "dull", "##er"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true, "model_max_length": 16}', encoding="utf-8")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("about", encoding="utf-8")
    return folder


def commit_named(revision, main=COMMIT):
    if re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    return main if revision == "main" else hashlib.sha1(revision.encode()).hexdigest()


def hub_of(repositories, requests=(), main=COMMIT):
    """An `answer` for `serving`: {id or id@revision: {file name: bytes}} as the Hub serves it.

    Of its interface, what a snapshot takes: which commit a revision is, that commit's files, and the files. And the
    pull `requests` (number, author, title, status) of every id. main: the commit that `main` is.
    """
    revisions = {}  # (id, revision or its commit): the files
    for key, files in repositories.items():
        name, _, revision = key.partition("@")
        commit = commit_named(revision or "main", main)
        for known in (revision or "main", commit):
            revisions[name, known] = commit, files

    def answer(path):
        asked = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/(revision|tree)/(.+)", path)
        file = re.fullmatch(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)(/)(.+)", path)
        discussed = re.fullmatch(r"/api/models/([\w.-]+/[\w.-]+)/discussions", path)
        if discussed:
            return as_json(discussions(discussed[1]))
        name, revision = ((asked[1], asked[3]) if asked else (file[1], file[2])) if asked or file else ("", "")
        if not any(name == known for known, _ in revisions):
            headers = {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}
            return 404, headers, b'{"error": "Repository not found"}'
        if (name, revision) not in revisions:
            headers = {"X-Error-Code": "RevisionNotFound", "X-Error-Message": f"Invalid rev id: {revision}"}
            return 404, headers, b'{"error": "Invalid rev id"}'
        commit, files = revisions[name, revision]
        ids = {file_name: hashlib.sha1(content).hexdigest() for file_name, content in files.items()}
        if asked and asked[2] == "revision":
            siblings = [{"rfilename": file_name} for file_name in files]
            return as_json({"id": name, "modelId": name, "sha": commit, "siblings": siblings})
        if asked:
            return as_json([
                {"type": "file", "path": file_name, "size": len(content), "oid": ids[file_name]}
                for file_name, content in files.items()
            ])  # fmt: skip
        if file[4] not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 200, {"ETag": f'"{ids[file[4]]}"', "X-Repo-Commit": commit}, files[file[4]]

    def discussions(name):
        listed = [
            {
                "num": number, "author": {"name": author}, "title": title, "status": status, "isPullRequest": True,
                "createdAt": "2024-01-01T00:00:00.000Z", "repo": {"name": name, "type": "model"},
            }
            for number, author, title, status in requests
        ]  # fmt: skip
        return {"count": len(listed), "start": 0, "discussions": listed}

    def as_json(value):
        return 200, {"Content-Type": "application/json"}, json.dumps(value).encode()

    return answer


@pytest.fixture
def point_hub_at(tmp_path, monkeypatch):
    """Make huggingface_hub take its address, an empty cache and a short patience from us."""
    constants = pytest.importorskip("huggingface_hub.constants")
    import huggingface_hub

    def point(url):
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.setattr(constants, name, 2)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)

    getattr(huggingface_hub, "close_session", lambda: None)()  # one made before may remember a proxy
    yield point
    getattr(huggingface_hub, "close_session", lambda: None)()


def published(folder, *left_out):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in left_out}


def had_nothing(model):
    """The message when a model cannot be had, after checking that it is one line that says what to do."""
    with pytest.raises(UserError) as caught:
        load_encoder(model)
    message = str(caught.value)
    assert "\n" not in message
    assert model in message
    assert "--model" in message
    return message


def test_a_model_is_fetched_from_the_hub_whole_and_once(checkpoint, point_hub_at):
    with serving(hub_of({"owner/tiny": published(checkpoint)})) as server:
        point_hub_at(server.url)
        encoder, tokenizer = load_encoder("owner/tiny"), load_tokenizer("owner/tiny")
        fetched = [path for command, path in server.requests if command == "GET" and "/resolve/" in path]
    local = load_encoder(checkpoint)
    for (name, mine), (_, theirs) in zip(encoder.named_parameters(), local.named_parameters(), strict=True):
        assert torch.equal(mine, theirs), name
    assert tokenizer(["A fine film", "duller"]).input_ids.tolist() == [[2, 5, 6, 7, 3], [2, 8, 9, 3, 0]]
    names = sorted(path.rsplit("/", 1)[1] for path in fetched)
    assert names == ["config.json", "model.safetensors", "tokenizer_config.json", "vocab.txt"]


def test_a_tokenizer_is_fetched_without_the_weights(checkpoint, point_hub_at):
    with serving(hub_of({"owner/tiny": published(checkpoint)})) as server:
        point_hub_at(server.url)
        load_tokenizer("owner/tiny")
        fetched = [path for command, path in server.requests if command == "GET" and "/resolve/" in path]
    assert sorted(path.rsplit("/", 1)[1] for path in fetched) == ["tokenizer_config.json", "vocab.txt"]


def test_pickled_weights_are_not_even_asked_for(checkpoint, point_hub_at):
    with serving(hub_of({"owner/pickled": published(checkpoint, "model.safetensors")})) as server:
        point_hub_at(server.url)
        with pytest.raises(UserError) as caught:
            load_encoder("owner/pickled")
        assert not [path for _, path in server.requests if "pytorch_model" in path]
    assert "\n" not in str(caught.value)
    assert "no model.safetensors" in str(caught.value)
    assert "never read" in str(caught.value)


def test_a_model_that_was_fetched_needs_no_network_any_more(checkpoint, point_hub_at):
    with serving(hub_of({"owner/tiny": published(checkpoint)})) as server:
        point_hub_at(server.url)
        first = load_encoder("owner/tiny")
    second = load_encoder("owner/tiny")  # the server is gone
    assert torch.equal(first.embeddings.word.weight, second.embeddings.word.weight)


def test_an_unknown_id_is_one_clear_line(checkpoint, point_hub_at):
    with serving(hub_of({"owner/tiny": published(checkpoint)})) as server:
        point_hub_at(server.url)
        message = had_nothing("owner/tinny")
    assert "404" in message and "check the id" in message


def test_a_hub_out_of_reach_is_one_clear_line(point_hub_at):
    point_hub_at(unused_url())
    assert "refused" in had_nothing("owner/tiny")


def test_a_hub_that_answers_nonsense_is_one_clear_line(point_hub_at):
    with serving(lambda path: (200, {"Content-Type": "text/html"}, b"<html>please log in</html>")) as server:
        point_hub_at(server.url)
        had_nothing("owner/tiny")


@pytest.mark.parametrize("name", ["", " "])
def test_an_empty_name_is_refused_and_is_not_this_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="an empty name: no such folder"):
        load_encoder(name)


@pytest.mark.parametrize("name", ["no/such/folder", "a model", "../"])
def test_what_is_neither_folder_nor_id_is_refused_without_asking_anyone(name, point_hub_at, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving(hub_of({})) as server:
        point_hub_at(server.url)
        with pytest.raises(UserError) as caught:
            load_encoder(f"missing/{name}")
        assert server.requests == []
    assert name in str(caught.value) and "no such folder" in str(caught.value)


# Revisions, and the Hub's own conversions


def changed(files, factor):
    """The same checkpoint with its word embeddings times `factor`."""
    tensors = load(files["model.safetensors"])
    tensors["embeddings.word_embeddings.weight"] = tensors["embeddings.word_embeddings.weight"] * factor
    return {**files, "model.safetensors": save(tensors, {"format": "pt"})}


def factor_of(encoder, checkpoint):
    """By how much `changed` has changed it."""
    original = load_encoder(checkpoint).embeddings.word.weight
    return round((encoder.embeddings.word.weight / original)[1, 0].item(), 4)


@pytest.mark.parametrize("revision", ["v2", "refs/pr/3", commit_named("v2")])
def test_a_revision_is_a_branch_a_tag_a_commit_or_a_pull_requests_ref(revision, checkpoint, point_hub_at):
    files = published(checkpoint)
    hub = {"owner/tiny": files, "owner/tiny@v2": changed(files, 2.0), "owner/tiny@refs/pr/3": changed(files, 3.0)}
    with serving(hub_of(hub)) as server:
        point_hub_at(server.url)
        assert factor_of(load_encoder("owner/tiny"), checkpoint) == 1
        folder = find_checkpoint(f"owner/tiny@{revision}")
    assert factor_of(load_encoder(folder), checkpoint) == (3 if revision == "refs/pr/3" else 2)
    assert commit_of(folder) == commit_named("refs/pr/3" if revision == "refs/pr/3" else "v2")


def test_a_revision_that_does_not_exist_is_one_clear_line(checkpoint, point_hub_at):
    with serving(hub_of({"owner/tiny": published(checkpoint)})) as server:
        point_hub_at(server.url)
        message = had_nothing("owner/tiny@v9")
    assert "Revision" in message and "check the id, the revision" in message


@pytest.mark.parametrize("name", ["owner/tiny@", "owner/tiny@a b", "@v1", "owner/tiny@/x"])
def test_a_revision_of_the_wrong_form_is_refused_without_asking_anyone(name, point_hub_at):
    with serving(hub_of({})) as server:
        point_hub_at(server.url)
        with pytest.raises(UserError, match="@REVISION"):
            load_encoder(name)
        assert server.requests == []


def pickled_hub(checkpoint, *requests, converted=b"a pickle"):
    """A hub whose `main` has pickled weights only; pull request 7 has safetensors beside the pickle `converted`."""
    pickled = published(checkpoint, "model.safetensors")
    conversion = {**published(checkpoint), "pytorch_model.bin": converted}
    return hub_of({"owner/pickled": pickled, "owner/pickled@refs/pr/7": conversion}, requests)


def test_the_hubs_own_conversion_is_taken_and_named_where_main_has_pickled_weights_only(
    checkpoint, point_hub_at, capfd
):
    requests = (5, "somebody", CONVERSION, "open"), (7, CONVERTER, CONVERSION, "open")
    with serving(pickled_hub(checkpoint, *requests)) as server:
        point_hub_at(server.url)
        folder = find_checkpoint("owner/pickled")
        assert not [path for _, path in server.requests if "/resolve/" in path and "pytorch_model" in path]
    assert commit_of(folder) == commit_named("refs/pr/7")
    assert factor_of(load_encoder(folder), checkpoint) == 1
    assert "owner/pickled@refs/pr/7" in capfd.readouterr().err


@pytest.mark.parametrize(
    "request_, converted",
    [
        ((7, "somebody", CONVERSION, "open"), b"a pickle"),  # anybody may open one
        ((7, CONVERTER, "Another title", "open"), b"a pickle"),
        ((7, CONVERTER, CONVERSION, "closed"), b"a pickle"),
        ((7, CONVERTER, CONVERSION, "open"), b"older weights"),  # main has others by now
    ],
)
def test_other_pull_requests_are_left_alone(request_, converted, checkpoint, point_hub_at):
    with serving(pickled_hub(checkpoint, request_, converted=converted)) as server:
        point_hub_at(server.url)
        with pytest.raises(UserError, match="no model.safetensors"):
            load_encoder("owner/pickled")


def test_pickled_weights_in_the_cache_are_missed_by_name_when_the_hub_is_out_of_reach(checkpoint, point_hub_at):
    with serving(pickled_hub(checkpoint)) as server:
        point_hub_at(server.url)
        with pytest.raises(UserError, match=r"no model.safetensors.*ID@refs/pr/N"):
            load_encoder("owner/pickled")
    with pytest.raises(UserError, match=r"no model.safetensors.*ID@refs/pr/N"):  # the server is gone
        load_encoder("owner/pickled")


def test_a_run_keeps_its_models_commit_and_resumes_with_it_when_main_has_moved(checkpoint, point_hub_at, tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("text,label\n" + "".join(f"a {'fine' if i % 2 else 'dull'} film {i},{i % 2}\n" for i in range(20)))
    words = [str(table), "--model", "owner/tiny", "--max-length", "12", "--epochs", "1", "--mode", "finetune",
             "--device", "cpu", "--output", str(tmp_path / "run"), "--quiet"]  # fmt: skip
    files = published(checkpoint)
    with serving(hub_of({"owner/tiny": files})) as server:
        point_hub_at(server.url)
        finetune.main(words)
    assert read_json(tmp_path / "run" / "settings.json")["commit"] == COMMIT
    with serving(hub_of({"owner/tiny": changed(files, 2.0), f"owner/tiny@{COMMIT}": files}, main="f" * 40)) as server:
        point_hub_at(server.url)
        assert commit_of(find_checkpoint("owner/tiny")) == "f" * 40
        finetune.main([*words, "--resume"])
