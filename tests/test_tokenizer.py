"""The tokenizer gives transformers' ids, cuts texts as it says, and inherits nothing from a file unasked.

transformers' ids for awkward texts are stored in references/tokenizer-cases.json, those for natural sentences
with a real vocabulary in references/minilm-tokens.json (both made by make/make_references.py).
"""

import json
import shutil

import numpy as np
import pytest
import tokenizers
import torch
from conftest import REFERENCES

from minibert.batch import Sequence, collate
from minibert.load import load_tokenizer
from minibert.plumbing.files import UserError
from minibert.tokenizer import divide_room, truncate

CASES = json.loads((REFERENCES / "tokenizer-cases.json").read_text(encoding="utf-8"))
VARIANTS = ("uncased", "cased", "keep accents", "plain CJK")


def tokenizer_folder(folder, **options):
    """A folder with vocab.txt and a tokenizer_config.json of these options."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(REFERENCES / "vocab.txt", folder / "vocab.txt")
    values = {"tokenizer_class": "BertTokenizer", "model_max_length": 64, **options}
    (folder / "tokenizer_config.json").write_text(json.dumps(values))
    return folder


@pytest.fixture
def tokenizer(tmp_path):
    return load_tokenizer(tokenizer_folder(tmp_path / "uncased"))


@pytest.fixture(params=["vocab.txt", "tokenizer.json"])
def either_way(request, tmp_path):
    """A function: the tokenizer with these options, from vocab.txt or from a saved tokenizer.json."""

    def load(**options):
        tokenizer = load_tokenizer(tokenizer_folder(tmp_path / "vocab", **options))
        if request.param == "tokenizer.json":
            tokenizer.save(tmp_path / "saved")
            assert not (tmp_path / "saved" / "vocab.txt").exists()
            tokenizer = load_tokenizer(tmp_path / "saved")
        return tokenizer

    return load


def plain(sequence):
    """[ids, token types], as the cases are stored."""
    ids = sequence.ids.tolist()
    return [ids, [0] * sequence.first_length + [1] * (len(ids) - sequence.first_length)]


def words(tokenizer, sequence):
    return [tokenizer.backend.id_to_token(i) for i in sequence.ids.tolist()]


# ---- by hand


def test_a_text_and_a_pair_stand_between_special_tokens(tokenizer):
    (one,) = tokenizer.encode(["The film"])
    (pair,) = tokenizer.encode(["The film"], ["was good"])
    assert words(tokenizer, one) == ["[CLS]", "the", "film", "[SEP]"]
    assert words(tokenizer, pair) == ["[CLS]", "the", "film", "[SEP]", "was", "good", "[SEP]"]
    assert (one.first_length, pair.first_length) == (4, 4)


def test_unknown_words_are_split_into_pieces_or_unknown(tokenizer):
    (sequence,) = tokenizer.encode(["unaffable jazz"])
    assert words(tokenizer, sequence)[1:-1] == ["un", "##aff", "##able", "[UNK]"]


# ---- as transformers


@pytest.mark.parametrize("variant", VARIANTS)
def test_texts_have_the_ids_of_transformers(either_way, variant):
    tokenizer = either_way(**CASES[variant]["options"])
    for text, expected in zip(CASES["texts"], CASES[variant]["texts"], strict=True):
        (sequence,) = tokenizer.encode([text], max_length=1000)
        assert plain(sequence) == expected, text
    together = tokenizer.encode(CASES["texts"], max_length=1000)
    assert [plain(sequence) for sequence in together] == CASES[variant]["texts"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_pairs_have_the_ids_of_transformers(either_way, variant):
    tokenizer = either_way(**CASES[variant]["options"])
    firsts, seconds = zip(*CASES["pairs"], strict=True)
    assert [plain(s) for s in tokenizer.encode(list(firsts), list(seconds))] == CASES[variant]["pairs"]


def test_the_variants_differ():
    ids = [json.dumps(CASES[variant]["texts"]) for variant in VARIANTS]
    assert len(set(ids)) == len(VARIANTS)


def test_long_texts_are_cut_as_transformers_cuts_them(either_way):
    tokenizer = either_way()
    cut = 0
    for max_length, i, expected in CASES["uncased"]["truncated"]:
        (sequence,) = tokenizer.encode([CASES["long"][i]], max_length=max_length)
        assert plain(sequence) == expected, (max_length, CASES["long"][i])
        cut += len(expected[0]) == max_length
    assert 5 < cut < len(CASES["uncased"]["truncated"])  # some are cut, some fit


def test_long_pairs_are_cut_as_transformers_cuts_them(either_way):
    tokenizer = either_way()
    for max_length, (i, j), expected in CASES["uncased"]["truncated_pairs"]:
        (sequence,) = tokenizer.encode([CASES["long"][i]], [CASES["long"][j]], max_length=max_length)
        assert plain(sequence) == expected, (max_length, CASES["long"][i], CASES["long"][j])


def test_natural_sentences_have_the_ids_of_transformers_with_the_real_vocabulary(weights_folder, tmp_path, reference):
    real = weights_folder / "all-MiniLM-L6-v2"
    for name in ("vocab.txt", "tokenizer_config.json"):  # without tokenizer.json: built from the vocabulary
        shutil.copyfile(real / name, tmp_path / name)
    for folder in (real, tmp_path):
        tokenizer = load_tokenizer(folder)
        for texts, *expected in reference("minilm-tokens.json"):
            (sequence,) = tokenizer.encode(*([text] for text in texts))
            assert plain(sequence) == expected, texts


# ---- RoBERTa's kind: byte-level BPE

BPE_CASES = json.loads((REFERENCES / "roberta-tokenizer-cases.json").read_text(encoding="utf-8"))


@pytest.fixture(params=["vocab.json", "tokenizer.json"])
def bpe(request, tiny_roberta, tmp_path):
    """RoBERTa's tokenizer, from vocab.json and merges.txt or from a saved tokenizer.json."""
    tokenizer = load_tokenizer(tiny_roberta)
    if request.param == "tokenizer.json":
        tokenizer.save(tmp_path / "saved")
        tokenizer = load_tokenizer(tmp_path / "saved")
    return tokenizer


def test_bpe_texts_and_pairs_have_the_ids_of_transformers_and_one_token_type(bpe):
    for text, ids in zip(CASES["texts"], BPE_CASES["texts"], strict=True):
        assert plain(bpe.encode([text], max_length=1000)[0]) == [ids, [0] * len(ids)], text
    for (first, second), ids in zip(CASES["pairs"], BPE_CASES["pairs"], strict=True):
        assert plain(bpe.encode([first], [second], max_length=1000)[0]) == [ids, [0] * len(ids)], (first, second)


def test_long_bpe_pairs_are_cut_as_transformers_cuts_them(bpe):
    for max_length, (i, j), ids in BPE_CASES["truncated_pairs"]:
        (sequence,) = bpe.encode([CASES["long"][i]], [CASES["long"][j]], max_length=max_length)
        assert sequence.ids.tolist() == ids, (max_length, CASES["long"][i], CASES["long"][j])


def test_a_bpe_pair_has_two_separators_and_pads_with_its_own_token(bpe):
    assert words(bpe, bpe.encode(["a"], ["b"])[0]) == ["<s>", "a", "</s>", "</s>", "b", "</s>"]
    ids = bpe(["the film was good", "a"]).input_ids[1].tolist()
    assert ids[2:] == [2] + [1] * (len(ids) - 3)
    with pytest.raises(UserError, match="a length of 5 leaves no room"):
        bpe.encode(["a"], ["b"], max_length=5)


def test_a_unigram_tokenizer_with_roberta_tokens_makes_pairs_as_roberta_does(tmp_path):
    pieces = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁a", -1.0), ("▁b", -1.0)]  # XLM-R's kind
    backend = tokenizers.Tokenizer(tokenizers.models.Unigram(pieces, unk_id=3, byte_fallback=False))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace()
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load_tokenizer(tmp_path)
    assert words(tokenizer, tokenizer.encode(["a"], ["b"])[0]) == ["<s>", "▁a", "</s>", "</s>", "▁b", "</s>"]


# ---- which part of a long text is kept


def test_truncation_keeps_the_head_the_tail_or_both():
    ids = list(range(10))
    assert truncate(ids, 4, "head") == [0, 1, 2, 3]
    assert truncate(ids, 4, "tail") == [6, 7, 8, 9]
    assert truncate(ids, 6, "head+tail") == [0, 1, 2, 3, 8, 9]  # in a short room the tail keeps a third
    assert truncate(ids, 1, "head+tail") == [9]
    assert truncate(ids, 0, "tail") == truncate(ids, 0, "head+tail") == truncate(ids, 0, "head") == []


def test_head_and_tail_is_128_first_and_the_rest_last():
    ids = list(range(1000))
    assert truncate(ids, 510, "head+tail") == ids[:128] + ids[-382:]
    assert truncate(ids, 254, "head+tail") == ids[:128] + ids[-126:]
    assert truncate(ids, 192, "head+tail") == ids[:128] + ids[-64:]
    assert truncate(ids, 126, "head+tail") == ids[:84] + ids[-42:]


@pytest.mark.parametrize("truncation", ["head", "tail", "head+tail"])
def test_what_fits_is_not_touched(truncation):
    assert truncate([1, 2, 3], 3, truncation) == [1, 2, 3]
    assert truncate([], 3, truncation) == []


def test_special_tokens_survive_every_truncation(tokenizer):
    text = "a b c d e f"
    for truncation, kept in (("head", "a b c"), ("tail", "d e f"), ("head+tail", "a b f")):
        (sequence,) = tokenizer.encode([text], max_length=5, truncation=truncation)
        assert words(tokenizer, sequence) == ["[CLS]", *kept.split(), "[SEP]"]
        (pair,) = tokenizer.encode([text], ["one"], max_length=7, truncation=truncation)
        assert words(tokenizer, pair) == ["[CLS]", *kept.split(), "[SEP]", "one", "[SEP]"]


def test_a_pair_shares_the_room():
    assert divide_room(3, 4, 10) == (3, 4)  # both fit
    assert divide_room(3, 40, 10) == (3, 7)  # the longer gives way
    assert divide_room(40, 3, 10) == (7, 3)
    assert divide_room(40, 30, 10) == (5, 5)  # until they are equal
    assert divide_room(30, 40, 11) == (5, 6)
    assert divide_room(40, 30, 11) == (6, 5)
    assert divide_room(0, 40, 10) == (0, 10)


def test_a_pair_never_exceeds_its_room_nor_wastes_it():
    for first in range(9):
        for second in range(9):
            for room in range(2, 14):
                a, b = divide_room(first, second, room)
                assert 0 <= a <= first and 0 <= b <= second
                assert a + b == min(room, first + second)


# ---- batches


def test_a_batch_is_padded_to_its_longest_text(tokenizer):
    batch = tokenizer(["the film", "good"], ["was fine", "a b c d"])
    assert [tensor.dtype for tensor in batch] == [torch.int64] * 3
    cls, sep, pad = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
    assert (cls, sep, pad) == (3, 4, 0)
    the, film, was, fine, good, a, b, c, d = (
        tokenizer.backend.token_to_id(word) for word in "the film was fine good a b c d".split()
    )
    assert batch.input_ids.tolist() == [
        [cls, the, film, sep, was, fine, sep, pad],
        [cls, good, sep, a, b, c, d, sep],
    ]
    assert batch.attention_mask.tolist() == [[1] * 7 + [0], [1] * 8]
    assert batch.token_type_ids.tolist() == [[0, 0, 0, 0, 1, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1]]
    assert batch.to("cpu").input_ids.tolist() == batch.input_ids.tolist()


def test_padding_has_the_pad_id_that_is_asked_for():
    sequences = [Sequence(np.array([7, 8], dtype=np.int32), 2), Sequence(np.array([9], dtype=np.int32), 1)]
    assert collate(sequences, pad_id=5).input_ids.tolist() == [[7, 8], [9, 5]]


def test_more_texts_than_are_tokenized_at_once_keep_their_order(tokenizer):
    texts = ["film " * (i % 5) + "good" for i in range(2345)]
    assert [len(sequence.ids) for sequence in tokenizer.encode(texts)] == [i % 5 + 3 for i in range(2345)]
    assert tokenizer.encode([]) == []


def test_the_models_length_is_the_default(tokenizer):
    assert tokenizer.max_length == 64
    assert tokenizer(["film " * 100]).input_ids.shape == (1, 64)


@pytest.mark.parametrize("stored", [None, int(1e30), 1e30])
def test_an_unknown_model_length_is_512(tmp_path, stored):
    options = {} if stored is None else {"model_max_length": stored}
    folder = tokenizer_folder(tmp_path / "folder", **options)
    if stored is None:
        (folder / "tokenizer_config.json").unlink()
    assert load_tokenizer(folder).max_length == 512


# ---- files


def test_truncation_and_padding_stored_in_a_tokenizer_json_are_not_inherited(tokenizer, tmp_path):
    texts = ["the film was fine", "good"]
    expected = [plain(sequence) for sequence in tokenizer.encode(texts)]
    backend = tokenizers.Tokenizer.from_str(tokenizer.backend.to_str())
    backend.enable_truncation(3)
    backend.enable_padding(length=9, pad_id=0, pad_token="[PAD]")
    assert len(backend.encode(texts[0], add_special_tokens=False).ids) == 9  # it would show
    folder = tmp_path / "stored"
    folder.mkdir()
    backend.save(str(folder / "tokenizer.json"))
    loaded = load_tokenizer(folder)
    assert [plain(sequence) for sequence in loaded.encode(texts)] == expected
    loaded.save(tmp_path / "again")
    values = json.loads((tmp_path / "again" / "tokenizer.json").read_text(encoding="utf-8"))
    assert values["truncation"] is None and values["padding"] is None


def test_saving_and_loading_changes_nothing(tmp_path):
    tokenizer = load_tokenizer(tokenizer_folder(tmp_path / "a", do_lower_case=False, model_max_length=40))
    tokenizer.save(tmp_path / "b")
    again = load_tokenizer(tmp_path / "b")
    again.save(tmp_path / "c")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert again.max_length == 40
    assert [plain(s) for s in again.encode(CASES["texts"])] == [plain(s) for s in tokenizer.encode(CASES["texts"])]


def test_what_tokenizer_config_says_counts_more_than_tokenizer_json(tmp_path):
    load_tokenizer(tokenizer_folder(tmp_path / "uncased")).save(tmp_path / "saved")
    path, text = tmp_path / "saved" / "tokenizer_config.json", ["The Café 电影"]
    values = json.loads(path.read_text(encoding="utf-8"))
    for options in ({"do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False}):
        path.write_text(json.dumps(values | options), encoding="utf-8")
        expected = load_tokenizer(tokenizer_folder(tmp_path / "plain", **options))
        assert plain(load_tokenizer(tmp_path / "saved").encode(text)[0]) == plain(expected.encode(text)[0]), options
        path.write_text(json.dumps(values | options | {"tokenizer_class": "PreTrainedTokenizerFast"}), encoding="utf-8")
        uncased = load_tokenizer(tmp_path / "uncased").encode(text)[0]
        assert plain(load_tokenizer(tmp_path / "saved").encode(text)[0]) == plain(uncased)  # the file alone


def test_special_tokens_may_be_stored_as_objects(tmp_path):
    folder = tokenizer_folder(tmp_path / "folder", cls_token={"content": "[CLS]", "lstrip": False}, pad_token="[MASK]")
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.cls_id, tokenizer.pad_id) == (3, 5)


def test_a_vocabulary_with_windows_line_ends_is_the_same_vocabulary(tmp_path, tokenizer):
    folder = tokenizer_folder(tmp_path / "windows")
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_bytes(text.replace("\n", "\r\n").encode())
    assert plain(load_tokenizer(folder).encode(["the film"])[0]) == plain(tokenizer.encode(["the film"])[0])


def test_only_line_ends_separate_the_vocabulary(tmp_path):
    # str.splitlines would also split at U+2028 or U+0085, and shift every later id.
    folder = tokenizer_folder(tmp_path / "folder")
    lines = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    lines.insert(6, "\u2028")
    lines.insert(7, "\u0085")
    (folder / "vocab.txt").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = load_tokenizer(folder)
    assert tokenizer.backend.token_to_id("film") == lines.index("film")


# ---- what is refused


def test_a_tokenizer_without_the_special_tokens_is_refused_by_name(tmp_path):
    folder = tokenizer_folder(tmp_path / "folder")
    text = (folder / "vocab.txt").read_text(encoding="utf-8")
    (folder / "vocab.txt").write_text(text.replace("[CLS]\n[SEP]\n", ""), encoding="utf-8")
    with pytest.raises(UserError, match=r"no \[CLS\], \[SEP\]"):
        load_tokenizer(folder)
    (folder / "vocab.txt").write_text(text.replace("[UNK]\n", ""), encoding="utf-8")
    with pytest.raises(UserError, match=r"has no '\[UNK\]'"):
        load_tokenizer(folder)


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match="no tokenizer.json, no vocab.txt, and no vocab.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text('{"version": ')
    with pytest.raises(UserError, match="tokenizer.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.txt").write_bytes(b"[PAD]\n[UNK]\n\xff\n")
    with pytest.raises(UserError, match="vocab.txt, line 3"):
        load_tokenizer(tmp_path)


def test_a_length_without_room_for_text_is_refused(tokenizer):
    with pytest.raises(UserError, match="length of 2"):
        tokenizer.encode(["film"], max_length=2)
    with pytest.raises(UserError, match="length of 4"):
        tokenizer.encode(["film"], ["good"], max_length=4)
    with pytest.raises(UserError, match="length of 0"):
        tokenizer.encode(["film"], max_length=0)
    assert len(tokenizer.encode(["film good"], max_length=3)[0].ids) == 3
    assert len(tokenizer.encode(["film good"], ["good film"], max_length=5)[0].ids) == 5


def test_mistaken_arguments_are_refused(tokenizer):
    with pytest.raises(ValueError, match="lists of the same length"):
        tokenizer.encode(["a", "b"], ["c"])
    with pytest.raises(ValueError, match="lists"):
        tokenizer.encode("a text that is not in a list")
    with pytest.raises(ValueError, match="middle.*head, tail, head"):
        tokenizer.encode(["a"], truncation="middle")
